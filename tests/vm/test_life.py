"""Signals, pause, ps, and what happens when a part of a virtual machine dies."""

import json
import os
import signal

import bundle
import leak
import phases
from harness import case

@case(timeout=180, vm=True, quick=True)
def test_signals(t):
    """Signals by kill and to the pid; the program's own handlers; real-time ones."""
    c = t.rt.container(bundle.config(["probe", "signals", "1", "2", "3", "10", "12", "28", "34"]))
    bundle.add_probe(c.rootfs, t.opts.probe)
    c.up()
    c.wait_out("ready")
    for name, num in (("HUP", 1), ("SIGINT", 2), ("3", 3), ("USR1", 10), ("SIGUSR2", 12), ("WINCH", 28)):
        with t.step(f"kill {name}"):
            c.kill(name)
            c.wait_out(f"got {num}\n")
    with t.step("a real-time signal by number"):
        c.kill("34")
        c.wait_out("got 34\n")
    with t.step("a signal to the pid"):
        before = c.out().count("got 10")
        os.kill(c.pid, signal.SIGUSR1)
        t.wait(lambda: c.out().count("got 10") == before + 1, "USR1 forwarded once")
    with t.step("TERM to the pid, the program's code"):
        os.kill(c.pid, signal.SIGTERM)
        t.eq(c.wait(), 7)
    c.delete()


@case(timeout=180, vm=True)
def test_kill_all(t):
    """kill --all reaches every process; KILL ends everything."""
    c = t.rt.container(bundle.config("trap 'exit 0' TERM; tail -f /dev/null & tail -f /dev/null & echo up; "
                                     "while :; do sleep 0.1; done"))
    c.up()
    c.wait_out("up")
    with t.step("--all"):
        c.kill("USR2", "--all")  # the tails die of it, the shell is PID 1 and does not
        t.wait(lambda: c.exec("ps -o stat,comm | grep tail | grep -v ^Z").code == 1, "the end of the children")
        t.eq(c.state()["status"], "running")
    with t.step("KILL"):
        c.kill("KILL")
        t.eq(c.wait(), 137)
    c.delete()


@case(timeout=180, vm=True, quick=True)
def test_pause(t):
    """pause: the program stands still, exec is refused, KILL still works."""
    c = t.rt.container(bundle.config("i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"))
    c.up()
    c.wait_out("3\n")
    t.rt("pause", c.id)
    with t.step("status"):
        t.eq(c.state()["status"], "paused")
    with t.step("it stands still"):
        os.sync()
        size = t.wait(lambda: stable(c.out_path, t), "output to stop")
        t.true(size > 0, "no output at all")
    with t.step("exec is refused"):
        r = c.exec(["true"])
        t.true(r.code == 255 or (t.rt.kind, r.code) == ("crun", 1), f"code {r.code}")
        t.has(r.err, "paused")
    with t.step("pause again"):
        r = t.rt("pause", c.id, check=None)
        t.true(r.code in (0, 1), f"code {r.code}")
        t.eq(c.state()["status"], "paused")
    t.rt("resume", c.id)
    with t.step("resumed"):
        t.eq(c.state()["status"], "running")
        before = c.out_path.stat().st_size
        t.wait(lambda: c.out_path.stat().st_size > before, "output again")
        t.eq(c.sh("echo ok"), "ok\n")
    with t.step("delete --force while paused"):
        t.rt("pause", c.id)
        c.delete("--force")
        t.eq(c.wait(), 137)
        t.eq(t.rt.states(), [])


def stable(path, t):
    """The file's size when it did not grow for a second, else 0."""
    import time

    before = path.stat().st_size
    time.sleep(1.0)  # nothing may happen: no event to wait for
    return before if path.stat().st_size == before else 0


