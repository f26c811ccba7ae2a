/* test_boot.c - kernels into memory: what is loaded where, and every way in which a file can be wrong. */
#include "unit.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/io.h"
#include "vmm/boot/boot.h"
#include "vmm/cpuid.h"
#include "vmm/layout.h"

#define RAM (40 * LAYOUT_MIB)
#define AT  0x1000000ull /* where the test's kernels go */

static uint8_t *ram;
static struct gmem mem;

static int setup(void **state)
{
	(void)state;
	ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mem = (struct gmem){ 0 };
	return ram == MAP_FAILED ? -1 : gmem_add(&mem, gpa(0), ram, RAM, true);
}

static int teardown(void **state)
{
	(void)state;
	return munmap(ram, RAM);
}

/* ---- an ELF kernel of one page with a PVH note ---- */

struct elf_file {
	Elf64_Ehdr h;
	Elf64_Phdr ph[2];
	struct {
		Elf64_Nhdr head;
		char name[4];
		uint64_t entry;
	} note;
	uint8_t text[64];
};

static struct elf_file elf(void)
{
	struct elf_file f = { .h = { .e_type = ET_EXEC,
				     .e_machine = EM_X86_64,
				     .e_entry = AT + 16,
				     .e_phoff = offsetof(struct elf_file, ph),
				     .e_phentsize = sizeof(Elf64_Phdr),
				     .e_phnum = 2 } };

	memcpy(f.h.e_ident, ELFMAG, SELFMAG);
	f.h.e_ident[EI_CLASS] = ELFCLASS64;
	f.ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
				.p_offset = offsetof(struct elf_file, text),
				.p_paddr = AT,
				.p_filesz = 64,
				.p_memsz = 8192 };
	f.ph[1] = (Elf64_Phdr){ .p_type = PT_NOTE,
				.p_offset = offsetof(struct elf_file, note),
				.p_filesz = sizeof f.note };
	f.note.head = (Elf64_Nhdr){ .n_namesz = 4, .n_descsz = 8, .n_type = 18 };
	memcpy(f.note.name, "Xen", 4);
	f.note.entry = AT + 32;
	memset(f.text, 0x90, sizeof f.text);
	return f;
}

static int load(const void *file, size_t n,
		int (*fn)(const struct gmem *, int, struct boot_image *, struct err *),
		struct boot_image *ret)
{
	scoped_fd fd = io_memfd("kernel", file, n);
	struct err e = { 0 };
	int r;

	assert_true(fd >= 0);
	r = fn(&mem, fd, ret, &e);
	assert_true(r == 0 || e.msg[0]);
	return r;
}

static int elf_read(const struct gmem *to, int fd, struct boot_image *ret, struct err *e)
{
	return elf_load(to, fd, false, ret, e);
}

static int elf_map(const struct gmem *to, int fd, struct boot_image *ret, struct err *e)
{
	return elf_load(to, fd, true, ret, e);
}

static void test_elf(void **state)
{
	struct elf_file f = elf();
	struct boot_image i;

	(void)state;
	assert_int_equal(load(&f, sizeof f, elf_read, &i), 0);
	assert_false(i.entry.long_mode);
	assert_int_equal(i.entry.ip, AT + 32);
	assert_int_equal(i.end, AT + 8192);
	assert_int_equal(ram[AT + 63], 0x90);
	assert_int_equal(ram[AT + 64], 0);
	f.note.head.n_type = 17; /* without the note: by its ELF entry */
	assert_int_equal(load(&f, sizeof f, elf_read, &i), 0);
	assert_true(i.entry.long_mode);
	assert_int_equal(i.entry.ip, AT + 16);
}

