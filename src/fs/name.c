/* name.c - making, removing and renaming. Everything is made by the server's user and given to the guest's
 * afterwards; the guest's kernel has checked that its user may. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/priv.h"

#define MODE_BITS    07777u
#define RENAME_FLAGS (RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)

static int dir_of(struct call *c, struct inode **dir, int *fd)
{
	*fd = call_fd(c, dir);
	if (*fd < 0)
		return *fd;
	return S_ISDIR((*dir)->key.type) ? 0 : -ENOTDIR;
}

int give_to_caller(struct call *c, int dirfd, int fd, const char *name, mode_t mode)
{
	struct stat parent, st;
	gid_t gid = c->h.gid;

	if (fstatat(dirfd, "", &parent, AT_EMPTY_PATH) < 0)
		return -errno;
	if (parent.st_mode & S_ISGID)
		gid = parent.st_gid; /* its own, as set when it was made */
	if (fchownat(fd >= 0 ? fd : dirfd, fd >= 0 ? "" : name, c->h.uid, gid,
		     AT_SYMLINK_NOFOLLOW | (fd >= 0 ? AT_EMPTY_PATH : 0)) < 0)
		return -errno;
	/* the change of owner took suid and sgid away; of what default ACLs made of the mode nothing else
	 * changes */
	if (!(mode & (S_ISUID | S_ISGID)) || !S_ISREG(mode))
		return 0;
	if (fstatat(fd >= 0 ? fd : dirfd, fd >= 0 ? "" : name, &st,
		    AT_SYMLINK_NOFOLLOW | (fd >= 0 ? AT_EMPTY_PATH : 0)) < 0)
		return -errno;
	mode = (st.st_mode & 01777) | (mode & (S_ISUID | S_ISGID));
	if ((fd >= 0 ? fchmod(fd, mode) : fchmodat(dirfd, name, mode, 0)) < 0)
		return -errno;
	return 0;
}

/* What was made for a caller that can't have it goes again. */
static int finish(struct call *c, struct inode *dir, int dirfd, const char *name, mode_t mode)
{
	int r = give_to_caller(c, dirfd, -1, name, mode);

	if (r == 0)
		r = reply_entry(c, dir, name);
	if (r < 0)
		(void)unlinkat(dirfd, name, S_ISDIR(mode) ? AT_REMOVEDIR : 0);
	return r;
}

int do_mkdir(struct call *c)
{
	const struct fuse_mkdir_in *in = CALL_ARG(c, struct fuse_mkdir_in);
	const char *name;
	struct inode *dir;
	int r, fd;

	r = call_name(c, sizeof *in, &name, NULL);
	if (r == 0)
		r = dir_of(c, &dir, &fd);
	if (r < 0)
		return r;
	/* not for us: for the default ACL of the directory, which takes its place if there is one */
	(void)umask(in->umask & 0777);
	r = mkdirat(fd, name, in->mode & MODE_BITS) < 0 ? -errno : 0;
	(void)umask(0);
	return r == 0 ? finish(c, dir, fd, name, S_IFDIR) : r;
}

int do_mknod(struct call *c)
{
	const struct fuse_mknod_in *in = CALL_ARG(c, struct fuse_mknod_in);
	const char *name;
	struct inode *dir;
	int r, fd;

	r = call_name(c, sizeof *in, &name, NULL);
	if (r == 0)
		r = dir_of(c, &dir, &fd);
	if (r < 0)
		return r;
	if (S_ISDIR(in->mode) || S_ISLNK(in->mode))
		return -EINVAL;
	(void)umask(in->umask & 0777);
	r = mknodat(fd, name, in->mode, rdev_decode(in->rdev)) < 0 ? -errno : 0;
	(void)umask(0);
	return r == 0 ? finish(c, dir, fd, name, in->mode) : r;
}

int do_symlink(struct call *c)
{
	const char *name, *target;
	struct inode *dir;
	size_t next = 0;
	int r, fd;

	r = call_name(c, 0, &name, &next);
	if (r == 0)
		r = call_text(c, next, &target, NULL);
	if (r == 0)
		r = dir_of(c, &dir, &fd);
	if (r < 0)
		return r;
	if (symlinkat(target, fd, name) < 0)
		return -errno;
	return finish(c, dir, fd, name, S_IFLNK);
}

int do_link(struct call *c)
{
	const struct fuse_link_in *in = CALL_ARG(c, struct fuse_link_in);
	char number[16];
	struct inode *dir, *from;
	const char *name;
	int r, fd, from_fd;

	r = call_name(c, sizeof *in, &name, NULL);
	if (r == 0)
		r = dir_of(c, &dir, &fd);
	if (r == 0)
		r = inode_get(c->fs, in->oldnodeid, &from);
	if (r < 0)
		return r;
	from_fd = inode_fd(c->fs, from);
	if (from_fd < 0)
		return from_fd;
	(void)snprintf(number, sizeof number, "%d", from_fd); /* below /proc/self/fd, where we stand */
	if (linkat(AT_FDCWD, number, fd, name, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return reply_entry(c, dir, name);
}

static int remove_name(struct call *c, int flags)
{
	const char *name;
	struct inode *dir;
	int r, fd;

	r = call_name(c, 0, &name, NULL);
	if (r == 0)
		r = dir_of(c, &dir, &fd);
	if (r < 0)
		return r;
	inode_losing_name(c->fs, dir, name);
	return unlinkat(fd, name, flags) < 0 ? -errno : 0;
}

int do_unlink(struct call *c)
{
	return remove_name(c, 0);
}

int do_rmdir(struct call *c)
{
	return remove_name(c, AT_REMOVEDIR);
}

static int rename_names(struct call *c, size_t off, uint64_t new_id, unsigned flags)
{
	struct inode *dir, *new_dir;
	const char *from, *to;
	size_t next = 0;
	int r, fd, new_fd;

	r = call_name(c, off, &from, &next);
	if (r == 0)
		r = call_name(c, next, &to, NULL);
	if (r == 0)
		r = dir_of(c, &dir, &fd);
	if (r == 0)
		r = inode_get(c->fs, new_id, &new_dir);
	if (r < 0)
		return r;
	if (!S_ISDIR(new_dir->key.type))
		return -ENOTDIR;
	new_fd = inode_fd(c->fs, new_dir);
	if (new_fd < 0)
		return new_fd;
	if (!(flags & (RENAME_EXCHANGE | RENAME_NOREPLACE)))
		inode_losing_name(c->fs, new_dir, to);
	if (syscall(SYS_renameat2, fd, from, new_fd, to, flags) < 0) /* not in every libc */
		return -errno;
	inode_moved_to(c->fs, new_dir, to);
	if (flags & RENAME_EXCHANGE)
		inode_moved_to(c->fs, dir, from);
	return 0;
}

int do_rename(struct call *c)
{
	const struct fuse_rename_in *in = CALL_ARG(c, struct fuse_rename_in);

	return rename_names(c, sizeof *in, in->newdir, 0);
}

int do_rename2(struct call *c)
{
	const struct fuse_rename2_in *in = CALL_ARG(c, struct fuse_rename2_in);

	if (in->flags & ~(unsigned)RENAME_FLAGS)
		return -EINVAL;
	return rename_names(c, sizeof *in, in->newdir, in->flags);
}
