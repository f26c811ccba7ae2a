/* Each system call and allocation of sys fails once: the operation must say so and leave nothing. */
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

#include <cmocka.h>

#include "base/io.h"
#include "inject.h"
#include "sys/cgroup.h"
#include "sys/ns.h"
#include "sys/proc.h"
#include "sys/pty.h"
#include "sys/share.h"

static unsigned last_resort; /* how often test code had to unmount */

static int op_stat(void *arg)
{
	struct proc_stat st;

	return proc_stat_read(getpid(), &st);
}

static int op_open(void *arg)
{
	scoped_fd fd = -1;
	uint64_t start;
	int r = proc_start_time(getpid(), &start);

	return r < 0 ? r : proc_open(getpid(), start, &fd);
}

static int op_run(void *arg)
{
	static const char *const argv[] = { "true", NULL };
	struct proc_run p = { .argv = argv, .in = "x", .in_len = 1, .out_max = 10, .timeout_ms = 10000 };
	int r = proc_run(&p, NULL);

	str_fini(&p.out);
	return r;
}

static int op_pty(void *arg)
{
	char name[PTY_NAME_MAX];
	scoped_fd m = -1, s = -1;
	struct termios t;
	int r = pty_open(&m, &s, name);

	if (r == 0)
		r = pty_set_size(m, 1, 2);
	if (r == 0)
		r = pty_save(s, &t);
	if (r == 0)
		r = pty_set_raw(s);
	return r < 0 ? r : pty_restore(s, &t);
}

static int op_ns(void *arg)
{
	static const struct ns_want want[] = { { CLONE_NEWNET, "/proc/self/ns/net" },
					       { CLONE_NEWIPC, "/proc/self/ns/ipc" } };

	return ns_enter(want, 2, NULL);
}

static const char hybrid[] = "32 31 0:29 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
			     "34 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";

static int op_layout(void *arg)
{
	struct cgroup_layout l = { 0 };
	struct strv lines = { 0 };
	struct cgroup c = { 0 }, d = { 0 };
	int r = cgroup_layout_parse(hybrid, &l);

	if (r == 0)
		r = cgroup_plan(&l, CGROUP_FS, "/a/b", "x", &c, NULL);
	if (r == 0)
		r = cgroup_encode(&c, &lines);
	if (r == 0)
		r = cgroup_decode(&lines, &d);
	cgroup_fini(&c);
	cgroup_fini(&d);
	cgroup_layout_fini(&l);
	strv_fini(&lines);
	return r;
}

/* A made-up v2 cgroup with two files. */
struct fake {
	char dir[64];
};

static int op_limits(void *arg)
{
	struct fake *f = arg;
	struct cgroup_dir d = { .v2 = true, .path = f->dir, .controllers = f->dir };
	struct cgroup c = { .dirs = &d, .n = 1 };
	const struct cgroup_kv kv = { "memory.high", "10" };
	const struct cgroup_limits l = {
		.has_memory = true, .memory = 5, .unified = &kv, .n_unified = 1, .memory_overhead = 5
	};
	char controllers[] = "memory";

	d.controllers = controllers;
	return cgroup_apply(&c, &l, NULL);
}

/* A cgroup on the host that is made and removed. */
static int op_cgroup(void *arg)
{
	const struct cgroup_layout *l = arg;
	struct strv warnings = { 0 };
	struct cgroup c = { 0 };
	struct err e = { 0 };
	int r = cgroup_plan(l, CGROUP_FS, "/cor-test-errors/a", "x", &c, &e);

	if (r == 0)
		r = cgroup_create(&c, &(struct cgroup_limits){ 0 }, &warnings, &e);
	if (r == 0)
		r = cgroup_remove(&c, 100, &e);
	if (r == 0 && warnings.n > 0)
		r = -EIO;
	strv_fini(&warnings);
	cgroup_fini(&c);
	return r;
}

/* Whatever failed, what may be left is empty directories: it can be removed. */
static void check_cgroup(void *arg, enum inject_mode mode, int r)
{
	const struct cgroup_layout *l = arg;

	for (size_t i = 0; i < l->n; i++) {
		scoped_free char *path = str_fmt("%s/cor-test-errors/a", l->hiers[i].mount);
		scoped_free char *above = str_fmt("%s/cor-test-errors", l->hiers[i].mount);

		if (rmdir(path) < 0)
			assert_int_equal(errno, ENOENT);
		if (rmdir(above) < 0)
			assert_int_equal(errno, ENOENT);
	}
}

