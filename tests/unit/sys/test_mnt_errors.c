/* Each system call and allocation of mnt, cg2 and caps fails once: the operation says so and leaves nothing
 * open. What it made in the directory may stay: the next run finds it. */
#include <errno.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "unit.h"

#include "inject.h"
#include "sys/caps.h"
#include "sys/cg2.h"
#include "sys/mnt.h"
#include "tmpdir.h"

static int place(const struct tmpdir *t, const char *path, enum mnt_want want)
{
	scoped_free char *real = NULL;
	scoped_fd fd = -1;

	return mnt_place(t->fd, path, want, &fd, &real);
}

static int op_place(void *arg)
{
	return place(arg, "/there/is/../nothing/yet", MNT_WANT_FILE);
}

static int op_place_link(void *arg)
{
	return place(arg, "/link/below", MNT_WANT_DIR);
}

static int op_parent(void *arg)
{
	const struct tmpdir *t = arg;
	const char *name = NULL;
	scoped_fd dir = -1;

	return mnt_place_parent(t->fd, "/dev/net/tun", &dir, &name);
}

static int op_open(void *arg)
{
	const struct tmpdir *t = arg;
	scoped_fd a = -1, b = -1;
	int r = mnt_open_in(t->fd, "/file", O_RDONLY, &a);

	return r < 0 ? r : mnt_open_plain(t->fd, "file", O_RDONLY, &b);
}

/* Makes what it makes new in each run. */
static void forget(void *arg, enum inject_mode mode unused_arg, int r unused_arg)
{
	const struct tmpdir *t = arg;

	(void)unlinkat(t->fd, "there/nothing/yet", 0);
	(void)unlinkat(t->fd, "there/nothing", AT_REMOVEDIR);
	(void)unlinkat(t->fd, "there/is", AT_REMOVEDIR);
	(void)unlinkat(t->fd, "there", AT_REMOVEDIR);
	(void)unlinkat(t->fd, "target/below", AT_REMOVEDIR);
	(void)unlinkat(t->fd, "dev/net", AT_REMOVEDIR);
	(void)unlinkat(t->fd, "dev", AT_REMOVEDIR);
	(void)unlinkat(t->fd, "to/sub/deep", 0);
	(void)unlinkat(t->fd, "to/sub", AT_REMOVEDIR);
	(void)unlinkat(t->fd, "to/file", 0);
	(void)unlinkat(t->fd, "to/fifo", 0);
	(void)unlinkat(t->fd, "to/link", 0);
	(void)unlinkat(t->fd, "cg/a/b", AT_REMOVEDIR);
	(void)unlinkat(t->fd, "cg/a", AT_REMOVEDIR);
}

static int op_copy(void *arg)
{
	const struct tmpdir *t = arg;
	scoped_fd from = openat(t->fd, "from", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	scoped_fd to = openat(t->fd, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return from < 0 || to < 0 ? -errno : mnt_copy_tree(from, to, 3);
}

static int op_cgroup(void *arg)
{
	const struct tmpdir *t = arg;
	scoped_fd cg = openat(t->fd, "cg", O_RDONLY | O_DIRECTORY | O_CLOEXEC), a = -1;
	uint64_t v;
	int r;

	if (cg < 0)
		return -errno;
	r = cg2_make(cg, "a", &a);
	if (r == 0 && mkdirat(a, "b", 0755) < 0 && errno != EEXIST)
		r = -errno;
	if (r == 0)
		r = cg2_read_u64(cg, "number", &v);
	if (r == 0)
		r = cg2_read_key(cg, "keys", "two", &v);
	return r < 0 ? r : cg2_remove(cg, "a");
}

static int op_caps(void *arg unused_arg)
{
	struct caps_sets s;

	return caps_get(&s);
}

static void fill(const struct tmpdir *t)
{
	static const char *const dirs[] = { "target", "from", "from/sub", "to", "cg" };

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		assert_int_equal(mkdirat(t->fd, dirs[i], 0755), 0);
	assert_int_equal(symlinkat("/target", t->fd, "link"), 0);
	assert_int_equal(symlinkat("x", t->fd, "from/link"), 0);
	assert_int_equal(mkfifoat(t->fd, "from/fifo", 0600), 0);
	assert_int_equal(tmpdir_write(t, "file", "x"), 0);
	assert_int_equal(tmpdir_write(t, "from/file", "content"), 0);
	assert_int_equal(tmpdir_write(t, "from/sub/deep", "more"), 0);
	assert_int_equal(tmpdir_write(t, "cg/number", "12\n"), 0);
	assert_int_equal(tmpdir_write(t, "cg/keys", "one 1\ntwo 2\n"), 0);
}

static void every_call_fails_once(void **state)
{
	/* A cgroup below that can't be opened has been removed: that is no failure. */
	static const char *const tolerated[] = { "openat", "openat64", "__openat_2", "__openat64_2", NULL };
	/* The first capability that the kernel doesn't know ends the list. */
	static const char *const end_of_caps[] = { "prctl", NULL };
	struct inject_case cases[] = {
		{ .name = "place", .op = op_place, .check = forget },
		{ .name = "place over a link", .op = op_place_link, .check = forget },
		{ .name = "parent", .op = op_parent, .check = forget },
		{ .name = "open", .op = op_open },
		{ .name = "copy", .op = op_copy, .check = forget },
		{ .name = "cgroup", .op = op_cgroup, .check = forget, .tolerated = tolerated },
		{ .name = "caps", .op = op_caps, .tolerated = end_of_caps },
	};

	fill(*state);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		print_message("# %s\n", cases[i].name);
		cases[i].arg = *state;
		inject_all(&cases[i]);
	}
}

static void interrupts_and_parts_are_no_failures(void **state)
{
	struct inject_case copy = {
		.name = "copy", .op = op_copy, .check = forget, .arg = *state, .only = "read"
	};

	fill(*state);
	inject_interrupts(&copy);
	copy.only = "write";
	inject_interrupts(&copy);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, tmpdir_set_up, tmpdir_tear_down)
	const struct CMUnitTest tests[] = {
		T(every_call_fails_once),
		T(interrupts_and_parts_are_no_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
