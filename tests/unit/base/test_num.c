/* test_num.c - base/num.h: every parser over its edges, and outputs that stay on failure. */
#include "unit.h"

#include <errno.h>
#include <limits.h>

#include "base/num.h"

#define UNTOUCHED UINT64_C(0xa5a5a5a5a5a5a5a5)

struct row {
	const char *text;
	int r;
	uint64_t want;
};

static void walk(const struct row *rows, size_t n, int (*parse)(const char *s, uint64_t *ret))
{
	for (size_t i = 0; i < n; i++) {
		uint64_t v = UNTOUCHED;
		int r = parse(rows[i].text, &v);
		uint64_t want = rows[i].r < 0 ? UNTOUCHED : rows[i].want;

		if (r != rows[i].r || v != want)
			fail_msg("\"%s\": %d, %llu; not %d, %llu", rows[i].text ? rows[i].text : "(null)", r,
				 (unsigned long long)v, rows[i].r, (unsigned long long)want);
	}
}

static void test_u64(void **state)
{
	static const struct row rows[] = {
		{ "0", 0, 0 },
		{ "00000000000000000000000000007", 0, 7 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "99999999999999999999999999999", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ NULL, -EINVAL, 0 },
		{ "-0", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 ", -EINVAL, 0 },
		{ "1\n", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 },
		{ "1e3", -EINVAL, 0 },
		{ "1,000", -EINVAL, 0 },
		{ "\xd9\xa1", -EINVAL, 0 }, /* an Arabic digit */
	};

	walk(rows, ARRAY_LEN(rows), num_parse_u64);
}

static int parse_max_100(const char *s, uint64_t *ret)
{
	return num_parse_u64_max(s, 100, ret);
}

static void test_u64_max(void **state)
{
	static const struct row rows[] = { { "100", 0, 100 },
					   { "101", -ERANGE, 0 },
					   { "18446744073709551616", -ERANGE, 0 },
					   { "x", -EINVAL, 0 } };

	walk(rows, ARRAY_LEN(rows), parse_max_100);
}

static int parse_i64(const char *s, uint64_t *ret)
{
	int64_t v = (int64_t)*ret;
	int r = num_parse_i64(s, &v);

	*ret = (uint64_t)v;
	return r;
}

static void test_i64(void **state)
{
	static const struct row rows[] = {
		{ "0", 0, 0 },
		{ "-0", 0, 0 },
		{ "-1", 0, UINT64_MAX },
		{ "9223372036854775807", 0, INT64_MAX },
		{ "9223372036854775808", -ERANGE, 0 },
		{ "-9223372036854775808", 0, UINT64_C(1) << 63 },
		{ "-9223372036854775809", -ERANGE, 0 },
		{ "-", -EINVAL, 0 },
		{ "--1", -EINVAL, 0 },
		{ "- 1", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ NULL, -EINVAL, 0 },
	};

	walk(rows, ARRAY_LEN(rows), parse_i64);
}

static int parse_octal(const char *s, uint64_t *ret)
{
	uint32_t v = (uint32_t)*ret;
	int r = num_parse_octal(s, &v);

	if (r == 0)
		*ret = v;
	else
		assert_int_equal(v, (uint32_t)*ret);
	return r;
}

static void test_octal(void **state)
{
	static const struct row rows[] = {
		{ "0", 0, 0 },
		{ "0755", 0, 0755 },
		{ "755", 0, 0755 },
		{ "37777777777", 0, UINT32_MAX },
		{ "40000000000", -ERANGE, 0 },
		{ "8", -EINVAL, 0 },
		{ "0o755", -EINVAL, 0 },
		{ "-7", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ NULL, -EINVAL, 0 },
	};

	walk(rows, ARRAY_LEN(rows), parse_octal);
}

static void test_size(void **state)
{
	static const struct row rows[] = {
		{ "4096", 0, 4096 },
		{ "512M", 0, 512ull << 20 },
		{ "1GiB", 0, 1ull << 30 },
		{ "1gib", 0, 1ull << 30 },
		{ "3kB", 0, 3072 },
		{ "2T", 0, 2ull << 40 },
		{ "0T", 0, 0 },
		{ "16777215T", 0, 16777215ull << 40 },
		{ "16777216T", -ERANGE, 0 },
		{ "1P", -EINVAL, 0 },
		{ "1B", -EINVAL, 0 },
		{ "1Mi", -EINVAL, 0 },
		{ "1MiBB", -EINVAL, 0 },
		{ "1M ", -EINVAL, 0 },
		{ "M", -EINVAL, 0 },
		{ "1.5G", -EINVAL, 0 },
		{ "-1M", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ NULL, -EINVAL, 0 },
	};

	walk(rows, ARRAY_LEN(rows), num_parse_size);
}

static void test_duration(void **state)
{
	static const struct row rows[] = {
		{ "0", 0, 0 },
		{ "0s", 0, 0 },
		{ "5s", 0, 5000000000ull },
		{ "+5s", 0, 5000000000ull },
		{ "100ms", 0, 100000000 },
		{ "1m30s", 0, 90000000000ull },
		{ "1.5h", 0, 5400000000000ull },
		{ ".5s", 0, 500000000 },
		{ "1.s", 0, 1000000000 },
		{ "1.0000000001s", 0, 1000000000 },
		{ "0.1234567890123456789012345s", 0, 123456789 },
		{ "7us", 0, 7000 },
		{ "7\xc2\xb5s", 0, 7000 },
		{ "7\xce\xbcs", 0, 7000 },
		{ "7ns", 0, 7 },
		{ "9223372036854775807ns", 0, INT64_MAX },
		{ "9223372036854775808ns", -ERANGE, 0 },
		{ "2562048h", -ERANGE, 0 },
		{ "9223372036s9223372036s", -ERANGE, 0 },
		{ "99999999999999999999s", -ERANGE, 0 },
		{ "5", -EINVAL, 0 },
		{ "-5s", -EINVAL, 0 },
		{ "5x", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ ".s", -EINVAL, 0 },
		{ "1 s", -EINVAL, 0 },
		{ "1s ", -EINVAL, 0 },
		{ "1..5s", -EINVAL, 0 },
		{ "+", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ NULL, -EINVAL, 0 },
	};

	walk(rows, ARRAY_LEN(rows), num_parse_duration);
}

static int parse_bool(const char *s, uint64_t *ret)
{
	bool v = false, w = true;
	int r = num_parse_bool(s, &v), again = num_parse_bool(s, &w);

	assert_int_equal(r, again);
	if (r == 0) {
		assert_int_equal(v, w);
		*ret = v;
	} else {
		assert_false(v);
		assert_true(w);
	}
	return r;
}

static void test_bool(void **state)
{
	static const struct row rows[] = {
		{ "1", 0, 1 },        { "true", 0, 1 },    { "yes", 0, 1 },         { "on", 0, 1 },
		{ "0", 0, 0 },        { "false", 0, 0 },   { "no", 0, 0 },          { "off", 0, 0 },
		{ "", -EINVAL, 0 },   { "2", -EINVAL, 0 }, { "true ", -EINVAL, 0 }, { "t", -EINVAL, 0 },
		{ NULL, -EINVAL, 0 },
	};

	walk(rows, ARRAY_LEN(rows), parse_bool);
}

static void test_checked_sums(void **state)
{
	uint64_t v = UNTOUCHED;

	assert_int_equal(num_add(UINT64_MAX, 1, &v), -EOVERFLOW);
	assert_int_equal(num_mul(UINT64_MAX, 2, &v), -EOVERFLOW);
	assert_true(v == UNTOUCHED);
	assert_int_equal(num_add(UINT64_MAX - 1, 1, &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(num_mul(UINT64_MAX, 1, &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(num_min(1, 2), 1);
	assert_int_equal(num_max(1, 2), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_u64),  cmocka_unit_test(test_u64_max),
		cmocka_unit_test(test_i64),  cmocka_unit_test(test_octal),
		cmocka_unit_test(test_size), cmocka_unit_test(test_duration),
		cmocka_unit_test(test_bool), cmocka_unit_test(test_checked_sums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
