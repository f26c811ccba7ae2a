/* test_ctr.c - runtime/ctr.h: state directories that are whole, half made, damaged, locked by others, and
 * what is said about containers whose processes live, end, or are somebody else's by now. */
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/io.h"
#include "runtime/ctr.h"
#include "sys/proc.h"
#include "tmpdir.h"

#define STATE                                                                                                \
	"{\"ociVersion\":\"1.0.2\",\"id\":\"c1\",\"status\":\"created\",\"pid\":5,\"bundle\":\"/"            \
	"b\",\"rootfs\":\"/"                                                                                 \
	"b/r\",\"created\":\"2026-01-01T00:00:00Z\",\"owner\":\"0\"}"

static struct ctr none(void)
{
	return (struct ctr){ .dirfd = -1, .lock_fd = -1 };
}

static void must(int r, const struct err *e)
{
	if (r < 0)
		fail_msg("%d: %s", r, e->msg);
}

static void expect_err(int r, int code, const struct err *e, const char *text)
{
	if (r != code || !strstr(e->msg, text))
		fail_msg("%d \"%s\", not %d \"%s\"", r, e->msg, code, text);
}

/* A process that does nothing until it is killed. */
static pid_t sleeper(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			(void)pause();
	}
	return pid;
}

static void reap(pid_t pid, int sig)
{
	int status;

	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (sig)
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == sig);
}

static void make(const struct tmpdir *t, const char *id, struct ctr *c)
{
	struct err e;

	must(ctr_make(t->path, id, c, &e), &e);
}

static void put(struct ctr *c, const char *name, const char *text)
{
	struct err e;

	must(ctr_write(c, name, text, strlen(text), &e), &e);
}

static void test_make(void **state)
{
	const struct tmpdir *t = *state;
	scoped_free char *root = str_fmt("%s/a/b", t->path);
	scoped_ctr c = none(), again = none();
	struct stat st;
	struct err e;

	must(ctr_make(root, "c1", &c, &e), &e);
	assert_int_equal(fstat(c.dirfd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_string_equal(strrchr(c.dir, '/'), "/c1");
	expect_err(ctr_make(root, "c1", &again, &e), -EEXIST, &e, "container with id exists: c1");
	must(ctr_open(root, "c1", &again, &e), &e); /* still there */
	assert_true(again.half_made);
}

static void test_missing(void **state)
{
	const struct tmpdir *t = *state;
	scoped_ctr c = none();
	struct err e;

	expect_err(ctr_open(t->path, "c1", &c, &e), -ENOENT, &e, "container c1 does not exist");
	expect_err(ctr_open("/nonexistent/root", "c1", &c, &e), -ENOENT, &e, "container c1 does not exist");
	assert_int_equal(tmpdir_write(t, "file", ""), 0);
	assert_true(ctr_open(t->path, "file", &c, &e) < 0);
	assert_int_equal(symlinkat("/", t->fd, "link"), 0);
	assert_true(ctr_open(t->path, "link", &c, &e) < 0);
	assert_int_equal(c.dirfd, -1);
}

static void test_half_made(void **state)
{
	static const char *const texts[] = { NULL, "", "{", "[]", "{\"id\":1}", "\xff" };
	const struct tmpdir *t = *state;
	scoped_ctr c = none();
	struct err e;

	make(t, "c1", &c);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		scoped_ctr o = none();

		if (texts[i])
			put(&c, "state.json", texts[i]);
		must(ctr_open(t->path, "c1", &o, &e), &e);
		assert_true(o.half_made);
		assert_int_equal(o.life, LIFE_STOPPED);
		ctr_fini(&o);
		expect_err(ctr_open_whole(t->path, "c1", &o, &e), -EINVAL, &e, "cor delete --force c1");
		assert_int_equal(o.dirfd, -1);
	}
	put(&c, "state.json", STATE);
	{
		scoped_ctr o = none();

		must(ctr_open_whole(t->path, "c1", &o, &e), &e);
		assert_false(o.half_made);
		assert_string_equal(o.state.bundle, "/b");
		assert_int_equal(o.state.pid, 0);
		assert_int_equal(o.state.status, STATE_STOPPED);
	}
}

/* A container whose annotations fill a config.json must be found again. */
static void test_large_state(void **state)
{
	const struct tmpdir *t = *state;
	scoped_ctr c = none(), o = none();
	scoped_str text = { 0 };
	struct err e;

	make(t, "c1", &c);
	str_addn(&text, STATE, strlen(STATE) - 1);
	str_add(&text, ",\"annotations\":{\"k\":\"");
	for (int i = 0; i < 3 << 19; i++)
		str_addc(&text, 'v');
	str_add(&text, "\"}}");
	must(ctr_write(&c, "state.json", text.p, text.len, &e), &e);
	must(ctr_open_whole(t->path, "c1", &o, &e), &e);
	assert_int_equal(o.state.annotations.n, 1);
}

static void test_life(void **state)
{
	static const struct {
		bool alive;
		const char *phase;
		enum life_state life;
		int code;
	} cases[] = {
		{ true, NULL, LIFE_CREATING, -1 },
		{ true, "", LIFE_CREATING, -1 },
		{ true, "nonsense\n", LIFE_CREATING, -1 },
		{ true, "created\n", LIFE_CREATED, -1 },
		{ true, "running\n", LIFE_RUNNING, -1 },
		{ true, "paused\n", LIFE_PAUSED, -1 },
		/* the monitor writes it just before it ends */
		{ true, "stopped 7\n", LIFE_STOPPED, 7 },
		{ false, NULL, LIFE_STOPPED, -1 },
		{ false, "running\n", LIFE_STOPPED, -1 },
		{ false, "stopped 255\n", LIFE_STOPPED, 255 },
		{ false, "stopped 256\n", LIFE_STOPPED, -1 },
		{ false, "stopped x\n", LIFE_STOPPED, -1 },
		{ false, "stopped\n", LIFE_STOPPED, -1 },
	};
	const struct tmpdir *t = *state;
	scoped_ctr c = none();
	pid_t pid = sleeper();
	struct err e;

	make(t, "c1", &c);
	put(&c, "state.json", STATE);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		scoped_ctr o = none();

		if (cases[i].alive)
			must(ctr_write_proc(&c, "monitor", pid, &e), &e);
		else
			put(&c, "monitor", "1 1");
		(void)unlinkat(c.dirfd, "phase", 0);
		if (cases[i].phase)
			put(&c, "phase", cases[i].phase);
		must(ctr_open(t->path, "c1", &o, &e), &e);
		if (o.life != cases[i].life || o.exit_code != cases[i].code)
			fail_msg("%zu: life %d, code %d", i, (int)o.life, o.exit_code);
		assert_int_equal(o.state.status, o.life);
		assert_int_equal(o.state.pid, o.life == LIFE_STOPPED ? 0 : pid);
	}
	reap(pid, SIGKILL);
}

