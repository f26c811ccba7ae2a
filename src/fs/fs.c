/* fs.c - see fs.h: the table of requests, and what all of them have in common. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/priv.h"

#define MINOR_MIN 31u /* Linux 5.4: the first with virtio-fs */
/* Of read-ahead, in bytes; the agent asks for more when a program has started (agent/ahead.h). */
#define AHEAD_FIRST (32u << 10)
#define BACKGROUND  16u /* requests in flight that no process waits for: read-ahead */

struct op {
	uint32_t opcode;
	size_t arg; /* bytes that must follow the header */
	int (*fn)(struct call *c);
	bool silent; /* has no reply */
};

/* What is not here is ENOSYS, after which the guest's kernel does it itself or never asks again: locks (they
 * hold within one guest), access (it checks modes itself), interrupt, ioctl, poll, DAX windows. */
static const struct op ops[] = {
	{ FUSE_LOOKUP, 1, do_lookup, false },
	{ FUSE_FORGET, sizeof(struct fuse_forget_in), do_forget, true },
	{ FUSE_GETATTR, sizeof(struct fuse_getattr_in), do_getattr, false },
	{ FUSE_SETATTR, sizeof(struct fuse_setattr_in), do_setattr, false },
	{ FUSE_READLINK, 0, do_readlink, false },
	{ FUSE_SYMLINK, 2, do_symlink, false },
	{ FUSE_MKNOD, sizeof(struct fuse_mknod_in), do_mknod, false },
	{ FUSE_MKDIR, sizeof(struct fuse_mkdir_in), do_mkdir, false },
	{ FUSE_UNLINK, 1, do_unlink, false },
	{ FUSE_RMDIR, 1, do_rmdir, false },
	{ FUSE_RENAME, sizeof(struct fuse_rename_in), do_rename, false },
	{ FUSE_LINK, sizeof(struct fuse_link_in), do_link, false },
	{ FUSE_OPEN, sizeof(struct fuse_open_in), do_open, false },
	{ FUSE_READ, sizeof(struct fuse_read_in), do_read, false },
	{ FUSE_WRITE, sizeof(struct fuse_write_in), do_write, false },
	{ FUSE_STATFS, 0, do_statfs, false },
	{ FUSE_RELEASE, sizeof(struct fuse_release_in), do_release, false },
	{ FUSE_FSYNC, sizeof(struct fuse_fsync_in), do_fsync, false },
	{ FUSE_SETXATTR, FUSE_COMPAT_SETXATTR_IN_SIZE, do_setxattr, false },
	{ FUSE_GETXATTR, sizeof(struct fuse_getxattr_in), do_getxattr, false },
	{ FUSE_LISTXATTR, sizeof(struct fuse_getxattr_in), do_listxattr, false },
	{ FUSE_REMOVEXATTR, 1, do_removexattr, false },
	{ FUSE_FLUSH, sizeof(struct fuse_flush_in), do_flush, false },
	{ FUSE_INIT, 16, do_init, false }, /* its first four words; newer kernels send more */
	{ FUSE_OPENDIR, sizeof(struct fuse_open_in), do_opendir, false },
	{ FUSE_READDIR, sizeof(struct fuse_read_in), do_readdir, false },
	{ FUSE_RELEASEDIR, sizeof(struct fuse_release_in), do_releasedir, false },
	{ FUSE_FSYNCDIR, sizeof(struct fuse_fsync_in), do_fsyncdir, false },
	{ FUSE_CREATE, sizeof(struct fuse_create_in), do_create, false },
	{ FUSE_DESTROY, 0, do_destroy, false },
	{ FUSE_BATCH_FORGET, sizeof(struct fuse_batch_forget_in), do_batch_forget, true },
	{ FUSE_FALLOCATE, sizeof(struct fuse_fallocate_in), do_fallocate, false },
	{ FUSE_READDIRPLUS, sizeof(struct fuse_read_in), do_readdirplus, false },
	{ FUSE_RENAME2, sizeof(struct fuse_rename2_in), do_rename2, false },
	{ FUSE_LSEEK, sizeof(struct fuse_lseek_in), do_lseek, false },
	{ FUSE_COPY_FILE_RANGE, sizeof(struct fuse_copy_file_range_in), do_copy, false },
	{ FUSE_SYNCFS, 0, do_syncfs, false },
	{ FUSE_TMPFILE, sizeof(struct fuse_create_in), do_tmpfile, false },
};

static const struct op *find_op(uint32_t opcode)
{
	for (size_t i = 0; i < ARRAY_LEN(ops); i++)
		if (ops[i].opcode == opcode)
			return &ops[i];
	return NULL;
}

int call_text(const struct call *c, size_t off, const char **ret, size_t *ret_next)
{
	const uint8_t *end;

	if (off >= c->n)
		return -EINVAL;
	end = memchr(c->arg + off, 0, c->n - off);
	if (!end)
		return -EINVAL;
	*ret = (const char *)c->arg + off;
	if (ret_next)
		*ret_next = (size_t)(end - c->arg) + 1;
	return 0;
}

