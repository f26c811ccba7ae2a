/* unpack.c - see unpack.h.
 * Distrusts: names, links, sizes, numbers and order of all entries. Never: follows a symlink, leaves the
 * root, makes a device that the policy does not name, sets an attribute that overlayfs would act on. */
#include "image/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/io.h"
#include "base/num.h"
#include "base/str.h"
#include "sys/implied.h"
#include "sys/mnt.h"

#define NAME_LEN_MAX 4000 /* leaves room in PATH_MAX for what mkfs.erofs puts before it */
#define COPY_LEN     (256u << 10)
#define SHOWN_MAX    200 /* bytes of a name in an error */
#define ID_MAX       (UINT32_MAX - 1)
#define TIME_MAX     (INT64_C(1) << 33) /* what every file system that the store can be on keeps */
#define WHITEOUT     ".wh."
#define OPAQUE       ".wh..wh..opq"
#define OVL_OPAQUE   "trusted.overlay.opaque"
#define ACL          "system.posix_acl_"
#define ACL_DEFAULT  ACL "default"

/* A directory's time is set when nothing is made in it any more. */
struct dir_time {
	char *path; /* owned */
	struct timespec time;
	size_t at;    /* which one of all it is */
	bool implied; /* no entry named it */
};

struct unpack {
	int root;
	const struct unpack_limits *lim;
	struct unpack_stats *stats;
	struct tar tar;
	char *buf; /* COPY_LEN */
	struct str parent_path;
	int parent; /* of parent_path; -1 = none */
	struct dir_time *times;
	size_t n_times, cap_times;
	bool inherit; /* some directory has a default ACL: what is made there has got one */
};

static void unpack_fini(struct unpack *u)
{
	tar_fini(&u->tar);
	free(u->buf);
	str_fini(&u->parent_path);
	scope_close(&u->parent);
	for (size_t i = 0; i < u->n_times; i++)
		free(u->times[i].path);
	free(u->times);
}
#define scoped_unpack __attribute__((cleanup(unpack_fini))) struct unpack

/* Where an entry goes: `path` is its name without ".", doubled and trailing slashes; "" = the root. */
struct place {
	char *path;       /* owned */
	const char *base; /* last component; "." for the root */
	int dir;          /* borrowed: what it is in */
};

static void place_fini(struct place *p)
{
	free(p->path);
}
#define scoped_place __attribute__((cleanup(place_fini))) struct place

/* The name cleaned; refuses what leads out. */
static int clean_name(const char *name, char **ret, struct err *e)
{
	scoped_str s = { 0 };

	if (name[0] == '/')
		return err_set(e, -EPERM,
			       "an absolute path is refused: make the archive with names relative to its "
			       "root (tar -C DIR .)");
	while (*name) {
		size_t n = strcspn(name, "/");

		if (n == 2 && memcmp(name, "..", 2) == 0)
			return err_set(e, -EPERM,
				       "a path with '..' is refused: it could lead out of the layer");
		if (n > UNPACK_NAME_MAX || s.len + n > NAME_LEN_MAX)
			return err_set(e, -ENAMETOOLONG, "its name is too long (%d bytes, %u of one part)",
				       NAME_LEN_MAX, UNPACK_NAME_MAX);
		if (n > 0 && !(n == 1 && *name == '.')) {
			str_add(&s, s.len > 0 ? "/" : "");
			str_addn(&s, name, n);
		}
		name += n;
		name += strspn(name, "/");
	}
	*ret = str_take(&s);
	return *ret ? 0 : err_set(e, -ENOMEM, "%m");
}

static int remember_time(struct unpack *u, const char *path, int64_t sec, uint32_t ns, bool implied)
{
	char *copy;

	if (u->n_times == u->cap_times) {
		size_t cap = u->cap_times ? 2 * u->cap_times : 256;
		struct dir_time *more = reallocarray(u->times, cap, sizeof *more);

		if (!more)
			return -ENOMEM;
		u->times = more;
		u->cap_times = cap;
	}
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	u->times[u->n_times] =
		(struct dir_time){ copy, { .tv_sec = sec, .tv_nsec = (long)ns }, u->n_times, implied };
	u->n_times++;
	return 0;
}

