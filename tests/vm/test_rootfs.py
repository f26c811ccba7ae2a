"""The bundle's root file system: what the container does to it is what the host sees, and back."""

import os
import pathlib
import stat

import builds
import bundle
import guestinfo
from harness import case

CHANGE = r"""
set -e
cd /mnt
echo hello > file; chmod 640 file; chown 1000:5 file
ln -s file link; ln -s /absolute/nowhere dangling
ln file hard
mkdir -p dir/deep/er; chmod 2755 dir; chmod 1777 dir/deep
touch suid; chmod 4755 suid
echo one > renamed; mv renamed moved
mkdir olddir; echo x > olddir/f; mv olddir newdir
echo gone > gone; rm gone
dd if=/dev/zero of=sparse bs=1 count=1 seek=1000000 2>/dev/null
i=0; while [ $i -lt 200 ]; do echo $i > many$i; i=$((i+1)); done
rm many1 many2
printf 'a\nb\n' > append; printf 'c\n' >> append
: > empty
echo 'sp ace' > 'name with  space'
echo u > "$(printf 'uml\303\244ut')"
truncate -s 5 append
touch -d '2001-02-03 04:05:06' old
rm -f /etc/group; echo replaced > /etc/passwd
"""


@case(timeout=120, vm=True, only=("cor",))
def test_kind(t):
    """The root is of the kind that COR_TEST_ROOT asks for."""
    root = guestinfo.mounts(t.rt.container(bundle.config("cat /proc/self/mountinfo")).run(check=0, timeout=90).out)["/"]
    t.has({"image": ["overlay"], "virtiofs": ["virtiofs"]}.get(builds.ROOT, ["9p", "virtiofs"]), root.type)


@case(timeout=180, vm=True, quick=True)
def test_as_oracle(t):
    """The same script in this runtime and in the oracle leaves the same tree."""
    t.rt.only_shared_roots()
    trees = []
    for rt in (t.rt, t.rt.oracle()):
        c = rt.container(bundle.config(CHANGE))
        r = c.run(timeout=120)
        t.eq(r.code, 0, f"{rt.kind}: {r.err}")
        trees.append(bundle.snapshot(c.rootfs))
        with t.step(f"modification time ({rt.kind})"):
            t.eq(int((c.rootfs / "mnt/old").stat().st_mtime) % 60, 6)
            t.eq((c.rootfs / "mnt/sparse").stat().st_size, 1000001)
    ours, want = trees
    for name in sorted(set(ours) | set(want)):
        if ours.get(name) != want.get(name):
            with t.step(name):
                t.eq(ours.get(name), want.get(name), "(type, mode, uid, gid, links, content)")
    t.true(len(want) > 300, "the script changed nothing")


