/* boot.c - see boot.h. Called by machine.c before the first vCPU runs.
 *
 * Distrusts: the files. Everything is written through gmem, so nothing lands outside of guest memory. */
#include "vmm/boot/boot.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vmm/layout.h"

#define PAGE_MASK (~(uint64_t)GMEM_PAGE + 1)

/* ---- PVH: Xen's start_info (public/arch-x86/hvm/start_info.h, version 1) ---- */

#define PVH_MAGIC 0x336EC578u

struct pvh_start_info {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules, cmdline, rsdp, memmap;
	uint32_t n_memmap, reserved;
};

struct pvh_module {
	uint64_t start, len, cmdline, reserved;
};

struct pvh_memmap {
	uint64_t start, len;
	uint32_t type, reserved;
};

struct pvh_page {
	struct pvh_start_info info;
	struct pvh_module initrd;
	struct pvh_memmap map[BOOT_RANGES_MAX];
};

/* What is where, as the steps find out. */
struct load {
	const struct boot_cfg *cfg;
	struct boot_image image;
	uint64_t initrd, initrd_len;
};

int boot_pread(int fd, uint64_t off, void *p, uint64_t n, const char *what, struct err *e)
{
	uint8_t *to = p;
	ssize_t r;

	while (n > 0) {
		r = pread(fd, to, n, (off_t)off);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_set(e, -errno, "%s: %m", what);
		if (r == 0)
			return err_set(e, -EINVAL, "%s: the file is cut off", what);
		to += r;
		off += (uint64_t)r;
		n -= (uint64_t)r;
	}
	return 0;
}

/* n: whole pages. False: this file, or this part of it, can't be mapped. */
static bool map_pages(int fd, uint64_t off, void *p, uint64_t n)
{
	struct stat st;

	/* Pages behind the end of a file would be there, but not to be touched. */
	if (fstat(fd, &st) < 0 || st.st_size < 0 || off > (uint64_t)st.st_size ||
	    n > (uint64_t)st.st_size - off)
		return false;
	return mmap(p, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, (off_t)off) !=
	       MAP_FAILED;
}

int boot_place(int fd, uint64_t off, void *p, uint64_t n, bool map, const char *what, struct err *e)
{
	uint64_t head = -off & (GMEM_PAGE - 1), body;
	uint8_t *to = p;
	int r;

	head = head < n ? head : n;
	body = (n - head) & PAGE_MASK;
	if (!map || body == 0 || ((uintptr_t)to + head) % GMEM_PAGE != 0 ||
	    !map_pages(fd, off + head, to + head, body))
		return boot_pread(fd, off, p, n, what, e);
	r = boot_pread(fd, off, to, head, what, e);
	off += head + body;
	return r == 0 ? boot_pread(fd, off, to + head + body, n - head - body, what, e) : r;
}

uint64_t boot_low_ram(uint64_t ram)
{
	return ram < LAYOUT_HOLE ? ram : LAYOUT_HOLE;
}

unsigned boot_ranges(uint64_t ram, struct boot_range ret[BOOT_RANGES_MAX])
{
	uint64_t low = boot_low_ram(ram);
	unsigned n = 0;

	ret[n++] = (struct boot_range){ 0, LAYOUT_EBDA, BOOT_RAM };
	ret[n++] = (struct boot_range){ LAYOUT_ACPI, LAYOUT_ACPI_MAX, BOOT_RESERVED };
	ret[n++] = (struct boot_range){ LAYOUT_HIGH, low - LAYOUT_HIGH, BOOT_RAM };
	if (ram > low)
		ret[n++] = (struct boot_range){ LAYOUT_RAM_ABOVE, ram - low, BOOT_RAM };
	return n;
}

static int load_kernel(struct load *l, struct err *e)
{
	int r = elf_load(l->cfg->mem, l->cfg->kernel_fd, l->cfg->map_kernel, &l->image, e);

	if (r == -ENOEXEC)
		r = bzimage_load(l->cfg->mem, l->cfg->kernel_fd, &l->image, e);
	if (r == -ENOEXEC)
		return err_set(e, r, "kernel: neither an ELF kernel nor a bzImage");
	return r;
}

