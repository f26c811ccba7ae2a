/* control.c - the control socket: what `cor kill`, `exec`, `pause`... ask of a running monitor.
 *
 * One packet is one request; a connection is a verb waiting for its answer, or an exec session that
 * lives as long as its process does. Clients are our own programs of the same user (the state
 * directory is 0700), yet what they send is checked like anything else. A connection that ends early
 * loses its answer; an exec session that ends early has its process killed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "monitor/priv.h"
#include "sys/pty.h"

static struct conn *by_request(struct monitor *m, uint32_t request)
{
	for (struct conn *c = m->conns; c; c = c->next)
		if (request != 0 && c->request == request)
			return c;
	return NULL;
}

static struct conn *by_proc(struct monitor *m, uint32_t proc)
{
	for (struct conn *c = m->conns; c; c = c->next)
		if (proc != 0 && c->proc == proc)
			return c;
	return NULL;
}

static void conn_free(struct conn *c)
{
	struct monitor *m = c->m;
	int fd = c->src.fd;

	loop_del(&c->src);
	scope_close(&fd);
	for (struct conn **p = &m->conns; *p; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			m->n_conns--;
			break;
		}
	}
	free(c);
}

/* The client went away: an exec session's process goes with it, as a dead pid's would. */
static void conn_lost(struct conn *c)
{
	struct monitor *m = c->m;

	if (c->proc != 0 && !c->exited) {
		guest_signal(m, c->proc, SIGKILL, false);
		for (uint32_t s = STREAM_STDIN; s <= STREAM_STDERR; s++)
			mux_close(&m->mux, msg_stream_id(c->proc, (enum msg_stream)s));
	}
	conn_free(c);
}

static void answer(struct conn *c, int code, const char *text)
{
	c->request = 0;
	may_fail(ctl_send_result(c->src.fd, MSG_C_RESULT, code, text)); /* a client that is gone needs none */
}

/* The text of a bare errno that no other side explained. */
static void answer_errno(struct conn *c, int r, const char *what)
{
	struct err e;

	(void)err_set(&e, r, "%s: %m", what);
	answer(c, r, e.msg);
}

/* The container's process runs. So it does when the verb that asked for it is gone. */
static void started(struct monitor *m, struct err *e)
{
	int r = stdio_bind_input(m);

	if (r < 0)
		(void)err_set(e, r, "stdin: %m");
	mark_put(&m->marks, "running");
	(void)monitor_event(m, LIFE_IS_STARTED);
	if (m->tty_fd >= 0)
		guest_resize(m, PROC_INIT, m->tty_fd);
}

void control_answer(struct monitor *m, uint32_t request, const struct msg_result *res)
{
	struct conn *c = by_request(m, request);
	bool is_start = request != 0 && request == m->start_request;
	struct err e = { 0 };

	if (!c && !is_start)
		return;
	if (res->code != 0)
		(void)err_import(&e, (int)res->code, res->text ? res->text : "",
				 res->text ? strlen(res->text) : 0);
	if (is_start)
		m->start_request = 0;
	if (is_start && e.code == 0)
		started(m, &e);
	if (!c)
		return;
	if (e.code == 0 && c->asked == MSG_C_EXEC)
		c->exec_started = true;
	answer(c, e.code, e.code ? e.msg : NULL);
	if (e.code != 0 && c->asked == MSG_C_EXEC) {
		for (uint32_t s = STREAM_STDIN; s <= STREAM_STDERR; s++)
			mux_close(&m->mux, msg_stream_id(c->proc, (enum msg_stream)s));
		c->proc = 0;
	}
}

void control_answer_memfd(struct monitor *m, uint32_t request, const uint8_t *p, size_t n)
{
	struct conn *c = by_request(m, request);
	scoped_fd fd = -1;

	if (!c || c->asked != MSG_C_PS)
		return;
	fd = io_memfd("ps", p, n);
	if (fd < 0) {
		answer_errno(c, fd, "ps");
		return;
	}
	c->request = 0;
	may_fail(ctl_send(c->src.fd, MSG_C_PS_RESULT, NULL, NULL, &fd, 1));
}

