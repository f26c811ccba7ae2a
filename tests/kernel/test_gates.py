"""What the kernel `clear` was asked to show, as bounds: instructions and time to the agent's ready, memory of an idle guest."""

import json
import pathlib
import statistics
import sys

import bundle
import counted
import imagelib
import kvmhost
from harness import SLOW, case

BENCH = pathlib.Path(__file__).resolve().parent.parent / "bench"
sys.path.append(str(BENCH))
import boot  # noqa: E402
import count  # noqa: E402
import host  # noqa: E402
import idle  # noqa: E402

COR = ("cor",)
BUILD_S = 2500  # of a kernel that is not in the cache
READY_INSTRUCTIONS = 60e6
READY_MS = 700
RUNS = 5
# Of a VM of 64 MiB, its kernel and mini-OS included. 12 MB were asked for, and a clone keeps to it. A booted VM does not: it has
# what its boot touched, in huge pages. Its bound is there to notice more.
IDLE_BYTES = {"a clone": 12e6, "a clone of an image, with that": 12e6, "booted": 32e6, "booted of an image, with that": 34e6}


def mini_os(t):
    """One with `clear`, made in the test's directory: the settings that choose it."""
    made = imagelib.tool(t, "kernel", "--profile", "clear", timeout=BUILD_S)
    imagelib.tool(t, "os", "--out", t.path("os"), "--vmlinuz", made["vmlinuz"], "--modules", made["modules"])
    return [f"vm.kernel={t.path('os')}/vmlinux", f"vm.initrd={t.path('os')}/initrd"]


@case(timeout=BUILD_S + 300, vm=True, only=COR)
def test_ready_counted(t):
    """From a guest's first instruction to the agent's ready under cor-vmm, counted: no machine is too busy for that."""
    name = "cor boot"
    way = count.containers(t.opts.runtime, mini_os(t))[name]
    found, _ = counted.measured(t, {name: way}, lambda c: [c.file(f"files{p}", p.read_bytes()) for p in t.path("os").iterdir()])
    t.eq(found[name].why, None)
    inside, both = count.figures(found[name])["to ready"]
    t.report(f"{inside / 1e6:.2f} million instructions of the guest's to the agent's ready, {both / 1e6:.2f} with the host's")
    t.true(1e6 < inside < READY_INSTRUCTIONS, f"{inside / 1e6:.2f} million, not below {READY_INSTRUCTIONS / 1e6:.0f}")


@case(timeout=BUILD_S + 200, vm=True, only=COR, alone=True)
def test_ready_time(t):
    """The same as time, on QEMU without KVM: a gate only if others leave the machine to it."""
    t.rt.globals = t.rt.globals + [w for s in (*mini_os(t), "hypervisor=qemu", "qemu.accel=tcg", "template=off") for w in ("--set", s)]
    others, took = host.Others(host.reaped), []
    for i in range(RUNS):
        path = t.dir / f"timing{i}.json"
        t.rt.container(bundle.config(["true"])).run("--timing-json", path, timeout=90, check=0)
        marks = {p["mark"]: p["tookNs"] for p in json.loads(path.read_text())}
        took.append(sum(marks[m] for stage in ("kernel", "agent") for m in boot.STAGES[stage] if m in marks) / 1e6)
        t.true("agent-main" in marks and "agent-ready" in marks, "the marks that end the two stages")
    median, used = statistics.median(took), others.percent()
    t.report(f"kernel entry to agent ready: {', '.join(f'{ms:.0f}' for ms in took)} ms; median {median:.0f} ms; others used {used:.0f} % of the CPUs")
    if used > host.LOUD and median > READY_MS * SLOW:
        t.skip(f"{median:.0f} ms, but others used {used:.0f} % of the CPUs meanwhile")
    t.true(1 < median <= READY_MS * SLOW, f"{median:.0f} ms, not at most {READY_MS * SLOW:.0f}")


@case(timeout=BUILD_S + 500, vm=True, only=COR)
def test_idle_memory(t):
    """Pages that the host has for one idle guest of 64 MiB on cor-vmm: a clone, booted, and booted of an image, whose pages count once."""
    sets = [w for s in (*mini_os(t), "vm.memory=64M", "vm.memory_min=64M") for w in ("--set", s)]
    top = bundle.make(t.dir / "idle", bundle.config(["sleep", "1000000"]))
    build = pathlib.Path(t.opts.runtime).parents[2]
    with kvmhost.choose(build, binds=[build, t.dir], dir=t.dir) as machine:
        res = kvmhost.job(t, machine, ["python3", "idle-job.py", t.opts.runtime, "0", *sets], files=[BENCH / "idle-job.py", (top, "bundle")],
                          timeout=400, env=idle.env(machine), check=0)
    touched = json.loads(res.out)["touched"]
    t.eq(list(touched), list(IDLE_BYTES))
    for how, kib in touched.items():
        with t.step(f"{how}: {kib} KiB"):
            t.true(1e6 < kib * 1024 < IDLE_BYTES[how], f"{kib * 1024 / 1e6:.1f} MB, not below {IDLE_BYTES[how] / 1e6:.0f}")
