/* boot.h - a kernel into guest memory, and the registers it starts with.
 *
 * Three ways in: an ELF kernel with a PVH note (32-bit entry), an ELF kernel without one and a bzImage (both
 * by the 64-bit boot protocol). No firmware, no real mode. Called once, before the first vCPU runs. Kernel
 * and initrd come from the host's administrator or a customer: a wrong file is an error with its name, never
 * a wild write. They are mapped or read straight into guest memory. */
#ifndef VMM_BOOT_BOOT_H
#define VMM_BOOT_BOOT_H

#include <stdint.h>

#include "base/err.h"
#include "ring/gmem.h"
#include "vmm/hv.h"

struct boot_cfg {
	const struct gmem *mem;
	uint64_t ram; /* bytes; below and above the hole */
	/* The memory is anonymous: whole pages of the kernel's read-only segments may be mapped over it,
	 * copy-on-write, instead of read. All VMs then share the page cache's. Whoever may write the file
	 * changes pages that a guest has not written yet, whoever truncates it ends the VM: it must be as
	 * trusted as this program. */
	bool map_kernel;
	int kernel_fd; /* regular file or memfd, borrowed */
	int initrd_fd; /* -1 = none */
	const char *cmdline;
	uint32_t n_vcpus;
};

/* How the first vCPU starts. */
struct boot_entry {
	bool long_mode; /* 64-bit protocol (RSI = zero page), else PVH (EBX = start_info) */
	uint64_t ip, arg;
};

/* RAM as the guest is told. */
struct boot_range {
	uint64_t start, len;
	uint32_t type;
};
#define BOOT_RAM        1u
#define BOOT_RESERVED   2u
#define BOOT_RANGES_MAX 4

/* Loads everything: kernel, initrd, command line, ACPI tables, what the kernel's way in wants. */
int must_check boot_load(const struct boot_cfg *cfg, struct boot_entry *ret, struct err *e);
/* Turns registers as KVM made them into those of the entry. */
void boot_regs(const struct boot_entry *b, struct hv_cpu *c);

/* ---- parts, for each other and for tests ---- */

struct boot_image {
	struct boot_entry entry;
	uint64_t end; /* guest address behind everything the kernel uses before it reads its map */
	uint8_t setup_header[256]; /* of a bzImage; zeros of an ELF kernel */
};
/* -ENOEXEC: not such a file; other errors: one that does not hold together, or does not fit. */
int must_check elf_load(const struct gmem *mem, int fd, bool map, struct boot_image *ret, struct err *e);
int must_check bzimage_load(const struct gmem *mem, int fd, struct boot_image *ret, struct err *e);

unsigned boot_ranges(uint64_t ram, struct boot_range ret[BOOT_RANGES_MAX]);
/* RAM below the hole. */
uint64_t boot_low_ram(uint64_t ram);

/* Writes the tables at LAYOUT_ACPI: hardware-reduced ACPI with CPUs, PCI bridge and power off. */
int must_check acpi_write(const struct gmem *mem, uint32_t n_vcpus, struct err *e);

/* Puts exactly n bytes at `off` of fd to p in guest memory: with `map`, whole pages that lie alike in both
 * are mapped; the others, or all where the file can't be mapped, are read. */
int must_check boot_place(int fd, uint64_t off, void *p, uint64_t n, bool map, const char *what,
			  struct err *e);
/* Reads exactly n bytes at `off` of fd. */
int must_check boot_pread(int fd, uint64_t off, void *p, uint64_t n, const char *what, struct err *e);

#endif
