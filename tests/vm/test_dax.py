"""Images mapped into VMs: one copy on the host and none in the guest, not to be written, the right files behind every clone."""

import pathlib
import re

import bundle
import imagelib
from harness import LOWEST_S, case

COR = ("cor",)
BIG = 32 << 20
MIB = 1 << 20


def image(t, name, mark, size):
    """An image of two layers: a root file system, and /big with this many bytes and /mark."""
    root = bundle.make_rootfs(t.dir / f"{name}-root")
    pattern = (mark.encode() * 4096)[:4096]
    top = imagelib.tar(imagelib.entry("big", pattern * (size // 4096)), imagelib.entry("mark", mark.encode() + b"\n"))
    return imagelib.demo(t, name=name, conf={"Cmd": ["/bin/sh"]}, layers=[imagelib.directory(root), top])


def detached(t, *flags):
    """Its name, once it runs."""
    name = t.fresh()
    t.cleanup(lambda: t.rt("delete", "--force", name, check=None))
    with open(t.dir / f"{name}.out", "ab") as f:
        child = t.spawn(t.rt.argv("run", "-d", "--image", "demo", "--name", name, *flags, "--", "sleep", "1000"), stdout=f, stderr=f)
        t.eq(t.end_of(child, timeout=90), 0, (t.dir / f"{name}.out").read_text())
    return name


def sh(t, name, script, **kw):
    return t.rt("exec", name, "sh", "-c", script, check=0, **kw).out


def mapped(pid):
    """Bytes of layers that a VM maps: resident, its share of them, copies of its own."""
    found = {"Rss": 0, "Pss": 0, "own": 0}
    inside = False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(".erofs")
            if inside and "w" in line.split()[1]:
                found["own"] += 1 << 40  # a writable mapping of an image
        elif inside:
            key, kb = line.split(":")[0], line.split()[1]
            if key in ("Rss", "Pss"):
                found[key] += int(kb) << 10
            elif key == "Anonymous":
                found["own"] += int(kb) << 10
    return found


def vms(t, names):
    """The processes that map a layer, one for each container."""
    pids = []
    for name in names:
        monitor = t.rt("state", name).json()["pid"]
        kids = pathlib.Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split()
        pids += [int(k) for k in kids if ".erofs" in pathlib.Path(f"/proc/{k}/maps").read_text()]
    t.eq(len(pids), len(names), "VMs that map a layer")
    return pids


@case(timeout=240, vm=True, only=COR)
def test_one_copy(t):
    """Two VMs read all of an image: the host has its pages once, the guests not at all."""
    store = image(t, "demo", "one", BIG)
    names = [detached(t), detached(t)]
    want = t.run(["sh", "-c", f"cat {store.root}/layers/*.erofs | wc -c"], check=0)
    t.true(int(want.out) > BIG, "the store has it")
    free = "grep -E '^(Cached|Buffers|MemFree):' /proc/meminfo | tr -s ' ' | cut -d ' ' -f 2"
    for name in names:
        lines = sh(t, name, f"{free}; md5sum < /big; {free}").replace("-", "").split()
        before, after = [int(x) << 10 for x in lines[0:3]], [int(x) << 10 for x in lines[4:7]]
        with t.step(f"{'first' if name == names[0] else 'second'} guest: not in its memory"):
            t.eq(sh(t, name, "cat /mark; grep ' / ' /proc/mounts | cut -d ' ' -f 1"), "one\noverlay\n")
            t.true(sum(after[1:]) - sum(before[1:]) < 2 * MIB, f"cache grew: {before} {after}")
            t.true(before[0] - after[0] < 4 * MIB, f"free memory shrank: {before} {after}")
    seen = [mapped(pid) for pid in vms(t, names)]
    with t.step("each VM has all of it mapped, and nothing of its own"):
        for s in seen:
            t.true(s["Rss"] >= BIG, s)
            t.eq(s["own"], 0, s)
    with t.step("shared: together they account for one"):
        rss, pss = sum(s["Rss"] for s in seen), sum(s["Pss"] for s in seen)
        t.true(rss >= 2 * BIG and pss < rss * 0.6, f"resident {rss}, accounted for {pss}")


FORCE = r"""
for d in /sys/block/pmem*; do
    n=/tmp/${d##*/}; mknod $n b $(tr : ' ' < $d/dev)
    echo "ro $(cat $d/ro)"
    dd if=/dev/zero of=$n bs=4096 count=1 conv=notrunc,fsync 2>/dev/null && echo written
    blockdev --setrw $n; dd if=/dev/zero of=$n bs=4096 count=512 conv=notrunc,fsync 2>/dev/null
    blockdev --flushbufs $n; dd if=$n bs=1024 skip=1 count=1 2>/dev/null | head -c 4 | od -An -tx1
    mkdir -p /tmp/m; mount -t erofs -o dax=always,ro $n /tmp/m || echo no mount
    mount -o remount,rw /tmp/m 2>/dev/null; touch /tmp/m/x 2>/dev/null && echo touched; umount /tmp/m
done
cat /etc/mark
"""


@case(timeout=240, vm=True, only=COR)
def test_not_written(t):
    """A guest that may do anything in its VM writes to the device: the file stays as it is, and so does what is read of it."""
    store = t.path("store")
    conf = bundle.config(FORCE)
    every = (pathlib.Path("/proc/self/status").read_text().split("CapBnd:")[1].split()[0])
    conf["process"]["capabilities"] = {k: caps(int(every, 16)) for k in ("bounding", "effective", "permitted")}
    conf["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    c = t.rt.container(conf)
    (c.rootfs / "etc/mark").write_text("as it was\n")
    flags = ("--set", f"image.store={store}", "--set", "image.convert=true")
    t.rt.globals = t.rt.globals + list(flags)
    r = c.run(timeout=120)
    t.eq(r.code, 0, r.err)
    with t.step("the block device refuses"):
        t.has(r.out, "ro 1\n")
        t.lacks(r.out, "written")
        t.lacks(r.out, "touched")
    with t.step("forced: it reads as before"):
        t.has(r.out, " e2 e1 f5 e0\n", "as it was\n")
        t.lacks(r.out, "no mount")
    with t.step("the file on the host"):
        t.run([pathlib.Path(t.opts.runtime).parent / "cor-image", "verify", "--store", store], check=0)


def caps(mask):
    names = ("CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
             "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
             "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD").split()
    return ["CAP_" + n for i, n in enumerate(names) if mask >> i & 1]


@case(timeout=300, vm=True, only=COR)
def test_clones(t):
    """One template for images of the same sizes: each clone has its own files behind the devices."""
    templates = t.path("templates")
    t.rt.globals = t.rt.globals + ["--set", "template=on", "--set", "pool=0", "--set", f"template.dir={templates}"]
    t.rt.only_with_templates()
    image(t, "one", "first", 4 * MIB)
    for name, mark in (("two", "second"), ("three", "third")):
        image(t, name, mark, 4 * MIB if name == "two" else 12 * MIB)

    def run(name, want, cloned):
        timing = t.path(f"{name}.json")
        r = imagelib.run(t, "--timing-json", timing, "--", "sh", "-c", "cat /mark; head -c 6 /big; echo; md5sum < /big", image=name)
        t.eq(r.code, 0, r.err)
        t.eq(r.out.splitlines()[:2], [want, (want * 2)[:6]])
        t.eq('"cloned"' in timing.read_text(), cloned, "a clone")

    ready = lambda n: t.wait(lambda: len(t.rt("template", "--format", "json", "ls").json()) == n, f"{n} templates", timeout=LOWEST_S)
    with t.step("booted; a template is made"):
        run("one", "first", False)
        ready(1)
    with t.step("a clone of it"):
        run("one", "first", True)
    with t.step("another image of the same sizes"):
        run("two", "second", True)
    with t.step("other sizes are another template"):
        run("three", "third", False)
        ready(2)
        run("three", "third", True)
        run("two", "second", True)
    with t.step("nothing of an image is in a template"):
        for memory in templates.glob("default/*/memory"):
            data = memory.read_bytes()
            t.true(b"firstfirst" not in data and b"thirdthird" not in data, memory)
