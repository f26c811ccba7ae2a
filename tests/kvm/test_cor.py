"""cor with KVM: on QEMU and on cor-vmm. Most of it asks what lane vm asks: tests/run runs a few of its tests on the host with KVM.

COR_TEST_HYPERVISOR=kvm (or qemu) runs all of lane vm there, file by file: an hour where the host is emulated.
"""

import difflib
import json
import os
import pathlib
import re
import shlex

import builds
import bundle
import harness
import kvmhost
import nested
from harness import case

TESTS = pathlib.Path(__file__).resolve().parent.parent
SLOWER = 4  # guests of an emulated host
QEMU = ("qemu.accel=kvm",)
OURS = ("hypervisor=kvm",)
CAPS = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETFCAP MKNOD SYS_ADMIN NET_BIND_SERVICE"
CLONES = ("template=on", "template.dir=/root/templates")


def vm_tests(t, *names, settings=QEMU, timeout=120, env=(), jobs=2, modules=()):
    """Runs these tests of lane vm there, and counts each as a step here."""
    argv = [TESTS / "run", "--runtime", t.opts.runtime, "--build", t.opts.build, "--jobs", jobs]
    for s in (*settings, f"vm.boot_timeout={120 * harness.SLOW:.0f}s"):
        argv += ["--set", s]
    for n in names:
        argv += ["--filter", n]
    host = kvmhost.of(t)
    env = dict(env, COR_TEST_SLOW=harness.SLOW * (SLOWER if host.emulated else 1))
    res = host.run(argv + ["vm"], env=env, timeout=timeout * harness.PATIENCE, modules=modules)
    nested.steps(t, res, names)


@case(timeout=60, only=("cor",), quick=True)
def test_check(t):
    """`cor check` finds KVM."""
    res = kvmhost.job(t, kvmhost.of(t), [t.opts.runtime, "check"], timeout=30, check=0)
    t.has(res.out, "guest code ran", "by KVM")


@case(timeout=200, only=("cor",))
def test_life(t):
    """Booted: pause, a guest's panic, hooks and what a failed one leaves."""
    vm_tests(t, "vm/life.pause", "vm/life.guest_panic", "vm/hooks.failing", timeout=150)


@case(timeout=200, only=("cor",))
def test_templates(t):
    """Saved and cloned: its own identity, clocks that go on as fast as outside, two CPUs, spoilt templates."""
    vm_tests(t, "vm/template.own_machine", "vm/template.sizes", timeout=150)


@case(timeout=300, only=("cor",))
def test_vmm_life(t):
    """On cor-vmm: pause, a guest's panic, hooks and what a failed one leaves."""
    vm_tests(t, "vm/life.pause", "vm/life.guest_panic", "vm/hooks.failing", settings=OURS, timeout=250)


@case(timeout=300, only=("cor",))
def test_vmm_clones(t):
    """On cor-vmm: own identity of a clone, two CPUs, spoilt templates, memory for KSM."""
    vm_tests(t, "vm/template.own_machine", "vm/template.sizes", "vm/memory.ksm", settings=OURS, timeout=250)


# A template's list of pages as it was made, cut, damaged, gone and made anew.
HOT = r"""
cor() { "$cor" --set hypervisor=kvm --set template.dir=$PWD/t "$@" </dev/null 2>err; echo "= $?"; sed 's/^/err: /' err; }
run() { cor run --bundle bundle $1; }
hot() { echo t/default/*/hot; }
say() { echo "-- $1"; }
say made; cor template make; head -c 6 $(hot); echo; ls -A t; [ $(stat -c %s $(hot)) -gt 400 ] && echo long
say whole; run a
say cut; truncate -s -8 $(hot); run b
say damaged; printf X | dd of=$(hot) bs=1 seek=8 conv=notrunc 2>/dev/null; run c
say gone; rm $(hot); run d
say anew; cor template rm $(basename $(dirname t/default/*/manifest)); cor template make; head -c 6 $(hot); echo
say all; ls t/default/*/manifest | wc -l; ls t
image() { cor --set template=on --set image.store=$PWD/store --set template.dir=$PWD/i run --image x --name $1 -- echo fine; }
say image; "${cor%/*}/cor-image" import bundle/rootfs --name x --store $PWD/store --quiet >/dev/null || echo no; image e
for i in $(seq 60); do [ -e i/default/*/manifest ] && break; sleep 1; done; head -c 6 i/default/*/hot; echo; image f
"""


