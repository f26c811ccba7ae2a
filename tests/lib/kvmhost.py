"""kvmhost.py - a host with KVM for programs that need one: this machine, or an emulated AMD machine.

    with kvmhost.choose(builds.base_dir(opts)) as host:
        res = host.run(["./prog", "arg"], files=["build/prog"], timeout=60)

Where kvm_probe() passes here, a job runs here (Native). Elsewhere QEMU emulates a processor with SVM, in
which Debian's kernel and its kvm-amd run (Emulated): booted once in a few seconds, then many jobs in turn. A
job is a command with files; it gets a fresh directory, /job there, and gives back exit code, stdout, stderr
and what it put into out/. The emulated machine sees this one's /usr and /etc (by 9p, read-only), and the
directories named in `binds`, at the same paths.

Called by the kvm lane (lanes.py), tests/kvmhost and count.py. Nothing outlives close(): QEMU is killed with its parent,
and all files are in one temporary directory. What boots is Debian's generic kernel from the cache, see kernel().
"""

import fcntl
import hashlib
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import tarfile
import tempfile
import time

import builds
import harness
from supervise import die_with_parent

LIB = pathlib.Path(__file__).resolve().parent
QEMU = "qemu-system-x86_64"
PACKAGE = "linux-image-amd64"
# What an emulated host loads, and what a job may ask for (modules=).
COUNTING = ("kvm-amd",)
LOADED = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "kvm-amd")  # KVM last: kvmhost-init waits before it
ON_DEMAND = ("overlay", "tun", "loop", "fuse", "erofs", "crc32c_generic", "ext4", "veth", "bridge", "vhost_net", "vhost_vsock",
             "null_blk",
             # for guests
             "virtio_console", "virtio_blk", "virtio_rng", "virtio_balloon", "virtio_net", "virtio_pmem", "nd_pmem",
             "virtiofs")
EXT4 = ("crc32c_generic", "ext4")  # which needs the first, and does not say so
CMDLINE = ("console=ttyS0 quiet panic=-1 reboot=t cryptomgr.notests no_timer_check tsc=reliable noreplace-smp "
           "mitigations=off audit=0")
BOOT_S = 60  # it takes four
GRACE_S = 100  # beyond a job's own limit, for copying
CONSOLE_SHOWN = 6000


class HostError(Exception):
    """The host failed, not the job; the text holds its console. Of a counting host, got: what its job wrote so far."""

    got = ""


class Result(harness.Result):
    """As of t.run(), and: over (ended because its time was up), files (directory of what it put into out/),
    left (what it left running, a list of texts; None = not known)."""

    def __init__(self, argv, code, out, err, secs, over=False, files=None, left=None):
        super().__init__(argv, code, out, err, secs)
        self.over, self.files, self.left = over, files, left

    def __str__(self):
        text = super().__str__()
        if self.over:
            text += "\n  ended: its time was up"
        for p in sorted(self.files.rglob("*")) if self.files else ():
            if p.is_file() and ("console" in p.name or p.suffix == ".log"):
                text += f"\n  --- {p.relative_to(self.files)}:\n       " + harness.clip(p.read_bytes()).replace("\n", "\n       ")
        return text


# --- the kernel and what boots with it ----------------------------------------------------------


def newest(paths):
    """By version as dpkg sees it, roughly: numbers compare as numbers."""
    return max(paths, key=lambda p: [int(w) if w.isdigit() else 0 for w in re.split(r"(\d+)", p.name)], default=None)


def package():
    """The generic kernel's .deb: from the cache, where cor-image puts it too, else by apt."""
    builds.CACHE.mkdir(parents=True, exist_ok=True)
    deb = newest([p for p in builds.CACHE.glob("linux-image-*-amd64_*.deb") if re.match(r"linux-image-[\d.-]+-amd64_", p.name)])
    if deb:
        return deb
    show = subprocess.run(["apt-cache", "depends", PACKAGE], capture_output=True, text=True, check=True).stdout
    name = re.search(r"Depends: (linux-image-\S+)", show).group(1)
    with tempfile.TemporaryDirectory(prefix="kvmhost-", dir=builds.CACHE) as tmp:
        subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", name], cwd=tmp, check=True)
        got = next(pathlib.Path(tmp).glob("*.deb"))
        return got.rename(builds.CACHE / got.name)


