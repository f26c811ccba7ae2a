"""idmap.py - idmapped mounts by hand, as an engine makes them (Debian 12's mount(8) can't)."""

import contextlib
import ctypes
import errno
import os
import struct
import subprocess

OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
CLONE, CLOEXEC, EMPTY_PATH, RECURSIVE = 1, 0o2000000, 0x1000, 0x8000
ATTR_IDMAP, FROM_EMPTY = 0x100000, 4
LIBC = ctypes.CDLL(None, use_errno=True)


def syscall(number, *args):
    fd = LIBC.syscall(number, *args)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


@contextlib.contextmanager
def namespace(uids, gids):
    """A user namespace with these maps (texts for uid_map and gid_map), as a descriptor."""
    with subprocess.Popen(["unshare", "-U", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()  # it is in there
        for name, text in (("uid_map", uids), ("gid_map", gids)):
            with open(f"/proc/{child.pid}/{name}", "w", encoding="ascii") as f:
                f.write(text)
        fd = os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY)
        child.stdin.close()
    try:
        yield fd
    finally:
        os.close(fd)


def mount(t, source, target, ids, recursive=False):
    """Mounts `source` idmapped at `target`, with the same map for users and groups."""
    deep = RECURSIVE if recursive else 0
    with namespace(ids, ids) as ns:
        tree = syscall(OPEN_TREE, -100, os.fsencode(source), CLONE | CLOEXEC | deep)
        try:
            syscall(MOUNT_SETATTR, tree, b"", EMPTY_PATH | deep, struct.pack("<QQQQ", ATTR_IDMAP, 0, 0, ns), 32)
            syscall(MOVE_MOUNT, tree, b"", -100, os.fsencode(target), FROM_EMPTY)
        finally:
            os.close(tree)
    t.cleanup(lambda: subprocess.run(["umount", "-l", str(target)], check=False))


def place(t):
    """A directory whose file system can be idmapped: the test's own, or of an ext4 in a file (tmpfs can since Linux 6.3)."""
    disk, probe = t.dir / "idmappable", t.dir / "probe"
    for d in (disk, probe):
        d.mkdir()
    try:
        mount(t, disk, probe, "0 1 1\n")
        return disk
    except OSError as e:
        if e.errno != errno.EINVAL:
            raise
    image = t.dir / "image"
    t.run(["truncate", "-s", "8M", image], check=0)
    t.run(["mkfs.ext4", "-q", image], check=0)
    t.run(["mount", "-o", "loop", image, disk], check=0)
    t.cleanup(lambda: subprocess.run(["umount", "-l", str(disk)], check=False))
    return disk
