/* test_modules.c - which modules are taken, in which order, and modules directories that do not add up. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>

#include "image/child.h"
#include "image/modules.h"

struct tree {
	char *dir;
	struct str order;
};

static int setup(void **state)
{
	struct tree *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->dir = fix_mkdir();
	fix_write(t->dir, "modules.builtin", "kernel/lib/inside.ko\n", 21);
	fix_write(t->dir, "modules.order", "", 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct tree *t = *state;

	fix_rmdir(t->dir);
	free(t->dir);
	str_fini(&t->order);
	free(t);
	return 0;
}

/* A line of modules.order only. */
static void list(struct tree *t, const char *path)
{
	str_addf(&t->order, "%s\n", path);
	fix_write(t->dir, "modules.order", t->order.p, t->order.len);
}

static void put(struct tree *t, const char *name, const char *depends)
{
	scoped_free char *path = str_fmt("kernel/%s.ko", name);
	scoped_str m = { 0 };

	list(t, path);
	fix_module_for(&m, depends, FIX_RELEASE);
	fix_write(t->dir, path, m.p, m.len);
}

static int load(const struct tree *t, const struct module_want *want, struct modset *s, struct err *e)
{
	scoped_fd fd = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return modset_load(s, fd, FIX_RELEASE, want, e);
}

static void expect(const struct modset *s, const char *names)
{
	scoped_str got = { 0 };

	for (size_t i = 0; i < s->n; i++)
		str_addf(&got, "%s%s%s", i ? " " : "", s->p[i].name, s->p[i].boot ? "!" : "");
	assert_string_equal(got.p ? got.p : "", names);
}

/* "x" at boot, "y" later; b is needed by both, d by y alone; e and f are not wanted. */
static void test_order(void **state)
{
	static const struct module_want want[] = { { "x", true, false, "" },
						   { "y", false, false, "" },
						   { 0 } };
	scoped_modset s = { 0 };

	put(*state, "f", "e");
	put(*state, "x", "b,c");
	put(*state, "y", "b,d");
	put(*state, "c", "b");
	put(*state, "b", "");
	put(*state, "e", "");
	put(*state, "d", "");
	assert_int_equal(load(*state, want, &s, NULL), 0);
	expect(&s, "b! c! x! d y");
}

/* A module loaded for later that one at boot needs after all, with what is below it. */
static void test_raised_to_boot(void **state)
{
	static const struct module_want want[] = { { "y", false, false, "" },
						   { "x", true, false, "" },
						   { 0 } };
	scoped_modset s = { 0 };

	put(*state, "x", "b");
	put(*state, "y", "b");
	put(*state, "b", "c");
	put(*state, "c", "");
	assert_int_equal(load(*state, want, &s, NULL), 0);
	expect(&s, "c! b! y x!");
}

/* '-' and '_' are the same in names; the file keeps its own. */
static void test_dashes(void **state)
{
	static const struct module_want want[] = { { "virtio_rng", true, false, "" }, { 0 } };
	scoped_modset s = { 0 };

	put(*state, "virtio-rng", "rng-core");
	put(*state, "rng_core", "");
	assert_int_equal(load(*state, want, &s, NULL), 0);
	expect(&s, "rng_core! virtio_rng!");
	assert_string_equal(s.p[1].file, "kernel/virtio-rng.ko");
}

static void test_builtin_and_optional(void **state)
{
	static const struct module_want want[] = {
		{ "inside", true, false, "" }, { "absent", false, true, "" }, { "x", true, false, "" }, { 0 }
	};
	scoped_modset s = { 0 };

	put(*state, "x", "inside");
	assert_int_equal(load(*state, want, &s, NULL), 0);
	expect(&s, "x!");
	assert_true(strv_has(&s.builtin, "inside"));
	assert_true(strv_has(&s.missing, "absent"));
}

static void refuse(const struct tree *t, const char *name, int code, const char *says)
{
	const struct module_want want[] = { { name, true, false, "" }, { 0 } };
	scoped_modset s = { 0 };
	struct err e = { 0 };

	assert_int_equal(load(t, want, &s, &e), code);
	if (!strstr(e.msg, says))
		fail_msg("'%s' is not in '%s'", says, e.msg);
}

static void test_missing(void **state)
{
	put(*state, "x", "gone");
	refuse(*state, "absent", -ENOENT, "absent");
	refuse(*state, "x", -ENOENT, "needed by x");
	list(*state, "kernel/listed.ko");
	refuse(*state, "listed", -ENOENT, "the file is not there");
}

static void test_circles(void **state)
{
	put(*state, "self", "self");
	put(*state, "a", "b");
	put(*state, "b", "c");
	put(*state, "c", "a");
	refuse(*state, "self", -ELOOP, "self");
	refuse(*state, "a", -ELOOP, "needs itself, through c");
}

static void test_too_deep(void **state)
{
	char name[16], needs[16];

	for (int i = 0; i < 40; i++) {
		(void)snprintf(name, sizeof(name), "m%d", i);
		(void)snprintf(needs, sizeof(needs), "m%d", i + 1);
		put(*state, name, i < 39 ? needs : "");
	}
	refuse(*state, "m0", -ELOOP, "levels");
}

static void test_wrong_files(void **state)
{
	struct tree *t = *state;
	scoped_str m = { 0 };

	fix_module_for(&m, "", "6.1.0-0-amd64-other");
	list(t, "kernel/other.ko");
	fix_write(t->dir, "kernel/other.ko", m.p, m.len);
	refuse(t, "other", -ENOEXEC, "built for kernel");
	list(t, "kernel/text.ko");
	fix_write(t->dir, "kernel/text.ko", "text", 4);
	refuse(t, "text", -ENOEXEC, "module text");
	list(t, "kernel/../../out.ko");
	refuse(t, "out", -EINVAL, "bad path");
	list(t, "/abs.ko");
	refuse(t, "abs", -EINVAL, "bad path");
}

static void test_signed_and_packed(void **state)
{
	static const char *const xz[] = { "xz", "-c", NULL };
	static const struct module_want want[] = { { "x", true, false, "" }, { 0 } };
	struct tree *t = *state;
	scoped_free char *packed = NULL;
	scoped_modset s = { 0 };
	scoped_str m = { 0 };
	size_t len, plain;

	fix_module_for(&m, "", FIX_RELEASE);
	plain = m.len;
	fix_sign(&m, 200);
	assert_int_equal(child_output(xz, m.p, m.len, 1 << 20, &packed, &len, NULL), 0);
	list(t, "kernel/x.ko");
	fix_write(t->dir, "kernel/x.ko.xz", packed, len);
	assert_int_equal(load(t, want, &s, NULL), 0);
	assert_string_equal(s.p[0].file, "kernel/x.ko.xz");
	assert_int_equal(s.p[0].len, plain);
	assert_memory_equal(s.p[0].data, m.p, plain);
	modset_fini(&s);
	fix_write(t->dir, "kernel/x.ko.xz", packed, len / 2);
	refuse(t, "x", -EIO, "xz failed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_raised_to_boot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dashes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_builtin_and_optional, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_circles, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_deep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signed_and_packed, setup, teardown),
	};

	return cmocka_run_group_tests_name("image/modules", tests, NULL, NULL);
}
