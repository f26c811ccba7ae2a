"""The image store: cor-image import, ls, inspect, rm, gc, verify. Archives are built here, the hostile ones byte by
byte; what a layer became is read back by the kernel's own EROFS."""

import bz2
import fcntl
import gzip
import json
import lzma
import os
import pathlib
import shutil
import signal
import stat
import struct
import subprocess
import tarfile
import threading

from harness import case
from imagelib import END, Mounted, Store, config, docker, entry, header, oci, sha, tar

COR = ("cor",)
IMPLIED = ".wh..wh.cor-implied"


def rich():
    """A layer with one of each kind."""
    caps = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".decode()
    deep = "/".join(["d" * 100] * 5)
    return tar(
        entry("./", kind=tarfile.DIRTYPE), entry("bin/", kind=tarfile.DIRTYPE, uid=3, gid=4),
        entry("bin/busybox", b"\x7fELF" * 3000, mode=0o4755, uid=70000, gid=80000),
        entry("bin/sh", kind=tarfile.LNKTYPE, linkname="bin/busybox"),
        entry("lib", kind=tarfile.SYMTYPE, linkname="../../../etc"),
        entry("lib2", kind=tarfile.LNKTYPE, linkname="lib"),
        entry("dev/null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        entry("run/pipe", kind=tarfile.FIFOTYPE),
        entry("caps", b"x", xattrs={"user.note": "hello", "security.capability": caps,
                                    "trusted.overlay.redirect": "/etc/shadow"}),
        entry(deep + "/long", b"deep", mtime=1234567890.5), entry("line\nbreak", b"nl"),
        entry("latin-\udce9", b"no utf-8"), entry("nfd-e\u0301", b"nfd"), entry("nfc-\u00e9", b"nfc"),
        entry("gone/.wh.file"), entry("hidden/", kind=tarfile.DIRTYPE), entry("hidden/.wh..wh..opq"),
        entry("hidden/new", b"n"), entry(".wh..wh.plnk"), entry("both/", kind=tarfile.DIRTYPE), entry(".wh.both"),
        entry(".wh.again"), entry("again/", kind=tarfile.DIRTYPE), entry("twice", b"old"), entry("twice", b"new"),
        entry(".wh.implied"), entry("implied/in/it", b"i"), entry(".wh.third"), entry("third", b"t"),
        entry("third/", kind=tarfile.DIRTYPE), entry("old", b"o", mtime=-1000.5), entry("n" * 254, b"longest"))


@case(timeout=90, only=COR, quick=True)
def test_layer(t):
    """Everything that a layer can hold arrives, for overlayfs to read."""
    store, data = Store(t), rich()
    (t.dir / "rich.tar").write_bytes(data)
    got = store.load(t.dir / "rich.tar")
    layer = got["layers"][0]
    with t.step("name, id and size"):
        t.eq(got["name"], "rich")
        t.eq(layer["diff_id"], "sha256:" + sha(data))
        t.true(os.path.getsize(layer["file"]) in [m << n for m in (2 << 20, 3 << 20) for n in range(20) if m << n != 3 << 20],
               "the size is one of the few")
        t.eq(sha(pathlib.Path(layer["file"]).read_bytes()), layer["sha256"])
    with Mounted(t, layer["file"]) as m:
        look(t, m)


def look(t, m):
    st = os.lstat(m / "bin/busybox")
    with t.step("owner, mode, time, content"):
        t.eq((st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode), st.st_mtime), (70000, 80000, 0o4755, 1000000000))
        t.eq((m / "bin/busybox").read_bytes(), b"\x7fELF" * 3000)
        t.eq((os.lstat(m / "bin").st_uid, os.lstat(m / "bin").st_mtime), (3, 1000000000))
        t.eq(os.lstat(m / ("d" * 100)).st_mtime, 0, "time of a directory the archive does not have")
        t.eq(os.lstat(m / "old").st_mtime, 0, "time of a file from before 1970")
    with t.step("links"):
        t.eq(os.lstat(m / "bin/sh").st_ino, st.st_ino)
        t.eq(os.readlink(m / "lib"), "../../../etc")
        t.eq(os.lstat(m / "lib2").st_ino, os.lstat(m / "lib").st_ino)
    with t.step("devices and fifos"):
        t.eq(os.lstat(m / "dev/null").st_rdev, os.makedev(1, 3))
        t.true(stat.S_ISFIFO(os.lstat(m / "run/pipe").st_mode), "a fifo")
    with t.step("extended attributes; not those that overlayfs would obey"):
        t.eq(sorted(os.listxattr(m / "caps")), ["security.capability", "user.note"])
        t.eq(os.getxattr(m / "caps", "user.note"), b"hello")
    with t.step("names as bytes"):
        long = m / "/".join(["d" * 100] * 5) / "long"
        t.eq((long.read_bytes(), os.lstat(long).st_mtime), (b"deep", 1234567890.5))
        t.eq((m / ("n" * 254)).read_bytes(), b"longest")
        for name, want in (("line\nbreak", b"nl"), ("latin-\udce9", b"no utf-8"), ("nfd-e\u0301", b"nfd"),
                           ("nfc-\u00e9", b"nfc")):
            t.eq((m / name).read_bytes(), want)
    with t.step("whiteouts"):
        gone = os.lstat(m / "gone/file")
        t.true(stat.S_ISCHR(gone.st_mode) and gone.st_rdev == 0, "a device 0:0")
        for name in ("hidden", "both", "again", "implied", "third"):
            t.eq(os.getxattr(m / name, "trusted.overlay.opaque"), b"y", name)
        t.eq(sorted(os.listdir(m / "hidden")), ["new"])
        t.eq([n for n in os.listdir(m) if n.startswith(".wh.")], [IMPLIED], "marks that are left as files")
    with t.step("directories that the archive has no entry for are listed"):
        deep = ["/".join(["d" * 100] * n) for n in range(1, 6)]
        t.eq((m / IMPLIED).read_bytes().decode().split("\0"), sorted([*deep, "dev", "gone", "implied", "implied/in", "run"]) + [""])
    with t.step("the last of two entries counts"):
        t.eq((m / "twice").read_bytes(), b"new")


