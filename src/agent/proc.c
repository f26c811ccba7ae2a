/* proc.c - see proc.h.
 *
 * A process is answered for twice: its request (CREATE, START, EXEC) and, if it ran, its exit. Both
 * are decided here from three sources: its control socket, waitpid, and its output streams.
 * Distrusts: nothing the child says before exec (it is our own code), everything after. */
#include "agent/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/ctr.h"
#include "agent/park.h"
#include "agent/rehearse.h"
#include "agent/sched.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "sys/cg2.h"
#include "sys/mnt.h"

#define CLONE_INTO_CGROUP_FLAG 0x200000000ull

void procs_init(struct agent *a)
{
	for (size_t i = 0; i < AGENT_PROCS; i++)
		a->procs[i] = (struct proc){ .agent = a, .ctl_fd = -1, .tty = -1 };
}

struct proc *proc_find(struct agent *a, uint32_t id)
{
	for (size_t i = 0; i < AGENT_PROCS; i++)
		if (a->procs[i].state != PROC_FREE && a->procs[i].id == id)
			return &a->procs[i];
	return NULL;
}

static struct proc *proc_unused(struct agent *a)
{
	for (size_t i = 0; i < AGENT_PROCS; i++)
		if (a->procs[i].state == PROC_FREE)
			return &a->procs[i];
	return NULL;
}

static void close_ctl(struct proc *p)
{
	loop_del(&p->ctl);
	scope_close(&p->ctl_fd);
	p->ctl_fd = -1;
}

static void close_streams(struct proc *p)
{
	for (unsigned k = STREAM_STDIN; k <= STREAM_STDERR; k++)
		mux_close(&p->agent->mux, msg_stream_id(p->id, k));
	scope_close(&p->tty);
	p->tty = -1;
}

static void proc_free(struct proc *p)
{
	struct agent *a = p->agent;

	close_ctl(p);
	close_streams(p);
	free(p->err);
	*p = (struct proc){ .agent = a, .ctl_fd = -1, .tty = -1 };
}

static void answer(struct proc *p, const struct err *e)
{
	if (!p->has_request)
		return;
	p->has_request = false;
	agent_answer(p->agent, p->request, e);
}

/* The child gave up: it is answered when it is reaped, so that nothing of it is left by then. */
static void set_failed(struct proc *p, const struct err *e)
{
	p->is_failed = true;
	if (p->err)
		return;
	p->err = malloc(sizeof *p->err);
	if (p->err)
		*p->err = *e;
}

/* The terminal's master arrived: both directions use it. */
static void got_tty(struct proc *p, int master)
{
	struct mux *m = &p->agent->mux;
	int in = fcntl(master, F_DUPFD_CLOEXEC, 3), out = fcntl(master, F_DUPFD_CLOEXEC, 3);
	int r;

	p->tty = master;
	r = in < 0 || out < 0 ? -EMFILE : mux_sink_fd(m, msg_stream_id(p->id, STREAM_STDIN), take_fd(&in));
	if (r == -ENOENT)
		r = 0; /* its input has ended already: a terminal has no end of file */
	if (r == 0)
		r = mux_source(m, msg_stream_id(p->id, STREAM_STDOUT), take_fd(&out));
	scope_close(&in);
	scope_close(&out);
	if (r < 0) {
		struct err e;

		(void)err_set(&e, r, "process.terminal: streams: %m");
		set_failed(p, &e);
		(void)kill(p->pid, SIGKILL);
	}
}

static void child_said(struct proc *p, const struct child_msg *m, int fd)
{
	if (m->kind == CHILD_TTY && fd >= 0 && p->tty < 0) {
		got_tty(p, fd);
		return;
	}
	scope_close(&fd);
	if (m->kind == CHILD_FAILED) {
		set_failed(p, &m->err);
	} else if (m->kind == CHILD_READY && p->state == PROC_SETUP) {
		p->state = p->id == PROC_INIT ? PROC_CREATED : PROC_STARTED;
		if (p->state == PROC_CREATED) {
			agent_mark(p->agent, "container-set-up");
			answer(p, NULL);
		}
	}
}

