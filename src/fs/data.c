/* data.c - opening, reading and writing.
 *
 * Only regular files are ever opened: opening a device node or a fifo that the guest has made would act on
 * the host. The type of a file never changes, and it is opened by its descriptor, not by a name. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/priv.h"

/* What a guest may ask for. O_DIRECT not: our buffer has no alignment to offer. O_APPEND not: each write says
 * whether it appends, and what the guest wrote by a map goes to its place through whatever handle is there.
 */
#define OPEN_FLAGS (O_ACCMODE | O_TRUNC | O_DSYNC | O_SYNC | O_NOATIME)

#ifndef RWF_APPEND
#define RWF_APPEND 0x10 /* linux/fs.h; musl has none */
#endif

static int by_number(int fd, int flags)
{
	char number[16];
	int r;

	(void)snprintf(number, sizeof number, "%d", fd); /* below /proc/self/fd, where we stand */
	r = open(number, flags | O_CLOEXEC | O_NOCTTY);
	return r < 0 ? -errno : r;
}

static int open_regular(struct call *c, struct inode *i, uint32_t flags)
{
	int fd, r;

	if (S_ISDIR(i->key.type))
		return -EISDIR;
	if (!S_ISREG(i->key.type))
		return -ENXIO;
	fd = inode_fd(c->fs, i);
	if (fd < 0)
		return fd;
	r = by_number(fd, (int)flags & OPEN_FLAGS);
	if (r == -EPERM && flags & O_APPEND) /* the host made it append-only */
		r = by_number(fd, (int)flags & (OPEN_FLAGS | O_APPEND));
	if (r >= 0 && flags & O_TRUNC)
		i->size = 0;
	return r;
}

static int reply_open(struct call *c, struct inode *i, int fd, bool is_read_only)
{
	struct fuse_open_out *o = call_reply(c, sizeof *o);
	scoped_fd own = fd;

	if (!o)
		return -EINVAL;
	/* A close has nothing to write that could fail: the kernel need not ask (do_flush()). */
	if (is_read_only)
		o->open_flags = FOPEN_NOFLUSH;
	return handle_new(c->fs, i, take_fd(&own), &o->fh);
}

int do_open(struct call *c)
{
	struct inode *i;
	uint32_t flags;
	int r, fd;

	r = inode_get(c->fs, c->h.nodeid, &i);
	if (r == 0)
		r = fresh_check(c, i);
	if (r < 0)
		return r;
	flags = CALL_ARG(c, struct fuse_open_in)->flags;
	fd = open_regular(c, i, flags);
	return fd < 0 ? fd : reply_open(c, i, fd, (flags & O_ACCMODE) == O_RDONLY);
}

/* Makes dir/name, or opens what is there already if the guest allows that. */
static int create(struct call *c, int dirfd, const char *name, int *ret)
{
	const struct fuse_create_in *in = CALL_ARG(c, struct fuse_create_in);
	int flags = ((int)in->flags & OPEN_FLAGS) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
	int r = make_begin(c, in->umask);

	if (r < 0)
		return r;
	*ret = openat(dirfd, name, flags, in->mode & 07777);
	r = *ret < 0 ? -errno : 0;
	make_end(c);
	return r;
}

int do_create(struct call *c)
{
	const struct fuse_create_in *in = CALL_ARG(c, struct fuse_create_in);
	struct fuse_entry_out *o;
	struct file_stat st;
	struct inode *dir, *i;
	const char *name;
	int r, dirfd, fd = -1;

	r = call_name(c, sizeof *in, &name, NULL);
	if (r == 0)
		r = inode_get(c->fs, c->h.nodeid, &dir);
	if (r < 0)
		return r;
	dirfd = inode_fd(c->fs, dir);
	o = call_reply(c, sizeof *o);
	if (dirfd < 0 || !o)
		return dirfd < 0 ? dirfd : -EINVAL;
	r = inodes_make_room(c->fs);
	if (r == 0)
		r = create(c, dirfd, name, &fd);
	if (r < 0 && (r != -EEXIST || in->flags & O_EXCL))
		return r;
	r = inode_lookup(c->fs, dir, name, &i, &st);
	if (r < 0) {
		scope_close(&fd);
		return r;
	}
	put_entry(c, o, i, dir, &st);
	if (fd < 0)
		fd = open_regular(c, i, in->flags);
	r = fd < 0 ? fd : reply_open(c, i, fd, false);
	if (r < 0)
		inode_forget(c->fs, i, 1);
	return r;
}