@case(timeout=300, only=("cor",))
def test_vmm_hot_pages(t):
    """On cor-vmm: making a template learns what pages clones write; one runs with a list that does not hold, and without."""
    res = kvmhost.job(t, kvmhost.of(t), ["sh", "-c", HOT], files=[(bundle.make(t.dir / "b", bundle.config(["echo", "fine"])), "bundle")],
                      env={"cor": t.opts.runtime}, timeout=250, check=0)
    got = dict(part.partition("\n")[::2] for part in res.out.split("-- ")[1:])
    with t.step("learnt when the template is made"):
        t.eq(got["made"], "= 0\nCORHOT\ndefault\nlong\n")
    for name in ("whole", "cut", "damaged", "gone"):
        with t.step(f"a clone runs: {name}"):
            t.eq(got[name], "fine\n= 0\n")
    with t.step("learnt anew, nothing left"):
        t.eq(got["anew"], "= 0\n= 0\nCORHOT\n")
        t.eq(got["all"], "1\ndefault\n")
    with t.step("of an image, learnt beside the first container"):
        t.eq(got["image"], "fine\n= 0\nCORHOT\nfine\n= 0\n")
        t.eq(res.left or [], [])


@case(timeout=700, only=("cor",))
def test_vmm_run_image(t):
    """On cor-vmm: a root made of five images, and of sixty layers; two such containers, clones, whose image is removed under them."""
    vm_tests(t, "vm/image.layers", settings=OURS, timeout=200)
    vm_tests(t, "vm/image.tall", settings=OURS, timeout=250)
    vm_tests(t, "vm/image.life", settings=OURS + CLONES, timeout=250)


@case(timeout=500, only=("cor",))
def test_vmm_disk(t):
    """On cor-vmm: what a container of an image writes goes to a disk."""
    vm_tests(t, "vm/disk.written", settings=OURS, timeout=250)


@case(timeout=400, only=("cor",))
def test_vmm_disk_clones(t):
    """On cor-vmm: each clone has a disk of its own."""
    vm_tests(t, "vm/disk.clones", settings=OURS, timeout=350)


@case(timeout=600, only=("cor",))
def test_vmm_idmap(t):
    """On cor-vmm: idmapped bind mounts; of a clone, too."""
    modules = ("loop", *kvmhost.EXT4)
    vm_tests(t, "vm/idmap.", settings=OURS, timeout=300, modules=modules)
    argv = [t.opts.runtime, *(w for s in OURS + CLONES for w in ("--set", s)), "template", "make"]
    kvmhost.job(t, kvmhost.of(t), argv, timeout=100, check=0)
    vm_tests(t, "vm/idmap.user_namespace", settings=OURS + CLONES, timeout=100, modules=modules, env={"COR_TEST_TEMPLATE": "on"})


