"""Malformed and hostile config.json: an error that names the field, exit code 1, nothing left."""

import copy
import json

import bundle
from harness import case


def changed(path, value):
    """A good configuration with one member replaced; path "process.user.uid"; value DELETE removes."""
    conf = bundle.config(["true"])
    at = conf
    *heads, last = path.split(".")
    for h in heads:
        at = at[int(h)] if isinstance(at, list) else at.setdefault(h, {})
    if value is DELETE:
        del at[last]
    elif isinstance(at, list):
        at[int(last)] = value
    else:
        at[last] = value
    return conf


DELETE = object()
GOOD = json.dumps(bundle.config(["true"]))

# What is put in -> what the error must name. A tuple: one of them.
WRONG_VALUES = (
    ("ociVersion", DELETE, "ociVersion"),
    ("ociVersion", 1, "ociVersion"),
    ("ociVersion", "2.0.0", "ociVersion"),
    ("ociVersion", "one", "ociVersion"),
    ("root", DELETE, "root"),
    ("root", [], "root"),
    ("root.path", DELETE, "root.path"),
    ("root.path", "", "root.path"),
    ("root.path", 7, "root.path"),
    ("root.path", "no/such/dir", "no/such/dir"),
    ("root.path", "config.json", "config.json"),
    ("root.readonly", "yes", "root.readonly"),
    ("process.args", [], "process.args"),
    ("process.args", DELETE, "process.args"),
    ("process.args", "sh", "process.args"),
    ("process.args", [1], "process.args"),
    ("process.args", ["a\0b"], ("process.args", "NUL")),
    ("process.cwd", "relative", "process.cwd"),
    ("process.cwd", DELETE, "process.cwd"),
    ("process.env", {"A": "b"}, "process.env"),
    ("process.terminal", 1, "process.terminal"),
    ("process.user.uid", -1, "process.user.uid"),
    ("process.user.uid", 1 << 33, "process.user.uid"),
    ("process.user.uid", 1.5, "process.user.uid"),
    ("process.user.uid", "0", "process.user.uid"),
    ("process.user.additionalGids", [-1], "additionalGids"),
    ("process.rlimits", [{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}], "RLIMIT_NOPE"),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}] * 2, "RLIMIT_CORE"),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}], "rlimits"),
    ("process.oomScoreAdj", 5000, "oomScoreAdj"),
    ("process.oomScoreAdj", "x", "oomScoreAdj"),
    ("process.scheduler", {"policy": "SCHED_NOPE"}, "scheduler"),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_NOPE", "priority": 1}, "ioPriority"),
    ("hostname", 5, "hostname"),
    ("hostname", "x" * 100, "hostname"),
    ("mounts", {}, "mounts"),
    ("mounts.0", "x", "mounts[0]"),
    ("mounts.0.destination", DELETE, "mounts[0]"),
    ("mounts.0.options", "ro", "mounts[0]"),
    ("mounts.0.options", ["ro", 5], "mounts[0]"),
    ("linux.namespaces", [{"type": "pid"}, {"type": "pid"}], "namespaces"),
    ("linux.namespaces", [{"type": "nope"}], "nope"),
    ("linux.devices", [{"path": "relative", "type": "c", "major": 1, "minor": 3}], "devices"),
    ("linux.devices", [{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}], "devices"),
    ("linux.sysctl", {"kernel.shmmax": 5}, "sysctl"),
    ("linux.sysctl", {"../../etc/passwd": "x"}, "sysctl"),
    ("linux.maskedPaths", ["relative"], "maskedPaths"),
    ("linux.rootfsPropagation", "sideways", "rootfsPropagation"),
    ("linux.resources", {"memory": {"limit": "much"}}, "memory.limit"),
    ("linux.resources", {"pids": {"limit": 1e30}}, "pids.limit"),
    ("linux.resources", {"devices": [{"allow": True, "access": "q"}]}, "devices"),
    ("linux.personality", {"domain": "WINDOWS"}, "personality"),
    ("linux.timeOffsets", {"realtime": {"secs": 1}}, "timeOffsets"),
    ("linux.intelRdt", {"closID": "x"}, "intelRdt"),
    ("hooks.createRuntime", [{"path": "relative"}], "hooks.createRuntime"),
    ("hooks.createRuntime", [{"path": "/bin/true", "timeout": 0}], "timeout"),
    ("hooks.poststop", {}, "hooks.poststop"),
    ("annotations", {"": "x"}, "annotations"),
    ("annotations", {"a": 5}, "annotations"),
    ("vm", {"kernel": {"path": "relative"}}, "vm.kernel"),
)


