"""count.py - ./bench count: instructions instead of time, in an emulated host whose clock counts them.

The host (lib/kvmhost.py, count()) has one emulated processor with SVM, and its clock is the number of instructions it has
done: hypervisor, host's kernel, guest and all. So the figures repeat, whatever else this machine does.
count-job runs the rows below in it, one after the other; here they are made, and its results read.
docs/testing-kvm.md says what the figures are good for.
"""

import json
import pathlib
import re
import shlex
import shutil
import subprocess
import time

import bundle
import kvmhost
from report import Result, Table

HERE = pathlib.Path(__file__).resolve().parent
MARK = 0x636F72  # of lib/count-init.c
TIMEOUT_S = 3600  # of a boot; as all limits that only tell a hang, three times as long
STALL_S = 300  # without a word; a pass takes seconds, on a very busy machine minutes
BOOTS = 3  # of a host: rows without a figure get another one
MEMORY = "512M"
# The same for every hypervisor. No console: writing to one is not what is compared.
WORDS = "quiet panic=-1 reboot=t cryptomgr.notests no_timer_check tsc=reliable rcupdate.rcu_expedited=1"
QEMU = f"qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -accel kvm -cpu host -m {MEMORY}"
GUEST = f"-kernel /count/vmlinux -initrd /count/initrd -append {shlex.quote(WORDS)}"
MICROVM = "-M microvm,x-option-roms=off,pit=off,pic=off,isa-serial=off,rtc=off"
Q35 = "-bios qboot.rom -M q35,graphics=off,usb=off,smm=off,vmport=off,hpet=off,sata=off,smbus=off,i8042=off"
FIRMWARE = ("qemu/qboot.rom", "qemu/bios-microvm.bin", "qemu/kvmvapic.bin", "qemu/linuxboot_dma.bin", "qemu/pvh.bin",
            "seabios/bios-256k.bin")
SHOWN_REASONS, SHOWN_PORTS = 9, 5
SHOWN_TASK = 300000
PASSES = ("exits", "tasks", "count")
IMAGES, HUGE = "/count/images", "/mnt"
PADDING = 100000  # bytes
# Codes of AMD's manual, volume 2, appendix C; what is not named here is shown by its number.
EXITS = {0x60: "interrupt", 0x61: "NMI", 0x64: "interrupt window", 0x65: "CR0 write", 0x6E: "rdtsc", 0x72: "cpuid", 0x75: "rsm",
         0x78: "hlt", 0x79: "invlpg", 0x7B: "io", 0x7C: "msr", 0x7F: "shutdown", 0x81: "vmmcall", 0x89: "wbinvd",
         0x8D: "xsetbv", 0x400: "nested page fault",
         **{base + n: what for base, what in ((0, "CR read"), (0x10, "CR write"), (0x20, "DR read"), (0x30, "DR write"),
                                                   (0x40, "exception"), (0x50, "exception")) for n in range(16)}}

ABOUT = """Instructions in an emulated host (QEMU -icount, one processor with SVM, Debian's kernel): those of the hypervisor or runtime, the host's kernel
and the guest together, without what the processor stood still. Hypervisors boot the same kernel (the mini-OS's, uncompressed), 512 MiB, with
a static /init that ends the machine. They start from files in memory. Two runs differ by nothing, or nearly so; time on
a real machine also depends on what an instruction costs, above all the exits, which are counted beside it."""


def arguments(p):
    p.add_argument("--runs", type=int, default=1, metavar="N", help="the whole, N times: does it repeat? (1)")
    p.add_argument("--row", action="append", metavar="TEXT", help="only rows whose name holds TEXT")
    p.add_argument("--kernel", metavar="FILE", help="another guest kernel (ELF) for the hypervisors")


def vmms(build):
    """Name -> Way."""
    rows = {}
    cor_vmm = build / "inst/libexec/cor/cor-vmm"
    if cor_vmm.exists():
        rows["cor-vmm"] = (f"{cor_vmm} run --kernel /count/vmlinux --initrd /count/initrd --cmdline {shlex.quote(WORDS)} "
                           f"--memory {MEMORY} --console none")
    rows["QEMU microvm"] = f"{QEMU} {MICROVM} {GUEST}"
    rows["QEMU q35, as cor starts it"] = f"{QEMU} {Q35} {GUEST}"
    rows["QEMU pc"] = f"{QEMU} -M pc {GUEST}"
    return {n: Way(c) for n, c in rows.items()}


