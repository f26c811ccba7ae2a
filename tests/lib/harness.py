"""harness.py - what a test function sees: the Test object, its checks, its record of commands.

A test is a function `test_NAME(t)` in tests/LANE/test_FILE.py, marked with @case(...). tests/run
calls it in a process of its own; see supervise.py for what is around it. A check that fails raises
Failed; t.step() catches it, so that one booted VM can answer many questions. Nothing here knows
what is tested.
"""

import difflib
import json
import os
import pathlib
import shlex
import signal
import subprocess
import time
import traceback

# A loaded or emulated machine: every time limit is multiplied by this.
SLOW = float(os.environ.get("COR_TEST_SLOW", "1"))
# What only tells a hang from work gets more, for a machine that was busy just now. Not what is measured: a bound that was asked for.
PATIENCE = 3
LIMIT = PATIENCE * SLOW
LOWEST_S = 100  # for what runs at the lowest priority: it gets what everybody else leaves of the machine
SHOWN = 3000  # bytes of an output shown in a failure report


class Failed(Exception):
    """A check did not hold."""


class Skipped(Exception):
    """The test cannot run here; the text says why."""


class Case:
    """One test function and what the runner must know before it starts it."""

    def __init__(self, func, timeout, vm, needs, only, quick, tags, alone):
        self.func = func
        self.timeout = timeout
        self.vm = vm  # boots a virtual machine: few at a time
        self.alone = alone  # no other test runs beside it: it reads the clock
        self.needs = needs  # programs on PATH
        self.only = only  # kinds of runtime it makes sense for; empty = all
        self.quick = quick  # part of --quick
        self.tags = tags
        self.lane = ""
        self.file = ""

    @property
    def name(self):
        return f"{self.lane}/{self.file}.{self.func.__name__[5:]}"


def case(timeout=30, vm=False, needs=(), only=(), quick=False, tags=(), alone=False):
    """Marks a function as a test; the arguments are those of Case."""

    def mark(func):
        func.case = Case(func, timeout, vm, tuple(needs), tuple(only), quick, tuple(tags), alone)
        return func

    return mark


class Result:
    """One finished command. Bytes in raw_out and raw_err, text in out and err."""

    def __init__(self, argv, code, out, err, secs):
        self.argv, self.code, self.secs = argv, code, secs
        self.raw_out, self.raw_err = out or b"", err or b""

    @property
    def out(self):
        return self.raw_out.decode("utf-8", "replace")

    @property
    def err(self):
        return self.raw_err.decode("utf-8", "replace")

    def json(self):
        try:
            return json.loads(self.raw_out)
        except ValueError as e:
            raise Failed(f"{shlex.join(map(str, self.argv))}: no JSON on stdout ({e}): {self.out[:SHOWN]!r}")

    def __str__(self):
        words = [str(a) for a in self.argv]
        if words[:2] == ["unshare", "-m"] and "--" in words:  # the same long prefix before every crun
            words = words[words.index("--") + 1 :]
        text = f"$ {shlex.join(words)}\n  -> {self.code} ({self.secs:.2f} s)"
        for name, data in (("out", self.raw_out), ("err", self.raw_err)):
            if data:
                text += f"\n  {name}: " + clip(data).replace("\n", "\n       ")
        return text


