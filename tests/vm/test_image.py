"""`cor run --image`: what an image's layers and its configuration become. The archives are built here (lib/imagelib.py); no
registry and no engine is asked."""

import hashlib
import json
import os
import pathlib
import random
import tarfile

import bundle
import imagelib
import leak
from harness import case
from imagelib import END, Store, demo, entry, run, tar

COR = ("cor",)

# Each line: what is seen of one path of the five layers.
LOOK = r"""
for f in gone replaced was-file/in was-dir opaque/new hard1; do echo "$f: $(cat /$f)"; done
for f in opaque/hidden dirgone was-dir/in tree/a/b; do [ -e /$f ] && echo "$f is there"; done
echo many: $(ls /var/many | wc -l) $(cat /var/many/39)
echo opaque: $(ls -a /opaque)
echo link: $(readlink /link) $(head -n 1 /link)
echo hard: $(stat -c '%h %i' /hard1 | cut -d ' ' -f 1) $([ /hard1 -ef /hard2 ] && echo same)
echo suid: $(stat -c '%a %u' /suid)
echo bin: $(stat -c '%a %u:%g' /bin/entry) $(stat -c '%a' /tmp)
"""
SEEN = """gone: back
replaced: above
was-file/in: above
was-dir: above
opaque/new: above
hard1: one file
many: 20 39
opaque: . .. new
link: /etc/passwd root:x:0:0:root:/root:/bin/sh
hard: 2 same
suid: 4755 0
bin: 755 0:0 1777
"""


@case(timeout=240, vm=True, only=COR, quick=True)
def test_config(t):
    """Program, environment, user, directory and volumes are the image's."""
    demo(t)
    with t.step("entrypoint and command"):
        r = run(t)
        t.eq((r.code, r.out), (0, "entry one two words\n"), r.err)
    with t.step("a command takes the place of the image's, behind its entrypoint"):
        t.eq(run(t, "three", "-x", "--tty").out, "entry three -x --tty\n")
    script = r"""
echo ids: $(id -u) $(id -g) $(id -G | tr ' ' '\n' | sort -n | tr '\n' ' ')
echo pwd: $(pwd)
echo "env: $GREETING|$MINE|$PATH|$HOME"
echo made: $(touch /made/up/x 2>&1)
echo own: $(touch mine && echo written)
echo data: $(ls /data 2>&1)
echo host: $(head -n 1 /host/image-root/etc/group) $(touch /host/x 2>&1)
echo net: $(ip -o link | wc -l)
grep Cap /proc/self/status
"""
    r = run(t, "--entrypoint", "/bin/sh", "-e", "MINE=1", "-e", "GREETING=other", "-v", f"{t.dir}:/host:ro", "--", "-c", script,
            check=0)
    got = dict(line.split(":", 1) for line in r.out.splitlines())
    with t.step("user by name, with the groups of the image's file"):
        t.eq(got["ids"].split(), ["1001", "1002", "63", "64", "1002"])
    with t.step("directory and environment"):
        t.eq(got["pwd"], " /srv/work")
        t.eq(got["env"], " other|1|/usr/local/bin:/bin|/home/app")
    with t.step("what this user may write and read"):
        t.has(got["made"], "Permission denied")
        t.eq(got["own"], " written")
        t.has(got["data"], "Permission denied")
        t.has(got["host"], "root:x:0:", "Read-only file system")
    with t.step("a user other than root has no capabilities"):
        t.eq([int(got[k], 16) for k in ("CapEff", "CapPrm", "CapInh", "CapAmb")], [0, 0, 0, 0])
        t.true(int(got["CapBnd"], 16) != 0, "bounding set")
    with t.step("network: lo and nothing else"):
        t.eq(got["net"], " 1")
    with t.step("volumes: what the image has there, with its owner; one that it hasn't"):
        r = run(t, "-u", "root", "--entrypoint", "sh", "--", "-c", "stat -c '%u:%g %a %n' /data /data/db /made/up; "
                "echo x > /data/new; grep -E ' (/data|/made/up) ' /proc/mounts | cut -d ' ' -f 3", check=0)
        t.eq(r.out, "70:71 750 /data\n70:71 644 /data/db\n0:0 755 /made/up\ntmpfs\ntmpfs\n")
    with t.step("--user: name, number, group; --workdir is made"):
        r = run(t, "-u", "db:video", "-w", "/new/dir", "--entrypoint", "sh", "--", "-c", "id -u; id -g; id -G; pwd")
        t.eq(r.out.split(), ["70", "64", "64", "/new/dir"], r.err)
        r = run(t, "-u", "0", "--entrypoint", "sh", "--", "-c", "id -G; grep CapEff /proc/self/status; chown 5 /srv && echo ok")
        t.has(r.out, "0 10\n", "ok\n")
    with t.step("a user or group that the image doesn't know"):
        r = run(t, "-u", "nobody")
        t.eq(r.code, 1)
        t.has(r.err, "unable to find user nobody: no matching entries in passwd file")
        t.has(run(t, "-u", "app:nobody").err, "unable to find group nobody")
    t.eq(t.rt.states(), [])


