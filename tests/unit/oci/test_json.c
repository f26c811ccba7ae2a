/* test_json.c - oci/json.h: what is refused and how it is named, exact numbers, and the writer. json-c
 * (strict) is the oracle for what is valid. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "oci/json.h"
#include "oracle.h"

static int parse(struct arena *a, const char *text, size_t n, struct json **v, struct err *e)
{
	*v = NULL;
	memset(e, 0, sizeof(*e));
	return json_parse(text, n, "doc", a, v, e);
}

static void expect_error(const char *text, size_t n, const char *message)
{
	scoped_arena a = { 0 };
	struct json *v;
	struct err e;

	assert_int_equal(parse(&a, text, n, &v, &e), -EINVAL);
	assert_int_equal(e.code, -EINVAL);
	if (!strstr(e.msg, message))
		fail_msg("%.60s: wanted \"%s\", got \"%s\"", text, message, e.msg);
}

static void test_errors(void **state)
{
	static const struct {
		const char *text, *message;
	} rows[] = {
		{ "", "doc: the document is empty" },
		{ " \n", "doc: the document is empty" },
		{ "{", "line 1, column 2: expected a name in double quotes" },
		{ "{\"a\":1,}", "column 8: expected a name in double quotes" },
		{ "{\"a\" 1}", "expected ':'" },
		{ "{\"a\":1 \"b\":2}", "expected ',' or '}'" },
		{ "[1,]", "expected a value" },
		{ "[1 2]", "expected ',' or ']'" },
		{ "[1", "expected ',' or ']'" },
		{ "{\"a\":", "the text ends where a value is expected" },
		{ "1 2", "more text behind the end" },
		{ "{}{}", "more text behind the end" },
		{ "\n\n  x", "line 3, column 3: expected a value" },
		{ "NaN", "expected a value" },
		{ "Infinity", "expected a value" },
		{ "'a'", "expected a value" },
		{ "{'a':1}", "expected a name in double quotes" },
		{ "/* c */ 1", "expected a value" },
		{ "1 // c", "more text" },
		{ "tru", "expected a value" },
		{ "01", "not a number" },
		{ "-", "not a number" },
		{ "1.", "not a number" },
		{ "1e", "not a number" },
		{ "+1", "expected a value" },
		{ ".5", "expected a value" },
		{ "\"a", "the text ends inside a string" },
		{ "\"a\\", "the text ends inside a string" },
		{ "\"a\\\"", "the text ends inside a string" },
		{ "\"\\x\"", "unknown escape" },
		{ "\"\\u12\"", "four hexadecimal digits" },
		{ "\"\\u12g4\"", "four hexadecimal digits" },
		{ "\"\\u0000\"", "a NUL character" },
		{ "\"\\ud800\"", "half of a surrogate pair" },
		{ "\"\\udc00\"", "half of a surrogate pair" },
		{ "\"\\ud800\\u0041\"", "half of a surrogate pair" },
		{ "\"\xff\"", "not valid UTF-8" },
		{ "\"\xc0\xaf\"", "not valid UTF-8" },
		{ "\"\xed\xa0\x80\"", "not valid UTF-8" },
		{ "\"\xe0\x80\xaf\"", "not valid UTF-8" },
		{ "\"\xf0\x80\x80\xaf\"", "not valid UTF-8" },
		{ "\"\xf4\x90\x80\x80\"", "not valid UTF-8" },
		{ "\"\xe2\x82\"", "not valid UTF-8" },
		{ "\"a\nb\"", "a control character" },
		{ "{\"a\":1,\"a\":2}", "doc: a: the name appears twice" },
		{ "{\"a\":{\"b\":[0,{\"c\":1,\"d\":2,\"\\u0063\":3}]}}",
		  "doc: a.b[1].c: the name appears twice" },
		{ "{\"x y\":1,\"b\":2,\"x y\":2}", "doc: [\"x y\"]: the name appears twice" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		expect_error(rows[i].text, strlen(rows[i].text), rows[i].message);
	expect_error("\"a\0b\"", 5, "a control character");
	expect_error("1\0", 2, "more text");
	expect_error("\xef\xbb\xbf{}", 5, "expected a value");
}

