/* proc.c - processes by identity, and children that are run to their end.
 * Called by the runtime's verbs, the monitor and the hypervisor drivers.
 * Trusts: /proc and the kernel's pidfds. Distrusts: process names, which hold what they like.
 * Never: signals a pid without having proved that it still is the process that was meant. */
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/io.h"
#include "base/num.h"

#define STAT_MAX 4096 /* the kernel writes 52 numbers and a name of 64 bytes at most */

/* The next blank-separated word of *s, in place; NULL at the end. */
static char *next_word(char **s)
{
	char *word = *s, *end;

	if (!*word)
		return NULL;
	end = word + strcspn(word, " \n");
	if (*end)
		*end++ = '\0';
	*s = end;
	return word;
}

static int word_pid(char **s, pid_t *ret)
{
	int64_t v;
	const char *word = next_word(s);

	if (!word || num_parse_i64(word, &v) < 0 || v < -1 || v > INT32_MAX)
		return -EBADMSG;
	*ret = (pid_t)v;
	return 0;
}

/* Fields 3 to 22: everything behind the name. */
static int parse_after_name(char *s, struct proc_stat *st)
{
	const char *word = next_word(&s);
	int i;

	if (!word || strlen(word) != 1)
		return -EBADMSG;
	st->state = word[0];
	if (word_pid(&s, &st->ppid) < 0 || word_pid(&s, &st->pgrp) < 0 || word_pid(&s, &st->session) < 0)
		return -EBADMSG;
	for (i = 7; i <= 22; i++)
		word = next_word(&s);
	if (!word || num_parse_u64(word, &st->start) < 0)
		return -EBADMSG;
	return 0;
}

int proc_stat_parse(const char *text, struct proc_stat *ret)
{
	struct proc_stat st = { 0 };
	char copy[STAT_MAX];
	size_t len = strnlen(text, sizeof copy);
	char *open, *close;
	uint64_t pid;

	if (len >= sizeof copy)
		return -EBADMSG;
	memcpy(copy, text, len + 1);
	open = strstr(copy, " (");
	close = strrchr(copy, ')'); /* the last one: the name may hold others */
	if (!open || !close || close < open || close[1] != ' ')
		return -EBADMSG;
	*open = '\0';
	if (num_parse_u64_max(copy, INT32_MAX, &pid) < 0)
		return -EBADMSG;
	st.pid = (pid_t)pid;
	if (parse_after_name(close + 2, &st) < 0)
		return -EBADMSG;
	*ret = st;
	return 0;
}

int proc_stat_read(pid_t pid, struct proc_stat *ret)
{
	scoped_free char *text = NULL;
	char path[64];
	size_t len;
	int r;

	if (pid <= 0)
		return -ESRCH;
	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	r = io_read_file_at(AT_FDCWD, path, STAT_MAX, &text, &len);
	if (r == -ENOENT)
		return -ESRCH;
	if (r < 0)
		return r;
	return proc_stat_parse(text, ret);
}

int proc_start_time(pid_t pid, uint64_t *ret)
{
	struct proc_stat st;
	int r = proc_stat_read(pid, &st);

	if (r < 0)
		return r;
	*ret = st.start;
	return 0;
}

bool proc_is_alive(pid_t pid, uint64_t start)
{
	struct proc_stat st;

	return proc_stat_read(pid, &st) == 0 && st.start == start && st.state != 'Z' && st.state != 'X';
}

int proc_open(pid_t pid, uint64_t start, int *ret_pidfd)
{
	scoped_fd fd = -1;

	if (pid <= 0)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, pid, 0u); /* O_CLOEXEC by itself */
	/* EINVAL: of the process only its number is left, as that of a group or session that lives on. */
	if (fd < 0)
		return errno == EINVAL ? -ESRCH : -errno;
	/* Checked after opening: from here on the fd can't come to mean another process. */
	if (!proc_is_alive(pid, start))
		return -ESRCH;
	*ret_pidfd = take_fd(&fd);
	return 0;
}

int proc_signal_fd(int pidfd, int sig)
{
	if (syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0u) < 0)
		return -errno;
	return 0;
}

int proc_signal(pid_t pid, uint64_t start, int sig)
{
	scoped_fd fd = -1;
	int r = proc_open(pid, start, &fd);

	if (r < 0)
		return r;
	return proc_signal_fd(fd, sig);
}

int proc_wait_end(int pidfd, int timeout_ms)
{
	return io_wait_readable(pidfd, timeout_ms);
}

