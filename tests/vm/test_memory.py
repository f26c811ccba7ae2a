"""Memory given back to the host, and never to a template; KSM only where it was asked for."""

import hashlib
import os
import re
import shutil

import bundle
import leak
from harness import case

COR = ("cor",)
USED_MB = 500
CHECKED_MB = 8  # cmp looks at single bytes
BACK_S = 20  # asked for: within seconds. The guest takes two to three steps of 2 s
SLACK_MB = 120  # what the work itself leaves: translated code, page tables, the kernel's own
REPORTING = 5  # VIRTIO_BALLOON_F_REPORTING, a position in the text of sysfs
CODE_KIB = 4000  # an idle guest runs 1 MiB of translated code; its start left 13
REST_S = 60  # on a machine so busy that it takes long to look idle; else 2 to 4
FEATURES = "cat /sys/bus/virtio/drivers/virtio_balloon/virtio*/features"


def use(t, **settings):
    """Templates of this test's own, one of them made."""
    where = t.path("templates")
    more = {"template": "on", "pool": 0, "template.dir": where, **{k.replace("__", "."): v for k, v in settings.items()}}
    t.rt.globals = t.rt.globals + [w for k, v in more.items() for w in ("--set", f"{k}={v}")]
    t.rt.only_with_templates()
    t.rt.make_template()
    return where / "default"


def vmm_of(t, c):
    pids = [p for p in leak.descendants(c.pid) if leak.is_vmm(p)]
    t.eq(len(pids), 1, "virtual machines")
    return pids[0]


def pss_mb(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return int(re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M)[1]) >> 10


def identity(path):
    """What changes when somebody writes to the file or takes blocks from it."""
    with open(path, "rb") as f:
        os.fsync(f.fileno())  # until then not all blocks are counted
        st = os.fstat(f.fileno())
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    return (digest, st.st_ino, st.st_size, st.st_ctime_ns, st.st_mtime_ns), st.st_blocks


