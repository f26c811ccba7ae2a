/* mnt.c - see mnt.h.
 * Distrusts: every name and symlink below the root, also between two calls: a directory is walked
 * with RESOLVE_NO_SYMLINKS one component at a time, so a swapped component is an error, never a way out.
 * Never: mounts by a path. */
#include "sys/mnt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "base/io.h"
#include "base/str.h"

/* From linux/mount.h, which can't be included beside every libc's sys/mount.h. */
#define TREE_CLONE        1u
#define TREE_CLOEXEC      (unsigned)O_CLOEXEC
#define TREE_RECURSIVE    0x8000u
#define MOVE_F_EMPTY_PATH 0x00000004u
#define MOVE_T_EMPTY_PATH 0x00000040u
#define ATTR_RDONLY       0x00000001u
#define ATTR_NOSUID       0x00000002u
#define ATTR_NODEV        0x00000004u
#define ATTR_NOEXEC       0x00000008u
#define ATTR_ATIME        0x00000070u
#define ATTR_NOATIME      0x00000010u
#define ATTR_STRICTATIME  0x00000020u
#define ATTR_NODIRATIME   0x00000080u
#define ATTR_IDMAP        0x00100000u
#define ATTR_NOSYMFOLLOW  0x00200000u
#define FLAG_NOSYMFOLLOW  256ul
#define FS_CLOEXEC        1u
#define FS_SET_STRING     1u
#define FS_CREATE         6u
#define LINKS_MAX         40   /* as the kernel's MAXSYMLINKS */
#define STEPS_MAX         4096 /* components walked for one path */
#define FD_PATH_MAX       40

struct attr_arg {
	uint64_t attr_set, attr_clr, propagation, userns_fd;
};

static void fd_path(int fd, char to[FD_PATH_MAX])
{
	(void)snprintf(to, FD_PATH_MAX, "/proc/self/fd/%d", fd); /* always fits */
}

static int open_resolved(int root, const char *path, int flags, uint64_t resolve, int *ret_fd)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC), .resolve = resolve };
	long fd;

	/* EAGAIN: a rename elsewhere made the kernel unsure; it is safe to ask again. */
	for (int i = 0; i < 16; i++) {
		fd = syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
		if (fd >= 0) {
			*ret_fd = (int)fd;
			return 0;
		}
		if (errno != EAGAIN && errno != EINTR)
			break;
	}
	return -errno;
}

int mnt_open_in(int root, const char *path, int flags, int *ret_fd)
{
	return open_resolved(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, ret_fd);
}

int mnt_open_plain(int root, const char *path, int flags, int *ret_fd)
{
	return open_resolved(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS, ret_fd);
}

/* A walk through the root: `done` has no symlinks, `todo` is what is left. */
struct walk {
	int root;
	struct str done;
	char *todo, *next; /* owned; where in it we are */
	enum mnt_want want;
	unsigned links;
};

static void walk_fini(struct walk *w)
{
	str_fini(&w->done);
	free(w->todo);
}

static void cut_last(struct str *s)
{
	char *slash = s->len > 0 ? strrchr(s->p, '/') : NULL;

	s->len = slash ? (size_t)(slash - s->p) : 0;
	if (s->p)
		s->p[s->len] = '\0';
}

/* The next component, or NULL. */
static char *walk_component(struct walk *w)
{
	char *c;

	while (*w->next == '/')
		w->next++;
	if (!*w->next)
		return NULL;
	c = w->next;
	w->next += strcspn(w->next, "/");
	if (*w->next)
		*w->next++ = '\0';
	return c;
}

static bool walk_at_end(const struct walk *w)
{
	return w->next[strspn(w->next, "/")] == '\0';
}

