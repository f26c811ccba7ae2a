/* ctr.c - the state directory; see ctr.h for its files.
 *
 * Trusts: the directory (root's, 0700). Distrusts: its being complete - any process can have been killed
 * between any two writes. Never: takes a pid for a process without its start time. */
#include "runtime/ctr.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/num.h"
#include "sys/proc.h"

#define FILE_MAX     (1u << 20)
#define END_MS       10000 /* how long killed processes may take to be gone */
#define LOCK_MS      5000  /* how long a lock is waited for: a delete takes less, a create may hang */
#define LOCK_STEP_MS 10
#define LAST_MS      1000 /* how long a monitor may take to end after it has said so */

static int parse_proc(const char *text, struct ctr_proc *ret)
{
	scoped_strv parts = { 0 };
	uint64_t pid, start;

	strv_split(&parts, text, ' ');
	if (strv_check(&parts) < 0 || parts.n != 2)
		return -EBADMSG;
	if (num_parse_u64_max(parts.p[0], INT_MAX, &pid) < 0 || num_parse_u64(parts.p[1], &start) < 0 ||
	    pid == 0)
		return -EBADMSG;
	*ret = (struct ctr_proc){ .pid = (pid_t)pid, .start = start };
	return 0;
}

static void read_proc(int dirfd, const char *name, struct ctr_proc *ret)
{
	scoped_free char *text = NULL;
	size_t n;

	*ret = (struct ctr_proc){ 0 };
	if (io_read_file_at(dirfd, name, 64, &text, &n) == 0)
		may_fail(parse_proc(text, ret)); /* half a file: the process is unknown */
}

