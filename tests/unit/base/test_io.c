/* test_io.c - base/io.h: files as values, fds over sockets, memfds, closing, waiting. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/mark.h"
#include "base/str.h"
#include "tmpdir.h"

#define with_tmpdir(test) cmocka_unit_test_setup_teardown(test, tmpdir_set_up, tmpdir_tear_down)

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void test_full(void **state)
{
	char got[100001] = { 0 }, sent[100001];
	int p[2], status = 0;
	pid_t pid;

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)(i * 31);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) /* more than a pipe holds: both sides need several calls */
		_exit(io_write_full(p[1], sent, sizeof(sent)) == 0 ? 0 : 1);
	assert_int_equal(close(p[1]), 0);
	assert_int_equal(io_read_full(p[0], got, sizeof(got)), sizeof(got));
	assert_memory_equal(got, sent, sizeof(got));
	assert_int_equal(io_read_full(p[0], got, 1), 0);
	assert_int_equal(close(p[0]), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(io_read_full(-1, got, 1), -EBADF);
	assert_int_equal(io_read_full(-1, got, SIZE_MAX), -EINVAL);
	assert_int_equal(io_write_full(-1, got, 1), -EBADF);
	assert_int_equal(io_write_full(-1, got, 0), 0);
}

static void test_read_file(void **state)
{
	static const size_t sizes[] = { 0, 1, 4094, 4095, 4096, 4097, 8190, 8191, 8192, 100000 };
	struct tmpdir *t = *state;
	char text[100001];

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t n = sizes[i], len = 99;
		char *p = NULL;

		memset(text, 'x', n);
		text[n] = '\0';
		assert_int_equal(tmpdir_write(t, "f", text), 0);
		assert_int_equal(io_read_file_at(t->fd, "f", n, &p, &len), 0);
		assert_int_equal(len, n);
		assert_memory_equal(p, text, n + 1);
		free(take_ptr(&p));
		assert_int_equal(io_read_file_at(t->fd, "f", SIZE_MAX, &p, NULL), 0);
		free(take_ptr(&p));
		if (n == 0)
			continue;
		assert_int_equal(io_read_file_at(t->fd, "f", n - 1, &p, &len), -EFBIG);
		assert_null(p);
		assert_int_equal(len, n);
	}
}

static void test_read_other(void **state)
{
	struct tmpdir *t = *state;
	scoped_free char *proc = NULL;
	char *p = NULL;
	size_t n = 0;

	assert_int_equal(io_read_file_at(AT_FDCWD, "/proc/self/status", 1 << 20, &proc, &n), 0);
	assert_true(n > 100 && strlen(proc) == n);
	assert_int_equal(io_read_file_at(t->fd, "missing", 10, &p, &n), -ENOENT);
	assert_int_equal(io_read_file_at(t->fd, ".", 10, &p, &n), -EISDIR);
	/* a file without end ends at the limit */
	assert_int_equal(io_read_file_at(AT_FDCWD, "/dev/zero", 1 << 20, &p, &n), -EFBIG);
	assert_null(p);
}

static void test_write_existing(void **state)
{
	struct tmpdir *t = *state;
	scoped_free char *p = NULL;

	assert_int_equal(io_write_existing_at(t->fd, "f", "1"), -ENOENT);
	assert_int_equal(tmpdir_write(t, "f", "abc"), 0);
	assert_int_equal(io_write_existing_at(t->fd, "f", "1"), 0);
	assert_int_equal(io_read_file_at(t->fd, "f", 10, &p, NULL), 0);
	assert_string_equal(p, "1bc");
	assert_int_equal(io_write_existing_at(AT_FDCWD, "/dev/full", "1"), -ENOSPC);
}