class Way:
    """A row's command, and what is done before and after it: VMs that wait would have their timers in other rows."""

    def __init__(self, command, before=":", after=":"):
        self.command, self.before, self.after = command, before, after


def containers(cor, sets=()):
    """Name -> Way. sets: settings for all of cor's."""
    run, true = "run --bundle /count/bundle", "$TRY -- true"
    rows = {"crun": Way(f"crun {run} crun$TRY"), "runc": Way(f"runc {run} runc$TRY")}
    # Containers have names of their own in each row: one whose runtime was killed, since it hung, may still be known.
    for name, setting, who in (("cor", "hypervisor=kvm", ""), ("cor, QEMU:", "qemu.accel=kvm", "qemu-")):
        ours = f"{cor} --set {' --set '.join((setting, *sets))} --set template.dir=/run/templates --set image.store={IMAGES} --set template="
        rows[f"{name} cold"] = Way(f"{ours}off {run} {who}cold$TRY")
        rows[f"{name} boot"] = Way(f"{ours}off run --timing-json /tmp/timing --bundle /count/bundle {who}boot$TRY")
        rows[f"{name} clone"] = Way(f"{ours}on {run} {who}clone$TRY", f"{ours}on template make")
        huge = f"{ours}on --set template.dir={HUGE}/templates"
        rows[f"{name} clone, huge"] = Way(f"{huge} {run} {who}huge$TRY", f"mount -t tmpfs -o mode=755,huge=always huge {HUGE} && {huge} template make",
                                          f"umount {HUGE}")
        # The template of a VM with an image is made beside the first of them; its maker learns from it then.
        images = f"/run/images{len(rows)}"
        image = f"{ours}on --set template.dir={images} run --image true --name {who}image"
        rows[f"{name} image"] = Way(image + true, f"{image}0$TRY -- true; until [ -e {images}/default/*/manifest ]; do sleep 1; done; "
                                    "while grep -q cor-template /proc/[0-9]*/comm 2>/dev/null; do sleep 1; done")
        # In a domain of its own: a container without a pool ends what waits. So many that none is made beside a row.
        pool = f"{ours}on --set template.domain=pool --set pool="
        rows[f"{name} pool"] = Way(f"{pool}1 {run} {who}pool$TRY", f"{pool}{len(PASSES) + 1} pool fill", f"{pool}1 pool drain")
    return rows


def add_tree(cpio, path):
    """A directory at its place."""
    for p in sorted(path.rglob("*")):
        name = f"files{p}"
        if p.is_symlink():
            cpio.link(name, str(p.readlink()))
        elif p.is_file():
            cpio.file(name, p.read_bytes(), p.stat().st_mode & 0o777)


def add_host(bench, c, programs, applets):
    """Of a host without 9p: cor with its mini-OS, QEMU, and these programs of this machine and of busybox."""
    build, seen = pathlib.Path(bench.cor).parents[2], set()
    for name in ("qemu-system-x86_64", *programs):
        if shutil.which(name):
            kvmhost.add_program(c, shutil.which(name), seen)
    kvmhost.add_program(c, bench.cor, seen)
    c.file("files/usr/bin/busybox", pathlib.Path("/bin/busybox").read_bytes(), 0o755)
    for applet in ("sh", "cat", "stty", "echo", "sleep", "sed", "tail", "grep", "readlink", *applets):
        c.link(f"files/usr/bin/{applet}", "busybox")
    for name in FIRMWARE:
        c.file(f"files/usr/share/{name}", (pathlib.Path("/usr/share") / name).read_bytes())
    add_tree(c, build / "inst/libexec")
    add_tree(c, build / "inst/etc")
    c.file(f"files{build}/os/vmlinux", (build / "os/vmlinux").read_bytes())
    c.file(f"files{build}/os/initrd", (build / "os/initrd").read_bytes())
    c.file("files/kvmhost/limit", (HERE / "count-limit").read_bytes())


