/* fuzz_boot.c - kernels of every kind into guest memory: the file is hostile.
 *
 * The input is a file, or the changes to a valid ELF kernel. Promises: no memory error, nothing outside of
 * guest memory and nothing below 1 MiB is written by a loader; what is accepted has its entry in memory; what
 * is refused says why. */
#include <elf.h>
#include <errno.h>
#include <unistd.h>

#include "base/io.h"
#include "fuzz.h"
#include "vmm/boot/boot.h"
#include "vmm/layout.h"

#define RAM (2 * LAYOUT_MIB)

static struct {
	Elf64_Ehdr h;
	Elf64_Phdr ph[2];
	Elf64_Nhdr note;
	char name[4];
	uint64_t entry;
	uint8_t text[64];
} elf;

/* A valid kernel with a few bytes changed. */
static void make_elf(struct fuzz_in *in)
{
	memset(&elf, 0, sizeof elf);
	elf.h = (Elf64_Ehdr){ .e_type = ET_EXEC,
			      .e_machine = EM_X86_64,
			      .e_entry = LAYOUT_HIGH,
			      .e_phoff = sizeof elf.h,
			      .e_phentsize = sizeof(Elf64_Phdr),
			      .e_phnum = 2 };
	memcpy(elf.h.e_ident, ELFMAG, SELFMAG);
	elf.h.e_ident[EI_CLASS] = ELFCLASS64;
	elf.ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
				  .p_offset = sizeof elf - 64,
				  .p_paddr = LAYOUT_HIGH,
				  .p_filesz = 64,
				  .p_memsz = 4096 };
	elf.ph[1] =
		(Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = sizeof elf.h + sizeof elf.ph, .p_filesz = 24 };
	elf.note = (Elf64_Nhdr){ .n_namesz = 4, .n_descsz = 8, .n_type = 18 };
	memcpy(elf.name, "Xen", 4);
	elf.entry = LAYOUT_HIGH;
	while (in->left > 2) {
		size_t at = fuzz_below(in, sizeof elf - 1);

		((uint8_t *)&elf)[at] = (uint8_t)fuzz_uint(in, 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct err e = { 0 };
	struct boot_image image;
	struct gmem mem = { 0 };
	uint8_t *ram = calloc(1, RAM);
	int fd, r;

	if (!ram || gmem_add(&mem, gpa(0), ram, RAM, true) < 0)
		abort();
	if (fuzz_below(&in, 1)) {
		make_elf(&in);
		fd = io_memfd("kernel", &elf, sizeof elf);
	} else {
		fd = io_memfd("kernel", in.p, in.left);
	}
	r = elf_load(&mem, fd, false, &image, &e); /* mapped, memory would not be calloc()'s any more */
	if (r == -ENOEXEC)
		r = bzimage_load(&mem, fd, &image, &e);
	FUZZ_ASSERT(r <= 0 && (r == 0 || e.msg[0]));
	if (r == 0)
		FUZZ_ASSERT(image.entry.ip < RAM || image.entry.long_mode);
	FUZZ_ASSERT(ram[0] == 0 && memcmp(ram, ram + 1, LAYOUT_HIGH - 1) == 0);
	(void)close(fd);
	free(ram);
	return 0;
}