@case(timeout=60, only=COR)
def test_overlay(t):
    """The kernel's overlayfs sees what the image means."""
    ab = entry("a/", kind=tarfile.DIRTYPE), entry("b/", kind=tarfile.DIRTYPE)
    low = tar(*ab, entry("a/keep", b"1"), entry("a/drop", b"2"), entry("b/old", b"3"), entry("c", b"4"))
    high = tar(*ab, entry("a/.wh.drop"), entry("b/.wh..wh..opq"), entry("b/new", b"5"), entry("c", b"6"))
    store = Store(t)
    oci(t.dir / "two", [low, high])
    files = [x["file"] for x in store.load(t.dir / "two")["layers"]]
    dirs = [t.path("low"), t.path("high"), t.path("all")]
    for d in dirs:
        d.mkdir(exist_ok=True)
    for file, d in zip(files, dirs):
        t.run(["mount", "-t", "erofs", "-o", "loop,ro", file, d], check=0)
    try:
        t.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={dirs[1]}:{dirs[0]}", dirs[2]], check=0)
        t.eq(sorted(str(p.relative_to(dirs[2])) for p in dirs[2].rglob("*")), ["a", "a/keep", "b", "b/new", "c"])
        t.eq((dirs[2] / "c").read_bytes(), b"6")
    finally:
        for d in reversed(dirs):
            t.run(["umount", d])


@case(timeout=90, only=COR)
def test_sparse(t):
    """All forms of sparse files that GNU tar writes; a directory goes the same way."""
    tree = t.dir / "tree"
    tree.mkdir()
    with open(tree / "holes", "wb") as f:
        for n in range(40):
            f.seek(n * 20000)
            f.write(b"%d" % n)
        f.truncate(1000001)
    want = (tree / "holes").read_bytes()
    forms = {"gnu": ["--format=gnu"], "0.0": ["--format=pax", "--sparse-version=0.0"],
             "0.1": ["--format=pax", "--sparse-version=0.1"], "1.0": ["--format=pax", "--sparse-version=1.0"]}
    store = Store(t)
    for name, argv in forms.items():
        with t.step(name):
            file = t.dir / f"sparse-{name}.tar"
            t.run(["tar", "-C", tree, "-S", *argv, "-cf", file, "."], check=0)
            t.true(file.stat().st_size < 600000, "the archive is sparse")
            with Mounted(t, store.load(file, "--name", "s" + name)["layers"][0]["file"]) as m:
                t.true((m / "holes").read_bytes() == want, "same content")
    with t.step("directory"):
        os.setxattr(tree / "holes", "user.x", b"y")
        one, two = store.load(tree), store.load(tree, "--name", "again")
        t.eq((one["id"], one["new_layers"], two["new_layers"]), (two["id"], 1, 0))
        with Mounted(t, one["layers"][0]["file"]) as m:
            t.eq(os.getxattr(m / "holes", "user.x"), b"y")
            t.true((m / "holes").read_bytes() == want, "same content")


def acls(top):
    """Every ACL below top: {path: {name: value}}, and the modes."""
    found = {}
    for path in (top, *sorted(top.rglob("*"))):
        if not path.is_symlink():
            has = {n: os.getxattr(path, n) for n in os.listxattr(path) if n.startswith("system.posix_acl_")}
            found[str(path.relative_to(top))] = (stat.S_IMODE(path.stat().st_mode), has)
    return found


