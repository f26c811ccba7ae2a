"""fs.py - ./bench fs: what files cost, by the way on which a guest comes to them.

Every way runs the same program (lib/fsbench.c) on a directory in the host's memory: in containers, and in guests
of our own making (kernel and initrd the same for all, no init system) where cor has no such way or it is to be compared.
Twice, if there is no KVM here: in the counting host (count.py), where all hypervisors run by KVM and the clock is
the number of instructions done; and here, where QEMU emulates and the clock is the clock.
"""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile

import bundle
import count
import host
import kvmhost
from launcher import Error
from report import Result, Table, show

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT_S = 3600
FILES, MIB, BLOCKS = 50, 4, 50
DISK_MIB = 96
MEMORY = "512M"
MODULES = ("virtio_pci", "virtio_console", "virtio_blk", "virtio_pmem", "nd_pmem", *kvmhost.EXT4, "virtiofs")
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
# Words of the command line with "=" and no "." are the environment of /init.
GUEST = "busybox mkdir /mnt; busybox mount -t $fs_type -o $fs_options $fs_source /mnt && fsbench /mnt {}"
CMDLINE = ("console=hvc0 quiet panic=-1 reboot=t cryptomgr.notests no_timer_check tsc=reliable rcupdate.rcu_expedited=1 "
           "fs_type={} fs_source={} fs_options={}")
Q35 = count.Q35.replace("-bios qboot.rom ", "")

# What is shown: title, and whose line it is.
COLUMNS = (("untar", "untar"), ("find", "find"), ("status", "status"), ("cat", "cat"), ("rm", "rm"), ("write MiB", "write"),
           ("read MiB", "read"), ("read 4K", "randread"), ("write 4K", "randwrite"))
NAMES = {k for _, k in COLUMNS}
MOUNT_POINTS = ("work", "proc", "dev", "sys", "tmp")
# What kvmhost-init runs in the counting host; before it, what the ways find.
JOB = """{}sh /fs-job >/results
echo complete >>/results
stty -F /dev/ttyS1 raw
cat /results >/dev/ttyS1
"""

ABOUT = f"""What one file, one MiB or one block costs. A tree of {FILES} files of 1 to 8 KiB is written as tar does (open, write, times, owner, mode), its files
are looked at as by `find` (with nothing in the guest's caches) and as by `git status` (a second time, names known), read, removed. Then {MIB} MiB in pieces of
1 MiB, written until `fsync` has returned and read with nothing in the guest's page cache, and {BLOCKS} blocks of 4 KiB here and there. What is shared, and the disk images, are
in the host's memory. "cor" rows are containers; the others guests of {MEMORY} with the same kernel, a static /init and nothing else: blk is a raw
disk with ext4, dax the same on virtio-pmem, mounted `-o dax` (what cor offers of the last is read-only: images).

The first table is in thousands of instructions, those of guest, hypervisor, file server and host's kernel together, on one emulated processor with SVM (as `./bench
count`; they repeat, nothing runs side by side). The second is time on this machine."""


def arguments(p):
    p.add_argument("--way", action="append", metavar="TEXT", help="only ways whose name holds TEXT")
    p.add_argument("--files", type=int, default=FILES, metavar="N", help=f"of the tree ({FILES})")
    p.add_argument("--mib", type=int, default=MIB, metavar="N", help=f"of the large file, at most {DISK_MIB // 2} ({MIB})")
    p.add_argument("--blocks", type=int, default=BLOCKS, metavar="N", help=f"read and written here and there ({BLOCKS})")
    p.add_argument("--where", choices=("counted", "here", "both"), default="both", help="which tables (both)")


def sizes(opts):
    return [str(opts.files), str(opts.mib), str(opts.blocks)]


def vmm(bench):
    return pathlib.Path(bench.cor).parents[1] / "libexec/cor/cor-vmm"


def kernel(bench):
    return pathlib.Path(bench.cor).parents[2] / "os/vmlinux"


