"""virtio-fs with QEMU: cor-fsd as the vhost-user back end of a machine that is not a container, and of containers."""

import difflib
import os
import pathlib
import signal

import builds
import kvmhost
import leak
from harness import case

CMDLINE = "console=hvc0 panic=-1 quiet"


def server(t, directory, *options):
    """cor-fsd in its jail, serving a directory at a socket; returns the socket's path and what it says on stderr."""
    libexec = pathlib.Path(t.opts.runtime).parents[1] / "libexec/cor"
    sock, log = t.dir / "fs.sock", t.dir / "fsd.log"
    with open(log, "wb") as to:
        child = t.spawn([libexec / "cor-jail", "--listen", sock, "--root", directory, *options, "fsd", libexec / "cor-fsd",
                         "--vhost-user", "3", "--fds", "4"], stdout=to, stderr=to)
    t.wait(lambda: sock.exists() or child.poll() is not None, "the server's socket")
    t.true(child.poll() is None, log.read_text())
    return child, sock, log


def qemu(t, sock, script, programs=(), memory="256M"):
    """Debian's QEMU with a stock kernel, software emulation, and the directory at `sock` as `shared`."""
    console = t.dir / "console"
    t.run(["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine",
           "q35,graphics=off,usb=off,smm=off,vmport=off,hpet=off,sata=off,smbus=off,i8042=off,memory-backend=mem", "-accel", "tcg",
           "-cpu", "max", "-m", memory, "-object", f"memory-backend-memfd,id=mem,size={memory},share=on",
           "-kernel", kvmhost.kernel() / "vmlinuz", "-initrd", kvmhost.initramfs(t, script, ("virtiofs",), programs), "-append", CMDLINE,
           "-chardev", f"file,id=console,path={console}", "-device", "virtio-serial-pci", "-device", "virtconsole,chardev=console",
           "-chardev", f"socket,id=fs,path={sock}", "-device", "vhost-user-fs-pci,chardev=fs,tag=shared"], check=0, timeout=200)
    return console.read_text().replace("\r", "")


@case(timeout=250, vm=True, needs=("qemu-system-x86_64",), only=("cor",))
def test_foreign_vmm(t):
    """A guest of QEMU's whose directory is served by cor-fsd: lib/fsprobe.c sees what it sees on the host."""
    plain, shared = t.dir / "plain", t.dir / "shared"
    for d in (plain, shared):
        d.mkdir()
    for d in (t.dir, *t.dir.parents):  # it asks as other users, too
        if not os.stat(d).st_mode & 0o001:
            d.chmod(os.stat(d).st_mode | 0o001)
    probe = builds.helper("fsprobe", pathlib.Path(t.opts.runtime).parents[3])
    want = t.run([probe, plain], check=0, timeout=60).out.splitlines()
    child, sock, log = server(t, shared)
    got = qemu(t, sock, "busybox mkdir /mnt /tmp; busybox mount -t virtiofs shared /mnt && /bin/fsprobe /mnt\n", [probe]).splitlines()
    t.eq(child.wait(10), 0)  # ends with the machine
    t.eq((log.read_text(), sock.exists(), want[-1]), ("", False, "end"))
    t.eq(list(difflib.unified_diff(want, got[:got.index("end") + 1] if "end" in got else got, "the host's", "through cor-fsd",
                                   lineterm="", n=1)), [])


@case(timeout=250, vm=True, needs=("qemu-system-x86_64",), only=("cor",))
def test_read_only(t):
    """--read-only: what is there is read, nothing is written; mounted twice, the second time with nothing left of the first."""
    shared = t.dir / "shared"
    (shared / "d").mkdir(parents=True)
    (shared / "d/f").write_text("from the host\n")
    _, sock, _ = server(t, shared, "--read-only")
    said = qemu(t, sock, """
        busybox mkdir /mnt; busybox mount -t virtiofs shared /mnt
        busybox cat /mnt/d/f; busybox touch /mnt/x || echo refused
        busybox umount /mnt; busybox mount -t virtiofs shared /mnt; busybox ls /mnt
    """)
    t.eq([line for line in said.splitlines() if "touch" not in line], ["from the host", "refused", "d"])
    t.eq(sorted(os.listdir(shared)), ["d"])
