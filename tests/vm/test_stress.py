"""Many at once, two shapes at once, makers of templates that fail, and a short soak: nothing fails, nothing is left.
The long soak is ./bench soak."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import bundle
import leak
from harness import LIMIT, LOWEST_S, case
from watch import Watch

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import launcher  # noqa: E402
import runtimes  # noqa: E402
import soak  # noqa: E402

COR = ("cor",)
MANY = 50
CYCLES = 20
CLONE_MIB, RESERVE_MIB = 60, 1024


def use(t, where=None):
    """Templates of this test's own; returns the store's directory."""
    where = where or t.path("templates")
    t.rt.globals = t.rt.globals + ["--set", "template=on", "--set", "pool=0", "--set", f"template.dir={where}"]
    t.rt.only_with_templates()
    return where / "default"


def watched(t, store):
    """A watch on the store, which is made for it: a maker may be quicker than any look at what it makes."""
    store.parent.mkdir(mode=0o700, exist_ok=True)
    store.mkdir(mode=0o700)
    return Watch(t, store)


def listed(t):
    return [x["key"] for x in t.rt("template", "--format", "json", "ls").json() if x["state"] == "ok"]


def names(store):
    """What is in the store, but for its own two files."""
    return sorted(p.name for p in store.iterdir() if p.name not in ("lock", "kvm")) if store.exists() else []


def makers(t):
    """Processes that make a template of this test's store."""
    return [p for p in leak.with_token(t.token) if leak.comm(p) == "cor-template"]


def available_mib():
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("MemAvailable")) >> 10


def at_once(t, argvs, timeout):
    """Starts them together; fails with the first one's words that does not end with 0."""
    running = []
    for i, (argv, out) in enumerate(argvs):
        with open(out, "ab") as f:
            running.append(t.spawn(argv, stdout=f, stderr=f))
    for child, (argv, out) in zip(running, argvs):
        try:
            code = child.wait(timeout * LIMIT)
        except subprocess.TimeoutExpired:
            t.fail(f"no end after {timeout * LIMIT:.0f} s: {argv}")
        t.eq(code, 0, f"exit code of {argv}; {out.read_text()}")


@case(timeout=400, vm=True, only=COR)
def test_fifty_at_once(t):
    """Fifty creates at once, fifty starts at once, each with its own output, then fifty deletes."""
    if available_mib() < MANY * CLONE_MIB + RESERVE_MIB:
        t.skip(f"{MANY} clones need {MANY * CLONE_MIB + RESERVE_MIB} MiB; {available_mib()} MiB are available")
    use(t)
    t.rt.make_template()
    root = bundle.make_rootfs(t.path("root"))
    all_ = []
    for i in range(MANY):
        conf = bundle.config(f"echo number {i}; exec sleep 1000")
        conf["root"]["path"] = str(root)
        all_.append(t.rt.container(conf, rootfs=False))
    with t.step("create"):
        at_once(t, [(t.rt.argv("create", "--bundle", c.bundle, "--pid-file", c.pid_file, c.id), c.out_path) for c in all_], 300)
        t.eq({s["status"] for s in t.rt.list_json()}, {"created"})
        t.eq(len(listed(t)), 1, "templates")
    with t.step("every one is a clone"):
        vmms = [leak.cmdline(p) for p in leak.descendants(os.getpid()) if leak.is_vmm(p)]
        t.eq(sum("-incoming" in v or "--restore" in v for v in vmms), MANY)
    with t.step("start"):
        at_once(t, [(t.rt.argv("start", c.id), t.path(f"{c.id}.start")) for c in all_], 100)
    with t.step("output"):
        for i, c in enumerate(all_):
            c.wait_out(f"number {i}\n", timeout=60)
    with t.step("kill and delete"):
        for c in all_:
            c.pid = c.read_pid()
        at_once(t, [(t.rt.argv("kill", c.id, "KILL"), t.path(f"{c.id}.kill")) for c in all_], 100)
        for c in all_:
            t.eq(c.wait(), 137, c.id)
        at_once(t, [(t.rt.argv("delete", c.id), t.path(f"{c.id}.delete")) for c in all_], 100)
        t.eq(t.rt.states(), [])


@case(timeout=300, vm=True, only=COR)
def test_two_shapes_at_once(t):
    """Two sizes that nobody had before, wanted at the same time: both boot, and both have a template in the end."""
    use(t)

    def both():
        cs = []
        for mib in (192, 256):
            conf = bundle.config("awk '/MemTotal/ {print $2}' /proc/meminfo")
            conf["linux"]["resources"] = {"memory": {"limit": mib << 20}}
            cs.append(t.rt.container(conf))
        timings = [t.path(c.id + ".json") for c in cs]
        at_once(t, [(t.rt.argv("run", "--timing-json", p, "--bundle", c.bundle, c.id), c.out_path) for c, p in zip(cs, timings)], 100)
        sizes = [int(c.out_path.read_text().split()[-1]) >> 10 for c in cs]
        t.true(sizes[1] - sizes[0] in range(55, 70), f"sizes {sizes} MiB")
        return ['"cloned"' in p.read_text() for p in timings]

    t.eq(both(), [False, False], "clones")
    t.wait(lambda: listed(t) and not makers(t), "a template of one of them", timeout=LOWEST_S)
    first = both()  # a maker that finds another at work leaves it to the next container
    t.true(any(first), f"clones {first}")
    t.wait(lambda: len(listed(t)) == 2, "templates of both", timeout=LOWEST_S)
    t.eq(both(), [True, True], "clones")