/* Whatever strict json-c accepts is accepted and the other way round, but for what json.h lists. */
static void test_oracle(void **state)
{
	static const char *const texts[] = {
		"null",
		"true",
		"false",
		"0",
		"-0",
		"1.5e3",
		"1E-2",
		"[]",
		"{}",
		"\"\"",
		"\"\\u00e9\\ud83d\\ude00\\n\\/\"",
		"[1,[2,[3,[]]]]",
		"{\"a\":{\"b\":null}}",
		" \t\r\n[ 1 , 2 ] ",
		"[1,,2]",
		"{,}",
		"[",
		"]",
		"{\"a\"}",
		"\"\\q\"",
		"nul",
		"truefalse",
		"\"\xc3\xa9\"",
		"\"\xc3\"",
		"{\"a\":1,}",
		"[0,]",
		"--1",
		"1..2",
		"0x10",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		scoped_arena a = { 0 };
		bool valid = oracle_accepts(texts[i]);
		struct json *v;
		struct err e;

		if ((parse(&a, texts[i], strlen(texts[i]), &v, &e) == 0) != valid)
			fail_msg("%s: json-c says %d, we say %s", texts[i], valid, e.msg);
	}
}

/* Every cut of a valid text is an error, never a read beyond its end (ASan sees the exact block). */
static void test_truncated(void **state)
{
	static const char text[] =
		"{\"k\\u0041\":[1.5e+3,true,null,\"\\ud83d\\ude00\xc3\xa9\"],\"b\":{\"c\":-12}}";

	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		scoped_arena a = { 0 };
		scoped_free char *block = malloc(n ? n : 1);
		struct json *v;
		struct err e;

		assert_non_null(block);
		memcpy(block, text, n);
		assert_int_equal(parse(&a, block, n, &v, &e), -EINVAL);
		assert_null(v);
	}
}

static void test_depth(void **state)
{
	char text[2 * JSON_DEPTH_MAX + 4];
	scoped_arena a = { 0 };
	struct json *v;
	struct err e;

	memset(text, '[', JSON_DEPTH_MAX);
	memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	assert_int_equal(parse(&a, text, (size_t)2 * JSON_DEPTH_MAX, &v, &e), 0);
	memset(text, '[', JSON_DEPTH_MAX + 1);
	expect_error(text, JSON_DEPTH_MAX + 1, "nested too deeply");
}

static void test_values(void **state)
{
	static const char text[] =
		"{\"u\":18446744073709551615,\"i\":-9223372036854775808,\"f\":1.0,\"e\":1e3,"
		"\"s\":\"\\u00e9\\ud83d\\ude00\\t\",\"b\":true,\"n\":null,\"a\":[1,\"x\"]}";
	scoped_arena a = { 0 };
	struct json *v;
	struct err e;
	const char *s;
	uint64_t u;
	int64_t i;
	bool b;

	assert_int_equal(parse(&a, text, strlen(text), &v, &e), 0);
	assert_int_equal(json_u64(json_get(v, "u"), 0, UINT64_MAX, &u, &e), 0);
	assert_true(u == UINT64_MAX);
	assert_int_equal(json_i64(json_get(v, "i"), INT64_MIN, INT64_MAX, &i, &e), 0);
	assert_true(i == INT64_MIN);
	assert_int_equal(json_string(json_get(v, "s"), &s, &e), 0);
	assert_string_equal(s, "\xc3\xa9\xf0\x9f\x98\x80\t");
	assert_int_equal(json_bool(json_get(v, "b"), &b, &e), 0);
	assert_true(b);
	assert_null(json_get(v, "n"));
	assert_null(json_get(v, "none"));
	assert_null(json_get(json_get(v, "a"), "x"));

	assert_int_equal(json_u64(json_get(v, "i"), 0, UINT64_MAX, &u, &e), -EINVAL);
	assert_string_equal(e.msg, "doc: i: must be a non-negative integer of at most 64 bits, found "
				   "-9223372036854775808");
	assert_int_equal(json_i64(json_get(v, "u"), INT64_MIN, INT64_MAX, &i, &e), -EINVAL);
	assert_int_equal(json_u64(json_get(v, "f"), 0, 10, &u, &e), -EINVAL);
	assert_string_equal(e.msg, "doc: f: must be a non-negative integer of at most 64 bits, found 1.0");
	assert_int_equal(json_u64(json_get(v, "e"), 0, 10000, &u, &e), -EINVAL);
	assert_int_equal(json_u64(json_get(v, "u"), 0, 7, &u, &e), -EINVAL);
	assert_string_equal(e.msg, "doc: u: must be 0 to 7, found 18446744073709551615");
	assert_int_equal(json_string(json_get(v, "a")->first, &s, &e), -EINVAL);
	assert_string_equal(e.msg, "doc: a[0]: must be a string, found a number");
	assert_int_equal(json_want(v, JSON_ARRAY, &e), -EINVAL);
	assert_string_equal(e.msg, "doc: must be an array, found an object");
}

