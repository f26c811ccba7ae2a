/* monitor.c - the monitor's event loop: signals, the VM's end, the caller's end, and our own.
 *
 * States: starting -> created -> running <-> paused -> stopped. Written to STATE_DIR/phase, so that
 * `cor state` needs nobody to answer. The exit is the last thing: output flushed, exec sessions
 * told, VM gone, phase written.
 *
 * Processes: this one is the parent of the VM, which dies with it. If the VM dies first, the
 * container's end is reported with the console's last lines. */
#include "monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/num.h"
#include "monitor/priv.h"

#define CLONE_TIMEOUT_MS 20000u /* some hundred times what a clone takes on an idle machine */
#define EXIT_VM_DIED     255    /* the VM ended by itself, e.g. a guest kernel panic */
#define DRAIN_READS      32     /* a pipe's content twice */

/* Signals that are not passed on: ours, job control of our own, and faults. */
static const int kept_signals[] = { SIGCHLD, SIGPIPE, SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
				    SIGTRAP, SIGABRT, SIGSYS,  SIGTTIN, SIGTTOU };

void monitor_phase(struct monitor *m, enum life_state phase)
{
	char line[64];
	int n, r;

	m->phase = phase;
	if (phase == LIFE_STOPPED)
		n = snprintf(line, sizeof line, "%s %d\n", life_name(phase), m->exit_code);
	else
		n = snprintf(line, sizeof line, "%s\n", life_name(phase));
	r = io_swap_file_at(m->state_fd, "phase", line, (size_t)n, 0600);
	if (r < 0)
		log_debug("cannot write the phase: %d", r); /* readers fall back on whether we live */
}

bool monitor_event(struct monitor *m, enum life_event event)
{
	const struct life_cell *c = life_cell(m->phase, event);

	if (c->verdict != LIFE_GO)
		return false;
	if (c->next != m->phase)
		monitor_phase(m, c->next);
	return true;
}

void monitor_check_end(struct monitor *m)
{
	if (m->exited && stdio_flushed(m, PROC_INIT))
		loop_stop(&m->loop);
}

static void on_flush_timeout(struct timer *t)
{
	loop_stop(t->src.loop);
}

static void on_kill_timeout(struct timer *t)
{
	struct monitor *m = container_of(t, struct monitor, kill_timer);
	struct msg_exited end = { .proc = PROC_INIT, .code = 128 + SIGKILL, .signal = SIGKILL };

	/* The guest did not react: the VM is what can always be killed. */
	m->hv->ops->stop(m->hv);
	monitor_exited(m, &end);
}

/* Output of a killed container need not reach its reader. */
static void bound_flush(struct monitor *m)
{
	if (loop_timer_set(&m->flush_timer, FLUSH_KILLED_MS) < 0)
		loop_stop(&m->loop);
}

void monitor_kill(struct monitor *m)
{
	if (m->killed)
		return;
	m->killed = true;
	if (m->exited)
		bound_flush(m);
	else if (loop_timer_set(&m->kill_timer, KILL_TIMEOUT_MS) < 0)
		log_debug("no timer for the kill");
}

void monitor_exited(struct monitor *m, const struct msg_exited *end)
{
	if (m->exited)
		return;
	m->exited = true;
	m->end = *end;
	m->exit_code = (int)(end->code & 0xff);
	mark_put(&m->marks, "exited");
	may_fail(loop_timer_set(&m->kill_timer, 0));
	mux_close(&m->mux, msg_stream_id(PROC_INIT, STREAM_STDIN));
	if (m->killed)
		bound_flush(m);
	monitor_check_end(m);
}

/* Where to begin quoting: a panic says why in its first line, and registers follow for pages; else the
 * last max bytes, from the beginning of a line. */
static const char *quote_from(const struct str *all, size_t max)
{
	static const char panic[] = "Kernel panic";
	const char *p = all->p + (all->len > max ? all->len - max : 0), *line;
	const char *hit = memmem(all->p, all->len, panic, sizeof panic - 1);

	if (hit) {
		while (hit > all->p && hit[-1] != '\n')
			hit--;
		return hit;
	}
	if (p == all->p)
		return p;
	line = memchr(p, '\n', (size_t)(all->p + all->len - p));
	return line ? line + 1 : p;
}

