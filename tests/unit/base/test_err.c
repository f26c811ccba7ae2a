/* test_err.c - base/err.h: codes, texts, cutting, and texts from a guest. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"

static void test_set(void **state)
{
	struct err e = { 0 };

	errno = EPERM;
	assert_int_equal(err_set(&e, -ENOENT, "open %s: %m", "x"), -ENOENT);
	assert_int_equal(e.code, -ENOENT);
	assert_string_equal(e.msg, "open x: No such file or directory");
	assert_int_equal(errno, EPERM);
	assert_int_equal(err_set(NULL, -EIO, "no one asks"), -EIO);
}

static void test_cut(void **state)
{
	char big[3 * ERR_MSG_MAX];
	struct err e = { 0 };

	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(err_set(&e, -EIO, "%s", big), -EIO);
	assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
	assert_int_equal(err_wrap(&e, "context"), -EIO);
	assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
	assert_memory_equal(e.msg, "context: aaa", 12);
	assert_int_equal(err_wrap(&e, "%s", big), -EIO);
	assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
	assert_int_equal(e.msg[0], 'a');
}

static void test_wrap(void **state)
{
	struct err e = { 0 };

	assert_int_equal(err_set(&e, -ENOENT, "a"), -ENOENT);
	errno = 0;
	assert_int_equal(err_wrap(&e, "disk %u (%m)", 3), -ENOENT);
	assert_string_equal(e.msg, "disk 3 (No such file or directory): a");
	assert_int_equal(errno, 0);

	e = (struct err){ .code = -EACCES };
	assert_int_equal(err_wrap(&e, "x"), -EACCES);
	assert_string_equal(e.msg, "x: Permission denied");
}

/* "return err_wrap(e, ...)" must never turn a failure into a success. */
static void test_wrap_is_never_success(void **state)
{
	struct err e = { 0 };

	assert_int_equal(err_wrap(NULL, "x"), -EIO);
	assert_int_equal(err_wrap(&e, "x"), -EIO);
	assert_string_equal(e.msg, "x: Input/output error");
	e = (struct err){ .code = 7, .msg = "odd" };
	assert_int_equal(err_wrap(&e, "x"), -EIO);
	assert_int_equal(e.code, -EIO);
}

static void test_import(void **state)
{
	static const char hostile[] = "a\x1b[31mb\xc2\x9b"
				      "c\xc3\xa4\nz\0hidden";
	char big[2 * ERR_MSG_MAX];
	struct err e = { 0 };

	assert_int_equal(err_import(&e, -ENOENT, "gone", 4), -ENOENT);
	assert_string_equal(e.msg, "gone");
	assert_int_equal(err_import(&e, -ENOENT, hostile, sizeof(hostile)), -ENOENT);
	assert_string_equal(e.msg, "a?[31mb??c\xc3\xa4?z");

	/* a continued line stays one; a line that could pose as a message of its own does not */
	assert_int_equal(err_import(&e, -EIO, "a\n  b\nc\n d\n  ", 13), -EIO);
	assert_string_equal(e.msg, "a\n  b?c? d\n  ");

	/* a text of more than there is room for is not cut inside a character */
	for (size_t i = 0; i + 3 <= sizeof(big); i += 3)
		memcpy(big + i, "\xe6\x97\xa5", 3);
	assert_int_equal(err_import(&e, -EIO, big, sizeof(big) / 3 * 3), -EIO);
	assert_int_equal(strlen(e.msg), (ERR_MSG_MAX - 1) / 3 * 3);

	assert_int_equal(err_import(&e, -EIO, NULL, 0), -EIO);
	assert_string_equal(e.msg, "");
}

static void test_import_codes(void **state)
{
	static const int bad[] = { 0, 1, 2147483647, -2147483647 - 1, -4096 };
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(err_import(&e, bad[i], "x", 1), -EIO);
		assert_int_equal(e.code, -EIO);
		assert_int_equal(err_import(NULL, bad[i], "x", 1), -EIO);
	}
	assert_int_equal(err_import(&e, -4095, "x", 1), -4095);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),    cmocka_unit_test(test_cut),
		cmocka_unit_test(test_wrap),   cmocka_unit_test(test_wrap_is_never_success),
		cmocka_unit_test(test_import), cmocka_unit_test(test_import_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
