/* inode.c - the files that the guest knows, and which of them are open.
 *
 * An id is an index into the slots and a generation, so that an id that was forgotten names nothing. A file
 * is kept as long as the guest has not forgotten it, or a child or an open handle needs it.
 *
 * Its O_PATH descriptor may be closed (the longest unused first) and is opened again by walking down from the
 * nearest ancestor that has one. A file that has lost its name can't be found again: its descriptor stays. If
 * the host moved things behind our back, what is found is another file, and the guest gets ESTALE. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/priv.h"

#define ROOT_INDEX 1u /* FUSE_ROOT_ID with generation 0 */
#define FDS_MIN    64u
#define IDLE_MIN   16u

/* ---- the list of those whose descriptor may be closed ---- */

static void lru_remove(struct fs *fs, struct inode *i)
{
	*(i->newer ? &i->newer->older : &fs->newest) = i->older;
	*(i->older ? &i->older->newer : &fs->oldest) = i->newer;
	i->newer = i->older = NULL;
	fs->n_idle--;
}

static bool lru_holds(const struct fs *fs, const struct inode *i)
{
	return i->newer || i->older || fs->newest == i;
}

static void lru_add(struct fs *fs, struct inode *i)
{
	i->older = fs->newest;
	*(fs->newest ? &fs->newest->newer : &fs->oldest) = i;
	fs->newest = i;
	fs->n_idle++;
}

static void close_fd(struct fs *fs, struct inode *i)
{
	if (i->fd < 0)
		return;
	if (lru_holds(fs, i))
		lru_remove(fs, i);
	(void)close(take_fd(&i->fd));
	fs->n_fds--;
}

static void set_fd(struct fs *fs, struct inode *i, int fd)
{
	i->fd = fd;
	fs->n_fds++;
	if (!i->pinned && i != fs->root)
		lru_add(fs, i);
}

static void pin_fd(struct fs *fs, struct inode *i)
{
	if (i->fd >= 0 && lru_holds(fs, i))
		lru_remove(fs, i);
	i->pinned = true;
}

int inodes_make_room(struct fs *fs)
{
	struct inode *i = fs->oldest;

	while (i && (fs->n_fds >= fs->conf.max_fds || fs->n_idle >= fs->conf.idle_fds)) {
		struct inode *newer = i->newer;

		if (!i->held)
			close_fd(fs, i);
		i = newer;
	}
	return fs->n_fds >= fs->conf.max_fds ? -ENFILE : 0;
}

/* ---- opening ---- */

int open_below(int dirfd, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);

	return fd < 0 ? -errno : (int)fd;
}

bool same_key(const struct file_key *a, const struct file_key *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->mnt == b->mnt && a->type == b->type;
}

/* Opens i, whose parent is open. */
static int reopen_one(struct fs *fs, struct inode *i)
{
	struct file_stat st;
	scoped_fd fd = -1;
	int r;

	r = inodes_make_room(fs);
	if (r < 0)
		return r;
	fd = open_below(i->parent->fd, i->name);
	if (fd < 0)
		return fd == -ENOENT ? -ESTALE : fd;
	r = file_stat(fd, &st);
	if (r < 0)
		return r;
	if (!same_key(&st.key, &i->key))
		return -ESTALE;
	set_fd(fs, i, take_fd(&fd));
	return 0;
}

/* Opens i and every closed ancestor, from the top: each time the highest closed one, until i is open. The
 * one just opened is held against making room for its child. */
static int reopen(struct fs *fs, struct inode *i)
{
	while (i->fd < 0) {
		struct inode *top = i;
		int r;

		while (top->parent && top->parent->fd < 0)
			top = top->parent;
		if (!top->parent)
			return -ESTALE;
		bool was_held = top->parent->held;
		top->parent->held = true;
		r = reopen_one(fs, top);
		top->parent->held = was_held;
		if (r < 0)
			return r;
	}
	return 0;
}

int inode_fd(struct fs *fs, struct inode *i)
{
	int r = reopen(fs, i);

	if (r < 0)
		return r;
	if (lru_holds(fs, i)) {
		lru_remove(fs, i);
		lru_add(fs, i);
	}
	if (!i->held) {
		if (fs->n_held == FS_HELD_MAX)
			return -ENFILE; /* no request needs that many */
		i->held = true;
		fs->held[fs->n_held++] = i;
	}
	return i->fd;
}

void inodes_release(struct fs *fs)
{
	for (unsigned k = 0; k < fs->n_held; k++)
		fs->held[k]->held = false;
	fs->n_held = 0;
}

/* ---- the tables ---- */

static size_t hash(const struct file_key *k)
{
	uint64_t h = (k->ino ^ k->dev << 7 ^ k->mnt << 21) * UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(h >> 20);
}

