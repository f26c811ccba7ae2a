/* test_early.c - the steps of bundles at boot: in order, to the first failure, which is named. */
#include <errno.h>
#include <string.h>

#include "unit.h"

#include "agent/early.h"
#include "base/io.h"
#include "base/str.h"
#include "tmpdir.h"

static void put(const struct tmpdir *t, const char *name, const char *text)
{
	assert_int_equal(io_replace_file_at(t->fd, name, text, strlen(text), 0644), 0);
}

static void expect(const struct tmpdir *t, const char *name, const char *want)
{
	char *text = NULL;
	size_t n;

	assert_int_equal(io_read_file_at(t->fd, name, 4096, &text, &n), 0);
	assert_string_equal(text, want);
	free(text);
}

static int run(const struct tmpdir *t, const char *list, struct err *e)
{
	char *path = str_fmt("%s/early", t->path);
	int r;

	assert_non_null(path);
	put(t, "early", list);
	r = early_run(path, t->path, e);
	free(path);
	return r;
}

static void steps(void **state)
{
	const struct tmpdir *t = *state;
	char *list = str_fmt(
		"sysctl value 1 2 3\nrun /bin/cp %s/value %s/first\nsysctl value 4\n\nrun /bin/true\n",
		t->path, t->path);
	struct err e = { 0 };

	put(t, "value", "");
	assert_int_equal(run(t, list, &e), 0);
	expect(t, "first", "1 2 3"); /* in order */
	expect(t, "value", "4 2 3"); /* one write, nothing cut: a parameter is no file */
	free(list);
	assert_int_equal(early_run("/no/such/list", "/proc/sys", &e), 0);
}

static void failures(void **state)
{
	static const struct {
		const char *list;
		int code;
		const char *says;
	} rows[] = {
		{ "sysctl none 1\n", -ENOENT, "sysctl none = 1: " },
		{ "sysctl none\n", -EBADMSG, "has no value" },
		{ "run /no/such/program\n", -ENOENT, "hook /no/such/program" },
		{ "run /bin/false\n", -EIO, "hook /bin/false: exit code 1: it said nothing" },
		{ "run /bin/cat /no/such/file\n", -EIO,
		  "exit code 1: /bin/cat: /no/such/file: No such file" },
		{ "jump 1\n", -EBADMSG, "'jump' is no step" },
		{ "jump\n", -EBADMSG, "'jump' is no step" },
		{ "run /bin/true 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n", -E2BIG, "more than 16 words" },
	};
	const struct tmpdir *t = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *list = str_fmt("%srun /bin/cp %s/early %s/after\n", rows[i].list, t->path, t->path);
		struct err e = { 0 };

		assert_int_equal(run(t, list, &e), rows[i].code);
		if (!strstr(e.msg, rows[i].says))
			fail_msg("'%s' is not in '%s'", rows[i].says, e.msg);
		assert_int_equal(faccessat(t->fd, "after", F_OK, 0), -1);
		free(list);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(steps, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(failures, tmpdir_set_up, tmpdir_tear_down),
	};

	return cmocka_run_group_tests_name("agent/early", tests, NULL, NULL);
}