SH = ("-u", "0", "--entrypoint", "sh", "--", "-c")


@case(timeout=240, vm=True, only=COR, quick=True)
def test_layers(t):
    """Five layers on top of each other: hidden, replaced and removed as the image says; what is written stays in the VM."""
    demo(t)
    store = t.dir / "store/layers"
    before = {p: (p.stat().st_mtime_ns, imagelib.sha(p.read_bytes())) for p in store.iterdir()}
    r = run(t, *SH, LOOK + "rm -rf /bin/entry /var && echo x > /replaced && cat /replaced; ls /var 2>&1; exit 0", check=0)
    with t.step("the tree"):
        t.eq(r.out[:len(SEEN)], SEEN)
    with t.step("written, removed: in the VM alone"):
        t.has(r.out[len(SEEN):], "x\n", "No such file")
        t.eq({p: (p.stat().st_mtime_ns, imagelib.sha(p.read_bytes())) for p in store.iterdir()}, before)
    with t.step("what one wrote the next does not see"):
        t.eq(run(t, *SH, "cat /replaced", check=0).out, "above")
    with t.step("the share is there for bind mounts, and only for them"):
        for mark, argv in ((False, ()), (True, ("--volume", f"{t.dir}:/host"))):
            timing = t.path(f"share{mark}.json")
            r = run(t, "--timing-json", timing, *argv, *SH, "ls /host || true", check=0)
            marks = {p["mark"] for p in json.loads(timing.read_text())}
            t.eq(("images-mounted" in marks, "share-mounted" in marks, "store" in r.out.split()), (True, mark, mark), marks)


@case(timeout=120, vm=True, only=COR)
def test_implied(t):
    """Directories that a layer has no entry for are as the layer below has them; a layer that comes twice is no trouble."""
    made = lambda name, mode, **kw: entry(name, kind=tarfile.DIRTYPE, mode=mode, **kw)
    base = imagelib.merge(imagelib.directory(bundle.make_rootfs(t.dir / "root")), made("shared/", 0o1777),
                          made("home/u/", 0o700, uid=77, gid=78), made("hid/", 0o700), made("late/", 0o711))
    middle = tar(entry("shared/one"), entry("home/u/deep/file"), entry(".wh.hid"), entry("hid/new"), entry("late/x"))
    top = tar(entry("shared/two"), made("late/", 0o2755, uid=5), entry("home/u/deep/other"))
    demo(t, layers=[base, END, middle, END, top], conf={})
    r = run(t, "--", "sh", "-c", "cd /; stat -c '%a %u:%g %n' shared home/u home/u/deep hid late; find shared home hid -type f | sort;"
            "ls -a | grep wh")
    t.eq(r.out.splitlines(), ["1777 0:0 shared", "700 77:78 home/u", "755 0:0 home/u/deep", "755 0:0 hid", "2755 5:0 late",
                              *"hid/new home/u/deep/file home/u/deep/other shared/one shared/two".split()], r.err)


