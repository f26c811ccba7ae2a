"""Podman of the distribution with this runtime: private roots, no network, exit codes, the usual verbs.

One test holds one store (an imported busybox image) and asks many questions, because each container is a
machine.
"""

import os
import shutil
import subprocess

import bundle
import idmap
import imagelib
import leak
import oci
from harness import case

CONF = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=10000:10000"]
log_driver = "k8s-file"
[engine]
runtime_supports_json = ["cor", "runc", "crun"]
helper_binaries_dir = ["/usr/libexec/podman", "/usr/lib/podman"]
[engine.runtimes]
cor = ["%s"]
"""


class Podman:
    def __init__(self, t, driver="vfs"):
        self.t = t
        runtime = oci.wrapper(t)
        self.conf = t.path("containers.conf")
        self.conf.write_text(CONF % runtime)
        self.storage = t.path("storage.conf")
        self.dir = t.path(f"podman-{driver}")  # a store is of one driver
        self.dir.mkdir()
        self.storage.write_text(f'[storage]\ndriver = "{driver}"\ngraphroot = "{self.dir}/root"\n'
                                f'runroot = "{self.dir}/run"\n')
        dirs = [f"--{k}={self.dir}/{v}" for k, v in (("root", "root"), ("runroot", "run"), ("tmpdir", "tmp"))]
        self.base = ["podman"] + dirs + [f"--storage-driver={driver}", "--cgroup-manager=cgroupfs", "--events-backend=file",
                                         f"--runtime={runtime}"]
        self.env = dict(os.environ, CONTAINERS_CONF=str(self.conf), CONTAINERS_STORAGE_CONF=str(self.storage),
                        TMPDIR=str(t.dir))
        t.cleanup(self.end)

    def __call__(self, *args, check=0, timeout=120, **kw):
        return self.t.run(self.base + list(args), check=check, timeout=timeout, env=self.env, **kw)

    def run(self, *args, check=0, **kw):
        """podman run without a network; the cgroup's name carries the token."""
        return self("run", "--network=none", f"--cgroup-parent={self.t.token}", *args, check=check, **kw)

    def import_image(self):
        root = bundle.make_rootfs(self.t.dir / "image")
        tar = self.t.dir / "image.tar"
        subprocess.run(["tar", "-C", root, "-cf", tar, "."], check=True)
        shutil.rmtree(root)
        self("import", "--change", "ENV FROM=image", tar, "localhost/bb:latest")

    def inspect(self, name, fmt):
        return self("inspect", "--format", fmt, name).out.strip()

    def end(self):
        self("rm", "--all", "--force", "--time", "0", check=None)
        for m in sorted(leak.mounts(str(self.dir)), key=len, reverse=True):
            subprocess.run(["umount", "-l", m], check=False)
        leak.remove_empty_cgroups(self.t.token)  # engines leave the parent they were given


@case(timeout=600, vm=True, needs=("podman", "conmon"), quick=True)
def test_podman(t):
    p = Podman(t)
    p.import_image()
    img = "localhost/bb:latest"
    with t.step("run: output and code"):
        r = p.run("--rm", img, "sh", "-c", "echo out; echo err >&2; exit 7", check=None)
        t.eq((r.code, r.out), (7, "out\n"))
        t.has(r.err, "err\n")
    with t.step("the kernel is not the host's"):
        t.only("cor")
        t.true(p.run("--rm", img, "uname", "-r").out.strip() != os.uname().release, "the host's kernel")
    with t.step("stdin"):
        t.eq(p.run("--rm", "-i", img, "cat", input=b"typed\n").out, "typed\n")
    with t.step("options: user, workdir, env, hostname, tmpfs, read-only"):
        r = p.run("--rm", "--user", "1000:1000", "--workdir", "/tmp", "--env", "X=y z", "--hostname", "here", "--tmpfs",
                  "/scratch:size=1m", "--read-only", img, "sh", "-c",
                  "id -u; pwd; echo $X; hostname; touch /etc/x 2>/dev/null || echo ro; grep -c ' /scratch ' /proc/mounts")
        t.eq(r.out.split("\n")[:-1], ["1000", "/tmp", "y z", "here", "ro", "1"])
    with t.step("volumes: a directory and a file"):
        (t.dir / "vol").mkdir()
        (t.dir / "vol/f").write_text("host\n")
        (t.dir / "one").write_text("single\n")
        r = p.run("--rm", "-v", f"{t.dir}/vol:/vol", "-v", f"{t.dir}/one:/etc/one:ro", img, "sh", "-c",
                  "cat /vol/f /etc/one; echo back > /vol/g; echo x > /etc/one || echo ro")
        t.eq(r.out, "host\nsingle\nro\n")
        t.eq((t.dir / "vol/g").read_text(), "back\n")
    with t.step("-t"):
        r = p.run("--rm", "-t", img, "tty", check=0)
        t.has(r.out, "/dev/")
    with t.step("--init"):
        if not shutil.which("catatonit") and not os.path.exists("/usr/libexec/podman/catatonit"):
            t.skip("catatonit is not installed")
        t.has(p.run("--rm", "--init", img, "ps", "-o", "pid,args").out, "init")
    with t.step("127: no such program"):
        t.eq(p.run("--rm", img, "no-such-program", check=None).code, 127)
    with t.step("126: not executable"):
        t.eq(p.run("--rm", img, "/etc/passwd", check=None).code, 126)
    with t.step("125: podman's own error"):
        t.eq(p.run("--rm", "--no-such-flag", img, "true", check=None).code, 125)
    with t.step("137: killed"):
        t.eq(p.run("--rm", img, "sh", "-c", "kill -9 $$; sleep 1; exit 137", check=None).code, 137)
    detached(t, p, img)
    restart(t, p, img)


