"""lanes.py - the lanes of ./check: what each builds and runs.

A lane is a row of LANES: name, what it is, function(opts) -> Totals. Builds are shared: Build
configures and compiles one meson build directory once per process.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

import builds
import harness
import kvmhost
import mutants
import runner
import style
from runner import Totals

TESTS = pathlib.Path(__file__).resolve().parent.parent
TOP = TESTS.parent


def kind_of(path):
    name = pathlib.Path(path).name
    return name if name in ("runc", "crun") else "cor"


def case_opts(opts, runtime, guest):
    """The options a test sees, from those of the command line. guest: "host" (a container on this
    kernel), "fake" (agent in namespaces) or "qemu"."""
    o = type("Options", (), {})()
    for name in ("quick", "filter", "jobs", "vm_jobs", "keep"):
        setattr(o, name, getattr(opts, name))
    o.runtime, o.guest = str(runtime), guest
    o.kind = kind_of(runtime)
    o.real_vm = guest == "qemu"
    o.no_vm = None
    o.runtime_args = []
    o.oracle = "crun" if shutil.which("crun") and o.kind != "crun" else "runc"
    o.oracle_path = shutil.which(o.oracle)
    o.probe = None
    return o


def runtime_tests(lane, opts, guest, sanitize=False):
    """Runs tests/LANE against opts.runtime, or against cor of the build with this kind of guest."""
    prefix = ""
    if opts.runtime:
        o = case_opts(opts, opts.runtime, "qemu" if kind_of(opts.runtime) == "cor" else "host")
        o.runtime_args = [word for s in opts.set for word in ("--set", s)]
        prefix = f"{o.kind}:"
        problem = None
    else:
        build = builds.sanitizer(opts) if sanitize else builds.product(opts)
        problem = build.make()
        o = case_opts(opts, build.cor, guest)
        if not problem:
            o.runtime_args, problem = build.settings(guest)
        prefix = "sanitize:" if sanitize else ""
    if problem:
        return failed(f"{prefix}{lane}: set-up", problem)
    o.probe = builds.probe(opts)
    return runner.run(runner.load(lane), o, prefix)


def failed(name, text):
    t = Totals()
    t.count("fail", name, 0)
    runner.comment(text[-6000:])
    return t


def meson_tests(build, prefix):
    """meson test of one build: each TAP line counts."""
    totals = Totals()
    problem = build.make()
    if problem:
        return failed(prefix + "build", problem)
    totals.count("ok", prefix + "build, no warning", build.secs)
    log = build.dir / "meson-logs/testlog.json"
    if log.exists():
        log.unlink()
    cmd = ["meson", "test", "-C", str(build.dir), "--no-rebuild", "--timeout-multiplier", str(max(1.0, harness.SLOW) * harness.PATIENCE)]
    res = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if not log.exists():
        return failed(prefix + "meson test", res.stdout.decode("utf-8", "replace"))
    with open(log) as f:
        for line in f:
            one_meson_test(json.loads(line), totals, prefix)
    return totals


def one_meson_test(entry, totals, prefix):
    name = prefix + entry["name"].split(" / ")[-1]
    before = totals.failed
    counted = 0
    for line in (entry.get("stdout") or "").splitlines():
        m = re.match(r"(not )?ok\b\s*\d*\s*(?:- )?(.*?)(?:\s*# (SKIP|TODO)\b\s*(.*))?$", line)
        if m:
            counted += 1
            status = "skip" if m.group(3) else "fail" if m.group(1) else "ok"
            if status != "ok":
                totals.count(status, f"{name}: {m.group(2)}", 0, m.group(4) or "", indent="    ")
            else:
                totals.passed += 1
    bad = entry["result"] not in ("OK", "SKIP", "EXPECTEDFAIL")
    if not counted or (bad and totals.failed == before):
        totals.count("fail" if bad else "skip" if entry["result"] == "SKIP" else "ok", name, entry["duration"])
        if bad: # no check of it failed, so it ended in the middle of one
            runner.comment(f"exit code {entry['returncode']} (negative: that signal), {counted} checks before it")
    else:
        runner.say(f"# {name}: {counted} checks ({entry['duration']:.2f} s)")
    if bad:
        runner.comment(((entry.get("stdout") or "") + (entry.get("stderr") or ""))[-6000:])


def lane_style(opts):
    return style.run(TOP)


def lane_unit(opts):
    return meson_tests(builds.product(opts), "unit/")


def lane_clang(opts):
    build = builds.clang(opts)
    totals = Totals()
    problem = build.make()
    if problem:
        return failed("clang/build", problem)
    totals.count("ok", "clang/build, no warning", build.secs)
    return totals


def lane_sanitize(opts):
    totals = meson_tests(builds.sanitizer(opts), "sanitize:unit/")
    totals.add(runtime_tests("cli", opts, "fake", sanitize=True))
    return totals


def lane_reference(opts):
    """The tests themselves under test: what they want is what runc and crun do."""
    totals = Totals()
    for name, which in (("runc", ("cli", "vm")), ("crun", ("vm",))):
        path = shutil.which(name)
        for lane in which:
            if not path:
                totals.count("skip", f"{name}:{lane}", 0, f"{name} is not installed")
                continue
            o = case_opts(opts, path, "host")
            o.probe = builds.probe(opts)
            cases = [c for c in runner.load(lane) if not c.only or o.kind in c.only]
            totals.add(runner.run(cases, o, f"{name}:"))
    return totals


def lane_cli(opts):
    return runtime_tests("cli", opts, "fake")


def lane_vm(opts):
    totals = runtime_tests("vm", opts, "qemu")
    if os.environ.get("COR_TEST_POOL") == "on":
        subprocess.run([str(builds.product(opts).cor), "pool", "drain"], check=False)
    if builds.ROOT == "image" and not opts.runtime:
        shutil.rmtree(builds.product(opts).dir / "images", ignore_errors=True)  # a layer for each test's root
    return totals


def lane_kvm(opts):
    """One host for all tests: this machine, or an emulated one, which sees the build and its mini-OS."""
    build = builds.product(opts)
    problem = build.make()
    o = case_opts(opts, build.cor, "qemu")
    if not problem:
        o.runtime_args, problem = build.settings("qemu")
    if problem:
        return failed("kvm: set-up", problem)
    o.probe = builds.probe(opts)
    o.jobs = 1  # the host takes one job at a time
    o.kvmprobe = kvmhost.probe_program(builds.base_dir(opts))
    why = kvmhost.usable_here(builds.base_dir(opts))
    runner.say(f"# {f'an emulated host, because here: {why}' if why else 'on this machine'}")
    try:
        o.build = builds.base_dir(opts).resolve()
        with kvmhost.choose(o.build, binds=[o.build, TESTS]) as o.kvmhost:
            return runner.run(runner.load("kvm"), o)
    except kvmhost.HostError as e:
        return failed("kvm: host", str(e))


def lane_kernel(opts):
    return runtime_tests("kernel", opts, "qemu")


def lane_engines(opts):
    return runtime_tests("engines", opts, "qemu")


def lane_bench(opts):
    return runtime_tests("bench", opts, "qemu")


def lane_mutants(opts):
    return mutants.run(TOP, builds.base_dir(opts) / "mutants", opts.filter)


LANES = {
    "style": ("layout, spelling, shell scripts, include table", lane_style),
    "unit": ("gcc build without warnings, unit tests, fuzz corpora", lane_unit),
    "clang": ("clang build without warnings", lane_clang),
    "sanitize": ("ASan and UBSan: unit tests and the cli lane", lane_sanitize),
    "reference": ("only by name: the cli and vm tests against runc and crun", lane_reference),
    "cli": ("all verbs with the agent in namespaces instead of a machine", lane_cli),
    "vm": ("real virtual machines, crun as oracle", lane_vm),
    "mutants": ("only by name: a check is deleted, and a test must fail", lane_mutants),
    "kvm": ("what needs KVM, here or in an emulated host", lane_kvm),
    "kernel": ("only by name: kernels that cor-image builds; 12 minutes once, then from the cache", lane_kernel),
    "engines": ("Podman and containerd with cor", lane_engines),
    "bench": ("memory and time of one container", lane_bench),
}


def names():
    return list(LANES)


def default_names(opts):
    if opts.runtime:
        return ["cli", "vm", "engines"]
    if opts.quick:
        return ["style", "unit", "cli", "vm"]
    # `reference` asks runc and crun, whose own races are not ours to fail on: it is for who writes tests, as is
    # `mutants`.
    return [name for name in names() if name not in ("reference", "kernel", "mutants")]


def run(name, opts):
    what, func = LANES[name]
    runner.say(f"# lane {name}: {what}")
    return runner.timed(f"lane {name}", lambda: func(opts))


def list_all(opts):
    for name in opts.lanes or names():
        runner.say(f"{name:10} {LANES[name][0]}")
        if opts.lanes and (TESTS / name).is_dir():
            for c in runner.load(name):
                runner.say(f"  {c.name}")
    return 0