def ways(bench, opts, kvm):
    """Name -> shell command in a fresh directory, None if it needs KVM and there is none. $F: files()."""
    disk = f"{shutil.which('mke2fs')} -q -t ext4 -b 4096 -m 0 disk {DISK_MIB}M >/dev/null; "
    share = (f"mkdir share; {VIRTIOFSD} --socket-path=s -o source=$PWD/share -o xattr -o sandbox=chroot >log 2>&1 & "
             "until [ -S s ]; do sleep 0.1; done; ")
    lib = vmm(bench).parent
    served = (f"mkdir share; {lib}/cor-jail --listen $PWD/s --root $PWD/share fsd {lib}/cor-fsd --vhost-user 3 --fds 4 >log 2>&1 & "
              "until [ -S s ]; do sleep 0.1; done; ")
    shown, ends = "; cat console", "; wait"  # or its end would take the next one's socket away
    ext4, dax, fs = (" " + shlex.quote(CMDLINE.format(*w)) for w in (("ext4", "/dev/vda", "noatime"),
                     ("ext4", "/dev/pmem0", "noatime,dax"), ("virtiofs", "cor", "noatime")))
    ours = f"{vmm(bench)} run --kernel $F/vmlinux --initrd $F/initrd --memory {MEMORY} --console console --cmdline"
    accel = "kvm -cpu host" if kvm else "tcg -cpu max"
    qemu = (f"qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none {Q35} -accel {accel} "
            "-kernel $F/vmlinux -initrd $F/initrd -device virtio-serial-pci -chardev file,id=c,path=console "
            "-device virtconsole,chardev=c -append")
    shared = (f"{qemu}{fs} -m {MEMORY} -object memory-backend-memfd,id=m,size={MEMORY},share=on "
              f"-numa node,memdev=m -chardev socket,id=f,path=s -device vhost-user-fs-pci,chardev=f,tag=cor{shown}")
    cor = f"{bench.cor} --root $PWD/state --set template=off --set vm.memory={MEMORY}"
    run = f"run --bundle $F/bundle fsbench{os.getpid()}"
    found = {
        "the host itself": f"mkdir d; $F/fsbench d {' '.join(sizes(opts))}",
        "virtio-fs: cor, cor-vmm": f"{cor} --set hypervisor=kvm {run}",
        "virtio-fs: cor-vmm, virtiofsd": f"{share}$F/unixfd s 9 {ours}{fs} --fs cor=fd:9{shown}",
        "virtio-fs: cor-vmm, cor-fsd by vhost-user": f"{served}$F/unixfd s 9 {ours}{fs} --fs cor=fd:9{shown}{ends}",
        "virtio-fs: QEMU, virtiofsd": f"{share}{shared}",
        "virtio-fs: QEMU, cor-fsd": f"{served}{shared}{ends}",
        "virtio-fs: cor, QEMU": f"{cor} --set hypervisor=qemu --set qemu.share=virtiofs --set qemu.accel={'kvm' if kvm else 'tcg'} {run}",
        "9p: cor, QEMU": f"{cor} --set hypervisor=qemu --set qemu.accel={'kvm' if kvm else 'tcg'} {run}",
        "blk: cor-vmm": f"{disk}{ours}{ext4} --disk disk{shown}",
        "blk: QEMU": f"{disk}{qemu}{ext4} -m {MEMORY} -drive file=disk,format=raw,if=none,id=d -device virtio-blk-pci,drive=d{shown}",
        "dax: cor-vmm": f"{disk}{ours}{dax} --pmem disk{shown}",
        "dax: QEMU": f"{disk}{qemu}{dax} -m {MEMORY},maxmem=2G -object memory-backend-file,id=m,share=on,mem-path=disk,size={DISK_MIB}M "
                     f"-device virtio-pmem-pci,memdev=m{shown}",
    }
    return {n: None if not kvm and "cor-vmm" in n else c for n, c in found.items()
            if not opts.way or any(t in n for t in opts.way)}


def initrd(bench, opts):
    """Of the guests that are not containers."""
    path = bench.dir / "fs-initrd"
    if path.exists():
        return path
    return kvmhost.write_guest(path, GUEST.format(" ".join(sizes(opts))), MODULES, [bench.helper("fsbench")])


def config(opts):
    conf = bundle.config(["/fsbench", "/work", *sizes(opts)])
    conf["process"]["capabilities"] = {k: v + ["CAP_SYS_ADMIN"] for k, v in conf["process"]["capabilities"].items()}
    conf["linux"]["readonlyPaths"] = []  # it drops the guest's caches
    return conf


def files(bench, opts, todo):
    """Name below $F -> content or path."""
    return {"vmlinux": kernel(bench), "initrd": initrd(bench, opts),
            "fsbench": bench.helper("fsbench"), "unixfd": bench.helper("unixfd"),
            "bundle/config.json": json.dumps(config(opts)).encode(), "bundle/rootfs/fsbench": bench.helper("fsbench"),
            "ways": "".join(f"{n}\t{c}\n" for n, c in todo.items()).encode()}


def content(v):
    return v if isinstance(v, bytes) else v.read_bytes()


