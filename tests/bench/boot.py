"""boot.py - what the guest's boot is made of: instructions, counted, and time, by stage; for each kernel there is."""

import json
import pathlib
import shutil
import subprocess

import builds
from launcher import Error
from report import Result, Spread, Table, show

KERNELS = ("stock", "clear", "clear dax", "full")
COUNTING = ["--set", "qemu.accel=tcg", "--set", "qemu.params=-icount shift=0,sleep=off"]
# Told its frequency (an instruction is a nanosecond), the guest's clock counts instructions too.
COUNT_WORDS = "tsc_early_khz=1000000"
NO_WAIT = "nolapic_timer"  # for counting only: without it, the kernel waits 0.1 s to calibrate the APIC's timer
ROUNDS = 7
# Stage -> the marks (of cor run --timing) that end its parts.
STAGES = {
    "VMM up": ("guest-kernel",),
    "kernel": ("agent-main",),
    "agent": ("boot-mounts", "boot-modules", "boot-settings", "boot-parked", "boot-channel", "hello", "agent-ready"),
    "container": ("share-mounted", "container-set-up", "program-running"),
}

ABOUT = """Guest instructions from the machine's reset, counted by QEMU (`-icount shift=0,sleep=off`), one vCPU. They repeat to one in a
thousand, whatever else runs. "Waits" is what of them the kernel spends waiting for the APIC timer's calibration, in a loop; the
kernel's own work is the rest. "Container" goes from the agent's readiness to the start of the program. Then the same stages in
milliseconds, medians of runs in turn, and the memory of QEMU with an idle container."""


def arguments(p):
    p.add_argument("--rounds", type=int, metavar="N", default=ROUNDS, help=f"timed rounds of each ({ROUNDS})")
    p.add_argument("--memory", metavar="SIZE", default="512M", help="of the VM (512M)")


class Kernel:
    """A mini-OS with this kernel, and how cor is called with it."""

    def __init__(self, bench, name, memory):
        self.bench, self.name = bench, name
        self.cor = bench.present[0]
        self.dir = bench.dir / f"os-{name.replace(' ', '-')}"
        kernel, *form = name.split()
        tool = pathlib.Path(bench.cor).parent / "cor-image"
        argv = [tool, "os", "--kernel", kernel, *(f"--{f}" for f in form), "--out", self.dir, "--cache", builds.CACHE]
        res = subprocess.run([*argv, "--quiet", "--json"], capture_output=True, text=True, check=False)
        self.problem = res.stderr.strip() if res.returncode else None
        self.release = None if self.problem else json.loads(res.stdout)["release"]
        self.sets = ["--set", f"vm.kernel={self.dir}/vmlinux", "--set", f"vm.initrd={self.dir}/initrd", "--set",
                     f"vm.memory={memory}", "--set", f"vm.memory_min={memory}"]

    def call(self, sets, verb, *args, timeout=120, stdout=subprocess.PIPE):
        """Its stdout. What it says goes to a file: a pipe would stay open as long as a container that it detaches."""
        argv = [self.cor.path, "--root", self.cor.root, *self.sets, *sets, verb, *args]
        with open(self.bench.dir / "boot.err", "w+", encoding="utf-8", errors="replace") as err:
            res = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=err, text=True, check=False,
                                 timeout=timeout)
            err.seek(0)
            said = err.read().strip().splitlines() or ["no message"]
        if res.returncode != 0:
            raise Error(f"{self.name}: cor {verb}: {said[-1]}")
        return res.stdout

    def run(self, sets, bundle, timeout=120):
        """Stages in ns, and the program's output."""
        path = self.bench.dir / "timing.json"
        out = self.call(sets, "run", "--timing-json", path, "--bundle", bundle, "boot", timeout=timeout)
        took = {p["mark"]: p["tookNs"] for p in json.loads(path.read_text())}
        found = {stage: sum(took.get(m, 0) for m in marks) for stage, marks in STAGES.items()}
        found["all"] = sum(took.values())
        return found, out


def count(bench, kernel, bundle, words):
    """Millions of instructions by stage. The guest's clock starts when the kernel sets it up: the program's
    reading of both clocks says how many came before."""
    sets = [*COUNTING, "--set", "template=off", "--set", f"vm.kernel_params={COUNT_WORDS} {words}"]
    bench.say(f"{kernel.name}: counting {words}")
    found, out = kernel.run(sets, bundle, timeout=400)
    tsc, boot = (int(w) for w in out.split())
    found["kernel"] += tsc - boot
    return {k: v / 1e6 for k, v in found.items()}


