/* fixture.c - see fixture.h. */
#include "fixture.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"
#include "image/child.h"

void fix_put16(struct str *s, size_t at, uint16_t v)
{
	assert_true(at + 2 <= s->len);
	memcpy(s->p + at, &v, sizeof(v));
}

void fix_put32(struct str *s, size_t at, uint32_t v)
{
	assert_true(at + 4 <= s->len);
	memcpy(s->p + at, &v, sizeof(v));
}

static Elf64_Ehdr header(uint16_t type)
{
	Elf64_Ehdr h = {
		.e_type = type, .e_machine = EM_X86_64, .e_version = EV_CURRENT, .e_ehsize = sizeof(h)
	};

	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	h.e_ident[EI_VERSION] = EV_CURRENT;
	return h;
}

void fix_kernel(struct str *to, enum fix_note note)
{
	/* Two notes: the second one is found only if the first is stepped over rightly. */
	static const uint32_t notes[] = { 6,    5, 6, 0x756e6547, 0x65,       0x656e694c,
					  0x78, 4, 4, 18,         0x006e6558, 0x1000000 };
	Elf64_Ehdr h = header(ET_EXEC);
	Elf64_Phdr ph[2] = { { .p_type = PT_LOAD, .p_offset = 0, .p_filesz = 64, .p_memsz = 128 },
			     { .p_type = PT_NOTE, .p_filesz = sizeof(notes), .p_memsz = sizeof(notes) } };

	h.e_phoff = sizeof(h);
	h.e_phentsize = sizeof(ph[0]);
	h.e_phnum = note == FIX_NOTE_NONE ? 1 : 2;
	ph[1].p_offset = sizeof(h) + sizeof(ph);
	str_addn(to, &h, sizeof(h));
	str_addn(to, ph, sizeof(ph));
	str_addn(to, notes, sizeof(notes));
	if (note == FIX_NOTE_OTHER)
		fix_put32(to, to->len - 12, 17);
}

void fix_module(struct str *to, const char *modinfo, size_t n)
{
	static const char names[] = "\0.modinfo\0.shstrtab";
	Elf64_Ehdr h = header(ET_REL);
	Elf64_Shdr sh[3] = {
		{ 0 },
		{ .sh_name = 1, .sh_type = SHT_PROGBITS, .sh_offset = sizeof(h), .sh_size = n },
		{ .sh_name = 10, .sh_type = SHT_STRTAB, .sh_offset = sizeof(h) + n, .sh_size = sizeof(names) }
	};

	h.e_shoff = sizeof(h) + n + sizeof(names);
	h.e_shentsize = sizeof(sh[0]);
	h.e_shnum = 3;
	h.e_shstrndx = 2;
	str_addn(to, &h, sizeof(h));
	str_addn(to, modinfo, n);
	str_addn(to, names, sizeof(names));
	str_addn(to, sh, sizeof(sh));
}

void fix_module_for(struct str *to, const char *depends, const char *release)
{
	scoped_str info = { 0 };

	str_addf(&info, "license=GPL%cdepends=%s%cvermagic=%s SMP mod_unload %c", 0, depends, 0, release, 0);
	assert_int_equal(str_check(&info), 0);
	fix_module(to, info.p, info.len);
}

void fix_sign(struct str *module, size_t sig_len)
{
	uint8_t trailer[12] = { 0 };

	for (size_t i = 0; i < sig_len; i++)
		str_addc(module, 's');
	for (size_t i = 0; i < 4; i++)
		trailer[8 + i] = (uint8_t)(sig_len >> (24 - 8 * i));
	str_addn(module, trailer, sizeof(trailer));
	str_add(module, "~Module signature appended~\n");
}

void fix_program(struct str *to, const char *interp)
{
	Elf64_Ehdr h = header(ET_EXEC);
	Elf64_Phdr ph = { .p_type = interp ? PT_INTERP : PT_LOAD };

	h.e_phoff = sizeof(h);
	h.e_phentsize = sizeof(ph);
	h.e_phnum = 1;
	str_addn(to, &h, sizeof(h));
	str_addn(to, &ph, sizeof(ph));
	str_add(to, interp ? interp : "a static program");
	fix_put32(to, sizeof(h) + offsetof(Elf64_Phdr, p_filesz), (uint32_t)to->len);
}