def files(bench, rows, opts):
    """more(cpio, todo, boot) for kvmhost.count(): all that any of the rows needs, those to measure, and what makes this boot differ
    from others."""
    build = pathlib.Path(bench.cor).parents[2]
    conf = bundle.config(["true"])
    conf["root"]["path"] = "/count/root"
    root = bundle.make_rootfs(bench.dir / "count-root")
    images = bench.dir / "count-images"
    if any(IMAGES in w.command for w in rows.values()):
        subprocess.run([pathlib.Path(bench.cor).parent / "cor-image", "import", root, "--name", "true", "--store", images, "--quiet"],
                       check=True, stdout=subprocess.DEVNULL)

    def more(c, todo, boot):
        add_host(bench, c, ("crun", "runc"), ("awk", "setsid", "rm", "tee", "tr", "mount", "umount", "mkfifo"))
        if opts.kernel:
            c.file("files/count/vmlinux", pathlib.Path(opts.kernel).read_bytes())
        else:
            c.link("files/count/vmlinux", f"{build}/os/vmlinux")
        init = bench.dir / "count-initrd"
        with open(init, "wb") as f:
            inner = kvmhost.Cpio(f)
            inner.file("init", bench.helper("count-init").read_bytes(), 0o755)
            inner.end()
        c.file("files/count/initrd", init.read_bytes())
        c.file("files/count/bundle/config.json", json.dumps(conf).encode())
        for p in sorted(root.rglob("*")):
            name = f"files/count/root/{p.relative_to(root)}"
            if p.is_symlink():
                c.link(name, str(p.readlink()))
            elif p.is_file():
                c.file(name, p.read_bytes(), p.stat().st_mode & 0o777)
            else:
                c.directory(name)
        c.directory(f"files{HUGE}")
        for p in sorted(images.rglob("*")):
            c.file(f"files{IMAGES}/{p.relative_to(images)}", p.read_bytes(), 0o600) if p.is_file() else c.directory(f"files{IMAGES}/{p.relative_to(images)}")
        c.file("files/count/rows", "".join(f"{n}\t{w.before}\t{w.command}\t{w.after}\n" for n, w in todo.items()).encode())
        c.file("files/count/boot", bytes((boot - 1) * PADDING))
        c.file("files/kvmhost/job", (HERE / "count-job").read_bytes(), 0o755)

    return more


class Row:
    """What count-job says about one command in one pass."""

    def __init__(self):
        self.events, self.exits, self.ports, self.tasks, self.said = [], {}, {}, {}, []
        self.ready = None  # from the first KVM_RUN to the agent's ready: what the guest did, what all did

    def at(self, event, text=""):
        """Instructions from exec to the first such event; None = there was none."""
        start = next((e for e in self.events if e[2] == "sched_process_exec"), None)
        for at, idle, name, rest in self.events:
            if start and name == event and text in rest and at >= start[0]:
                return (at - start[0]) - (idle - start[1])
        return None

    def code(self):
        return int(next(rest.split()[1] for _, _, _, rest in self.events if rest.startswith("end ")))

    def stood_still(self):
        return self.events[-1][1]


class Measured:
    """A row's passes; hung: pass, or "beside", -> how its first try ended; why: there is no figure, None if there is; again: another
    boot may bring one."""

    def __init__(self):
        self.passes, self.hung, self.why, self.again, self.boot = {}, {}, None, False, 1

    def settle(self, why, again):
        self.why, self.again = why, again

    def check(self):
        """After "done": all commands must have worked."""
        for p, row in self.passes.items():
            if p != "tasks" and row.code() != 0:
                return self.settle(f"{p}: exit code {row.code()}: " + " ".join(row.said), False)
        return None


def parse(text):
    """Of what count-job wrote, perhaps only a part of it: {name: Measured}, those that it came to an end with."""
    rows, ended = {}, {}
    for line in text[:text.rfind("\n") + 1].splitlines():
        word, _, rest = line.partition(" ")
        if word == "row":
            kind, name = rest.split(" ", 1)
            row = rows.setdefault(name, Measured()).passes[kind] = Row()
        elif word == "hung":
            name, _, why = rest.partition(": ended ")
            kind, name = name.split(" ", 1)
            rows.setdefault(name, Measured()).hung[kind] = why
        elif word == "done":
            ended[rest] = rows[rest]
            rows[rest].check()
        elif word in ("hangs", "fails"):
            name, why = rest.split("\t", 1)
            ended[name] = rows.setdefault(name, Measured())
            ended[name].settle(why, word == "hangs")
        elif word != "complete":
            read_line(row, word, rest)
    return ended


