"""builds.py - the builds that lanes share, each configured and compiled at most once per run.

A build is installed below its own directory, because tests drive what a user gets: cor found by its
prefix, with its parts in libexec and its settings in etc. Nothing is written outside the build
directory and the cache (COR_CACHE, default /var/cache/cor: the kernel package).
"""

import functools
import json
import os
import pathlib
import subprocess
import time

TESTS = pathlib.Path(__file__).resolve().parent.parent
TOP = pathlib.Path(os.environ.get("COR_SOURCE", TESTS.parent))  # the tree that is built
CACHE = pathlib.Path(os.environ.get("COR_CACHE", "/var/cache/cor"))
REST = "template.rest = 0s\n"  # tests make many templates; kvm/cor.vmm_rest asks what it buys, and benchmarks measure the default
KERNEL = os.environ.get("COR_TEST_KERNEL", "stock")  # of the mini-OS: stock, or a profile of cor-image kernel
ROOT = os.environ.get("COR_TEST_ROOT", "directory")  # how a bundle's root reaches its VM
ROOTS = {  # settings of each kind; {} is a directory that may be written to
    "directory": (),  # the hypervisor's usual way
    "image": ("image.convert=true", "image.store={}/images"),
    "virtiofs": ("qemu.share=virtiofs",),
}


def root_settings(directory):
    """What COR_TEST_ROOT asks for, as KEY=VALUE; an image is kept below the directory."""
    return tuple(s.format(directory) for s in ROOTS[ROOT])


