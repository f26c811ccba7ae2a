"""soak.py - many containers, one after the other: does anything stay behind?

Every cycle runs a container to its end in one of four ways, and a session in a container that lives through all of
them. Nothing but time may have passed at the end. tests/vm calls Soak for a few cycles, ./bench soak for many.
"""

import account
import leak
from launcher import Error
from report import Result, Table, show

CYCLES, SAMPLES = 1000, 20
WARM = 4  # cycles before the first look: what is made once (a template, a cache file) is no leak

ABOUT = """Containers one after the other: `run true`; `run` with output; `run --detach`, killed and deleted; one whose program is missing. Each time also
a session in a container that lives on. What the runtime owns must be the same before and after; what the host counts is a trend, for
others use it too."""


def arguments(p):
    p.add_argument("--cycles", type=int, default=CYCLES, metavar="N", help=f"containers ({CYCLES})")


class Soak:
    """c: the contender; bundle(args): makes a bundle; dirs: name -> directory that must be the same afterwards."""

    def __init__(self, c, bundle, token, dirs):
        self.c, self.token, self.dirs = c, token, dirs
        self.idle, self.true = bundle(["sleep", "1000000"]), bundle(["true"])
        self.talks, self.fails = bundle(["seq", "1000"]), bundle(["/does/not/exist"])
        self.sleeps = bundle(["sleep", "1000000"])
        self.points = []

    def __enter__(self):
        self.c.launcher.batch([self.c.run_detached("resident", self.idle)], "the resident container")
        self.resident = {leak.comm(p): p for p in self.c.launcher.children()}
        return self

    def __exit__(self, *_):
        self.c.launcher.run(self.c.delete("resident"))

    def cycle(self, i):
        c, name = self.c, f"soak{i:06}"
        way = i % 4
        if way == 0:
            c.launcher.batch([c.run(name, self.true)], "run true")
        elif way == 1:
            out = c.launcher.stream(c.run(name, self.talks), "run seq").out
            if not out.startswith("1\n2\n"):
                raise Error(f"cycle {i}: seq said {out[:50]!r}")
        elif way == 2:
            c.launcher.batch([c.run_detached(name, self.sleeps)], "run --detach")
            c.launcher.batch([c.delete(name)], "delete --force")
        elif c.launcher.run(c.run(name, self.fails)).runs[0].code in (0, None):
            raise Error(f"cycle {i}: a program that is not there ran")
        c.launcher.batch([c.exec("resident", "true")], "exec")

    def exact(self):
        self.c.launcher.cpu()  # reaps
        return account.exact(self.token, self.c.launcher.pid, self.dirs)

    def run(self, cycles, say):
        """Returns what is different afterwards, as texts; samples are in points."""
        for i in range(WARM):
            self.cycle(i)
        self.c.settle()
        before = self.exact()
        found = stray(before)
        if found:  # what is there before and after would not be seen
            return found
        every = max(1, cycles // SAMPLES)
        self.points.append((0, account.trend(self.resident)))
        for i in range(cycles):
            say(f"cycle {i + 1} of {cycles}")
            self.cycle(WARM + i)
            if (i + 1) % every == 0:
                self.points.append((i + 1, account.trend(self.resident)))
        self.c.settle()
        return account.differences(before, self.exact())


def stray(account_):
    """Whatever is there beside the resident container, by name."""
    groups = sorted({g.rsplit("/", 1)[1] for g in account_["cgroups"]})
    states = sorted(n for n in account_["files: state"] if "/" not in n)
    found = [f"cgroups {groups}"] if len(groups) > 1 else []
    return found + ([f"state {states}"] if states != ["resident"] else [])


def run(bench, opts):
    res = Result("soak", f"Soak: {opts.cycles} containers one after the other", ABOUT)
    rows = []
    for c in bench.present:
        with Soak(c, bench.bundle, bench.token, {"state": c.root, **c.stores()}) as soak:
            left = soak.run(opts.cycles, bench.say)
        for key in soak.points[0][1]:
            line = [(n, p[key]) for n, p in soak.points]
            rows.append([c.name, key, str(line[0][1]), str(line[-1][1]), show(account.slope(line))])
        res.notes += [f"{c.name}: left behind: {text}" for text in left] or [f"{c.name}: nothing is left behind"]
        res.failed = res.failed or bool(left)
        res.data[c.name] = soak.points
    res.tables.append(Table(["runtime", "KiB, or number", "before", "after", "slope for each"], rows))
    return res
