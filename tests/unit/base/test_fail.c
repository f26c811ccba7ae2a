/* test_fail.c - every error path of base that a failing call can reach (tests/lib/inject.h): the
 * failure is reported, nothing leaks, and what was there stays. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "base/io.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mark.h"
#include "base/ring.h"
#include "base/str.h"
#include "inject.h"
#include "tmpdir.h"

#define with_tmpdir(test) cmocka_unit_test_setup_teardown(test, tmpdir_set_up, tmpdir_tear_down)

static char big[20000];

/* Memory: str, strv, arena, ring. */

static int op_str(void *arg)
{
	scoped_str s = { 0 };
	scoped_free char *f = NULL, *p = NULL;
	int r;

	for (int i = 0; i < 300; i++) {
		str_addf(&s, "%d,", i);
		str_add(&s, "abc");
		str_addc(&s, ';');
	}
	str_add_escaped(&s, "\x1b\xff", 2);
	r = str_check(&s);
	f = str_fmt("%s", big);
	p = str_take(&s);
	return r < 0 || !f || !p ? -ENOMEM : 0;
}

static int op_strv(void *arg)
{
	scoped_strv v = { 0 };
	scoped_free char *path = str_clean_path("/a/../b");

	strv_split(&v, "a,b,c,d,e,f,g,h,i,j,k,l", ',');
	strv_addf(&v, "%d", 42);
	strv_env_set(&v, "KEY", "value");
	strv_env_set(&v, "KEY", "other");
	for (size_t i = 0; i < v.n; i++)
		assert_non_null(v.p[i]);
	assert_true(!v.p || !v.p[v.n]);
	return path ? strv_check(&v) : -ENOMEM;
}

static int op_arena(void *arg)
{
	scoped_arena a = { 0 };

	if (!arena_alloc(&a, 10) || !arena_alloc(&a, 100000) || !arena_array(&a, 3000, 8))
		return -ENOMEM;
	return arena_str(&a, "x") && arena_fmt(&a, "%s", big) ? 0 : -ENOMEM;
}

static int op_ring(void *arg)
{
	struct ring r = { 0 };
	int e = ring_init(&r, 100);

	assert_int_equal(ring_put(&r, "abc", 3), e < 0 ? 0 : 3);
	ring_fini(&r);
	return e;
}

static void test_memory(void **state)
{
	inject_all(&(struct inject_case){ .name = "str", .op = op_str });
	inject_all(&(struct inject_case){ .name = "strv", .op = op_strv });
	inject_all(&(struct inject_case){ .name = "arena", .op = op_arena });
	inject_all(&(struct inject_case){ .name = "ring", .op = op_ring });
}

/* Files. */

static int op_read(void *arg)
{
	struct tmpdir *t = arg;
	scoped_free char *p = NULL;
	size_t n = 0;
	int r = io_read_file_at(t->fd, "f", 1 << 20, &p, &n);

	assert_true(r == 0 ? n == sizeof(big) - 1 && strcmp(p, big) == 0 : !p && n == 0);
	return r;
}

static int op_write_existing(void *arg)
{
	struct tmpdir *t = arg;

	return io_write_existing_at(t->fd, "f", "1");
}

static void test_files(void **state)
{
	struct inject_case read = { .name = "read", .op = op_read, .arg = *state };
	struct inject_case write = { .name = "write", .op = op_write_existing, .arg = *state };

	assert_int_equal(tmpdir_write(*state, "f", big), 0);
	inject_all(&read);
	inject_interrupts(&read);
	inject_all(&write);
	inject_interrupts(&write);
}

static int op_replace(void *arg)
{
	struct tmpdir *t = arg;

	return io_replace_file_at(t->fd, "f", "new content", 11, 0600);
}

/* The name holds the old content or the new, and nothing lies beside it - unless removing the
 * temporary file was made to fail, too. */
