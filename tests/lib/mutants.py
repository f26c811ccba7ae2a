"""mutants.py - delete a check and a test must fail: the lane `mutants` of ./check.

Each row takes one check out of the code that faces a guest (guest memory, rings, virtio core, transport,
devices, vhost-user at both ends) and names the unit tests, one of which must then fail, crash or hang. A row whose text is
no longer in the file is a failure too: then the code has moved on and the row must follow.

The sources are compiled here, without meson: once as they are, then one file for each mutant.
"""

import os
import pathlib
import shutil
import subprocess
import time

import harness
from runner import Totals, comment, say

CFLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-w", "-fno-strict-aliasing", "-ftrivial-auto-var-init=zero", '-DCOR_VERSION="0"',
          '-DCOR_CONFDIR="/"', '-DCOR_LIBEXECDIR="/"', '-DCOR_OSDIR="/"']
FOLDERS = ("base", "wire", "ring", "vmm", "fs")
HELPERS = ("tests/lib/vqdrv.c", "tests/unit/vmm/rig.c", "tests/unit/vmm/hv_fake.c", "tests/unit/vmm/backend.c")
TIMEOUT = 30 * harness.SLOW

GMEM, VQ, CORE = "src/ring/gmem.c", "src/ring/vq.c", "src/vmm/virtio/virtio.c"
VPCI, PCI, CONSOLE = "src/vmm/virtio/pci.c", "src/vmm/pci.c", "src/vmm/dev/console.c"
BLK, NET, PMEM, BALLOON = "src/vmm/dev/blk.c", "src/vmm/dev/net.c", "src/vmm/dev/pmem.c", "src/vmm/dev/balloon.c"
ELF, BZIMAGE, BOOT = "src/vmm/boot/elf.c", "src/vmm/boot/bzimage.c", "src/vmm/boot/boot.c"
RNG, VHOST, FS, VIRTIOFS = "src/vmm/dev/rng.c", "src/vmm/dev/vhost.c", "src/vmm/dev/fs.c", "src/vmm/dev/virtiofs.c"
FUSE, BACK, VMEM, VRING = "src/ring/fuse_chain.c", "src/fs/vhost.c", "src/fs/vmem.c", "src/fs/vring.c"

TESTS = {
    GMEM: ["ring/gmem"], VQ: ["ring/vq"], CORE: ["vmm/virtio"], VPCI: ["vmm/pci"], PCI: ["vmm/pci"], CONSOLE: ["vmm/console"],
    BLK: ["vmm/blk"], NET: ["vmm/net"], PMEM: ["vmm/pmem"], BALLOON: ["vmm/balloon"], RNG: ["vmm/rng"], VHOST: ["vmm/fs"],
    ELF: ["vmm/boot"], BZIMAGE: ["vmm/boot"], BOOT: ["vmm/boot"], FS: ["vmm/fs"], VIRTIOFS: ["vmm/virtiofs"], FUSE: ["fs/vhost"], BACK: ["fs/vhost"], VMEM: ["fs/vhost"], VRING: ["fs/vhost"],
}