# A layer's file whose content the kernel checks. The mark is in a file of its own of two blocks.
VERITY = r"""
truncate -s 256M disk.img; mkfs.ext4 -q -b 4096 -O verity disk.img; mkdir mnt; mount -o loop disk.img mnt
truncate -s 64M plain.img; mkfs.ext4 -q -b 4096 -O ^verity plain.img; mkdir plain; mount -o loop plain.img plain
mkdir -p root/bin; cp ./busybox root/bin/; ln -s busybox root/bin/sh; ln -s busybox root/bin/cat
{ head -c 6000 /dev/zero | tr '\0' x; echo the-mark; } >root/mark
tar -C root -cf root.tar .
take() { "$image" import root.tar --store "$@" --name app --quiet >/dev/null || { echo "import $?"; return; }
         "$image" inspect app --store $1 | grep -o '"verity":"[^"]*"'; }
check() { "$image" verify app --store mnt/s --quiet >/dev/null; echo "verify $?"; }
cor() { "$cor" --set hypervisor=kvm --set image.store=$PWD/mnt/s "$@" </dev/null 2>err; echo "= $?"; sed 's/^/err: /' err; }
run() { cor --set image.verity=$1 run --image app -- $2; }
layer() { echo mnt/s/layers/*.erofs; }
words() { grep -o "[^:]*$"; }
spoil() { for at in $(grep -abo the-mark disk.img | cut -d : -f 1); do printf X | dd of=disk.img bs=1 seek=$at conv=notrunc 2>/dev/null; done; }
say() { echo "-- $1"; }
"""


@case(timeout=400, needs=("mkfs.ext4", "mkfs.erofs"), only=("cor",))
def test_verity(t):
    """fs-verity of layers, on an ext4 that has it: noted, measured, wrong bytes are never seen, another file in its place is refused."""
    res = kvmhost.job(t, kvmhost.of(t), ["sh", "-c", VERITY + r"""
        say off; take mnt/s; run require true
        say on; take mnt/s --verity require; check
        say written; chmod 600 $(layer); echo x 2>&1 >>$(layer) | words
        say run; run require '/bin/sh -c tail${IFS}-c${IFS}9${IFS}/mark'
        say incapable; take plain/s --verity require; take plain/s --verity on
        say exchanged; cp -p $(layer) copy; mv copy $(layer); run on true; check; run off '/bin/cat /no'
        say mended; rm mnt/s/layers/*; take mnt/s --verity on; check
        say spoilt; umount mnt; spoil; mount -o loop disk.img mnt; cat $(layer) 2>&1 >/dev/null | words; check; run require '/bin/cat /mark'
        umount mnt plain
    """], files=["/bin/busybox"], modules=("loop", *kvmhost.EXT4), timeout=350,
                      env={"cor": t.opts.runtime, "image": pathlib.Path(t.opts.runtime).parent / "cor-image"}, check=0)
    got = dict((part.partition("\n")[::2]) for part in res.out.split("-- ")[1:])
    digest = re.search('"verity":"([0-9a-f]{64})"', got["on"])[1]
    with t.step("without: refused if it is required"):
        t.has(got["off"], '"verity":""\n= 1\n', "image.verity = require")
    with t.step("noted, good, not to be written, of the content alone"):
        t.eq(got["on"], f'"verity":"{digest}"\nverify 0\n')
        t.has(got["written"], "Operation not permitted")
        t.eq(got["mended"], got["on"])
    with t.step("a container of it"):
        t.eq(got["run"], "the-mark\n= 0\n")
    with t.step("an ext4 without the feature"):
        t.eq(got["incapable"], 'import 2\n"verity":""\n')
        t.has(res.err, "no fs-verity here", "tune2fs -O verity")
    with t.step("a copy in its place: refused before a VM starts, found by verify, unseen if nobody asks"):
        t.has(got["exchanged"], "= 1\n", "is not the file whose fs-verity digest was noted", "verify 2\n", "= 1\nerr: cat: ")
    with t.step("wrong bytes on the disk are never seen"):
        t.has(got["spoilt"], "Input/output error", "verify 2\n", "= 255\n", "cor-vmm exited")
        t.true("the-mar" not in got["spoilt"], got["spoilt"])


@case(timeout=900, only=("cor",))
def test_vmm_pool(t):
    """On cor-vmm: VMs that wait, one taken, two that want one, killed, drained."""
    vm_tests(t, "vm/pool.own_machine", "vm/pool.life", "vm/pool.two_at_once", "vm/pool.killed", "vm/pool.kill_at_marks", "vm/pool.end",
             settings=OURS, timeout=850)


