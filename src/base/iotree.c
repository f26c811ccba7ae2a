/* iotree.c - io_remove_tree_at() of io.h: removing a directory tree.
 *
 * Called when a container or an image goes. The names inside are not trusted: whoever could write
 * there may have left symlinks, very deep directories or mounts, and may still be writing.
 * Never: follows a symlink, enters a mount, or uses fds or stack in proportion to the depth. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/io.h"

/* Directories below this depth are moved up to the top first. */
#define DEPTH_MAX 32

struct removal {
	int top;        /* fd of the tree's first directory */
	uint64_t moved; /* number of the next name at the top */
};

/* Opens a directory entry: no symlink, no mount point (-EXDEV), no way out. */
static int open_entry(int dir, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, dir, name, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/* Moves a directory to the top under a fresh name, where the outer loop finds it. Replacing an empty
 * directory of that name does no harm: it is to be removed, too. */
static int move_up(struct removal *rm, int dir, const char *name)
{
	char fresh[40];

	for (;;) {
		(void)snprintf(fresh, sizeof(fresh), ".cor-rm-%llu", (unsigned long long)rm->moved++);
		if (renameat(dir, name, rm->top, fresh) == 0)
			return 0;
		if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
			return -errno;
	}
}

static int remove_entry(struct removal *rm, int dir, const char *name, int depth);

/* Removes what a directory holds. Reading while removing may skip entries, so it is read again until
 * a pass finds none. Takes the fd.
 * NOLINTNEXTLINE(misc-no-recursion): bounded by DEPTH_MAX */
static int empty_dir(struct removal *rm, int fd, int depth)
{
	scoped_dir d = fdopendir(fd);
	bool found = true;
	int r;

	if (!d) {
		r = -errno;
		scope_close(&fd);
		return r;
	}
	while (found) {
		struct dirent *e;

		found = false;
		rewinddir(d);
		while ((errno = 0, e = readdir(d))) {
			if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
				continue;
			found = true;
			r = remove_entry(rm, dirfd(d), e->d_name, depth);
			if (r < 0)
				return r;
		}
		if (errno)
			return -errno;
	}
	return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): bounded by DEPTH_MAX */
static int remove_entry(struct removal *rm, int dir, const char *name, int depth)
{
	int fd, r;

	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR)
		return -errno;
	if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return -errno;
	if (depth >= DEPTH_MAX)
		return move_up(rm, dir, name);
	fd = open_entry(dir, name);
	if (fd == -EXDEV) /* mounted since; a mount that was there before has failed above */
		return -EBUSY;
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (depth == 0)
		rm->top = fd;
	r = empty_dir(rm, fd, depth + 1);
	if (r < 0)
		return r;
	return unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int io_remove_tree_at(int dirfd, const char *path)
{
	struct removal rm = { .top = -1 };
	const char *slash = strrchr(path, '/');
	scoped_free char *parent = NULL;
	scoped_fd fd = -1;

	if (!slash)
		return remove_entry(&rm, dirfd, path, 0);
	/* the part before the last slash is the caller's and may cross symlinks and mounts */
	parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	if (!parent)
		return -ENOMEM;
	fd = openat(dirfd, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return remove_entry(&rm, fd, slash + 1, 0);
}
