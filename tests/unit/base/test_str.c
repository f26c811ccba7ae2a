/* test_str.c - base/str.h: strings, vectors, environments, escapes, ids and paths. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

static void test_build(void **state)
{
	scoped_str s = { 0 };
	scoped_free char *p = NULL;

	str_add(&s, "a");
	str_add(&s, NULL);
	str_addn(&s, "b\0c", 3);
	str_addn(&s, NULL, 0);
	str_addc(&s, 'd');
	str_addf(&s, "%d-%s", 42, "e");
	assert_int_equal(str_check(&s), 0);
	assert_int_equal(s.len, 9);
	assert_memory_equal(s.p, "ab\0cd42-e", 10);
	str_reset(&s);
	assert_string_equal(s.p, "");
	str_add(&s, "again");
	p = str_take(&s);
	assert_string_equal(p, "again");
	assert_null(s.p);
	assert_int_equal(s.len + s.cap, 0);
}

static void test_empty(void **state)
{
	struct str s = { 0 };
	scoped_free char *p = NULL;

	str_reset(&s);
	str_fini(&s);
	str_fini(&s);
	p = str_take(&s);
	assert_string_equal(p, "");
}

/* Across every size at which the memory grows. */
static void test_growth(void **state)
{
	scoped_str a = { 0 }, b = { 0 };

	for (int i = 0; i < 3000; i++) {
		str_addc(&a, (char)('a' + i % 26));
		str_addf(&b, "%c", 'a' + i % 26);
		assert_int_equal(strlen(a.p), (size_t)i + 1);
		assert_true(a.len < a.cap);
	}
	assert_string_equal(a.p, b.p);
}

static void test_too_large(void **state)
{
	scoped_str s = { 0 };

	str_add(&s, "kept");
	str_addn(&s, "x", SIZE_MAX - 2);
	assert_int_equal(str_check(&s), -ENOMEM);
	str_add(&s, "ignored");
	assert_string_equal(s.p, "kept");
	assert_null(str_take(&s));
	/* taking starts afresh */
	assert_int_equal(str_check(&s), 0);
}

static void test_strv(void **state)
{
	scoped_strv v = { 0 };

	for (int i = 0; i < 100; i++)
		strv_addf(&v, "%d", i);
	strv_add(&v, "");
	strv_add_take(&v, strdup("own"));
	assert_int_equal(strv_check(&v), 0);
	assert_int_equal(v.n, 102);
	assert_null(v.p[102]);
	assert_string_equal(v.p[99], "99");
	assert_true(strv_has(&v, "57"));
	assert_true(strv_has(&v, ""));
	assert_false(strv_has(&v, "ow"));
	strv_add_take(&v, NULL);
	assert_int_equal(strv_check(&v), -ENOMEM);
	strv_add(&v, "dropped");
	assert_int_equal(v.n, 102);
	strv_fini(&v);
	strv_fini(&v);
	assert_int_equal(strv_check(&v), 0);
	assert_false(strv_has(&v, "57"));
}

static void test_split(void **state)
{
	scoped_strv v = { 0 };

	strv_split(&v, ",a,,b c,", ',');
	assert_int_equal(v.n, 5);
	assert_string_equal(v.p[0], "");
	assert_string_equal(v.p[1], "a");
	assert_string_equal(v.p[2], "");
	assert_string_equal(v.p[3], "b c");
	assert_string_equal(v.p[4], "");
	strv_split(&v, "", ',');
	assert_int_equal(v.n, 6);
	assert_string_equal(v.p[5], "");
}

static void test_env(void **state)
{
	scoped_strv v = { 0 };

	assert_null(strv_env_get(&v, "A"));
	strv_env_set(&v, "A", "1");
	strv_add(&v, "AB=2");
	strv_add(&v, "A");
	strv_add(&v, "A=3");
	assert_string_equal(strv_env_get(&v, "A"), "3");
	assert_string_equal(strv_env_get(&v, "AB"), "2");
	strv_env_set(&v, "A", "x=y");
	assert_int_equal(v.n, 3);
	assert_string_equal(v.p[0], "A=x=y");
	assert_string_equal(v.p[1], "AB=2");
	assert_string_equal(v.p[2], "A");
	assert_null(v.p[3]);
	strv_env_set(&v, "C", "");
	assert_string_equal(strv_env_get(&v, "C"), "");
	assert_null(strv_env_get(&v, "B"));
	assert_int_equal(strv_check(&v), 0);
}