@case(timeout=180, vm=True)
def test_live(t):
    """While it runs: both sides see each other's changes; semantics that programs rely on."""
    t.rt.only_shared_roots()
    conf = bundle.config("echo up; exec sleep 1000")
    c = t.rt.container(conf)
    bundle.add_probe(c.rootfs, t.opts.probe)
    c.up()
    c.wait_out("up")
    mnt = c.rootfs / "mnt"
    with t.step("host to container"):
        (mnt / "h").write_text("host\n")
        t.eq(c.sh("cat /mnt/h"), "host\n")
        (mnt / "h").write_text("changed\n")
        t.eq(c.sh("cat /mnt/h"), "changed\n")
        (mnt / "h").unlink()
        t.eq(c.exec("cat /mnt/h").code, 1)
    with t.step("container to host"):
        c.sh("echo guest > /mnt/g; chown 1000:1000 /mnt/g; chmod 600 /mnt/g")
        st = (mnt / "g").stat()
        t.eq((st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)), (1000, 1000, 0o600))
        t.eq((mnt / "g").read_text(), "guest\n")
    with t.step("permissions hold for a user"):
        t.true(c.exec("cat /root/x 2>/dev/null; echo x > /etc/passwd", "--user", "1000:1000").code != 0,
               "a user wrote root's file")
        t.eq(c.exec("echo ok > /home/user/f && cat /home/user/f", "--user", "1000:1000").out, "ok\n")
        t.eq((c.rootfs / "home/user/f").stat().st_uid, 1000)
    with t.step("an open file that is unlinked"):
        t.eq(c.sh("cd /mnt; exec 3>u 4<u; rm u; echo x >&3; cat <&4; ls u 2>/dev/null; true"), "x\n")
    with t.step("O_EXCL, O_APPEND from many writers"):
        t.eq(c.sh("cd /mnt; for i in 1 2 3 4; do (for j in 1 2 3 4 5 6 7 8 9; do echo $i$j >> all; done) & done; wait; "
                  "wc -l < all"), "36\n")
        t.eq(c.sh("cd /tmp; set -C; echo a > excl; (echo b > excl) 2>/dev/null || echo refused"), "refused\n")
    with t.step("xattr"):
        try:
            os.setxattr(mnt / "g", "user.seen", b"")
        except OSError as e:
            t.skip(f"the host's file system has no extended attributes of users ({e.strerror})")
        t.eq(c.exec(["probe", "setxattr", "/mnt/g", "user.cor", "value"]).out, "ok\n")
        t.eq(c.exec(["probe", "getxattr", "/mnt/g", "user.cor"]).out, "value\n")
        t.eq(os.getxattr(mnt / "g", "user.cor"), b"value")
        os.setxattr(mnt / "g", "user.host", b"other")
        t.eq(c.exec(["probe", "getxattr", "/mnt/g", "user.host"]).out, "other\n")
    with t.step("fifo"):
        t.eq(c.sh("cd /mnt; mkfifo f || exit 1; (echo through > f) & cat f"), "through\n")
    with t.step("a file of 20 MB, checked on both sides"):
        c.sh("dd if=/dev/urandom of=/mnt/big bs=1M count=20 2>/dev/null; sync", timeout=120)
        got = c.sh("sha256sum < /mnt/big", timeout=120).split()[0]
        t.eq(t.run(["sha256sum", mnt / "big"]).out.split()[0], got)
    with t.step("a directory of 1000 files"):
        c.sh("mkdir /mnt/lots; cd /mnt/lots; seq 1 1000 | xargs touch", timeout=120)
        t.eq(len(os.listdir(mnt / "lots")), 1000)
        t.eq(c.sh("ls /mnt/lots | wc -l"), "1000\n")
        c.sh("rm -r /mnt/lots", timeout=120)
    with t.step("a deep path, a long name"):
        deep = "/mnt/" + "/".join(["d" * 50] * 30)
        t.eq(c.sh(f"mkdir -p {deep} && echo x > {deep}/f && cat {deep}/f; touch /mnt/{'n' * 255}; ls /mnt | grep -c nnn"),
             "x\n1\n")
    with t.step("df and stat of the root"):
        t.true(int(c.sh("df -P / | tail -1 | tr -s ' ' | cut -d' ' -f2")) > 0, "size 0")
    c.finish()


SPECIAL = """cd /mnt; mknod null c 1 3; mknod loop b 7 9; mkfifo fifo; chmod 640 null; chown 1000:5 fifo
probe call socket /mnt/sock; ls -la /mnt | grep -v total | cut -c1-40"""


@case(timeout=180, vm=True)
def test_special_files(t):
    """Device nodes, fifos and sockets in the root file system, made by the container, seen on the host."""
    t.rt.only_shared_roots()
    results = []
    for rt in (t.rt, t.rt.oracle()):
        c = rt.container(bundle.config(SPECIAL))
        bundle.add_probe(c.rootfs, t.opts.probe)
        r = c.run(timeout=120)
        results.append((bundle.snapshot(c.rootfs / "mnt"), r.out, r.err))
    for name in ("null", "loop", "fifo", "sock"):
        with t.step(name):
            t.eq(results[0][0].get(name), results[1][0].get(name), "(type, mode, uid, gid, links, device); " + results[0][2])
            t.true(results[1][0].get(name), "the oracle made none")


@case(timeout=120, vm=True)
def test_relative_and_odd_roots(t):
    """root.path absolute; a path with spaces; a missing one is an error."""
    with t.step("absolute, with a space and a comma"):
        root = bundle.make_rootfs(t.dir / "a root, odd")
        conf = bundle.config("echo in > /tmp/mark; echo ok")
        conf["root"]["path"] = str(root)
        c = t.rt.container(conf, rootfs=False)
        t.eq(c.run(check=0, timeout=90).out, "ok\n")
        t.rt.only_shared_roots()
        t.eq(pathlib.Path(root, "tmp/mark").read_text(), "in\n")
    with t.step("missing"):
        conf = bundle.config("true")
        conf["root"]["path"] = "nowhere"
        r = t.rt.container(conf).run()
        t.eq(r.code, 1)
        t.has(r.err, "nowhere")
        t.eq(t.rt.states(), [])