/* One message of the control socket; false when there is none now. */
static bool read_ctl(struct proc *p)
{
	struct child_msg m = { 0 };
	int fd[1] = { -1 };
	size_t n_fds = 0;
	ssize_t n;

	n = io_recv_fds(p->ctl_fd, &m, sizeof m, fd, 1, &n_fds);
	if (n == -EAGAIN || n == -EINTR)
		return false;
	if (n == (ssize_t)sizeof m) {
		m.err.msg[sizeof m.err.msg - 1] = '\0';
		child_said(p, &m, n_fds ? fd[0] : -1);
		return true;
	}
	/* The end: it runs the program, or it is dead; then waitpid tells. */
	close_ctl(p);
	if (!p->is_failed && p->state == PROC_STARTED) {
		p->state = PROC_RUNNING;
		agent_mark(p->agent, "program-running");
		answer(p, NULL);
	}
	return false;
}

static void ctl_ready(struct source *src, uint32_t events unused_arg)
{
	struct proc *p = container_of(src, struct proc, ctl);

	(void)read_ctl(p);
}

struct pipes {
	int child[3], ours[3];
};

static void pipes_fini(struct pipes *s)
{
	for (int i = 0; i < 3; i++) {
		scope_close(&s->child[i]);
		scope_close(&s->ours[i]);
	}
}
#define scoped_pipes __attribute__((cleanup(pipes_fini))) struct pipes

static int make_pipes(struct pipes *s)
{
	for (int i = 0; i < 3; i++) {
		int fds[2];

		if (pipe2(fds, O_CLOEXEC) < 0)
			return -errno;
		s->child[i] = fds[i == 0 ? 0 : 1];
		s->ours[i] = fds[i == 0 ? 1 : 0];
	}
	return 0;
}

static int bind_pipes(struct proc *p, int ours[3])
{
	struct mux *m = &p->agent->mux;
	int r;

	r = mux_sink(m, msg_stream_id(p->id, STREAM_STDIN), take_fd(&ours[0]));
	if (r == 0)
		r = mux_source(m, msg_stream_id(p->id, STREAM_STDOUT), take_fd(&ours[1]));
	if (r == 0)
		r = mux_source(m, msg_stream_id(p->id, STREAM_STDERR), take_fd(&ours[2]));
	return r;
}

/* Enters a cgroup that is at its limit of processes: moving in is allowed where being born isn't. */
static long clone_and_move(struct clone_args *args, int cg)
{
	scoped_free char *text = NULL;
	long pid;

	args->flags &= ~(uint64_t)CLONE_INTO_CGROUP_FLAG;
	args->cgroup = 0;
	pid = syscall(SYS_clone3, args, sizeof *args);
	if (pid <= 0)
		return pid;
	/* It waits for our 'G' and does nothing before that. */
	text = str_fmt("%ld", pid);
	if (!text || cg2_write(cg, "cgroup.procs", text) < 0) {
		(void)kill((pid_t)pid, SIGKILL); /* reaped as a stranger */
		errno = EAGAIN;
		return -1;
	}
	return pid;
}

/* fork() into a cgroup and namespaces. In the child it returns 0. */
static pid_t clone_child(const struct proc_place *at)
{
	struct clone_args args = { .flags = at->clone_flags, .exit_signal = SIGCHLD };
	long pid;
	int r;

	if (at->cgroup >= 0) {
		args.flags |= CLONE_INTO_CGROUP_FLAG;
		args.cgroup = (unsigned)at->cgroup;
	}
	if (at->pidns >= 0 && setns(at->pidns, CLONE_NEWPID) < 0)
		return -errno;
	pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid < 0 && errno == EAGAIN && at->cgroup >= 0)
		pid = clone_and_move(&args, at->cgroup);
	r = pid < 0 ? -errno : 0;
	if (pid == 0)
		return 0;
	/* Only children are affected, and the next ones must be born here. The way back can't fail: the
	 * kernel always allows the caller's own namespace. */
	if (at->pidns >= 0 && setns(at->own_pidns, CLONE_NEWPID) < 0)
		log_error("own pid namespace: cannot return");
	return pid < 0 ? r : (pid_t)pid;
}

