/* hooks.c - see hooks.h. The caller is the container's PID 1 before its program runs: it may wait.
 * Distrusts: the hook, which may write, close or run for ever. */
#include "agent/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/io.h"

#define HOOK_OUTPUT 256 /* bytes of its stderr kept for the error */

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* can't fail */
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

_Noreturn static void hook_child(const struct msg_hook *h, int in, int out)
{
	static char *none[] = { NULL };
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	char *self[] = { h->path, NULL };

	(void)dup2(in, 0);
	if (null >= 0)
		(void)dup2(null, 1);
	(void)dup2(out, 2);
	(void)execve(h->path, h->args.n ? h->args.p : self, h->env.p ? h->env.p : none);
	(void)dprintf(2, "exec: %s", strerror(errno));
	_exit(127);
}

struct hook_run {
	pid_t pid;
	int pidfd, out;
	char text[HOOK_OUTPUT];
	size_t len;
};

/* Keeps the first bytes of what it says; false when it says nothing more. */
static bool hook_read(struct hook_run *r)
{
	char buf[512];
	ssize_t n = read(r->out, buf, sizeof buf);
	size_t room = sizeof r->text - 1 - r->len;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	if ((size_t)n < room)
		room = (size_t)n;
	memcpy(r->text + r->len, buf, room);
	r->len += room;
	return true;
}

/* 0 = it ended, -ETIMEDOUT = it was killed for its time. */
static int hook_wait(struct hook_run *r, uint32_t timeout_s)
{
	int64_t end = now_ms() + (int64_t)timeout_s * 1000, left;
	struct pollfd p[2] = { { .fd = r->pidfd, .events = POLLIN }, { .fd = r->out, .events = POLLIN } };

	for (;;) {
		left = timeout_s ? end - now_ms() : -1;
		if (timeout_s && left <= 0)
			break;
		if (poll(p, 2, left > INT32_MAX ? INT32_MAX : (int)left) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents && !hook_read(r))
			p[1].fd = -1;
		if (p[0].revents) {
			if (p[1].fd >= 0)
				(void)hook_read(
					r); /* its last words; what it left behind may hold the pipe */
			return 0;
		}
	}
	return -ETIMEDOUT;
}

static int hook_fork(const struct msg_hook *h, int in, struct hook_run *r)
{
	int out[2];
	long fd;

	if (pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	r->out = out[0];
	r->pid = fork();
	if (r->pid == 0)
		hook_child(h, in, out[1]);
	(void)close(out[1]);
	if (r->pid < 0)
		return -errno;
	fd = syscall(SYS_pidfd_open, r->pid, 0);
	if (fd < 0)
		return -errno;
	r->pidfd = (int)fd;
	return 0;
}

static int hook_run(const struct msg_hook *h, int in, struct err *e)
{
	struct hook_run run = { .pid = -1, .pidfd = -1, .out = -1 };
	int r, status = 0;

	r = hook_fork(h, in, &run);
	if (r == 0)
		r = hook_wait(&run, h->timeout_s);
	if (run.pid > 0) {
		if (r < 0)
			(void)kill(run.pid, SIGKILL);
		while (waitpid(run.pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	scope_close(&run.pidfd);
	scope_close(&run.out);
	if (r == -ETIMEDOUT)
		return err_set(e, r, "startContainer hook %s: no end after %u s, killed", h->path,
			       h->timeout_s);
	if (r < 0)
		return err_set(e, r, "startContainer hook %s: %m", h->path);
	if (WIFSIGNALED(status))
		return err_set(e, -EIO, "startContainer hook %s: killed by signal %d: %s", h->path,
			       WTERMSIG(status), run.text);
	if (WEXITSTATUS(status))
		return err_set(e, -EIO, "startContainer hook %s: exit status %d: %s", h->path,
			       WEXITSTATUS(status), run.text);
	return 0;
}

int hooks_run(const struct msg_hook *hooks, size_t n, const char *state, struct err *e)
{
	int r;

	for (size_t i = 0; i < n; i++) {
		scoped_fd in = io_memfd("state", state ? state : "", state ? strlen(state) : 0);

		if (in < 0)
			return err_set(e, in, "startContainer hook %s: its input: %m", hooks[i].path);
		r = hook_run(&hooks[i], in, e);
		if (r < 0)
			return r;
	}
	return 0;
}
