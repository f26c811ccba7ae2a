/* term.c - copying between two terminals. Used by cmd_run.c and cmd_exec.c. */
#include "runtime/term.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>

#include "base/io.h"
#include "sys/pty.h"

#define PUMP_BYTES 65536
#define LAST_MS    1000 /* for the slave's end after the process's end */

static void on_from(struct source *s, uint32_t events);

static void pump_update(struct term_pump *p)
{
	if (p->from.loop)
		may_fail(loop_mod(&p->from,
				  p->eof || ring_room(&p->ring) == 0 ? 0 : EPOLLIN)); /* fd is watched */
	else if (!p->eof && ring_room(&p->ring) > 0)                                  /* see on_from() */
		may_fail(loop_add(p->loop, &p->from, p->from_fd, EPOLLIN, on_from));  /* it was there */
	if (p->to.loop)
		may_fail(loop_mod(&p->to, p->ring.len ? EPOLLOUT : 0));
}

/* Reads once. False at the end of the input. */
static bool pump_read(struct term_pump *p)
{
	uint8_t buf[4096];
	size_t room = ring_room(&p->ring);
	ssize_t n;

	n = read(p->from_fd, buf, room < sizeof buf ? room : sizeof buf);
	if (n > 0)
		(void)ring_put(&p->ring, buf, (size_t)n);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Writes what it can. False when nobody takes it any more. */
static bool pump_write(struct term_pump *p)
{
	struct iovec iov[2];
	ssize_t n;
	int pieces;

	while (p->ring.len) {
		pieces = ring_peek(&p->ring, iov);
		n = writev(p->to_fd, iov, pieces);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		ring_drop(&p->ring, (size_t)n);
	}
	return true;
}

static void pump_stop(struct term_pump *p)
{
	p->eof = true;
	loop_del(&p->from);
	loop_del(&p->to);
}

static void on_from(struct source *s, uint32_t events)
{
	struct term_pump *p = container_of(s, struct term_pump, from);

	/* A hang-up is reported whether it is asked for or not: until there is room, the fd leaves the loop.
	 */
	if (ring_room(&p->ring) == 0 && (events & (EPOLLHUP | EPOLLERR)))
		loop_del(&p->from);
	if (ring_room(&p->ring) > 0 && !pump_read(p)) {
		p->eof = true;
		loop_del(&p->from);
	}
	if (!pump_write(p))
		pump_stop(p);
	pump_update(p);
}

static void on_to(struct source *s, uint32_t events)
{
	struct term_pump *p = container_of(s, struct term_pump, to);

	if (!pump_write(p) || (events & (EPOLLERR | EPOLLHUP)))
		pump_stop(p);
	pump_update(p);
}

static int pump_start(struct term_pump *p, struct loop *l, int from, int to)
{
	int r;

	p->loop = l;
	p->from_fd = from;
	p->to_fd = to;
	r = ring_init(&p->ring, PUMP_BYTES);
	if (r == 0)
		r = loop_add(l, &p->from, from, EPOLLIN, on_from);
	if (r == 0)
		r = loop_add(l, &p->to, to, 0, on_to);
	return r;
}

int term_open(struct term *t, int *ret_slave, struct err *e)
{
	char name[PTY_NAME_MAX];
	int r;

	*t = (struct term){ .master = -1, .in = -1, .out = -1 };
	r = pty_open(&t->master, ret_slave, name);
	if (r == 0)
		r = pty_set_raw(*ret_slave);
	if (r < 0)
		return err_set(e, r, "cannot make a pseudo terminal: %m");
	term_resize(t);
	return 0;
}

int term_start(struct term *t, struct loop *l, struct err *e)
{
	int copy, r;

	t->in = io_unshare_open(0);
	t->out = io_unshare_open(1);
	if (t->in < 0 || t->out < 0)
		return err_set(e, -EBADF, "stdin or stdout can't be used: closed?");
	if (fcntl(t->master, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return err_set(e, -errno, "terminal: %m");
	r = pump_start(&t->to_user, l, t->master, t->out);
	if (r == 0) {
		/* A loop watches an fd once: the other direction has a copy. */
		copy = fcntl(t->master, F_DUPFD_CLOEXEC, 3);
		r = copy < 0 ? -errno : pump_start(&t->to_container, l, t->in, copy);
	}
	if (r < 0)
		return err_set(e, r, "terminal: %m");
	if (pty_save(0, &t->saved) == 0)
		t->is_raw = pty_set_raw(0) == 0;
	return 0;
}

void term_resize(struct term *t)
{
	uint32_t rows, cols;

	if (t->master >= 0 && pty_get_size(0, &rows, &cols) == 0 && rows && cols)
		may_fail(pty_set_size(t->master, rows, cols)); /* a window without a size keeps the old one */
}

/* The slave is closed: reading the master gives what is left, then EIO. */
static void drain_last(struct term *t)
{
	struct term_pump *p = &t->to_user;
	struct pollfd pfd;

	for (;;) {
		if (!p->eof && ring_room(&p->ring) > 0 && !pump_read(p))
			p->eof = true;
		if (!pump_write(p) || (p->eof && p->ring.len == 0))
			return;
		pfd.fd = p->ring.len ? t->out : t->master;
		pfd.events = p->ring.len ? POLLOUT : POLLIN;
		/* A process in the background may keep the slave: then there is no end to wait for. */
		if (poll(&pfd, 1, p->ring.len ? -1 : LAST_MS) <= 0 && errno != EINTR)
			return;
	}
}

void term_finish(struct term *t)
{
	if (t->master < 0)
		return;
	if (t->out >= 0 && t->to_user.ring.p)
		drain_last(t);
	pump_stop(&t->to_user);
	pump_stop(&t->to_container);
	if (t->is_raw)
		may_fail(pty_restore(0, &t->saved)); /* the terminal may be gone */
	ring_fini(&t->to_user.ring);
	ring_fini(&t->to_container.ring);
	if (t->to_container.to_fd > 0)
		(void)close(t->to_container.to_fd);
	scope_close(&t->in);
	scope_close(&t->out);
	scope_close(&t->master);
	*t = (struct term){ .master = -1, .in = -1, .out = -1 };
}