def tall(t):
    """Sixty layers, as a long Dockerfile leaves them: what one makes another hides, replaces or links, on both sides of the run that
    becomes one file (15 to 54)."""
    d = lambda name, mode=0o755, **kw: entry(name + "/", kind=tarfile.DIRTYPE, mode=mode, **kw)
    hard = lambda name, to: entry(name, kind=tarfile.LNKTYPE, linkname=to)
    layers = [tar(entry(f"steps/{n}", b"%d\n" % n)) for n in range(60)]
    layers[0] = imagelib.merge(imagelib.directory(bundle.make_rootfs(t.dir / "root")), d("shared", 0o1777), d("home/u", 0o700, uid=77, gid=78))
    for n, what in {
            5: [d("low", 0o750, uid=7), entry("low/kept", b"low"), entry("low/gone"), d("low/sub"), entry("low/sub/x"), d("cover"),
                entry("cover/below"), entry("one", b"same"), hard("two", "one"), hard("three", "one"), hard("four", "one")],
            20: [d("own"), entry("own/a"), entry("own/b", b"b"), entry("shared/one"), entry("in1", b"in"), hard("in2", "in1"),
                 hard("in3", "in1"), entry("big", random.Random(1).randbytes(3 << 20))],
            30: [entry("own/.wh.a"), entry("low/.wh.gone"), entry("low/.wh.sub"), entry("two", b"other"), d("cover"),
                 entry("cover/.wh..wh..opq"), entry("cover/run", b"run"), entry("in2", b"another"), entry(".wh.four"), entry("home/u/in/run")],
            40: [entry("low/sub/new", b"new"), d("own", 0o2755, uid=9), entry(".wh.steps"), entry("steps/again", b"again")],
            57: [entry(".wh.in3"), entry("cover/.wh.run"), entry("cover/top", b"top"), entry("low/kept", b"top"), entry("shared/two"),
                 entry("home/u/in/top"), entry("was", b"w", mode=0o4755), hard("was2", "was")],
            59: [entry(".wh.was2")]}.items():
        layers[n] = imagelib.merge(layers[n], *what)
    return layers


TALL = r"""cd /; for f in low/kept low/sub/new own/b cover/top two three in1 in2 was; do echo "$f: $(cat $f)"; done
ls -d low/gone low/sub/x own/a cover/below cover/run four in3 was2 2>/dev/null; echo "lists: $(ls -A low own cover steps | tr '\n' ' ')"
stat -c '%n %a %u:%g' low own shared home/u home/u/in was; [ one -ef three ] && echo same; [ one -ef two ] || echo other
find shared home/u -type f | sort | tr '\n' ' '; md5sum < big; ls -A | grep wh; rm -rf own cover && mkdir own && ls -A own | wc -l
"""
TALL_SEEN = """low/kept: top
low/sub/new: new
own/b: b
cover/top: top
two: other
three: same
in1: in
in2: another
was: w
lists: cover: top  low: kept sub  own: b  steps: 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 again 
low 750 7:0
own 2755 9:0
shared 1777 0:0
home/u 700 77:78
home/u/in 755 0:0
was 4755 0:0
same
other
home/u/in/run home/u/in/top shared/one shared/two """


