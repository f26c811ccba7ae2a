/* jail.c - see jail.h: the steps into the jail, as a table.
 *
 * Two processes. The launcher, outside, makes the other with all its namespaces, gives it its ids and
 * waits for its word. The other walks the table; the order is the point: descriptors and the program are
 * opened while there are paths, mounts are made while there are capabilities, and what takes rights
 * away comes last, the filter after everything that it forbids.
 * Never: goes on after a failed step. */
#include "jail/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/str.h"
#include "jail/policy.h"
#include "sys/caps.h"
#include "sys/mnt.h"

#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

/* What the process inside works with. */
struct inside {
	const struct jail *j;
	int exe;  /* the program */
	int word; /* socket to the launcher, which is close-on-exec: its end says that the exec happened */
	uid_t uid;
	gid_t gid;
};

/* With the ids come no rights (user namespace), without them no file on the mounts to be made. */
static int take_ids(struct inside *in, struct err *e)
{
	if (in->j->policy->caps)
		return 0;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_set(e, -errno, "PR_SET_KEEPCAPS: %m");
	if (syscall(SYS_setresgid, in->gid, in->gid, in->gid) < 0 ||
	    syscall(SYS_setresuid, in->uid, in->uid, in->uid) < 0)
		return err_set(e, -errno, "ids %u:%u: %m", (unsigned)in->uid, (unsigned)in->gid);
	return 0;
}

/* The change of ids cleared the effective set; mounting needs it once more. */
static int raise_caps(struct inside *in, struct err *e)
{
	const struct caps_sets permitted = { .permitted = UINT64_MAX, .effective = UINT64_MAX };
	int r;

	if (in->j->policy->caps)
		return 0;
	r = caps_set(&permitted);
	return r < 0 ? err_set(e, r, "capabilities: %m") : 0;
}

/* The program's own descriptors as a directory, by which it reopens them: of a /proc in which there is
 * nothing but this process. */
