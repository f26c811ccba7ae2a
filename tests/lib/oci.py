"""oci.py - drives an OCI runtime as its callers do.

Runtime is one binary with a private --root; Container one bundle with an id. `create` behaves like
conmon: the test's process is a subreaper, gives stdio, reads the pid file and takes the exit code
from waitpid on that pid.
"""

import json
import os
import pathlib
import signal
import time

import builds
import bundle as bundles
import harness
import leak
from harness import Failed

# Debian 12's crun refuses a hybrid cgroup layout: it runs without the v2 mount, in a mount namespace.
CRUN_PREFIX = ["unshare", "-m", "--propagation", "private", "sh", "-c",
               "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec \"$@\"", "--"]
KINDS = ("runc", "crun", "cor")


class Runtime:
    """kind: runc, crun or cor: tests ask it where the contract leaves a choice."""

    def __init__(self, test, path, kind, root=None, globals_=()):
        self.test, self.path, self.kind = test, str(path), kind
        self.root = pathlib.Path(root) if root else test.dir / "state"
        self.globals = list(globals_)
        self.prefix = CRUN_PREFIX if kind == "crun" else []

    @classmethod
    def under_test(cls, test):
        o = test.opts
        rt = cls(test, o.runtime, o.kind, globals_=o.runtime_args)
        test.notes.append(rt.report)
        return rt

    def oracle(self):
        """A second runtime for comparison, with a state root of its own."""
        kind = self.test.opts.oracle
        return Runtime(self.test, self.test.opts.oracle_path, kind, root=self.test.dir / "oracle-state")

    def argv(self, *args, log=None, globals_=()):
        g = ["--root", self.root] + self.globals
        if log:
            g += ["--log", log]
        return self.prefix + [self.path] + [str(a) for a in g + list(globals_) + list(args)]

    def __call__(self, *args, check=0, timeout=60, globals_=(), **kw):
        """Runs one verb: rt("state", id). check=None accepts every exit code."""
        return self.test.run(self.argv(*args, globals_=globals_), check=check, timeout=timeout, **kw)

    def container(self, conf=None, name=None, rootfs=True):
        """A bundle in the test's directory and a fresh id for it. conf: see bundle.make."""
        id_ = name or self.test.fresh()
        if conf is None:
            conf = bundles.config(["sleep", "1000"])
        if isinstance(conf, dict) and "linux" in conf:
            conf["linux"].setdefault("cgroupsPath", "/" + id_)
        path = bundles.make(self.test.dir / ("bundle-" + id_), conf, rootfs)
        return Container(self, id_, path)

    def only_shared_roots(self):
        """Skips the test (or step) where what a container writes to its root stays in its VM: with COR_TEST_ROOT=image, if
        a container that is made to try does so."""
        if builds.ROOT != "image" or self.kind != "cor":
            return
        c = self.container(bundles.config("echo tried > /tried"))
        c.run(check=0, timeout=90)
        if not (c.rootfs / "tried").exists():
            raise harness.Skipped("COR_TEST_ROOT=image: what a container wrote to its root is not seen on the host (tried)")

    def only_with_templates(self):
        """Skips the test where VMs can't be saved: with COR_TEST_ROOT=virtiofs, if `template make` says so."""
        if builds.ROOT == "virtiofs" and self.kind == "cor":
            r = self("template", "make", globals_=("--set", f"template.dir={self.test.path('tried')}"), check=None, timeout=120)
            if r.code == 1 and "can't save such a VM" in r.err:
                raise harness.Skipped(f"COR_TEST_ROOT=virtiofs: {r.err.strip().splitlines()[-1]} (tried)")

    def make_template(self, *settings, probe=False, **kw):
        """Makes the template that this test's containers are clones of. Of a root that is an image, whose size is of the shape,
        its first container does, beside itself; probe: with the probe in it."""
        if builds.ROOT != "image":
            self("template", "make", globals_=settings, timeout=120, **kw)
            return
        c = self.container(bundles.config("true"))
        if probe:
            bundles.add_probe(c.rootfs, self.test.opts.probe)
        c.run(check=0, globals_=settings, timeout=120)
        # at first a maker looks like the cor that it is a child of
        self.test.wait(lambda: not [p for p in leak.descendants(os.getpid()) if leak.comm(p) in ("cor", "cor-template")],
                       "the template's maker", timeout=harness.LOWEST_S)

    def list_json(self):
        return self("list", "--format", "json").json() or []

    def states(self):
        """Names below the state root: must be empty when everything is deleted."""
        return sorted(os.listdir(self.root)) if self.root.is_dir() else []

    def report(self):
        """For a failure: every log, console and mark file of the state root, by its last lines."""
        text = []
        for p in sorted(self.root.rglob("*")):
            if p.is_file() and p.name not in ("config.json", "plan.bin") and p.stat().st_size < 1 << 20:
                data = p.read_bytes()
                if b"\0" not in data[:200]:
                    text.append(f"--- {p.relative_to(self.root)}\n" + harness.clip(data[-4000:]))
        for p in sorted(self.test.dir.glob("*.log")):
            if p.name != "commands.log" and p.stat().st_size:
                text.append(f"--- {p.name}\n" + harness.clip(p.read_bytes()[-4000:]))
        return "\n".join(text)


