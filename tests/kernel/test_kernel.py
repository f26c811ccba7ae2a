"""Kernels that cor-image builds: they have what their fragments ask for, the lists of what containers and engines
need hold, and a container runs on `clear`. Building takes 12 minutes once; the cache keeps the result."""

import copy
import pathlib
import re

import builds
import bundle
import imagelib
from harness import case

COR = ("cor",)
FRAGMENTS = builds.TOP / "guest/kernel"
PROFILES = {"clear": ("base", "clear"), "full": ("base", "clear", "full")}

# What a container runtime needs of any kernel: a word a feature, and its options.
CONTAINER = """
NAMESPACES UTS_NS IPC_NS PID_NS NET_NS USER_NS TIME_NS
CGROUPS CGROUP_SCHED FAIR_GROUP_SCHED CFS_BANDWIDTH MEMCG BLK_CGROUP BLK_DEV_THROTTLING CGROUP_PIDS CGROUP_FREEZER
CPUSETS CGROUP_DEVICE CGROUP_CPUACCT CGROUP_BPF CGROUP_HUGETLB
SECCOMP SECCOMP_FILTER KEYS POSIX_MQUEUE SYSVIPC OVERLAY_FS TMPFS TMPFS_XATTR TMPFS_POSIX_ACL PROC_FS SYSFS UNIX98_PTYS
UNIX INET IPV6 PACKET EROFS_FS FS_DAX VIRTIO_PMEM ND_CLAIM VIRTIO_FS FUSE_DAX 9P_FS EXT4_FS EXT4_FS_POSIX_ACL EXT4_FS_SECURITY
VIRTIO_PCI VIRTIO_CONSOLE VIRTIO_BLK VIRTIO_NET VIRTIO_BALLOON PAGE_REPORTING HW_RANDOM_VIRTIO VMGENID KVM_GUEST PVH
"""

# What engines look for before they set up networks, storage and swarms inside a machine.
ENGINE = """
VETH BRIDGE BRIDGE_NETFILTER BRIDGE_VLAN_FILTERING VXLAN IPVLAN MACVLAN DUMMY TUN WIREGUARD VLAN_8021Q
NETFILTER_XT_MATCH_ADDRTYPE NETFILTER_XT_MATCH_CONNTRACK NETFILTER_XT_MATCH_IPVS NETFILTER_XT_MARK NETFILTER_XT_MATCH_BPF
IP_NF_FILTER IP_NF_MANGLE IP_NF_RAW IP_NF_NAT IP_NF_TARGET_MASQUERADE IP_NF_TARGET_REDIRECT
IP6_NF_FILTER IP6_NF_MANGLE IP6_NF_RAW IP6_NF_NAT IP6_NF_TARGET_MASQUERADE
NF_NAT NF_NAT_FTP NF_NAT_TFTP NF_CONNTRACK_FTP NF_CONNTRACK_TFTP NF_TABLES NFT_CT NFT_MASQ NFT_NAT NFT_COMPAT
IP_VS IP_VS_NFCT IP_VS_PROTO_TCP IP_VS_PROTO_UDP IP_VS_RR
NET_CLS_CGROUP CGROUP_NET_PRIO CGROUP_PERF
CRYPTO CRYPTO_AEAD CRYPTO_GCM CRYPTO_SEQIV CRYPTO_GHASH XFRM XFRM_USER XFRM_ALGO INET_ESP
BTRFS_FS BTRFS_FS_POSIX_ACL BLK_DEV_DM DM_THIN_PROVISIONING CHECKPOINT_RESTORE IKCONFIG_PROC BINFMT_MISC IA32_EMULATION
"""

# What busybox can make without further words, and what the packet filters show.
KINDS = "bridge dummy ifb wireguard"
TABLES = "/proc/net/ip_tables_names /proc/net/ip6_tables_names /proc/config.gz /sys/class/misc/tun"


def options(text):
    """A .config as a dict."""
    return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.M))


def asked(profile):
    want = {}
    for name in PROFILES[profile]:
        want.update(re.findall(r'^(CONFIG_\w+)=("[^"]*"|\S+) # \S', (FRAGMENTS / f"{name}.config").read_text(), re.M))
    return want


def unexplained(cmdline):
    """Words of a kernel's command line that no row of docs/machine.md begins with, or names there; values don't count."""
    said = " ".join(re.findall(r"^\| (`[^|]*) \|", (builds.TOP / "docs/machine.md").read_text(), re.M))
    names = {w.partition("=")[0] for w in re.findall(r"[\w./=,-]+", said)}
    return [w for w in cmdline.split() if w.partition("=")[0] not in names]


def check_config(t, profile, have, lists):
    with t.step(f"{profile}: the configuration is what the fragments ask for"):
        dropped = [f"{k}={v}" for k, v in asked(profile).items() if have.get(k, "n") != v]
        t.true(len(asked(profile)) > 100 and not dropped, " ".join(dropped))
    with t.step(f"{profile}: nothing is a module, nothing is for debugging"):
        t.eq([k for k, v in have.items() if v == "m"], [])
        t.eq([k for k in ("CONFIG_MODULES", "CONFIG_DEBUG_INFO", "CONFIG_FTRACE", "CONFIG_AUDIT") if k in have], [])
    with t.step(f"{profile}: what containers need is there"):
        t.eq([w for w in lists.split() if have.get(f"CONFIG_{w}") != "y"], [])


@case(timeout=240, only=COR)
def test_full_config(t):
    made = imagelib.tool(t, "kernel", "--profile", "full", "--config-only", timeout=200)
    check_config(t, "full", options(pathlib.Path(made["config"]).read_text()), CONTAINER + ENGINE)


