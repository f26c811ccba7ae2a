"""bundle.py - makes OCI bundles: a busybox root file system and a config.json.

config() is a small valid configuration that runc, crun and cor all run on a machine where root has
no CAP_SYS_RESOURCE (so: no rlimits unless a test asks). Tests change the returned dict.
"""

import copy
import json
import os
import pathlib
import shutil
import stat
import subprocess

BUSYBOX = "/bin/busybox"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_CAPS = ["CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
                "CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
                "CAP_SYS_CHROOT"]
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug",
          "/sys/firmware", "/proc/scsi"]
READONLY = ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
     "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
]
NAMESPACES = ["pid", "network", "ipc", "uts", "mount"]


def config(args=("true",), **process):
    """A config.json as a dict. Keyword arguments replace members of `process`."""
    if isinstance(args, str):
        args = ["sh", "-c", args]
    caps = {k: list(DEFAULT_CAPS) for k in ("bounding", "effective", "permitted")}
    proc = {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": list(args),
        "env": [PATH, "TERM=xterm"],
        "cwd": "/",
        "capabilities": caps,
        "noNewPrivileges": True,
    }
    proc.update(process)
    return {
        "ociVersion": "1.0.2",
        "process": proc,
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "cor-test",
        "mounts": copy.deepcopy(MOUNTS),
        "linux": {
            "namespaces": [{"type": n} for n in NAMESPACES],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READONLY),
        },
    }


def mount(conf, destination, type_, source, *options):
    """Appends a mount; returns the dict."""
    conf["mounts"].append({"destination": destination, "type": type_, "source": str(source), "options": list(options)})
    return conf


def bind(conf, source, destination, *options):
    return mount(conf, destination, "bind", source, "bind", *options)


# lib/fsprobe.c in a container: what it asks of a bind at /mnt, that is what is not the same everywhere in the share; then of one at
# /other, which is of another file system than the root's: it has a device number of its own, and no ACLs.
FSPROBE_BIND = ("open files", "renames", "maps", "acls", "nodes")
FSPROBE_OTHER = """b=/bin/busybox; /fsprobe /other acls | $b head -1
[ $($b stat -c %d /mnt) = $($b stat -c %d /work) ] && [ $($b stat -c %d /other) != $($b stat -c %d /mnt) ] && echo devices"""
FSPROBE_OTHER_SAYS = ["acls: set: EOPNOTSUPP", "devices"]


def make_rootfs(path):
    """A busybox root file system: what a small image holds, owned by root."""
    path = pathlib.Path(path)
    for d, mode in (("bin", 0o755), ("sbin", 0o755), ("usr/bin", 0o755), ("usr/sbin", 0o755), ("etc", 0o755),
                    ("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("tmp", 0o1777), ("root", 0o700),
                    ("home/user", 0o755), ("var/tmp", 0o1777), ("run", 0o755), ("mnt", 0o755)):
        (path / d).mkdir(parents=True, exist_ok=True)
        (path / d).chmod(mode)
    shutil.copy(BUSYBOX, path / "bin/busybox")
    (path / "bin/busybox").chmod(0o755)
    for applet in applets():
        link = path / "bin" / applet
        if not link.is_symlink() and applet != "busybox":
            link.symlink_to("busybox")
    (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\ntty:x:5:\nuser:x:1000:\nextra:x:2000:user\n")
    os.chown(path / "home/user", 1000, 1000)
    return path


_applets = []


def applets():
    if not _applets:
        out = subprocess.run([BUSYBOX, "--list"], capture_output=True, check=True, text=True).stdout
        _applets.extend(out.split())
    return _applets


def add_probe(rootfs, probe):
    """Puts the compiled tests/lib/probe.c into a root file system."""
    shutil.copy(probe, pathlib.Path(rootfs) / "bin/probe")


def make(path, conf, rootfs=True):
    """A bundle directory with this configuration (a dict, or text or bytes written as they are)."""
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    if rootfs:
        make_rootfs(path / "rootfs")
    write_config(path, conf)
    return path


def write_config(path, conf):
    if isinstance(conf, dict):
        conf = json.dumps(conf, indent=1)
    if isinstance(conf, str):
        conf = conf.encode("utf-8", "surrogateescape")
    (pathlib.Path(path) / "config.json").write_bytes(conf)


def snapshot(root, but=("dev", "proc", "sys")):
    """What stands in a root file system: path -> (type, mode, uid, gid, rdev or size, link or digest).
    Top-level names in `but` are left out. Used to compare what two runtimes leave."""
    import hashlib

    root = pathlib.Path(root)
    found = {}
    for top, dirs, files in os.walk(root):
        rel = os.path.relpath(top, root)
        if rel == ".":
            dirs[:] = [d for d in dirs if d not in but]
        for name in dirs + files:
            full = os.path.join(top, name)
            st = os.lstat(full)
            kind = stat.S_IFMT(st.st_mode)
            extra = None
            if kind == stat.S_IFLNK:
                extra = os.readlink(full)
            elif kind == stat.S_IFREG:
                with open(full, "rb") as f:
                    extra = hashlib.sha256(f.read()).hexdigest()[:16]
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                extra = (os.major(st.st_rdev), os.minor(st.st_rdev))
            nlink = st.st_nlink if kind == stat.S_IFREG else 0
            found[os.path.normpath(os.path.join(rel, name))] = (kind, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid,
                                                               nlink, extra)
    return found
