/* guest.c - what the agent says, and what it is told.
 *
 * Distrusts the agent: every payload is decoded by its record and checked; text goes through
 * err_import(). A message that makes no sense is dropped, it never ends the monitor. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/num.h"
#include "monitor/priv.h"
#include "sys/pty.h"

#define ENTROPY 64 /* bytes of the host's entropy for the guest's pool */

int guest_hello(struct monitor *m)
{
	uint8_t entropy[ENTROPY];
	struct timespec now;
	struct msg_hello hello = { .version = PROTO_VERSION,
				   .marks = m->plan.marks,
				   .rehearsal = m->plan.keeper };

	if (getrandom(entropy, sizeof entropy, 0) != (ssize_t)sizeof entropy ||
	    getrandom(&m->nonce, sizeof m->nonce, 0) != (ssize_t)sizeof m->nonce)
		return -EIO;
	if (clock_gettime(CLOCK_REALTIME, &now) < 0)
		return -errno;
	hello.nonce = m->nonce;
	hello.realtime_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	hello.entropy = (struct pack_blob){ .p = entropy, .n = sizeof entropy };
	return mux_send(&m->mux, MSG_A_HELLO, 0, &rec_hello, &hello);
}

int guest_request(struct monitor *m, enum msg_type type, const struct pack_rec *rec, const void *v,
		  uint32_t *ret_request)
{
	uint32_t request = ++m->next_request;

	if (request == 0)
		request = ++m->next_request;
	if (!m->ready || m->exited)
		return -ESRCH;
	*ret_request = request;
	return mux_send(&m->mux, type, request, rec, v);
}

void guest_signal(struct monitor *m, uint32_t proc, uint32_t sig, bool all)
{
	struct msg_signal s = { .proc = proc, .sig = sig, .all = all };
	uint32_t request;

	may_fail(guest_request(m, MSG_A_SIGNAL, &rec_signal, &s,
			       &request)); /* a gone VM reports its own end */
}

void guest_resize(struct monitor *m, uint32_t proc, int tty_fd)
{
	struct msg_resize size = { .proc = proc };

	if (pty_get_size(tty_fd, &size.rows, &size.cols) < 0 || (size.rows == 0 && size.cols == 0))
		return;
	may_fail(mux_send(&m->mux, MSG_A_RESIZE, 0, &rec_resize, &size)); /* as above */
}

static void try_create(struct monitor *m)
{
	int r;

	if (!m->ready || !m->hooks_done || m->create_sent)
		return;
	m->create_sent = true;
	mark_put(&m->marks, "container");
	r = guest_request(m, MSG_A_CREATE, &rec_ctr, &m->plan.ctr, &m->create_request);
	if (r == 0)
		r = stdio_bind_output(m);
	if (r < 0) {
		struct err e;

		(void)err_set(&e, r, "cannot hand the container to the agent: %m");
		monitor_failed(m, &e);
	}
}

/* The container is created: it was set up in the guest, and the VM is in its cgroup. */
static void try_created(struct monitor *m)
{
	struct err e;

	if (!m->set_up || !m->cgroups_done || m->phase != LIFE_CREATING)
		return;
	mark_put(&m->marks, "created");
	(void)monitor_event(m, LIFE_IS_CREATED);
	if (ctl_send(m->sync_fd, MSG_S_CREATED, NULL, NULL, NULL, 0) < 0) {
		(void)err_set(&e, -EPIPE, "the caller of create is gone");
		monitor_failed(m, &e);
		return;
	}
	if (!m->plan.foreground) {
		loop_del(&m->sync_src);
		scope_close(&m->sync_fd);
		m->sync_fd = -1;
	}
}

void guest_go_on(struct monitor *m)
{
	try_create(m);
	try_created(m);
}

static void on_ready(struct monitor *m, const struct msg_ready *msg)
{
	uint64_t now = mark_now_ns();
	struct err e;

	if (m->ready || msg->nonce != m->nonce)
		return;
	if (msg->version != PROTO_VERSION) {
		(void)err_set(&e, -EPROTO,
			      "the mini-OS speaks protocol %u, this cor speaks %u: rebuild it (cor-image os)",
			      msg->version, PROTO_VERSION);
		monitor_failed(m, &e);
		return;
	}
	m->ready = true;
	scope_close(&m->template_used);
	m->template_used = -1;
	loop_timer_del(&m->boot_timer);
	/* The guest's clock starts with its kernel, a clone's where its template's stopped: its own times are
	 * laid on ours at this moment. */
	if (m->plan.vm.template_dir) {
		m->guest_epoch_ns =
			now - msg->ready_ns; /* before our VM was started, perhaps below 0: it wraps */
	} else if (msg->boot_ns <= msg->ready_ns && msg->ready_ns <= now) {
		/* A starved emulator's clock jumps: the guest did not boot before its VM was started. */
		m->guest_epoch_ns = num_max(m->vm_started_ns, now - msg->ready_ns);
		mark_put_at(&m->marks, "guest-kernel", m->guest_epoch_ns);
		mark_put_at(&m->marks, "agent-main", num_min(now, m->guest_epoch_ns + msg->boot_ns));
	}
	mark_put_at(&m->marks, "agent-ready", now);
	try_create(m);
}