/* Lines of the console or of the hypervisor for an error's text, each escaped. */
static void add_tail(const struct ring *r, const char *title, size_t max, struct str *to)
{
	scoped_str all = { 0 };
	struct iovec iov[2];
	const char *p, *end, *line;
	int n;

	if (r->len == 0)
		return;
	n = ring_peek(r, iov);
	for (int i = 0; i < n; i++)
		str_addn(&all, iov[i].iov_base, iov[i].iov_len);
	if (str_check(&all) < 0)
		return;
	p = quote_from(&all, max);
	end = p + num_min((size_t)(all.p + all.len - p), max);
	str_addf(to, "\n  %s:", title);
	for (; p < end; p = line + 1) {
		line = memchr(p, '\n', (size_t)(end - p));
		if (!line)
			line = end;
		str_add(to, "\n    ");
		str_add_escaped(to, p, (size_t)(line - p) - (line > p && line[-1] == '\r'));
	}
}

void monitor_failed(struct monitor *m, const struct err *why)
{
	scoped_str text = { 0 };

	loop_stop(&m->loop);
	if (m->error.code != 0)
		return;
	str_add(&text, why->msg);
	add_tail(&m->vm_log, "hypervisor", 300, &text);
	add_tail(&m->console, "guest console", 500, &text);
	(void)err_set(&m->error, why->code ? why->code : -EIO, "%s",
		      str_check(&text) == 0 ? text.p : why->msg);
	if (!m->exited)
		m->exit_code = EXIT_VM_DIED;
}

/* What stands there now. Bounded: a guest that writes without end must not keep us from the rest. */
static void drain(int fd, struct ring *to)
{
	uint8_t buf[4096];
	ssize_t n = fd < 0 ? 0 : 1;

	for (int i = 0; i < DRAIN_READS && n > 0; i++) {
		n = read(fd, buf, sizeof buf);
		if (n > 0)
			ring_put_last(to, buf, (size_t)n);
	}
}

void monitor_hear(struct monitor *m)
{
	drain(m->hv->console_fd, &m->console);
	drain(m->hv->log_fd, &m->vm_log);
}

static void on_console(struct source *s, uint32_t events)
{
	struct monitor *m = container_of(s, struct monitor, console_src);

	drain(s->fd, &m->console);
	if (events & (EPOLLHUP | EPOLLERR))
		loop_del(s);
}

static void on_vm_log(struct source *s, uint32_t events)
{
	struct monitor *m = container_of(s, struct monitor, log_src);

	drain(s->fd, &m->vm_log);
	if (events & (EPOLLHUP | EPOLLERR))
		loop_del(s);
}

/* Hooks may run: what they can see of the container is there. If it is not yet, they wait for the next VM.
 * Only where a VM may have waited cor moves us to the cgroup after this; if hooks could mind that, it does
 * not. */
static int tell_namespaces(struct monitor *m)
{
	if (m->told || (m->no_view && !m->may_wait))
		return 0;
	m->told = true;
	return ctl_send(m->sync_fd, MSG_S_NAMESPACES, NULL, NULL, NULL, 0);
}

static void boot_again(struct monitor *m)
{
	struct err e = { 0 };
	int r;

	m->vm_lost = false;
	r = start_again(m, &e);
	if (r == 0)
		r = monitor_watch_vm(m);
	if (r == 0)
		r = tell_namespaces(m);
	if (r == 0)
		return;
	if (e.code == 0)
		(void)err_set(&e, r, "monitor: %m");
	monitor_failed(m, &e);
}

/* cor is through with the first VM. */
static bool may_boot(const struct monitor *m)
{
	return m->vm_lost && m->cgroups_done && (m->hooks_done || !m->told);
}

/* A clone that does not come up costs the time until this, no container: another VM boots in its place. Not
 * before cor is through with the first one, which it may be moving to its cgroup: the second inherits ours.
 */
static bool boot_instead(struct monitor *m)
{
	if (!m->plan.vm.template_dir || m->ready || m->error.code != 0)
		return false;
	log_warn("container %s: the %s of template %s did not come up; another VM is started instead",
		 m->plan.id, m->plan.pool ? "waiting clone" : "clone", m->plan.vm.template_dir);
	loop_del(&m->vm_src);
	loop_del(&m->share_src);
	loop_del(&m->console_src);
	loop_del(&m->log_src);
	mux_fini(&m->mux);
	m->mux_up = false;
	m->vm_lost = true;
	if (may_boot(m))
		boot_again(m);
	return true;
}

/* The VM's file server ended, and the VM does not see that by itself: its programs could only hang. Where the
 * VM ended first this comes too late to change its exit status. */
