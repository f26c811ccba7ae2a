/* test_qmp.c - hyper/qmp.h: what is read from a reply, what is refused, and a conversation. Answers are
 * put into the socket before the question: the numbers that commands get are known. */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hyper/qmp.h"

static const struct {
	const char *line;
	enum qmp_kind kind;
	const char *text;
	bool has_id;
	uint64_t id;
} good[] = {
	{ "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2}}, \"capabilities\": "
	  "[\"oob\"]}}\r",
	  QMP_GREETING, "", false, 0 },
	{ "{\"return\": {}, \"id\": 7}\r", QMP_RETURN, "", true, 7 },
	{ " { \"return\" : [ 1 , -2.5e+3 , true , false , null , \"x\" , [ ] , { } ] } ", QMP_RETURN, "",
	  false, 0 },
	{ "{\"id\": 18446744073709551615, \"error\": {\"class\": \"GenericError\", \"desc\": \"no "
	  "\\\"way\\\"\"}}",
	  QMP_ERROR, "no \"way\"", true, UINT64_MAX },
	{ "{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}", QMP_EVENT, "STOP",
	  false, 0 },
	/* ids that are not ours */
	{ "{\"return\": {}, \"id\": 18446744073709551616}", QMP_RETURN, "", false, 0 },
	{ "{\"return\": {}, \"id\": \"7\"}", QMP_RETURN, "", false, 0 },
	{ "{\"return\": {}, \"id\": -7}", QMP_RETURN, "", false, 0 },
	{ "{\"return\": {}, \"id\": {\"id\": 7}}", QMP_RETURN, "", false, 0 },
	/* the same words deeper down, or in another object, mean nothing */
	{ "{\"return\": {\"error\": 1, \"QMP\": 2, \"id\": 3, \"desc\": \"x\", \"event\": \"y\"}}",
	  QMP_RETURN, "", false, 0 },
	{ "{\"error\": {\"more\": {\"desc\": \"deep\"}, \"desc\": \"right\"}}", QMP_ERROR, "right", false,
	  0 },
	{ "{\"error\": {}, \"x\": {\"desc\": \"other\"}}", QMP_ERROR, "", false, 0 },
	{ "{\"error\": \"flat\", \"x\": {\"desc\": \"other\"}}", QMP_ERROR, "", false, 0 },
	{ "{\"error\": {\"desc\": \"\\u001b[31m\\n\\tred\\\\ \xc3\xa9\"}}", QMP_ERROR, "?[31m  red\\ ??",
	  false, 0 },
};

static const char *const bad[] = {
	"",
	" ",
	"null",
	"7",
	"[]",
	"\"return\"",
	"{}",
	"{\"x\": 1}",
	"{\"return\": {}",
	"{\"return\": {}}}",
	"{\"return\": {}} x",
	"{\"return\": {}, }",
	"{\"return\": [1,]}",
	"{\"return\": }",
	"{\"return\"}",
	"{\"return\" 1}",
	"{return: 1}",
	"{\"return\": 1 \"id\": 2}",
	"{\"return\": 01}",
	"{\"return\": -}",
	"{\"return\": 1.}",
	"{\"return\": 1e}",
	"{\"return\": +1}",
	"{\"return\": .5}",
	"{\"return\": tru}",
	"{\"return\": True}",
	"{\"return\": nulll}",
	"{\"return\": \"}",
	"{\"return\": \"\\x\"}",
	"{\"return\": \"\\u12g4\"}",
	"{\"return\": \"\\u12\"}",
	"{\"return\": \"\\",
	"{\"return\": \"a\nb\"}",
	"{\"return\": [}",
	"{\"return\": {]}",
	"{\"return\": [1}}",
	"{,}",
	"{\"return\": [,]}",
	"{\"return\": 1}{\"return\": 1}",
	/* two kinds at once: which one is meant? */
	"{\"return\": {}, \"error\": {}}",
	"{\"event\": \"x\", \"return\": 1}",
	"{\"QMP\": {}, \"event\": \"x\"}",
};

static void test_good(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct qmp_reply r = { .kind = QMP_KIND_N };

		print_message("# case %zu\n", i);
		assert_int_equal(qmp_scan(good[i].line, strlen(good[i].line), &r), 0);
		assert_int_equal(r.kind, good[i].kind);
		assert_string_equal(r.text, good[i].text);
		assert_int_equal(r.has_id, good[i].has_id);
		if (r.has_id)
			assert_true(r.id == good[i].id);
	}
}