static void on_mark(struct monitor *m, const struct msg_mark *mark)
{
	struct marks agent = { .fd = m->marks.fd, .proc = "agent" };
	uint64_t now = mark_now_ns(), at;
	char name[65];
	size_t n = 0;

	/* Names end up in a file that a table is printed from: letters and '-' only. */
	for (const char *p = mark->name ? mark->name : ""; *p && n < sizeof name - 1; p++)
		if ((*p >= 'a' && *p <= 'z') || *p == '-')
			name[n++] = *p;
	name[n] = 0;
	if (!m->guest_epoch_ns || m->n_marks >= AGENT_MARKS_MAX)
		return;
	/* The guest's clock may run a little ahead of ours, and may lie: no mark is of the future. A clone
	 * tells its template's boot too: not ours. */
	at = num_min(now, m->guest_epoch_ns + num_min(mark->boot_ns, now));
	if (m->plan.vm.template_dir && (at < m->vm_started_ns || str_starts(name, "boot-")))
		return;
	m->n_marks++;
	mark_put_at(&agent, m->plan.vm.template_dir && str_eq(name, "hello") ? "cloned" : name, at);
}

static void on_result(struct monitor *m, uint32_t request, const struct msg_result *res)
{
	struct err e;

	if (request != 0 && request == m->create_request && m->phase == LIFE_CREATING) {
		if (res->code != 0) {
			(void)err_import(&e, (int)res->code, res->text ? res->text : "",
					 res->text ? strlen(res->text) : 0);
			monitor_failed(m, &e);
			return;
		}
		m->set_up = true;
		try_created(m);
		return;
	}
	control_answer(m, request, res);
}

static void on_exited(struct monitor *m, const struct msg_exited *end)
{
	struct err e;

	if (end->proc == PROC_INIT && m->phase == LIFE_CREATING) {
		(void)err_set(&e, -EPROTO, "the container's process ended before it was created");
		monitor_failed(m, &e);
	} else if (end->proc == PROC_INIT) {
		monitor_exited(m, end);
	} else {
		control_exited(m, end);
	}
}

/* Decodes one message of the agent and serves it. */
static void on_message(struct mux *mux, enum msg_type type, uint32_t id, const uint8_t *p, size_t n)
{
	struct monitor *m = mux->arg;
	scoped_arena a = { .max = 2 * MSG_MAX };
	const struct pack_rec *rec = msg_record(type);
	union {
		struct msg_ready ready;
		struct msg_result result;
		struct msg_exited exited;
		struct msg_mark mark;
		struct msg_stats stats;
		struct msg_ps ps;
		struct msg_ref ref;
	} u;

	if (type < MSG_A_READY || type > MSG_A_OOM || !rec || rec->size > sizeof u ||
	    pack_decode(rec, p, n, &a, &u) < 0)
		return;
	if (type == MSG_A_READY)
		on_ready(m, &u.ready);
	else if (type == MSG_A_RESULT)
		on_result(m, id, &u.result);
	else if (type == MSG_A_EXITED)
		on_exited(m, &u.exited);
	else if (type == MSG_A_MARK)
		on_mark(m, &u.mark);
	else if (type == MSG_A_PS_RESULT)
		control_answer_memfd(m, id, p, n);
	else if (type == MSG_A_STATS_RESULT)
		control_answer_stats(m, id, &u.stats);
}

static void on_stream_end(struct mux *mux, uint32_t id, enum mux_end how)
{
	struct monitor *m = mux->arg;

	(void)id;
	(void)how;
	control_check_flushed(m);
	monitor_check_end(m);
}

static void on_broken(struct mux *mux, const struct err *why)
{
	struct monitor *m = mux->arg;

	/* The VM's own end says more, if it ended: its pidfd is served first when it is ready. */
	if (m->hv->pidfd >= 0 && io_wait_readable(m->hv->pidfd, 1000) == 0)
		return;
	monitor_failed(m, why);
}

const struct mux_ops guest_ops = {
	.message = on_message,
	.stream_end = on_stream_end,
	.tty_write = stdio_keep_raw,
	.broken = on_broken,
};