static void test_bad_elf(void **state)
{
	static _Alignas(8) uint8_t large[4096];
	struct elf_file f;
	struct boot_image i;

	(void)state;
#define BAD(code, change)                                                                                    \
	do {                                                                                                 \
		f = elf();                                                                                   \
		change;                                                                                      \
		assert_int_equal(load(&f, sizeof f, elf_read, &i), code);                                    \
	} while (0)
	BAD(-ENOEXEC, f.h.e_ident[0] = 'x');
	BAD(-EINVAL, f.h.e_ident[EI_CLASS] = ELFCLASS32);
	BAD(-EINVAL, f.h.e_machine = EM_AARCH64);
	BAD(-EINVAL, f.h.e_type = ET_DYN);
	BAD(-EINVAL, f.h.e_phentsize = 8);
	BAD(-EINVAL, f.h.e_phnum = 0);
	BAD(-EINVAL, f.h.e_phnum = 33);
	BAD(-EINVAL, f.h.e_phoff = 1 << 20);
	BAD(-EINVAL, f.ph[0].p_filesz = 8193);
	BAD(-EINVAL, f.ph[0].p_memsz = 32);     /* less than the file has of it */
	BAD(-EINVAL, f.ph[0].p_filesz = 4096);  /* more than the file has */
	BAD(-EINVAL, f.ph[0].p_paddr = 0x1000); /* over our tables */
	BAD(-ENOMEM, f.ph[0].p_paddr = RAM - 4096);
	BAD(-ENOMEM, f.ph[0].p_paddr = UINT64_MAX - 4096);
	BAD(-ENOMEM, f.ph[0].p_memsz = UINT64_MAX);
	BAD(-EINVAL, f.note.entry = RAM); /* entry outside of memory */
	/* notes that do not hold together are not the one we look for */
	f = elf();
	f.note.head.n_namesz = UINT32_MAX;
	assert_int_equal(load(&f, sizeof f, elf_read, &i), 0);
	assert_true(i.entry.long_mode);
	f = elf();
	f.note.head.n_descsz = 64;
	assert_int_equal(load(&f, sizeof f, elf_read, &i), 0);
	assert_true(i.entry.long_mode);
	f = elf();
	f.note.head.n_descsz = 16; /* all there, but no address */
	f.ph[1].p_filesz = sizeof f.note + 8;
	assert_int_equal(load(&f, sizeof f, elf_read, &i), 0);
	assert_true(i.entry.long_mode);
	f = elf();
	f.note.entry += 1ull << 32;
	assert_int_equal(load(&f, sizeof f, elf_read, &i), 0);
	assert_true(i.entry.long_mode);
	f = elf();
	f.ph[1].p_filesz = 65537; /* longer than what is looked through */
	assert_int_equal(load(&f, sizeof f, elf_read, &i), 0);
	assert_true(i.entry.long_mode);
	memcpy(large, &f, sizeof f);
	((struct elf_file *)(void *)large)->h.e_phnum = 33; /* all in the file */
	assert_int_equal(load(large, sizeof large, elf_read, &i), -EINVAL);
}

/* Does the host page at the guest's address `at` belong to a file? */
static bool is_mapped(uint64_t at)
{
	scoped_file maps = fopen("/proc/self/maps", "re");
	unsigned long first, last, host = (unsigned long)(ram + at);
	char line[512];

	assert_non_null(maps);
	while (fgets(line, sizeof line, maps))
		if (sscanf(line, "%lx-%lx", &first, &last) == 2 && first <= host && host < last)
			return strstr(line, "kernel") != NULL;
	return false;
}

#define PAGES 5

/* `off`: of the segment in the file, `at`: in memory. Checks every byte, also around it; says if the third
 * page of the segment is mapped. */
