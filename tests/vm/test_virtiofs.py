"""virtio-fs with QEMU: cor-fsd as the vhost-user back end of a machine that is not a container, and of containers."""

import difflib
import os
import pathlib
import shlex
import signal
import subprocess

import builds
import bundle
import kvmhost
import nested
import place
from harness import case

ON = ("--set", "hypervisor=qemu", "--set", "qemu.share=virtiofs", "--set", "image.convert=false")
CAPS = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETFCAP MKNOD SYS_ADMIN NET_BIND_SERVICE"
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
    if not pathlib.Path("/var/lib/dpkg/status").exists():
        t.skip("no kernel for a foreign VMM (an emulated host has /usr of the machine, not /var)")
    console = t.dir / "console"
    t.run(["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine",
           "q35,graphics=off,usb=off,smm=off,vmport=off,hpet=off,sata=off,smbus=off,i8042=off,memory-backend=mem", "-accel", "tcg",
           "-cpu", "max", "-m", memory, "-object", f"memory-backend-memfd,id=mem,size={memory},share=on",
           "-kernel", kvmhost.kernel() / "vmlinuz", "-initrd", kvmhost.initramfs(t, script, ("virtiofs",), programs), "-append", CMDLINE,
           "-chardev", f"file,id=console,path={console}", "-device", "virtio-serial-pci", "-device", "virtconsole,chardev=console",
           "-chardev", f"socket,id=fs,path={sock}", "-device", "vhost-user-fs-pci,chardev=fs,tag=shared"], check=0, timeout=200)
    return console.read_text().replace("\r", "")


def open_to_all(directory):
    """fsprobe asks as other users, too."""
    for d in (directory, *directory.parents):
        if not os.stat(d).st_mode & 0o001:
            d.chmod(os.stat(d).st_mode | 0o001)


@case(timeout=250, vm=True, needs=("qemu-system-x86_64",), only=("cor",))
def test_foreign_vmm(t):
    """A guest of QEMU's whose directory is served by cor-fsd: lib/fsprobe.c sees what it sees on the host."""
    plain, shared = t.dir / "plain", t.dir / "shared"
    for d in (plain, shared):
        d.mkdir()
    open_to_all(t.dir)
    probe = builds.helper("fsprobe", pathlib.Path(t.opts.runtime).parents[3])
    want = t.run([probe, plain], check=0, timeout=60).out.splitlines()
    child, sock, log = server(t, shared)
    got = qemu(t, sock, "busybox mkdir /mnt /tmp; busybox mount -t virtiofs shared /mnt && /bin/fsprobe /mnt\n", [probe]).splitlines()
    t.eq(t.end_of(child), 0)  # ends with the machine
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


@case(timeout=200, vm=True, only=("cor",))
def test_container(t):
    """qemu.share = virtiofs: the same questions in a container, of its root and of a bind mount; it boots, templates or not."""
    probe = builds.helper("fsprobe", pathlib.Path(t.opts.runtime).parents[3])
    disk = place.place(t, place.has_all, "256M")
    plain, bind, shared, other = (disk / n for n in ("plain", "bind", "shared", "other"))
    for d in (plain, bind, shared, other):
        d.mkdir()
    t.run(["mount", "-t", "tmpfs", "tmpfs", other], check=0)
    t.cleanup(lambda: subprocess.run(["umount", "-l", str(other)], check=False))
    open_to_all(disk)
    binds = shlex.join(bundle.FSPROBE_BIND)
    conf = bundle.config(["/bin/sh", "-c", f"/fsprobe /work && /fsprobe /mnt {binds}; {bundle.FSPROBE_OTHER}\ncat /proc/mounts"])
    conf["process"]["capabilities"] = {k: ["CAP_" + c for c in CAPS.split()] for k in ("bounding", "effective", "permitted")}
    conf["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    bundle.bind(conf, shared, "/mnt", "rw")
    bundle.bind(conf, other, "/other", "rw")
    c = t.rt.container(conf)
    (c.rootfs / "fsprobe").write_bytes(probe.read_bytes())
    (c.rootfs / "fsprobe").chmod(0o755)
    (c.rootfs / "work").mkdir()
    t.run(["cp", "-a", c.rootfs, disk / "root"], check=0)
    conf["root"]["path"] = str(disk / "root")
    bundle.write_config(c.bundle, conf)
    want = [line for argv in ([probe, plain], [probe, bind, *bundle.FSPROBE_BIND]) for line in t.run(argv, check=0, timeout=60).out.splitlines()]
    want += bundle.FSPROBE_OTHER_SAYS
    lines = c.run(timeout=100, check=0, globals_=ON + ("--set", "template=on", "--set", f"template.dir={t.dir}/templates")).out.splitlines()
    at = len(want)
    t.eq(list(difflib.unified_diff(want, lines[:at], "the host's", "through virtio-fs", lineterm="", n=1)), [])
    types = {line.split()[1]: line.split()[2] for line in lines[at:]}
    t.eq((types["/"], types["/mnt"]), ("virtiofs", "virtiofs"))
    t.eq([p.name for p in (t.dir / "templates").rglob("state")], [])
    r = t.rt("template", "make", check=1, globals_=ON)
    t.has(r.err, "qemu.share = virtiofs: QEMU can't save such a VM: set it to 9p")


@case(timeout=100, vm=True, only=("cor",))
def test_server_ends(t):
    """cor-fsd is killed: the VM, which could only hang, is ended with it, and the error says why."""
    c = t.rt.container(bundle.config("echo up; exec sleep 1000"))
    c.create(globals_=ON)
    c.start()
    c.wait_out("up")
    os.kill(int((t.rt.root / c.id / "helper").read_text().split()[0]), signal.SIGKILL)
    t.eq(c.wait(), 128 + signal.SIGKILL)
    t.has(c.log.read_text() + c.err(), "cor-fsd, which serves its files, ended")
    t.eq(c.state()["status"], "stopped")
    c.delete()


@case(timeout=500, vm=True, only=("cor",))
def test_others(t):
    """Tests of this lane once more, with the files by cor-fsd: roots, mounts, a pause, what is left when each process is killed, images."""
    names = ("vm/mounts.", "vm/rootfs.as_oracle", "vm/rootfs.live", "vm/rootfs.special_files", "vm/rootfs.relative_and_odd_roots", "vm/life.pause", "vm/life.kill_each_process", "vm/life.guest_panic", "vm/image.layers")
    argv = [builds.TESTS / "run", "--runtime", t.opts.runtime, "--build", pathlib.Path(t.opts.runtime).parents[3], "--jobs", "2", *ON]
    for n in names:
        argv += ["--filter", n]
    nested.steps(t, t.run([*argv, "vm"], timeout=450), names)
