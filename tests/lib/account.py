"""account.py - counts what a runtime could leak: files, processes, descriptors, mounts, cgroups, sockets, memory.

Two snapshots before and after many containers must be equal where they are exact. What the whole host counts (free
memory, slab, open files) is only a trend: others use it too.
"""

import collections
import os
import re

import leak

MEMORY = ("MemAvailable", "AnonPages", "Shmem", "Slab", "SUnreclaim", "PageTables", "KernelStack")


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def tree(top):
    """Every file below a directory: relative path -> size (of directories: 0)."""
    found = {}
    for where, dirs, files in os.walk(top):
        for name in dirs + files:
            full = os.path.join(where, name)
            try:
                st = os.lstat(full)
            except FileNotFoundError:
                continue
            found[os.path.relpath(full, top)] = st.st_size if name in files else 0
    return found


def descriptors(pid):
    """What a process has open: kind or path -> how often. Numbers of sockets and pipes are left out."""
    found = collections.Counter()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                found[re.sub(r":\[\d+\]", "", os.readlink(f"/proc/{pid}/fd/{fd}"))] += 1
            except FileNotFoundError:
                pass
    except FileNotFoundError:
        pass
    return found


def exact(token, parent, dirs):
    """What must be the same before and after. parent: the process below which all runs, a subreaper."""
    family = leak.descendants(parent)
    found = {
        "processes": collections.Counter(leak.comm(p) for p in family),
        "strangers": sorted(leak.cmdline(p)[:100] for p in leak.with_token(token, but={*family, parent, os.getpid()})
                            if leak.comm(p) not in ("python3", "bench")),
        "mounts": leak.mounts(token),
        "cgroups": sorted(leak.cgroups(token)),
        "sockets": leak.sockets(token),
        "shared memory": read("/proc/sysvipc/shm").count("\n"),
    }
    for name, path in dirs.items():
        found["files: " + name] = tree(path)
    for pid in [parent] + family:
        found[f"descriptors of {leak.comm(pid)} {pid}"] = descriptors(pid)
    return found


def differences(a, b):
    """Texts, empty = the same."""
    found = []
    for key in sorted(set(a) | set(b)):
        x, y = a.get(key), b.get(key)
        if x == y:
            continue
        if isinstance(x, dict) and isinstance(y, dict):
            for k in sorted(set(x) | set(y)):
                if x.get(k) != y.get(k):
                    found.append(f"{key}: {k}: {x.get(k, 'none')} -> {y.get(k, 'none')}")
        else:
            found.append(f"{key}: {x} -> {y}")
    return found


def trend(pids):
    """Memory of the host in KiB, open files and processes of the host, and the PSS of some processes in KiB."""
    info = {m.group(1): int(m.group(2)) for m in re.finditer(r"^(\w+):\s+(\d+)", read("/proc/meminfo"), re.M)}
    found = {k: info.get(k, 0) for k in MEMORY}
    found["open files"] = int((read("/proc/sys/fs/file-nr").split() or ["0"])[0])
    found["processes"] = sum(1 for p in os.listdir("/proc") if p.isdigit())
    found["cgroups"] = max([int(line.split()[2]) for line in read("/proc/cgroups").splitlines()[1:]] or [0])
    for name, pid in pids.items():
        m = re.search(r"^Pss:\s+(\d+)", read(f"/proc/{pid}/smaps_rollup"), re.M)
        found[name + " PSS"] = int(m.group(1)) if m else 0
    return found


def slope(points):
    """Least squares: how much y grows with x."""
    n = len(points)
    mx, my = sum(p[0] for p in points) / n, sum(p[1] for p in points) / n
    below = sum((p[0] - mx) ** 2 for p in points)
    return sum((p[0] - mx) * (p[1] - my) for p in points) / below if below else 0.0
