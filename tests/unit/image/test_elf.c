/* test_elf.c - what counts as a kernel, what a module says, and files that lie about their offsets. */
#include "fixture.h"

#include <elf.h>
#include <errno.h>

#include "image/elf.h"

static void test_kernel(void **state)
{
	scoped_str good = { 0 }, other = { 0 }, none = { 0 };
	struct err e = { 0 };

	(void)state;
	fix_kernel(&good, FIX_NOTE_PVH);
	fix_kernel(&other, FIX_NOTE_OTHER);
	fix_kernel(&none, FIX_NOTE_NONE);
	assert_int_equal(elf_check_kernel(good.p, good.len, NULL), 0);
	assert_int_equal(elf_check_kernel(other.p, other.len, &e), -ENOEXEC);
	assert_non_null(strstr(e.msg, "PVH"));
	assert_int_equal(elf_check_kernel(none.p, none.len, &e), -ENOEXEC);
	assert_non_null(strstr(e.msg, "PVH"));
}

static void test_kernel_hostile(void **state)
{
	static const struct {
		size_t at;
		uint32_t value;
	} rows[] = {
		{ 0, 0x464c457e },                 /* magic */
		{ 4, 0x00010101 },                 /* 32 bits */
		{ 16, EM_386 << 16 | ET_EXEC },    /* machine */
		{ 16, EM_X86_64 << 16 | ET_CORE }, /* type */
		{ 32, 0xffffff00 },                /* program headers outside */
		{ 36, 0xffffffff },                /* the same, wrapping */
		{ 54, 0xffff0038 },                /* 65535 of them */
		{ 54, 0x00020037 },                /* size of one */
		{ 64 + 8, 0xfffffff0 },            /* segment outside */
		{ 64 + 32, 0x10000000 },           /* segment too long */
		{ 64 + 40, 1 },                    /* longer in the file than in memory */
		{ 64 + 56 + 32, 0x10000000 },      /* notes too long */
		{ 64 + 112, 0xffffffff },          /* a note's name outside */
		{ 64 + 112 + 4, 0xfffffffd },      /* its content, wrapping when aligned */
		{ 64, PT_NULL },                   /* nothing to load */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_str s = { 0 };

		fix_kernel(&s, FIX_NOTE_PVH);
		fix_put32(&s, rows[i].at, rows[i].value);
		assert_int_equal(elf_check_kernel(s.p, s.len, NULL), -ENOEXEC);
	}
}

static void test_kernel_cut_short(void **state)
{
	scoped_str s = { 0 };

	(void)state;
	fix_kernel(&s, FIX_NOTE_PVH);
	for (size_t n = 0; n < s.len; n++) {
		char *exact = n ? malloc(n) : NULL;

		if (n)
			memcpy(exact, s.p, n);
		assert_int_equal(elf_check_kernel(exact, n, NULL), -ENOEXEC);
		free(exact);
	}
}

static void test_modinfo(void **state)
{
	static const char info[] = "depends=a,b\0dependsx=c\0empty=\0depends=second";
	scoped_str s = { 0 };
	struct modinfo m;

	(void)state;
	fix_module(&s, info, sizeof(info));
	assert_int_equal(elf_modinfo(s.p, s.len, &m, NULL), 0);
	assert_string_equal(modinfo_get(&m, "depends"), "a,b");
	assert_string_equal(modinfo_get(&m, "dependsx"), "c");
	assert_string_equal(modinfo_get(&m, "empty"), "");
	assert_null(modinfo_get(&m, "depend"));
	assert_null(modinfo_get(&m, "none"));
}

static void test_modinfo_hostile(void **state)
{
	scoped_str s = { 0 }, open_end = { 0 }, kernel = { 0 };
	struct modinfo m;
	size_t len;

	(void)state;
	fix_module(&open_end, "depends=a", 9); /* no NUL at the end */
	assert_int_equal(elf_modinfo(open_end.p, open_end.len, &m, NULL), -ENOEXEC);
	fix_kernel(&kernel, FIX_NOTE_PVH);
	assert_int_equal(elf_modinfo(kernel.p, kernel.len, &m, NULL), -ENOEXEC);
	fix_module_for(&s, "", FIX_RELEASE);
	for (size_t n = 0; n < s.len; n++) {
		char *exact = n ? malloc(n) : NULL;

		if (n)
			memcpy(exact, s.p, n);
		assert_int_equal(elf_modinfo(exact, n, &m, NULL), -ENOEXEC);
		free(exact);
	}
	len = s.len;
	str_addn(&s, s.p + len - sizeof(Elf64_Shdr), sizeof(Elf64_Shdr)); /* behind the file's end */
	assert_int_equal(elf_modinfo(s.p, len, &m, NULL), 0);
	fix_put16(&s, 62, 3); /* the names' section is not one of the three */
	assert_int_equal(elf_modinfo(s.p, len, &m, NULL), -ENOEXEC);
}