/* A share that is assembled and taken down again. */
static int op_share(void *arg)
{
	const struct share_bind binds[] = {
		{ .name = "m0", .source = "/etc/passwd", .dest = "/etc/passwd", .is_file = true },
		{ .name = "m1", .source = "/etc", .dest = "/a/b", .readonly = true },
	};
	const char *dir = arg;
	scoped_free char *share = str_fmt("%s/share", dir), *root = str_fmt("%s/root", dir);
	const struct share s = {
		.dir = share, .root = root, .root_readonly = true, .binds = binds, .n_binds = 2
	};
	scoped_share_trees trees = { 0 };
	int r = share && root ? share_open(share, NULL) : -ENOMEM;

	if (r < 0)
		return r;
	r = share_take(&s, &trees, NULL);
	if (r == 0)
		r = share_fill(&s, &trees, NULL);
	return umount2(share, MNT_DETACH) < 0 && r == 0 ? -errno : r;
}

static void check_share(void *arg, enum inject_mode mode, int r)
{
	const char *dir = arg;
	scoped_free char *share = str_fmt("%s/share", dir);
	scoped_free char *text = NULL;
	bool mounted;

	assert_int_equal(io_read_file_at(AT_FDCWD, "/proc/self/mountinfo", 1u << 20, &text, NULL), 0);
	mounted = strstr(text, share) != NULL;
	/* taking it down was made to fail, too */
	if (mounted)
		assert_int_equal(umount2(share, MNT_DETACH), 0);
	if (mode == INJECT_ONE && mounted)
		last_resort++;
}

/* access(2) of the other names of files, and readdir, may fail unseen. */
static const char *const tolerated[] = { "faccessat", "access", NULL };

static void fail_all(const char *name, int (*op)(void *arg), void *arg)
{
	const struct inject_case c = { .name = name, .op = op, .arg = arg, .tolerated = tolerated };

	inject_all(&c);
}

/* Also interrupted and shortened. Not for what opens devices and namespaces: nobody there has signal
 * handlers without SA_RESTART. */
static void fail_any(const char *name, int (*op)(void *arg), void *arg)
{
	const struct inject_case c = { .name = name, .op = op, .arg = arg, .tolerated = tolerated };

	inject_all(&c);
	inject_interrupts(&c);
}

static void test_proc(void **state)
{
	fail_any("proc_stat_read", op_stat, NULL);
	fail_any("proc_open", op_open, NULL);
}

static void test_run(void **state)
{
	fail_any("proc_run", op_run, NULL);
}

static void test_pty(void **state)
{
	fail_all("pty", op_pty, NULL);
}

static void test_ns(void **state)
{
	fail_all("ns_enter", op_ns, NULL);
}

static void test_cgroup(void **state)
{
	struct fake f = { .dir = "/tmp/cor-inject-XXXXXX" };
	scoped_fd dir = -1, a = -1, b = -1;

	fail_any("cgroup_layout", op_layout, NULL);
	assert_non_null(mkdtemp(f.dir));
	dir = open(f.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	a = openat(dir, "memory.max", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	b = openat(dir, "memory.high", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	fail_all("cgroup_apply", op_limits, &f);
	assert_int_equal(io_remove_tree_at(AT_FDCWD, f.dir), 0);
}

static bool can_mount(void)
{
	if (geteuid() == 0)
		return true;
	print_message("# skipped: needs root\n");
	return false;
}

static void test_host_cgroup(void **state)
{
	struct cgroup_layout l = { 0 };
	struct inject_case c = {
		.name = "cgroup_create",
		.op = op_cgroup,
		.arg = &l,
		.check = check_cgroup,
	};

	if (!can_mount())
		skip();
	assert_int_equal(cgroup_layout_read(&l), 0);
	if (l.n == 0 || access(l.hiers[0].mount, W_OK) < 0) {
		print_message("# skipped: the host's cgroups can't be written\n");
		cgroup_layout_fini(&l);
		skip();
	}
	inject_all(&c);
	cgroup_layout_fini(&l);
}

static void test_share(void **state)
{
	char dir[] = "/tmp/cor-inject-XXXXXX";
	struct inject_case c = { .name = "share", .op = op_share, .arg = dir, .check = check_share };
	scoped_free char *share = NULL, *root = NULL;

	if (!can_mount())
		skip();
	assert_int_equal(share_isolate(NULL), 0); /* of this test program */
	assert_non_null(mkdtemp(dir));
	share = str_fmt("%s/share", dir);
	root = str_fmt("%s/root", dir);
	assert_int_equal(mkdir(share, 0755), 0);
	assert_int_equal(mkdir(root, 0755), 0);
	last_resort = 0;
	inject_all(&c);
	assert_true(last_resort <= 1); /* only when its own umount2() was the call that failed */
	assert_int_equal(io_remove_tree_at(AT_FDCWD, dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_proc),   cmocka_unit_test(test_run),
		cmocka_unit_test(test_pty),    cmocka_unit_test(test_ns),
		cmocka_unit_test(test_cgroup), cmocka_unit_test(test_host_cgroup),
		cmocka_unit_test(test_share),
	};

	return cmocka_run_group_tests_name("sys/errors", tests, NULL, NULL);
}