@case(timeout=300, only=("cor",))
def test_vmm_pool_idmap(t):
    """On cor-vmm: idmapped bind mounts in a VM that waited."""
    vm_tests(t, "vm/pool.idmapped", settings=OURS, timeout=250, modules=("loop", *kvmhost.EXT4))


@case(timeout=500, only=("cor",))
def test_vmm_images(t):
    """On cor-vmm: images mapped once, not to be written."""
    vm_tests(t, "vm/dax.one_copy", "vm/dax.not_written", settings=OURS, timeout=450)


@case(timeout=500, only=("cor",))
def test_vmm_image_clones(t):
    """On cor-vmm: each clone has its own images."""
    vm_tests(t, "vm/dax.clones", settings=OURS, timeout=450)


SCRIPT = r"""
mkdir -p b/rootfs/bin b/rootfs/proc
cp ./busybox b/rootfs/bin/; ln -s busybox b/rootfs/bin/sh
cd b
"$cor" spec
sed -i 's/"terminal": true/"terminal": false/; s#"sh"#"/bin/busybox", "sleep", "1000"#' config.json
run() { "$cor" --set hypervisor=kvm --log "/job/out/$1.log" run --detach "$1" </dev/null >/dev/null 2>&1; }
pid() { "$cor" state "$1" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p'; }
status() { "$cor" state "$1" | sed -n 's/.*"status": *"\(.*\)".*/\1/p'; }
stopped() { until [ "$(status $1)" = stopped ]; do :; done; }
"""


def ours(t, script, timeout=100):
    """Runs a shell script there that starts containers with run NAME; what it prints."""
    return kvmhost.job(t, kvmhost.of(t), ["sh", "-c", SCRIPT + script], files=["/bin/busybox"], timeout=timeout * harness.PATIENCE,
                       env={"cor": t.opts.runtime}, check=0)


@case(timeout=150, only=("cor",), quick=True)
def test_vmm_processes(t):
    """cor-vmm and cor-fsd: jailed, children of the monitor, in the container's cgroup, in one network namespace that is
    neither the container's nor the host's; gone with the container."""
    res = ours(t, r"""
        run c
        for p in $(pgrep -x cor-vmm) $(pgrep -x cor-fsd); do
            echo "$(cat /proc/$p/comm) $(sed -n 's/^\(Uid\|CapEff\|NoNewPrivs\|Seccomp\):[^0-9]*\([0-9a-f]*\).*/\2/p' /proc/$p/status | tr '\n' ' ')"
            [ "$(ps -o ppid= -p $p)" -eq "$(pid c)" ] && echo child
            cat /proc/$p/cgroup
        done
        for p in $(pgrep -x cor-vmm) $(pgrep -x cor-fsd) $(pid c) self; do readlink /proc/$p/ns/net; done | uniq | sort -u | wc -l
        "$cor" exec c /bin/busybox echo executed
        "$cor" kill c KILL; stopped c; "$cor" delete c; pgrep cor- || echo none
    """)
    t.eq(res.out.splitlines(), ["cor-vmm 65534 0000000000000000 1 2 ", "child", "0::/cor/c",
                                "cor-fsd 0 00000000880000db 1 2 ", "child", "0::/cor/c", "3", "executed", "none"])


@case(timeout=200, only=("cor",))
def test_vmm_ends(t):
    """The end of one process is the end of all: the file server, the VMM, the monitor."""
    with t.step("cor-fsd"):
        res = ours(t, 'run a; kill -9 $(pgrep -x cor-fsd); stopped a; "$cor" delete a; pgrep cor- || echo none')
        t.eq(res.out, "none\n")
        t.has((res.files / "a.log").read_text(), "the file server is gone")
    with t.step("cor-vmm"):
        res = ours(t, 'run b; kill -9 $(pgrep -x cor-vmm); stopped b; "$cor" delete b; pgrep cor- || echo none')
        t.eq(res.out, "none\n")
        t.has((res.files / "b.log").read_text(), "cor-vmm was killed by signal 9")
    with t.step("cor-monitor"):
        res = ours(t, 'run c; kill -9 $(pid c); while pgrep cor-; do :; done >/dev/null; status c; "$cor" delete c')
        t.eq(res.out, "stopped\n")


