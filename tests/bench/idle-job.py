"""idle-job.py COR N [GLOBAL...] - run by idle.py in a host with KVM: starts N containers of ./bundle as clones, prints JSON.

{"samples": [{"containers": n, "meminfo": {...}}], "processes": {what: KiB}, "touched": {how: KiB}}
In an emulated host ($EMULATED) "touched" is exact: a fault maps one page there, and not the fifteen around it that are in the cache.
"""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

STEP = 10
SETTLE_S = 5.0
STATE = "/run/cor-idle"
IMAGES = "/run/cor-idle-images"
TEMPLATES = "/run/templates"
MACHINES = ("cor-vmm", "qemu-system-x86")


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
            if not comm.startswith(("cor-", "qemu-")):
                continue
            guest, other = private(p)
        except OSError:
            continue  # it ended
        found[f"{comm}: private"] = found.get(f"{comm}: private", 0) + other
        if guest:
            found[f"{comm}: guest's pages"] = found.get(f"{comm}: guest's pages", 0) + guest
    return found


def named(*names):
    """The process IDs of all programs with these names."""
    found = set()
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{p}/comm", encoding="ascii") as f:
                if f.read().strip() in names:
                    found.add(p)
        except OSError:
            continue
    return found


def mappings(pid):
    """[(begin, end, rights, path, KiB that are there)]"""
    found = []
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as f:
        for line in f:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
            if head:
                found.append([int(head[1], 16), int(head[2], 16), head[3], head[4], 0])
            elif line.startswith("Rss:"):
                found[-1][4] = int(line.split()[1])
    return found


@contextlib.contextmanager
def one_page_a_fault():
    path = pathlib.Path("/sys/kernel/debug/fault_around_bytes")
    if "EMULATED" not in os.environ:  # elsewhere it would be everybody's
        yield
        return
    was = path.read_text()
    path.write_text("4096")
    try:
        yield
    finally:
        path.write_text(was)


def touched(argv):
    """KiB of the guest's memory that the host has pages for, in one container that was started and left alone; of images that it maps, too."""
    before = named(*MACHINES)
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    (pid,) = named(*MACHINES) - before
    time.sleep(SETTLE_S)
    runs, images, last = [], 0, None  # runs: mappings side by side, [bytes, KiB]; the guest's memory is the largest, with the kernel in its midst
    for begin, end, rights, path, kib in mappings(pid):
        if path.startswith(IMAGES + "/"):
            images += kib
        if rights[1] != "w":
            continue
        if begin != last:
            runs.append([0, 0])
        runs[-1][0] += end - begin
        runs[-1][1] += kib
        last = end
    return max(runs)[1] + images


def await_template(n):
    """Until so many are there; the one of an image is made beside its first container."""
    while len(list(pathlib.Path(TEMPLATES).glob("*/*/manifest"))) < n or named("cor-template"):
        time.sleep(0.2)


def main(cor, count, *more):
    base = [cor, "--root", STATE, "--set", "hypervisor=kvm", "--set", "template=on", "--set", f"template.dir={TEMPLATES}", *more]
    subprocess.run([*base, "template", "make"], check=True, stdout=subprocess.DEVNULL)
    run = [*base, "run", "--detach", "--bundle", "bundle"]
    base += ["--set", f"image.store={IMAGES}"]
    image = ["run", "--image", "idle", "--name"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    tool = cor.rpartition("/")[0] + "/cor-image"
    subprocess.run([tool, "import", "bundle/rootfs", "--name", "idle", "--store", IMAGES, "--quiet"], check=True, **quiet)
    subprocess.run([*run, "first"], check=True, **quiet)  # what all share is there then
    samples = [sample(0)]
    for i in range(1, count + 1):
        subprocess.run([*run, f"c{i}"], check=True, **quiet)
        if i % STEP == 0 or i == count:
            samples.append(sample(i))
    at_end = processes()
    subprocess.run([*base, *image, "learn", "--", "true"], check=True, **quiet)
    await_template(2)
    sleep = ["--detach", "--", "sleep", "1000000"]
    with one_page_a_fault():
        seen = {"a clone": touched([*run, "clone"]), "a clone of an image, with that": touched([*base, *image, "clone2", *sleep]),
                "booted": touched([*base, "--set", "template=off", "run", "--detach", "--bundle", "bundle", "booted"]),
                "booted of an image, with that": touched([*base, "--set", "template=off", *image, "booted2", *sleep])}
    json.dump({"samples": samples, "processes": {k: v * count / (count + 1) for k, v in at_end.items()}, "touched": seen}, sys.stdout)
    sys.stdout.flush()
    for i in ["first", "clone", "clone2", "booted", "booted2"] + [f"c{i}" for i in range(1, count + 1)]:
        subprocess.run([*base, "delete", "--force", i], check=True, **quiet)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