static struct inode *find(const struct fs *fs, const struct file_key *key)
{
	struct inode *i = fs->table[hash(key) & (fs->table_size - 1)];

	while (i && !same_key(&i->key, key))
		i = i->chain;
	return i;
}

static int table_grow(struct fs *fs)
{
	size_t size = fs->table_size ? fs->table_size * 2 : 256;
	struct inode **t = calloc(size, sizeof(struct inode *));

	if (!t)
		return fs->table_size ? 0 : -ENOMEM; /* only slower */
	for (size_t b = 0; b < fs->table_size; b++)
		for (struct inode *i = fs->table[b], *next; i; i = next) {
			struct inode **to = &t[hash(&i->key) & (size - 1)];

			next = i->chain;
			i->chain = *to;
			*to = i;
		}
	free(fs->table);
	fs->table = t;
	fs->table_size = size;
	return 0;
}

static void table_remove(struct fs *fs, struct inode *i)
{
	struct inode **at = &fs->table[hash(&i->key) & (fs->table_size - 1)];

	while (*at && *at != i)
		at = &(*at)->chain;
	if (*at)
		*at = i->chain;
}

static int slot_take(struct fs *fs, struct inode *i)
{
	uint32_t at = fs->first_free;

	if (at == 0) {
		uint32_t more = fs->n_slots ? fs->n_slots * 2 : 64;
		struct slot *s = reallocarray(fs->slots, more, sizeof *s);

		if (!s)
			return -ENOMEM;
		fs->slots = s;
		for (uint32_t k = fs->n_slots; k < more; k++)
			s[k] = (struct slot){ .next_free = k + 1 < more ? k + 1 : 0 };
		at = fs->n_slots ? fs->n_slots : ROOT_INDEX; /* 0 is no id, and the list's end */
		fs->n_slots = more;
	}
	fs->first_free = fs->slots[at].next_free;
	fs->slots[at].inode = i;
	i->id = (uint64_t)fs->slots[at].gen << 32 | at;
	return 0;
}

static void slot_give(struct fs *fs, const struct inode *i)
{
	uint32_t at = (uint32_t)i->id;

	fs->slots[at].inode = NULL;
	fs->slots[at].gen++;
	fs->slots[at].next_free = fs->first_free;
	fs->first_free = at;
}

int inode_get(struct fs *fs, uint64_t id, struct inode **ret)
{
	uint32_t at = (uint32_t)id;

	if (at >= fs->n_slots || !fs->slots[at].inode || fs->slots[at].inode->id != id)
		return -ESTALE;
	/* Known to us for its children's sake is not known to the guest. */
	if (fs->slots[at].inode->nlookup == 0)
		return -ESTALE;
	*ret = fs->slots[at].inode;
	return 0;
}

static int inode_new(struct fs *fs, const struct file_stat *st, struct inode **ret)
{
	struct inode *i, **bucket;
	int r;

	if (fs->n_inodes >= fs->conf.max_inodes)
		return -ENFILE;
	if (fs->n_inodes >= fs->table_size) {
		r = table_grow(fs);
		if (r < 0)
			return r;
	}
	i = calloc(1, sizeof *i);
	if (!i)
		return -ENOMEM;
	i->fd = -1;
	i->key = st->key;
	r = slot_take(fs, i);
	if (r < 0) {
		free(i);
		return r;
	}
	bucket = &fs->table[hash(&i->key) & (fs->table_size - 1)];
	i->chain = *bucket;
	*bucket = i;
	fs->n_inodes++;
	*ret = i;
	return 0;
}

/* Frees i if nobody needs it, then its ancestors likewise. */
static void collect(struct fs *fs, struct inode *i)
{
	while (i && i != fs->root && i->nlookup == 0 && i->refs == 0) {
		struct inode *parent = i->parent;

		for (unsigned k = 0; k < fs->n_held; k++)
			if (fs->held[k] == i)
				fs->held[k] = fs->held[--fs->n_held];
		close_fd(fs, i);
		table_remove(fs, i);
		slot_give(fs, i);
		free(i->name);
		free(i);
		fs->n_inodes--;
		if (parent)
			parent->refs--;
		i = parent;
	}
}

void inode_ref(struct inode *i)
{
	i->refs++;
}

void inode_unref(struct fs *fs, struct inode *i)
{
	i->refs--;
	collect(fs, i);
}

void inode_forget(struct fs *fs, struct inode *i, uint64_t n)
{
	i->nlookup -= n < i->nlookup ? n : i->nlookup;
	collect(fs, i);
}

/* ---- names ---- */

/* True if `dir` is i or below it: then i can't be below dir. */
static bool is_below(const struct inode *dir, const struct inode *i)
{
	while (dir && dir != i)
		dir = dir->parent;
	return dir == i;
}