/* Puts a link's target before what is left. */
static int walk_link(struct walk *w, int link)
{
	char target[PATH_MAX];
	char *todo;
	ssize_t n;

	if (++w->links > LINKS_MAX)
		return -ELOOP;
	n = readlinkat(link, "", target, sizeof target - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	todo = str_fmt("%s/%s", target, w->next);
	if (!todo)
		return -ENOMEM;
	if (target[0] == '/')
		str_reset(&w->done);
	free(w->todo);
	w->todo = w->next = todo;
	return 0;
}

/* Makes component c below `done`. Someone else may make it first: the walk looks again. */
static int walk_make(struct walk *w, const char *c)
{
	scoped_fd dir = -1, file = -1;
	int r;

	r = mnt_open_plain(w->root, w->done.len ? w->done.p : ".", O_PATH | O_DIRECTORY, &dir);
	if (r < 0)
		return r;
	if (w->want == MNT_WANT_FILE && walk_at_end(w)) {
		file = openat(dir, c, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
		return file < 0 && errno != EEXIST ? -errno : 0;
	}
	return mkdirat(dir, c, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* One component. 1 = it was a link, 0 = it is behind us (*ret_fd is open on it). */
static int walk_step(struct walk *w, const char *c, int *ret_fd)
{
	scoped_fd fd = -1;
	scoped_free char *path = NULL;
	struct stat st;
	int r;

	path = w->done.len ? str_fmt("%s/%s", w->done.p, c) : str_fmt("%s", c);
	if (!path)
		return -ENOMEM;
	r = mnt_open_plain(w->root, path, O_PATH | O_NOFOLLOW, &fd);
	for (int i = 0; r == -ENOENT && i < 8; i++) {
		r = walk_make(w, c);
		if (r == 0)
			r = mnt_open_plain(w->root, path, O_PATH | O_NOFOLLOW, &fd);
	}
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode)) {
		r = walk_link(w, fd);
		return r < 0 ? r : 1;
	}
	str_reset(&w->done);
	str_add(&w->done, path);
	*ret_fd = take_fd(&fd);
	return str_check(&w->done);
}

static int walk_run(struct walk *w, int *ret_fd)
{
	scoped_fd fd = -1;
	bool is_there = false;
	const char *c;
	int r, got;

	for (int steps = 0; (c = walk_component(w)) != NULL; steps++) {
		if (steps > STEPS_MAX)
			return -ELOOP;
		if (strcmp(c, ".") == 0)
			continue;
		if (strcmp(c, "..") == 0) {
			cut_last(&w->done);
			is_there = false;
			continue;
		}
		got = -1;
		r = walk_step(w, c, &got);
		if (got >= 0) {
			scope_close(&fd);
			fd = got;
		}
		if (r < 0)
			return r;
		is_there = r == 0;
	}
	if (is_there) {
		*ret_fd = take_fd(&fd);
		return 0;
	}
	/* Links and ".." have moved us elsewhere than the last fd. */
	scope_close(&fd);
	fd = -1;
	r = mnt_open_plain(w->root, w->done.len ? w->done.p : ".", O_PATH | O_NOFOLLOW, &fd);
	if (r < 0)
		return r;
	*ret_fd = take_fd(&fd);
	return 0;
}

int mnt_place(int root, const char *path, enum mnt_want want, int *ret_fd, char **ret_real)
{
	struct walk w = { .root = root, .want = want };
	char *real = NULL;
	int fd = -1, r;

	w.todo = w.next = str_fmt("%s", path);
	if (!w.todo)
		return -ENOMEM;
	r = walk_run(&w, &fd);
	if (r == 0) {
		real = str_take(&w.done);
		r = real ? 0 : -ENOMEM;
	}
	walk_fini(&w);
	if (r < 0) {
		scope_close(&fd);
		return r;
	}
	*ret_fd = fd;
	*ret_real = real;
	return 0;
}

int mnt_place_parent(int root, const char *path, int *ret_dir, const char **ret_name)
{
	scoped_free char *real = NULL, *dir = NULL;
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	dir = slash ? strndup(path, (size_t)(slash - path)) : strdup("");
	if (!dir)
		return -ENOMEM;
	*ret_name = name;
	return mnt_place(root, dir, MNT_WANT_DIR, ret_dir, &real);
}

int mnt_fs(const char *type, const char *source, int on, unsigned long flags, const char *data)
{
	char path[FD_PATH_MAX];

	fd_path(on, path);
	return mount(source && *source ? source : type, path, type, flags, data) < 0 ? -errno : 0;
}

int mnt_remount(int on, unsigned long flags, const char *data)
{
	char path[FD_PATH_MAX];

	fd_path(on, path);
	return mount(NULL, path, NULL, flags | MS_REMOUNT, data) < 0 ? -errno : 0;
}

int mnt_detach(int on)
{
	char path[FD_PATH_MAX];

	fd_path(on, path);
	return umount2(path, MNT_DETACH) < 0 ? -errno : 0;
}

int mnt_new(const char *type, const char *option, const char *value, int *ret_tree)
{
	scoped_fd fs = (int)syscall(SYS_fsopen, type, FS_CLOEXEC);
	long fd;

	if (fs < 0 || (option && syscall(SYS_fsconfig, fs, FS_SET_STRING, option, value, 0) < 0) ||
	    syscall(SYS_fsconfig, fs, FS_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = syscall(SYS_fsmount, fs, FS_CLOEXEC, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC);
	if (fd < 0)
		return -errno;
	*ret_tree = (int)fd;
	return 0;
}

int mnt_clone(int from, bool recursive, int *ret_tree)
{
	unsigned flags = TREE_CLONE | TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? TREE_RECURSIVE : 0);
	long fd = syscall(SYS_open_tree, from, "", flags);

	if (fd < 0)
		return -errno;
	*ret_tree = (int)fd;
	return 0;
}

int mnt_attach(int tree, int on)
{
	return syscall(SYS_move_mount, tree, "", on, "", MOVE_F_EMPTY_PATH | MOVE_T_EMPTY_PATH) < 0 ? -errno
												    : 0;
}

int mnt_set_attr(int fd, uint64_t set, uint64_t clear, bool recursive)
{
	struct attr_arg a = { .attr_set = set, .attr_clr = clear };
	unsigned flags = AT_EMPTY_PATH | (recursive ? TREE_RECURSIVE : 0);

	/* The kernel wants the whole atime field cleared with any of its values. */
	if ((set | clear) & ATTR_ATIME)
		a.attr_clr |= ATTR_ATIME;
	return syscall(SYS_mount_setattr, fd, "", flags, &a, sizeof a) < 0 ? -errno : 0;
}

int mnt_idmap(int tree, int user, bool recursive)
{
	struct attr_arg a = { .attr_set = ATTR_IDMAP, .userns_fd = (uint64_t)user };
	unsigned flags = AT_EMPTY_PATH | (recursive ? TREE_RECURSIVE : 0);

	return syscall(SYS_mount_setattr, tree, "", flags, &a, sizeof a) < 0 ? -errno : 0;
}

int mnt_set_propagation(int fd, unsigned long propagation)
{
	char path[FD_PATH_MAX];

	fd_path(fd, path);
	return mount(NULL, path, NULL, propagation, NULL) < 0 ? -errno : 0;
}

uint64_t mnt_attr_of_flags(unsigned long flags, uint64_t *ret_clear)
{
	static const struct {
		unsigned long flag;
		uint64_t set, clear;
	} map[] = {
		{ MS_RDONLY, ATTR_RDONLY, 0 },
		{ MS_NOSUID, ATTR_NOSUID, 0 },
		{ MS_NODEV, ATTR_NODEV, 0 },
		{ MS_NOEXEC, ATTR_NOEXEC, 0 },
		{ MS_NODIRATIME, ATTR_NODIRATIME, 0 },
		{ FLAG_NOSYMFOLLOW, ATTR_NOSYMFOLLOW, 0 },
		{ MS_RELATIME, 0, ATTR_ATIME },
		{ MS_NOATIME, ATTR_NOATIME, ATTR_ATIME },
		{ MS_STRICTATIME, ATTR_STRICTATIME, ATTR_ATIME },
	};
	uint64_t set = 0, clear = 0;

	for (size_t i = 0; i < ARRAY_LEN(map); i++) {
		if (!(flags & map[i].flag))
			continue;
		if (map[i].clear & ATTR_ATIME)
			set &= ~(uint64_t)ATTR_ATIME; /* one value: the last of the table wins */
		set |= map[i].set;
		clear |= map[i].clear;
	}
	*ret_clear = clear;
	return set;
}

bool mnt_is_fs(int fd, long magic)
{
	struct statfs s;

	return fstatfs(fd, &s) == 0 && (long)s.f_type == magic;
}

static int copy_bytes(int from, int to)
{
	char buf[65536];
	ssize_t n, w;

	for (;;) {
		n = read(from, buf, sizeof buf);
		if (n == 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (ssize_t off = 0; off < n; off += w) {
			w = write(to, buf + off, (size_t)(n - off));
			if (w < 0 && errno != EINTR)
				return -errno;
			if (w < 0)
				w = 0;
		}
	}
}

static int copy_link(int from, int to, const char *name)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, name, target, sizeof target - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	return symlinkat(target, to, name) < 0 ? -errno : 0;
}

static int copy_file(int from, int to, const char *name)
{
	scoped_fd in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	scoped_fd out = -1;

	if (in < 0)
		return -errno;
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return -errno;
	return copy_bytes(in, out);
}

static int copy_dir(int from, int to, const char *name, unsigned depth)
{
	scoped_fd in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	scoped_fd out = -1;

	if (in < 0)
		return -errno;
	if (depth == 0)
		return -ELOOP;
	if (mkdirat(to, name, 0700) < 0)
		return -errno;
	out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0)
		return -errno;
	return mnt_copy_tree(in, out, depth - 1);
}

static int copy_entry(int from, int to, const char *name, unsigned depth)
{
	struct timespec times[2];
	struct stat st;
	int r;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		r = copy_link(from, to, name);
	else if (S_ISDIR(st.st_mode))
		r = copy_dir(from, to, name, depth);
	else if (S_ISREG(st.st_mode))
		r = copy_file(from, to, name);
	else
		r = mknodat(to, name, st.st_mode & (S_IFMT | 0777), st.st_rdev) < 0 ? -errno : 0;
	if (r < 0)
		return r;
	if (fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	/* After chown, which clears the set-id bits. */
	if (!S_ISLNK(st.st_mode) && fchmodat(to, name, st.st_mode & 07777, 0) < 0)
		return -errno;
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int mnt_copy_tree(int from, int to, unsigned depth)
{
	scoped_dir dir = NULL;
	struct dirent *ent;
	int r = io_open_dir_at(from, ".", &dir);

	if (r < 0)
		return r;
	while ((errno = 0, ent = readdir(dir)) != NULL) {
		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
			continue;
		r = copy_entry(from, to, ent->d_name, depth);
		if (r < 0)
			return r;
	}
	return errno ? -errno : 0;
}

int mnt_pivot(int root)
{
	if (fchdir(root) < 0)
		return -errno;
	/* The old root is stacked under the new one at ".", from where it is dropped with all its mounts. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return -errno;
	if (umount2(".", MNT_DETACH) < 0)
		return -errno;
	return chdir("/") < 0 ? -errno : 0;
}