def counts(bench, res, kernels):
    root = bench.dir / "tscroot"
    shutil.copytree(bench.root, root, symlinks=True)
    shutil.copy(bench.helper("tsc"), root / "tsc")
    bundle = bench.bundle(["/tsc"], root)
    rows = []
    for k in list(kernels):
        try:
            whole, rest = (count(bench, k, bundle, words) for words in ("", NO_WAIT))
        except Error as e:  # the stock kernel needs more memory than some ask for
            kernels.remove(k)
            res.skipped.append((k.name, str(e)))
            continue
        wait = whole["kernel"] - rest["kernel"]
        rows.append([k.name, show(rest["kernel"]), show(wait), show(rest["agent"]), show(rest["kernel"] + rest["agent"]),
                     show(rest["container"])])
        res.data[f"{k.name}, millions of instructions"] = {"with waits": whole, "without": rest}
    res.tables.append(Table(["million instructions", "kernel", "waits", "agent", "to agent ready", "container"], rows))


def times(bench, res, kernels, rounds):
    bundle = bench.bundle(["true"])
    templates = ["--set", "template=on", "--set", f"template.dir={bench.dir / 'templates'}"]
    ways = []
    for k in kernels:
        bench.say(f"{k.name}: template")
        k.call(templates, "template", "make")
        ways += [(k, "cold", ["--set", "template=off"]), (k, "clone", templates)]
    found = {(k.name, way): [] for k, way, _ in ways}
    for i in range(rounds + 1):
        for j in range(len(ways)):
            k, way, sets = ways[(i + j) % len(ways)]
            bench.say(f"{k.name} {way}: round {i + 1} of {rounds + 1}")
            stages, _ = k.run(sets, bundle)
            if i:
                found[k.name, way].append(stages)
    rows = []
    for (name, way), runs in found.items():
        cells = [show(Spread([r[s] / 1e6 for r in runs]).median) if way == "cold" or s == "container" else "-" for s in STAGES]
        whole = Spread([r["all"] / 1e6 for r in runs])
        rows.append([f"{name} {way}", *cells, show(whole.median), show(whole.min)])
        res.data[f"{name} {way}, ns"] = runs
    res.tables.append(Table(["milliseconds, median", *STAGES, "run true", "least"], rows))


def memory_of(pid):
    """KiB: all pages of a process, and those that are its own."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        kb = {line.split(":")[0]: int(line.split()[1]) for line in f if line.endswith("kB\n")}
    return kb["Rss"], kb["Anonymous"]


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(w) for w in f.read().split()]


def is_qemu(pid):
    return b"qemu" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]


def idle(bench, res, kernels):
    bundle = bench.bundle(["sleep", "1000"])
    rows = []
    for k in kernels:
        bench.say(f"{k.name}: memory")
        pid_file = bench.dir / "idle.pid"
        try:
            k.call(["--set", "template=off"], "run", "--detach", "--pid-file", pid_file, "--bundle", bundle, "boot",
                   stdout=subprocess.DEVNULL)
            qemu = next(c for c in children(int(pid_file.read_text())) if is_qemu(c))
            rss, own = memory_of(qemu)
        finally:
            k.call([], "delete", "--force", "boot")
        rows.append([k.name, show(rss / 1024), show(own / 1024)])
        res.data[f"{k.name}, KiB of QEMU"] = {"rss": rss, "anonymous": own}
    res.tables.append(Table(["QEMU with an idle container, MiB", "resident", "its own"], rows))


def run(bench, opts):
    res = Result("boot", "Boot of the guest", ABOUT)
    kernels = []
    for name in KERNELS:
        bench.say(f"mini-OS with the {name} kernel")
        k = Kernel(bench, name, opts.memory)
        if k.problem:
            res.skipped.append((name, k.problem))
        else:
            kernels.append(k)
            res.notes.append(f"{name}: Linux {k.release}")
    if not kernels:
        raise Error("no kernel to boot")
    counts(bench, res, kernels)
    times(bench, res, kernels, opts.rounds)
    idle(bench, res, kernels)
    return res
