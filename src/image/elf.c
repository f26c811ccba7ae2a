/* elf.c - see elf.h. Called by modules.c and os.c. Takes files of a distribution's package or of the
 * user; trusts no offset or size in them: every one is checked against the file's length. */
#include "image/elf.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#define NOTE_PVH_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
#define SEGMENTS_MAX   64
#define SECTIONS_MAX   4096
#define SIG_MARKER     "~Module signature appended~\n"

struct view {
	const uint8_t *p;
	size_t n;
};

/* The part [off, off + len) of v; false if it is not inside. */
static bool view_cut(const struct view *v, uint64_t off, uint64_t len, struct view *ret)
{
	if (off > v->n || len > v->n - off)
		return false;
	*ret = (struct view){ .p = v->p + off, .n = (size_t)len };
	return true;
}

/* A table of `count` entries of exactly `size` bytes each. */
static bool view_table(const struct view *v, uint64_t off, uint64_t count, size_t size, struct view *ret)
{
	return count <= SIZE_MAX / size && view_cut(v, off, count * size, ret);
}

bool elf_is(const void *p, size_t n)
{
	return n >= SELFMAG && memcmp(p, ELFMAG, SELFMAG) == 0;
}

static int get_header(const struct view *f, Elf64_Ehdr *ret, struct err *e)
{
	if (f->n < sizeof(*ret) || !elf_is(f->p, f->n))
		return err_set(e, -ENOEXEC, "not an ELF file");
	memcpy(ret, f->p, sizeof(*ret));
	if (ret->e_ident[EI_CLASS] != ELFCLASS64 || ret->e_ident[EI_DATA] != ELFDATA2LSB)
		return err_set(e, -ENOEXEC, "not a 64-bit little-endian ELF file");
	if (ret->e_machine != EM_X86_64)
		return err_set(e, -ENOEXEC, "ELF machine %u is not x86-64", ret->e_machine);
	return 0;
}

static size_t align4(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

/* Walks the notes of one PT_NOTE segment. Each step moves on by at least a header. */
static bool has_pvh_note(struct view notes)
{
	while (notes.n >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr h;
		struct view name, desc;
		size_t at = sizeof(h);

		memcpy(&h, notes.p, sizeof(h));
		if (!view_cut(&notes, at, h.n_namesz, &name))
			return false;
		at += align4(h.n_namesz);
		if (!view_cut(&notes, at, h.n_descsz, &desc))
			return false;
		at += align4(h.n_descsz);
		if (h.n_type == NOTE_PVH_ENTRY && name.n == 4 && memcmp(name.p, "Xen", 4) == 0 && desc.n >= 4)
			return true;
		if (at >= notes.n)
			return false;
		notes.p += at;
		notes.n -= at;
	}
	return false;
}

int elf_check_kernel(const void *p, size_t n, struct err *e)
{
	const struct view f = { .p = (const uint8_t *)p, .n = n };
	bool load = false, pvh = false;
	struct view table;
	Elf64_Ehdr h;
	int r;

	r = get_header(&f, &h, e);
	if (r < 0)
		return r;
	if (h.e_type != ET_EXEC && h.e_type != ET_DYN)
		return err_set(e, -ENOEXEC, "ELF type %u is not an executable", h.e_type);
	if (h.e_phentsize != sizeof(Elf64_Phdr) || !h.e_phnum || h.e_phnum > SEGMENTS_MAX ||
	    !view_table(&f, h.e_phoff, h.e_phnum, sizeof(Elf64_Phdr), &table))
		return err_set(e, -ENOEXEC, "ELF program headers are not inside the file");
	for (size_t i = 0; i < h.e_phnum; i++) {
		struct view seg;
		Elf64_Phdr ph;

		memcpy(&ph, table.p + i * sizeof(ph), sizeof(ph));
		if (ph.p_type != PT_LOAD && ph.p_type != PT_NOTE)
			continue;
		if (ph.p_filesz > ph.p_memsz || !view_cut(&f, ph.p_offset, ph.p_filesz, &seg))
			return err_set(e, -ENOEXEC, "ELF segment %zu is not inside the file", i);
		if (ph.p_type == PT_LOAD)
			load = true;
		else
			pvh = pvh || has_pvh_note(seg);
	}
	if (!load)
		return err_set(e, -ENOEXEC, "ELF file has no segment to load");
	if (!pvh)
		return err_set(e, -ENOEXEC, "kernel has no PVH entry point (it needs CONFIG_PVH=y)");
	return 0;
}

/* Where the last byte is that a program's start reads. */
static int loaded_end(const struct view *f, const Elf64_Ehdr *h, size_t *ret, struct err *e)
{
	struct view table, seg;
	bool load = false;
	size_t end;

	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum > SEGMENTS_MAX ||
	    !view_table(f, h->e_phoff, h->e_phnum, sizeof(Elf64_Phdr), &table))
		return err_set(e, -ENOEXEC, "ELF program headers are not inside the file");
	end = (size_t)(table.p - f->p) + table.n;
	for (size_t i = 0; i < h->e_phnum; i++) {
		Elf64_Phdr ph;

		memcpy(&ph, table.p + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_INTERP)
			return err_set(e, -ENOEXEC, "needs shared libraries: it must be static");
		if (!view_cut(f, ph.p_offset, ph.p_filesz, &seg))
			return err_set(e, -ENOEXEC, "ELF segment %zu is not inside the file", i);
		load = load || ph.p_type == PT_LOAD;
		if ((size_t)(seg.p - f->p) + seg.n > end)
			end = (size_t)(seg.p - f->p) + seg.n;
	}
	if (!load)
		return err_set(e, -ENOEXEC, "ELF file has no segment to load");
	*ret = end;
	return 0;
}