def use_and_free(t, c):
    """500 MB are written to a tmpfs and removed, twice: what was given back can be used again."""
    pid = vmm_of(t, c)
    before = pss_mb(pid)
    for name in ("a", "b"):
        with t.step(f"used and freed: {name}"):
            c.sh(f"dd if=/dev/zero of=/dev/shm/{name} bs=1M count={USED_MB} 2>/dev/null", timeout=120)
            peak = pss_mb(pid)
            t.true(peak > before + USED_MB * 9 // 10, f"{before} MB before, {peak} MB with {USED_MB} MB in use")
            c.sh(f"cmp -n {CHECKED_MB << 20} /dev/shm/{name} /dev/zero && rm /dev/shm/{name}")
            t.wait(lambda: pss_mb(pid) < before + SLACK_MB, f"memory to come back: {before}, {peak}", timeout=BACK_S, patience=1)
            t.report(f"PSS of the VM: {before} MB, with {USED_MB} MB in use {peak}, freed {pss_mb(pid)}")


def start(t, script="echo up; exec sleep 1000"):
    conf = bundle.config(script)
    shm = next(m for m in conf["mounts"] if m["destination"] == "/dev/shm")
    shm["options"][-1] = f"size={USED_MB + 50}m"
    c = t.rt.container(conf).up()
    c.wait_out("up")
    return c


@case(timeout=300, vm=True, only=COR)
def test_given_back_by_a_boot(t):
    t.rt.globals = t.rt.globals + ["--set", "template=off", "--set", "vm.memory=768M"]
    c = start(t)
    use_and_free(t, c)
    with t.step("free shows what was asked for"):
        total = int(c.sh("awk '/MemTotal/ {print $2}' /proc/meminfo")) >> 10
        t.true(768 * 9 // 10 < total <= 768, f"{total} MB")
    c.finish()


@case(timeout=300, vm=True, only=COR)
def test_given_back_by_a_clone(t):
    """A clone gives back its own pages and none of its template's file."""
    store = use(t, vm__memory="768M")
    memory = next(store.glob("*/memory"))
    was = identity(memory)
    c = start(t)
    pid = vmm_of(t, c)
    with t.step("it has the template's memory for reading only"):
        with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
            modes = {line.split()[1][3] for line in f if str(memory) in line}
        t.eq(modes, {"p"}, "mappings of the template's memory")
        for fd in os.listdir(f"/proc/{pid}/fd"):
            if not os.path.exists(f"/proc/{pid}/fd/{fd}") or not os.path.samefile(f"/proc/{pid}/fd/{fd}", memory):
                continue
            with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as f:
                flags = int(re.search(r"^flags:\s+(\d+)", f.read(), re.M)[1], 8)
            t.eq(flags & os.O_ACCMODE, os.O_RDONLY, f"access mode of descriptor {fd}")
    with t.step("QEMU has no disassembler: cor-qemu-fix.so stands for it"):
        if leak.comm(pid) == "cor-vmm":
            t.skip("cor-vmm is linked with no library")
        with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
            maps = f.read()
        t.has(maps, "cor-qemu-fix.so")
        t.lacks(maps, "libcapstone.so.4")
    use_and_free(t, c)
    with t.step("the template is as it was"):
        now = identity(memory)
        t.eq(now[0], was[0])
        t.true(now[1] >= was[1], f"{was[1]} blocks, now {now[1]}")  # more: a file system in memory fills a hole that is looked at
    c.finish()
    with t.step("and can still be cloned"):
        c = start(t)
        t.true(str(store) in open(f"/proc/{vmm_of(t, c)}/maps", encoding="utf-8").read(), "it is no clone")
        c.finish()


def code_kib(pid):
    """Memory of QEMU's translated code: what it may both write and execute."""
    found, code = 0, False
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as f:
        for line in f:
            m = re.match(r"[0-9a-f]+-[0-9a-f]+ (\S+) ", line)
            if m:
                code = m[1] == "rwxp"
            elif code and line.startswith("Rss:"):
                found += int(line.split()[1])
    return found


@case(timeout=300, vm=True, only=COR)
def test_translated_code(t):
    """A clone at rest gives back the code of its start, and works as before; one that waits in a pool keeps it."""
    use(t)
    c = start(t, "echo up; until [ -e /dev/shm/rest ]; do :; done; exec sleep 1000")  # busy until it was looked at
    pid = vmm_of(t, c)
    if leak.comm(pid) == "cor-vmm":
        t.skip("cor-vmm translates nothing")
    with t.step("given back"):
        at_first = code_kib(pid)
        t.true(at_first > CODE_KIB, f"{at_first} KiB of code at first")
        c.sh("touch /dev/shm/rest")
        t.wait(lambda: code_kib(pid) < CODE_KIB, f"translated code to be given back: {code_kib(pid)} KiB", timeout=REST_S)
        t.report(f"translated code: {at_first} KiB, at rest {code_kib(pid)}")
    with t.step("and made again"):
        t.eq(c.sh("i=0; while [ $i -lt 1000 ]; do i=$((i + 1)); done; echo $i"), "1000\n")
        t.true(code_kib(pid) > CODE_KIB // 2, f"{code_kib(pid)} KiB of code after an exec")
    c.finish()
    with t.step("a VM that waits is not asked to"):
        t.rt.globals = t.rt.globals + ["--set", "pool=1"]
        t.rt("pool", "fill", timeout=100)
        keeper = t.rt("pool", "--json", "ls").json()[0]["keeper"]
        vm = next(p for p in leak.descendants(keeper) if leak.is_vmm(p))
        with open(f"/proc/{vm}/environ", encoding="utf-8") as f:
            t.lacks(f.read(), "COR_REST")
        t.rt("pool", "drain", timeout=30)


@case(timeout=300, vm=True, only=COR)
def test_never_without_protection(t):
    """What can't keep a clone from its template's file has no clones, or none that give back memory."""
    usual = t.rt.globals
    t.rt.globals = usual + ["--set", "hypervisor=qemu"]
    old = t.rt.path, list(t.rt.globals)
    with t.step("without the preloaded object: clones without a balloon"):
        t.rt.only_with_templates()
        libexec = os.path.join(os.path.dirname(os.path.dirname(t.rt.path)), "libexec/cor")
        beside = t.path("bin")
        beside.mkdir()
        for program in (t.rt.path, os.path.join(libexec, "cor-monitor")):
            shutil.copy(program, beside)
        t.rt.path = str(beside / "cor")
        t.rt.prefix = ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none {libexec} && exec \"$@\"", "sh"]
        store = use(t)
        c = start(t)
        with open(f"/proc/{vmm_of(t, c)}/cmdline", encoding="utf-8") as f:
            words = f.read()
        t.has(words, "share=off,mem-path=/proc/self/fd/6")
        t.has(os.readlink(f"/proc/{vmm_of(t, c)}/fd/6"), str(store))
        t.lacks(words, "balloon")
        c.finish()
    t.rt.path, t.rt.globals = old
    t.rt.prefix = []
    with t.step("a QEMU that is not obeyed by it: no template"):
        t.rt.only_with_templates()
        fake = t.path("qemu")
        fake.write_text("#!/bin/sh\nunset LD_PRELOAD\nexec qemu-system-x86_64 \"$@\"\n")
        fake.chmod(0o755)
        t.rt.globals = old[1] + ["--set", f"qemu.path={fake}", "--set", "template=on", "--set",
                              f"template.dir={t.path('none')}"]
        r = t.rt("template", "make", check=1, timeout=120)
        t.has(r.err, "/dev/fd/cor-memory")
        t.eq(t.rt("template", "--format", "json", "ls").json(), [])
    t.rt.globals = usual
    for word, want in (("init_on_free=1", "0"), ("init_on_free=0", "1")):
        with t.step(f"guest with {word}: reporting {want}"):
            conf = bundle.config(FEATURES)
            out = t.rt.container(conf).run(globals_=["--set", f"vm.kernel_params={word}", "--set", "template=off"],
                                           check=0, timeout=120).out
            t.eq(out[REPORTING], want, f"feature in {out!r}")


def mergeable(pid):
    """Bytes of mappings that are open to KSM."""
    size, found = 0, 0
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as f:
        for line in f:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
            if m:
                size = int(m[2], 16) - int(m[1], 16)
            elif line.startswith("VmFlags:") and "mg" in line.split():
                found += size
    return found


@case(timeout=300, vm=True, only=COR)
def test_ksm(t):
    """Memory is offered to KSM by VMs of the domain that is named, cloned or booted, and by no others."""
    use(t)
    made = list(t.rt.globals)
    for template, domain, want in (("on", None, False), ("on", "default", True), ("on", "other", False),
                                   ("off", None, False), ("off", "default", True)):
        with t.step(f"template = {template}, ksm.domain: {domain}"):
            c = t.rt.container(bundle.config("echo up; exec sleep 1000"))
            t.rt.globals = made + ["--set", f"template={template}"] + (["--set", f"ksm.domain={domain}"] if domain else [])
            c.up()
            c.wait_out("up")
            pid = int((t.rt.root / c.id / "vm").read_text().split()[0])
            t.eq(str(t.path("templates")) in open(f"/proc/{pid}/maps", encoding="utf-8").read(), template == "on", "clone")
            got = mergeable(pid)  # a kernel mapped from its file, in the middle of the memory, is not
            # QEMU offers its own ROMs, too: 2.3 MiB
            t.true(480 << 20 <= got <= 516 << 20 if want else got == 0, f"{got} bytes")
            c.finish()
