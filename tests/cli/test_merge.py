"""Images of more layers than a VM has devices: a run of them is put together to one file. What comes out is compared with the
layers stacked one by one by the kernel's overlayfs, and with the archives unpacked one over the other, by Python."""

import io
import os
import random
import stat
import tarfile

from harness import case
from imagelib import Mounted, Store, config, entry, oci, sha, tar

COR = ("cor",)
DEVICES, STEP = 23, 8  # STORE_DEVICES and RUN_STEP of image/store.c
IMPLIED = ".wh..wh.cor-implied"
OPAQUE = "trusted.overlay.opaque"


def folder(name, mode=0o755, **kw):
    return entry(name + "/", kind=tarfile.DIRTYPE, mode=mode, **kw)


def load(t, store, name, layers, *argv):
    path = t.dir / (name + "-oci")
    if not path.exists():
        path.mkdir()
        oci(path, layers, pack=bytes)
    return store.load(path, "--name", name, *argv)


def shape(got):
    """How many layers each file stands for."""
    return [len(row.get("diff_ids", [0])) for row in got["layers"]]


@case(timeout=180, only=COR, quick=True)
def test_run(t):
    """Which layers become one, that others share it, and that the store's commands know it."""
    layers = [tar(entry(f"f{n}", b"%d" % n)) for n in range(62)]
    store, other = Store(t), Store(t, "other")
    for n, want in ((DEVICES, [1] * DEVICES), (24, [1] * 14 + [8, 1, 1]), (30, [1] * 14 + [8] + [1] * 8), (31, [1] * 14 + [16, 1])):
        with t.step(f"{n} layers"):
            got = load(t, store, f"n{n}", layers[:n])
            t.eq(shape(got), want)
            t.true(len(want) <= DEVICES, "a device for each")
            ids = [i for row in got["layers"] for i in row.get("diff_ids", [row.get("diff_id")])]
            t.eq(ids, ["sha256:" + sha(x) for x in layers[:n]])
            store("rm", f"n{n}")
    store("gc")
    with t.step("60 layers"):
        one = load(t, store, "one", layers[:60])
        t.eq((shape(one), one["new_layers"]), ([1] * 14 + [40] + [1] * 6, 60))
        run = one["layers"][14]
        t.eq((run["entries"], sha(open(run["file"], "rb").read())), (40, run["sha256"]))
        t.eq(store("ls", "--json").json()[0]["layers"], 60)
    with t.step("layers of the run have no file of their own"):
        made = {os.path.basename(row["file"])[:-6] for row in one["layers"]}
        t.eq(store.layers(), sorted(n + s for n in made for s in (".erofs", ".sum")))
    with t.step("one layer more: the same run"):
        two = load(t, store, "two", layers[:61])
        t.eq((two["new_layers"], two["layers"][14]), (1, run))
    with t.step("again: nothing is new, and the archives of the run aren't asked for"):
        for x in layers[14:54]:
            (t.dir / "two-oci/blobs/sha256" / sha(x)).unlink()
        t.eq(load(t, store, "two", layers)["new_layers"], 0)
    with t.step("the same bytes in another store"):
        t.eq([row["sha256"] for row in load(t, other, "one", layers[:60])["layers"]], [row["sha256"] for row in one["layers"]])
    with t.step("verify, inspect"):
        t.has(store("verify").out, "2 images")
        t.eq(store("inspect", "two").json()["layers"], two["layers"])
    with t.step("gc keeps a run while an image has it"):
        store("rm", "one")
        t.eq(store("gc", "--json").json()["layers"], 0)
        store("verify")
    with t.step("verify sees a changed byte in it"):
        os.chmod(run["file"], 0o600)
        with open(run["file"], "r+b") as f:
            f.seek(-1, 2)
            f.write(b"x")
        t.has(store("verify", "two", check=2).err, run["file"], "cor-image gc")
    with t.step("gc takes it away with the last one"):
        store("rm", "two")
        store("gc")
        t.eq(store.layers(), [])


# --- the oracles ---