# file, what the check is, its text (once in the file), what stands there without it
MUTANTS = (
    (GMEM, "a region is whole pages", "len == 0 || start.v % GMEM_PAGE != 0 || len % GMEM_PAGE != 0 || !host", "!host"),
    (GMEM, "a region ends inside the address space", "len - 1 > UINT64_MAX - start.v", "0"),
    (GMEM, "regions do not overlap", "start.v <= o->start + (o->len - 1) && o->start <= start.v + (len - 1)", "0"),
    (GMEM, "a slice begins in the region", "at.v < r->start || off >= r->len", "0"),
    (GMEM, "a slice ends in the region", "len == 0 || len > r->len - off || (access", "len == 0 || (access"),
    (GMEM, "a slice is not empty", "len == 0 || len > r->len - off", "len > r->len - off"),
    (GMEM, "read-only memory is not written", " || (access == GMEM_WRITE && !r->writable)", ""),
    (VQ, "a ring's size is a power of two", " || (n & (n - 1)) != 0", ""),
    (VQ, "a ring's size has a limit", " || n > VQ_SIZE_MAX", ""),
    (VQ, "ring areas are aligned", "s->desc % 16 != 0 || s->avail % 2 != 0 || s->used % 4 != 0", "0"),
    (VQ, "the used ring is writable", "USED_HEAD + n * USED_ELEM + event, GMEM_WRITE", "USED_HEAD + n * USED_ELEM + event, GMEM_READ"),
    (VQ, "event fields lie inside too", "AVAIL_HEAD + n * 2 + event, GMEM_READ", "AVAIL_HEAD + n * 2, GMEM_READ"),
    (VQ, "no more chains than entries", "return n > q->st.size ? -EPROTO : n;", "return n;"),
    (VQ, "a chain's segments have a limit", "if (n == VQ_SEGS_MAX)", "if (0)"),
    (VQ, "readable before writable", "if (!in && c->n_in != 0)", "if (0)"),
    (VQ, "writable segments lie in writable memory", "in ? GMEM_WRITE : GMEM_READ", "GMEM_READ"),
    (VQ, "a descriptor's number is in the table", "if (i >= n)\n\t\t\treturn -EPROTO;", ""),
    (VQ, "an indirect table is not nested", "!ret_indirect || (d.flags", "(d.flags"),
    (VQ, "nothing follows an indirect table", " || (d.flags & VRING_DESC_F_NEXT))\n\t\t\t\treturn", ")\n\t\t\t\treturn"),
    (VQ, "indirect tables were agreed on", "!q->indirect || ", ""),
    (VQ, "an indirect table has a limit", "n > VQ_SEGS_MAX || d->len", "d->len"),
    (VQ, "an indirect table is whole entries", " || d->len % sizeof(struct vring_desc) != 0", ""),
    (VQ, "a broken queue gives no more chains", "if (q->broken)\n\t\treturn -EPROTO;", ""),
    (CORE, "features agreed on were offered", "(f & ~vdev_offered(d)) != 0 || ", ""),
    (CORE, "VERSION_1 is agreed on", " || !(f >> VIRTIO_F_VERSION_1 & 1)", ""),
    (CORE, "no start before features are agreed on", "!((d->core.status | set) & VIRTIO_CONFIG_S_FEATURES_OK)", "0"),
    (CORE, "status bits are the driver's", "status & DRIVER_STATUS & ~d->core.status", "status & ~d->core.status"),
    (CORE, "features are fixed once agreed on", "if (!(d->core.status & VIRTIO_CONFIG_S_FEATURES_OK)) {", "if (1) {"),
    (CORE, "an enabled queue is fixed", "s->enabled || (d->core.status & VIRTIO_CONFIG_S_DRIVER_OK)", "0"),
    (CORE, "a queue's size is valid", "if (size_ok(d, value))", "if (1)"),
    (CORE, "config reads stay inside", "if (off >= d->config_len || n > d->config_len - off)", "if (0)"),
    (CORE, "config writes stay inside", " || off >= d->config_len || n > d->config_len - off", ""),
    (CORE, "the log is bounded", "if (d->n_logged < VDEV_LOG_MAX) {", "if (1) {"),
    (CORE, "a snapshot's queues are valid", "c->queues[i].enabled > 1 || !size_ok(d, c->queues[i].size)", "0"),
    (CORE, "a snapshot's features were offered", "(c->driver_features & ~vdev_offered(d))", "0"),
    (CORE, "a snapshot is of this device", "strcmp(s->name, d->ops->name) != 0", "0"),
    (VPCI, "table writes stay inside", "off % n != 0 || n < 4 || off + n > v->n_vectors * sizeof v->st.table[0]", "off % n != 0 || n < 4"),
    (VPCI, "table reads stay inside", "off % n == 0 && n >= 4 && off + n <= v->n_vectors * sizeof v->st.table[0]", "off % n == 0 && n >= 4"),
    (VPCI, "a vector is in the table", "value < v->n_vectors ? (uint16_t)value : VDEV_NO_VECTOR", "(uint16_t)value"),
    (VPCI, "a vector is of a queue there is", " && v->st.queue_select < v->d->n_queues)", ")"),
    (VPCI, "who has no vector has no interrupt", "is_enabled(v) && i < v->n_vectors", "is_enabled(v)"),
    (VPCI, "a queue's vector is read of a queue there is", "s.queue_select < v->d->n_queues ? s.queue_vectors[s.queue_select] : VDEV_NO_VECTOR",
     "s.queue_vectors[s.queue_select]"),
    (VPCI, "a snapshot's vectors are in the table", "vector_ok(v, s->config_vector) && ", ""),
    (VPCI, "a snapshot's pending vectors are in the table", " && s->pending >> v->n_vectors == 0", ""),
    (CORE, "a register is of a queue there is", "if (q >= d->n_queues)\n\t\treturn;", ""),
    (ELF, "a segment holds what the file has of it", "p->p_filesz > p->p_memsz || ", ""),
    (ELF, "a segment is not where our tables are", " || p->p_paddr < LAYOUT_HIGH", ""),
    (ELF, "no more segments than there is room for", " || h.e_phnum > PHDRS_MAX", ""),
    (ELF, "a note is whole", "if (all > len)", "if (0)"),
    (ELF, "a note has an address", " &&\n\t\t    (h.n_descsz == 4 || h.n_descsz == 8)", ""),
    (ELF, "notes have a limit", " || p->p_filesz > NOTES_MAX", ""),
    (ELF, "an entry has 32 bits", " && entry <= UINT32_MAX", ""),
    (BZIMAGE, "a kernel is memory as far as its file goes", "len > h.init_size ? len : h.init_size", "h.init_size"),
    (BZIMAGE, "a kernel is below 4 GiB", " || at > UINT32_MAX", ""),
    (BZIMAGE, "a kernel has code", "st->st_size < 0 || off >= (uint64_t)st->st_size", "0"),
    (BOOT, "a command line has a limit", "n > LAYOUT_CMDLINE_MAX", "0"),
    (BOOT, "an initrd is beside the kernel", " || ((low - l->initrd_len) & PAGE_MASK) < l->image.end", ""),
    (BOOT, "what is mapped is in the file", "n > (uint64_t)st.st_size - off", "0"),
    (VPCI, "an interrupt goes to an APIC", "m->addr < MSI_ADDR_FIRST || m->addr > MSI_ADDR_LAST", "0"),
    (PCI, "only bus 0, function 0", " || (a >> 16 & 0xFF) != 0 || (a >> 8 & 7) != 0", ""),
    (PCI, "a data access stays in its register", "off < PORT_DATA + 4 && n <= PORT_DATA + 4 - off", "off < PORT_DATA + 4"),
    (PCI, "an address has a BAR", "addr < LAYOUT_BAR32 || at >= (uint64_t)LAYOUT_PCI_SLOTS * LAYOUT_BAR_SIZE", "addr < LAYOUT_BAR32"),
    (PCI, "an access stays in its BAR", "f && f->has_bar && n <= LAYOUT_BAR_SIZE - *ret_off", "f && f->has_bar"),
    (CONSOLE, "a message is about a port there is", "if (m->id >= c->n_ports)\n\t\treturn;", ""),
    (CONSOLE, "a receive buffer has room", "if (chain.n_in == 0) {", "if (0) {"),
    (RNG, "a request's share is bounded", "c->in_len < RNG_CHAIN_MAX ? c->in_len : RNG_CHAIN_MAX", "c->in_len"),
    (BLK, "a request lies inside the disk", "return sector <= b->st.capacity && n <= b->st.capacity - sector;", "return true;"),
    (BLK, "a request begins inside the disk", "sector <= b->st.capacity && n", "n"),
    (BLK, "a request is whole sectors", "len % SECTOR == 0 && ", ""),
    (BLK, "a request is not larger than was told", "len <= DATA_MAX && ", ""),
    (BLK, "a read-only disk is not written", "if (b->read_only || !fits", "if (!fits"),
    (BLK, "a read-only disk is not discarded", "b->read_only ? -EROFS : copy_ranges", "copy_ranges"),
    (BLK, "no more ranges than were told", " || r->out_len > DISCARD_SEGS * sizeof *ret", ""),
    (BLK, "ranges are whole", "r->out_len % sizeof *ret != 0 || ", ""),
    (BLK, "a range has known flags", "if (range[i].flags & ~flags)\n\t\t\treturn VIRTIO_BLK_S_UNSUPP;", ""),
    (BLK, "a range is not larger than was told", "range[i].num_sectors > max || ", ""),
    (BLK, "a range lies inside the disk", " || !in_range(b, range[i].sector, range[i].num_sectors)", ""),
    (BLK, "a request has a header", "vq_chain_read(c, 0, &r->hdr, sizeof r->hdr) != sizeof r->hdr || ", ""),
    (BLK, "a request has a status byte", " || c->n_in == 0)", ")"),
    (BLK, "the id is no longer than its field", "r->in_len < sizeof b->id ? r->in_len : sizeof b->id", "r->in_len"),
    (BLK, "a file that ends early is an error", "if (n <= 0)\n\t\t\treturn n < 0 ? -errno : -EIO;", "if (n <= 0)\n\t\t\treturn 0;"),
    (NET, "a frame has a header", "if (c->out_len < HDR) {", "if (0) {"),
    (NET, "a frame has a length that exists", "c->out_len < HDR + FRAME_MIN || c->out_len > PACKET_MAX || ", ""),
    (NET, "a frame that can't go yet stays", "vdev_watch_set(&n->out, EPOLLOUT);\n\treturn 0;", "return 1;"),
    (NET, "a receive buffer has room for a header", "c.n_out || c.in_len < HDR", "c.n_out"),
    (NET, "a receive buffer is not readable", "c.n_out || c.in_len < HDR", "c.in_len < HDR"),
    (NET, "the buffers held have a limit", "w->n_bufs == BUFS_MAX || w->n_bufs", "w->n_bufs"),
    (NET, "a frame longer than the buffers is not cut", "if ((uint64_t)r <= w->room) {", "if (1) {"),
    (NET, "a frame that no ring can hold is dropped", "mergeable(n) ? !n->win.full : n->win.n_bufs == 0", "true"),
    (NET, "a tap that is gone is not watched", "n->gone || (i < VDEV_BUDGET", "(i < VDEV_BUDGET"),
    (NET, "nobody reads without buffers", "if (w->n_bufs == 0)\n\t\treturn 0;", ""),
    (PMEM, "a read-only file is mapped so", "p->st.mode == PMEM_READ_ONLY_N ? PROT_READ : PROT_READ | PROT_WRITE", "PROT_READ | PROT_WRITE"),
    (PMEM, "a device has a limit", "*ret > PMEM_SIZE_MAX || ", ""),
    (PMEM, "a file is not larger than the device", " || (p->st.size && *ret > p->st.size)", ""),
    (PMEM, "a request is whole", "vq_chain_read(c, 0, &req, sizeof req) != sizeof req || ", ""),
    (PMEM, "an answer has room", " || c->in_len < sizeof resp", ""),
    (PMEM, "a snapshot is of this slot", "bool same = memcmp(&p->saved, &p->st, sizeof p->st) == 0;", "bool same = true;"),
    (BALLOON, "a page is guest memory", "if (!p || (pfn", "if ((pfn"),
    (BALLOON, "a page is RAM", " || (pfn << PFN_SHIFT) + len > b->ram_end", ""),
    (BALLOON, "a list has a limit", " || c->out_len > sizeof pfn", ""),
    (BALLOON, "a list is whole numbers", "c->out_len % sizeof pfn[0] != 0 || ", ""),
    (BALLOON, "a free page is RAM", "if (!is_ram(b, &c->iov[i])) {", "if (0) {"),
    (BALLOON, "a free page is whole", "(uintptr_t)c->iov[i].iov_base % GMEM_PAGE == 0 && c->iov[i].iov_len % GMEM_PAGE == 0", "1"),
    (BALLOON, "a statistic has a known tag", "if (s.tag >= BALLOON_STATS_N)\n\t\t\tcontinue;", ""),
    (BALLOON, "statistics have a limit", "i < STATS_MAX", "1"),
    (BALLOON, "one statistics buffer at a time", "if (b->st.stats_held) {", "if (0) {"),
    (BALLOON, "only `actual` is the driver's", "if (off != sizeof b->config.num_pages || n != sizeof b->config.actual)\n\t\treturn;", ""),
    (BALLOON, "a snapshot's statistics buffer is a head", "b->st.stats_head >= d->queues[STATS].st.size", "0"),
    (VHOST, "a reply is to the request", "ret->request != request || ", ""),
    (VHOST, "a reply has its size", "ret->size != size || ", ""),
    (VHOST, "a reply is one", "!(ret->flags & VHU_REPLY) || ", ""),
    (VHOST, "a reply has the version", "(ret->flags & 3) != VHU_VERSION ||", ""),
    (VHOST, "an acknowledgement is one", "r == 0 && m->p.u64 != 0", "0"),
    (VHOST, "the back end can do what is needed", "(f & need) != need || ", ""),
    (VHOST, "the back end acknowledges", "if (!(proto >> VHU_PROTOCOL_ACK & 1))", "if (0)"),
    (VHOST, "the back end has the queues", "if (queues < n_queues)", "if (0)"),
    (VHOST, "waiting has an end", "int r = left > 0 ? poll(&p, 1, (int)left) : 0;", "int r = poll(&p, 1, -1);"),
    (VHOST, "where a queue stopped is an index", " || m.p.state.num > UINT16_MAX", ""),
    (VHOST, "where a queue stopped is of that queue", "m.p.state.index != i || ", ""),
    (FS, "memory is shared with the back end", "cfg->n_mem < 1 || cfg->n_mem > VHOST_MEM_MAX", "0"),
    (FS, "a back end that ended is noticed", "vdev_break(d, \"back end ended\");", ""),
    (VIRTIOFS, "a wrong request breaks the device", "\tif (why) {\n\t\tvdev_break(&f->d, why);\n\t\treturn false;\n\t}", ""),
    (VIRTIOFS, "requests with the server have a limit", "f->n < SLOTS && served < VDEV_BUDGET", "served < VDEV_BUDGET"),
    (VIRTIOFS, "a reply has a header", "if (n < (ssize_t)sizeof h) {", "if (n <= 0) {"),
    (VIRTIOFS, "a reply has its length", "h.len != n || ", ""),
    (VIRTIOFS, "a reply is to the oldest request", " || h.unique != s->unique", ""),
    (VIRTIOFS, "a server that lies is not heard again", "(void)shutdown(f->sock, SHUT_RDWR);", ""),
    (VIRTIOFS, "a reply has room", "if ((uint64_t)n > s->chain.in_len) {", "if (0) {"),
    (VIRTIOFS, "a reply to a request of before a reset is dropped", "f->discard += f->n;", ""),
    (VIRTIOFS, "files of before a reset are forgotten", "if (f->st.session && f->sock >= 0)", "if (0)"),
    (VIRTIOFS, "a mounted directory is not restored", "if (f->st.session != 0)", "if (0)"),
    (VIRTIOFS, "a tag fits its field", "n == 0 || n > sizeof f->config.tag", "n == 0"),
    (FUSE, "a request has a header", "vq_chain_read(c, 0, ret, sizeof *ret) != sizeof *ret", "vq_chain_read(c, 0, ret, sizeof *ret) == 0"),
    (FUSE, "a request is as long as it says", "ret->len != c->out_len || ", ""),
    (FUSE, "a request is not longer than what it is copied to", " || ret->len > max", ""),
    (FUSE, "a reply has room", "fuse_has_reply(ret->opcode) && c->in_len < sizeof(struct fuse_out_header)", "0"),
    (BACK, "features agreed on were offered", "(f & ~VHS_FEATURES) != 0 || ", ""),
    (BACK, "VERSION_1 is agreed on", " || !(f >> VIRTIO_F_VERSION_1 & 1)", ""),
    (BACK, "the protocol's features were offered", "if ((f & ~PROTOCOL) != 0)", "if (0)"),
    (BACK, "regions are as many as there are bytes of", " || m->m.size != sizeof told - (VHU_MEM_MAX - told.n) * REGION_SIZE", ""),
    (BACK, "broken rings stay so in other memory", " && !s->ring[i].q.broken", ""),
    (BACK, "a queue's number is one", "if (index < VHS_QUEUES)", "if (index <= VHS_QUEUES)"),
    (BACK, "a ring that runs is fixed", "if (!r || !r->running)", "if (1)"),
    (BACK, "a base is an index", "if (m->m.p.state.num > UINT16_MAX)", "if (0)"),
    (BACK, "no flags of an address were agreed on", "if (m->m.p.addr.flags != 0)", "if (0)"),
    (BACK, "enabled is 0 or 1", "if (m->m.p.state.num > 1)", "if (0)"),
    (BACK, "a descriptor is there or said to be not", " || none == (m->n_fds != 0)", ""),
    (BACK, "a ring's word has no other bits", "(v & ~(uint64_t)(VHU_RING_MASK | VHU_RING_NOFD)) != 0 || ", ""),
    (BACK, "a kick is there", "if (fd < 0)", "if (0)"),
    (BACK, "a header is whole", "got < 0 || n + (size_t)got != VHU_HEAD", "got < 0"),
    (BACK, "a header's flags are known", "(m->m.flags & 3) != VHU_VERSION || (m->m.flags & ~(3u | VHU_ACK)) != 0", "0"),
    (BACK, "a message has a limit", "if (m->m.size > sizeof m->m.p)", "if (m->m.size > sizeof m->m.p + 1)"),
    (BACK, "a message is whole", "got != (ssize_t)m->m.size", "got < 0"),
    (BACK, "a message has its row's size", "m->m.size < row->size_min || m->m.size > row->size_max || ", ""),
    (BACK, "a message has no other descriptors", " || m->n_fds > row->fds_max", ""),
    (VMEM, "a region's end is a number", "num_add(r->off, r->len, &end) < 0 || ", "(end = r->off + r->len, 0) || "),
    (VMEM, "a region is not empty", "r->len == 0 || ", ""),
    (VMEM, "a region's user addresses end", " || r->len - 1 > UINT64_MAX - r->user", ""),
    (VMEM, "a region's file is regular", "if (!S_ISREG(st.st_mode))", "if (0)"),
    (VMEM, "a region lies inside its file", "if (end > (uint64_t)st.st_size)", "if (0)"),
    (VMEM, "regions can be added", "if (gmem_add(", "if (0 && gmem_add("),
    (VMEM, "as many regions as descriptors", " || n_fds != told->n", ""),
    (VMEM, "there is a region", "told->n == 0 || ", ""),
    (VMEM, "memory has a limit", " || sum > VHS_MEMORY_MAX", ""),
    (VMEM, "an address is in a region", " || user - m->r[i].user >= m->r[i].len", ""),
    (VRING, "the log is bounded", "if (!s->say || s->said == VHS_SAY_MAX)", "if (!s->say)"),
    (VRING, "a wrong request breaks its ring", "\tif (why) {\n\t\tbroken(r, why);\n\t\treturn;\n\t}", "\tif (why)\n\t\treturn;"),
    (VRING, "a ring is served when it is enabled", "!r->enabled || ", ""),
    (VRING, "a kick is an eventfd's", "if (n != (ssize_t)sizeof count)", "if (0)"),
    (VRING, "a ring's size has a limit", "r->size <= VQ_SIZE_MAX ? (uint16_t)r->size : 0", "(uint16_t)r->size"),
)


