/* cmd_exec.c - `cor exec`: another process in a running container.
 *
 * The session is one connection to the monitor. Our stdio (or a pty's slave) is handed to the monitor,
 * which copies; the process that stays on the host is only a pid: it passes signals on, is killed or
 * reaped by the caller, and exits with the session's code. Detached, that process is a fork; else it
 * is we. If it is killed, its connection ends, and the monitor kills the session. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/num.h"
#include "oci/names.h"
#include "oci/validate.h"
#include "runtime/client.h"
#include "runtime/create.h"
#include "runtime/pidfile.h"
#include "runtime/verbs.h"
#include "runtime/wait.h"
#include "sys/proc.h"
#include "sys/pty.h"

struct session {
	struct cli *cli;
	struct ctr ctr;
	struct spec spec; /* the container's snapshot, or the process file alone */
	struct arena mem;
	struct msg_process process;
	int sock;
	int fds[3]; /* handed to the monitor */
	size_t n_fds;
	int tty_slave; /* kept for its size, when the terminal went to a console socket */
	struct term term;
};

/* --user UID[:GID]; names, too, in a container whose own user was given so. */
static int set_user(struct session *s, struct spec_process *p, const char *text, struct err *e)
{
	scoped_strv parts = { 0 };
	uint64_t uid, gid;

	if (p->user.name) {
		p->user.name = arena_str(&s->mem, text);
		return p->user.name ? 0 : err_set(e, -ENOMEM, "out of memory");
	}
	strv_split(&parts, text, ':');
	if (strv_check(&parts) < 0 || parts.n > 2 || num_parse_u64_max(parts.p[0], UINT32_MAX - 1, &uid) < 0)
		return err_set(e, -EINVAL, "--user %s: must be UID or UID:GID, both numbers", text);
	p->user.uid = (uint32_t)uid;
	if (parts.n == 2) {
		if (num_parse_u64_max(parts.p[1], UINT32_MAX - 1, &gid) < 0)
			return err_set(e, -EINVAL, "--user %s: must be UID or UID:GID, both numbers", text);
		p->user.gid = (uint32_t)gid;
	}
	return 0;
}

static int add_groups(struct session *s, struct spec_process *p, const struct opt_strs *groups, struct err *e)
{
	size_t n = p->user.additional_gids.n;
	uint32_t *v = arena_array(&s->mem, n + groups->n + 1, sizeof *v);
	uint64_t gid;

	if (!v)
		return err_set(e, -ENOMEM, "out of memory");
	if (n)
		memcpy(v, p->user.additional_gids.p, n * sizeof *v);
	for (size_t i = 0; i < groups->n; i++) {
		if (num_parse_u64_max(groups->p[i], UINT32_MAX - 1, &gid) < 0)
			return err_set(e, -EINVAL, "--additional-gids %s: must be a number", groups->p[i]);
		v[n++] = (uint32_t)gid;
	}
	p->user.additional_gids.p = v;
	p->user.additional_gids.n = n;
	return 0;
}

static int add_caps(struct spec_process *p, const struct opt_strs *caps, struct err *e)
{
	struct spec_caps *c = &p->capabilities;
	uint64_t bit;

	for (size_t i = 0; i < caps->n; i++) {
		const struct name *cap = names_find(&names_caps, caps->p[i]);

		if (!cap)
			return err_set(e, -EINVAL, "--cap %s: unknown capability", caps->p[i]);
		bit = 1ull << cap->value;
		p->has_capabilities = true;
		c->bounding |= bit;
		c->effective |= bit;
		c->permitted |= bit;
		c->inheritable |= bit;
		c->ambient |= bit;
	}
	return 0;
}

static int add_env(struct session *s, struct spec_process *p, const struct opt_strs *env, struct err *e)
{
	char **v = arena_array(&s->mem, p->env.n + env->n + 1, sizeof *v);

	if (!v)
		return err_set(e, -ENOMEM, "out of memory");
	if (p->env.n)
		memcpy(v, p->env.p, p->env.n * sizeof *v);
	for (size_t i = 0; i < env->n; i++) {
		v[p->env.n + i] = arena_str(&s->mem, env->p[i]);
		if (!v[p->env.n + i])
			return err_set(e, -ENOMEM, "out of memory");
	}
	p->env.p = v;
	p->env.n += env->n;
	return 0;
}

