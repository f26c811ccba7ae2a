"""As a new user would try it: each error says what is wrong and what to do."""

import os
import pathlib

import bundle
from harness import case

COR = ("cor",)


def said(t, r, *parts):
    t.true(r.code not in (0, None), f"exit code {r.code}")
    t.has(r.err, *parts)
    t.true(len(r.err.splitlines()) <= 6, "more than six lines:\n" + r.err)


@case(only=COR, quick=True)
def test_empty_directory(t):
    (t.dir / "empty").mkdir()
    r = t.rt("run", t.fresh(), cwd=t.dir / "empty", check=None)
    said(t, r, "config.json")
    t.has_any(r.err, "cor spec", "--bundle")
    t.eq(t.rt.states(), [])


@case(only=COR, quick=True)
def test_no_arguments(t):
    r = t.rt(check=None)
    t.has(r.out + r.err, "run", "create", "spec")
    r = t.rt("run", check=None)
    said(t, r, "run")
    r = t.rt("rum", "x", check=None)
    said(t, r, "rum", "run")


@case(only=COR, quick=True)
def test_not_root(t):
    """Without root: it says that root is needed."""
    c = t.rt.container(bundle.config("true"))
    os.chmod(t.dir, 0o777)
    r = t.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] + t.rt.argv(
        "run", "--bundle", c.bundle, c.id))
    said(t, r)
    t.has_any(r.err.lower(), "root", "permission denied")


@case(only=COR, quick=True)
def test_no_qemu(t):
    conf = t.dir / "cor.conf"
    conf.write_text("qemu.path = /no/such/qemu\n")
    c = t.rt.container(bundle.config("true"))
    t.rt.globals = t.rt.globals + ["--set", "qemu.path=/no/such/qemu"]
    said(t, c.run(), "/no/such/qemu")
    t.eq(t.rt.states(), [])


@case(only=COR, quick=True)
def test_no_mini_os(t):
    c = t.rt.container(bundle.config("true"))
    t.rt.globals = t.rt.globals + ["--set", "vm.kernel=/no/such/vmlinux"]
    said(t, c.run(), "/no/such/vmlinux", "cor-image")
    t.eq(t.rt.states(), [])


@case(only=COR, quick=True)
def test_annotation_typo(t):
    """A typo in our own prefix is an error with the nearest key; others are ignored."""
    conf = bundle.config("true")
    prefix = annotation_prefix(t)
    c = t.rt.container(conf)
    with t.step("typo"):
        conf["annotations"] = {prefix + "vm.memroy": "256M"}
        bundle.write_config(c.bundle, conf)
        said(t, c.run(), "vm.memroy", "vm.memory")
    with t.step("bad value"):
        conf["annotations"] = {prefix + "vm.memory": "lots"}
        bundle.write_config(c.bundle, conf)
        said(t, c.run(), "vm.memory", "lots")
    with t.step("not for annotations"):
        conf["annotations"] = {prefix + "vm.kernel": "/etc/passwd"}
        bundle.write_config(c.bundle, conf)
        said(t, c.run(), "vm.kernel")
    with t.step("a good one"):
        conf["annotations"] = {prefix + "vm.memory": "256M", "com.example.vm.memroy": "x"}
        bundle.write_config(c.bundle, conf)
        t.eq(c.run().code, 0)


def annotation_prefix(t):
    """Our prefix as `features` says it."""
    unsafe = t.rt("features").json().get("potentiallyUnsafeConfigAnnotations") or []
    prefixes = [a for a in unsafe if a.endswith(".")]
    t.true(prefixes, f"no prefix in potentiallyUnsafeConfigAnnotations: {unsafe}")
    return prefixes[0]