void fix_bzimage(struct str *to, const void *stream, size_t n, int trailer, uint32_t unpacked)
{
	static const char version[] = FIX_RELEASE " (somebody@somewhere) #1 SMP";
	static const char zeros[1024];

	str_addn(to, zeros, sizeof(zeros)); /* boot sector and one sector of setup code */
	to->p[0x1f1] = 1;
	fix_put16(to, 0x1fe, 0xaa55);
	memcpy(to->p + 0x202, "HdrS", 4);
	fix_put16(to, 0x206, 0x20f);
	fix_put16(to, 0x20e, 0x300 - 0x200);
	memcpy(to->p + 0x300, version, sizeof(version));
	fix_put32(to, 0x248, 16);
	fix_put32(to, 0x24c, (uint32_t)n + (trailer ? 4 : 0));
	str_addn(to, zeros, 16);
	str_addn(to, stream, n);
	if (trailer)
		str_addn(to, &unpacked, sizeof(unpacked));
	str_addn(to, zeros, 32); /* what comes behind the payload is not read */
	assert_int_equal(str_check(to), 0);
}

void fix_vmlinuz(const char *dir, const char *name, enum fix_note note)
{
	static const char *const gzip[] = { "gzip", "-cn", NULL };
	scoped_free char *packed = NULL;
	scoped_str kernel = { 0 }, image = { 0 };
	size_t len;

	fix_kernel(&kernel, note);
	assert_int_equal(child_output(gzip, kernel.p, kernel.len, 1 << 20, &packed, &len, NULL), 0);
	fix_bzimage(&image, packed, len, 0, 0);
	fix_write(dir, name, image.p, image.len);
}

void fix_modules(const char *dir)
{
	static const struct {
		const char *name, *depends;
	} rows[] = {
		{ "virtio", "" },
		{ "virtio_pci", "virtio" },
		{ "virtio_console", "virtio" },
		{ "9pnet", "" },
		{ "9pnet_virtio", "9pnet,virtio" },
		{ "9p", "9pnet" },
		{ "overlay", "" },
		{ "fuse", "" },
		{ "virtiofs", "fuse,virtio" },
	};
	scoped_str order = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_free char *path = str_fmt("kernel/%s.ko", rows[i].name);
		scoped_str m = { 0 };

		str_addf(&order, "%s\n", path);
		fix_module_for(&m, rows[i].depends, FIX_RELEASE);
		fix_write(dir, path, m.p, m.len);
	}
	fix_write(dir, "modules.order", order.p, order.len);
	fix_write(dir, "modules.builtin", "", 0);
}

char *fix_mkdir(void)
{
	char *dir = strdup("/tmp/cor-image-test.XXXXXX");

	assert_non_null(dir);
	assert_non_null(mkdtemp(dir));
	return dir;
}

void fix_rmdir(const char *dir)
{
	assert_int_equal(io_remove_tree_at(AT_FDCWD, dir), 0);
}

void fix_write(const char *dir, const char *name, const void *p, size_t n)
{
	scoped_free char *path = str_fmt("%s/%s", dir, name);
	scoped_free char *parent = NULL;
	scoped_fd fd = -1;

	assert_non_null(path);
	parent = strndup(path, (size_t)(strrchr(path, '/') - path));
	assert_non_null(parent);
	assert_int_equal(io_mkdirs(parent, 0755), 0);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, p, n), 0);
}

void fix_read(const char *dir, const char *name, struct str *to)
{
	scoped_free char *path = str_fmt("%s/%s", dir, name);
	scoped_free char *data = NULL;
	size_t len;

	assert_non_null(path);
	assert_int_equal(io_read_file_at(AT_FDCWD, path, 64 << 20, &data, &len), 0);
	str_addn(to, data, len);
	assert_int_equal(str_check(to), 0);
}