@case(timeout=180, vm=True)
def test_ps(t):
    c = t.rt.container(bundle.config("sleep 1111 & sleep 2222 & echo up; wait"))
    c.up()
    c.wait_out("up")
    with t.step("json: numbers of host processes"):
        pids = t.rt("ps", "--format", "json", c.id).json()
        t.true(pids and all(isinstance(p, int) for p in pids), f"{pids}")
        t.true(all(os.path.exists(f"/proc/{p}") for p in pids), f"{pids} are no processes")
        t.true(c.pid in pids, f"{c.pid} is not in {pids}")
    with t.step("table"):
        t.only("cor", "runc")
        text = t.rt("ps", c.id).out
        t.has(text.splitlines()[0], "PID")
        t.has(text, "1111", "2222")
    c.finish()


@case(timeout=180, vm=True)
def test_update_and_limits(t):
    """Limits of memory and processes hold; update changes them."""
    conf = bundle.config("echo up; exec sleep 1000")
    conf["linux"]["resources"] = {"pids": {"limit": 60}, "memory": {"limit": 64 << 20}, "cpu": {"shares": 512}}
    c = t.rt.container(conf)
    bundle.add_probe(c.rootfs, t.opts.probe)
    c.up()
    c.wait_out("up")
    forks = "i=0; while [ $i -lt 100 ]; do sleep 1000 >/dev/null 2>&1 & i=$((i+1)); done 2>&1; sleep 0.2; kill $(jobs -p) 2>/dev/null; wait"
    with t.step("memory limit"):
        t.eq(c.exec(["probe", "eat", "20"]).out, "ok\n")
        r = c.exec(["probe", "eat", "200"])
        t.eq(r.code, 137)
    with t.step("pids limit"):
        r = c.exec(forks)
        t.has_any((r.out + r.err).lower(), "can't fork", "resource temporarily unavailable", "cannot fork")
    with t.step("the container lives on"):
        t.eq(c.state()["status"], "running")
    with t.step("update --pids-limit"):
        t.rt("update", "--pids-limit", "300", c.id)
        r = c.exec(forks)
        t.lacks((r.out + r.err).lower(), "fork")
    with t.step("update --resources -"):
        t.rt("update", "--resources", "-", c.id, input=json.dumps({"memory": {"limit": 40 << 20}}))
        t.eq(c.exec(["probe", "eat", "100"]).code, 137)
        t.eq(c.exec(["probe", "eat", "10"]).out, "ok\n")
    with t.step("update --resources FILE, values that are unset"):
        f = t.dir / "res.json"
        f.write_text(json.dumps({"cpu": {"shares": 0, "quota": 50000, "period": 100000}, "blockIO": {"weight": 0}}))
        t.rt("update", "--resources=" + str(f), c.id)
    with t.step("update of a wrong value"):
        t.true(t.rt("update", "--memory", "lots", c.id, check=None).code != 0, "it was taken")
    c.finish()


@case(timeout=120, vm=True)
def test_oom_of_init(t):
    """The container's own process over its memory limit: killed, 137."""
    conf = bundle.config(["probe", "eat", "300"])
    conf["linux"]["resources"] = {"memory": {"limit": 48 << 20, "swap": 48 << 20}}
    c = t.rt.container(conf)
    bundle.add_probe(c.rootfs, t.opts.probe)
    t.eq(c.run(timeout=90).code, 137)


# --- only for cor: the parts of a machine -------------------------------------------------------


def family(c):
    """{role: pid} of one container's host processes: the OCI pid, the VM that it has noted, other descendants."""
    found = {"monitor": c.pid, "vmm": int((c.rt.root / c.id / "vm").read_text().split()[0])}
    for pid in leak.descendants(c.pid):
        if pid not in found.values():
            found[f"helper{pid}"] = pid
    return found