class Build:
    def __init__(self, name, directory, args=(), env=None, install=True):
        self.name, self.dir, self.args, self.install = name, pathlib.Path(directory), list(args), install
        self.prefix = self.dir / "inst"
        self.osdir = self.dir / "os"
        self.env = dict(os.environ, **(env or {}))
        self.secs = 0.0
        self._done = None

    @property
    def cor(self):
        return self.prefix / "bin/cor"

    def make(self):
        """Configures, compiles, installs. Returns None, or what went wrong as text."""
        if self._done is None:
            begin = time.monotonic()
            self._done = (self._make(),)
            self.secs = time.monotonic() - begin
        return self._done[0]

    def _make(self):
        confdir = self.prefix / "etc/cor"
        setup = ["meson", "setup", str(self.dir), str(TOP), f"--prefix={self.prefix}", f"-Dconfdir={confdir}",
                 f"-Dosdir={self.osdir}"] + self.args
        if (self.dir / "build.ninja").exists():
            setup.insert(2, "--reconfigure")
        steps = [setup, ["ninja", "-C", str(self.dir)]]
        if self.install:
            steps.append(["meson", "install", "-C", str(self.dir), "--no-rebuild", "--quiet"])
        for cmd in steps:
            res = subprocess.run(cmd, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            text = res.stdout.decode("utf-8", "replace")
            if res.returncode != 0:
                at = text.find("FAILED:")
                return f"$ {' '.join(cmd)}\n{text[at:at + 5000] if at >= 0 else text[-5000:]}"
            if "warning:" in text:
                at = max(0, text.find("warning:") - 500)
                return f"$ {' '.join(cmd)}\nwarnings:\n{text[at:at + 5000]}"
        if self.install:
            confdir.mkdir(parents=True, exist_ok=True)
            (confdir / "cor.conf").write_text(self._conf())
        return None

    def _conf(self):
        """Templates and images of roots stay in the build. Templates are off unless COR_TEST_TEMPLATE=on: a VM that saves
        itself beside a test is one more than --vm-jobs counts, and what a test leaves must be its own."""
        pool = "2" if os.environ.get("COR_TEST_POOL") == "on" else "0"
        return (f"template = {os.environ.get('COR_TEST_TEMPLATE', 'on' if pool != '0' else 'off')}\n"
                f"template.dir = {self.dir / 'templates'}\n"
                f"{'' if self.name == 'bench' else REST}"
                f"pool = {pool}\n" + "".join(s.replace("=", " = ", 1) + "\n" for s in root_settings(self.dir)))

    def settings(self, guest):
        """The settings that choose the guest: (global arguments for cor, what is wrong or None)."""
        if guest == "fake":
            path = self.dir / "cor-fake.conf"
            agent = self.prefix / "libexec/cor/cor-agent"
            kernel = self.dir / "no-kernel"  # named in the plan, never read
            kernel.write_text("fake\n")
            path.write_text(f"qemu.path = {self.helper('fake-qemu')}\nqemu.params = --fake-agent {agent}\n"
                            f"qemu.accel = tcg\ntemplate = off\nvm.kernel = {kernel}\nvm.initrd = {kernel}\n")
            return ["--settings", str(path)], None
        return [], mini_os(self) or (usual_template(self) if os.environ.get("COR_TEST_TEMPLATE") == "on" else None)

    def helper(self, name):
        """Compiles tests/lib/NAME.c beside the build, statically."""
        return helper(name, self.dir.parent)


def cor_image(build, *argv):
    """Runs cor-image with the shared cache: (its stdout, what went wrong or None)."""
    cmd = [str(build.prefix / "bin/cor-image"), *argv, "--cache", str(CACHE)]
    res = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    text = f"$ {' '.join(cmd)}\n" + (res.stdout + res.stderr).decode("utf-8", "replace")
    return res.stdout, text if res.returncode != 0 else None


@functools.lru_cache(maxsize=None)
def mini_os(build, kernel=KERNEL):
    """Makes the mini-OS with this kernel, downloads and built kernels kept in the cache. None or a text."""
    if kernel == "stock":
        return cor_image(build, "os", "--out", str(build.osdir), "--kernel", "stock")[1]
    out, problem = cor_image(build, "kernel", "--profile", kernel, "--json")
    if problem:
        return problem
    built = json.loads(out)
    return cor_image(build, "os", "--out", str(build.osdir), "--vmlinuz", built["vmlinuz"], "--modules",
                     built["modules"])[1]


@functools.lru_cache(maxsize=None)
def usual_template(build):
    """The template that nearly every test clones, before any test could have to wait for its maker. None or a text."""
    cmd = [str(build.cor), "template", "make"]
    res = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return None if res.returncode == 0 else f"$ {' '.join(cmd)}\n" + res.stdout.decode("utf-8", "replace")


def base_dir(opts):
    return pathlib.Path(opts.build) if opts.build else TOP / "build-check"


@functools.lru_cache(maxsize=None)
def _build(name, directory, args, env):
    return Build(name, directory, args, dict(env))


def product(opts):
    return _build("gcc", base_dir(opts) / "gcc", (), (("CC", "gcc"),))


def clang(opts):
    return _build("clang", base_dir(opts) / "clang", (), (("CC", "clang-14"),))


def sanitizer(opts):
    return _build("sanitize", base_dir(opts) / "sanitize", ("-Db_sanitize=address,undefined", "-Db_lundef=false"),
                  (("CC", "gcc"),))


@functools.lru_cache(maxsize=None)
def helper(name, directory, more=()):
    """tests/lib/NAME.c and `more` of the product's sources as a static program."""
    directory.mkdir(parents=True, exist_ok=True)
    out, sources = directory / name, [TESTS / f"lib/{name}.c", *more]
    if not out.exists() or out.stat().st_mtime < max(s.stat().st_mtime for s in sources):
        tmp = directory / f"{name}.{os.getpid()}"
        std = ["-std=gnu11", "-D_GNU_SOURCE", "-Wno-unused-parameter", f"-I{TOP / 'src'}"] if more else ["-std=c11"]
        subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-static", *std, *map(str, sources), "-o", str(tmp)],
                       check=True)
        tmp.rename(out)
    return out


def probe(opts):
    """The static test program for use inside containers (probe.c)."""
    return helper("probe", base_dir(opts))
