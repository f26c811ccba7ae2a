"""mounts of every usual kind and option, masked and read-only paths, read-only root, devices."""

import os

import bundle
import guestinfo
from harness import case


@case(timeout=120, vm=True, quick=True)
def test_many(t):
    """Every usual mount in one container; options from mountinfo, contents by reading and writing."""
    src = t.dir / "src"
    (src / "sub").mkdir(parents=True)
    (src / "file").write_text("from the host\n")
    (src / "sub/deep").write_text("deep\n")
    single = t.dir / "single"
    single.write_text("one file\n")
    conf = bundle.config("""
        echo up
        read line
        """)
    bundle.bind(conf, src, "/data", "rw")
    bundle.bind(conf, src, "/data-ro", "ro", "nosuid", "nodev", "noexec")
    bundle.bind(conf, single, "/etc/single.conf", "ro")
    bundle.bind(conf, single, "/made/dirs/for/file", "rw")
    bundle.mount(conf, "/scratch", "tmpfs", "tmpfs", "size=1m", "mode=1770", "nosuid", "nodev", "noexec")
    bundle.mount(conf, "/scratch/below", "tmpfs", "tmpfs", "ro")
    bundle.mount(conf, "/times", "tmpfs", "tmpfs", "noatime", "nodiratime")
    bundle.bind(conf, src / "sub", "/scratch/inner", "rbind")
    bundle.mount(conf, "/shared", "tmpfs", "tmpfs", "shared")
    bundle.mount(conf, "/slave", "tmpfs", "tmpfs", "rslave")
    bundle.mount(conf, "/unbind", "tmpfs", "tmpfs", "unbindable")
    bundle.mount(conf, "relative", "tmpfs", "tmpfs")
    bundle.mount(conf, "/copied", "tmpfs", "tmpfs", "tmpcopyup")
    bundle.mount(conf, "/link/target", "tmpfs", "tmpfs")
    c = t.rt.container(conf)
    (c.rootfs / "copied").mkdir()
    (c.rootfs / "copied/old").write_text("old\n")
    (c.rootfs / "elsewhere").mkdir()
    (c.rootfs / "link").symlink_to("/elsewhere")
    r, w = os.pipe()
    c.create(stdin=r)
    os.close(r)
    c.start()
    c.wait_out("up")
    m = guestinfo.mounts(c.sh("cat /proc/self/mountinfo"))
    with t.step("bind of a directory"):
        t.eq(c.sh("cat /data/file /data/sub/deep"), "from the host\ndeep\n")
    with t.step("written through, both ways"):
        c.sh("echo guest > /data/new; mkdir /data/d; mv /data/new /data/d/new")
        t.eq((src / "d/new").read_text(), "guest\n")
        (src / "d/host").write_text("later\n")
        t.eq(c.sh("cat /data/d/host"), "later\n")
    with t.step("read-only bind"):
        t.true({"ro", "nosuid", "nodev", "noexec"} <= m["/data-ro"].options, m["/data-ro"].options)
        t.true(c.exec("echo x > /data-ro/file").code != 0, "written")
        t.eq((src / "file").read_text(), "from the host\n")
        t.true("ro" not in m["/data"].options, "the writable bind became read-only")
    with t.step("bind of a file"):
        t.eq(c.sh("cat /etc/single.conf"), "one file\n")
        t.true(c.exec("echo x > /etc/single.conf").code != 0, "written")
        c.sh("echo changed > /made/dirs/for/file")
        t.eq(single.read_text(), "changed\n")
    with t.step("tmpfs with size and mode"):
        t.eq(m["/scratch"].type, "tmpfs")
        t.true({"nosuid", "nodev", "noexec"} <= m["/scratch"].options, m["/scratch"].options)
        t.eq(c.sh("stat -c %a /scratch"), "1770\n")
        t.true(c.exec("dd if=/dev/zero of=/scratch/big bs=1M count=3 2>/dev/null").code != 0, "no size limit")
        c.sh("rm -f /scratch/big")
    with t.step("order: mounts below mounts"):
        t.true("ro" in m["/scratch/below"].options, m["/scratch/below"].options)
        t.eq(c.sh("cat /scratch/inner/deep"), "deep\n")
    with t.step("atime options"):
        t.true({"noatime", "nodiratime"} <= m["/times"].options, m["/times"].options)
    with t.step("propagation"):
        t.only("cor", "runc")
        t.eq(m["/shared"].propagation, "shared")
        t.eq(m["/unbind"].propagation, "unbindable")
    with t.step("relative destination"):
        t.eq(m["/relative"].type, "tmpfs")
    with t.step("tmpcopyup"):
        t.eq(c.sh("cat /copied/old"), "old\n")
        c.sh("echo new > /copied/old")
        t.eq((c.rootfs / "copied/old").read_text(), "old\n")
    with t.step("a symlink in the destination stays inside"):
        t.true("/elsewhere/target" in m, sorted(m))
    with t.step("proc, sysfs, devpts, mqueue, shm"):
        t.eq([m[d].type for d in ("/proc", "/sys", "/dev/pts", "/dev/mqueue", "/dev/shm")],
             ["proc", "sysfs", "devpts", "mqueue", "tmpfs"])
        t.true("ro" in m["/sys"].options, "/sys is writable")
        t.true({"nosuid", "noexec", "nodev"} <= m["/proc"].options, m["/proc"].options)
        t.eq(c.sh("stat -c %a /dev/shm"), "1777\n")
    with t.step("no mount of the host's or the runtime's is seen"):
        known = {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/data", "/data-ro",
                 "/etc/single.conf", "/made/dirs/for/file", "/scratch", "/scratch/below", "/times", "/scratch/inner",
                 "/shared", "/slave", "/unbind", "/relative", "/copied", "/elsewhere/target"}
        extra = {d for d in m if d not in known and not d.startswith(("/proc/", "/sys/", "/dev/"))}
        t.eq(extra, set())
    with t.step("masked paths"):
        t.eq(c.sh("cat /proc/kcore /proc/keys 2>/dev/null | wc -c"), "0\n")
        t.eq(c.sh("ls /sys/firmware | wc -l"), "0\n")
    with t.step("read-only paths"):
        t.true(c.exec("echo 1 > /proc/sys/kernel/sysrq").code != 0, "/proc/sys is writable")
        t.true(c.exec("echo h > /proc/sysrq-trigger").code != 0, "/proc/sysrq-trigger is writable")
    os.write(w, b"end\n")
    os.close(w)
    t.eq(c.wait(), 0)
    c.delete()
    with t.step("the bundle has no mounts after it"):
        t.eq([line for line in open("/proc/self/mountinfo") if str(c.bundle) in line], [])


