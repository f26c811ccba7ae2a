"""streams.py - bytes per second through a container's stdout and through its root file system."""

import os
import pathlib
import shutil
import tempfile

import bundle
import host
from launcher import Error
from report import Result, Spread, Table
from svg import Chart

ROUNDS, FIRST_MIB, MOST_MIB, LONG_ENOUGH = 5, 16, 1024, 0.3
ABOUT = """MiB per second, moved by a small static program in the container. stdout: blocks of 64 KiB to a pipe that is read here, from the first
byte to the last. Write: blocks of 1 MiB into the container's root, until `fsync` has returned. Read: a file that the host wrote, of which
nothing is in the guest's memory. The root is a tmpfs of the host, so that no disk is measured; the amount is chosen for each
runtime so that it takes some tenths of a second."""
KINDS = {"stdout": (), "write": ("/out",), "read": ("/in",)}


def arguments(p):
    p.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"runs of each ({ROUNDS})")


def once(bench, c, kind, mib, root):
    """One run; seconds."""
    path = bench.bundle(["/bin/transfer", kind, str(mib), *KINDS[kind]], root)
    b = c.launcher.stream(c.run("s", path), f"{c.name}: {kind}")
    shutil.rmtree(path)
    if kind == "write":
        os.unlink(root / "out")
    if kind == "stdout":
        if b.stamps[-1][1] != mib << 20:
            raise Error(f"{c.name}: {b.stamps[-1][1]} bytes came through stdout instead of {mib << 20}")
        return b.stamps[-1][0] - b.stamps[0][0]
    if not b.out.strip().isdigit():
        raise Error(f"{c.name}: {kind}: {b.out!r} {b.err}")
    return int(b.out) / 1e9


def size_for(bench, c, kind, root):
    mib = FIRST_MIB
    while mib < MOST_MIB and once(bench, c, kind, mib, root) < LONG_ENOUGH:
        mib *= 4
    return min(mib, MOST_MIB)


def run(bench, opts):
    res = Result("io", "I/O: stdout and the root file system", ABOUT)
    present = [c for c in bench.present if c.name not in ("cor cold", "cor image", "cor pool", "cor fork")]
    top = pathlib.Path(tempfile.mkdtemp(prefix=bench.token, dir="/dev/shm" if host.is_tmpfs("/dev/shm") else None))
    try:
        root = bundle.make_rootfs(top / "root")
        shutil.copy(bench.helper("transfer"), root / "bin/transfer")
        with open(root / "in", "wb") as f:
            for _ in range(MOST_MIB):
                f.write(os.urandom(4096) * 256)
        measure(bench, res, opts, present, root)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    return res


def measure(bench, res, opts, present, root):
    sizes, found = {}, {}
    others = host.Others(bench.own_cpu)
    for c in present:
        for kind in KINDS:
            bench.say(f"{c.name}: how much {kind}")
            sizes[c.name, kind] = size_for(bench, c, kind, root)
            found[c.name, kind] = []
    for i in range(opts.rounds):
        for kind in KINDS:
            for k in range(len(present)):
                c = present[(k + i) % len(present)]
                bench.say(f"round {i + 1} of {opts.rounds}, {kind}, {c.name}")
                mib = sizes[c.name, kind]
                found[c.name, kind].append(mib / once(bench, c, kind, mib, root))
    percent = others.percent()
    rows, groups = [], []
    for kind in KINDS:
        group = []
        for c in present:
            s = Spread(found[c.name, kind])
            name = c.name.replace(" clone", "")
            rows.append([kind, name, str(sizes[c.name, kind])] + s.cells() + [f"{percent:.0f} %"])
            group.append((name, s.median, s.p10, s.p90, c.ours))
        groups.append((kind, group))
    res.tables.append(Table(["", "runtime", "MiB"] + Spread.COLUMNS + ["others"], rows))
    res.charts.append(Chart("io", "Bytes through stdout and the root file system", "MiB/s: median, and from the 10th to the 90th "
                            "percentile", groups, True, "more is better"))
    res.data = {f"{n}, {k}": v for (n, k), v in found.items()}
