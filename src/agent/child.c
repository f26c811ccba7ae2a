/* child.c - see child.h. Runs after clone() in a copy of the agent's memory: it uses the decoded
 * request, never the agent's loop or channel.
 * Never: returns; leaves an fd open for the program (all are O_CLOEXEC). */
#include "agent/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "agent/hooks.h"
#include "agent/process.h"
#include "agent/ready.h"
#include "agent/rootfs.h"
#include "base/io.h"
#include "base/str.h"
#include "sys/mnt.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static void say(const struct child_job *job, enum child_kind kind, const struct err *e)
{
	struct child_msg m = { .kind = kind };

	if (e)
		m.err = *e;
	/* write(2) and not sendmsg(2): a filter of the container may already be in place. If even that
	 * fails, the agent sees the end of the socket and the exit. */
	if (write(job->ctl, &m, sizeof m) < 0)
		_exit(1);
}

/* Waits for the agent's word; without it (the agent let go of us) there is nothing to do. */
static void await(const struct child_job *job, char word)
{
	char got;
	ssize_t n;

	do {
		n = read(job->ctl, &got, 1);
	} while (n < 0 && errno == EINTR);
	if (n != 1 || got != word)
		_exit(1);
}

static void reset_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		(void)sigaction(s, &dfl, NULL); /* KILL and STOP refuse */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int use_stdio(const int fds[3], struct err *e)
{
	for (int i = 0; i < 3; i++)
		if (dup2(fds[i], i) < 0)
			return err_set(e, -errno, "standard streams: %m");
	return 0;
}

/* Makes the slave this session's terminal and stdio. */
static int use_terminal(const struct child_job *job, int master, int slave, struct err *e)
{
	const struct msg_process *p = job->process;
	struct child_msg m = { .kind = CHILD_TTY };
	struct winsize ws = { .ws_row = (unsigned short)p->rows, .ws_col = (unsigned short)p->cols };
	int r;

	if ((p->rows || p->cols) && ioctl(master, TIOCSWINSZ, &ws) < 0)
		return err_set(e, -errno, "process.consoleSize: %m");
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return err_set(e, -errno, "process.terminal: TIOCSCTTY: %m");
	r = io_send_fds(job->ctl, &m, sizeof m, &master, 1);
	if (r < 0)
		return err_set(e, r, "process.terminal: hand over: %m");
	return use_stdio((int[]){ slave, slave, slave }, e);
}

static int set_stdio(const struct child_job *job, int root, bool console, struct err *e)
{
	scoped_fd master = -1, slave = -1;
	int r;

	if (!job->process->terminal)
		return use_stdio(job->stdio, e);
	r = rootfs_terminal(root, console, &master, &slave, e);
	if (r < 0)
		return r;
	return use_terminal(job, master, slave, e);
}

static int set_time_offsets(const struct msg_ctr *c, struct err *e)
{
	scoped_fd ns = -1;

	if (unshare(CLONE_NEWTIME) < 0)
		return err_set(e, -errno, "linux.namespaces: time: %m");
	for (size_t i = 0; i < c->time_offsets.n; i++) {
		const struct msg_timeoffset *t = &c->time_offsets.p[i];
		scoped_free char *line =
			str_fmt("%s %lld %u\n", t->clock, (long long)t->secs, (unsigned)t->nanosecs);
		int r;

		r = line ? io_write_existing_at(AT_FDCWD, "/proc/self/timens_offsets", line) : -ENOMEM;
		if (r < 0)
			return err_set(e, r, "linux.timeOffsets.%s: %m", t->clock);
	}
	/* Made for children; this process moves in, too, whatever the kernel does at exec. */
	ns = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWTIME) < 0)
		return err_set(e, -errno, "linux.namespaces: time: enter: %m");
	return 0;
}

/* Root of the user namespace that the clone made. */
static int become_ns_root(struct err *e)
{
	if (syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)
		return err_set(e, -errno, "linux.uidMappings, gidMappings: id 0 must be mapped: %m");
	if (syscall(SYS_setgroups, 0, NULL) < 0)
		return err_set(e, -errno, "linux.gidMappings: setgroups: %m");
	return 0;
}

