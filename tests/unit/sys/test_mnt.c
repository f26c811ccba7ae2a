/* Places and mounts below a hostile root. */
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "unit.h"

#include "base/str.h"
#include "sys/mnt.h"
#include "tmpdir.h"

static void make_link(const struct tmpdir *t, const char *target, const char *name)
{
	assert_int_equal(symlinkat(target, t->fd, name), 0);
}

static void make_dir(const struct tmpdir *t, const char *name)
{
	assert_int_equal(mkdirat(t->fd, name, 0755), 0);
}

static void expect_place(const struct tmpdir *t, const char *path, enum mnt_want want, const char *real)
{
	struct stat st, there;
	char *got = NULL;
	int fd = -1;

	assert_int_equal(mnt_place(t->fd, path, want, &fd, &got), 0);
	assert_string_equal(got, real);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(want == MNT_WANT_DIR ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode));
	assert_int_equal(fstatat(t->fd, *real ? real : ".", &there, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_ino, there.st_ino);
	close(fd);
	free(got);
}

static void expect_no_place(const struct tmpdir *t, const char *path, int code)
{
	char *got = NULL;
	int fd = -1;

	assert_int_equal(mnt_place(t->fd, path, MNT_WANT_DIR, &fd, &got), code);
	assert_int_equal(fd, -1);
	assert_null(got);
}

static void places_are_made(void **state)
{
	const struct tmpdir *t = *state;

	expect_place(t, "/", MNT_WANT_DIR, "");
	expect_place(t, "", MNT_WANT_DIR, "");
	expect_place(t, "/a/b/c", MNT_WANT_DIR, "a/b/c");
	expect_place(t, "/a/b/c", MNT_WANT_DIR, "a/b/c");
	expect_place(t, "//a/./b//d/", MNT_WANT_DIR, "a/b/d");
	expect_place(t, "/a/x/../file", MNT_WANT_FILE, "a/file");
	expect_place(t, "/../../..", MNT_WANT_DIR, "");
	expect_place(t, "../../etc/x", MNT_WANT_FILE, "etc/x");
	expect_no_place(t, "/a/file/below", -ENOTDIR);
}

static void links_stay_inside(void **state)
{
	const struct tmpdir *t = *state;

	make_dir(t, "in");
	make_link(t, "/in", "abs");
	make_link(t, "../../../../../in", "rel");
	make_link(t, "/tmp/../../outside", "out");
	make_link(t, "nowhere/at/all", "dangling");
	make_link(t, "loop2", "loop");
	make_link(t, "loop", "loop2");
	make_link(t, "..", "in/up");
	expect_place(t, "/abs/x", MNT_WANT_DIR, "in/x");
	expect_place(t, "/rel/y", MNT_WANT_FILE, "in/y");
	expect_place(t, "/out", MNT_WANT_DIR, "outside");
	expect_place(t, "/dangling", MNT_WANT_FILE, "nowhere/at/all");
	expect_place(t, "/in/up/in/up/in/z", MNT_WANT_DIR, "in/z");
	expect_no_place(t, "/loop", -ELOOP);
	expect_no_place(t, "/loop/x", -ELOOP);
	assert_int_equal(access("/outside", F_OK), -1);
}

static void opening_stays_inside(void **state)
{
	const struct tmpdir *t = *state;
	struct stat st, want;
	int fd = -1;

	make_dir(t, "etc");
	assert_int_equal(tmpdir_write(t, "etc/passwd", "inside"), 0);
	make_link(t, "/etc/passwd", "link");
	assert_int_equal(mnt_open_in(t->fd, "/link", O_RDONLY, &fd), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(fstatat(t->fd, "etc/passwd", &want, 0), 0);
	assert_int_equal(st.st_ino, want.st_ino);
	close(fd);
	assert_int_equal(mnt_open_plain(t->fd, "link", O_RDONLY, &fd), -ELOOP);
	assert_int_equal(mnt_open_in(t->fd, "/missing", O_RDONLY, &fd), -ENOENT);
}

static void magic_links_are_refused(void **state)
{
	int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;

	assert_true(proc >= 0);
	assert_int_equal(mnt_open_in(proc, "self/root", O_PATH, &fd), -ELOOP);
	assert_int_equal(mnt_open_in(proc, "self/cwd/x", O_PATH, &fd), -ELOOP);
	close(proc);
}

static void parents_are_found(void **state)
{
	const struct tmpdir *t = *state;
	const char *name = NULL;
	struct stat st;
	int dir = -1;

	assert_int_equal(mnt_place_parent(t->fd, "/dev/net/tun", &dir, &name), 0);
	assert_string_equal(name, "tun");
	assert_int_equal(fstatat(t->fd, "dev/net", &st, 0), 0);
	close(dir);
	assert_int_equal(mnt_place_parent(t->fd, "/dev/..", &dir, &name), -EINVAL);
	assert_int_equal(mnt_place_parent(t->fd, "/dev/", &dir, &name), -EINVAL);
}

static void flags_become_attributes(void **state)
{
	static const struct {
		unsigned long flags;
		uint64_t set, clear;
	} rows[] = {
		{ 0, 0, 0 },
		{ MS_RDONLY, 1, 0 },
		{ MS_NOSUID | MS_NODEV | MS_NOEXEC, 2 | 4 | 8, 0 },
		{ MS_NOATIME, 0x10, 0x70 },
		{ MS_STRICTATIME, 0x20, 0x70 },
		{ MS_RELATIME, 0, 0x70 },
		{ MS_NODIRATIME, 0x80, 0 },
		{ 256, 0x200000, 0 },
		{ MS_NOATIME | MS_STRICTATIME, 0x20, 0x70 },
	};
	uint64_t clear;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(mnt_attr_of_flags(rows[i].flags, &clear), rows[i].set);
		assert_int_equal(clear, rows[i].clear);
	}
}

