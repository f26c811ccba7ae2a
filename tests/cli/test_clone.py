"""Templates and clones as the monitor sees them, without a machine: a clone that is silent, dies, or answers."""

import os
import shutil
import time

import bundle
from harness import LOWEST_S, SLOW, case

COR = ("cor",)


def use(t, params):
    """Templates of this test's own, for a fake QEMU with these further arguments; one is made."""
    if t.opts.guest != "fake":
        t.skip("needs fake-qemu")
    t.rt.globals = t.rt.globals + ["--set", "template=on", "--set", f"template.dir={t.path('templates')}", "--set",
                                   f"qemu.params={params}"]
    t.rt("template", "make")
    t.eq(len(listed(t)), 1, "templates")


def listed(t):
    return t.rt("template", "--format", "json", "ls").json()


def run(t, *flags, **kw):
    """(what it wrote, was it a clone, how long it took)."""
    c = t.rt.container(bundle.config("echo fine; exit 7"))
    timing = t.path(c.id + ".json")
    r = c.run("--timing-json", timing, globals_=flags, **kw)
    t.eq(r.code, 7, f"exit code; {r.err}")
    return r.out, '"cloned"' in timing.read_text(), r.secs


@case(only=COR, quick=True)
def test_clone(t):
    """The quiet case: the container runs in a clone, and the template stays."""
    use(t, "--fake-mute-clone=no")
    t.eq(run(t)[:2], ("fine\n", True))
    t.eq(len(listed(t)), 1, "templates")


@case(timeout=60, only=COR, quick=True)
def test_silent_clone(t):
    """A clone whose agent never answers: after vm.boot_timeout, if that is less than 20 s, a VM boots in its place and
    the template goes."""
    use(t, "--fake-mute-clone")
    out, cloned, secs = run(t, "--set", "vm.boot_timeout=3s", timeout=40)
    t.eq((out, cloned), ("fine\n", False))
    t.true(3 <= secs < 3 + 15 * SLOW, f"{secs:.1f} s")
    t.eq(listed(t), [], "templates")
    t.eq(t.rt.states(), [])
    with t.step("the next one boots without a delay, and a template is made again"):
        t.eq(run(t)[:2], ("fine\n", False))
        t.wait(lambda: len(listed(t)) == 1, "a template", timeout=LOWEST_S)


@case(timeout=60, only=COR, quick=True)
def test_silent_clone_without_pool(t):
    """The same where VMs were to wait, but none does: it is not tried a second time."""
    use(t, "--fake-mute-clone")
    c = t.rt.container(bundle.config("echo fine; exit 7"))
    r = c.run(globals_=["--log", c.log, "--set", "vm.boot_timeout=3s", "--set", "pool=1"], timeout=40)
    t.eq((r.code, r.out), (7, "fine\n"))
    t.eq(c.log.read_text().count("did not come up"), 1)
    t.eq(listed(t), [], "templates")


@case(timeout=60, only=COR, quick=True)
def test_template_gone(t):
    """A template that is removed after cor has looked at it, before its monitor opens it: the VM boots."""
    use(t, "--fake-mute-clone=no")
    old, bin_ = t.rt.path, t.path("bin")
    libexec = os.path.join(os.path.dirname(os.path.dirname(old)), "libexec/cor")
    bin_.mkdir()
    shutil.copy(old, bin_)
    (bin_ / "cor-monitor").write_text(f"#!/bin/sh\nrm -r {t.path('templates')}/default/[0-9a-f]*\nexec {libexec}/cor-monitor\n")
    (bin_ / "cor-monitor").chmod(0o755)
    t.rt.path = str(bin_ / "cor")
    c = t.rt.container(bundle.config("echo fine; exit 7"))
    r = c.run(globals_=["--log", c.log], timeout=40)
    t.eq((r.code, r.out), (7, "fine\n"))
    t.has(c.log.read_text(), "the VM boots instead")
    t.rt.path = old
    t.eq(run(t)[:2], ("fine\n", False))


@case(timeout=100, only=COR)
def test_silent_clone_limit(t):
    """With a vm.boot_timeout of minutes a clone has 20 s."""
    use(t, "--fake-mute-clone")
    begin = time.monotonic()
    out, cloned, _ = run(t, timeout=70)
    secs = time.monotonic() - begin
    t.eq((out, cloned), ("fine\n", False))
    t.true(20 <= secs < 20 + 15 * SLOW, f"{secs:.1f} s")


@case(timeout=60, only=COR)
def test_killed_while_silent(t):
    """delete --force of a container whose clone is silent: nothing is left, and the template, which nobody found
    bad, stays."""
    use(t, "--fake-mute-clone")
    c = t.rt.container(bundle.config("true"))
    child = t.spawn(t.rt.argv("run", "--bundle", c.bundle, c.id))
    t.wait(lambda: c.id in t.rt.states() and (t.rt.root / c.id / "monitor").exists() or child.poll() is not None, "a monitor")
    t.rt("delete", "--force", c.id)
    t.true(t.end_of(child) != 0, "run fails")
    t.eq(t.rt.states(), [])
    t.eq(len(listed(t)), 1, "templates")
