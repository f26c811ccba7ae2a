/* iosock.c - the socket part of io.h: messages with fds, unix sockets by directory.
 *
 * Called by the control socket and the start plan's sync. The peer may be anybody who can connect:
 * lengths and fds are checked, surplus fds closed. Never: raises SIGPIPE, or leaks a received fd. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/io.h"

union fds_control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int) * IO_FDS_MAX)];
};

int io_send_fds(int sock, const void *p, size_t n, const int *fds, size_t n_fds)
{
	union fds_control control;
	struct iovec iov;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;

	if (n == 0 || n_fds > IO_FDS_MAX) /* an empty message would read as end of file */
		return -EINVAL;
	/* sendmsg() only reads through iov_base */
	memcpy(&iov.iov_base, &p, sizeof(p));
	iov.iov_len = n;
	if (n_fds) {
		struct cmsghdr *c = &control.align;

		memset(&control, 0, sizeof(control));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
	}
	do
		r = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return (size_t)r == n ? 0 : -EIO;
}

/* musl's CMSG_NXTHDR() compares a size with a pointer difference. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"

/* Takes the fds out of a received message; returns how many there are. The control buffer has room
 * for IO_FDS_MAX; the kernel closes the ones beyond and says MSG_CTRUNC. */
static size_t collect_fds(struct msghdr *m, int fds[static IO_FDS_MAX])
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t got;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(0))
			continue;
		got = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (got > IO_FDS_MAX - n)
			got = IO_FDS_MAX - n;
		memcpy(fds + n, CMSG_DATA(c), got * sizeof(int));
		n += got;
	}
	return n;
}

#pragma GCC diagnostic pop

ssize_t io_recv_fds(int sock, void *p, size_t cap, int *fds, size_t cap_fds, size_t *n_fds)
{
	union fds_control control = { 0 };
	struct iovec iov = { .iov_base = p, .iov_len = cap };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	int got[IO_FDS_MAX];
	size_t n;
	ssize_t r;

	m.msg_control = &control;
	m.msg_controllen = sizeof(control);
	do
		r = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	n = collect_fds(&m, got);
	if (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || n > cap_fds)
		r = -EMSGSIZE;
	if (r <= 0) {
		for (size_t i = 0; i < n; i++)
			scope_close(&got[i]);
		n = 0;
	}
	if (r < 0)
		return r;
	if (n)
		memcpy(fds, got, n * sizeof(int));
	*n_fds = n;
	return r;
}

/* The address of `name` in directory dirfd. */
static int unix_addr(int dirfd, const char *name, struct sockaddr_un *a)
{
	int n;

	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!name[0])
		return -EINVAL;
	if (dirfd < 0 || name[0] == '/')
		n = snprintf(a->sun_path, sizeof(a->sun_path), "%s", name);
	else
		n = snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s", dirfd, name);
	return n < 0 || (size_t)n >= sizeof(a->sun_path) ? -ENAMETOOLONG : 0;
}

int io_unix_connect_at(int dirfd, const char *name)
{
	scoped_fd fd = -1;
	struct sockaddr_un a;
	int r;

	r = unix_addr(dirfd, name, &a);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	do
		r = connect(fd, (const struct sockaddr *)&a, sizeof(a));
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return take_fd(&fd);
}

int io_unix_listen_at(int dirfd, const char *name, int backlog)
{
	scoped_fd fd = -1;
	struct sockaddr_un a;
	int r;

	r = unix_addr(dirfd, name, &a);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0600) < 0) /* bind() gives the name this mode */
		return -errno;
	if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	if (listen(fd, backlog) < 0) {
		r = -errno;
		(void)unlink(a.sun_path);
		return r;
	}
	return take_fd(&fd);
}
