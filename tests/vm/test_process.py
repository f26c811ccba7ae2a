"""process of config.json and exec: user, groups, umask, cwd, environment, capabilities, limits."""

import json

import bundle
from guestinfo import sections
from harness import case

CAPS = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_SYS_ADMIN": 21}


def mask(*caps):
    return "%016x" % sum(1 << CAPS[c] for c in caps)


ASK = """
echo "== id"; id -u; id -g; id -G
echo "== umask"; umask
echo "== cwd"; pwd
echo "== env"; env | sort
echo "== caps"; grep Cap /proc/self/status
echo "== rlimit"; probe rlimit
echo "== sched"; probe sched
echo "== fds"; probe fds
echo "== hostname"; hostname
echo "== pid"; echo $$
echo "== ppid"; echo $PPID
echo "== tty"; tty
echo "== session"; cut -d' ' -f5,6 /proc/$$/stat
echo "== links"; for l in fd stdin stdout stderr; do readlink /dev/$l; done
echo "== procs"; ps -o pid | wc -l
"""


@case(timeout=120, vm=True, quick=True)
def test_first_process(t):
    """One container whose process answers everything about itself."""
    conf = bundle.config(
        ASK, user={"uid": 1000, "gid": 1000, "umask": 0o27, "additionalGids": [5, 2000]}, cwd="/made/by/runtime",
        env=[bundle.PATH, "A=1", "EMPTY=", "SPACE=a b", "UTF=ä€", "A2=x=y"],
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 256, "hard": 512}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        oomScoreAdj=500,
        capabilities={"bounding": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"],
                      "permitted": ["CAP_KILL", "CAP_CHOWN"], "ambient": ["CAP_KILL"]})
    c = t.rt.container(conf)
    bundle.add_probe(c.rootfs, t.opts.probe)
    r = c.run(check=0, timeout=90)
    got = sections(r.out)
    with t.step("user and groups"):
        uid, gid, groups = got["id"].splitlines()
        t.eq((uid, gid), ("1000", "1000"))
        t.eq(set(groups.split()), {"1000", "5", "2000"})
    with t.step("umask"):
        t.eq(got["umask"], "0027\n")
    with t.step("cwd is made"):
        t.eq(got["cwd"], "/made/by/runtime\n")
    with t.step("environment is exactly that"):
        env = dict(x.split("=", 1) for x in got["env"].splitlines())
        want = {"A": "1", "EMPTY": "", "SPACE": "a b", "UTF": "ä€", "A2": "x=y"}
        for k, v in want.items():
            t.eq(env.get(k), v, k)
        extra = set(env) - set(want) - {"PATH", "HOME", "PWD", "OLDPWD", "SHLVL", "_", "USER", "LOGNAME", "container"}
        t.eq(extra, set(), "variables nobody gave")
    with t.step("capabilities"):
        caps = dict(line.split(":\t") for line in got["caps"].splitlines())
        t.eq(caps["CapBnd"], mask("CAP_CHOWN", "CAP_KILL"))
        t.eq(caps["CapEff"], mask("CAP_KILL"))
        t.eq(caps["CapInh"], mask("CAP_KILL"))
        t.eq(caps["CapAmb"], mask("CAP_KILL"))
    with t.step("rlimits"):
        t.eq(got["rlimit"], "nofile 256 512\ncore 0 0\n")
    with t.step("oomScoreAdj, noNewPrivileges"):
        words = got["sched"].split()
        t.eq(words[words.index("oom") + 1], "500")
        t.eq(words[words.index("nnp") + 1], "1")
    with t.step("only fds 0, 1, 2"):
        t.eq(got["fds"].split(), ["0", "1", "2"])
    with t.step("hostname"):
        t.eq(got["hostname"], "cor-test\n")
    with t.step("pid 1 of its namespace"):
        t.eq((got["pid"], got["ppid"]), ("1\n", "0\n"))
    with t.step("a session of its own"):
        t.eq(got["session"].split(), ["1", "1"])
    with t.step("no terminal"):
        t.eq(got["tty"], "not a tty\n")
    with t.step("links in /dev"):
        t.eq(got["links"].split(), ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"])
    with t.step("sees no other process"):
        t.true(int(got["procs"]) <= 4, got["procs"])


@case(timeout=120, vm=True)
def test_new_fields(t):
    """Fields that runc 1.1 does not know: scheduler, ioPriority, domainname, personality, time offsets."""
    t.only("cor")
    script = ("probe sched; cat /proc/sys/kernel/domainname; uname -m; cat /proc/uptime; "
              "cat /proc/sys/kernel/msgmax; cat /proc/sys/vm/swappiness")
    conf = bundle.config(script, scheduler={"policy": "SCHED_BATCH", "nice": 7},
                         ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6}, noNewPrivileges=False)
    conf["domainname"] = "example.test"
    conf["linux"]["personality"] = {"domain": "LINUX32"}
    conf["linux"]["namespaces"].append({"type": "time"})
    conf["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000}, "monotonic": {"secs": 500000}}
    conf["linux"]["sysctl"] = {"kernel.msgmax": "12345", "vm.swappiness": "33"}
    c = t.rt.container(conf)
    bundle.add_probe(c.rootfs, t.opts.probe)
    lines = c.run(check=0, timeout=90).out.splitlines()
    words = lines[0].split()
    with t.step("scheduler"):
        t.eq(words[:4], ["policy", "3", "nice", "7"])
    with t.step("ioPriority"):
        t.eq(int(words[5]), (2 << 13) | 6)
    with t.step("noNewPrivileges false"):
        t.eq(words[words.index("nnp") + 1], "0")
    with t.step("domainname"):
        t.eq(lines[1], "example.test")
    with t.step("personality"):
        t.eq(lines[2], "i686")
    with t.step("time offsets"):
        t.true(float(lines[3].split()[0]) > 1000000, lines[3])
    with t.step("sysctl of a namespace"):
        t.eq(lines[4], "12345")
    with t.step("sysctl of the whole kernel"):
        t.eq(lines[5], "33")


# Not with crun 1.8: its exec hangs now and then when its caller is a subreaper.
@case(timeout=180, vm=True, quick=True, only=("cor", "runc"))
def test_exec(t):
    """exec: flags, process files, codes, stdio, several at a time; all in one container."""
    conf = bundle.config("echo up; exec sleep 1000")
    c = t.rt.container(conf)
    bundle.add_probe(c.rootfs, t.opts.probe)
    c.up()
    c.wait_out("up")
    with t.step("in the container's namespaces"):
        t.eq(c.sh("hostname; ls /proc | grep -c '^1$'").split(), ["cor-test", "1"])
    with t.step("--cwd"):
        t.eq(c.exec(["pwd"], "--cwd", "/home/user").out, "/home/user\n")
    with t.step("--env"):
        r = c.exec("echo $A-$B", "--env", "A=1", "--env=B=x y")
        t.eq(r.out, "1-x y\n")
    with t.step("environment of the container"):
        t.eq(c.exec("echo $TERM").out, "xterm\n")
    with t.step("--user"):
        t.eq(c.exec("id -u; id -g", "--user", "1000:5").out.split(), ["1000", "5"])
        t.eq(c.exec("id -u; id -g", "--user=1000").out.split()[0], "1000")
    with t.step("--additional-gids"):
        r = c.exec("id -G", "--user", "1000:1000", "--additional-gids", "5", "--additional-gids", "2000")
        t.eq(set(r.out.split()), {"1000", "5", "2000"})
    with t.step("--cap"):
        r = c.exec(["grep", "CapBnd", "/proc/self/status"], "--cap", "CAP_SYS_ADMIN")
        t.true(int(r.out.split()[1], 16) & (1 << 21), r.out)
    with t.step("--process"):
        p = t.dir / "process.json"
        p.write_text(json.dumps({
            "terminal": False, "user": {"uid": 1000, "gid": 5, "additionalGids": [2000], "umask": 0o77},
            "args": ["sh", "-c", "id -u; id -g; id -G; umask; pwd; echo $X; probe fds"],
            "env": [bundle.PATH, "X=y z"], "cwd": "/tmp", "noNewPrivileges": True,
            "capabilities": {"bounding": ["CAP_KILL"]}}))
        r = t.rt("exec", "--process", p, c.id)
        lines = r.out.splitlines()
        t.eq(lines[:3] + lines[4:], ["1000", "5", "5 2000", "/tmp", "y z", "0 1 2 "])
    with t.step("umask of a process file"):
        t.only("cor", "crun")
        t.eq(lines[3], "0077")
    with t.step("codes"):
        t.eq([c.exec(f"exit {n}").code for n in (0, 1, 42, 255)], [0, 1, 42, 255])
        t.eq(c.exec("kill -9 $$").code, 137)
        t.eq(c.exec("kill -15 $$").code, 143)
    with t.step("missing program"):
        r = c.exec(["/no/such"])
        t.true(r.code in (255, 127, 1), f"code {r.code}")
        t.has_any(r.err.lower(), "no such file or directory", "not found")
    with t.step("stdin to stdout, all bytes"):
        data = bytes(range(256)) * 4000
        t.eq(c.exec(["cat"], input=data).raw_out == data, True)
    with t.step("stdout and stderr apart"):
        r = c.exec("echo out; echo err >&2")
        t.eq((r.out, r.err), ("out\n", "err\n"))
    with t.step("eight at once"):
        kids = [t.spawn(t.rt.argv("exec", c.id, "sh", "-c", f"sleep 0.3; exit {n}")) for n in range(10, 18)]
        t.eq([t.end_of(k) for k in kids], list(range(10, 18)))
    with t.step("fifty, one after the other"):
        for i in range(50):
            t.eq(c.exec(f"echo {i}").out, f"{i}\n")
    c.finish()


@case(timeout=120, vm=True)
def test_caps_of_root(t):
    """The default capability set of engines: what root in the container may and may not do."""
    c = t.rt.container(bundle.config("probe call chroot /tmp; probe call mount /mnt; probe call unshare; "
                                     "probe call mknod /dev/null-; chown 1000 /dev/null-; echo $?; date -s 2000-01-01"))
    bundle.add_probe(c.rootfs, t.opts.probe)
    r = c.run(timeout=90)
    t.eq(r.out.splitlines()[:5], ["ok", "EPERM", "EPERM", "ok", "0"])
    t.has(r.err, "can't set date")