static void test_bad(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct qmp_reply r = { .kind = QMP_KIND_N, .id = 5 };

		print_message("# case %zu\n", i);
		assert_int_equal(qmp_scan(bad[i], strlen(bad[i]), &r), -EBADMSG);
		assert_int_equal(r.kind, QMP_KIND_N);
		assert_true(r.id == 5);
	}
}

/* Every prefix of a good line is refused, and nothing behind its end is read. */
static void test_prefixes(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		size_t n = strlen(good[i].line);

		while (n > 0 && strchr(" \r", good[i].line[n - 1]))
			n--;
		for (size_t k = 0; k < n; k++) {
			char *copy = malloc(k + 1); /* exact: a sanitizer sees one byte too many */
			struct qmp_reply r;

			assert_non_null(copy);
			memcpy(copy + 1, good[i].line, k);
			assert_int_equal(qmp_scan(copy + 1, k, &r), -EBADMSG);
			free(copy);
		}
	}
}

static void test_nul_inside(void **state)
{
	static const char line[] = "{\"return\": \"a\0b\"}";
	struct qmp_reply r;

	assert_int_equal(qmp_scan(line, sizeof line - 1, &r), -EBADMSG);
}

static void test_depth(void **state)
{
	char line[64 + 2 * QMP_DEPTH];

	for (int depth = QMP_DEPTH - 1; depth <= QMP_DEPTH; depth++) {
		struct qmp_reply r;
		size_t n = (size_t)snprintf(line, sizeof line, "{\"return\":");

		memset(line + n, '[', (size_t)depth); /* the object itself is one level */
		memset(line + n + depth, ']', (size_t)depth);
		n += 2 * (size_t)depth;
		line[n++] = '}';
		assert_int_equal(qmp_scan(line, n, &r), depth < QMP_DEPTH ? 0 : -EBADMSG);
	}
}

static void test_long_text_is_cut(void **state)
{
	char line[4 * QMP_TEXT_MAX];
	struct qmp_reply r;
	size_t n = (size_t)snprintf(line, sizeof line, "{\"event\":\"");

	memset(line + n, 'x', 2 * QMP_TEXT_MAX);
	n += 2 * QMP_TEXT_MAX;
	n += (size_t)snprintf(line + n, sizeof line - n, "\"}");
	assert_int_equal(qmp_scan(line, n, &r), 0);
	assert_int_equal(strlen(r.text), QMP_TEXT_MAX - 1);
}

/* A key that only begins like ours. */
static void test_long_key(void **state)
{
	struct qmp_reply r;
	static const char a[] = "{\"return-and-much-more-than-fits\": 1}", b[] = "{\"returns\": 1}";

	assert_int_equal(qmp_scan(a, sizeof a - 1, &r), -EBADMSG);
	assert_int_equal(qmp_scan(b, sizeof b - 1, &r), -EBADMSG);
}

struct talk {
	struct qmp q;
	int far;
};

static int set_up(void **state)
{
	struct talk *t = calloc(1, sizeof *t);
	int p[2];

	if (!t || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) < 0)
		return -1;
	qmp_init(&t->q, p[0]);
	t->far = p[1];
	*state = t;
	return 0;
}

static int tear_down(void **state)
{
	struct talk *t = *state;

	qmp_fini(&t->q);
	qmp_fini(&t->q); /* idempotent */
	if (t->far >= 0)
		(void)close(t->far);
	free(t);
	return 0;
}

static void say(const struct talk *t, const char *text)
{
	assert_int_equal(write(t->far, text, strlen(text)), strlen(text));
}

static void heard(const struct talk *t, const char *want)
{
	char got[512];
	ssize_t n = recv(t->far, got, sizeof got - 1, MSG_DONTWAIT);

	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, want);
}

#define GREETING "{\"QMP\": {}}\r\n"
#define CAPS     "{\"execute\":\"qmp_capabilities\",\"id\":1}\n"

