"""console.py - the caller's side of a terminal: the console socket that receives a pty master, and
reading and writing that master.
"""

import array
import fcntl
import os
import re
import select
import socket
import struct
import termios
import time

import harness
from harness import Failed


class ConsoleSocket:
    """A listening AF_UNIX stream socket to be named by --console-socket. take() returns the Console."""

    def __init__(self, test, name="console.sock"):
        self.path = str(test.path(name))
        self.test = test
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.bind(self.path)
        self.sock.listen(1)
        test.cleanup(self.close)

    def take(self, timeout=30):
        """Accepts one connection and its message: some text and exactly one fd."""
        self.sock.settimeout(timeout * harness.LIMIT)
        try:
            conn, _ = self.sock.accept()
            conn.settimeout(timeout * harness.LIMIT)
            fds = array.array("i")
            data, anc, flags, _ = conn.recvmsg(4096, socket.CMSG_SPACE(4 * 8))
        except TimeoutError:
            raise Failed("nothing came over the console socket")
        conn.close()
        for level, kind, payload in anc:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        if len(fds) != 1 or not data or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise Failed(f"console socket: {len(data)} bytes of text, {len(fds)} fds instead of one")
        console = Console(self.test, fds[0])
        self.close()
        return console

    def close(self):
        self.sock.close()
        if os.path.exists(self.path):
            os.unlink(self.path)


class Console:
    """A pty master."""

    def __init__(self, test, fd):
        self.test, self.fd, self.seen = test, fd, b""
        os.set_blocking(fd, False)
        test.cleanup(self.close)

    def read_until(self, pattern, timeout=30):
        """Reads until the regular expression matches what was read since the last match; returns
        the match. The end of the file (EIO) is a failure."""
        pattern = pattern.encode() if isinstance(pattern, str) else pattern
        end = time.monotonic() + timeout * harness.LIMIT
        while True:
            m = re.search(pattern, self.seen)
            if m:
                self.seen = self.seen[m.end() :]
                return m
            left = end - time.monotonic()
            if left <= 0 or not self.more(left):
                raise Failed(f"{pattern!r} did not come from the terminal; read: {self.seen[-2000:]!r}")

    def more(self, timeout):
        """Reads once; False at the end of the file or when nothing came."""
        if not select.select([self.fd], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: the last slave was closed
            return False
        self.seen += data
        return bool(data)

    def read_all(self, timeout=30):
        """Reads to the end of the file."""
        while self.more(timeout * harness.LIMIT):
            pass
        return self.seen

    def write(self, data):
        os.write(self.fd, data.encode() if isinstance(data, str) else data)

    def resize(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def is_tty_master(self):
        """As conmon does: a tcsetattr on it works."""
        attrs = termios.tcgetattr(self.fd)
        attrs[1] |= termios.ONLCR
        termios.tcsetattr(self.fd, termios.TCSANOW, attrs)
        return True

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
