/* merge.c - see merge.h. A layer's entries are moved, not copied: putting one over the others takes as long
 * as it has entries, whatever the others have. Directories wait in a list, so that neither stack nor open
 * files grow with their depth.
 * Distrusts: names, types and depth of what is in a layer. Never: follows a symlink. */
#include "image/merge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/io.h"
#include "image/layer.h"
#include "sys/implied.h"
#include "sys/mnt.h"

#define TOP        "merged"
#define DIR_FLAGS  (O_RDONLY | O_DIRECTORY)
#define OVL_PREFIX "trusted.overlay."
#define OVL_OPAQUE OVL_PREFIX "opaque"
/* A directory that one layer alone has is shown by overlayfs as it is there, whiteouts and all, unless it has
 * this attribute. Unmerged, the layer that hides something and the one that has it are two. */
#define OVL_ORIGIN OVL_PREFIX "origin"
/* While layers are put together: no layer so far has an entry for this directory. It moves along with it. */
#define MARK      "trusted.cor.implied"
#define NAMES_MAX 65536u /* XATTR_LIST_MAX, and of one value */

void merge_fini(struct merge *m)
{
	strv_fini(&m->implied);
}

static bool has_mark(int dir)
{
	return fgetxattr(dir, MARK, NULL, 0) >= 0;
}

/* ---- directories that no entry names ---- */

static int mark_one(struct merge *m, int layer, const char *path, struct err *e)
{
	scoped_fd dir = -1;
	int r = mnt_open_plain(layer, path, DIR_FLAGS, &dir);

	if (r == 0 && fsetxattr(dir, MARK, "y", 1, 0) < 0)
		r = -errno;
	if (r < 0)
		return err_set(e, r, IMPLIED_FILE " of a layer: %m");
	strv_add(&m->implied, path);
	return 0;
}

