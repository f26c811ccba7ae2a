/* outdir.c - see outdir.h. Called by os.c. The place is the user's choice: nothing is removed from it
 * but files of our own names. */
#include "image/outdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/str.h"

static bool is_ours(const struct outdir *d, const char *name)
{
	for (const char *const *n = d->names; *n; n++) {
		if (str_eq(*n, name))
			return true;
	}
	return str_eq(name, ".") || str_eq(name, "..");
}

/* -ENOTEMPTY if the directory holds a name that is not ours; a missing one is fine. */
static int check_ours(const struct outdir *d, const char *path, struct err *e)
{
	scoped_dir dir = opendir(path);
	struct dirent *de;

	if (!dir)
		return errno == ENOENT ? 0 : err_set(e, -errno, "%s: %m", path);
	while ((de = readdir(dir))) {
		if (!is_ours(d, de->d_name))
			return err_set(
				e, -ENOTEMPTY,
				"%s holds '%s', which is not part of a mini-OS: choose an empty directory",
				path, de->d_name);
	}
	return 0;
}

static int remove_ours(const struct outdir *d, int fd)
{
	for (const char *const *n = d->names; *n; n++) {
		if (unlinkat(fd, *n, 0) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

/* Opens and locks the staging directory. 1 = it was swapped away while we waited: try again. */
static int lock_staging(struct outdir *d, struct err *e)
{
	struct stat by_fd, by_name;
	scoped_fd fd = -1;

	if (mkdir(d->staging, 0755) < 0 && errno != EEXIST)
		return err_set(e, -errno, "%s: %m", d->staging);
	fd = open(d->staging, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 1 : err_set(e, -errno, "%s: %m", d->staging);
	if (flock(fd, LOCK_EX) < 0 || fstat(fd, &by_fd) < 0)
		return err_set(e, -errno, "%s: %m", d->staging);
	if (stat(d->staging, &by_name) < 0 || by_name.st_ino != by_fd.st_ino ||
	    by_name.st_dev != by_fd.st_dev)
		return 1;
	d->fd = take_fd(&fd);
	return 0;
}

int outdir_open(struct outdir *d, const char *path, const char *const *names, struct err *e)
{
	scoped_free char *parent = NULL;
	const char *slash;
	int r;

	d->fd = -1;
	d->names = names;
	d->path = realpath(path, NULL); /* a symlink stays; what it points to is replaced */
	if (!d->path && errno == ENOENT)
		d->path = str_clean_path(path);
	else if (!d->path)
		return err_set(e, -errno, "%s: %m", path);
	d->staging = d->path ? str_fmt("%s.new", d->path) : NULL;
	if (!d->staging)
		return err_set(e, -ENOMEM, "%m");
	slash = strrchr(d->path, '/');
	if (str_eq(d->path, "/") || str_ends(d->path, ".."))
		return err_set(e, -EINVAL, "%s: not a directory for a mini-OS", path);
	parent = slash ? strndup(d->path, (size_t)(slash - d->path)) : NULL;
	r = parent && *parent ? io_mkdirs(parent, 0755) : 0;
	if (r < 0)
		return err_set(e, r, "%s: %m", parent);
	do {
		r = lock_staging(d, e);
	} while (r > 0);
	if (r == 0)
		r = check_ours(d, d->path, e);
	if (r == 0)
		r = check_ours(d, d->staging, e);
	if (r < 0)
		return r;
	r = remove_ours(d, d->fd);
	return r < 0 ? err_set(e, r, "%s: %m", d->staging) : 0;
}

/* The names of two directories change places; where the file system can't do it in one step, the old
 * one is moved away first. */
static int swap(const struct outdir *d, bool *ret_old)
{
	scoped_free char *old = NULL;

	*ret_old = true;
	if (renameat2(AT_FDCWD, d->staging, AT_FDCWD, d->path, RENAME_EXCHANGE) == 0)
		return 0;
	*ret_old = false;
	if (rename(d->staging, d->path) == 0) /* it was not there, or empty */
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return -errno;
	old = str_fmt("%s.old", d->path);
	if (!old)
		return -ENOMEM;
	if (rename(d->path, old) < 0 || rename(d->staging, d->path) < 0 || rename(old, d->staging) < 0)
		return -errno;
	*ret_old = true;
	return 0;
}

static int sync_files(const struct outdir *d)
{
	for (const char *const *n = d->names; *n; n++) {
		scoped_fd fd = openat(d->fd, *n, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || fsync(fd) < 0)
			return -errno;
	}
	return fsync(d->fd) < 0 ? -errno : 0;
}

static int sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	scoped_free char *parent =
		slash && slash > path ? strndup(path, (size_t)(slash - path)) : strdup(slash ? "/" : ".");
	scoped_fd fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int outdir_commit(struct outdir *d, struct err *e)
{
	scoped_fd old = -1;
	bool has_old;
	int r;

	r = sync_files(d);
	if (r < 0)
		return err_set(e, r, "%s: %m", d->staging);
	r = swap(d, &has_old);
	if (r == 0)
		r = sync_parent(d->path);
	if (r < 0)
		return err_set(e, r, "%s: %m", d->path);
	if (has_old) {
		old = open(d->staging, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (old < 0)
			return err_set(e, -errno, "%s: %m", d->staging);
		r = remove_ours(d, old);
		if (r < 0 || rmdir(d->staging) < 0)
			return err_set(e, r < 0 ? r : -errno, "%s: %m", d->staging);
	}
	(void)close(take_fd(&d->fd)); /* and with it the lock */
	return 0;
}

void outdir_fini(struct outdir *d)
{
	if (d->fd >= 0 && d->staging) {
		/* Best effort: the next build takes it over otherwise. */
		if (remove_ours(d, d->fd) == 0)
			(void)rmdir(d->staging);
		(void)close(take_fd(&d->fd));
	}
	free(d->path);
	free(d->staging);
	*d = (struct outdir){ .fd = -1 };
}
