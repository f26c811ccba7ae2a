"""Waiting VMs: each given away once, as private and as exactly sized as any, and nothing left of them."""

import contextlib
import fcntl
import json
import os
import signal
import time

import builds
import bundle
import idmap
import leak
import phases
from harness import LOWEST_S, case

COR = ("cor",)
RANDOM = ("cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; "
          "head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n'; echo; probe random")


def use(t, n=1, **more):
    """A pool of this test's own: filled now, drained at the end."""
    where = t.path("templates")
    more = {"template": "on", "template.dir": where, "pool": n, **more}
    t.rt.globals = t.rt.globals + [w for k, v in more.items() for w in ("--set", f"{k}={v}")]
    t.rt.only_with_templates()
    t.rt("pool", "fill", timeout=200)
    t.cleanup(lambda: drain(t))
    if builds.ROOT == "image" and not run(t, "true")[1]:
        t.skip("COR_TEST_ROOT=image: a container whose root is an image takes no VM that waits (tried)")
    return where / "default"


def drain(t):
    """Until nothing of this pool is left: whoever still is to fill it may do it behind a drain, and may be missed by one
    look at the processes."""

    def drained():
        if not settled():
            return False
        t.rt("pool", "drain", timeout=30)
        return not [p for p in leak.with_token(t.token) if leak.comm(p) == "cor-monitor"]

    t.wait(drained, "the end of templates and pools in the making", timeout=LOWEST_S)


def filling():
    return [p for p in leak.descendants(os.getpid()) if leak.comm(p) == "cor-template"]


def settled():
    """Nobody is left who could fill a pool later: at first he looks like the create that he is a child of."""
    return not [p for p in leak.descendants(os.getpid()) if leak.comm(p) in ("cor", "cor-template")]