@case(only=COR, quick=True)
def test_settings_typo(t):
    conf = t.dir / "cor.conf"
    conf.write_text("# mine\nvm.memroy = 256M\n")
    c = t.rt.container(bundle.config("true"))
    r = t.run([t.rt.path, "--root", t.rt.root, "--settings", conf, "run", "--bundle", c.bundle, c.id])
    said(t, r, "vm.memroy", "vm.memory", "2")


@case(only=COR, quick=True)
def test_spec(t):
    """spec writes a config.json that runs, and does not write over one."""
    d = t.dir / "b"
    bundle.make_rootfs(d / "rootfs")
    with t.step("writes"):
        t.rt("spec", cwd=d)
        conf = pathlib.Path(d / "config.json").read_text()
        t.has(conf, '"ociVersion"', '"args"')
    with t.step("not twice"):
        t.eq(t.rt("spec", "--bundle", d, check=None).code, 1)
    with t.step("it runs"):
        import json

        c = json.loads(conf)
        c["process"]["terminal"] = False
        c["process"]["args"] = ["sh", "-c", "echo ok"]
        bundle.write_config(d, c)
        t.eq(t.rt("run", "--bundle", d, t.fresh()).out, "ok\n")


@case(only=COR, quick=True)
def test_features(t):
    """The document has its required members, and tells the truth about what is refused."""
    f = t.rt("features").json()
    with t.step("versions"):
        t.true(f["ociVersionMin"].startswith("1.") and f["ociVersionMax"].startswith("1."), str(f)[:200])
    with t.step("hooks"):
        t.eq(set(f["hooks"]), {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"})
    with t.step("mountOptions"):
        t.true({"ro", "bind", "rbind", "nosuid", "rro"} <= set(f["mountOptions"]), str(f["mountOptions"]))
    with t.step("linux"):
        lin = f["linux"]
        t.true({"mount", "pid", "network", "ipc", "uts"} <= set(lin["namespaces"]), str(lin["namespaces"]))
        t.true("CAP_SYS_ADMIN" in lin["capabilities"], "capabilities")
        t.eq(lin["seccomp"]["enabled"], True)
        t.true("SCMP_ACT_NOTIFY" not in lin["seccomp"]["actions"], "NOTIFY cannot be done")
        t.true({"SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS"} <= set(lin["seccomp"]["actions"]), "actions")


@case(only=COR, quick=True)
def test_check_verb(t):
    """cor check: words and JSON; every missing thing with its remedy."""
    with t.step("words"):
        r = t.rt("check", check=None)
        t.true(r.code in (0, 1), f"code {r.code}")
        for word in ("KVM", "QEMU", "kernel", "cgroup", "KSM"):
            t.has(r.out.lower(), word.lower())
    with t.step("json"):
        r = t.rt("check", "--format", "json", check=None)
        t.true(isinstance(r.json(), (dict, list)), "no document")


@case(only=COR)
def test_dead_machine(t):
    """A machine that ends while it boots: an error with its last words and the console's."""
    c = t.rt.container(bundle.config("true"))
    if t.opts.guest != "fake":
        t.skip("needs fake-qemu")
    t.rt.globals = t.rt.globals + ["--set", "qemu.params=--fake-die-at boot"]
    r = c.run(timeout=30)
    with t.step("exit code"):
        t.eq(r.code, 1)
    with t.step("its own words"):
        t.has(r.err, "told to die")
    with t.step("the console's last lines"):
        t.has(r.err, "Kernel panic")
    t.eq(t.rt.states(), [])


@case(timeout=60, only=COR)
def test_mute_machine(t):
    """A guest that never answers: vm.boot_timeout ends it."""
    if t.opts.guest != "fake":
        t.skip("needs fake-qemu")
    c = t.rt.container(bundle.config("true"))
    t.rt.globals = t.rt.globals + ["--set", "qemu.params=--fake-mute", "--set", "vm.boot_timeout=2s"]
    r = c.run(timeout=30)
    t.eq(r.code, 1)
    t.has(r.err, "boot_timeout")
    t.eq(t.rt.states(), [])
