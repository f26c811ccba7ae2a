"""The life of a container by its verbs: exit codes and texts of the runc command line, state files,
pid file, log format."""

import datetime
import json
import os
import signal

import bundle
from harness import case

@case(quick=True)
def test_life(t):
    """create, start, kill, delete: status and pid at each step."""
    c = t.rt.container(bundle.config(["sleep", "1000"]))
    c.create()
    s = c.state()
    with t.step("created"):
        t.eq(s["status"], "created")
        t.eq(s["id"], c.id)
        t.eq(s["pid"], c.pid)
        t.eq(s["bundle"], str(c.bundle))
        t.true(os.path.exists(f"/proc/{c.pid}"), "the pid is no process")
    c.start()
    with t.step("running"):
        t.eq(c.state()["status"], "running")
        t.eq(c.state()["pid"], c.pid)
    with t.step("delete while running is refused"):
        r = t.rt("delete", c.id, check=None)
        t.eq(r.code, 1)
        t.eq(c.state()["status"], "running")
    with t.step("the pid is the caller's child and carries the code"):
        c.kill("KILL")
        t.eq(c.wait(), 128 + signal.SIGKILL)
    with t.step("stopped"):
        s = c.state()
        t.eq(s["status"], "stopped")
        t.eq(s["pid"], 0)
    with t.step("kill when stopped"):
        r = c.kill("KILL", check=None)
        t.eq(r.code, 1)
        t.has_any(r.err, "process already finished", "container not running")
    c.delete()
    with t.step("delete leaves nothing"):
        t.eq(t.rt.states(), [])
    with t.step("the same id again at once"):
        c.create()
        c.delete("--force")
        c.wait()
        t.eq(t.rt.states(), [])


@case(quick=True)
def test_unknown_id(t):
    """Verbs on an id that does not exist."""
    nope = t.fresh("nope")
    for verb in (["state", nope], ["kill", nope, "9"], ["delete", nope], ["start", nope], ["pause", nope],
                 ["resume", nope], ["ps", nope]):
        with t.step(verb[0]):
            r = t.rt(*verb, check=None)
            t.eq(r.code, 1, "exit code")
            t.has(r.err, "does not exist")
    with t.step("exec"):
        r = t.rt("exec", nope, "true", check=None)
        t.eq(r.code, 255)
        t.has(r.err, "does not exist")
    with t.step("delete --force"):
        t.rt("delete", "--force", nope, check=0)


@case(quick=True)
def test_wrong_state(t):
    """Verbs that the state forbids: exit 1, a text, and nothing changed."""
    c = t.rt.container(bundle.config(["sleep", "1000"]))
    c.create()
    with t.step("create with a used id"):
        r = t.rt("create", "--bundle", c.bundle, c.id, check=None)
        t.eq(r.code, 1)
        t.has(r.err, "exist")
        t.eq(c.state()["status"], "created")
    with t.step("exec before start"):
        t.eq(c.exec("exit 4").code, 4)
    c.start()
    with t.step("start twice"):
        r = c.start(check=None)
        t.eq(r.code, 1)
        t.eq(c.state()["status"], "running")
    with t.step("run with a used id"):
        r = c.run()
        t.eq(r.code, 1)
    with t.step("resume when not paused"):
        t.eq(t.rt("resume", c.id, check=None).code, 1)
    c.kill("KILL")
    c.wait()
    with t.step("start when stopped"):
        t.eq(c.start(check=None).code, 1)
    with t.step("exec when stopped"):
        t.eq(c.exec(["true"]).code, 255)
    with t.step("pause when stopped"):
        t.eq(t.rt("pause", c.id, check=None).code, 1)
    c.delete()


@case(quick=True)
def test_bad_ids(t):
    """Ids: letters, digits, _ + - . only; nothing is created."""
    c = t.rt.container()
    for name in ("a/b", "../x", "a b", "", "ä", "a\nb", "a*", ".", ".."):
        with t.step(repr(name)):
            r = t.rt("create", "--bundle", c.bundle, name, check=None)
            t.eq(r.code, 1)
            t.true(r.err.strip(), "no text")
            t.eq(t.rt.states(), [])


@case()
def test_good_ids(t):
    c = t.rt.container()
    for name in (t.token + "_a+b-c.d", t.token + "." + "x" * 60):
        with t.step(name[len(t.token) :]):
            c.id = name
            c.bundle.joinpath("config.json").write_text(json.dumps(bundle.config(["true"])))
            r = c.run(check=0)
            t.eq(r.out, "")


