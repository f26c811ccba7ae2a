"""The counting host (./bench count): it counts what it says, and twice the same."""

import argparse
import pathlib
import re
import sys

import builds
from counted import Bench, counted, measured
from harness import case

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import count  # noqa: E402
import disk  # noqa: E402
import fs  # noqa: E402

# Instructions to the agent's ready, at most. What was asked for is the one of `clear`, which kernel/gates.ready_counted asks, too.
READY = {"stock": 680e6, "clear": 60e6}


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
    most = READY.get(builds.KERNEL)
    with t.step(f"with kernel {builds.KERNEL}: at most {most / 1e6:.0f} million" if most else f"no bound for {builds.KERNEL}"):
        t.true(not most or inside < most, f"{inside / 1e6:.2f} million")


@case(timeout=200, only=("cor",))
def test_failing_row(t):
    """A command that fails, or what comes before or after it, has no figure but its words; the others have theirs."""
    found, said = measured(t, {"bad": count.Way("sh -c 'echo its words >&2; exit 3'"), "unmade": count.Way("true", "echo not made; exit 4"),
                               "unclean": count.Way("true", ":", "echo not cleared; false"), "good": count.Way("true")})
    t.eq({n: (m.why, m.again, m.boot) for n, m in found.items()},
         {"bad": ("exits: exit code 3: its words", False, 1), "unmade": ("before: not made ", False, 1),
          "unclean": ("after: not cleared ", False, 1), "good": (None, False, 1)})
    with t.step("a line for each"):
        t.eq([line.split(": ")[0] for line in said], list(found))
    with t.step("the bench fails, and shows what there is"):
        res = count.report([found], [], found)
        t.true(res.failed, "failed")
        t.eq([n for n, _ in res.skipped], ["bad", "unmade", "unclean"])
        t.eq([r[0] for r in res.tables[0].rows], ["good"])
        t.eq((list(res.data["runs"][0]), list(res.data["missing"][0])), (["good"], ["bad", "unmade", "unclean"]))


@case(timeout=300, only=("cor",))
def test_hanging_row(t):
    """A command that does not end is ended, repeated once, and that is said; what comes before a row, too, also if it is a shell's
    loop. Twice: the others go on, and another boot repeats it."""
    idle = "qemu-system-x86_64 -nodefaults -display none -accel kvm -M none"
    loop = "test -e /tmp/first || { echo >/tmp/first; until false; do sleep 1; done; }"
    every = f"sh -c 'rm /tmp/hangs 2>&- && test -n \"$TRY\" || {{ echo >/tmp/hangs; exec {idle}; }}'"
    found, said = measured(t, {"twice": count.Way(f"sh -c 'test -s /count/boot || exec {idle}'"), "once": count.Way(every, loop, "true"),
                               "longer than a limit": count.Way("true", "sleep 23")})
    t.eq({n: (m.why, m.boot) for n, m in found.items()}, {"twice": (None, 2), "once": (None, 1), "longer than a limit": (None, 1)})
    t.eq(sorted(found["once"].hung), sorted([*count.PASSES, "beside"]))
    with t.step("a limit ends with what it is for"):
        t.eq((found["twice"].hung, found["longer than a limit"].hung), ({}, {}))
    t.has(found["once"].hung["count"], "after 10.", "a guest at no address")
    t.true(any(line.startswith("twice: no figure: exits: ended after 10.") for line in said), str(said))


@case(timeout=300, needs=("gcc",), only=("cor",))
def test_spinning_guest(t):
    """A guest that only spins, as QEMU's hangs do, is ended long before its time is up."""
    source, kernel = t.path("spin.s"), t.path("spin")
    source.write_text(".globl _start\n_start: cli\n1: jmp 1b\n")
    t.run(["gcc", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext-segment=0x200000,--build-id=none", source, "-o", kernel], check=0)
    vmm = pathlib.Path(t.opts.runtime).parents[1] / "libexec/cor/cor-vmm"
    spin = f"{vmm} run --kernel /count/spin --memory 64M --console none"
    found, _ = measured(t, {"row": count.Way(f"sh -c 'rm /tmp/spins 2>&- && test -n \"$TRY\" || {{ echo >/tmp/spins; exec {spin}; }}'"),
                            "before": count.Way("true", f"test -n \"$TRY\" || {spin}")},
                        lambda c: c.file("files/count/spin", kernel.read_bytes()))
    t.eq({n: m.why for n, m in found.items()}, {"row": None, "before": None})
    hung = {**found["row"].hung, **found["before"].hung}
    t.eq(sorted(hung), sorted([*count.PASSES, "beside"]))
    for what, why in hung.items():
        secs, at = re.fullmatch(r"after ([\d.]+) s of its clock, a guest at (\S+)", why).groups()
        with t.step(f"{what}: {why}"):
            t.true(float(secs) <= 3.5, "soon")  # two of them before the row begins
            t.true(0x200000 <= int(at, 16) < 0x202000, "in the guest's only page")


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


@case(timeout=300, needs=("mke2fs",), only=("cor",))
def test_disk(t):
    """./bench disk: the slow device is slow, and only io_uring has more than one request under way there; a guest's disk."""
    p = argparse.ArgumentParser()
    disk.arguments(p)
    res = disk.run(Bench(t), p.parse_args(["--way", "slow device: sync", "--way", "slow device: io_uring", "--way", "hot file: cor-vmm"]))
    t.report(res.text())
    (table,) = res.tables
    found = {r[0]: dict(zip(table.columns[1:], map(float, r[1:]))) for r in table.rows}
    t.eq(list(found), ["hot file: cor-vmm", "slow device: sync", "slow device: io_uring"])
    sync, uring, guest = found["slow device: sync"], found["slow device: io_uring"], found["hot file: cor-vmm"]
    for what in ("read 4K", "write 4K"):
        with t.step(what):
            t.true(min(sync[f"{what}, 1"], sync[f"{what}, 16"], uring[f"{what}, 1"]) > disk.DELAY_US, "one at a time takes the delay")
            t.true(uring[f"{what}, 16"] < sync[f"{what}, 16"] / 4, "sixteen wait together")
            t.true(0 < guest[f"{what}, 16"] < guest[f"{what}, 1"] < disk.DELAY_US, "a guest's disk is the hot file")
