"""runtimes.py - who takes part in a benchmark, and how each is called.

Everyone gets the same bundles and stdio, a state root in memory (as /run usually is), and no option that its
package's user would not give: gVisor's runsc the only platform that works without KVM here (ptrace) and no network of
its own, as the others have none.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import builds
import bundle
import host
from launcher import Error, Launcher

TREE = pathlib.Path(__file__).resolve().parent.parent.parent


class Contender:
    """One row of a table: a runtime with its settings. Subclasses know their command line."""

    ours = False
    tells_cpu = True  # its processes end with a container, or their parents do: their CPU time is counted

    def __init__(self, name, path, globals_):
        self.name, self.path, self.globals = name, path, list(globals_)
        self.launcher = None
        self.root = None

    def enter(self, bench):
        """Makes it ready in a benchmark's directories; returns None, or why it can't take part."""
        if not self.path:
            return f"{self.name.split()[0]} is not installed"
        self.root = bench.state / self.name.replace(" ", "-")
        self.launcher = Launcher(bench.dir / (self.name.replace(" ", "-") + ".err"), self.hides_cgroup2())
        b = self.launcher.run(self.run("try", bench.bundle(["true"])))
        if b.runs[0].code != 0:
            return f"run true: exit code {b.runs[0].code}: {(b.err.strip().splitlines() or ['no message'])[-1]}"
        return None

    def hides_cgroup2(self):
        return False

    def argv(self, verb, *args):
        return [self.path, "--root", self.root, *self.globals, verb, *args]

    def run(self, id_, bundle_dir):
        return self.argv("run", "--bundle", bundle_dir, id_)

    def run_detached(self, id_, bundle_dir):
        return self.argv("run", "--detach", "--bundle", bundle_dir, id_)

    def exec(self, id_, *args):
        return self.argv("exec", id_, *args)

    def delete(self, id_):
        return self.argv("delete", "--force", id_)

    def stores(self):
        """Directories beside its state: name -> path."""
        return {}

    def settle(self):
        """Called before and after it is measured: waits until nothing of it works in the background."""

    def close(self):
        if self.launcher:
            self.launcher.close()


class Crun(Contender):
    def hides_cgroup2(self):
        return os.path.ismount("/sys/fs/cgroup/unified")


class Runsc(Contender):
    def __init__(self, name, path):
        super().__init__(name, path, ["--platform=ptrace", "--network=none"])


class Cor(Contender):
    ours = True


class CorClone(Cor):
    def stores(self):
        return {"templates": pathlib.Path(self.path).parents[2] / "templates"}

    def enter(self, bench):
        res = subprocess.run([self.path, *self.globals, "template", "make"], stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True, check=False)
        if res.returncode != 0:
            return f"template make: {res.stderr.strip()}"
        return super().enter(bench)


class CorImage(CorClone):
    """A clone whose root is an image of the store: the files that the others have in a directory."""

    def enter(self, bench):
        store = bench.dir / "images"
        res = subprocess.run([pathlib.Path(self.path).parent / "cor-image", "import", bench.root, "--name", "bench", "--store", store,
                              "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if res.returncode != 0:
            return f"cor-image import: {res.stderr.strip()}"
        self.globals += ["--set", f"image.store={store}"]
        return super().enter(bench) or self.await_template(bench)

    def await_template(self, bench):
        """The template of a VM with this image is made beside the first of them."""
        timing, end = bench.dir / "image.json", time.monotonic() + TEMPLATE_S
        while time.monotonic() < end:
            self.launcher.batch([self.image_argv("try", ["true"], "--timing-json", timing)], f"{self.name}: try")
            if '"cloned"' in timing.read_text():
                return None
        return f"no template of a VM with an image within {TEMPLATE_S} s"

    def image_argv(self, id_, args, *flags):
        return self.argv("run", "--image", "bench", "--name", id_, *flags, "--", *args)

    def run(self, id_, bundle_dir):
        return self.image_argv(id_, args_of(bundle_dir))

    def run_detached(self, id_, bundle_dir):
        return self.image_argv(id_, args_of(bundle_dir), "--detach")


def args_of(bundle_dir):
    return json.loads((pathlib.Path(bundle_dir) / "config.json").read_text())["process"]["args"]


POOL = 10  # VMs that wait: as many as start at once, but for the fifty
FILL_S = 120
TEMPLATE_S = 60


class CorPool(CorClone):
    """Its templates are of a domain of their own: a create without a pool would end the VMs that wait."""

    waiting = POOL

    def enter(self, bench):
        res = subprocess.run([self.path, *self.globals, "template", "ls"], capture_output=True, text=True, check=False)
        if res.returncode != 0:
            return f"this build has no warm pool: {res.stderr.strip()}"
        return super().enter(bench)

    def settle(self):
        """Until all are there: a create refills the pool beside it, which nobody else shall suffer from."""
        end = time.monotonic() + FILL_S
        self.launcher.batch([self.argv("pool", "fill")], "pool fill")
        while True:
            out = self.launcher.stream(self.argv("pool", "--format", "json", "ls"), "pool ls").out
            if len(json.loads(out) or []) >= self.waiting:
                return
            if time.monotonic() > end:
                raise Error(f"{self.name}: not {self.waiting} VMs within {FILL_S} s: {out}")
            time.sleep(0.05)

    def close(self):
        if self.launcher:
            self.launcher.run(self.argv("pool", "drain"))
        super().close()


class CorFork(CorPool):
    """One VM waits, and each container gets a copy of it. Copies are children of a keeper that lives on: nobody learns
    their CPU time when they end."""

    waiting = 1
    tells_cpu = False


def make_all(cor):
    """Everyone there is, peers first. cor: the installed program."""
    which = shutil.which
    return [
        Crun("crun", which("crun"), []),
        Contender("runc", which("runc"), []),
        Runsc("runsc", which("runsc")),
        Cor("cor cold", cor, ["--set", "template=off"]),
        CorClone("cor clone", cor, ["--set", "template=on"]),
        CorImage("cor image", cor, ["--set", "template=on"]),
        CorPool("cor pool", cor, ["--set", "template=on", "--set", "template.domain=pool", "--set", f"pool={POOL}"]),
        CorFork("cor fork", cor, ["--set", "template=on", "--set", "template.domain=fork", "--set", "pool=1",
                                  "--set", "pool.fork=on"]),
    ]


NAMES = [c.name for c in make_all(None)]


class Bench:
    """The directories of a run, its bundles and those who take part."""

    def __init__(self, names, build_dir, say):
        """say(text): what is done just now; say.log(text): a line that stays."""
        self.say = say
        self.cor = install(build_dir, say)  # before anything is made that had to be removed if this fails
        self.token = "corbench" + os.urandom(3).hex()
        self.dir = pathlib.Path(tempfile.gettempdir()) / self.token
        self.dir.mkdir(mode=0o755)
        memory = next((d for d in ("/run", "/dev/shm") if host.is_tmpfs(d)), None)
        self.state = pathlib.Path(memory) / self.token if memory else self.dir / "state"
        self.state.mkdir(mode=0o700)
        self.root = bundle.make_rootfs(self.dir / "root")
        self.skipped = []
        self.present = []
        self._bundles = 0
        for c in make_all(self.cor):
            if c.name in names:
                self.present.append(c)
                say(f"{c.name}: set-up")
                why = c.enter(self)
                if why:
                    self.present.remove(c)
                    c.close()
                    self.skipped.append((c.name, why))

    def bundle(self, args, root=None):
        """A new bundle with its own cgroup. root: another root file system than the common one."""
        self._bundles += 1
        conf = bundle.config(args)
        conf["root"]["path"] = str(root or self.root)
        conf["linux"]["cgroupsPath"] = f"/{self.token}-{self._bundles}"
        return bundle.make(self.dir / f"b{self._bundles}", conf, rootfs=False)

    def helper(self, name):
        """A static program of tests/lib."""
        return builds.helper(name, pathlib.Path(self.cor).parents[2])

    def own_cpu(self):
        """Seconds of CPU time of all that was started here, also of what still runs."""
        return sum(c.launcher.cpu() + sum(map(host.cpu_of, c.launcher.children())) for c in self.present)

    def versions(self):
        found = {}
        for name, argv in (("cor", [self.cor, "--version"]), ("QEMU", ["qemu-system-x86_64", "--version"]),
                           ("crun", ["crun", "--version"]), ("runc", ["runc", "--version"]),
                           ("runsc", ["runsc", "--version"])):
            if shutil.which(argv[0]):
                text = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
                commit = re.search(r"^commit: (\S+)$", text, re.M)
                found[name] = re.sub(r"^.*version\s*", "", (text.splitlines() or ["?"])[0])
                if name == "cor" and commit:
                    found[name] += f" ({commit.group(1)})"
        return found

    def guest(self):
        """What runs guest code, and the guest's kernel."""
        res = subprocess.run([self.cor, "check"], capture_output=True, text=True, check=False)
        kernel = re.search(r"guest kernel .*(Linux \S+)", res.stdout)
        how = "software emulation (TCG)" if "software emulation" in res.stdout.splitlines()[-1] else "KVM"
        return f"{how}, {kernel.group(1) if kernel else '?'}"

    def close(self):
        for c in self.present:
            c.close()
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)


def install(build_dir, say):
    """A release build of this tree in a prefix of its own, with its mini-OS. Returns the path of cor."""
    say("building cor (release)")
    build = builds.Build("bench", build_dir, ["--buildtype=release", "-Dtests=false"], {"CC": "gcc"})
    problem = build.make()
    if not problem:
        say("making the mini-OS")
        problem = builds.mini_os(build)
    if problem:
        raise Error(problem)
    return str(build.cor)