# Two templates, two clones; the loop ends when one has copied that much more: to mark its free memory as reported takes 400 KiB.
REST = r"""
cor() { "$cor" --set hypervisor=kvm --set template=on --set template.dir=$PWD/$d --set template.rest=$rest "$@" </dev/null; }
copied() {
    cat /proc/[0-9]*/smaps 2>/dev/null | # some end meanwhile
        awk -v of="/$1/default/" '/^[0-9a-f]+-/ { on = index($0, of) && /memory$/ } on && /^Anonymous:/ { n += $2 } END { print n + 0 }'
}
for d in quick rested; do
    [ $d = quick ] && rest=0s || rest=5s
    cor template make && cor run --detach --bundle bundle $d
done
[ $(copied rested) -gt 1000 ] && until [ $(copied quick) -gt $(($(copied rested) + 250)) ]; do sleep 0.2; done; echo less
for d in quick rested; do cor delete --force $d; done
"""


@case(timeout=200, only=("cor",))
def test_vmm_rest(t):
    """On cor-vmm: a template whose VM rested before it was saved has clones that need less memory of their own."""
    top = bundle.make(t.dir / "b", bundle.config(["sleep", "1000"]))
    res = kvmhost.job(t, kvmhost.of(t), ["sh", "-c", REST], files=[(top, "bundle")], env={"cor": t.opts.runtime}, timeout=180, check=0)
    t.eq(res.out, "less\n")
    t.eq(res.left or [], [])


# The loop ends when the agent has asked for more; without that, never.
AHEAD = """read -r d </proc/self/mountinfo; set -- $d; until grep -qx 128 /sys/class/bdi/$3/read_ahead_kb; do usleep 50000; done; echo more"""


@case(timeout=120, only=("cor",))
def test_vmm_read_ahead(t):
    """On cor-vmm: a container that has run for a while reads its files as far ahead as those of a disk."""
    top = bundle.make(t.dir / "b", bundle.config(["/bin/busybox", "sh", "-c", AHEAD]))
    res = kvmhost.job(t, kvmhost.of(t), ["sh", "-c", '"$cor" --set hypervisor=kvm run --bundle bundle c </dev/null'], files=[(top, "bundle")],
                      env={"cor": t.opts.runtime}, timeout=100, check=0)
    t.eq(res.out, "more\n")


EXT4 = """
truncate -s 256M image; mkfs.ext4 -q -b 4096 -m 0 image; mkdir disk; mount -o loop image disk
"""


