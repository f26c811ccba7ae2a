"""watch.py - what was made in a directory, also what is gone again: for a state that may pass between two looks.

inotify(7) by ctypes. The kernel keeps the events from the moment of the watch on, so a test asks after the fact.
"""

import ctypes
import errno
import fnmatch
import os
import select
import struct
import time

import harness
from harness import Failed

IN_MOVED_TO, IN_CREATE, IN_Q_OVERFLOW = 0x80, 0x100, 0x4000
HEAD = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, length of the name

libc = ctypes.CDLL(None, use_errno=True)


def checked(value, what):
    if value < 0:
        raise OSError(ctypes.get_errno(), what)
    return value


class Watch:
    """Collects the names that appear in a directory, from now on."""

    def __init__(self, test, directory):
        self.directory, self.names = directory, []
        self.fd = checked(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify_init1")
        test.cleanup(lambda: os.close(self.fd))
        checked(libc.inotify_add_watch(self.fd, os.fsencode(directory), IN_CREATE | IN_MOVED_TO), f"watch {directory}")

    def _read(self):
        try:
            data = os.read(self.fd, 1 << 16)
        except OSError as e:
            if e.errno == errno.EAGAIN:
                return
            raise
        while data:
            _, mask, _, n = HEAD.unpack_from(data)
            if mask & IN_Q_OVERFLOW:
                raise Failed(f"too many events in {self.directory}")
            self.names.append(os.fsdecode(data[HEAD.size : HEAD.size + n].rstrip(b"\0")))
            data = data[HEAD.size + n :]

    def wait(self, pattern, what, timeout=10):
        """Waits until a name that matches (fnmatch) has been made since the watch began; returns the first."""
        end = time.monotonic() + timeout * harness.LIMIT
        while True:
            self._read()
            found = fnmatch.filter(self.names, pattern)
            if found:
                return found[0]
            left = end - time.monotonic()
            if left <= 0:
                raise Failed(f"not within {timeout * harness.LIMIT:.0f} s: {what}; made in {self.directory}: {self.names}")
            select.select([self.fd], [], [], left)