static void trees_are_copied(void **state)
{
	const struct tmpdir *t = *state;
	struct stat a, b;
	char text[16] = "";
	int from, to, fd;

	make_dir(t, "from");
	make_dir(t, "from/sub");
	make_dir(t, "to");
	assert_int_equal(tmpdir_write(t, "from/file", "content"), 0);
	assert_int_equal(tmpdir_write(t, "from/sub/suid", "x"), 0);
	assert_int_equal(fchmodat(t->fd, "from/sub/suid", 04711, 0), 0);
	assert_int_equal(mkfifoat(t->fd, "from/fifo", 0622), 0);
	make_link(t, "/not/there", "from/link");
	from = openat(t->fd, "from", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	to = openat(t->fd, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mnt_copy_tree(from, to, 1), 0);
	fd = openat(to, "file", O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, text, sizeof text), 7);
	assert_string_equal(text, "content");
	close(fd);
	assert_int_equal(fstatat(from, "sub/suid", &a, 0), 0);
	assert_int_equal(fstatat(to, "sub/suid", &b, 0), 0);
	assert_int_equal(a.st_mode, b.st_mode);
	assert_int_equal(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
	assert_int_equal(fstatat(to, "fifo", &b, 0), 0);
	assert_true(S_ISFIFO(b.st_mode));
	assert_int_equal(readlinkat(to, "link", text, sizeof text), 10);
	/* What is there stays: a second copy fails, and so does one that is too deep. */
	assert_int_equal(mnt_copy_tree(from, to, 1), -EEXIST);
	make_dir(t, "flat");
	close(to);
	to = openat(t->fd, "flat", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mnt_copy_tree(from, to, 0), -ELOOP);
	close(from);
	close(to);
}

/* In a child with mounts of its own; a number tells which step failed. */
static int mounts_child(const char *path)
{
	struct tmpdir own = { .fd = -1 }, *t = &own;
	struct stat st;
	int tree = -1, on, fd = -1;
	char *real = NULL;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 1;
	/* An fd from before would lead to the old namespace's mounts. */
	t->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mnt_place(t->fd, "/root/place", MNT_WANT_DIR, &on, &real) < 0 ||
	    mnt_fs("tmpfs", "x", on, MS_NOSUID, "size=64k") < 0)
		return 2;
	close(on);
	if (mnt_open_plain(t->fd, real, O_PATH, &on) < 0 || !mnt_is_fs(on, 0x01021994))
		return 3;
	if (openat(on, "writable", O_CREAT | O_RDWR | O_CLOEXEC, 0600) < 0)
		return 4;
	if (mnt_clone(on, false, &tree) < 0 || mnt_set_attr(tree, 1, 0, false) < 0)
		return 5;
	close(on);
	if (mnt_place(t->fd, "/root/ro", MNT_WANT_DIR, &on, &real) < 0 || mnt_attach(tree, on) < 0)
		return 6;
	/* The attached tree's fd is on its top, and it is read-only. */
	if (openat(tree, "other", O_CREAT | O_RDWR | O_CLOEXEC, 0600) >= 0 || errno != EROFS)
		return 7;
	if (mnt_set_propagation(tree, MS_SHARED) < 0 || mnt_set_propagation(tree, MS_PRIVATE) < 0)
		return 11;
	close(tree);
	if (mnt_new("tmpfs", "mode", "0750", &tree) < 0 || mkdirat(tree, "inside", 0755) < 0 ||
	    mnt_place(t->fd, "/root/new", MNT_WANT_DIR, &on, &real) < 0 || mnt_attach(tree, on) < 0 ||
	    fstatat(t->fd, "root/new/inside", &st, 0) < 0 || fstatat(t->fd, "root/new", &st, 0) < 0 ||
	    (st.st_mode & 07777) != 0750)
		return 12;
	if (mnt_new("tmpfs", "nothing", "1", &tree) != -EINVAL ||
	    mnt_new("no such", NULL, NULL, &tree) != -ENODEV)
		return 13;
	close(tree);
	if (mnt_open_plain(t->fd, "root", O_PATH, &fd) < 0 || mnt_clone(fd, true, &tree) < 0 ||
	    mnt_attach(tree, fd) < 0)
		return 8;
	if (mnt_pivot(tree) < 0)
		return 9;
	if (stat("/place/writable", &st) < 0 || stat("/ro/writable", &st) < 0 || stat("/proc", &st) == 0)
		return 10;
	return 0;
}

static void mounts_are_made(void **state)
{
	const struct tmpdir *t = *state;
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		print_message("# skipped: mounts need root\n");
		skip();
	}
	make_dir(t, "root");
	pid = fork();
	if (pid == 0)
		_exit(mounts_child(t->path));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, tmpdir_set_up, tmpdir_tear_down)
	const struct CMUnitTest tests[] = {
		T(places_are_made),
		T(links_stay_inside),
		T(opening_stays_inside),
		T(parents_are_found),
		T(trees_are_copied),
		T(mounts_are_made),
		cmocka_unit_test(magic_links_are_refused),
		cmocka_unit_test(flags_become_attributes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