@case(timeout=240, vm=True, only=COR)
def test_tall(t):
    """An image of sixty layers, more than a VM has devices: what is seen is what all of them say."""
    store = demo(t, layers=tall(t), conf={})
    t.eq([len(row.get("diff_ids", [0])) for row in store("inspect", "demo").json()["layers"]], [1] * 14 + [40] + [1] * 6)
    want = TALL_SEEN + hashlib.md5(random.Random(1).randbytes(3 << 20)).hexdigest() + "  -\n0\n"
    for n in range(2):  # the second one is a clone, where there are templates
        with t.step(("booted", "again")[n]):
            r = run(t, "--", "sh", "-c", TALL)
            t.eq(r.out, want, r.err)
    with t.step("imported with another version: an error that says what to do"):
        (store.root / "layers" / os.path.basename(store("inspect", "demo").json()["layers"][14]["file"])).unlink()
        t.has(run(t, "--", "true").err, "image demo", "No such file or directory (import the image again)")
    t.eq(t.rt.states(), [])


@case(timeout=240, vm=True, only=COR)
def test_limits(t):
    """Exit codes; what can't be run; what can't be written."""
    demo(t)
    with t.step("exit codes"):
        t.eq(run(t, *SH, "exit 42").code, 42)
        t.eq(run(t, *SH, "sh -c 'kill -9 $$'; exit $?").code, 137)
        r = run(t, "--entrypoint", "/no/such")
        t.eq(r.code, 1)
        t.has(r.err, "no such file or directory")
    with t.step("--read-only: volumes alone can be written"):
        r = run(t, "--read-only", *SH, "touch /x 2>&1; touch /data/x /dev/shm/x && echo volumes", check=0)
        t.has(r.out, "Read-only file system", "volumes")
    with t.step("image.writable bounds what can be written"):
        r = run(t, *SH, "dd if=/dev/zero of=/fill bs=1M count=20 2>&1; ls -l /fill", globals_=("--set", "image.writable=8M"))
        t.has(r.out, "No space left on device", "8388608")


@case(timeout=240, vm=True, only=COR)
def test_life(t):
    """Detached: its ID, exec by name, two of one image, and the image removed under them."""
    store = demo(t)
    out = t.dir / "detached.out"
    names = [t.fresh(), t.fresh()]
    for name in names:
        t.cleanup(lambda name=name: t.rt("delete", "--force", name, check=None))
        with open(out, "ab") as f:
            child = t.spawn(t.rt.argv("run", "-d", "--image", "demo", "--name", name, "--entrypoint", "sleep", "--", "1000"),
                            stdout=f, stderr=f)
            t.eq(t.end_of(child, timeout=90), 0, out.read_text())
    sh = lambda name, text, *flags: t.rt("exec", *flags, name, "sh", "-c", text, check=0).out
    with t.step("state names no root of the host; the bundle is the container's own"):
        state = t.rt("state", names[0]).json()
        t.eq(state["status"], "running")
        t.true("rootfs" not in state, state)
        t.eq(state["annotations"]["org.opencontainers.image.stopSignal"], "SIGQUIT")
        t.eq(state["annotations"]["org.example.note"], "a label")
        t.true("dev.cor.vm.memory" not in state["annotations"], "a label sets up the VM")
        t.true((pathlib.Path(state["bundle"]) / "config.json").exists(), "config.json")
    with t.step("exec: as the image's user, and by name"):
        t.eq(sh(names[0], "id -un"), "app\n")
        t.eq(sh(names[0], "id -u; id -g", "-u", "db"), "70\n71\n")
        t.has(t.rt("exec", "-u", "nobody", names[0], "true", check=255).err, "unable to find user nobody")
    with t.step("each has a layer of its own"):
        sh(names[0], "echo mine > /srv/work/note")
        t.eq(sh(names[1], "ls /srv/work"), "")
    with t.step("removed while they run: they have it still, and nobody else"):
        store("rm", "demo")
        store("gc")
        t.eq(store.layers(), [])
        t.eq(sh(names[0], "cat /replaced /var/many/39"), "above39")
        t.eq(sh(names[1], "md5sum < /bin/busybox"), sh(names[0], "md5sum < /bin/busybox"))
        r = run(t)
        t.eq(r.code, 1)
        t.has(r.err, "no image 'demo'", "cor-image ls")
    for name in names:
        t.rt("kill", name, "KILL", check=0)
        t.wait(lambda: t.rt("state", name).json()["status"] == "stopped", "its end")
        t.rt("delete", name, check=0)
    t.eq(t.rt.states(), [])


