/* The guest's share and the monitor's view, each in a child with mount namespaces of its own. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/str.h"
#include "sys/share.h"

static char top[64]; /* of this test: root/ share/ src/ inside */

static void make_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
	(void)close(fd);
}

static int setup(void **state)
{
	static const char *const dirs[] = { "root", "root/etc", "root/proc", "root/ro",    "share",
					    "src",  "src/sub",  "src/d",     "root/escape" };

	(void)snprintf(top, sizeof top, "/tmp/cor-share-XXXXXX");
	if (!mkdtemp(top) || chdir(top) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		if (mkdir(dirs[i], 0755) < 0)
			return -1;
	make_file("root/marker", "root");
	make_file("src/file", "file");
	make_file("src/d/inside", "inside");
	if (rmdir("root/escape") < 0 || symlink("/tmp", "root/escape") < 0 || symlink("d", "src/link") < 0)
		return -1;
	return 0;
}

static int teardown(void **state)
{
	if (chdir("/") < 0)
		return -1;
	return io_remove_tree_at(AT_FDCWD, top);
}

static char mounts[1 << 20];

static const char *mount_table(void)
{
	scoped_free char *text = NULL;
	size_t len;

	if (io_read_file_at(AT_FDCWD, "/proc/self/mountinfo", sizeof mounts - 1, &text, &len) < 0)
		return "";
	memcpy(mounts, text, len + 1);
	return mounts;
}

/* In children: says what is wrong and ends with 1. */
#define must(cond)                                                                                           \
	do {                                                                                                 \
		if (!(cond)) {                                                                               \
			print_message("# line %d: %s (errno %d)\n", __LINE__, #cond, errno);                 \
			_exit(1);                                                                            \
		}                                                                                            \
	} while (0)

static bool holds(const char *path, const char *want)
{
	scoped_free char *text = NULL;
	size_t len;

	return io_read_file_at(AT_FDCWD, path, 4096, &text, &len) == 0 && strcmp(text, want) == 0;
}

struct paths {
	char share[128], root[128], file[128], dir[128], src[128];
};

static void fill_paths(struct paths *p)
{
	(void)snprintf(p->share, sizeof p->share, "%s/share", top);
	(void)snprintf(p->root, sizeof p->root, "%s/root", top);
	(void)snprintf(p->file, sizeof p->file, "%s/src/file", top);
	(void)snprintf(p->dir, sizeof p->dir, "%s/src/d", top);
	(void)snprintf(p->src, sizeof p->src, "%s/src", top);
}

/* Runs fn in a child as root; the host's mount table must be the same afterwards. */
static void in_child(void (*fn)(const struct paths *p))
{
	scoped_free char *before = NULL;
	struct paths p;
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		print_message("# skipped: needs root\n");
		skip();
	}
	fill_paths(&p);
	before = strdup(mount_table());
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fn(&p);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_string_equal(mount_table(), before);
}

static int assemble(const struct share *s, struct err *e)
{
	scoped_share_trees trees = { 0 };
	int r;

	r = share_open(s->dir, e);
	if (r < 0)
		return r;
	r = share_take(s, &trees, e);
	if (r == 0)
		r = share_fill(s, &trees, e);
	if (r < 0)
		must(umount2(s->dir, MNT_DETACH) == 0);
	return r;
}

static void start(const struct share *s)
{
	struct err e = { 0 };

	if (share_isolate(&e) < 0 || assemble(s, &e) < 0) {
		print_message("# %s\n", e.msg);
		_exit(1);
	}
}

static void child_assemble(const struct paths *p)
{
	const struct share_bind binds[] = {
		{ .name = "m0", .source = p->file, .dest = "/etc/file", .is_file = true },
		{ .name = "m1", .source = p->dir, .dest = "/data", .readonly = true, .recursive = true },
	};
	const struct share s = { .dir = p->share, .root = p->root, .binds = binds, .n_binds = 2 };
	struct statvfs vfs;

	start(&s);
	must(chdir(p->share) == 0);
	must(holds("rootfs/marker", "root"));
	must(holds("m0", "file"));
	must(holds("m1/inside", "inside"));
	/* the share's own directory can't be written, its entries as they should */
	must(mkdir("new", 0700) < 0 && errno == EROFS);
	must(mkdir("rootfs/new", 0700) == 0);
	must(mkdir("m1/new", 0700) < 0 && errno == EROFS);
	/* nothing in it can be used as a device or a program by whoever exports it */
	must(mknod("rootfs/null", S_IFCHR | 0666, makedev(1, 3)) == 0);
	must(open("rootfs/null", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
	must(statvfs("rootfs", &vfs) == 0);
	must((vfs.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC)) == (ST_NOSUID | ST_NODEV | ST_NOEXEC));
	must(statvfs("m0", &vfs) == 0 && (vfs.f_flag & ST_NODEV));
}

static void test_assemble(void **state)
{
	in_child(child_assemble);
	/* what was written through the share is in the root; the share's directory is empty again */
	assert_int_equal(access("root/new", F_OK), 0);
	assert_int_equal(rmdir("share"), 0);
}

static void child_readonly(const struct paths *p)
{
	const struct share_bind bind = {
		.name = "m0", .source = p->file, .dest = "/new/etc/hosts", .is_file = true
	};
	const struct share s = {
		.dir = p->share, .root = p->root, .root_readonly = true, .binds = &bind, .n_binds = 1
	};
	struct err e = { 0 };

	start(&s);
	must(chdir(p->share) == 0);
	must(mkdir("rootfs/x", 0700) < 0 && errno == EROFS);
	/* the mount point that the agent could not make any more */
	must(holds("rootfs/new/etc/hosts", ""));
	must(share_enter_view(&s, 0, &e) == 0);
	must(holds("/new/etc/hosts", "file"));
	must(mkdir("/x", 0700) < 0 && errno == EROFS);
}

static void test_readonly(void **state)
{
	in_child(child_readonly);
}

/* Mounts below a source come along if asked for, and read-only holds for them, too. */
static void child_recursive(const struct paths *p)
{
	const struct share_bind binds[] = {
		{ .name = "m0", .source = p->src, .dest = "/a", .readonly = true, .recursive = true },
		{ .name = "m1", .source = p->src, .dest = "/b" },
	};
	const struct share s = { .dir = p->share, .root = p->root, .binds = binds, .n_binds = 2 };
	struct err e = { 0 };

	must(share_isolate(&e) == 0);
	must(chdir(p->src) == 0 && mount("t", "sub", "tmpfs", 0, NULL) == 0);
	make_file("sub/deep", "deep");
	must(assemble(&s, &e) == 0);
	must(chdir(p->share) == 0);
	must(holds("m0/sub/deep", "deep"));
	must(mkdir("m0/sub/x", 0700) < 0 && errno == EROFS);
	must(access("m1/sub/deep", F_OK) < 0 && errno == ENOENT);
	must(mkdir("m1/x", 0700) == 0);
}

static void test_recursive(void **state)
{
	in_child(child_recursive);
}

static bool is_owned(const char *path, uid_t uid, gid_t gid)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_uid == uid && st.st_gid == gid;
}

/* Maps of their own for three binds of one directory; of the mounts below only where that was asked for. */
static void child_idmapped(const struct paths *p)
{
	const char *some = "0 1000 10\n", *other = "3 7 1\n";
	const struct share_bind bind[] = {
		{ .name = "m0",
		  .source = p->src,
		  .dest = "/a",
		  .recursive = true,
		  .uid_map = some,
		  .gid_map = other },
		{ .name = "m1",
		  .source = p->src,
		  .dest = "/b",
		  .recursive = true,
		  .uid_map = other,
		  .gid_map = some,
		  .map_recursive = true },
		{ .name = "m2", .source = p->src, .dest = "/c", .recursive = true },
		{ .name = "m3", .source = "/proc", .dest = "/d", .uid_map = some, .gid_map = some },
	};
	struct share s = { .dir = p->share, .root = p->root, .binds = bind, .n_binds = 3 };
	struct err e = { 0 };
	int r;

	must(share_isolate(&e) == 0 && chdir(top) == 0);
	must(mount("src/d", "src/sub", NULL, MS_BIND, NULL) == 0);
	must(chown("src/file", 0, 3) == 0 && chown("src/sub", 3, 0) == 0);
	r = assemble(&s, &e);
	if (r == -EINVAL && strstr(e.msg, "can't be ID-mapped")) {
		print_message("skipped: %s\n", e.msg);
		_exit(0);
	}
	must(r == 0);
	must(chdir(p->share) == 0);
	must(is_owned("m0/file", 1000, 7) && is_owned("m0/sub", 3, 0));
	must(is_owned("m1/file", 65534, 1003) && is_owned("m1/sub", 7, 1000));
	must(is_owned("m2/file", 0, 3) && is_owned("m2/sub", 3, 0));
	s.binds = &bind[3];
	s.n_binds = 1;
	must(assemble(&s, &e) == -EINVAL &&
	     strstr(e.msg, "shared path /proc: its file system can't be ID-mapped"));
}

static void test_idmapped(void **state)
{
	in_child(child_idmapped);
}

/* A bind of a directory that holds the share itself does not contain itself. */
static void child_of_all(const struct paths *p)
{
	const struct share_bind bind = { .name = "m0", .source = top, .dest = "/a", .recursive = true };
	const struct share s = { .dir = p->share, .root = p->root, .binds = &bind, .n_binds = 1 };

	start(&s);
	must(chdir(p->share) == 0);
	must(access("m0/root/marker", F_OK) == 0);
	must(access("m0/share/m0", F_OK) < 0 && errno == ENOENT);
}

static void test_of_all(void **state)
{
	in_child(child_of_all);
}

static void child_refused(const struct paths *p)
{
	char link[160];
	const struct {
		struct share_bind b;
		int code;
	} cases[] = {
		{ { .name = "m0", .source = link, .dest = "/a" }, -ELOOP },
		{ { .name = "m0", .source = p->file, .dest = "/a" }, -ENOTDIR },
		{ { .name = "m0", .source = p->dir, .dest = "/a", .is_file = true }, -EISDIR },
		{ { .name = "m0", .source = "/nonexistent", .dest = "/a" }, -ENOENT },
		{ { .name = "a/b", .source = p->dir, .dest = "/a" }, -EINVAL },
		{ { .name = "rootfs", .source = p->dir, .dest = "/a" }, -EEXIST },
	};
	struct err e = { 0 };

	(void)snprintf(link, sizeof link, "%s/link/inside", p->src);
	must(share_isolate(&e) == 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct share s = {
			.dir = p->share, .root = p->root, .binds = &cases[i].b, .n_binds = 1
		};
		int r = assemble(&s, &e);

		if (r != cases[i].code) {
			print_message("# case %zu: %d (%s)\n", i, r, e.msg);
			_exit(1);
		}
		must(strstr(e.msg, "shar"));
	}
}

static void test_refused(void **state)
{
	in_child(child_refused);
}

static void child_view(const struct paths *p)
{
	const struct share_bind binds[] = {
		{ .name = "m0", .source = p->file, .dest = "/etc/made/file", .is_file = true },
		{ .name = "m1", .source = p->dir, .dest = "/data/deep", .recursive = true },
		/* a symlink of the image that points out of it: stays inside */
		{ .name = "m2", .source = p->dir, .dest = "/escape/x", .recursive = true },
		/* can't be used: left out */
		{ .name = "m3", .source = p->dir, .dest = "/marker", .recursive = true },
		{ .name = "m4", .source = p->dir, .dest = "/", .recursive = true },
	};
	const struct share s = { .dir = p->share, .root = p->root, .binds = binds, .n_binds = 5 };
	struct err e = { 0 };
	char cwd[16];

	start(&s);
	if (share_enter_view(&s, SHARE_VIEW_PROC, &e) < 0) {
		print_message("# %s\n", e.msg);
		_exit(1);
	}
	must(getcwd(cwd, sizeof cwd) && strcmp(cwd, "/") == 0);
	must(holds("/marker", "root"));
	must(holds("/etc/made/file", "file"));
	must(holds("/data/deep/inside", "inside"));
	must(holds("/tmp/x/inside", "inside"));
	must(access("/proc/self/fd", F_OK) == 0);
	/* nothing of the host is in reach, and the mount table tells of nothing but the view */
	must(access(p->root, F_OK) < 0 && errno == ENOENT);
	must(!strstr(mount_table(), "/share"));
	must(chdir("/..") == 0 && access("marker", F_OK) == 0);
}

static void test_view(void **state)
{
	in_child(child_view);
	assert_int_equal(access("/tmp/x", F_OK), -1);
	assert_int_equal(access("root/tmp/x", F_OK), 0); /* the mount point, made in the root */
}

/* Without a root there is an empty one, and of the view as well. */
static void child_no_root(const struct paths *p)
{
	const struct share_bind binds[] = {
		{ .name = "m0", .source = p->dir, .dest = "/data", .recursive = true },
	};
	const struct share s = { .dir = p->share, .root_readonly = true, .binds = binds, .n_binds = 1 };
	struct err e = { 0 };

	start(&s);
	must(chdir(p->share) == 0);
	must(access("rootfs/marker", F_OK) < 0);
	must(holds("m0/inside", "inside"));
	must(share_enter_view(&s, SHARE_VIEW_PROC, &e) == 0);
	must(access("/marker", F_OK) < 0 && access("/proc", F_OK) < 0);
	must(mkdir("/x", 0700) < 0 && errno == EROFS);
}

static void test_no_root(void **state)
{
	in_child(child_no_root);
}

static void child_view_readonly(const struct paths *p)
{
	const struct share_bind binds[] = {
		{ .name = "m0", .source = p->dir, .dest = "/ro", .recursive = true },
		{ .name = "m1", .source = p->dir, .dest = "/missing", .recursive = true },
	};
	const struct share s = { .dir = p->share, .root = p->root, .binds = binds, .n_binds = 2 };
	struct err e = { 0 };

	start(&s);
	must(share_enter_view(&s, SHARE_VIEW_READONLY, &e) == 0);
	must(holds("/ro/inside", "inside"));
	must(access("/missing", F_OK) < 0);
	must(mkdir("/x", 0700) < 0 && errno == EROFS);
	must(mkdir("/ro/x", 0700) == 0);
}

static void test_view_readonly(void **state)
{
	in_child(child_view_readonly);
}

/* What the host unmounts does not stay busy because a container runs. */
static void child_propagation(const struct paths *p)
{
	const struct share_bind bind = { .name = "m0", .source = p->src, .dest = "/a", .recursive = true };
	const struct share s = { .dir = p->share, .root = p->root, .binds = &bind, .n_binds = 1 };
	int ready[2], go[2], status;
	char byte;
	pid_t pid;

	/* this child plays the host: with mounts that propagate, as on a host with systemd */
	must(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	must(mount(p->src, p->src, NULL, MS_BIND, NULL) == 0);
	must(mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) == 0);
	must(chdir(p->src) == 0 && mount("t", "sub", "tmpfs", 0, NULL) == 0);
	must(pipe(ready) == 0 && pipe(go) == 0);
	pid = fork();
	if (pid == 0) {
		start(&s);
		must(chdir(p->share) == 0 && chdir("m0") == 0);
		must(strstr(mount_table(), "/share/m0/sub"));
		must(write(ready[1], "", 1) == 1 && read(go[0], &byte, 1) == 1);
		must(!strstr(mount_table(), "/share/m0/sub"));
		_exit(0);
	}
	must(read(ready[0], &byte, 1) == 1);
	must(!strstr(mount_table(), "/share "));
	must(umount2("sub", 0) == 0);
	must(write(go[1], "", 1) == 1);
	must(waitpid(pid, &status, 0) == pid && status == 0);
}

/* Whoever stands in the share before it is filled finds the entries; also when they were taken in
 * another mount namespace than the one they are put in. */
static void child_late(const struct paths *p)
{
	const struct share_bind bind = { .name = "m0", .source = p->dir, .dest = "/a", .recursive = true };
	const struct share s = { .dir = p->share, .root = p->root, .binds = &bind, .n_binds = 1 };
	scoped_share_trees trees = { 0 };
	struct err e = { 0 };
	int dir, ns;

	must(share_isolate(&e) == 0 && share_open(p->share, &e) == 0);
	dir = open(p->share, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	must(dir >= 0 && ns >= 0);
	must(unshare(CLONE_NEWNS) == 0);
	must(chdir(p->dir) == 0 && mkdir("later", 0700) == 0 && mount("t", "later", "tmpfs", 0, NULL) == 0);
	make_file("later/file", "there");
	must(share_take(&s, &trees, &e) == 0);
	must(setns(ns, CLONE_NEWNS) == 0);
	must(share_fill(&s, &trees, &e) == 0);
	must(fchdir(dir) == 0 && holds("rootfs/marker", "root") && holds("m0/later/file", "there"));
	must(mkdir("x", 0700) < 0 && errno == EROFS);
	must(share_enter_view(&s, 0, &e) == 0);
	must(holds("/marker", "root") && holds("/a/later/file", "there"));
}

static void test_late(void **state)
{
	in_child(child_late);
}

static void test_propagation(void **state)
{
	in_child(child_propagation);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_assemble, setup, teardown),
		cmocka_unit_test_setup_teardown(test_readonly, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recursive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_idmapped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_of_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_view, setup, teardown),
		cmocka_unit_test_setup_teardown(test_view_readonly, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_root, setup, teardown),
		cmocka_unit_test_setup_teardown(test_propagation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late, setup, teardown),
	};

	return cmocka_run_group_tests_name("sys/share", tests, NULL, NULL);
}