@case(timeout=300, vm=True, only=("cor",))
def test_kill_each_process(t):
    """kill -9 of every process of a running VM: the others end, state says stopped, delete works."""
    probe = t.rt.container(bundle.config("echo up; exec sleep 1000")).up()
    probe.wait_out("up")
    t.true(alive(family(probe)["vmm"]), "the VM's process")
    probe.finish()
    for role in ("monitor", "vmm"):
        with t.step(role):
            c = t.rt.container(bundle.config("echo up; exec sleep 1000")).up()
            c.wait_out("up")
            pids = family(c)
            os.kill(pids[role], signal.SIGKILL)
            code = c.wait()
            t.true(code in (137, 255, 1), f"exit code {code}")
            t.wait(lambda: not any(alive(p) for p in pids.values()), f"end of all of {pids}")
            t.eq(c.state()["status"], "stopped")
            r = c.exec(["true"])
            t.eq(r.code, 255)
            c.delete()
            t.eq(t.rt.states(), [])


def alive(pid):
    st = leak.stat_fields(pid)
    return st is not None and st[0] != "Z"


@case(timeout=180, vm=True, only=("cor",))
def test_guest_panic(t):
    """A guest kernel that panics: the container ends, the error carries the console's last lines."""
    if t.opts.guest != "qemu":
        t.skip("needs a guest kernel")
    conf = bundle.config("echo up; read x; echo c > /proc/sysrq-trigger; sleep 100")
    conf["linux"]["readonlyPaths"] = []
    conf["mounts"][0]["options"] = []
    r, w = os.pipe()
    c = t.rt.container(conf)
    c.create(stdin=r)
    os.close(r)
    c.start()
    c.wait_out("up")
    os.write(w, b"go\n")
    os.close(w)
    code = c.wait(60)
    with t.step("it ends with an error"):
        t.true(code not in (0, None), f"code {code}")
    with t.step("the log carries the console"):
        text = c.log.read_text() + c.err()
        t.has_any(text, "Kernel panic", "sysrq", "panic")
    t.eq(c.state()["status"], "stopped")
    c.delete()


@case(timeout=600, vm=True, only=("cor",))
def test_kill_at_marks(t):
    """As cli/phases, with a real machine: its parts die while it boots and runs. Of VMs that wait: pool.kill_at_marks."""
    t.rt.globals = t.rt.globals + ["--set", "pool=0"]
    killed = 0
    for mark in ("vm-started", "guest-kernel", "boot-modules", "container", "running"):
        for victim in ("monitor", "vmm"):
            with t.step(f"{victim} at {mark}"):
                n = phases.cut(t, mark, victim)
                killed += n if victim == "vmm" else 0
    t.true(killed, "no VM was there to be killed")
    with t.step("cor at guest-kernel"):
        phases.cut(t, "guest-kernel", "cor")
    with t.step("delete --force at guest-kernel"):
        phases.cut(t, "guest-kernel", "force")


@case(timeout=120, vm=True, only=("cor",))
def test_half_written_state(t):
    """Power loss: any prefix of the files of a state directory; list, state and delete bear it."""
    c = t.rt.container(bundle.config("echo up; exec sleep 1000")).up()
    c.wait_out("up")
    source = t.rt.root / c.id
    names = sorted(p.name for p in source.iterdir() if p.is_file())
    copies = []
    for name in names:
        for cut in (0, 1, source.joinpath(name).stat().st_size // 2):
            id_ = t.fresh("half")
            d = t.rt.root / id_
            d.mkdir()
            for other in names:
                data = source.joinpath(other).read_bytes()
                if other == name:
                    data = data[:cut]
                (d / other).write_bytes(data.replace(c.id.encode(), id_.encode()))
            copies.append((name, cut, id_))
    empty = t.fresh("empty")
    (t.rt.root / empty).mkdir()
    copies.append(("(empty directory)", 0, empty))
    c.finish()
    with t.step("list"):
        t.rt("list", "--format", "json")
    for name, cut, id_ in copies:
        with t.step(f"{name} cut at {cut}"):
            t.rt("state", id_, check=None)
            t.rt("delete", "--force", id_)
            t.true(id_ not in t.rt.states(), "still there")
