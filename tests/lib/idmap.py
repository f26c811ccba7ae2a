"""idmap.py - idmapped mounts by hand, as an engine makes them (Debian 12's mount(8) can't)."""

import contextlib
import ctypes
import errno
import json
import os
import struct
import subprocess

import place as places

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
    """A directory whose file system can be idmapped (tmpfs can since Linux 6.3)."""
    at = t.dir / "probe"
    at.mkdir()

    def fits(directory):
        try:
            mount(t, directory, at, "0 1 1\n")
            return True
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise
            return False

    return places.place(t, fits)


def served(t):
    """What makes a VM's files come from cor-fsd, where they don't anyway."""
    if t.rt.kind != "cor" or json.loads(t.rt("features").out)["linux"]["mountExtensions"]["idmap"]["enabled"]:
        return ()
    return ("--set", "qemu.share=virtiofs")


def open_to_all(directory):
    for d in (directory, *directory.parents):
        if not os.stat(d).st_mode & 0o001:
            d.chmod(os.stat(d).st_mode | 0o001)