def kernel():
    """A directory of the cache with `vmlinuz` and `modules/*.ko`, unpacked once per package."""
    deb = package()
    st = deb.stat()
    key = hashlib.sha256(f"{deb.name} {st.st_size} {st.st_mtime_ns} {LOADED} {ON_DEMAND}".encode()).hexdigest()
    out = builds.CACHE / f"kvmhost.{key[:16]}"
    if out.is_dir():
        return out
    tmp = pathlib.Path(tempfile.mkdtemp(prefix="kvmhost-", dir=builds.CACHE))  # never of the form above
    try:
        (tmp / "modules").mkdir()
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as dpkg:
            with tarfile.open(fileobj=dpkg.stdout, mode="r|") as tar:
                for member in tar:
                    keep_member(tar, member, tmp)
        if dpkg.returncode != 0:
            raise HostError(f"{deb}: dpkg-deb failed")
        needed = load_order(tmp, LOADED + ON_DEMAND)
        for p in (tmp / "modules").iterdir():
            if p not in needed:
                p.unlink()
        tmp.chmod(0o755)
        try:
            tmp.rename(out)
        except OSError:  # another process was quicker
            shutil.rmtree(tmp)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
    return out


def keep_member(tar, member, to):
    """Of the package: the kernel and its modules; who is needed shows later."""
    name = pathlib.PurePosixPath(member.name)
    if name.name.startswith("vmlinuz-"):
        target = to / "vmlinuz"
    elif name.suffix == ".ko":
        target = to / "modules" / name.name
    else:
        return
    if member.isfile():
        with tar.extractfile(member) as src, open(target, "wb") as dst:
            shutil.copyfileobj(src, dst)


def module_name(name):
    return name.replace("-", "_")


def load_order(kernel_dir, names):
    """The modules and what they need, each before who needs it. What is built in is no file."""
    files = {module_name(p.stem): p for p in (kernel_dir / "modules").glob("*.ko")}
    order = []

    def add(name):
        path = files.get(module_name(name))
        if not path or path in order:
            return
        found = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for dep in (found.group(1).decode().split(",") if found else ()):
            add(dep)
        order.append(path)

    for name in names:
        add(name)
    return order


class Cpio:
    """An archive as the kernel unpacks it (newc)."""

    def __init__(self, out):
        self.out, self.serial, self.dirs = out, 0, {"", "."}

    def entry(self, name, mode, data=b"", mtime=0):
        self.serial += 1
        raw = name.encode() + b"\0"
        fields = [self.serial, mode, 0, 0, 1, mtime, len(data), 0, 0, 0, 0, len(raw), 0]
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + raw
        self.out.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

    def parents(self, name):
        parent = os.path.dirname(name)
        if parent not in self.dirs:
            self.parents(parent)
            self.entry(parent, stat.S_IFDIR | 0o755)
            self.dirs.add(parent)

    def file(self, name, data, mode=0o644):
        self.parents(name)
        self.entry(name, stat.S_IFREG | mode, data)

    def directory(self, name):
        self.parents(name + "/.")

    def link(self, name, target):
        self.parents(name)
        self.entry(name, stat.S_IFLNK | 0o777, target.encode())

    def end(self):
        self.entry("TRAILER!!!", 0)


def add_modules(cpio, kernel_dir, names, more=()):
    """modules/*.ko: these and what they need. modules/order: in which order to load `names`; `more` only lie there."""
    for p in load_order(kernel_dir, names + more):
        cpio.file(f"modules/{p.name}", p.read_bytes())
    cpio.file("modules/order", "".join(p.stem + "\n" for p in load_order(kernel_dir, names)).encode())


def write_initramfs(path, kernel_dir, names=LOADED, more=None):
    """busybox, kvmhost-init and modules; more(cpio) adds files."""
    with open(path, "wb") as f:
        c = Cpio(f)
        c.file("busybox", pathlib.Path(shutil.which("busybox")).read_bytes(), 0o755)
        c.file("init", (LIB / "kvmhost-init").read_bytes(), 0o755)
        add_modules(c, kernel_dir, names, ON_DEMAND if names is LOADED else ())
        if more:
            more(c)
        c.end()


# --- guests of a test's own --------------------------------------------------------------------

GUEST_MODULES = ("virtio_ring", "virtio", "virtio_pci", "virtio_console", "virtio_blk", "virtio_rng", "virtio_balloon")
# Modules, then the console; hvc0 comes with the hypervisor's answer.
GUEST_INIT = """#!/bin/busybox sh
PATH=/bin; export PATH
busybox mkdir -p /proc /sys /dev
busybox mount -t proc proc /proc; busybox mount -t sysfs sys /sys; busybox mount -t devtmpfs dev /dev
for m in $(busybox cat /modules/order); do busybox insmod /modules/$m.ko; done
until [ -c /dev/hvc0 ]; do busybox usleep 1000; done
exec </dev/hvc0 >/dev/hvc0 2>&1
"""