def detached(t, p, img):
    """-d, exec, logs, top, cp, healthcheck-like exec, pause, stop, rm -f."""
    name = t.fresh("d")
    p.run("-d", "--name", name, img, "sh", "-c", "echo started; trap 'echo stopping; exit 3' TERM; while :; do sleep 0.1; done")
    with t.step("-d: running"):
        t.eq(p.inspect(name, "{{.State.Running}}"), "true")
        pid = int(p.inspect(name, "{{.State.Pid}}"))
        t.true(os.path.exists(f"/proc/{pid}"), f"pid {pid} is no process")
    with t.step("logs"):
        t.wait(lambda: "started" in p("logs", name).out, "the first line in the log", 30)
    with t.step("exec: output, code, stdin, env"):
        r = p("exec", "--env", "A=b", name, "sh", "-c", "echo $A; exit 5", check=None)
        t.eq((r.code, r.out), (5, "b\n"))
        t.eq(p("exec", "-i", name, "cat", input=b"in\n").out, "in\n")
        t.eq(p("exec", name, "no-such-program", check=None).code, 127)
        t.eq(p("exec", name, "/etc/passwd", check=None).code, 126)
    with t.step("exec -t"):
        t.has(p("exec", "-t", name, "tty").out, "/dev/pts/")
    with t.step("exec -d"):
        p("exec", "-d", name, "sh", "-c", "echo detached > /tmp/detached")
        t.wait(lambda: p("exec", name, "cat", "/tmp/detached", check=None).out == "detached\n", "the file of exec -d")
    with t.step("ten exec one after the other, as a health check does"):
        for _ in range(10):
            t.eq(p("exec", name, "true", check=None).code, 0)
    with t.step("cp both ways"):
        (t.dir / "in").write_text("copied\n")
        p("cp", t.dir / "in", f"{name}:/tmp/in")
        t.eq(p("exec", name, "cat", "/tmp/in").out, "copied\n")
        p("exec", name, "sh", "-c", "echo other > /tmp/out")
        p("cp", f"{name}:/tmp/out", t.dir / "out")
        t.eq((t.dir / "out").read_text(), "other\n")
    with t.step("top"):
        t.has(p("top", name, "pid", "args").out, "PID")
    with t.step("pause, unpause"):
        p("pause", name)
        t.eq(p.inspect(name, "{{.State.Status}}"), "paused")
        p("unpause", name)
        t.eq(p("exec", name, "echo", "on").out, "on\n")
    with t.step("kill by signal"):
        p("kill", "--signal", "USR1", name)
        t.eq(p.inspect(name, "{{.State.Running}}"), "true")
    with t.step("stop: TERM is delivered, the code is kept"):
        p("stop", "--time", "100", name)
        t.eq(p.inspect(name, "{{.State.ExitCode}}"), "3")
        t.has(p("logs", name).out, "stopping")
    with t.step("rm"):
        p("rm", name)
        t.true(p("inspect", name, check=None).code != 0, "still there")
    with t.step("rm -f of a running one"):
        name = t.fresh("f")
        p.run("-d", "--name", name, img, "sleep", "1000")
        p("rm", "-f", "--time", "0", name)
        t.eq(p("ps", "-a", "--format", "{{.Names}}").out, "")


