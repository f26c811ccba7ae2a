/* Namespaces: proved by type, joined by path, made new. Children do the entering. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/str.h"
#include "sys/ns.h"

static const uint64_t types[] = { CLONE_NEWUSER, CLONE_NEWNET,    CLONE_NEWPID, CLONE_NEWIPC,
				  CLONE_NEWUTS,  CLONE_NEWCGROUP, 0x80,         CLONE_NEWNS };

static void test_names(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		assert_string_not_equal(ns_name(types[i]), "?");
		assert_int_equal(ns_type(ns_name(types[i])), types[i]);
	}
	assert_string_equal(ns_name(1), "?");
	assert_int_equal(ns_type("net"), 0);
	assert_int_equal(ns_type(NULL), 0);
}

static void test_open(void **state)
{
	struct err e = { 0 };
	bool own = false;
	int fd = -1;

	assert_int_equal(ns_open(CLONE_NEWNET, "/proc/self/ns/net", &fd, &e), 0);
	assert_int_equal(ns_is_own(CLONE_NEWNET, fd, &own), 0);
	assert_true(own);
	(void)close(fd);
	assert_int_equal(ns_open(CLONE_NEWNET, "/proc/self/ns/ipc", &fd, &e), -EINVAL);
	assert_string_equal(e.msg, "network namespace /proc/self/ns/ipc: its type is ipc");
	assert_int_equal(ns_open(CLONE_NEWIPC, "/etc/passwd", &fd, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "not a namespace"));
	assert_int_equal(ns_open(CLONE_NEWIPC, "/dev/null", &fd, &e), -EINVAL);
	assert_int_equal(ns_open(CLONE_NEWIPC, "/tmp", &fd, &e), -EINVAL);
	assert_int_equal(ns_open(CLONE_NEWIPC, "/nonexistent", &fd, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/nonexistent"));
}

/* A fifo without a writer must not hang. */
static void test_open_fifo(void **state)
{
	scoped_free char *path = str_fmt("/tmp/cor-ns-%d", (int)getpid());
	int fd = -1;

	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(ns_open(CLONE_NEWNET, path, &fd, NULL), -EINVAL);
	assert_int_equal(unlink(path), 0);
}

static uint64_t inode(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? 0 : st.st_ino;
}

static void need_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("# skipped: needs root\n");
	skip();
}

static int child_status(pid_t pid)
{
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_enter(void **state)
{
	/* a process that has its own network and uts namespace, until the pipe ends */
	uint64_t host_net = inode("/proc/self/ns/net"), host_ipc = inode("/proc/self/ns/ipc");
	uint64_t other_net;
	scoped_free char *net = NULL;
	int go[2], ready[2];
	struct err e = { 0 };
	pid_t other, pid;
	char byte;

	need_root();
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	other = fork();
	assert_true(other >= 0);
	if (other == 0) {
		(void)close(go[1]);
		if (unshare(CLONE_NEWNET) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		_exit(read(go[0], &byte, 1) == 0 ? 0 : 1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	net = str_fmt("/proc/%d/ns/net", (int)other);
	other_net = inode(net);
	assert_int_not_equal(other_net, host_net);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		const struct ns_want want[] = { { CLONE_NEWNS, NULL },
						{ CLONE_NEWIPC, NULL },
						{ CLONE_NEWNET, net },
						{ CLONE_NEWUSER, "/proc/self/ns/user" } };

		if (ns_enter(want, ARRAY_LEN(want), &e) < 0) {
			print_message("# %s\n", e.msg);
			_exit(1);
		}
		_exit(inode("/proc/self/ns/net") == other_net && inode("/proc/self/ns/ipc") != host_ipc ? 0
													: 2);
	}
	assert_int_equal(child_status(pid), 0);
	(void)close(go[0]);
	(void)close(go[1]);
	(void)close(ready[0]);
	(void)close(ready[1]);
	assert_int_equal(child_status(other), 0);
}

/* Nothing is entered before everything was checked. */
static void test_refused(void **state)
{
	const struct ns_want twice[] = { { CLONE_NEWUTS, NULL }, { CLONE_NEWUTS, NULL } };
	const struct ns_want bad[] = { { CLONE_NEWUTS, NULL }, { CLONE_NEWNET, "/proc/self/ns/uts" } };
	const struct ns_want unknown[] = { { CLONE_NEWUTS, NULL }, { 3, NULL } };
	uint64_t uts = inode("/proc/self/ns/uts");
	struct err e = { 0 };

	assert_int_equal(ns_enter(twice, 2, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "uts namespace: asked for twice"));
	assert_int_equal(ns_enter(bad, 2, &e), -EINVAL);
	assert_int_equal(ns_enter(unknown, 2, &e), -EINVAL);
	assert_int_equal(ns_enter(NULL, 0, &e), 0);
	assert_int_equal(inode("/proc/self/ns/uts"), uts);
}

static bool reads(const char *path, const char *text)
{
	scoped_free char *got = NULL;
	size_t n;
	unsigned a[3], b[3];

	/* the kernel pads the columns */
	return io_read_file_at(AT_FDCWD, path, 4096, &got, &n) == 0 &&
	       sscanf(got, "%u %u %u", &a[0], &a[1], &a[2]) == 3 &&
	       sscanf(text, "%u %u %u", &b[0], &b[1], &b[2]) == 3 && memcmp(a, b, sizeof a) == 0;
}

/* Made with its maps; the process that was in it is gone. */
static void test_new_user(void **state)
{
	scoped_fd fd = -1;
	struct err e = { 0 };
	bool own = true;
	pid_t pid;

	assert_int_equal(ns_new_user("0 100000 10\n", "5 6 7\n", &fd, &e), 0);
	assert_int_equal(ns_is_own(CLONE_NEWUSER, fd, &own), 0);
	assert_false(own);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | (int)__WALL), -1);
	assert_int_equal(errno, ECHILD);
	pid = fork();
	if (pid == 0)
		_exit(setns(fd, CLONE_NEWUSER) < 0                  ? 1
		      : !reads("/proc/self/uid_map", "0 100000 10") ? 2
		      : !reads("/proc/self/gid_map", "5 6 7")       ? 3
								    : 0);
	assert_int_equal(child_status(pid), 0);
	(void)close(take_fd(&fd));
	assert_int_equal(ns_new_user("0 1 2\n1 5 1\n", "0 0 1\n", &fd, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "ID-mapped mounts: uid_map: "));
	assert_int_equal(ns_new_user("0 0 1\n", "x\n", &fd, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "ID-mapped mounts: gid_map: "));
	assert_int_equal(fd, -1);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | (int)__WALL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),     cmocka_unit_test(test_open),
		cmocka_unit_test(test_open_fifo), cmocka_unit_test(test_enter),
		cmocka_unit_test(test_refused),   cmocka_unit_test(test_new_user),
	};

	return cmocka_run_group_tests_name("sys/ns", tests, NULL, NULL);
}
