"""cor-vmm: a stock kernel under it, and its devices."""

import difflib
import json
import os
import pathlib
import re
import shlex
import subprocess

import builds
import kvmhost
from harness import PATIENCE, case

CMDLINE = "console=hvc0 panic=-1 quiet"

def program(t):
    """cor-vmm as it is installed with the cor under test."""
    return pathlib.Path(t.opts.runtime).parent.parent / "libexec/cor/cor-vmm"


def vmm_job(t, guest, host_script, timeout, modules=(), programs=(), files=(), host_modules=()):
    """Runs host_script (sh) with ./cor-vmm, ./vmlinuz and ./initramfs in place, and `files`. In the guest: modules beside the
    usual ones, and programs in /bin."""
    files = [program(t), kvmhost.kernel() / "vmlinuz", kvmhost.initramfs(t, guest, modules, programs), *files]
    return kvmhost.job(t, kvmhost.of(t), ["sh", "-ec", host_script], files=files, timeout=timeout * PATIENCE, modules=host_modules, check=0)


@case(timeout=180, only=("cor",))
def test_boot(t):
    """Debian's kernel, four vCPUs: console, disk, the agent's port; power off ends it well."""
    res = vmm_job(t, """
        echo "cpus=$(busybox nproc) disk=$(busybox head -c 5 /dev/vda)"
        echo written | busybox dd of=/dev/vda bs=512 seek=4 conv=sync,fsync 2>/dev/null
        until [ "$port" ]; do  # so does its name
            for p in /sys/class/virtio-ports/*; do
                [ "$(busybox cat $p/name 2>/dev/null)" = cor.agent ] && port=${p##*/}
            done
        done
        exec 6<>/dev/$port  # a guest that closes it drops what has come
        echo "through the port" >&6
        busybox head -n 1 <&6
    """, f"""
        echo 12345 >disk; truncate -s 64K disk
        mkfifo port
        ./cor-vmm run --kernel vmlinuz --initrd initramfs --memory 256M --cpus 4 --cmdline '{CMDLINE}' --disk disk --rng \\
            --balloon --port cor.agent=fd:5 --console out/console </dev/null 5<>port
        tail -c +2049 disk | head -n 1
    """, timeout=150)
    t.has((res.files / "console").read_text(), "cpus=4 disk=12345", "through the port")
    t.eq(res.out, "written\n")