void proc_birth_fini(struct proc_birth *b)
{
	scope_close(&b->ctl);
	for (int i = 0; i < 3; i++)
		scope_close(&b->ours[i]);
	*b = (struct proc_birth){ .pid = -1, .ctl = -1, .ours = { -1, -1, -1 } };
}

int proc_bear(struct child_job *job, const struct proc_place *at, bool has_pipes, struct proc_birth *ret,
	      struct err *e)
{
	scoped_pipes pipes = { { -1, -1, -1 }, { -1, -1, -1 } };
	scoped_fd ours = -1, childs = -1;
	int fds[2], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return err_set(e, -errno, "control socket: %m");
	ours = fds[0];
	childs = fds[1];
	r = has_pipes ? make_pipes(&pipes) : 0;
	if (r == 0 && fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
		r = -errno;
	if (r < 0)
		return err_set(e, r, "streams: %m");
	job->ctl = childs;
	memcpy(job->stdio, pipes.child, sizeof job->stdio);
	pid = clone_child(at);
	if (pid == 0) {
		(void)close(ours); /* or we would never see the agent's end of it */
		child_main(job);
	}
	if (pid < 0)
		return err_set(e, pid, "clone: %m");
	*ret = (struct proc_birth){ .pid = pid, .ctl = take_fd(&ours), .ours = { -1, -1, -1 } };
	for (int i = 0; i < 3; i++)
		ret->ours[i] = take_fd(&pipes.ours[i]);
	return 0;
}

static int write_map(pid_t pid, const char *file, const struct msg_idmap *map, size_t n)
{
	scoped_free char *path = str_fmt("/proc/%d/%s", (int)pid, file);
	scoped_str text = { 0 };
	int r;

	for (size_t i = 0; i < n; i++)
		str_addf(&text, "%u %u %u\n", map[i].container, map[i].host, map[i].size);
	r = str_check(&text);
	if (r < 0 || !path)
		return -ENOMEM;
	return text.len ? io_write_existing_at(AT_FDCWD, path, text.p) : 0;
}

static int set_oom_score(pid_t pid, int64_t score)
{
	scoped_free char *path = str_fmt("/proc/%d/oom_score_adj", (int)pid);
	scoped_free char *text = str_fmt("%lld", (long long)score);

	return path && text ? io_write_existing_at(AT_FDCWD, path, text) : -ENOMEM;
}

/* The child sets its limits itself, late; raising a hard limit needs our rights. */
static int raise_limits(pid_t pid, const struct msg_process *p, struct err *e)
{
	for (size_t i = 0; i < p->rlimits.n; i++) {
		const struct msg_rlimit *l = &p->rlimits.p[i];
		struct rlimit now;

		if (syscall(SYS_prlimit64, pid, l->type, NULL, &now) < 0 || now.rlim_max >= l->hard)
			continue; /* an unknown type is named by the child */
		now.rlim_max = l->hard;
		if (syscall(SYS_prlimit64, pid, l->type, &now, NULL) < 0)
			return err_set(e, -errno, "process.rlimits[%zu]: raise the hard limit %u to %llu: %m",
				       i, l->type, (unsigned long long)l->hard);
	}
	return 0;
}

/* What the agent does to the child before it goes on. */
static int prepare_child(const struct proc_spawn *s, pid_t pid, struct err *e)
{
	const struct msg_process *p = s->job->process;
	int r;

	r = write_map(pid, "uid_map", s->uid_map, s->n_uid_map);
	if (r < 0)
		return err_set(e, r, "linux.uidMappings: %m");
	r = write_map(pid, "gid_map", s->gid_map, s->n_gid_map);
	if (r < 0)
		return err_set(e, r, "linux.gidMappings: %m");
	r = p->has_oom_score_adj ? set_oom_score(pid, p->oom_score_adj) : 0;
	if (r < 0)
		return err_set(e, r, "process.oomScoreAdj %lld: %m", (long long)p->oom_score_adj);
	r = raise_limits(pid, p, e);
	return r < 0 ? r : sched_apply(pid, p, e);
}

/* Its first message: a parked child is told what it is for. */
static int send_off(const struct proc *p, const struct proc_spawn *s)
{
	const struct agent *a = p->agent;
	scoped_fd share = -1, tree = -1;
	int r;

	if (!s->parked)
		return write(p->ctl_fd, "G", 1) < 0 ? -errno : 0;
	if (!a->share_mounted && !a->layers_mounted)
		return io_send_fds(p->ctl_fd, a->request, a->request_len, NULL, 0);
	share = open(a->conf.share, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = share < 0 ? -errno : mnt_clone(share, true, &tree);
	return r < 0 ? r : io_send_fds(p->ctl_fd, a->request, a->request_len, &tree, 1);
}

/* After the clone: the process exists whatever fails now, so it is only told to go or killed. */
static void launch(struct proc *p, const struct proc_spawn *s, struct proc_birth *b)
{
	struct err e = { 0 };
	int r;

	r = loop_add(&p->agent->loop, &p->ctl, p->ctl_fd, EPOLLIN, ctl_ready);
	/* What is typed before the terminal is there waits for it. */
	if (r == 0)
		r = s->job->process->terminal
			    ? mux_sink_late(&p->agent->mux, msg_stream_id(p->id, STREAM_STDIN))
			    : bind_pipes(p, b->ours);
	if (r < 0)
		(void)err_set(&e, r, "streams of process %u: %m", p->id);
	else
		r = prepare_child(s, p->pid, &e);
	if (r == 0) {
		r = send_off(p, s);
		if (r < 0)
			(void)err_set(&e, r, "start of process %u: %m", p->id);
	}
	if (r < 0) {
		set_failed(p, &e);
		(void)kill(p->pid, SIGKILL);
	}
}

int proc_spawn(struct agent *a, const struct proc_spawn *s, struct err *e)
{
	const struct proc_place at = { .clone_flags = s->clone_flags,
				       .cgroup = a->ctr.cg,
				       .pidns = s->pidns,
				       .own_pidns = a->own_pidns };
	struct proc_birth b = { .pid = -1, .ctl = -1, .ours = { -1, -1, -1 } };
	struct proc *p;
	int r = 0;

	if (proc_find(a, s->id))
		return err_set(e, -EEXIST, "process %u exists", s->id);
	p = proc_unused(a);
	if (!p)
		return err_set(e, -EAGAIN, "too many processes: at most %d at a time", AGENT_PROCS);
	if (s->parked) {
		b = *s->parked;
		*s->parked = (struct proc_birth){ .pid = -1, .ctl = -1, .ours = { -1, -1, -1 } };
	} else {
		r = proc_bear(s->job, &at, !s->job->process->terminal, &b, e);
	}
	if (r < 0)
		return r;
	*p = (struct proc){ .agent = a,
			    .state = PROC_SETUP,
			    .id = s->id,
			    .pid = b.pid,
			    .request = s->request,
			    .has_request = true,
			    .ctl_fd = take_fd(&b.ctl),
			    .tty = -1 };
	launch(p, s, &b);
	proc_birth_fini(&b);
	return 0;
}

int proc_start(struct proc *p, uint32_t request, struct err *e)
{
	if (p->state != PROC_CREATED || p->is_failed || p->reaped)
		return err_set(e, -EINVAL, "the container is not in the created state");
	if (write(p->ctl_fd, "S", 1) < 0)
		return err_set(e, -errno, "start: %m");
	p->state = PROC_STARTED;
	p->request = request;
	p->has_request = true;
	return 0;
}

void proc_resize(struct proc *p, uint32_t rows, uint32_t cols)
{
	struct winsize ws = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols };

	if (p->tty >= 0 && ioctl(p->tty, TIOCSWINSZ, &ws) < 0)
		log_debug("resize of process %u failed", p->id);
}

void procs_reap(struct agent *a)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (a->conf.parked)
			park_ended(a->conf.parked, pid);
		/* Others are orphans that only PID 1 can bury. */
		for (size_t i = 0; i < AGENT_PROCS; i++) {
			struct proc *p = &a->procs[i];

			if (p->state == PROC_FREE || p->reaped || p->pid != pid)
				continue;
			p->reaped = true;
			p->wait_status = status;
			if (p->id == PROC_INIT) {
				agent_mark(a, "container-ended");
				/* With a pid namespace the kernel has done it. */
				if (!(a->ctr.namespaces & CLONE_NEWPID))
					ctr_kill_rest(a);
			}
		}
	}
}