def write_guest(path, script, modules, programs=()):
    """The initramfs of a guest with the kernel of kernel(), without an init system: runs a shell script on its console and powers
    off. modules: what it loads; virtio_console must be there. programs: paths, copied to /bin beside busybox. Returns the path."""
    with open(path, "wb") as f:
        c = Cpio(f)
        for p in (pathlib.Path(shutil.which("busybox")), *programs):
            c.file(f"bin/{p.name}", p.read_bytes(), 0o755)
        c.file("init", (GUEST_INIT + script + "\nbusybox poweroff -f\n").encode(), 0o755)
        c.link("dev/console", "hvc0")
        add_modules(c, kernel(), modules)
        c.end()
    return path


def initramfs(t, script, modules=(), programs=()):
    """write_guest() for a test: modules beside the usual ones."""
    return write_guest(t.path("initramfs"), script, GUEST_MODULES + modules, programs)


# --- hosts --------------------------------------------------------------------------------------


def job_files(files):
    """[path or (path, name)] as [(path, name)]."""
    return [(pathlib.Path(f), pathlib.Path(f).name) if not isinstance(f, tuple) else (pathlib.Path(f[0]), f[1]) for f in files]


def put_files(files, to):
    to.mkdir(parents=True)
    for src, name in job_files(files):
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if src.is_dir():
            shutil.copytree(src, target, symlinks=True)
        else:
            shutil.copy(src, target)