static void on_share_end(struct source *s, uint32_t events unused_arg)
{
	struct monitor *m = container_of(s, struct monitor, share_src);

	loop_del(s);
	m->share_gone = true;
	m->hv->ops->stop(m->hv);
}

/* The VM's process ended. */
static void on_vm_end(struct source *s, uint32_t events)
{
	struct monitor *m = container_of(s, struct monitor, vm_src);
	scoped_str why = { 0 };
	struct err e;
	int status;

	(void)events;
	loop_del(s);
	status = hv_reap(m->hv);
	monitor_hear(m);
	if (m->exited) {
		loop_stop(&m->loop);
		return;
	}
	if (boot_instead(m))
		return;
	if (m->share_gone && WIFSIGNALED(status))
		str_add(&why, "cor-fsd, which serves its files, ended; ");
	m->hv->ops->why(m->hv, status, &why);
	(void)err_set(&e, -EIO, "%s", str_check(&why) == 0 && why.p ? why.p : "the virtual machine ended");
	monitor_failed(m, &e);
	if (WIFSIGNALED(status))
		m->exit_code = 128 + WTERMSIG(status);
}

static void on_boot_timeout(struct timer *t)
{
	struct monitor *m = container_of(t, struct monitor, boot_timer);
	struct err e;

	if (boot_instead(m))
		return;
	(void)err_set(&e, -ETIMEDOUT, "the guest did not come up within %u ms (vm.boot_timeout)",
		      m->plan.boot_timeout_ms);
	monitor_failed(m, &e);
}

/* A signal to the container's pid is a signal to the container's process. */
static void on_signal(struct source *s, uint32_t events)
{
	struct monitor *m = container_of(s, struct monitor, signal_src);
	struct signalfd_siginfo si;
	struct err e;

	(void)events;
	if (read(s->fd, &si, sizeof si) != sizeof si)
		return;
	if (si.ssi_signo == SIGWINCH && m->tty_fd >= 0) {
		guest_resize(m, PROC_INIT, m->tty_fd);
	} else if (m->phase == LIFE_CREATING) {
		(void)err_set(&e, -EINTR, "ended by signal %u while it was being created", si.ssi_signo);
		if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT || si.ssi_signo == SIGHUP)
			monitor_failed(m, &e);
	} else {
		guest_signal(m, PROC_INIT, si.ssi_signo, false);
	}
}

/* Messages of the cor that started us, or its end. */
static void on_sync(struct source *s, uint32_t events)
{
	struct monitor *m = container_of(s, struct monitor, sync_src);
	not_cleared struct ctl_msg msg;
	struct err e;
	int r;

	(void)events;
	r = ctl_recv(s->fd, &msg);
	if (r == -EAGAIN)
		return;
	if (r > 0 && (msg.type == MSG_S_HOOKS_DONE || msg.type == MSG_S_CGROUPS_DONE)) {
		m->hooks_done |= msg.type == MSG_S_HOOKS_DONE;
		m->cgroups_done |= msg.type == MSG_S_CGROUPS_DONE;
		if (may_boot(m))
			boot_again(m);
		else if (!m->vm_lost)
			guest_go_on(m);
	} else if (r <= 0) {
		(void)err_set(&e, -EPIPE, "the cor that started the container is gone");
		monitor_failed(m, &e);
	}
	ctl_fini(&msg);
}

static int watch_signals(struct monitor *m)
{
	sigset_t set;

	(void)sigfillset(&set);
	for (size_t i = 0; i < ARRAY_LEN(kept_signals); i++)
		(void)sigdelset(&set, kept_signals[i]);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return -errno;
	m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signal_fd < 0)
		return -errno;
	return loop_add(&m->loop, &m->signal_src, m->signal_fd, EPOLLIN, on_signal);
}

int monitor_watch_vm(struct monitor *m)
{
	int r;

	r = loop_add(&m->loop, &m->vm_src, m->hv->pidfd, EPOLLIN, on_vm_end);
	if (r == 0 && m->hv->helper_fd >= 0 && !m->hv->ops->minds_share)
		r = loop_add(&m->loop, &m->share_src, m->hv->helper_fd, EPOLLIN, on_share_end);
	if (r == 0)
		r = loop_add(&m->loop, &m->console_src, m->hv->console_fd, EPOLLIN, on_console);
	if (r == 0)
		r = loop_add(&m->loop, &m->log_src, m->hv->log_fd, EPOLLIN, on_vm_log);
	if (r == 0)
		r = mux_init(&m->mux, &m->loop, m->hv->agent_fd, MSG_A_READY, &guest_ops, m);
	if (r < 0)
		return r;
	m->mux_up = true;
	r = guest_hello(m);
	if (r == 0 || r == -EPIPE) /* a VM that is gone already is reported by its own end */
		r = loop_timer_set(&m->boot_timer, m->plan.vm.template_dir ? num_min(CLONE_TIMEOUT_MS,
										     m->plan.boot_timeout_ms)
									   : m->plan.boot_timeout_ms);
	return r;
}