static int enter_namespaces(const struct child_job *job, struct err *e)
{
	const struct msg_ctr *c = job->ctr;
	int r;

	/* Before the change of user, which closes our own files in /proc to us. */
	if (c->namespaces & CLONE_NEWTIME) {
		r = set_time_offsets(c, e);
		if (r < 0)
			return r;
	}
	if (c->namespaces & CLONE_NEWUSER) {
		r = become_ns_root(e);
		if (r < 0)
			return r;
	}
	/* Here and not at clone: its root is the cgroup of who makes it. A parked child has it. */
	if (c->namespaces & CLONE_NEWCGROUP && !job->is_parked && unshare(CLONE_NEWCGROUP) < 0)
		return err_set(e, -errno, "linux.namespaces: cgroup: %m");
	if (c->hostname && sethostname(c->hostname, strlen(c->hostname)) < 0)
		return err_set(e, -errno, "hostname %s: %m", c->hostname);
	if (c->domainname && setdomainname(c->domainname, strlen(c->domainname)) < 0)
		return err_set(e, -errno, "domainname %s: %m", c->domainname);
	return 0;
}

/* A key with dots or slashes to its file; ".." can't come out of it. */
static int set_sysctl(const struct msg_kv *kv, struct err *e)
{
	scoped_free char *path = NULL;
	int r;

	if (!kv->key || !*kv->key || strstr(kv->key, "..") || !kv->value)
		return err_set(e, -EINVAL, "linux.sysctl.%s: this is no key and value",
			       kv->key ? kv->key : "");
	path = str_fmt("/proc/sys/%s", kv->key);
	if (!path)
		return err_set(e, -ENOMEM, "linux.sysctl.%s: %m", kv->key);
	/* "net.ipv4.ip_forward"; with a slash in it the dots are part of names (net/ipv4/conf/eth0.1/...). */
	for (char *p = path + strlen("/proc/sys/"); *p && !strchr(kv->key, '/'); p++)
		if (*p == '.')
			*p = '/';
	r = io_write_existing_at(AT_FDCWD, path, kv->value);
	return r < 0 ? err_set(e, r, "linux.sysctl.%s: write %s: %m", kv->key, kv->value) : 0;
}