@case(timeout=120, vm=True)
def test_readonly_root(t):
    conf = bundle.config("echo x > /etc/new || echo refused; echo y > /var/tmp/f && echo tmpfs; touch /bin/sh || echo ro; "
                         "grep ' / / ' /proc/self/mountinfo || cat /proc/self/mountinfo")
    conf["root"]["readonly"] = True
    bundle.mount(conf, "/var/tmp", "tmpfs", "tmpfs")
    c = t.rt.container(conf)
    r = c.run(check=0, timeout=90)
    with t.step("root is read-only"):
        t.eq(r.out.splitlines()[:3], ["refused", "tmpfs", "ro"])
        t.true(not (c.rootfs / "etc/new").exists(), "the host's file was made")
    with t.step("mountinfo says so"):
        t.true("ro" in guestinfo.mounts(r.out)["/"].options, r.out)


@case(timeout=120, vm=True)
def test_devices(t):
    """Default devices, devices of the configuration, and the device rules that engines send."""
    conf = bundle.config("echo up; exec sleep 1000")
    conf["linux"]["devices"] = [
        {"path": "/dev/mynull", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 1000, "gid": 5},
        {"path": "/dev/sub/zero", "type": "c", "major": 1, "minor": 5},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
    ]
    allow = [("c", 1, 3), ("c", 1, 5), ("c", 1, 7), ("c", 1, 8), ("c", 1, 9), ("c", 5, 0), ("c", 5, 2), ("c", 136, None)]
    rules = [{"allow": False, "access": "rwm"}]
    for kind, major, minor in allow:
        rule = {"allow": True, "type": kind, "major": major, "access": "rwm"}
        if minor is not None:
            rule["minor"] = minor
        rules.append(rule)
    rules.append({"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"})
    conf["linux"]["resources"] = {"devices": rules}
    c = t.rt.container(conf).up()
    c.wait_out("up")
    with t.step("default devices"):
        got = c.sh("cd /dev; stat -c '%n %t %T %a %F' null zero full random urandom tty").splitlines()
        want = {"null": "1 3", "zero": "1 5", "full": "1 7", "random": "1 8", "urandom": "1 9", "tty": "5 0"}
        for line in got:
            name, major, minor, mode, *kind = line.split()
            t.eq((f"{major} {minor}", mode, " ".join(kind)), (want[name], "666", "character special file"), name)
        t.eq(c.sh("readlink /dev/ptmx; ls -d /dev/pts/ptmx").split()[-1], "/dev/pts/ptmx")
    with t.step("they work"):
        t.eq(c.sh("head -c 16 /dev/zero | wc -c; head -c 16 /dev/urandom | wc -c; echo x > /dev/null").split(), ["16", "16"])
        t.true(c.exec("echo x > /dev/full").code != 0, "/dev/full took it")
    with t.step("devices of the configuration"):
        t.eq(c.sh("stat -c '%t %T %a %u %g' /dev/mynull"), "1 3 640 1000 5\n")
        t.eq(c.sh("head -c 3 /dev/sub/zero | wc -c"), "3\n")
        t.eq(c.sh("stat -c '%F %a' /dev/pipe"), "fifo 600\n")
    with t.step("a device that is not allowed cannot be made or opened"):
        r = c.exec("mknod /dev/mem- c 1 1 && head -c1 /dev/mem-")
        t.true(r.code != 0, "opened /dev/mem")
        t.has(r.err, "ermitted")
    with t.step("an allowed one can"):
        t.eq(c.sh("mknod /dev/z- c 1 5 && head -c 2 /dev/z- | wc -c"), "2\n")
    with t.step("access bits"):
        r = c.exec("mknod /dev/kmsg- c 1 11; echo x > /dev/kmsg-")
        t.true(r.code != 0, "a read-only device was opened for writing")
        t.has(r.err, "ermitted")
    c.finish()


