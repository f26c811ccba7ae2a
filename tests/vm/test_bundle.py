"""Bundles of the mini-OS: the tree's example as docs/bundles.md builds it, and a hook that fails."""

import pathlib
import shutil

import builds
import bundle
from harness import case

EXAMPLE = builds.TOP / "guest/bundles/database"


def make_os(t, directory):
    """A mini-OS with this bundle, used by t.rt from now on; its JSON."""
    tool = pathlib.Path(t.opts.runtime).parent / "cor-image"
    out = t.path("os") / directory.name
    made = t.run([tool, "os", "--kernel", "stock", "--out", out, "--bundle", directory, "--cache", builds.CACHE, "--json"],
                 timeout=60, check=0).json()
    t.rt.globals = t.rt.globals + ["--set", f"vm.kernel={out}/vmlinux", "--set", f"vm.initrd={out}/initrd"]
    return made


@case(timeout=180, vm=True, needs=("busybox",), only=("cor",))
def test_example(t):
    if not EXAMPLE.is_dir():
        t.skip(f"{EXAMPLE} is not seen here (an emulated host)")
    mine = t.dir / "database"
    shutil.copytree(EXAMPLE, mine)
    shutil.copy(shutil.which("busybox"), mine / "busybox")
    with t.step("it builds"):
        t.eq(make_os(t, mine)["bundles"], ["database"])
    conf = bundle.config("cat /proc/sys/vm/max_map_count /proc/sys/vm/swappiness; ls -d /etc/database; "
                         "cat /sys/kernel/mm/transparent_hugepage/defrag")
    r = t.rt.container(conf).run()
    with t.step("kernel parameters"):
        t.eq(r.out.split()[:2], ["262144", "1"])
    with t.step("what the hook did"):
        t.has(r.out, "[never]")
    with t.step("its files are the guest's, not the container's"):
        t.lacks(r.out, "/etc/database")
    with t.step("a hook that fails ends the boot"):
        (mine / "setup.sh").write_text("echo no such luck >&2; exit 3\n")
        make_os(t, mine)
        r = t.rt.container(bundle.config("true")).run()
        t.true(r.code != 0, f"code {r.code}")
        t.has(r.err, "exit code 3: no such luck")
