"""imagelib.py - container images for tests: a store and the tool that works on it, archives built entry by entry, OCI
layouts, archives of docker save. What runs a container from them: run() and container()."""

import ctypes
import gzip
import hashlib
import io
import json
import mmap
import os
import pathlib
import random
import re
import subprocess
import tarfile

import builds
import bundle
import leak
from harness import LOWEST_S

class Store:
    """A store of this test's, and the tool that works on it."""

    def __init__(self, t, name="store"):
        self.t, self.root = t, t.dir / name
        self.tool = pathlib.Path(t.opts.runtime).parent / "cor-image"

    def __call__(self, command, *argv, check=0, **kw):
        return self.t.run([self.tool, command, *argv, "--store", self.root, "--quiet"], check=check, **kw)

    def load(self, path, *argv):
        return self("import", path, "--json", *argv).json()

    def layers(self):
        return sorted(p.name for p in (self.root / "layers").iterdir())

    def empty(self):
        """Nothing of an import is left, nor of what it worked on."""
        return [str(p.relative_to(self.root)) for p in self.root.rglob("*")
                if p.name not in ("lock", "images", "layers", "staging")]


def tool(t, *argv, timeout=60):
    """cor-image beside the cor under test, with the cache of all tests; its JSON."""
    path = pathlib.Path(t.opts.runtime).parent / "cor-image"
    return t.run([path, *argv, "--json", "--cache", builds.CACHE], timeout=timeout, check=0).json()


class Mounted:
    """A layer's file, mounted read-only."""

    def __init__(self, t, file):
        self.t, self.file, self.at = t, file, t.dir / "mnt"

    def __enter__(self):
        self.at.mkdir(exist_ok=True)
        self.t.run(["mount", "-t", "erofs", "-o", "loop,ro", self.file, self.at], check=0)
        return self.at

    def __exit__(self, *_):
        self.t.run(["umount", self.at], check=0)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def entry(name, data=b"", kind=tarfile.REGTYPE, **kw):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mtime = len(data), kind, kw.pop("mtime", 1000000000)
    info.mode = kw.pop("mode", 0o755 if kind == tarfile.DIRTYPE else 0o644)
    xattrs = kw.pop("xattrs", {})
    info.pax_headers = {"SCHILY.xattr." + k: v for k, v in xattrs.items()}
    for key, value in kw.items():
        setattr(info, key, value)
    return info, data


def tar(*entries, fmt=tarfile.PAX_FORMAT, errors="surrogateescape"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt, errors=errors) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def header(name, size=0, kind=b"0", link=b"", mode=b"0000644\0", tail=b""):
    """One block written by hand, for what Python refuses to write."""
    block = bytearray(512)
    block[:len(name)] = name
    block[100:108], block[108:116], block[116:124] = mode, b"0000000\0", b"0000000\0"
    block[124:136] = b"%011o\0" % size if isinstance(size, int) else size
    block[136:148], block[156:157], block[157:157 + len(link)] = b"%011o\0" % 0, kind, link
    block[257:265] = b"ustar\00000"
    block[345:345 + len(tail)] = tail
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


END = bytes(1024)


def config(*layers, **more):
    return json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"], "Env": ["A=b"]},
                       "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha(x) for x in layers]}, **more}).encode()


def oci(path, layers, conf=None, pack=gzip.compress, ref="demo:1"):
    """An OCI layout; returns the files of its blobs, layers first."""
    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)
    files = []

    def blob(data, media):
        digest = sha(data)
        (blobs / digest).write_bytes(data)
        files.append(blobs / digest)
        return {"mediaType": media, "digest": "sha256:" + digest, "size": len(data)}

    made = [blob(pack(x), "application/vnd.oci.image.layer.v1.tar+gzip") for x in layers]
    conf = blob(conf or config(*layers), "application/vnd.oci.image.config.v1+json")
    manifest = blob(json.dumps({"schemaVersion": 2, "config": conf, "layers": made}).encode(),
                    "application/vnd.oci.image.manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": ref}
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    return files


def docker(path, layers, tag="docker.io/library/demo:2"):
    """What docker save writes: a layer that comes twice is a symlink the second time."""
    conf, seen, entries, names = config(*layers), {}, [], []
    for n, layer in enumerate(layers):
        name = f"{n:064x}/layer.tar"
        names.append(name)
        if layer in seen:
            entries.append(entry(name, kind=tarfile.SYMTYPE, linkname="../" + seen[layer]))
        else:
            entries.append(entry(name, layer))
            seen[layer] = name
    manifest = [{"Config": sha(conf) + ".json", "RepoTags": [tag], "Layers": names}]
    entries += [entry(sha(conf) + ".json", conf), entry("manifest.json", json.dumps(manifest).encode())]
    path.write_bytes(tar(*entries))
    return sha(conf)


