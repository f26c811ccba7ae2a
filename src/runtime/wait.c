/* wait.c - the foreground loop of run and exec, and the whole life of an exec session's stub.
 *
 * A signal that reaches us is meant for the process in the guest. SIGWINCH means that a window changed:
 * ours (then the pty in between is resized, and the kernel tells its other side) or the
 * session's own (then the guest is told). */
#include "runtime/wait.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "sys/pty.h"
#include "wire/ctl.h"

struct state {
	struct loop loop;
	const struct waiting *w;
	struct source signals, child, session;
	int code;
	struct err err;
};

static void set_of_signals(sigset_t *set)
{
	static const int kept[] = { SIGCHLD, SIGSEGV, SIGBUS,  SIGFPE,  SIGILL, SIGTRAP,
				    SIGABRT, SIGSYS,  SIGTSTP, SIGTTIN, SIGTTOU };

	(void)sigfillset(set);
	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		(void)sigdelset(set, kept[i]);
}

void wait_block_signals(void)
{
	sigset_t set;

	set_of_signals(&set);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
}

static void tell_size(const struct waiting *w)
{
	struct msg_resize size = { 0 };

	if (w->session >= 0 && w->tty_fd >= 0 && pty_get_size(w->tty_fd, &size.rows, &size.cols) == 0)
		may_fail(ctl_send(w->session, MSG_C_RESIZE, &rec_resize, &size, NULL,
				  0)); /* its end is seen elsewhere */
}

static void pass_on(const struct waiting *w, int sig)
{
	struct msg_signal s = { .sig = (uint32_t)sig };

	if (sig == SIGPIPE)
		return;
	if (w->child > 0)
		(void)kill(w->child, sig);
	else if (w->session >= 0)
		may_fail(ctl_send(w->session, MSG_C_SIGNAL, &rec_signal, &s, NULL,
				  0)); /* its end is seen elsewhere */
}

static void on_signal(struct source *src, uint32_t events)
{
	struct state *st = container_of(src, struct state, signals);
	struct signalfd_siginfo si;

	(void)events;
	if (read(src->fd, &si, sizeof si) != sizeof si)
		return;
	if (si.ssi_signo != SIGWINCH) {
		pass_on(st->w, (int)si.ssi_signo);
		return;
	}
	if (st->w->term)
		term_resize(st->w->term);
	tell_size(st->w);
}

static void on_child(struct source *src, uint32_t events)
{
	struct state *st = container_of(src, struct state, child);
	int status;

	(void)events;
	if (waitpid(st->w->child, &status, 0) != st->w->child)
		st->code = err_set(&st->err, -errno, "wait: %m");
	else
		st->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	loop_stop(&st->loop);
}

static void on_session(struct source *src, uint32_t events)
{
	struct state *st = container_of(src, struct state, session);
	scoped_arena a = { .max = CTL_MAX };
	struct msg_exited end;
	struct ctl_msg msg;
	int r;

	(void)events;
	r = ctl_recv(src->fd, &msg);
	if (r > 0 && msg.type != MSG_C_EXITED) {
		ctl_fini(&msg);
		return;
	}
	if (r > 0 && ctl_decode(&msg, &a, &end) == 0)
		st->code = (int)(end.code & 0xff);
	else
		st->code = 128 + SIGKILL; /* the VM went away: so did the process */
	ctl_fini(&msg);
	loop_stop(&st->loop);
}

static int watch(struct state *st, int signal_fd, int pidfd)
{
	int r;

	r = loop_add(&st->loop, &st->signals, signal_fd, EPOLLIN, on_signal);
	if (r == 0 && pidfd >= 0)
		r = loop_add(&st->loop, &st->child, pidfd, EPOLLIN, on_child);
	if (r == 0 && st->w->session >= 0)
		r = loop_add(&st->loop, &st->session, st->w->session, EPOLLIN, on_session);
	return r;
}

int wait_for_end(const struct waiting *w, struct err *e)
{
	struct state st = { .w = w };
	scoped_fd signal_fd = -1, pidfd = -1;
	sigset_t set;
	int r;

	set_of_signals(&set);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (w->child > 0)
		pidfd = (int)syscall(SYS_pidfd_open, w->child, 0);
	if (signal_fd < 0 || (w->child > 0 && pidfd < 0))
		return err_set(e, -errno, "cannot wait for the process: %m");
	r = loop_init(&st.loop);
	if (r == 0)
		r = watch(&st, signal_fd, pidfd);
	if (r < 0)
		return err_set(e, r, "event loop: %m");
	if (w->term)
		r = term_start(w->term, &st.loop, e);
	if (r == 0)
		r = loop_run(&st.loop);
	if (w->term)
		term_finish(w->term);
	loop_fini(&st.loop);
	if (r < 0)
		return r;
	if (st.code < 0)
		*e = st.err;
	return st.code;
}