static int open_fd_dir(struct inside *in, struct err *e)
{
	scoped_fd proc = -1, dir = -1;
	int r;

	if (!in->j->policy->fd_dir)
		return 0;
	r = mnt_new("proc", "subset", "pid", &proc);
	if (r < 0)
		return err_set(e, r, "a /proc of its own: %m");
	dir = openat(proc, "self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	(void)close(take_fd(&proc));                   /* it may have the number */
	if (dir < 0 || dup2(dir, in->j->keep_fds) < 0) /* stays open over the exec */
		return err_set(e, -errno, "/proc/self/fd: %m");
	if (dir == in->j->keep_fds)
		(void)take_fd(&dir);
	return 0;
}

/* /proc is only a place that exists: nothing is read from it. */
#define PLACE "/proc"

static int mount_empty(struct inside *in, struct err *e)
{
	const bool share = in->j->policy->share_root;
	const char *options =
		share ? "mode=0755,nr_inodes=4096,nr_blocks=1" : "mode=0555,nr_inodes=1,nr_blocks=1";
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | (share ? 0 : MS_RDONLY);

	if (mount("none", PLACE, "tmpfs", flags, options) < 0)
		return err_set(e, -errno, "mount an empty root: %m");
	return 0;
}

static int mount_given(struct inside *in, struct err *e)
{
	const unsigned long flags =
		MS_NOSUID | MS_NODEV | MS_NOEXEC | (in->j->read_only ? (unsigned long)MS_RDONLY : 0);
	scoped_fd dir = open(in->j->root, O_PATH | O_DIRECTORY | O_CLOEXEC), tree = -1;
	scoped_fd place = open(PLACE, O_PATH | O_DIRECTORY | O_CLOEXEC);
	uint64_t clear = 0, set = mnt_attr_of_flags(flags, &clear);
	int r;

	if (dir < 0 || place < 0)
		return err_set(e, -errno, "%s: %m", dir < 0 ? in->j->root : PLACE);
	r = mnt_clone(dir, true, &tree);
	if (r == 0)
		r = mnt_set_attr(tree, set, 0, true);
	if (r == 0)
		r = mnt_attach(tree, place);
	return r < 0 ? err_set(e, r, "%s as the root: %m", in->j->root) : 0;
}

/* An own directory, empty and read-only if the policy says no more, becomes the root; everything else is
 * dropped. */
static int own_root(struct inside *in, struct err *e)
{
	scoped_fd root = -1;
	int r;

	if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return err_set(e, -errno, "make mounts private: %m");
	r = in->j->root ? mount_given(in, e) : mount_empty(in, e);
	if (r < 0)
		return r;
	root = open(PLACE, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_set(e, -errno, "own root: %m");
	r = mnt_pivot(root);
	return r < 0 ? err_set(e, r, "own root: pivot_root: %m") : 0;
}

static int forget_names(struct inside *in unused_arg, struct err *e)
{
	/* not the host's */
	if (sethostname("cor", 3) < 0 || setdomainname("", 0) < 0)
		return err_set(e, -errno, "hostname: %m");
	return 0;
}

static int only_given_fds(struct inside *in, struct err *e)
{
	int keep[JAIL_FDS_MAX + 3], n = in->j->keep_fds + in->j->policy->fd_dir;
	const int own[] = { in->exe, in->word };
	int r;

	for (int i = 0; i < n; i++) {
		keep[i] = i;
		r = fcntl(i, F_GETFD);
		if (r < 0 || fcntl(i, F_SETFD, r & ~FD_CLOEXEC) < 0)
			return err_set(e, -errno, "descriptor %d, which the program is to get: %m", i);
	}
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		keep[(size_t)n + i] = own[i];
	r = io_close_from(keep, (size_t)n + ARRAY_LEN(own));
	return r < 0 ? err_set(e, r, "close other descriptors: %m") : 0;
}

static int lower_limits(struct inside *in, struct err *e)
{
	const struct jail_policy *p = in->j->policy;

	for (size_t i = 0; i < p->n_limits; i++) {
		const struct jail_limit *l = &p->limits[i];
		struct rlimit
			now; /* prlimit64(2) itself: libraries disagree about the type of a limit's name */

		if (syscall(SYS_prlimit64, 0, l->resource, NULL, &now) < 0)
			return err_set(e, -errno, "rlimit %d: %m", l->resource);
		if (now.rlim_max > l->most)
			now.rlim_max = l->most;
		now.rlim_cur = now.rlim_max;
		if (syscall(SYS_prlimit64, 0, l->resource, &now, NULL) < 0)
			return err_set(e, -errno, "rlimit %d: %m", l->resource);
	}
	return 0;
}

static int drop_caps(struct inside *in, struct err *e)
{
	const uint64_t caps = in->j->policy->caps;
	const struct caps_sets left = { .permitted = caps, .effective = caps };
	unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
			     SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
			     SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
	int r;

	/* root gets by the exec what the bounding set leaves it */
	if (caps)
		bits &= ~(unsigned long)(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED);
	r = caps_set_bounding(caps);
	if (r == 0 && prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0)
		r = -errno;
	if (r == 0)
		r = caps_set(&left);
	return r < 0 ? err_set(e, r, "drop capabilities: %m") : 0;
}

/* After the change of ids, which forgets it. The launcher closing its end says that it died before. */
static int die_with_parent(struct inside *in, struct err *e)
{
	struct pollfd p = { .fd = in->word };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return err_set(e, -errno, "PR_SET_PDEATHSIG: %m");
	if (poll(&p, 1, 0) != 0)
		return err_set(e, -EPIPE, "the launcher is gone");
	return 0;
}

static int reset_signals(struct inside *in unused_arg, struct err *e)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		(void)sigaction(s, &dfl, NULL); /* KILL, STOP and libc's own refuse: they need nothing */
	(void)sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? err_set(e, -errno, "sigprocmask: %m") : 0;
}

static int no_new_privileges(struct inside *in unused_arg, struct err *e)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? err_set(e, -errno, "PR_SET_NO_NEW_PRIVS: %m") : 0;
}

static int set_filter(struct inside *in, struct err *e)
{
	const struct jail_policy *p = in->j->policy;
	union {
		const struct sock_filter *in;
		struct sock_filter *out; /* the kernel's type forgot const */
	} filter = { .in = p->filter };
	const struct sock_fprog prog = { .len = *p->filter_len, .filter = filter.out };

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
		return err_set(e, -errno, "system call filter: %m");
	return 0;
}

static int run_program(struct inside *in, struct err *e)
{
	char *const env[] = { NULL };

	(void)syscall(SYS_execveat, in->exe, "", in->j->argv, env, AT_EMPTY_PATH);
	return err_set(e, -errno, "%s: %m%s", in->j->program,
		       errno == ENOENT ? " (the jail's root is empty: only a static program runs there)"
				       : "");
}

static int (*const steps[])(struct inside *in, struct err *e) = {
	take_ids,          raise_caps,   open_fd_dir, own_root,        forget_names,
	only_given_fds,    lower_limits, drop_caps,   die_with_parent, reset_signals,
	no_new_privileges, set_filter,   run_program,
};

static _Noreturn void inside_main(struct inside *in)
{
	struct err e = { 0 };
	char go;
	int r = 0;

	if (io_read_full(in->word, &go, 1) != 1) /* not mapped: the launcher failed, and says why */
		_exit(1);
	for (size_t i = 0; i < ARRAY_LEN(steps) && r == 0; i++)
		r = steps[i](in, &e);
	if (write(in->word, &e, sizeof e) < 0) /* nobody is left to be told */
		_exit(126);
	_exit(127);
}