static void test_replace(void **state)
{
	struct tmpdir *t = *state;
	mode_t old = umask(077);
	char name[NAME_MAX + 1];
	struct stat st;
	char *p = NULL;

	assert_int_equal(io_replace_file_at(t->fd, "f", "one", 3, 0644), 0);
	assert_int_equal(fstatat(t->fd, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(io_replace_file_at(t->fd, "f", "two!", 4, 0600), 0);
	assert_int_equal(io_read_file_at(t->fd, "f", 10, &p, NULL), 0);
	assert_string_equal(p, "two!");
	free(take_ptr(&p));
	assert_int_equal(io_replace_file_at(t->fd, "f", NULL, 0, 0600), 0);
	assert_int_equal(fstatat(t->fd, "f", &st, 0), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(io_swap_file_at(t->fd, "f", "three", 5, 0640), 0);
	assert_int_equal(fstatat(t->fd, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_size, 5);
	/* the longest name, and a path */
	memset(name, 'n', NAME_MAX);
	name[NAME_MAX] = '\0';
	assert_int_equal(io_replace_file_at(t->fd, name, "x", 1, 0600), 0);
	assert_int_equal(mkdirat(t->fd, "d", 0700), 0);
	assert_int_equal(io_replace_file_at(t->fd, "d/f", "x", 1, 0600), 0);
	assert_int_equal(faccessat(t->fd, "d/f", F_OK, 0), 0);
	assert_int_equal(tmpdir_count(t), 3);
	(void)umask(old);
}

static void test_replace_fails(void **state)
{
	struct tmpdir *t = *state;

	assert_int_equal(mkdirat(t->fd, "d", 0700), 0);
	assert_int_equal(io_replace_file_at(t->fd, "d", "x", 1, 0600), -EISDIR);
	assert_int_equal(io_replace_file_at(t->fd, "missing/f", "x", 1, 0600), -ENOENT);
	assert_int_equal(io_replace_file_at(t->fd, "d/", "x", 1, 0600), -ENOENT);
	assert_int_equal(io_replace_file_at(-1, "f", "x", 1, 0600), -EBADF);
	assert_int_equal(tmpdir_count(t), 1);
}

/* A symlink of the target's name is replaced, not followed. */
static void test_replace_symlink(void **state)
{
	struct tmpdir *t = *state;
	scoped_free char *p = NULL;
	struct stat st;

	assert_int_equal(tmpdir_write(t, "victim", "safe"), 0);
	assert_int_equal(symlinkat("victim", t->fd, "f"), 0);
	assert_int_equal(io_replace_file_at(t->fd, "f", "new", 3, 0600), 0);
	assert_int_equal(io_read_file_at(t->fd, "victim", 10, &p, NULL), 0);
	assert_string_equal(p, "safe");
	assert_int_equal(fstatat(t->fd, "f", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISREG(st.st_mode));
}

static void seqpacket_pair(int s[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
}

static void close_pair(int s[2])
{
	assert_int_equal(close(s[0]), 0);
	assert_int_equal(close(s[1]), 0);
}

static void test_fds(void **state)
{
	int s[2], fds[IO_FDS_MAX] = { 0 }, got[IO_FDS_MAX] = { 0 };
	size_t n = 99;
	char text[8] = { 0 };

	seqpacket_pair(s);
	for (size_t i = 0; i < IO_FDS_MAX; i++)
		fds[i] = s[i % 2];
	assert_int_equal(io_send_fds(s[0], "hello", 5, fds, IO_FDS_MAX), 0);
	assert_int_equal(io_send_fds(s[0], "x", 1, NULL, 0), 0);
	assert_int_equal(io_recv_fds(s[1], text, sizeof(text), got, IO_FDS_MAX, &n), 5);
	assert_memory_equal(text, "hello", 5);
	assert_int_equal(n, IO_FDS_MAX);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
		assert_int_equal(close(got[i]), 0);
	}
	assert_int_equal(io_recv_fds(s[1], text, sizeof(text), NULL, 0, &n), 1);
	assert_int_equal(n, 0);
	assert_int_equal(shutdown(s[0], SHUT_WR), 0);
	assert_int_equal(io_recv_fds(s[1], text, sizeof(text), NULL, 0, &n), 0);
	close_pair(s);
}

/* The lowest free fd tells whether something was left open. */
static int lowest(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
	return fd;
}

static void test_fds_surplus(void **state)
{
	int s[2], fds[3], got[3] = { -7, -7, -7 }, free_fd;
	size_t n = 99;
	char text[4];

	seqpacket_pair(s);
	fds[0] = fds[1] = fds[2] = s[0];
	free_fd = lowest();
	assert_int_equal(io_send_fds(s[0], "ab", 2, fds, 3), 0);
	assert_int_equal(io_recv_fds(s[1], text, 4, got, 2, &n), -EMSGSIZE);
	assert_int_equal(io_send_fds(s[0], "abcde", 5, fds, 3), 0);
	assert_int_equal(io_recv_fds(s[1], text, 4, got, 3, &n), -EMSGSIZE);
	/* an empty message with fds counts as end of file */
	assert_int_equal(io_send_fds(s[0], "", 0, fds, 1), -EINVAL);
	assert_int_equal(n, 99);
	assert_int_equal(got[0], -7);
	assert_int_equal(lowest(), free_fd);
	assert_int_equal(io_send_fds(s[0], "a", 1, fds, IO_FDS_MAX + 1), -EINVAL);
	close_pair(s);
}

/* What io_send_fds() refuses to send, a hostile peer may send. */
static void test_fds_hostile(void **state)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * 64)];
	} c;
	struct iovec iov = { .iov_base = (char[]){ "x" }, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c };
	int s[2], got[IO_FDS_MAX], free_fd;
	size_t n = 99;
	char text[4];

	seqpacket_pair(s);
	free_fd = lowest();
	memset(&c, 0, sizeof(c));
	c.align.cmsg_level = SOL_SOCKET;
	c.align.cmsg_type = SCM_RIGHTS;
	c.align.cmsg_len = CMSG_LEN(sizeof(int) * 64);
	for (size_t i = 0; i < 64; i++)
		memcpy(CMSG_DATA(&c.align) + i * sizeof(int), &s[0], sizeof(int));
	m.msg_controllen = sizeof(c);
	assert_int_equal(sendmsg(s[0], &m, 0), 1);
	assert_int_equal(io_recv_fds(s[1], text, 4, got, IO_FDS_MAX, &n), -EMSGSIZE);
	assert_int_equal(lowest(), free_fd);
	/* no bytes, one fd */
	iov.iov_len = 0;
	c.align.cmsg_len = CMSG_LEN(sizeof(int));
	m.msg_controllen = CMSG_SPACE(sizeof(int));
	assert_int_equal(sendmsg(s[0], &m, 0), 0);
	assert_int_equal(io_recv_fds(s[1], text, 4, got, IO_FDS_MAX, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(lowest(), free_fd);
	close_pair(s);
}

static void test_send_to_closed(void **state)
{
	int s[2];

	seqpacket_pair(s);
	assert_int_equal(close(s[1]), 0);
	/* an error, not a signal */
	assert_int_equal(io_send_fds(s[0], "x", 1, NULL, 0), -EPIPE);
	assert_int_equal(close(s[0]), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	assert_int_equal(close(s[1]), 0);
	assert_int_equal(io_send_fds(s[0], "x", 1, NULL, 0), -EPIPE);
	assert_int_equal(close(s[0]), 0);
}

static void test_unix(void **state)
{
	struct tmpdir *t = *state;
	char text[4], name[200] = { 0 };
	struct stat st;
	size_t n = 0;
	int l, c, a;

	/* deeper than a socket address is long */
	for (int i = 0; i < 30; i++) {
		assert_int_equal(mkdirat(t->fd, "directory", 0700), 0);
		a = openat(t->fd, "directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(a >= 0);
		assert_int_equal(close(t->fd), 0);
		t->fd = a;
	}
	assert_int_equal(io_unix_connect_at(t->fd, "s"), -ENOENT);
	l = io_unix_listen_at(t->fd, "s", 4);
	assert_true(l >= 0);
	assert_int_equal(fcntl(l, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstatat(t->fd, "s", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	assert_int_equal(io_unix_listen_at(t->fd, "s", 4), -EADDRINUSE);
	c = io_unix_connect_at(t->fd, "s");
	assert_true(c >= 0);
	a = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	assert_true(a >= 0);
	assert_int_equal(io_send_fds(c, "abc", 3, NULL, 0), 0);
	assert_int_equal(io_recv_fds(a, text, 4, NULL, 0, &n), 3);
	assert_int_equal(close(a), 0);
	assert_int_equal(close(c), 0);
	assert_int_equal(close(l), 0);
	assert_int_equal(io_unix_connect_at(t->fd, "s"), -ECONNREFUSED);
	memset(name, 'n', sizeof(name) - 1);
	assert_int_equal(io_unix_connect_at(t->fd, name), -ENAMETOOLONG);
	assert_int_equal(io_unix_listen_at(t->fd, name, 1), -ENAMETOOLONG);
	assert_int_equal(io_unix_listen_at(t->fd, "", 1), -EINVAL);
}

static void test_memfd(void **state)
{
	scoped_fd fd = io_memfd("plan", "abc", 3), empty = io_memfd("empty", NULL, 0);
	char text[8] = { 0 };

	assert_true(fd >= 0);
	assert_true(empty >= 0);
	assert_int_equal(io_read_full(fd, text, sizeof(text)), 3);
	assert_string_equal(text, "abc");
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

/* In a child: closing everything would take the test's own fds. */
static void test_close_from(void **state)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int a = dup2(0, 50), b = dup2(0, 51), c = dup2(0, 900), d = dup2(0, 52);
		const int keep[] = { c, -1, 1, b, b };

		if (io_close_from(keep, ARRAY_LEN(keep)) < 0)
			_exit(2);
		if (is_open(a) || !is_open(b) || !is_open(c) || is_open(d) || !is_open(0) || is_open(3))
			_exit(3);
		if (io_close_from(NULL, 0) < 0 || is_open(b) || is_open(c) || !is_open(2))
			_exit(4);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_mkdirs(void **state)
{
	struct tmpdir *t = *state;
	scoped_free char *p = str_fmt("%s//a/b/c/", t->path), *q = str_fmt("%s/f/x", t->path);
	scoped_free char *r = str_fmt("%s/f", t->path);
	struct stat st;

	assert_int_equal(io_mkdirs(p, 0750), 0);
	assert_int_equal(io_mkdirs(p, 0700), 0);
	assert_int_equal(fstatat(t->fd, "a/b/c", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0750);
	assert_int_equal(tmpdir_write(t, "f", ""), 0);
	assert_int_equal(io_mkdirs(q, 0700), -ENOTDIR);
	assert_int_equal(io_mkdirs(r, 0700), -ENOTDIR);
	assert_int_equal(io_mkdirs("/", 0700), 0);
	assert_int_equal(io_mkdirs("", 0700), -ENOENT);
}

static size_t entries(DIR *d)
{
	size_t n = 0;

	while (readdir(d))
		n++;
	return n;
}

/* Each has a position of its own, and the descriptor behind it goes with it. */
static void test_open_dir(void **state)
{
	struct tmpdir *t = *state;
	int before, after;

	assert_int_equal(tmpdir_write(t, "f", ""), 0);
	before = dup(t->fd);
	assert_int_equal(close(before), 0);
	for (int i = 0; i < 2; i++) {
		scoped_dir d = NULL;

		assert_int_equal(io_open_dir_at(t->fd, ".", &d), 0);
		assert_int_equal(entries(d), 3);
		assert_true(fcntl(dirfd(d), F_GETFD) & FD_CLOEXEC);
	}
	assert_int_equal(io_open_dir_at(t->fd, "none", &(DIR *){ NULL }), -ENOENT);
	assert_int_equal(io_open_dir_at(t->fd, "f", &(DIR *){ NULL }), -ENOTDIR);
	after = dup(t->fd);
	assert_int_equal(close(after), 0);
	assert_int_equal(after, before);
}

static void on_alarm(int sig)
{
}

static void test_wait_readable(void **state)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	uint64_t begin = mark_now_ns();
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(io_wait_readable(p[0], 0), -ETIMEDOUT);
	/* signals neither end nor lengthen the wait */
	assert_int_equal(sigaction(SIGALRM, &sa, NULL), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 5000 }, { 0, 5000 } }, NULL), 0);
	assert_int_equal(io_wait_readable(p[0], 50), -ETIMEDOUT);
	assert_int_equal(setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 0 } }, NULL), 0);
	assert_true(mark_now_ns() - begin >= 50000000);
	assert_int_equal(write(p[1], "x", 1), 1);
	assert_int_equal(io_wait_readable(p[0], -1), 0);
	assert_int_equal(io_wait_readable(p[0], 1000), 0);
	assert_int_equal(io_wait_readable(p[1], 0), -ETIMEDOUT);
	assert_int_equal(close(p[0]), 0);
	assert_int_equal(io_wait_readable(p[1], 1000), -EIO);
	assert_int_equal(close(p[1]), 0);
	assert_int_equal(io_wait_readable(p[1], 1000), -EBADF);
	assert_int_equal(io_wait_readable(-1, 1000), -EBADF);
}

/* An end of file is something to read. */
static void test_wait_eof(void **state)
{
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(close(p[1]), 0);
	assert_int_equal(io_wait_readable(p[0], -1), 0);
	assert_int_equal(close(p[0]), 0);
}

/* O_NONBLOCK is ours alone, except where the kernel has no second open file. */
static void test_unshare_open(void **state)
{
	int p[2], s[2], fd;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	for (int i = 0; i < 2; i++) {
		fd = io_unshare_open(p[i]);
		assert_true(fd >= 3);
		assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
		assert_int_equal(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK),
				 (i ? O_WRONLY : O_RDONLY) | O_NONBLOCK);
		assert_int_equal(fcntl(p[i], F_GETFL) & O_NONBLOCK, 0);
		assert_int_equal(close(fd), 0);
	}
	close_pair(p);
	seqpacket_pair(s);
	fd = io_unshare_open(s[0]);
	assert_true(fd >= 3);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(close(fd), 0);
	close_pair(s);
	assert_int_equal(io_unshare_open(-1), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),
		with_tmpdir(test_read_file),
		with_tmpdir(test_read_other),
		with_tmpdir(test_write_existing),
		with_tmpdir(test_replace),
		with_tmpdir(test_replace_fails),
		with_tmpdir(test_replace_symlink),
		cmocka_unit_test(test_fds),
		cmocka_unit_test(test_fds_surplus),
		cmocka_unit_test(test_fds_hostile),
		cmocka_unit_test(test_send_to_closed),
		with_tmpdir(test_unix),
		cmocka_unit_test(test_memfd),
		cmocka_unit_test(test_close_from),
		with_tmpdir(test_mkdirs),
		with_tmpdir(test_open_dir),
		cmocka_unit_test(test_wait_readable),
		cmocka_unit_test(test_wait_eof),
		cmocka_unit_test(test_unshare_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
