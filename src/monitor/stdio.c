/* stdio.c - the container's stdin, stdout and stderr, and its terminal, on the host's side.
 *
 * The fds are the caller's own pipes, files, sockets or a pty slave. They are used without blocking,
 * so pipes and terminals are opened anew where that works: O_NONBLOCK belongs to the open file
 * and would otherwise surprise whoever shares it. Never: keeps an fd longer than its stream, or
 * callers wait for an end of file that does not come. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#include "monitor/priv.h"
#include "sys/pty.h"

static int make_pty(struct monitor *m, struct err *e)
{
	scoped_fd master = -1, slave = -1;
	char name[PTY_NAME_MAX];
	int r;

	r = pty_open(&master, &slave, name);
	if (r == 0)
		r = pty_set_raw(slave);
	if (r < 0)
		return err_set(e, r, "cannot make a pseudo terminal: %m");
	if (m->plan.ctr.process.rows && m->plan.ctr.process.cols) {
		r = pty_set_size(slave, m->plan.ctr.process.rows, m->plan.ctr.process.cols);
		if (r < 0)
			return err_set(e, r, "process.consoleSize: cannot set it: %m");
	}
	r = pty_send_fd("--console-socket", m->plan.console_socket, master, name, e);
	if (r < 0)
		return r;
	m->tty_fd = take_fd(&slave);
	return 0;
}

/* The caller's fds 0-2 make way for /dev/null: nothing of the monitor's own may reach the container's
 * reader, and the numbers stay taken. */
int stdio_release(struct err *e)
{
	scoped_fd null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return err_set(e, -errno, "open /dev/null: %m");
	for (int i = 0; i < 3; i++)
		if (dup2(null, i) < 0)
			return err_set(e, -errno, "dup2: %m");
	return 0;
}

int stdio_prepare(struct monitor *m, struct err *e)
{
	bool terminal = m->plan.ctr.process.terminal;
	int r;

	if (terminal && m->plan.pty_given) {
		m->tty_fd = fcntl(0, F_DUPFD_CLOEXEC, 3);
		if (m->tty_fd < 0)
			return err_set(e, -errno, "terminal: %m");
	} else if (terminal) {
		r = make_pty(m, e);
		if (r < 0)
			return r;
	}
	if (terminal) {
		r = pty_make_controlling(m->tty_fd);
		if (r < 0)
			return err_set(e, r, "cannot make the container's terminal the controlling one: %m");
		return stdio_release(e);
	}
	for (int i = 0; i < 3; i++) {
		r = io_unshare_open(i);
		if (r < 0)
			return err_set(e, r, "cannot take over file descriptor %d of the container: %m", i);
		m->stdio[i] = r;
	}
	return stdio_release(e);
}

static int bind(struct monitor *m, enum msg_stream which, int fd)
{
	uint32_t id = msg_stream_id(PROC_INIT, which);

	return which == STREAM_STDIN ? mux_source(&m->mux, id, fd) : mux_sink(&m->mux, id, fd);
}

static int bind_tty(struct monitor *m, enum msg_stream which)
{
	int fd = fcntl(m->tty_fd, F_DUPFD_CLOEXEC, 3);

	return fd < 0 ? -errno : bind(m, which, fd);
}

int stdio_bind_output(struct monitor *m)
{
	int r;

	if (m->tty_fd >= 0)
		return bind_tty(m, STREAM_STDOUT);
	r = bind(m, STREAM_STDOUT, take_fd(&m->stdio[1]));
	return r < 0 ? r : bind(m, STREAM_STDERR, take_fd(&m->stdio[2]));
}

int stdio_bind_input(struct monitor *m)
{
	if (m->tty_fd >= 0)
		return bind_tty(m, STREAM_STDIN);
	return bind(m, STREAM_STDIN, take_fd(&m->stdio[0]));
}

/* The terminal's line discipline is the guest's; the host's pty must pass bytes as they are. Callers
 * set flags of their own when they receive the master (conmon: ONLCR), at a time that nobody
 * announces, so it is looked at before each write. */
void stdio_keep_raw(struct mux *mux, uint32_t id, int fd)
{
	struct termios t;

	(void)mux;
	(void)id;
	if (tcgetattr(fd, &t) == 0 && ((t.c_oflag & OPOST) || (t.c_lflag & (ECHO | ICANON | ISIG))))
		may_fail(pty_set_raw(fd)); /* output that is processed twice is still output */
}

bool stdio_flushed(const struct monitor *m, uint32_t proc)
{
	return !mux_has(&m->mux, msg_stream_id(proc, STREAM_STDOUT)) &&
	       !mux_has(&m->mux, msg_stream_id(proc, STREAM_STDERR));
}