class Bench:
    """The sources, compiled once; programs with one file changed."""

    def __init__(self, top, where):
        self.top, self.dir = top, where
        self.flags = CFLAGS + [f"-I{top / 'src'}", f"-I{top / 'tests/lib'}", f"-I{top / 'tests/unit/vmm'}", "-include",
                               str(top / "src/base/banned.h")]
        self.lib = where / "all.a"
        self.programs = {}

    def compile(self, source, out, include=None):
        extra = [f"-I{include}"] if include else []
        subprocess.run(["gcc", *self.flags, *extra, "-c", str(source), "-o", str(out)], check=True)

    def build(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        objects = []
        for f in [f for folder in FOLDERS for f in sorted((self.top / "src" / folder).rglob("*.c"))] + [self.top / h for h in HELPERS]:
            out = self.dir / (str(f.relative_to(self.top)).replace("/", "_") + ".o")
            self.compile(f, out)
            objects.append(str(out))
        subprocess.run(["ar", "rc", str(self.lib), *objects], check=True)
        for name in sorted({t for tests in TESTS.values() for t in tests}):
            folder, test = name.split("/")
            self.programs[name] = self.dir / f"test_{folder}_{test}.o"
            self.compile(self.top / f"tests/unit/{folder}/test_{test}.c", self.programs[name])

    def run(self, name, objects=()):
        """None if the test passes, else what it said."""
        exe = self.dir / "program"
        subprocess.run(["gcc", str(self.programs[name]), *map(str, objects), str(self.lib), "-lcmocka", "-lpthread", "-o", str(exe)],
                       check=True)
        try:
            res = subprocess.run([str(exe)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT,
                                 check=False)
        except subprocess.TimeoutExpired:
            return "hangs"
        return None if res.returncode == 0 else res.stdout.decode("utf-8", "replace")

    def mutate(self, file, old, new):
        """The object of the file without the check."""
        text = (self.top / file).read_text()
        if text.count(old) != 1:
            raise ValueError(f"{file}: this text is there {text.count(old)} times: {old!r}")
        source, out = self.dir / "mutant.c", self.dir / "mutant.o"
        source.write_text(text.replace(old, new))
        self.compile(source, out)
        return out


def run_one(bench, totals, row):
    file, what, old, new = row
    begin = time.monotonic()
    name = f"mutants/{pathlib.Path(file).stem}: {what}"
    try:
        out = bench.mutate(file, old, new)
        survived = all(bench.run(t, [out]) is None for t in TESTS[file])
    except (ValueError, subprocess.CalledProcessError) as e:
        totals.count("fail", name, time.monotonic() - begin)
        comment(str(e))
        return
    totals.count("fail" if survived else "ok", name, time.monotonic() - begin)
    if survived:
        comment(f"without {old!r} no test of {TESTS[file]} fails")


def run(top, where, texts=()):
    """Runs the rows that hold one of the texts; all without one."""
    totals, bench = Totals(), Bench(top, where)
    os.environ["CMOCKA_MESSAGE_OUTPUT"] = "TAP"
    bench.build()
    for name in bench.programs:
        begin = time.monotonic()
        said = bench.run(name)
        totals.count("fail" if said else "ok", f"mutants/{name} passes as it is", time.monotonic() - begin)
        if said:
            comment(said[-3000:])
    rows = [r for r in MUTANTS if not texts or any(t in f"{r[0]} {r[1]}" for t in texts)]
    for row in rows:
        run_one(bench, totals, row)
    say(f"# {len(rows)} checks were taken out, one at a time")
    return totals