/* Files that name no process, or one that has another's number now. */
static void test_wrong_pids(void **state)
{
	static const char *const texts[] = { "",     "1",           "x 1",           "0 1",
					     "-1 1", "1 x",         "99999999999 1", "1 1 1",
					     "1  1", "4294967297 1" };
	const struct tmpdir *t = *state;
	scoped_ctr c = none();
	pid_t pid = sleeper();
	char text[64];
	uint64_t start;
	struct err e;

	make(t, "c1", &c);
	put(&c, "phase", "running\n");
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		put(&c, "monitor", texts[i]);
		put(&c, "vm", texts[i]);
		ctr_refresh(&c);
		assert_false(ctr_is_alive(&c));
		assert_int_equal(c.life, LIFE_STOPPED);
		must(ctr_kill(&c, &e), &e);
	}
	assert_int_equal(proc_start_time(pid, &start), 0);
	(void)snprintf(text, sizeof text, "%d %llu", (int)pid, (unsigned long long)start + 1);
	put(&c, "monitor", text);
	put(&c, "vm", text);
	put(&c, "lock", text);
	ctr_refresh(&c);
	assert_false(ctr_is_alive(&c));
	must(ctr_kill(&c, &e), &e);
	assert_true(proc_is_alive(pid, start)); /* another process: not ours to kill */
	reap(pid, SIGKILL);
}

static void test_kill(void **state)
{
	const struct tmpdir *t = *state;
	scoped_ctr c = none();
	pid_t monitor = sleeper(), vm = sleeper();
	struct err e;

	make(t, "c1", &c);
	must(ctr_write_proc(&c, "monitor", monitor, &e), &e);
	must(ctr_write_proc(&c, "vm", vm, &e), &e);
	ctr_refresh(&c);
	assert_true(ctr_is_alive(&c));
	must(ctr_kill(&c, &e), &e);
	assert_false(ctr_is_alive(&c));
	assert_false(proc_is_alive(vm, c.vm.start));
	reap(monitor, SIGKILL);
	reap(vm, SIGKILL);
}

