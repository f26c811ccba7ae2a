"""Waiting VMs: each given away once, as private and as exactly sized as any, and nothing left of them."""

import json
import os
import signal
import time

import bundle
import leak
import phases
from harness import case

COR = ("cor",)
RANDOM = ("cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; "
          "head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n'; echo")


def use(t, n=1):
    """A pool of this test's own: filled now, drained at the end."""
    where = t.path("templates")
    more = {"template": "on", "template.dir": where, "pool": n}
    t.rt.globals = t.rt.globals + [w for k, v in more.items() for w in ("--set", f"{k}={v}")]
    t.rt("pool", "fill", timeout=200)
    t.cleanup(lambda: drain(t))
    return where / "default"


def drain(t):
    """Until nothing of this pool is left: whoever still is to fill it (at first it looks like the create that it is a
    child of) may do it behind a drain, and may be missed by one look at the processes."""

    def drained():
        if [p for p in leak.descendants(os.getpid()) if leak.comm(p) in ("cor", "cor-template")]:
            return False
        t.rt("pool", "drain", timeout=30)
        return not [p for p in leak.with_token(t.token) if leak.comm(p) == "cor-monitor"]

    t.wait(drained, "the end of templates and pools in the making", timeout=100)


def filling():
    return [p for p in leak.descendants(os.getpid()) if leak.comm(p) == "cor-template"]


def waiting(t):
    return t.rt("pool", "--json", "ls").json()


def wait_full(t, n=1):
    t.wait(lambda: len(waiting(t)) == n and not filling(), f"{n} waiting VMs", timeout=100)


def run(t, script, conf=None, **kw):
    """Runs a script in a container; returns (what it wrote, had its VM waited)."""
    c = t.rt.container(conf or bundle.config(script))
    timing = t.path(c.id + ".json")
    r = c.run("--timing-json", timing, timeout=120, **kw)
    t.eq(r.code, 0, f"exit code of {script!r}; {r.err}")
    return r.out, was_waiting(timing)


def was_waiting(timing):
    return "vm-taken" in [p["mark"] for p in json.loads(timing.read_text())]


def vm_of(t, c):
    return int((t.rt.root / c.id / "vm").read_text().split()[0])


def kept(keeper):
    """The VM's process, of one that waits."""
    return next(p for p in leak.descendants(keeper) if leak.comm(p) != "cor-fsd")


def up(t, script="echo up; exec sleep 1000"):
    """A running container whose VM had waited."""
    wait_full(t)
    before = [x["keeper"] for x in waiting(t)]
    c = t.rt.container(bundle.config(script)).up()
    c.wait_out("up")
    vm = vm_of(t, c)
    t.true(leak.stat_fields(vm)[1] in before, "its VM is the child of one that waited")
    return c, vm, leak.stat_fields(vm)[1]


def is_gone(pid):
    leak.reap()
    st = leak.stat_fields(pid)
    return st is None or st[0] == "Z"


@case(timeout=400, vm=True, only=COR)
def test_own_machine(t):
    """Two that waited share no random number; clock, name and size are what was asked for; the pool fills again."""
    use(t)
    seen = []
    with t.step("random numbers, boot_id, uuid"):
        for _ in range(2):
            wait_full(t)
            out, waited = run(t, RANDOM)
            t.true(waited, "its VM had waited")
            seen += out.split()
        t.eq(len(seen), 6)
        t.eq(len(set(seen)), 6, "different words")
    with t.step("clock, hostname, processes"):
        wait_full(t)
        conf = bundle.config("date +%s; hostname; nproc; ls -d /proc/[0-9]* | wc -l; ls /; cat /proc/self/cgroup")
        conf["hostname"] = "other"
        conf["process"]["cwd"] = "/tmp"
        before = int(time.time())
        out, waited = run(t, "", conf)
        words = out.split("\n")
        t.true(waited, "its VM had waited")
        t.true(before <= int(words[0]) <= before + 60, f"date {words[0]}")
        t.eq(words[1:3], ["other", "1"])
        t.true(int(words[3]) <= 4, f"{words[3]} processes")
        t.true("rehearsal" not in out, "no trace of the rehearsal")
        t.has(out, "0::/")
    with t.step("another size is none of this pool"):
        conf = bundle.config("awk '/MemTotal/ {print $2}' /proc/meminfo")
        conf["linux"]["resources"] = {"memory": {"limit": 256 << 20}}
        out, waited = run(t, "", conf)
        t.true(not waited and int(out) < 400000, out)
        t.wait(lambda: not filling(), "its template", timeout=100)