int proc_kill_wait(pid_t pid, uint64_t start, int timeout_ms)
{
	scoped_fd fd = -1;
	int r = proc_open(pid, start, &fd);

	if (r == 0)
		r = proc_signal_fd(fd, SIGKILL);
	if (r == -ESRCH)
		return 0;
	if (r < 0)
		return r;
	return proc_wait_end(fd, timeout_ms);
}

int proc_set_oom_score_adj(int64_t adj)
{
	char text[32];

	if (adj < -1000 || adj > 1000)
		return -EINVAL;
	(void)snprintf(text, sizeof text, "%d", (int)adj);
	return io_write_existing_at(AT_FDCWD, "/proc/self/oom_score_adj", text);
}

/* Of one thread. One that has ended meanwhile needs nothing. */
static int thread_be_like_caller(pid_t tid, const cpu_set_t *cpus, int nice)
{
	if (setpriority(PRIO_PROCESS, (id_t)tid, nice) < 0 && errno != ESRCH)
		return -errno;
	return sched_setaffinity(tid, sizeof *cpus, cpus) < 0 && errno != ESRCH ? -errno : 0;
}

int proc_be_like_caller(pid_t pid)
{
	scoped_free char *tasks = str_fmt("/proc/%d/task", (int)pid), *score = NULL;
	scoped_free char *adj = str_fmt("/proc/%d/oom_score_adj", (int)pid);
	scoped_dir d = tasks ? opendir(tasks) : NULL;
	struct dirent *ent;
	cpu_set_t cpus;
	uint64_t tid;
	size_t n;
	int r, nice;

	if (!tasks || !adj)
		return -ENOMEM;
	if (!d)
		return -errno;
	errno = 0;
	nice = getpriority(PRIO_PROCESS, 0);
	if ((nice == -1 && errno) || sched_getaffinity(0, sizeof cpus, &cpus) < 0)
		return -errno;
	r = io_read_file_at(AT_FDCWD, "/proc/self/oom_score_adj", 32, &score, &n);
	if (r == 0)
		r = io_write_existing_at(AT_FDCWD, adj, score);
	if (r == -EACCES)
		r = 0; /* lowering needs CAP_SYS_RESOURCE, as for a child's own */
	while (r == 0 && (ent = readdir(d)) != NULL)
		if (num_parse_u64_max(ent->d_name, INT_MAX, &tid) == 0)
			r = thread_be_like_caller((pid_t)tid, &cpus, nice);
	return r;
}

int proc_die_with_parent(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -errno;
	/* The parent may have ended before the prctl: then no signal would ever come. */
	return getppid() == parent ? 0 : -ESRCH;
}

/* What the child of proc_run() needs and its parent has opened. */
struct run_fds {
	int in, out, status;
};

static void child_signals(void)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };
	sigset_t none;
	int sig;

	for (sig = 1; sig <= SIGRTMAX; sig++)
		(void)sigaction(sig, &sa, NULL); /* KILL, STOP and libc's own refuse: nothing to reset */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_prepare(const struct proc_run *p, const struct run_fds *fds, pid_t parent, struct err *e)
{
	int r = proc_die_with_parent(parent);

	if (r < 0)
		return err_set(e, r, "%s: the caller has ended", p->argv[0]);
	child_signals();
	if (dup2(fds->in, 0) < 0 || dup2(fds->out, 1) < 0 || dup2(fds->out, 2) < 0)
		return err_set(e, -errno, "%s: standard fds: %m", p->argv[0]);
	if (p->setup)
		r = p->setup(p->setup_arg, e);
	if (r < 0)
		return r;
	r = io_close_from(&fds->status, 1);
	if (r < 0)
		return err_set(e, r, "%s: closing fds: %m", p->argv[0]);
	return 0;
}

static _Noreturn void child_main(const struct proc_run *p, const struct run_fds *fds, pid_t parent)
{
	const char *file = p->file ? p->file : p->argv[0];
	/* exec's prototype lacks a const. NOLINTNEXTLINE(performance-no-int-to-ptr) */
	char *const *argv = (char *const *)(uintptr_t)p->argv;
	/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
	char *const *env = p->env ? (char *const *)(uintptr_t)p->env : environ;
	struct err e = { 0 };

	if (child_prepare(p, fds, parent, &e) == 0) {
		(void)execvpe(file, argv, env);
		err_set(&e, -errno, "%s: %m", file);
	}
	if (io_write_full(fds->status, &e, sizeof e) < 0)
		_exit(126); /* the parent then takes it for an early death */
	_exit(127);
}