/* A file without a name. It is known by its descriptor alone until it gets one by LINK. */
int do_tmpfile(struct call *c)
{
	const struct fuse_create_in *in = CALL_ARG(c, struct fuse_create_in);
	struct fuse_entry_out *o = call_reply(c, sizeof *o);
	struct file_stat st;
	scoped_fd fd = -1;
	struct inode *dir, *i;
	int r, dirfd;

	r = inode_get(c->fs, c->h.nodeid, &dir);
	if (r < 0)
		return r;
	dirfd = inode_fd(c->fs, dir);
	if (dirfd < 0 || !o)
		return dirfd < 0 ? dirfd : -EINVAL;
	r = inodes_make_room(c->fs);
	if (r == 0)
		r = make_begin(c, in->umask);
	if (r < 0)
		return r;
	fd = openat(dirfd, ".", ((int)in->flags & OPEN_FLAGS) | O_TMPFILE | O_CLOEXEC, in->mode & 07777);
	r = fd < 0 ? -errno : 0;
	make_end(c);
	if (r == 0)
		r = inode_nameless(c->fs, fd, &i, &st);
	if (r < 0)
		return r;
	put_entry(c, o, i, dir, &st);
	r = reply_open(c, i, take_fd(&fd), false);
	if (r < 0)
		inode_forget(c->fs, i, 1);
	return r;
}

static int file_handle(struct call *c, uint64_t fh, struct handle **ret)
{
	struct inode *i;
	int r = inode_get(c->fs, c->h.nodeid, &i);

	return r == 0 ? handle_get(c->fs, fh, i, false, ret) : r;
}

int do_read(struct call *c)
{
	const struct fuse_read_in *in = CALL_ARG(c, struct fuse_read_in);
	size_t size = in->size;
	struct handle *h;
	ssize_t n;
	int r;

	r = file_handle(c, in->fh, &h);
	if (r < 0)
		return r;
	if (size > c->cap || in->offset > INT64_MAX)
		return -EINVAL;
	do {
		n = pread(h->fd, c->out + c->len, size - c->len, (off_t)(in->offset + c->len));
		if (n > 0)
			c->len += (size_t)n;
	} while ((n > 0 && c->len < size) || (n < 0 && errno == EINTR));
	return n < 0 && c->len == 0 ? -errno : 0;
}

/* Bytes up to `end` are the guest's own doing: its kernel makes the file as long, without asking. */
static void grown(const struct handle *h, uint64_t end)
{
	if (end > h->inode->size)
		h->inode->size = end;
}

static ssize_t write_at(int fd, const struct fuse_write_in *in, const uint8_t *data, size_t done)
{
	struct iovec v = { .iov_base = (void *)(uintptr_t)(data + done), .iov_len = in->size - done };

	if (!(in->flags & O_APPEND) || in->write_flags & FUSE_WRITE_CACHE)
		return pwrite(fd, v.iov_base, v.iov_len, (off_t)(in->offset + done));
	return syscall(SYS_pwritev2, fd, &v, 1, 0, 0, RWF_APPEND); /* not in every libc */
}

int do_write(struct call *c)
{
	const struct fuse_write_in *in = CALL_ARG(c, struct fuse_write_in);
	struct fuse_write_out *o = call_reply(c, sizeof *o);
	const uint8_t *data = c->arg + sizeof *in;
	struct handle *h;
	ssize_t n;
	int r;

	r = file_handle(c, in->fh, &h);
	if (r < 0)
		return r;
	if (!o || in->size > c->n - sizeof *in || in->offset > INT64_MAX)
		return -EINVAL;
	do {
		n = write_at(h->fd, in, data, o->size);
		if (n > 0)
			o->size += (uint32_t)n;
	} while ((n > 0 && o->size < in->size) || (n < 0 && errno == EINTR));
	r = n < 0 && o->size == 0 ? -errno : 0;
	if (o->size > 0)
		grown(h, in->offset + o->size);
	return r;
}

int do_release(struct call *c)
{
	struct handle *h;
	int r = file_handle(c, CALL_ARG(c, struct fuse_release_in)->fh, &h);

	if (r == 0)
		handle_free(c->fs, h);
	return r;
}

