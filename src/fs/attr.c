/* attr.c - look-ups, attributes, links. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "fs/priv.h"

static void put_timeout(const struct fs *fs, uint64_t *s, uint32_t *ns)
{
	*s = fs->conf.timeout_ms / 1000;
	*ns = fs->conf.timeout_ms % 1000 * 1000000;
}

/* What is mounted at the root's entry `main` is at home; if nothing is, the first directory that is met in
 * the root and is of another file system than the root. */
static bool is_home(struct fs *fs, const struct inode *i)
{
	struct file_stat st;
	scoped_fd fd = -1;

	if (!fs->conf.main)
		return false;
	if (inodes_make_room(fs) == 0)
		fd = open_below(fs->root->fd, fs->conf.main);
	if (fd >= 0 && file_stat(fd, &st) == 0 && st.key.dev != fs->root->key.dev)
		fs->home = st.key.dev;
	if (!fs->home)
		fs->home = i->key.dev;
	return i->key.dev == fs->home;
}

/* Another file system of the host gets a device number of its own in the guest, too, since the numbers of its
 * files may be those of others. Not the one at home: Linux (6.1, 6.12) switches no ACLs on for such. */
static bool is_foreign(struct fs *fs, const struct inode *i, const struct inode *dir)
{
	return S_ISDIR(i->key.type) && i->key.dev != dir->key.dev && !(dir == fs->root && is_home(fs, i));
}

void put_entry(struct call *c, struct fuse_entry_out *o, struct inode *i, const struct inode *dir,
	       const struct file_stat *st)
{
	i->size = st->attr.size;
	memset(o, 0, sizeof *o);
	o->nodeid = i->id;
	/* The host changes what stands in the root itself: a VM that waited sees another container's there.
	 */
	if (dir != c->fs->root)
		put_timeout(c->fs, &o->entry_valid, &o->entry_valid_nsec);
	put_timeout(c->fs, &o->attr_valid, &o->attr_valid_nsec);
	o->attr = st->attr;
	if (is_foreign(c->fs, i, dir))
		o->attr.flags = FUSE_ATTR_SUBMOUNT;
}

int reply_entry(struct call *c, struct inode *dir, const char *name)
{
	struct fuse_entry_out *o = call_reply(c, sizeof *o);
	struct file_stat st;
	struct inode *i;
	int r;

	if (!o)
		return -EINVAL;
	r = inode_lookup(c->fs, dir, name, &i, &st);
	if (r == 0)
		put_entry(c, o, i, dir, &st);
	return r;
}

int do_lookup(struct call *c)
{
	const char *name;
	struct inode *dir;
	int r;

	r = call_name(c, 0, &name, NULL);
	if (r == 0)
		r = inode_get(c->fs, c->h.nodeid, &dir);
	if (r == 0)
		r = reply_entry(c, dir, name);
	if (r < 0)
		fresh_forget(c);
	return r;
}

static void forget(struct fs *fs, uint64_t id, uint64_t n)
{
	struct inode *i;

	if (id != FUSE_ROOT_ID && inode_get(fs, id, &i) == 0)
		inode_forget(fs, i, n);
}

int do_forget(struct call *c)
{
	forget(c->fs, c->h.nodeid, CALL_ARG(c, struct fuse_forget_in)->nlookup);
	return 0;
}

int do_batch_forget(struct call *c)
{
	const struct fuse_batch_forget_in *in = CALL_ARG(c, struct fuse_batch_forget_in);
	const struct fuse_forget_one *one = (const void *)(in + 1);

	if (in->count > (c->n - sizeof *in) / sizeof *one)
		return -EINVAL;
	for (uint32_t k = 0; k < in->count; k++)
		forget(c->fs, one[k].nodeid, one[k].nlookup);
	return 0;
}

