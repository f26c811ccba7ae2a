"""start.py - how long `run true` takes: alone, and many at once."""

import host
from report import Result, Spread, Table, show
from svg import Chart

PEERS_OF = (("cor clone", "runsc"), ("cor pool", "runc"), ("cor fork", "runsc"), ("cor image", "cor clone"))  # whom a start must not be slower than
ROUNDS = {1: 21, 10: 5, 50: 3}
COLD_ROUNDS = {10: 2, 50: 1}  # they take minutes
COLD_MIB, RESERVE_MIB = 260, 2048  # a booted VM; what is left to others

ABOUT = """`run true`, from the start of the runtime's process to its end, with everything deleted again. Milliseconds for each
container; "batch / n" is the time from the first start to the last end, by the number of containers, and "CPU" the CPU time of
one of them, in all its processes ("-": not known). The runtimes take turns in every round, in another order each. `cor cold` boots, `cor clone` clones a template, `cor image` does and has its root from an image
(`cor run --image`, docs/images.md) instead of a shared directory, `cor pool` takes one of ten VMs
that wait (of fifty at once, forty are clones), `cor fork` a copy of one that waits (`pool.fork`)."""


def arguments(p):
    p.add_argument("--at-once", type=int, nargs="+", metavar="N", default=list(ROUNDS), help="how many together (1 10 50)")
    p.add_argument("--rounds", type=int, metavar="N", help="rounds of each (default: 21, 5, 3)")


def default_rounds(n):
    return ROUNDS.get(n, 21 if n < 5 else 5 if n < 30 else 3)


def too_big(c, n):
    """Fifty booted VMs don't fit everywhere."""
    need = n * COLD_MIB + RESERVE_MIB
    have = host.meminfo()["MemAvailable"] >> 10
    if c.name == "cor cold" and need > have:
        return f"{n} at once need {need} MiB, {have} MiB are available"
    return None


def run(bench, opts):
    res = Result("start", "Start: `run true`", ABOUT)
    bundles = [bench.bundle(["true"]) for _ in range(max(opts.at_once))]
    rows, groups = [], []
    found = {}
    for n in opts.at_once:
        rounds = opts.rounds or default_rounds(n)
        measure(bench, res, found, n, rounds, bundles)
        group = []
        for c in bench.present:
            if (c.name, n) in found:
                f = found[c.name, n]
                s = Spread([v * 1000 for v in f["secs"]])
                cpu = show(sum(f["cpu"]) * 1000 / s.n) if c.tells_cpu else "-"
                rows.append([c.name, str(n), str(s.n)] + s.cells() + [
                    show(Spread(f["batch"]).median * 1000 / n), cpu, f"{f['others']:.0f} %"])
                group.append((c.name, s.median, s.p10, s.p90, c.ours))
        groups.append(("alone" if n == 1 else f"{n} at once", group))
    res.tables.append(Table(["runtime", "at once", "runs"] + Spread.COLUMNS + ["batch / n", "CPU", "others"], rows))
    res.charts.append(Chart("start", "Start of a container: run true", "milliseconds for each container: median, and from the "
                            "10th to the 90th percentile", groups, True, "less is better"))
    res.data = {f"{name}, {n} at once": f for (name, n), f in found.items()}
    res.notes += conclusions(found, opts.at_once)
    return res


def measure(bench, res, found, n, rounds, bundles):
    """All runtimes in turns; a first round that nobody counts."""
    taking_part = []
    for c in bench.present:
        why = too_big(c, n)
        if why:
            res.skipped.append((c.name, why))
        else:
            taking_part.append(c)
            found[c.name, n] = {"secs": [], "batch": [], "cpu": [], "tells_cpu": c.tells_cpu}
    others = host.Others(bench.own_cpu)
    warm = 1 if n == 1 else 0
    for i in range(rounds + warm):
        for k in range(len(taking_part)):
            c = taking_part[(k + i) % len(taking_part)]
            if c.name == "cor cold" and i >= COLD_ROUNDS.get(n, rounds + warm):
                continue
            bench.say(f"{n} at once: round {i + 1} of {rounds + warm}, {c.name}")
            c.settle()
            b = c.launcher.batch([c.run(f"r{j:04}", d) for j, d in enumerate(bundles[:n])], f"{c.name}: run true")
            if i >= warm:
                f = found[c.name, n]
                f["secs"] += [r.secs for r in b.runs]
                f["batch"].append(b.wall)
                f["cpu"].append(b.cpu)
            c.settle()
    for c in taking_part:
        found[c.name, n]["others"] = others.percent()


def conclusions(found, at_once):
    notes = []
    for ours, peer in PEERS_OF:
        if (ours, 1) in found and (peer, 1) in found:
            a, b = Spread(found[ours, 1]["secs"]), Spread(found[peer, 1]["secs"])
            notes.append(f"{ours}, alone: median {show(a.median / b.median)} of {peer}'s, least {show(a.min / b.min)}")
    few, many = (10, 50) if {10, 50} <= set(at_once) else (min(at_once), max(at_once))
    for name in dict.fromkeys(n for n, _ in found) if few < many else ():
        if (name, few) in found and (name, many) in found:
            a, b = Spread(found[name, few]["batch"]), Spread(found[name, many]["batch"])
            cpu = f"; by CPU time {show(per(found[name, many]) / per(found[name, few]))}" if found[name, few]["tells_cpu"] else ""
            notes.append(f"{name}: one of {many} at once costs {show(b.median / many / (a.median / few))} of one of {few} "
                         f"(batch / n{cpu})")
    return notes


def per(f):
    return sum(f["cpu"]) / len(f["secs"])