# What `docker build` of a small image leaves: five layers that hide, replace and remove.
CONFIG = {"User": "app", "Env": ["PATH=/usr/local/bin:/bin", "GREETING=hello image"], "Entrypoint": ["/bin/entry"],
          "Cmd": ["one", "two words"], "WorkingDir": "/srv/work", "Volumes": {"/data": {}, "/made/up": {}},
          "Labels": {"org.example.note": "a label", "dev.cor.vm.memory": "16T"}, "StopSignal": "SIGQUIT",
          "ExposedPorts": {"80/tcp": {}}}
ENTRY = b"#!/bin/sh\necho entry \"$@\"\n"


def directory(path):
    """A directory of the host as a layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(path, arcname=".")
    return out.getvalue()


def noted(t):
    """A file with an attribute, where the store's file system can hold one (an older tmpfs can't)."""
    probe = t.dir / "xattr-probe"
    probe.write_text("")
    try:
        os.setxattr(probe, "user.note", b"x")
    except OSError:
        return []
    return [entry("xattr", b"x", xattrs={"user.note": "kept"})]


def five_layers(t, big=0):
    """The layers, the bottom one first. big: bytes of /big/0, /big/1 ... in each of the upper four."""
    root = bundle.make_rootfs(t.dir / "image-root")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1001:1002:app:/home/app:/bin/sh\n"
                                     "db:x:70:71::/data:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nwheel:x:10:root\napp:x:1002:\naudio:x:63:app,db\nvideo:x:64:app\n")
    links = [entry(f"var/many/{i}", b"%d" % i) for i in range(40)]
    layers = [
        directory(root),
        tar(entry("gone", b"below"), entry("replaced", b"below"), entry("was-file", b"below"),
            entry("was-dir/", kind=tarfile.DIRTYPE), entry("was-dir/in", b"below"),
            entry("opaque/", kind=tarfile.DIRTYPE), entry("opaque/hidden", b"below"), entry("tree/a/b/c", b"below"),
            entry("dirgone/", kind=tarfile.DIRTYPE), entry("dirgone/in", b"below"), *links),
        tar(entry("data/", kind=tarfile.DIRTYPE, uid=70, gid=71, mode=0o750), entry("data/db", b"rows\n", uid=70, gid=71),
            entry("srv/work/", kind=tarfile.DIRTYPE, uid=1001, gid=1002), entry(".wh.gone"), entry(".wh.dirgone"),
            entry("opaque/", kind=tarfile.DIRTYPE), entry("opaque/.wh..wh..opq"), entry("opaque/new", b"above")),
        tar(entry("bin/entry", ENTRY, mode=0o755), entry("replaced", b"above"), entry("was-file/", kind=tarfile.DIRTYPE),
            entry("was-file/in", b"above"), entry(".wh.was-dir"), entry("tree/a/.wh.b"),
            entry("hard1", b"one file"), entry("hard2", kind=tarfile.LNKTYPE, linkname="hard1")),
        tar(entry("was-dir", b"above"), entry("gone", b"back"), entry("link", kind=tarfile.SYMTYPE, linkname="/etc/passwd"),
            entry("suid", b"x", mode=0o4755), *noted(t),
            *[entry(f"var/many/.wh.{i}") for i in range(0, 40, 2)]),
    ]
    for n in range(1, 5) if big else ():
        layers[n] = merge(layers[n], entry(f"big/{n}", random.Random(n).randbytes(big)))
    return layers


def debian_image(t, name="debian"):
    """An image of this machine's own Debian files in three layers, as a Dockerfile with two lines of apt-get makes it: libc and a
    shell, the tools, an interpreter. Programs are dynamic, directories are links (/bin -> usr/bin). The runtime uses it."""
    packages = (("libc6", "libtinfo6", "bash", "base-files", "base-passwd"),
                ("coreutils", "libacl1", "libattr1", "libselinux1", "libpcre2-8-0", "libgmp10", "libssl3", "grep", "sed"),
                ("python3-minimal", "python3.11-minimal", "libpython3.11-minimal", "libexpat1", "zlib1g"))
    usr = [entry(n, kind=tarfile.SYMTYPE, linkname="usr/" + n) for n in ("bin", "sbin", "lib", "lib64")]
    layers = [package_files(p, usr if n == 0 else []) for n, p in enumerate(packages)]
    return demo(t, name=name, layers=layers, conf={"Cmd": ["bash"], "Env": ["LANG=C.UTF-8"]})


def package_files(packages, first):
    """What dpkg says is in these packages, as a layer: merged /usr, no documents."""
    listed = subprocess.run(["dpkg", "-L", *packages], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, text=True).stdout
    paths = set()
    for line in listed.splitlines():
        path = pathlib.Path(os.path.realpath(os.path.dirname(line))) / os.path.basename(line)
        if not re.match("/usr/share/(doc|man|locale|lintian|bug|info)|/(proc|sys|dev|run|tmp|var|home|root)(/|$)", str(path)):
            paths |= {path, *path.parents}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in first:
            archive.addfile(info, io.BytesIO(data))
        for path in sorted(paths):
            if os.path.lexists(path) and str(path) not in ("/", "/bin", "/sbin", "/lib", "/lib64"):
                archive.add(path, arcname=str(path)[1:], recursive=False)
    return out.getvalue()


def big_image(t, mib=200):
    """A store with an image of five layers, four of them with a file of noise: together so many MiB. The runtime uses it."""
    return demo(t, big=(mib << 20) // 4, conf={})


def merge(layer, *more):
    """A layer with these entries before its own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(layer)) as old, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as new:
        for info, data in more:
            new.addfile(info, io.BytesIO(data))
        for info in old:
            new.addfile(info, old.extractfile(info) if info.isreg() else None)
    return out.getvalue()


