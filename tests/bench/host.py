"""host.py - the machine under a benchmark: what it is, how busy, how much memory is left. Only reads /proc."""

import os
import platform
import re
import time

import leak

TICKS = os.sysconf("SC_CLK_TCK")
LOUD = 25.0  # percent of the CPUs, used by others meanwhile: with more, time tells nothing of ours
CORES = len(os.sched_getaffinity(0))


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def describe():
    """What stands above every result: name -> text."""
    cpu = re.search(r"^model name\s*: (.*)$", read("/proc/cpuinfo"), re.M)
    name = re.search(r'^PRETTY_NAME="(.*)"$', read("/etc/os-release"), re.M)
    return {
        "CPU": f"{cpu.group(1) if cpu else platform.machine()}, {CORES} cores",
        "memory": f"{meminfo()['MemTotal'] / (1 << 20):.1f} GiB",
        "system": f"{name.group(1) if name else '?'}, Linux {platform.release()}",
    }


def meminfo():
    """/proc/meminfo in KiB."""
    return {m.group(1): int(m.group(2)) for m in re.finditer(r"^(\w+):\s+(\d+)", read("/proc/meminfo"), re.M)}


def busy():
    """Seconds of CPU time used by everybody since the start of the machine."""
    fields = [int(f) for f in read("/proc/stat").split("\n", 1)[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / TICKS  # all but idle and iowait; guest time is in user


def cpu_of(pid):
    """Seconds of CPU time of a process and of the children that it has reaped; 0 if it is gone."""
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(int(f) for f in fields[11:15]) / TICKS if len(fields) > 15 else 0.0


def reaped():
    """Seconds of CPU time of all children of this process that have ended, and of theirs."""
    leak.reap()
    times = os.times()
    return times.children_user + times.children_system


def load():
    return os.getloadavg()[0]


class Others:
    """How much of the machine others used meanwhile: all CPU time less ours. `ours`: callable, seconds so far."""

    def __init__(self, ours):
        self.ours, self.begin, self.busy, self.own = ours, time.monotonic(), busy(), ours()

    def mine(self):
        """Seconds of ours since the start."""
        return self.ours() - self.own

    def percent(self):
        """Of all cores, since the start."""
        whole = (time.monotonic() - self.begin) * CORES
        return max(0.0, 100.0 * (busy() - self.busy - self.mine()) / whole) if whole > 0 else 0.0


def family_memory(pid):
    """PSS and page tables of all descendants of a process, KiB."""
    pss = tables = 0
    for p in leak.descendants(pid):
        for m in re.finditer(r"^Pss:\s+(\d+)", read(f"/proc/{p}/smaps_rollup"), re.M):
            pss += int(m.group(1))
        for m in re.finditer(r"^VmPTE:\s+(\d+)", read(f"/proc/{p}/status"), re.M):
            tables += int(m.group(1))
    return pss, tables


def is_tmpfs(path):
    mounts = [line.split() for line in read("/proc/self/mounts").splitlines()]
    return any(m[1] == path and m[2] == "tmpfs" for m in mounts)
