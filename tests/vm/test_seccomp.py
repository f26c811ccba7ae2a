"""seccomp profiles of config.json inside the container."""

import bundle
from harness import case


def profile(default, *rules, **extra):
    conf = {"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": list(rules)}
    conf.update(extra)
    return conf


def rule(action, *names, **extra):
    return dict({"names": list(names), "action": action}, **extra)


ASK = ("probe call mkdir /tmp/d; probe call getcwd; probe call chroot /; probe call personality; probe call unshare")


@case(timeout=120, vm=True, quick=True)
def test_actions(t):
    """errno, with a value of its own, by argument; names unknown to the kernel are passed over."""
    conf = bundle.config(ASK)
    conf["process"]["capabilities"]["bounding"].append("CAP_SYS_ADMIN")
    conf["process"]["capabilities"]["effective"].append("CAP_SYS_ADMIN")
    conf["process"]["capabilities"]["permitted"].append("CAP_SYS_ADMIN")
    conf["linux"]["seccomp"] = profile(
        "SCMP_ACT_ALLOW",
        rule("SCMP_ACT_ERRNO", "mkdir", "no_such_syscall_at_all"),
        rule("SCMP_ACT_ERRNO", "chroot", errnoRet=13),
        rule("SCMP_ACT_ERRNO", "personality", args=[{"index": 0, "value": 0xFFFFFFFF, "op": "SCMP_CMP_EQ"}]),
        rule("SCMP_ACT_ERRNO", "unshare",
             args=[{"index": 0, "value": 0x04000000, "valueTwo": 0x04000000, "op": "SCMP_CMP_MASKED_EQ"}], errnoRet=95))
    c = t.rt.container(conf)
    bundle.add_probe(c.rootfs, t.opts.probe)
    r = c.run(check=0, timeout=90)
    t.eq(r.out.split(), ["EPERM", "ok", "EACCES", "EPERM", "EOPNOTSUPP"])


@case(timeout=120, vm=True)
def test_allow_list(t):
    """A default of errno with a list of what is allowed, as engines send it; KILL ends the program."""
    allowed = ("read write fstatfs statfs readv writev close fstat stat lstat newfstatat statx poll lseek mmap mprotect munmap brk "
               "rt_sigaction rt_sigprocmask rt_sigreturn ioctl pread64 access faccessat faccessat2 pipe pipe2 select dup "
               "dup2 dup3 nanosleep clock_nanosleep getpid getppid getuid geteuid getgid getegid getpgrp setpgid getpgid "
               "fork vfork clone clone3 execve wait4 waitid kill exit exit_group uname fcntl getcwd chdir mkdir umask "
               "getrlimit prlimit64 arch_prctl set_tid_address set_robust_list rseq getrandom open openat readlink "
               "readlinkat getdents64 futex sigaltstack tgkill gettid clock_gettime gettimeofday time setuid setgid "
               "setgroups capset capget prctl seccomp").split()
    conf = bundle.config("echo runs; probe call mkdir /tmp/x; probe call chroot /; probe die 9; (probe call personality); echo $?")
    conf["linux"]["seccomp"] = profile("SCMP_ACT_ERRNO", rule("SCMP_ACT_ALLOW", *allowed),
                                       rule("SCMP_ACT_KILL_PROCESS", "personality"), defaultErrnoRet=38)
    c = t.rt.container(conf)
    bundle.add_probe(c.rootfs, t.opts.probe)
    r = c.run(check=0, timeout=90)
    t.eq(r.out.split(), ["runs", "ok", "ENOSYS", "9", "159"])


@case(timeout=60)
def test_bad(t):
    """Unknown action, operator or architecture: an error that names it."""
    for what, sec in (("SCMP_ACT_NOPE", profile("SCMP_ACT_NOPE")),
                      ("SCMP_CMP_NOPE", profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "mkdir", args=[
                          {"index": 0, "value": 1, "op": "SCMP_CMP_NOPE"}]))),
                      ("SCMP_ARCH_NOPE", profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "mkdir"), architectures=[
                          "SCMP_ARCH_NOPE"]))):
        with t.step(what):
            t.only("cor", "runc")
            conf = bundle.config("true")
            conf["linux"]["seccomp"] = sec
            r = t.rt.container(conf).run()
            t.eq(r.code, 1)
            t.has(r.err, what)
            t.eq(t.rt.states(), [])
    with t.step("SCMP_ACT_NOTIFY cannot cross into a machine"):
        t.only("cor")
        conf = bundle.config("true")
        conf["linux"]["seccomp"] = profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_NOTIFY", "mkdir"),
                                           listenerPath=str(t.dir / "l.sock"))
        r = t.rt.container(conf).run()
        t.eq(r.code, 1)
        t.has_any(r.err, "SCMP_ACT_NOTIFY", "listenerPath")