/* The container's own process, changed by the options. */
static int process_from_options(struct session *s, struct err *e)
{
	const struct cli_exec *o = &s->cli->exec;
	struct spec_process *p = &s->spec.process;
	int r;

	p->terminal = o->tty;
	p->args.p = arena_array(&s->mem, s->cli->args.n + 1, sizeof(char *));
	if (!p->args.p)
		return err_set(e, -ENOMEM, "out of memory");
	p->args.n = s->cli->args.n;
	for (size_t i = 0; i < p->args.n; i++) {
		p->args.p[i] = arena_str(&s->mem, s->cli->args.p[i]);
		if (!p->args.p[i])
			return err_set(e, -ENOMEM, "out of memory");
	}
	if (o->cwd)
		p->cwd = arena_str(&s->mem, o->cwd);
	if (!p->cwd || p->cwd[0] != '/')
		return err_set(e, -EINVAL, "--cwd: must be an absolute path");
	if (o->no_new_privs)
		p->no_new_privileges = true;
	r = o->user ? set_user(s, p, o->user, e) : 0;
	if (r == 0)
		r = add_groups(s, p, &o->additional_gids, e);
	if (r == 0)
		r = add_caps(p, &o->cap, e);
	return r == 0 ? add_env(s, p, &o->env, e) : r;
}

static int load_process(struct session *s, struct err *e)
{
	const char *file = s->cli->exec.process;
	scoped_free char *text = NULL;
	size_t n;
	int r;

	if (!file && s->cli->args.n == 0)
		return err_set(e, -EINVAL, "nothing to run: give a command, or --process FILE");
	r = file ? io_read_file_at(AT_FDCWD, file, SPEC_TEXT_MAX, &text, &n)
		 : io_read_file_at(s->ctr.dirfd, "config.json", SPEC_TEXT_MAX, &text, &n);
	if (r < 0)
		return err_set(e, r, "%s: %m", file ? file : "the container's config.json");
	if (!file) {
		r = spec_parse(text, n, &s->spec, e);
		return r < 0 ? r : process_from_options(s, e);
	}
	r = spec_parse_process(text, n, &s->spec, e);
	if (r == 0 && s->cli->exec.tty)
		s->spec.process.terminal = true;
	return r;
}

/* The filter that create compiled: "flags u32, program". */
static int add_seccomp(struct session *s, struct err *e)
{
	scoped_free char *text = NULL;
	void *copy;
	size_t n;
	int r;

	r = io_read_file_at(s->ctr.dirfd, "seccomp", 1u << 20, &text, &n);
	if (r == -ENOENT)
		return 0;
	if (r < 0 || n < 4)
		return err_set(e, r < 0 ? r : -EBADMSG, "the container's seccomp filter: %m");
	copy = arena_strn(&s->mem, text + 4, n - 4);
	if (!copy)
		return err_set(e, -ENOMEM, "out of memory");
	s->process.seccomp = (struct pack_blob){ .p = copy, .n = n - 4 };
	s->process.seccomp_flags = buf_ld32((const uint8_t *)text);
	return 0;
}

static int make_process(struct session *s, struct err *e)
{
	scoped_strv warnings = { 0 };
	struct validate_host host;
	int r;

	r = load_process(s, e);
	if (r < 0)
		return r;
	validate_probe(&host);
	r = spec_validate_process(&s->spec.process, &host, &warnings, e);
	for (size_t i = 0; i < warnings.n; i++)
		log_warn("%s", warnings.p[i]);
	if (r == 0)
		r = plan_process(&s->spec.process, &s->mem, &s->process, e);
	return r == 0 ? add_seccomp(s, e) : r;
}

static int open_terminal(struct session *s, struct err *e)
{
	const char *socket = s->cli->exec.console_socket;
	char name[PTY_NAME_MAX];
	scoped_fd master = -1;
	int slave = -1, r;

	if (!socket && s->cli->exec.detach)
		return err_set(e, -EINVAL, "a detached session with a terminal needs --console-socket");
	if (!socket) {
		r = term_open(&s->term, &slave, e);
		if (r == 0 && pty_get_size(s->term.master, &s->process.rows, &s->process.cols) < 0)
			s->process.rows = s->process.cols = 0;
	} else {
		r = pty_open(&master, &slave, name);
		if (r == 0)
			r = pty_set_raw(slave);
		if (r == 0 && s->process.rows && s->process.cols)
			r = pty_set_size(slave, s->process.rows, s->process.cols);
		r = r < 0 ? err_set(e, r, "cannot make a pseudo terminal: %m")
			  : pty_send_fd("--console-socket", socket, master, name, e);
	}
	s->fds[0] = slave;
	s->n_fds = slave >= 0 ? 1 : 0;
	return r;
}

static int open_stdio(struct session *s, struct err *e)
{
	if (s->process.terminal)
		return open_terminal(s, e);
	if (s->cli->exec.console_socket)
		return err_set(e, -EINVAL, "--console-socket is given, but the process has no terminal");
	for (int i = 0; i < 3; i++) {
		s->fds[i] = io_unshare_open(i);
		if (s->fds[i] < 0)
			return err_set(e, s->fds[i], "file descriptor %d: %m", i);
		s->n_fds++;
	}
	return 0;
}

