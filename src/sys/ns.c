/* ns.c - host namespaces, joined by path or new. Called by the monitor and the runtime.
 * Trusts: nsfs. Distrusts: the paths, which come from config.json: each is opened once, proved to be a
 * namespace of the type that was asked for, and used by its fd only.
 * Never: joins one before all were opened and checked. */
#include "sys/ns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/str.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

/* In the order in which they are joined: user first, because it gives the rights for the others;
 * mount last, because paths mean something else after it. */
static const struct ns_row {
	uint64_t type;
	const char *name; /* in config.json */
	const char *proc; /* in /proc/self/ns */
} ns_table[] = {
	{ CLONE_NEWUSER, "user", "user" },
	{ CLONE_NEWNET, "network", "net" },
	{ CLONE_NEWPID, "pid", "pid_for_children" },
	{ CLONE_NEWIPC, "ipc", "ipc" },
	{ CLONE_NEWUTS, "uts", "uts" },
	{ CLONE_NEWCGROUP, "cgroup", "cgroup" },
	{ CLONE_NEWTIME, "time", "time_for_children" },
	{ CLONE_NEWNS, "mount", "mnt" },
};

static const struct ns_row *row_of(uint64_t type)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(ns_table); i++)
		if (ns_table[i].type == type)
			return &ns_table[i];
	return NULL;
}

const char *ns_name(uint64_t type)
{
	const struct ns_row *row = row_of(type);

	return row ? row->name : "?";
}

uint64_t ns_type(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(ns_table); i++)
		if (str_eq(ns_table[i].name, name))
			return ns_table[i].type;
	return 0;
}

int ns_open(uint64_t type, const char *path, int *ret_fd, struct err *e)
{
	scoped_fd fd = -1;
	struct stat st;
	int got;

	/* O_NONBLOCK: the path may name a fifo or a device, and opening must not hang. */
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, -errno, "%s namespace %s: open: %m", ns_name(type), path);
	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "%s namespace %s: stat: %m", ns_name(type), path);
	/* The ioctl's number is asked of nsfs only: on a device it could mean anything. */
	got = S_ISREG(st.st_mode) ? ioctl(fd, NS_GET_NSTYPE) : -1;
	if (got < 0)
		return err_set(e, -EINVAL, "%s namespace %s: this is not a namespace", ns_name(type), path);
	if ((uint64_t)(unsigned)got != type)
		return err_set(e, -EINVAL, "%s namespace %s: its type is %s", ns_name(type), path,
			       ns_name((uint64_t)(unsigned)got));
	*ret_fd = take_fd(&fd);
	return 0;
}

int ns_is_own(uint64_t type, int fd, bool *ret)
{
	const struct ns_row *row = row_of(type);
	struct stat own, other;
	char path[64];

	if (!row)
		return -EINVAL;
	(void)snprintf(path, sizeof path, "/proc/self/ns/%s", row->proc);
	if (stat(path, &own) < 0 || fstat(fd, &other) < 0)
		return -errno;
	*ret = own.st_dev == other.st_dev && own.st_ino == other.st_ino;
	return 0;
}

/* One slot per row of ns_table: what is wanted of that type. */
struct ns_plan {
	const struct ns_want *want[ARRAY_LEN(ns_table)];
	int fd[ARRAY_LEN(ns_table)];
};

static void plan_fini(struct ns_plan *p)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(ns_table); i++)
		scope_close(&p->fd[i]);
}