@case(timeout=120, vm=True)
def test_cgroup_mount(t):
    """A cgroup mount shows the container's own group and is read-only."""
    conf = bundle.config("cat /proc/self/cgroup; grep cgroup /proc/self/mountinfo; d=/sys/fs/cgroup; "
                         "[ -d $d/pids ] && d=$d/pids; mkdir $d/x || echo refused")
    bundle.mount(conf, "/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    conf["linux"]["namespaces"].append({"type": "cgroup"})
    c = t.rt.container(conf)
    r = c.run(check=0, timeout=90)
    with t.step("mounted"):
        t.has(r.out, "/sys/fs/cgroup")
    with t.step("read-only"):
        t.has(r.out, "refused")
    with t.step("a namespace of its own"):
        t.only("cor", "runc")
        t.true(any(x.endswith(":/") for x in r.out.splitlines()), r.out)


@case(timeout=60, vm=True)
def test_bad_mounts(t):
    """A mount that cannot be made is an error that names it, and nothing is left."""
    for what, args in (("source", ("/x", "bind", str(t.dir / "missing"), "bind")),
                       ("type", ("/x", "nosuchfs", "none"))):
        with t.step(what):
            conf = bundle.mount(bundle.config("echo no"), *args)
            c = t.rt.container(conf)
            r = c.run(timeout=50)
            t.true(r.code != 0, "it ran")
            t.has_any(r.err, "missing", "nosuchfs", "/x", "`x`")
            t.lacks(r.out, "no\n")
            t.eq(t.rt.states(), [])


@case(timeout=120, vm=True)
def test_escape_by_symlink(t):
    """Symlinks of a hostile root file system in mount destinations do not leave it."""
    conf = bundle.config("ls /a 2>&1; true")
    outside = t.dir / "outside"
    outside.mkdir()
    bundle.mount(conf, "/a/planted", "tmpfs", "tmpfs")
    bundle.mount(conf, "/b", "tmpfs", "tmpfs")
    c = t.rt.container(conf)
    up = "../" * 20
    (c.rootfs / "a").symlink_to(up + str(outside)[1:])
    (c.rootfs / "b").symlink_to(up + str(outside)[1:] + "/made")
    r = c.run(timeout=90)
    t.eq(sorted(os.listdir(outside)), [], "made outside of the root")
    t.true(r.code is not None, "no end")