/* Reads what stands in the pipe now; keeps out_max bytes. 0 at its end, 1 if more may come. */
static int take_output(struct proc_run *p, int fd)
{
	char chunk[4096];
	ssize_t n;

	for (;;) {
		n = read(fd, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 1 : -errno;
		if (n == 0)
			return 0;
		if (p->out.len < p->out_max)
			str_addn(&p->out, chunk, (size_t)num_min((uint64_t)n, p->out_max - p->out.len));
	}
}

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* can't fail for this clock */
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Serves the output until the process behind pidfd has ended. */
static int run_serve(struct proc_run *p, int pidfd, int out)
{
	int64_t end = now_ms() + p->timeout_ms, left;
	struct pollfd fds[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = out, .events = POLLIN } };
	int r;

	for (;;) {
		left = p->timeout_ms > 0 ? end - now_ms() : -1;
		if (p->timeout_ms > 0 && left <= 0)
			return -ETIMEDOUT;
		r = poll(fds, 2, (int)left);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r <= 0)
			continue;
		r = fds[1].revents ? take_output(p, out) : 1;
		if (r < 0)
			return r;
		if (r == 0)
			fds[1].fd = -1; /* the end of output; poll() skips it from now on */
		if (fds[0].revents)
			return 0;
	}
}

static int reap(pid_t pid, int *status)
{
	pid_t r;

	do {
		r = waitpid(pid, status, 0);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/* The child's own report: its exec worked (nothing written), or why not. */
static int read_report(int fd, struct err *e)
{
	struct err got = { 0 };
	ssize_t n = io_read_full(fd, &got, sizeof got);

	if (n == 0)
		return 0;
	if (n != (ssize_t)sizeof got)
		return err_set(e, -EIO, "a child process ended before it could say why");
	return err_import(e, got.code, got.msg, strnlen(got.msg, sizeof got.msg));
}

static int run_child(struct proc_run *p, pid_t pid, int out, int status_fd, struct err *e)
{
	scoped_fd pidfd = -1;
	int r, ended;

	pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
	r = pidfd < 0 ? err_set(e, -errno, "%s: pidfd: %m", p->argv[0]) : read_report(status_fd, e);
	if (r == 0) {
		r = run_serve(p, pidfd, out);
		if (r == -ETIMEDOUT)
			err_set(e, r, "%s: killed after %d ms: it had not ended", p->argv[0], p->timeout_ms);
		else if (r < 0)
			err_set(e, r, "%s: waiting for it: %m", p->argv[0]);
	}
	if (r < 0)
		(void)kill(pid, SIGKILL); /* our own unreaped child: the pid is still its */
	ended = reap(pid, &p->status);
	if (r < 0)
		return r;
	if (ended < 0)
		return err_set(e, ended, "%s: waitpid: %m", p->argv[0]);
	return str_check(&p->out) < 0 ? err_set(e, -ENOMEM, "%s: its output: %m", p->argv[0]) : 0;
}

static int open_stdin(const struct proc_run *p)
{
	int fd;

	if (p->in_len > 0)
		return io_memfd("stdin", p->in, p->in_len);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* A pipe whose ends are above 2, so that the child's dup2() can't overwrite them. */
static int pipe_above_stdio(int *ret_read, int *ret_write, int flags)
{
	scoped_fd rd = -1, wr = -1;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	rd = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
	wr = fcntl(fds[1], F_DUPFD_CLOEXEC, 3);
	(void)close(fds[0]);
	(void)close(fds[1]);
	if (rd < 0 || wr < 0 || fcntl(rd, F_SETFL, flags) < 0)
		return -errno;
	*ret_read = take_fd(&rd);
	*ret_write = take_fd(&wr);
	return 0;
}

int proc_run(struct proc_run *p, struct err *e)
{
	scoped_fd in = -1, out_r = -1, out_w = -1, st_r = -1, st_w = -1;
	struct run_fds fds;
	pid_t self = getpid(), pid;
	int r;

	in = open_stdin(p);
	if (in < 0)
		return err_set(e, in, "%s: its stdin: %m", p->argv[0]);
	r = pipe_above_stdio(&out_r, &out_w, O_NONBLOCK);
	if (r == 0)
		r = pipe_above_stdio(&st_r, &st_w, 0);
	if (r < 0)
		return err_set(e, r, "%s: pipe: %m", p->argv[0]);
	fds = (struct run_fds){ .in = in, .out = out_w, .status = st_w };
	pid = fork();
	if (pid < 0)
		return err_set(e, -errno, "%s: fork: %m", p->argv[0]);
	if (pid == 0)
		child_main(p, &fds, self);
	(void)close(take_fd(&out_w));
	(void)close(take_fd(&st_w));
	return run_child(p, pid, out_r, st_r, e);
}

void proc_status_text(int status, struct str *to)
{
	if (WIFEXITED(status))
		str_addf(to, "exited with %d", WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		str_addf(to, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		str_addf(to, "ended with status 0x%x", (unsigned)status);
}
