/* control.c - see control.h. Called on the loop thread.
 *
 * The client is the monitor, or a user by `cor-vmm ctl`: whoever could open the socket. Requests are checked
 * all the same. Never: allocates; lets a client that does not read stop the machine (answers are sent without
 * waiting). */
#include "vmm/control.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "base/io.h"
#include "vmm/snap.h"
#include "wire/vmmctl.h"

#define FDS_MAX 2
#define PAGE    4096u

/* The fds that came with a request; closed at the end of it. */
struct request {
	struct vmmctl_request q;
	int fds[FDS_MAX];
	size_t n_fds;
};

static uint32_t state_of(const struct machine *m)
{
	if (m->end != END_NONE)
		return VMMCTL_ENDED;
	return m->wish == WISH_PAUSE ? VMMCTL_PAUSED : VMMCTL_RUNNING;
}

static void answer(struct control *c, uint32_t verb, const struct err *e)
{
	const struct machine *m = c->m;
	struct vmmctl_answer a = { .magic = VMMCTL_MAGIC,
				   .verb = verb,
				   .result = e->code,
				   .state = state_of(m),
				   .end = (uint32_t)m->end,
				   .vcpus = m->n_vcpus,
				   .memory = m->ram_size,
				   .balloon = m->balloon ? (uint64_t)balloon_actual(m->balloon) * PAGE : 0 };
	size_t n = strnlen(e->msg, sizeof a.text - 1);
	ssize_t r;

	memcpy(a.text, e->msg, n);
	r = send(c->fd, &a, sizeof a, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)r; /* a client that is gone or does not read gets no answer */
}

/* ---- verbs ---- */

static int do_info(struct machine *m, struct request *r, struct err *e)
{
	(void)m;
	(void)r;
	(void)e;
	return 0;
}

static int do_pause(struct machine *m, struct request *r, struct err *e)
{
	(void)r;
	(void)e;
	machine_pause(m);
	return 0;
}

static int do_resume(struct machine *m, struct request *r, struct err *e)
{
	(void)r;
	(void)e;
	machine_resume(m);
	return 0;
}

static int do_stop(struct machine *m, struct request *r, struct err *e)
{
	(void)r;
	(void)e;
	machine_stop(m, END_STOPPED, "control socket", 0);
	return 0;
}

static int do_save(struct machine *m, struct request *r, struct err *e)
{
	int n;

	if (state_of(m) != VMMCTL_PAUSED)
		return err_set(e, -EBUSY, "save: pause the machine first");
	if (r->n_fds < 1)
		return err_set(e, -EINVAL, "save: no file came with it");
	n = snap_save(m, r->fds[0], e);
	return n == 0 && r->n_fds > 1 ? snap_save_memory(m, r->fds[1], e) : n;
}

static int do_balloon(struct machine *m, struct request *r, struct err *e)
{
	uint64_t keep = r->q.arg;
	int n;

	if (!m->balloon)
		return err_set(e, -ENODEV, "balloon: this machine has none");
	if (keep > m->ram_size)
		return err_set(e, -ERANGE, "balloon: the machine has %llu MiB",
			       (unsigned long long)(m->ram_size >> 20));
	n = balloon_set_target(m->balloon, (uint32_t)((m->ram_size - keep) / PAGE));
	return n < 0 ? err_set(e, n, "balloon: %m") : 0;
}

static int (*const verbs[VMMCTL_N])(struct machine *m, struct request *r, struct err *e) = {
	[VMMCTL_INFO] = do_info, [VMMCTL_PAUSE] = do_pause,     [VMMCTL_RESUME] = do_resume,
	[VMMCTL_STOP] = do_stop, [VMMCTL_BALLOON] = do_balloon, [VMMCTL_SAVE] = do_save,
};

static void serve(struct control *c, struct request *r)
{
	struct err e = { 0 };

	if (r->q.magic != VMMCTL_MAGIC || r->q.verb >= VMMCTL_N)
		(void)err_set(&e, -EPROTO, "not a request of this build");
	else
		e.code = verbs[r->q.verb](c->m, r, &e);
	answer(c, r->q.verb, &e);
}

/* ---- connections ---- */

static void drop_peer(struct control *c)
{
	loop_del(&c->peer);
	scope_close(&c->fd);
	c->fd = -1;
}

static void on_request(struct source *s, uint32_t events)
{
	struct control *c = container_of(s, struct control, peer);
	struct request r = { .n_fds = 0 };
	ssize_t n = io_recv_fds(c->fd, &r.q, sizeof r.q, r.fds, FDS_MAX, &r.n_fds);

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n != (ssize_t)sizeof r.q)
		drop_peer(c); /* gone, or one that speaks something else */
	else
		serve(c, &r);
	for (size_t i = 0; n >= 0 && i < r.n_fds; i++)
		scope_close(&r.fds[i]);
}

static void on_port_open(void *arg)
{
	static const struct err none = { 0 };
	struct control *c = arg;

	if (c->fd < 0)
		return;
	c->m->on_port_open = NULL; /* told once: a guest could fill the socket, and answers would be lost */
	answer(c, VMMCTL_PORT_OPEN, &none);
}

static int take_peer(struct control *c, int fd)
{
	int r = loop_add(&c->m->loop, &c->peer, fd, EPOLLIN, on_request);

	c->fd = fd;
	return r;
}

static void on_connection(struct source *s, uint32_t events)
{
	struct control *c = container_of(s, struct control, listener);
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return; /* it went away */
	if (c->fd >= 0)
		scope_close(&fd); /* one at a time */
	else if (take_peer(c, fd) < 0)
		drop_peer(c);
}

int control_init(struct control *c, struct machine *m, int fd, struct err *e)
{
	int listening = 0, r;
	socklen_t len = sizeof listening;

	*c = (struct control){ .m = m, .listen_fd = -1, .fd = -1 };
	m->on_port_open = on_port_open;
	m->on_port_arg = c;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 ||
	    fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
		r = -errno;
		scope_close(&fd);
	} else if (listening) {
		c->listen_fd = fd;
		r = loop_add(&m->loop, &c->listener, fd, EPOLLIN, on_connection);
	} else {
		r = take_peer(c, fd);
	}
	return r < 0 ? err_set(e, r, "control socket: %m") : 0;
}

void control_fini(struct control *c)
{
	static const struct err none = { 0 };

	if (!c->m)
		return;
	if (c->fd >= 0)
		answer(c, VMMCTL_END, &none);
	c->m->on_port_open = NULL;
	drop_peer(c);
	loop_del(&c->listener);
	scope_close(&c->listen_fd);
	*c = (struct control){ .listen_fd = -1, .fd = -1 };
}
