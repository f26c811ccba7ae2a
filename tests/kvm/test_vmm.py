"""cor-vmm: a stock kernel under it, and its devices."""

import shutil

import kvmhost
from harness import case

MODULES = ("virtio_ring", "virtio", "virtio_pci", "virtio_console", "virtio_blk")
CMDLINE = "console=hvc0 panic=-1 quiet"

# /bin/busybox and the modules are in the initramfs; what a test adds comes after this.
INIT = """#!/bin/busybox sh
PATH=/bin; export PATH
busybox mkdir -p /proc /sys /dev
busybox mount -t proc proc /proc; busybox mount -t sysfs sys /sys; busybox mount -t devtmpfs dev /dev
for m in $(busybox cat /modules/order); do busybox insmod /modules/$m; done
until [ -c /dev/hvc0 ]; do busybox usleep 1000; done  # comes with the host's answer
exec </dev/hvc0 >/dev/hvc0 2>&1
"""


def initramfs(t, script):
    """A guest that runs the script on its console and powers off."""
    kernel = kvmhost.kernel()
    path = t.path("initramfs")
    with open(path, "wb") as f:
        c = kvmhost.Cpio(f)
        c.file("bin/busybox", open(shutil.which("busybox"), "rb").read(), 0o755)
        c.file("init", (INIT + script + "\nbusybox poweroff -f\n").encode(), 0o755)
        c.link("dev/console", "hvc0")
        order = kvmhost.load_order(kernel, MODULES)
        for p in order:
            c.file(f"modules/{p.name}", p.read_bytes())
        c.file("modules/order", "".join(p.name + "\n" for p in order).encode())
        c.end()
    return path


def vmm_job(t, guest, host_script, timeout):
    """Runs host_script (sh) with ./cor-vmm, ./vmlinuz and ./initramfs in place."""
    files = [t.opts.build / "src/cmd/cor-vmm", kvmhost.kernel() / "vmlinuz", initramfs(t, guest)]
    return kvmhost.job(t, kvmhost.of(t), ["sh", "-ec", host_script], files=files, timeout=timeout, check=0)


@case(timeout=180, only=("cor",))
def test_boot(t):
    """Debian's kernel, two vCPUs: console, disk, the agent's port; power off ends it well."""
    res = vmm_job(t, """
        echo "cpus=$(busybox nproc) disk=$(busybox head -c 5 /dev/vda)"
        echo written | busybox dd of=/dev/vda bs=512 seek=4 conv=sync,fsync 2>/dev/null
        until [ "$port" ]; do  # so does its name
            for p in /sys/class/virtio-ports/*; do
                [ "$(busybox cat $p/name 2>/dev/null)" = cor.agent ] && port=${p##*/}
            done
        done
        echo "through the port" >/dev/$port
        busybox head -n 1 /dev/$port
    """, f"""
        echo 12345 >disk; truncate -s 64K disk
        mkfifo port
        ./cor-vmm run --kernel vmlinuz --initrd initramfs --memory 256M --cpus 2 --cmdline '{CMDLINE}' --disk disk --rng \\
            --balloon --port cor.agent=fd:5 --console out/console </dev/null 5<>port
        tail -c +2049 disk | head -n 1
    """, timeout=150)
    t.has((res.files / "console").read_text(), "cpus=2 disk=12345", "through the port")
    t.eq(res.out, "written\n")
