/* ioown.c - taking over a caller's fd without changing it for others.
 *
 * O_NONBLOCK belongs to the open file, which a shell or an engine may share with us: set there, it
 * makes their reads fail. Called by the monitor and by `cor exec`. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"

static int reopen(int fd, int flags)
{
	char path[64];
	scoped_fd low = -1;
	int r;

	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	r = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (r < 0 || r > 2)
		return r < 0 ? -errno : r;
	low = r; /* 0 to 2 were closed: their numbers must not be taken for stdio */
	r = fcntl(low, F_DUPFD_CLOEXEC, 3);
	return r < 0 ? -errno : r;
}

int io_unshare_open(int fd)
{
	struct stat st;
	int flags, r;

	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISFIFO(st.st_mode) || (S_ISCHR(st.st_mode) && isatty(fd))) {
		r = reopen(fd, flags);
		if (r >= 0)
			return r;
	}
	r = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (r < 0)
		return -errno;
	/* Regular files and /dev/null never block; a second O_APPEND writer must keep its own offset. */
	if (!S_ISREG(st.st_mode) && fcntl(r, F_SETFL, flags | O_NONBLOCK) < 0) {
		int e = -errno;

		(void)close(r);
		return e;
	}
	return r;
}