def read_line(row, word, rest):
    """What happened in a pass."""
    if word == "exit":
        code, n = rest.split()
        name = EXITS.get(int(code), hex(int(code)))
        row.exits[name] = row.exits.get(name, 0) + int(n)
    elif word == "port":
        code, n = rest.split()
        row.ports[f"{int(code):#x}"] = int(n)
    elif word == "task":
        n, name = rest.split(" ", 1)
        row.tasks[name] = int(n)
    elif word == "ready":
        row.ready = [int(n) for n in rest.split()]
    elif word == "said":
        row.said.append(rest)
    elif word.isdigit():
        idle, event, more = (rest + " ").split(" ", 2)
        row.events.append((int(word), int(idle), event, more.strip()))


def figures(measured):
    """What is shown of a row that was measured: name -> number or None."""
    exits, tasks, count = (measured.passes[p] for p in PASSES)
    # The guest's word is a hypercall of its own number; KVM writes it in hex.
    return {"to KVM_RUN": exits.at("kvm_entry"), "to user space": count.at("kvm_hypercall", f"nr {MARK:#x}"),
            "to exit": count.at("tracing_mark_write", "end"), "exits": sum(exits.exits.values()),
            "to ready": tasks.ready, "by reason": most(exits.exits), "by process": most(tasks.tasks), "by port": most(exits.ports),
            "stood still": count.stood_still(), "hung": measured.hung, "boot": measured.boot}


def most(counts):
    return dict(sorted(counts.items(), key=lambda kv: -kv[1]))


def millions(n):
    return "-" if n is None else f"{n / 1e6:.2f}"


def differences(runs):
    """The largest difference of any figure between runs, and where: (share, text)."""
    worst = (0.0, "")
    for name in runs[0]:
        for key in ("to KVM_RUN", "to user space", "to exit", "exits"):
            values = [r[name][key] for r in runs if name in r and r[name][key]]
            if values and (share := (max(values) - min(values)) / max(values)) > worst[0]:
                worst = (share, f"{name}, {key}: {min(values)} to {max(values)}")
    return worst


def reasons(first):
    """Exits by reason, the most frequent ones in columns of their own."""
    sums = {}
    for f in first.values():
        for reason, n in f["by reason"].items():
            sums[reason] = sums.get(reason, 0) + n
    shown = sorted(sums, key=lambda k: -sums[k])[:SHOWN_REASONS]
    rows = [[n] + [str(f["by reason"].get(k, 0)) for k in shown] + [str(sum(v for k, v in f["by reason"].items() if k not in shown))]
            for n, f in first.items() if f["exits"]]
    return Table(["exits by reason", *shown, "others"], rows)


def processes(first, boxes):
    """Who did the instructions of a container, and what is above crun."""
    names = {}
    for n in boxes:
        for who, count in first[n]["by process"].items():
            names[who] = names.get(who, 0) + count
    shown = [n for n, count in most(names).items() if count > SHOWN_TASK]
    return Table(["run true, by process", *boxes],
                 [[who, *(millions(first[n]["by process"].get(who)) for n in boxes)] for who in shown] +
                 [["others", *(millions(sum(v for k, v in first[n]["by process"].items() if k not in shown)) for n in boxes)]])


class Watch:
    """What a host says while it counts: a line for each row that ends, with the time it took here."""

    def __init__(self, bench):
        self.bench, self.got, self.lines, self.since = bench, "", 0, time.monotonic()

    def __call__(self, console, got):
        self.got = got
        lines = got[:got.rfind("\n") + 1].splitlines()
        for line in lines[self.lines:]:
            word, _, rest = line.partition(" ")
            if word == "hung":
                self.bench.say.log(f"{rest}; it is repeated")
            elif word in ("done", "hangs", "fails"):
                self.ends(rest.split("\t")[0])
        self.lines = len(lines)
        found = re.findall(r"^(?:row|hung) (.*)", console, re.M)
        self.bench.say(f"row {found[-1].strip()}" if found else "the host boots")

    def ends(self, name):
        row, now = parse(self.got)[name], time.monotonic()
        what = f"no figure: {row.why}" if row.why else f"{millions(figures(row)['to exit'])} million to exit"
        self.bench.say.log(f"{name}: {what}, {now - self.since:.0f} s")
        self.since = now


def boot(bench, more, todo, n):
    """One boot of a counting host: ({name: Measured}, why it ended early or None, whether that was somebody's wish)."""
    watch = Watch(bench)
    try:
        return parse(kvmhost.count(lambda c: more(c, todo, n), TIMEOUT_S, watch, bench.dir, STALL_S)), None, False
    except kvmhost.HostError as e:
        bench.say.log(str(e))
        return parse(e.got), str(e).splitlines()[0], False
    except (SystemExit, KeyboardInterrupt) as e:
        return parse(watch.got), str(e) or "interrupted", True


