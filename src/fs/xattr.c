/* xattr.c - extended attributes. Which ones pass: users' own, POSIX ACLs, and file capabilities, which an
 * image may need. The host's labels (security.selinux and others) are the host's. So is trusted.*: what the
 * guest's root calls that (an overlayfs in a container does) is kept as TRUSTED_AS, which nobody in the guest
 * can name. */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/str.h"
#include "fs/priv.h"

#define HIDDEN     "user.cor."
#define TRUSTED    "trusted."
#define TRUSTED_AS HIDDEN TRUSTED

static const char *const passing[] = { "user.", "system.posix_acl_", "security.capability" };

static bool passes(const char *name)
{
	if (str_starts(name, HIDDEN))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(passing); i++)
		if (str_starts(name, passing[i]))
			return true;
	return false;
}

/* What the host knows an attribute by. -EOPNOTSUPP if the guest has no such attributes. */
static int host_name(const char *name, char ret[XATTR_NAME_MAX + 1])
{
	bool trusted = str_starts(name, TRUSTED);

	if (!trusted && !passes(name))
		return -EOPNOTSUPP;
	if (strlen(name) > XATTR_NAME_MAX - (trusted ? strlen(HIDDEN) : 0))
		return -ERANGE;
	(void)snprintf(ret, XATTR_NAME_MAX + 1, "%s%s", trusted ? HIDDEN : "", name);
	return 0;
}

/* The file by its number below /proc/self/fd, where we stand. */
static int number_of(struct call *c, char number[16])
{
	struct inode *i;
	int r = call_fd(c, &i);

	if (r < 0)
		return r;
	(void)snprintf(number, 16, "%d", r);
	return 0;
}

/* A file whose ACL was set by one who is not in its group loses set-group-id; the guest's kernel knows. */
static int kill_sgid(struct call *c, const char *number)
{
	struct file_stat st;
	struct inode *i;
	int r = call_fd(c, &i);

	if (r >= 0)
		r = file_stat(r, &st);
	if (r < 0 || !(st.attr.mode & S_ISGID))
		return r;
	return fchmodat(AT_FDCWD, number, st.attr.mode & (07777u & ~(unsigned)S_ISGID), 0) < 0 ? -errno : 0;
}

int do_setxattr(struct call *c)
{
	const struct fuse_setxattr_in *in = CALL_ARG(c, struct fuse_setxattr_in);
	size_t at = c->fs->setxattr_ext ? sizeof *in : FUSE_COMPAT_SETXATTR_IN_SIZE;
	char number[16], host[XATTR_NAME_MAX + 1];
	const char *name;
	bool kill;
	int r;

	r = call_text(c, at, &name, &at);
	if (r < 0)
		return r;
	if (in->size > c->n - at || in->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	kill = c->fs->setxattr_ext && in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID;
	r = host_name(name, host);
	if (r == 0)
		r = number_of(c, number);
	if (r == 0 && setxattr(number, host, c->arg + at, in->size, (int)in->flags) < 0)
		r = -errno;
	return r == 0 && kill ? kill_sgid(c, number) : r;
}

/* Size 0 asks how much there is. */
static int reply_size(struct call *c, size_t n)
{
	struct fuse_getxattr_out *o = call_reply(c, sizeof *o);

	if (!o)
		return -EINVAL;
	o->size = (uint32_t)n;
	return 0;
}

int do_getxattr(struct call *c)
{
	const struct fuse_getxattr_in *in = CALL_ARG(c, struct fuse_getxattr_in);
	size_t size = in->size < c->cap ? in->size : c->cap;
	char number[16], host[XATTR_NAME_MAX + 1];
	const char *name;
	ssize_t n;
	int r;

	r = call_text(c, sizeof *in, &name, NULL);
	if (r < 0)
		return r;
	r = host_name(name, host);
	if (r < 0)
		return r == -EOPNOTSUPP ? -ENODATA : r;
	r = number_of(c, number);
	if (r < 0)
		return r;
	n = getxattr(number, host, size ? c->out : NULL, size);
	if (n < 0)
		return -errno;
	if (in->size == 0)
		return reply_size(c, (size_t)n);
	c->len = (size_t)n;
	return 0;
}

/* Drops the names that don't pass; returns what is left. root: the caller is shown trusted ones. */
static size_t filter_names(char *list, size_t n, bool root)
{
	size_t to = 0;

	for (size_t at = 0; at < n;) {
		size_t len = strnlen(list + at, n - at) + 1;

		if (at + len > n)
			break; /* no end: not a list */
		if (root && str_starts(list + at, TRUSTED_AS)) {
			at += strlen(HIDDEN);
			len -= strlen(HIDDEN);
		} else if (!passes(list + at)) {
			at += len;
			continue;
		}
		memmove(list + to, list + at, len);
		to += len;
		at += len;
	}
	return to;
}

int do_listxattr(struct call *c)
{
	const struct fuse_getxattr_in *in = CALL_ARG(c, struct fuse_getxattr_in);
	scoped_free char *list = malloc(XATTR_LIST_MAX);
	char number[16];
	size_t left;
	ssize_t n;
	int r;

	if (!list)
		return -ENOMEM;
	r = number_of(c, number);
	if (r < 0)
		return r;
	n = listxattr(number, list, XATTR_LIST_MAX);
	if (n < 0)
		return -errno;
	left = filter_names(list, (size_t)n, c->h.uid == 0);
	if (in->size == 0)
		return reply_size(c, left);
	if (left > in->size || left > c->cap)
		return -ERANGE;
	memcpy(c->out, list, left);
	c->len = left;
	return 0;
}

int do_removexattr(struct call *c)
{
	char number[16], host[XATTR_NAME_MAX + 1];
	const char *name;
	int r;

	r = call_text(c, 0, &name, NULL);
	if (r == 0)
		r = host_name(name, host);
	if (r == 0)
		r = number_of(c, number);
	if (r < 0)
		return r;
	return removexattr(number, host) < 0 ? -errno : 0;
}