def restart(t, p, img):
    """The same id again: start after stop, restart, wait."""
    name = t.fresh("r")
    p.run("-d", "--name", name, img, "sh", "-c", "echo run >> /tmp/runs; wc -l < /tmp/runs; sleep 1000")
    with t.step("start again"):
        t.wait(lambda: p("logs", name).out.split() == ["1"], "the first run's line", 30)
        p("kill", name)
        t.eq(p("wait", name).out.strip(), "137")
        p("start", name)
        t.wait(lambda: p("logs", name).out.split() == ["1", "2"], "the second run's line", 30)
    with t.step("restart"):
        p("restart", "--time", "0", name)
        t.wait(lambda: p("logs", name).out.split() == ["1", "2", "3"], "the third run's line", 30)
    with t.step("a container that ends by itself"):
        p("rm", "-f", "--time", "0", name)
        p.run("-d", "--name", name, img, "sh", "-c", "exit 9")
        t.eq(p("wait", name).out.strip(), "9")
        p("rm", name)


@case(timeout=200, vm=True, needs=("podman", "conmon"), only=("cor",))
def test_podman_network(t):
    """Without networks yet: a container has lo; the host's network is refused in words."""
    p = Podman(t)
    p.import_image()
    with t.step("--network none: lo only"):
        out = p.run("--rm", "localhost/bb:latest", "sh", "-c", "ls /sys/class/net; ip -o link show lo").out
        t.eq(out.split()[0], "lo")
        t.has(out, "UP")
    with t.step("--network host"):
        r = p("run", "--rm", "--network=host", f"--cgroup-parent={t.token}", "localhost/bb:latest", "true", check=None)
        t.true(r.code != 0, "it ran")
        t.has(r.err, "network")


@case(timeout=200, vm=True, needs=("podman", "conmon"))
def test_podman_limits(t):
    """Limits that podman sends reach the container."""
    p = Podman(t)
    p.import_image()
    script = ("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max 2>/dev/null || "
              "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max; ulimit -n")
    r = p.run("--rm", "--memory", "128m", "--pids-limit", "77", "--ulimit", "nofile=512:512", "--ulimit",
              "nproc=10000:10000", "localhost/bb:latest", "sh", "-c", script)
    t.eq(r.out.split(), [str(128 << 20), "77", "512"])


@case(timeout=60, needs=("podman", "setfacl"), only=("cor",))
def test_acl_texts(t):
    """Podman leaves out ACLs that a layer has as text (SCHILY.acl.*); docs/images.md counts on it."""
    p = Podman(t)
    p("import", imagelib.acl_texts(t), "localhost/acl:latest")
    at = p("image", "mount", "localhost/acl:latest").out.strip()
    t.eq([os.listxattr(f"{at}/{n}") for n in ("file", "dir")], [[], []])
    p("image", "umount", "localhost/acl:latest")


MAPS = ("--uidmap", "0:100000:1000", "--gidmap", "0:200000:1000")


@case(timeout=300, vm=True, needs=("podman", "conmon"), only=("cor",))
def test_podman_idmap(t):
    """-v SOURCE:DIR:idmap in a user namespace (Podman 4.3.1 has it for volumes, not for --rootfs): owners as on the disk."""
    t.rt.globals = t.rt.globals + list(idmap.served(t))
    vol = idmap.place(t) / "vol"
    vol.mkdir()
    (vol / "f").write_text("x\n")
    os.chown(vol / "f", 7, 8)
    idmap.open_to_all(vol)
    p = Podman(t)
    p.import_image()
    look = "stat -c %u:%g /v/f /bin/busybox; id -u"
    with t.step("with: owners as on the disk, and what root makes is root's"):
        r = p.run("--rm", *MAPS, "-v", f"{vol}:/v:idmap", "localhost/bb:latest", "sh", "-c", f"{look}; touch /v/new; chown 5:6 /v/f")
        t.eq(r.out.split(), ["7:8", "0:0", "0"])
        t.eq([(os.stat(vol / n).st_uid, os.stat(vol / n).st_gid) for n in ("new", "f")], [(0, 0), (5, 6)])
    with t.step("as --mount says it, read-only"):
        r = p.run("--rm", *MAPS, "--mount", f"type=bind,source={vol},target=/v,idmap,readonly", "localhost/bb:latest", "sh", "-c",
                  f"{look}; touch /v/x || echo ro")
        t.eq(r.out.split(), ["5:6", "0:0", "0", "ro"])
    with t.step("without: nobody's"):
        r = p.run("--rm", *MAPS, "-v", f"{vol}:/v", "localhost/bb:latest", "sh", "-c", look)
        t.eq(r.out.split(), ["65534:65534", "0:0", "0"])
    with t.step("without a user namespace: refused in words"):
        r = p.run("--rm", "-v", f"{vol}:/v:idmap", "localhost/bb:latest", "true", check=None)
        t.eq(r.code, 126)
        t.has(r.err, "idmap without mappings takes those")