# What a program finds, without what is of the machine's or the engine's own making.
FIND = r"""
env | grep -v -E '^(HOSTNAME|container|SHLVL|_|PWD|OLDPWD|TERM)=' | sort
id -u; id -g; id -G | tr ' ' '\n' | sort -n
pwd; umask; grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs' /proc/self/status
stat -c '%a %u:%g %n' . /data /bin/entry
stat -c '%a %n' /made/up
"""


@case(timeout=300, vm=True, only=COR, needs=("podman", "runc"))
def test_as_podman(t):
    """The same image under Podman and runc: program, environment, user, groups, capabilities, directory and volumes are the same. But:
    a volume that the image has no directory for belongs to root here, as under Docker, and there to the user; a user whom the
    image doesn't know has / for a home, and there what the working directory is."""
    demo(t)
    podman = ["podman", *(f"--{k}={t.dir}/pod-{k}" for k in ("root", "runroot", "tmpdir")), "--storage-driver=vfs",
              "--cgroup-manager=cgroupfs", "--events-backend=file", "--runtime=runc"]
    env = dict(os.environ, TMPDIR=str(t.dir))
    archive = t.dir / "demo.tar"
    t.run(["tar", "-C", t.dir / "demo-oci", "-cf", archive, "oci-layout", "index.json", "blobs"], check=0)
    name = t.run([*podman, "load", "-q", "-i", archive], check=0, env=env, timeout=90).out.split()[-1]
    t.cleanup(lambda: leak.remove_empty_cgroups(t.token))  # Podman leaves the parent it was given
    t.cleanup(lambda: t.run([*podman, "rm", "-a", "-f"], env=env, timeout=60))

    def theirs(*argv, command=()):
        return t.run([*podman, "run", "--rm", "--network=none", f"--cgroup-parent={t.token}", "--ulimit=nofile=1024:1024",
                      "--ulimit=nproc=10000:10000", *argv, name, *command], env=env, timeout=90)

    cases = (("as it is", (), ()), ("with a command", (), ("x", "-y")),
             ("the image's user", ("--entrypoint", "sh"), ("-c", FIND)),
             ("root", ("--entrypoint", "sh", "-u", "0", "-e", "GREETING=other", "-e", "NEW=1"), ("-c", FIND)),
             ("by number", ("--entrypoint", "sh", "-u", "70", "-w", "/tmp"), ("-c", FIND)),
             ("a number nobody has", ("--entrypoint", "sh", "-u", "4321", "-w", "/"), ("-c", FIND)),
             ("with a group", ("--entrypoint", "sh", "-u", "db:audio"), ("-c", FIND)))
    for what, flags, command in cases:
        with t.step(what):
            want = theirs(*flags, command=command)
            got = run(t, *flags, "--", *command)
            t.eq((got.code, got.out), (want.code, want.out), want.err)
    t.run([*podman, "rmi", "-a", "-f"], env=env, timeout=60)


@case(timeout=240, vm=True, only=COR, needs=("dpkg",))
def test_debian(t):
    """Programs of Debian packages, linked dynamically, from three layers: text and libraries are executed from the host's pages."""
    if not pathlib.Path("/var/lib/dpkg/info/bash.list").exists():
        t.skip("dpkg knows no packages here (an emulated host has /usr of the machine, not /var)")
    store = imagelib.debian_image(t)
    t.eq(len(store("inspect", "debian").json()["layers"]), 3)
    r = run(t, "--", "bash", "-c", "ls -d /bin /etc/debian_version; sha256sum /usr/bin/bash | cut -c 1-64; sort --version | head -n 1;"
            "python3 -c 'import os, stat; print(len(os.listdir(\"/usr/bin\")) > 50, sum(range(1000)))';"
            "cp -a /usr/bin /copy && sha256sum /copy/bash | cut -c 1-64 && /copy/bash -c 'echo copied'", image="debian", timeout=120)
    t.eq(r.code, 0, r.err)
    lines = r.out.splitlines()
    t.eq(lines[:3], ["/bin", "/etc/debian_version", imagelib.sha(pathlib.Path("/usr/bin/bash").read_bytes())])
    t.has(lines[3], "sort (GNU coreutils)")
    t.eq(lines[4:], ["True 499500", lines[2], "copied"])


