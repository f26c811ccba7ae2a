/* test_log.c - base/log.h and base/mark.h: levels, formats, and bytes that must not break a line. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mark.h"
#include "base/str.h"

struct sink {
	int fd, saved_stderr;
};

static int set_up(void **state)
{
	static struct sink s;

	s.fd = memfd_create("log", MFD_CLOEXEC);
	s.saved_stderr = dup(STDERR_FILENO);
	*state = &s;
	return s.fd < 0 || s.saved_stderr < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	struct sink *s = *state;

	log_to_fd(-1, false, false);
	log_setup("cor", LOG_LVL_INFO);
	(void)dup2(s->saved_stderr, STDERR_FILENO);
	(void)close(s->saved_stderr);
	(void)close(s->fd);
	return 0;
}

/* What was written so far; empties the sink. free(). */
static char *written(const struct sink *s)
{
	char *text = NULL;

	assert_int_equal(lseek(s->fd, 0, SEEK_SET), 0);
	assert_int_equal(io_read_all(s->fd, 1 << 20, &text, NULL), 0);
	assert_int_equal(ftruncate(s->fd, 0), 0);
	assert_int_equal(lseek(s->fd, 0, SEEK_SET), 0);
	return text;
}

static void test_stderr(void **state)
{
	struct sink *s = *state;
	scoped_free char *text = NULL;

	log_setup("prog", LOG_LVL_DEBUG);
	assert_int_equal(log_level_get(), LOG_LVL_DEBUG);
	assert_int_equal(dup2(s->fd, STDERR_FILENO), STDERR_FILENO);
	errno = EPERM;
	log_error("e %d: %m", 1);
	log_warn("w\x1b[2J\nx");
	log_info("i\n  more\n    and more\nnot");
	log_debug("d");
	assert_int_equal(errno, EPERM);
	text = written(s);
	assert_string_equal(text, "prog: e 1: Operation not permitted\n"
				  "prog: warning: w\\x1b[2J\\x0ax\n"
				  "prog: i\n  more\n    and more\\x0anot\n"
				  "prog: debug: d\n");
}

static void test_levels(void **state)
{
	static const struct {
		enum log_level level;
		const char *want;
	} rows[] = {
		{ LOG_LVL_ERROR, "p: e\n" },
		{ LOG_LVL_WARN, "p: e\np: warning: w\n" },
		{ LOG_LVL_INFO, "p: e\np: warning: w\np: i\n" },
	};
	struct sink *s = *state;

	assert_int_equal(dup2(s->fd, STDERR_FILENO), STDERR_FILENO);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_free char *text = NULL;

		log_setup("p", rows[i].level);
		log_error("e");
		log_warn("w");
		log_info("i");
		log_debug("d");
		text = written(s);
		assert_string_equal(text, rows[i].want);
	}
}

/* Replaces the time, after a look at its form, by "T". */
static void mask_time(char *text, const char *before)
{
	char *p = strstr(text, before);
	size_t n = strlen("2024-01-02T03:04:05.000000000Z");

	assert_non_null(p);
	p += strlen(before);
	assert_true(strlen(p) > n && p[n - 1] == 'Z' && p[10] == 'T' && p[19] == '.');
	p[0] = 'T';
	memmove(p + 1, p + n, strlen(p + n) + 1);
}

static void test_json(void **state)
{
	struct sink *s = *state;
	scoped_free char *text = NULL;

	log_to_fd(s->fd, true, false);
	log_error("say \"%s\" \\ \x01 %s", "hi", "\xc3\xa4\xff\n");
	text = written(s);
	mask_time(text, "\"time\":\"");
	assert_string_equal(text,
			    "{\"level\":\"error\",\"msg\":\"say \\\"hi\\\" \\\\ \\u0001 \xc3\xa4\\u00ff\\n\","
			    "\"time\":\"T\"}\n");
}

static void test_text_file(void **state)
{
	struct sink *s = *state;
	scoped_free char *text = NULL;

	log_to_fd(s->fd, false, false);
	log_warn("a \"b\"");
	text = written(s);
	mask_time(text, "time=\"");
	assert_string_equal(text, "time=\"T\" level=warning msg=\"a \\\"b\\\"\"\n");
}

static void test_both(void **state)
{
	struct sink *s = *state;
	scoped_free char *file = NULL, *err = NULL;
	struct sink other = { .fd = memfd_create("other", MFD_CLOEXEC) };

	assert_true(other.fd >= 0);
	assert_int_equal(dup2(s->fd, STDERR_FILENO), STDERR_FILENO);
	log_setup("p", LOG_LVL_INFO);
	log_to_fd(other.fd, true, true);
	log_error("twice");
	log_warn("once");
	err = written(s);
	file = written(&other);
	assert_string_equal(err, "p: twice\n");
	assert_non_null(strstr(file, "\"twice\""));
	assert_non_null(strstr(file, "\"once\""));
	assert_int_equal(close(other.fd), 0);
}

static void test_long(void **state)
{
	struct sink *s = *state;
	scoped_free char *text = NULL;
	char big[10000];

	memset(big, 1, sizeof(big));
	big[sizeof(big) - 1] = '\0';
	log_to_fd(s->fd, true, false);
	log_error("%s", big);
	text = written(s);
	assert_true(str_ends(text, "Z\"}\n"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

/* A log that can't be written changes nothing. */
static void test_full(void **state)
{
	scoped_fd full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_true(full >= 0);
	log_to_fd(full, true, false);
	errno = 0;
	log_error("lost");
	assert_int_equal(errno, 0);
}

static void test_marks(void **state)
{
	struct sink *s = *state;
	struct marks m = { .fd = s->fd, .proc = "cor" }, off = { .fd = -1, .proc = "cor" };
	uint64_t before = mark_now_ns();
	scoped_free char *text = NULL;
	char big[500];

	assert_true(before > 0);
	memset(big, 'n', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	mark_put_at(&m, "boot", 17);
	mark_put(&off, "nowhere");
	mark_put_at(&off, "nowhere", 1);
	mark_put_at(&m, big, UINT64_MAX);
	text = written(s);
	assert_true(str_starts(text, "17 cor boot\n18446744073709551615 cor nnn"));
	assert_true(str_ends(text, "n\n"));
	assert_true(strlen(text) < 160);
	mark_put(&m, "now");
	free(take_ptr(&text));
	text = written(s);
	assert_true(strtoull(text, NULL, 10) >= before && strtoull(text, NULL, 10) <= mark_now_ns());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stderr, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_levels, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_json, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_text_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_both, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_marks, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
