/* Pseudo terminals and the console socket. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/str.h"
#include "sys/pty.h"

static void test_pair(void **state)
{
	char name[PTY_NAME_MAX], buf[16];
	struct termios before, after;
	struct stat by_name, by_fd;
	uint32_t rows, cols;
	int m, s;

	assert_int_equal(pty_open(&m, &s, name), 0);
	assert_int_equal(fcntl(m, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(s, F_GETFD), FD_CLOEXEC);
	assert_int_equal(stat(name, &by_name), 0);
	assert_int_equal(fstat(s, &by_fd), 0);
	assert_int_equal(by_name.st_rdev, by_fd.st_rdev);
	assert_int_equal(pty_save(s, &before), 0);
	assert_int_equal(pty_set_raw(s), 0);
	/* raw: no line editing, no translation, no echo */
	assert_int_equal(write(m, "a\r\x03", 3), 3);
	assert_int_equal(read(s, buf, sizeof buf), 3);
	assert_memory_equal(buf, "a\r\x03", 3);
	assert_int_equal(write(s, "x\ny", 3), 3);
	assert_int_equal(read(m, buf, sizeof buf), 3);
	assert_memory_equal(buf, "x\ny", 3);
	assert_int_equal(pty_restore(s, &before), 0);
	assert_int_equal(pty_save(s, &after), 0);
	assert_int_equal(after.c_lflag, before.c_lflag);
	assert_int_equal(after.c_oflag, before.c_oflag);
	assert_int_equal(pty_set_size(m, 33, 101), 0);
	assert_int_equal(pty_get_size(s, &rows, &cols), 0);
	assert_int_equal(rows, 33);
	assert_int_equal(cols, 101);
	assert_int_equal(pty_set_size(m, 65536, 1), -ERANGE);
	(void)close(s);
	(void)close(m);
}

static void test_no_terminal(void **state)
{
	struct termios t;
	uint32_t rows, cols;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(pty_save(fd, &t), -ENOTTY);
	assert_int_equal(pty_set_raw(fd), -ENOTTY);
	assert_int_equal(pty_get_size(fd, &rows, &cols), -ENOTTY);
	assert_int_equal(pty_set_size(fd, 1, 1), -ENOTTY);
	(void)close(fd);
}

static void test_controlling(void **state)
{
	char name[PTY_NAME_MAX];
	int m, s, status;
	pid_t pid;

	assert_int_equal(pty_open(&m, &s, name), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		/* refused before the caller leads a session of its own */
		_exit(pty_make_controlling(s) < 0 && setsid() > 0 && pty_make_controlling(s) == 0 &&
				      tcgetpgrp(s) == getpid()
			      ? 0
			      : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	(void)close(s);
	(void)close(m);
}

/* A listening stream socket at a path that is longer than sun_path. */
static int listen_long(char *dir, size_t cap, char *path, size_t path_cap)
{
	static const char part[] = "/a-directory-with-a-name-that-is-long-enough-to-fill-sixty-bytes";
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int sock, dirfd;
	size_t n;

	(void)snprintf(dir, cap, "/tmp/cor-pty-XXXXXX");
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, path_cap, "%s%s", dir, part);
	assert_int_equal(mkdir(path, 0700), 0);
	n = strlen(path);
	(void)snprintf(path + n, path_cap - n, "%s", part);
	assert_int_equal(mkdir(path, 0700), 0);
	dirfd = open(path, O_PATH | O_CLOEXEC);
	(void)snprintf(sa.sun_path, sizeof sa.sun_path, "/proc/self/fd/%d/sock", dirfd);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(sock, (const struct sockaddr *)&sa, sizeof sa), 0);
	assert_int_equal(listen(sock, 1), 0);
	(void)close(dirfd);
	n = strlen(path);
	(void)snprintf(path + n, path_cap - n, "/sock");
	return sock;
}

static void test_send_master(void **state)
{
	char dir[64], path[PATH_MAX], name[PTY_NAME_MAX], text[64];
	int sock = listen_long(dir, sizeof dir, path, sizeof path);
	int m, s, conn, got[IO_FDS_MAX];
	struct err e = { 0 };
	uint32_t rows, cols;
	size_t n_fds = 0;

	assert_true(strlen(path) > 107);
	assert_int_equal(pty_open(&m, &s, name), 0);
	assert_int_equal(pty_send_fd("--console-socket", path, m, name, &e), 0);
	conn = accept4(sock, NULL, NULL, SOCK_CLOEXEC);
	assert_int_equal(io_recv_fds(conn, text, sizeof text, got, IO_FDS_MAX, &n_fds), (int)strlen(name));
	assert_memory_equal(text, name, strlen(name));
	assert_int_equal(n_fds, 1);
	/* what came is the master: a resize there is seen at the slave, and TIOCGPTN works on it */
	assert_int_equal(pty_set_size(got[0], 7, 8), 0);
	assert_int_equal(pty_get_size(s, &rows, &cols), 0);
	assert_int_equal(rows, 7);
	/* one message only */
	assert_int_equal(read(conn, text, sizeof text), 0);
	(void)close(got[0]);
	(void)close(conn);
	(void)close(sock);
	/* nobody listens; nothing there */
	assert_int_equal(pty_send_fd("--console-socket", path, m, name, &e), -ECONNREFUSED);
	assert_non_null(strstr(e.msg, path));
	assert_int_equal(pty_send_fd("--console-socket", "/nonexistent/sock", m, name, &e), -ENOENT);
	(void)close(m);
	(void)close(s);
	assert_int_equal(io_remove_tree_at(AT_FDCWD, dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pair),
		cmocka_unit_test(test_no_terminal),
		cmocka_unit_test(test_controlling),
		cmocka_unit_test(test_send_master),
	};

	return cmocka_run_group_tests_name("sys/pty", tests, NULL, NULL);
}