static void check_replace(void *arg, enum inject_mode mode, int r)
{
	struct tmpdir *t = arg;
	char text[32] = { 0 };
	int fd = openat(t->fd, "f", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	assert_int_equal(close(fd), 0);
	if (strcmp(text, "new content") != 0)
		assert_string_equal(text, "old");
	if (r == 0)
		assert_string_equal(text, "new content");
	if (mode != INJECT_FROM)
		assert_int_equal(tmpdir_count(t), 1);
	assert_int_equal(tmpdir_write(t, "f", "old"), 0);
}

static void test_replace(void **state)
{
	struct inject_case c = {
		.name = "replace", .op = op_replace, .arg = *state, .check = check_replace, .err = ENOSPC
	};

	assert_int_equal(tmpdir_write(*state, "f", "old"), 0);
	inject_interrupts(&c);
	inject_all(&c);
}

static void check_success(void *arg, enum inject_mode mode, int r)
{
	assert_int_equal(r, 0);
}

/* Without random numbers the temporary name can be guessed. Somebody's symlink there is not followed. */
static void test_replace_guessed(void **state)
{
	struct tmpdir *t = *state;
	char name[40], text[8] = { 0 };
	int fd;

	(void)snprintf(name, sizeof(name), ".cor-tmp-%016llx", (unsigned long long)getpid() << 8);
	assert_int_equal(tmpdir_write(t, "victim", "safe"), 0);
	assert_int_equal(symlinkat("victim", t->fd, name), 0);
	assert_int_equal(inject_run(&(struct inject_case){ .name = "guessed",
							   .op = op_replace,
							   .arg = t,
							   .check = check_success,
							   .only = "getrandom" },
				    INJECT_FROM),
			 1);
	fd = openat(t->fd, "victim", O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, text, sizeof(text) - 1), 4);
	assert_string_equal(text, "safe");
	assert_int_equal(close(fd), 0);
	assert_int_equal(tmpdir_count(t), 3);
}

static int op_mkdirs(void *arg)
{
	struct tmpdir *t = arg;
	char path[100];

	(void)snprintf(path, sizeof(path), "%s/a/b/c", t->path);
	return io_mkdirs(path, 0700);
}

static void check_mkdirs(void *arg, enum inject_mode mode, int r)
{
	struct tmpdir *t = arg;

	assert_int_equal(faccessat(t->fd, "a/b/c", F_OK, 0), r == 0 ? 0 : -1);
	(void)unlinkat(t->fd, "a/b/c", AT_REMOVEDIR);
	(void)unlinkat(t->fd, "a/b", AT_REMOVEDIR);
	(void)unlinkat(t->fd, "a", AT_REMOVEDIR);
}

static void test_mkdirs(void **state)
{
	/* the first mkdir() fails on "/tmp", which is there: what counts is the last one */
	struct inject_case c = { .name = "mkdirs", .op = op_mkdirs, .arg = *state };

	inject_all(&c);
	c.check = check_mkdirs;
	(void)unlinkat(((struct tmpdir *)*state)->fd, "a/b/c", AT_REMOVEDIR);
	(void)unlinkat(((struct tmpdir *)*state)->fd, "a/b", AT_REMOVEDIR);
	(void)unlinkat(((struct tmpdir *)*state)->fd, "a", AT_REMOVEDIR);
	c.kinds = INJECT_MEMORY;
	inject_all(&c);
}

struct tree {
	const struct tmpdir *dir;
	int levels;
};

static int op_remove(void *arg)
{
	const struct tree *t = arg;

	return io_remove_tree_at(t->dir->fd, "./tree");
}

static void make_tree(const struct tree *t)
{
	char path[200] = "tree";

	for (int i = 0; i < t->levels; i++) {
		(void)mkdirat(t->dir->fd, path, 0700);
		(void)snprintf(path + strlen(path), sizeof(path) - strlen(path), "/d");
	}
	assert_int_equal(tmpdir_write(t->dir, "tree/f", "x"), 0);
	assert_int_equal(tmpdir_write(t->dir, "tree/d/f", "x"), 0);
}

/* What is left can still be removed, and nothing else is gone. Makes the tree anew. */
static void check_remove(void *arg, enum inject_mode mode, int r)
{
	const struct tree *t = arg;

	assert_int_equal(faccessat(t->dir->fd, "keep", F_OK, 0), 0);
	if (r == 0)
		assert_int_equal(tmpdir_count(t->dir), 1);
	assert_int_equal(io_remove_tree_at(t->dir->fd, "tree"), 0);
	make_tree(t);
}

static void test_remove_tree(void **state)
{
	struct tree t = { .dir = *state, .levels = 3 };
	struct inject_case c = {
		.name = "remove tree", .op = op_remove, .arg = &t, .check = check_remove, .err = EACCES
	};

	assert_int_equal(tmpdir_write(t.dir, "keep", "x"), 0);
	make_tree(&t);
	inject_all(&c);
	/* deeper than what is removed in one go: the rest is moved up */
	t.levels = 40;
	make_tree(&t);
	c.only = "renameat";
	inject_all(&c);
}

