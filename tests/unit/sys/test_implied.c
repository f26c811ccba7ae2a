/* What a layer says of directories without an entry: as cor-image writes it, and what an engine's layer can
 * have by that name. */
#include <errno.h>

#include "unit.h"

#include "sys/implied.h"
#include "tmpdir.h"

static void expect_refused(const struct tmpdir *t)
{
	char *list = NULL;
	size_t len = 0;

	alarm(20); /* the answer to a pipe must not wait for a writer */
	assert_int_equal(implied_read_list(t->fd, &list, &len), -EBADMSG);
	alarm(0);
	assert_null(list);
}

static void test_list(void **state)
{
	const struct tmpdir *t = *state;
	char *list = NULL;
	size_t len = 0;

	assert_int_equal(implied_read_list(t->fd, &list, &len), -ENOENT);
	assert_int_equal(tmpdir_write(t, IMPLIED_FILE, "var"), 0);
	assert_int_equal(implied_read_list(t->fd, &list, &len), 0);
	assert_int_equal(len, 3);
	assert_string_equal(list, "var");
	free(list);
	assert_int_equal(unlinkat(t->fd, IMPLIED_FILE, 0), 0);
}

static void test_no_file(void **state)
{
	const struct tmpdir *t = *state;

	assert_int_equal(mkfifoat(t->fd, IMPLIED_FILE, 0600), 0);
	expect_refused(t);
	assert_int_equal(unlinkat(t->fd, IMPLIED_FILE, 0), 0);
	assert_int_equal(mkdirat(t->fd, IMPLIED_FILE, 0700), 0);
	expect_refused(t);
	assert_int_equal(unlinkat(t->fd, IMPLIED_FILE, AT_REMOVEDIR), 0);
	assert_int_equal(tmpdir_write(t, "file", "var"), 0);
	assert_int_equal(symlinkat("file", t->fd, IMPLIED_FILE), 0);
	expect_refused(t);
	assert_int_equal(unlinkat(t->fd, IMPLIED_FILE, 0), 0);
	assert_int_equal(mknodat(t->fd, IMPLIED_FILE, S_IFSOCK | 0600, 0), 0);
	expect_refused(t);
	assert_int_equal(unlinkat(t->fd, IMPLIED_FILE, 0), 0);
	assert_int_equal(unlinkat(t->fd, "file", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_list, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_no_file, tmpdir_set_up, tmpdir_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
