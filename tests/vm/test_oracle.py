"""The same bundle through this runtime and through the oracle: output, code and files must be equal."""

import re

import builds
import bundle
from harness import case


def with_user(conf):
    conf["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}


def with_ro_paths(conf):
    conf["linux"]["maskedPaths"] = ["/proc/kcore", "/tmp/masked", "/tmp/maskeddir", "/nowhere"]
    conf["linux"]["readonlyPaths"] = ["/tmp/ro", "/nowhere/else"]


def with_sysctl(conf):
    conf["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "65536", "kernel.msgmax": "9000"}


def with_readonly(conf):
    conf["root"]["readonly"] = True


def with_no_mounts(conf):
    conf["mounts"] = [m for m in conf["mounts"] if m["destination"] == "/proc"]


def with_cwd(conf):
    conf["process"]["cwd"] = "/home/user"


def with_no_env(conf):
    conf["process"]["env"] = []
    conf["process"]["args"][0] = "/bin/sh"


# name, script, change of the configuration. One machine each: put related questions together.
BUNDLES = (
    ("files and links", r"""
     umask 022; cd /root; id; echo a > f; ln f g; ls -lan . | cut -c1-30; stat -c '%n %a %u %g %h %s %F' f g; stat -c '%n %a %u %g %F' /tmp /dev /dev/shm
     cat /etc/passwd; readlink -f /dev/stdin >/dev/null; echo $?; ls -a /; cat < /dev/null; ls /dev | grep -v core
     tr 'a-z' 'A-Z' < /etc/group > up; grep -c . up; rm g; mkdir -p a/b/c; cp -a /etc a/; find . | sort; exit 12""", None),
    ("as a user", r"""id; id -G; touch /home/user/x && echo made; touch /etc/x 2>&1; ls -lan /home/user | cut -c1-24 | tail -n +2
     cat /proc/self/status | grep -E '^(Cap|NoNew|Uid|Gid|Groups)'; echo x > /tmp/mine; rm /etc/passwd 2>&1; ulimit -c
     cat /root/secret 2>&1; exit 3""", with_user),
    ("masked", r"""cat /proc/kcore | wc -c; cat /tmp/masked | wc -c; ls -a /tmp/maskeddir; echo x > /tmp/ro 2>&1; cat /tmp/ro
     echo y > /tmp/maskeddir/z 2>&1""", with_ro_paths),
    ("sysctl", r"""cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax /proc/sys/kernel/msgmax; hostname
     cat /proc/sys/kernel/hostname; ls /sys/class/net; ip -o link show lo | cut -d: -f2; cat /proc/net/dev | wc -l""",
     with_sysctl),
    ("read-only", r"""touch /x 2>&1; mkdir /tmp/d 2>&1; touch /dev/y && echo dev; touch /dev/shm/z && echo shm; rm /bin/sh 2>&1
     chmod 777 /etc 2>&1; echo $?""", with_readonly),
    ("few mounts", r"""ls /sys | wc -l; ls /dev/shm 2>&1 | wc -l; test -c /dev/null && echo null; ls -d /dev/pts; cat /proc/1/comm""",
     with_no_mounts),
    ("signals and codes", r"""trap 'echo term' TERM; kill -TERM $$; (kill -SEGV $(sh -c 'echo $PPID')); echo $?
     (exit 200); echo $?; no-such 2>&1; echo $?; sh -c 'kill -9 $$'; echo $?; cd /proc/self; basename $(pwd -P) >/dev/null
     exec sh -c 'exit 77'""", with_cwd),
    ("no environment", r"""/bin/env | /bin/grep -v -e ^PWD -e ^SHLVL -e ^HOME -e ^_ ; echo ${PATH:+haspath}; pwd""", with_no_env),
)


def of_any_root(text):
    """Of a root that is an image without the sizes and link counts of directories, which an overlay of EROFS has its own way of
    saying; of others as it is."""
    if builds.ROOT != "image":
        return text
    return re.sub(r"^(d\S{9}) +\d+", r"\1 N", re.sub(r"^total \d+$", "total N", text, flags=re.M), flags=re.M)


def one_bundle(name, script, change):
    def test(t):
        results = []
        for rt in (t.rt, t.rt.oracle()):
            conf = bundle.config(script)
            if change:
                change(conf)
            c = rt.container(conf)
            (c.rootfs / "tmp/masked").write_text("secret\n")
            (c.rootfs / "tmp/ro").write_text("fixed\n")
            (c.rootfs / "tmp/maskeddir").mkdir()
            (c.rootfs / "tmp/maskeddir/inside").write_text("secret\n")
            r = c.run(timeout=90)
            results.append((r.code, r.out, bundle.snapshot(c.rootfs)))
        (code, out, tree), (want_code, want_out, want_tree) = results
        with t.step("code"):
            t.eq(code, want_code)
        with t.step("output"):
            t.eq(of_any_root(out), of_any_root(want_out))
        with t.step("files"):
            t.rt.only_shared_roots()
            diff = {k: (tree.get(k), want_tree.get(k)) for k in set(tree) | set(want_tree) if tree.get(k) != want_tree.get(k)}
            t.eq(diff, {})

    test.__name__ = "test_" + name.replace(" ", "_").replace("-", "_")
    test.__doc__ = f"oracle: {name}"
    test.__module__ = __name__
    return case(timeout=180, vm=True)(test)


for _name, _script, _change in BUNDLES:
    _test = one_bundle(_name, _script, _change)
    globals()[_test.__name__] = _test
del _test
