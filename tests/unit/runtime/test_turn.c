/* test_turn.c - starts that wait for their turn. A descriptor holds one whoever opened it, so this process
 * takes all there are, and a child wants one more. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "runtime/turn.h"
#include "tmpdir.h"
#include "unit.h"

#define ALL_MAX  8192
#define SHORT_MS 200   /* five looks of who waits */
#define LONG_MS  10000 /* where it has to come */

static int all(void)
{
	cpu_set_t cpus;

	assert_int_equal(sched_getaffinity(0, sizeof cpus, &cpus), 0);
	return 5 * CPU_COUNT(&cpus);
}

/* Says by a byte that it has a turn, and ends when the pipe does. */
static pid_t begin_one(const struct settings *s, const struct vmcfg *vm, int *ret_said)
{
	int p[2];
	pid_t pid;

	assert_int_equal(pipe(p), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int turn = turn_take(s, vm);
		ssize_t n = write(p[1], turn >= 0 ? "y" : "n", 1);

		_exit(n == 1 && pause() ? 0 : 1);
	}
	(void)close(p[1]);
	*ret_said = p[0];
	return pid;
}

static bool comes(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

static void end_one(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_turns(void **state)
{
	struct tmpdir *t = *state;
	static char template[] = "x";
	struct settings s = { .template_dir = t->path };
	struct vmcfg vm = { .template_dir = template };
	int turns[ALL_MAX], n = all(), said, also;
	pid_t first, second;
	char byte;

	assert_true(n <= ALL_MAX);
	for (int i = 0; i < n; i++) {
		turns[i] = turn_take(&s, &vm);
		assert_true(turns[i] >= 0);
	}
	first = begin_one(&s, &vm, &said);
	assert_false(comes(said, SHORT_MS));
	turn_end(&turns[n / 2]);
	assert_int_equal(turns[n / 2], -1);
	assert_true(comes(said, LONG_MS));
	assert_int_equal(read(said, &byte, 1), 1);
	assert_int_equal(byte, 'y');

	/* The end of a process is the end of its turn. */
	second = begin_one(&s, &vm, &also);
	assert_false(comes(also, SHORT_MS));
	end_one(first);
	assert_true(comes(also, LONG_MS));
	end_one(second);
	(void)close(said);
	(void)close(also);
	for (int i = 0; i < n; i++)
		turn_end(&turns[i]);
}

/* A copy of the descriptor in a child that was forked meanwhile holds nothing. */
static void test_end_in_spite_of_copies(void **state)
{
	struct tmpdir *t = *state;
	static char template[] = "x";
	struct settings s = { .template_dir = t->path };
	struct vmcfg vm = { .template_dir = template };
	int turns[ALL_MAX], copies[ALL_MAX], n = all();

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < n; i++) {
			turns[i] = turn_take(&s, &vm);
			assert_true(turns[i] >= 0);
			copies[i] = dup(turns[i]);
		}
		for (int i = 0; i < n; i++)
			turn_end(&turns[i]);
	}
	for (int i = 0; i < n; i++)
		(void)close(copies[i]);
}

static void test_none_needed(void **state)
{
	struct tmpdir *t = *state;
	static char template[] = "x", nowhere[] = "/proc/nowhere";
	struct settings s = { .template_dir = t->path };
	struct vmcfg boots = { 0 }, kvm = { .template_dir = template, .kvm = true },
		     clone = { .template_dir = template };
	int none = -1;

	assert_int_equal(turn_take(&s, &boots), -1);
	assert_int_equal(turn_take(&s, &kvm), -1);
	s.template_dir = nowhere;
	assert_int_equal(turn_take(&s, &clone), -1);
	turn_end(&none);
	assert_int_equal(none, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_turns, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_end_in_spite_of_copies, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_none_needed, tmpdir_set_up, tmpdir_tear_down),
	};

	return cmocka_run_group_tests_name("runtime/turn", tests, NULL, NULL);
}
