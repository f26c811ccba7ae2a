"""idmapped bind mounts: owners that the container sees, and those on the host's disk."""

import os
import subprocess

import bundle
import idmap
from harness import case

MAPS = "idmap=uids=0-1000-100#200-5000-1;gids=0-2000-100"


def make_source(t):
    """Files of several owners, and another mount below."""
    top = idmap.place(t)
    src, other = top / "src", top / "other"
    for d in (src, src / "sub", other):
        d.mkdir()
        d.chmod(0o777)
    for name, uid, gid in (("root", 0, 0), ("some", 7, 8), ("far", 200, 99), ("none", 70000, 70000), ("sub/under", 0, 0)):
        (src / name).write_text(name + "\n")
        os.chown(src / name, uid, gid)
    (other / "over").write_text("x\n")
    os.chown(other / "over", 3, 4)
    t.run(["mount", "--bind", other, src / "sub"], check=0)
    t.cleanup(lambda: subprocess.run(["umount", "-l", str(src / "sub")], check=False))
    idmap.open_to_all(src)
    return src


def owners(c, *paths):
    return dict(line.rsplit(" ", 1) for line in c.sh("stat -c '%n %u:%g' " + " ".join(paths)).splitlines())


def on_disk(path):
    st = os.lstat(path)
    return f"{st.st_uid}:{st.st_gid}"


def up(t, conf, binds, owner=None):
    """A container that waits, with the binds' places made; owner: of its root file system."""
    for source, dest, *options in binds:
        bundle.bind(conf, source, dest, *options)
    c = t.rt.container(conf)
    for _, dest, *_ in binds:
        (c.rootfs / dest.strip("/")).mkdir()
    if owner is not None:
        t.run(["chown", "-hR", f"{owner}:{owner}", c.rootfs], check=0)
        idmap.open_to_all(c.rootfs)
    c.create(globals_=idmap.served(t))
    c.start()
    c.wait_out("up")
    return c


@case(timeout=200, vm=True, only=("cor", "crun"))
def test_mappings(t):
    """Mappings of each mount: two of one directory at once, with and without the mounts below."""
    src = make_source(t)
    conf = bundle.config("echo up; exec sleep 1000")
    c = up(t, conf, [(src, "/a", MAPS), (src, "/b", "idmap=uids=0-0-100;gids=0-0-100"), (src, "/c", "rbind"),
                     (src, "/d", "rbind", "r" + MAPS)])
    with t.step("owners seen"):
        t.eq(owners(c, "/a/root", "/a/some", "/a/far", "/a/none", "/a/sub/under"),
             {"/a/root": "1000:2000", "/a/some": "1007:2008", "/a/far": "5000:2099", "/a/none": "65534:65534", "/a/sub/under": "1000:2000"})
    with t.step("another mapping of the same"):
        t.eq(owners(c, "/b/root", "/b/some", "/b/none"), {"/b/root": "0:0", "/b/some": "7:8", "/b/none": "65534:65534"})
    with t.step("none of the same"):
        t.eq(owners(c, "/c/some", "/c/none", "/c/sub/over"), {"/c/some": "7:8", "/c/none": "70000:70000", "/c/sub/over": "3:4"})
    with t.step("ridmap: a mount below"):
        t.only("cor")  # crun 1.8 does not know it
        t.eq(owners(c, "/d/some", "/d/sub/over"), {"/d/some": "1007:2008", "/d/sub/over": "1003:2004"})
        c.exec("touch /d/sub/new", "--user", "1005:2006")
        t.eq(on_disk(src / "sub/new"), "5:6")
    with t.step("what a user makes"):
        r = c.exec("cd /a && umask 022 && echo x >new && mkdir dir && ln -s x link && mkfifo fifo && ln new hard && mv new moved",
                   "--user", "1005:2006")
        t.eq((r.code, r.err), (0, ""))
        t.eq(owners(c, "/a/moved", "/b/moved", "/c/moved"), {"/a/moved": "1005:2006", "/b/moved": "5:6", "/c/moved": "5:6"})
        t.eq({on_disk(src / n) for n in ("moved", "dir", "link", "fifo", "hard")}, {"5:6"})
        t.eq(os.stat(src / "moved").st_nlink, 2)
    with t.step("who is not mapped makes nothing"):
        for cmd in ("touch /a/x", "mkdir /a/x", "ln /a/some /a/x"):
            r = c.exec(cmd)
            t.eq((r.code, "Value too large" in r.err), (1, True), r.err)
        t.true(not (src / "x").exists(), "made all the same")
    with t.step("changes of owner"):
        t.eq(c.exec("chown 1001:2099 /a/some").code, 0)
        t.eq(on_disk(src / "some"), "1:99")
        r = c.exec("chown 1200 /a/some")
        t.eq((r.code, "Value too large" in r.err), (1, True), r.err)
        t.true(c.exec("chown 1000 /a/none").code != 0, "nobody's file was taken")
        t.eq((on_disk(src / "some"), on_disk(src / "none")), ("1:99", "70000:70000"))
    c.kill("KILL")
    c.wait()
    c.delete()