static bool placed(uint64_t off, uint64_t at, uint64_t n, bool map, uint32_t flags)
{
	static uint8_t file[(PAGES + 3) * GMEM_PAGE];
	struct elf_file f = elf();
	struct boot_image i;
	bool mapped;

	for (size_t k = 0; k < sizeof file; k++)
		file[k] = (uint8_t)(k % 251 + 1);
	f.ph[0].p_offset = off;
	f.ph[0].p_paddr = at;
	f.ph[0].p_filesz = n;
	f.ph[0].p_memsz = n + 2 * GMEM_PAGE;
	f.ph[0].p_flags = flags;
	memcpy(file, &f, sizeof f);
	memset(ram + AT - GMEM_PAGE, 0, 16 * GMEM_PAGE);
	assert_int_equal(load(file, sizeof file, map ? elf_map : elf_read, &i), 0);
	assert_memory_equal(ram + at, file + off, n);
	for (uint64_t k = 0; k < GMEM_PAGE; k++)
		assert_int_equal(ram[at - 1 - k] | ram[at + n + k], 0);
	mapped = is_mapped(at + 2 * GMEM_PAGE);
	memset(ram + at, 0, n); /* the guest's own from now on */
	assert_int_equal(mmap(ram + AT, (PAGES + 2) * GMEM_PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED,
			 0);
	return mapped;
}

static void test_mapped(void **state)
{
	struct elf_file f = elf();
	struct boot_image i;

	(void)state;
	assert_true(placed(GMEM_PAGE, AT, PAGES * GMEM_PAGE, true, PF_R | PF_X));
	assert_true(placed(GMEM_PAGE, AT, PAGES * GMEM_PAGE - 7, true,
			   PF_R | PF_X)); /* a part of a page is read */
	assert_true(placed(GMEM_PAGE + 100, AT + 100, PAGES * GMEM_PAGE, true, PF_R | PF_X));
	assert_false(
		placed(GMEM_PAGE + 1, AT, PAGES * GMEM_PAGE, true, PF_R | PF_X)); /* they don't lie alike */
	assert_false(placed(GMEM_PAGE, AT, PAGES * GMEM_PAGE, false, PF_R | PF_X));
	assert_false(placed(GMEM_PAGE, AT, PAGES * GMEM_PAGE, true, PF_R | PF_W)); /* would be copied soon */
	f.ph[0].p_offset = 0; /* more than the file has: found now, not when the guest gets there */
	f.ph[0].p_filesz = f.ph[0].p_memsz;
	assert_int_equal(load(&f, sizeof f, elf_map, &i), -EINVAL);
}

/* ---- a bzImage of two setup sectors and some code ---- */

static struct setup_header *bz(uint8_t file[4096])
{
	struct setup_header *h = (void *)(file + 0x1F1);

	memset(file, 0, 4096);
	h->setup_sects = 1;
	h->boot_flag = 0xAA55;
	h->header = 0x53726448;
	h->version = 0x020F;
	h->xloadflags = XLF_KERNEL_64;
	h->pref_address = AT;
	h->init_size = 1 << 20;
	memset(file + 1024, 0xCC, 4096 - 1024);
	return h;
}

static void test_bzimage(void **state)
{
	static uint8_t file[4096];
	struct gmem high = { 0 };
	struct boot_image i;

	(void)state;
	bz(file);
	assert_int_equal(load(file, sizeof file, bzimage_load, &i), 0);
	assert_true(i.entry.long_mode);
	assert_int_equal(i.entry.ip, AT + 0x200);
	assert_int_equal(i.end, AT + (1 << 20));
	assert_int_equal(ram[AT], 0xCC);
	assert_int_equal(ram[AT + 3071], 0xCC);
	assert_int_equal(ram[AT + 3072], 0);
#undef BAD
#define BAD(code, change)                                                                                    \
	do {                                                                                                 \
		struct setup_header *h = bz(file);                                                           \
		change;                                                                                      \
		assert_int_equal(load(file, sizeof file, bzimage_load, &i), code);                           \
	} while (0)
	BAD(-ENOEXEC, h->header = 0);
	BAD(-ENOEXEC, h->boot_flag = 0);
	BAD(-ENOTSUP, h->version = 0x020B);
	BAD(-ENOTSUP, h->xloadflags = 0);
	BAD(-EINVAL, h->setup_sects = 7);
	BAD(-ENOMEM, h->init_size = 0x40000000);
	BAD(-ENOMEM, h->pref_address = RAM - 2048);
	BAD(-ENOMEM, (h->pref_address = RAM - 2048, h->init_size = 1024)); /* the file is longer */
	BAD(-ENOMEM, h->pref_address = 1ull << 40);
	assert_int_equal(load(file, 256, bzimage_load, &i), -ENOEXEC);
	/* memory above 4 GiB is no place to start */
	bz(file)->pref_address = 1ull << 32;
	scoped_fd fd = io_memfd("kernel", file, sizeof file);
	assert_int_equal(gmem_add(&high, gpa(1ull << 32), ram, RAM, true), 0);
	assert_int_equal(bzimage_load(&high, fd, &i, NULL), -ENOMEM);
}

static uint8_t sum(const uint8_t *p, uint32_t n)
{
	uint8_t s = 0;

	while (n--)
		s = (uint8_t)(s + *p++);
	return s;
}

static void test_acpi(void **state)
{
	uint64_t xsdt, table;
	uint32_t n, found = 0;

	(void)state;
	assert_int_equal(acpi_write(&mem, LAYOUT_VCPUS_MAX + 1, NULL), -EINVAL);
	assert_int_equal(acpi_write(&mem, LAYOUT_VCPUS_MAX, NULL), 0);
	assert_memory_equal(ram + LAYOUT_ACPI, "RSD PTR ", 8);
	assert_int_equal(sum(ram + LAYOUT_ACPI, 20), 0);
	assert_int_equal(sum(ram + LAYOUT_ACPI, 36), 0);
	memcpy(&xsdt, ram + LAYOUT_ACPI + 24, 8);
	memcpy(&n, ram + xsdt + 4, 4);
	assert_int_equal(sum(ram + xsdt, n), 0);
	for (uint32_t at = 36; at < n; at += 8) {
		uint32_t len;

		memcpy(&table, ram + xsdt + at, 8);
		memcpy(&len, ram + table + 4, 4);
		assert_int_equal(sum(ram + table, len), 0);
		if (memcmp(ram + table, "APIC", 4) == 0) {
			assert_int_equal(len, 44 + 8 * LAYOUT_VCPUS_MAX);
			assert_int_equal(ram[table + 44 + 8 * 63 + 3], 63);
			found |= 1;
		}
		if (memcmp(ram + table, "FACP", 4) == 0) {
			memcpy(&table, ram + table + 140, 8);
			assert_memory_equal(ram + table, "DSDT", 4);
			memcpy(&len, ram + table + 4, 4);
			assert_int_equal(sum(ram + table, len), 0);
			/* the packages' lengths add up: scope and the object behind it fill the table */
			assert_int_equal(ram[table + 36], 0x10);
			uint32_t scope = (ram[table + 37] & 15u) | (uint32_t)ram[table + 38] << 4;
			assert_int_equal(ram[table + 37 + scope], 0x08);
			assert_int_equal(36 + 1 + scope + 15, len);
			found |= 2;
		}
	}
	assert_int_equal(found, 3);
}

static void test_ranges(void **state)
{
	struct boot_range r[BOOT_RANGES_MAX];

	(void)state;
	assert_int_equal(boot_ranges(RAM, r), 3);
	assert_int_equal(r[2].start + r[2].len, RAM);
	assert_int_equal(boot_ranges(LAYOUT_HOLE, r), 3);
	assert_int_equal(boot_ranges(LAYOUT_HOLE + LAYOUT_GIB, r), 4);
	assert_int_equal(r[2].start + r[2].len, LAYOUT_HOLE);
	assert_int_equal(r[3].start, LAYOUT_RAM_ABOVE);
	assert_int_equal(r[3].len, LAYOUT_GIB);
}

static void test_boot_load(void **state)
{
	struct elf_file f = elf();
	static char big[LAYOUT_CMDLINE_MAX + 1];
	scoped_fd k = io_memfd("kernel", &f, sizeof f), i = io_memfd("initrd", "initrd!", 7);
	struct boot_cfg cfg = {
		.mem = &mem, .ram = RAM, .kernel_fd = k, .initrd_fd = i, .cmdline = "quiet", .n_vcpus = 2
	};
	struct boot_entry b;
	struct hv_cpu *c = calloc(1, sizeof *c);
	uint32_t n;
	uint64_t at;

	(void)state;
	assert_non_null(c);
	assert_int_equal(boot_load(&cfg, &b, NULL), 0);
	assert_int_equal(b.arg, LAYOUT_START_INFO);
	memcpy(&n, ram + LAYOUT_START_INFO, 4);
	assert_int_equal(n, 0x336EC578);
	assert_string_equal((char *)ram + LAYOUT_CMDLINE, "quiet");
	memcpy(&at, ram + LAYOUT_START_INFO + 16, 8);
	memcpy(&at, ram + at, 8);
	assert_memory_equal(ram + at, "initrd!", 7);
	boot_regs(&b, c);
	assert_int_equal(c->regs.rbx, LAYOUT_START_INFO);
	assert_int_equal(c->sregs.cr0, 0x11);
	memset(big, 'x', sizeof big - 1);
	cfg.cmdline = big;
	assert_int_equal(boot_load(&cfg, &b, NULL), -E2BIG);
	big[sizeof big - 2] = '\0';
	assert_int_equal(boot_load(&cfg, &b, NULL), 0);
	/* an initrd that would reach the kernel */
	cfg.ram = AT + 8192 + 6;
	assert_int_equal(boot_load(&cfg, &b, NULL), -ENOMEM);
	cfg.ram = 4;
	assert_int_equal(boot_load(&cfg, &b, NULL), -ENOMEM);
	free(c);
}

static void test_long_mode(void **state)
{
	struct elf_file f = elf();
	struct boot_params *z = (void *)(ram + LAYOUT_ZERO_PAGE);
	struct boot_cfg cfg = { .mem = &mem, .ram = RAM, .initrd_fd = -1, .cmdline = "", .n_vcpus = 1 };
	struct boot_entry b;
	struct hv_cpu *c = calloc(1, sizeof *c);

	(void)state;
	assert_non_null(c);
	f.note.head.n_type = 17;
	scoped_fd k = io_memfd("kernel", &f, sizeof f);
	cfg.kernel_fd = k;
	assert_int_equal(boot_load(&cfg, &b, NULL), 0);
	assert_int_equal(b.arg, LAYOUT_ZERO_PAGE);
	assert_int_equal(z->e820_entries, 3);
	assert_int_equal(z->acpi_rsdp_addr, LAYOUT_ACPI);
	assert_int_equal(*(uint64_t *)(void *)(ram + LAYOUT_PAGE_TABLES + 4096 * 3 + 8), 0x40200083);
	boot_regs(&b, c);
	assert_int_equal(c->regs.rsi, LAYOUT_ZERO_PAGE);
	assert_int_equal(c->sregs.cr3, LAYOUT_PAGE_TABLES);
	assert_true(c->sregs.cr0 & 1u << 31);
	assert_int_equal(c->sregs.efer, 0x500);
	free(c);
}

static void test_no_kernel(void **state)
{
	scoped_fd k = io_memfd("kernel", "#!/bin/sh\n", 10);
	struct boot_cfg cfg = {
		.mem = &mem, .ram = RAM, .kernel_fd = k, .initrd_fd = -1, .cmdline = "", .n_vcpus = 1
	};
	struct boot_entry b;
	struct err e;

	(void)state;
	assert_int_equal(boot_load(&cfg, &b, &e), -ENOEXEC);
	assert_non_null(strstr(e.msg, "neither"));
}

/* ---- CPUID ---- */

static struct kvm_cpuid_entry2 *leaf(struct cpuid_table *t, uint32_t fn, uint32_t sub)
{
	for (uint32_t i = 0; i < t->head.nent; i++)
		if (t->entries[i].function == fn && t->entries[i].index == sub)
			return &t->entries[i];
	return NULL;
}

static void test_cpuid(void **state)
{
	static struct cpuid_table t;

	(void)state;
	t.head.nent = 5;
	t.entries[0] = (struct kvm_cpuid_entry2){ .function = 0, .eax = 13, .ebx = 0x756E6547 };
	t.entries[1] = (struct kvm_cpuid_entry2){ .function = 1, .ebx = 0x0800 };
	t.entries[2] = (struct kvm_cpuid_entry2){ .function = 0x0B };
	t.entries[3] = (struct kvm_cpuid_entry2){ .function = 0x40000000, .eax = 0x40000001 };
	t.entries[4] = (struct kvm_cpuid_entry2){ .function = 0x80000008, .ecx = 0x12345678 };
	cpuid_fit(&t, 3, 5, 2500000);
	assert_int_equal(leaf(&t, 1, 0)->ebx, 3u << 24 | 5u << 16 | 0x0800);
	assert_true(leaf(&t, 1, 0)->ecx & 1u << 31);
	assert_int_equal(leaf(&t, 0x0B, 1)->eax, 3);
	assert_int_equal(leaf(&t, 0x0B, 1)->ebx, 5);
	assert_int_equal(leaf(&t, 0x0B, 0)->edx, 3);
	assert_int_equal(leaf(&t, 0x80000008, 0)->ecx, 0x12340600 | 3u << 12 | 4);
	assert_int_equal(leaf(&t, 0x40000000, 0)->eax, 0x40000010);
	assert_int_equal(leaf(&t, 0x40000010, 0)->eax, 2500000);
	assert_int_equal(leaf(&t, 0x15, 0)->ebx, 2500000);
	/* a full table loses what does not fit, and nothing else */
	t.head.nent = CPUID_MAX;
	for (uint32_t i = 5; i < CPUID_MAX; i++)
		t.entries[i] = (struct kvm_cpuid_entry2){ .function = 0x1000 + i };
	t.entries[2] = (struct kvm_cpuid_entry2){ .function = 0x1F };
	cpuid_fit(&t, 0, 1, 1000);
	assert_true(t.head.nent <= CPUID_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_elf),       T(test_bad_elf),   T(test_bzimage),   T(test_acpi),  T(test_ranges),
		T(test_boot_load), T(test_long_mode), T(test_no_kernel), T(test_cpuid), T(test_mapped),
	};
	return cmocka_run_group_tests_name("vmm/boot", tests, NULL, NULL);
}
