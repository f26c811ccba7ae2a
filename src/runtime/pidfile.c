/* pidfile.c - used by create, run and exec. */
#include "runtime/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "base/io.h"
#include "sys/pty.h"

int pidfile_write(const char *path, pid_t pid, struct err *e)
{
	scoped_fd fd = -1;
	char text[16];
	int n, r;

	if (!path)
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_set(e, -errno, "--pid-file %s: %m", path);
	n = snprintf(text, sizeof text, "%d", (int)pid);
	r = io_write_full(fd, text, (size_t)n);
	return r < 0 ? err_set(e, r, "--pid-file %s: %m", path) : 0;
}

int pidfile_send_pidfd(const char *path, pid_t pid, struct err *e)
{
	scoped_fd fd = -1;

	if (!path)
		return 0;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return err_set(e, -errno, "pidfd_open: %m");
	return pty_send_fd("--pidfd-socket", path, fd, "pidfd", e);
}
