"""containerd of the distribution and ctr with this runtime as --runc-binary."""

import os
import pathlib
import shlex
import signal
import subprocess

import bundle
import imagelib
import leak
import oci
from harness import LIMIT, case

CONFIG = """version = 2
root = "{dir}/ctd-root"
state = "{dir}/ctd-state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{dir}/ctd.sock"
[ttrpc]
  address = "{dir}/ctd.ttrpc"
"""


class Containerd:
    """A daemon of our own, with roots in the test's directory, ended by its pid."""

    def __init__(self, t):
        self.t = t
        config = t.path("containerd.toml")
        config.write_text(CONFIG.format(dir=t.dir))
        self.log = open(t.dir / "containerd.log", "wb")
        self.daemon = t.spawn(["containerd", "--config", config], stdout=self.log, stderr=self.log)
        self.runtime = oci.wrapper(t)
        self.base = ["ctr", "--address", f"{t.dir}/ctd.sock", "--namespace", t.token]
        t.cleanup(self.end)
        t.wait(lambda: t.run(self.base + ["version"], timeout=10).code == 0, "containerd's answer", 30)

    def __call__(self, *args, check=0, timeout=120, **kw):
        return self.t.run(self.base + [str(a) for a in args], check=check, timeout=timeout, **kw)

    def run(self, name, rootfs, *args, flags=(), check=0, **kw):
        return self(*self.run_args(flags), rootfs, name, *args, check=check, **kw)

    def run_args(self, flags):
        return ["run", "--runc-binary", self.runtime, "--runc-root", self.t.dir / "runc-root", "--env", bundle.PATH, *flags,
                "--rootfs"]

    def end(self):
        self.daemon.send_signal(signal.SIGTERM)
        try:
            self.daemon.wait(20 * LIMIT)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        self.log.close()
        for top in ("/run/containerd/runc", "/run/containerd/fifo", "/run/containerd"):
            for p in (pathlib.Path(top).glob(f"{self.t.token}*") if os.path.isdir(top) else ()):
                if p.is_dir():
                    p.rmdir()
        leak.remove_empty_cgroups(self.t.token)  # the namespace's


@case(timeout=400, vm=True, needs=("containerd", "ctr"), quick=True)
def test_ctr(t):
    ctd = Containerd(t)
    root = bundle.make_rootfs(t.dir / "ctr-rootfs")
    with t.step("run --rm: output and code"):
        r = ctd.run(t.fresh(), root, "sh", "-c", "echo out; echo err >&2; exit 7", flags=["--rm"], check=None)
        t.eq((r.code, r.out), (7, "out\n"))
        t.has(r.err, "err\n")
    with t.step("stdin"):
        t.eq(ctd.run(t.fresh(), root, "head", "-n", "1", flags=["--rm"], input=b"typed\n").out, "typed\n")
    with t.step("a missing program"):
        r = ctd.run(t.fresh(), root, "/no-such-program", flags=["--rm"], check=None)
        t.eq(r.code, 1)
        t.has(r.err, "no such file or directory")
    with t.step("-t under script(1)"):
        argv = ctd.base + ctd.run_args(["--rm", "-t"]) + [root, t.fresh(), "sh", "-c", "tty; exit 4"]
        out = t.path("typescript")
        r = t.run(["script", "-q", "-e", "-c", shlex.join(map(str, argv)), out], timeout=120)
        t.has(out.read_text(errors="replace"), "/dev/")
        t.eq(r.code, 4)
    name = t.fresh("d")
    ctd.run(name, root, "sleep", "1000", flags=["-d"])
    with t.step("task ls"):
        t.has(ctd("task", "ls").out, name, "RUNNING")
    with t.step("task exec"):
        r = ctd("task", "exec", "--exec-id", "e1", name, "sh", "-c", "echo inside; exit 6", check=None)
        t.eq((r.code, r.out), (6, "inside\n"))
        t.eq(ctd("task", "exec", "--exec-id", "e2", name, "cat", input=b"in\n").out, "in\n")
    with t.step("task ps"):
        t.has(ctd("task", "ps", name).out, "PID")
    with t.step("task pause, resume"):
        ctd("task", "pause", name)
        t.has(ctd("task", "ls").out, "PAUSED")
        ctd("task", "resume", name)
        t.has(ctd("task", "ls").out, "RUNNING")
    with t.step("task metrics"):
        t.has(ctd("task", "metrics", name).out, "ID")
    with t.step("task kill, rm"):
        ctd("task", "kill", "-s", "9", name)
        t.wait(lambda: "STOPPED" in ctd("task", "ls").out, "the task's end")
        t.eq(ctd("task", "rm", name, check=None).code in (0, 137), True)
        ctd("container", "rm", name)
    with t.step("nothing is left in the runtime's root"):
        left = [str(p) for p in (t.dir / "runc-root").rglob("*") if p.is_file()]
        t.eq(left, [])