def clip(data):
    text = data.decode("utf-8", "backslashreplace").rstrip("\n")
    if len(text) > SHOWN:
        text = text[: SHOWN // 2] + f"\n[... {len(text) - SHOWN} characters ...]\n" + text[-SHOWN // 2 :]
    return text


class Record(list):
    """The commands of a test, also written to a file as they come: a test that is killed for its
    time leaves it behind."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def append(self, text):
        super().append(text)
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(text + "\n")


class Step:
    def __init__(self, name, status, secs, text=""):
        self.name, self.status, self.secs, self.text = name, status, secs, text


class Test:
    """Handed to the test function. `dir` is its own directory, `token` a word that stands in every
    name it makes (directories, container ids, cgroups), so that what is left can be found."""

    def __init__(self, case_, directory, token, opts=None):
        self.opts = opts
        self.case = case_
        self.name = case_.name
        self.dir = pathlib.Path(directory)
        self.token = token
        self.steps = []
        self.commands = Record(self.dir / "commands.log")
        self.lines = []
        self.notes = []  # callables: text for a failure report
        self._cleanups = []
        self._serial = 0

    # --- commands -------------------------------------------------------------------------------

    def run(self, argv, input=None, timeout=30, check=None, env=None, cwd=None, stdin=None, **kw):
        """Runs a command to its end. check: the exit code it must have. A command over its time is
        killed with its process group and fails the test."""
        argv = [str(a) for a in argv]
        if isinstance(input, str):
            input = input.encode()
        start = time.monotonic()
        if input is None and stdin is None:
            stdin = subprocess.DEVNULL
        elif input is not None:
            stdin = subprocess.PIPE
        child = subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd,
            start_new_session=True, **kw,
        )
        try:
            out, err = child.communicate(input, timeout=timeout * LIMIT)
        except subprocess.TimeoutExpired as e:
            kill_group(child)
            res = Result(argv, None, e.stdout, e.stderr, time.monotonic() - start)
            self.commands.append(str(res))
            raise Failed(f"no end after {timeout * LIMIT:.0f} s: {shlex.join(argv)}")
        res = Result(argv, code_of(child.returncode), out, err, time.monotonic() - start)
        self.commands.append(str(res))
        if check is not None and res.code != check:
            raise Failed(f"exit code {res.code} instead of {check}\n{res}")
        return res

    def spawn(self, argv, **kw):
        """Starts a command and returns its Popen; it is killed at the test's end if it still runs."""
        argv = [str(a) for a in argv]
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("start_new_session", True)
        child = subprocess.Popen(argv, **kw)
        self.commands.append(f"$ {shlex.join(argv)} &   (pid {child.pid})")
        self.cleanup(lambda: end_child(child))
        return child

    def end_of(self, child, timeout=60):
        """Waits for the end of a command that spawn() started; returns its code as Popen does."""
        try:
            return child.wait(timeout * LIMIT)
        except subprocess.TimeoutExpired:
            raise Failed(f"no end after {timeout * LIMIT:.0f} s: {shlex.join(map(str, child.args))}")

    def cleanup(self, func):
        """Calls func at the end, last one first, whatever happened."""
        self._cleanups.append(func)

    def finish(self):
        for func in reversed(self._cleanups):
            try:
                func()
            except Exception as e:  # a failing clean-up is seen by the leak check
                self.commands.append(f"clean-up: {e!r}")
        self._cleanups = []

    # --- names ----------------------------------------------------------------------------------

    def path(self, name):
        p = self.dir / name
        p.parent.mkdir(parents=True, exist_ok=True)
        return p

    def fresh(self, what="c"):
        """A name not used before in this test, carrying the token."""
        self._serial += 1
        return f"{self.token}-{what}{self._serial}"

    # --- checks ---------------------------------------------------------------------------------

    def fail(self, text):
        raise Failed(text)

    def skip(self, why):
        raise Skipped(why)

    def only(self, *kinds):
        """Skips (the step or test) unless the runtime under test is one of these."""
        if self.opts.kind not in kinds:
            raise Skipped(f"only for {', '.join(kinds)}")

    def true(self, cond, what):
        if not cond:
            raise Failed(what)

    def eq(self, got, want, what="value"):
        if got != want:
            if isinstance(got, str) and isinstance(want, str) and "\n" in got.strip():
                diff = difflib.unified_diff(want.splitlines(), got.splitlines(), "want", "got", lineterm="", n=1)
                raise Failed(f"{what}:\n  " + clip("\n".join(diff).encode()).replace("\n", "\n  "))
            raise Failed(f"{what}:\n  got  {show(got)}\n  want {show(want)}")

    def has(self, text, *parts):
        """Every part is a substring of the text."""
        for part in parts:
            if part not in text:
                raise Failed(f"{part!r} is not in:\n  " + show(text))

    def has_any(self, text, *parts):
        if not any(part in text for part in parts):
            raise Failed(f"none of {parts!r} is in:\n  " + show(text))

    def lacks(self, text, part):
        if part in text:
            raise Failed(f"{part!r} is in:\n  " + show(text))

    def wait(self, func, what, timeout=10, patience=PATIENCE):
        """Polls until func() is true and returns its value. For things that offer no event. Never more than a fifth of the
        time: on a host with one CPU a poll that runs cor would starve what it waits for, which may run at low priority.
        patience=1: the timeout is a bound that was asked for."""
        limit = timeout * SLOW * patience
        end = time.monotonic() + limit
        before = len(self.commands)
        while True:
            del self.commands[before:]  # only the last try is worth a record
            asked = time.monotonic()
            value = func()
            if value:
                return value
            now = time.monotonic()
            if now > end:
                raise Failed(f"not within {limit:.0f} s: {what}")
            time.sleep(min(max(0.02, 4 * (now - asked)), 1))

    def report(self, line):
        """A line for the reader, printed also when the test passes: figures."""
        self.lines.append(line)

    def step(self, name):
        """One of several questions to one set-up: `with t.step("umask"): ...` is counted as a test
        of its own; its failure does not end the others."""
        return StepScope(self, name)


class StepScope:
    def __init__(self, test, name):
        self.test, self.name = test, name

    def __enter__(self):
        self.start = time.monotonic()
        self.first = len(self.test.commands)
        return self

    def __exit__(self, kind, value, tb):
        secs = time.monotonic() - self.start
        if kind is None:
            self.test.steps.append(Step(self.name, "ok", secs))
        elif issubclass(kind, Skipped):
            self.test.steps.append(Step(self.name, "skip", secs, str(value)))
        elif issubclass(kind, Exception):
            text = explain(kind, value, tb)
            for c in self.test.commands[self.first :][-6:]:
                text += "\n" + c
            self.test.steps.append(Step(self.name, "fail", secs, text))
        else:
            return False
        return True


def explain(kind, value, tb):
    """The message of a failed check with the line it stands in; a whole traceback for the rest."""
    if issubclass(kind, Failed):
        here = [f for f in traceback.extract_tb(tb) if "/tests/lib/" not in f.filename]
        place = f"{os.path.basename(here[-1].filename)}:{here[-1].lineno}: " if here else ""
        return place + str(value)
    return "".join(traceback.format_exception(kind, value, tb))


def show(value):
    if isinstance(value, str) and "\n" in value:
        return clip(value.encode()).replace("\n", "\n  ")
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def code_of(returncode):
    """As a shell sees it: 128 + signal."""
    return 128 - returncode if returncode < 0 else returncode


def kill_group(child):
    """Ends a child that leads a session of its own, with its group."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.kill()
    child.wait()
    for pipe in (child.stdout, child.stderr, child.stdin):
        if pipe:
            pipe.close()


def end_child(child):
    if child.poll() is None:
        kill_group(child)