def demo(t, name="demo", conf=None, layers=None, **kw):
    """A store with one image, which the runtime under test then uses."""
    store = Store(t)
    layers = layers or five_layers(t, **kw)
    conf = dict(CONFIG) if conf is None else conf
    path = t.dir / (name + "-oci")
    path.mkdir()
    oci(path, layers, config(*layers, config=conf), pack=bytes, ref=name + ":1")
    store.load(path, "--name", name)
    use(t, store)
    return store


def use(t, store):
    """The runtime under test takes images from there. With templates a VM of another shape than the usual one has its own made
    beside it, which must not outlive the test."""
    t.cleanup(lambda: t.wait(lambda: not [p for p in leak.descendants(os.getpid()) if leak.comm(p) == "cor-template"],
                             "the template's maker ends", LOWEST_S))
    t.rt.globals = t.rt.globals + ["--set", f"image.store={store.root if isinstance(store, Store) else store}"]


def run(t, *argv, image="demo", check=None, timeout=90, globals_=(), **kw):
    """`cor run --image` in the foreground, with a name that the leak check knows."""
    return t.rt("run", "--image", image, "--name", t.fresh(), *argv, check=check, timeout=timeout, globals_=globals_, **kw)


# --- where an image's bytes are: in the host's page cache, read by whom, mapped by whom ---

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def resident(path):
    """Bytes of a file that are in the page cache."""
    size = os.path.getsize(path)
    seen = (ctypes.c_ubyte * (size // PAGE))()
    with open(path, "rb") as f:
        at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, f.fileno(), 0)
        if at in (None, ctypes.c_void_p(-1).value) or libc.mincore(at, size, seen) != 0:
            raise OSError(ctypes.get_errno(), f"mincore {path}")
        libc.munmap(at, size)
    return sum(p & 1 for p in seen) * PAGE


def drop(path):
    """Takes a file out of the page cache. Returns what is left there: 0, unless somebody maps it."""
    with open(path, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return resident(path)


def read_ahead(path):
    """How many bytes the host's kernel reads around a page of this file that is missing."""
    dev = os.stat(path).st_dev
    try:
        return int(pathlib.Path(f"/sys/class/bdi/{os.major(dev)}:{os.minor(dev)}/read_ahead_kb").read_text()) << 10
    except OSError:
        return 128 << 10


def mapped(pid, paths):
    """{field: bytes} of a process's mappings of these files, by /proc/PID/smaps: Size, Rss, Pss ..."""
    names, found, counts = {str(p) for p in paths}, {}, False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)", line)
        field = re.match(r"(\w+): +(\d+) kB", line)
        if field and counts:
            found[field[1]] = found.get(field[1], 0) + int(field[2]) * 1024
        elif head and not field:
            counts = head[1] in names
    return found


def read_bytes(pid):
    """What a process caused to be read from disks."""
    return int(re.search(r"^read_bytes: (\d+)", pathlib.Path(f"/proc/{pid}/io").read_text(), re.M)[1])


def vm_pid(state_dir):
    """Of a container's hypervisor."""
    return int((pathlib.Path(state_dir) / "vm").read_text().split()[0])


def acl_texts(t):
    """An archive, by GNU tar, of a file and a directory whose ACLs are texts."""
    top = t.dir / "acl-texts"
    (top / "dir").mkdir(parents=True)
    (top / "file").write_text("x")
    t.run(["setfacl", "-m", "u:1234:rw", top / "file"], check=0)
    t.run(["setfacl", "-d", "-m", "u:1234:rwx", top / "dir"], check=0)
    t.run(["tar", "-C", top, "--format=pax", "--acls", "-cf", t.dir / "acl.tar", "."], check=0)
    t.has((t.dir / "acl.tar").read_bytes().decode("latin-1"), "SCHILY.acl.access=", "SCHILY.acl.default=")
    return t.dir / "acl.tar"
