/* name.c - making, removing and renaming. Everything is made with the guest's user as its maker, so that the
 * host's kernel says whose it is, through an idmapped mount, too; and with the server's rights: the guest's
 * kernel has checked that its user may. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
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

int make_begin(const struct call *c, uint32_t mask)
{
	const struct fs *fs = c->fs;
	uid_t uid = c->h.uid;
	gid_t gid = c->h.gid;

	/* not for us: for the default ACL of the directory, which takes its place if there is one */
	(void)umask(mask & 0777);
	if (uid == fs->uid && gid == fs->gid)
		return 0;
	/* neither can say that it failed; -1 is nobody's and asks */
	(void)setfsgid(gid);
	(void)setfsuid(uid);
	if ((uid_t)setfsuid((uid_t)-1) == uid && (gid_t)setfsgid((gid_t)-1) == gid)
		return 0;
	make_end(c);
	return -EINVAL;
}

void make_end(const struct call *c)
{
	const struct fs *fs = c->fs;

	(void)umask(0);
	if (c->h.uid == fs->uid && c->h.gid == fs->gid)
		return;
	(void)setfsuid(fs->uid);
	(void)setfsgid(fs->gid);
	if (fs->pdeathsig) /* a change of ids clears it; it can't fail */
		(void)prctl(PR_SET_PDEATHSIG, fs->pdeathsig, 0, 0, 0);
}

/* What the caller can't be told of goes again. */
static int finish(struct call *c, struct inode *dir, int dirfd, const char *name, mode_t mode)
{
	int r = reply_entry(c, dir, name);

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
	r = make_begin(c, in->umask);
	if (r < 0)
		return r;
	r = mkdirat(fd, name, in->mode & MODE_BITS) < 0 ? -errno : 0;
	make_end(c);
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
	r = make_begin(c, in->umask);
	if (r < 0)
		return r;
	r = mknodat(fd, name, in->mode, rdev_decode(in->rdev)) < 0 ? -errno : 0;
	make_end(c);
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
	if (r == 0)
		r = make_begin(c, 0);
	if (r < 0)
		return r;
	r = symlinkat(target, fd, name) < 0 ? -errno : 0;
	make_end(c);
	return r == 0 ? finish(c, dir, fd, name, S_IFLNK) : r;
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
	r = make_begin(c, 0); /* a name, too, can only be made by who is mapped */
	if (r < 0)
		return r;
	r = linkat(AT_FDCWD, number, fd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
	make_end(c);
	return r == 0 ? reply_entry(c, dir, name) : r;
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
	r = make_begin(c, 0); /* RENAME_WHITEOUT makes something */
	if (r < 0)
		return r;
	r = syscall(SYS_renameat2, fd, from, new_fd, to, flags) < 0 ? -errno : 0; /* not in every libc */
	make_end(c);
	if (r < 0)
		return r;
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