@contextlib.contextmanager
def unfilled(store):
    """Nobody fills the pool meanwhile: who finds its lock taken leaves it to the next one."""
    with open(next(store.glob("*/pool/lock")), "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def waiting(t):
    return t.rt("pool", "--json", "ls").json()


def wait_full(t, n=1):
    t.wait(lambda: len(waiting(t)) == n and settled(), f"{n} waiting VMs", timeout=LOWEST_S)


def run(t, script, conf=None, probe=False, **kw):
    """Runs a script in a container; returns (what it wrote, had its VM waited)."""
    c = t.rt.container(conf or bundle.config(script))
    if probe:
        bundle.add_probe(c.rootfs, t.opts.probe)
    timing = t.path(c.id + ".json")
    r = c.run("--timing-json", timing, timeout=120, **kw)
    t.eq(r.code, 0, f"exit code of {script!r}; {r.err}")
    return r.out, was_waiting(timing)


def was_waiting(timing):
    return "vm-taken" in [p["mark"] for p in json.loads(timing.read_text())]


def vm_of(t, c):
    return int((t.rt.root / c.id / "vm").read_text().split()[0])


def kept(keeper):
    """The VM's process, of one that waits: copies of it are younger."""
    born = {p: leak.stat_fields(p) for p in leak.descendants(keeper) if leak.comm(p) != "cor-fsd"}
    return min((p for p in born if born[p]), key=lambda p: born[p][2])


def up(t, script="echo up; exec sleep 1000"):
    """A running container whose VM had waited."""
    wait_full(t)
    before = [x["keeper"] for x in waiting(t)]
    c = t.rt.container(bundle.config(script)).up()
    c.wait_out("up")
    vm = vm_of(t, c)
    t.true(leak.stat_fields(vm)[1] in before, "its VM is the child of one that waited")
    return c, vm, leak.stat_fields(vm)[1]


def of_tasks(pid, func):
    """What func says of its threads; those of QEMU's that only wait for files come and go."""
    found = set()
    for tid in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            found.add(func(int(tid)))
    return found


def is_gone(pid):
    leak.reap()
    st = leak.stat_fields(pid)
    return st is None or st[0] == "Z"


def as_callers(t, vm):
    t.eq(of_tasks(vm, lambda tid: os.getpriority(os.PRIO_PROCESS, tid)), {os.getpriority(os.PRIO_PROCESS, 0)})
    t.eq(of_tasks(vm, lambda tid: frozenset(os.sched_getaffinity(tid))), {frozenset(os.sched_getaffinity(0))})


@case(timeout=400, vm=True, only=COR)
def test_own_machine(t):
    """Two that waited share no random number; clock, name and size are what was asked for; the pool fills again."""
    use(t)
    seen = []
    with t.step("random numbers, boot_id, uuid"):
        for _ in range(2):
            wait_full(t)
            out, waited = run(t, RANDOM, probe=True)
            t.true(waited, "its VM had waited")
            seen += out.split()
        t.eq(len(seen), 10)
        t.eq(len(set(seen)), 10, "different words")
    with t.step("clock, hostname, processes"):
        wait_full(t)
        conf = bundle.config("date +%s; hostname; nproc; ls -d /proc/[0-9]* | wc -l; ls /; cat /proc/self/cgroup")
        conf["hostname"] = "other"
        conf["process"]["cwd"] = "/tmp"
        before = int(time.time())
        out, waited = run(t, "", conf)
        words = out.split("\n")
        t.true(waited, "its VM had waited")
        t.true(before <= int(words[0]) <= time.time(), f"date {words[0]}")
        t.eq(words[1:3], ["other", "1"])
        t.true(int(words[3]) <= 4, f"{words[3]} processes")
        t.true("rehearsal" not in out, "no trace of the rehearsal")
        t.has(out, "0::/")
    with t.step("another size is none of this pool"):
        conf = bundle.config("awk '/MemTotal/ {print $2}' /proc/meminfo")
        conf["linux"]["resources"] = {"memory": {"limit": 256 << 20}}
        out, waited = run(t, "", conf)
        t.true(not waited and int(out) < 400000, out)
        t.wait(lambda: not filling(), "its template", timeout=LOWEST_S)


@case(timeout=300, vm=True, only=COR)
def test_idmapped(t):
    """ID-mapped binds in a VM that had waited, whose file server was there before anybody knew of them."""
    if not json.loads(t.rt("features").out)["linux"]["mountExtensions"]["idmap"]["enabled"]:
        t.skip("files by QEMU's 9p: no ID-mapped mounts")
    src = idmap.place(t) / "src"
    src.mkdir()
    (src / "f").write_text("x\n")
    for path in (src, src / "f"):
        os.chown(path, 7, 8)
    idmap.open_to_all(src)
    use(t)
    wait_full(t)
    conf = bundle.config("stat -c %u:%g /a/f /b/f /c/f; chown 1009:2009 /a/f; touch /b/new")
    for at, *options in (("/a", "idmap=uids=0-1000-100;gids=0-2000-100"), ("/b", "idmap=uids=7-0-1;gids=8-0-1"), ("/c",)):
        bundle.bind(conf, src, at, *options)
    out, waited = run(t, "", conf)
    t.true(waited, "its VM had waited")
    t.eq(out.split(), ["1007:2008", "0:0", "7:8"])
    t.eq([(os.stat(src / n).st_uid, os.stat(src / n).st_gid) for n in ("f", "new")], [(9, 9), (7, 8)])


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
        as_callers(t, vm)
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
    store = use(t)
    both = [t.rt.container(bundle.config(f"echo {i}")) for i in range(2)]
    timings = [t.path(f"both{i}.json") for i in range(2)]
    files = [open(t.path(f"both{i}.out"), "w+b") for i in range(2)]
    with unfilled(store):  # or the slower one may find the VM that the quicker one left to be made
        kids = [t.spawn(t.rt.argv("run", "--timing-json", p, "--bundle", c.bundle, c.id), stdout=f)
                for c, p, f in zip(both, timings, files)]
        for i, k in enumerate(kids):
            t.eq(t.end_of(k, timeout=120), 0)
            files[i].seek(0)
            t.eq(files[i].read().decode(), f"{i}\n")
        t.eq(sorted(was_waiting(p) for p in timings), [False, True])
        t.wait(settled, "the end of those who would fill it", timeout=LOWEST_S)
    t.eq(run(t, "echo fine"), ("fine\n", False))
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
        t.wait(lambda: is_gone(vm), "the VM's end")
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
        fill = [p for f in filling() for p in [f, *leak.descendants(f)]]  # first: whose filler has just ended, waits
        keepers = [x["keeper"] for x in waiting(t)]
        return set(fill + keepers + [p for k in keepers for p in leak.descendants(k)])

    killed = 0
    for mark in ("spawned", "vm-taken", "agent-ready", "created", "running"):
        for victim in phases.VICTIMS:
            with t.step(f"{victim} at {mark}"):
                t.wait(lambda: not filling(), "the end of a fill", timeout=LOWEST_S)
                t.rt("pool", "fill")  # a create that was killed leaves that to the next one
                n = phases.cut(t, mark, victim, others)
                killed += n if victim == "vmm" else 0
    t.true(killed, "no VM was there to be killed")
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
        t.wait(lambda: not filling(), "the drain", timeout=LOWEST_S)
    with t.step("fill without a number"):
        r = t.rt("pool", "fill", globals_=["--set", "pool=0"], check=1)
        t.has(r.err, "pool = N")


def use_copies(t, **more):
    """One VM waits, and containers get copies of it: (its keeper, the VM). Skips the test where VMs are not emulated ones."""
    use(t, **{"pool.fork": "on", **more})
    keeper, vm = waiting_pair(t)
    if "anon_inode:kvm-vm" in open_files(vm):
        t.skip(f"copies (pool.fork) are of an emulated QEMU; the VM that waits here is {leak.comm(vm)} with KVM")
    return keeper, vm


def open_files(pid):
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed just now
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


def waiting_pair(t):
    x = waiting(t)
    t.eq(len(x), 1, "waiting VMs")
    return x[0]["keeper"], kept(x[0]["keeper"])


def copy_up(t, keeper, conf=None):
    """A running container in a copy: (container, its VM)."""
    c = t.rt.container(conf or bundle.config("echo up; exec sleep 1000")).up()
    c.wait_out("up")
    vm = vm_of(t, c)
    t.eq(leak.stat_fields(vm)[1], keeper, "parent of its VM")
    return c, vm


def status(pid, field):
    with open(f"/proc/{pid}/status") as f:
        return next(line.split()[1] for line in f if line.startswith(field + ":"))


@case(timeout=400, vm=True, only=COR)
def test_copies(t):
    """Copies of one VM that waits: each a machine of its own, in all that tells machines apart; the VM stays."""
    pair = use_copies(t)
    seen, n = [], 4
    with t.step("random numbers, boot_id, uuid, the processor's own"):
        for _ in range(n):
            out, waited = run(t, RANDOM + "; probe rdrand; probe rdrand", probe=True)
            t.true(waited, "its VM had waited")
            seen += out.split()
        t.eq(len(seen), 7 * n)
        t.eq(len(set(seen)), 7 * n, "different words")
    with t.step("clock, hostname, processes"):
        conf = bundle.config("date +%s; hostname; nproc; ls -d /proc/[0-9]* | wc -l; ls /")
        conf["hostname"] = "other"
        before = int(time.time())
        out, waited = run(t, "", conf)
        words = out.split("\n")
        t.true(waited and before <= int(words[0]) <= time.time(), f"date {words[0]}")
        t.eq(words[1:3], ["other", "1"])
        t.true(int(words[3]) <= 4 and "rehearsal" not in out, out)
    with t.step("20 at once"):
        all_ = [t.rt.container(bundle.config(f"cat /name; echo {i}")) for i in range(20)]
        files = [open(t.path(f"at-once{i}"), "w+b") for i in range(20)]
        for i, c in enumerate(all_):
            (c.rootfs / "name").write_text(f"root {i}\n")
        kids = [t.spawn(t.rt.argv("run", "--timing-json", t.path(f"t{i}"), "--bundle", c.bundle, c.id), stdout=f)
                for i, (c, f) in enumerate(zip(all_, files))]
        for i, k in enumerate(kids):
            t.eq(t.end_of(k, timeout=120), 0)
            files[i].seek(0)
            t.eq(files[i].read().decode(), f"root {i}\n{i}\n")
            t.true(was_waiting(t.path(f"t{i}")), "its VM had waited")
    t.eq(waiting_pair(t), pair, "keeper and VM that wait")
    t.wait(lambda: leak.descendants(pair[0]) == [pair[1]], "the end of all copies, the keeper's children")


@case(timeout=400, vm=True, only=COR)
def test_copy_life(t):
    """exec, terminal, pause, binds, kill, delete in copies, with two vCPUs."""
    keeper, vm = use_copies(t, **{"vm.vcpus": 2})
    data = t.path("data")
    data.mkdir()
    (data / "x").write_text("from the host\n")
    conf = bundle.config("cat /data/x; nproc; echo up; exec sleep 1000")
    conf["mounts"].append({"destination": "/data", "type": "bind", "source": str(data), "options": ["rbind", "rw"]})
    c, copy = copy_up(t, keeper, conf)
    other, other_vm = copy_up(t, keeper)
    t.has(c.out(), "from the host\n2\n")
    with t.step("what QEMU's sandbox forbids"):
        t.eq(int(status(copy, "Seccomp_filters")), int(status(vm, "Seccomp_filters")) + 1)
        t.eq(of_tasks(copy, lambda tid: status(tid, "Seccomp_filters")), {status(copy, "Seccomp_filters")})
    with t.step("nothing of the original's is open in it"):
        t.eq(links(copy) & links(vm), set())
        t.eq(links(copy) & links(other_vm), set())
    with t.step("exec, files"):
        t.eq(c.exec(["sh", "-c", "echo back > /data/y; exit 3"], check=3).out, "")
        t.eq((data / "y").read_text(), "back\n")
        t.eq(other.exec(["ls", "/data"]).out, "")
    with t.step("a terminal"):
        t.has(c.exec(["tty"], "--tty", check=0).out, "/dev/pts/")
    with t.step("the VM is in the container's cgroup; priority and CPUs are the caller's"):
        with open(f"/proc/{copy}/cgroup") as f:
            t.has(f.read(), c.id)
        as_callers(t, copy)
    with t.step("pause, resume"):
        t.rt("pause", c.id)
        t.eq(other.exec(["echo", "other"], check=0).out, "other\n")
        t.rt("resume", c.id)
        t.eq(c.exec(["echo", "again"], check=0).out, "again\n")
    with t.step("kill, delete"):
        for x, pid in ((c, copy), (other, other_vm)):
            t.rt("kill", x.id, "KILL")
            t.eq(x.wait(), 137)
            t.rt("delete", x.id)
            t.wait(lambda p=pid: is_gone(p), "the end of its VM")
    t.eq(waiting_pair(t), (keeper, vm))


def links(pid):
    """What a process has open that is one of a kind: sockets, pipes, directories (inode and name)."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        with contextlib.suppress(FileNotFoundError):  # closed just now
            name = os.readlink(path)
            if name.startswith(("socket:", "pipe:")) or os.path.isdir(path):
                st = os.stat(path)
                found.add((name, st.st_dev, st.st_ino))
            elif name == "anon_inode:[eventfd]":
                with open(f"/proc/{pid}/fdinfo/{fd}") as f:
                    found.add(f.read().split("eventfd-id:")[1].split()[0])
    return found


@case(timeout=400, vm=True, only=COR)
def test_copy_killed(t):
    """Whatever of keeper, VM that waits, copy and monitor is killed: the others end or go on as they should."""
    keeper, vm = use_copies(t)
    a, a_vm = copy_up(t, keeper)
    b, b_vm = copy_up(t, keeper)
    with t.step("a copy"):
        os.kill(a_vm, signal.SIGKILL)
        t.eq(a.wait(), 137)
        t.rt("delete", a.id)
    with t.step("a monitor"):
        a, a_vm = copy_up(t, keeper)
        os.kill(a.pid, signal.SIGKILL)
        t.wait(lambda: is_gone(a_vm), "its VM's end")
        t.wait(lambda: t.rt("state", a.id).json()["status"] == "stopped", "stopped")
        t.rt("delete", a.id)
    t.eq(waiting_pair(t), (keeper, vm))
    with t.step("the VM that waits: copies go on, and their keeper with them"):
        t.wait(settled, "the end of those who would make another", timeout=LOWEST_S)
        os.kill(vm, signal.SIGKILL)
        t.wait(lambda: waiting(t) == [], "nobody waits")
        t.eq(b.exec(["echo", "alive"], check=0).out, "alive\n")
        t.true(not is_gone(keeper), "the keeper")
        t.eq(run(t, "echo fine"), ("fine\n", False))
    with t.step("another one waits then; drained, copies go on"):
        wait_full(t)
        second, second_vm = waiting_pair(t)
        a, a_vm = copy_up(t, second)
        t.rt("pool", "drain")
        t.wait(lambda: is_gone(second_vm), "the VM that waited")
        t.eq(a.exec(["echo", "alive"], check=0).out, "alive\n")
        t.eq(leak.stat_fields(a_vm)[1], second)
        for x, k in ((a, second), (b, keeper)):
            t.rt("delete", "--force", x.id)
            t.wait(lambda k=k: is_gone(k), "its keeper's end")
    with t.step("the keeper: all of its VMs end"):
        t.rt("pool", "fill", timeout=100)
        keeper, vm = waiting_pair(t)
        both = [copy_up(t, keeper) for _ in range(2)]
        os.kill(keeper, signal.SIGKILL)
        t.eq([c.wait() for c, _ in both], [137, 137])
        t.wait(lambda: all(is_gone(p) for p in [vm, *(p for _, p in both)]), "the end of all")
        for c, _ in both:
            t.rt("delete", c.id)
    with t.step("a VM that hangs: the container gets a clone, and nobody waits for it again"):
        t.rt("pool", "fill", timeout=100)
        keeper, vm = waiting_pair(t)
        os.kill(vm, signal.SIGSTOP)
        t.eq(run(t, "echo fine"), ("fine\n", False))
        t.wait(lambda: is_gone(keeper) and is_gone(vm), "their end")


@case(timeout=400, vm=True, only=COR)
def test_copy_refused(t):
    """A VM with something open that can't be copied is given away itself, and the log says why."""
    log = t.path("odd")
    keeper, vm = use_copies(t, **{"qemu.params": f"-chardev file,id=odd,path={log}"})
    t.true(str(log) in open_files(vm), "it is open")
    c, its_vm = copy_up(t, keeper)
    t.eq(its_vm, vm, "its VM")
    t.has(c.log.read_text(), "can't be copied: Not supported; the one that waited was taken itself")
    t.rt("delete", "--force", c.id)
    t.wait(lambda: is_gone(keeper), "the keeper's end")


@case(timeout=600, vm=True, only=COR)
def test_copy_kill_at_marks(t):
    """Killed at the marks of a start in a copy: nothing of the container is left, the next one is fine."""
    use_copies(t)

    def others():
        fill = [p for f in filling() for p in [f, *leak.descendants(f)]]  # first: whose filler has just ended, waits
        keepers = [x["keeper"] for x in waiting(t)]
        return set(fill + keepers + [kept(k) for k in keepers])

    for mark in ("spawned", "vm-taken", "created"):
        for victim in phases.VICTIMS:
            with t.step(f"{victim} at {mark}"):
                t.wait(lambda: not filling(), "the end of a fill", timeout=LOWEST_S)
                t.rt("pool", "fill", timeout=100)
                phases.cut(t, mark, victim, others)
    with t.step("and another"):
        t.rt("pool", "fill", timeout=100)
        t.eq(run(t, "echo fine"), ("fine\n", True))
