/* elf.c - an uncompressed ELF kernel into guest memory.
 *
 * Called by boot.c. Distrusts: the file. Each segment is mapped, or read from the page cache into guest
 * memory, once; what is zero in it stays the untouched memory it is. */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/boot/boot.h"
#include "vmm/layout.h"

#define PHDRS_MAX     32
#define NOTES_MAX     65536
#define XEN_PVH_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */

static int load_segment(const struct gmem *mem, int fd, const Elf64_Phdr *p, bool map, struct boot_image *ret,
			struct err *e)
{
	uint8_t *to;

	if (p->p_memsz == 0)
		return 0;
	if (p->p_filesz > p->p_memsz || p->p_paddr < LAYOUT_HIGH)
		return err_set(e, -EINVAL, "kernel: a segment at 0x%llx does not hold together",
			       (unsigned long long)p->p_paddr);
	to = gmem_slice(mem, gpa(p->p_paddr), p->p_memsz, GMEM_WRITE);
	if (!to)
		return err_set(e, -ENOMEM,
			       "kernel: needs memory from 0x%llx on, %llu bytes: give the machine more",
			       (unsigned long long)p->p_paddr, (unsigned long long)p->p_memsz);
	if (p->p_paddr + p->p_memsz > ret->end)
		ret->end = p->p_paddr + p->p_memsz;
	/* What is written anyway is better read into huge pages than copied page by page on its first write.
	 */
	return boot_place(fd, p->p_offset, to, p->p_filesz, map && !(p->p_flags & PF_W), "kernel", e);
}

/* Looks for Xen's PVH entry in the notes n[0..len). */
static bool find_pvh(const uint8_t *n, size_t len, uint64_t *ret)
{
	while (len >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr h;
		uint64_t name, desc, all;

		memcpy(&h, n, sizeof h);
		name = ((uint64_t)h.n_namesz + 3) & ~3ull;
		desc = ((uint64_t)h.n_descsz + 3) & ~3ull;
		all = sizeof h + name + desc;
		if (all > len)
			return false;
		if (h.n_type == XEN_PVH_ENTRY && h.n_namesz == 4 && memcmp(n + sizeof h, "Xen", 4) == 0 &&
		    (h.n_descsz == 4 || h.n_descsz == 8)) {
			*ret = 0;
			memcpy(ret, n + sizeof h + name, h.n_descsz);
			return true;
		}
		n += all;
		len -= all;
	}
	return false;
}

static int take_note(int fd, const Elf64_Phdr *p, struct boot_image *ret, struct err *e)
{
	scoped_free uint8_t *notes = NULL;
	uint64_t entry;
	int r;

	if (p->p_filesz == 0 || p->p_filesz > NOTES_MAX)
		return 0; /* not the note we look for */
	notes = malloc(p->p_filesz);
	if (!notes)
		return err_set(e, -ENOMEM, "out of memory");
	r = boot_pread(fd, p->p_offset, notes, p->p_filesz, "kernel", e);
	if (r == 0 && find_pvh(notes, p->p_filesz, &entry) && entry <= UINT32_MAX)
		ret->entry = (struct boot_entry){ .long_mode = false, .ip = entry };
	return r;
}

int elf_load(const struct gmem *mem, int fd, bool map, struct boot_image *ret, struct err *e)
{
	Elf64_Phdr ph[PHDRS_MAX];
	Elf64_Ehdr h;
	int r;

	if (pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0)
		return err_set(e, -ENOEXEC, "kernel: not an ELF file");
	if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_machine != EM_X86_64 || h.e_type != ET_EXEC ||
	    h.e_phentsize != sizeof ph[0] || h.e_phnum == 0 || h.e_phnum > PHDRS_MAX)
		return err_set(e, -EINVAL, "kernel: an ELF file, but no x86-64 kernel");
	r = boot_pread(fd, h.e_phoff, ph, h.e_phnum * sizeof ph[0], "kernel", e);
	if (r < 0)
		return r;
	*ret = (struct boot_image){ .entry = { .long_mode = true, .ip = h.e_entry } };
	for (unsigned i = 0; i < h.e_phnum && r == 0; i++) {
		if (ph[i].p_type == PT_LOAD)
			r = load_segment(mem, fd, &ph[i], map, ret, e);
		else if (ph[i].p_type == PT_NOTE)
			r = take_note(fd, &ph[i], ret, e);
	}
	if (r == 0 && !gmem_slice(mem, gpa(ret->entry.ip), 1, GMEM_READ))
		return err_set(e, -EINVAL, "kernel: its entry point is outside of memory");
	return r;
}
