"""Templates and clones: each clone its own machine, bad templates noticed, nothing left of a killed maker."""

import os
import signal
import time

import bundle
import leak
from harness import LOWEST_S, case

COR = ("cor",)
IDENTITY = ("cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; "
            "head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n'; echo; probe random")


def use(t, **settings):
    """Templates of this test's own."""
    where = t.path("templates")
    more = {"template": "on", "pool": 0, "template.dir": where, **{k.replace("__", "."): v for k, v in settings.items()}}
    t.rt.globals = t.rt.globals + [w for k, v in more.items() for w in ("--set", f"{k}={v}")]
    t.rt.only_with_templates()
    return where / "default"


def listed(t):
    return t.rt("template", "--format", "json", "ls").json()


def make(t, *flags, **kw):
    t.rt.make_template(*flags, **kw)


def run(t, script, conf=None, probe=False, **kw):
    """Runs a script in a container; returns (what it wrote, was it a clone)."""
    conf = conf or bundle.config(script)
    c = t.rt.container(conf)
    if probe:
        bundle.add_probe(c.rootfs, t.opts.probe)
    timing = t.path(c.id + ".json")
    r = c.run("--timing-json", timing, timeout=120, **kw)
    t.eq(r.code, 0, f"exit code of {script!r}; {r.err}")
    return r.out, '"cloned"' in timing.read_text()


def wait_made(t, n=1):
    t.wait(lambda: len([x for x in listed(t) if x["state"] == "ok"]) == n, f"{n} templates", timeout=LOWEST_S)


@case(timeout=300, vm=True, only=COR)
def test_own_machine(t):
    """Two clones of one template share no random number and no clock error."""
    use(t)
    make(t, probe=True)
    seen = []
    with t.step("random numbers, boot_id, uuid"):
        for _ in range(2):
            out, cloned = run(t, IDENTITY, probe=True)
            t.true(cloned, "it is a clone")
            seen += out.split()
        t.eq(len(seen), 10)
        t.eq(len(set(seen)), 10, "different words")
    with t.step("date"):
        before = time.time()
        out, cloned = run(t, "date +%s", probe=True)
        t.true(cloned, "it is a clone")
        t.true(int(before) <= int(out) <= time.time(), f"{before} <= {out} <= {time.time()}")
    with t.step("time passes as fast as outside"):
        begin = time.monotonic()
        out, _ = run(t, "cut -d' ' -f1 /proc/uptime; sleep 3; cut -d' ' -f1 /proc/uptime", probe=True)
        a, b = (float(x) for x in out.split())
        t.true(2.9 < b - a < time.monotonic() - begin + 0.1, f"{b - a:.2f} s in the guest for sleep 3")
    with t.step("hostname"):
        conf = bundle.config("hostname")
        conf["hostname"] = "other"
        out, cloned = run(t, "", conf, probe=True)
        t.eq((out.strip(), cloned), ("other", True))


@case(timeout=200, vm=True, only=COR)
def test_generation_id(t):
    """With QEMU's vmgenid, which takes SeaBIOS, a clone's kernel notices by itself that it is one."""
    use(t, hypervisor="qemu", qemu__params="-bios bios-256k.bin -device vmgenid,guid=auto")
    make(t)
    conf = bundle.config("dmesg")
    for caps in conf["process"]["capabilities"].values():
        caps.append("CAP_SYSLOG")
    out, cloned = run(t, "", conf)
    t.true(cloned, "it is a clone")
    t.has(out, "reseeded due to virtual machine fork")


@case(timeout=300, vm=True, only=COR)
def test_sizes(t):
    """Memory and CPUs asked for are what the container has; each size has a template."""
    use(t)
    conf = bundle.config("nproc; awk '/MemTotal/ {print $2}' /proc/meminfo")
    conf["linux"]["resources"] = {"memory": {"limit": 256 << 20}, "cpu": {"quota": 200000, "period": 100000}}
    first, cloned = run(t, "", conf)
    t.true(not cloned, "the first of its size boots")
    wait_made(t)
    second, cloned = run(t, "", conf)
    t.true(cloned, "the second is a clone")
    t.eq(second.split()[0], str(min(2, len(os.sched_getaffinity(0)))), "CPUs")
    t.true(abs(int(first.split()[1]) - int(second.split()[1])) < 1024, f"memory {first!r} {second!r}")
    # what was asked for, and at most vm.memory_overhead more for the guest's kernel and agent
    t.true(256 << 10 <= int(second.split()[1]) <= 352 << 10, f"memory {second!r}, asked for 256 MiB")
    _, cloned = run(t, "true")
    t.true(not cloned, "another size is no clone of it")
    wait_made(t, 2)  # nothing works on when the test ends