static void drop_name(struct fs *fs, struct inode *i)
{
	struct inode *parent = i->parent;

	free(take_ptr(&i->name));
	i->parent = NULL;
	if (parent)
		inode_unref(fs, parent);
}

/* i is now dir/name. What can't be recorded is pinned: then its descriptor, which is open, must do. */
static void set_name(struct fs *fs, struct inode *i, struct inode *dir, const char *name)
{
	char *copy;

	if (i == fs->root || (i->parent == dir && strcmp(i->name, name) == 0))
		return;
	copy = is_below(dir, i) ? NULL : strdup(name); /* a loop: the host moved things about */
	inode_ref(i);                                  /* dropping the old parent may not take us along */
	if (copy)
		inode_ref(dir);
	drop_name(fs, i);
	if (copy) {
		i->parent = dir;
		i->name = copy;
		if (i->pinned && i->fd >= 0)
			lru_add(fs, i);
		i->pinned = false;
	} else {
		pin_fd(fs, i);
	}
	inode_unref(fs, i);
}

int inode_lookup(struct fs *fs, struct inode *dir, const char *name, struct inode **ret, struct file_stat *st)
{
	int dirfd = inode_fd(fs, dir), r;
	scoped_fd fd = -1;
	struct inode *i;

	if (dirfd < 0)
		return dirfd;
	if (!S_ISDIR(dir->key.type))
		return -ENOTDIR;
	r = inodes_make_room(fs);
	if (r < 0)
		return r;
	fd = open_below(dirfd, name);
	if (fd < 0)
		return fd;
	r = file_stat(fd, st);
	if (r < 0)
		return r;
	i = find(fs, &st->key);
	if (!i) {
		r = inode_new(fs, st, &i);
		if (r < 0)
			return r;
	}
	i->nlookup++;
	if (i->fd < 0)
		set_fd(fs, i, take_fd(&fd));
	set_name(fs, i, dir, name);
	*ret = i;
	return 0;
}

int inode_nameless(struct fs *fs, int fd, struct inode **ret, struct file_stat *st)
{
	scoped_fd copy = -1;
	char number[16];
	int r;

	r = inodes_make_room(fs);
	if (r == 0)
		r = file_stat(fd, st);
	if (r < 0)
		return r;
	(void)snprintf(number, sizeof number, "%d", fd); /* below /proc/self/fd, where we stand */
	copy = open(number, O_PATH | O_CLOEXEC);
	if (copy < 0)
		return -errno;
	r = inode_new(fs, st, ret);
	if (r < 0)
		return r;
	(*ret)->nlookup = 1;
	(*ret)->pinned = true;
	set_fd(fs, *ret, take_fd(&copy));
	return 0;
}

/* The file behind dir/name if the guest knows it; not counted as told. */
static struct inode *peek(struct fs *fs, struct inode *dir, const char *name)
{
	int dirfd = inode_fd(fs, dir);
	struct file_stat st;
	scoped_fd fd = -1;

	if (dirfd < 0 || inodes_make_room(fs) < 0)
		return NULL;
	fd = open_below(dirfd, name);
	return fd >= 0 && file_stat(fd, &st) == 0 ? find(fs, &st.key) : NULL;
}

void inode_losing_name(struct fs *fs, struct inode *dir, const char *name)
{
	struct inode *i = peek(fs, dir, name);

	if (!i || i == fs->root || i->parent != dir || strcmp(i->name, name) != 0)
		return; /* unknown, or known by another of its names */
	if (inode_fd(fs, i) < 0)
		return; /* it will be ESTALE: there is no way to keep it */
	pin_fd(fs, i);
	inode_ref(i);
	drop_name(fs, i);
	inode_unref(fs, i);
}

void inode_moved_to(struct fs *fs, struct inode *dir, const char *name)
{
	struct inode *i = peek(fs, dir, name);

	if (i)
		set_name(fs, i, dir, name);
}

int inodes_init(struct fs *fs)
{
	struct file_stat st;
	int r;

	if (fs->conf.max_fds < FDS_MIN || fs->conf.idle_fds < IDLE_MIN)
		return -EINVAL;
	r = file_stat(fs->conf.root, &st);
	if (r == 0 && !S_ISDIR(st.attr.mode))
		r = -ENOTDIR;
	if (r == 0)
		r = inode_new(fs, &st, &fs->root);
	if (r < 0)
		return r;
	fs->root->nlookup = 1;
	set_fd(fs, fs->root, take_fd(&fs->conf.root));
	return 0;
}

void inodes_fini(struct fs *fs)
{
	for (uint32_t k = 0; k < fs->n_slots; k++) {
		struct inode *i = fs->slots[k].inode;

		if (!i)
			continue;
		scope_close(&i->fd);
		free(i->name);
		free(i);
	}
	free(fs->slots);
	free(fs->table);
}