@case(timeout=240, vm=True, only=COR)
def test_unread(t):
    """200 MB start without being read: what comes from the disk, what is mapped; a second container adds nothing."""
    store = imagelib.big_image(t)
    files = sorted((store.root / "layers").glob("*.erofs"))
    size = sum(f.stat().st_size for f in files)
    t.true(len(files) == 5 and size > 200 << 20, f"{len(files)} layers, {size} bytes")
    left = sum(map(imagelib.drop, files))
    if left:
        t.skip(f"the pages of files in {t.dir} can't be dropped: {left} bytes stay (a file system in memory?)")
    names = [t.fresh(), t.fresh()]
    found = []
    for name in names:
        t.cleanup(lambda name=name: t.rt("delete", "--force", name, check=None))
        with open(t.dir / "out", "ab") as f:
            child = t.spawn(t.rt.argv("run", "-d", "--image", "demo", "--name", name, "--", "sleep", "1000"), stdout=f, stderr=f)
            t.eq(t.end_of(child, timeout=90), 0, (t.dir / "out").read_text())
        vm = imagelib.vm_pid(t.rt.root / name)
        found.append((sum(map(imagelib.resident, files)), imagelib.mapped(vm, files), imagelib.read_bytes(vm)))
    for n, (cached, maps, read) in enumerate(found, 1):
        t.report(f"{n} of 2: image {size / 1e6:.1f} MB; in the page cache {cached / 1e6:.1f} MB; mapped by the VM "
                 f"{maps.get('Rss', 0) / 1e6:.2f} MB (PSS {maps.get('Pss', 0) / 1e6:.2f}); read by the VM {read / 1e6:.1f} MB")
    ahead = imagelib.read_ahead(files[0])
    t.report(f"the host reads {ahead >> 10} KiB ahead of each page of this disk")
    with t.step("the whole image is mapped, a page in a hundred is used, and few were read with them"):
        t.eq(found[0][1]["Size"], size, "mapped as a whole")
        t.true(0 < found[0][1]["Rss"] < size / 100, found[0])
        t.true(found[0][1]["Rss"] <= found[0][0] < size / (10 if ahead <= 1 << 20 else 4), found[0])
    with t.step("the second one reads nothing of it"):
        t.true(found[1][0] - found[0][0] < 1 << 20, found)
    with t.step("what both have is there once"):
        t.true(found[1][1]["Pss"] < found[1][1]["Rss"] * 0.75, found[1][1])
        t.eq([found[1][1][k] for k in ("Private_Dirty", "Shared_Dirty", "Anonymous")], [0, 0, 0])
    for name in names:
        t.rt("delete", "--force", name, check=0)


def spoil(path, at, data):
    path.chmod(0o600)
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


@case(timeout=240, vm=True, only=COR)
def test_damaged(t):
    """A layer that the guest can't mount or read: an error that says so, and nothing stays."""
    store = demo(t)
    layers = [store.root / "layers" / (d["diff_id"][7:] + ".erofs") for d in store("inspect", "demo").json()["layers"]]
    whole = layers[1].read_bytes()
    with t.step("a superblock that says what can't be"):
        spoil(layers[1], 1024 + 12, b"\x0c\xff")  # how many slots the superblock has
        r = run(t)
        t.eq(r.code, 1)
        t.has(r.err, "can't be mounted", "cor-image verify")
        t.eq(t.rt.states(), [])
    with t.step("verify finds it"):
        t.has(store("verify", "demo", check=2).err, "is not as it was written")
    spoil(layers[1], 0, whole)
    with t.step("mended"):
        t.eq(run(t).out, "entry one two words\n")