void control_answer_stats(struct monitor *m, uint32_t request, const struct msg_stats *st)
{
	struct conn *c = by_request(m, request);

	if (!c || c->asked != MSG_C_STATS)
		return;
	c->request = 0;
	may_fail(ctl_send(c->src.fd, MSG_C_STATS_RESULT, &rec_stats, st, NULL, 0));
}

/* An exec session's end is told when its output is with the reader. */
static bool report_exit(struct conn *c)
{
	if (!c->exited || !stdio_flushed(c->m, c->proc))
		return false;
	may_fail(ctl_send(c->src.fd, MSG_C_EXITED, &rec_exited, &c->end, NULL, 0));
	conn_free(c);
	return true;
}

void control_exited(struct monitor *m, const struct msg_exited *end)
{
	struct conn *c = by_proc(m, end->proc);

	if (!c || c->exited)
		return;
	c->exited = true;
	c->end = *end;
	c->end.code = end->code & 0xff;
	mux_close(&m->mux, msg_stream_id(c->proc, STREAM_STDIN));
	(void)report_exit(c);
}

void control_check_flushed(struct monitor *m)
{
	struct conn *next;

	for (struct conn *c = m->conns; c; c = next) {
		next = c->next;
		(void)report_exit(c);
	}
}

void control_end(struct monitor *m)
{
	struct msg_exited killed = { .code = 128 + SIGKILL, .signal = SIGKILL };

	while (m->conns) {
		struct conn *c = m->conns;

		if (c->exec_started) {
			if (!c->exited) {
				killed.proc = c->proc;
				c->end = killed;
			}
			may_fail(ctl_send(c->src.fd, MSG_C_EXITED, &rec_exited, &c->end, NULL, 0));
		} else if (c->request != 0 && c->asked == MSG_C_SIGNAL && m->killed) {
			answer(c, 0, NULL); /* the guest did not react, so the VM was ended: it is done */
		} else if (c->request != 0) {
			answer(c, -ESRCH, "the container has ended: no such process");
		}
		conn_free(c);
	}
}

/* Passes a request on to the agent; its answer comes back by control_answer*(). */
static void pass_on(struct conn *c, enum msg_type type, const struct pack_rec *rec, const void *v)
{
	int r;

	r = guest_request(c->m, type, rec, v, &c->request);
	if (r == -ESRCH)
		answer(c, r, "container not running");
	else if (r < 0)
		answer_errno(c, r, "cannot reach the agent");
}

/* What the life table says to a request; a refusal is answered. An ended process whose output is still
 * being read counts as stopped. */
static bool may(struct conn *c, enum life_event event)
{
	struct err e;

	if (life_check(c->m->exited ? LIFE_STOPPED : c->m->phase, event, &e) == 0)
		return true;
	answer(c, e.code, e.msg);
	return false;
}

static void do_start(struct conn *c, struct ctl_msg *msg)
{
	struct msg_ref ref = { .proc = PROC_INIT };

	(void)msg;
	if (!may(c, LIFE_DO_START))
		return;
	if (c->m->start_request != 0) {
		answer(c, -EINVAL, "cannot start a container that is being started");
		return;
	}
	pass_on(c, MSG_A_START, &rec_ref, &ref);
	c->m->start_request = c->request;
}

static void do_signal(struct conn *c, struct ctl_msg *msg)
{
	struct monitor *m = c->m;
	scoped_arena a = { .max = CTL_MAX };
	struct msg_signal s;

	if (ctl_decode(msg, &a, &s) < 0 || s.sig > 64) {
		answer(c, -EINVAL, "invalid signal");
		return;
	}
	s.proc = PROC_INIT;
	if (!may(c, s.sig == SIGKILL ? LIFE_DO_KILL : LIFE_DO_SIGNAL)) {
		if (s.sig == SIGKILL && m->exited)
			monitor_kill(
				m); /* its output may wait for ever: for a reader, or a guest that lies */
		return;
	}
	if (m->phase == LIFE_PAUSED) {
		/* A paused guest answers nothing: a signal waits in the channel for the resume, which SIGKILL
		 * brings. */
		if (s.sig == SIGKILL && m->hv->ops->resume(m->hv, NULL) == 0)
			(void)monitor_event(m, LIFE_DO_KILL);
		guest_signal(m, s.proc, s.sig, s.all);
		answer(c, 0, NULL);
	} else {
		pass_on(c, MSG_A_SIGNAL, &rec_signal, &s);
	}
	if (s.sig == SIGKILL)
		monitor_kill(m);
}