/* Sockets and memfds. */

static int op_memfd(void *arg)
{
	scoped_fd fd = io_memfd("plan", big, sizeof(big));

	return fd < 0 ? fd : 0;
}

static int op_unix(void *arg)
{
	struct tmpdir *t = arg;
	scoped_fd l = -1, c = -1;
	int r = 0;

	l = io_unix_listen_at(t->fd, "s", 1);
	if (l >= 0)
		c = io_unix_connect_at(t->fd, "s");
	if (l < 0 || c < 0)
		r = l < 0 ? l : c;
	return r;
}

static void check_unix(void *arg, enum inject_mode mode, int r)
{
	struct tmpdir *t = arg;

	(void)unlinkat(t->fd, "s", 0);
}

static int op_fds(void *arg)
{
	const int *s = arg;
	int fds[2] = { s[0], s[1] }, got[2] = { -1, -1 };
	char text[4];
	size_t n = 0;
	int sent = io_send_fds(s[0], "abc", 3, fds, 2);
	ssize_t r = sent < 0 ? sent : io_recv_fds(s[1], text, sizeof(text), got, 2, &n);

	for (size_t i = 0; i < n; i++)
		scope_close(&got[i]);
	if (r > 0)
		assert_int_equal(n, 2);
	return r < 0 ? (int)r : 0;
}

/* Receives what a failed run has left in the socket. */
static void drain(void *arg, enum inject_mode mode, int r)
{
	const int *s = arg;
	char text[4];

	while (recv(s[1], text, sizeof(text), MSG_DONTWAIT) > 0)
		;
}

static void test_sockets(void **state)
{
	int s[2];
	struct inject_case fds = { .name = "fds", .op = op_fds, .arg = s, .check = drain };
	struct inject_case unx = { .name = "unix", .op = op_unix, .arg = *state, .check = check_unix };
	struct inject_case memfd = { .name = "memfd", .op = op_memfd };

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	inject_all(&fds);
	inject_interrupts(&fds);
	assert_int_equal(close(s[0]), 0);
	assert_int_equal(close(s[1]), 0);
	inject_all(&unx);
	inject_interrupts(&unx);
	inject_all(&memfd);
	inject_interrupts(&memfd);
}

/* listen() failing must not leave the socket's name behind. */
static void test_listen(void **state)
{
	struct tmpdir *t = *state;

	inject_on(INJECT_ONE, INJECT_SOCKETS, 3, ENOMEM);
	assert_int_equal(io_unix_listen_at(t->fd, "s", 1), -ENOMEM);
	assert_string_equal(inject_off(), "listen");
	assert_int_equal(tmpdir_count(t), 0);
}

static int op_unshare(void *arg)
{
	const int *p = arg;
	scoped_fd fd = io_unshare_open(p[0]);

	return fd < 0 ? fd : 0;
}

static int op_wait(void *arg)
{
	const int *p = arg;

	return io_wait_readable(p[0], 1000);
}

static void test_pipes(void **state)
{
	/* where opening anew fails, the shared flag is set */
	static const char *const tolerated[] = { "open", "open64", "__open_2", "__open64_2", NULL };
	int p[2];
	struct inject_case unshare = {
		.name = "unshare", .op = op_unshare, .arg = p, .tolerated = tolerated
	};
	struct inject_case wait = { .name = "wait", .op = op_wait, .arg = p };

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(write(p[1], "x", 1), 1);
	inject_all(&unshare);
	inject_all(&wait);
	inject_interrupts(&wait);
	assert_int_equal(close(p[0]), 0);
	assert_int_equal(close(p[1]), 0);
}

static int op_close_from(void *arg)
{
	const int keep[] = { 900 };

	/* nothing is open beyond: the call fails or has nothing to do */
	return io_close_from(keep, 0) < 0 ? -EIO : 0;
}

/* Failing at once, so that no fd of the test is closed. */
static void test_close_from(void **state)
{
	inject_on(INJECT_FROM, 0, 1, ENOSYS);
	assert_int_equal(op_close_from(NULL), -EIO);
	assert_string_equal(inject_off(), "syscall");
}

/* The loop. */

