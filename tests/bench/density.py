"""density.py - what one more idle container costs in memory."""

import time

import account
import host
from launcher import Error
from report import Result, Table, show
from svg import Chart

COUNT, STEP, BUDGET_MIB, RESERVE_MIB = 100, 10, 16384, 3072
FEW = {"cor cold": 5}  # a booted VM is a quarter of a gigabyte
FIELDS = ("MemAvailable", "Shmem", "Slab", "PageTables")

ABOUT = """Containers of `sleep`, started {step} at a time and left alone; the host's /proc/meminfo before the first and after the last, divided
by their number, in MiB. MemAvailable is all in: memory of the processes, page tables, kernel structures. Its slope over the steps
tells how far another's doings disturbed it. PSS is the sum over the processes of the runtimes, where a page that n
processes share counts 1/n in each. `cor image` has its root from an image, of which all map one copy."""


def arguments(p):
    p.add_argument("--count", default=str(COUNT), metavar="N", help="containers of each (100), or `max`: as many as --budget carries")
    p.add_argument("--budget", type=int, default=BUDGET_MIB, metavar="MIB", help="stop a runtime that uses more (16384)")
    p.add_argument("--settle", type=float, default=3.0, metavar="SECONDS", help="before memory is read (3)")


def sample(c, settle):
    """What is used now: the median of five readings of each field, PSS and page tables of the runtime's processes."""
    time.sleep(settle)  # memory that is given back in the background has no event
    reads = []
    for _ in range(5):
        reads.append(host.meminfo())
        time.sleep(0.1)
    found = {k: sorted(r[k] for r in reads)[2] for k in FIELDS}
    found["PSS"], found["own page tables"] = host.family_memory(c.launcher.pid)
    return found


def name_of(i):
    return f"d{i:06}"  # runsc takes a beginning of a name for the name


def fill(bench, c, count, opts, bundles):
    """Starts up to `count`, returns the samples [(number, fields)] and why it stopped early."""
    others = host.Others(bench.own_cpu)
    samples, n, why = [(0, sample(c, opts.settle))], 0, ""
    step = min(STEP, count)
    while n < count:
        more = min(step, count - n)
        bench.say(f"{c.name}: {n} of {count}")
        while len(bundles) < n + more:
            bundles.append(bench.bundle(["sleep", "1000000"]))
        c.launcher.batch([c.run_detached(name_of(i), bundles[i]) for i in range(n, n + more)], f"{c.name}: run --detach")
        n += more
        samples.append((n, sample(c, opts.settle)))
        left = samples[-1][1]["MemAvailable"] >> 10
        used = (samples[0][1]["MemAvailable"] >> 10) - left
        if used + used * step / n > opts.budget:
            why = f"stopped at {n}: {used} MiB of {opts.budget} are used"
        elif left - used * step / n < RESERVE_MIB:
            why = f"stopped at {n}: {left} MiB are available"
        if why:
            break
    return samples, why, others.percent()


def empty(bench, c, n):
    bench.say(f"{c.name}: deleting {n}")
    for i in range(0, n, STEP):
        c.launcher.batch([c.delete(name_of(k)) for k in range(i, min(n, i + STEP))], f"{c.name}: delete")


def run(bench, opts):
    res = Result("density", "Density: memory of one more idle container", ABOUT.format(step=STEP))
    rows, group = [], []
    for c in bench.present:
        if c.name == "cor pool":  # what waits is a clone, and counts when it is used
            continue
        bundles = []  # each container is alone in its cgroup
        count = min(FEW.get(c.name, 1 << 20), 100000 if opts.count == "max" else int(opts.count))
        try:
            samples, why, others = fill(bench, c, count, opts, bundles)
        except Error as e:
            res.skipped.append((c.name, str(e)))
            empty(bench, c, len(bundles))
            continue
        n = samples[-1][0]
        empty(bench, c, n)
        one = {k: (samples[-1][1][k] - samples[0][1][k]) / n / 1024 for k in samples[0][1]}
        one["MemAvailable"] = -one["MemAvailable"]
        by_slope = -account.slope([(k, s["MemAvailable"]) for k, s in samples]) / 1024
        rows.append([c.name, str(n), show(one["MemAvailable"]), show(by_slope)] + [show(one[k]) for k in (
            "PSS", "Shmem", "Slab", "PageTables")] + [f"{others:.0f} %"])
        group.append((c.name, max(0.01, one["MemAvailable"]), None, None, c.ours))
        res.data[c.name] = {"samples": samples, "each": one, "slope": by_slope}
        if why:
            res.notes.append(f"{c.name}: {why}")
    res.tables.append(Table(["runtime", "containers", "MemAvailable", "by slope", "PSS", "Shmem", "Slab", "PageTables", "others"], rows))
    res.charts.append(Chart("density", "Memory of one more idle container", "MiB, MemAvailable", [("", group)], True, "less is better"))
    return res
