"""idle-job.py COR N [GLOBAL...] - run by idle.py in a host with KVM: starts N containers of ./bundle as clones, prints JSON.

{"samples": [{"containers": n, "meminfo": {...}}], "processes": {what: KiB}, "touched": {how: KiB}}
"""

import json
import os
import re
import subprocess
import sys
import time

STEP = 10
SETTLE_S = 5.0
STATE = "/run/cor-idle"


def meminfo():
    with open("/proc/meminfo", encoding="ascii") as f:
        return {m.group(1): int(m.group(2)) for m in re.finditer(r"^(\w+):\s+(\d+)", f.read(), re.M)}


def sample(n):
    """The median of five readings."""
    time.sleep(SETTLE_S)  # what is given back in the background has no event
    reads = []
    for _ in range(5):
        reads.append(meminfo())
        time.sleep(0.1)
    return {"containers": n, "meminfo": {k: sorted(r[k] for r in reads)[2] for k in reads[0]}}


def private(pid):
    """(private KiB of its template's memory, of all else)."""
    guest = other = 0
    where = ""
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as f:
        for line in f:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                where = line.split(None, 5)[5].strip() if len(line.split(None, 5)) > 5 else ""
            m = re.match(r"Private_(?:Clean|Dirty):\s+(\d+)", line)
            if m and "/memory" in where and "/templates/" in where:
                guest += int(m[1])
            elif m:
                other += int(m[1])
    return guest, other


def processes():
    found = {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{p}/comm", encoding="ascii") as f:
                comm = f.read().strip()
            if not comm.startswith("cor-"):
                continue
            guest, other = private(p)
        except OSError:
            continue  # it ended
        found[f"{comm}: private"] = found.get(f"{comm}: private", 0) + other
        if guest:
            found[f"{comm}: guest's pages"] = found.get(f"{comm}: guest's pages", 0) + guest
    return found


def machines():
    """The process IDs of all cor-vmm."""
    found = set()
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{p}/comm", encoding="ascii") as f:
                if f.read().strip() == "cor-vmm":
                    found.add(p)
        except OSError:
            continue
    return found


def touched(run, name, *settings):
    """KiB of the guest's memory that the host has pages for, in one container that was started and left alone."""
    before = machines()
    subprocess.run([*run[:-4], *settings, *run[-4:], name], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    (pid,) = machines() - before
    time.sleep(SETTLE_S)
    largest, rss = 0, 0  # the largest mapping is the guest's memory, however it is made
    size = 0
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as f:
        for line in f:
            m = re.match(r"(Size|Rss):\s+(\d+)", line)
            if m and m[1] == "Size":
                size = int(m[2])
            elif m and size > largest:
                largest, rss = size, int(m[2])
    return rss


def main(cor, count, *more):
    base = [cor, "--root", STATE, "--set", "hypervisor=kvm", "--set", "template=on", "--set", "template.dir=/run/templates", *more]
    subprocess.run([*base, "template", "make"], check=True, stdout=subprocess.DEVNULL)
    run = [*base, "run", "--detach", "--bundle", "bundle"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.run([*run, "first"], check=True, **quiet)  # what all share is there then
    samples = [sample(0)]
    for i in range(1, count + 1):
        subprocess.run([*run, f"c{i}"], check=True, **quiet)
        if i % STEP == 0 or i == count:
            samples.append(sample(i))
    at_end = processes()
    seen = {"a clone": touched(run, "clone"), "booted": touched(run, "booted", "--set", "template=off")}
    json.dump({"samples": samples, "processes": {k: v * count / (count + 1) for k, v in at_end.items()}, "touched": seen}, sys.stdout)
    sys.stdout.flush()
    for i in ["first", "clone", "booted"] + [f"c{i}" for i in range(1, count + 1)]:
        subprocess.run([*base, "delete", "--force", i], check=True, **quiet)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