static int set_sysctls(const struct msg_ctr *c, struct err *e)
{
	int r;

	for (size_t i = 0; i < c->sysctls.n; i++) {
		r = set_sysctl(&c->sysctls.p[i], e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The working directory is made if it is missing: callers rely on it. What can't be made is
 * reported when it can't be entered. */
static int make_cwd(int root, const char *cwd, struct err *e)
{
	scoped_free char *real = NULL;
	scoped_fd fd = -1;

	if (!cwd || cwd[0] != '/')
		return err_set(e, -EINVAL, "process.cwd \"%s\" is no absolute path", cwd ? cwd : "");
	return mnt_place(root, cwd, MNT_WANT_DIR, &fd, &real) == -ENOMEM ? -ENOMEM : 0;
}

static int set_up_container(const struct child_job *job, struct ready *ready, struct err *e)
{
	const struct msg_ctr *c = job->ctr;
	struct rootfs root = { .ctr = c,
			       .share = job->share,
			       .has_cgroup = job->has_cgroup,
			       .has_userns = (c->namespaces & CLONE_NEWUSER) != 0,
			       .ready = job->is_parked ? ready : NULL,
			       .mask = -1,
			       .root = -1 };
	int r;

	r = rootfs_open(&root, e);
	if (r == 0)
		r = enter_namespaces(job, e);
	if (r == 0)
		r = rootfs_mount(&root, e);
	if (r == 0)
		r = rootfs_devices(&root, e);
	if (r == 0)
		r = set_stdio(job, root.root, true, e);
	if (r == 0)
		r = set_sysctls(c, e);
	if (r == 0)
		r = make_cwd(root.root, job->process->cwd, e);
	if (r == 0)
		r = rootfs_protect(&root, e);
	if (r == 0)
		r = rootfs_enter(&root, e);
	return r;
}

static int join_container(const struct child_job *job, struct err *e)
{
	int r;

	/* From here on the container could look at us: this keeps it from our memory and fds. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_set(e, -errno, "PR_SET_DUMPABLE: %m");
	for (size_t i = 0; i < ARRAY_LEN(job->ns) && job->ns[i] >= 0; i++)
		if (setns(job->ns[i], 0) < 0)
			return err_set(e, -errno, "enter the container's namespaces: %m");
	if (job->has_userns) {
		r = become_ns_root(e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int set_up_exec(const struct child_job *job, struct err *e)
{
	scoped_fd root = -1;
	int r;

	r = join_container(job, e);
	if (r < 0)
		return r;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_set(e, -errno, "the container's root: %m");
	r = make_cwd(root, job->process->cwd, e);
	if (r < 0)
		return r;
	return set_stdio(job, root, false, e);
}

/* What a parked child works with until it is the container's program. */
struct parked_child {
	struct ready ready;
	struct arena mem;
	struct msg_ctr ctr;
};

/* Waits for the request. The agent's mount of the share came into being after our namespaces. */
static int await_request(struct child_job *job, struct parked_child *k, struct err *e)
{
	/* Never freed: exec does it, and giving pages back first would cost more. */
	uint8_t *bytes = malloc(CHILD_REQUEST_MAX);
	scoped_fd share = -1, place = -1;
	size_t n_fds;
	ssize_t n;
	int r;

	if (!bytes)
		return err_set(e, -ENOMEM, "out of memory");
	memset(bytes, 0, CHILD_REQUEST_MAX); /* its pages are there */
	say(job, CHILD_PARKED, NULL);
	n = io_recv_fds(job->ctl, bytes, CHILD_REQUEST_MAX, &share, 1, &n_fds);
	if (n <= 0)
		_exit(1); /* the agent let go of us */
	r = pack_decode(&rec_ctr, bytes, (size_t)n, &k->mem, &k->ctr);
	if (r < 0)
		return err_set(e, r, "the request can't be read: %m");
	job->ctr = &k->ctr;
	job->process = &k->ctr.process;
	if (share < 0)
		return 0;
	place = open(job->share, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = place < 0 ? -errno : mnt_attach(share, place);
	return r < 0 ? err_set(e, r, "mount the share: %m") : 0;
}

/* Until the request is there. */
static int park(struct child_job *job, struct parked_child *k, struct err *e)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_set(e, -errno, "make the mounts private: %m");
	if (unshare(CLONE_NEWCGROUP) < 0)
		return err_set(e, -errno, "namespace of cgroups: %m");
	ready_make(&k->ready, job->share, job->has_cgroup);
	return await_request(job, k, e);
}

static int set_up(struct child_job *job, struct parked_child *k, struct process_image *image, struct err *e)
{
	int r = 0;

	if (setsid() < 0)
		return err_set(e, -errno, "setsid: %m");
	if (job->is_parked)
		r = park(job, k, e);
	else
		await(job, 'G');
	if (r == 0)
		r = job->is_exec ? set_up_exec(job, e) : set_up_container(job, &k->ready, e);
	if (r < 0)
		return r;
	return process_prepare(job->process, image, e);
}

_Noreturn void child_main(struct child_job *job)
{
	struct process_image image = { .program = -1 };
	struct parked_child parked = { 0 };
	struct err e = { 0 };
	int r;

	reset_signals();
	/* Ours are already; this is for what the agent itself may have inherited in test mode. */
	(void)syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
	r = set_up(job, &parked, &image, &e);
	if (r == 0) {
		say(job, CHILD_READY, NULL);
		if (!job->is_exec) {
			await(job, 'S');
			r = hooks_run(job->ctr->start_hooks.p, job->ctr->start_hooks.n, job->ctr->hook_state,
				      &e);
		}
	}
	if (r == 0)
		r = process_exec(job->process, &image, &e);
	if (e.code == 0)
		(void)err_set(&e, r, "%m");
	say(job, CHILD_FAILED, &e);
	_exit(1);
}
