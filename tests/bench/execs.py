"""execs.py - how long `exec true` in a running container takes."""

import host
from report import Result, Spread, Table
from svg import Chart

ROUNDS = 31
ABOUT = """`exec ID true` in a running container, from the start of the runtime's process to its end, in milliseconds. The runtimes take turns."""


def arguments(p):
    p.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"sessions of each ({ROUNDS})")


def run(bench, opts):
    res = Result("exec", "Exec: a session in a running container", ABOUT)
    found = {}
    # A pool changes how a VM starts, not what runs in it.
    present = [c for c in bench.present if c.name not in ("cor cold", "cor image", "cor pool", "cor fork")]
    for c in present:
        c.launcher.batch([c.run_detached("e", bench.bundle(["sleep", "1000000"]))], f"{c.name}: run --detach")
        found[c.name] = {"secs": [], "cpu": []}
    others = host.Others(bench.own_cpu)
    for i in range(opts.rounds + 1):
        for k in range(len(present)):
            c = present[(k + i) % len(present)]
            bench.say(f"round {i + 1} of {opts.rounds + 1}, {c.name}")
            b = c.launcher.batch([c.exec("e", "true")], f"{c.name}: exec")
            if i:
                found[c.name]["secs"].append(b.runs[0].secs)
                found[c.name]["cpu"].append(b.cpu)
    percent = others.percent()
    rows, group = [], []
    for c in present:
        c.launcher.batch([c.delete("e")], f"{c.name}: delete")
        s = Spread([v * 1000 for v in found[c.name]["secs"]])
        rows.append([c.name.replace(" clone", ""), str(s.n)] + s.cells() + [f"{percent:.0f} %"])
        group.append((c.name.replace(" clone", ""), s.median, s.p10, s.p90, c.ours))
    res.data = found
    res.tables.append(Table(["runtime", "sessions"] + Spread.COLUMNS + ["others"], rows))
    res.charts.append(Chart("exec", "A session in a running container: exec true", "milliseconds: median, and from the 10th to the "
                            "90th percentile", [("", group)], True, "less is better"))
    return res