@case(timeout=240, only=("cor",))
def test_clone(t):
    """A guest that counts, with a timer, console, port, disk and rng, is saved; two clones of it, side by side, go on where it
    was, each with a disk of its own, and leave the memory file as it is. What does not fit is refused."""
    guest = """
        until [ -c /dev/hwrng ]; do busybox usleep 1000; done
        until [ "$port" ]; do
            for p in /sys/class/virtio-ports/*; do
                [ "$(busybox cat $p/name 2>/dev/null)" = cor.agent ] && port=${p##*/}
            done
        done
        exec 6<>/dev/$port
        i=0 after=0
        while [ $after -lt 5 ]; do
            i=$((i+1))
            echo "port-$i" >&6
            read -r back <&6
            disk=$(busybox dd if=/dev/vda bs=512 count=1 iflag=direct 2>/dev/null | busybox head -n 1)
            echo "tick $i $back $disk rng=$(busybox head -c 16 /dev/hwrng | busybox wc -c)"
            [ $disk = first ] || after=$((after+1))
            echo "$disk $i" | busybox dd of=/dev/vda bs=512 seek=8 conv=sync,fsync 2>/dev/null
            busybox usleep 50000
        done
    """
    res = vmm_job(t, guest, f"""
        for n in first clone1 clone2 none; do mkfifo port.$n; echo $n >disk.$n; truncate -s 64K disk.$n; done
        more="--memory 128M --cpus 2 --rng --balloon"
        ./cor-vmm run --kernel vmlinuz --initrd initramfs $more --cmdline '{CMDLINE}' --memory-file memory --disk disk.first \\
            --port cor.agent=fd:5 --control control --console out/console.first </dev/null 5<>port.first &
        until grep -qs 'tick 3' out/console.first; do kill -0 $!; sleep 0.05; done
        ./cor-vmm ctl control save state || echo "refused $?"
        ./cor-vmm ctl control balloon 120M
        until ./cor-vmm ctl control info | grep -q '"balloon":8388608'; do kill -0 $!; sleep 0.05; done
        ./cor-vmm ctl control pause
        ./cor-vmm ctl control save state copy
        ./cor-vmm ctl control stop
        wait $!
        clone() {{
            ./cor-vmm run --restore "$1" --memory-file "$2" --clone --disk disk.$3 --port cor.agent=fd:5 --control control.$3 \\
                --console out/console.$3 </dev/null 5<>port.$3 $more $4
        }}
        clone state memory clone1 & one=$!
        clone state memory clone2 & two=$!
        until [ -S control.clone1 ]; do kill -0 $one; sleep 0.05; done
        for verb in info pause info resume; do ./cor-vmm ctl control.clone1 $verb; done
        wait $one; echo "clone1 ended $?"
        wait $two; echo "clone2 ended $?"
        tail -c +4097 disk.clone1 | head -n 1
        cmp memory copy && echo unchanged
        head -c 9000 state >short
        head -c 64M memory >half
        clone short memory none || echo "refused $?"
        clone state half none || echo "refused $?"
        clone state memory none "--cpus 3" || echo "refused $?"
        truncate -s 128K disk.none
        clone state memory none || echo "refused $?"
    """, timeout=200)
    infos = [json.loads(line) for line in res.out.splitlines()[1:3]]
    t.eq(infos, [{"state": s, "vcpus": 2, "memory": 128 << 20, "balloon": 8 << 20} for s in ("running", "paused")])
    t.eq(res.out.splitlines()[3:5], ["clone1 ended 0", "clone2 ended 0"])
    t.eq(res.out.splitlines()[6:], ["unchanged", *["refused 2"] * 4])
    t.has(res.err, "save: pause the machine first", "the snapshot is cut off",
          "memory file: 67108864 bytes, the machine has 134217728", "of another machine or build: 2 vCPUs",
          "blk0: the snapshot's disk has another size")
    ticks = {n: re.findall(r"^tick (\d+) port-(\d+) (\w+) rng=16\r?$", (res.files / f"console.{n}").read_text(), re.M)
             for n in ("first", "clone1", "clone2")}
    for n in ("clone1", "clone2"):
        late = [ticks[n].pop(0)[2]] if ticks[n][0][2] == "first" else []  # its disk was read before the save
        start = len(ticks["first"]) + len(late) + 1
        t.eq(ticks[n], [(str(i), str(i), n) for i in range(start, start + 5)])
    t.eq(res.out.splitlines()[5], f"clone1 {ticks['clone1'][-1][0]}")  # on the disk


# Every mapping of the process but the guest's memory: KiB that are its alone.
PRIVATE = '''/^[0-9a-f]+-/ { ours = 1 } /^Size:/ { ours = $2 < 65536 } /^Private_/ && ours { n += $2 } END { print n }'''


VIRTIOFSD = "/usr/lib/qemu/virtiofsd"  # of package qemu-system-common
# What our server is asked, too (kvm/cor.vmm_files), without what this one (7.2) has not: O_TMPFILE ("nameless"), maps of files that
# are open for appending ("maps"), trusted.* and ACLs by default.
VIRTIOFSD_CASES = ("open files", "links", "renames", "locks", "sparse", "nodes", "owners", "names", "directories", "programs")


def ask_through(t, server, cases, files=()):
    """lib/fsprobe.c in a guest whose directory disk/shared a vhost-user back end serves at the socket s, and on the host's ext4."""
    near = pathlib.Path(t.opts.runtime).parents[3]
    cases = shlex.join(cases)
    res = vmm_job(t, f"""
        busybox mkdir /mnt /tmp
        busybox mount -t virtiofs shared /mnt && /bin/fsprobe /mnt {cases}
    """, f"""
        truncate -s 256M image; mkfs.ext4 -q -b 4096 -m 0 image; mkdir disk; mount -o loop image disk
        mkdir disk/plain disk/shared
        ./fsprobe disk/plain {cases} >out/host
        {server} >out/server.log 2>&1 &
        server=$!
        until [ -S s ]; do kill -0 $server; sleep 0.1; done
        ./unixfd s 9 ./cor-vmm run --kernel vmlinuz --initrd initramfs --memory 256M --cmdline '{CMDLINE}' --fs shared=fd:9 \\
            --console out/console </dev/null
        wait $server  # ends with the machine
        umount disk
    """, timeout=350, modules=("virtiofs",), programs=[builds.helper("fsprobe", near)],
                  files=[builds.helper("unixfd", near), builds.helper("fsprobe", near), *files], host_modules=("loop", *kvmhost.EXT4))
    t.eq(res.code, 0)
    want = (res.files / "host").read_text().splitlines()
    got = (res.files / "console").read_text().replace("\r", "").splitlines()
    t.eq(want[-1], "end")
    t.eq(list(difflib.unified_diff(want, got[:got.index("end") + 1], "the host's", "through the server", lineterm="", n=1)), [])