/* A close(2) in the guest. What the host's file system has to say at its own close (quota, a network's
 * file system) is said to a copy of the descriptor. */
int do_flush(struct call *c)
{
	struct handle *h;
	int r, copy;

	r = file_handle(c, CALL_ARG(c, struct fuse_flush_in)->fh, &h);
	if (r < 0)
		return r;
	copy = fcntl(h->fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return errno == EMFILE ? 0 : -errno;
	return close(copy) < 0 ? -errno : 0;
}

int do_fsync(struct call *c)
{
	const struct fuse_fsync_in *in = CALL_ARG(c, struct fuse_fsync_in);
	struct handle *h;
	int r = file_handle(c, in->fh, &h);

	if (r < 0)
		return r;
	r = in->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) : fsync(h->fd);
	return r < 0 ? -errno : 0;
}

/* A directory of the file system that has the root's device number in the guest (attr.c): there the kernel
 * asks for the root. */
static struct inode *at_home(const struct fs *fs)
{
	for (uint32_t k = 0; k < fs->n_slots; k++) {
		struct inode *i = fs->slots[k].inode;

		if (i && i->parent == fs->root && S_ISDIR(i->key.type) && i->key.dev == fs->home)
			return i;
	}
	return fs->root;
}

int do_syncfs(struct call *c)
{
	scoped_fd fd = -1;
	struct inode *i;
	int r;

	r = inode_get(c->fs, c->h.nodeid, &i);
	if (r < 0)
		return r;
	if (!S_ISDIR(i->key.type))
		return -EINVAL;
	/* The guest's process 1, the agent, wants its pages written to us; a disk it needn't wait for. */
	if (i == c->fs->root && c->fs->home && c->h.pid != 1)
		i = at_home(c->fs);
	r = inodes_make_room(c->fs);
	if (r == 0)
		r = inode_fd(c->fs, i);
	if (r < 0)
		return r;
	fd = by_number(r, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	return syncfs(fd) < 0 ? -errno : 0;
}

int do_fallocate(struct call *c)
{
	const struct fuse_fallocate_in *in = CALL_ARG(c, struct fuse_fallocate_in);
	struct handle *h;
	int r = file_handle(c, in->fh, &h);

	if (r < 0)
		return r;
	if (in->offset > INT64_MAX || in->length > INT64_MAX)
		return -EINVAL;
	if (fallocate(h->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) < 0)
		return -errno;
	if (!(in->mode & FALLOC_FL_KEEP_SIZE))
		grown(h, in->offset + in->length);
	return 0;
}

int do_lseek(struct call *c)
{
	const struct fuse_lseek_in *in = CALL_ARG(c, struct fuse_lseek_in);
	struct fuse_lseek_out *o = call_reply(c, sizeof *o);
	struct handle *h;
	off_t at;
	int r = file_handle(c, in->fh, &h);

	if (r < 0)
		return r;
	if (!o || in->offset > INT64_MAX || (in->whence != SEEK_DATA && in->whence != SEEK_HOLE))
		return -EINVAL;
	at = lseek(h->fd, (off_t)in->offset, (int)in->whence);
	if (at < 0)
		return -errno;
	o->offset = (uint64_t)at;
	return 0;
}

int do_copy(struct call *c)
{
	const struct fuse_copy_file_range_in *in = CALL_ARG(c, struct fuse_copy_file_range_in);
	off_t from = (off_t)in->off_in, to = (off_t)in->off_out;
	struct fuse_write_out *o = call_reply(c, sizeof *o);
	struct handle *h, *out;
	struct inode *i;
	ssize_t n;
	int r;

	r = file_handle(c, in->fh_in, &h);
	if (r == 0)
		r = inode_get(c->fs, in->nodeid_out, &i);
	if (r == 0)
		r = handle_get(c->fs, in->fh_out, i, false, &out);
	if (r < 0)
		return r;
	if (!o || in->flags != 0 || from < 0 || to < 0)
		return -EINVAL;
	n = copy_file_range(h->fd, &from, out->fd, &to, in->len < FS_COPY_MAX ? (size_t)in->len : FS_COPY_MAX,
			    0);
	if (n < 0)
		return -errno;
	o->size = (uint32_t)n;
	grown(out, in->off_out + o->size);
	return 0;
}