static void test_signature(void **state)
{
	scoped_str s = { 0 };
	size_t plain;

	(void)state;
	fix_module_for(&s, "", FIX_RELEASE);
	plain = s.len;
	assert_int_equal(elf_unsigned_len(s.p, s.len), plain);
	fix_sign(&s, 300);
	assert_int_equal(elf_unsigned_len(s.p, s.len), plain);
	s.p[s.len - 28 - 4] = 0x7f; /* a signature larger than the file: not one */
	assert_int_equal(elf_unsigned_len(s.p, s.len), s.len);
	assert_int_equal(elf_unsigned_len("~Module signature appended~\n", 28), 28);
}

static void test_hide_section(void **state)
{
	static const char info[] = "depends=a";
	scoped_str s = { 0 };
	struct modinfo m;
	size_t len;

	(void)state;
	fix_module(&s, info, sizeof(info));
	len = s.len;
	elf_hide_section(s.p, len, ".modinf"); /* a part of a name is another name */
	assert_int_equal(elf_modinfo(s.p, len, &m, NULL), 0);
	elf_hide_section(s.p, len, ".modinfo");
	assert_int_equal(elf_modinfo(s.p, len, &m, NULL), -ENOEXEC);
	elf_hide_section(s.p, len, "modinfo"); /* that is what it is called now */
	for (size_t n = 0; n < len; n++) {
		char *exact = malloc(n ? n : 1);

		assert_non_null(exact);
		memcpy(exact, s.p, n);
		elf_hide_section(exact, n, ".shstrtab");
		assert_memory_equal(exact, s.p, n);
		free(exact);
	}
}

static void test_program(void **state)
{
	scoped_str s = { 0 }, dynamic = { 0 };
	struct err e = { 0 };
	size_t n, loaded;

	(void)state;
	fix_program(&s, NULL);
	loaded = s.len;
	fix_put32(&s, 64 + 32, (uint32_t)(loaded - 120)); /* the segment: all behind the headers */
	fix_put32(&s, 64 + 8, 120);
	str_add(&s, "debug information and sections");
	fix_put32(&s, 40, (uint32_t)loaded);
	fix_put16(&s, 60, 1);
	n = s.len;
	assert_int_equal(elf_take_program(s.p, &n, &e), 0);
	assert_int_equal(n, loaded);
	assert_int_equal(((const Elf64_Ehdr *)(const void *)s.p)->e_shoff, 0);
	assert_int_equal(((const Elf64_Ehdr *)(const void *)s.p)->e_shnum, 0);
	fix_put32(&s, 64 + 32, (uint32_t)(s.len - 120 + 1)); /* one byte behind the end */
	n = s.len;
	assert_int_equal(elf_take_program(s.p, &n, &e), -ENOEXEC);
	n = 64 + 55; /* a header cut short */
	assert_int_equal(elf_take_program(s.p, &n, &e), -ENOEXEC);
	fix_program(&dynamic, "/lib64/ld-linux-x86-64.so.2");
	n = dynamic.len;
	assert_int_equal(elf_take_program(dynamic.p, &n, &e), -ENOEXEC);
	assert_non_null(strstr(e.msg, "static"));
}

/* A segment that ends with zeros: shorter in the file, as long as before in memory. */
static void test_trim(void **state)
{
	static const char zeros[4096];
	struct str s = { 0 };
	size_t plain, n;
	Elf64_Phdr ph;

	(void)state;
	fix_kernel(&s, FIX_NOTE_PVH);
	plain = s.len;
	for (int i = 0; i < 5; i++)
		str_addn(&s, zeros, sizeof(zeros));
	s.p[plain + 5000] = 1;
	fix_put32(&s, 64 + 32, (uint32_t)s.len); /* all of the file is one segment */
	fix_put32(&s, 64 + 40, (uint32_t)s.len + 100);
	n = s.len;
	str_add(&s, "sections, relocations");
	assert_int_equal(elf_trim_kernel(s.p, &s.len, NULL), 0);
	assert_int_equal(s.len, 2 * 4096); /* the byte that is not zero is in the second page */
	memcpy(&ph, s.p + 64, sizeof(ph));
	assert_int_equal(ph.p_filesz, 2 * 4096);
	assert_int_equal(ph.p_memsz, n + 100);
	assert_int_equal(elf_check_kernel(s.p, s.len, NULL), 0);
	n = s.len;
	assert_int_equal(elf_trim_kernel(s.p, &n, NULL), 0); /* nothing more to trim */
	assert_int_equal(n, s.len);
	fix_put16(&s, 64 + 32 + 2, 1); /* longer than the file */
	assert_int_equal(elf_trim_kernel(s.p, &n, NULL), -ENOEXEC);
	str_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernel),
		cmocka_unit_test(test_kernel_hostile),
		cmocka_unit_test(test_kernel_cut_short),
		cmocka_unit_test(test_modinfo),
		cmocka_unit_test(test_modinfo_hostile),
		cmocka_unit_test(test_signature),
		cmocka_unit_test(test_hide_section),
		cmocka_unit_test(test_program),
		cmocka_unit_test(test_trim),
	};

	return cmocka_run_group_tests_name("image/elf", tests, NULL, NULL);
}