static void on_ready(struct source *s, uint32_t events)
{
	loop_stop(s->loop);
}

static void on_timer(struct timer *t)
{
	loop_stop(t->src.loop);
}

static int use_loop(struct loop *l, struct source *s, struct source *null, struct timer *t, const int *fds)
{
	int r;

	r = loop_add(l, s, fds[0], 0, on_ready);
	if (r == 0)
		r = loop_mod(s, EPOLLIN);
	if (r == 0)
		r = loop_add(l, null, fds[1], 0, on_ready);
	if (r == 0)
		r = loop_timer_add(l, t, on_timer);
	if (r == 0)
		r = loop_timer_set(t, 60000);
	return r < 0 ? r : loop_run(l);
}

static int op_loop(void *arg)
{
	struct source s = { 0 }, null = { 0 };
	struct timer t = { .fn = NULL };
	struct loop l;
	int r = loop_init(&l);

	if (r == 0)
		r = use_loop(&l, &s, &null, &t, arg);
	loop_timer_del(&t);
	loop_del(&null);
	loop_del(&s);
	loop_fini(&l);
	return r;
}

static void test_loop(void **state)
{
	/* deleting: the epoll set is gone in a moment */
	static const char *const tolerated[] = { "epoll_ctl", NULL };
	int fds[2] = { eventfd(1, EFD_CLOEXEC), open("/dev/null", O_RDONLY | O_CLOEXEC) };
	struct inject_case c = { .name = "loop", .op = op_loop, .arg = fds, .tolerated = tolerated };

	assert_true(fds[0] >= 0 && fds[1] >= 0);
	inject_all(&c);
	inject_interrupts(&c);
	assert_int_equal(close(fds[0]), 0);
	assert_int_equal(close(fds[1]), 0);
}

/* Adding, changing: an error is reported there, not tolerated as in test_loop. */
static void test_loop_ctl(void **state)
{
	int fd = eventfd(1, EFD_CLOEXEC);
	struct source s = { 0 };
	struct loop l;

	assert_int_equal(loop_init(&l), 0);
	inject_on(INJECT_FROM, 0, 1, ENOSPC);
	assert_int_equal(loop_add(&l, &s, fd, EPOLLIN, on_ready), -ENOSPC);
	(void)inject_off();
	assert_null(s.loop);
	assert_int_equal(loop_add(&l, &s, fd, EPOLLIN, on_ready), 0);
	inject_on(INJECT_FROM, 0, 1, ENOMEM);
	assert_int_equal(loop_mod(&s, 0), -ENOMEM);
	(void)inject_off();
	assert_int_equal(s.events, EPOLLIN);
	inject_on(INJECT_FROM, 0, 1, EBADF);
	assert_int_equal(loop_once(&l, 0), -EBADF);
	loop_del(&s);
	(void)inject_off();
	assert_int_equal(close(fd), 0);
	loop_fini(&l);
}

/* The log and the marks never fail: what is lost is lost. */
static int op_log(void *arg)
{
	struct marks m = { .fd = *(const int *)arg, .proc = "x" };

	errno = 0;
	log_error("text %s", "\x01");
	mark_put(&m, "x");
	return errno == 0 ? 0 : -errno;
}

static void test_log(void **state)
{
	static const char *const all[] = { "write", "realloc", NULL };
	int fd = memfd_create("log", MFD_CLOEXEC);
	struct inject_case c = { .name = "log", .op = op_log, .arg = &fd, .tolerated = all };

	assert_true(fd >= 0);
	for (int json = 0; json < 2; json++) {
		log_to_fd(fd, json, false);
		c.kinds = INJECT_MEMORY;
		(void)inject_run(&c, INJECT_ONE);
		(void)inject_run(&c, INJECT_FROM);
	}
	log_to_fd(-1, false, false);
	assert_int_equal(close(fd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory), with_tmpdir(test_files),
		with_tmpdir(test_replace),     with_tmpdir(test_replace_guessed),
		with_tmpdir(test_mkdirs),      with_tmpdir(test_remove_tree),
		with_tmpdir(test_sockets),     with_tmpdir(test_listen),
		cmocka_unit_test(test_pipes),  cmocka_unit_test(test_close_from),
		cmocka_unit_test(test_loop),   cmocka_unit_test(test_loop_ctl),
		cmocka_unit_test(test_log),
	};

	memset(big, 'b', sizeof(big) - 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
