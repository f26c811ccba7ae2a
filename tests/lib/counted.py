"""counted.py - rows of ./bench count for tests: with the build of the runtime under test, in the counting host (bench/count.py)."""

import argparse
import pathlib
import sys

import builds

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import count  # noqa: E402


class Say:
    """Progress of ./bench: what stays of it."""

    def __init__(self):
        self.lines = []

    def __call__(self, text):
        pass

    def log(self, text):
        self.lines.append(text)


class Bench:
    """Of ./bench, what count.py needs, with this lane's build."""

    def __init__(self, t):
        self.dir, self.cor, self.token = t.dir, t.opts.runtime, t.fresh("bench")
        self.say = Say()

    def helper(self, name):
        return builds.helper(name, pathlib.Path(self.cor).parents[2])


def counted(t, *argv):
    p = argparse.ArgumentParser()
    count.arguments(p)
    res = count.run(Bench(t), p.parse_args(argv))
    t.eq((res.failed, res.skipped), (False, []))
    return res


def measured(t, rows, add=lambda c: None):
    """These rows once: (name -> Measured, what was said). add(cpio): more files."""
    bench = Bench(t)
    more = count.files(bench, rows, argparse.Namespace(kernel=None))
    found, over = count.whole(bench, lambda c, *which: (more(c, *which), add(c)), rows)
    t.report("\n".join(bench.say.lines))
    t.eq(over, False)
    return found, bench.say.lines