/* What an error quotes is escaped, and cut between characters. */
static void test_quoted(void **state)
{
	static const struct {
		const char *unit;
		size_t n;
		const char *shown;
		size_t shown_n;
		const char *end;
	} rows[] = {
		{ "\xc3\xa9", 200, "\xc3\xa9", 49, "...\"]" },
		{ "\\u001b", 200, "\\x1b", 25, "...\"]" },
		{ "\\u001bc", 3, "\\x1bc", 3, "\"]" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_str text = { 0 }, wanted = { 0 };
		scoped_arena a = { 0 };
		struct json *v;
		struct err e;

		str_add(&text, "{\"");
		for (size_t k = 0; k < rows[i].n; k++)
			str_add(&text, rows[i].unit);
		str_add(&text, "\":1}");
		str_add(&wanted, "doc: [\"");
		for (size_t k = 0; k < rows[i].shown_n; k++)
			str_add(&wanted, rows[i].shown);
		str_addf(&wanted, "%s: x \\x0a", rows[i].end);
		assert_int_equal(parse(&a, text.p, text.len, &v, &e), 0);
		assert_int_equal(json_err(&e, v->first, "x %c", '\n'), -EINVAL);
		assert_string_equal(e.msg, wanted.p);
	}
}

static void test_no_memory(void **state)
{
	static const char text[] = "{\"a\":[1,2,3],\"b\":\"c\"}";
	int failures = 0, r = -ENOMEM;

	for (size_t max = 1; r < 0 && max < 100000; max += 16, failures++) {
		scoped_arena a = { .max = max };
		struct json *v;
		struct err e;

		r = parse(&a, text, strlen(text), &v, &e);
		if (r < 0)
			assert_int_equal(r, -ENOMEM);
	}
	assert_int_equal(r, 0);
	assert_true(failures > 10);
}

/* 100,000 members: the search for duplicates must not be quadratic (the test's time limit sees it). */
static void test_many_members(void **state)
{
	scoped_str text = { 0 };
	scoped_arena a = { 0 };
	struct json *v;
	struct err e;

	str_addc(&text, '{');
	for (int i = 0; i < 100000; i++)
		str_addf(&text, "%s\"k%d\":0", i ? "," : "", i);
	str_add(&text, ",\"k50000\":1}");
	assert_int_equal(str_check(&text), 0);
	assert_int_equal(parse(&a, text.p, text.len, &v, &e), -EINVAL);
	assert_string_equal(e.msg, "doc: k50000: the name appears twice in its object");
}

static void write_all(struct json_writer *w)
{
	json_open(w, NULL, '{');
	json_put_str(w, "s", "a\"b\\\n\x7f\xc3\xa9\xff");
	json_open(w, "l", '[');
	json_put_u64(w, NULL, UINT64_MAX);
	json_put_i64(w, NULL, -1);
	json_open(w, NULL, '{');
	json_close(w, '}');
	json_close(w, ']');
	json_put_bool(w, "t", true);
	json_close(w, '}');
}

static void test_writer(void **state)
{
	scoped_str one = { 0 }, many = { 0 };
	struct json_writer w = { .to = &one, .indent = "" };
	scoped_arena a = { 0 };
	const char *s;
	struct json *v;
	struct err e;

	write_all(&w);
	assert_string_equal(one.p, "{\"s\":\"a\\\"b\\\\\\u000a\\u007f\xc3\xa9\xef\xbf\xbd\","
				   "\"l\":[18446744073709551615,-1,{}],\"t\":true}");
	w = (struct json_writer){ .to = &many, .indent = "\t" };
	write_all(&w);
	assert_string_equal(many.p,
			    "{\n\t\"s\": \"a\\\"b\\\\\\u000a\\u007f\xc3\xa9\xef\xbf\xbd\",\n"
			    "\t\"l\": [\n\t\t18446744073709551615,\n\t\t-1,\n\t\t{}\n\t],\n\t\"t\": true\n}");
	assert_int_equal(parse(&a, many.p, many.len, &v, &e), 0);
	assert_int_equal(json_string(json_get(v, "s"), &s, &e), 0);
	assert_string_equal(s, "a\"b\\\n\x7f\xc3\xa9\xef\xbf\xbd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),    cmocka_unit_test(test_oracle),
		cmocka_unit_test(test_truncated), cmocka_unit_test(test_depth),
		cmocka_unit_test(test_values),    cmocka_unit_test(test_quoted),
		cmocka_unit_test(test_no_memory), cmocka_unit_test(test_many_members),
		cmocka_unit_test(test_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