/* At the end of low memory, where no kernel unpacks to. */
static int load_initrd(struct load *l, struct err *e)
{
	uint64_t low = boot_low_ram(l->cfg->ram);
	struct stat st;
	uint8_t *to;

	if (l->cfg->initrd_fd < 0)
		return 0;
	if (fstat(l->cfg->initrd_fd, &st) < 0)
		return err_set(e, -errno, "initrd: %m");
	if (st.st_size <= 0)
		return err_set(e, -EINVAL, "initrd: an empty file, or none");
	l->initrd_len = (uint64_t)st.st_size;
	if (l->initrd_len > low || ((low - l->initrd_len) & PAGE_MASK) < l->image.end)
		return err_set(e, -ENOMEM,
			       "initrd: %llu bytes don't fit beside the kernel: give the machine more memory",
			       (unsigned long long)l->initrd_len);
	l->initrd = (low - l->initrd_len) & PAGE_MASK;
	to = gmem_slice(l->cfg->mem, gpa(l->initrd), l->initrd_len, GMEM_WRITE);
	if (!to)
		return err_set(e, -ENOMEM, "initrd: outside of memory");
	return boot_pread(l->cfg->initrd_fd, 0, to, l->initrd_len, "initrd", e);
}

static int put(const struct load *l, uint64_t at, const void *p, uint64_t n, struct err *e)
{
	return gmem_write(l->cfg->mem, gpa(at), p, n) < 0
		       ? err_set(e, -ENOMEM, "no memory at 0x%llx", (unsigned long long)at)
		       : 0;
}

static int write_cmdline(const struct load *l, struct err *e)
{
	size_t n = strlen(l->cfg->cmdline) + 1;

	if (n > LAYOUT_CMDLINE_MAX)
		return err_set(e, -E2BIG, "kernel command line: longer than %u bytes",
			       LAYOUT_CMDLINE_MAX - 1);
	return put(l, LAYOUT_CMDLINE, l->cfg->cmdline, n, e);
}

static int write_pvh(const struct load *l, struct err *e)
{
	struct boot_range map[BOOT_RANGES_MAX];
	struct pvh_page p = { .info = { .magic = PVH_MAGIC,
					.version = 1,
					.cmdline = LAYOUT_CMDLINE,
					.rsdp = LAYOUT_ACPI,
					.memmap = LAYOUT_START_INFO + offsetof(struct pvh_page, map) } };

	p.info.n_memmap = boot_ranges(l->cfg->ram, map);
	for (unsigned i = 0; i < p.info.n_memmap; i++)
		p.map[i] = (struct pvh_memmap){ map[i].start, map[i].len, map[i].type, 0 };
	if (l->initrd_len) {
		p.info.n_modules = 1;
		p.info.modules = LAYOUT_START_INFO + offsetof(struct pvh_page, initrd);
		p.initrd = (struct pvh_module){ .start = l->initrd, .len = l->initrd_len };
	}
	return put(l, LAYOUT_START_INFO, &p, sizeof p, e);
}

/* ---- the 64-bit boot protocol ---- */

/* Identity map of the first 4 GiB in 2 MiB pages: PML4, PDPT, four PDs. */
static int write_page_tables(const struct load *l, struct err *e)
{
	const uint64_t present = 1 | 2, large = 1 << 7;
	uint64_t page[512] = { LAYOUT_PAGE_TABLES + GMEM_PAGE + present };
	int r = put(l, LAYOUT_PAGE_TABLES, page, sizeof page, e);

	for (unsigned i = 0; i < 4; i++)
		page[i] = LAYOUT_PAGE_TABLES + (2 + i) * GMEM_PAGE + present;
	if (r == 0)
		r = put(l, LAYOUT_PAGE_TABLES + GMEM_PAGE, page, sizeof page, e);
	for (unsigned i = 0; i < 4 && r == 0; i++) {
		for (uint64_t k = 0; k < 512; k++)
			page[k] = (i * 512 + k) * (2 * LAYOUT_MIB) + present + large;
		r = put(l, LAYOUT_PAGE_TABLES + (2 + i) * GMEM_PAGE, page, sizeof page, e);
	}
	return r;
}

