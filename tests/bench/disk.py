"""disk.py - ./bench disk: what requests to a disk cost, synchronous and by io_uring.

In the counting host (count.py) one program (lib/diskbench.c) makes the same requests to a file or a block device as a virtual machine
monitor does, by preadv() and pwritev() and by io_uring; and in a guest of cor-vmm, whose disk that file is. The block
devices are the kernel's null_blk: one that holds the file system of the file, one that does nothing at once, and one that does it
later, so that it shows whether more than one request is under way.
"""

import shlex

import fs
import kvmhost
from report import Result, Table, show

DELAY_US = 1000
REGIONS_MIB = 128  # of lib/diskbench.c
MODULES = ("null_blk", *kvmhost.EXT4)
GUEST_MODULES = ("virtio_pci", "virtio_console", "virtio_blk")
CMDLINE = "console=hvc0 quiet panic=-1 reboot=t cryptomgr.notests no_timer_check tsc=reliable rcupdate.rcu_expedited=1"
# What is shown: title, and whose line it is.
COLUMNS = tuple((f"{what} {size}, {depth}", f"{what}-{size}-{depth}") for what in ("read", "write") for size in ("1M", "4K") for depth in (1, 16))
PLACES = {  # name -> (path, "direct" or not, what is done before)
    "hot file": ("/mnt/file", False, "cat /mnt/file >/dev/null"),
    "device": ("/dev/disk-now", True, ""),
    "slow device": ("/dev/disk-later", True, ""),
    "slow device, page cache": ("/dev/disk-later", False, "echo 3 >/proc/sys/vm/drop_caches"),
}
BEFORE = """export LIMIT={limit}
mount -t configfs configfs /sys/kernel/config
null() {{ # NAME MIB MEMORY WHEN NS: /dev/NAME
	d=/sys/kernel/config/nullb/$1
	mkdir $d
	echo $2 >$d/size
	echo $3 >$d/memory_backed
	echo $4 >$d/irqmode
	echo $5 >$d/completion_nsec
	echo 1 >$d/no_sched
	echo 1 >$d/power
}}
null disk-file {size} 1 0 0
null disk-now {mib} 0 0 0
null disk-later {mib} 0 2 {delay}
mke2fs -q -t ext4 -m 0 -E lazy_itable_init=0,lazy_journal_init=0 /dev/disk-file
mkdir /mnt
mount -t ext4 -o noatime /dev/disk-file /mnt
dd if=/dev/zero of=/mnt/file bs=1M count={mib} 2>/dev/null
sync
"""

ABOUT = """What one request costs, of 1 MiB (16 of them) or of 4 KiB at places here and there (256), with 1 or up to 16 of them under way. "Hot file" is a file of ext4 that
is in the page cache. "Device" is a block device that does nothing, at once, opened with O_DIRECT; "slow device" does nothing {delay} microseconds later, "page cache" is the
same without O_DIRECT, with nothing of it in the cache before. "sync" and "io_uring" make the requests as a virtual machine monitor does, which gets up to so many at once:
by preadv() and pwritev(), one after the other, or all at once. "cor-vmm" is a guest with a disk there, whose program asks its own kernel for them (libaio, O_DIRECT).

Thousands of instructions on one emulated processor with SVM (as `./bench count`; they repeat, nothing runs side by side). Where the device is slow, the time that the processor
stood still is in it, one instruction a nanosecond: there it is the time that a request took of a run."""


def arguments(p):
    p.add_argument("--way", action="append", metavar="TEXT", help="only ways whose name holds TEXT")
    p.add_argument("--delay-us", type=int, default=DELAY_US, metavar="N", help=f"of the slow device ({DELAY_US})")


def ways(bench, opts):
    """Name -> shell command. $F: files()."""
    ours = (f"{fs.vmm(bench)} run --kernel $F/vmlinux --initrd $F/initrd --memory {fs.MEMORY} --console console "
            f"--cmdline {shlex.quote(CMDLINE)} --disk")
    found = {}
    for place, (path, direct, before) in PLACES.items():
        before = before and before + "; "
        for name, engine in (("sync", "sync"), ("io_uring", "uring")):
            found[f"{place}: {name}"] = f"{before}$F/diskbench {path} {engine}{' direct' if direct else ''}"
        if not direct:  # cor-vmm takes no such disk
            found[f"{place}: cor-vmm"] = f"{before}{ours} {path}; cat console"
    return {n: c for n, c in found.items() if not opts.way or any(t in n for t in opts.way)}


def files(bench, todo):
    """Name below $F -> content or path."""
    guest = kvmhost.write_guest(bench.dir / "disk-initrd", "diskbench /dev/vda aio direct", GUEST_MODULES, [bench.helper("diskbench")])
    return {"vmlinux": fs.kernel(bench), "initrd": guest, "diskbench": bench.helper("diskbench"),
            "ways": "".join(f"{n}\t{c}\n" for n, c in todo.items()).encode()}


def run(bench, opts):
    todo = ways(bench, opts)
    before = BEFORE.format(size=2 * REGIONS_MIB, mib=REGIONS_MIB, delay=1000 * opts.delay_us, limit=5 + opts.delay_us // 200)
    found = fs.in_counting_host(bench, files(bench, todo), {k for _, k in COLUMNS}, ("mke2fs",), before=before, modules=MODULES)
    res = Result("disk", "Disk: what a request costs", ABOUT.format(delay=opts.delay_us))
    rows = [[n] + [show(found[n][1][k][1] / found[n][1][k][0] / 1000) for _, k in COLUMNS] for n in todo]
    res.tables.append(Table(["thousands of instructions"] + [c for c, _ in COLUMNS], rows))
    res.notes += fs.repeated(found)
    res.data["counted, ns of a clock with one instruction each"] = {n: f[1] for n, f in found.items()}
    return res
