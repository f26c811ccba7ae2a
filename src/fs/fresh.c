/* fresh.c - whether what the guest is about to open is still what it believes.
 *
 * The guest's kernel believes a name and a size for fs_conf.timeout_ms and asks for neither when it opens a
 * file; meanwhile the host may have put another file there, removed it, or made it longer. So that is looked
 * at wherever something is opened, and ESTALE said if it is no longer so: a kernel then walks the path once
 * more, asks for each name and the attributes in it (LOOKUP_REVAL), and opens what is there now. A second
 * ESTALE it would hand to the program, so who was sent back once is served the next time, whatever he asks
 * for. Never: opens anything but by O_PATH, follows a symbolic link, leaves the directory. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/priv.h"

/* Where i is, from the root; NULL if that is not known: it has lost its name, or is the root itself. */
static const char *path_of(const struct fs *fs, const struct inode *i, char buf[PATH_MAX])
{
	char *at = &buf[PATH_MAX - 1];

	*at = 0;
	for (; i->parent; i = i->parent) {
		size_t n = strlen(i->name);

		if (n + 1 > (size_t)(at - buf))
			return NULL;
		if (*at)
			*--at = '/';
		at -= n;
		memcpy(at, i->name, n);
	}
	return i == fs->root && *at ? at : NULL;
}

/* What can't be found out counts as so: the opening that follows has its own errors. */
static bool is_so(struct fs *fs, const struct inode *i)
{
	char buf[PATH_MAX];
	const char *path = path_of(fs, i, buf);
	struct file_stat st;
	scoped_fd fd = -1;

	if (!path || inodes_make_room(fs) < 0)
		return true;
	fd = open_below(fs->root->fd, path);
	if (fd < 0)
		return fd != -ENOENT && fd != -ENOTDIR && fd != -ELOOP;
	if (file_stat(fd, &st) < 0)
		return true;
	return same_key(&st.key, &i->key) && (!S_ISREG(i->key.type) || st.attr.size == i->size);
}

static uint32_t *sent_back(const struct call *c)
{
	return &c->fs->sent_back[c->h.pid % ARRAY_LEN(c->fs->sent_back)];
}

int fresh_check(const struct call *c, const struct inode *i)
{
	uint32_t *back = sent_back(c);
	bool once = *back == c->h.pid;

	if (once)
		*back = 0;
	if (once || c->h.pid == 0 || is_so(c->fs, i)) /* 0: nobody that could be told from others */
		return 0;
	*back = c->h.pid;
	return -ESTALE;
}

void fresh_forget(const struct call *c)
{
	uint32_t *back = sent_back(c);

	if (*back == c->h.pid)
		*back = 0;
}
