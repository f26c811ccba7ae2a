"""builds.py - the builds that lanes share, each configured and compiled at most once per run.

A build is installed below its own directory, because tests drive what a user gets: cor found by its
prefix, with its parts in libexec and its settings in etc. Nothing is written outside the build
directory and the cache (COR_CACHE, default /var/cache/cor: kernel package and mini-OS).
"""

import functools
import os
import pathlib
import subprocess
import time

TESTS = pathlib.Path(__file__).resolve().parent.parent
TOP = TESTS.parent
CACHE = pathlib.Path(os.environ.get("COR_CACHE", "/var/cache/cor"))
FAKE_QEMU = TESTS / "lib/fake-qemu"


class Build:
    def __init__(self, name, directory, args=(), env=None, install=True):
        self.name, self.dir, self.args, self.install = name, pathlib.Path(directory), list(args), install
        self.prefix = self.dir / "inst"
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
        confdir, osdir = self.prefix / "etc/cor", CACHE / "os"
        setup = ["meson", "setup", str(self.dir), str(TOP), f"--prefix={self.prefix}", f"-Dconfdir={confdir}",
                 f"-Dosdir={osdir}"] + self.args
        if (self.dir / "build.ninja").exists():
            setup.insert(2, "--reconfigure")
        steps = [setup, ["ninja", "-C", str(self.dir)]]
        if self.install:
            steps.append(["meson", "install", "-C", str(self.dir), "--no-rebuild", "--quiet"])
        for cmd in steps:
            res = subprocess.run(cmd, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            text = res.stdout.decode("utf-8", "replace")
            if res.returncode != 0:
                return f"$ {' '.join(cmd)}\n{text}"
            if "warning:" in text:
                return f"$ {' '.join(cmd)}\nwarnings:\n{text}"
        return None

    def settings(self, guest):
        """The settings that choose the guest: (global arguments for cor, what is wrong or None)."""
        path = self.dir / f"cor-{guest}.conf"
        if guest == "fake":
            path.write_text(f"vm.hypervisor = {FAKE_QEMU}\n")
            return ["--settings", str(path)], None
        problem = mini_os(self)
        return [], problem


@functools.lru_cache(maxsize=None)
def mini_os(build):
    """Makes the mini-OS from the distribution's kernel package, once. None or a text."""
    cmd = [str(build.prefix / "bin/cor-image"), "build"]
    res = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if res.returncode != 0:
        return f"$ {' '.join(cmd)}\n" + res.stdout.decode("utf-8", "replace")
    return None


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
def _probe(directory):
    directory.mkdir(parents=True, exist_ok=True)
    out = directory / "probe"
    source = TESTS / "lib/probe.c"
    if not out.exists() or out.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-static", str(source), "-o", str(out)],
                       check=True)
    return out


def probe(opts):
    """The static test program for use inside containers (probe.c)."""
    return _probe(base_dir(opts))
