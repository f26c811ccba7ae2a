"""cor-vmm's command line, as far as it goes without KVM: what is wrong is named, and nothing is made or lost. Its machines: lane kvm."""

import pathlib

from harness import case

COR = ("cor",)


def program(t):
    return pathlib.Path(t.opts.runtime).parent.parent / "libexec/cor/cor-vmm"


@case(only=COR, quick=True)
def test_usage(t):
    """(arguments of run, exit code, part of the error)"""
    at = t.path("at")
    at.mkdir()
    (at / "kernel").write_text("none")
    run = ("--kernel", "kernel")
    for argv, code, part in (((), 1, "one of --kernel and --restore"), (("--kernel", "none"), 2, "--kernel none: No such file"),
                             ((*run, "--memory", "lots"), 1, "--memory lots: not a size"), ((*run, "--memory"), 1, "--memory: wants SIZE"),
                             ((*run, "--cpus", "two"), 1, "--cpus two: not a number"), ((*run, "--cpus", "-1"), 1, "not a number"),
                             ((*run, "--bios", "x"), 1, "--bios: no such option (cor-vmm --help"), ((*run, "x"), 1, "x: no such option"),
                             (("--restore", "kernel"), 1, "--restore wants --memory-file"), ((*run, "--clone"), 1, "--clone is for --restore"),
                             ((*run, "--huge-pages", "--memory-file", "m"), 1, "--huge-pages: not with --memory-file"),
                             (("--restore", "kernel", "--memory-file", "m"), 2, "--memory-file m: No such file"),
                             ((*run, "--initrd", "none"), 2, "--initrd none: No such file"), ((*run, "--disk", "none"), 2, "--disk none: No such"),
                             ((*run, "--disk", "."), 2, "--disk .: Is a directory"), ((*run, "--pmem", "none,ro"), 2, "--pmem none: No such file"),
                             ((*run, "--net", "eth0"), 2, "--net eth0: wants tap=NAME or fd:N"), ((*run, "--net", "fd:99"), 2, "not an open fd"),
                             ((*run, "--net", "tap=" + "x" * 16), 2, "no name of an interface"), ((*run, "--fs", "/srv"), 2, "wants NAME=..."),
                             ((*run, "--fs", "tag=/srv"), 2, "wants TAG=fd:N"), ((*run, "--virtiofs", "tag=/srv"), 2, "wants TAG=fd:N"),
                             ((*run, "--port", "name=/dev/null"), 2, "wants NAME=fd:N"), ((*run, "--console", "none/c"), 2, "--console none/c: No"),
                             ((*run, *["--disk=kernel"] * 40), 1, "--disk: at most")):
        with t.step(" ".join(argv)[:60] or "nothing"):
            r = t.run([program(t), "run", *argv], cwd=at, check=code)
            t.has(r.err, part)
            t.eq((len(r.err.splitlines()), sorted(p.name for p in at.iterdir())), (1, ["kernel"]))
    with t.step("no command"):
        t.has(t.run([program(t)], check=1).err, "usage: cor-vmm run")


@case(only=COR, quick=True)
def test_ctl(t):
    """A file that `save` would write to and that is there already stays as it is; after an error there is none."""
    at = t.path("at")
    at.mkdir()
    (at / "kept").write_text("the only copy")
    for argv, code, part in (((), 1, "SOCKET and one of"), (("none", "dance"), 1, "SOCKET and one of"), (("none", "info"), 2, "none: No such file"),
                             (("none", "balloon"), 2, "balloon: 1 to 1 arguments"), (("none", "balloon", "lots"), 2, "balloon lots: not a size"),
                             (("kept", "info"), 2, "kept: Connection refused"), (("none", "save", "state", "memory"), 2, "none: No such file"),
                             (("none", "save", "kept"), 2, "kept: File exists"), (("none", "save", "state", "kept"), 2, "kept: File exists")):
        with t.step(" ".join(argv) or "nothing"):
            t.has(t.run([program(t), "ctl", *argv], cwd=at, check=code).err, part)
            t.eq([(p.name, p.read_text()) for p in at.iterdir()], [("kept", "the only copy")])