@case(timeout=400, vm=True, only=COR)
def test_life(t):
    """exec, terminal, pause, limits, binds, kill, delete in a VM that waited."""
    use(t)
    c, vm, keeper = up(t)
    with t.step("exec"):
        t.eq(c.exec(["sh", "-c", "echo in; exit 3"], check=3).out, "in\n")
    with t.step("the VM is in the container's cgroup"):
        with open(f"/proc/{vm}/cgroup") as f:
            t.has(f.read(), c.id)
    with t.step("priority and CPUs are the caller's"):
        for tid in os.listdir(f"/proc/{vm}/task"):
            t.eq(os.getpriority(os.PRIO_PROCESS, int(tid)), os.getpriority(os.PRIO_PROCESS, 0))
            t.eq(os.sched_getaffinity(int(tid)), os.sched_getaffinity(0))
    with t.step("pause, resume"):
        t.rt("pause", c.id)
        t.rt("resume", c.id)
        t.eq(c.exec(["echo", "again"], check=0).out, "again\n")
    with t.step("kill, exit code"):
        t.rt("kill", c.id, "KILL")
        t.eq(c.wait(), 137)
    with t.step("delete"):
        t.rt("delete", c.id)
        t.wait(lambda: is_gone(vm) and is_gone(keeper), "the end of VM and keeper")
    with t.step("bind mounts, a read-only root"):
        wait_full(t)
        data = t.path("data")
        data.mkdir()
        (data / "x").write_text("from the host\n")
        conf = bundle.config("cat /data/x; echo back > /data/y; touch /z || echo refused")
        conf["mounts"].append({"destination": "/data", "type": "bind", "source": str(data), "options": ["rbind", "rw"]})
        conf["root"]["readonly"] = True
        c = t.rt.container(conf)
        timing = t.path("bind.json")
        r = c.run("--timing-json", timing, check=0, timeout=100)
        t.true(was_waiting(timing), "its VM had waited")
        t.has(r.out, "from the host", "refused")
        t.eq((data / "y").read_text(), "back\n")
    with t.step("a hook in the VM's namespaces gets a VM of its own"):
        wait_full(t)
        conf = bundle.config("true")
        conf["hooks"] = {"createContainer": [{"path": "/bin/true"}]}
        t.eq(run(t, "", conf)[1], False)


@case(timeout=400, vm=True, only=COR)
def test_two_at_once(t):
    """Two creates and one waiting VM: both containers run, one of them in it."""
    use(t)
    both = [t.rt.container(bundle.config(f"echo {i}")) for i in range(2)]
    timings = [t.path(f"both{i}.json") for i in range(2)]
    files = [open(t.path(f"both{i}.out"), "w+b") for i in range(2)]
    kids = [t.spawn(t.rt.argv("run", "--timing-json", p, "--bundle", c.bundle, c.id), stdout=f)
            for c, p, f in zip(both, timings, files)]
    for i, k in enumerate(kids):
        t.eq(k.wait(120), 0)
        files[i].seek(0)
        t.eq(files[i].read().decode(), f"{i}\n")
    t.eq(sorted(was_waiting(p) for p in timings), [False, True])
    wait_full(t)