@case(quick=True)
def test_run_codes(t):
    """run gives the program's code, or 128 + signal."""
    for script, code in (("exit 0", 0), ("exit 17", 17), ("exit 255", 255)):
        with t.step(script):
            t.eq(t.rt.container(bundle.config(script)).run().code, code)
    with t.step("killed"):
        conf = bundle.config("sleep 1000 & trap 'kill $!; exit 9' TERM; echo up; wait")
        c = t.rt.container(conf)
        c.up()
        c.wait_out("up")
        c.kill("9")
        t.eq(c.wait(), 137)
        c.delete()


@case(quick=True)
def test_missing_program(t):
    """Texts that engines turn into 127 and 126."""
    c = t.rt.container(bundle.config(["no-such-program"]))
    with t.step("not in PATH"):
        r = c.run()
        t.true(r.code in (1, 127), f"exit code {r.code}")
        t.has(r.err, "executable file not found in")
    with t.step("absolute path"):
        bundle.write_config(c.bundle, bundle.config(["/no/such/program"]))
        r = c.run()
        t.has_any(r.err.lower(), "no such file or directory")
    with t.step("a directory"):
        bundle.write_config(c.bundle, bundle.config(["/etc"]))
        r = c.run()
        t.has_any(r.err.lower(), "permission denied", "is a directory")
    with t.step("not executable"):
        bundle.write_config(c.bundle, bundle.config(["/etc/passwd"]))
        r = c.run()
        t.has(r.err.lower(), "permission denied")
    with t.step("nothing is left"):
        t.eq(t.rt.states(), [])


@case()
def test_exec_codes(t):
    c = t.rt.container(bundle.config(["sleep", "1000"]))
    c.up()
    for script, code in (("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137)):
        with t.step(script):
            t.eq(c.exec(script).code, code)
    with t.step("missing program"):
        r = c.exec(["no-such-program"])
        t.eq(r.code, 255)
        t.has_any(r.err, "executable file not found in",
                  "no such file or directory", "No such file or directory")
    with t.step("not executable"):
        r = c.exec(["/etc/passwd"])
        t.has(r.err.lower(), "permission denied")
    with t.step("stdout and stderr apart"):
        r = c.exec("echo out; echo err >&2")
        t.eq((r.out, r.err), ("out\n", "err\n"))
    with t.step("stdin"):
        r = c.exec(["cat"], input=b"abc\0def\n")
        t.eq(r.raw_out, b"abc\0def\n")
    c.finish()


@case(quick=True)
def test_signals_by_name(t):
    """kill takes numbers and names, with or without SIG; the default is TERM."""
    for sig, code in (("15", 143), ("TERM", 143), ("SIGTERM", 143), (None, 143), ("KILL", 137), ("SIGKILL", 137),
                      ("USR1", 138)):
        with t.step(str(sig)):
            # PID 1 has no default action for signals: a shell with a trap stands for the program
            num = code - 128
            trap = "" if num == 9 else f"trap 'exit {code}' {num}; "
            c = t.rt.container(bundle.config(trap + "echo up; while :; do sleep 0.05; done"))
            c.up()
            c.wait_out("up")
            t.rt("kill", c.id, *([sig] if sig else []))
            t.eq(c.wait(), code)
            c.delete()
    with t.step("unknown signal"):
        c = t.rt.container()
        c.up()
        t.eq(c.kill("NOSUCH", check=None).code, 1)
        t.eq(c.state()["status"], "running")
        c.finish()


@case()
def test_signal_to_pid(t):
    """A signal sent to the pid of the pid file reaches the program; KILL of the pid ends it."""
    conf = bundle.config("trap 'exit 55' TERM; echo up; while :; do sleep 0.05; done")
    c = t.rt.container(conf)
    c.up()
    c.wait_out("up")
    os.kill(c.pid, signal.SIGTERM)
    with t.step("TERM"):
        t.eq(c.wait(), 55)
    c.delete()
    c = t.rt.container(conf)
    c.up()
    c.wait_out("up")
    with t.step("KILL"):
        os.kill(c.pid, signal.SIGKILL)
        t.eq(c.wait(), 137)
        t.wait(lambda: c.state()["status"] == "stopped", "status stopped")
        c.delete()


@case(quick=True)
def test_kill_created(t):
    """A container that never ran: killed, or deleted by force."""
    with t.step("kill"):
        c = t.rt.container()
        c.create()
        c.kill("KILL")
        t.eq(c.wait(), 137)
        c.delete()
    with t.step("delete --force"):
        c = t.rt.container()
        c.create()
        c.delete("--force")
        t.eq(t.rt.states(), [])
        t.eq(c.wait(), 137)


@case(quick=True)
def test_delete_force_running(t):
    c = t.rt.container()
    c.up()
    c.delete("--force")
    t.eq(t.rt.states(), [])
    t.eq(c.wait(), 137)


@case(quick=True)
def test_pid_file(t):
    """Digits only, written before create returns; exec's too."""
    c = t.rt.container()
    c.up()
    with t.step("create"):
        t.true(c.pid_file.read_bytes().isdigit(), repr(c.pid_file.read_bytes()))
    with t.step("exec --detach"):
        path = t.dir / "exec.pid"
        with open(os.devnull, "r+b") as null:
            child = t.spawn(t.rt.argv("exec", "--detach", "--pid-file", path, c.id, "sleep", "1000"),
                            stdin=null, stdout=null, stderr=null)
            t.eq(t.end_of(child), 0)
        data = path.read_bytes()
        t.true(data.isdigit(), repr(data))
        pid = int(data)
        with t.step("its pid carries its exit code"):
            os.kill(pid, signal.SIGKILL)
            t.eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), -signal.SIGKILL)
    c.finish()
    if t.opts.kind == "cor":
        with t.step("a create that fails leaves none"):
            c = t.rt.container(bundle.config("true"))
            r = c.create("--pidfd-socket", t.path("nobody-listens"), check=1)
            t.has(r.err, "--pidfd-socket")
            t.true(not c.pid_file.exists(), "there is a pid file")


