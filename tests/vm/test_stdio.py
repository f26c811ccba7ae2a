"""stdio and terminals: every byte, end of file, blocked readers, console socket, resize."""

import hashlib
import os
import pty
import select
import signal
import threading

import bundle
import console
from harness import LIMIT, case, code_of

MB = 1 << 20


def digest_of_stream(path, megabytes, run):
    """sha256 of what `probe stream N` writes, computed here by the same program."""
    return hashlib.sha256(run([path, "stream", megabytes]).raw_out).hexdigest()


@case(timeout=300, vm=True)
def test_100_mb(t):
    """100 MB through stdout, byte for byte, and the exit code after it."""
    want = digest_of_stream(t.opts.probe, 100, t.run)
    c = t.rt.container(bundle.config("probe stream 100; exit 5"))
    bundle.add_probe(c.rootfs, t.opts.probe)
    child = t.spawn(t.rt.argv("run", "--bundle", c.bundle, c.id), stdout=-1)
    got, n = hashlib.sha256(), 0
    while data := child.stdout.read(MB):
        got.update(data)
        n += len(data)
    t.eq(n, 100 * MB)
    t.eq(got.hexdigest(), want)
    t.eq(child.wait(60 * LIMIT), 5)


@case(timeout=300, vm=True)
def test_stdin_and_files(t):
    """stdin to its end, a file as stdout, all in one container's exec sessions."""
    conf = bundle.config("sha256sum; echo end")
    c = t.rt.container(conf)
    data = os.urandom(30 * MB)
    with t.step("30 MB into run"):
        r = c.run(input=data, timeout=200, check=0)
        t.eq(r.out.split(), [hashlib.sha256(data).hexdigest(), "-", "end"])


@case(timeout=300, vm=True, quick=True)
def test_streams(t):
    """One idle container; everything about exec's streams."""
    c = t.rt.container(bundle.config("echo up; exec sleep 1000"))
    bundle.add_probe(c.rootfs, t.opts.probe)
    c.up()
    c.wait_out("up")
    with t.step("end of stdin"):
        t.eq(c.exec("cat; echo over", input=b"text").out, "textover\n")
    with t.step("stdin from /dev/null"):
        t.eq(c.exec("cat; echo over").out, "over\n")
    with t.step("a file is written as it is"):
        out = t.dir / "outfile"
        with open(out, "wb") as f:
            child = t.spawn(t.rt.argv("exec", c.id, "sh", "-c", "echo to file; echo more"), stdout=f)
            t.eq(child.wait(30 * LIMIT), 0)
        t.eq(out.read_text(), "to file\nmore\n")
    with t.step("10 MB there and back"):
        data = os.urandom(10 * MB)
        r = c.exec(["cat"], input=data, timeout=120)
        t.true(r.raw_out == data, f"{len(r.raw_out)} bytes came back, {len(data)} were sent, or others")
    with t.step("a reader that goes away"):
        t.only("cor", "crun")  # runc dies of SIGPIPE itself and leaves the writer
        r = t.run(["sh", "-c", '"$@" | head -c 10', "sh"] + t.rt.argv("exec", c.id, "sh", "-c", "yes; true"), timeout=60)
        t.eq(r.out, "y\ny\ny\ny\ny\n")
        t.wait(lambda: "yes" not in c.sh("ps -o comm"), "the writer's end")
    with t.step("a blocked reader stalls nobody"):
        child = t.spawn(t.rt.argv("exec", c.id, "probe", "stream", "20"), stdout=-1)
        first = os.read(child.stdout.fileno(), 1)
        for i in range(3):
            t.eq(c.sh(f"echo {i}", timeout=20), f"{i}\n")
        child.send_signal(signal.SIGTERM)
        rest = child.stdout.read()
        child.wait(30 * LIMIT)
        t.true(len(first + rest) <= 20 * MB, "more came than was written")
    with t.step("all of it comes when it is read at last"):
        child = t.spawn(t.rt.argv("exec", c.id, "probe", "stream", "8"), stdout=-1)
        c.sh("true")
        data = child.stdout.read()
        t.eq(hashlib.sha256(data).hexdigest(), digest_of_stream(t.opts.probe, 8, t.run))
        t.eq(child.wait(30 * LIMIT), 0)
    with t.step("output before the end is not lost"):
        for i in range(5):
            r = c.exec("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; echo last >&2; exit 3")
            t.eq((r.code, len(r.out.split()), r.err), (3, 2000, "last\n"))
    with t.step("stdout is closed when the program ends, though a child stays"):
        r = c.exec("sleep 1000 >/dev/null 2>&1 & echo done")  # whoever waited for that child is over its time
        t.eq(r.out, "done\n")
    c.finish()