static int write_map(pid_t pid, const char *file, unsigned id, struct err *e)
{
	char path[64], line[64];
	int r;

	(void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	(void)snprintf(line, sizeof line, "%u %u 1\n", id, id);
	r = io_write_existing_at(AT_FDCWD, path, line);
	return r < 0 ? err_set(e, r, "%s of the jail: %m", file) : 0;
}

/* Inside, setgroups(2) is denied: what the caller's groups may open is dropped here. */
static int drop_groups(struct err *e)
{
	if (geteuid() != 0)
		return 0;
	return setgroups(0, NULL) < 0 ? err_set(e, -errno, "setgroups: %m") : 0;
}

/* One user and one group, the same number inside as outside. */
static int map_ids(pid_t pid, const struct inside *in, struct err *e)
{
	char path[64];
	int r;

	(void)snprintf(path, sizeof path, "/proc/%d/setgroups", (int)pid);
	r = io_write_existing_at(AT_FDCWD, path, "deny");
	if (r < 0)
		return err_set(e, r, "setgroups of the jail: %m");
	r = write_map(pid, "gid_map", in->gid, e);
	return r == 0 ? write_map(pid, "uid_map", in->uid, e) : r;
}

static pid_t make_process(const struct jail *j)
{
	/* Of a sibling the exit signal is the launcher's own; naming one is an error. */
	const struct clone_args args = { .flags = (j->keep_net ? NAMESPACES & ~CLONE_NEWNET : NAMESPACES) |
						  (j->sibling ? CLONE_PARENT : 0) |
						  (j->policy->caps ? 0 : CLONE_NEWUSER),
					 .exit_signal = j->sibling ? 0 : SIGCHLD };

	return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

/* The end of the socket without a word is the exec: it was close-on-exec. */
static int hear(int sock, struct err *e)
{
	struct err got;
	ssize_t n;

	do {
		n = recv(sock, &got, sizeof got, 0);
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return 0;
	if (n != (ssize_t)sizeof got || got.code >= 0)
		return err_set(e, -EIO, "the jailed process: no proper answer");
	got.msg[sizeof got.msg - 1] = 0;
	return err_set(e, got.code, "%s", got.msg);
}

static int check_job(const struct jail *j, struct err *e)
{
	if (j->keep_fds < 3 || j->keep_fds > JAIL_FDS_MAX)
		return err_set(e, -EINVAL, "descriptors to keep: %d is not from 3 to %d", j->keep_fds,
			       JAIL_FDS_MAX);
	if (j->policy->caps && geteuid() != 0)
		return err_set(e, -EPERM, "policy %s needs root", j->policy->name);
	if (j->root && !j->policy->share_root)
		return err_set(e, -EINVAL, "policy %s has no root of the caller's", j->policy->name);
	if (j->read_only && !j->root)
		return err_set(e, -EINVAL, "an empty root is nobody's to be read-only");
	if (j->sibling && getppid() == 0)
		return err_set(e, -EINVAL, "no parent in this pid namespace could reap the program");
	return 0;
}

int jail_start(const struct jail *j, pid_t *ret_pid, struct err *e)
{
	struct inside in = { .j = j,
			     .uid = geteuid() == 0 ? j->uid : geteuid(),
			     .gid = geteuid() == 0 ? j->gid : getegid() };
	scoped_fd mine = -1, its = -1, exe = -1;
	int pair[2], r;
	pid_t pid;

	r = check_job(j, e);
	if (r == 0)
		r = drop_groups(e);
	if (r < 0)
		return r;
	/* numbers above those the program gets */
	exe = open(j->program, O_RDONLY | O_CLOEXEC);
	if (exe < 0)
		return err_set(e, -errno, "%s: %m", j->program);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(e, -errno, "socketpair: %m");
	mine = pair[0];
	its = pair[1];
	in.exe = fcntl(exe, F_DUPFD_CLOEXEC, JAIL_FDS_MAX + 1);
	in.word = fcntl(its, F_DUPFD_CLOEXEC, JAIL_FDS_MAX + 1);
	if (in.exe < 0 || in.word < 0)
		return err_set(e, -errno, "descriptors for the jail: %m");
	pid = make_process(j);
	if (pid == 0) {
		(void)close(take_fd(&mine)); /* or it would keep its launcher's end alive */
		inside_main(&in);
	}
	if (pid < 0)
		r = err_set(e, -errno, "namespaces of the jail: %m%s",
			    errno == ENOSPC ? " (raise /proc/sys/user/max_*_namespaces)" : "");
	(void)close(in.exe);
	(void)close(in.word);
	(void)close(take_fd(&its));
	if (r == 0 && !j->policy->caps)
		r = map_ids(pid, &in, e);
	if (r == 0 && write(mine, "g", 1) != 1)
		r = err_set(e, -errno, "the jailed process: %m");
	if (r == 0)
		r = hear(mine, e);
	if (r < 0 && pid > 0 && !j->sibling) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
	}
	*ret_pid = pid;
	return r;
}