/* True when all its output was handed to the channel. */
static bool is_drained(struct proc *p)
{
	struct mux *m = &p->agent->mux;
	bool done = true;

	for (unsigned k = STREAM_STDOUT; k <= STREAM_STDERR; k++) {
		uint32_t id = msg_stream_id(p->id, k);

		if (!mux_drain_source(m, id))
			done = false;
		/* The container is dead: nobody holds its output open, so its end will come. What an exec
		 * session left running may hold its for ever. */
		if (p->id == PROC_INIT && mux_has(m, id))
			done = false;
	}
	return done;
}

static void report_exit(struct proc *p)
{
	struct msg_exited m = { .proc = p->id };

	if (WIFSIGNALED(p->wait_status)) {
		m.signal = (uint32_t)WTERMSIG(p->wait_status);
		m.code = 128 + m.signal;
	} else {
		m.code = (uint32_t)WEXITSTATUS(p->wait_status);
	}
	agent_send(p->agent, MSG_A_EXITED, 0, &rec_exited, &m);
}

/* Why its program didn't run. */
static void answer_failure(struct proc *p)
{
	struct err e = { 0 };

	if (p->err)
		e = *p->err;
	else if (WIFSIGNALED(p->wait_status))
		(void)err_set(&e, -ECHILD, "the process was killed by signal %d before its program ran",
			      WTERMSIG(p->wait_status));
	else
		(void)err_set(&e, -ECHILD, "the process ended before its program ran");
	answer(p, &e);
}

