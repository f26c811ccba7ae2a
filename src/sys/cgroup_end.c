/* cgroup_end.c - members of a container's cgroup, their end, and the cgroup's own.
 * Called by the runtime (kill, delete, failed creates). Trusts: cgroupfs.
 * Never: signals a process that it has not seen in the cgroup both before and after its pidfd was
 * opened; waits without a limit. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/num.h"
#include "sys/cgroup.h"
#include "sys/cgroup_impl.h"
#include "sys/proc.h"

#define PROCS_MAX (16u << 20)
#define RETRY_MS  5 /* where the kernel has no event for what is waited for */

struct pids {
	pid_t *p;
	size_t n, cap;
};

static void pids_fini(struct pids *v)
{
	free(v->p);
}

static bool pids_has(const struct pids *v, pid_t pid)
{
	size_t i;

	for (i = 0; i < v->n; i++)
		if (v->p[i] == pid)
			return true;
	return false;
}

static int pids_add(struct pids *v, pid_t pid)
{
	size_t cap = v->cap ? v->cap * 2 : 16;
	pid_t *p;

	if (pids_has(v, pid))
		return 0;
	if (v->n == v->cap) {
		p = reallocarray(v->p, cap, sizeof *p);
		if (!p)
			return -ENOMEM;
		v->p = p;
		v->cap = cap;
	}
	v->p[v->n++] = pid;
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* can't fail for this clock */
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int left_ms(int64_t end)
{
	int64_t left = end - now_ms();

	return left < 0 ? 0 : (int)num_min((uint64_t)left, INT32_MAX);
}

static int read_procs(int dir, struct pids *to)
{
	scoped_free char *text = NULL;
	uint64_t pid;
	char *line, *save = NULL;
	size_t len;
	int r = io_read_file_at(dir, "cgroup.procs", PROCS_MAX, &text, &len);

	if (r < 0)
		return r;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		/* 0 = a process of another pid namespace: not ours to touch, nor to name */
		if (num_parse_u64_max(line, INT32_MAX, &pid) < 0 || pid == 0)
			continue;
		r = pids_add(to, (pid_t)pid);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What is done in a cgroup directory after the same was done in those below it. */
typedef int walk_fn(int parent, const char *name, void *arg);

static bool is_gone(int r)
{
	return r == -ENOENT || r == -ENODEV; /* ENODEV: removed while we had it open */
}

#define WALK_DEPTH_MAX 64 /* the VMM makes no cgroups; a bound for whoever did */

/* Links of a cgroup without children: its name and its ".". A list of its dozens of files tells no more. */
#define CHILDLESS 2

static int walk(int parent, const char *name, int depth, walk_fn *fn, void *arg);

/* NOLINTNEXTLINE(misc-no-recursion): bounded by WALK_DEPTH_MAX */
static int walk_children(int fd, int depth, walk_fn *fn, void *arg)
{
	scoped_dir dir = fdopendir(fd);
	struct dirent *entry;
	int r;

	if (!dir) {
		r = -errno;
		(void)close(fd);
		return r;
	}
	while ((errno = 0, entry = readdir(dir)) != NULL) {
		if (entry->d_type != DT_DIR || str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
			continue;
		r = walk(dirfd(dir), entry->d_name, depth + 1, fn, arg);
		if (r < 0)
			return r;
	}
	return -errno;
}

/* NOLINTNEXTLINE(misc-no-recursion): bounded by WALK_DEPTH_MAX */
static int walk(int parent, const char *name, int depth, walk_fn *fn, void *arg)
{
	struct stat st;
	int r = 0, fd;

	if (depth > WALK_DEPTH_MAX)
		return -ELOOP;
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (st.st_nlink != CHILDLESS) {
		fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return errno == ENOENT ? 0 : -errno;
		r = walk_children(fd, depth, fn, arg);
	}
	if (r == 0)
		r = fn(parent, name, arg);
	return is_gone(r) ? 0 : r;
}

static int collect(int parent, const char *name, void *arg)
{
	scoped_fd dir = openat(parent, name, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return -errno;
	return read_procs(dir, arg);
}

static int collect_all(const struct cgroup *c, struct pids *to)
{
	size_t i;
	int r;

	for (i = 0; i < c->n; i++) {
		r = walk(AT_FDCWD, c->dirs[i].path, 0, collect, to);
		if (r < 0)
			return r;
	}
	return 0;
}

int cgroup_pids(const struct cgroup *c, pid_t **ret, size_t *ret_n)
{
	__attribute__((cleanup(pids_fini))) struct pids v = { 0 };
	int r = collect_all(c, &v);

	if (r < 0)
		return r;
	*ret = take_ptr(&v.p);
	*ret_n = v.n;
	return 0;
}

/* --- ending --- */

/* pidfds of processes, -1 where there is none. */
struct pidfds {
	int *fd;
	size_t n;
};

static void pidfds_fini(struct pidfds *f)
{
	size_t i;

	for (i = 0; f->fd && i < f->n; i++)
		scope_close(&f->fd[i]);
	free(f->fd);
}

static int pidfds_open(struct pidfds *f, const struct pids *v)
{
	size_t i;

	f->fd = calloc(v->n, sizeof *f->fd);
	if (!f->fd)
		return -ENOMEM;
	for (i = 0; i < v->n; i++) {
		f->n = i + 1;
		f->fd[i] = (int)syscall(SYS_pidfd_open, v->p[i], 0u);
		if (f->fd[i] < 0 && errno != ESRCH && errno != EINVAL)
			return -errno;
	}
	return 0;
}

/* One round: signals who is a member, and waits for their ends. *ret_left = how many there were. */
static int kill_round(const struct cgroup *c, int64_t end, size_t *ret_left)
{
	__attribute__((cleanup(pids_fini))) struct pids before = { 0 }, after = { 0 };
	__attribute__((cleanup(pidfds_fini))) struct pidfds fds = { 0 };
	size_t i;
	int r;

	*ret_left = 0;
	r = collect_all(c, &before);
	if (r < 0 || before.n == 0)
		return r;
	r = pidfds_open(&fds, &before);
	if (r == 0)
		r = collect_all(c, &after);
	for (i = 0; r == 0 && i < before.n; i++) {
		/* A pid that is a member now and was one before its pidfd was opened may still have
		 * been reused in between, but then by a member. Never ourselves. */
		if (fds.fd[i] < 0 || before.p[i] == getpid() || !pids_has(&after, before.p[i]))
			continue;
		++*ret_left;
		r = proc_signal_fd(fds.fd[i], SIGKILL);
		if (r == -ESRCH)
			r = 0;
	}
	for (i = 0; r == 0 && i < before.n; i++)
		if (fds.fd[i] >= 0 && before.p[i] != getpid() && pids_has(&after, before.p[i]))
			r = proc_wait_end(fds.fd[i], left_ms(end));
	return r;
}

/* What makes the rounds short: frozen v1 members have to run so that they can die, and v2 can kill
 * its members at once (Linux 5.14): not if the caller is one, as only somebody else can have put it there.
 * The rounds find what is left, so failures are only noted. */
static void kill_fast(const struct cgroup *c, bool with_caller)
{
	const struct cgroup_dir *d;
	size_t i;
	int r;

	for (i = 0; i < c->n; i++) {
		scoped_fd dir = open(c->dirs[i].path, O_PATH | O_DIRECTORY | O_CLOEXEC);

		d = &c->dirs[i];
		r = 0;
		if (dir < 0)
			continue;
		if (!d->v2 && cgroup_dir_has(d, "freezer"))
			r = io_write_existing_at(dir, "freezer.state", "THAWED");
		else if (d->v2 && !with_caller)
			r = io_write_existing_at(dir, "cgroup.kill", "1");
		if (r < 0)
			log_debug("cgroup %s: quick kill: %s", d->path, strerror(-r));
	}
}

int cgroup_kill(const struct cgroup *c, int timeout_ms)
{
	__attribute__((cleanup(pids_fini))) struct pids members = { 0 };
	int64_t end = now_ms() + timeout_ms;
	size_t left;
	int r;

	if (!c->owned)
		return 0;
	r = collect_all(c, &members);
	if (r < 0 || members.n == 0)
		return r;
	kill_fast(c, pids_has(&members, getpid()));
	for (;;) {
		r = kill_round(c, end, &left);
		if (r < 0 || left == 0)
			return r;
		if (left_ms(end) == 0)
			return -ETIMEDOUT; /* it forks faster than it can be killed */
	}
}

static int remove_one(int parent, const char *name, void *arg)
{
	return unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Waits for something that may have made the cgroup empty. */
static void wait_change(const struct cgroup_dir *d, int64_t end)
{
	__attribute__((cleanup(pids_fini))) struct pids v = { 0 };
	__attribute__((cleanup(pidfds_fini))) struct pidfds fds = { 0 };
	int limit = (int)num_min(RETRY_MS, (uint64_t)left_ms(end));
	size_t i;

	if (walk(AT_FDCWD, d->path, 0, collect, &v) == 0 && v.n > 0 && pidfds_open(&fds, &v) == 0)
		for (i = 0; i < fds.n; i++)
			if (fds.fd[i] >= 0) {
				(void)poll(&(struct pollfd){ .fd = fds.fd[i], .events = POLLIN }, 1,
					   left_ms(end));
				return;
			}
	/* No member is left, the kernel is just not done with the last one: there is no event for that. */
	(void)poll(NULL, 0, limit);
}

static int remove_leaf(const struct cgroup_dir *d, int64_t end)
{
	int r;

	for (;;) {
		r = walk(AT_FDCWD, d->path, 0, remove_one, NULL);
		if (r != -EBUSY && r != -ENOTEMPTY)
			return r;
		if (left_ms(end) == 0)
			return -EBUSY;
		wait_change(d, end);
	}
}

/* Takes away the empty directories above the leaf, down to `keep` bytes of the path. */
static int remove_above(const struct cgroup_dir *d, size_t keep)
{
	scoped_free char *path = strdup(d->path);
	char *slash;

	if (!path)
		return -ENOMEM;
	while ((slash = strrchr(path, '/')) && (size_t)(slash - path) > keep) {
		*slash = '\0';
		if (rmdir(path) == 0 || errno == ENOENT)
			continue;
		if (errno == EBUSY || errno == ENOTEMPTY)
			break; /* somebody else uses it */
		return -errno;
	}
	return 0;
}

/* /cor is ours in every hierarchy, whoever made it first. */
static size_t keep_of(const struct cgroup_dir *d)
{
	return str_starts(d->path + d->base, "/cor/") ? d->base : d->keep;
}

int cgroup_remove(struct cgroup *c, int timeout_ms, struct err *e)
{
	int64_t end = now_ms() + timeout_ms;
	size_t i;
	int r;

	for (i = 0; i < c->n; i++) {
		r = remove_leaf(&c->dirs[i], c->owned ? end : 0);
		if (r == -EBUSY && !c->owned)
			continue; /* somebody else's */
		if (r < 0)
			return err_set(e, r, "cgroup %s: remove: %m", c->dirs[i].path);
		r = remove_above(&c->dirs[i], keep_of(&c->dirs[i]));
		if (r < 0)
			return err_set(e, r, "cgroup %s: remove: %m", c->dirs[i].path);
	}
	if (c->manager == CGROUP_SYSTEMD)
		cgroup_systemd_stop(c);
	return 0;
}

int cgroup_undo(const struct cgroup *c)
{
	int first = 0, r;
	size_t i;

	for (i = 0; i < c->n; i++) {
		r = 0;
		if (c->dirs[i].keep < strlen(c->dirs[i].path) && rmdir(c->dirs[i].path) < 0 &&
		    errno != ENOENT)
			r = -errno;
		if (r == 0)
			r = remove_above(&c->dirs[i], keep_of(&c->dirs[i]));
		first = first < 0 ? first : r;
	}
	if (c->manager == CGROUP_SYSTEMD)
		cgroup_systemd_stop(c);
	return first;
}