@case(timeout=400, needs=(VIRTIOFSD, "mkfs.ext4"), only=("cor",))
def test_virtiofsd(t):
    """A directory served by somebody else's vhost-user back end, QEMU's virtiofsd: lib/fsprobe.c sees what it sees on the host."""
    ask_through(t, f"{VIRTIOFSD} --socket-path=s -o source=$PWD/disk/shared -o sandbox=chroot -o xattr", VIRTIOFSD_CASES)


@case(timeout=400, needs=("mkfs.ext4",), only=("cor",))
def test_cor_fsd(t):
    """Both ends of vhost-user ours, cor-fsd behind --fs: all of the questions."""
    ours = [program(t).parent / n for n in ("cor-jail", "cor-fsd")]
    ask_through(t, "./cor-jail --listen s --root $PWD/disk/shared fsd $PWD/cor-fsd --vhost-user 3 --fds 4", (), ours)


NET_BYTES = 2 << 20
NET_OFFLOADS = {0: "CSUM", 1: "GUEST_CSUM", 7: "GUEST_TSO4", 8: "GUEST_TSO6", 11: "HOST_TSO4", 12: "HOST_TSO6"}  # virtio 1.2, 5.1.3


@case(timeout=240, only=("cor",))
def test_net(t):
    """A stock driver on a tap, its checksums and segmentation left to the host: what is sent arrives, in both directions."""
    blob = t.path("blob")
    blob.write_bytes(os.urandom(NET_BYTES))
    res = vmm_job(t, """
        busybox ifconfig eth0 10.7.0.2 netmask 255.255.255.0 up
        echo "features $(cat /sys/class/net/eth0/device/features)"
        busybox mkfifo /open; exec 9<>/open  # its end would be the connection's
        busybox nc 10.7.0.1 1001 <&9 >/got
        busybox nc 10.7.0.1 1002 </got
        echo "got $(busybox md5sum </got)"
    """, f"""
        busybox nc -l -p 1001 <blob & down=$!
        mkfifo open; exec 9<>open
        busybox nc -l -p 1002 >back <&9 & up=$!
        ./cor-vmm run --kernel vmlinuz --initrd initramfs --memory 256M --cmdline '{CMDLINE}' --net tap=cor0 --console out/console \
            </dev/null & vm=$!
        until [ -e /sys/class/net/cor0 ]; do kill -0 $vm; sleep 0.1; done
        busybox ifconfig cor0 10.7.0.1 netmask 255.255.255.0 up
        wait $vm; wait $down; wait $up
        cmp blob back && echo same
        sed -n 's/^features \\([01]*\\).*/\\1/p' out/console
    """, timeout=200, modules=("virtio_net",), files=[blob], host_modules=("tun",))
    same, features = res.out.split()
    t.eq((res.code, same), (0, "same"), res.err)
    # Not asked by the number of packets: where a guest answers late its peer sends frame by frame, for fear of loss.
    t.eq([name for bit, name in NET_OFFLOADS.items() if features[bit] != "1"], [], "offloads that the driver did not take")


@case(timeout=150, only=("cor",))
def test_memory_sizes(t):
    """Memory of the host's pool: all of it is taken at the start and comes back; what the pool has not, and what a kernel can't do
    with, is said."""
    res = vmm_job(t, "echo up; read -r go", f"""
        echo 65 >/proc/sys/vm/nr_hugepages
        pool() {{ sed -n 's/^HugePages_Free: *//p' /proc/meminfo; }}
        run() {{ ./cor-vmm run --kernel vmlinuz --initrd initramfs --cmdline '{CMDLINE}' --console out/console "$@" </dev/null; }}
        pool
        run --huge-pages --memory 128M --control control & vm=$!
        until grep -qs up out/console; do kill -0 $vm; sleep 0.1; done
        [ $(sed -n 's/^HugePages_Rsvd: *//p' /proc/meminfo) -lt 64 ] && echo used
        run --huge-pages --memory 32M || echo "refused $?"  # of what is promised to the first
        ./cor-vmm ctl control stop
        wait $vm; pool
        run --huge-pages --memory 132M || echo "refused $?"
        run --memory 32M || echo "refused $?"
        run --memory 31M || echo "refused $?"
    """, timeout=130)
    t.eq((res.code, res.out.split("\n")), (0, ["65", "used", "refused 2", "65", *["refused 2"] * 3, ""]), res.err)
    t.eq(res.err.count("memory (of the host's huge pages; sysctl vm.nr_hugepages"), 2)
    t.has(res.err, "give the machine more", "memory: whole MiB from 32M to 1024G")