/* A process that was reaped: true when nothing is left to do for it. */
static bool settle(struct proc *p)
{
	bool has_run;

	while (p->ctl_fd >= 0 && read_ctl(p))
		;
	close_ctl(p);
	has_run = !p->is_failed && p->state != PROC_SETUP && p->state != PROC_STARTED;
	if (!has_run)
		answer_failure(p);
	/* A container that was created has an exit, also if START failed or it was killed before. */
	if (!has_run && !(p->id == PROC_INIT && p->state == PROC_STARTED))
		return true;
	if (!is_drained(p))
		return false;
	close_streams(p);
	if (p->id == PROC_INIT)
		agent_flush_share(p->agent);
	report_exit(p);
	return true;
}

void procs_settle(struct agent *a)
{
	struct proc *init = NULL;
	size_t others = 0;

	for (size_t i = 0; i < AGENT_PROCS; i++) {
		struct proc *p = &a->procs[i];

		if (p->state == PROC_FREE)
			continue;
		if (p->id == PROC_INIT)
			init = p;
		else if (p->reaped && settle(p))
			proc_free(p);
		else
			others++;
	}
	/* The container's exit is the last word about it. */
	if (init && init->reaped && others == 0 && settle(init)) {
		proc_free(init);
		ctr_fini(a);
		if (a->rehearsal)
			rehearse_end(a);
	}
}