static int open_dir(const char *root, const char *id, struct ctr *ret, struct err *e)
{
	scoped_free char *real = realpath(root, NULL);

	*ret = (struct ctr){ .dirfd = -1, .lock_fd = -1, .exit_code = -1 };
	if (!real)
		return err_set(e, -errno,
			       errno == ENOENT ? "container %s does not exist" : "state directory %s: %m",
			       errno == ENOENT ? id : root);
	ret->id = str_fmt("%s", id);
	ret->dir = str_fmt("%s/%s", real, id);
	if (!ret->id || !ret->dir)
		return err_set(e, -ENOMEM, "out of memory");
	ret->dirfd = open(ret->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (ret->dirfd < 0 && errno == ENOENT)
		return err_set(e, -ENOENT, "container %s does not exist", id);
	return ret->dirfd < 0 ? err_set(e, -errno, "state directory %s: %m", ret->dir) : 0;
}

static int note_holder(int lock_fd)
{
	char line[64];
	uint64_t start;
	int n, r;

	r = proc_start_time(getpid(), &start);
	if (r < 0)
		return r;
	n = snprintf(line, sizeof line, "%d %llu", (int)getpid(), (unsigned long long)start);
	if (ftruncate(lock_fd, 0) < 0 || pwrite(lock_fd, line, (size_t)n, 0) != n)
		return -EIO;
	return 0;
}

static int take_lock(struct ctr *c)
{
	if (c->lock_fd < 0)
		c->lock_fd = openat(c->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (c->lock_fd < 0)
		return -errno;
	while (flock(c->lock_fd, LOCK_EX | LOCK_NB) < 0)
		if (errno != EINTR)
			return -errno;
	return note_holder(c->lock_fd);
}

int ctr_make(const char *root, const char *id, struct ctr *ret, struct err *e)
{
	scoped_free char *dir = str_fmt("%s/%s", root, id);
	int r;

	*ret = (struct ctr){ .dirfd = -1, .lock_fd = -1, .exit_code = -1 };
	if (!dir)
		return err_set(e, -ENOMEM, "out of memory");
	r = io_mkdirs(root, 0700);
	if (r < 0)
		return err_set(e, r, "state directory %s: %m (choose another with --root)", root);
	if (mkdir(dir, 0700) < 0)
		return err_set(e, -errno, errno == EEXIST ? "container with id exists: %s" : "mkdir %s: %m",
			       errno == EEXIST ? id : dir);
	r = open_dir(root, id, ret, e);
	if (r == 0) {
		r = take_lock(ret);
		if (r < 0)
			(void)err_set(e, r, "lock %s: %m", dir);
	}
	if (r < 0) {
		ctr_fini(ret);
		/* Locked by another already: that is a delete, which removes it. By now the name may belong
		 * to a third one. */
		if (r == -EWOULDBLOCK)
			return r;
		may_fail(io_remove_tree_at(AT_FDCWD, dir)); /* the first error is the one to tell */
	}
	return r;
}

int ctr_open(const char *root, const char *id, struct ctr *ret, struct err *e)
{
	scoped_free char *text = NULL;
	struct err ignored;
	size_t n;
	int r;

	r = open_dir(root, id, ret, e);
	if (r < 0) {
		ctr_fini(ret);
		return r;
	}
	r = io_read_file_at(ret->dirfd, "state.json", STATE_TEXT_MAX, &text, &n);
	if (r == 0)
		r = state_read(text, n, &ret->state, &ignored);
	ret->half_made = r < 0;
	ctr_refresh(ret);
	return 0;
}

int ctr_open_whole(const char *root, const char *id, struct ctr *ret, struct err *e)
{
	int r;

	r = ctr_open(root, id, ret, e);
	if (r < 0 || !ret->half_made)
		return r;
	ctr_fini(ret);
	return err_set(e, -EINVAL,
		       "container %s is not complete: its creation is under way or was interrupted "
		       "(remove it with: cor delete --force %s)",
		       id, id);
}

void ctr_fini(struct ctr *c)
{
	scope_close(&c->lock_fd);
	scope_close(&c->dirfd);
	free(c->id);
	free(c->dir);
	state_fini(&c->state);
	*c = (struct ctr){ .dirfd = -1, .lock_fd = -1, .exit_code = -1 };
}

/* The life table and the state document name the same states in the same order. */
_Static_assert((int)LIFE_CREATING == (int)STATE_CREATING && (int)LIFE_CREATED == (int)STATE_CREATED &&
		       (int)LIFE_RUNNING == (int)STATE_RUNNING && (int)LIFE_PAUSED == (int)STATE_PAUSED &&
		       (int)LIFE_STOPPED == (int)STATE_STOPPED,
	       "states");

int ctr_check(const struct ctr *c, enum life_event event, struct err *e)
{
	int r = life_check(c->life, event, e);

	return r < 0 ? err_wrap(e, "container %s", c->id) : 0;
}

bool ctr_is_alive(const struct ctr *c)
{
	return c->monitor.pid > 0 && proc_is_alive(c->monitor.pid, c->monitor.start);
}

/* The last thing that a monitor does is to say "stopped", which it then is: an end that is forced now would
 * cost its caller the exit code. */
static void await_monitor(const struct ctr *c)
{
	scoped_fd fd = -1;

	if (proc_open(c->monitor.pid, c->monitor.start, &fd) == 0)
		may_fail(proc_wait_end(fd, LAST_MS)); /* stopped it is in any case */
}

/* What `phase` says, believed as far as the processes allow. */
void ctr_refresh(struct ctr *c)
{
	scoped_free char *text = NULL;
	bool alive;
	enum life_state phase = LIFE_CREATING;
	uint64_t code;
	size_t n;

	read_proc(c->dirfd, "monitor", &c->monitor);
	read_proc(c->dirfd, "vm", &c->vm);
	read_proc(c->dirfd, "helper", &c->helper);
	alive = ctr_is_alive(c);
	if (io_read_file_at(c->dirfd, "phase", 64, &text, &n) == 0) {
		text[strcspn(text, "\n")] = 0;
		if (str_starts(text, "stopped ") && num_parse_u64_max(text + 8, 255, &code) == 0) {
			c->exit_code = (int)code;
			if (alive)
				await_monitor(c);
			alive = false;
		}
		if (life_by_name(text) < LIFE_STATE_N)
			phase = life_by_name(text);
	}
	c->life = alive ? phase : LIFE_STOPPED;
	c->state.status = (enum state_status)c->life;
	c->state.pid = alive ? c->monitor.pid : 0;
}

/* SIGKILL for whoever holds the lock, and for the monitor that it may have started. */
static int kill_holder(struct ctr *c, struct err *e)
{
	struct ctr_proc holder;
	int r = 0;

	read_proc(c->dirfd, "lock", &holder);
	if (holder.pid > 0 && holder.pid != getpid())
		r = proc_kill_wait(holder.pid, holder.start, END_MS);
	read_proc(c->dirfd, "monitor", &c->monitor);
	if (r == 0 && c->monitor.pid > 0)
		r = proc_kill_wait(c->monitor.pid, c->monitor.start, END_MS);
	return r < 0 ? err_set(e, r, "cannot end the cor process %d that holds container %s: %m",
			       (int)holder.pid, c->id)
		     : 0;
}

static int wait_lock(struct ctr *c, bool force, struct err *e)
{
	const struct timespec pause = { .tv_nsec = LOCK_STEP_MS * 1000000 };
	int r;

	for (int waited = 0;; waited += LOCK_STEP_MS) {
		r = take_lock(c);
		if (r != -EWOULDBLOCK || waited >= LOCK_MS)
			return r < 0 ? err_set(e, r, "lock %s: %m", c->dir) : 0;
		/* Again each time: a holder writes who it is after it has the lock. */
		r = force ? kill_holder(c, e) : 0;
		if (r < 0)
			return r;
		(void)nanosleep(&pause, NULL);
	}
}

int ctr_lock(struct ctr *c, bool force, struct err *e)
{
	struct stat st;
	int r;

	r = wait_lock(c, force, e);
	if (r < 0 && r != -ENOENT)
		return r;
	/* The holder before us may have deleted it. */
	if (r < 0 || fstat(c->dirfd, &st) < 0 || st.st_nlink == 0)
		return err_set(e, -ENOENT, "container %s does not exist", c->id);
	ctr_refresh(c);
	return 0;
}

void ctr_unlock(struct ctr *c)
{
	scope_close(&c->lock_fd);
	c->lock_fd = -1;
}

int ctr_write(struct ctr *c, const char *name, const void *p, size_t n, struct err *e)
{
	int r;

	r = io_swap_file_at(c->dirfd, name, p, n, 0600);
	return r < 0 ? err_set(e, r, "write %s/%s: %m", c->dir, name) : 0;
}

int ctr_write_proc(struct ctr *c, const char *name, pid_t pid, struct err *e)
{
	char line[64];
	uint64_t start;
	int n, r;

	r = proc_start_time(pid, &start);
	if (r < 0)
		return err_set(e, r, "process %d: %m", (int)pid);
	n = snprintf(line, sizeof line, "%d %llu", (int)pid, (unsigned long long)start);
	return ctr_write(c, name, line, (size_t)n, e);
}

int ctr_write_cgroup(struct ctr *c, const struct cgroup *cg, struct err *e)
{
	scoped_strv lines = { 0 };
	scoped_str text = { 0 };
	int r;

	r = cgroup_encode(cg, &lines);
	if (r < 0)
		return err_set(e, r, "cgroup: %m");
	for (size_t i = 0; i < lines.n; i++)
		str_addf(&text, "%s\n", lines.p[i]);
	if (str_check(&text) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return ctr_write(c, "cgroup", text.p ? text.p : "", text.len, e);
}

int ctr_read_cgroup(struct ctr *c, struct cgroup *ret, struct err *e)
{
	scoped_free char *text = NULL;
	scoped_strv lines = { 0 };
	size_t n;
	int r;

	*ret = (struct cgroup){ 0 };
	r = io_read_file_at(c->dirfd, "cgroup", FILE_MAX, &text, &n);
	if (r == -ENOENT || (r == 0 && n == 0))
		return 0;
	if (r == 0) {
		if (text[n - 1] == '\n')
			text[n - 1] = 0;
		strv_split(&lines, text, '\n');
		r = strv_check(&lines);
	}
	if (r == 0)
		r = cgroup_decode(&lines, ret);
	if (r == -EBADMSG) {
		/* Damaged from outside: writing replaces the file as a whole. Deleting must go on. */
		log_warn("%s/cgroup is damaged: a cgroup of container %s may be left", c->dir, c->id);
		return 0;
	}
	return r < 0 ? err_set(e, r, "%s/cgroup: %m", c->dir) : 0;
}

int ctr_kill(struct ctr *c, struct err *e)
{
	struct cgroup cg = { 0 };
	int r;

	/* The monitor first: the VM dies with it. Both are waited for by identity, since without a
	 * cgroup nothing else says that they are gone. */
	r = c->monitor.pid > 0 ? proc_kill_wait(c->monitor.pid, c->monitor.start, END_MS) : 0;
	read_proc(c->dirfd, "vm", &c->vm);
	read_proc(c->dirfd, "helper", &c->helper);
	if (r == 0 && c->vm.pid > 0)
		r = proc_kill_wait(c->vm.pid, c->vm.start, END_MS);
	if (r == 0 && c->helper.pid > 0)
		r = proc_kill_wait(c->helper.pid, c->helper.start, END_MS);
	if (r < 0)
		return err_set(e, r, "container %s: its processes do not end: %m", c->id);
	r = ctr_read_cgroup(c, &cg, e);
	if (r == 0) {
		r = cgroup_kill(&cg, END_MS);
		if (r < 0)
			(void)err_set(e, r, "container %s: members of its cgroup do not end: %m", c->id);
	}
	cgroup_fini(&cg);
	return r;
}

int ctr_remove(struct ctr *c, struct err *e)
{
	struct cgroup cg = { 0 };
	int r;

	r = ctr_read_cgroup(c, &cg, e);
	if (r == 0)
		r = cgroup_remove(&cg, END_MS, e);
	cgroup_fini(&cg);
	if (r < 0)
		return r;
	r = io_remove_tree_at(AT_FDCWD, c->dir);
	return r < 0 ? err_set(e, r, "remove %s: %m", c->dir) : 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int ctr_list(const char *root, struct strv *ids, struct err *e)
{
	scoped_dir d = opendir(root);
	struct dirent *ent;
	int r;

	if (!d)
		return errno == ENOENT ? 0 : err_set(e, -errno, "state directory %s: %m", root);
	while ((errno = 0, ent = readdir(d)))
		if ((ent->d_type == DT_DIR || ent->d_type == DT_UNKNOWN) && str_is_id(ent->d_name))
			strv_add(ids, ent->d_name);
	if (errno)
		return err_set(e, -errno, "read %s: %m", root);
	r = strv_check(ids);
	if (r < 0)
		return err_set(e, r, "out of memory");
	if (ids->n > 1)
		qsort(ids->p, ids->n, sizeof *ids->p, compare);
	return 0;
}
