/* xattr.c - extended attributes. Which ones pass: users' own, POSIX ACLs, and file capabilities, which an
 * image may need. The host's labels (security.selinux and others) and trusted.* are the host's. */
#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/str.h"
#include "fs/priv.h"

static const char *const passing[] = { "user.", "system.posix_acl_", "security.capability" };

static bool passes(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(passing); i++)
		if (str_starts(name, passing[i]))
			return true;
	return false;
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

int do_setxattr(struct call *c)
{
	const struct fuse_setxattr_in *in = CALL_ARG(c, struct fuse_setxattr_in);
	const char *name;
	char number[16];
	size_t at = 0;
	int r;

	/* the short form: SETXATTR_EXT was not negotiated */
	r = call_text(c, FUSE_COMPAT_SETXATTR_IN_SIZE, &name, &at);
	if (r < 0)
		return r;
	if (in->size > c->n - at || in->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	if (!passes(name))
		return -EOPNOTSUPP;
	r = number_of(c, number);
	if (r < 0)
		return r;
	return setxattr(number, name, c->arg + at, in->size, (int)in->flags) < 0 ? -errno : 0;
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
	char number[16];
	const char *name;
	ssize_t n;
	int r;

	r = call_text(c, sizeof *in, &name, NULL);
	if (r < 0)
		return r;
	if (!passes(name))
		return -ENODATA;
	r = number_of(c, number);
	if (r < 0)
		return r;
	n = getxattr(number, name, size ? c->out : NULL, size);
	if (n < 0)
		return -errno;
	if (in->size == 0)
		return reply_size(c, (size_t)n);
	c->len = (size_t)n;
	return 0;
}

/* Drops the names that don't pass; returns what is left. */
static size_t filter_names(char *list, size_t n)
{
	size_t to = 0;

	for (size_t at = 0; at < n;) {
		size_t len = strnlen(list + at, n - at) + 1;

		if (at + len > n)
			break; /* no end: not a list */
		if (passes(list + at)) {
			memmove(list + to, list + at, len);
			to += len;
		}
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
	left = filter_names(list, (size_t)n);
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
	const char *name;
	char number[16];
	int r;

	r = call_text(c, 0, &name, NULL);
	if (r < 0)
		return r;
	if (!passes(name))
		return -EOPNOTSUPP;
	r = number_of(c, number);
	if (r < 0)
		return r;
	return removexattr(number, name) < 0 ? -errno : 0;
}