@case(timeout=300, vm=True, only=COR)
def test_bad_templates(t):
    """What was changed, cut, exchanged or is of another boot is removed and made anew, and never run."""
    store = use(t)
    make(t)

    def the():
        return next(d for d in store.iterdir() if len(d.name) == 64)

    def write(name, at, data):
        p = the() / name
        with open(p, "r+b") as f:
            f.seek(at)
            f.write(data)

    def cut(name):
        os.truncate(the() / name, (the() / name).stat().st_size - 4096)

    def other_boot():
        p = the() / "manifest"
        p.write_text("".join("boot 0-0\n" if x.startswith("boot ") else x for x in p.read_text().splitlines(True)))

    def foreign():
        os.rename(the(), store / ("0" * 64))
        os.symlink("0" * 64, store / listed_key)

    def writable():
        os.chmod(the() / "memory", 0o666)

    def lost():
        os.unlink(the() / "state")

    spoil = {
        "memory changed": lambda: write("memory", 1 << 20, b"x"),
        "state changed": lambda: write("state", 5000, b"xxxx"),
        "memory cut": lambda: cut("memory"),
        "state cut": lambda: cut("state"),
        "manifest is garbage": lambda: write("manifest", 0, b"\0\xff{}"),
        "of another boot": other_boot,
        "a link to another": foreign,
        "others may write it": writable,
        "a file is missing": lost,
    }
    for name, how in spoil.items():
        with t.step(name):
            make(t)
            listed_key = the().name
            how()
            out, cloned = run(t, "echo fine")
            t.eq((out, cloned), ("fine\n", False))
            wait_made(t)
    with t.step("QEMU refuses the state: booted instead, dropped"):
        write("state", 0, b"garbage!")
        changed = (the() / "state").stat().st_mtime_ns
        p = the() / "manifest"
        p.write_text("".join(f"state-changed {changed}\n" if x.startswith("state-changed") else x
                             for x in p.read_text().splitlines(True)))
        t.eq(listed(t)[0]["state"], "ok")
        out, cloned = run(t, "echo fine")
        t.eq((out, cloned), ("fine\n", False))
        t.eq(listed(t), [])
    with t.step("a directory that others can write to is refused"):
        make(t)
        os.chmod(store, 0o777)
        r = t.rt("template", "ls", check=1)
        t.has(r.err, "template.dir", "chmod")
        os.chmod(store, 0o700)


@case(timeout=300, vm=True, only=COR)
def test_killed_maker(t):
    """kill -9 while a template is made: no process stays, and the next maker cleans up."""
    store = use(t)
    child = t.spawn(t.rt.argv("template", "make"))
    vmms = t.wait(lambda: [p for p in leak.descendants(child.pid) if leak.is_vmm(p)], "a VM that is to be a template")
    t.eq(len(vmms), 1, "VMs")
    os.kill(vmms[0], signal.SIGSTOP)  # it can't be through before the maker is killed
    t.eq(len(list(store.glob("*.tmp.*/memory"))), 1, "its memory in the store")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    t.wait(lambda: not leak.is_vmm(vmms[0]), "the VM's end")
    t.eq(listed(t), [], "nothing half-made is listed")
    t.rt("template", "gc")
    t.eq([p.name for p in store.iterdir() if p.name != "kvm"], ["lock"], "what is left")


@case(timeout=300, vm=True, only=COR)
def test_store(t):
    """ls, rm by a beginning of the key, the size limit drops the longest unused, off is off."""
    store = use(t)
    make(t)
    first, size = (listed(t)[0][k] for k in ("key", "disk"))
    with t.step("made once"):
        made = (store / first / "manifest").stat().st_ino
        make(t)
        t.eq((store / first / "manifest").stat().st_ino, made)
    with t.step("limit"):
        make(t, "--set", "vm.memory=256M", "--set", f"template.max_size={size * 5 // 4}")
        keys = [x["key"] for x in listed(t)]
        t.eq(len(keys), 1)
        t.true(keys[0] != first, "the older one is gone")
    with t.step("off"):
        t.rt.globals = t.rt.globals + ["--set", "vm.memory=256M"]
        _, cloned = run(t, "true", globals_=["--set", "template=off"])
        t.eq(cloned, False)
    with t.step("domains"):
        t.eq(t.rt("template", "--format", "json", "ls", globals_=["--set", "template.domain=other"]).json(), [])
        r = t.rt("template", "ls", globals_=["--set", "template.domain=../x"], check=1)
        t.has(r.err, "template.domain")
    with t.step("rm"):
        r = t.rt("template", "rm", "", check=1)
        t.has(r.err, "empty key")
        t.eq([x["key"] for x in listed(t)], keys)
        t.rt("template", "rm", keys[0][:12])
        t.eq(listed(t), [])
        r = t.rt("template", "rm", keys[0][:12], check=1)
        t.has(r.err, "no template")
