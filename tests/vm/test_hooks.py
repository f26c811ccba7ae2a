"""Hooks of all kinds: when, where, with which state on stdin, and what a failing one does."""

import json
import os

import bundle
from harness import case

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# Where the state's status is not agreed upon by runtimes and specification, several are right.
STATUS = {
    "prestart": ("creating", "created"),
    "createRuntime": ("creating", "created"),
    "createContainer": ("creating", "created"),
    "startContainer": ("created", "creating"),
    "poststart": ("running", "created"),
    "poststop": ("stopped",),
}


def hook(script, *args, **extra):
    h = {"path": "/bin/sh", "args": ["sh", "-c", script, *map(str, args)], "env": [bundle.PATH, "HOOK=yes"]}
    h.update(extra)
    return h


def write_state(t, kind):
    """A hook that stores its stdin and adds its name to a common list."""
    return hook(f"cat > {t.dir}/state.{kind}; echo {kind} >> {t.dir}/order; env | sort > {t.dir}/env.{kind}; "
                f"readlink /proc/self/ns/net > {t.dir}/net.{kind}; test -e /proc/$PPID && echo ok > {t.dir}/ran.{kind}")


@case(timeout=180, vm=True, quick=True)
def test_all_kinds(t):
    """Order, state and environment of every kind; startContainer runs in the container."""
    conf = bundle.config("echo program > /out/program; sleep 1000")  # beside the poststart hook: not the same file
    bundle.bind(conf, t.dir, "/out")
    conf["hooks"] = {k: [write_state(t, k)] for k in KINDS}
    conf["hooks"]["startContainer"] = [hook("cat > /out/state.startContainer; echo startContainer >> /out/order; "
                                            "hostname > /out/hostname; env | sort > /out/env.startContainer")]
    conf["annotations"] = {"com.example.a": "b"}
    c = t.rt.container(conf)
    c.create()
    order = t.dir / "order"
    with t.step("before create returns"):
        t.only("cor", "crun")  # runc 1.1 runs poststart in create
        t.eq([x for x in order.read_text().split() if x in KINDS], ["prestart", "createRuntime", "createContainer"])
    c.start()
    with t.step("before start returns"):
        t.only("cor")  # crun does not wait for startContainer before poststart
        t.wait(lambda: (t.dir / "program").exists(), "the program's start")
        t.eq(order.read_text().split()[3:], ["startContainer", "poststart"])
    with t.step("startContainer is in the container"):
        t.eq((t.dir / "hostname").read_text(), "cor-test\n")
    c.kill("KILL")
    c.wait()
    c.delete()
    with t.step("poststop at delete"):
        t.eq(order.read_text().split()[-1], "poststop")
    for kind in KINDS:
        with t.step(f"state of {kind}"):
            s = json.loads((t.dir / f"state.{kind}").read_text())
            t.eq(s["id"], c.id)
            if (t.rt.kind, kind) != ("crun", "startContainer"):  # crun says "/"
                t.eq(s["bundle"], str(c.bundle))
            t.true(s["status"] in STATUS[kind] or t.rt.kind == "crun", f"status {s['status']}")
            t.eq(s.get("annotations"), {"com.example.a": "b"})
            if kind in ("prestart", "createRuntime"):
                t.eq(s["pid"], c.pid)
        with t.step(f"environment of {kind}"):
            env = dict(x.split("=", 1) for x in (t.dir / f"env.{kind}").read_text().splitlines())
            t.eq(set(env) - {"PWD", "SHLVL", "_", "OLDPWD", "HOME"}, {"PATH", "HOOK"})
    with t.step("createRuntime is on the host"):
        t.eq((t.dir / "net.createRuntime").read_text().strip(), os.readlink("/proc/self/ns/net"))


@case(timeout=300, vm=True)
def test_failing(t):
    """A hook that fails: an error that says so, nothing left, poststop ran."""
    for kind in ("prestart", "createRuntime", "createContainer"):
        with t.step(kind):
            conf = bundle.config("echo no")
            conf["hooks"] = {kind: [hook("echo said by the hook >&2; exit 3")]}
            c = t.rt.container(conf)
            r = c.create(check=None)
            t.true(r.code == 1 or (t.rt.kind, r.code) == ("crun", 255), f"code {r.code}")
            t.has(r.err + c.log.read_text(), "hook")
            t.eq(t.rt.states(), [])
    with t.step("startContainer"):
        conf = bundle.config("echo no")
        conf["hooks"] = {"startContainer": [hook("exit 3")]}
        c = t.rt.container(conf)
        c.create()
        r = c.start(check=None)
        if t.rt.kind == "cor":
            t.eq(r.code, 1)
        t.wait(lambda: c.state()["status"] == "stopped", "its end")
        t.lacks(c.out(), "no")
        c.delete("--force")
        c.wait()
    with t.step("poststop: the others still run, delete succeeds"):
        t.only("cor", "crun")
        conf = bundle.config("true")
        conf["hooks"] = {"poststop": [hook("exit 3"), hook(f"echo second > {t.dir}/second")]}
        c = t.rt.container(conf)
        t.eq(c.run(timeout=90).code, 0)
        t.eq((t.dir / "second").read_text(), "second\n")
    with t.step("a path that is not absolute or missing"):
        conf = bundle.config("echo no")
        conf["hooks"] = {"createRuntime": [{"path": "/no/such/hook"}]}
        r = t.rt.container(conf).run()
        t.true(r.code not in (0, None), "it ran")
        t.has(r.err, "/no/such/hook")


@case(timeout=120, vm=True)
def test_timeout(t):
    """A hook over its time is killed and counts as failed."""
    conf = bundle.config("echo no")
    conf["hooks"] = {"createRuntime": [hook("exec sleep 1000", timeout=1)]}
    c = t.rt.container(conf)
    r = c.create(check=None)  # if that waited for the hook, it were over its own time
    t.eq(r.code, 1)
    t.eq(t.rt.states(), [])


@case(timeout=120, vm=True)
def test_big_output(t):
    """A hook that writes much and never reads its stdin does not block anything."""
    conf = bundle.config("echo ran")
    conf["annotations"] = {f"com.example.k{i}": "v" * 1000 for i in range(200)}
    conf["hooks"] = {"createRuntime": [hook("head -c 1000000 /dev/zero")]}
    r = t.rt.container(conf).run(check=0, timeout=90)
    t.has(r.out, "ran\n")
