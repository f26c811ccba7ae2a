/* pty.c - pseudo terminals. Called by the runtime (exec, run) and the monitor.
 * Trusts: the kernel's devpts. Distrusts: what listens on a console socket - it gets the master and
 * its name, nothing else. Never: makes a terminal the caller's controlling one by accident. */
#include "sys/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "base/io.h"
#include "base/str.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41) /* since Linux 4.13; missing in some libc headers */
#endif

/* The libcs differ in the type of ioctl()'s number (int, unsigned long), and these have the top bit. */
static int tty_ioctl(int fd, unsigned request, void *arg)
{
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

int pty_open(int *ret_master, int *ret_slave, char name[PTY_NAME_MAX])
{
	scoped_fd master = -1, slave = -1;
	int unlock = 0;
	unsigned n;

	master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0)
		return -errno;
	if (tty_ioctl(master, TIOCSPTLCK, &unlock) < 0 || tty_ioctl(master, TIOCGPTN, &n) < 0)
		return -errno;
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	(void)snprintf(name, PTY_NAME_MAX, "/dev/pts/%u", n);
	*ret_master = take_fd(&master);
	*ret_slave = take_fd(&slave);
	return 0;
}

int pty_set_raw(int fd)
{
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return -errno;
	cfmakeraw(&t);
	if (tcsetattr(fd, TCSANOW, &t) < 0)
		return -errno;
	return 0;
}

int pty_save(int fd, struct termios *ret)
{
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return -errno;
	*ret = t;
	return 0;
}

int pty_restore(int fd, const struct termios *saved)
{
	int r;

	do {
		r = tcsetattr(fd, TCSADRAIN, saved);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int pty_set_size(int fd, uint32_t rows, uint32_t cols)
{
	struct winsize ws = { 0 };

	if (rows > UINT16_MAX || cols > UINT16_MAX)
		return -ERANGE;
	ws.ws_row = (unsigned short)rows;
	ws.ws_col = (unsigned short)cols;
	if (ioctl(fd, TIOCSWINSZ, &ws) < 0)
		return -errno;
	return 0;
}

int pty_get_size(int fd, uint32_t *ret_rows, uint32_t *ret_cols)
{
	struct winsize ws;

	if (ioctl(fd, TIOCGWINSZ, &ws) < 0)
		return -errno;
	*ret_rows = ws.ws_row;
	*ret_cols = ws.ws_col;
	return 0;
}

int pty_make_controlling(int fd)
{
	if (ioctl(fd, TIOCSCTTY, 0) < 0)
		return -errno;
	return 0;
}

/* Connects to a stream socket. sun_path holds 107 bytes, a caller's path may be longer: it is
 * reached through the fd of its directory. */
static int console_connect(const char *path, int *ret)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	scoped_fd sock = -1, dir = -1;
	scoped_free char *d = NULL;
	scoped_free char *b = NULL;
	int n;

	d = strdup(path); /* dirname() and basename() write into their argument */
	b = strdup(path);
	if (!d || !b)
		return -ENOMEM;
	dir = open(dirname(d), O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	n = snprintf(sa.sun_path, sizeof sa.sun_path, "/proc/self/fd/%d/%s", dir, basename(b));
	if (n < 0 || (size_t)n >= sizeof sa.sun_path)
		return -ENAMETOOLONG;
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	if (connect(sock, (const struct sockaddr *)&sa, sizeof sa) < 0)
		return -errno;
	*ret = take_fd(&sock);
	return 0;
}

int pty_send_fd(const char *option, const char *socket_path, int fd, const char *name, struct err *e)
{
	scoped_fd sock = -1;
	int r = console_connect(socket_path, &sock);

	if (r < 0)
		return err_set(e, r, "%s %s: connect: %m", option, socket_path);
	r = io_send_fds(sock, name, strlen(name), &fd, 1);
	if (r < 0)
		return err_set(e, r, "%s %s: sending the %s: %m", option, socket_path, name);
	return 0;
}