class Container:
    def __init__(self, rt, id_, path):
        self.rt, self.test, self.id, self.bundle = rt, rt.test, id_, path
        self.rootfs = path / "rootfs"
        self.pid_file = rt.test.dir / (id_ + ".pid")
        self.log = rt.test.dir / (id_ + ".log")
        self.out_path = rt.test.dir / (id_ + ".out")
        self.err_path = rt.test.dir / (id_ + ".err")
        self.pid = None
        self.status = None  # of waitpid, when the container's process was reaped
        self.stdin = None
        self.test.cleanup(self.destroy)

    # --- verbs ----------------------------------------------------------------------------------

    def run(self, *flags, timeout=60, check=None, globals_=(), **kw):
        """Foreground `run`; the Result's out and err are the container's (and the runtime's) own."""
        return self.rt("run", *flags, "--bundle", self.bundle, self.id, check=check, timeout=timeout, globals_=globals_,
                       **kw)

    def create(self, *flags, check=0, stdin=None, stdout=None, stderr=None, timeout=60, globals_=(), where=None,
               cwd=None):
        """`create` with the container's stdio in files (or the given fds); sets self.pid. Returns a
        Result whose err is what the runtime wrote to stderr (which is the container's, too). where:
        flags instead of --bundle."""
        where = ["--bundle", self.bundle] if where is None else where
        argv = self.rt.argv("create", *where, "--pid-file", self.pid_file, *flags, self.id, log=self.log,
                            globals_=globals_)
        self.pid = self.status = None
        with open(self.out_path, "ab") as out, open(self.err_path, "ab") as err, open(os.devnull, "rb") as null:
            at = err.tell()
            start = time.monotonic()
            child = harness.subprocess.Popen(
                argv, stdin=null if stdin is None else stdin, stdout=out if stdout is None else stdout,
                stderr=err if stderr is None else stderr, start_new_session=True, cwd=cwd)
            try:
                child.wait(timeout * harness.LIMIT)
            except harness.subprocess.TimeoutExpired:
                harness.kill_group(child)
                raise Failed(f"create: no end after {timeout * harness.LIMIT:.0f} s")
        res = harness.Result(argv, harness.code_of(child.returncode), b"", self.err_path.read_bytes()[at:],
                             time.monotonic() - start)
        self.test.commands.append(str(res))
        if check is not None and res.code != check:
            raise Failed(f"exit code {res.code} instead of {check}\n{res}")
        if res.code == 0:
            self.pid = self.read_pid()
        return res

    def read_pid(self):
        data = self.pid_file.read_bytes()
        if not data.isdigit():
            raise Failed(f"pid file holds {data!r}, not only digits")
        return int(data)

    def start(self, **kw):
        return self.rt("start", self.id, **kw)

    def up(self, *flags, **kw):
        """create and start."""
        self.create(*flags, **kw)
        self.start()
        return self

    def state(self, **kw):
        return self.rt("state", self.id, **kw).json()

    def kill(self, sig="KILL", *flags, **kw):
        return self.rt("kill", *flags, self.id, sig, **kw)

    def delete(self, *flags, **kw):
        return self.rt("delete", *flags, self.id, **kw)

    def exec(self, args, *flags, **kw):
        kw.setdefault("check", None)
        return self.rt("exec", *flags, self.id, *(["sh", "-c", args] if isinstance(args, str) else args), **kw)

    def sh(self, script, **kw):
        """Runs a shell script in the container, wants exit 0, returns its stdout."""
        return self.exec(script, check=0, **kw).out

    # --- the container's process ----------------------------------------------------------------

    def wait(self, timeout=60):
        """Reaps the container's process as its caller does; returns its code (128 + signal)."""
        if self.status is None:
            end = time.monotonic() + timeout * harness.LIMIT
            while True:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:
                    raise Failed(f"pid {self.pid} of the pid file is not a child of the caller")
                if pid:
                    break
                if time.monotonic() > end:
                    raise Failed(f"the container's process {self.pid} did not end in {timeout * harness.LIMIT:.0f} s")
                time.sleep(0.01)
            self.status = status
            self.test.commands.append(f"waitpid {self.pid} -> {os.waitstatus_to_exitcode(status)}")
        return harness.code_of(os.waitstatus_to_exitcode(self.status))

    def alive(self):
        return self.pid is not None and self.status is None and os.path.exists(f"/proc/{self.pid}")

    def out(self):
        return self.out_path.read_bytes().decode("utf-8", "replace")

    def err(self):
        return self.err_path.read_bytes().decode("utf-8", "replace")

    def wait_out(self, text, timeout=60):
        """Waits until the container's stdout holds the text."""
        return self.test.wait(lambda: text in self.out() and self.out(), f"{text!r} on stdout (got {self.out()!r})",
                              timeout)

    def log_lines(self):
        return [json.loads(l) for l in self.log.read_text().splitlines()]

    def finish(self):
        """The normal end: kill, reap, delete, and nothing of it is left."""
        if self.status is None and self.pid:
            self.kill("KILL", check=None)
            self.wait()
        self.delete()
        self.test.true(self.id not in self.rt.states(), f"{self.id} is still in the state root")

    def destroy(self):
        """Clean-up after a failed test; does nothing after finish()."""
        if self.id in self.rt.states():
            self.rt("delete", "--force", self.id, check=None)
        if self.pid and self.status is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


def wrapper(test):
    """Engines take a runtime by path and give it no options of ours: a script adds them. Its name is the
    runtime's, because Podman looks for behaviour by name."""
    path = test.dir / test.rt.kind
    extra = " ".join(map(str, test.rt.globals))
    path.write_text(f'#!/bin/sh\nexec {test.rt.path} {extra} "$@"\n')
    path.chmod(0o755)
    return path
