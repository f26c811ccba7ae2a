/* spawn.c - fork, wait for the plan, exec cor-monitor.
 *
 * The process is forked before the plan is complete, because the plan holds its pid (hooks' state). The
 * monitor stays when we exit: the caller's subreaper inherits it and reaps the container's exit code
 * from it. If we die before the container is created, the sync socket closes and the monitor ends. */
#include "runtime/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/io.h"
#include "wire/ctl.h"

int spawn_find(const char *libexecdir, const char *name, struct arena *a, char **ret)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	if (n > 0) {
		self[n] = 0;
		*strrchr(self, '/') = 0; /* the kernel gives an absolute path */
		*ret = arena_fmt(a, "%s/%s", self, name);
		if (*ret && access(*ret, R_OK) == 0)
			return 0;
	}
	*ret = arena_fmt(a, "%s/%s", libexecdir, name);
	if (!*ret)
		return -ENOMEM;
	return access(*ret, R_OK) < 0 ? -errno : 0;
}

int spawn_monitor_path(const char *libexecdir, struct arena *a, char **ret, struct err *e)
{
	int r = spawn_find(libexecdir, "cor-monitor", a, ret);

	return r < 0 ? err_set(e, r, "%s/cor-monitor: %m (is Cor installed completely? ninja install)",
			       libexecdir)
		     : 0;
}

/* Puts the fds to their places. They are moved out of the way first, so that none is overwritten
 * before it was copied. */
static int place_fds(int plan, int sync, int state, int log)
{
	int fds[PLAN_FD_N - PLAN_FD_PLAN] = { plan, sync, state, log };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = fcntl(fds[i], F_DUPFD, PLAN_FD_N);
		if (fds[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (dup2(fds[i], PLAN_FD_PLAN + (int)i) < 0)
			return -errno;
	if (syscall(SYS_close_range, PLAN_FD_N, ~0u, 0) < 0)
		return -errno;
	return 0;
}

static void reset_signals(void)
{
	sigset_t none;

	(void)sigemptyset(&none);
	for (int s = 1; s < 32; s++)
		(void)signal(s, SIG_DFL); /* SIGKILL and SIGSTOP refuse, rightly */
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void child(const char *path, char *word, int state_fd, int stdin_fd, int log_fd, int sync)
{
	char name[] = "cor-monitor", *argv[] = { name, NULL, NULL };
	char *const env[] = { NULL };
	struct ctl_msg msg;
	struct err e;
	int r;

	argv[1] = word; /* for ps(1); the monitor doesn't read it */
	r = ctl_recv(sync, &msg);
	if (r <= 0 || msg.type != MSG_S_PLAN || msg.n_fds != 1)
		_exit(1); /* our parent is gone */
	if (stdin_fd >= 0 && dup2(stdin_fd, 0) < 0)
		_exit(1);
	reset_signals();
	if (log_fd < 0)
		log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	r = place_fds(msg.fds[0], sync, state_fd, log_fd);
	if (r == 0) {
		(void)execve(path, argv, env);
		r = -errno;
	}
	(void)err_set(&e, r, "start %s: %m", path);
	may_fail(ctl_send_result(PLAN_FD_SYNC, MSG_S_FAILED, e.code, e.msg)); /* no one else to tell */
	_exit(1);
}

int spawn_process(const char *monitor_path, char *word, int state_fd, int stdin_fd, int log_fd,
		  struct spawned *ret, struct err *e)
{
	int pair[2];
	pid_t pid;

	*ret = (struct spawned){ .sync = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(e, -errno, "socketpair: %m");
	pid = fork();
	if (pid == 0) {
		(void)close(pair[0]);
		child(monitor_path, word, state_fd, stdin_fd, log_fd, pair[1]);
	}
	(void)close(pair[1]);
	if (pid < 0) {
		(void)close(pair[0]);
		return err_set(e, -errno, "fork: %m");
	}
	*ret = (struct spawned){ .pid = pid, .sync = pair[0] };
	return 0;
}

int spawn_fork(struct ctr *c, const char *monitor_path, int stdin_fd, int log_fd, struct spawned *ret,
	       struct err *e)
{
	int r = spawn_process(monitor_path, c->id, c->dirfd, stdin_fd, log_fd, ret, e);

	return r < 0 ? r : ctr_write_proc(c, "monitor", ret->pid, e);
}

int spawn_go(const struct spawned *s, const struct mon_plan *plan, struct err *e)
{
	scoped_fd fd = ctl_memfd(&rec_mon_plan, plan);
	int r;

	if (fd < 0)
		return err_set(e, fd, "start plan: %m (config.json holds more than a container can have)");
	r = ctl_send(s->sync, MSG_S_PLAN, NULL, NULL, &fd, 1);
	return r < 0 ? err_set(e, r, "start plan: %m") : 0;
}

int spawn_wait(const struct spawned *s, enum msg_type type, struct err *e)
{
	struct ctl_msg msg;
	int r;

	r = ctl_recv(s->sync, &msg);
	if (r == 0 || r == -ECONNRESET)
		return err_set(e, -EPIPE, "the container's monitor ended without a word (killed?)");
	if (r < 0)
		return err_set(e, r, "the container's monitor: %m");
	if (msg.type == MSG_S_FAILED) {
		r = ctl_result(&msg, e);
		return r < 0 ? r : err_set(e, -EIO, "the container's monitor failed");
	}
	return msg.type == type ? 0 : err_set(e, -EPROTO, "unexpected message of the monitor");
}

int spawn_failure(const struct spawned *s, struct err *e)
{
	struct ctl_msg msg;

	while (s->sync >= 0 && ctl_recv(s->sync, &msg) > 0)
		if (msg.type == MSG_S_FAILED)
			return ctl_result(&msg, e);
	return 0;
}

void spawn_abort(struct spawned *s)
{
	scope_close(&s->sync);
	s->sync = -1;
	if (s->pid <= 0)
		return;
	(void)kill(s->pid, SIGKILL);
	while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	s->pid = 0;
}
