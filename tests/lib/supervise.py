"""supervise.py - the process around one test.

    tests/run -> supervisor (subreaper, time limit, leak check) -> the test function

The supervisor is forked per test. It starts the function in a child, whose output goes to a file,
ends it when its time is over, looks for what is left (leak.py), removes it by pid, and writes the
verdict as JSON for the runner. It must never take part in the test itself.
"""

import ctypes
import json
import os
import pathlib
import select
import signal
import sys
import tempfile
import time

import harness
import leak
import oci

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LEAK_GRACE = 3.0

libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper():
    """Orphans below this process become its children, as with conmon and containerd's shim."""
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with_parent(sig=signal.SIGTERM):
    libc.prctl(PR_SET_PDEATHSIG, sig, 0, 0, 0)


def run_function(case, directory, token, opts):
    """In the child: calls the test function; writes status, steps and record to result.json."""
    become_subreaper()
    test = harness.Test(case, directory, token, opts)
    status, text = "ok", ""
    try:
        test.rt = oci.Runtime.under_test(test)
        case.func(test)
    except harness.Skipped as e:
        status, text = "skip", str(e)
    except BaseException as e:  # also KeyboardInterrupt and SystemExit of a test are failures
        status, text = "fail", harness.explain(type(e), e, e.__traceback__)
    if any(s.status == "fail" for s in test.steps) and status == "ok":
        status = "fail"
        text = "steps failed: " + ", ".join(s.name for s in test.steps if s.status == "fail")
    record = [] if text.startswith("steps failed") else test.commands[-25:]
    if status == "fail":
        for note in test.notes:
            try:
                record.append(note())
            except Exception as e:
                record.append(f"(note: {e!r})")
    test.finish()
    verdict = {"status": status, "text": text, "record": record, "lines": test.lines,
               "steps": [vars(s) for s in test.steps]}
    with open(os.path.join(directory, "result.json"), "w") as f:
        json.dump(verdict, f)


def supervise(case, opts):
    """Runs one case to its verdict (a dict) in the calling process, which must be a fresh fork."""
    become_subreaper()
    die_with_parent()
    token = "cortst" + os.urandom(4).hex()
    directory = pathlib.Path(tempfile.gettempdir()) / token
    directory.mkdir(mode=0o755)
    signal.signal(signal.SIGTERM, lambda *_: (leak.clean(token, directory), os._exit(1)))
    start = time.monotonic()
    limit = case.timeout * harness.LIMIT
    log = directory / "output"
    child = os.fork()
    if child == 0:
        code = 0
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            die_with_parent(signal.SIGKILL)
            os.setsid()
            fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(fd, 1)
            os.dup2(fd, 2)
            run_function(case, directory, token, opts)
        except BaseException as e:
            sys.stderr.write("".join(map(str, (type(e).__name__, ": ", e, "\n"))))
            code = 70
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    over = not ended_within(child, limit)
    if over:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    verdict = read_verdict(directory, over, limit)
    verdict["output"] = tail(log)
    grace, makers = (LEAK_GRACE * harness.SLOW, harness.LOWEST_S * harness.LIMIT) if verdict["status"] == "ok" else (0.2, 0)
    left = leak.check(token, directory, directory / "state", grace, makers)
    if left and verdict["status"] in ("ok", "skip"):
        verdict["status"] = "fail"
        verdict["text"] = "left behind:\n" + "\n".join(left)
    elif left:
        verdict["text"] += "\nleft behind (removed now):\n" + "\n".join(left[:30])
    leak.clean(token, directory, remove_dir=not (opts.keep and verdict["status"] == "fail"))
    if opts.keep and verdict["status"] == "fail":
        verdict["text"] += f"\nkept: {directory}"
    verdict["secs"] = time.monotonic() - start
    return verdict


def ended_within(child, limit):
    """Waits for the child, at most limit seconds; reaps it. Orphans that end meanwhile are reaped later."""
    fd = os.pidfd_open(child)
    try:
        ready = select.select([fd], [], [], limit)[0]
    finally:
        os.close(fd)
    if ready:
        os.waitpid(child, 0)
    return bool(ready)


def read_verdict(directory, over, limit):
    try:
        with open(directory / "result.json") as f:
            return json.load(f)
    except (OSError, ValueError):
        text = f"no end after {limit:.0f} s" if over else "the test's process died"
        return {"status": "fail", "text": text, "record": [tail(directory / "commands.log")], "steps": []}


def tail(path, size=8000):
    try:
        data = path.read_bytes()
    except OSError:
        return ""
    return data[-size:].decode("utf-8", "backslashreplace")