def raw_texts():
    """(name, bytes of config.json, what the error must name)."""
    deep = "[" * 20000 + "]" * 20000
    twice = GOOD.replace('"root": {', '"hostname": "twice", "root": {', 1)
    yield "empty", b"", "config.json"
    yield "truncated", GOOD[: len(GOOD) // 2].encode(), "config.json"
    yield "truncated in a string", GOOD[: GOOD.index("rootfs") + 3].encode(), "config.json"
    yield "trailing text", GOOD.encode() + b"}", "config.json"
    yield "an array", b"[]", "config.json"
    yield "a number", b"7", "config.json"
    yield "NUL inside", GOOD.replace("cor-test", "cor\0test").encode(), "config.json"
    yield "escaped NUL", GOOD.replace("cor-test", "cor\\u0000test").encode(), "config.json"
    yield "not UTF-8", GOOD.replace("cor-test", "cor\udcfftest").encode("utf-8", "surrogateescape"), "config.json"
    yield "lone surrogate", GOOD.replace("cor-test", "cor\\ud800test").encode(), ("config.json", "hostname")
    yield "duplicate key", twice.encode(), "hostname"
    yield "deep nesting", ('{"ociVersion":"1.0.0","x":' + deep + "}").encode(), "config.json"
    yield "10 MB", ('{"x":"' + "a" * (10 << 20) + '",' + GOOD[1:]).encode(), "config.json"
    yield "UTF-16", GOOD.encode("utf-16"), "config.json"
    yield "comment", b"// hello\n" + GOOD.encode(), "config.json"
    yield "single quotes", GOOD.replace('"', "'").encode(), "config.json"
    yield "NaN", GOOD.replace('"uid": 0', '"uid": NaN').encode(), "config.json"


def refused(t, c, names):
    r = c.run(timeout=30)
    t.eq(r.code, 1, "exit code")
    t.has_any(r.err, *((names,) if isinstance(names, str) else names))
    t.true(len(r.err) < 2000, f"an error of {len(r.err)} bytes")
    t.true("\0" not in r.err and "\x1b" not in r.err, "control bytes in the error")
    t.eq(t.rt.states(), [])


@case(timeout=120, only=("cor",), quick=True)
def test_wrong_values(t):
    """One wrong member each."""
    c = t.rt.container()
    for path, value, names in WRONG_VALUES:
        shown = "missing" if value is DELETE else json.dumps(value)[:40]
        with t.step(f"{path} {shown}"):
            bundle.write_config(c.bundle, changed(path, copy.copy(value) if value is not DELETE else value))
            refused(t, c, names)


@case(timeout=120, only=("cor",), quick=True)
def test_texts(t):
    """Files that are no configuration at all."""
    c = t.rt.container()
    for name, data, names in raw_texts():
        with t.step(name):
            bundle.write_config(c.bundle, data)
            refused(t, c, names)


@case(timeout=60, quick=True)
def test_every_prefix(t):
    """Cut at many places: never a crash, never a start."""
    c = t.rt.container()
    for cut in list(range(0, len(GOOD) - 1, max(1, len(GOOD) // 60))):
        bundle.write_config(c.bundle, GOOD[:cut])
        r = c.run(timeout=30)
        t.eq(r.code, 1, f"cut at {cut}: exit code")
    t.eq(t.rt.states(), [])


@case(timeout=60, quick=True)
def test_missing_config(t):
    c = t.rt.container()
    (c.bundle / "config.json").unlink()
    r = c.run()
    t.eq(r.code, 1)
    t.has(r.err, "config.json")
    t.eq(t.rt.states(), [])


@case(timeout=60, only=("cor",), quick=True)
def test_early_failure_with_poststop(t):
    """The container's directory is there, its root is not: the hook is told, nothing is left."""
    c = t.rt.container()
    out = t.dir / "poststop.json"
    conf = changed("root.path", "gone")
    conf["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {out}"]}]}
    bundle.write_config(c.bundle, conf)
    r = c.run()
    t.eq(r.code, 1)
    t.has(r.err, "root.path: gone")
    t.eq(json.loads(out.read_text())["status"], "stopped")
    t.eq(t.rt.states(), [])


@case(timeout=60, only=("cor",), quick=True)
def test_accepted(t):
    """What must be taken: unknown members, versions to come, empty vm objects, both spellings."""
    c = t.rt.container()
    for name, conf in (
        ("unknown members", changed("unknown", {"deep": [1, {"x": None}]})),
        ("unknown in process", changed("process.unknown", 5)),
        ("windows is ignored", changed("windows", {"layerFolders": ["x"]})),
        ("version 1.3.0", changed("ociVersion", "1.3.0")),
        ("version 1.0.2-dev", changed("ociVersion", "1.0.2-dev")),
        ("version 1.99.0", changed("ociVersion", "1.99.0")),
        ("empty vm", changed("vm", {"hypervisor": {"path": ""}, "kernel": {"path": ""}, "image": {"path": "", "format": ""}})),
        ("vm.hwConfig", changed("vm", {"kernel": {"path": ""}, "hwConfig": {"vcpus": 1, "memory": 268435456}})),
        ("vm.hwconfig", changed("vm", {"kernel": {"path": ""}, "hwconfig": {"vcpus": 1, "memory": 268435456}})),
        ("zero means unset", changed("linux.resources", {"cpu": {"shares": 0}, "blockIO": {"weight": 0}})),
        ("unknown capability", changed("process.capabilities.bounding", ["CAP_NOPE", "CAP_KILL"])),
        ("foreign annotations", changed("annotations", {"io.podman.x": "y", "io.kubernetes.cri.container-type": "container"})),
    ):
        with t.step(name):
            bundle.write_config(c.bundle, conf)
            r = c.run()
            t.eq(r.code, 0, r.err)


@case(timeout=60, only=("cor",), quick=True)
def test_refused_features(t):
    """Known fields that a machine of its own cannot honour: an error that names them."""
    c = t.rt.container()
    nsp = [{"type": n} for n in bundle.NAMESPACES]
    for name, conf, names in (
        ("host network", changed("linux.namespaces", [n for n in nsp if n["type"] != "network"]), "network"),
        ("host pid", changed("linux.namespaces", [n for n in nsp if n["type"] != "pid"]), "pid"),
        ("pid of another", changed("linux.namespaces", [{"type": "pid", "path": "/proc/1/ns/pid"}] + nsp[1:]), "pid"),
        ("netDevices", changed("linux.netDevices", {"eth7": {}}), "netDevices"),
        ("idmap", changed("mounts.0.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}]), "mounts[0]"),
    ):
        with t.step(name):
            bundle.write_config(c.bundle, conf)
            refused(t, c, names)
