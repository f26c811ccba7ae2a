"""report.py - what a benchmark found, as text, Markdown, JSON and charts."""

import json
import os
import statistics
import sys


class Table:
    """Cells are text; the first column is aligned left, the others right."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows

    def text(self):
        lines = [self.columns] + self.rows
        widths = [max(len(r[i]) for r in lines) for i in range(len(self.columns))]
        return "\n".join("  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(r, widths))).rstrip()
                         for r in lines)

    def markdown(self):
        def line(cells):
            return "| " + " | ".join(cells) + " |"

        return "\n".join([line(self.columns), line(["---"] + ["---:"] * (len(self.columns) - 1))] + [line(r) for r in self.rows])


class Result:
    """One benchmark: what was measured and how (about), tables, sentences that follow from them, charts, and
    the raw figures for --json."""

    def __init__(self, name, title, about):
        self.name, self.title, self.about = name, title, about
        self.tables, self.notes, self.charts, self.data, self.skipped = [], [], [], {}, []
        self.failed = False

    def text(self, bold=str):
        parts = [bold(self.title)] + [t.text() for t in self.tables]
        parts.append("\n".join(self.notes + [f"left out: {n}: {why}" for n, why in self.skipped]))
        return "\n\n".join(p for p in parts if p) + "\n"

    def markdown(self):
        parts = [f"## {self.title}", self.about]
        parts += [f"![{c.title}](bench-{c.name}.svg)" for c in self.charts]
        parts += [t.markdown() for t in self.tables]
        notes = self.notes + [f"Left out: {n}: {why}" for n, why in self.skipped]
        parts.append("\n".join("- " + n for n in notes))
        return "\n\n".join(p for p in parts if p) + "\n"

    def json(self):
        return {"title": self.title, "about": self.about, "notes": self.notes,
                "tables": [{"columns": t.columns, "rows": t.rows} for t in self.tables],
                "skipped": [{"name": n, "why": w} for n, w in self.skipped], "data": self.data}


def percentile(values, p):
    """Linear between the two nearest."""
    v = sorted(values)
    at = (len(v) - 1) * p / 100
    low = int(at)
    return v[low] + (v[min(low + 1, len(v) - 1)] - v[low]) * (at - low)


class Spread:
    """Five numbers of a row of values."""

    COLUMNS = ["min", "p10", "median", "p90", "max"]

    def __init__(self, values):
        self.n, self.min, self.max = len(values), min(values), max(values)
        self.p10, self.median, self.p90 = percentile(values, 10), statistics.median(values), percentile(values, 90)

    def cells(self, scale=1.0):
        return [show(v * scale) for v in (self.min, self.p10, self.median, self.p90, self.max)]

    def json(self):
        return {"n": self.n, "min": self.min, "p10": self.p10, "median": self.median, "p90": self.p90, "max": self.max}


def show(v):
    """Three digits, and no more after the point than say something."""
    a = abs(v)
    return f"{v:.0f}" if a >= 100 else f"{v:.1f}" if a >= 10 else f"{v:.2f}"


HEADER = """<!-- Made by `{command}`: change the command, not this page. -->
# Benchmarks

Cor beside the runtimes that Debian packages, on one machine, in one run, taking turns. {date}.

| | |
| --- | --- |
{machine}

Peers run as their packages come, with the same bundle (a static busybox, five namespaces, default capabilities, no
seccomp profile, a cgroup of their own), stdin and stdout on `/dev/null`, the state directory in memory. crun doesn't see the
cgroup v2 mount, since it refuses hybrid hosts; runsc has `--platform=ptrace --network=none`. Cor is a release build of this tree with its
defaults. "Others" is what other processes used of the CPUs meanwhile.
"""


def write_docs(directory, command, header, results):
    """docs/bench.md and a file for each chart."""
    machine = "\n".join(f"| {k} | {v} |" for k, v in header.items() if k not in ("date", "command"))
    page = HEADER.format(command=command, date=header["date"], machine=machine)
    page += "\n" + "\n".join(r.markdown() for r in results)
    with open(os.path.join(directory, "bench.md"), "w", encoding="utf-8") as f:
        f.write(page)
    for r in results:
        for c in r.charts:
            write(os.path.join(directory, f"bench-{c.name}.svg"), c.draw())


def write(path, text):
    if path == "-":
        sys.stdout.write(text)
        return
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def write_json(path, header, results):
    write(path, json.dumps({"header": header, "results": {r.name: r.json() for r in results}}, indent=1) + "\n")