@case(timeout=180, vm=True, quick=True)
def test_terminal(t):
    """A container with a terminal: console socket, echo, size, Ctrl-C, end."""
    conf = bundle.config("tty; probe winsize; stty -a | grep -c ' echo'; trap 'echo interrupted' INT; trap 'echo resized' WINCH; "
                         "echo up; while read line; do echo \"got <$line>\"; probe winsize; done; echo bye; exit 4",
                         terminal=True, consoleSize={"height": 33, "width": 77})
    c = t.rt.container(conf)
    bundle.add_probe(c.rootfs, t.opts.probe)
    sock = console.ConsoleSocket(t)
    with open(os.devnull, "r+b") as null:
        c.create("--console-socket", sock.path, stdin=null, stdout=null, stderr=null)
    con = sock.take()
    with t.step("the master is a terminal's"):
        con.is_tty_master()
    c.start()
    with t.step("tty and consoleSize"):
        con.read_until(rb"/dev/(pts/\d+|console)\r\n")
        con.read_until(rb"33 77\r\n")
    con.read_until("up\r\n")
    with t.step("input, echo, output"):
        con.write("hello\n")
        con.read_until(rb"hello\r\n(.*\r\n)?got <hello>\r\n")
    with t.step("resize"):
        con.resize(50, 123)

        def size_now():
            con.write("again\n")
            return con.read_until(rb"got <again>\r\n(\d+ \d+)\r\n").group(1) == b"50 123"

        t.wait(size_now, "the new size")
    with t.step("Ctrl-C"):
        con.write(b"\x03")
        con.read_until("interrupted")
    with t.step("Ctrl-D ends it, the code comes"):
        con.write(b"\n\x04")
        con.read_until("bye")
        t.eq(c.wait(), 4)
        con.read_all()
    c.delete()


@case(timeout=180, vm=True)
def test_exec_terminal(t):
    """exec --tty: by console socket with --detach, and in the foreground of a terminal."""
    c = t.rt.container(bundle.config("echo up; exec sleep 1000"))
    bundle.add_probe(c.rootfs, t.opts.probe)
    c.up()
    c.wait_out("up")
    with t.step("--detach --console-socket"):
        sock = console.ConsoleSocket(t, "exec.sock")
        pid_file = t.dir / "exec.pid"
        with open(os.devnull, "r+b") as null:
            child = t.spawn(t.rt.argv("exec", "--tty", "--detach", "--console-socket", sock.path, "--pid-file", pid_file,
                                      c.id, "sh", "-c", "tty; read x; echo got $x; exit 9"), stdin=null, stdout=null,
                            stderr=null)
            con = sock.take()
            t.eq(child.wait(30 * LIMIT), 0)
        con.read_until(rb"/dev/pts/\d+\r\n")
        con.write("word\n")
        con.read_until("got word")
        t.eq(code_of(os.waitstatus_to_exitcode(os.waitpid(int(pid_file.read_text()), 0)[1])), 9)
    with t.step("foreground of a terminal"):
        master, slave = pty.openpty()
        con = console.Console(t, master)
        con.resize(21, 43)
        child = t.spawn(t.rt.argv("exec", "--tty", c.id, "sh", "-c",
                                   "tty; until [ \"$(probe winsize)\" = '21 43' ]; do :; done; echo sized; read x; "
                                   "echo got $x; exit 6"), stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        con.read_until(rb"/dev/pts/\d+\r\n")
        con.read_until("sized")
        con.write("word\r")
        con.read_until("got word")
        t.eq(child.wait(30 * LIMIT), 6)
    c.finish()


@case(timeout=120, vm=True)
def test_run_in_terminal(t):
    """run in the foreground of a terminal: the terminal is set back at the end."""
    import termios

    conf = bundle.config("tty; read x; echo got $x; exit 3", terminal=True)
    c = t.rt.container(conf)
    master, slave = pty.openpty()
    con = console.Console(t, master)
    before = termios.tcgetattr(slave)
    child = t.spawn(t.rt.argv("run", "--bundle", c.bundle, c.id), stdin=slave, stdout=slave, stderr=slave)
    con.read_until(rb"/dev/(pts/\d+|console)\r\n", timeout=90)
    con.write("word\r")
    con.read_until("got word")
    t.eq(child.wait(60 * LIMIT), 3)
    t.eq(termios.tcgetattr(slave), before, "terminal settings")
    os.close(slave)


@case(timeout=180, vm=True)
def test_stdio_closed(t):
    """create's stdio is closed by everyone when the container ends: its reader sees the end of file."""
    r, w = os.pipe()
    c = t.rt.container(bundle.config("echo one; echo two >&2"))
    c.create(stdout=w)
    os.close(w)
    c.start()
    done = []
    reader = threading.Thread(target=lambda: done.append(os.fdopen(r, "rb").read()), daemon=True)
    reader.start()
    t.eq(c.wait(), 0)
    reader.join(20 * LIMIT)
    t.eq(done, [b"one\n"], "what the pipe gave up to its end")
    t.has(c.err(), "two\n")
    c.delete()


@case(timeout=120, vm=True)
def test_inherited_fds(t):
    """Fds of the caller other than 0, 1, 2 do not stay open in the runtime's processes."""
    r, w = os.pipe()
    os.set_inheritable(w, True)
    c = t.rt.container(bundle.config(["sleep", "1000"]))
    argv = t.rt.argv("create", "--bundle", c.bundle, "--pid-file", c.pid_file, c.id)
    with open(os.devnull, "r+b") as null:
        child = t.spawn(argv, stdin=null, stdout=null, stderr=null, pass_fds=[w])
        t.eq(child.wait(60 * LIMIT), 0)
    os.close(w)
    c.pid = c.read_pid()
    with t.step("nobody else holds the pipe"):
        t.only("cor", "runc")
        t.true(select.select([r], [], [], 10 * LIMIT)[0], "no end of file")
        t.eq(os.read(r, 1), b"")
    os.close(r)
    c.start()
    c.finish()