static int init(struct monitor *m)
{
	int r;

	m->sync_fd = PLAN_FD_SYNC;
	m->state_fd = PLAN_FD_STATE;
	m->marks_fd = m->signal_fd = m->listen_fd = m->tty_fd = m->host_ns = m->vm_mounts = m->share_held =
		m->template_used = -1;
	for (int i = 0; i < 3; i++)
		m->stdio[i] = -1;
	for (int fd = PLAN_FD_PLAN; fd < PLAN_FD_N; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return -errno;
	if (fcntl(m->sync_fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	r = loop_init(&m->loop);
	if (r == 0)
		r = ring_init(&m->console, CONSOLE_KEPT);
	if (r == 0)
		r = ring_init(&m->vm_log, VM_LOG_KEPT);
	if (r == 0)
		r = loop_timer_add(&m->loop, &m->boot_timer, on_boot_timeout);
	if (r == 0)
		r = loop_timer_add(&m->loop, &m->kill_timer, on_kill_timeout);
	if (r == 0)
		r = loop_timer_add(&m->loop, &m->flush_timer, on_flush_timeout);
	if (r == 0)
		r = loop_add(&m->loop, &m->sync_src, m->sync_fd, EPOLLIN, on_sync);
	return r < 0 ? r : watch_signals(m);
}

/* Set up, tell cor that hooks may run, and serve until the container is over. */
static int run(struct monitor *m, struct err *e)
{
	int r;

	r = start_run(m, e);
	if (r < 0)
		return r;
	if (m->plan.keeper)
		return keeper_run(m, e);
	if (m->error.code == 0) /* the loop forgets what stopped it before it ran */
		r = tell_namespaces(m);
	if (r == 0 && m->error.code == 0)
		r = loop_run(&m->loop);
	if (r < 0)
		return err_set(e, r, "monitor: %m");
	if (m->error.code != 0) {
		*e = m->error;
		return e->code;
	}
	return 0;
}

/* Why the VM died after create has returned: `cor` verbs and people find it in the state directory. */
static void keep_error(struct monitor *m, const struct err *e)
{
	int r;

	r = io_swap_file_at(m->state_fd, "error", e->msg, strlen(e->msg), 0600);
	if (r < 0)
		log_debug("cannot write the error: %d", r);
}

static void finish(struct monitor *m, const struct err *e, bool failed)
{
	control_end(m);
	if (m->mux_up)
		mux_fini(&m->mux);
	hv_free(m->hv);
	if (failed && !m->plan.keeper)
		keep_error(m, e);
	mark_put(&m->marks, "vm-gone");
	if (!m->plan.keeper)
		monitor_phase(m, LIFE_STOPPED);
	/* Nobody waits for the answer of a create any more: the log is where callers look. */
	if (failed && m->sync_fd < 0)
		log_error("container %s: %s", m->plan.id, e->msg);
	if (failed && m->sync_fd >= 0)
		may_fail(ctl_send_result(m->sync_fd, MSG_S_FAILED, e->code, e->msg)); /* nobody may listen */
	scope_close(&m->sync_fd);
	scope_close(&m->marks_fd);
	scope_close(&m->host_ns);
	scope_close(&m->vm_mounts);
	scope_close(&m->share_held);
	scope_close(&m->template_used);
	arena_fini(&m->mem);
	ring_fini(&m->console);
	ring_fini(&m->vm_log);
	loop_fini(&m->loop);
}

int monitor_main(void)
{
	struct monitor m = { 0 };
	struct err e = { 0 };
	int r;

	r = init(&m);
	if (r < 0)
		return EXIT_VM_DIED;
	r = run(&m, &e);
	if (r < 0 && m.exit_code == 0)
		m.exit_code = EXIT_VM_DIED;
	finish(&m, &e, r < 0);
	return m.exit_code;
}
