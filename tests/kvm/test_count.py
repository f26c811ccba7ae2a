"""The counting host (./bench count): it counts what it says, and twice the same."""

import argparse
import pathlib
import sys

import builds
import harness
from harness import case

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import count  # noqa: E402


class Bench:
    """Of ./bench, what count.py needs, with this lane's build."""

    def __init__(self, t):
        self.dir, self.cor = t.dir, t.opts.runtime
        self.say = lambda text: None

    def helper(self, name):
        return builds.helper(name, pathlib.Path(self.cor).parents[2])


def counted(t, *argv):
    p = argparse.ArgumentParser()
    count.arguments(p)
    return count.run(Bench(t), p.parse_args(argv))


@case(timeout=300, needs=("crun",), only=("cor",))
def test_repeats(t):
    """Two runs, from the emulated host's power on: crun, and a guest of our own hypervisor."""
    res = counted(t, "--runs", "2", "--row", "crun", "--row", "cor-vmm")
    t.report(res.text())
    first, second = res.data["runs"]
    with t.step("every figure is the same"):
        t.eq(first, second)
    with t.step("crun is no virtual machine"):
        t.eq((first["crun"]["exits"], first["crun"]["to KVM_RUN"], first["crun"]["to user space"]), (0, None, None))
        t.true(1e6 < first["crun"]["to exit"] < 1e9, str(first["crun"]))
    with t.step("a guest's way has its marks in order"):
        vmm = first["cor-vmm"]
        t.true(0 < vmm["to KVM_RUN"] < vmm["to user space"] < vmm["to exit"], str(vmm))
        t.eq(sum(vmm["by reason"].values()), vmm["exits"])
        t.true(vmm["by reason"]["vmmcall"] >= 1, "the guest's word is an exit")


@case(timeout=120, only=("cor",))
def test_failing_row(t):
    """A command that fails ends the count with its words."""
    rows = {"bad": "sh -c 'echo its words >&2; exit 3'"}
    opts = argparse.Namespace(kernel=None)
    parsed = count.parse(count.kvmhost.count(count.files(Bench(t), rows, opts), 100, dir=t.dir))
    try:
        count.figures(parsed, "bad")
    except count.Error as e:
        t.has(str(e), "bad: exit code 3", "its words")
    else:
        raise harness.Failed("it counted")