static int plan_fill(struct ns_plan *p, const struct ns_want *want, size_t n, struct err *e)
{
	const struct ns_row *row;
	size_t i, slot;
	int r;

	for (i = 0; i < n; i++) {
		row = row_of(want[i].type);
		if (!row)
			return err_set(e, -EINVAL, "namespace of unknown type 0x%llx",
				       (unsigned long long)want[i].type);
		slot = (size_t)(row - ns_table);
		if (p->want[slot])
			return err_set(e, -EINVAL, "%s namespace: asked for twice", row->name);
		p->want[slot] = &want[i];
		if (!want[i].path)
			continue;
		r = ns_open(want[i].type, want[i].path, &p->fd[slot], e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int plan_join(const struct ns_plan *p, struct err *e)
{
	bool own = false;
	size_t i;
	int r;

	for (i = 0; i < ARRAY_LEN(ns_table); i++) {
		if (p->fd[i] < 0)
			continue;
		/* Joining one's own user namespace is refused by the kernel, and no other needs it. */
		r = ns_is_own(ns_table[i].type, p->fd[i], &own);
		if (r == 0 && own)
			continue;
		if (r < 0 || setns(p->fd[i], (int)ns_table[i].type) < 0)
			return err_set(e, r < 0 ? r : -errno, "%s namespace %s: join: %m", ns_table[i].name,
				       p->want[i]->path);
	}
	return 0;
}

static int plan_make(const struct ns_plan *p, struct err *e)
{
	scoped_str names = { 0 };
	int flags = 0;
	size_t i;

	for (i = 0; i < ARRAY_LEN(ns_table); i++) {
		if (!p->want[i] || p->want[i]->path)
			continue;
		flags |= (int)ns_table[i].type;
		str_addf(&names, "%s%s", names.len ? ", " : "", ns_table[i].name);
	}
	if (flags && unshare(flags) < 0)
		return err_set(e, -errno, "new namespaces (%s): %m", names.p ? names.p : "?");
	return 0;
}

int ns_enter(const struct ns_want *want, size_t n, struct err *e)
{
	__attribute__((cleanup(plan_fini))) struct ns_plan p = { 0 };
	size_t i;
	int r;

	for (i = 0; i < ARRAY_LEN(ns_table); i++)
		p.fd[i] = -1;
	r = plan_fill(&p, want, n, e);
	if (r == 0)
		r = plan_join(&p, e);
	if (r == 0)
		r = plan_make(&p, e);
	return r;
}

static int write_map(pid_t pid, const char *file, const char *text, struct err *e)
{
	scoped_free char *path = str_fmt("/proc/%d/%s", (int)pid, file);
	int r = path ? io_write_existing_at(AT_FDCWD, path, text) : -ENOMEM;

	return r < 0 ? err_set(e, r, "user namespace for ID-mapped mounts: %s: %m", file) : 0;
}

static int open_user(pid_t pid, int *ret_fd, struct err *e)
{
	scoped_free char *path = str_fmt("/proc/%d/ns/user", (int)pid);

	return path ? ns_open(CLONE_NEWUSER, path, ret_fd, e) : err_set(e, -ENOMEM, "out of memory");
}

int ns_new_user(const char *uid_map, const char *gid_map, int *ret_fd, struct err *e)
{
	/* no signal at its end: whoever waits for children does not see it */
	const struct clone_args args = { .flags = CLONE_NEWUSER };
	scoped_fd its = -1, ours = -1;
	int pair[2], r;
	char byte;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(e, -errno, "user namespace for ID-mapped mounts: %m");
	its = pair[0];
	ours = pair[1];
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0) { /* until we close our end, or die */
		(void)close(ours);
		_exit(io_read_full(its, &byte, 1) < 0);
	}
	if (pid < 0)
		return err_set(e, -errno, "user namespace for ID-mapped mounts: %m%s",
			       errno == ENOSPC ? " (raise /proc/sys/user/max_user_namespaces)" : "");
	r = write_map(pid, "uid_map", uid_map, e);
	if (r == 0)
		r = write_map(pid, "gid_map", gid_map, e);
	if (r == 0)
		r = open_user(pid, ret_fd, e);
	(void)close(take_fd(&ours));
	while (waitpid(pid, NULL, (int)__WCLONE) < 0 && errno == EINTR)
		;
	return r;
}