def generate(rng, n):
    """Archives as builders make them: files, links, devices, attributes, directories with and without entries; what a layer hides
    or replaces is there below. Small names, so that they meet."""
    top, layers = {"": ("dir",)}, []

    def below(path):
        return [p for p in top if p.startswith(path + "/" if path else "") and p != ""]

    def remove(path):
        for p in [path, *below(path)]:
            top.pop(p, None)

    for _ in range(n):
        entries, mine = [], set()
        for _ in range(rng.randint(3, 12)):
            dirs = [p for p, what in top.items() if what[0] == "dir" and p.count("/") < 3]
            parent = rng.choice(dirs)
            name = (parent + "/" if parent else "") + rng.choice("abcdefg")
            meta = {"uid": rng.randint(0, 3), "gid": rng.randint(0, 3), "mtime": 1000000000 + rng.randint(0, 9999)}
            there, act = top.get(name), rng.choice(("file", "file", "dir", "dir", "link", "hard", "gone", "gone", "opaque", "fifo", "null"))
            if name in mine or any(p in mine for p in below(name)):
                continue  # each name once in a layer
            if any(name.startswith(p + "/") and p in mine and top.get(p, ("dir",))[0] != "dir" for p in mine):
                continue
            if act == "gone":
                if not there:
                    continue
                remove(name)
                head, _, base = name.rpartition("/")
                entries.append(entry((head + "/" if head else "") + ".wh." + base))
                mine.add(name)
                if rng.random() < 0.3:  # and something new in its place
                    act = rng.choice(("file", "dir"))
                else:
                    continue
            elif act == "opaque":
                if not there or there[0] != "dir":
                    continue
                remove(name)
                entries += [folder(name, **meta), entry(name + "/.wh..wh..opq")]
                top[name] = ("dir",)
                mine.add(name)
                continue
            elif there and (there[0] == "dir") != (act == "dir") and there:
                remove(name)
            mode = rng.choice((0o644, 0o600, 0o4755))
            xattrs = {"user.x": str(rng.randint(0, 9))} if rng.random() < 0.3 else {}
            if act == "dir":
                if rng.random() < 0.3 and not there:  # no entry: a file in it alone
                    entries.append(entry(name + "/z", b"z%d" % rng.randint(0, 99), **meta))
                    top[name + "/z"] = ("file",)
                    mine.add(name + "/z")
                else:
                    entries.append(folder(name, mode=rng.choice((0o755, 0o700, 0o1777)), xattrs=xattrs, **meta))
            elif act == "file":
                entries.append(entry(name, b"%d" % rng.randint(0, 1 << 40), mode=mode, xattrs=xattrs, **meta))
            elif act == "link":
                entries.append(entry(name, kind=tarfile.SYMTYPE, linkname=rng.choice(("a", "../b", "/c")), **meta))
            elif act == "fifo":
                entries.append(entry(name, kind=tarfile.FIFOTYPE, mode=mode, **meta))
            elif act == "null":
                entries.append(entry(name, kind=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=mode, **meta))
            elif act == "hard":
                files = [i.name for i, _ in entries if i.isreg() and "/.wh." not in "/" + i.name and i.name in top]
                if not files:
                    continue
                entries.append(entry(name, kind=tarfile.LNKTYPE, linkname=rng.choice(files)))
            top[name] = ("dir",) if act == "dir" else ("file",)
            mine.add(name)
        layers.append(tar(*entries, entry("always", b"%d" % len(layers))))
    return layers


def by_hand(layers):
    """{path: what it is}, of the archives unpacked one over the other. Of directories without an entry only that they are there;
    hard links are the same object."""
    top = {}

    def remove(path, itself):
        for p in [p for p in top if p.startswith(path + "/" if path else "") or (itself and p == path)]:
            del top[p]

    for data in layers:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            infos = [(i, archive.extractfile(i).read() if i.isreg() else b"") for i in archive]
        for i, _ in infos:  # a whiteout hides what is below the layer, not what is in it
            head, _, base = i.name.rpartition("/")
            if base == ".wh..wh..opq":
                remove(head, False)
            elif base.startswith(".wh."):
                remove((head + "/" if head else "") + base[4:], True)
        for i, content in infos:
            name = i.name.rstrip("/")
            if name.rpartition("/")[2].startswith(".wh."):
                continue
            parts = name.split("/")
            for n in range(1, len(parts)):
                if top.get("/".join(parts[:n]), {"type": None})["type"] != "dir":
                    remove("/".join(parts[:n]), True)
                    top["/".join(parts[:n])] = {"type": "dir"}
            if name in top and not (i.isdir() and top[name]["type"] == "dir"):
                remove(name, True)
            if i.islnk():
                top[name] = top[i.linkname]
                continue
            kind = next(k for k, is_it in (("dir", i.isdir()), ("link", i.issym()), ("fifo", i.isfifo()), ("chr", i.ischr()),
                                           ("file", i.isreg())) if is_it)
            top[name] = {"type": kind, "uid": i.uid, "gid": i.gid, "mtime": int(i.mtime),
                         "mode": None if kind == "link" else i.mode, "data": i.linkname if kind == "link" else content,
                         "xattrs": {k[13:]: v for k, v in i.pax_headers.items() if k.startswith("SCHILY.xattr.")}}
    return top


