"""A Debian system under cor-vmm: the example of its manual page, word for word."""

import os
import pathlib
import re
import shutil
import tempfile

import builds
import kvmhost
from harness import case

PAGE = builds.TOP / "docs/man/cor-vmm.1.in"
SECTION, PROGRAM = "A Debian system as a disk image", "cor-vmm run "
# Each answer is given when the console shows what it waits for. Printed: the time before the start, and of each answer.
LOGIN = r"""
ln -s "$near/debian" debian
cp --sparse=always "$near/debian.img" .
answer() { until grep -q "$1" out/console; do sleep 0.5; done; cut -d' ' -f1 /proc/uptime; echo "$2" >&7; }
mkfifo keys; : >out/console; exec 7<>keys
cut -d' ' -f1 /proc/uptime
(
    answer 'vm login: ' root
    answer 'root@vm:~# ' 'echo "$(systemctl --failed --plain --no-legend | wc -l) failed, $(uname -r), $(findmnt -no SOURCE,FSTYPE /)"; poweroff'
) &
"""


def example():
    """(How the disk image is made, how the machine is started): shell commands of the page."""
    text = PAGE.read_text().split(SECTION)[1]
    text = re.search(r"^\.nf\n(.*?)^\.fi$", text, re.M | re.S).group(1).replace(r"\-", "-").replace(r"\\", "\\")
    at = text.index(PROGRAM)
    return text[:at], text[at:]


@case(timeout=1500, needs=("debootstrap", "mkfs.ext4"), only=("cor",))
def test_example(t):
    """debootstrap, a login as root on the console, no failed unit, power off. Asked for by COR_TEST_DEBIAN=1."""
    if not os.environ.get("COR_TEST_DEBIAN"):
        t.skip("COR_TEST_DEBIAN is not set: 1 makes a Debian disk image and boots it, which takes up to ten minutes in an emulated host")
    make, start = example()
    near = pathlib.Path(tempfile.mkdtemp(prefix="debian-", dir=t.opts.build))  # the host with KVM sees it
    t.cleanup(lambda: shutil.rmtree(near))
    t.run(["sh", "-exc", make], cwd=near, check=0, timeout=600)
    path = f"{pathlib.Path(t.opts.runtime).parent.parent}/libexec/cor:/usr/sbin:/usr/bin"
    res = kvmhost.job(t, kvmhost.of(t), ["sh", "-ec", f"{LOGIN}{{ {start}}} <keys >out/console"], timeout=800,
                      env={"near": near, "PATH": path}, check=0)
    begin, prompt, shell = map(float, res.out.split())
    t.report(f"a login prompt after {prompt - begin:.0f} s, a shell {shell - prompt:.0f} s later")
    t.has((res.files / "console").read_text().replace("\r", ""), "\n0 failed, ", "-cloud-amd64, /dev/vda ext4\n")