@case(timeout=200, vm=True, only=("cor", "crun"))
def test_user_namespace(t):
    """idmap alone: the mapping of the container's user namespace, so that its root is root there."""
    src = make_source(t)
    conf = bundle.config("echo up; exec sleep 1000")
    conf["linux"]["namespaces"].append({"type": "user"})
    conf["linux"]["uidMappings"] = conf["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    conf["mounts"] = [m for m in conf["mounts"] if m["destination"] in ("/proc", "/dev")]
    c = up(t, conf, [(src, "/a", "idmap"), (src, "/b")], owner=100000)
    t.eq(owners(c, "/a/root", "/a/some", "/a/none", "/b/root"), {"/a/root": "0:0", "/a/some": "7:8", "/a/none": "65534:65534", "/b/root": "65534:65534"})
    c.sh("touch /a/new; chown 5:6 /a/some; chmod 600 /a/root; mkdir -m 2755 /a/dir")
    t.eq([on_disk(src / n) for n in ("new", "some", "dir")], ["0:0", "5:6", "0:0"])
    t.eq([os.stat(src / n).st_mode & 0o7777 for n in ("root", "dir")], [0o600, 0o2755])
    t.true(c.exec("chown 0 /a/none").code != 0, "nobody's file was taken")
    c.kill("KILL")
    c.wait()
    c.delete()


@case(timeout=100, vm=True, only=("cor",))
def test_refused(t):
    """What can't be done is an error that says what and why, and nothing is left."""
    src = make_source(t)
    mapped = t.dir / "mapped"
    mapped.mkdir()
    idmap.mount(t, src, mapped, "0 1 1\n")
    nine_p = ("--set", "hypervisor=qemu", "--set", "qemu.share=9p")
    for name, source, options, globals_, texts in (
        ("9p", src, (MAPS,), nine_p, ("mount /a: ID-mapped mounts need virtio-fs", "set qemu.share = virtiofs")),
        ("a file system that can't", "/proc/sys", (MAPS,), idmap.served(t), ("shared path /proc/sys: its file system can't be ID-mapped",)),
        ("idmapped already", mapped, (MAPS,), idmap.served(t), (f"shared path {mapped}: ID-mapped mount: ", "is it ID-mapped already?")),
        ("no mappings and no user namespace", src, ("idmap",), idmap.served(t), ("idmap without mappings takes those",)),
        ("crun's relative mappings", src, ("idmap=uids=@0-0-1;gids=@0-0-1",), idmap.served(t), ("mounts[6].options: \"idmap=uids=@0-0-1",)),
    ):
        with t.step(name):
            conf = bundle.config("true")
            bundle.bind(conf, source, "/a", *options)
            c = t.rt.container(conf)
            r = c.create(check=None, globals_=globals_)
            t.true(r.code != 0, "created")
            t.has(r.err + c.log.read_text() if c.log.exists() else r.err, *texts)


@case(timeout=100, vm=True, only=("cor",))
def test_host_idmapped(t):
    """A root and a bind that the host has idmapped, as an engine does: the container's root makes files there as who it is on the disk."""
    src = make_source(t)
    mapped = t.dir / "mapped"
    mapped.mkdir()
    idmap.mount(t, src, mapped, "5 0 10\n")
    conf = bundle.config("stat -c %u:%g /a; touch /a/new /new; chown 3 /a/new")
    bundle.bind(conf, mapped, "/a")
    c = t.rt.container(conf)
    os.chown(src, 5, 6)
    root, shown = src.parent / "root", t.dir / "shown"
    t.run(["cp", "-a", c.rootfs, root], check=0)
    shown.mkdir()
    idmap.mount(t, root, shown, "0 0 100\n")
    conf["root"]["path"] = str(shown)
    bundle.write_config(c.bundle, conf)
    t.eq(c.run(check=0, timeout=60, globals_=idmap.served(t)).out, "0:1\n")
    t.eq(on_disk(src / "new"), "8:5")
    with t.step("the root, on the disk"):
        t.rt.only_shared_roots()
        t.eq(on_disk(root / "new"), "0:0")
