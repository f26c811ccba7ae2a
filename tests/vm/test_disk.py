"""`cor run --image --disk`: what a container of an image writes goes to a sparse disk that ends with its VM."""

import os
import pathlib
import signal

import imagelib
import leak
from harness import LOWEST_S, case
from imagelib import demo, run

COR = ("cor",)
MIB = 1 << 20
SH = ("-u", "0", "--entrypoint", "sh", "--", "-c")
SIZE = 96 * MIB
# How it is found in a container: what it is, how large, and what is left of other runs.
LOOK = "df -k / | tail -n 1 | { read a b c; echo $(($b / 1024)); }; ls /mine 2>&1; echo mine > /mine; cat /mine /replaced; echo; "


def use(t, *more):
    """A store with an image, and a directory for its disks."""
    demo(t)
    disks = t.path("disks")
    t.rt.globals = t.rt.globals + ["--set", f"image.disk_dir={disks}", *more]
    return disks


def disk_of(t, vm, disks):
    """The file that a VM has open there and nobody else can: by a descriptor, and what that one is called."""
    found = [(fd, os.readlink(fd)) for fd in pathlib.Path(f"/proc/{vm}/fd").iterdir()]
    found = [(fd, where) for fd, where in found if where.startswith(str(disks))]
    t.eq(len({fd.stat().st_ino for fd, _ in found}), 1, found)
    return found[0]


def open_files(pid):
    """None of a process that has ended."""
    try:
        return os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []


def start(t, *argv):
    """A container that waits; the pid of its VM."""
    name = t.fresh()
    t.cleanup(lambda: t.rt("delete", "--force", name, check=None))
    out = t.dir / "start.out"
    with open(out, "ab") as f:
        child = t.spawn(t.rt.argv("run", "-d", "--image", "demo", "--name", name, "-u", "0", *argv, "--entrypoint", "sleep", "--", "1000"),
                        stdout=f, stderr=f)
        t.eq(t.end_of(child, timeout=90), 0, out.read_text())
    return name, imagelib.vm_pid(t.rt.root / name)


def exec_(t, name, script):
    return t.rt("exec", name, "sh", "-c", script, check=0).out


