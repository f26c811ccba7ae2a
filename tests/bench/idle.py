"""idle.py - ./bench idle: what one more idle container costs in memory on cor-vmm, in a host with KVM.

Where KVM works `./bench density` measures the same beside others. This runs in an emulated host elsewhere
(lib/kvmhost.py): idle-job.py starts the containers there, as clones of one template, and reads /proc.
"""

import json
import pathlib

import account
import bundle
import kvmhost
from launcher import Error
from report import Result, Table, show

HERE = pathlib.Path(__file__).resolve().parent
COUNT = 100
TIMEOUT_S = 1800
KERNEL = ("PageTables", "SecPageTables", "Slab", "KernelStack", "Percpu", "Shmem")

ABOUT = """Containers of `sleep`, each a clone of one template on cor-vmm, started one after the other in a host with KVM (an emulated one
where there is none) and left alone: /proc/meminfo before the first and after the last, divided by their number. MemAvailable is all in. Below it is
what of that can be named: private memory of the processes, with the pages that a guest wrote (copies of the template's) apart, and
the kernel's own. "Guest's memory" is what the host has pages for in one machine, those that it shares with others included: by a template, and,
of a machine with an image, the image's pages that it maps."""


def arguments(p):
    p.add_argument("--count", type=int, default=COUNT, metavar="N", help=f"containers ({COUNT})")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of cor")


def env(machine):
    """For idle-job.py."""
    return {"EMULATED": "1"} if machine.emulated else {}


def run(bench, opts):
    build = pathlib.Path(bench.cor).parents[2]
    conf = bundle.config(["sleep", "1000000"])
    top = bundle.make(bench.dir / "idle", conf)
    argv = ["python3", "idle-job.py", bench.cor, str(opts.count), *(w for s in opts.set for w in ("--set", s))]
    bench.say(f"{opts.count} containers")
    try:
        with kvmhost.choose(build, binds=[build], dir=bench.dir) as host:
            res = host.run(argv, files=[HERE / "idle-job.py", (top, "bundle")], timeout=TIMEOUT_S, env=env(host))
    except kvmhost.HostError as e:
        raise Error(f"idle: {e}") from e
    if res.over or res.code != 0:
        raise Error(f"idle: {res}")
    return report(json.loads(res.out), host.emulated)


def report(data, emulated):
    """data: of idle-job.py."""
    res = Result("idle", "Idle: memory of one more container on cor-vmm, KiB", ABOUT)
    first, last = data["samples"][0], data["samples"][-1]
    n = last["containers"]
    one = {k: (last["meminfo"][k] - first["meminfo"][k]) / n for k in first["meminfo"] if k in last["meminfo"]}
    slope = account.slope([(s["containers"], -s["meminfo"]["MemAvailable"]) for s in data["samples"]])
    rows = [["MemAvailable", show(-one["MemAvailable"])], ["MemAvailable, by slope", show(slope)]]
    named = {what: kib / n for what, kib in data["processes"].items()}
    named.update({f"kernel: {k}": one[k] for k in KERNEL if k in one})
    rows += [[what, show(kib)] for what, kib in named.items()]
    rows.append(["not named", show(-one["MemAvailable"] - sum(named.values()))])
    rows += [[f"guest's memory, {how}", show(kib)] for how, kib in data["touched"].items()]
    res.tables.append(Table([f"{n} containers", "each"], rows))
    res.notes.append("an emulated host" if emulated else "this machine")
    res.data = {**data, "each": {"MemAvailable": -one["MemAvailable"], "by slope": slope, **named}}
    return res
