"""phases.py - cuts a container's start at its phase marks: the victim is killed, what an engine would do
then is done, and nothing may be left.

Marks are the lines of STATE_DIR/marks that `cor run --timing` writes: "ns process name".
"""

import os
import signal
import subprocess
import time

import bundle
import leak
from harness import LIMIT

VICTIMS = ("cor", "monitor", "vmm", "force")


def marks_of(rt, id_):
    """Names of the marks written so far."""
    try:
        text = (rt.root / id_ / "marks").read_text()
    except OSError:
        return []
    return [f[2] for f in (line.split(" ", 2) for line in text.splitlines()) if len(f) == 3]


def names(t):
    """The marks of one whole run, in order, except those written when all is over."""
    c = t.rt.container(bundle.config("sleep 0.2"))
    path = t.dir / "all-marks.json"
    c.run("--timing-json", path, timeout=90, check=0)
    import json

    found = [row["mark"] for row in json.loads(path.read_text())]
    return [m for m in found if m not in ("vm-gone", "reaped")]


def cut(t, mark, victim, others=set):
    """Starts `run`, kills the victim (or deletes by force) as soon as the mark is there. others: gives the pids that
    are not of this container (VMs that wait). Returns how many it killed: at some marks a victim is not there."""
    c = t.rt.container(bundle.config("sleep 0.2"))
    with open(os.devnull, "r+b") as null, open(t.dir / f"{c.id}.cut", "wb") as err:
        child = t.spawn(t.rt.argv("run", "--timing", "--bundle", c.bundle, "--pid-file", c.pid_file, c.id, log=c.log),
                        stdin=null, stdout=null, stderr=err)
    end = time.monotonic() + 20 * LIMIT
    while mark not in marks_of(t.rt, c.id):
        if child.poll() is not None or time.monotonic() > end:
            break  # over before it was seen: still a clean end is asked for
        time.sleep(0.0005)
    is_victim = {"cor": lambda p: p == child.pid, "monitor": lambda p: leak.comm(p) == "cor-monitor", "vmm": leak.is_vmm}
    killed = 0
    for pid in set([child.pid] + leak.descendants(os.getpid())) - others():
        if victim in is_victim and is_victim[victim](pid):
            try:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass  # it ended just now
    if victim == "force":
        t.rt("delete", "--force", c.id, timeout=30)
    try:
        child.wait(20 * LIMIT)
    except subprocess.TimeoutExpired:
        t.fail(f"cor run goes on {20 * LIMIT:.0f} s after its {victim} was killed at {mark}")
    t.rt("delete", "--force", c.id, timeout=30)
    t.wait(lambda: no_family(others), f"the end of every process ({mark}, {victim})")
    t.eq(t.rt.states(), [], "state directory")
    t.eq(leak.mounts(t.token), [], "mounts")
    t.eq(leak.cgroups(t.token), [], "cgroups")
    return killed


def no_family(others):
    leak.reap()
    return not set(leak.descendants(os.getpid())) - others()
