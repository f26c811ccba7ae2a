"""Memory and time of one container, printed as tables; the limits are those of the issue that asked for them."""

import json
import os
import pathlib
import re
import statistics
import sys
import xml.etree.ElementTree

import bundle
import leak

sys.path.append(str(pathlib.Path(__file__).parent))
import report  # noqa: E402
import svg  # noqa: E402
from harness import SLOW, case  # noqa: E402

MONITOR_PSS_KB = 1536
COLD_RUN_S = 9.0
OURS_MS = 300  # asked for: everything but QEMU's start and the kernel's boot. Printed, not a gate: it doubles under load
NOT_OURS = ("guest-kernel", "agent-main", "container-ended")  # marks that end QEMU's start, the boot, the workload


def pss_kb(pid):
    """Proportional set size: (all, anonymous) in KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        text = f.read()
    found = dict(re.findall(r"^(Pss|Pss_Anon):\s+(\d+) kB", text, re.M))
    return int(found["Pss"]), int(found.get("Pss_Anon", 0))


@case(timeout=120, vm=True, only=("cor",), quick=True)
def test_pss(t):
    """PSS of every host process of one idle container."""
    c = t.rt.container(bundle.config("echo up; exec sleep 1000")).up()
    c.wait_out("up")
    rows = [(leak.comm(p), p, *pss_kb(p)) for p in [c.pid] + leak.descendants(c.pid)]
    t.report("process            PSS KiB  anonymous KiB")
    for comm, _, pss, anon in rows:
        t.report(f"{comm:18} {pss:7}  {anon:7}")
    t.report(f"{'together':18} {sum(r[2] for r in rows):7}  {sum(r[3] for r in rows):7}")
    with t.step(f"the monitor's PSS is below {MONITOR_PSS_KB} KiB"):
        t.true(rows[0][2] < MONITOR_PSS_KB, f"{rows[0][2]} KiB")
    c.finish()


@case(timeout=200, vm=True, only=("cor",), quick=True)
def test_cold_run(t):
    """`run true`, five times: wall time, our part of it, and the phases of the median run."""
    runs = []
    for i in range(5):
        c = t.rt.container(bundle.config(["true"]))
        path = t.dir / f"timing{i}.json"
        secs = c.run("--timing-json", path, timeout=90, check=0).secs
        phases = json.loads(path.read_text())
        ours = sum(p["tookNs"] for p in phases if p["mark"] not in NOT_OURS) / 1e6
        runs.append((secs, ours, phases))
    t.eq({p["phase"] for p in phases if p["process"] == "agent" and p["mark"].startswith("boot-")}, {"agent"}, "phase of the agent's boot")
    runs.sort(key=lambda r: r[0])
    median = statistics.median(r[0] for r in runs)
    t.report(f"cold run of true: {', '.join(f'{r[0]:.2f}' for r in runs)} s; median {median:.2f} s")
    t.report(f"of it agent and host: {', '.join(f'{r[1]:.0f}' for r in runs)} ms; median "
             f"{statistics.median(r[1] for r in runs):.0f} ms (asked for: {OURS_MS}; load {os.getloadavg()[0]:.1f})")
    t.report(json.dumps(runs[len(runs) // 2][2]))
    with t.step(f"the median is at most {COLD_RUN_S} s"):
        t.true(median <= COLD_RUN_S * SLOW, f"{median:.2f} s")


@case(timeout=200, vm=True, only=("cor",))
def test_exec_latency(t):
    """exec of true in a running container, thirty times."""
    c = t.rt.container(bundle.config("echo up; exec sleep 1000")).up()
    c.wait_out("up")
    secs = sorted(c.exec(["true"], check=0).secs for _ in range(30))
    t.report(f"exec true: median {statistics.median(secs) * 1000:.0f} ms, fastest {secs[0] * 1000:.0f} ms, slowest "
             f"{secs[-1] * 1000:.0f} ms")
    c.finish()
    with t.step("state and list without a machine's help are quick"):
        c = t.rt.container(bundle.config(["sleep", "1000"])).up()
        s = sorted(t.rt("state", c.id).secs for _ in range(20))
        t.report(f"state: median {statistics.median(s) * 1000:.1f} ms")
        t.true(s[0] < 0.2 * SLOW, f"{s[0]:.3f} s")
        c.finish()


@case(timeout=60, needs=("strip",), only=("cor",), quick=True)
def test_sizes(t):
    """The programs that go into a guest or stay for a VM's life are small, without debug information."""
    libexec = os.path.join(os.path.dirname(os.path.dirname(t.rt.path)), "libexec/cor")
    for name, limit in (("cor-agent", 300), ("cor-monitor", 400)):
        stripped = t.dir / name
        t.run(["strip", "-o", stripped, os.path.join(libexec, name)], check=0)
        size = stripped.stat().st_size // 1024
        t.report(f"{name}: {size} KiB")
        with t.step(f"{name} is below {limit} KiB"):
            t.true(size < limit, f"{size} KiB")


@case(only=("cor",), quick=True)
def test_report(t):
    """./bench's tables and charts: aligned, well-formed, every value on the axis."""
    with t.step("spread"):
        s = report.Spread([5.0, 1.0, 4.0, 2.0, 3.0])
        t.eq((s.min, s.p10, s.median, s.p90, s.max), (1.0, 1.4, 3.0, 4.6, 5.0))
    with t.step("table"):
        table = report.Table(["name", "ms"], [["crun", "7.1"], ["cor clone", "110"]])
        t.eq(table.text(), "name        ms\ncrun       7.1\ncor clone  110")
        t.has(table.markdown(), "| --- | ---: |", "| crun | 7.1 |")
    for log in (True, False):
        with t.step(f"chart, log {log}"):
            rows = [("a<b", 0.4, 0.3, 0.9, False), ("cor", 1234.0, 900.0, 2000.0, True), ("none", 3.0, None, None, False)]
            chart = svg.Chart("x", "title & more", "ms", [("alone", rows)], log, "less is better")
            root = xml.etree.ElementTree.fromstring(chart.draw())
            words = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
            t.true({"a<b", "title & more", "1,234"} <= set(words), f"{words}")
            ticks = chart.ticks()
            t.true(ticks[0] <= 0.4 and ticks[-1] >= 2000, f"{ticks}")
            places = [float(e.get("x2")) for e in root.iter("{http://www.w3.org/2000/svg}line")]
            t.true(all(0 <= x <= svg.WIDTH - svg.VALUES for x in places), f"{places}")