@case(timeout=400, vm=True, only=("cor",), needs=("containerd", "ctr", "mkfs.erofs"))
def test_mapped_root(t):
    """An image's layers, mounted by containerd's overlay snapshotter, become images of Cor's: each once, for all containers."""
    store = t.path("store")
    imagelib.use(t, store)
    t.rt.globals = t.rt.globals + ["--set", "annotations.allow=image.convert"]
    layers = imagelib.five_layers(t)
    (t.dir / "oci").mkdir()
    imagelib.oci(t.dir / "oci", layers, imagelib.config(*layers, config={"Cmd": ["sh"], "Env": [bundle.PATH]}), pack=bytes)
    t.run(["tar", "-C", t.dir / "oci", "-cf", t.dir / "oci.tar", "."], check=0)
    ctd = Containerd(t)
    ctd("image", "import", "--snapshotter", "overlayfs", "--base-name", "demo", t.dir / "oci.tar")
    name = ctd("image", "ls", "-q").out.split()[0]
    argv = ["run", "--runc-binary", ctd.runtime, "--runc-root", t.dir / "runc-root", "--snapshotter", "overlayfs", "--rm",
            "--annotation", "dev.cor.image.convert=true", name]
    seen = []
    for _ in range(2):
        r = ctd(*argv, t.fresh(), "sh", "-c", "grep -c ' / overlay ' /proc/mounts; cat /replaced /gone /opaque/new; ls -a /opaque /tree/a;"
                "ls /var/many | wc -l; echo x > /replaced")
        seen.append((r.out, sorted(p.name for p in (store / "layers").glob("*.erofs"))))
    with t.step("what the image says is seen"):
        t.eq(seen[0][0], "1\naboveback" + "above/opaque:\n.\n..\nnew\n\n/tree/a:\n.\n..\n20\n")
        t.eq(seen[1][0], seen[0][0])
    with t.step("five layers, made once"):
        t.eq(len(seen[0][1]), 5)
        t.eq(seen[1][1], seen[0][1])
    ctd("image", "rm", name)


@case(timeout=60, needs=("containerd", "ctr", "setfacl"), only=("cor",))
def test_acl_texts(t):
    """containerd leaves out ACLs that a layer has as text (SCHILY.acl.*), too."""
    layer = imagelib.acl_texts(t).read_bytes()
    (t.dir / "oci").mkdir()
    imagelib.oci(t.dir / "oci", [layer], imagelib.config(layer), pack=bytes)
    t.run(["tar", "-C", t.dir / "oci", "-cf", t.dir / "oci.tar", "."], check=0)
    ctd, at = Containerd(t), t.dir / "mounted"
    at.mkdir()
    ctd("image", "import", "--snapshotter", "native", "--base-name", "demo", t.dir / "oci.tar")
    name = ctd("image", "ls", "-q").out.split()[0]
    ctd("image", "mount", "--snapshotter", "native", name, at)
    t.cleanup(lambda: subprocess.run(["umount", "-l", str(at)], check=False))
    t.eq([os.listxattr(at / n) for n in ("file", "dir")], [[], []])
    ctd("image", "unmount", "--snapshotter", "native", at)
    ctd("image", "rm", name)