class Host:
    """What Native and Emulated share: a temporary directory with one directory per job."""

    def __init__(self, dir=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kvmhost-", dir=dir))
        self.jobs = self.dir / "jobs"
        self.jobs.mkdir()
        self.owner = os.getpid()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        if os.getpid() == self.owner:
            shutil.rmtree(self.dir, ignore_errors=True)

    def new_job(self, argv, files, env, stdin):
        """A directory as kvmhost-init wants it; its name is the job's."""
        at = pathlib.Path(tempfile.mkdtemp(prefix="j", dir=self.jobs))
        put_files(files, at / "in")
        lines = [f"export {k}={shlex.quote(str(v))}" for k, v in (env or {}).items()]
        lines.append("exec " + shlex.join(str(a) for a in argv))
        (at / "cmd").write_text("\n".join(lines) + "\n")
        (at / "stdin").write_bytes(stdin.encode() if isinstance(stdin, str) else stdin or b"")
        return at


class Native(Host):
    """This machine."""

    emulated = False
    alive = True

    def run(self, argv, files=(), timeout=60, env=None, stdin=None, modules=()):
        at = self.new_job(argv, files, env, stdin)
        (at / "in/out").mkdir()
        start = time.monotonic()
        over = False
        with open(at / "stdin", "rb") as i, open(at / "stdout", "wb") as o, open(at / "stderr", "wb") as e:
            child = subprocess.Popen(["sh", at / "cmd"], cwd=at / "in", stdin=i, stdout=o, stderr=e, start_new_session=True)
            try:
                child.wait(timeout * harness.SLOW)
            except subprocess.TimeoutExpired:
                over = True
            harness.kill_group(child)
        return Result(argv, harness.code_of(child.returncode), (at / "stdout").read_bytes(), (at / "stderr").read_bytes(),
                      time.monotonic() - start, over, at / "in/out")

    def report(self):
        return ""


class Emulated(Host):
    """An AMD machine with SVM in QEMU. Jobs run one at a time; processes forked from the one that made it may use
    it too (the lane's tests do). One CPU: with two, and two idle ones under them, QEMU 7.2's SVM now and then
    corrupted the machine's kernel (a stack's guard page was hit, nested guests reset)."""

    emulated = True

    def __init__(self, binds=(), smp=1, memory="3G", dir=None):
        super().__init__(dir)
        self.console = self.dir / "console"
        self.log = self.dir / "qemu.log"
        self.child = None
        try:
            (self.jobs / "binds").write_text("".join(f"{p}\n" for p in binds))
            found = kernel()
            write_initramfs(self.dir / "initramfs", found)
            self.start(found / "vmlinuz", smp, memory)
            self.expect("up", BOOT_S * harness.LIMIT)
        except BaseException:
            self.close()
            raise

    def tsc_khz(self):
        """QEMU shows the host's TSC. A busy machine disturbs the guest's own first measurement of it, so much that its clock ran
        at twice the speed."""
        tool = builds.helper("tsckhz", self.dir)
        return int(subprocess.run([tool], capture_output=True, text=True, check=True).stdout)

    def start(self, vmlinuz, smp, memory):
        self.ctl, theirs = socket.socketpair()
        argv = [QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "q35,hpet=off",
                "-accel", "tcg,tb-size=512", "-cpu", "max,+svm,+npt", "-smp", smp, "-m", memory,
                "-kernel", vmlinuz, "-initrd", self.dir / "initramfs", "-append", f"{CMDLINE} tsc_early_khz={self.tsc_khz()}",
                "-chardev", f"file,id=console,path={self.console}", "-device", "isa-serial,chardev=console",
                "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
                "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
                "-fsdev", f"local,id=jobs,path={self.jobs},security_model=none",
                "-device", "virtio-9p-pci,fsdev=jobs,mount_tag=jobs",
                "-chardev", f"socket,id=ctl,fd={theirs.fileno()}", "-device", "virtio-serial-pci",
                "-device", "virtserialport,chardev=ctl,name=kvmhost,nr=1"]
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          pass_fds=[theirs.fileno()], start_new_session=True,
                                          preexec_fn=lambda: die_with_parent(signal.SIGKILL))
        theirs.close()

    @property
    def alive(self):
        """Also asked by forked processes, which can't wait for it."""
        try:
            return self.ctl.fileno() >= 0 and not self.hung_up()
        except OSError:
            return False

    def hung_up(self):
        p = select.poll()
        p.register(self.ctl, select.POLLIN)
        return any(ev & (select.POLLHUP | select.POLLERR) for _, ev in p.poll(0))

    def expect(self, line, secs):
        """Reads the control port up to this line; others are those of jobs whose test is gone."""
        end = time.monotonic() + secs
        got = b""
        while not got.endswith(b"\n") or got.split(b"\n")[-2].decode() != line:
            wait = end - time.monotonic()
            if wait <= 0:
                raise HostError(f"the emulated host did not say {line!r} within {secs:.0f} s\n{self.report()}")
            if select.select([self.ctl], [], [], wait)[0]:
                data = self.ctl.recv(4096)
                if not data:
                    raise HostError(f"the emulated host ended before it said {line!r}\n{self.report()}")
                got += data

    def run(self, argv, files=(), timeout=60, env=None, stdin=None, modules=()):
        """One job. timeout: of the command alone, in seconds."""
        at = self.new_job(argv, files, env, stdin)
        (at / "limit").write_text(f"{timeout * harness.SLOW:.0f}\n")
        if modules:
            (at / "modules").write_text("".join(p.stem + "\n" for p in load_order(kernel(), modules)))
        with open(self.dir / "lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                self.ctl.sendall(f"run {at.name}\n".encode())
            except OSError as e:
                raise HostError(f"the emulated host is gone ({e})\n{self.report()}")
            self.expect(f"done {at.name}", (timeout + GRACE_S) * harness.SLOW)
        before, after = map(float, (at / "times").read_text().split())
        return Result(argv, int((at / "code").read_text()), (at / "stdout").read_bytes(), (at / "stderr").read_bytes(),
                      after - before, (at / "over").exists(), at / "out", (at / "left").read_text().splitlines())

    def report(self):
        return words(self.console, self.log)

    def close(self):
        if self.child and os.getpid() == self.owner:
            self.ctl.close()
            harness.kill_group(self.child)
        super().close()


# rep movsb would count every byte. "max" is a K8, in whose north bridge Linux searches an aperture: 33,000 accesses to
# PCI registers in each guest that no processor of the last ten years causes.
COUNTED_CPU = "max,+svm,+npt,-erms,-fsrm,family=25,model=1,stepping=1"


def count(more, timeout, watch=None, dir=None, stall=None, modules=()):
    """Boots an emulated host whose clock counts instructions, runs /kvmhost/job in it and returns what that wrote to
    ttyS1, which ends with a line "complete". more(cpio): the files, below files/, of all its root. Nothing reaches it from
    outside while it runs (no 9p, no interrupts but its own timers, a fixed seed), so it does the same every time.
    watch(console, got): called with what it has said so far, every second. stall: so many seconds without a word end it.
    modules: loaded beside kvm-amd."""
    with Host(dir) as host:
        console, log, got = host.dir / "console", host.dir / "qemu.log", host.dir / "results"
        found = kernel()
        write_initramfs(host.dir / "initramfs", found, COUNTING + modules, more)
        argv = [QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "q35,hpet=off",
                "-accel", "tcg,tb-size=512", "-icount", "shift=0,sleep=off", "-seed", "1",
                "-rtc", "base=2026-01-01,clock=vm", "-cpu", COUNTED_CPU, "-smp", "1", "-m", "4G",
                "-kernel", found / "vmlinuz", "-initrd", host.dir / "initramfs", "-append", CMDLINE + " nokaslr",
                "-chardev", f"file,id=c,path={console}", "-device", "isa-serial,chardev=c",
                "-chardev", f"file,id=r,path={got}", "-device", "isa-serial,chardev=r"]
        with open(log, "wb") as err:
            child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                                     preexec_fn=lambda: die_with_parent(signal.SIGKILL))
        try:
            why = follow(child, (console, got), timeout, stall, watch)
        finally:
            child.kill()
            child.wait()
        text = read_text(got)
        if why or not text.endswith("complete\n"):
            e = HostError(f"the counting host {why or 'ended too early'}\n{words(console, log)}")
            e.got = text
            raise e
        return text