@case(timeout=300, vm=True, only=COR)
def test_maker_without_space(t):
    """A file system too small for a template: the container runs, nothing stays, and `template make` says why."""
    where = t.path("small")
    where.mkdir()
    t.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", where], check=0)
    t.cleanup(lambda: subprocess.run(["umount", "-l", str(where)], check=False))
    store = use(t, where)
    made = watched(t, store)
    with t.step("the container goes on"):
        c = t.rt.container(bundle.config("echo up; exec sleep 1000")).up(timeout=120)
        made.wait("*.tmp.*", "a template in the making", timeout=LOWEST_S)
        t.wait(lambda: not makers(t), "the maker's end", timeout=LOWEST_S)
        t.eq(names(store), [], "what is left")
        t.eq(c.sh("echo still here"), "still here\n")
        c.finish()
    with t.step("make fails"):
        r = t.rt("template", "make", check=1, timeout=150)
        t.has(r.err, "template.dir", "no space")
        t.eq(names(store), [], "what is left")
    t.run(["umount", where], check=0)


def limited(t, mib):
    """A memory cgroup of the test's own, v1 or v2: its cgroup.procs."""
    for top, limit, swap in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
                             ("/sys/fs/cgroup", "memory.max", "memory.swap.max")):
        path = pathlib.Path(top) / t.fresh("limit")
        try:
            path.mkdir()
        except OSError:
            continue
        t.cleanup(lambda: path.exists() and path.rmdir())
        if (path / limit).exists():
            (path / limit).write_text(str(mib << 20))
            if (path / swap).exists():
                (path / swap).write_text(str(mib << 20) if "memsw" in swap else "0")
            return path / "cgroup.procs"
        path.rmdir()
    return t.skip("no cgroup with a memory controller can be made here")


@case(timeout=300, vm=True, only=COR)
def test_maker_without_memory(t):
    """A caller whose cgroup has no room for a second VM: the maker's is killed by the kernel, the container's lives in a
    cgroup of its own and goes on."""
    store = use(t)
    made = watched(t, store)
    procs = limited(t, 12)  # less than QEMU takes for itself: with a little more it only gets slow
    c = t.rt.container(bundle.config("echo up; exec sleep 1000"))
    argv = t.rt.argv("run", "--detach", "--bundle", c.bundle, "--pid-file", c.pid_file, c.id)
    with open(c.out_path, "ab") as out:
        child = t.spawn(["sh", "-c", 'echo $$ >"$0"; exec "$@"', procs, *argv], stdout=out, stderr=out)
        t.eq(child.wait(100 * LIMIT), 0, f"exit code of run; {c.out_path.read_text()}")
    c.pid = c.read_pid()
    made.wait("*.tmp.*", "a template in the making", timeout=LOWEST_S)
    t.wait(lambda: not makers(t), "the maker's end", timeout=LOWEST_S)
    t.eq(listed(t), [], "templates")
    t.eq(names(store), [], "what is left")
    t.eq(c.sh("echo still here"), "still here\n")
    c.finish()


@case(timeout=300, vm=True, only=COR)
def test_maker_killed_beside(t):
    """kill -9 for the maker beside a container: its VM goes with it, the container stays, the next one makes a template
    and removes what the dead one left."""
    store = use(t)
    made = watched(t, store)
    c = t.rt.container(bundle.config("echo up; exec sleep 1000")).up(timeout=120)
    place = store / made.wait("*.tmp.*", "a template in the making", timeout=LOWEST_S)
    vmms = t.wait(lambda: [p for m in makers(t) for p in leak.descendants(m) if leak.is_vmm(p)], "the maker's VM", timeout=LOWEST_S)
    maker = makers(t)
    for p in vmms:
        os.kill(p, signal.SIGSTOP)  # it can't be through before the maker is killed
    t.true((place / "memory").exists(), "it is at work")
    for p in maker:
        with contextlib.suppress(ProcessLookupError):  # one of its children that has ended
            os.kill(p, signal.SIGKILL)
    t.wait(lambda: not [p for p in vmms if leak.is_vmm(p)], "the end of the maker's VM")
    t.eq(c.sh("echo still here"), "still here\n")
    t.eq(listed(t), [], "templates")
    c.finish()
    c = t.rt.container(bundle.config("true"))
    t.eq(c.run(timeout=120).code, 0)
    t.wait(lambda: len(listed(t)) == 1, "a template", timeout=LOWEST_S)
    t.wait(lambda: not makers(t), "the maker's end", timeout=LOWEST_S)
    t.eq(names(store), listed(t), "what is left")


@case(timeout=400, vm=True, only=COR)
def test_short_soak(t):
    """Containers one after the other, a session in a resident one beside each: nothing is left."""
    store = use(t)
    t.rt.make_template()
    c = runtimes.Contender("cor", t.rt.path, t.rt.globals)
    c.root = t.rt.root
    c.launcher = launcher.Launcher(t.path("soak.err"))
    t.cleanup(c.close)
    root = bundle.make_rootfs(t.path("root"))

    def make(args):
        name = t.fresh("b")
        conf = bundle.config(args)
        conf["root"]["path"], conf["linux"]["cgroupsPath"] = str(root), "/" + name
        return bundle.make(t.path(name), conf, rootfs=False)

    with soak.Soak(c, make, t.token, {"state": c.root, "templates": store, "test": t.dir / "root"}) as s:
        t.eq(s.run(CYCLES, lambda _: None), [], "left behind")
    t.eq(t.rt.states(), [])