/* Binds the session's streams: three fds, or one terminal. The fds are taken from the message. */
static int exec_bind(struct conn *c, struct ctl_msg *msg, bool terminal)
{
	struct mux *mux = &c->m->mux;
	int fds[3], r;

	for (size_t i = 0; i < 3; i++)
		fds[i] = take_fd(&msg->fds[i + 1]);
	if (terminal) {
		fds[1] = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
		if (fds[1] < 0) {
			scope_close(&fds[0]);
			return -errno;
		}
	}
	r = mux_sink(mux, msg_stream_id(c->proc, STREAM_STDOUT), fds[1]);
	if (r == 0 && !terminal)
		r = mux_sink(mux, msg_stream_id(c->proc, STREAM_STDERR), fds[2]);
	else
		scope_close(&fds[2]);
	if (r == 0)
		r = mux_source(mux, msg_stream_id(c->proc, STREAM_STDIN), fds[0]);
	else
		scope_close(&fds[0]);
	return r;
}

static void do_exec(struct conn *c, struct ctl_msg *msg)
{
	struct monitor *m = c->m;
	scoped_arena a = { .max = 2 * MSG_MAX };
	struct msg_exec exec = { 0 };
	size_t want;
	int r;

	if (!may(c, LIFE_DO_EXEC))
		return;
	r = c->proc != 0 || msg->n_fds < 1 ? -EINVAL
					   : ctl_from_memfd(&rec_process, msg->fds[0], &a, &exec.process);
	want = exec.process.terminal ? 2 : 4;
	if (r < 0 || msg->n_fds != want) {
		answer(c, -EINVAL, "malformed exec request");
		return;
	}
	do {
		m->next_proc = m->next_proc % PROC_MAX + 1;
	} while (by_proc(m, m->next_proc));
	c->proc = exec.proc = m->next_proc;
	r = guest_request(m, MSG_A_EXEC, &rec_exec, &exec, &c->request);
	if (r == 0)
		r = exec_bind(c, msg, exec.process.terminal);
	if (r < 0)
		answer_errno(c, r, "cannot exec");
}

/* Pause and resume: the hypervisor does it, the table says when. */
static void stand(struct conn *c, enum life_event event, int (*fn)(struct hv *hv, struct err *e))
{
	struct err e = { 0 };
	int r;

	if (!may(c, event))
		return;
	r = fn(c->m->hv, &e);
	if (r == 0)
		(void)monitor_event(c->m, event);
	else if (event == LIFE_DO_PAUSE)
		may_fail(c->m->hv->ops->resume(c->m->hv, NULL)); /* it may stand still after its time */
	answer(c, r, r < 0 ? e.msg : NULL);
}

static void do_pause(struct conn *c, struct ctl_msg *msg)
{
	(void)msg;
	stand(c, LIFE_DO_PAUSE, c->m->hv->ops->pause);
}

static void do_resume(struct conn *c, struct ctl_msg *msg)
{
	(void)msg;
	stand(c, LIFE_DO_RESUME, c->m->hv->ops->resume);
}

static void do_update(struct conn *c, struct ctl_msg *msg)
{
	scoped_arena a = { .max = 2 * MSG_MAX };
	struct msg_update up = { 0 };

	if (!may(c, LIFE_DO_UPDATE))
		return;
	if (msg->n_fds != 1 || ctl_from_memfd(&rec_resources, msg->fds[0], &a, &up.resources) < 0)
		answer(c, -EINVAL, "malformed update request");
	else
		pass_on(c, MSG_A_UPDATE, &rec_update, &up);
}