def overlay_works(t):
    """Podman's overlay driver needs an overlay over directories of the test's."""
    dirs = {n: t.path("probe-" + n) for n in ("lower", "upper", "work", "merged")}
    for d in dirs.values():
        d.mkdir()
    options = ",".join(f"{n}dir={dirs[n]}" for n in ("lower", "upper", "work"))
    r = t.run(["mount", "-t", "overlay", "-o", options, "overlay", dirs["merged"]])
    if r.code != 0:
        t.skip(f"no overlay over {t.dir} (vfs is asked below): {r.err}")
    t.run(["umount", dirs["merged"]], check=0)


@case(timeout=600, vm=True, needs=("podman", "conmon", "mkfs.erofs"), only=("cor",))
def test_podman_mapped_root(t):
    """The annotation dev.cor.image.convert: a root becomes images, once; the next container of it has the same."""
    t.rt.globals = t.rt.globals + ["--set", "annotations.allow=image.convert"]
    usual = t.rt.globals
    layers = imagelib.five_layers(t)
    (t.dir / "oci").mkdir()
    imagelib.oci(t.dir / "oci", layers, imagelib.config(*layers, config={"Cmd": ["sh"], "Env": [bundle.PATH]}), pack=bytes)
    t.run(["tar", "-C", t.dir / "oci", "-cf", t.dir / "oci.tar", "."], check=0)
    for driver, ask in (("overlay", of_overlay), ("vfs", of_copies)):
        with t.step(driver):
            if driver == "overlay":
                overlay_works(t)
            t.rt.globals = usual
            store = t.path(f"store-{driver}")
            imagelib.use(t, store)
            p = Podman(t, driver)
            p("load", "--input", t.dir / "oci.tar")
            ask(t, p, p("images", "--quiet").out.strip(), store)
            p.end()


def made(store):
    """The images' files, with what tells a new one from an old one."""
    return sorted((f.name, f.stat().st_ino, f.stat().st_mtime_ns) for f in (store / "layers").glob("*.erofs"))


CONVERT = ("--annotation", "dev.cor.image.convert=true")
LOOK = ("grep -c ' / overlay ' /proc/mounts; cat /replaced /gone /opaque/new; ls -a /opaque /tree/a; ls /var/many | wc -l;"
        "stat -c %u:%g:%a /data/db; echo x > /replaced; cat /replaced")
LOOKS = "1\naboveback" + "above/opaque:\n.\n..\nnew\n\n/tree/a:\n.\n..\n20\n70:71:644\nx\n"


def of_overlay(t, p, image, store):
    """Layers are known again, for every container. With a user namespace Podman mounts ID-mapped ones and takes their places away:
    the root is shared then, with the right owners."""
    seen = []
    for _ in range(2):
        t.eq(p.run("--rm", *CONVERT, image, "sh", "-c", LOOK).out, LOOKS)
        seen.append(made(store))
    t.eq((len(seen[0]), seen[1]), (5, seen[0]))
    r = p.run("--rm", *CONVERT, *MAPS, image, "sh", "-c", "grep -c ' / overlay ' /proc/mounts; cat /replaced; stat -c ' %u:%g' /data/db; id -u")
    t.eq(r.out.split(), ["0", "above", "70:71", "0"])
    t.eq(made(store), seen[0])


def of_copies(t, p, image, store):
    """Each container has a copy of its own, which is one image. (Podman touches the copy at each start: it is never known again.)"""
    t.eq(p.run("--rm", *CONVERT, image, "sh", "-c", LOOK).out, LOOKS)
    t.eq(len(made(store)), 1)
