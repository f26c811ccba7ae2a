/* cgroup files as the kernel prints them, on plain files; signals in a real cgroup where there is one. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "unit.h"

#include "base/io.h"
#include "sys/cg2.h"
#include "tmpdir.h"

static void numbers_are_read(void **state)
{
	const struct tmpdir *t = *state;
	uint64_t v = 7;

	assert_int_equal(tmpdir_write(t, "pids.max", "max\n"), 0);
	assert_int_equal(cg2_read_u64(t->fd, "pids.max", &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(tmpdir_write(t, "memory.current", "18446744073709551614\n"), 0);
	assert_int_equal(cg2_read_u64(t->fd, "memory.current", &v), 0);
	assert_true(v == UINT64_MAX - 1);
	/* cpu.max: the quota is the first word. */
	assert_int_equal(tmpdir_write(t, "cpu.max", "50000 100000\n"), 0);
	assert_int_equal(cg2_read_u64(t->fd, "cpu.max", &v), 0);
	assert_int_equal(v, 50000);
	assert_int_equal(tmpdir_write(t, "odd", "12x\n"), 0);
	assert_int_equal(cg2_read_u64(t->fd, "odd", &v), -EBADMSG);
	assert_int_equal(cg2_read_u64(t->fd, "missing", &v), -ENOENT);
	assert_int_equal(v, 50000);
}

static void keys_are_found(void **state)
{
	const struct tmpdir *t = *state;
	uint64_t v = 0;

	assert_int_equal(tmpdir_write(t, "memory.events", "low 1\noom 22\noom_kill 3\n"), 0);
	assert_int_equal(cg2_read_key(t->fd, "memory.events", "oom_kill", &v), 0);
	assert_int_equal(v, 3);
	assert_int_equal(cg2_read_key(t->fd, "memory.events", "oom", &v), 0);
	assert_int_equal(v, 22);
	assert_int_equal(cg2_read_key(t->fd, "memory.events", "oo", &v), -ENOENT);
	assert_int_equal(cg2_read_key(t->fd, "memory.events", "max", &v), -ENOENT);
	assert_int_equal(tmpdir_write(t, "cgroup.controllers", "cpuset cpu io memory\n"), 0);
	assert_true(cg2_has_controller(t->fd, "memory"));
	assert_true(cg2_has_controller(t->fd, "cpu"));
	assert_false(cg2_has_controller(t->fd, "cp"));
	assert_false(cg2_has_controller(t->fd, "pids"));
	assert_int_equal(tmpdir_write(t, "cgroup.controllers", "\n"), 0);
	assert_false(cg2_has_controller(t->fd, ""));
}

static void controllers_are_enabled(void **state)
{
	const struct tmpdir *t = *state;
	char text[64] = "";
	int fd;

	assert_int_equal(tmpdir_write(t, "cgroup.controllers", "cpuset cpu io memory\n"), 0);
	assert_int_equal(tmpdir_write(t, "cgroup.subtree_control", ""), 0);
	assert_int_equal(cg2_enable(t->fd, "memory rdma cpu"), 0);
	fd = openat(t->fd, "cgroup.subtree_control", O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, text, sizeof text - 1), 12);
	assert_string_equal(text, "+memory +cpu");
	close(fd);
	/* Nothing to be enabled: nothing is written. */
	assert_int_equal(unlinkat(t->fd, "cgroup.subtree_control", 0), 0);
	assert_int_equal(cg2_enable(t->fd, "misc"), 0);
	assert_int_equal(cg2_enable(t->fd, ""), 0);
}

static void trees_are_removed(void **state)
{
	const struct tmpdir *t = *state;
	int fd = -1;

	assert_int_equal(cg2_make(t->fd, "a", &fd), 0);
	assert_int_equal(mkdirat(fd, "b", 0755), 0);
	assert_int_equal(mkdirat(fd, "b/c", 0755), 0);
	close(fd);
	assert_int_equal(cg2_make(t->fd, "a", &fd), 0); /* it is there */
	close(fd);
	assert_int_equal(cg2_remove(t->fd, "a"), 0);
	assert_int_equal(cg2_remove(t->fd, "a"), 0);
	assert_int_equal(tmpdir_count(t), 0);
	/* A cgroup with a process in it refuses; a directory with a file does likewise. */
	assert_int_equal(mkdirat(t->fd, "d", 0755), 0);
	assert_int_equal(tmpdir_write(t, "d/file", ""), 0);
	assert_int_equal(cg2_remove(t->fd, "d"), -ENOTEMPTY);
}

/* Two of this test may run at a time. */
static const char *own_name(void)
{
	static char name[64];

	(void)snprintf(name, sizeof name, "cor-test-cg2-%d", (int)getpid());
	return name;
}

static int own_cgroup(int *ret_parent)
{
	static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	int parent, cg;

	for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
		parent = open(roots[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (parent < 0)
			continue;
		if (faccessat(parent, "cgroup.controllers", F_OK, 0) == 0 &&
		    cg2_make(parent, own_name(), &cg) == 0) {
			*ret_parent = parent;
			return cg;
		}
		close(parent);
	}
	return -1;
}

/* A child that waits in the cgroup or one below it. */
static pid_t member(int cg, const char *procs)
{
	int ready[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		if (cg2_write(cg, procs, "0") < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static void all_get_the_signal(void **state)
{
	static const int sigs[] = { SIGTERM, SIGKILL };
	int parent = -1, cg, status;
	pid_t top, below;

	if (geteuid() != 0) {
		print_message("# skipped: cgroups need root\n");
		skip();
	}
	cg = own_cgroup(&parent);
	if (cg < 0) {
		print_message("# skipped: no writable cgroup2 tree\n");
		skip();
	}
	assert_true(mkdirat(cg, "sub", 0755) == 0 || errno == EEXIST);
	assert_int_equal(cg2_signal(cg, SIGTERM), -ESRCH);
	for (size_t i = 0; i < ARRAY_LEN(sigs); i++) {
		top = member(cg, "cgroup.procs");
		below = member(cg, "sub/cgroup.procs");
		assert_int_equal(cg2_signal(cg, sigs[i]), 0);
		assert_int_equal(waitpid(top, &status, 0), top);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == sigs[i]);
		assert_int_equal(waitpid(below, &status, 0), below);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == sigs[i]);
	}
	close(cg);
	assert_int_equal(cg2_remove(parent, own_name()), 0);
	close(parent);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, tmpdir_set_up, tmpdir_tear_down)
	const struct CMUnitTest tests[] = {
		T(numbers_are_read),
		T(keys_are_found),
		T(trees_are_removed),
		T(controllers_are_enabled),
		cmocka_unit_test(all_get_the_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
