"""launcher.py - a small process that starts the commands which are measured, and takes their times.

It is a subreaper, as conmon and containerd's shim are: what a runtime leaves running becomes its child and is found
below it. Each runtime has its own, so that one may live in a mount namespace of its own (crun on a host with hybrid
cgroups). Commands come as JSON lines over a socket pair; the clock is read here, around the child alone.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import time

import leak

CLONE_NEWNS, MS_REC, MS_PRIVATE, PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG = 0x20000, 0x4000, 0x40000, 36, 1
CGROUP2 = "/sys/fs/cgroup/unified"
ERR_SHOWN, OUT_SHOWN = 2000, 50000
ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}

libc = ctypes.CDLL(None, use_errno=True)


class Error(Exception):
    """A command that must work did not."""


class Run:
    """One finished command."""

    def __init__(self, secs, code):
        self.secs, self.code = secs, code


class Batch:
    """Commands started together: runs, from the first start to the last end (wall), their CPU time, what they
    said on stderr."""

    def __init__(self, answer):
        self.runs = [Run(*r) for r in answer["runs"]]
        self.wall, self.cpu, self.err = answer["wall"], answer["cpu"], answer["err"]
        self.out, self.stamps = answer["out"], answer["stamps"]

    def check(self, what):
        for r in self.runs:
            if r.code != 0:
                raise Error(f"{what}: exit code {r.code}: {self.err.strip()[-400:] or 'no message'}")
        return self


class Launcher:
    def __init__(self, err_path, hide_cgroup2=False):
        """err_path: a file for the stderr of what is started."""
        self.sock, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                self.sock.close()
                serve(theirs, str(err_path), hide_cgroup2)
                code = 0
            finally:
                os._exit(code)
        theirs.close()
        self.lines = self.sock.makefile("rb")

    def ask(self, op, argvs=(), timeout=600):
        self.sock.sendall(json.dumps([op, [[str(a) for a in v] for v in argvs]]).encode() + b"\n")
        self.sock.settimeout(timeout)
        line = self.lines.readline()
        if not line:
            raise Error("the launcher died")
        return json.loads(line)

    def batch(self, argvs, what="", timeout=600):
        """Runs them at once, to the end of all."""
        return Batch(self.ask("batch", argvs, timeout)).check(what or " ".join(map(str, argvs[0])))

    def run(self, argv, timeout=600):
        """One command, whatever its exit code."""
        return Batch(self.ask("batch", [argv], timeout))

    def stream(self, argv, what=""):
        """One command whose stdout is read to its end; stamps: (seconds since the start, bytes so far) of the first
        and the last read; out: the first characters."""
        return Batch(self.ask("stream", [argv])).check(what or " ".join(map(str, argv)))

    def cpu(self):
        """Seconds of CPU time of all that were reaped."""
        return self.ask("cpu")

    def children(self):
        return leak.descendants(self.pid)

    def close(self):
        """Ends it, and by pid what still runs below it."""
        for pid in self.children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.sock.shutdown(socket.SHUT_RDWR)  # later launchers hold copies of it
        self.lines.close()
        self.sock.close()
        os.waitpid(self.pid, 0)


# --- in the launcher's own process ------------------------------------------------------------------


def serve(sock, err_path, hide):
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setsid()
    if hide:
        hide_cgroup2()
    null = os.open(os.devnull, os.O_RDWR)
    for line in sock.makefile("rb"):
        op, argvs = json.loads(line)
        answer = OPS[op](argvs, null, err_path)
        sock.sendall(json.dumps(answer).encode() + b"\n")


def hide_cgroup2():
    """Debian 12's crun refuses a hybrid layout while the v2 mount is seen."""
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "mount namespace")
    if os.path.ismount(CGROUP2):
        libc.umount2(CGROUP2.encode(), 2)


def children_cpu():
    reap()
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r.ru_utime + r.ru_stime


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def spawn(argv, null, out, err):
    return os.posix_spawn(argv[0], argv, ENV, file_actions=[
        (os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, err, 2)])


def run_batch(argvs, null, err_path):
    with open(err_path, "wb") as err:
        cpu = children_cpu()
        begin = time.perf_counter()
        running, runs = {}, [None] * len(argvs)
        for i, argv in enumerate(argvs):
            at = time.perf_counter()
            running[spawn(argv, null, null, err.fileno())] = (i, at)
        while running:
            pid, status = os.waitpid(-1, 0)
            now = time.perf_counter()
            if pid in running:
                i, at = running.pop(pid)
                runs[i] = (now - at, code_of(status))
        return answer(runs, time.perf_counter() - begin, children_cpu() - cpu, err_path)


def run_stream(argvs, null, err_path):
    r, w = os.pipe()
    stamps, total, out = [], 0, b""
    with open(err_path, "wb") as err:
        cpu = children_cpu()
        begin = time.perf_counter()
        pid = spawn(argvs[0], null, w, err.fileno())
        os.close(w)
        while True:
            data = os.read(r, 1 << 20)
            if not data:
                break
            total += len(data)
            out += data[: OUT_SHOWN - len(out)]
            stamps[1:] = [(time.perf_counter() - begin, total)]
        os.close(r)
        _, status = os.waitpid(pid, 0)
        secs = time.perf_counter() - begin
        return answer([(secs, code_of(status))], secs, children_cpu() - cpu, err_path, stamps, out)


def answer(runs, wall, cpu, err_path, stamps=(), out=b""):
    with open(err_path, "rb") as f:
        text = f.read()[-ERR_SHOWN:].decode("utf-8", "replace")
    return {"runs": runs, "wall": wall, "cpu": cpu, "err": text, "stamps": list(stamps),
            "out": out.decode("utf-8", "replace")}


def code_of(status):
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


OPS = {"batch": run_batch, "stream": run_stream, "cpu": lambda *_: children_cpu()}