int elf_take_program(void *p, size_t *n, struct err *e)
{
	const struct view f = { .p = (const uint8_t *)p, .n = *n };
	Elf64_Ehdr h;
	size_t end = 0;
	int r;

	r = get_header(&f, &h, e);
	if (r == 0 && h.e_type != ET_EXEC && h.e_type != ET_DYN)
		r = err_set(e, -ENOEXEC, "ELF type %u is not an executable", h.e_type);
	if (r == 0)
		r = loaded_end(&f, &h, &end, e);
	if (r < 0)
		return r;
	h.e_shoff = 0; /* the sections are cut off */
	h.e_shnum = 0;
	h.e_shstrndx = SHN_UNDEF;
	memcpy(p, &h, sizeof(h));
	*n = end > sizeof(h) ? end : sizeof(h);
	return 0;
}

/* Length of a segment's bytes without the zeros at its end, in whole pages. */
static uint64_t without_zeros(const uint8_t *p, uint64_t n)
{
	const uint64_t page = 4096;
	uint64_t len = n;

	while (len && !p[len - 1])
		len--;
	len = (len + page - 1) / page * page;
	return len < n ? len : n;
}

int elf_trim_kernel(void *p, size_t *n, struct err *e)
{
	uint8_t *bytes = (uint8_t *)p;
	Elf64_Ehdr h;
	int r;

	r = elf_check_kernel(p, *n, e);
	if (r < 0)
		return r;
	memcpy(&h, p, sizeof(h));
	for (uint64_t i = 0; i < h.e_phnum; i++) {
		uint8_t *at = bytes + h.e_phoff + i * sizeof(Elf64_Phdr);
		Elf64_Phdr ph;

		memcpy(&ph, at, sizeof(ph));
		if (ph.p_type != PT_LOAD)
			continue;
		ph.p_filesz = without_zeros(bytes + ph.p_offset, ph.p_filesz);
		memcpy(at, &ph, sizeof(ph));
	}
	return elf_take_program(p, n, e);
}