static int mark_implied(struct merge *m, int layer, struct err *e)
{
	scoped_free char *list = NULL;
	size_t len = 0;
	int r = implied_read_list(layer, &list, &len);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_set(e, r, IMPLIED_FILE " of a layer: %m");
	for (const char *p = list; r == 0 && p < list + len; p += strlen(p) + 1)
		r = mark_one(m, layer, p, e);
	return r;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Appends what is still a directory that no layer had an entry for, and takes its mark off: so it comes once.
 */
static int list_one(int top, const char *path, struct str *list)
{
	scoped_fd dir = -1;
	int r = mnt_open_plain(top, path, DIR_FLAGS, &dir);

	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
		return 0;
	if (r < 0 || !has_mark(dir))
		return r;
	str_addn(list, path, strlen(path) + 1);
	return fremovexattr(dir, MARK) < 0 ? -errno : 0;
}

/* Made beside the tree and moved: there it would get what a default ACL of the root says. */
static int write_list(const struct merge *m, int top, const struct str *list)
{
	static const struct timespec zero[2];
	scoped_fd fd = openat(m->g->fd, "list", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
	int r = fd < 0 ? -errno : io_write_full(fd, list->p, list->len);

	if (r == 0 && (futimens(fd, zero) < 0 || renameat(m->g->fd, "list", top, IMPLIED_FILE) < 0))
		r = -errno;
	return r;
}

static int list_implied(struct merge *m, int top, struct err *e)
{
	scoped_str list = { 0 };
	struct stat st;
	int r = strv_check(&m->implied);

	if (r == 0 && m->implied.n)
		qsort(m->implied.p, m->implied.n, sizeof *m->implied.p, by_text);
	for (size_t i = 0; i < m->implied.n && r == 0; i++)
		r = list_one(top, m->implied.p[i], &list);
	if (r == 0)
		r = str_check(&list);
	if (r == 0 && list.len > IMPLIED_MAX)
		return err_set(e, -E2BIG, "too many directories that the archives have no entries for");
	if (r == 0 && list.len) {
		r = fstat(top, &st) < 0 ? -errno : write_list(m, top, &list);
		if (r == 0 && futimens(top, (struct timespec[2]){ st.st_mtim, st.st_mtim }) < 0)
			r = -errno;
	}
	return r < 0 ? err_set(e, r, IMPLIED_FILE ": %m") : 0;
}

/* ---- one layer over the others ---- */

/* Attributes that are overlayfs' or ours belong to the directory, not to what its entry says. */
static bool is_said(const char *name)
{
	return !str_starts(name, OVL_PREFIX) && !str_eq(name, MARK);
}

struct names {
	char *p; /* each with a NUL behind */
	size_t n;
};

static int list_names(int fd, struct names *ret)
{
	ssize_t n;

	ret->p = malloc(NAMES_MAX);
	n = ret->p ? flistxattr(fd, ret->p, NAMES_MAX) : -1;
	ret->n = n > 0 ? (size_t)n : 0;
	return n < 0 ? (ret->p ? -errno : -ENOMEM) : 0;
}

static int drop_xattrs(int fd, const struct names *all)
{
	for (const char *p = all->p; p < all->p + all->n; p += strlen(p) + 1)
		if (is_said(p) && fremovexattr(fd, p) < 0 && errno != ENODATA)
			return -errno;
	return 0;
}

static int copy_xattrs(int from, int to, const struct names *all)
{
	scoped_free char *value = malloc(NAMES_MAX);

	for (const char *p = all->p; p < all->p + all->n; p += strlen(p) + 1) {
		ssize_t len = is_said(p) && value ? fgetxattr(from, p, value, NAMES_MAX) : 0;

		if (!value)
			return -ENOMEM;
		if (len < 0 || (is_said(p) && fsetxattr(to, p, value, (size_t)len, 0) < 0))
			return -errno;
	}
	return 0;
}

/* The upper directory's owner, mode and attributes; a change of owner clears others, so in this order. */
static int take_over(int to, int from, const struct stat *st)
{
	struct names old = { 0 }, new = { 0 };
	int r = list_names(to, &old);

	if (r == 0)
		r = list_names(from, &new);
	if (r == 0 && (fchown(to, st->st_uid, st->st_gid) < 0))
		r = -errno;
	if (r == 0)
		r = drop_xattrs(to, &old);
	if (r == 0 && fchmod(to, st->st_mode & 07777) < 0)
		r = -errno;
	if (r == 0)
		r = copy_xattrs(from, to, &new);
	if (r == 0 && fremovexattr(to, MARK) < 0 && errno != ENODATA)
		r = -errno;
	free(old.p);
	free(new.p);
	return r;
}

static int is_opaque(int in, const char *name, bool *ret)
{
	scoped_fd dir = openat(in, name, DIR_FLAGS | O_NOFOLLOW | O_CLOEXEC);
	char flag = 0;

	*ret = false;
	if (dir < 0)
		return -errno;
	*ret = fgetxattr(dir, OVL_OPAQUE, &flag, 1) == 1 && flag == 'y';
	return 0;
}

static int set_opaque(int in, const char *name)
{
	scoped_fd dir = openat(in, name, DIR_FLAGS | O_NOFOLLOW | O_CLOEXEC);

	return dir < 0 || fsetxattr(dir, OVL_OPAQUE, "y", 1, 0) < 0 ? -errno : 0;
}

/* A directory of both: of the layer, and of what is below it. */
struct pair {
	const char *path; /* "" = the root */
	int up, low;
	struct strv *todo; /* directories in it that both have */
};

static int lay_entry(const struct pair *p, const char *name)
{
	struct stat up, low;
	bool there, opaque = false;
	int r = 0;

	if (fstatat(p->up, name, &up, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	there = fstatat(p->low, name, &low, AT_SYMLINK_NOFOLLOW) == 0;
	if (!there && errno != ENOENT)
		return -errno;
	if (there && S_ISDIR(up.st_mode))
		r = is_opaque(p->up, name, &opaque);
	if (r == 0 && there && S_ISDIR(up.st_mode) && S_ISDIR(low.st_mode) && !opaque) {
		strv_addf(p->todo, "%s%s%s", p->path, *p->path ? "/" : "", name);
		return 0;
	}
	/* what is no directory hides all below it, also below the run */
	if (r == 0 && there && S_ISDIR(up.st_mode) && !S_ISDIR(low.st_mode))
		r = set_opaque(p->up, name);
	if (r == 0 && there)
		r = io_remove_tree_at(p->low, name);
	if (r == 0 && renameat(p->up, name, p->low, name) < 0)
		r = -errno;
	if (r == 0 && S_ISCHR(up.st_mode) && up.st_rdev == 0 && *p->path &&
	    fsetxattr(p->low, OVL_ORIGIN, "y", 1, 0) < 0)
		r = -errno;
	return r;
}

static int lay_entries(const struct pair *p)
{
	struct dirent **list = NULL;
	int n = scandirat(p->up, ".", &list, NULL, NULL), r = n < 0 ? -errno : 0;

	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;

		if (r == 0 && !str_eq(name, ".") && !str_eq(name, "..") &&
		    (*p->path || !str_eq(name, IMPLIED_FILE)))
			r = lay_entry(p, name);
		free(list[i]);
	}
	free(list);
	return r;
}

static int lay_dir(int top, int layer, const char *path, struct strv *todo)
{
	const char *at = *path ? path : ".";
	scoped_fd up = -1, low = -1;
	struct stat above, below;
	int r = mnt_open_plain(layer, at, DIR_FLAGS, &up);
	bool implied;

	if (r == 0)
		r = mnt_open_plain(top, at, DIR_FLAGS, &low);
	if (r == 0 && (fstat(up, &above) < 0 || fstat(low, &below) < 0))
		r = -errno;
	if (r < 0)
		return r;
	implied = has_mark(up);
	r = lay_entries(&(struct pair){ path, up, low, todo });
	if (r == 0 && !implied)
		r = take_over(low, up, &above);
	if (r == 0) {
		struct timespec time = implied ? below.st_mtim : above.st_mtim;

		r = futimens(low, (struct timespec[2]){ time, time }) < 0 ? -errno : 0;
	}
	return r;
}

static int lay_tree(int top, int layer, struct err *e)
{
	scoped_strv todo = { 0 };
	int r = 0;

	strv_add(&todo, "");
	for (size_t i = 0; r == 0 && i < todo.n; i++) {
		scoped_free char *path = todo.p[i];

		todo.p[i] = NULL;
		r = path ? lay_dir(top, layer, path, &todo) : -ENOMEM;
	}
	if (r == 0)
		r = strv_check(&todo);
	return r < 0 ? err_set(e, r, "putting layers together: %m") : 0;
}

static int open_tree(const struct merge *m, const char *name, bool make, int *ret, struct err *e)
{
	if (make && mkdirat(m->g->fd, name, 0700) < 0 && errno != EEXIST)
		return err_set(e, -errno, "image store: %m");
	*ret = openat(m->g->fd, name, DIR_FLAGS | O_NOFOLLOW | O_CLOEXEC);
	return *ret < 0 ? err_set(e, -errno, "image store: %m") : 0;
}

static int drop_tree(const struct merge *m, const char *name, struct err *e)
{
	int r = io_remove_tree_at(m->g->fd, name);

	return r < 0 ? err_set(e, r, "image store: %m") : 0;
}

int merge_add(struct merge *m, uint64_t entries, struct err *e)
{
	scoped_fd top = -1, layer = -1;
	int r = open_tree(m, TOP, true, &top, e);

	if (r == 0)
		r = open_tree(m, "root", false, &layer, e);
	if (r == 0)
		r = mark_implied(m, layer, e);
	if (r == 0)
		r = lay_tree(top, layer, e);
	m->entries += entries;
	return r == 0 ? drop_tree(m, "root", e) : r;
}

int merge_end(struct merge *m, const char *name, struct err *e)
{
	scoped_fd top = -1;
	int r = open_tree(m, TOP, true, &top, e);

	if (r == 0)
		r = list_implied(m, top, e);
	if (r == 0)
		r = layer_make_dir(m->g, TOP, name, m->entries, e);
	return r == 0 ? drop_tree(m, TOP, e) : r;
}
