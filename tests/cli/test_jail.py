"""cor-jail: what a jailed program has, what kills it, and that a failed step is no start."""

import errno
import os
import pathlib
import re
import socket
import struct
import subprocess

import leak
from harness import case

COR = ("cor",)
SIGSYS = 128 + 31
FUSE_LOOKUP, FUSE_MKDIR, FUSE_OPEN, FUSE_INIT = 1, 9, 14, 26
FORBIDDEN = ("open", "socket", "execve", "execveat-path", "ptrace", "fork", "mmap-exec", "mprotect-exec", "mount", "setuid",
             "i386")
NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")


def jail(t):
    """(cor-jail, the program to jail), or a skip: sanitizers and builds without musl have no static program."""
    prefix = pathlib.Path(t.rt.path).parent.parent
    exe, program = prefix / "libexec/cor/cor-jail", prefix.parent / "tests/jailed"
    if not program.exists():
        t.skip("this build has no static test program (musl, no sanitizer)")
    return exe, program


def stat_fields(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(re.findall(r"^(\w+):[ \t]*(.*)$", text, re.M))


def staying(t, *args):
    """A jailed program that waits; returns (cor-jail's Popen, pid of the jailed)."""
    exe, program = jail(t)
    child = t.spawn([exe, *args, "vmm", program, "stay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    t.eq(child.stdout.readline(), b"up\n")
    return child, leak.descendants(child.pid)[0]


@case(only=COR, quick=True)
def test_forbidden(t):
    """Each of these ends the process with SIGSYS."""
    exe, program = jail(t)
    for what in FORBIDDEN:
        with t.step(what):
            t.eq(t.run([exe, "vmm", program, what]).code, SIGSYS)


@case(only=COR, quick=True)
def test_inside(t):
    """The first process of its pid namespace, three descriptors, threads work; nothing of ours is inherited."""
    exe, program = jail(t)
    extra = os.open("/", os.O_RDONLY)
    os.set_inheritable(extra, True)
    r = t.run([exe, "vmm", program, "see"], check=0, close_fds=False)
    os.close(extra)
    t.eq(r.out, "pid=1\nfds=3\nthread=yes\n")


@case(only=COR, quick=True)
def test_outside_view(t):
    child, pid = staying(t)
    fields = stat_fields(pid)
    with t.step("an ordinary user, no group besides"):
        t.eq(fields["Uid"].split(), ["65534"] * 4)
        t.eq(fields["Gid"].split(), ["65534"] * 4)
        t.eq(fields["Groups"].split(), [])
    with t.step("no capability in any set"):
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            t.eq(int(fields[name], 16), 0, name)
    with t.step("no new privileges, a filter"):
        t.eq((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"))
    with t.step("namespaces of its own"):
        for ns in NAMESPACES:
            t.true(os.readlink(f"/proc/{pid}/ns/{ns}") != os.readlink(f"/proc/self/ns/{ns}"), ns)
    with t.step("an empty root, read-only, the only mount"):
        mounts = pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        t.eq(len(mounts), 1)
        t.has(mounts[0], " / / ro,nosuid,nodev,noexec")
        t.eq(os.listdir(f"/proc/{pid}/root"), [])
    with t.step("limits"):
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        t.true(re.search(r"^Max core file size\s+0\s+0", limits, re.M), limits)
        t.true(re.search(r"^Max open files\s+(\d+)\s+\1", limits, re.M), limits)
    with t.step("--keep-net: all but the network's"):
        other, inside = staying(t, "--keep-net")
        t.eq([ns for ns in NAMESPACES if os.readlink(f"/proc/{inside}/ns/{ns}") == os.readlink(f"/proc/self/ns/{ns}")], ["net"])
        other.stdin.close()
        t.eq(t.end_of(other), 7)
    with t.step("its exit code is passed on"):
        child.stdin.close()
        t.eq(t.end_of(child), 7)


@case(only=COR, quick=True)
def test_dies_with_parent(t):
    child, pid = staying(t)
    child.kill()
    t.end_of(child)

    def gone():
        leak.reap()  # orphans become children of the runner
        return not os.path.exists(f"/proc/{pid}")

    t.wait(gone, "the end of the jailed program")


@case(only=COR, quick=True)
def test_detached(t):
    """--detach: the parent of cor-jail reaps the program, whose pid is written to the descriptor behind the last."""
    exe, program = jail(t)
    r = t.run(["sh", "-c", 'exec "$0" --detach vmm "$1" stay 3>&1 >&2', exe, program], check=0)
    t.eq(r.err, "up\n")
    _, status = os.waitpid(int(r.out), 0)  # our child: not so if it were an orphan
    t.eq(os.waitstatus_to_exitcode(status), 7)


@case(only=COR, quick=True)
def test_errors(t):
    exe, program = jail(t)
    said = {
        ("--help",): (0, "Policies:"),
        ("vmm",): (125, "PROGRAM"),
        ("none", program): (125, "none"),
        ("vmm", "true"): (125, "absolute"),
        ("vmm", "/no/such/program"): (125, "/no/such/program"),
        ("vmm", "/bin/true"): (125, "static"),
        ("--keep-fds", "2", "vmm", program): (125, "from 3 to"),
        ("--keep-fds", "9", "vmm", program, "see"): (125, "descriptor"),
        ("--uid", "x", "vmm", program): (125, "x"),
        ("--frob", "vmm", program): (125, "option"),
    }
    for args, (code, text) in said.items():
        with t.step(" ".join(str(a) for a in args)):
            r = t.run([exe, *args])
            t.eq(r.code, code)
            t.has(r.out + r.err, text)


@case(only=COR, quick=True)
def test_unprivileged(t):
    """An ordinary user can jail, too, as himself."""
    exe, program = jail(t)
    copy = t.dir / "bin"
    copy.mkdir()
    for f in (exe, program):
        (copy / f.name).write_bytes(f.read_bytes())
        (copy / f.name).chmod(0o755)
    for d in [copy, *copy.parents]:
        if not os.stat(d).st_mode & 0o001:
            d.chmod(os.stat(d).st_mode | 0o001)
    r = t.run(["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", copy / exe.name, "vmm", copy / program.name,
               "see"])
    if r.code == 125 and "namespaces of the jail" in r.err:
        t.skip("this host lets no ordinary user make a user namespace")
    t.eq((r.code, r.out), (0, "pid=1\nfds=3\nthread=yes\n"))


class FileServer:
    """cor-fsd in its jail. request() returns the error and what is behind the reply's header, ask() the error alone."""

    def __init__(self, t, options="", before=""):
        exe, _ = jail(t)
        self.t = t
        self.ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        t.cleanup(self.ours.close)
        # cor-jail gets it as descriptor 3, /proc/self/fd comes behind it
        self.child = t.spawn(["sh", "-c", f'{before} exec "$0" --keep-fds 4 {options} fsd "$1" --socket 3 --fds 4 3<&{its.fileno()}', exe,
                              exe.parent / "cor-fsd"], pass_fds=(its.fileno(),))
        its.close()

    def request(self, opcode, node, body, uid=0):
        self.ours.send(struct.pack("<IIQQIIII", 40 + len(body), opcode, 7, node, uid, 0, 1, 0) + body)
        reply = self.ours.recv(1 << 18)
        length, error, unique = struct.unpack("<IiQ", reply[:16])
        self.t.eq((length, unique), (len(reply), 7))
        return error, reply[16:]

    def ask(self, *args, **kw):
        return self.request(*args, **kw)[0]


@case(only=COR, quick=True)
def test_file_server(t):
    """Policy fsd: root without a user namespace, eight capabilities, a root that what is mounted there fills."""
    server = FileServer(t)
    ask, child, ours = server.ask, server.child, server.ours

    with t.step("it serves"):
        t.eq(ask(FUSE_INIT, 0, struct.pack("<IIII", 7, 38, 65536, 0)), 0)
        t.eq(ask(FUSE_MKDIR, 1, struct.pack("<II", 0o750, 0) + b"dir\0", uid=5), 0)
        t.eq(ask(FUSE_MKDIR, 1, struct.pack("<II", 0o750, 0) + b"../dir\0"), -errno.EINVAL)
        t.eq(ask(FUSE_MKDIR, 1, struct.pack("<II", 0o750, 0) + b"nobodys\0", uid=0xffffffff), -errno.EINVAL)
    pid = leak.descendants(child.pid)[0]
    fields = stat_fields(pid)
    with t.step("its rights"):
        t.eq(fields["Uid"].split(), ["0"] * 4)
        t.eq({fields["CapPrm"], fields["CapEff"], fields["CapBnd"]}, {"00000000880000db"})
        t.eq((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"))
        t.eq(os.readlink(f"/proc/{pid}/ns/user"), os.readlink("/proc/self/ns/user"))
        for ns in set(NAMESPACES) - {"user"}:
            t.true(os.readlink(f"/proc/{pid}/ns/{ns}") != os.readlink(f"/proc/self/ns/{ns}"), ns)
    with t.step("its root"):
        t.eq(os.listdir(f"/proc/{pid}/root"), ["dir"])
        st = os.stat(f"/proc/{pid}/root/dir")
        t.eq((st.st_uid, st.st_mode & 0o777), (5, 0o750))
        t.has(pathlib.Path(f"/proc/{pid}/mountinfo").read_text(), " / / rw,nosuid,nodev,noexec")
    with t.step("it ends with its client"):
        ours.shutdown(socket.SHUT_RDWR)
        t.eq(t.end_of(child), 0)


@case(only=COR, quick=True, needs=("mkfs.ext4",))
def test_reused_number(t):
    """The host removes a file that is known and not open, and a fifo gets its number: it is never opened as the file that it was."""
    image, disk = t.dir / "image", t.dir / "disk"
    disk.mkdir()
    t.run(["truncate", "-s", "8M", image], check=0)
    t.run(["mkfs.ext4", "-q", "-O", "^has_journal", image], check=0)  # with one, numbers rest for a minute
    t.run(["mount", "-o", "loop", image, disk], check=0)
    t.cleanup(lambda: subprocess.run(["umount", "-l", disk], check=False))
    (disk / "known").write_text("x")
    for n in range(200):
        (disk / f"f{n}").touch()
    server = FileServer(t, f"--root {disk}", before="ulimit -n 128;")
    node_of = lambda name: struct.unpack("<Q", server.request(FUSE_LOOKUP, 1, name + b"\0")[1][:8])[0]
    read_write = struct.pack("<II", os.O_RDWR, 0)
    t.eq(server.ask(FUSE_INIT, 0, struct.pack("<IIII", 7, 38, 65536, 0)), 0)
    known, number = node_of(b"known"), os.stat(disk / "known").st_ino
    for n in range(200):  # more than it may have open
        node_of(b"f%d" % n)
    os.unlink(disk / "known")
    os.mkfifo(disk / "fifo")
    t.eq(os.stat(disk / "fifo").st_ino, number, "the number is used again")
    fifo = node_of(b"fifo")
    t.eq(server.ask(FUSE_OPEN, fifo, read_write), -errno.ENXIO)
    t.eq(server.ask(FUSE_OPEN, known, read_write), -errno.ESTALE)


@case(only=COR, quick=True)
def test_served_directory(t):
    """--root and --listen: cor-fsd for a VMM of somebody else's. It sees the directory and what is mounted there, nothing above it."""
    exe, _ = jail(t)
    fsd, shared, sock = exe.parent / "cor-fsd", t.dir / "shared", t.dir / "s"
    (shared / "sub").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "below", shared / "sub"], check=True)
    t.cleanup(lambda: subprocess.run(["umount", "-l", shared / "sub"], check=False))
    (shared / "sub/file").write_text("x")
    for options, mode in (((), "rw"), (("--read-only",), "ro")):
        with t.step(mode):
            child = t.spawn([exe, "--listen", sock, "--root", shared, *options, "fsd", fsd, "--vhost-user", "3", "--fds", "4"])
            vmm = socket.socket(socket.AF_UNIX)
            t.wait(sock.exists, "the socket")
            t.eq(os.stat(sock).st_mode & 0o777, 0o600)
            t.wait(lambda: vmm.connect_ex(str(sock)) == 0, "a connection")
            vmm.send(struct.pack("<III", 1, 1, 0))  # GET_FEATURES
            t.eq(struct.unpack("<IIIQ", vmm.recv(100)), (1, 5, 8, 1 << 28 | 1 << 29 | 1 << 30 | 1 << 32))
            pid = leak.descendants(child.pid)[0]
            t.eq(sorted(str(p.relative_to(f"/proc/{pid}/root")) for p in pathlib.Path(f"/proc/{pid}/root").rglob("*")), ["sub", "sub/file"])
            mounts = [line.split()[4:6] for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
            t.eq([m for m, _ in mounts], ["/", "/sub"])
            t.true(all({mode, "nosuid", "nodev", "noexec"} <= set(o.split(",")) for _, o in mounts), mounts)
            if mode == "ro":  # somebody else took the name meanwhile
                sock.rename(t.dir / "old")
                other = socket.socket(socket.AF_UNIX)
                other.bind(str(sock))
            vmm.close()
            t.eq((t.end_of(child), sock.exists()), (0, mode == "ro"))
    sock.unlink()
    with t.step("a connection that is there already"):
        vmm, its = socket.socketpair()
        child = t.spawn(["sh", "-c", f'exec "$0" --keep-fds 4 --root "$1" fsd "$2" --vhost-user 3 --fds 4 3<&{its.fileno()}', exe, shared,
                         fsd], pass_fds=(its.fileno(),))
        its.close()
        vmm.send(struct.pack("<III", 17, 1, 0))  # GET_QUEUE_NUM
        t.eq(struct.unpack("<IIIQ", vmm.recv(100)), (17, 5, 8, 2))
        vmm.close()
        t.eq(t.end_of(child), 0)
    with t.step("what can't be"):
        sock.touch()
        for args, why in ((("--root", shared, "vmm"), "policy vmm has no root of the caller's"),
                          (("--read-only", "fsd"), "an empty root is nobody's"),
                          (("--root", t.dir / "none", "fsd"), f"{t.dir}/none: No such file"),
                          (("--listen", sock, "fsd"), "in use (remove it if nobody listens)"),
                          (("--listen", "x" * 200, "fsd"), "name too long"),
                          (("--listen", sock, "--detach", "fsd"), "--listen: with --detach")):
            r = t.run([exe, *args, fsd, "--vhost-user", "3", "--fds", "4"], check=125)
            t.has(r.err, why)
        t.true(sock.exists(), "somebody else's socket was removed")
    with t.step("a message that no VMM sends"):
        sock.unlink()
        log = t.dir / "log"
        with open(log, "wb") as to:
            child = t.spawn([exe, "--listen", sock, "--root", shared, "fsd", fsd, "--vhost-user", "3", "--fds", "4"], stderr=to)
        vmm = socket.socket(socket.AF_UNIX)
        t.wait(lambda: vmm.connect_ex(str(sock)) == 0, "a connection")
        vmm.send(struct.pack("<III", 99, 1, 0))
        t.eq((t.end_of(child), log.read_text()), (1, "cor-fsd: message 99: unknown, or not agreed on\n"))
