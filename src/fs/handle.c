/* handle.c - what the guest has open. A handle is an index and a generation: an old one opens nothing. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/priv.h"

void handles_init(struct fs *fs)
{
	fs->handles = NULL;
	fs->n_handles = fs->used_handles = fs->free_handle = 0;
}

void handles_fini(struct fs *fs)
{
	for (uint32_t k = 0; k < fs->n_handles; k++)
		scope_close(&fs->handles[k].fd);
	free(fs->handles);
}

static int grow(struct fs *fs)
{
	uint32_t more = fs->n_handles ? fs->n_handles * 2 : 32;
	struct handle *h = reallocarray(fs->handles, more, sizeof *h);

	if (!h)
		return -ENOMEM;
	for (uint32_t k = fs->n_handles; k < more; k++)
		h[k] = (struct handle){ .fd = -1, .next_free = k + 1 < more ? k + 2 : 0 };
	fs->free_handle = fs->n_handles + 1;
	fs->handles = h;
	fs->n_handles = more;
	return 0;
}

int handle_new(struct fs *fs, struct inode *i, int fd, uint64_t *ret)
{
	scoped_fd own = fd;
	int r = inodes_make_room(fs);
	uint32_t at;

	if (r == 0 && fs->free_handle == 0)
		r = grow(fs);
	if (r < 0)
		return r;
	at = fs->free_handle - 1;
	fs->free_handle = fs->handles[at].next_free;
	fs->handles[at] = (struct handle){ .fd = take_fd(&own),
					   .gen = fs->handles[at].gen + 1,
					   .is_dir = S_ISDIR(i->key.type),
					   .inode = i };
	inode_ref(i);
	fs->used_handles++;
	fs->n_fds++;
	*ret = (uint64_t)fs->handles[at].gen << 32 | at;
	return 0;
}

int handle_get(struct fs *fs, uint64_t fh, const struct inode *i, bool is_dir, struct handle **ret)
{
	uint32_t at = (uint32_t)fh;
	struct handle *h = at < fs->n_handles ? &fs->handles[at] : NULL;

	if (!h || h->fd < 0 || h->gen != fh >> 32 || h->is_dir != is_dir || h->inode != i)
		return -EBADF;
	*ret = h;
	return 0;
}

void handle_free(struct fs *fs, struct handle *h)
{
	struct inode *i = h->inode;

	(void)close(take_fd(&h->fd));
	h->inode = NULL;
	h->next_free = fs->free_handle;
	fs->free_handle = (uint32_t)(h - fs->handles) + 1;
	fs->used_handles--;
	fs->n_fds--;
	inode_unref(fs, i);
}