static int write_zero_page(const struct load *l, struct err *e)
{
	struct boot_range map[BOOT_RANGES_MAX];
	struct boot_params z;

	_Static_assert(sizeof z == GMEM_PAGE, "one page");
	memset(&z, 0, sizeof z);
	memcpy(&z.hdr, l->image.setup_header, sizeof z.hdr);
	if (z.hdr.header == 0) { /* an ELF kernel has none: what it checks for */
		z.hdr.boot_flag = 0xAA55;
		z.hdr.header = 0x53726448;
		z.hdr.version = 0x020F;
		z.hdr.kernel_alignment = 0x200000;
		z.hdr.loadflags = LOADED_HIGH;
	}
	z.hdr.type_of_loader = 0xFF; /* one without a number */
	z.hdr.cmd_line_ptr = LAYOUT_CMDLINE;
	z.hdr.cmdline_size = (uint32_t)strlen(l->cfg->cmdline);
	z.hdr.ramdisk_image = (uint32_t)l->initrd;
	z.hdr.ramdisk_size = (uint32_t)l->initrd_len;
	z.acpi_rsdp_addr = LAYOUT_ACPI;
	z.e820_entries = (uint8_t)boot_ranges(l->cfg->ram, map);
	for (unsigned i = 0; i < z.e820_entries; i++) {
		z.e820_table[i].addr = map[i].start;
		z.e820_table[i].size = map[i].len;
		z.e820_table[i].type = map[i].type;
	}
	return put(l, LAYOUT_ZERO_PAGE, &z, sizeof z, e);
}

/* Flat segments: null, unused, code, data (the protocol's selectors 0x10 and 0x18). */
static int write_gdt(const struct load *l, struct err *e)
{
	static const uint64_t gdt[] = { 0, 0, 0x00AF9B000000FFFFull, 0x00CF93000000FFFFull };

	return put(l, LAYOUT_GDT, gdt, sizeof gdt, e);
}

static int write_long(const struct load *l, struct err *e)
{
	int r = write_page_tables(l, e);

	if (r == 0)
		r = write_gdt(l, e);
	return r == 0 ? write_zero_page(l, e) : r;
}

int boot_load(const struct boot_cfg *cfg, struct boot_entry *ret, struct err *e)
{
	struct load l = { .cfg = cfg };
	int r = load_kernel(&l, e);

	if (r == 0)
		r = load_initrd(&l, e);
	if (r == 0)
		r = write_cmdline(&l, e);
	if (r == 0)
		r = acpi_write(cfg->mem, cfg->n_vcpus, e);
	if (r == 0)
		r = l.image.entry.long_mode ? write_long(&l, e) : write_pvh(&l, e);
	if (r < 0)
		return r;
	l.image.entry.arg = l.image.entry.long_mode ? LAYOUT_ZERO_PAGE : LAYOUT_START_INFO;
	*ret = l.image.entry;
	return 0;
}

/* ---- registers ---- */

#define CR0_PE   (1u << 0)
#define CR0_ET   (1u << 4)
#define CR0_PG   (1u << 31)
#define CR4_PAE  (1u << 5)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)
#define MTRR_WB  0x806u /* MTRRs on, everything write-back */

static struct kvm_segment flat(uint16_t selector, uint8_t type, bool long_mode)
{
	return (struct kvm_segment){ .limit = 0xFFFFFFFF,
				     .selector = selector,
				     .type = type,
				     .present = 1,
				     .s = 1,
				     .g = 1,
				     .db = !long_mode,
				     .l = long_mode };
}

void boot_regs(const struct boot_entry *b, struct hv_cpu *c)
{
	struct kvm_segment data = flat(0x18, 3, false);
	struct kvm_sregs *s = &c->sregs;

	s->cs = flat(0x10, 11, b->long_mode);
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->tr = (struct kvm_segment){ .limit = 0x67, .type = 11, .present = 1 };
	s->gdt = (struct kvm_dtable){ .base = LAYOUT_GDT, .limit = 31 };
	s->idt = (struct kvm_dtable){ 0 };
	s->cr0 = CR0_PE | CR0_ET;
	s->cr4 = 0;
	c->regs = (struct kvm_regs){ .rip = b->ip, .rflags = 2, .rsp = LAYOUT_STACK_TOP };
	if (b->long_mode) {
		s->cr3 = LAYOUT_PAGE_TABLES;
		s->cr4 |= CR4_PAE;
		s->cr0 |= CR0_PG;
		s->efer |= EFER_LME | EFER_LMA;
		c->regs.rsi = b->arg;
	} else {
		c->regs.rbx = b->arg;
	}
	c->n_msrs = 1;
	c->msrs[0] = (struct kvm_msr_entry){ .index = 0x2FF, .data = MTRR_WB };
}