static void test_commands(void **state)
{
	struct talk *t = *state;
	struct err e = { 0 };

	say(t, GREETING
	    "{\"return\": {}, \"id\": 1}\r\n{\"event\": \"STOP\"}\r\n{\"return\": {}, \"id\": 2}\r\n");
	assert_int_equal(qmp_command(&t->q, "stop", 1000, &e), 0);
	heard(t, CAPS "{\"execute\":\"stop\",\"id\":2}\n");
	say(t, "{\"return\": {}, \"id\": 3}\r\n"); /* no second greeting */
	assert_int_equal(qmp_command(&t->q, "cont", 1000, &e), 0);
	heard(t, "{\"execute\":\"cont\",\"id\":3}\n");
}

static void test_refused(void **state)
{
	struct talk *t = *state;
	struct err e = { 0 };

	say(t, GREETING "{\"return\": {}, \"id\": 1}\n{\"id\": 2, \"error\": {\"desc\": \"not now\"}}\n");
	assert_int_equal(qmp_command(&t->q, "cont", 1000, &e), -EIO);
	assert_string_equal(e.msg, "the hypervisor refused \"cont\": not now");
	say(t, "{\"return\": {}, \"id\": 3}\n");
	assert_int_equal(qmp_command(&t->q, "cont", 1000, &e), 0);
}

/* A late answer is not taken for the next command's. */
static void test_timeout(void **state)
{
	struct talk *t = *state;
	struct err e = { 0 };

	say(t, GREETING "{\"return\": {}, \"id\": 1}\n");
	assert_int_equal(qmp_command(&t->q, "stop", 5, &e), -ETIMEDOUT);
	assert_string_equal(e.msg, "the hypervisor did not answer \"stop\" within 5 ms");
	say(t, "{\"return\": {}, \"id\": 2}\n{\"id\": 3, \"error\": {\"desc\": \"x\"}}\n");
	assert_int_equal(qmp_command(&t->q, "cont", 1000, &e), -EIO);
}

/* The time ran out between greeting and capabilities: the next command starts there again. */
static void test_timeout_in_greeting(void **state)
{
	struct talk *t = *state;
	struct err e = { 0 };

	say(t, GREETING);
	assert_int_equal(qmp_command(&t->q, "stop", 5, &e), -ETIMEDOUT);
	heard(t, CAPS);
	say(t, "{\"return\": {}, \"id\": 1}\n{\"id\": 2, \"error\": {\"desc\": \"done already\"}}\n"
	       "{\"return\": {}, \"id\": 3}\n");
	assert_int_equal(qmp_command(&t->q, "stop", 1000, &e), 0);
}

static void test_closed(void **state)
{
	struct talk *t = *state;
	struct err e = { 0 };

	say(t, GREETING "{\"ret");
	(void)shutdown(t->far, SHUT_WR);
	assert_int_equal(qmp_command(&t->q, "stop", 1000, &e), -EPIPE);
	assert_int_equal(t->q.fd, -1);
	assert_int_equal(qmp_command(&t->q, "stop", 1000, &e), -EPIPE);
	assert_string_equal(e.msg, "the hypervisor's control connection is closed");
}

static void test_garbage(void **state)
{
	struct talk *t = *state;
	struct err e = { 0 };

	say(t, GREETING "{\"return\": {}, \"id\": 1}\nSegmentation fault\n");
	assert_int_equal(qmp_command(&t->q, "stop", 1000, &e), -EBADMSG);
	assert_int_equal(t->q.fd, -1);
}

static void test_endless_line(void **state)
{
	static char line[QMP_LINE_MAX + 1];
	struct talk *t = *state;
	struct err e = { 0 };

	memset(line, ' ', sizeof line - 1);
	say(t, line);
	assert_int_equal(qmp_command(&t->q, "stop", 1000, &e), -EBADMSG);
}

static void test_endless_events(void **state)
{
	struct talk *t = *state;
	struct err e = { 0 };

	say(t, GREETING "{\"return\": {}, \"id\": 1}\n");
	for (int i = 0; i <= QMP_LINES; i++)
		say(t, "{\"event\": \"RTC_CHANGE\"}\n");
	assert_int_equal(qmp_command(&t->q, "stop", 1000, &e), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_nul_inside),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_long_text_is_cut),
		cmocka_unit_test(test_long_key),
		cmocka_unit_test_setup_teardown(test_commands, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_timeout, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_timeout_in_greeting, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_closed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_garbage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_endless_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_endless_events, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