static int reply_attr(struct call *c, struct inode *i, int fd)
{
	struct fuse_attr_out *o = call_reply(c, sizeof *o);
	struct file_stat st;
	int r;

	if (!o)
		return -EINVAL;
	r = file_stat(fd, &st);
	if (r < 0)
		return r;
	put_timeout(c->fs, &o->attr_valid, &o->attr_valid_nsec);
	o->attr = st.attr;
	i->size = st.attr.size;
	return 0;
}

int do_getattr(struct call *c)
{
	struct inode *i;
	int fd = call_fd(c, &i);

	return fd < 0 ? fd : reply_attr(c, i, fd);
}

/* The times to set. UTIME_OMIT for what was not asked for. */
static struct timespec wanted_time(uint32_t valid, uint32_t set, uint32_t now, uint64_t s, uint32_t ns)
{
	if (valid & now)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	if (!(valid & set) || ns >= 1000000000)
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	return (struct timespec){ .tv_sec = (time_t)s, .tv_nsec = (long)ns };
}

static int set_size(struct call *c, const struct fuse_setattr_in *in, struct inode *i, const char *number)
{
	struct handle *h;
	int r;

	if (!S_ISREG(i->key.type))
		return -EINVAL; /* never open what may be a device of the host */
	if (in->size > INT64_MAX)
		return -EFBIG;
	if (in->valid & FATTR_FH) {
		r = handle_get(c->fs, in->fh, i, false, &h);
		if (r < 0)
			return r;
		/* a file opened for reading may be cut by who has the right: the guest checked it */
		if (ftruncate(h->fd, (off_t)in->size) == 0)
			return 0;
	}
	return truncate(number, (off_t)in->size) < 0 ? -errno : 0;
}

static int set_attrs(struct call *c, const struct fuse_setattr_in *in, struct inode *i, int fd)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;
	struct timespec times[2] = {
		wanted_time(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
		wanted_time(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};
	char number[16];
	int r = 0;

	(void)snprintf(number, sizeof number, "%d", fd); /* below /proc/self/fd, where we stand */
	if (in->valid & (FATTR_UID | FATTR_GID) &&
	    fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	/* after the owner, whose change takes suid and sgid away */
	if (in->valid & FATTR_MODE) {
		if (S_ISLNK(i->key.type))
			return -EOPNOTSUPP;
		if (fchmodat(AT_FDCWD, number, in->mode & 07777, 0) < 0)
			return -errno;
	}
	if (in->valid & FATTR_SIZE)
		r = set_size(c, in, i, number);
	if (r == 0 && in->valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW) &&
	    utimensat(fd, "", times, AT_EMPTY_PATH) < 0)
		r = -errno;
	return r;
}

int do_setattr(struct call *c)
{
	const struct fuse_setattr_in *in = CALL_ARG(c, struct fuse_setattr_in);
	struct inode *i;
	int r, fd;

	fd = call_fd(c, &i);
	if (fd < 0)
		return fd;
	r = set_attrs(c, in, i, fd);
	return r == 0 ? reply_attr(c, i, fd) : r;
}

int do_readlink(struct call *c)
{
	struct inode *i;
	ssize_t n;
	int fd;

	fd = call_fd(c, &i);
	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", (char *)c->out, c->cap);
	if (n < 0)
		return -errno;
	c->len = (size_t)n;
	return 0;
}

int do_statfs(struct call *c)
{
	struct fuse_statfs_out *o = call_reply(c, sizeof *o);
	struct statfs s;
	struct inode *i;
	int fd;

	fd = call_fd(c, &i);
	if (fd < 0)
		return fd;
	if (!o || fstatfs(fd, &s) < 0)
		return o ? -errno : -EINVAL;
	o->st = (struct fuse_kstatfs){ .blocks = s.f_blocks,
				       .bfree = s.f_bfree,
				       .bavail = s.f_bavail,
				       .files = s.f_files,
				       .ffree = s.f_ffree,
				       .bsize = (uint32_t)s.f_bsize,
				       .namelen = (uint32_t)s.f_namelen,
				       .frsize = (uint32_t)s.f_frsize };
	return 0;
}
