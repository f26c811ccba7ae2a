/* share.c - the directory shared with the guest, and the monitor's view of the container's root.
 * Called by the monitor, single-threaded, before and after it starts the VM.
 * Trusts: STATE_DIR. Distrusts: symlinks in source paths, and everything inside the container's root,
 * which the guest may change at any moment: destinations are resolved by sys/mnt inside it.
 * Never: mounts anything where another mount namespace could see it. */
#include "sys/share.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/str.h"
#include "sys/mnt.h"
#include "sys/ns.h"

#define ENTRY_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* Sets MS_* flags on the mount that fd is in. */
static int set_flags(int fd, unsigned long flags, bool recursive)
{
	uint64_t clear, set = mnt_attr_of_flags(flags, &clear);

	return mnt_set_attr(fd, set, clear, recursive);
}

int share_isolate(struct err *e)
{
	if (unshare(CLONE_NEWNS) < 0)
		return err_set(e, -errno, "new mount namespace: %m");
	/* Slave, not private: what the host unmounts later must not stay busy because of us. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_set(e, -errno, "new mount namespace: cutting it off from the host's: %m");
	return 0;
}

int share_open(const char *dir, struct err *e)
{
	scoped_fd fd = -1;
	int r;

	/* No size limit is needed: it holds empty names only, and is read-only before the guest knows it. */
	if (mount("cor", dir, "tmpfs", ENTRY_FLAGS, "mode=0755") < 0)
		return err_set(e, -errno, "share %s: tmpfs: %m", dir);
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* A source that holds this directory (a bind of "/") does not come to contain itself. */
	r = fd < 0 ? -errno : mnt_set_propagation(fd, MS_UNBINDABLE);
	if (r < 0)
		(void)umount2(dir, MNT_DETACH); /* the first error is the one to report */
	return r < 0 ? err_set(e, r, "share %s: %m", dir) : 0;
}

void share_trees_fini(struct share_trees *t)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		scope_close(&t->fd[i]);
	free(t->fd);
	*t = (struct share_trees){ 0 };
}

/* Last: what is idmapped can't be given another map. */
static int tree_idmap(int tree, const struct share_bind *b, struct err *e)
{
	scoped_fd user = -1;
	int r;

	if (!b->uid_map)
		return 0;
	r = ns_new_user(b->uid_map, b->gid_map, &user, e);
	if (r < 0)
		return r;
	r = mnt_idmap(tree, user, b->map_recursive);
	if (r == -EINVAL)
		return err_set(e, r,
			       "shared path %s: its file system can't be ID-mapped%s; leave idmap and the "
			       "mappings out",
			       b->source, b->map_recursive ? ", or that of a mount below it" : "");
	if (r == -EPERM)
		return err_set(e, r, "shared path %s: ID-mapped mount: %m (is it ID-mapped already?)",
			       b->source);
	return r < 0 ? err_set(e, r, "shared path %s: ID-mapped mount: %m", b->source) : 0;
}

/* A detached copy of what stands at b->source, with the host-side restrictions. */
static int tree_take(int host, const struct share_bind *b, int *ret, struct err *e)
{
	scoped_fd at = -1, tree = -1;
	struct stat st;
	int r;

	r = mnt_open_plain(host, b->source, O_PATH, &at);
	if (r == -ELOOP)
		return err_set(e, r, "shared path %s: a symbolic link has appeared in it", b->source);
	if (r < 0)
		return err_set(e, r, "shared path %s: open: %m", b->source);
	if (fstat(at, &st) < 0)
		return err_set(e, -errno, "shared path %s: stat: %m", b->source);
	if (S_ISDIR(st.st_mode) == b->is_file)
		return err_set(e, b->is_file ? -EISDIR : -ENOTDIR, "shared path %s: %m", b->source);
	r = mnt_clone(at, b->recursive, &tree);
	if (r < 0)
		return err_set(e, r, "shared path %s: bind: %m", b->source);
	r = set_flags(tree, ENTRY_FLAGS | (b->readonly ? MS_RDONLY : 0ul), b->recursive);
	if (r == -ENOSYS)
		return err_set(e, r, "shared path %s: this needs Linux 5.12 or later", b->source);
	if (r < 0)
		return err_set(e, r, "shared path %s: mount flags: %m", b->source);
	r = tree_idmap(tree, b, e);
	if (r < 0)
		return r;
	*ret = take_fd(&tree);
	return 0;
}

