"""place.py - a directory whose file system has what a test asks for: the test's own, or of an ext4 in a file."""

import os
import subprocess


def place(t, fits, size="8M"):
    """fits(directory): does its file system? Asked of it, not guessed from its name. Where neither is to be had the test is skipped."""
    disk = t.dir / "disk"
    disk.mkdir()
    if fits(disk):
        return disk
    image = t.dir / "disk.img"
    t.run(["truncate", "-s", size, image], check=0)
    t.run(["mkfs.ext4", "-q", "-m", "0", image], check=0)
    r = t.run(["mount", "-o", "loop", image, disk])
    if r.code != 0:
        t.skip(f"the file system of {t.dir} lacks what this asks for, and no ext4 in a file can be mounted: {r.err.strip()}")
    t.cleanup(lambda: subprocess.run(["umount", "-l", str(disk)], check=False))
    return disk


def has_all(directory):
    """What lib/fsprobe.c asks a file system for beyond POSIX (tmpfs has no O_DIRECT, and before Linux 6.6 no user.*)."""
    path = directory / "probe-features"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600))
        for name in ("user.probe", "trusted.probe"):
            os.setxattr(path, name, b"x")
    except OSError:
        return False
    finally:
        path.unlink(missing_ok=True)
    return True
