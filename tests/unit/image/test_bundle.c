/* test_bundle.c - bundles: what a good one adds, how several come together, what is refused with its line,
 * and that none reaches outside its directory or over a part of the mini-OS. */
#include "fixture.h"

#include <errno.h>
#include <sys/stat.h>

#include "image/bundle.h"

static int setup(void **state)
{
	*state = fix_mkdir();
	return 0;
}

static int teardown(void **state)
{
	fix_rmdir(*state);
	free(*state);
	return 0;
}

/* DIR/NAME/bundle with these lines behind the first, a static program "prog" and a file "text". */
static void write_bundle(const char *dir, const char *name, const char *lines)
{
	scoped_free char *where = str_fmt("%s/%s", dir, name);
	scoped_free char *text = str_fmt("cor-bundle 1\n%s", lines);
	scoped_str program = { 0 };

	fix_program(&program, NULL);
	fix_write(where, "prog", program.p, program.len);
	fix_write(where, "sub/text", "hello", 5);
	fix_write(where, BUNDLE_FILE, text, strlen(text));
}

static int add(struct bundles *b, const char *dir, const char *name, struct err *e)
{
	scoped_free char *path = str_fmt("%s/%s/", dir, name);

	return bundles_add(b, path, e);
}

static void add_ok(struct bundles *b, const char *dir, const char *name)
{
	struct err e = { 0 };

	if (add(b, dir, name, &e) < 0)
		fail_msg("%s", e.msg);
}

static void test_adds(void **state)
{
	static const char lines[] = "# comment\n\n  file\tsub/text  /etc/a/text\nfile sub/text /etc/b 0600\n"
				    "program prog /bin/prog\nmodule nf-tables\nmodule dummy boot optional\n"
				    "sysctl net.core.somaxconn 512\nsysctl net/ipv4/conf/eth0.1/x 1 2  3\n"
				    "hook prog\nhook prog a b\nhook /bin/prog c\n";
	scoped_bundles b = { 0 };
	const struct module_want *w;
	size_t n = 0;

	write_bundle(*state, "one", lines);
	add_ok(&b, *state, "one");
	assert_int_equal(b.n_files, 5);
	assert_string_equal(b.files[0].path, "etc/a/text");
	assert_int_equal(b.files[0].mode, 0644);
	assert_string_equal(b.files[0].data, "hello");
	assert_int_equal(b.files[1].mode, 0600);
	assert_int_equal(b.files[2].mode, 0755);
	assert_int_equal(b.steps.n, 5);
	assert_string_equal(b.steps.p[0], "sysctl net/core/somaxconn 512");
	assert_string_equal(b.steps.p[1], "sysctl net/ipv4/conf/eth0.1/x 1 2 3");
	assert_string_equal(b.steps.p[2], "run /lib/cor/hooks/0.1-prog");
	assert_string_equal(b.steps.p[3], "run /lib/cor/hooks/0.2-prog a b");
	assert_string_equal(b.steps.p[4], "run /bin/prog c");
	for (w = bundles_wants(&b); w[n].name; n++)
		;
	assert_string_equal(w[0].name, module_table[0].name);
	assert_string_equal(w[n - 2].name, "nf_tables");
	assert_false(w[n - 2].boot || w[n - 2].optional);
	assert_string_equal(w[n - 1].name, "dummy");
	assert_true(w[n - 1].boot && w[n - 1].optional);
}

static void test_in_the_archive(void **state)
{
	scoped_bundles b = { 0 };
	scoped_cpio c = { 0 };
	scoped_str early = { 0 }, archive = { 0 };
	struct err e = { 0 };

	write_bundle(*state, "one", "file sub/text /etc/a/text\nhook prog\n");
	write_bundle(*state, "two", "file sub/text /etc/a/more\nsysctl a.b 1\nhook prog\n");
	add_ok(&b, *state, "one");
	add_ok(&b, *state, "two");
	cpio_dir(&c, "lib", 0755);
	assert_int_equal(bundles_put(&b, &early, &c, NULL), 0);
	assert_string_equal(early.p,
			    "run /lib/cor/hooks/0.1-prog\nsysctl a/b 1\nrun /lib/cor/hooks/1.1-prog\n");
	if (cpio_write(&c, &archive, &e) < 0) /* every directory is there, and once */
		fail_msg("%s", e.msg);
	assert_non_null(memmem(archive.p, archive.len, "etc/a/more", 11));
	assert_non_null(memmem(archive.p, archive.len, "lib/cor/early", 14));
}

/* Nothing to add adds nothing: not even a directory. */
static void test_none(void **state)
{
	scoped_bundles b = { 0 };
	scoped_cpio c = { 0 };
	scoped_str early = { 0 };

	(void)state;
	assert_int_equal(bundles_put(&b, &early, &c, NULL), 0);
	assert_int_equal(c.n, 0);
	assert_ptr_equal(bundles_wants(&b), module_table);
}