def parse(text, names):
    """Way -> (exit code, {name: (count, ns)}, what it said). names: all that a way must have said."""
    found, name = {}, None
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "way":
            name, found[rest] = rest, [None, {}, []]
        elif word == "exit" and name:
            found[name][0] = int(rest)
        elif name:
            fields = line.split()
            if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
                found[name][1][fields[0]] = (int(fields[1]), int(fields[2]))
            else:
                found[name][2].append(line)
    for name, (code, rows, said) in found.items():
        if code != 0 or "complete" not in said or rows.keys() != names:
            raise Error(f"{name}: exit code {code}: " + "\n".join(said[-20:]))
    return found


def in_counting_host(bench, mine, names, programs=(), directories=(), before="", modules=()):
    """Runs fs-job there. mine: what is below $F, as of files(); programs: of this machine, beside QEMU; before: a shell script."""
    def more(c):
        count.add_host(bench, c, programs, ("mkdir", "rm", "tr", "setsid", "tee", "mount", "dd", "sync"))
        for name, v in mine.items():
            c.file(f"files/fs/{name}", content(v), 0o755)
        for d in directories:
            c.directory(f"files/fs/{d}")
        c.file("files/fs-job", (HERE / "fs-job").read_bytes())
        c.file("files/kvmhost/job", JOB.format(before).encode(), 0o755)

    def watch(console, _):
        lines = [line for line in console.splitlines() if line.startswith("way ")]
        bench.say(f"counted: {lines[-1][4:]}" if lines else "the counting host boots")

    try:
        return parse(kvmhost.count(more, TIMEOUT_S, watch, bench.dir, modules=modules).removesuffix("complete\n"), names)
    except kvmhost.HostError as e:
        raise Error(str(e)) from e


def repeated(found):
    """Notes on what was done a second time."""
    return [f"{n}: repeated, because the first try {line.removeprefix('hung ')} (docs/testing-kvm.md, \"What hangs\")"
            for n, f in found.items() for line in f[2] if line.startswith("hung ")]


def counted(bench, opts, todo):
    return in_counting_host(bench, files(bench, opts, todo), NAMES, ("mke2fs", VIRTIOFSD), [f"bundle/rootfs/{d}" for d in MOUNT_POINTS])


def here(bench, opts, todo):
    top = pathlib.Path(tempfile.mkdtemp(prefix=bench.token, dir="/dev/shm" if host.is_tmpfs("/dev/shm") else None))
    try:
        top.chmod(0o755)
        for name, v in files(bench, opts, todo).items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(v))
            path.chmod(0o755)
        for d in MOUNT_POINTS:
            (top / "bundle/rootfs" / d).mkdir()
        said = ""
        with subprocess.Popen(["sh", HERE / "fs-job"], env=dict(os.environ, F=str(top)), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True) as child:
            for line in child.stdout:
                said += line
                if line.startswith("way "):
                    bench.say(f"here: {line[4:].strip()}")
        return parse(said, NAMES)
    finally:
        shutil.rmtree(top, ignore_errors=True)


def table(title, todo, found):
    rows = []
    for name, command in todo.items():
        if command is None:
            rows.append([f"{name} (needs KVM)"] + ["-"] * len(COLUMNS))
        else:
            figures = found[name][1]
            rows.append([name] + [show(figures[k][1] / figures[k][0] / 1000) for _, k in COLUMNS])
    return Table([title] + [c for c, _ in COLUMNS], rows)


def run(bench, opts):
    if opts.mib > DISK_MIB // 2:
        raise Error(f"fs: --mib {opts.mib} does not fit on a disk of {DISK_MIB} MiB")
    res = Result("fs", "Files: what one of them costs", ABOUT)
    kvm = kvmhost.usable_here(pathlib.Path(bench.cor).parents[2]) is None
    if opts.where != "here":
        todo = ways(bench, opts, True)
        found = counted(bench, opts, todo)
        res.tables.append(table("thousands of instructions", todo, found))
        res.notes += repeated(found)
        res.data["counted, ns of a clock with one instruction each"] = {n: f[1] for n, f in found.items()}
    if opts.where != "counted":
        todo = ways(bench, opts, kvm)
        others = host.Others(lambda: 0.0)
        found = here(bench, opts, {n: c for n, c in todo.items() if c})
        res.tables.append(table(f"microseconds, {'KVM' if kvm else 'TCG'}", todo, found))
        res.notes.append(f"this machine was busy by {others.percent():.0f} % while the second was measured, with what was measured")
        res.data["here, ns"] = {n: f[1] for n, f in found.items()}
    return res