static int trees_take(const struct share *s, struct share_trees *t, struct err *e)
{
	const struct share_bind root = {
		.name = SHARE_ROOT, .source = s->root, .readonly = s->root_readonly, .recursive = true
	};
	scoped_fd host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	size_t i;
	int r;

	if (host < 0)
		return err_set(e, -errno, "share: the host's root: %m");
	t->fd = calloc(1 + s->n_binds, sizeof *t->fd);
	if (!t->fd)
		return err_set(e, -ENOMEM, "share: %m");
	for (i = 0; i < 1 + s->n_binds; i++) {
		t->fd[i] = -1;
		t->n = i + 1;
		if (i == 0 && !s->root)
			continue;
		r = tree_take(host, i == 0 ? &root : &s->binds[i - 1], &t->fd[i], e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* An empty one, where the guest makes its own. By the working directory: mnt_fs() needs a /proc, which a VM's
 * own mount namespace has not. */
static int mount_empty(int at)
{
	if (fchdir(at) < 0 || mount("cor", ".", "tmpfs", ENTRY_FLAGS, "mode=0755,size=64k") < 0)
		return -errno;
	return chdir("/") < 0 ? -errno : 0;
}

static int add_entry(int dir, const char *name, bool is_file, int tree)
{
	scoped_fd at = -1;
	int r = is_file ? mknodat(dir, name, S_IFREG | 0600, 0) : mkdirat(dir, name, 0700);

	if (r < 0)
		return -errno;
	at = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (at < 0)
		return -errno;
	return tree < 0 ? mount_empty(at) : mnt_attach(tree, at);
}

int share_fill(const struct share *s, const struct share_trees *t, struct err *e)
{
	scoped_fd dir = -1;
	const char *name;
	size_t i;
	int r;

	dir = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_set(e, -errno, "share %s: open: %m", s->dir);
	for (i = 0; i < t->n; i++) {
		name = i == 0 ? SHARE_ROOT : s->binds[i - 1].name;
		if (!*name || strchr(name, '/'))
			return err_set(e, -EINVAL, "share %s: \"%s\" is no entry name", s->dir, name);
		r = add_entry(dir, name, i > 0 && s->binds[i - 1].is_file, t->fd[i]);
		if (r < 0)
			return err_set(e, r, "share %s: entry %s: %m", s->dir, name);
	}
	r = set_flags(dir, MS_RDONLY | ENTRY_FLAGS, false);
	if (r < 0)
		return err_set(e, r, "share %s: read-only: %m", s->dir);
	return 0;
}

/* Errors that come from what stands in the container's root: the agent reports those. */
static bool is_roots_fault(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -EISDIR || r == -EROFS || r == -ELOOP || r == -EACCES ||
	       r == -EPERM || r == -ENAMETOOLONG;
}

static int place_bind(int root_fd, const struct share_bind *b, int *ret_fd)
{
	scoped_free char *real = NULL;

	return mnt_place(root_fd, b->dest, b->is_file ? MNT_WANT_FILE : MNT_WANT_DIR, ret_fd, &real);
}

/* The mount points that the agent will need and can't make in a read-only root. */
static int place_binds(const struct share *s, struct err *e)
{
	scoped_fd root = open(s->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	size_t i;
	int r;

	if (root < 0)
		return err_set(e, -errno, "shared path %s: open: %m", s->root);
	for (i = 0; i < s->n_binds; i++) {
		scoped_fd at = -1;

		r = place_bind(root, &s->binds[i], &at);
		if (r < 0 && !is_roots_fault(r))
			return err_set(e, r, "mount point %s: %m", s->binds[i].dest);
	}
	return 0;
}

int share_take(const struct share *s, struct share_trees *ret, struct err *e)
{
	int r = s->root && s->root_readonly ? place_binds(s, e) : 0;

	*ret = (struct share_trees){ 0 };
	if (r == 0)
		r = trees_take(s, ret, e);
	if (r < 0)
		share_trees_fini(ret);
	return r;
}

static int view_bind(const struct share *s, int root_fd, const struct share_bind *b, bool readonly)
{
	scoped_free char *from = str_fmt("%s/%s", s->dir, b->name);
	scoped_fd src = -1, tree = -1, at = -1;
	struct stat st;
	int r;

	if (!from)
		return -ENOMEM;
	if (!b->dest[strspn(b->dest, "/")])
		return -EISDIR; /* over the root itself: there would be no view of the root left */
	if (readonly)
		r = mnt_open_in(root_fd, b->dest, O_PATH, &at);
	else
		r = place_bind(root_fd, b, &at);
	if (r < 0)
		return r;
	src = open(from, O_PATH | O_CLOEXEC);
	if (src < 0 || fstat(at, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode) == b->is_file)
		return b->is_file ? -EISDIR : -ENOTDIR;
	r = mnt_clone(src, true, &tree);
	return r < 0 ? r : mnt_attach(tree, at);
}

static int view_proc(int root_fd, struct err *e)
{
	scoped_fd at = -1;
	int r = mnt_open_plain(root_fd, "proc", O_PATH | O_DIRECTORY, &at);

	if (r < 0)
		return is_roots_fault(r) ? 0 : err_set(e, r, "view of the container: /proc: %m");
	/* By the working directory: mnt_fs() needs a /proc, which a VM's own mount namespace has not. */
	if (fchdir(at) < 0 || mount("proc", ".", "proc", ENTRY_FLAGS, NULL) < 0)
		return err_set(e, -errno, "view of the container: mount /proc: %m");
	return 0;
}

int share_enter_view(const struct share *s, unsigned flags, struct err *e)
{
	scoped_free char *root = str_fmt("%s/rootfs", s->dir);
	scoped_fd root_fd = -1;
	bool readonly = s->root_readonly || (flags & SHARE_VIEW_READONLY);
	size_t i;
	int r;

	if (!root)
		return err_set(e, -ENOMEM, "view of the container: %m");
	if (unshare(CLONE_NEWNS) < 0)
		return err_set(e, -errno, "view of the container: new mount namespace: %m");
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return err_set(e, -errno, "view of the container: %s: %m", root);
	for (i = 0; i < s->n_binds; i++) {
		r = view_bind(s, root_fd, &s->binds[i], readonly);
		if (r < 0 && !is_roots_fault(r))
			return err_set(e, r, "view of the container: bind at %s: %m", s->binds[i].dest);
	}
	r = s->root && flags & SHARE_VIEW_PROC ? view_proc(root_fd, e) : 0;
	if (r < 0)
		return r;
	r = readonly ? set_flags(root_fd, MS_RDONLY, false) : 0;
	if (r < 0)
		return err_set(e, r, "view of the container: read-only: %m");
	r = mnt_pivot(root_fd);
	return r < 0 ? err_set(e, r, "view of the container: leaving the host's root: %m") : 0;
}