@case(quick=True)
def test_state_json(t):
    conf = bundle.config(["sleep", "1000"])
    conf["annotations"] = {"com.example.key": "value", "org.example.other": "ä\n"}
    c = t.rt.container(conf)
    c.create()
    s = c.state()
    with t.step("members"):
        for key in ("ociVersion", "id", "pid", "status", "bundle", "rootfs", "created"):
            t.true(key in s, f"{key} is missing in {s}")
        t.eq(s["rootfs"], str(c.rootfs))
    with t.step("annotations"):
        t.eq(s.get("annotations"), conf["annotations"])
    with t.step("created is RFC 3339"):
        text = s["created"]
        datetime.datetime.fromisoformat(text.split(".")[0].rstrip("Z"))
        t.true(text.endswith("Z") or text[-6] in "+-", text)
    with t.step("config.json is not read again"):
        bundle.write_config(c.bundle, "{}")
        c.start()
        t.eq(c.state().get("annotations"), conf["annotations"])
    c.finish()


@case(quick=True)
def test_list(t):
    with t.step("empty"):
        t.eq(t.rt.list_json(), [])
    a, b = t.rt.container(), t.rt.container()
    a.create()
    b.up()
    with t.step("json"):
        found = {x["id"]: x for x in t.rt.list_json()}
        t.eq(set(found), {a.id, b.id})
        t.eq(found[a.id]["status"], "created")
        t.eq(found[b.id]["status"], "running")
        t.eq(found[b.id]["pid"], b.pid)
        t.eq(found[b.id]["bundle"], str(b.bundle))
        t.true("created" in found[a.id], "created is missing")
    with t.step("quiet"):
        t.eq(sorted(t.rt("list", "--quiet").out.split()), sorted([a.id, b.id]))
    with t.step("table"):
        lines = t.rt("list").out.splitlines()
        t.eq(len(lines), 3)
        t.has(lines[0], "ID", "PID", "STATUS", "BUNDLE", "CREATED")
    a.finish()
    b.finish()


@case(quick=True)
def test_log_json(t):
    """--log with --log-format json: one object a line, RFC 3339 time, the last error is the message."""
    log = t.dir / "x.json"
    r = t.rt("state", t.fresh("nope"), check=1, globals_=["--log", log, "--log-format", "json"])
    lines = [json.loads(x) for x in log.read_text().splitlines()]
    with t.step("json lines"):
        t.true(lines, "nothing is logged")
        for x in lines:
            t.true({"level", "msg", "time"} <= set(x), f"{x}")
            stamp = x["time"]
            datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00").split(".")[0].split("+")[0])
            t.true(stamp.endswith("Z") or stamp[-6] in "+-", stamp)
    with t.step("the error"):
        last = [x for x in lines if x["level"] == "error"][-1]
        t.has(last["msg"], "does not exist")
        if t.rt.kind == "cor":
            t.has(r.err, "does not exist")
    with t.step("text format"):
        log = t.dir / "x.txt"
        t.rt("state", t.fresh("nope"), check=1, globals_=["--log=" + str(log)])
        t.has(log.read_text(), "does not exist")