static int through_link(struct err *e, int r, const char *path)
{
	scoped_str shown = { 0 };

	str_add_escaped(&shown, path, strnlen(path, SHOWN_MAX));
	if (r == -ELOOP || r == -ENOTDIR)
		return err_set(e, r,
			       "its path leads through '%s', which is no directory in this layer: refused",
			       shown.p ? shown.p : "");
	return err_set(e, r, "'%s': %m", shown.p ? shown.p : "");
}

/* What was just made as dir/name has no ACL yet but from a directory above; its own come with its entry. */
static int drop_acls(const struct unpack *u, int dir, const char *name)
{
	static const char *const both[] = { ACL "access", ACL_DEFAULT };
	scoped_free char *path = NULL;

	if (!u->inherit)
		return 0;
	path = str_fmt("/proc/self/fd/%d/%s", dir, name);
	if (!path)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_LEN(both); i++)
		if (lremovexattr(path, both[i]) < 0 && errno != ENODATA && errno != EOPNOTSUPP)
			return -errno;
	return 0;
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

static int set_opaque(int in, const char *name)
{
	scoped_fd dir = openat(in, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return dir < 0 || fsetxattr(dir, OVL_OPAQUE, "y", 1, 0) < 0 ? -errno : 0;
}

/* Makes the directory `path` (0755, root's, time 0), also where a whiteout is: it hides the one below then.
 * What is before its last slash is there: no symlink, made or seen in the step before. */
static int make_parent(struct unpack *u, char *path)
{
	char *last = strrchr(path, '/');
	const char *name = last ? last + 1 : path;
	scoped_fd in = -1;
	struct stat st;
	bool hidden;
	int r;

	if (last)
		*last = '\0';
	r = mnt_open_plain(u->root, last ? path : ".", O_RDONLY | O_DIRECTORY, &in);
	if (last)
		*last = '/';
	if (r < 0)
		return r;
	hidden = fstatat(in, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_whiteout(&st);
	if (hidden && unlinkat(in, name, 0) < 0)
		return -errno;
	if (mkdirat(in, name, 0755) < 0)
		return errno == EEXIST ? -ENOTDIR : -errno;
	r = hidden ? set_opaque(in, name) : 0;
	if (r == 0)
		r = drop_acls(u, in, name);
	if (r == 0 && u->inherit && fchmodat(in, name, 0755, 0) < 0) /* an ACL has its say in the mode, too */
		r = -errno;
	return r < 0 ? r : remember_time(u, path, 0, 0, true);
}

/* Opens the directory `path`, and makes what is missing of it. */
static int open_parent(struct unpack *u, char *path, int *ret, struct err *e)
{
	int r = mnt_open_plain(u->root, path, O_RDONLY | O_DIRECTORY, ret);
	bool missing = r == -ENOENT || r == -ENOTDIR;

	for (char *p = path; missing && p;) {
		scoped_fd dir = -1;
		char *slash = strchr(p, '/');

		if (slash)
			*slash = '\0';
		r = mnt_open_plain(u->root, path, O_PATH | O_DIRECTORY, &dir);
		if (r == -ENOENT || r == -ENOTDIR)
			r = make_parent(u, path);
		if (r < 0)
			return through_link(e, r, path);
		if (slash)
			*slash = '/';
		p = slash ? slash + 1 : NULL;
		if (!p)
			r = mnt_open_plain(u->root, path, O_RDONLY | O_DIRECTORY, ret);
	}
	return r < 0 ? through_link(e, r, path) : 0;
}

/* Finds the directory that an entry is in. The last one is kept open: entries come in its order. */
static int find_place(struct unpack *u, const char *name, struct place *ret, struct err *e)
{
	int r = clean_name(name, &ret->path, e);
	char *slash;
	size_t n;

	if (r < 0)
		return r;
	slash = strrchr(ret->path, '/');
	ret->base = slash ? slash + 1 : *ret->path ? ret->path : ".";
	n = slash ? (size_t)(slash - ret->path) : 0;
	if (n == 0) {
		ret->dir = u->root;
		return 0;
	}
	if (u->parent >= 0 && u->parent_path.len == n && memcmp(u->parent_path.p, ret->path, n) == 0) {
		ret->dir = u->parent;
		return 0;
	}
	scope_close(&u->parent);
	u->parent = -1;
	str_reset(&u->parent_path);
	str_addn(&u->parent_path, ret->path, n);
	if (str_check(&u->parent_path) < 0)
		return err_set(e, -ENOMEM, "%m");
	r = open_parent(u, u->parent_path.p, &u->parent, e);
	ret->dir = u->parent;
	return r;
}

/* Takes away what an earlier entry of this name made. *ret_dir: it is a directory, and stays.
 * *ret_hidden: a whiteout or a file was there: a directory in its place hides the one below. */
static int make_room(struct unpack *u, const struct place *at, bool for_dir, bool *ret_dir, bool *ret_hidden,
		     struct err *e)
{
	struct stat st;

	*ret_dir = *ret_hidden = false;
	if (fstatat(at->dir, at->base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_set(e, -errno, "%m");
	*ret_dir = S_ISDIR(st.st_mode) && for_dir;
	*ret_hidden = !S_ISDIR(st.st_mode);
	if (*ret_dir)
		return 0;
	if (unlinkat(at->dir, at->base, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
		return errno == ENOTEMPTY
			       ? err_set(e, -EEXIST,
					 "the archive has it twice: as a directory with entries in it and "
					 "as something else")
			       : err_set(e, -errno, "%m");
	scope_close(&u->parent); /* it may have been this one */
	u->parent = -1;
	return 0;
}

/* mkfs.erofs counts from 1970, and takes what is before for what is far ahead. */
static struct timespec mtime_of(const struct tar_entry *t)
{
	if (t->mtime < 0)
		return (struct timespec){ .tv_sec = 0 };
	return (struct timespec){ .tv_sec = t->mtime > TIME_MAX ? TIME_MAX : t->mtime,
				  .tv_nsec = (long)t->mtime_ns };
}

static bool has_xattr(const struct tar_entry *t, const char *prefix)
{
	for (size_t i = 0; i < t->n_xattrs; i++)
		if (str_starts(t->xattrs[i].name, prefix))
			return true;
	return false;
}

static int set_xattrs(struct unpack *u, const struct tar_entry *t, int fd, struct err *e)
{
	for (size_t i = 0; i < t->n_xattrs; i++) {
		const struct tar_xattr *x = &t->xattrs[i];

		if (!str_starts(x->name, "user.") && !str_eq(x->name, "security.capability") &&
		    !str_starts(x->name, ACL)) {
			/* tar --acls --xattrs says it twice */
			if (!str_starts(x->name, TAR_ACL_TEXT) || !has_xattr(t, ACL))
				u->stats->xattrs_left_out++;
			continue;
		}
		if (fsetxattr(fd, x->name, x->value, x->len, 0) < 0) {
			scoped_str shown = { 0 };

			str_add_escaped(&shown, x->name, strnlen(x->name, SHOWN_MAX));
			return err_set(e, -errno, "extended attribute %s: %m", shown.p ? shown.p : "");
		}
		u->inherit |= str_eq(x->name, ACL_DEFAULT);
	}
	return 0;
}

/* Owner, mode, attributes, in this order: a change of owner clears the others. */
static int set_meta(struct unpack *u, const struct tar_entry *t, int fd, struct err *e)
{
	if (fchown(fd, (uid_t)t->uid, (gid_t)t->gid) < 0)
		return err_set(e, -errno, "owner: %m");
	if (fchmod(fd, (mode_t)t->mode) < 0)
		return err_set(e, -errno, "mode: %m");
	return set_xattrs(u, t, fd, e);
}

static int write_data(struct unpack *u, const struct tar_entry *t, int fd, struct err *e)
{
	for (size_t i = 0; i < t->n_segments; i++) {
		uint64_t off = t->segments[i].off, left = t->segments[i].len;

		while (left > 0) {
			ssize_t n = tar_read(&u->tar, u->buf, (size_t)num_min(left, COPY_LEN), e);

			if (n < 0)
				return (int)n;
			if (lseek(fd, (off_t)off, SEEK_SET) < 0)
				return err_set(e, -errno, "%m");
			if (io_write_full(fd, u->buf, (size_t)n) < 0)
				return err_set(e, -errno, "write: %m");
			off += (uint64_t)n;
			left -= (uint64_t)n;
		}
	}
	return ftruncate(fd, (off_t)t->size) < 0 ? err_set(e, -errno, "size: %m") : 0;
}

static int make_file(struct unpack *u, const struct tar_entry *t, const struct place *at, struct err *e)
{
	struct timespec times[2] = { mtime_of(t), mtime_of(t) };
	scoped_fd fd = openat(at->dir, at->base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return err_set(e, -errno, "%m");
	r = drop_acls(u, at->dir, at->base);
	r = r < 0 ? err_set(e, r, "ACL: %m") : write_data(u, t, fd, e);
	if (r == 0)
		r = set_meta(u, t, fd, e);
	if (r == 0 && futimens(fd, times) < 0)
		r = err_set(e, -errno, "time: %m");
	return r;
}

static int make_dir(struct unpack *u, const struct tar_entry *t, const struct place *at, bool there,
		    bool opaque, struct err *e)
{
	struct timespec time = mtime_of(t);
	scoped_fd fd = -1;
	int r;

	if (!there && mkdirat(at->dir, at->base, 0700) < 0)
		return err_set(e, -errno, "%m");
	fd = openat(at->dir, at->base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, -errno, "%m");
	r = drop_acls(u, at->dir, at->base);
	r = r < 0 ? err_set(e, r, "ACL: %m") : set_meta(u, t, fd, e);
	if (r == 0 && opaque && fsetxattr(fd, OVL_OPAQUE, "y", 1, 0) < 0)
		r = err_set(e, -errno, OVL_OPAQUE ": %m");
	if (r == 0 && remember_time(u, at->path, time.tv_sec, (uint32_t)time.tv_nsec, false) < 0)
		r = err_set(e, -ENOMEM, "%m");
	return r;
}

static int make_hardlink(struct unpack *u, const struct tar_entry *t, const struct place *at, struct err *e)
{
	scoped_free char *target = NULL;
	scoped_str shown = { 0 };
	scoped_fd fd = -1;
	struct stat st;
	int r = clean_name(t->link, &target, e);

	if (r < 0)
		return err_wrap(e, "hard link's target");
	str_add_escaped(&shown, t->link, strnlen(t->link, SHOWN_MAX));
	/* the target itself may be a symlink, nothing before it */
	r = mnt_open_plain(u->root, target, O_PATH | O_NOFOLLOW, &fd);
	if (r == 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r == 0 && (S_ISDIR(st.st_mode) || is_whiteout(&st)))
		r = -EPERM;
	if (r == 0 && linkat(fd, "", at->dir, at->base, AT_EMPTY_PATH) < 0)
		r = -errno;
	return r < 0 ? err_set(e, r, "hard link to '%s', which is no earlier file of this layer: %m",
			       shown.p ? shown.p : "")
		     : 0;
}

/* Symlinks, devices, fifos: owner, time and mode by name, in a directory that only we write. */
static int make_special(struct unpack *u, const struct tar_entry *t, const struct place *at, struct err *e)
{
	static const mode_t types[] = {
		[TAR_CHAR] = S_IFCHR, [TAR_BLOCKDEV] = S_IFBLK, [TAR_FIFO] = S_IFIFO
	};
	struct timespec times[2] = { mtime_of(t), mtime_of(t) };
	int r;

	if (t->type == TAR_SYMLINK)
		r = symlinkat(t->link, at->dir, at->base);
	else
		r = mknodat(at->dir, at->base, types[t->type] | 0600, makedev(t->major, t->minor));
	if (r == 0 && t->type != TAR_SYMLINK && drop_acls(u, at->dir, at->base) < 0)
		r = -1;
	if (r < 0 || fchownat(at->dir, at->base, (uid_t)t->uid, (gid_t)t->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (t->type != TAR_SYMLINK && fchmodat(at->dir, at->base, (mode_t)t->mode, 0) < 0) ||
	    utimensat(at->dir, at->base, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(e, -errno, "%m");
	return 0;
}

/* 1 = make it, 0 = leave it out. */
static int judge_device(const struct unpack *u, const struct tar_entry *t, struct err *e)
{
	static const struct {
		uint32_t major, minor;
	} usual[] = { { 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 }, { 1, 9 }, { 5, 0 }, { 5, 1 }, { 5, 2 } };

	if (u->lim->devices == UNPACK_DROP)
		return 0;
	if (t->major > 0xfff || t->minor > 0xfffff)
		return err_set(e, -EPERM, "no kernel has a device %u:%u", t->major, t->minor);
	if (t->type == TAR_CHAR && t->major == 0 && t->minor == 0)
		return err_set(e, -EPERM,
			       "a character device 0:0 is how overlayfs hides a file: refused; name a file "
			       "'" WHITEOUT "NAME' for that, or leave devices out (--devices drop)");
	if (u->lim->devices == UNPACK_KEEP)
		return 1;
	for (size_t i = 0; u->lim->devices == UNPACK_USUAL && t->type == TAR_CHAR && i < ARRAY_LEN(usual);
	     i++) {
		if (usual[i].major == t->major && usual[i].minor == t->minor)
			return 1;
	}
	return err_set(e, -EPERM,
		       "a %s device %u:%u is refused: --devices keep takes it, --devices drop leaves it out",
		       t->type == TAR_CHAR ? "character" : "block", t->major, t->minor);
}

/* ".wh.NAME" hides NAME of the layers below; what this layer itself has of that name stays. */
static int make_whiteout(const struct unpack *u, const struct place *at, struct err *e)
{
	static const struct timespec zero[2];
	const char *hidden = at->base + strlen(WHITEOUT);
	struct stat st;
	int r;

	if (str_starts(hidden, WHITEOUT) && !str_eq(at->base, OPAQUE))
		return 0; /* aufs' own notes */
	if (!*hidden || str_eq(hidden, ".") || str_eq(hidden, ".."))
		return err_set(e, -EPERM, "this whiteout names no file");
	if (str_eq(at->base, OPAQUE))
		hidden = ".";
	if (fstatat(at->dir, hidden, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (!S_ISDIR(st.st_mode))
			return 0;
		r = set_opaque(at->dir, hidden);
		return r < 0 ? err_set(e, r, OVL_OPAQUE ": %m") : 0;
	}
	if (mknodat(at->dir, hidden, S_IFCHR, makedev(0, 0)) < 0 || drop_acls(u, at->dir, hidden) < 0 ||
	    utimensat(at->dir, hidden, zero, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(e, -errno, "whiteout: %m");
	return 0;
}

static int check_limits(struct unpack *u, const struct tar_entry *t, struct err *e)
{
	const char *together = u->lim->used_entries ? " with those that it is put together with" : "";

	if (++u->stats->entries > u->lim->entries - u->lim->used_entries)
		return err_set(e, -E2BIG,
			       "it is one more than the %llu entries that a layer%s may have: --max-entries "
			       "raises the limit",
			       (unsigned long long)u->lim->entries, together);
	if (t->size > u->lim->bytes - u->lim->used_bytes - u->stats->bytes)
		return err_set(e, -EFBIG,
			       "its %llu bytes make the layer%s larger than %llu bytes unpacked: --max-size "
			       "raises the limit",
			       (unsigned long long)t->size, together, (unsigned long long)u->lim->bytes);
	u->stats->bytes += t->size;
	if (t->uid > ID_MAX || t->gid > ID_MAX)
		return err_set(e, -ERANGE, "its owner %llu:%llu is beyond what Linux knows",
			       (unsigned long long)t->uid, (unsigned long long)t->gid);
	return 0;
}

static bool is_itself(const struct tar_entry *t, const struct place *at)
{
	scoped_free char *target = NULL;

	return clean_name(t->link, &target, NULL) == 0 && str_eq(target, at->path);
}

static int make_entry(struct unpack *u, const struct tar_entry *t, struct err *e)
{
	scoped_place at = { .dir = -1 };
	bool there, hidden;
	int r = check_limits(u, t, e);

	if (r == 0)
		r = find_place(u, t->name, &at, e);
	if (r < 0)
		return r;
	if (str_starts(at.base, WHITEOUT))
		return make_whiteout(u, &at, e);
	if (t->type == TAR_CHAR || t->type == TAR_BLOCKDEV) {
		r = judge_device(u, t, e);
		if (r <= 0)
			return r;
	}
	if (!*at.path && t->type != TAR_DIR)
		return err_set(e, -EPERM, "the root of a layer is a directory");
	if (t->type == TAR_HARDLINK && is_itself(t, &at)) /* it must not be removed before it is linked to */
		return err_set(e, -EPERM, "it is a hard link to itself");
	r = make_room(u, &at, t->type == TAR_DIR, &there, &hidden, e);
	if (r == 0 && at.dir != u->root && u->parent < 0) { /* room was made: open it again */
		place_fini(&at);
		at.path = NULL;
		r = find_place(u, t->name, &at, e);
	}
	if (r < 0)
		return r;
	switch (t->type) {
	case TAR_FILE:
		return make_file(u, t, &at, e);
	case TAR_DIR:
		return make_dir(u, t, &at, there, hidden, e);
	case TAR_HARDLINK:
		return make_hardlink(u, t, &at, e);
	case TAR_SYMLINK:
	case TAR_CHAR:
	case TAR_BLOCKDEV:
	case TAR_FIFO:
		break;
	}
	return make_special(u, t, &at, e);
}

static int by_path(const void *a, const void *b)
{
	const struct dir_time *x = a, *y = b;
	int r = strcmp(x->path, y->path);

	return r ? r : x->at < y->at ? -1 : 1;
}

static int write_list(struct unpack *u, const struct str *list, struct err *e)
{
	static const struct timespec zero[2];
	scoped_fd fd = openat(u->root, IMPLIED_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
	int r = fd < 0 ? -errno : io_write_full(fd, list->p, list->len);

	if (r == 0)
		r = drop_acls(u, u->root, IMPLIED_FILE);
	if (r == 0 && futimens(fd, zero) < 0)
		r = -errno;
	return r < 0 ? err_set(e, r, IMPLIED_FILE ": %m") : 0;
}

/* Is the record of a directory the last of it? They are sorted. */
static bool is_last(const struct unpack *u, size_t i)
{
	return i + 1 == u->n_times || !str_eq(u->times[i].path, u->times[i + 1].path);
}

/* 1 = *ret_fd is the directory, 0 = a later entry took its place. */
static int open_dir(struct unpack *u, const char *path, int *ret_fd, struct err *e)
{
	int r = mnt_open_plain(u->root, path, O_RDONLY | O_DIRECTORY, ret_fd);

	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
		return 0;
	return r < 0 ? through_link(e, r, path) : 1;
}

/* For sys/implied.h's reader. */
static int list_implied(struct unpack *u, struct err *e)
{
	scoped_str list = { 0 };

	qsort(u->times, u->n_times, sizeof *u->times, by_path);
	for (size_t i = 0; i < u->n_times; i++) {
		const struct dir_time *d = &u->times[i];
		scoped_fd fd = -1;
		int r = d->implied && is_last(u, i) ? open_dir(u, d->path, &fd, e) : 0;

		if (r < 0)
			return r;
		if (r > 0)
			str_addn(&list, d->path, strlen(d->path) + 1);
	}
	if (str_check(&list) < 0)
		return err_set(e, -ENOMEM, "%m");
	if (list.len > IMPLIED_MAX)
		return err_set(e, -E2BIG, "too many directories that the archive has no entries for");
	return list.len ? write_list(u, &list, e) : 0;
}

/* The last word counts: a directory that came twice has its last time. */
static int set_dir_times(struct unpack *u, struct err *e)
{
	for (size_t i = 0; i < u->n_times; i++) {
		struct timespec times[2] = { u->times[i].time, u->times[i].time };
		scoped_fd fd = -1;
		int r = is_last(u, i) ? open_dir(u, u->times[i].path, &fd, e) : 0;

		if (r > 0 && futimens(fd, times) < 0)
			r = err_set(e, -errno, "time of a directory: %m");
		if (r < 0)
			return r;
	}
	return 0;
}

int unpack_tar(const struct tar_source *src, int root, const struct unpack_limits *lim,
	       struct unpack_stats *ret, struct err *e)
{
	scoped_unpack u = { .root = root, .lim = lim, .stats = ret, .parent = -1 };
	struct tar_entry t;
	int r;

	*ret = (struct unpack_stats){ 0 };
	tar_init(&u.tar, src);
	u.buf = malloc(COPY_LEN);
	if (!u.buf || remember_time(&u, "", 0, 0, false) < 0 || fchmod(root, 0755) < 0)
		return err_set(e, u.buf ? -errno : -ENOMEM, "%m");
	while ((r = tar_next(&u.tar, &t, e)) > 0) {
		scoped_str shown = { 0 };

		r = make_entry(&u, &t, e);
		if (r == 0)
			continue;
		str_add_escaped(&shown, t.name, strnlen(t.name, SHOWN_MAX));
		return err_wrap(e, "entry '%s'", shown.p ? shown.p : "");
	}
	if (r == 0)
		r = list_implied(&u, e);
	return r < 0 ? r : set_dir_times(&u, e);
}