/* Asks the monitor to run it. Afterwards the fds are the monitor's: ours are closed. */
static int run(struct session *s, struct err *e)
{
	scoped_fd memfd = ctl_memfd(&rec_process, &s->process);
	struct ctl_msg ans;
	int fds[4], r;

	if (memfd < 0)
		return err_set(e, memfd, "process: %m");
	fds[0] = memfd;
	memcpy(fds + 1, s->fds, s->n_fds * sizeof *fds);
	s->sock = client_connect(s->ctr.dirfd, e);
	if (s->sock < 0)
		return s->sock;
	r = client_ask(s->sock, MSG_C_EXEC, NULL, NULL, fds, s->n_fds + 1, MSG_C_RESULT, &ans, e);
	if (r < 0)
		return r;
	ctl_fini(&ans);
	if (s->process.terminal && s->cli->exec.console_socket)
		s->tty_slave = take_fd(&s->fds[0]);
	for (size_t i = 0; i < s->n_fds; i++) {
		scope_close(&s->fds[i]);
		s->fds[i] = -1;
	}
	return 0;
}

/* Tells the caller which process stands for the session. */
static int announce(struct session *s, pid_t pid, struct err *e)
{
	int r;

	r = pidfile_write(s->cli->exec.pid_file, pid, e);
	return r < 0 ? r : pidfile_send_pidfd(s->cli->exec.pidfd_socket, pid, e);
}

/* stdio is the monitor's now: a copy here would keep the caller's pipes open. */
static void release_stdio(void)
{
	scoped_fd null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < 3 && null >= 0; i++)
		(void)dup2(null, i);
}

/* In the container's cgroup, so that ps finds it and a kill of the cgroup reaches it. */
static void join_cgroup(struct session *s)
{
	scoped_strv files = { 0 };
	struct cgroup cg;
	struct err ignored;

	if (ctr_read_cgroup(&s->ctr, &cg, &ignored) < 0)
		return;
	cgroup_procs(&cg, &files);
	for (size_t i = 0; i < files.n; i++)
		may_fail(io_write_existing_at(AT_FDCWD, files.p[i],
					      "0")); /* it dies with its connection in any case */
	cgroup_fini(&cg);
}

static int stay(struct session *s, struct err *e)
{
	struct waiting w = { .session = s->sock, .tty_fd = s->tty_slave };

	if (s->term.master >= 0) {
		w.term = &s->term;
		w.tty_fd = s->term.master;
	} else {
		release_stdio();
	}
	return wait_for_end(&w, e);
}

/* The stub: all that is left of a detached session on the host. */
static _Noreturn void stub(struct session *s)
{
	struct err e;
	int code;

	(void)setsid();
	(void)prctl(PR_SET_NAME, "cor-exec");
	if (s->tty_slave >= 0)
		may_fail(pty_make_controlling(s->tty_slave)); /* for SIGWINCH only */
	join_cgroup(s);
	if (chdir("/") < 0)
		_exit(255);
	code = stay(s, &e);
	_exit(code < 0 ? 255 : code);
}

static int detach(struct session *s, struct err *e)
{
	pid_t pid = fork();

	if (pid == 0)
		stub(s);
	if (pid < 0)
		return err_set(e, -errno, "fork: %m");
	if (announce(s, pid, e) < 0) {
		(void)kill(pid, SIGKILL);
		return e->code;
	}
	return 0;
}

static int exec(struct session *s, struct err *e)
{
	const struct cli_exec *o = &s->cli->exec;
	int r;

	r = ctr_open_whole(s->cli->global.root, s->cli->id, &s->ctr, e);
	if (r < 0)
		return r;
	r = ctr_check(&s->ctr, LIFE_DO_EXEC, e);
	if (r < 0)
		return r;
	if (o->preserve_fds > 0)
		return err_set(e, -EINVAL, "--preserve-fds: descriptors can't cross the border of a VM");
	if (o->cgroup && o->cgroup[0])
		return err_set(e, -EINVAL,
			       "--cgroup: sub-cgroups of the guest are not for choice from outside");
	r = make_process(s, e);
	if (r == 0)
		r = open_stdio(s, e);
	wait_block_signals();
	if (r == 0)
		r = run(s, e);
	if (r < 0)
		return r;
	if (o->detach)
		return detach(s, e);
	r = announce(s, getpid(), e);
	join_cgroup(s);
	return r < 0 ? r : stay(s, e);
}

int cmd_exec(struct cli *cli, struct err *e)
{
	struct session s = { .cli = cli,
			     .sock = -1,
			     .tty_slave = -1,
			     .fds = { -1, -1, -1 },
			     .term = { .master = -1, .in = -1, .out = -1 },
			     .ctr = { .dirfd = -1, .lock_fd = -1 } };
	int r;

	r = exec(&s, e);
	term_finish(&s.term);
	for (size_t i = 0; i < 3; i++)
		scope_close(&s.fds[i]);
	scope_close(&s.sock);
	scope_close(&s.tty_slave);
	ctr_fini(&s.ctr);
	spec_fini(&s.spec);
	arena_fini(&s.mem);
	return r;
}