@case(quick=True)
def test_usage(t):
    """What no caller should do, and what probes do."""
    with t.step("unknown verb"):
        r = t.rt("frobnicate", check=None)
        t.true(r.code != 0, "exit code 0")
        if t.rt.kind == "cor":
            t.has(r.err, "frobnicate")
    with t.step("unknown option"):
        r = t.rt("state", "--frobnicate", "x", check=None)
        t.true(r.code != 0, "exit code 0")
        t.has(r.err + r.out, "frobnicate")
    with t.step("missing id"):
        t.true(t.rt("state", check=None).code != 0, "exit code 0")
    with t.step("--version"):
        lines = t.rt("--version").out.splitlines()
        t.has(lines[0], "version ")
        t.true(any(x.startswith("commit:") for x in lines), "commit")
        t.true(any(x.startswith("spec:") for x in lines), "spec")
    with t.step("--help"):
        t.has(t.rt("--help").out, "create", "start", "kill")
    with t.step("checkpoint --help fails"):
        t.only("cor")
        t.true(t.rt("checkpoint", "--help", check=None).code != 0, "exit code 0: engines would believe it")
    with t.step("help of a verb"):
        for verb in ("create", "run", "exec", "kill"):
            r = t.rt(verb, "--help")
            t.has(r.out, verb)


@case(quick=True)
def test_default_bundle(t):
    """The bundle is the working directory; a relative --bundle is made absolute."""
    c = t.rt.container(bundle.config(["sleep", "1000"]))
    for name, where, cwd in (("cwd", [], c.bundle), ("relative", ["-b", c.bundle.name], c.bundle.parent)):
        with t.step(name):
            c.create(where=where, cwd=cwd)
            t.eq(c.state()["bundle"], str(c.bundle))
            c.delete("--force")
            c.wait()


@case(quick=True)
def test_flag_forms(t):
    """Flags in both forms and in any order; flags that are accepted and mean nothing here."""
    c = t.rt.container(bundle.config("echo hi"))
    with t.step("--opt=value"):
        t.eq(t.rt("run", f"--bundle={c.bundle}", "--no-pivot", "--no-new-keyring", c.id).out, "hi\n")
    with t.step("-b"):
        t.eq(t.rt("run", "-b", c.bundle, c.id).out, "hi\n")
    with t.step("--systemd-cgroup=false --debug"):
        t.only("cor")
        t.eq(t.rt("run", "-b", c.bundle, c.id, globals_=["--systemd-cgroup=false", "--debug"]).out, "hi\n")
    with t.step("crun's --config"):
        t.only("cor")
        other = c.bundle / "other.json"
        conf = bundle.config("echo other")
        other.write_text(json.dumps(conf))
        t.eq(t.rt("run", "--config", other, "-b", c.bundle, c.id).out, "other\n")
    with t.step("--rootless, --cgroup-manager, one dash"):
        t.only("cor")
        t.eq(t.rt("run", "-no-subreaper", "-b", c.bundle, c.id, globals_=["--rootless=auto",
             "--cgroup-manager=cgroupfs"]).out, "hi\n")


@case(quick=True)
def test_detach(t):
    """run --detach returns, the container goes on; --keep keeps it after its end."""
    c = t.rt.container(bundle.config(["sleep", "1000"]))
    with open(os.devnull, "r+b") as null:
        child = t.spawn(t.rt.argv("run", "--detach", "--pid-file", c.pid_file, "--bundle", c.bundle, c.id),
                        stdin=null, stdout=null, stderr=null)
        t.eq(t.end_of(child), 0)
    c.pid = c.read_pid()
    t.eq(c.state()["status"], "running")
    c.finish()


@case(quick=True)
def test_run_removes(t):
    """A foreground run deletes the container at its end; also after a failure."""
    c = t.rt.container(bundle.config("exit 3"))
    t.eq(c.run().code, 3)
    t.eq(t.rt.states(), [])


@case()
def test_twenty(t):
    """Twenty creates at once."""
    cs = [t.rt.container(bundle.config(["sleep", "1000"])) for _ in range(20)]
    with open(os.devnull, "r+b") as null:
        kids = [t.spawn(t.rt.argv("create", "--bundle", c.bundle, "--pid-file", c.pid_file, c.id, log=c.log),
                        stdin=null, stdout=null, stderr=null) for c in cs]
        for c, k in zip(cs, kids):
            t.eq(t.end_of(k), 0, f"exit code of create {c.id}")
            c.pid = c.read_pid()
    t.eq({x["id"] for x in t.rt.list_json()}, {c.id for c in cs})
    for c in cs:
        c.start()
    for c in cs:
        c.finish()


@case(only=("cor",))  # runc 1.1 removes the winner now and then
def test_same_id_race(t):
    """Two creates of one id at once: exactly one wins."""
    c = t.rt.container(bundle.config(["sleep", "1000"]))
    with open(os.devnull, "r+b") as null:
        files = [t.dir / f"pid{i}" for i in range(4)]
        kids = [t.spawn(t.rt.argv("create", "--bundle", c.bundle, "--pid-file", f, c.id), stdin=null, stdout=null,
                        stderr=null) for f in files]
        codes = [t.end_of(k) for k in kids]
    t.eq(sorted(codes), [0, 1, 1, 1])
    c.pid_file = files[codes.index(0)]
    c.pid = c.read_pid()
    t.eq(c.state()["status"], "created")
    c.finish()