@case(timeout=300, vm=True, only=COR)
def test_convert(t):
    """image.convert: a bundle's root becomes an image, once; what can't be so is shared as before, with a word."""
    imagelib.use(t, t.path("store"))
    on = ("--set", "image.convert=true")
    script = "grep ' / ' /proc/mounts | cut -d ' ' -f 1; cat /etc/mark; echo written > /written; cat /written"
    c = t.rt.container(bundle.config(script))
    (c.rootfs / "etc/mark").write_text("first\n")
    layers = lambda: sorted(p.name for p in (t.dir / "store/layers").glob("*.erofs"))
    with t.step("a directory"):
        r = c.run(globals_=on, timeout=90)
        t.eq((r.code, r.out), (0, "overlay\nfirst\nwritten\n"), r.err)
        t.true(not (c.rootfs / "written").exists(), "written on the host")
        t.eq(len(layers()), 1)
    with t.step("once"):
        was = layers()
        t.eq(c.run(globals_=on, timeout=90).out, "overlay\nfirst\nwritten\n")
        t.eq(layers(), was)
    with t.step("a changed one is another, however little and whatever its times say"):
        st = (c.rootfs / "etc/mark").stat()
        (c.rootfs / "etc/mark").write_text("other\n")
        os.utime(c.rootfs / "etc/mark", ns=(st.st_atime_ns, st.st_mtime_ns))
        t.eq(c.run(globals_=on, timeout=90).out, "overlay\nother\nwritten\n")
        t.eq(len(layers()), 2)
    with t.step("with a name that mkfs.erofs would cut: shared, and a line that says so"):
        long = c.rootfs / ("n" * 255)
        long.touch()
        t.has(c.run(globals_=on, timeout=90).err, "is shared as a directory", "254 bytes")
        t.eq(len(layers()), 2)
        long.unlink()
    with t.step("an annotation, if cor.conf lets it"):
        conf = json.loads((c.bundle / "config.json").read_text())
        conf["annotations"] = {"dev.cor.image.convert": "true"}
        bundle.write_config(c.bundle, conf)
        r = c.run(timeout=90)
        t.eq(r.code, 1)
        t.has(r.err, "dev.cor.image.convert")
        t.eq(c.run(globals_=("--set", "annotations.allow=image.convert"), timeout=90).out, "overlay\nother\nwritten\n")
    with t.step("with a hook that could write to it: shared, and a line that says so"):
        conf["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo hook > {c.rootfs}/etc/mark"]}]}
        bundle.write_config(c.bundle, conf)
        r = c.run(globals_=on + ("--set", "annotations.allow=image.convert"), timeout=90)
        t.eq(r.out.splitlines()[1:], ["hook", "written"])
        t.has(r.err, "is shared as a directory", "createRuntime hook")
        t.true((c.rootfs / "written").exists(), "nothing was written on the host")


