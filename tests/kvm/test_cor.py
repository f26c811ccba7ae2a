"""cor with QEMU and KVM. Most of it asks what lane vm asks: tests/run runs a few of its tests on the host with KVM."""

import pathlib
import re

import harness
import kvmhost
from harness import case

TESTS = pathlib.Path(__file__).resolve().parent.parent
LINE = re.compile(r"(?P<step> {4})?(?P<no>not )?ok (?:\d+ )?- (?P<name>.*?) \((?P<secs>[\d.]+) s\)(?: # SKIP (?P<why>.*))?$")
SLOWER = 4  # guests of an emulated host


def vm_tests(t, *names, settings=(), timeout=120):
    """Runs these tests of lane vm there, and counts each as a step here."""
    argv = [TESTS / "run", "--runtime", t.opts.runtime, "--build", t.opts.build, "--jobs", "2", "--set", "qemu.accel=kvm"]
    for s in settings:
        argv += ["--set", s]
    for n in names:
        argv += ["--filter", n]
    host = kvmhost.of(t)
    env = {"COR_TEST_SLOW": harness.SLOW * SLOWER} if host.emulated else {}
    res = host.run(argv + ["vm"], env=env, timeout=timeout)
    steps = []
    for line in res.out.splitlines():
        m = LINE.match(line)
        if m:
            status = "skip" if m["why"] else "fail" if m["no"] else "ok"
            steps.append(harness.Step(m["name"], status, float(m["secs"]), m["why"] or ""))
        elif steps and steps[-1].status == "fail":
            steps[-1].text += line.replace("#   ", "", 1) + "\n"
    t.steps += steps
    if res.over or res.code not in (0, 1) or (res.code == 1) != any(s.status == "fail" for s in steps):
        t.fail(str(res))
    passed = {s.name for s in steps}
    t.true(all(any(n in p for p in passed) for n in names), f"one of {names} is no test: {sorted(passed)}")


@case(timeout=60, only=("cor",), quick=True)
def test_check(t):
    """`cor check` finds KVM."""
    res = kvmhost.job(t, kvmhost.of(t), [t.opts.runtime, "check"], timeout=30, check=0)
    t.has(res.out, "guest code ran", "by KVM")


@case(timeout=200, only=("cor",))
def test_life(t):
    """Booted: pause, a guest's panic, hooks and what a failed one leaves."""
    vm_tests(t, "vm/life.pause", "vm/life.guest_panic", "vm/hooks.failing", timeout=150)


@case(timeout=200, only=("cor",))
def test_templates(t):
    """Saved and cloned: its own identity, clocks that go on as fast as outside, two CPUs, spoilt templates."""
    vm_tests(t, "vm/template.own_machine", "vm/template.sizes", timeout=150)
