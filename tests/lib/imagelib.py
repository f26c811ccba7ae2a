"""imagelib.py - container images for tests: a store and the tool that works on it, archives built entry by entry, OCI
layouts, archives of docker save. What runs a container from them: run() and container()."""

import gzip
import hashlib
import io
import json
import pathlib
import tarfile

import bundle

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
            entry("suid", b"x", mode=0o4755), entry("xattr", b"x", xattrs={"user.note": "kept"}),
            *[entry(f"var/many/.wh.{i}") for i in range(0, 40, 2)]),
    ]
    for n in range(1, 5) if big else ():
        data = bytes(big) if n == 4 else bytes(i * n % 251 for i in range(4096)) * (big // 4096)
        layers[n] = merge(layers[n], entry(f"big/{n}", data))
    return layers


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
    t.rt.globals = t.rt.globals + ["--set", f"image.store={store.root}"]


def run(t, *argv, image="demo", check=None, timeout=90, globals_=(), **kw):
    """`cor run --image` in the foreground, with a name that the leak check knows."""
    return t.rt("run", "--image", image, "--name", t.fresh(), *argv, check=check, timeout=timeout, globals_=globals_, **kw)