@case(timeout=300, vm=True, only=COR)
def test_convert_overlay(t):
    """A root that an engine mounted: its layers are converted each by itself, once, and what it wrote above for each container."""
    imagelib.use(t, t.path("store"))
    t.rt.globals = t.rt.globals + ["--set", "image.convert=true"]
    base = bundle.make_rootfs(t.dir / "lower0")
    (base / "etc/gone").write_text("below\n")
    (base / "etc/same").write_text("below\n")
    top = t.dir / "lower1"
    (top / "etc").mkdir(parents=True)
    (top / "etc/same").write_text("middle\n")
    os.mknod(top / "etc/gone", 0o20000, os.makedev(0, 0))
    layers = lambda: sorted(p.name for p in (t.dir / "store/layers").glob("*.erofs"))
    out = []
    for n in range(2):
        c = t.rt.container(bundle.config("cat /etc/same; ls /etc/gone /etc/passwd 2>&1; cat /engine; echo x > /etc/same"),
                           rootfs=False)
        c.rootfs.mkdir()
        up, work = t.dir / f"upper{n}", t.dir / f"work{n}"
        up.mkdir()
        work.mkdir()
        t.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={top}:{base},upperdir={up},workdir={work}", c.rootfs], check=0)
        t.cleanup(lambda c=c: t.run(["umount", c.rootfs]))
        (c.rootfs / "engine").write_text(f"engine {n}\n")
        (c.rootfs / "etc/passwd").unlink()
        r = c.run(timeout=90)
        t.eq(r.code, 0, r.err)
        out.append(r.out)
        t.eq((up / "etc/same").exists(), False, "written on the host")
        t.run(["umount", c.rootfs], check=0)
    with t.step("what is seen"):
        for n in range(2):
            t.has(out[n], "middle\n", "/etc/gone: No such file", "/etc/passwd: No such file", f"engine {n}\n")
    with t.step("two layers for both containers"):
        t.eq(len(layers()), 2)


@case(timeout=300, vm=True, only=COR)
def test_convert_many(t):
    """A root of sixty directories, more than a VM has devices: some of them become one file, once. As containerd mounts it: their paths
    are relative, since a page would not hold them else."""
    imagelib.use(t, t.path("store"))
    t.rt.globals = t.rt.globals + ["--set", "image.convert=true"]
    base = t.path("snapshots" + "x" * 60)
    dirs = [base / f"{n}/fs" for n in range(60)]
    for n, top in enumerate(dirs):
        (top / "steps").mkdir(parents=True)
        (top / f"steps/{n}").write_text(f"{n}\n")
        if n:
            os.mknod(top / f"steps/{n - 1}", 0o20000, os.makedev(0, 0))  # each hides the one before
    bundle.make_rootfs(dirs[0])
    top = dirs[20]
    os.link(top / "steps/20", top / "kept")
    os.link(top / "steps/20", top / "kept2")
    (top / "etc").mkdir(mode=0o750)
    os.setxattr(top / "etc", "trusted.overlay.opaque", b"y")
    (top / "etc/only").write_text("only\n")
    layers = lambda: sorted(p.name for p in (t.dir / "store/layers").glob("*.erofs"))
    script = "grep ' / ' /proc/mounts | cut -d ' ' -f 1; ls -A /steps; ls -A /etc | grep -c passwd; cat /etc/only /kept; "\
             "[ /kept -ef /kept2 ] && echo same; stat -c %a /etc; cat /engine"
    c = t.rt.container(bundle.config(script), rootfs=False)
    for d in (c.rootfs, base / "60/fs", base / "60/work"):
        d.mkdir(parents=True)
    t.true(len(":".join(map(str, dirs))) > 4096, "more than a page")
    t.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={':'.join(f'{n}/fs' for n in reversed(range(60)))},"
           f"upperdir={base}/60/fs,workdir={base}/60/work", c.rootfs], cwd=base, check=0)
    t.cleanup(lambda: t.run(["umount", c.rootfs]))
    (c.rootfs / "engine").write_text("engine\n")
    was = None
    for n in range(2):
        with t.step(("converted", "known")[n]):
            r = c.run(timeout=200)
            t.eq(r.out, "overlay\n59\n0\nonly\n20\nsame\n750\nengine\n", r.err)
            t.true("is shared as a directory" not in r.err, r.err)
            t.eq(len(layers()), 13 + 1 + 7)
            t.eq(layers(), was or layers())
            was = layers()
    with t.step("no image has them: gc takes all"):
        Store(t)("gc")
        t.eq(layers(), [])
    t.run(["umount", c.rootfs], check=0)