@case(timeout=3600, vm=True, only=COR)
def test_full(t):
    """Compiled, and used for what `clear` lacks: devices of networks, tables of packet filters, its configuration."""
    made = imagelib.tool(t, "kernel", "--profile", "full", timeout=3400)
    osdir = t.path("os")
    built = imagelib.tool(t, "os", "--out", osdir, "--vmlinuz", made["vmlinuz"], "--modules", made["modules"])
    t.eq(built["modules"], [])
    t.rt.globals = t.rt.globals + ["--set", f"vm.kernel={osdir}/vmlinux", "--set", f"vm.initrd={osdir}/initrd"]
    conf = bundle.config(f"""uname -r
for kind in {KINDS}; do ip link add name x type $kind && ip link show x >/dev/null && echo $kind && ip link del x; done
for file in {TABLES}; do [ -e $file ] && echo $file; done""")
    for caps in conf["process"]["capabilities"].values():
        caps.append("CAP_NET_ADMIN")
    with t.step("a container makes networks on it"):
        r = t.rt.container(conf).run()
        t.eq((r.code, r.out.split()), (0, [made["release"], *KINDS.split(), *TABLES.split()]), r.err)


@case(timeout=2700, vm=True, only=COR)
def test_clear(t):
    made = imagelib.tool(t, "kernel", "--profile", "clear", timeout=2500)
    check_config(t, "clear", options(pathlib.Path(made["config"]).read_text()), CONTAINER)
    with t.step("a second build finds the first"):
        again = imagelib.tool(t, "kernel", "--profile", "clear")
        t.eq((again["changed"], again["vmlinuz"]), (False, made["vmlinuz"]))
    osdir = t.path("os")
    with t.step("the mini-OS has no module"):
        built = imagelib.tool(t, "os", "--out", osdir, "--vmlinuz", made["vmlinuz"], "--modules", made["modules"])
        t.eq(built["modules"], [])
        t.true(built["vmlinux"]["size"] < 20e6, f"the kernel has {built['vmlinux']['size']} bytes")
    with t.step("stripped, with a PVH entry"):
        text = t.run(["readelf", "-hnW", osdir / "vmlinux"], check=0).out
        t.has(text, "Number of section headers:         0")
        t.has(text, "0x00000012")
    t.rt.globals = t.rt.globals + ["--set", f"vm.kernel={osdir}/vmlinux", "--set", f"vm.initrd={osdir}/initrd"]
    with t.step("a container runs on it"):
        r = t.rt.container(bundle.config("uname -r; ls /proc/self/ns; cat /proc/filesystems /proc/cmdline")).run(check=0)
        t.has(r.out, made["release"])
        t.true(made["release"].endswith("-cor-clear"), made["release"])
        words = r.out.split()
        lost = [w for w in ("time", "user", "cgroup", "overlay", "erofs", "ext4", "virtiofs", "9p", "mqueue", "tmpfs")
                if w not in words]
        t.eq(lost, [])
    with t.step("docs/machine.md explains each word of its command line"):
        t.has(r.out, "\nconsole=", " panic=-1 ")
        t.eq(unexplained(r.out.splitlines()[-1]), [])
    imagelib.demo(t)
    with t.step("one from an image"):
        r = imagelib.run(t)
        t.eq((r.code, r.out), (0, "entry one two words\n"), r.err)
    with t.step("the mini-OS is an image, too: no initramfs, the same bytes each time"):
        sums = []
        for name in ("dax", "dax2"):
            imagelib.tool(t, "os", "--dax", "--out", t.path(name), "--vmlinuz", made["vmlinuz"], "--modules", made["modules"])
            sums.append(imagelib.sha((t.path(name) / "initrd").read_bytes()))
        t.eq(sums[0], sums[1])
        t.rt.globals = t.rt.globals + ["--set", f"vm.kernel={t.path('dax')}/vmlinux", "--set", f"vm.initrd={t.path('dax')}/initrd"]
        r = imagelib.run(t)
        t.eq((r.code, r.out), (0, "entry one two words\n"), r.err)
    with t.step("two machines map it once, nothing of it is in their own memory, and none can write to it"):
        one_copy(t, t.path("dax") / "initrd")


def one_copy(t, file):
    """Of a mini-OS that is an image, with two containers on it."""
    was = imagelib.sha(file.read_bytes())
    conf = bundle.config("cat /proc/cmdline /sys/block/pmem0/ro; mknod /dev/r b $(tr : ' ' </sys/block/pmem0/dev);"
                         "blockdev --setrw /dev/r; dd if=/dev/zero of=/dev/r bs=4096 count=64 conv=fsync; echo up; exec sleep 1000")
    for caps in conf["process"]["capabilities"].values():
        caps[:] = sorted({*caps, "CAP_SYS_ADMIN", "CAP_MKNOD"})
    conf["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    running = [t.rt.container(copy.deepcopy(conf)).up() for _ in range(2)]
    for c in running:
        c.wait_out("\nup\n")  # "rcupdate" is on the command line
        t.has(c.out_path.read_text(), " root=/dev/pmem0 ", "\n1\n")
        t.lacks(c.err_path.read_text(), "mknod")
        t.eq(unexplained(c.out_path.read_text().splitlines()[0]), [], "words that docs/machine.md does not explain")
    seen = [imagelib.mapped(imagelib.vm_pid(t.rt.root / c.id), [file]) for c in running]
    t.report(f"mini-OS of {file.stat().st_size} bytes: {seen}")
    for s in seen:
        t.true(0 < s["Rss"] and s["Pss"] < s["Rss"] * 0.75, s)
        t.eq([s[k] for k in ("Private_Dirty", "Shared_Dirty", "Anonymous")], [0, 0, 0])
    t.eq(imagelib.sha(file.read_bytes()), was)
    for c in running:
        c.finish()