@case(timeout=120, needs=("strip",), only=("cor",))
def test_small(t):
    """The program beside its guest: below 1 MB of memory of its own, below 400 KB on disk."""
    small = t.path("stripped")
    subprocess.run(["strip", "-o", small, program(t)], check=True)
    res = vmm_job(t, "echo up; busybox sleep 1000", f"""
        truncate -s 1M disk
        ./cor-vmm run --kernel vmlinuz --initrd initramfs --memory 256M --cpus 4 --cmdline '{CMDLINE}' --disk disk --rng --balloon \\
            --control control --console out/console </dev/null &
        until grep -q up out/console 2>/dev/null; do kill -0 $!; sleep 0.1; done
        awk '{PRIVATE}' /proc/$!/smaps
        ./cor-vmm ctl control stop
        wait $!
    """, timeout=100)
    kib = int(res.out.split()[0])
    t.report(f"{kib} KiB of its own, {small.stat().st_size} bytes stripped")
    t.true(0 < kib < 1000, res.out)
    t.true(small.stat().st_size < 400_000, str(small.stat().st_size))


HOSTILE_S = int(os.environ.get("COR_TEST_HOSTILE_S", "10"))
HOSTILE_BUILD = ("-O1 -Wall -Wextra -Werror -std=c11 -ffreestanding -fno-stack-protector -fno-pie -no-pie -mno-red-zone "
                 "-mgeneral-regs-only -nostdlib -static -Wl,-Ttext-segment=0x200000,--build-id=none").split()
HOSTILE_DEVICES, LOG_LINES = 8, 8  # VDEV_LOG_MAX


@case(timeout=120 + 2 * HOSTILE_S, needs=("gcc",), only=("cor",))
def test_hostile(t):
    """A guest writes garbage to every register, ring and doorbell (lib/hostile.c): the machine lives, or ends with a
    reason, and the log has a bound. COR_TEST_HOSTILE_S=60: for a minute instead of some seconds."""
    guest = t.path("hostile")
    subprocess.run(["gcc", *HOSTILE_BUILD, "-o", guest, builds.TESTS / "lib/hostile.c"], check=True)
    res = kvmhost.job(t, kvmhost.of(t), ["sh", "-ec", f"""
        truncate -s 2M disk pmem; mkfifo port
        end=$(($(date +%s) + {HOSTILE_S}))
        seed=0
        while [ $(date +%s) -lt $end ]; do
            seed=$((seed+1))
            ./cor-vmm run --kernel hostile --memory 64M --cmdline seed=$seed --disk disk --disk disk,ro --pmem pmem \\
                --pmem pmem,private --rng --balloon --net tap=hostile --port cor.agent=fd:5 --control control --console out/console \\
                --serial out/serial.$seed </dev/null 2>out/$seed.log 5<>port &
            # until it ends by itself, or the time is up
            while kill -0 $! 2>/dev/null && [ $(date +%s) -lt $end ]; do sleep 0.2; done
            if kill -0 $! 2>/dev/null; then
                ./cor-vmm ctl control info || echo "seed $seed: it answers no more"
                ./cor-vmm ctl control stop || true
            fi
            code=0; wait $! || code=$?
            echo "seed=$seed code=$code lines=$(wc -l <out/$seed.log) bytes=$(wc -c <out/$seed.log) steps=$(wc -c <out/serial.$seed)"
        done
    """], files=[program(t), guest], timeout=60 + HOSTILE_S, modules=("tun",), check=0)
    runs = [dict(word.split("=") for word in line.split()) for line in res.out.splitlines() if line.startswith("seed=")]
    t.report(f"{len(runs)} runs, {sum(int(r['steps']) for r in runs) * 100} steps, {sum(int(r['lines']) for r in runs)} lines")
    t.true(runs and "answers no more" not in res.out, res.out)
    t.true(sum(int(r["steps"]) for r in runs) > 10, "the guests did nothing\n" + res.out)
    t.true(any(int(r["lines"]) for r in runs), "no device was ever broken: the guests are too well-behaved\n" + res.out)
    for r in runs:
        log = (res.files / f"{r['seed']}.log").read_text()
        t.true(r["code"] == "0" or (r["code"] == "2" and "reason=" in log), f"seed {r['seed']}: exit code {r['code']}\n{log}")
        t.true(int(r["lines"]) <= HOSTILE_DEVICES * LOG_LINES + 1 and int(r["bytes"]) < 20000, f"seed {r['seed']}: a log without bound\n{log[:2000]}")