def follow(child, paths, timeout, stall, watch):
    """Until a counting host ends: None, or why it must be ended."""
    start = heard = time.monotonic()
    said, over = None, False
    while not over:
        over = ended(child, 1.0)
        now, texts = time.monotonic(), [read_text(p) for p in paths]
        if texts != said:
            said, heard = texts, now
        if watch:
            watch(*texts)
        if now > start + timeout * harness.LIMIT:
            return f"did not end within {timeout * harness.LIMIT:.0f} s"
        if stall and now > heard + stall * harness.LIMIT:
            return f"said nothing for {stall * harness.LIMIT:.0f} s"
    return None


def read_text(path):
    return path.read_bytes().decode("utf-8", "replace") if path.exists() else ""


def ended(child, secs):
    try:
        child.wait(secs)
        return True
    except subprocess.TimeoutExpired:
        return False


def add_program(cpio, path, seen):
    """A program or library of this machine and what it is linked with, at the same places (/lib is /usr/lib)."""
    path = str(path)
    name = path if path.startswith("/usr/") or not re.match(r"/(bin|sbin|lib|lib64)/", path) else "/usr" + path
    if name in seen:
        return
    seen.add(name)
    cpio.file("files" + name, pathlib.Path(path).read_bytes(), 0o755)
    said = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    for lib in re.findall(r"(?:=> |^\s+)(/\S+)", said, re.M):
        add_program(cpio, lib, seen)


def words(console, log):
    """The last of a host's console and of its QEMU's own words."""
    text = ""
    for what, path in (("console of the emulated host", console), ("its QEMU", log)):
        data = path.read_bytes() if path.exists() else b""
        if data:
            text += f"--- {what}:\n{data[-CONSOLE_SHOWN:].decode('utf-8', 'backslashreplace')}\n"
    return text


def of(t):
    """The lane's host for a test; a new one if that one is gone (another test's fault, not this one's)."""
    host = t.opts.kvmhost
    if not host.alive:
        host = Emulated(dir=t.dir)
        t.cleanup(host.close)
    t.notes.append(host.report)
    return host


def job(t, host, argv, check=None, **kw):
    """host.run() with a record and a check, as t.run()."""
    res = host.run(argv, **kw)
    t.commands.append(str(res))
    if check is not None and (res.over or res.code != check):
        raise harness.Failed(f"exit code {res.code} instead of {check}\n{res}")
    return res


def probe_program(directory):
    """kvm_probe() as a static program."""
    src = builds.TOP / "src"
    return builds.helper("kvmprobe", directory, (src / "hyper/kvm_probe.c", *sorted((src / "base").glob("*.c"))))


def usable_here(directory):
    """None if guests run on this machine's KVM, else why not."""
    res = subprocess.run([probe_program(directory)], capture_output=True, text=True, check=False)
    return None if res.returncode == 0 else res.stdout.strip() or f"kvmprobe ended with {res.returncode}"


def choose(directory, **kw):
    """This machine if its KVM works, else an emulated one. directory: where the probe is built."""
    if usable_here(directory):
        return Emulated(**kw)
    return Native(kw.get("dir"))
