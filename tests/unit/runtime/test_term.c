/* test_term.c - runtime/term.h: bytes between our stdio and a container's pty, sizes, and the end. While a
 * test runs, fds 0 and 1 are its own pipes or pty. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>

#include "base/io.h"
#include "runtime/term.h"
#include "sys/pty.h"

struct outside {
	int in, out; /* what the child has as fd 0 and 1, our ends */
	int slave;   /* the container's side */
	struct term term;
	struct loop loop;
};

/* Makes fds 0 and 1 of this process ours to play with; the old ones come back at the end. */
static int saved[2];

static void begin(struct outside *o, int in, int out)
{
	struct err e;

	saved[0] = dup(0);
	saved[1] = dup(1);
	(void)fflush(stdout);
	assert_true(dup2(in, 0) == 0 && dup2(out, 1) == 1);
	if (term_open(&o->term, &o->slave, &e) < 0 || loop_init(&o->loop) < 0 ||
	    term_start(&o->term, &o->loop, &e) < 0)
		fail_msg("%s", e.msg);
}

static void end(struct outside *o)
{
	term_finish(&o->term);
	term_finish(&o->term); /* idempotent */
	loop_fini(&o->loop);
	(void)dup2(saved[0], 0);
	(void)dup2(saved[1], 1);
	(void)close(saved[0]);
	(void)close(saved[1]);
}

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void turn_until(struct outside *o, int fd)
{
	for (int i = 0; i < 1000 && !readable(fd); i++)
		assert_int_equal(loop_once(&o->loop, 20), 0);
	assert_true(readable(fd));
}

static void test_copy(void **state)
{
	struct outside o = { 0 };
	int in[2], out[2];
	char got[16] = "";

	(void)state;
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	begin(&o, in[0], out[1]);
	assert_int_equal(write(in[1], "typed\n", 6), 6);
	turn_until(&o, o.slave);
	assert_int_equal(read(o.slave, got, sizeof got), 6);
	assert_memory_equal(got, "typed\n", 6);
	assert_int_equal(write(o.slave, "shown\n", 6), 6);
	turn_until(&o, out[0]);
	assert_int_equal(read(out[0], got, sizeof got), 6);
	assert_memory_equal(got, "shown\n", 6); /* no carriage return added */
	/* what is written last comes out at the end */
	assert_int_equal(write(o.slave, "last", 4), 4);
	(void)close(o.slave);
	end(&o);
	assert_int_equal(read(out[0], got, sizeof got), 4);
	for (int i = 0; i < 2; i++) {
		(void)close(in[i]);
		(void)close(out[i]);
	}
}

/* The writer of our stdin is gone, the container does not read: nothing to do, so nothing is done. */
static void test_no_spin(void **state)
{
	static char block[200000];
	struct outside o = { 0 };
	int in[2], out[2], turns = 0;

	(void)state;
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_true(fcntl(in[1], F_SETPIPE_SZ, 1 << 20) > 0);
	assert_int_equal(write(in[1], block, sizeof block), sizeof block);
	(void)close(in[1]);
	begin(&o, in[0], out[1]);
	for (int i = 0; i < 2000 && turns < 1000; i++) {
		struct pollfd p = { .fd = o.loop.epfd, .events = POLLIN };

		if (poll(&p, 1, 20) == 0)
			break;
		turns++;
		assert_int_equal(loop_once(&o.loop, 0), 0);
	}
	/* it goes on when the container reads */
	for (size_t got = 0; got < sizeof block;) {
		ssize_t n;

		turn_until(&o, o.slave);
		n = read(o.slave, block, sizeof block);
		assert_true(n > 0);
		got += (size_t)n;
	}
	(void)close(o.slave);
	end(&o);
	assert_true(turns < 1000);
	(void)close(in[0]);
	(void)close(out[0]);
	(void)close(out[1]);
}

static void test_user_terminal(void **state)
{
	struct outside o = { 0 };
	struct winsize w = { .ws_row = 20, .ws_col = 60 };
	struct termios before, now;
	int master, user;
	uint32_t rows, cols;

	(void)state;
	assert_int_equal(openpty(&master, &user, NULL, NULL, &w), 0);
	assert_int_equal(tcgetattr(user, &before), 0);
	begin(&o, user, user);
	assert_int_equal(tcgetattr(user, &now), 0);
	assert_false(now.c_lflag & (ICANON | ECHO | ISIG));
	assert_int_equal(pty_get_size(o.slave, &rows, &cols), 0);
	assert_true(rows == 20 && cols == 60);
	assert_int_equal(pty_set_size(user, 21, 61), 0);
	term_resize(&o.term);
	assert_int_equal(pty_get_size(o.slave, &rows, &cols), 0);
	assert_true(rows == 21 && cols == 61);
	assert_int_equal(pty_set_size(user, 0, 0), 0);
	term_resize(&o.term); /* no size: the old one stays */
	assert_int_equal(pty_get_size(o.slave, &rows, &cols), 0);
	assert_true(rows == 21 && cols == 61);
	(void)close(o.slave);
	end(&o);
	assert_int_equal(tcgetattr(user, &now), 0);
	assert_int_equal(now.c_lflag, before.c_lflag);
	assert_int_equal(now.c_oflag, before.c_oflag);
	(void)close(master);
	(void)close(user);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_copy), cmocka_unit_test(test_no_spin),
					    cmocka_unit_test(test_user_terminal) };

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