@case(timeout=400, vm=True, only=COR)
def test_killed(t):
    """A waiting VM or a keeper that was killed is passed over; one in use is a VM that died."""
    store = use(t)
    with t.step("the keeper of a waiting VM"):
        keeper = waiting(t)[0]["keeper"]
        vm = kept(keeper)
        os.kill(keeper, signal.SIGKILL)
        t.wait(lambda: is_gone(vm), "its VM's end")
        t.eq(waiting(t), [])
        t.eq(run(t, "echo fine"), ("fine\n", False))
    with t.step("a waiting VM"):
        wait_full(t)
        keeper = waiting(t)[0]["keeper"]
        os.kill(kept(keeper), signal.SIGKILL)
        t.wait(lambda: is_gone(keeper), "its keeper's end")
        t.eq(waiting(t), [])
        t.eq([p.name for p in store.glob("*/pool/*") if p.name != "lock"], [])
        t.eq(run(t, "echo fine"), ("fine\n", False))
    with t.step("a waiting VM that hangs: another is started"):
        wait_full(t)
        os.kill(kept(waiting(t)[0]["keeper"]), signal.SIGSTOP)
        t.eq(run(t, "echo fine")[0], "fine\n")
    with t.step("the keeper of one in use"):
        c, vm, keeper = up(t)
        os.kill(keeper, signal.SIGKILL)
        t.eq(c.wait(), 137)
        t.true(is_gone(vm), "the VM is gone")
        t.rt("delete", c.id)
    with t.step("a VM in use"):
        c, vm, keeper = up(t)
        os.kill(vm, signal.SIGKILL)
        t.eq(c.wait(), 137)
        t.rt("delete", c.id)
        t.wait(lambda: is_gone(keeper), "the keeper's end")
    with t.step("the monitor of one in use"):
        c, vm, keeper = up(t)
        os.kill(c.pid, signal.SIGKILL)
        t.wait(lambda: is_gone(vm) and is_gone(keeper), "the end of VM and keeper")
        t.wait(lambda: t.rt("state", c.id).json()["status"] == "stopped", "stopped")
        t.rt("delete", c.id)


@case(timeout=600, vm=True, only=COR)
def test_kill_at_marks(t):
    """Killed at the marks of a start in a VM that waited: nothing of the container is left, the next one is fine."""
    use(t)

    def others():
        keepers = [x["keeper"] for x in waiting(t)] + filling()
        return set(keepers + [p for k in keepers for p in leak.descendants(k)])

    for mark in ("spawned", "vm-taken", "agent-ready", "created", "running"):
        for victim in phases.VICTIMS:
            with t.step(f"{victim} at {mark}"):
                t.wait(lambda: not filling(), "the end of a fill")
                t.rt("pool", "fill")  # a create that was killed leaves that to the next one
                phases.cut(t, mark, victim, others)
    with t.step("and another"):
        t.rt("pool", "fill")
        t.eq(run(t, "echo fine"), ("fine\n", True))


@case(timeout=400, vm=True, only=COR)
def test_end(t):
    """They end with drain, with their template, and with pool = 0; nothing stays."""
    store = use(t, 2)
    with t.step("as many as asked for"):
        t.eq(len(waiting(t)), 2)
        keepers = [x["keeper"] for x in waiting(t)]
        t.eq(len(set(keepers)), 2)
        for k in keepers:
            with open(f"/proc/{k}/cgroup") as f:
                t.has(f.read(), "/cor-pool")
    with t.step("drain"):
        vms = [v for k in keepers for v in leak.descendants(k)]
        t.eq(len({kept(k) for k in keepers}), 2)
        t.rt("pool", "drain")
        t.wait(lambda: all(is_gone(p) for p in keepers + vms), "the end of all")
        t.eq(waiting(t), [])
        t.eq(list(store.glob("*/pool")), [])
        t.true(not (store.parent / ".pool").exists(), "no mount points")
    with t.step("the template goes"):
        t.rt("pool", "fill", timeout=100, globals_=["--set", "pool=1"])
        keeper = waiting(t)[0]["keeper"]
        t.rt("template", "rm", waiting(t)[0]["template"])
        t.wait(lambda: is_gone(keeper), "the keeper's end")
    with t.step("pool = 0"):
        t.rt("pool", "fill", timeout=200, globals_=["--set", "pool=1"])
        keeper = waiting(t)[0]["keeper"]
        run(t, "true", globals_=["--set", "pool=0"])
        t.wait(lambda: is_gone(keeper), "the keeper's end")
        t.wait(lambda: not filling(), "the drain")
    with t.step("fill without a number"):
        r = t.rt("pool", "fill", globals_=["--set", "pool=0"], check=1)
        t.has(r.err, "pool = N")
