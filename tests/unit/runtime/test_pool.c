/* test_pool.c - runtime/pool.h: who fills or drains a pool that another one is just draining. No VM is
 * started: there is no monitor. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "runtime/pool.h"
#include "tmpdir.h"

#define LOCK   POOL_DIR "/" POOL_LOCK
#define TRIES  2000
#define TRY_MS 5

static int hold(struct tmpdir *t)
{
	int fd = openat(t->fd, LOCK, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	return fd;
}

/* Also for a child that has it by fork(). */
static void release(int held)
{
	assert_int_equal(flock(held, LOCK_UN), 0);
	(void)close(held);
}

static bool is_there(struct tmpdir *t, const char *name)
{
	return faccessat(t->fd, name, F_OK, 0) == 0;
}

/* Until it waits for a lock: true; or has ended. */
static bool waits(pid_t pid)
{
	scoped_free char *mine = str_fmt(" %d ", (int)pid);

	for (int i = 0; i < TRIES; i++) {
		scoped_free char *text = NULL;
		siginfo_t end = { 0 };
		char *rest;
		size_t n;

		assert_int_equal(io_read_file_at(AT_FDCWD, "/proc/locks", 1u << 20, &text, &n), 0);
		for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
			if (strstr(line, "->") && strstr(line, mine))
				return true;
		assert_int_equal(waitid(P_PID, (id_t)pid, &end, WEXITED | WNOHANG | WNOWAIT), 0);
		if (end.si_pid == pid)
			return false;
		(void)poll(NULL, 0, TRY_MS); /* nothing tells that another one waits */
	}
	fail_msg("it neither waits nor ends");
	return false;
}

static pid_t start(struct tmpdir *t, bool fills)
{
	const struct settings s = { .template_dir = t->path, .pool = 1 };
	const struct vmcfg vm = { .hypervisor = PLAN_HV_QEMU, .template_dir = t->path };
	struct err e = { 0 };
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fills ? pool_fill(&s, "/missing", &vm, true, &e) == 0
			    : pool_drain(&s, t->path, &e) < 0);
	return pid;
}

static int end_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* It goes on in a pool that is there, and not with a lock that nobody else can find. */
static void test_fill(void **state)
{
	struct tmpdir *t = *state;
	pid_t pid;
	int held;

	assert_int_equal(mkdirat(t->fd, POOL_DIR, 0700), 0);
	held = hold(t);
	pid = start(t, true);
	assert_true(waits(pid));
	assert_int_equal(unlinkat(t->fd, LOCK, 0), 0);
	assert_int_equal(unlinkat(t->fd, POOL_DIR, AT_REMOVEDIR), 0);
	release(held);
	assert_int_equal(end_of(pid), 0);
	assert_true(is_there(t, LOCK));
}

/* It leaves the lock of who fills the pool anew alone, and drains what that one has filled. */
static void test_drain(void **state)
{
	struct tmpdir *t = *state;
	int held, next;
	bool waited;
	pid_t pid;

	assert_int_equal(mkdirat(t->fd, POOL_DIR, 0700), 0);
	held = hold(t);
	pid = start(t, false);
	assert_true(waits(pid));
	assert_int_equal(unlinkat(t->fd, LOCK, 0), 0);
	next = hold(t);
	release(held);
	waited = waits(pid) && is_there(t, LOCK);
	release(next);
	assert_int_equal(end_of(pid), 0);
	assert_true(waited);
	assert_false(is_there(t, POOL_DIR));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fill, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_drain, tmpdir_set_up, tmpdir_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