int call_name(const struct call *c, size_t off, const char **ret, size_t *ret_next)
{
	const char *s = NULL;
	int r = call_text(c, off, &s, ret_next);

	if (r < 0)
		return r;
	if (strlen(s) > FS_NAME_MAX)
		return -ENAMETOOLONG;
	if (s[0] == 0 || strchr(s, '/') || strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
		return -EINVAL;
	*ret = s;
	return 0;
}

int call_fd(const struct call *c, struct inode **ret)
{
	int r = inode_get(c->fs, c->h.nodeid, ret);

	return r < 0 ? r : inode_fd(c->fs, *ret);
}

void *call_reply(struct call *c, size_t n)
{
	uint8_t *p = c->out + c->len;

	if (n > c->cap - c->len)
		return NULL;
	memset(p, 0, n);
	c->len += n;
	return p;
}

static int run(struct call *c, const struct op *op)
{
	if (!op)
		return -ENOSYS;
	if (c->n < op->arg)
		return -EINVAL;
	if (!c->fs->ready && op->opcode != FUSE_INIT)
		return -EIO; /* as the kernel's own client answers before INIT */
	return op->fn(c);
}

size_t fs_handle(struct fs *fs, const void *req, size_t n, void *reply, size_t cap)
{
	struct fuse_out_header out = { 0 };
	struct call c = { .fs = fs };
	const struct op *op;
	int r;

	if (n < sizeof c.h)
		return 0;
	memcpy(&c.h, req, sizeof c.h);
	op = find_op(c.h.opcode);
	if (c.h.len != n || (cap < sizeof out && !(op && op->silent)))
		return 0;
	c.arg = (const uint8_t *)req + sizeof c.h;
	c.n = n - sizeof c.h;
	if (cap >= sizeof out) {
		c.out = (uint8_t *)reply + sizeof out;
		c.cap = cap - sizeof out;
	}
	r = run(&c, op);
	inodes_release(fs);
	if (op && op->silent)
		return 0;
	out.error = r;
	out.unique = c.h.unique;
	out.len = (uint32_t)(sizeof out + (r < 0 ? 0 : c.len));
	memcpy(reply, &out, sizeof out);
	return out.len;
}

int do_init(struct call *c)
{
	static const uint32_t wanted = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES |
				       FUSE_DONT_MASK | FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS |
				       FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |
				       FUSE_POSIX_ACL | FUSE_MAX_PAGES | FUSE_SUBMOUNTS | FUSE_SETXATTR_EXT;
	const struct fuse_init_in *in = CALL_ARG(c, struct fuse_init_in);
	struct fuse_init_out *out = call_reply(c, sizeof *out);

	if (!out || in->major != FUSE_KERNEL_VERSION || in->minor < MINOR_MIN)
		return -EPROTO;
	may_fail(do_destroy(c)); /* a machine that was reset says no more than this; it can't fail */
	out->major = FUSE_KERNEL_VERSION;
	out->minor = FUSE_KERNEL_MINOR_VERSION;
	out->max_readahead = in->max_readahead < AHEAD_FIRST ? in->max_readahead : AHEAD_FIRST;
	out->flags = in->flags & wanted;
	out->max_background = BACKGROUND;
	out->congestion_threshold = BACKGROUND / 4 * 3;
	out->max_write = FS_DATA_MAX;
	out->max_pages = FS_DATA_MAX / 4096;
	out->time_gran = 1;
	c->fs->ready = true;
	c->fs->setxattr_ext = out->flags & FUSE_SETXATTR_EXT;
	return 0;
}

/* The file system was unmounted: everything is forgotten, and a new INIT may come. */
int do_destroy(struct call *c)
{
	struct fs *fs = c->fs;

	for (uint32_t k = 0; k < fs->n_handles; k++)
		if (fs->handles[k].fd >= 0)
			handle_free(fs, &fs->handles[k]);
	for (uint32_t k = 0; k < fs->n_slots; k++) {
		struct inode *i = fs->slots[k].inode;

		if (i && i != fs->root)
			inode_forget(fs, i, UINT64_MAX);
	}
	fs->ready = false;
	return 0;
}

int fs_open(const struct fs_conf *conf, struct fs **ret, struct err *e)
{
	struct fs *fs = calloc(1, sizeof *fs);
	int r;

	if (!fs)
		return err_set(e, -ENOMEM, "out of memory");
	fs->conf = *conf;
	fs->uid = geteuid();
	fs->gid = getegid();
	handles_init(fs);
	if (prctl(PR_GET_PDEATHSIG, &fs->pdeathsig, 0, 0, 0) < 0)
		fs->pdeathsig = 0;
	r = fchdir(conf->fds) < 0 ? err_set(e, -errno, "the directory of descriptors: %m") : 0;
	if (r == 0) {
		r = inodes_init(fs);
		if (r < 0)
			(void)err_set(e, r, "the shared directory: %m");
	}
	if (r < 0) {
		fs_close(fs);
		return r;
	}
	*ret = fs;
	return 0;
}

void fs_close(struct fs *fs)
{
	if (!fs)
		return;
	handles_fini(fs);
	inodes_fini(fs);
	scope_close(&fs->conf.root);
	scope_close(&fs->conf.fds);
	free(fs);
}

struct fs_counts fs_count(const struct fs *fs)
{
	return (struct fs_counts){ .inodes = fs->n_inodes, .handles = fs->used_handles, .fds = fs->n_fds };
}