@case(timeout=240, vm=True, only=COR, quick=True)
def test_written(t):
    """Its size, that it is sparse, that what is deleted goes back to the host, that it is gone with whoever had it."""
    disks = use(t, "--set", f"image.disk={SIZE >> 20}M")
    name, vm = start(t)
    fd, where = disk_of(t, vm, disks)
    used = lambda: fd.stat().st_blocks * 512
    with t.step("a file of exactly that size, sparse, without a name"):
        t.eq(fd.stat().st_size, SIZE)
        t.true(used() < MIB, f"{used()} bytes at the beginning")
        t.has(where, "(deleted)")
        t.eq(os.listdir(disks), [f"ext4.1-{SIZE}"])
    with t.step("the container's root, and as large"):
        got = exec_(t, name, LOOK + "stat -f -c %t /").split("\n")
        t.true(SIZE // MIB - 4 <= int(got[0]) <= SIZE // MIB, got)
        t.has(got[1], "No such file")
        t.eq(got[2:5], ["mine", "above", "794c7630"], "what is on it, and overlayfs above")
    with t.step("deleted: the host has the space again"):
        before = used()
        exec_(t, name, "dd if=/dev/urandom of=/fill bs=1M count=20 2>/dev/null; sync")
        full = used()
        exec_(t, name, "rm /fill; sync")
        t.true(full - before >= 20 * MIB, f"{before} to {full}")
        t.wait(lambda: used() < before + MIB, "the file gives back what was deleted")
        t.report(f"of the disk the host keeps {before >> 10} KiB, {full >> 10} KiB with 20 MiB on it, {used() >> 10} KiB without")
    with t.step("full: ENOSPC, and everything else goes on"):
        got = exec_(t, name, f"dd if=/dev/zero of=/fill bs=1M count={2 * SIZE // MIB} 2>&1; echo x > /new 2>/dev/null || echo none; "
                    "cat /mine; rm /fill; echo again > /new && cat /new")
        t.has(got, "No space left on device", "mine", "again")
        t.true(fd.stat().st_size == SIZE and used() <= SIZE + MIB, f"{used()} bytes")
    with t.step("killed: nothing is left but the empty one"):
        os.kill(vm, signal.SIGKILL)
        t.wait(lambda: t.rt("state", name).json()["status"] == "stopped", "its end")
        t.rt("delete", name, check=0)
        t.eq(os.listdir(disks), [f"ext4.1-{SIZE}"])
    with t.step("so with its monitor, and deleted by force"):
        name, vm = start(t)
        os.kill(t.rt("state", name).json()["pid"], signal.SIGKILL)
        t.rt("delete", "--force", name, check=0)
        t.eq(os.listdir(disks), [f"ext4.1-{SIZE}"])
        t.true(vm not in leak.descendants(os.getpid()) or not open_files(vm), "the VM has its files still")
    with t.step("the next one finds an empty one"):
        got = run(t, *SH, LOOK, check=0).out.split("\n")
        t.has(got[1], "No such file")


def once(t, size, cloned):
    """One that starts, finds an empty disk of that size and ends; is it a clone?"""
    timing = t.path("timing.json")
    r = run(t, "--disk", size, "--timing-json", timing, *SH, LOOK + "grep -c ext4 /proc/filesystems")
    got = r.out.split("\n")
    t.eq((r.code, got[2:5]), (0, ["mine", "above", "1"]), r.err)
    t.true(abs(int(got[0]) - int(size[:-1])) <= 4, got)
    t.has(got[1], "No such file")
    t.eq('"cloned"' in timing.read_text(), cloned, "a clone")


def ready(t, n):
    t.wait(lambda: len(t.rt("template", "--format", "json", "ls").json()) == n, f"{n} templates", timeout=LOWEST_S)


@case(timeout=240, vm=True, only=COR)
def test_sizes(t):
    """A template for each size."""
    use(t, "--set", "template=on", "--set", "pool=0", "--set", f"template.dir={t.path('templates')}")
    t.rt.only_with_templates()
    for n, size in enumerate(("64M", "128M"), 1):
        with t.step(size):
            once(t, size, False)
            ready(t, n)
            once(t, size, True)
    with t.step("the first one again"):
        once(t, "64M", True)


@case(timeout=240, vm=True, only=COR)
def test_clones(t):
    """Each clone has a disk of its own, and its template none."""
    use(t, "--set", "template=on", "--set", "pool=0", "--set", f"template.dir={t.path('templates')}")
    t.rt.only_with_templates()
    with t.step("booted; a template is made"):
        once(t, "64M", False)
        ready(t, 1)
    with t.step("a clone of it"):
        once(t, "64M", True)
    with t.step("two at once have one each"):
        names = [start(t, "--disk", "64M")[0] for _ in range(2)]
        t.eq([exec_(t, n, f"ls /mine 2>/dev/null; echo {n} > /mine; sync; cat /mine") for n in names], [n + "\n" for n in names])
        t.eq([exec_(t, n, "cat /mine") for n in names], [n + "\n" for n in names])
        for n in names:
            t.rt("delete", "--force", n, check=0)


@case(timeout=120, vm=True, only=COR)
def test_host_full(t):
    """The host's file system has less space than the disk promises: errors for the container, and it goes on."""
    disks = use(t)
    disks.mkdir(mode=0o700)
    t.run(["mount", "-t", "tmpfs", "-o", "size=12M,mode=700", "tmpfs", disks], check=0)
    t.cleanup(lambda: t.run(["umount", disks]))
    r = run(t, "--disk", "64M", *SH, "dd if=/dev/zero of=/fill bs=1M count=40 conv=fsync 2>&1; rm -f /fill; sync; "
            "echo on > /new && cat /new && cat /replaced", check=0)
    t.has(r.out, "Input/output error", "on\nabove")


@case(timeout=60, only=COR)
def test_refused(t):
    """What can't be a disk: an error that names the setting and what to do."""
    disks = use(t)
    for size, what in (("1M", "16M at least"), ("20000K", "whole MiB"), ("0", "--disk"), ("9T", "image.disk"), ("x", "--disk")):
        with t.step(size):
            r = run(t, *(("--disk", size) if size != "9T" else ()), globals_=("--set", "image.disk=9T") if size == "9T" else ())
            t.eq(r.code, 1)
            t.has(r.err, what)
    with t.step("a directory that others can write to"):
        disks.mkdir(exist_ok=True)
        disks.chmod(0o777)
        r = run(t, "--disk", "64M")
        t.has(r.err, "image.disk_dir", "chmod 700")
        disks.chmod(0o700)
    with t.step("an empty disk that is none"):
        (disks / f"ext4.1-{64 * MIB}").write_bytes(b"")
        r = run(t, "--disk", "64M")
        t.has(r.err, "no empty ext4", "remove it")
    t.eq(t.rt.states(), [])
