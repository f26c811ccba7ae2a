"""runner.py - finds test functions, runs them side by side, prints TAP-like lines and counts them.

One supervisor process per test (supervise.py), at most `jobs` of them and at most `vm_jobs` that
boot a virtual machine.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

import supervise

TESTS = pathlib.Path(__file__).resolve().parent.parent


class Totals:
    """What was counted; prints every line it counts."""

    def __init__(self):
        self.passed = self.failed = self.skipped = self.serial = 0
        self.failures = []

    def count(self, status, name, secs, text="", indent=""):
        if status == "ok":
            self.passed += 1
        elif status == "skip":
            self.skipped += 1
        else:
            self.failed += 1
            self.failures.append(name)
        word = "not ok" if status == "fail" else "ok"
        if not indent:
            self.serial += 1
            word += f" {self.serial}"
        tail = f" # SKIP {text}" if status == "skip" else ""
        say(f"{indent}{word} - {name} ({secs:.2f} s){tail}")

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures

    def line(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def comment(text, prefix="#   "):
    if text:
        say("\n".join(prefix + line for line in text.splitlines()))


def load(lane):
    """The cases of tests/LANE/test_*.py in the order of the files."""
    cases = []
    for path in sorted((TESTS / lane).glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"{lane}_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, func in vars(module).items():
            if name.startswith("test_") and getattr(func, "__module__", "") == module.__name__:
                if not hasattr(func, "case"):
                    raise SystemExit(f"{path}: {name} lacks @case")
                func.case.lane, func.case.file = lane, path.stem[5:]
                cases.append(func.case)
    return cases


def skip_reason(case, opts):
    """Why a case cannot run with these options, or None."""
    if case.only and opts.kind not in case.only:
        return f"only for {', '.join(case.only)}; the runtime here is {opts.kind}"
    for program in case.needs:
        if not shutil.which(program):
            return f"{program} is not installed"
    if case.vm and opts.no_vm:
        return opts.no_vm
    return None


def chosen(case, opts):
    if opts.quick and not case.quick:
        return False
    return not opts.filter or any(f in case.name for f in opts.filter)


def start(case, opts, out_dir):
    """Forks the supervisor; returns (pid, file of its verdict)."""
    fd, verdict_path = tempfile.mkstemp(dir=out_dir)
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(fd)
        return pid, verdict_path
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.setpgid(0, 0)
        verdict = supervise.supervise(case, opts)
        os.write(fd, json.dumps(verdict).encode())
        code = 0
    except BaseException as e:
        os.write(2, f"supervisor of {case.name}: {type(e).__name__}: {e}\n".encode())
    finally:
        os._exit(code)


def report(case, verdict, totals, prefix):
    name = prefix + case.name
    for s in verdict["steps"]:
        totals.count(s["status"], f"{name}: {s['name']}", s["secs"], s["text"], indent="    ")
        if s["status"] == "fail":
            comment(s["text"], "    #   ")
    totals.count(verdict["status"], name, verdict.get("secs", 0), verdict["text"])
    comment("\n".join(verdict.get("lines", [])))
    if verdict["status"] == "fail":
        comment(verdict["text"])
        for entry in verdict["record"]:
            comment(entry, "#     ")
        if verdict.get("output"):
            comment("output of the test:\n" + verdict["output"])


def run(cases, opts, prefix=""):
    """Runs the cases; returns Totals."""
    totals = Totals()
    waiting = []
    for c in cases:
        if not chosen(c, opts):
            continue
        why = skip_reason(c, opts)
        if why:
            totals.count("skip", prefix + c.name, 0, why)
        else:
            waiting.append(c)
    running = {}
    with tempfile.TemporaryDirectory(prefix="cor-verdicts-") as out_dir:
        try:
            while waiting or running:
                feed(waiting, running, opts, out_dir)
                pid, _ = os.wait()
                if pid in running:
                    case, path = running.pop(pid)
                    report(case, verdict_of(path), totals, prefix)
        finally:
            for pid in running:
                os.kill(pid, signal.SIGTERM)
            for pid in running:
                os.waitpid(pid, 0)
    return totals


def feed(waiting, running, opts, out_dir):
    """Starts what may start now."""
    for c in list(waiting):
        if len(running) >= opts.jobs or any(r.alone for r, _ in running.values()):
            return
        if c.alone and running:  # its turn comes when the others are over
            continue
        vms = sum(1 for r, _ in running.values() if r.vm)
        if c.vm and vms >= opts.vm_jobs and opts.real_vm:
            continue
        waiting.remove(c)
        pid, path = start(c, opts, out_dir)
        running[pid] = (c, path)


def verdict_of(path):
    try:
        with open(path, "rb") as f:
            return json.loads(f.read())
    except ValueError:
        return {"status": "fail", "text": "the supervisor died", "steps": [], "record": [], "secs": 0}


def timed(what, func):
    """Runs one lane function and says how long it took."""
    begin = time.monotonic()
    totals = func()
    say(f"# {what}: {totals.line()} ({time.monotonic() - begin:.0f} s)")
    return totals
