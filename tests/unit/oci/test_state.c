/* test_state.c - oci/state.h: documents there and back, half-written files, the tables of `list`. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "oci/state.h"

static char key_1[] = "a.b", value_1[] = "c \"d\"", key_2[] = "e", value_2[] = "";
static struct spec_kv annotations[] = { { key_1, value_1 }, { key_2, value_2 } };

static struct oci_state sample(void)
{
	struct oci_state s = { .id = "web-1",
			       .status = STATE_RUNNING,
			       .pid = 4711,
			       .bundle = "/b",
			       .rootfs = "/b/rootfs",
			       .created = "2026-11-22T01:18:00.000000001Z",
			       .owner = "root" };

	s.annotations.p = annotations;
	s.annotations.n = 2;
	return s;
}

static void test_shape(void **state)
{
	struct oci_state s = sample();
	scoped_str text = { 0 };

	state_write(&s, "", &text);
	assert_string_equal(text.p,
			    "{\"ociVersion\":\"1.3.0\",\"id\":\"web-1\",\"pid\":4711,\"status\":\"running\","
			    "\"bundle\":\"/b\","
			    "\"rootfs\":\"/b/rootfs\",\"created\":\"2026-11-22T01:18:00.000000001Z\","
			    "\"annotations\":{\"a.b\":\"c \\\"d\\\"\",\"e\":\"\"},\"owner\":\"root\"}");
	str_reset(&text);
	s = (struct oci_state){ .id = "x", .bundle = "/b", .status = STATE_STOPPED };
	state_write(&s, "  ", &text);
	assert_string_equal(text.p, "{\n  \"ociVersion\": \"1.3.0\",\n  \"id\": \"x\",\n  \"pid\": 0,\n"
				    "  \"status\": \"stopped\",\n  \"bundle\": \"/b\"\n}");
}

static void test_there_and_back(void **state)
{
	for (int i = 0; i < STATE_STATUS_N; i++) {
		struct oci_state s = sample(), back;
		scoped_str text = { 0 }, again = { 0 };
		struct err e = { 0 };

		s.status = (enum state_status)i;
		s.pid_start = UINT64_MAX;
		state_write(&s, "\t", &text);
		if (state_read(text.p, text.len, &back, &e) < 0)
			fail_msg("%s", e.msg);
		assert_int_equal(back.status, i);
		assert_true(back.pid_start == UINT64_MAX);
		state_write(&back, "\t", &again);
		assert_string_equal(text.p, again.p);
		state_fini(&back);
		state_fini(&back);
	}
}

static void test_half_written(void **state)
{
	struct oci_state s = sample();
	scoped_str text = { 0 };

	state_write(&s, "", &text);
	for (size_t n = 0; n < text.len; n++) {
		struct oci_state back;
		struct err e = { 0 };

		assert_int_equal(state_read(text.p, n, &back, &e), -EINVAL);
		assert_null(back.id);
		assert_true(str_starts(e.msg, "state: "));
	}
}

static void test_faults(void **state)
{
	static const struct {
		const char *json, *message;
	} rows[] = {
		{ "{}", "state: ociVersion: is required, but missing" },
		{ "{\"ociVersion\":\"1\"}", "state: id: is required, but missing" },
		{ "{\"ociVersion\":\"1\",\"id\":\"../x\"}", "state: id: is not a container ID" },
		{ "{\"ociVersion\":\"1\",\"id\":\"x\",\"pid\":-1}",
		  "state: pid: must be 0 to 2147483647, found -1" },
		{ "{\"ociVersion\":\"1\",\"id\":\"x\",\"pid\":1,\"status\":\"dead\"}",
		  "state: status: \"dead\" is not a status" },
		{ "{\"ociVersion\":\"1\",\"id\":\"x\",\"pid\":1,\"status\":\"running\",\"bundle\":\"b\"}",
		  "state: bundle: must be an absolute path, found \"b\"" },
		{ "{\"ociVersion\":\"1\",\"id\":\"x\",\"pid\":1,\"status\":\"running\",\"bundle\":\"/"
		  "b\",\"annotations\":[]}",
		  "state: annotations: must be an object, found an array" },
		{ "\0\0\0\0", "state: not valid JSON: line 1, column 1" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t n = rows[i].json[0] ? strlen(rows[i].json) : 4;
		struct oci_state s;
		struct err e = { 0 };

		assert_int_equal(state_read(rows[i].json, n, &s, &e), -EINVAL);
		if (!str_starts(e.msg, rows[i].message))
			fail_msg("row %zu: %s", i, e.msg);
	}
}

static void test_list(void **state)
{
	struct oci_state s[2] = { sample(), sample() };
	scoped_str table = { 0 }, json = { 0 }, quiet = { 0 }, none = { 0 };

	s[1].id = "a-rather-long-name";
	s[1].status = STATE_STOPPED;
	s[1].pid = 0;
	s[1].bundle = "/x\n\x1b[2J";
	state_list_table(s, 2, &table);
	assert_string_equal(table.p,
			    "ID                   PID         STATUS      BUNDLE          CREATED    "
			    "                      "
			    "OWNER\n"
			    "web-1                4711        running     /b              "
			    "2026-11-22T01:18:00.000000001Z   "
			    "root\n"
			    "a-rather-long-name   0           stopped     /x\\x0a\\x1b[2J   "
			    "2026-11-22T01:18:00.000000001Z   "
			    "root\n");
	state_list_quiet(s, 2, &quiet);
	assert_string_equal(quiet.p, "web-1\na-rather-long-name\n");
	s[0] = (struct oci_state){ .id = "x", .bundle = "/b" };
	state_list_json(s, 1, &json);
	assert_string_equal(json.p, "[{\"ociVersion\":\"1.3.0\",\"id\":\"x\",\"pid\":0,\"status\":"
				    "\"creating\",\"bundle\":\"/b\"}]");
	state_list_json(NULL, 0, &none);
	assert_string_equal(none.p, "[]");
	str_reset(&none);
	state_list_table(NULL, 0, &none);
	assert_string_equal(none.p, "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
}

static void test_time(void **state)
{
	struct timespec t = { .tv_sec = 1795310280, .tv_nsec = 5 };
	char text[STATE_TIME_MAX];

	state_time(&t, text);
	assert_string_equal(text, "2026-11-22T01:18:00.000000005Z");
	t = (struct timespec){ .tv_sec = INT64_MAX, .tv_nsec = 0 };
	state_time(&t, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000000000Z");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shape),        cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_half_written), cmocka_unit_test(test_faults),
		cmocka_unit_test(test_list),         cmocka_unit_test(test_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