static void test_lock(void **state)
{
	const struct tmpdir *t = *state;
	scoped_ctr c = none(), o = none(), late = none();
	struct err e;

	make(t, "c1", &c);
	must(ctr_open(t->path, "c1", &o, &e), &e);
	must(ctr_open(t->path, "c1", &late, &e), &e);
	assert_int_equal(ctr_lock(&o, false, &e), -EWOULDBLOCK);
	ctr_unlock(&c);
	must(ctr_lock(&o, false, &e), &e);
	/* who waits for a lock while the holder removes the container gets nothing */
	must(ctr_remove(&o, &e), &e);
	ctr_fini(&o);
	expect_err(ctr_lock(&c, false, &e), -ENOENT, &e, "container c1 does not exist");
	expect_err(ctr_lock(&late, false, &e), -ENOENT, &e, "container c1 does not exist");
	ctr_fini(&c);
	make(t, "c1", &c); /* the ID is free */
}

/* delete --force: who creates the container is killed, with the monitor it has started. */
static void test_lock_by_force(void **state)
{
	const struct tmpdir *t = *state;
	scoped_ctr c = none();
	pid_t holder, monitor = sleeper();
	int p[2];
	char ready;
	struct err e;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	holder = fork();
	assert_true(holder >= 0);
	if (holder == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ctr_make(t->path, "c1", &c, &e) < 0 || ctr_write_proc(&c, "monitor", monitor, &e) < 0 ||
		    write(p[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(p[0], &ready, 1), 1);
	must(ctr_open(t->path, "c1", &c, &e), &e);
	must(ctr_lock(&c, true, &e), &e);
	assert_false(ctr_is_alive(&c));
	reap(holder, SIGKILL);
	reap(monitor, SIGKILL);
	(void)close(p[0]);
	(void)close(p[1]);
}

static void test_cgroup(void **state)
{
	static const char *const damaged[] = { "nonsense", "\n\n", "cgroup v9 x\n", "\xff\n" };
	const struct tmpdir *t = *state;
	scoped_ctr c = none();
	struct cgroup cg = { 0 };
	struct err e;

	make(t, "c1", &c);
	must(ctr_read_cgroup(&c, &cg, &e), &e); /* not written yet */
	assert_int_equal(cg.n, 0);
	for (size_t i = 0; i < ARRAY_LEN(damaged); i++) {
		put(&c, "cgroup", damaged[i]);
		must(ctr_read_cgroup(&c, &cg, &e), &e); /* deleting must go on */
		assert_int_equal(cg.n, 0);
		cgroup_fini(&cg);
	}
	must(ctr_write_cgroup(&c, &cg, &e), &e);
	must(ctr_read_cgroup(&c, &cg, &e), &e);
	cgroup_fini(&cg);
	must(ctr_remove(&c, &e), &e);
	assert_int_equal(tmpdir_count(t), 0);
	must(ctr_remove(&c, &e), &e); /* again */
}

static void test_list(void **state)
{
	static const char *const dirs[] = { "b", "a", "c.1", "-x", ".hidden", "with blank" };
	const struct tmpdir *t = *state;
	scoped_strv ids = { 0 }, empty = { 0 };
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		assert_int_equal(mkdirat(t->fd, dirs[i], 0700), 0);
	assert_int_equal(tmpdir_write(t, "file", ""), 0);
	assert_int_equal(symlinkat("a", t->fd, "link"), 0);
	must(ctr_list(t->path, &ids, &e), &e);
	assert_int_equal(ids.n, 5); /* no files, links or names that are no ID */
	assert_string_equal(ids.p[ids.n - 3], "a");
	assert_string_equal(ids.p[ids.n - 2], "b");
	assert_string_equal(ids.p[ids.n - 1], "c.1");
	must(ctr_list("/nonexistent/root", &empty, &e), &e);
	assert_int_equal(empty.n, 0);
	assert_true(ctr_list("/proc/version", &empty, &e) < 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, tmpdir_set_up, tmpdir_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_make),          T(test_missing),    T(test_half_made), T(test_large_state),
		T(test_life),          T(test_wrong_pids), T(test_kill),      T(test_lock),
		T(test_lock_by_force), T(test_cgroup),     T(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
