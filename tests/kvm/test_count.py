"""The counting host (./bench count): it counts what it says, and twice the same."""

import argparse
import pathlib
import sys

import builds
import harness
from harness import case

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import count  # noqa: E402
import fs  # noqa: E402


class Bench:
    """Of ./bench, what count.py needs, with this lane's build."""

    def __init__(self, t):
        self.dir, self.cor, self.token = t.dir, t.opts.runtime, t.fresh("bench")
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


@case(timeout=300, only=("cor",))
def test_agent_ready(t):
    """A guest's own way to the agent's readiness: a part of what it does in all, and of what all do meanwhile."""
    res = counted(t, "--row", "cor boot")
    t.report(res.text())
    boot = res.data["runs"][0]["cor boot"]
    t.true(boot["to ready"], "a figure")
    inside, both = boot["to ready"]
    guest = boot["by process"]["cor-vmm, guest"]
    t.true(guest / 2 < inside < guest, f"{inside} of {guest}")
    t.true(inside < both < boot["to exit"], str(boot))


@case(timeout=120, only=("cor",))
def test_failing_row(t):
    """A command that fails ends the count with its words."""
    rows = {"bad": count.Way("sh -c 'echo its words >&2; exit 3'")}
    opts = argparse.Namespace(kernel=None)
    parsed = count.parse(count.kvmhost.count(count.files(Bench(t), rows, opts), 100, dir=t.dir))
    try:
        count.figures(parsed, "bad")
    except count.Error as e:
        t.has(str(e), "bad: exit code 3", "its words")
    else:
        raise harness.Failed("it counted")


@case(timeout=120, only=("cor",))
def test_hanging_row(t):
    """A command that does not end is ended, repeated once, and that is said; what comes before a row, too."""
    idle = "qemu-system-x86_64 -nodefaults -display none -accel kvm -M none"
    rows = {"once": count.Way(f"sh -c 'test -n \"$TRY\" || exec {idle}'", f"test -e /tmp/first || {{ echo >/tmp/first; exec {idle}; }}")}
    opts = argparse.Namespace(kernel=None)
    parsed = count.parse(count.kvmhost.count(count.files(Bench(t), rows, opts), 100, dir=t.dir))
    hung = count.figures(parsed, "once")["hung"]
    t.eq(sorted(hung), sorted([*count.PASSES, count.BESIDE]))
    t.eq(hung["count"], "after 10 s of its clock, a guest at no address")


@case(timeout=300, needs=("mke2fs",), only=("cor",))
def test_files(t):
    """./bench fs: a file system of the host's in both tables, and a guest's disk in the counted one."""
    p = argparse.ArgumentParser()
    fs.arguments(p)
    res = fs.run(Bench(t), p.parse_args(["--way", "the host itself", "--way", "blk: cor-vmm", "--files", "25", "--mib", "1", "--blocks", "5"]))
    t.report(res.text())
    counted, here = res.tables
    t.eq([r[0] for r in counted.rows], ["the host itself", "blk: cor-vmm"])
    t.true(all(float(c) > 0 for r in counted.rows for c in r[1:]), "a figure in every cell")
    for column, least in ((4, 2), (7, 2)):  # a file opened and read; a MiB read: a disk's costs more than memory's
        t.true(float(counted.rows[1][column]) > least * float(counted.rows[0][column]), counted.columns[column])
    t.eq(len(here.rows[0]), len(here.columns))
