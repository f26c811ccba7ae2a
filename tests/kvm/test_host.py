"""The host of this lane itself (lib/kvmhost.py): what a job gets, what it may break, what is left."""

import os
import pathlib
import signal
import subprocess

import harness
import kvmhost
import leak
from harness import LIMIT, Failed, case

TOOL = pathlib.Path(__file__).resolve().parent.parent / "kvmhost"


@case(timeout=60, only=("cor",), quick=True)
def test_kvm(t):
    """KVM runs guest code here."""
    res = kvmhost.job(t, kvmhost.of(t), ["./kvmprobe"], files=[t.opts.kvmprobe], timeout=30, check=0)
    t.eq(res.out, "usable\n")


@case(timeout=120, only=("cor",), quick=True)
def test_jobs(t):
    host = kvmhost.of(t)
    with t.step("files, arguments, environment, stdin; code, output, files back"):
        t.path("in/sub/a b").write_text("one")
        res = kvmhost.job(t, host, ["sh", "-c", 'cat "in/sub/a b"; cat; echo "$X $1" >&2; cp -r in out/; exit 7', "sh", "a 'b"],
                          files=[t.path("in")], env={"X": "$y"}, stdin="two", check=7)
        t.eq((res.out, res.err), ("onetwo", "$y a 'b\n"))
        t.eq((res.files / "in/sub/a b").read_text(), "one")
    with t.step("another name; what can be run, can be run there"):
        prog = t.path("prog")
        prog.write_text("#!/bin/sh\necho $0\n")
        prog.chmod(0o755)
        t.eq(kvmhost.job(t, host, ["./other"], files=[(prog, "other")], check=0).out, "./other\n")
    with t.step("a killed job"):
        kvmhost.job(t, host, ["sh", "-c", "kill -9 $$"], check=128 + 9)
    with t.step("much output"):
        res = kvmhost.job(t, host, ["dd", "if=/dev/zero", "bs=1M", "count=8"], check=0)
        t.eq(res.raw_out, bytes(8 << 20))
    with t.step("programs of this machine run there"):
        t.has(kvmhost.job(t, host, ["qemu-system-x86_64", "--version"], check=0).out, "QEMU emulator")


@case(timeout=120, only=("cor",))
def test_next_job(t):
    """Nothing of a job meets the next one."""
    host = kvmhost.of(t)
    if not host.emulated:
        t.skip("only an emulated host belongs to the tests alone")
    with t.step("a process that went into the background is named and ended"):
        res = kvmhost.job(t, host, ["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & touch mine; until pgrep -x sleep; do :; done"], check=0)
        t.eq([line.split()[1] for line in res.left], ["/usr/bin/sleep"])
    with t.step("the next one finds neither process nor file of it"):
        res = kvmhost.job(t, host, ["sh", "-c", "ls; pgrep -x sleep"], check=1)
        t.eq((res.out, res.left), ("out\n", []))


@case(timeout=120, only=("cor",), quick=True)
def test_hanging_job(t):
    """A job without end is ended, with all it started; the host serves on."""
    host = kvmhost.of(t)
    for limit in (1, 10, 60):  # on a busy machine it needs longer to begin
        res = kvmhost.job(t, host, ["sh", "-c", "sleep 1000 & echo begun; echo kept >out/f; wait"], timeout=limit)
        if (res.files / "f").exists():
            break
    t.true(res.over, "not over")
    t.eq((res.code, res.out, (res.files / "f").read_text()), (137, "begun\n", "kept\n"))
    t.has(str(res), "its time was up")
    kvmhost.job(t, host, ["true"], check=0)


@case(timeout=60, only=("cor",), quick=True)
def test_failure_shows_consoles(t):
    """The inner console (a file of the job) and the outer one."""
    host = kvmhost.of(t)
    outer = "echo outer words >/dev/console;" if host.emulated else ""
    try:
        kvmhost.job(t, host, ["sh", "-c", f"{outer} echo inner words >out/console; exit 1"], check=0)
    except Failed as e:
        t.has(str(e), "exit code 1 instead of 0", "--- console:", "inner words")
    else:
        t.fail("a failing job passed")
    if host.emulated:
        t.wait(lambda: "outer words" in host.report(), "the outer console in the report")
        t.true(host.report in t.notes, "it is no note of a failing test")


def kvmhosts_of(pid):
    return [p for p in leak.descendants(pid) if leak.comm(p).startswith("qemu")]


@case(timeout=120, only=("cor",))
def test_panic(t):
    """A host that dies says so with its last words, and leaves neither process nor file."""
    with kvmhost.Emulated(dir=t.dir, smp=1) as host:
        try:
            host.run(["sh", "-c", "echo c >/proc/sysrq-trigger"])
        except kvmhost.HostError as e:
            t.has(str(e), "ended before", "sysrq triggered crash")
        else:
            t.fail("it survived a panic")
        t.true(not host.alive, "it still seems alive")
    t.eq([str(p) for p in t.dir.glob("kvmhost-*")], [])
    t.eq(kvmhosts_of(os.getpid()), [])


@case(timeout=180, only=("cor",))
def test_tool(t):
    """tests/kvmhost by hand."""
    env = dict(os.environ, TMPDIR=str(t.dir))
    argv = [str(TOOL), "--emulated", "--out", str(t.path("got")), "--timeout", "60"]
    with t.step("code, output, files"):
        res = t.run(argv + ["--file", f"{t.opts.kvmprobe}:p", "--", "sh", "-c", "./p; ./p >out/says; echo e >&2; exit 3"],
                    timeout=200, env=env, check=3)
        t.eq((res.out, res.err), ("usable\n", "e\n"))
        t.eq((t.path("got") / "says").read_text(), "usable\n")
        t.eq([str(p) for p in t.dir.glob("kvmhost-*")], [])
    with t.step("ended by SIGTERM it leaves nothing"):
        child = t.spawn(argv + ["--timeout", "1000", "--", "sleep", "1000"], env=env, stdout=subprocess.PIPE)
        t.wait(lambda: list(t.dir.glob("kvmhost-*/jobs/j*/stdout")), "the job runs", timeout=60)
        qemu = kvmhosts_of(child.pid)
        t.eq(len(qemu), 1)
        child.send_signal(signal.SIGTERM)
        t.eq(harness.code_of(child.wait(20 * LIMIT)), 128 + signal.SIGTERM)
        child.stdout.close()
        t.eq(kvmhosts_of(os.getpid()), [])
        t.eq([str(p) for p in t.dir.glob("kvmhost-*")], [])
    with t.step("killed, it takes its QEMU with it"):
        child = t.spawn(argv + ["--timeout", "1000", "--", "sleep", "1000"], env=env)
        t.wait(lambda: kvmhosts_of(child.pid), "its QEMU")
        child.kill()
        child.wait()
        t.wait(lambda: not kvmhosts_of(os.getpid()), "the end of its QEMU")
