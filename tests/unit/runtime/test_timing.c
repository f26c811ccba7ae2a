/* test_timing.c - runtime/timing.h: marks of several processes become phases, in the order of their time. */
#include "unit.h"

#include <errno.h>

#include "base/io.h"
#include "runtime/timing.h"
#include "tmpdir.h"

static const char marks[] = "5000000 monitor vm-started\n"
			    "1000000 cor start\n"
			    "2500000 cor parsed\n"
			    "5500000 agent own-mark\n";

static void test_table(void **state)
{
	static const char want[] =
		"     at ms    took ms  process  phase        \n"
		"       0.0        0.0  cor      start        cor begins\n"
		"       1.5        1.5  cor      parse        read and check config.json and settings\n"
		"       4.0        2.5  monitor  VM started   namespaces, exec of the hypervisor\n"
		"       4.5        0.5  agent    own-mark     \n";
	scoped_str text = { 0 };

	(void)state;
	assert_int_equal(timing_table(marks, &text), 0);
	assert_string_equal(text.p, want);
}

static void test_json(void **state)
{
	static const char want[] = "[\n"
				   "  {\n"
				   "    \"phase\": \"start\",\n"
				   "    \"mark\": \"start\",\n"
				   "    \"process\": \"cor\",\n"
				   "    \"atNs\": 0,\n"
				   "    \"tookNs\": 0\n"
				   "  },\n"
				   "  {\n"
				   "    \"phase\": \"x\\\"y\",\n"
				   "    \"mark\": \"x\\\"y\",\n"
				   "    \"process\": \"agent\",\n"
				   "    \"atNs\": 18446744073709551614,\n"
				   "    \"tookNs\": 18446744073709551614\n"
				   "  }\n"
				   "]\n";
	scoped_str text = { 0 };

	(void)state;
	assert_int_equal(timing_json("18446744073709551615 agent x\"y\n1 cor start", &text), 0);
	assert_string_equal(text.p, want);
}

static void test_malformed(void **state)
{
	static const char *const bad[] = { "",
					   "\n",
					   "x",
					   "1 cor",
					   "x cor start\n",
					   "-1 cor start\n",
					   "1 cor start\n\n",
					   "18446744073709551616 cor start\n",
					   "1 cor start\n2" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		scoped_str text = { 0 };

		if (timing_table(bad[i], &text) != -EBADMSG || timing_json(bad[i], &text) != -EBADMSG)
			fail_msg("taken: \"%s\"", bad[i]);
	}
}

/* More marks than are shown: the rest is left out, no memory is overrun. */
static void test_many(void **state)
{
	scoped_str text = { 0 }, table = { 0 };
	size_t lines = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		str_addf(&text, "%d cor start\n", i);
	assert_int_equal(timing_table(text.p, &table), 0);
	for (const char *p = table.p; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 1 + 256);
}

static void test_report(void **state)
{
	const struct tmpdir *t = *state;
	scoped_free char *path = str_fmt("%s/out.json", t->path), *text = NULL;
	struct cli_create o = { 0 };
	struct err e;
	size_t n;

	assert_int_equal(timing_report(t->fd, &o, &e), 0); /* nothing asked */
	o.timing_json = path;
	assert_int_equal(timing_report(t->fd, &o, &e), -ENOENT);
	assert_int_equal(tmpdir_write(t, "marks", marks), 0);
	assert_int_equal(timing_report(t->fd, &o, &e), 0);
	assert_int_equal(io_read_file_at(t->fd, "out.json", 1u << 20, &text, &n), 0);
	assert_non_null(strstr(text, "\"mark\": \"own-mark\""));
	o.timing_json = "/nonexistent/x.json";
	assert_int_equal(timing_report(t->fd, &o, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "--timing-json /nonexistent/x.json"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_many),
		cmocka_unit_test_setup_teardown(test_report, tmpdir_set_up, tmpdir_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
