"""main.py - behind ./bench: one harness for all benchmarks. See tests/README.md.

A subcommand is a row of SUBCOMMANDS and a module. It measures with what runtimes.py and launcher.py give and knows
nothing of files and formats.
"""

import argparse
import os
import pathlib
import shlex
import signal
import sys
import time

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
sys.dont_write_bytecode = True

import boot  # noqa: E402
import count  # noqa: E402
import density  # noqa: E402
import disk  # noqa: E402
import execs  # noqa: E402
import fs  # noqa: E402
import host  # noqa: E402
import idle  # noqa: E402
import image  # noqa: E402
import launcher  # noqa: E402
import report  # noqa: E402
import runtimes  # noqa: E402
import soak  # noqa: E402
import start  # noqa: E402
import streams  # noqa: E402

class Command:
    """arguments(parser), run(bench, opts) -> Result; in_all: part of `all`; only: who takes part unless told."""

    def __init__(self, what, module, in_all=True, only=None):
        self.what, self.arguments, self.run = what, module.arguments, module.run
        self.in_all, self.only = in_all, runtimes.NAMES if only is None else only


SUBCOMMANDS = {
    "start": Command("time of `run true`, alone and many at once", start),
    "density": Command("memory of one more idle container", density),
    "exec": Command("time of a session in a running container", execs),
    "io": Command("bytes per second through stdout and the root file system", streams),
    "image": Command("what of a container image is read and mapped when it starts", image, False, ["cor cold", "cor clone"]),
    "fs": Command("what files cost: virtio-fs, 9p, disks and DAX; two tables", fs, False, []),
    "disk": Command("what requests to a disk cost: synchronous, io_uring, behind a guest", disk, False, []),
    "boot": Command("instructions and time of each stage of the guest's boot", boot, False, ["cor cold"]),
    "count": Command("instructions, in an emulated host that counts them", count, False, []),
    "idle": Command("memory of one more idle container on cor-vmm, in an emulated host where KVM does not work", idle, False, []),
    "soak": Command("many containers one after the other: is anything left?", soak, False, ["cor clone"]),
}
PROGRESS_S = 2.0


class Progress:
    """What is done just now, on stderr: on a terminal one line that changes, else a line every two seconds, if it is another."""

    def __init__(self, quiet):
        self.tty, self.quiet = sys.stderr.isatty(), quiet
        self.colour = self.tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
        self.prefix, self.last, self.drawn, self.said = "", time.monotonic(), False, None

    def __call__(self, text):
        if self.quiet:
            return
        now = time.monotonic()
        if self.tty:
            line = f"{self.prefix}{text}"[:100]
            sys.stderr.write(f"\r\033[K{dim(line) if self.colour else line}")
            self.drawn = True
        elif now - self.last >= PROGRESS_S and text != self.said:
            sys.stderr.write(f"bench: {self.prefix}{text}\n")
            self.last, self.said = now, text
        sys.stderr.flush()

    def log(self, text):
        """A line that stays."""
        if not self.quiet:
            self.done()
            sys.stderr.write(f"bench: {self.prefix}{text}\n")
            sys.stderr.flush()

    def done(self):
        if self.drawn:
            sys.stderr.write("\r\033[K")
            self.drawn = False


def dim(text):
    return f"\033[2m{text}\033[0m"


def bold(text):
    return f"\033[1m{text}\033[0m"


def common(p):
    p.add_argument("--only", action="append", metavar="NAME", choices=runtimes.NAMES,
                   help=f"who takes part; may be repeated ({', '.join(runtimes.NAMES)})")
    p.add_argument("--json", metavar="FILE", help="everything as JSON; - is stdout, instead of the tables")
    p.add_argument("--svg", metavar="FILE", help="the chart")
    p.add_argument("--build", metavar="DIR", help="where to build (default: build-bench in the tree)")
    p.add_argument("--quiet", "-q", action="store_true", help="no progress on stderr")


def parse(argv):
    p = argparse.ArgumentParser(prog="bench", description="Measures Cor beside the container runtimes that are installed. As root.")
    sub = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in SUBCOMMANDS.items():
        s = sub.add_parser(name, help=command.what, description=command.what)
        common(s)
        command.arguments(s)
    s = sub.add_parser("all", help="all of these, with their defaults", description="all benchmarks, with their defaults")
    common(s)
    s.add_argument("--docs", metavar="DIR", help="write bench.md and its charts there")
    opts = p.parse_args(argv)
    if opts.command == "all" and opts.svg:
        p.error("--svg takes one benchmark; see --docs")
    return opts


def defaults_of(name):
    p = argparse.ArgumentParser()
    SUBCOMMANDS[name].arguments(p)
    return p.parse_args([])


def shaping(argv):
    """The arguments that say what is measured; not where files go."""
    kept, skip = [], False
    for a in argv:
        if not skip and a.split("=")[0] not in ("--build", "--docs", "--json", "--svg", "--quiet", "-q"):
            kept.append(a)
        skip = not skip and a in ("--build", "--docs", "--json", "--svg")
    return kept


def header(bench, argv):
    versions = bench.versions()
    return {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), **host.describe(), "guest": bench.guest(),
            **versions, "load at the start": f"{host.load():.1f}", "command": "./bench " + shlex.join(shaping(argv))}


def names_of(opts):
    return [n for n, c in SUBCOMMANDS.items() if c.in_all] if opts.command == "all" else [opts.command]


def measure(bench, opts, progress):
    names = names_of(opts)
    results = []
    for name in names:
        progress.prefix = f"{name}: "
        res = SUBCOMMANDS[name].run(bench, defaults_of(name) if opts.command == "all" else opts)
        res.skipped = bench.skipped + res.skipped
        results.append(res)
    return results


def main(argv):
    opts = parse(argv)
    if os.geteuid() != 0:
        sys.exit("bench: container runtimes need root")
    progress = Progress(opts.quiet)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by a signal"))
    bench = None
    try:
        build = pathlib.Path(opts.build) if opts.build else runtimes.TREE / "build-bench"
        bench = runtimes.Bench(opts.only or SUBCOMMANDS[names_of(opts)[0]].only, build, progress)
        head = header(bench, argv)
        results = measure(bench, opts, progress)
    except launcher.Error as e:
        progress.done()
        sys.exit(f"bench: {e}")
    finally:
        if bench:
            bench.close()
    progress.done()
    if opts.json != "-":
        print("\n".join(f"{k + ':':19}{v}" for k, v in head.items()) + "\n")
        print("\n".join(r.text(bold if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else str) for r in results), end="")
    if opts.json:
        report.write_json(opts.json, head, results)
    if opts.svg and results[0].charts:
        report.write(opts.svg, results[0].charts[0].draw())
    if opts.command == "all" and opts.docs:
        report.write_docs(opts.docs, "./bench all --docs docs", head, results)
    return 1 if any(r.failed for r in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