static void test_digest(void **state)
{
	scoped_bundles a = { 0 }, b = { 0 }, c = { 0 };

	write_bundle(*state, "one", "file sub/text /etc/text\n");
	add_ok(&a, *state, "one");
	add_ok(&b, *state, "one");
	assert_string_equal(a.ids.p[0], b.ids.p[0]);
	assert_true(str_starts(a.ids.p[0], "one "));
	fix_write(*state, "one/sub/text", "other", 5);
	add_ok(&c, *state, "one");
	assert_string_not_equal(a.ids.p[0], c.ids.p[0]);
}

#define TEN(s) s s s s s s s s s s

static void test_refuses(void **state)
{
	static const struct {
		const char *line, *says;
	} rows[] = {
		{ "files a /b", "'files': no file, program" },
		{ "file sub/text", "not \"file SOURCE PATH [MODE]\"" },
		{ "file sub/text /a 0644 x", "not \"file" },
		{ "file sub/text etc/a", "not a plain absolute path" },
		{ "file sub/text /", "not a plain absolute path" },
		{ "file sub/text /etc/../init", "not a plain absolute path" },
		{ "file sub/text /etc//a", "not a plain absolute path" },
		{ "file sub/text /etc/" TEN(TEN(TEN("x"))), "is too long" },
		{ "file sub/text /" TEN("xxxxxxxxxxxxxxxxxxxxxxxxx") "xxxxx/a", "254 of one part" },
		{ "file sub/text /init", "is in /init" },
		{ "file sub/text /dev/null", "is in /dev" },
		{ "file sub/text /lib/modules/load", "is in /lib/modules" },
		{ "file sub/text /lib/cor/early", "is in /lib/cor" },
		{ "file sub/text /a 888", "no mode" },
		{ "file sub/text /a 10000", "no mode" },
		{ "file none /a", "none: No such file" },
		{ "file sub /a", "sub: not a regular file" },
		{ "file /etc/passwd /a", "etc/passwd: No such file" }, /* the bundle's own /etc */
		{ "file ../secret /a", "secret: No such file" },
		{ "file out /a", "out: No such file" },
		{ "file fifo /a", "fifo: not a regular file" },
		{ "program sub/text /a", "sub/text: not an ELF file" },
		{ "hook sub/text", "sub/text: not an ELF file" },
		{ "hook /bin/prog", "no line above puts a program at /bin/prog" },
		{ "hook /twice", "no line above puts a program at /twice" },
		{ "module ../x", "no name of a module" },
		{ "module x now", "'now' is not 'boot' or 'optional'" },
		{ "sysctl a", "not \"sysctl" },
		{ "sysctl ../a 1", "no name of a kernel parameter" },
		{ "sysctl /a 1", "no name of a kernel parameter" },
		{ "sysctl a//b 1", "no name of a kernel parameter" },
		{ "sysctl a..b 1", "no name of a kernel parameter" },
		{ "file sub/text /twice", "/twice is there already" },
	};
	scoped_free char *link = str_fmt("%s/one/out", (char *)*state),
			 *fifo = str_fmt("%s/one/fifo", (char *)*state);

	fix_write(*state, "secret", "x", 1);
	write_bundle(*state, "one", "");
	assert_int_equal(symlink("../secret", link), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_free char *text = str_fmt("file sub/text /twice\n%s\n", rows[i].line);
		scoped_bundles b = { 0 };
		struct err e = { 0 };

		write_bundle(*state, "one", text);
		assert_true(add(&b, *state, "one", &e) < 0);
		if (!strstr(e.msg, rows[i].says) || !strstr(e.msg, "/one/: bundle: line 3: "))
			fail_msg("'%s' is not in '%s'", rows[i].says, e.msg);
	}
}

static void test_bad_bundles(void **state)
{
	scoped_bundles b = { 0 };
	struct err e = { 0 };

	assert_int_equal(add(&b, *state, "none", &e), -ENOENT);
	fix_write(*state, "empty/x", "", 0);
	assert_int_equal(add(&b, *state, "empty", &e), -ENOENT);
	fix_write(*state, "one/bundle", "cor-bundle 2\n", 13);
	assert_int_equal(add(&b, *state, "one", &e), -EINVAL);
	assert_non_null(strstr(e.msg, "line 1: not 'cor-bundle 1'"));
	fix_write(*state, "one/bundle", "cor-bundle 1\n\0", 14);
	assert_int_equal(add(&b, *state, "one", &e), -EINVAL);
	assert_non_null(strstr(e.msg, "control character"));
	write_bundle(*state, "a b", "");
	assert_int_equal(add(&b, *state, "a b", &e), -EINVAL);
	assert_non_null(strstr(e.msg, "its name"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_adds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_the_archive, setup, teardown),
		cmocka_unit_test(test_none),
		cmocka_unit_test_setup_teardown(test_digest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_bundles, setup, teardown),
	};

	return cmocka_run_group_tests_name("image/bundle", tests, NULL, NULL);
}
