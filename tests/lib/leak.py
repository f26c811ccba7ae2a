"""leak.py - what a test left behind: processes, mounts, cgroups, sockets, files.

Works by two marks: every process a test starts is a descendant of its supervisor (a subreaper), and
every name a test makes carries its token. So tests and other users of the machine may run beside it.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import time

CGROUP = "/sys/fs/cgroup"
LOOSE_DIRS = ("/tmp", "/run", "/dev/shm", "/var/tmp", "/run/netns", "/run/lock")


def stat_fields(pid):
    """(state, ppid, start time) of a process, or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            rest = f.read().rpartition(b")")[2].split()
        return rest[0].decode(), int(rest[1]), int(rest[19])
    except (OSError, IndexError):
        return None


def pids():
    return [int(p) for p in os.listdir("/proc") if p.isdigit()]


def descendants(root):
    """Live descendants of a process, nearest first, without zombies."""
    children = {}
    state = {}
    for pid in pids():
        st = stat_fields(pid)
        if st:
            state[pid] = st[0]
            children.setdefault(st[1], []).append(pid)
    found, queue = [], [root]
    while queue:
        for pid in children.get(queue.pop(0), []):
            queue.append(pid)
            if state[pid] != "Z":
                found.append(pid)
    return found


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    except OSError:
        return "?"


def is_vmm(pid):
    """True for a virtual machine that runs, of either hypervisor or the cli lane's."""
    st = stat_fields(pid)
    return st is not None and st[0] != "Z" and comm(pid) in ("cor-vmm", "qemu-system-x86", "fake-qemu")


def with_token(token, but=()):
    """Processes whose command line names the token (they may have left the family)."""
    return [p for p in pids() if p not in but and token in cmdline(p)]


def in_cgroup_of(pid, token):
    try:
        with open(f"/proc/{pid}/cgroup") as f:
            return token in f.read()
    except OSError:
        return False


def is_pools(pid, token):
    """True for who makes templates and fills pools, for a VM that waits, and for its keeper: with COR_TEST_POOL=on or
    COR_TEST_TEMPLATE=on they belong to no test, though one test's process started them and another's container may have taken them."""
    line = cmdline(pid)
    if f"{token}/templates" in line:
        return False
    if "/.pool/" in line:
        return not any(in_cgroup_of(p, token) for p in [pid] + descendants(pid))
    while pid > 1 and comm(pid) != "cor-template":
        st = stat_fields(pid)
        pid = st[1] if st else 0
    return pid > 1


def describe(pid):
    st = stat_fields(pid)
    return f"{pid} ({comm(pid)}, {st[0] if st else 'gone'}): {cmdline(pid)[:300]}"


def mounts(token):
    with open("/proc/self/mountinfo") as f:
        return [line.split()[4] for line in f if token in line]


def cgroups(token):
    found = []
    for top, dirs, _ in os.walk(CGROUP):
        found += [os.path.join(top, d) for d in dirs if token in top or token in d]
    return found


def members(cgroup):
    """Who is in it: " (1234 comm, ...)"."""
    try:
        with open(os.path.join(cgroup, "cgroup.procs")) as f:
            procs = [int(p) for p in f.read().split()]
    except (OSError, ValueError):
        return ""
    return " (" + ", ".join(f"{p} {comm(p)}" for p in procs) + ")" if procs else ""


def remove_empty_cgroups(token, grace=3.0):
    """Engines leave the parent groups they made: not a leak of the runtime's. Those that do not get
    empty in time stay, and the leak check names them."""
    end = time.monotonic() + grace
    while (left := cgroups(token)) and time.monotonic() < end:
        reap()  # an orphan that was not reaped keeps its group busy
        for c in sorted(left, key=len, reverse=True):
            try:
                os.rmdir(c)
            except OSError:
                pass
        time.sleep(0.02)


def sockets(token):
    """Listening or named unix sockets whose path carries the token."""
    with open("/proc/net/unix") as f:
        return sorted({line.split()[-1] for line in f if token in line})


def loose_files(token, own_dir):
    found = []
    for d in LOOSE_DIRS:
        try:
            names = os.listdir(d)
        except OSError:
            continue
        found += [os.path.join(d, n) for n in names if token in n and os.path.join(d, n) != str(own_dir)]
    return found


def reap():
    """Collects every child that ended."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def family(token):
    me = os.getpid()
    found = descendants(me)
    ancestors = set()
    pid = me
    while pid > 1:
        ancestors.add(pid)
        st = stat_fields(pid)
        pid = st[1] if st else 0
    found += with_token(token, but=set(found) | ancestors)
    if "on" in (os.environ.get("COR_TEST_POOL"), os.environ.get("COR_TEST_TEMPLATE")):
        found = [p for p in found if not is_pools(p, token)]
    return found


def check(token, own_dir, state_root, grace, makers):
    """Called by the supervisor when the test's process has ended. Gives what takes a moment to end
    (a reaper's work) `grace` seconds; returns a list of texts, empty = clean. Who makes templates or fills pools ends by
    himself, too, but works at the lowest priority: the moment begins when he is through, and that he may take `makers` seconds."""
    end = time.monotonic() + grace
    through = time.monotonic() + makers
    while True:
        reap()
        left = family(token)
        cgs = cgroups(token)
        now = time.monotonic()
        if now < through and any(comm(p) == "cor-template" for p in left):
            end = now + grace
        if (not left and not cgs) or now > end:
            break
        time.sleep(0.02)
    found = [f"process {describe(p)}" for p in left]
    found += [f"mount {m}" for m in mounts(token)]
    found += [f"cgroup {c}{members(c)}" for c in cgs]
    found += [f"socket {s}" for s in sockets(token)]
    found += [f"file {f}" for f in loose_files(token, own_dir)]
    root = pathlib.Path(state_root)
    if root.is_dir():
        found += [f"state {p.relative_to(root)}" for p in sorted(root.rglob("*"))]
    return found


def clean(token, own_dir, remove_dir=True):
    """Ends by pid what is left, unmounts, removes. Called after check()."""
    for _ in range(50):
        left = family(token)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        reap()
        if not left:
            break
        time.sleep(0.02)
    for m in sorted(mounts(token), key=len, reverse=True):
        subprocess.run(["umount", "-l", m], stderr=subprocess.DEVNULL, check=False)
    for c in sorted(cgroups(token), key=len, reverse=True):
        thaw(c)
        for _ in range(50):
            try:
                os.rmdir(c)
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.02)
    for f in loose_files(token, own_dir):
        remove(f)
    if remove_dir and not mounts(token):
        remove(own_dir)


def thaw(cgroup):
    try:
        with open(os.path.join(cgroup, "freezer.state"), "w") as f:
            f.write("THAWED")
    except OSError:
        pass


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        try:
            os.unlink(path)
        except OSError:
            pass
