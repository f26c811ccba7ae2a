/* test_iotree.c - io_remove_tree_at() of base/io.h: trees somebody else has filled. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/str.h"
#include "tmpdir.h"

#define with_tmpdir(test) cmocka_unit_test_setup_teardown(test, tmpdir_set_up, tmpdir_tear_down)
#define DEEP              1000

static void test_simple(void **state)
{
	struct tmpdir *t = *state;

	assert_int_equal(io_remove_tree_at(t->fd, "missing"), 0);
	assert_int_equal(io_remove_tree_at(t->fd, "missing/below"), 0);
	assert_int_equal(tmpdir_write(t, "file", "x"), 0);
	assert_int_equal(mkdirat(t->fd, "empty", 0700), 0);
	assert_int_equal(mkdirat(t->fd, "d", 0700), 0);
	assert_int_equal(mkdirat(t->fd, "d/e", 0700), 0);
	assert_int_equal(tmpdir_write(t, "d/f", "x"), 0);
	assert_int_equal(tmpdir_write(t, "d/e/.hidden", "x"), 0);
	assert_int_equal(mkfifoat(t->fd, "d/fifo", 0600), 0);
	assert_int_equal(io_remove_tree_at(t->fd, "d/e"), 0);
	assert_int_equal(faccessat(t->fd, "d/f", F_OK, 0), 0);
	assert_int_equal(io_remove_tree_at(t->fd, "d"), 0);
	assert_int_equal(io_remove_tree_at(t->fd, "empty"), 0);
	assert_int_equal(io_remove_tree_at(t->fd, "file"), 0);
	assert_int_equal(tmpdir_count(t), 0);
}

static void test_absolute(void **state)
{
	struct tmpdir *t = *state;
	scoped_free char *p = str_fmt("%s/d", t->path);

	assert_int_equal(mkdirat(t->fd, "d", 0700), 0);
	assert_int_equal(tmpdir_write(t, "d/f", "x"), 0);
	assert_int_equal(io_remove_tree_at(AT_FDCWD, p), 0);
	assert_int_equal(tmpdir_count(t), 0);
}

/* Symlinks go, what they point to stays. */
static void test_symlinks(void **state)
{
	struct tmpdir *t = *state;

	assert_int_equal(mkdirat(t->fd, "keep", 0700), 0);
	assert_int_equal(tmpdir_write(t, "keep/file", "x"), 0);
	assert_int_equal(mkdirat(t->fd, "d", 0700), 0);
	assert_int_equal(symlinkat("../keep", t->fd, "d/dir"), 0);
	assert_int_equal(symlinkat("../keep/file", t->fd, "d/file"), 0);
	assert_int_equal(symlinkat("/", t->fd, "d/root"), 0);
	assert_int_equal(symlinkat("dangling", t->fd, "d/dangling"), 0);
	assert_int_equal(io_remove_tree_at(t->fd, "d"), 0);
	assert_int_equal(faccessat(t->fd, "keep/file", F_OK, 0), 0);
	assert_int_equal(symlinkat("keep", t->fd, "link"), 0);
	assert_int_equal(io_remove_tree_at(t->fd, "link"), 0);
	assert_int_equal(faccessat(t->fd, "keep/file", F_OK, 0), 0);
	assert_int_equal(tmpdir_count(t), 1);
}

/* More entries than one getdents() gives. */
static void test_wide(void **state)
{
	struct tmpdir *t = *state;

	assert_int_equal(mkdirat(t->fd, "d", 0700), 0);
	for (int i = 0; i < 3000; i++) {
		char name[300];

		(void)snprintf(name, sizeof(name), "d/%0200d", i);
		assert_int_equal(i % 3 ? tmpdir_write(t, name, "") : mkdirat(t->fd, name, 0700), 0);
	}
	assert_int_equal(io_remove_tree_at(t->fd, "d"), 0);
	assert_int_equal(tmpdir_count(t), 0);
}

/* Deeper than fds, stack or PATH_MAX allow, with names like those the removal makes up. */
static void test_deep(void **state)
{
	struct tmpdir *t = *state;
	int fd = dup(t->fd), next;

	for (int i = 0; i < DEEP; i++) {
		assert_int_equal(mkdirat(fd, "directory", 0700), 0);
		if (i == 0)
			assert_int_equal(symlinkat("/", fd, "directory/.cor-rm-0"), 0);
		if (i % 40 == 0)
			assert_int_equal(mkdirat(fd, ".cor-rm-1", 0700), 0);
		next = openat(fd, "directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		assert_int_equal(close(fd), 0);
		fd = next;
	}
	assert_int_equal(symlinkat("/", fd, "end"), 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(io_remove_tree_at(t->fd, "directory"), 0);
	assert_int_equal(unlinkat(t->fd, ".cor-rm-1", AT_REMOVEDIR), 0);
	assert_int_equal(tmpdir_count(t), 0);
}

/* In a mount namespace of a child's own: 0, or the step that failed. */
static int mounted(const struct tmpdir *t)
{
	scoped_free char *d = str_fmt("%s/d/sub/mnt", t->path), *keep = str_fmt("%s/keep", t->path);

	if (!d || !keep || unshare(CLONE_NEWNS) < 0)
		return 77;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;
	/* a bind mount has the same st_dev: only the kernel knows that it is one */
	if (mount(keep, d, NULL, MS_BIND, NULL) < 0)
		return 77;
	if (io_remove_tree_at(t->fd, "d") != -EBUSY)
		return 1;
	if (faccessat(t->fd, "keep/file", F_OK, 0) < 0)
		return 2;
	if (umount2(d, 0) < 0)
		return 3;
	return io_remove_tree_at(t->fd, "d") == 0 ? 0 : 4;
}

static void test_mount(void **state)
{
	struct tmpdir *t = *state;
	int status = 0;
	pid_t pid;

	assert_int_equal(mkdirat(t->fd, "keep", 0700), 0);
	assert_int_equal(tmpdir_write(t, "keep/file", "x"), 0);
	assert_int_equal(mkdirat(t->fd, "d", 0700), 0);
	assert_int_equal(mkdirat(t->fd, "d/sub", 0700), 0);
	assert_int_equal(mkdirat(t->fd, "d/sub/mnt", 0700), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(mounted(t));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("# skipped: needs the right to mount\n");
		skip();
	}
	assert_int_equal(status, 0);
	assert_int_equal(tmpdir_count(t), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_tmpdir(test_simple), with_tmpdir(test_absolute), with_tmpdir(test_symlinks),
		with_tmpdir(test_wide),   with_tmpdir(test_deep),     with_tmpdir(test_mount),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