@case(timeout=60, only=COR, quick=True)
def test_acls(t):
    """ACLs of a directory and of an archive come along; nobody inherits one from a directory with a default ACL."""
    acl = lambda *entries: struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)
    rest = 0xffffffff
    some = acl((1, 6, rest), (2, 4, 1234), (4, 4, rest), (8, 6, 70000), (16, 6, rest), (32, 0, rest))
    tree = t.dir / "tree"
    (tree / "d/sub").mkdir(parents=True)
    for name in ("d/plain", "d/mine", "d/sub/deep"):
        (tree / name).write_text(name)
        (tree / name).chmod(0o640)
    os.mkfifo(tree / "d/fifo")
    os.symlink("plain", tree / "d/link")
    os.link(tree / "d/mine", tree / "d/z")
    os.setxattr(tree / "d/mine", "system.posix_acl_access", some)
    os.setxattr(tree / "d", "system.posix_acl_default", some)
    os.setxattr(tree / "d", "system.posix_acl_access", some)
    want, store = acls(tree), Store(t)
    t.eq(sorted(n for n, (_, has) in want.items() if has), ["d", "d/mine", "d/z"])
    argv = ["tar", "-C", tree, "--format=pax", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-cf", t.dir / "a.tar"]
    t.run([*argv, "."], check=0)
    t.run([*argv[:-1], t.dir / "b.tar", "--no-recursion", "d", "d/sub/deep"], check=0)  # d/sub has no entry
    for source in (tree, t.dir / "a.tar", t.dir / "b.tar"):
        with t.step(source.name), Mounted(t, store.load(source)["layers"][0]["file"]) as m:
            got = acls(m)
            if source.name == "b.tar":
                t.eq({n: got[n] for n in ("d", "d/sub", "d/sub/deep")}, {n: want[n] for n in ("d", "d/sub", "d/sub/deep")})
            else:
                t.eq(got, want)
    with t.step("as text alone: left out, as by engines, and said"):
        t.run(["tar", "-C", tree, "--format=pax", "--acls", "-cf", t.dir / "c.tar", "."], check=0)
        r = t.run([store.tool, "import", t.dir / "c.tar", "--store", store.root], check=0)
        t.has(r.err, "3 extended attributes left out", "no ACLs as text")
        with Mounted(t, store("inspect", "c").json()["layers"][0]["file"]) as m:
            t.eq([n for n, (_, has) in acls(m).items() if has], [])
    with t.step("as both: taken, and nothing to be said"):
        t.run([*argv[:-1], t.dir / "d.tar", "--acls", "."], check=0)
        r = t.run([store.tool, "import", t.dir / "d.tar", "--store", store.root], check=0)
        t.lacks(r.err, "left out")
        with Mounted(t, store("inspect", "d").json()["layers"][0]["file"]) as m:
            t.eq(acls(m), want)


@case(timeout=120, only=COR)
def test_formats(t):
    """OCI layouts and archives, docker save, packed or not: the same layers."""
    low, high = tar(entry("etc/a", b"a")), tar(entry("etc/b", b"b"))
    store = Store(t)
    with t.step("OCI layout"):
        oci(t.dir / "oci", [low, high])
        one = store.load(t.dir / "oci")
        t.eq((one["name"], one["id"], one["new_layers"]), ("demo:1", sha(config(low, high)), 2))
    with t.step("OCI archive"):
        t.run(["tar", "-C", t.dir / "oci", "-cf", t.dir / "oci.tar", "."], check=0)
        t.eq(store.load(t.dir / "oci.tar", "--name", "x")["new_layers"], 0)
    with t.step("docker save; a layer twice, one layer is known"):
        t.eq(docker(t.dir / "d.tar", [low, high, low]), store.load(t.dir / "d.tar")["id"])
    for name, pack in (("gzip", gzip.compress), ("xz", lzma.compress), ("bzip2", bz2.compress), ("zstd", zstd)):
        with t.step(name):
            (t.dir / "packed").write_bytes(pack((t.dir / "d.tar").read_bytes()))
            t.eq(store.load(t.dir / "packed", "--name", name)["new_layers"], 0)
    with t.step("layers are there once"):
        t.eq(store.layers(), sorted(sha(x) + s for x in (low, high) for s in (".erofs", ".sum")))
    with t.step("another store has the same bytes"):
        other = Store(t, "other")
        t.eq([x["sha256"] for x in other.load(t.dir / "oci")["layers"]], [x["sha256"] for x in one["layers"]])
    with t.step("a layer without an end mark, as some tools write it: its digest says that it is whole"):
        oci(t.dir / "open", [tar(entry("etc/open", b"a"))[:1024], b""])
        t.eq(store.load(t.dir / "open", "--name", "open")["new_layers"], 2)
        store("rm", "open")
        store("gc")
    with t.step("several images in one archive"):
        index = json.loads((t.dir / "oci/index.json").read_text())
        index["manifests"].append(dict(index["manifests"][0], annotations={"org.opencontainers.image.ref.name": "demo:9"}))
        (t.dir / "oci/index.json").write_text(json.dumps(index))
        t.has(store("import", t.dir / "oci", check=2).err, "holds 2 images", "--ref")
        t.eq(store.load(t.dir / "oci", "--ref", "demo:9")["name"], "demo:9")


def zstd(data):
    return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout


@case(timeout=90, only=COR)
def test_store(t):
    """ls, inspect, rm, gc, verify."""
    store, a, b = Store(t), tar(entry("a", b"a")), tar(entry("b", b"b"))
    with t.step("there is none yet"):
        t.has(store("ls", check=2).err, "cor-image import")
    oci(t.dir / "one", [a, b], ref="one")
    oci(t.dir / "two", [a], ref="two")
    one, two = store.load(t.dir / "one"), store.load(t.dir / "two")
    store.load(t.dir / "two", "--name", "reg.example:5000/two:latest")
    with t.step("ls"):
        rows = store("ls", "--json").json()
        t.eq([(r["name"], r["id"], r["layers"]) for r in rows],
             [("one", one["id"], 2), ("reg.example:5000/two:latest", two["id"], 1), ("two", two["id"], 1)])
        t.has(store("ls").out, "NAME", "one", one["id"][:12], "4 MB")
    with t.step("inspect by name, id and its beginning"):
        for what in ("one", one["id"], "sha256:" + one["id"], one["id"][:8]):
            got = store("inspect", what).json()
            t.eq((got["id"], got["names"], got["config"]["config"]["Cmd"]), (one["id"], ["one"], ["/bin/sh"]))
        t.has(store("inspect", "nope", check=2).err, "no image 'nope'", "cor-image ls")
    with t.step("verify"):
        t.has(store("verify").out, "2 images")  # one of them has two names
        t.has(store("verify", "one").out, "1 images")
    with t.step("rm takes a name, the image stays while it has another"):
        store("rm", "two")
        t.eq(store("inspect", two["id"]).json()["names"], ["reg.example:5000/two:latest"])
    with t.step("rm by id takes all names; gc the layers that are left over"):
        store("rm", one["id"])
        for left in (store.root, store.root / "images"):  # a write that was cut off
            (left / ".cor-tmp-0123456789abcdef").write_text("half")
        t.eq(store("gc", "--json").json()["layers"], 1)
        t.eq(sorted(os.listdir(store.root)), ["images", "layers", "lock", "names", "staging"])
        t.eq(os.listdir(store.root / "images"), [two["id"]])
        t.eq(store.layers(), [sha(a) + ".erofs", sha(a) + ".sum"])
        store("verify")
    with t.step("verify sees a changed byte"):
        file = pathlib.Path(two["layers"][0]["file"])
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        t.has(store("verify", check=2).err, str(file), "cor-image gc")
    with t.step("and a changed configuration"):
        image = store.root / "images" / two["id"]
        image.write_bytes(image.read_bytes() + b" ")
        t.has(store("inspect", two["id"], check=2).err, "is damaged", "import it again")


@case(timeout=60, only=COR, quick=True)
def test_no_name(t):
    """An empty name, as a script's unset variable gives, is nobody's: also where an image has lost its own."""
    store = Store(t)
    for n in range(2):
        (t.dir / "a.tar").write_bytes(tar(entry("a", b"%d" % n)))
        store.load(t.dir / "a.tar", "--name", "same")
    ids = [d["id"] for d in store("ls", "--json").json()]
    for command in ("rm", "inspect", "verify"):
        with t.step(command):
            t.has(store(command, "", check=2).err, "no image ''")
    t.eq([d["id"] for d in store("ls", "--json").json()], ids)


@case(timeout=60, only=COR, quick=True)
def test_half_a_layer(t):
    """A gc that was killed between a layer's two files: the next import makes a new one. A machine may still map the old."""
    store = Store(t)
    (t.dir / "a.tar").write_bytes(tar(entry("a", b"a" * 5000)))
    layer = pathlib.Path(store.load(t.dir / "a.tar")["layers"][0]["file"])
    with open(layer, "rb") as mapped:
        was, data = os.fstat(mapped.fileno()), mapped.read()
        layer.with_suffix(".sum").unlink()
        t.eq(store.load(t.dir / "a.tar")["new_layers"], 1)
        st = os.fstat(mapped.fileno())
        t.eq((st.st_mtime_ns, st.st_nlink), (was.st_mtime_ns, 0))
        mapped.seek(0)
        t.true(mapped.read() == data, "what is mapped stays")
    t.true(layer.stat().st_ino != was.st_ino, "a file of its own")
    store("verify")


def waits(child):
    """It waits for a lock, or has ended."""
    rows = [line.split() for line in pathlib.Path("/proc/locks").read_text().splitlines()]
    return child.poll() is not None or any("->" in row and str(child.pid) in row for row in rows)


@case(timeout=60, only=COR, quick=True)
def test_verify_beside_changes(t):
    """What somebody who changes the store has half done is no damage, and what was removed meanwhile neither."""
    store = Store(t)
    oci(t.dir / "one", [tar(entry("a", b"a"))], ref="one")
    one = store.load(t.dir / "one")
    layer = pathlib.Path(one["layers"][0]["file"])

    def beside(change):
        with open(store.root / "lock", "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            layer.rename(t.dir / "layer")
            child = t.spawn([store.tool, "verify", "--quiet", "--store", store.root], stdout=subprocess.PIPE, text=True)
            t.wait(lambda: waits(child), "a verify that waits for the lock")
            change()
        out, _ = child.communicate(timeout=30)
        return child.returncode, out.split(": ")[-1]

    with t.step("half done"):
        t.eq(beside(lambda: (t.dir / "layer").rename(layer)), (0, "1 images as they were imported\n"))
    with t.step("removed"):
        t.eq(beside(lambda: [p.unlink() for p in (store.root / "names", store.root / "images" / one["id"])]),
             (0, "0 images as they were imported\n"))


@case(timeout=60, only=COR)
def test_verity(t):
    """Where the store's file system can't have fs-verity: on goes on and says so, require doesn't. lane kvm has one that can."""
    layers = [tar(entry("file", b"content"))]
    oci(t.dir / "oci", layers)
    store = Store(t)
    store.root.mkdir()
    t.run(["mount", "-t", "tmpfs", "tmpfs", store.root], check=0)
    t.cleanup(lambda: t.run(["umount", store.root]))
    with t.step("require"):
        r = store("import", t.dir / "oci", "--name", "one", "--verity", "require", check=2)
        t.has(r.err, "no fs-verity here", "tune2fs -O verity")
        t.eq((store.layers(), os.listdir(store.root / "staging")), ([], []))
    with t.step("on"):
        r = store("import", t.dir / "oci", "--name", "one", "--verity", "on")
        t.eq([d["verity"] for d in store("inspect", "one").json()["layers"]], [""])
        store("verify")
    with t.step("cor run: image.verity"):
        words = ["--set", f"image.store={store.root}", "--set", "image.verity=require"]
        r = t.rt("run", "--image", "one", "--name", t.fresh(), "--", "x", globals_=words, check=1)
        t.has(r.err, "image.verity = require", "cor-image import --verity require")
    with t.step("a sum that names a digest which the file has not"):
        [name] = store.root.glob("layers/*.sum")
        name.chmod(0o600)
        name.write_text(name.read_text().strip() + " " + "a" * 64 + "\n")
        t.has(store("verify", check=2).err, "fs-verity digest", "was exchanged")
        t.eq(store("inspect", "one").json()["layers"][0]["verity"], "a" * 64)
        name.write_text(name.read_text().replace("a" * 64, "a" * 63))
        t.has(store("inspect", "one", check=2).err, "[DIGEST]")


@case(timeout=60, only=COR, quick=True)
def test_usage(t):
    store = Store(t)
    for argv, part in ((("import",), "which one?"), (("import", "x", "--max-size", "lots"), "--max-size"),
                       (("import", "x", "--max-entries", "0"), "--max-entries"), (("import", "x", "--devices", "some"), "--devices"),
                       (("import", "x", "--verity", "yes"), "--verity is off, on or require"), (("import", "x", "--type", "zip"), "--type"), (("import", "x", "--name", "../x"), "--name"),
                       (("import", "x", "--name", "abcdef12"), "--name"), (("rm",), "which one?"),
                       (("import", "/no/such"), "No such file"), (("import", "/dev/null"), "neither")):
        with t.step(" ".join(argv)):
            t.has(store(*argv, check=None).err, part)


def plain_attacks():
    """(what, archive, further arguments, parts of the error)"""
    link = entry("out", kind=tarfile.SYMTYPE, linkname="/tmp")
    pax = b"30 path=../../../tmp/cor-evil\n"
    long = b"a/" * 3000 + b"x"
    return (
        ("absolute path", header(b"/etc/cor-evil") + END, (), ("/etc/cor-evil", "absolute", "tar -C")),
        ("..", tar(entry("a/../../cor-evil", b"x")), (), ("a/../../cor-evil", "'..'")),
        (".. in pax", header(b"pax", len(pax), b"x") + pax.ljust(512, b"\0") + header(b"ok") + END, (), ("cor-evil", "'..'")),
        ("through a symlink", tar(link, entry("out/cor-evil", b"x")), (), ("out/cor-evil", "leads through 'out'")),
        ("through a symlink to ..", tar(entry("up", kind=tarfile.SYMTYPE, linkname=".."), entry("up/cor-evil", b"x")), (),
         ("up/cor-evil", "leads through")),
        ("through a file", tar(entry("f", b"x"), entry("f/cor-evil", b"x")), (), ("f/cor-evil", "leads through")),
        ("hard link out", tar(entry("l", kind=tarfile.LNKTYPE, linkname="../../../../etc/passwd")), (), ("'l'", "'..'")),
        ("hard link, absolute", tar(entry("l", kind=tarfile.LNKTYPE, linkname="/etc/passwd")), (), ("'l'", "absolute")),
        ("hard link through a symlink", tar(link, entry("l", kind=tarfile.LNKTYPE, linkname="out/x")), (), ("'l'", "out/x")),
        ("hard link to nothing", tar(entry("l", kind=tarfile.LNKTYPE, linkname="none")), (), ("'l'", "'none'")),
        ("hard link to itself", tar(entry("l", b"x"), entry("l", kind=tarfile.LNKTYPE, linkname="./l")), (), ("'l'", "itself")),
        ("hard link to a whiteout", tar(entry(".wh.w"), entry("l", kind=tarfile.LNKTYPE, linkname="w")), (), ("'l'", "'w'")),
        ("block device", tar(entry("sda", kind=tarfile.BLKTYPE, devmajor=8, devminor=0)), (), ("'sda'", "8:0", "--devices")),
        ("kernel memory", tar(entry("mem", kind=tarfile.CHRTYPE, devmajor=1, devminor=1)), (), ("'mem'", "1:1")),
        ("whiteout as a device", tar(entry("w", kind=tarfile.CHRTYPE)), ("--devices", "keep"), ("'w'", ".wh.NAME")),
        ("a device at all", tar(entry("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)), ("--devices", "refuse"), ("1:3",)),
        ("whiteout of ..", tar(entry("d/.wh...")), (), ("names no file",)),
        ("too many entries", tar(*(entry(f"e{n}") for n in range(101))), ("--max-entries", "100"), ("'e100'", "--max-entries")),
        ("too large", tar(entry("big", bytes(70000))), ("--max-size", "64K"), ("'big'", "--max-size")),
        ("sparse bomb", sparse_bomb(), (), ("'bomb'", "--max-size")),
        ("huge size", header(b"huge", b"\x80" + b"\x7f" + bytes(10)) + END, (), ("damaged",)),
        ("eight exabytes", header(b"huge", b"\x80\0\0\0\x7f" + b"\xff" * 7) + END, (), ("'huge'", "--max-size")),
        ("a size that wraps", header(b"p", 29, b"x") + pad(b"29 size=18446744073709551104\n") + header(b"huge") + END, (),
         ("beyond every file",)),
        ("sparse map out of order", old_sparse((4096, 512), (0, 512)), (), ("sparse map",)),
        ("sparse map beyond its file", old_sparse((1 << 40, 512)), (), ("sparse map",)),
        ("dir and file", tar(entry("d/f", b"x"), entry("d", b"x")), (), ("'d'", "twice")),
        ("root is a link", tar(entry(".", kind=tarfile.SYMTYPE, linkname="/")), (), ("root of a layer",)),
        ("long name", header(b"pax", len(long) + 11, b"x") + pad(b"%d path=" % (len(long) + 11) + long + b"\n") + header(b"x") + END,
         (), ("too long",)),
        ("a part that mkfs.erofs would cut", tar(entry("n" * 254), entry("n" * 255)), (), ("too long", "254 of one part")),
        ("truncated in data", tar(entry("f", bytes(9000)))[:4000], (), ("truncated",)),
        ("truncated between entries", tar(entry("f", bytes(512)))[:1024], (), ("truncated",)),
        ("bad checksum", b"x" + tar(entry("f", b"x"))[1:], (), ("no tar archive",)),
        ("bad checksum later", tar(entry("f"))[:512] + b"\1" * 512 + END, (), ("checksum",)),
        ("no archive", b"hello" * 400, (), ("no tar archive",)),
        ("empty", b"", (), ("truncated",)),
        ("pax without a length", header(b"p", 512, b"x") + pad(b"path=x\n") + END, (), ("pax header",)),
        ("pax longer than itself", header(b"p", 512, b"x") + pad(b"9999 path=x\n") + END, (), ("pax header",)),
        ("endless headers", header(b"p", 0, b"x") * 40 + header(b"x") + END, (), ("too many headers",)),
        ("header of a gigabyte", header(b"p", 1 << 30, b"x") + END, (), ("too long",)),
        ("unknown type", header(b"v", kind=b"V") + END, (), ("unknown type",)),
        ("gzip bomb", gzip.compress(bytes(300 << 20), 9), ("--max-size", "1M", "--max-entries", "10"), ("--max-size",)),
        ("truncated gzip", gzip.compress(tar(entry("f", os.urandom(5000))))[:3000], (), ("gzip",)),
        ("escape sequence in a name", tar(entry("a/../\x1b[2J\n", b"")), (), ("\\x1b[2J\\x0a",)),
    )


def pad(data):
    return data + bytes(-len(data) % 512)


def sparse_bomb():
    """A terabyte in one block."""
    return old_sparse((0, 512), real=1 << 40, name=b"bomb")


def old_sparse(*pieces, real=8192, name=b"sparse"):
    size = sum(n for _, n in pieces)
    block = bytearray(header(name, size, b"S"))
    block[257:265] = b"ustar  \0"
    for n, (off, length) in enumerate(pieces):
        block[386 + 24 * n:410 + 24 * n] = b"%011o\0%011o\0" % (off, length)
    block[483:495] = b"%011o\0" % real if real < 1 << 33 else b"\x80" + real.to_bytes(11, "big")
    block[345:386] = bytes(41)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(size + -size % 512) + END


@case(timeout=180, only=COR, quick=True)
def test_hostile(t):
    """Each attack is an error that names the entry; nothing outside of the store changes, nothing stays in it."""
    store = Store(t)
    outside = t.dir / "cor-evil"
    for what, data, argv, parts in plain_attacks():
        with t.step(what):
            (t.dir / "evil.tar").write_bytes(data)
            r = store("import", t.dir / "evil.tar", "--type", "tar", *argv, check=2)
            t.has(r.err, *parts)
            t.eq(len(r.err.splitlines()), 1, "lines of the error")
            t.eq(store.empty(), [])
            t.true(not outside.exists() and not os.path.exists("/tmp/cor-evil") and not os.path.exists("/etc/cor-evil"),
                   "a file outside")


@case(timeout=60, only=COR)
def test_hostile_outside(t):
    """The same when the archive is only looked through for a manifest."""
    store = Store(t)
    for what, data, argv, _ in plain_attacks():
        with t.step(what):
            (t.dir / "evil.tar").write_bytes(data)
            store("import", t.dir / "evil.tar", *argv, check=2)
            t.eq(store.empty(), [])


@case(timeout=120, only=COR)
def test_ten_million(t):
    """Ten million tiny entries, 100 KB when packed, 5 GB unpacked; files of a terabyte. Cut off as they come: the store is on a file
    system that would not hold a hundredth of them, and no error speaks of its space."""
    many = gzip.compress(header(b"x") * 20480) * 488  # one member behind the other
    zeros = gzip.compress(bytes(64 << 20), 9) * 80
    (t.dir / "many.tgz").write_bytes(many)
    manifest = gzip.compress(tar(entry("manifest.json", b"[]"))[:1024])
    (t.dir / "docker.tgz").write_bytes(manifest + gzip.compress(header(b"x/", kind=b"5") * 20480) * 488)
    (t.dir / "docker-huge.tgz").write_bytes(manifest + gzip.compress(header(b"huge", 6 << 30)) + zeros)
    (t.dir / "huge.tgz").write_bytes(gzip.compress(header(b"huge", 6 << 30)) + zeros)
    (t.dir / "tail.tgz").write_bytes(gzip.compress(tar(entry("f"))) + zeros)
    oci(t.dir / "oci", [header(b"x") * 20480], pack=lambda x: many)
    limits = ("--max-entries", "20000")
    store = Store(t)
    store.root.mkdir()
    t.run(["mount", "-t", "tmpfs", "-o", "size=48m,nr_inodes=70k", "tmpfs", store.root], check=0)
    t.cleanup(lambda: t.run(["umount", store.root]))
    for name, argv, parts in (
            ("many.tgz", ("--type", "tar", *limits), ("'x'", "--max-entries")), ("many.tgz", limits, ("'x'", "--max-entries")),
            ("oci", limits, ("'x'", "--max-entries")), ("docker.tgz", limits, ("65536 entries",)),
            ("huge.tgz", ("--type", "tar", "--max-size", "1G"), ("'huge'", "--max-size")),
            ("huge.tgz", ("--max-size", "1G"), ("'huge'", "--max-size")), ("docker-huge.tgz", ("--max-size", "1G"), ("'huge'", "--max-size")),
            ("tail.tgz", ("--type", "tar"), ("67108864 bytes follow the end",))):
        with t.step(" ".join((name, *argv))):
            t.has(store("import", t.dir / name, *argv, check=2, timeout=60).err, *parts)
            t.eq(store.empty(), [])
    t.run(["umount", store.root], check=0)


@case(timeout=90, only=COR)
def test_damaged_image(t):
    """Digests are compared, manifests are read strictly."""
    layer, store = tar(entry("f", b"x")), Store(t)

    def refused(name, change, *parts, **kw):
        with t.step(name):
            path = t.path("images") / name.replace(" ", "-")
            change(path, oci(path, [layer], **kw))
            r = store("import", path, check=2)
            t.has(r.err, *parts)
            t.eq(store.empty(), [])

    refused("layer changed", lambda p, f: f[0].write_bytes(gzip.compress(tar(entry("f", b"y")))), "digest", "get the image again")
    refused("configuration changed", lambda p, f: f[1].write_bytes(f[1].read_bytes() + b" "), "is damaged")
    refused("manifest changed", lambda p, f: f[2].write_bytes(f[2].read_bytes() + b" "), "is damaged")
    refused("layer missing", lambda p, f: f[0].unlink(), "No such file")
    refused("layer is a symlink", lambda p, f: (f[0].unlink(), f[0].symlink_to("/etc/passwd")), "symbolic")
    refused("layer is a fifo", lambda p, f: (f[0].unlink(), os.mkfifo(f[0])), "blobs/sha256/")
    refused("other diff_id", lambda p, f: None, "the image says", conf=config(b"other"))
    refused("another number of layers", lambda p, f: None, "has 1 layers", conf=config(layer, layer))
    refused("no diff_ids", lambda p, f: None, "rootfs.diff_ids", conf=b'{"os":"linux"}')
    refused("another machine", lambda p, f: None, "arm64", conf=config(layer, architecture="arm64"))
    refused("path for a digest", lambda p, f: (p / "index.json").write_text(
        '{"manifests":[{"digest":"sha256:../../../../etc/passwd","size":1}]}'), "sha256 digest")
    refused("index is no JSON", lambda p, f: (p / "index.json").write_text("{'a':1}"), "index.json")
    refused("index is empty", lambda p, f: (p / "index.json").write_text('{"manifests":[]}'), "holds no image")
    with t.step("docker archive whose layer leads out"):
        manifest = [{"Config": "../../etc/passwd", "RepoTags": None, "Layers": ["/etc/passwd"]}]
        (t.dir / "d.tar").write_bytes(tar(entry("manifest.json", json.dumps(manifest).encode())))
        t.has(store("import", t.dir / "d.tar", check=2).err, "no file '../../etc/passwd' in it")
    with t.step("docker archive with a name longer than any tool's"):
        long = "/".join(["d" * 100] * 20)
        (t.dir / "d.tar").write_bytes(tar(entry(long, config(layer)), entry("manifest.json", json.dumps(
            [{"Config": long, "RepoTags": ["x"], "Layers": []}]).encode())))
        t.has(store("import", t.dir / "d.tar", check=2).err, "no file 'dddd")
    with t.step("links in a circle"):
        manifest = [{"Config": "a", "Layers": ["a"]}]
        (t.dir / "d.tar").write_bytes(tar(entry("a", kind=tarfile.SYMTYPE, linkname="b"), entry(
            "b", kind=tarfile.SYMTYPE, linkname="a"), entry("manifest.json", json.dumps(manifest).encode())))
        t.has(store("import", t.dir / "d.tar", check=2).err, "no file 'a'")


@case(timeout=120, only=COR)
def test_at_once(t):
    """Several imports of one image at the same time, with gc in between: all succeed, one copy."""
    layers = [tar(entry(f"f{n}", os.urandom(200000))) for n in range(3)]
    oci(t.dir / "oci", layers)
    store, codes = Store(t), []

    def one(name):
        codes.append((name, store("import", t.dir / "oci", "--name", name, check=None, timeout=90).code))

    threads = [threading.Thread(target=one, args=(f"n{i}",)) for i in range(4)]
    for x in threads:
        x.start()
    while any(x.is_alive() for x in threads):
        if (store.root / "lock").exists():
            t.eq(store("gc", check=None).code, 0)
    for x in threads:
        x.join()
    t.eq(sorted(codes), [(f"n{i}", 0) for i in range(4)])
    store("verify")
    t.eq(len(store.layers()), 6)
    t.eq(os.listdir(store.root / "staging"), [])


def staged(staging, part):
    try:
        return [p for d in staging.iterdir() for p in (d / part, *d.glob("*" + part)) if p.exists()]
    except FileNotFoundError:  # not yet, or just removed
        return []


@case(timeout=60, only=COR, quick=True)
def test_one_file(t):
    """Two imports make the same layer: who ends first has made it, and machines that map it by then map what all will map."""
    store, tools, gate = Store(t), t.path("tools"), t.dir / "gate"
    (t.dir / "a.tar").write_bytes(tar(entry("a", b"a" * 5000)))
    tools.mkdir()
    os.mkfifo(gate)
    (tools / "mkfs.erofs").write_text(f'#!/bin/sh\n"{shutil.which("mkfs.erofs")}" "$@" && read -r go <"{gate}"\n')
    (tools / "mkfs.erofs").chmod(0o755)
    slow = t.spawn([store.tool, "import", t.dir / "a.tar", "--name", "slow", "--store", store.root, "-q"],
                   env=dict(os.environ, PATH=f"{tools}:{os.environ['PATH']}"))
    with open(gate, "w") as go:  # it has made its file when it comes here
        layer = pathlib.Path(store.load(t.dir / "a.tar", "--name", "quick")["layers"][0]["file"])
        made = layer.stat().st_ino
        go.write("go\n")
    t.eq((slow.wait(30), layer.stat().st_ino), (0, made))
    t.eq(sorted(d["name"] for d in store("ls", "--json").json()), ["quick", "slow"])
    store("verify")


@case(timeout=120, only=COR)
def test_killed(t):
    """An import that is killed leaves nothing that gc, or the next import, does not take away."""
    data = tar(*(entry(f"d{n % 50}/f{n}", b"x" * 100) for n in range(6000)))
    (t.dir / "many.tar").write_bytes(data)
    store = Store(t)
    for part in ("root", "root/d49", ".sum"):
        child = t.spawn([store.tool, "import", t.dir / "many.tar", "--store", store.root, "-q"])
        staging = store.root / "staging"
        t.wait(lambda: child.poll() is not None or staged(staging, part), part, 60)
        child.send_signal(signal.SIGKILL)
        child.wait()
        with t.step(f"killed at {part}"):
            store("gc")
            t.eq(os.listdir(staging), [])
    store.load(t.dir / "many.tar")
    store("verify")


@case(timeout=120, only=COR, needs=("podman", "busybox"))
def test_podman(t):
    """An image that podman made and saved, in both formats."""
    root, layer = t.dir / "root", t.dir / "layer.tar"
    (root / "bin").mkdir(parents=True)
    t.run(["cp", "/bin/busybox", root / "bin/sh"], check=0)
    t.run(["tar", "-C", root, "-cf", layer, "."], check=0)
    podman = ["podman", "--root", t.dir / "pod", "--runroot", t.dir / "podrun", "--storage-driver", "vfs",
              "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
    t.run([*podman, "import", "-c", 'CMD ["/bin/sh"]', layer, "localhost/box:1"], check=0, timeout=60)
    ids, store = set(), Store(t)
    for kind in ("docker-archive", "oci-archive"):
        with t.step(kind):
            t.run([*podman, "save", "--format", kind, "-o", t.dir / kind, "localhost/box:1"], check=0, timeout=60)
            got = store.load(t.dir / kind)
            ids.add(got["layers"][0]["diff_id"])
            t.has(got["name"], "box:1")
            t.eq(store("inspect", got["name"]).json()["config"]["config"]["Cmd"], ["/bin/sh"])
    with t.step("one layer for both"):
        t.eq(len(ids), 1)
        t.eq(len(store.layers()), 2)
        with Mounted(t, got["layers"][0]["file"]) as m:
            t.eq((m / "bin/sh").read_bytes(), pathlib.Path("/bin/busybox").read_bytes())
    t.run([*podman, "rmi", "-a", "-f"], timeout=60)
