/* cg2.c - see cg2.h. Parses only what the kernel prints; a number that is none is -EBADMSG. */
#include "sys/cg2.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mark.h"
#include "base/num.h"
#include "base/str.h"

#define CG_FILE_MAX  (1u << 20)
#define CG_DEPTH_MAX 32

int cg2_write(int cg, const char *file, const char *text)
{
	return io_write_existing_at(cg, file, text);
}

static int read_text(int cg, const char *file, char **ret)
{
	size_t n;

	return io_read_file_at(cg, file, CG_FILE_MAX, ret, &n);
}

bool cg2_has_controller(int cg, const char *controller)
{
	scoped_free char *text = NULL;
	char *rest, *c;

	if (read_text(cg, "cgroup.controllers", &text) < 0)
		return false;
	rest = text;
	while ((c = strsep(&rest, " \n")) != NULL)
		if (*c && strcmp(c, controller) == 0)
			return true;
	return false;
}

int cg2_enable(int cg, const char *controllers)
{
	scoped_free char *text = str_fmt("%s", controllers);
	scoped_str all = { 0 };
	char *rest = text, *c;

	if (!text)
		return -ENOMEM;
	while ((c = strsep(&rest, " ")) != NULL)
		if (*c && cg2_has_controller(cg, c))
			str_addf(&all, "%s+%s", all.len ? " " : "", c);
	if (str_check(&all) < 0)
		return -ENOMEM;
	/* All in one write: each costs the kernel a walk over all its cgroups. If one of them is
	 * refused, all are. */
	if (!all.len || cg2_write(cg, "cgroup.subtree_control", all.p) == 0)
		return 0;
	rest = all.p;
	while ((c = strsep(&rest, " ")) != NULL)
		if (cg2_write(cg, "cgroup.subtree_control", c) < 0)
			continue; /* see cg2.h */
	return 0;
}

int cg2_make(int parent, const char *name, int *ret_fd)
{
	int fd;

	if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* Calls fn for every cgroup below `cg`, the deepest first; not for cg itself. */
static int each_below(int cg, unsigned depth, int (*fn)(int parent, const char *name, void *arg), void *arg)
{
	scoped_dir dir = NULL;
	struct dirent *ent;
	int r = io_open_dir_at(cg, ".", &dir);

	if (r < 0)
		return r;
	while ((errno = 0, ent = readdir(dir)) != NULL) {
		scoped_fd sub = -1;

		if (ent->d_type != DT_DIR || ent->d_name[0] == '.')
			continue;
		sub = openat(cg, ent->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0)
			continue; /* removed meanwhile */
		r = depth > 0 ? each_below(sub, depth - 1, fn, arg) : -ELOOP;
		if (r == 0)
			r = fn(cg, ent->d_name, arg);
		if (r < 0)
			return r;
	}
	return errno ? -errno : 0;
}

static int remove_one(int parent, const char *name, void *arg unused_arg)
{
	return unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int cg2_remove(int parent, const char *name)
{
	scoped_fd cg = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (cg < 0)
		return errno == ENOENT ? 0 : -errno;
	r = each_below(cg, CG_DEPTH_MAX, remove_one, NULL);
	if (r < 0)
		return r;
	return remove_one(parent, name, NULL);
}

static int parse_number(const char *s, uint64_t *ret)
{
	if (strcmp(s, "max") == 0) {
		*ret = UINT64_MAX;
		return 0;
	}
	return num_parse_u64(s, ret) < 0 ? -EBADMSG : 0;
}

int cg2_read_u64(int cg, const char *file, uint64_t *ret)
{
	scoped_free char *text = NULL;
	int r;

	r = read_text(cg, file, &text);
	if (r < 0)
		return r;
	text[strcspn(text, " \n")] = '\0';
	return parse_number(text, ret);
}

int cg2_read_key(int cg, const char *file, const char *key, uint64_t *ret)
{
	scoped_free char *text = NULL;
	size_t key_len = strlen(key);
	char *rest, *line;
	int r;

	r = read_text(cg, file, &text);
	if (r < 0)
		return r;
	rest = text;
	while ((line = strsep(&rest, "\n")) != NULL)
		if (strncmp(line, key, key_len) == 0 && line[key_len] == ' ')
			return parse_number(line + key_len + 1, ret);
	return -ENOENT;
}

struct signal_arg {
	int sig;
	bool found;
};

static int signal_one(int parent, const char *name, void *arg)
{
	struct signal_arg *s = arg;
	scoped_free char *file = str_fmt("%s/cgroup.procs", name), *text = NULL;
	char *rest, *line;
	uint64_t pid;

	if (!file)
		return -ENOMEM;
	if (read_text(parent, file, &text) < 0)
		return 0; /* removed meanwhile */
	rest = text;
	while ((line = strsep(&rest, "\n")) != NULL) {
		/* 0 stands for a process that this namespace can't see. */
		if (num_parse_u64_max(line, INT32_MAX, &pid) < 0 || pid <= 1)
			continue;
		if (kill((pid_t)pid, s->sig) == 0)
			s->found = true;
	}
	return 0;
}

int cg2_signal(int cg, int sig)
{
	struct signal_arg s = { .sig = sig };
	int r;

	if (sig == SIGKILL) {
		r = cg2_write(cg, "cgroup.kill", "1");
		if (r != -ENOENT)
			return r;
	}
	r = signal_one(cg, ".", &s);
	if (r == 0)
		r = each_below(cg, CG_DEPTH_MAX, signal_one, &s);
	if (r < 0)
		return r;
	return s.found ? 0 : -ESRCH;
}

int cg2_wait_empty(int cg, int timeout_ms)
{
	uint64_t until = mark_now_ns() + (uint64_t)timeout_ms * 1000000u, now, populated;
	struct pollfd p = { .fd = openat(cg, "cgroup.events", O_RDONLY | O_CLOEXEC), .events = POLLPRI };
	scoped_fd events = p.fd;
	char drop[256];
	int r;

	if (events < 0)
		return -errno;
	for (;;) {
		/* Reading this fd arms its poll: a change after it is seen. */
		if (pread(events, drop, sizeof drop, 0) < 0)
			return -errno;
		r = cg2_read_key(cg, "cgroup.events", "populated", &populated);
		if (r < 0 || populated == 0)
			return r;
		now = mark_now_ns();
		if (now >= until)
			return -ETIMEDOUT;
		r = poll(&p, 1, (int)((until - now) / 1000000u) + 1);
		if (r < 0 && errno != EINTR)
			return -errno;
	}
}