@case(timeout=400, needs=("mkfs.ext4",), only=("cor",))
def test_vmm_files(t):
    """What programs rely on, asked by lib/fsprobe.c on the host's ext4 and, in a container, through virtio-fs: no line differs."""
    conf = bundle.config(["/bin/busybox", "sh", "-c", f"/fsprobe /work && /fsprobe /mnt {shlex.join(bundle.FSPROBE_BIND)}; {bundle.FSPROBE_OTHER}"])
    conf["process"]["capabilities"] = {k: ["CAP_" + c for c in CAPS.split()] for k in ("bounding", "effective", "permitted")}
    conf["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    for at, source in (("/mnt", "/job/disk/shared"), ("/other", "/job/other")):
        conf["mounts"].append({"destination": at, "type": "bind", "source": source, "options": ["bind", "rw"]})
    path = t.path("config.json")
    path.write_text(json.dumps(conf))
    probe = builds.helper("fsprobe", pathlib.Path(t.opts.runtime).parents[3])
    res = kvmhost.job(t, kvmhost.of(t), ["sh", "-ec", EXT4 + f"""
        mkdir -p other disk/plain disk/bind disk/shared disk/b/rootfs/bin disk/b/rootfs/mnt disk/b/rootfs/work disk/b/rootfs/other
        cp config.json disk/b; cp fsprobe disk/b/rootfs; cp /bin/busybox disk/b/rootfs/bin
        (./fsprobe disk/plain; ./fsprobe disk/bind {shlex.join(bundle.FSPROBE_BIND)}) >out/host
        "$cor" --set hypervisor=kvm --log out/cor.log run --bundle disk/b c >out/guest </dev/null
        umount disk
    """], files=[path, probe], modules=("loop", *kvmhost.EXT4), timeout=350,
                      env={"cor": t.opts.runtime}, check=0)
    want, got = ((res.files / n).read_text().splitlines() for n in ("host", "guest"))
    t.eq((want.count("end"), want[-1]), (2, "end"))
    want += bundle.FSPROBE_OTHER_SAYS
    t.eq(list(difflib.unified_diff(want, got, "the host's", "through virtio-fs", lineterm="", n=1)), [])


@case(timeout=200, only=("cor",))
def test_vmm_memory_cut(t):
    """A template's memory file that is cut under its clones, asleep or busy: each ends, and says why."""
    for name, args in (("asleep", '"sleep", "1000"'), ("busy", '"sh", "-c", "while :; do :; done"')):
        with t.step(name):
            res = ours(t, rf"""
                sed -i 's#"sleep", "1000"#{args}#' config.json
                cor="$cor --set template=on --set template.dir=/tmp/cut"
                $cor --set hypervisor=kvm template make || exit
                $cor --set hypervisor=kvm --log /job/out/c.log run --detach c </dev/null >/dev/null 2>&1
                grep -l /tmp/cut/ /proc/$(pgrep -x cor-vmm)/maps | wc -l
                truncate -s 4096 /tmp/cut/default/*/memory
                $cor exec c /bin/busybox true 2>/dev/null
                until $cor state c | grep -q stopped; do :; done
                $cor delete c; pgrep cor- || echo none
                rm -r /tmp/cut
            """)
            t.eq(res.out, "1\nnone\n")
            t.has((res.files / "c.log").read_text(), "a file that is guest memory was cut")


SUITE = os.environ.get("COR_TEST_HYPERVISOR")


def suite(name):
    """A test that runs one file of lane vm, with clones of one template."""

    @case(timeout=3600, only=("cor",))
    def test(t):
        settings = {"kvm": OURS, "qemu": QEMU}[SUITE] + CLONES + builds.root_settings("/root")
        builds.helper("fsprobe", pathlib.Path(t.opts.runtime).parents[3])  # an emulated host can't write there
        argv = [t.opts.runtime, *(w for s in settings for w in ("--set", s)), "template", "make"]
        kvmhost.job(t, kvmhost.of(t), argv, timeout=300, check=0)
        # One after the other: beside another test a template's maker, which has the lowest priority, finds no time on one CPU.
        vm_tests(t, f"vm/{name}.", settings=settings, timeout=3200, jobs=1,
                 env={"COR_TEST_TEMPLATE": "on", "COR_TEST_ROOT": builds.ROOT}, modules=("overlay", "loop", *kvmhost.EXT4))

    test.__name__ = f"test_suite_{name}"
    test.__doc__ = f"All of vm/{name} on one hypervisor."
    return test


if SUITE:
    globals().update({f"test_suite_{p.stem[5:]}": suite(p.stem[5:]) for p in sorted((TESTS / "vm").glob("test_*.py"))})
else:

    @case(only=("cor",))
    def test_suite(t):
        t.skip("COR_TEST_HYPERVISOR is not set: kvm or qemu runs all of lane vm on it, which takes an hour in an emulated host")
