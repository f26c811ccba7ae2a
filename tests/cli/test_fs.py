"""src/fs: a directory behind our FUSE server and the host's own FUSE client, against the directory itself.

Most cases do the same thing twice, once in a plain directory and once through the server, and compare everything
that can be seen: results, error numbers, attributes, what is on the disk afterwards.
"""

import contextlib
import ctypes
import difflib
import errno
import fcntl
import itertools
import mmap
import os
import pathlib
import re
import socket
import stat
import struct
import subprocess
import threading

import builds
import idmap
from harness import LIMIT, case

COR = ("cor",)
LIBC = ctypes.CDLL(None, use_errno=True)


class Mount:
    """A served directory: `dir` is behind, `at` is the mount point."""

    def __init__(self, t, fds=(), tmpfs=False, behind=None):
        exe = pathlib.Path(t.rt.path).parent.parent.parent / "tests/fusehost"
        if not os.path.exists("/dev/fuse"):
            t.skip("no /dev/fuse: the host's kernel has no FUSE")
        self.dir, self.at, self.log = t.dir / "behind", t.dir / "mnt", t.dir / "fusehost.log"
        self.at.mkdir()
        if behind:
            self.dir = behind
        else:
            self.dir.mkdir()
        if tmpfs:
            t.run(["mount", "-t", "tmpfs", "tmpfs", self.dir], check=0)
            t.cleanup(lambda: subprocess.run(["umount", "-l", str(self.dir)], check=False))
        with open(self.log, "wb") as log:
            self.child = t.spawn([exe, self.dir, self.at, *fds], stdout=log, stderr=log)
        t.cleanup(self.end)
        t.wait(lambda: "up" in self.log.read_text() or self.child.poll() is not None, "the server")
        t.true(self.child.poll() is None, self.log.read_text())

    def end(self):
        subprocess.run(["umount", "-l", str(self.at)], check=False, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(20 * LIMIT)
        return self.log.read_text()


def outcome(func, *args):
    """What a call returns, or the name of its error."""
    try:
        return func(*args)
    except OSError as e:
        return errno.errorcode[e.errno]


def seen(root):
    """Everything below root: path -> what lstat and the content say."""
    found = {}
    paths = [pathlib.Path(top) / n for top, dirs, files in os.walk(root) for n in dirs + files]
    for path in paths:
        st = path.lstat()
        what = [stat.filemode(st.st_mode), st.st_uid, st.st_gid, st.st_nlink]
        if stat.S_ISREG(st.st_mode):
            what += [st.st_size, int(st.st_mtime) if st.st_mtime < 1e9 else "now", path.read_bytes()[:64]]
        if stat.S_ISLNK(st.st_mode):
            what.append(os.readlink(path))
        if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
            what.append(st.st_rdev)
        found[str(path.relative_to(root))] = what
    return found


def write(path, text="x"):
    with open(path, "w") as f:
        f.write(text)


def make_things(d):
    """A bit of everything; returns what the calls said."""
    said = []
    os.umask(0o027)
    say = lambda *a: said.append(outcome(*a))
    say(os.mkdir, d / "dir", 0o777)
    say(os.mkdir, d / "dir", 0o777)
    say(os.mkdir, d / "sgid")
    say(os.chown, d / "sgid", 12, 34)
    say(os.chmod, d / "sgid", 0o2775)
    say(os.mkdir, d / "sgid/sub")
    say(write, d / "sgid/file")
    say(write, d / "file", "hello")
    say(os.chmod, d / "file", 0o4711)
    say(os.chown, d / "file", 1, 2)
    say(os.utime, d / "file", (1000, 2000))
    say(os.symlink, "no/where", d / "dir/link")
    say(os.symlink, "x" * 4095, d / "long")
    say(os.link, d / "file", d / "dir/hard")
    say(os.link, d / "dir/link", d / "dir/hardlink", )
    say(os.link, d / "dir", d / "dir/no")
    say(os.mkfifo, d / "fifo", 0o620)
    say(os.mknod, d / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    say(os.mknod, d / "big", stat.S_IFBLK | 0o600, os.makedev(300, 70000))
    say(os.truncate, d / "file", 3)
    say(os.truncate, d / "dir", 3)
    say(os.open, d / "missing", os.O_RDONLY)
    say(os.open, d / ("n" * 256), os.O_RDONLY | os.O_CREAT)
    say(os.rmdir, d / "sgid")
    say(os.unlink, d / "dir")
    say(os.rename, d / "dir", d / "file")
    say(os.rename, d / "file", d / "dir")
    say(os.rename, d / "dir", d / "dir/below")
    say(os.rename, d / "null", d / "dir/null")
    say(os.setxattr, d / "file", "user.a", b"1")
    say(os.setxattr, d / "file", "user.a", b"2", os.XATTR_CREATE)
    say(os.setxattr, d / "file", "user.b", b"", os.XATTR_REPLACE)
    say(os.getxattr, d / "file", "user.a")
    say(os.getxattr, d / "file", "user.none")
    said.append(sorted(n for n in os.listxattr(d / "file") if n.startswith("user.")))
    say(os.removexattr, d / "file", "user.a")
    say(os.removexattr, d / "file", "user.a")
    os.umask(0o022)
    return [s if not isinstance(s, int) or s is None else "fd" for s in said]


@case(only=COR, quick=True)
def test_removed_while_listed(t):
    """As rm -r does it, on a file system whose directory offsets count entries (tmpfs before Linux 6.6): none is left out."""
    m = Mount(t, tmpfs=True)
    for i in range(1000):
        write(m.at / f"a file with a long name {i}")
    with os.scandir(m.at) as entries:
        for e in entries:
            os.unlink(e)
    t.eq(os.listdir(m.dir), [])


@case(only=COR, quick=True)
def test_same_as_the_directory(t):
    m, plain = Mount(t), t.dir / "plain"
    plain.mkdir()
    with t.step("the same answers"):
        t.eq(make_things(m.at), make_things(plain))
    with t.step("the same seen through it"):
        t.eq(seen(m.at), seen(plain))
    with t.step("the same on the disk"):
        t.eq(seen(m.dir), seen(plain))


@case(only=COR, quick=True)
def test_other_user(t):
    """What an ordinary user makes is his; what he may not do he may not."""
    m = Mount(t)
    os.chmod(m.dir, 0o1777)
    open_to_all(t.dir)
    write(m.dir / "roots")
    os.chmod(m.dir / "roots", 0o600)
    sh = ["setpriv", "--reuid", "4321", "--regid", "8765", "--clear-groups", "sh", "-c"]
    t.run(sh + [f"cd {m.at} && umask 077 && echo x >mine && mkdir d && ln -s x l && mkfifo p"], check=0)
    for name in ("mine", "d", "l", "p"):
        st = os.lstat(m.dir / name)
        t.eq((st.st_uid, st.st_gid), (4321, 8765), name)
    t.eq(stat.S_IMODE(os.stat(m.dir / "mine").st_mode), 0o600)
    for cmd in ("cat roots", "rm -f roots", "chown 0 mine", "mv mine roots"):
        t.true(t.run(sh + [f"cd {m.at} && {cmd}"]).code != 0, cmd)


def acl(*entries):
    """A POSIX ACL as the kernel takes it: (tag, rights, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


IDMAPPED = """
cd %s
as() { id=$1; shift; setpriv --reuid $id --regid $id --clear-groups sh -c "umask 022; $*" 2>&1; }
for id in 0 5 100000 100007; do
    as $id "mkdir d$id; touch f$id; ln -s x l$id; mkfifo p$id; ln f$id hard$id; mv f$id g$id; echo $id >f$id"
done
as 100007 "chown 100000 f100007; chmod 4711 f100007; cat nobodys; rm -f others/x; touch others/y"
for cmd in "chown 100008:100009 f100000" "chown 5 f100007" "chgrp 5 f100007" "chmod 600 nobodys" "chown 100000 nobodys" "cat nobodys" \
    "touch nobodys" "mv nobodys d100000" "rm -f d100000/nobodys" "mkdir -p nobodysdir/x" "touch sgid/f" "rm -f nobodysdir/f"; do
    echo "$cmd"; as 0 $cmd
done
as 100007 "touch sgid/f"; as 100007 "mkdir sgid/d"
find . | sort | xargs -d "\n" stat -c "%%n %%F %%u:%%g %%a"
"""


@case(only=COR, quick=True)
def test_idmapped(t):
    """A directory that the host has idmapped: everybody can make what he could there, as the owner that he is there, and no more."""
    top = idmap.place(t)
    open_to_all(top)
    behind, said = [], []
    for way in ("plain", "served"):
        disk, mapped = top / way, t.dir / f"{way}-mapped"
        for d in (disk, mapped, disk / "sgid", disk / "others", disk / "nobodysdir"):
            d.mkdir()
        os.chmod(disk, 0o777)
        os.chmod(disk / "others", 0o1777)
        write(disk / "others/x")
        os.chown(disk / "sgid", 7, 8)
        os.chmod(disk / "sgid", 0o2775)
        write(disk / "nobodysdir/f")
        write(disk / "nobodys")
        os.chown(disk / "nobodysdir", 70000, 70000)
        os.chown(disk / "nobodys", 70000, 70000)
        os.chmod(disk / "nobodys", 0o640)
        idmap.mount(t, disk, mapped, "0 100000 1000\n")
        at = mapped if way == "plain" else Mount(t, behind=mapped).at
        said.append(t.run(["sh", "-c", IDMAPPED % at], check=0).out.splitlines())
        with t.step(f"{way}: an ACL's users"):
            mine = [(1, 6, 0xffffffff), (2, 4, 100009), (4, 4, 0xffffffff), (8, 6, 100003), (16, 6, 0xffffffff), (32, 0, 0xffffffff)]
            os.setxattr(at / "f100007", "system.posix_acl_access", acl(*mine))
            t.eq(os.getxattr(at / "f100007", "system.posix_acl_access"), acl(*mine))
            on_disk = [(tag, rights, who - 100000 if who < 1 << 31 else who) for tag, rights, who in mine]
            t.eq(os.getxattr(disk / "f100007", "system.posix_acl_access"), acl(*on_disk))
        behind.append(seen(disk))
    with t.step("the same answers"):
        t.eq(list(difflib.unified_diff(*said, "through the mount", "through the server", lineterm="", n=1)), [])
        t.true(any("Value too large" in line for line in said[0]), "who is not mapped can make nothing")
    with t.step("the same on the disk"):
        t.eq(behind[1], behind[0])
        t.eq(behind[1]["d100007"][1:3], [7, 7])


@case(only=COR, quick=True)
def test_open_files(t):
    m = Mount(t)
    f = m.at / "f"
    write(f, "one")
    with t.step("read and written after it was unlinked"), open(f, "r+") as h:
        os.unlink(f)
        t.eq(h.read(), "one")
        h.write("two")
        h.flush()
        t.eq((os.fstat(h.fileno()).st_size, os.fstat(h.fileno()).st_nlink), (6, 0))
        os.fchmod(h.fileno(), 0o600)
        os.ftruncate(h.fileno(), 2)
        again = os.open(f"/proc/self/fd/{h.fileno()}", os.O_RDONLY)
        t.eq(os.read(again, 10), b"on")
        os.close(again)
    with t.step("renamed over while open"):
        write(f, "old")
        write(m.at / "g", "new")
        with open(f) as h:
            os.rename(m.at / "g", f)
            t.eq((h.read(), f.read_text()), ("old", "new"))
    with t.step("a file without a name gets one"):
        fd = os.open(m.at, os.O_TMPFILE | os.O_RDWR, 0o640)
        os.write(fd, b"tmp")
        follow = 0x400  # AT_SYMLINK_FOLLOW, which os.link() can't say
        t.eq(LIBC.linkat(-100, f"/proc/self/fd/{fd}".encode(), -100, os.fsencode(m.at / "named"), follow), 0)
        os.close(fd)
        t.eq((m.dir / "named").read_text(), "tmp")
    with t.step("append by two writers"):
        with open(f, "a") as a, open(f, "a") as b:
            for h in (a, b, a):
                h.write("+")
                h.flush()
        t.eq(f.read_text(), "new+++")
    with t.step("exchange, no-replace"):
        names = (-100, os.fsencode(f), -100, os.fsencode(m.at / "named"))
        t.eq((LIBC.renameat2(*names, 1), ctypes.get_errno()), (-1, errno.EEXIST))
        t.eq(LIBC.renameat2(*names, 2), 0)
        t.eq((f.read_text(), (m.at / "named").read_text()), ("tmp", "new+++"))


@case(only=COR, quick=True)
def test_data(t):
    m = Mount(t)
    f = m.at / "f"
    blob = os.urandom(3 << 20)
    with t.step("big reads and writes"):
        f.write_bytes(blob)
        t.true((m.dir / "f").read_bytes() == blob, "content on the disk")
        with open(f, "rb") as h:
            os.posix_fadvise(h.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        t.true(f.read_bytes() == blob, "content read back")
    with t.step("a sparse file"):
        with open(m.at / "s", "wb") as h:
            h.seek(1 << 40)
            h.write(b"end")
        st = os.stat(m.at / "s")
        t.eq(st.st_size, (1 << 40) + 3)
        t.true(st.st_blocks < 100, f"{st.st_blocks} blocks")
        fd = os.open(m.at / "s", os.O_RDONLY)
        t.eq(os.lseek(fd, 0, os.SEEK_HOLE), 0)
        t.true(os.lseek(fd, 0, os.SEEK_DATA) > 1 << 39, "SEEK_DATA")
        os.close(fd)
    with t.step("mmap, shared and private"):
        with open(f, "r+b") as h, mmap.mmap(h.fileno(), 0) as mm:
            t.true(mm[:100] == blob[:100], "read")
            mm[0:4] = b"abcd"
            mm.flush()
        t.eq((m.dir / "f").read_bytes()[:4], b"abcd")
    with t.step("fallocate and copy_file_range"):
        with open(f, "r+b") as h, open(m.at / "c", "wb") as to:
            os.posix_fallocate(h.fileno(), 0, 4 << 20)
            t.eq(os.copy_file_range(h.fileno(), to.fileno(), 1000, 0, 0), 1000)
        t.eq((os.stat(m.dir / "f").st_size, os.stat(m.dir / "c").st_size), (4 << 20, 1000))
    with t.step("locks"):
        a, b = open(f), open(f)
        fcntl.flock(a, fcntl.LOCK_EX)
        t.eq(outcome(fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB), "EAGAIN")
        a.close()
        fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
        b.close()
    with t.step("a socket"):
        s = socket.socket(socket.AF_UNIX)
        here = os.getcwd()
        os.chdir(m.at)
        s.bind("sock")
        s.listen()
        c = socket.socket(socket.AF_UNIX)
        c.connect("sock")
        os.chdir(here)
        c.close()
        s.close()
        t.true(stat.S_ISSOCK(os.stat(m.dir / "sock").st_mode), "a socket on the disk")


def open_to_all(directory):
    """Other users can get there."""
    for d in (directory, *directory.parents):
        if not os.stat(d).st_mode & 0o001:
            os.chmod(d, os.stat(d).st_mode | 0o001)


@case(only=COR, quick=True, timeout=120)
def test_posix(t):
    """What programs rely on, asked by lib/fsprobe.c in a plain directory and through the server: no line differs."""
    m, plain = Mount(t), t.dir / "plain"
    plain.mkdir()
    open_to_all(t.dir)
    probe = builds.helper("fsprobe", pathlib.Path(t.rt.path).parents[3])
    want, got = (t.run([probe, d], check=0, timeout=60).out.splitlines() for d in (plain, m.at))
    t.eq(want[-1], "end")
    t.eq(list(difflib.unified_diff(want, got, "the host's", "through the server", lineterm="", n=1)), [])
    kinds = dict.fromkeys(line.split(":")[0] for line in want[:-1])
    for kind in kinds:
        with t.step(kind):
            t.eq(*([line for line in lines if line.startswith(f"{kind}:")] for lines in (got, want)))


@case(only=COR, quick=True)
def test_large_numbers(t):
    """Inode numbers of 64 bits (as XFS and overlayfs have) arrive whole: through overlayfs, which puts marks into the highest bits."""
    lower, upper, merged = t.dir / "lower", t.dir / "upper", t.dir / "merged"
    for d in (lower, upper, merged):
        d.mkdir()
    write(lower / "f")
    t.run(["mount", "-t", "tmpfs", "-o", "inode32", "tmpfs", upper], check=0)
    t.cleanup(lambda: subprocess.run(["umount", "-l", str(upper)], check=False))
    for d in ("up", "work"):
        (upper / d).mkdir()
    options = f"lowerdir={lower},upperdir={upper}/up,workdir={upper}/work,xino=on"
    if t.run(["mount", "-t", "overlay", "-o", options, "overlay", merged]).code != 0:
        t.skip("no overlayfs with xino=on over this file system")
    t.cleanup(lambda: subprocess.run(["umount", "-l", str(merged)], check=False))
    write(merged / "g")
    numbers = {n: os.stat(merged / n).st_ino for n in "fg"}
    if max(numbers.values()) < 1 << 32:
        t.skip(f"no large inode numbers here: {numbers}")
    m = Mount(t, behind=merged)
    t.eq({e.name: e.inode() for e in os.scandir(m.at)}, numbers)
    t.eq({n: os.stat(m.at / n).st_ino for n in "fg"}, numbers)


def content(path, directory=None):
    """Read as cat does: nobody asks for the size first."""
    fd = os.open(path, os.O_RDONLY, dir_fd=directory)
    try:
        return os.read(fd, 10000).decode()
    finally:
        os.close(fd)


@contextlib.contextmanager
def directory(path):
    fd = os.open(path, os.O_PATH)
    try:
        yield fd
    finally:
        os.close(fd)


@case(only=COR, quick=True)
def test_host_changes(t):
    """What the host changed is there for who opens a file after it, though the client believes names and sizes for a second."""
    m = Mount(t)
    behind, at = m.dir / "top", m.at / "top"  # names in the root itself are asked for each time
    there, here = behind / "d/f", at / "d/f"
    there.parent.mkdir(parents=True)
    there.write_text("one")
    t.eq(content(here), "one")
    with t.step("longer, shorter, as long"):
        for text in ("longer than one", "short", "SHORT"):
            there.write_text(text)
            t.eq(content(here), text)
    with t.step("another file of that name"):
        (behind / "new").write_text("SHORT")
        os.rename(behind / "new", there)
        with open(here, "a") as h:
            h.write(" and more")
        t.eq(there.read_text(), "SHORT and more")
        t.eq(content(here), "SHORT and more")
    with t.step("another directory"):
        t.eq(os.listdir(at / "d"), ["f"])
        (behind / "e").mkdir()
        (behind / "e/f").write_text("e's")
        os.rename(behind / "d", behind / "old")
        os.rename(behind / "e", behind / "d")
        t.eq(content(here), "e's")
        (behind / "d2").mkdir()
        os.rename(behind / "d", behind / "old2")
        os.rename(behind / "d2", behind / "d")
        t.eq(os.listdir(at / "d"), [])
    with t.step("removed, made again"):
        there.write_text("again")
        t.eq(content(here), "again")
        os.unlink(there)
        t.eq(outcome(content, here), "ENOENT")
        os.mkfifo(there)
        t.true(stat.S_ISFIFO(os.stat(here).st_mode), "a pipe")
        os.unlink(there)
        with open(here, "x") as h:
            h.write("new")
        t.eq(there.read_text(), "new")
    with t.step("an open one, once more by its number; its directory is moved away"):
        with open(here) as h, directory(at / "d") as d:
            os.rename(behind / "d", behind / "away")
            for _ in range(3):
                t.eq(outcome(content, f"/proc/self/fd/{h.fileno()}"), "new")
                t.eq(outcome(content, "f", d), "new")
            t.eq(h.read(), "new")


@case(only=COR, quick=True, timeout=60)
def test_host_changes_all_the_time(t):
    """Names that the host puts other files under without end: who opens one always gets a whole file, never an error."""
    m = Mount(t)
    texts = ["x" * n for n in (1, 100, 5000)]
    behind, at = m.dir / "d", m.at / "d"
    behind.mkdir()
    (behind / "f").write_text(texts[0])
    stop, problems, reads = threading.Event(), set(), []

    def change():
        for n in itertools.cycle(range(3)):
            if stop.is_set():
                return
            (behind / "new").write_text(texts[n])
            os.rename(behind / "new", behind / "f")

    def read(n):
        for _ in range(500):
            said = outcome(content, at / "f")
            if said not in texts:
                problems.add(said[:20])
            reads.append(n)

    with change_while(threading.Thread(target=change), stop):
        readers = [threading.Thread(target=read, args=(n,)) for n in range(4)]
        for th in readers:
            th.start()
        for th in readers:
            th.join()
    t.eq((len(reads), problems), (2000, set()))


@contextlib.contextmanager
def change_while(thread, stop):
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


FILES = 500_000


@case(only=COR, timeout=300)
def test_half_a_million(t):
    """find over half a million files: no more descriptors than are allowed, and all are forgotten when the client needs memory."""
    m = Mount(t, fds=(1000, 200), tmpfs=True)
    for d in range(500):
        (m.dir / f"d{d}").mkdir()
        for n in range(FILES // 500):
            os.mknod(m.dir / f"d{d}/{n}")
    rss = lambda: int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{m.child.pid}/status").read_text()).group(1))
    before = rss()
    t.eq(t.run(["sh", "-c", f"find {m.at} -type f -size 0 | wc -l"], check=0, timeout=120).out.strip(), str(FILES))
    t.true(len(os.listdir(f"/proc/{m.child.pid}/fd")) < 220, "descriptors are closed again")
    each = (rss() - before) * 1024 / FILES
    if "libasan" in pathlib.Path(f"/proc/{m.child.pid}/maps").read_text():
        t.report(f"memory for each file was not compared: {each:.0f} bytes, with what the sanitizer keeps around them")
    else:
        t.true(each < 256, f"{each:.0f} bytes for each file")
    os.truncate(m.at / "d0/7", 5)
    t.eq(os.stat(m.dir / "d0/7").st_size, 5)
    found = re.search(r"most inodes (\d+) fds (\d+)", m.end())
    # Short of memory, this machine's kernel forgets some while it looks at others.
    t.true(int(found[1]) > 100 * 220, f"only {found[1]} files were known at a time")
    t.true(int(found[2]) <= 220, f"{found[2]} descriptors were open")


@case(only=COR, quick=True)
def test_acl(t):
    m, plain = Mount(t), t.dir / "plain"
    plain.mkdir()
    probe = t.run(["setfacl", "-m", "u:99:r", plain]) if os.path.exists("/usr/bin/setfacl") else None
    if not probe or probe.code != 0:
        t.skip("setfacl (package acl) is missing or the file system has no ACLs")
    results = []
    for d in (m.at, plain):
        t.run(["setfacl", "-d", "-m", "u:99:rwx,m:rx", d], check=0)
        t.run(["sh", "-c", "umask 077; mkdir sub; echo >file"], cwd=d, check=0)
        results.append(t.run(["getfacl", "-n", "sub", "file"], cwd=d, check=0).out)
    t.eq(results[0], results[1])


@case(only=COR, quick=True, timeout=120)
def test_few_descriptors(t):
    """64 descriptors, 3000 files, a deep tree: everything can be reached again, also what was renamed."""
    m = Mount(t, fds=(64, 32))
    for k in range(60):
        (m.at / f"d{k}").mkdir()
        for n in range(50):
            write(m.at / f"d{k}/f{n}", f"{k}.{n}")
    with t.step("all are found and right"):
        names = t.run(["find", m.at, "-type", "f"], check=0).out.split()
        t.eq(len(names), 3000)
        wrong = [n for n in names if pathlib.Path(n).read_text() != "{}.{}".format(*(p[1:] for p in n.split("/")[-2:]))]
        t.eq(wrong, [])
    with t.step("a directory chain deeper than there are descriptors"):
        deep = m.at
        for k in range(100):
            deep = deep / "x"
            os.mkdir(deep)
        write(deep / "bottom")
        fd = os.open(deep, os.O_PATH)
        t.run(["find", m.at, "-size", "+1G"], check=0)  # pushes everything else out
        os.rename(m.at / "x", m.at / "y")
        t.eq(os.stat("bottom", dir_fd=fd).st_size, 1)
        os.close(fd)
    with t.step("unlinked and not open in the server, but known to the guest"):
        fds = [os.open(m.at / f"d1/f{n}", os.O_PATH) for n in range(20)]
        for n in range(20):
            os.unlink(m.at / f"d1/f{n}")
        t.run(["find", m.at, "-size", "+1G"], check=0)
        for fd in fds:
            t.eq(os.fstat(fd).st_nlink, 0)
            os.close(fd)
    with t.step("too many open files are an error, not the end"):
        opened, said = [], None
        for n in range(200):
            said = outcome(os.open, m.at / f"d{n % 50 + 2}/f{n % 50}", os.O_RDONLY)
            if not isinstance(said, int):
                break
            opened.append(said)
        t.eq(said, "ENFILE")
        t.true(len(opened) > 30, f"{len(opened)} were open")
        for fd in opened:
            os.close(fd)
        t.wait(lambda: outcome(lambda: (m.at / "d2/f0").read_text()) == "2.0", "files can be opened again")


@case(only=COR, quick=True)
def test_moved_by_the_host(t):
    """What the host replaced is not mistaken for what was there."""
    m = Mount(t, fds=(64, 32))
    (m.at / "a").mkdir()
    write(m.at / "a/f", "right")
    fd = os.open(m.at / "a/f", os.O_PATH)
    for k in range(200):  # pushes it out
        write(m.at / f"n{k}")
    os.rename(m.dir / "a", m.dir / "b")
    (m.dir / "a").mkdir()
    write(m.dir / "a/f", "wrong")
    said = outcome(lambda: open(f"/proc/self/fd/{fd}").read())
    t.true(said in ("ESTALE", "right"), repr(said))
    os.close(fd)


@case(only=COR, quick=True)
def test_stays_inside(t):
    """Links that lead out are text; devices are not opened by the server."""
    m = Mount(t)
    secret = t.dir / "secret"
    secret.write_text("secret")
    os.symlink(secret, m.dir / "out")
    os.symlink("../secret", m.dir / "up")
    for name in ("out", "up"):
        t.true(stat.S_ISLNK(os.lstat(m.at / name).st_mode), name)
        t.true(os.readlink(m.at / name).endswith("secret"), name)
    os.unlink(m.at / "out")
    t.eq(secret.read_text(), "secret")


@case(only=COR, quick=True)
def test_many_at_once(t):
    """Threads that make, rename, read and remove the same names: nothing is left and nothing hangs."""
    m = Mount(t)
    problems = []

    def work(seed):
        for n in range(150):
            a, b = m.at / f"{(seed + n) % 7}", m.at / f"{n % 5}"
            for func in (lambda: write(a), lambda: os.rename(a, b), lambda: os.stat(b), lambda: os.link(b, a),
                         lambda: os.unlink(b)):
                said = outcome(func)
                if isinstance(said, str) and said not in ("ENOENT", "EEXIST", "ESTALE"):
                    problems.append(said)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for th in threads:
        th.start()
    for th in threads:
        th.join(60)
    t.eq(problems, [])
    t.run(["sh", "-c", "rm -f -- *"], cwd=m.at, check=0)
    t.eq(os.listdir(m.dir), [])
    log = m.end()
    t.has(log, "handles 0")
