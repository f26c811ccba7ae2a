/* child.c - fork, fds, exec of a hypervisor.
 *
 * Called by the drivers. Trusts its caller's fds and argv. Between fork and exec only plain system
 * calls are made. Never leaves a child that outlives the caller: see die_with_parent(). */
#include "hyper/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "hyper/qemu_rest.h"
#include "sys/proc.h"

#define WHY_MAX 2048 /* unread words that are added to the reason of an end */

static void reset_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		(void)sigaction(s, &dfl,
				NULL); /* SIGKILL, SIGSTOP and libc's own refuse: they need nothing */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The parent may have died before the prctl. Its end of the pipe tells, also across pid namespaces, where
 * getppid() says 0. */
static int die_with_parent(int err_fd)
{
	struct pollfd p = { .fd = err_fd };
	int r;

	r = prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (r < 0)
		return -errno;
	do {
		r = poll(&p, 1, 0);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return p.revents & POLLERR ? -EPIPE : 0;
}

/* Puts fds[i] at i: first all out of the way, then down. */
static int place_fds(const struct hv_child *c, int *err_fd)
{
	int up[HV_CHILD_FDS], keep[HV_CHILD_FDS + 1];
	int r;

	for (size_t i = 0; i < c->n_fds; i++) {
		up[i] = fcntl(c->fds[i], F_DUPFD_CLOEXEC, HV_CHILD_FDS + 1);
		if (up[i] < 0)
			return -errno;
	}
	r = fcntl(*err_fd, F_DUPFD_CLOEXEC, HV_CHILD_FDS + 1);
	if (r < 0)
		return -errno;
	*err_fd = r;
	for (size_t i = 0; i < c->n_fds; i++) {
		r = dup2(up[i], (int)i); /* the copy is not O_CLOEXEC: it is meant to stay */
		if (r < 0)
			return -errno;
		keep[i] = (int)i;
	}
	keep[c->n_fds] = *err_fd;
	return io_close_from(keep, c->n_fds + 1);
}

/* 9p keeps a file open per file the guest has open. */
static void raise_nofile(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &l); /* it then works with fewer */
	}
}

static _Noreturn void run_child(const struct hv_child *c, char *const *env, int err_fd)
{
	int code;

	reset_signals();
	code = place_fds(c, &err_fd);
	if (code == 0)
		code = die_with_parent(err_fd);
	if (code == 0 && chdir("/") < 0)
		code = -errno;
	if (code == 0) {
		raise_nofile();
		if (c->small_pages)
			(void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* a kernel without them has none */
		execve(c->path, c->argv, env);
		code = -errno;
	}
	if (write(err_fd, &code, sizeof code) < 0) /* the parent is gone: nobody is left to be told */
		_exit(126);
	_exit(127);
}

static int exec_error(const struct hv_child *c, int code, struct err *e)
{
	if (code == -ENOENT || code == -ENOTDIR || code == -EACCES || code == -ENOEXEC)
		return err_set(e, code, "hypervisor %s: %m: %s", c->path, c->remedy);
	return err_set(e, code < 0 ? code : -EIO, "hypervisor %s: %m", c->path);
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* A caller's environment may hold secrets, and QEMU or a loader may obey it: the child gets this. */
static int make_env(const struct hv_child *c, struct strv *env)
{
	strv_add(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	strv_add(env, "LC_ALL=C");
	if (c->preload)
		strv_addf(env, "LD_PRELOAD=%s", c->preload);
	if (c->rests)
		strv_add(env, QEMU_REST_WORD "=1");
	return strv_check(env);
}

int hv_child_start(const struct hv_child *c, pid_t *ret_pid, int *ret_pidfd, struct err *e)
{
	scoped_fd rd = -1, wr = -1, pidfd = -1;
	scoped_strv env = { 0 };
	int p[2], code = 0;
	ssize_t n;
	pid_t pid;

	if (make_env(c, &env) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_set(e, -errno, "pipe: %m");
	rd = p[0];
	wr = p[1];
	pid = fork();
	if (pid < 0)
		return err_set(e, -errno, "can't start a process for the hypervisor: %m");
	if (pid == 0) {
		(void)close(take_fd(&rd)); /* or the child would keep its parent's end of the pipe alive */
		run_child(c, env.p, wr);
	}
	(void)close(take_fd(&wr));
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		code = -errno;
		(void)kill(pid, SIGKILL); /* not reaped yet: it is still this child */
		reap(pid);
		return err_set(e, code, "pidfd of the hypervisor: %m");
	}
	n = io_read_full(rd, &code, sizeof code);
	if (n != 0) {
		hv_child_kill(pidfd);
		reap(pid);
		return exec_error(c, n == (ssize_t)sizeof code ? code : -EIO, e);
	}
	*ret_pid = pid;
	*ret_pidfd = take_fd(&pidfd);
	return 0;
}

void hv_child_kill(int pidfd)
{
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0); /* -ESRCH: it has ended */
}

/* The caller has usually read it. */
void hv_child_last_words(int log_fd, struct str *to)
{
	char text[WHY_MAX];
	ssize_t n;

	if (log_fd < 0)
		return;
	n = read(log_fd, text, sizeof text);
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
		n--;
	if (n <= 0)
		return;
	str_add(to, ": ");
	str_add_escaped(to, text, (size_t)n);
}

void hv_child_why(const char *name, int wait_status, int log_fd, struct str *to)
{
	if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) {
		str_add(to, "the virtual machine ended (the guest reset or powered off)");
	} else {
		str_addf(to, "%s ", name);
		proc_status_text(wait_status, to);
	}
	if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGBUS)
		str_add(to, ", as when no space is left for a page of its memory where its template is, or a "
			    "page of an image can't be read");
	hv_child_last_words(log_fd, to);
}
