"""guestmods.py - modules of the kernel that kvmhost.py boots, beside those that it keeps: for guests, and for jobs that bring
their own (`insmod`). From the same package."""

import pathlib
import subprocess
import tarfile

import kvmhost


def unpack(names, to):
    """Puts these modules and what they need into the directory `to`. Returns the files, each before who needs it."""
    to = pathlib.Path(to)
    (to / "modules").mkdir(parents=True)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", kvmhost.package()], stdout=subprocess.PIPE) as dpkg:
        with tarfile.open(fileobj=dpkg.stdout, mode="r|") as tar:
            for member in tar:
                if member.name.endswith(".ko"):
                    kvmhost.keep_member(tar, member, to)
    if dpkg.returncode != 0:
        raise kvmhost.HostError(f"{kvmhost.package()}: dpkg-deb failed")
    order = kvmhost.load_order(to, names)
    for p in (to / "modules").iterdir():
        if p not in order:
            p.unlink()
    return order