static void do_ps(struct conn *c, struct ctl_msg *msg)
{
	struct msg_ref ref = { .proc = PROC_INIT };

	(void)msg;
	if (may(c, LIFE_DO_QUERY))
		pass_on(c, MSG_A_PS, &rec_ref, &ref);
}

static void do_stats(struct conn *c, struct ctl_msg *msg)
{
	struct msg_ref ref = { .proc = PROC_INIT };

	(void)msg;
	if (may(c, LIFE_DO_QUERY))
		pass_on(c, MSG_A_STATS, &rec_ref, &ref);
}

static void do_resize(struct conn *c, struct ctl_msg *msg)
{
	scoped_arena a = { .max = CTL_MAX };
	struct msg_resize size;

	if (c->proc == 0 || ctl_decode(msg, &a, &size) < 0)
		return;
	size.proc = c->proc;
	may_fail(mux_send(&c->m->mux, MSG_A_RESIZE, 0, &rec_resize, &size)); /* a gone VM has no window */
}

/* A signal for this connection's exec session: its stub passes on what it receives. */
static void do_exec_signal(struct conn *c, struct ctl_msg *msg)
{
	scoped_arena a = { .max = CTL_MAX };
	struct msg_signal s;

	if (ctl_decode(msg, &a, &s) == 0 && s.sig <= 64)
		guest_signal(c->m, c->proc, s.sig, false);
}

static const struct {
	enum msg_type type;
	void (*fn)(struct conn *c, struct ctl_msg *msg);
} requests[] = {
	{ MSG_C_START, do_start }, { MSG_C_SIGNAL, do_signal }, { MSG_C_EXEC, do_exec },
	{ MSG_C_PAUSE, do_pause }, { MSG_C_RESUME, do_resume }, { MSG_C_UPDATE, do_update },
	{ MSG_C_PS, do_ps },       { MSG_C_STATS, do_stats },   { MSG_C_RESIZE, do_resize },
};

static void serve(struct conn *c, struct ctl_msg *msg)
{
	if (c->proc != 0 && msg->type == MSG_C_SIGNAL) {
		do_exec_signal(c, msg);
		return;
	}
	if (c->request != 0) {
		/* not answer(): the request under way keeps its own */
		may_fail(ctl_send_result(c->src.fd, MSG_C_RESULT, -EBUSY,
					 "a request is under way on this connection"));
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		if (requests[i].type != msg->type)
			continue;
		c->asked = msg->type;
		requests[i].fn(c, msg);
		return;
	}
	answer(c, -EINVAL, "unknown request");
}

static void conn_ready(struct source *src, uint32_t events)
{
	struct conn *c = container_of(src, struct conn, src);
	struct ctl_msg msg;
	int r;

	(void)events;
	r = ctl_recv(src->fd, &msg);
	if (r == -EAGAIN)
		return;
	if (r <= 0) {
		conn_lost(c);
		return;
	}
	serve(c, &msg);
	ctl_fini(&msg);
}

static void on_connect(struct source *src, uint32_t events)
{
	struct monitor *m = container_of(src, struct monitor, listen_src);
	scoped_fd fd = accept4(src->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct conn *c;

	(void)events;
	if (fd < 0 || m->n_conns >= CONNS_MAX)
		return;
	c = calloc(1, sizeof *c);
	if (!c)
		return;
	c->m = m;
	if (loop_add(&m->loop, &c->src, fd, EPOLLIN, conn_ready) < 0) {
		free(c);
		return;
	}
	(void)take_fd(&fd);
	c->next = m->conns;
	m->conns = c;
	m->n_conns++;
}

int control_listen(struct monitor *m, struct err *e)
{
	int r;

	r = io_unix_listen_at(m->state_fd, "monitor.sock", 64);
	if (r < 0)
		return err_set(e, r, "cannot listen on %s/monitor.sock: %m", m->plan.state_dir);
	m->listen_fd = r;
	r = loop_add(&m->loop, &m->listen_src, m->listen_fd, EPOLLIN, on_connect);
	return r < 0 ? err_set(e, r, "event loop: %m") : 0;
}