def whole(bench, more, rows):
    """All rows once: ({name: Measured}, without a figure, too; whether it was ended). Those that hung twice, or that a host ended with, get
    another host, where other instructions are hit."""
    found, todo = {}, dict(rows)
    for n in range(1, BOOTS + 1):
        got, why, over = boot(bench, more, todo, n)
        for i, name in enumerate(name for name in todo if name not in got):
            got[name] = Measured()
            got[name].settle(why if i == 0 else f"not reached: {why}", True)
        for name, row in got.items():
            row.boot = n
        found.update(got)
        # One that a host ended with might end the next one.
        todo = {name: way for name, way in sorted(todo.items(), key=lambda r: not (found[r[0]].why or "").startswith("not reached")) if found[name].again}
        if over or not todo:
            break
    return {name: found[name] for name in rows}, over


def run(bench, opts):
    build = pathlib.Path(bench.cor).parents[2]
    keep = lambda rows: {n: c for n, c in rows.items() if not opts.row or any(t in n for t in opts.row)}  # noqa: E731
    machines, boxes = keep(vmms(build)), keep(containers(bench.cor))
    rows = {**machines, **boxes}
    more, measured, over = files(bench, rows, opts), [], False
    while len(measured) < opts.runs and not over:
        found, over = whole(bench, more, rows)
        measured.append(found)
    return report(measured, machines, boxes)


def report(measured, machines, boxes):
    """measured: of whole(), for each run. What has no figure fails it, but the others are shown."""
    res = Result("count", "Count: millions of instructions", ABOUT)
    runs = [{n: figures(m) for n, m in found.items() if not m.why} for found in measured]
    res.skipped = [(n if len(runs) == 1 else f"{n}, run {i}", m.why)
                   for i, found in enumerate(measured, 1) for n, m in found.items() if m.why]
    res.failed = bool(res.skipped)
    first = runs[0]
    machines, boxes = ([n for n in names if n in first] for names in (machines, boxes))
    add_tables(res, first, machines, boxes)
    res.notes += [f"{n}: I/O by port: " + ", ".join(f"{p} {k}" for p, k in list(f["by port"].items())[:SHOWN_PORTS])
                  for n, f in first.items() if f["by port"]]
    res.notes += [f"{n}, {p}: repeated, because the first try was ended {why} (docs/testing-kvm.md, \"What hangs\")"
                  for f in runs for n, row in f.items() for p, why in row["hung"].items()]
    res.notes += [f"{n}: from boot {row['boot']} of the host, after it hung in the ones before" for f in runs for n, row in f.items() if row["boot"] > 1]
    if len(runs) > 1:
        share, where = differences(runs)
        res.notes.append(f"{len(runs)} runs: " + (f"they differ by at most {share * 100:.4f} % ({where})" if share else "they are equal in every figure"))
    res.data = {"runs": runs, "missing": [{n: m.why for n, m in found.items() if m.why} for found in measured],
                "marks": {n: measured[0][n].passes["count"].events for n in first}}
    return res


def add_tables(res, first, machines, boxes):
    if machines:
        keys = ("to KVM_RUN", "to user space", "to exit")
        res.tables.append(Table(["from exec", "to first KVM_RUN", "to user space", "to exit", "exits"],
                                [[n, *(millions(first[n][k]) for k in keys), str(first[n]["exits"])] for n in machines]))
    if boxes:
        res.tables.append(Table(["run true", "to exit", "beside crun", "exits"],
                                [[n, millions(first[n]["to exit"]),
                                  f"{first[n]['to exit'] / first['crun']['to exit']:.2f}" if "crun" in first else "-",
                                  str(first[n]["exits"])] for n in boxes]))
    booted = {n: f["to ready"] for n, f in first.items() if f["to ready"]}
    if booted:
        res.tables.append(Table(["from the first KVM_RUN to the agent's ready", "the guest itself", "guest and host"],
                                [[n, *(millions(k) for k in ready)] for n, ready in booted.items()]))
    if boxes:
        res.tables.append(processes(first, boxes))
    if any(f["exits"] for f in first.values()):
        res.tables.append(reasons(first))