static void test_compare(void **state)
{
	assert_true(str_eq(NULL, NULL));
	assert_false(str_eq(NULL, ""));
	assert_false(str_eq("", NULL));
	assert_true(str_eq("a", "a"));
	assert_true(str_starts("abc", ""));
	assert_true(str_starts("abc", "abc"));
	assert_false(str_starts("abc", "abcd"));
	assert_true(str_ends("abc", ""));
	assert_true(str_ends("abc", "bc"));
	assert_false(str_ends("bc", "abc"));
}

static void test_utf8(void **state)
{
	static const struct {
		const char *p;
		size_t n, len;
	} rows[] = {
		{ "a", 1, 1 },
		{ "", 0, 0 },
		{ "\0", 1, 0 },
		{ "\x1f", 1, 0 },
		{ "\x7f", 1, 0 },
		{ "\x80", 1, 0 },
		{ "\xc2\x9f", 2, 0 }, /* C1 */
		{ "\xc2\xa0", 2, 2 },
		{ "\xc1\xbf", 2, 0 }, /* too long */
		{ "\xe0\x9f\xbf", 3, 0 },
		{ "\xe0\xa0\x80", 3, 3 },
		{ "\xed\x9f\xbf", 3, 3 },
		{ "\xed\xa0\x80", 3, 0 }, /* a surrogate */
		{ "\xf0\x8f\xbf\xbf", 4, 0 },
		{ "\xf0\x90\x80\x80", 4, 4 },
		{ "\xf4\x8f\xbf\xbf", 4, 4 },
		{ "\xf4\x90\x80\x80", 4, 0 }, /* beyond the last */
		{ "\xf8\x88\x80\x80\x80", 5, 0 },
		{ "\xff", 1, 0 },
		{ "\xf0\x90\x80\x80", 3, 0 }, /* cut */
		{ "\xe2\x28\xa1", 3, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (str_utf8_len(rows[i].p, rows[i].n) != rows[i].len)
			fail_msg("row %zu: %zu, not %zu", i, str_utf8_len(rows[i].p, rows[i].n), rows[i].len);
}

static void test_escaped(void **state)
{
	scoped_str s = { 0 };

	str_add_escaped(&s, "ok \xc3\xa4\x1b[2J\n\xc2\x9b\xff", 12);
	assert_string_equal(s.p, "ok \xc3\xa4\\x1b[2J\\x0a\\xc2\\x9b");
	str_reset(&s);
	str_add_escaped(&s, "a\0b", 3);
	assert_string_equal(s.p, "a\\x00b");
}

static void test_id(void **state)
{
	char longest[1026];

	memset(longest, 'x', sizeof(longest));
	longest[1025] = '\0';
	assert_false(str_is_id(longest));
	longest[1024] = '\0';
	assert_true(str_is_id(longest));
	assert_true(str_is_id("a"));
	assert_true(str_is_id("A_z+0-9."));
	assert_true(str_is_id("..."));
	assert_true(str_is_id("-rf"));
	assert_false(str_is_id(NULL));
	assert_false(str_is_id(""));
	assert_false(str_is_id("."));
	assert_false(str_is_id(".."));
	assert_false(str_is_id("a/b"));
	assert_false(str_is_id("a b"));
	assert_false(str_is_id("a\n"));
	assert_false(str_is_id("\xc3\xa4"));
}

static void test_clean_path(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "", "." },
		{ ".", "." },
		{ "./", "." },
		{ "/", "/" },
		{ "//", "/" },
		{ "/..", "/" },
		{ "/../../a", "/a" },
		{ "a", "a" },
		{ "a/", "a" },
		{ "a//b/./c", "a/b/c" },
		{ "a/..", "." },
		{ "a/../..", ".." },
		{ "../a", "../a" },
		{ "../../a/../b", "../../b" },
		{ "a/b/../../c", "c" },
		{ "/a/b/../../../c/", "/c" },
		{ "/a/...", "/a/..." },
		{ "..a/b..", "..a/b.." },
		{ "a/../../b/..", ".." },
		{ "/.", "/" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_free char *p = str_clean_path(rows[i].in);

		assert_non_null(p);
		if (strcmp(p, rows[i].out) != 0)
			fail_msg("\"%s\" became \"%s\", not \"%s\"", rows[i].in, p, rows[i].out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_build),  cmocka_unit_test(test_empty),
		cmocka_unit_test(test_growth), cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_strv),   cmocka_unit_test(test_split),
		cmocka_unit_test(test_env),    cmocka_unit_test(test_compare),
		cmocka_unit_test(test_utf8),   cmocka_unit_test(test_escaped),
		cmocka_unit_test(test_id),     cmocka_unit_test(test_clean_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
