/* implied.c - see implied.h. Costs a failed open for each layer of an image that has no such directories.
 * Never: follows a symlink of an image, leaves a layer. */
#include "agent/implied.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/str.h"
#include "sys/implied.h"
#include "sys/mnt.h"

#define OVL_PREFIX "trusted.overlay."
#define OVL_OPAQUE OVL_PREFIX "opaque"
#define NAMES_MAX  65536u /* XATTR_LIST_MAX, and of one value */
#define DIR_FLAGS  (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

void implied_fini(struct implied *i)
{
	for (size_t k = 0; k < i->n; k++) {
		scope_close(&i->dirs[k]);
		free(i->lists[k]);
	}
	i->n = 0;
}

int implied_read(struct implied *i, const char *base, size_t n, bool *ret_any, struct err *e)
{
	*ret_any = false;
	for (i->n = 0; i->n < n;) {
		scoped_free char *path = str_fmt("%s/%zu", base, i->n);
		size_t k = i->n;
		int r = 0;

		i->lists[k] = NULL;
		i->lens[k] = 0;
		i->dirs[k] = path ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
		if (i->dirs[k] < 0)
			return err_set(e, path ? -errno : -ENOMEM, "image %zu: %m", k);
		i->n++;
		r = implied_read_list(i->dirs[k], &i->lists[k], &i->lens[k]);
		if (r < 0 && r != -ENOENT)
			return err_set(e, r, "image %zu: " IMPLIED_FILE ": %m", k);
		*ret_any = *ret_any || r == 0;
	}
	return 0;
}

static bool is_listed(const struct implied *i, size_t k, const char *path)
{
	for (const char *p = i->lists[k], *end = p ? p + i->lens[k] : p; p < end; p += strlen(p) + 1)
		if (str_eq(p, path))
			return true;
	return false;
}

/* How a layer has a path. */
enum has {
	HAS_NOT,
	HAS_DIR,
	HAS_OTHER, /* it, or what is above it, is no directory here: what is below is hidden */
};

/* *ret_last: no layer below counts. *ret_fd: the directory. */
static int look(int layer, const char *path, enum has *ret, bool *ret_last, int *ret_fd)
{
	scoped_free char *copy = strdup(path);
	int r = copy ? 0 : -ENOMEM;

	*ret_last = false;
	for (char *p = copy; r == 0 && p;) {
		char *slash = strchr(p, '/'), flag;
		scoped_fd fd = -1;

		if (slash)
			*slash = '\0';
		r = mnt_open_plain(layer, copy, DIR_FLAGS, &fd);
		if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP) {
			*ret = r == -ENOENT ? HAS_NOT : HAS_OTHER;
			return 0;
		}
		if (r == 0 && fgetxattr(fd, OVL_OPAQUE, &flag, 1) == 1)
			*ret_last = *ret_last || flag == 'y';
		if (slash)
			*slash = '/';
		p = slash ? slash + 1 : NULL;
		if (!p)
			*ret_fd = take_fd(&fd);
	}
	*ret = HAS_DIR;
	return r;
}

/* The directory whose word counts: *ret_fd; -1 = none says anything, or the top one does. */
static int find_source(const struct implied *i, const char *path, int *ret_fd)
{
	bool above = false, last = false;

	*ret_fd = -1;
	for (size_t k = i->n; k-- > 0 && !last;) {
		enum has has = HAS_NOT;
		scoped_fd fd = -1;
		int r = look(i->dirs[k], path, &has, &last, &fd);

		if (r < 0 || has == HAS_OTHER)
			return r;
		if (has == HAS_NOT)
			continue;
		if (!is_listed(i, k, path)) {
			*ret_fd = above ? take_fd(&fd) : -1;
			return 0;
		}
		above = true;
	}
	return 0;
}

/* What the writable layer can't hold (user.* in memory, before Linux 6.6) is left out, as overlayfs does. */
static int copy_xattrs(int from, int to)
{
	scoped_free char *names = malloc(NAMES_MAX), *value = malloc(NAMES_MAX);
	ssize_t n = names && value ? flistxattr(from, names, NAMES_MAX) : -1;

	if (n < 0)
		return names && value ? -errno : -ENOMEM;
	for (const char *p = names; p < names + n; p += strlen(p) + 1) {
		ssize_t len = str_starts(p, OVL_PREFIX) ? 0 : fgetxattr(from, p, value, NAMES_MAX);

		if (len < 0 || (!str_starts(p, OVL_PREFIX) && fsetxattr(to, p, value, (size_t)len, 0) < 0 &&
				errno != EOPNOTSUPP))
			return -errno;
	}
	return 0;
}

/* Nothing is written where nothing differs: each directory that is written to is copied up. */
static int copy_meta(int from, int to)
{
	struct stat want, have;
	struct timespec times[2];
	char any;

	if (fstat(from, &want) < 0 || fstat(to, &have) < 0)
		return -errno;
	if (want.st_mode == have.st_mode && want.st_uid == have.st_uid && want.st_gid == have.st_gid &&
	    flistxattr(from, &any, 0) == 0)
		return 0;
	times[0] = times[1] = want.st_mtim;
	if (fchown(to, want.st_uid, want.st_gid) < 0 || fchmod(to, want.st_mode & 07777) < 0)
		return -errno;
	if (copy_xattrs(from, to) < 0 || futimens(to, times) < 0)
		return -errno;
	return 0;
}

static int mend(const struct implied *i, int root, const char *path)
{
	scoped_fd from = -1, to = -1;
	int r = find_source(i, path, &from);

	if (r == 0 && from >= 0)
		r = mnt_open_plain(root, path, DIR_FLAGS, &to);
	return r == 0 && from >= 0 ? copy_meta(from, to) : r;
}

int implied_mend(const struct implied *i, const char *on, struct err *e)
{
	scoped_fd root = open(on, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return err_set(e, -errno, "%s: %m", on);
	/* what the bottom one says nothing of nobody does */
	for (size_t k = 1; k < i->n; k++) {
		for (const char *p = i->lists[k], *end = p ? p + i->lens[k] : p; p < end;
		     p += strlen(p) + 1) {
			int r = mend(i, root, p);

			if (r < 0)
				return err_set(e, r, "image %zu: directory '%.200s': %m", k, p);
		}
	}
	return 0;
}
