/* dir.c - directories. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/priv.h"

/* linux_dirent64 of getdents64(2), which no header has. */
struct kernel_dirent {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

#define BATCH     4096
#define ENTRY_MAX 280u /* of getdents64(2): the longest name */

int do_opendir(struct call *c)
{
	struct fuse_open_out *o = call_reply(c, sizeof *o);
	struct inode *i;
	char number[16];
	int r, fd;

	r = inode_get(c->fs, c->h.nodeid, &i);
	if (r < 0)
		return r;
	if (!S_ISDIR(i->key.type))
		return -ENOTDIR;
	r = fresh_check(c, i);
	if (r == 0)
		r = inode_fd(c->fs, i);
	if (r < 0)
		return r;
	(void)snprintf(number, sizeof number, "%d", r); /* below /proc/self/fd, where we stand */
	r = inodes_make_room(c->fs);
	if (r < 0)
		return r;
	fd = open(number, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (!o) {
		(void)close(fd);
		return -EINVAL;
	}
	return handle_new(c->fs, i, fd, &o->fh);
}

static int dir_handle(struct call *c, uint64_t fh, struct handle **ret)
{
	struct inode *i;
	int r = inode_get(c->fs, c->h.nodeid, &i);

	return r == 0 ? handle_get(c->fs, fh, i, true, ret) : r;
}

/* True if it fitted. */
static bool put_dirent(struct call *c, const struct kernel_dirent *d, size_t limit)
{
	size_t n = strlen(d->name), at = c->len;
	size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + n);
	struct fuse_dirent *o;

	if (c->len + size > limit)
		return false;
	o = call_reply(c, size);
	if (!o) {
		c->len = at;
		return false;
	}
	o->ino = d->ino;
	o->off = (uint64_t)d->off;
	o->namelen = (uint32_t)n;
	o->type = d->type;
	memcpy(o->name, d->name, n);
	return true;
}

/* An entry with what a look-up would say. A file that has just gone is left with the name only. */
static bool put_direntplus(struct call *c, struct inode *dir, const struct kernel_dirent *d, size_t limit)
{
	size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + strlen(d->name)), at = c->len;
	bool dots = strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0;
	struct fuse_entry_out entry = { 0 };
	struct fuse_entry_out *o;
	struct inode *i = NULL;
	struct file_stat st;

	if (at + size > limit)
		return false;
	o = call_reply(c, sizeof *o);
	if (!o || !put_dirent(c, d, limit)) {
		c->len = at;
		return false;
	}
	/* only now: what the guest is not told, it can't forget */
	if (!dots && inode_lookup(c->fs, dir, d->name, &i, &st) == 0)
		put_entry(c, &entry, i, dir, &st);
	memcpy(o, &entry, sizeof entry);
	return true;
}

/* How many bytes of getdents64(2) the rest of a reply surely takes. Of its entries each has 24 bytes or more,
 * and gets at most 8 longer, or 136 with what a look-up says. */
static size_t batch_size(size_t room, bool plus)
{
	size_t n = plus ? room * 24 / (24 + 136) : room * 24 / (24 + 8);

	return n < BATCH ? n : BATCH;
}

/* Serves one batch of entries from where the directory stands; 0 at the end, or if the reply is full, 1 if
 * there may be more. What was read is to fit: going back means another place in a directory whose offsets
 * count entries (tmpfs), once some of them were removed meanwhile, as by rm -r. */
static int put_batch(struct call *c, struct handle *h, bool plus, size_t limit)
{
	_Alignas(struct kernel_dirent) char batch[BATCH];
	size_t size = batch_size(limit - c->len, plus);
	long n;

	if (size < ENTRY_MAX && c->len > 0)
		return 0;
	n = syscall(SYS_getdents64, h->fd, batch, size < ENTRY_MAX ? ENTRY_MAX : size);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	for (long at = 0; at < n;) {
		const struct kernel_dirent *d = (const void *)(batch + at);

		if (!(plus ? put_direntplus(c, h->inode, d, limit) : put_dirent(c, d, limit))) {
			/* A reply shorter than any kernel asks for: the next batch begins where it ends. */
			if (lseek(h->fd, h->pos, SEEK_SET) < 0)
				return -errno;
			return 0;
		}
		h->pos = d->off;
		at += d->reclen;
	}
	return 1;
}

static int read_dir(struct call *c, bool plus)
{
	const struct fuse_read_in *in = CALL_ARG(c, struct fuse_read_in);
	size_t limit = in->size < c->cap ? in->size : c->cap;
	struct handle *h;
	int r;

	r = dir_handle(c, in->fh, &h);
	if (r < 0)
		return r;
	if (in->offset > INT64_MAX)
		return -EINVAL;
	if (h->pos != (int64_t)in->offset && lseek(h->fd, (off_t)in->offset, SEEK_SET) < 0)
		return -errno;
	h->pos = (int64_t)in->offset;
	do {
		r = put_batch(c, h, plus, limit);
		inodes_release(c->fs);
	} while (r == 1);
	return c->len > 0 ? 0 : r;
}

int do_readdir(struct call *c)
{
	return read_dir(c, false);
}

int do_readdirplus(struct call *c)
{
	return read_dir(c, true);
}

int do_releasedir(struct call *c)
{
	struct handle *h;
	int r = dir_handle(c, CALL_ARG(c, struct fuse_release_in)->fh, &h);

	if (r == 0)
		handle_free(c->fs, h);
	return r;
}

int do_fsyncdir(struct call *c)
{
	const struct fuse_fsync_in *in = CALL_ARG(c, struct fuse_fsync_in);
	struct handle *h;
	int r = dir_handle(c, in->fh, &h);

	if (r < 0)
		return r;
	r = in->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) : fsync(h->fd);
	return r < 0 ? -errno : 0;
}