def look(path):
    st = os.lstat(path)
    kind = {stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo", stat.S_IFCHR: "chr", stat.S_IFREG: "file"}[stat.S_IFMT(st.st_mode)]
    data = os.readlink(path) if kind == "link" else path.read_bytes() if kind == "file" else b""
    return {"type": kind, "uid": st.st_uid, "gid": st.st_gid, "mtime": int(st.st_mtime),
            "mode": None if kind == "link" else stat.S_IMODE(st.st_mode), "data": data,
            "xattrs": {} if kind == "link" else {n: os.getxattr(path, n).decode() for n in os.listxattr(path)
                                                   if not n.startswith("trusted.overlay.")}}


class Stacked:
    """These files stacked by the kernel; numbered directories, since overlayfs' options have to fit in a page."""

    def __init__(self, t, files):
        self.t, self.files, self.at, self.mounted = t, files, t.dir / t.fresh(), []

    def __enter__(self):
        self.at.mkdir()
        for n, file in enumerate(self.files):
            (self.at / str(n)).mkdir()
            self.t.run(["mount", "-t", "erofs", "-o", "loop,ro", file, self.at / str(n)], check=0)
            self.mounted.append(self.at / str(n))
        lower = ":".join(str(n) for n in reversed(range(len(self.files))))
        (self.at / "all").mkdir()
        self.t.run(["mount", "-t", "overlay", "overlay", "-o", "ro,lowerdir=" + lower, "all"], check=0, cwd=self.at)
        self.mounted.append(self.at / "all")
        return self.at / "all"

    def __exit__(self, *_):
        for at in reversed(self.mounted):
            self.t.run(["umount", at])

    def implied(self):
        """{path: the layer whose word counts}, of directories that the topmost layers which have them say nothing of."""
        found = {}
        lists = [set((self.at / str(n) / IMPLIED).read_text().split("\0")) - {""} if (self.at / str(n) / IMPLIED).exists() else set()
                 for n in range(len(self.files))]
        for path in set().union(*lists):
            last = above = False
            for n in reversed(range(len(self.files))):
                at = self.at / str(n) / path
                parts = [self.at / str(n) / "/".join(path.split("/")[:k + 1]) for k in range(path.count("/") + 1)]
                kinds = [os.path.lexists(p) and (p.is_dir() and not p.is_symlink()) for p in parts]
                if last or not all(kinds):
                    if not last and any(os.path.lexists(p) and not k for p, k in zip(parts, kinds)):
                        break
                    if last:
                        break
                    last = any(k and opaque(p) for p, k in zip(parts, kinds))
                    continue
                if path not in lists[n]:
                    if above:
                        found[path] = look(at)
                    break
                above = True
                last = any(opaque(p) for p in parts)
        return found, set().union(*lists)


def opaque(path):
    try:
        return os.getxattr(path, OPAQUE) == b"y"
    except OSError:
        return False


def view(t, files):
    """{path: what it is} of a stack, with directories as the agent mends them; and groups of hard links."""
    stacked = Stacked(t, files)
    with stacked as top:
        seen, inodes = {}, {}
        for path in sorted(top.rglob("*")):
            name = str(path.relative_to(top))
            if name == IMPLIED:
                continue
            seen[name] = look(path)
            if seen[name]["type"] != "dir":
                inodes.setdefault((os.lstat(path).st_dev, os.lstat(path).st_ino), []).append(name)
        mended, unsaid = stacked.implied()
        for name, meta in mended.items():
            if seen.get(name, {}).get("type") == "dir":
                seen[name] = meta
    for name in unsaid:  # a time is not mended where nothing else differs
        if name in seen and seen[name]["type"] == "dir":
            del seen[name]["mtime"]
    return seen, sorted(x for x in inodes.values() if len(x) > 1)


def differences(a, b):
    return {n: (a.get(n), b.get(n)) for n in {*a, *b}
            if n not in a or n not in b or any(a[n][k] != b[n][k] for k in {*a[n]} & {*b[n]})}


@case(timeout=400, only=COR)
def test_oracle(t):
    """Sixty layers at random, of them forty as one: what is seen is what the same layers one by one show."""
    store = Store(t)
    for seed in range(3):
        layers = generate(random.Random(seed), 60)
        merged = [row["file"] for row in load(t, store, f"seed{seed}", layers)["layers"]]
        single = []
        for n, data in enumerate(layers):
            (t.dir / "layer.tar").write_bytes(data)
            single.append(store.load(t.dir / "layer.tar", "--name", f"s{seed}n{n}")["layers"][0]["file"])
        t.eq((len(merged), len(single)), (21, 60))
        got, links = view(t, merged)
        want, want_links = view(t, single)
        hand = by_hand(layers)
        with t.step(f"seed {seed}: overlayfs over the single layers"):
            t.eq(differences(got, want), {})
            t.eq(links, want_links)
        with t.step(f"seed {seed}: unpacked by hand"):
            t.true(len(hand) > 15, f"{len(hand)} paths")
            t.eq(differences(got, hand), {})
            same = {}
            for name, what in hand.items():
                if what["type"] != "dir":
                    same.setdefault(id(what), []).append(name)
            t.eq(links, sorted(sorted(x) for x in same.values() if len(x) > 1))


def filled(n, **special):
    """n layers: a file each, or what `special` has for one (l20=[...])."""
    return [tar(*special.get(f"l{i}", [entry(f"f{i}", b"%d" % i)])) for i in range(n)]


@case(timeout=120, only=COR, quick=True)
def test_hidden(t):
    """One by one: what a layer of the run hides in it, below it, and where nothing is below."""
    caps = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".decode()
    layers = filled(
        60,
        l3=[folder("low", mode=0o750, uid=7), entry("low/kept", b"k"), entry("low/gone", b"g"), folder("low/sub"),
            entry("low/sub/x"), folder("cover"), entry("cover/below"), entry("twice", b"3"), folder("said", mode=0o711, uid=5)],
        l15=[folder("alone"), entry("alone/a"), entry("alone/b"), folder("own"), entry("own/a", b"a"), entry("own/b", b"b"), folder("was"), entry("was/in"), entry("first", b"same"),
             entry("second", kind=tarfile.LNKTYPE, linkname="first"), entry("third", kind=tarfile.LNKTYPE, linkname="first"),
             folder("said", mode=0o700, uid=6, xattrs={"user.x": "old", "user.y": "old"}), folder("re"), entry("re/old", b"o")],
        l20=[entry("alone/.wh.a"), entry("own/.wh.a"), entry("low/.wh.gone"), entry("low/.wh.sub"), entry(".wh.twice"), folder("cover"),
             entry("cover/.wh..wh..opq"), entry("cover/new", b"n"), entry(".wh.was"), entry("was", b"file"), entry(".wh.re")],
        l30=[entry("second", b"other"), folder("re", mode=0o770), entry("re/new", b"n"), entry("low/sub/y", b"y"), entry("said/x", b"x"),
             entry("caps", b"c", xattrs={"security.capability": caps})],
        l40=[folder("said", mode=0o755, uid=0, mtime=1234567890, xattrs={"user.x": "new"}), entry("was/deep/in", b"d"),
             entry(".wh.cover")],
        l41=[folder("cover"), entry("cover/again", b"a")],
        l57=[entry("own/.wh.b"), entry("third", kind=tarfile.SYMTYPE, linkname="first")])
    store = Store(t)
    got = load(t, store, "demo", layers)
    t.eq(shape(got)[14], 40)
    with t.step("the file: what still hides is there, what is hidden isn't"), Mounted(t, got["layers"][14]["file"]) as m:
        is_out = lambda p: stat.S_ISCHR(os.lstat(m / p).st_mode) and os.lstat(m / p).st_rdev == 0
        t.eq([is_out(p) for p in ("own/a", "low/gone", "twice")], [True] * 3)
        t.eq([opaque(m / p) for p in ("own", "low", "low/sub", "cover", "re", "was", "said")], [False, False, True, True, True, True, False])
        t.eq(sorted(os.listdir(m / "cover")), ["again"])
        t.eq((os.lstat(m / "first").st_ino, os.lstat(m / "first").st_nlink), (os.lstat(m / "third").st_ino, 2))
        st = os.lstat(m / "said")
        t.eq((stat.S_IMODE(st.st_mode), st.st_uid, st.st_mtime, os.listxattr(m / "said")), (0o755, 0, 1234567890, ["user.x"]))
        t.eq(os.getxattr(m / "caps", "security.capability"), caps.encode())
        t.eq((m / IMPLIED).read_text().split("\0"), ["low", "low/sub", "was", "was/deep", ""])
    with t.step("the stack"):
        seen, links = view(t, [row["file"] for row in got["layers"]])
        t.eq(sorted(n for n in seen if "/" in n), ["alone/b", "cover/again", "low/kept", "low/sub", "low/sub/y", "re/new", "said/x",
                                                   "was/deep", "was/deep/in"])
        t.eq((seen["low"]["uid"], seen["low"]["mode"], "twice" in seen, links), (7, 0o750, False, []))
        t.eq(differences(seen, {n: w for n, w in by_hand(layers).items()}), {})


@case(timeout=180, only=COR, quick=True)
def test_hostile(t):
    """The limits of a layer are those of all that become one; damage in one of them; deep directories. Nothing stays."""
    store = Store(t)

    def refused(name, layers, *parts, argv=(), conf=None):
        with t.step(name):
            path = t.dir / name.replace(" ", "-")
            oci(path, layers, conf, pack=bytes)
            t.has(store("import", path, *argv, check=2).err, *parts)
            t.eq(store.empty(), [])

    many = filled(30, **{f"l{n}": [entry(f"d{n}/f{i}") for i in range(10)] for n in range(14, 22)})
    refused("entries", many, "'d19/f8'", "more than the 58 entries that a layer with those that it is put together with may have",
            "--max-entries", argv=("--max-entries", "58"))
    big = filled(30, **{f"l{n}": [entry("big", bytes(20000))] for n in range(14, 22)})
    refused("size", big, "'big'", "put together with larger than 65536 bytes", "--max-size", argv=("--max-size", "64K"))
    layers = filled(30)
    refused("another diff_id", layers, "the image says", conf=config(*layers[:16], b"other", *layers[17:]))
    refused("a path through a link", filled(30, l16=[entry("out", kind=tarfile.SYMTYPE, linkname="/tmp")], l17=[entry("in/../x")]),
            "'in/../x'", "'..'")
    with t.step("a link of one layer, a directory of the next: nobody goes through it"):
        outside = t.path("outside")
        (outside / "sub").mkdir(parents=True)
        got = load(t, store, "links", filled(30, l15=[entry("out", kind=tarfile.SYMTYPE, linkname=str(outside))],
                                             l16=[entry("out/sub/x", b"x")], l17=[entry("out/sub/.wh.x"), entry("out/y", b"y")]))
        t.eq([str(p.relative_to(outside)) for p in outside.rglob("*")], ["sub"])
        seen, _ = view(t, [row["file"] for row in got["layers"]])
        t.eq(sorted(n for n in seen if n.startswith("out")), ["out", "out/sub", "out/y"])
    with t.step("three hundred directories deep, twice, with no more open files than mkfs.erofs needs"):
        deep = "/".join(["d"] * 300)
        layers = filled(30, l15=[entry(deep + "/a", b"a")], l16=[entry(deep + "/b", b"b")], l17=[entry(deep + "/.wh.a")])
        oci(t.dir / "deep-oci", layers, pack=bytes)
        t.run(["prlimit", "--nofile=400", store.tool, "import", t.dir / "deep-oci", "--name", "deep", "--store", store.root, "-q"], check=0)
        got = store("inspect", "deep").json()
        with Mounted(t, got["layers"][14]["file"]) as m:
            t.eq(sorted(os.listdir(m / deep)), ["a", "b"])
            t.true(stat.S_ISCHR(os.lstat(m / deep / "a").st_mode), "a whiteout")
    store("rm", "links")
    store("rm", "deep")
    store("gc")
    t.eq(store.layers(), [])