/* The table of sections and their names. */
static bool get_sections(const struct view *f, const Elf64_Ehdr *h, struct view *table, struct view *names)
{
	Elf64_Shdr sh;

	if (h->e_shentsize != sizeof(sh) || h->e_shnum > SECTIONS_MAX || h->e_shstrndx >= h->e_shnum ||
	    !view_table(f, h->e_shoff, h->e_shnum, sizeof(sh), table))
		return false;
	memcpy(&sh, table->p + h->e_shstrndx * sizeof(sh), sizeof(sh));
	return view_cut(f, sh.sh_offset, sh.sh_size, names);
}

static bool is_named(const Elf64_Shdr *sh, const struct view *names, const char *name)
{
	struct view s;

	return view_cut(names, sh->sh_name, strlen(name) + 1, &s) && memcmp(s.p, name, s.n) == 0;
}

/* The section called `name`. */
static bool find_section(const struct view *f, const Elf64_Ehdr *h, const char *name, struct view *ret)
{
	struct view table, names;
	Elf64_Shdr sh;

	if (!get_sections(f, h, &table, &names))
		return false;
	for (size_t i = 0; i < h->e_shnum; i++) {
		memcpy(&sh, table.p + i * sizeof(sh), sizeof(sh));
		if (is_named(&sh, &names, name))
			return sh.sh_type == SHT_PROGBITS && view_cut(f, sh.sh_offset, sh.sh_size, ret);
	}
	return false;
}

void elf_hide_section(void *p, size_t n, const char *name)
{
	const struct view f = { .p = (const uint8_t *)p, .n = n };
	struct view table, names;
	Elf64_Ehdr h;
	Elf64_Shdr sh;

	if (get_header(&f, &h, NULL) < 0 || !get_sections(&f, &h, &table, &names))
		return;
	for (size_t i = 0; i < h.e_shnum; i++) {
		uint8_t *at = (uint8_t *)p + h.e_shoff + i * sizeof(sh);

		memcpy(&sh, at, sizeof(sh));
		if (!is_named(&sh, &names, name))
			continue;
		sh.sh_name++;
		memcpy(at, &sh, sizeof(sh));
	}
}

int elf_modinfo(const void *p, size_t n, struct modinfo *ret, struct err *e)
{
	const struct view f = { .p = (const uint8_t *)p, .n = n };
	struct view info;
	Elf64_Ehdr h;
	int r;

	r = get_header(&f, &h, e);
	if (r < 0)
		return r;
	if (h.e_type != ET_REL)
		return err_set(e, -ENOEXEC, "ELF type %u is not a module", h.e_type);
	if (!find_section(&f, &h, ".modinfo", &info) || !info.n || info.p[info.n - 1] != '\0')
		return err_set(e, -ENOEXEC, "no whole .modinfo section: not a kernel module");
	*ret = (struct modinfo){ .p = (const char *)info.p, .n = info.n };
	return 0;
}

const char *modinfo_get(const struct modinfo *m, const char *key)
{
	size_t len = strlen(key);

	for (size_t at = 0; at < m->n; at += strlen(m->p + at) + 1) {
		const char *s = m->p + at;

		if (strncmp(s, key, len) == 0 && s[len] == '=')
			return s + len + 1;
	}
	return NULL;
}

size_t elf_unsigned_len(const void *p, size_t n)
{
	const uint8_t *b = (const uint8_t *)p;
	const size_t marker = sizeof(SIG_MARKER) - 1;
	/* struct module_signature: five bytes, three of padding, the signature's length (big endian). */
	const size_t trailer = 12;
	uint64_t sig;

	if (n < marker + trailer || memcmp(b + n - marker, SIG_MARKER, marker) != 0)
		return n;
	b += n - marker - 4;
	sig = (uint64_t)b[0] << 24 | (uint64_t)b[1] << 16 | (uint64_t)b[2] << 8 | (uint64_t)b[3];
	if (sig > n - marker - trailer)
		return n;
	return n - marker - trailer - (size_t)sig;
}
