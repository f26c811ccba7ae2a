"""image.py - what of a container image is read and mapped when it starts."""

import imagelib
from launcher import Error
from report import Result, Table

MIB = 1 << 20

ABOUT = """A container of an image of {mib} MiB in five layers, started with nothing of them in the host's page cache (fsync, POSIX_FADV_DONTNEED;
mincore says 0), which runs `sleep`. "Cached" is what mincore finds of the layers' files then: all that was read of them, also ahead.
"Read" is read_bytes of /proc/PID/io of the VM's process, "mapped" what it has in its mappings of the files (smaps: Rss, and PSS, where a page that n
processes share counts 1/n). The second container of the image runs beside the first. MiB."""


def arguments(p):
    p.add_argument("--mib", type=int, default=200, metavar="MIB", help="size of the image's files (200)")


class Place:
    """What imagelib.py wants of a test: a directory and a way to run the tool."""

    def __init__(self, bench, launcher):
        self.dir, self.launcher = bench.dir / "big", launcher
        self.opts = type("Options", (), {"runtime": bench.cor})
        self.rt = type("Runtime", (), {"globals": []})
        self.cleanup = lambda _: None
        self.dir.mkdir()

    def run(self, argv, check=0, **_):
        self.launcher.stream([str(a) for a in argv], "cor-image")
        return type("Answer", (), {"json": lambda self: {}})()


def run(bench, opts):
    res = Result("image", "Images: what a start reads", ABOUT.format(mib=opts.mib))
    rows, store = [], None
    for c in bench.present:
        if store is None:
            bench.say("building and importing the image")
            place = Place(bench, c.launcher)
            store = imagelib.big_image(place, opts.mib)
        files = sorted((store.root / "layers").glob("*.erofs"))
        size = sum(f.stat().st_size for f in files)
        warm_up(bench, c, store)
        left = sum(map(imagelib.drop, files))
        if left:
            raise Error(f"{left} bytes of the image stay in the page cache: is {bench.dir} in memory? (TMPDIR chooses)")
        bench.say(c.name)
        data = []
        for n, name in enumerate(("i1", "i2"), 1):
            c.launcher.batch([argv_of(c, store, name, "--detach", "--", "sleep", "100000")], f"{c.name}: run --image")
            vm = imagelib.vm_pid(c.root / name)
            maps = imagelib.mapped(vm, files)
            data.append({"size": size, "cached": sum(map(imagelib.resident, files)), "read": imagelib.read_bytes(vm), "maps": maps})
            d = data[-1]
            rows.append([c.name, str(n)] + [f"{v / MIB:.2f}" for v in (size, d["cached"], d["read"], maps["Rss"], maps["Pss"])])
        res.data[c.name] = data
        c.launcher.batch([c.delete("i1"), c.delete("i2")], f"{c.name}: delete")
    res.tables.append(Table(["runtime", "container", "image", "cached", "read", "mapped", "PSS"], rows))
    return res


def argv_of(c, store, name, *rest):
    return c.argv("--set", f"image.store={store.root}", "run", "--image", "demo", "--name", name, *rest)


def warm_up(bench, c, store):
    """Until a start is a clone, for those that clone."""
    for _ in range(5 if c.stores() else 1):
        c.launcher.batch([argv_of(c, store, "i0", "--", "true")], f"{c.name}: run --image")
