/* The agent in test mode, driven over its channel: a process of the container from CREATE to EXITED. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "host.h"

static struct host host;

#define NEED_HOST                                                                                            \
	do {                                                                                                 \
		if (host.agent < 0)                                                                          \
			skip();                                                                              \
	} while (0)

static int start(void **state unused_arg)
{
	(void)host_start(&host, NULL);
	return 0;
}

static int stop(void **state unused_arg)
{
	host_stop(&host);
	return 0;
}

/* Runs a shell line and returns what it printed (free()). */
static char *sh(struct ctr_box *b, struct run *r)
{
	host_run(&host, &b->c, r);
	if (r->code < 0)
		print_message("# %s\n", r->text);
	assert_int_equal(r->code, 0);
	return run_text(r->out);
}

static void test_hello(void **state unused_arg)
{
	const char *const argv[] = { "/bin/echo", "hello", "guest", NULL };
	struct ctr_box b;
	struct run r;
	char *out;

	NEED_HOST;
	ctr_box_init(&b, argv);
	run_init(&r);
	out = sh(&b, &r);
	assert_string_equal(out, "hello guest\n");
	assert_int_equal(r.status, 0);
	free(out);
	run_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
