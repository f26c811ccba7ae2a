/* storew.c - see store.h: what changes the store. Called by import.c and clistore.c.
 * Every change holds the lock exclusively; files appear by link or rename, whole or not at all.
 * Never: removes a layer that an image has, or that an import has linked into its staging. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/io.h"
#include "image/storepriv.h"
#include "sys/verity.h"

static const char *const suffixes[] = { ".erofs", ".sum" };

/* Calls fn for each entry of a directory of the store; fn may remove it. */
static int each(const struct store *s, const char *name, int (*fn)(void *arg, int dir, const char *name),
		void *arg, struct err *e)
{
	scoped_dir d = NULL;
	struct dirent *de;
	int r = io_open_dir_at(s->fd, name, &d);

	if (r < 0)
		return r == -ENOENT ? 0 : err_set(e, r, "%s/%s: %m", s->path, name);
	while (r == 0 && (errno = 0, de = readdir(d))) {
		if (!str_eq(de->d_name, ".") && !str_eq(de->d_name, ".."))
			r = fn(arg, dirfd(d), de->d_name);
	}
	if (r == 0)
		r = -errno;
	return r < 0 ? err_set(e, r, "%s/%s: %m", s->path, name) : 0;
}

/* Removes a staging directory that nobody holds. */
static int remove_dead(void *arg, int dir, const char *name)
{
	struct store_gc *gc = arg;
	scoped_fd fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? 0 : -errno;
	r = io_remove_tree_at(dir, name);
	gc->staging += r == 0;
	return r;
}

int store_stage(const struct store *s, struct store_staging *ret, struct err *e)
{
	scoped_fd lock = store_lock(s, true, e);
	scoped_free char *path = NULL;
	struct store_gc gc = { 0 };
	int r;

	*ret = (struct store_staging){ .fd = -1, .lock = -1, .store = s };
	if (lock < 0)
		return lock;
	r = each(s, "staging", remove_dead, &gc, e);
	if (r < 0)
		return r;
	path = str_fmt("%s/staging/XXXXXX", s->path);
	if (!path || !mkdtemp(path))
		return err_set(e, path ? -errno : -ENOMEM, "%s/staging: %m", s->path);
	(void)snprintf(ret->name, sizeof ret->name, "%s", strrchr(path, '/') + 1);
	ret->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ret->lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret->fd < 0 || ret->lock < 0 || flock(ret->lock, LOCK_EX | LOCK_NB) < 0)
		return err_set(e, -errno, "%s: %m", path);
	return 0;
}

void store_staging_fini(struct store_staging *g)
{
	scoped_free char *path = g->name[0] ? str_fmt("staging/%s", g->name) : NULL;

	if (path)
		may_fail(io_remove_tree_at(g->store->fd, path)); /* gc will do what is left */
	g->name[0] = '\0';
	scope_close(&g->fd);
	scope_close(&g->lock);
	g->fd = g->lock = -1;
}

/* Half a layer is made anew, in a file of its own: somebody may have the store's open. */
static int forget_half(const struct store_staging *g, const char *layer, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		scoped_free char *name = str_fmt("%s%s", layer, suffixes[i]);

		if (!name || (unlinkat(g->fd, name, 0) < 0 && errno != ENOENT))
			return err_set(e, name ? -errno : -ENOMEM, "%s: %m", layer);
	}
	return 0;
}

int store_stage_known(const struct store_staging *g, const char *layer, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		scoped_free char *name = str_fmt("%s%s", layer, suffixes[i]);
		scoped_free char *from = str_fmt("layers/%s%s", layer, suffixes[i]);

		if (!name || !from)
			return err_set(e, -ENOMEM, "%m");
		if (linkat(g->store->fd, from, g->fd, name, 0) == 0 || errno == EEXIST)
			continue;
		if (errno != ENOENT)
			return err_set(e, -errno, "%s/%s: %m", g->store->path, from);
		return forget_half(g, layer, e);
	}
	return 1;
}

static int write_names(const struct store *s, const struct store_row *rows, size_t n, struct err *e)
{
	scoped_str text = { 0 };
	int r;

	for (size_t i = 0; i < n; i++) {
		if (rows[i].name[0])
			str_addf(&text, "%s %s\n", rows[i].id, rows[i].name);
	}
	r = str_check(&text);
	if (r == 0)
		r = io_replace_file_at(s->fd, "names", text.p ? text.p : "", text.len, 0600);
	return r < 0 ? err_set(e, r, "%s/names: %m", s->path) : 0;
}

static int set_name(const struct store *s, const char *name, const char *id, struct err *e)
{
	scoped_free struct store_row *rows = NULL;
	struct store_row *more;
	size_t n, i = 0;
	int r = store_read_names(s, &rows, &n, e);

	if (r < 0)
		return r;
	more = reallocarray(rows, n + 1, sizeof *rows);
	if (!more)
		return err_set(e, -ENOMEM, "%m");
	rows = more;
	while (i < n && !str_eq(rows[i].name, name))
		i++;
	(void)snprintf(rows[i].id, sizeof rows[i].id, "%s", id);
	(void)snprintf(rows[i].name, sizeof rows[i].name, "%s", name);
	return write_names(s, rows, i == n ? n + 1 : n, e);
}

int store_stage_sum(const struct store_staging *g, const char *layer, const struct store_sum *sum,
		    struct err *e)
{
	scoped_free char *name = str_fmt("%s.sum", layer);
	scoped_free char *text =
		str_fmt("%s %llu %llu%s%s\n", sum->sha256, (unsigned long long)sum->size,
			(unsigned long long)sum->entries, *sum->verity ? " " : "", sum->verity);
	int r = name && text ? io_replace_file_at(g->fd, name, text, strlen(text), 0400) : -ENOMEM;

	return r < 0 ? err_set(e, r, "%s.sum: %m", layer) : 0;
}

int store_stage_seal(const struct store_staging *g, const char *layer, struct err *e)
{
	scoped_free char *name = str_fmt("%s.erofs", layer);
	scoped_fd fd = name ? openat(g->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
	struct store_sum sum;
	char got[VERITY_HEX];
	int r;

	if (fd < 0)
		return err_set(e, name ? -errno : -ENOMEM, "%s.erofs: %m", layer);
	r = store_read_sum_at(g->fd, g->name, layer, &sum, e);
	if (r == 0)
		r = verity_enable(fd, e);
	if (r < 0)
		return err_wrap(e, "layer %.12s", layer);
	r = verity_measure(fd, got);
	if (r < 0)
		return err_set(e, r, "layer %.12s: fs-verity: %m", layer);
	if (str_eq(got, sum.verity))
		return 0;
	if (*sum.verity)
		return err_set(e, -EBADMSG,
			       "layer %.12s of the store was exchanged: its fs-verity digest is another than "
			       "was noted; remove the images that have it and run 'cor-image gc'",
			       layer);
	(void)snprintf(sum.verity, sizeof sum.verity, "%s", got);
	return store_stage_sum(g, layer, &sum, e);
}

/* Somebody else has made this layer meanwhile. Machines may map his file already, and one copy is enough; but
 * not if ours is sealed and his is not. */
static bool came_meanwhile(const struct store_staging *g, const char *layer)
{
	scoped_free char *name = str_fmt("%s.erofs", layer), *to = str_fmt("layers/%s.erofs", layer);
	struct store_sum ours, theirs;
	struct stat a, b;

	if (!name || !to || fstatat(g->fd, name, &a, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fstatat(g->store->fd, to, &b, AT_SYMLINK_NOFOLLOW) < 0 || a.st_ino == b.st_ino)
		return false;
	if (store_read_sum_at(g->fd, g->name, layer, &ours, NULL) < 0 ||
	    store_read_sum(g->store, layer, &theirs, NULL) < 0)
		return false;
	return *theirs.verity || !*ours.verity;
}

/* Moves one layer's files in, the sum last: a layer without a sum counts as not there. The sum of one that is
 * there already may be another by now. An image may have a layer twice. */
static int commit_layer(const struct store_staging *g, const char *layer, struct err *e)
{
	if (came_meanwhile(g, layer))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		scoped_free char *name = str_fmt("%s%s", layer, suffixes[i]);
		scoped_free char *to = str_fmt("layers/%s%s", layer, suffixes[i]);

		if (!name || !to)
			return err_set(e, -ENOMEM, "%m");
		if (renameat(g->fd, name, g->store->fd, to) < 0 &&
		    (errno != ENOENT || faccessat(g->store->fd, to, F_OK, AT_SYMLINK_NOFOLLOW) < 0))
			return err_set(e, -errno, "%s/%s: %m", g->store->path, to);
	}
	return 0;
}

/* The directory's entries reach the disk before what refers to them. */
static int sync_dir(const struct store *s, const char *name, struct err *e)
{
	scoped_fd fd = openat(s->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? err_set(e, -errno, "%s/%s: %m", s->path, name) : 0;
}

int store_commit(const struct store_staging *g, const struct store_image *image, const char *name,
		 struct err *e)
{
	const struct store *s = g->store;
	scoped_fd lock = store_lock(s, true, e), images = -1;
	int r = lock < 0 ? lock : 0;

	for (size_t i = 0; r == 0 && i < image->files.n; i++)
		r = commit_layer(g, image->files.p[i], e);
	if (r == 0)
		r = sync_dir(s, "layers", e);
	if (r < 0)
		return r;
	images = openat(s->fd, "images", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = images < 0 ? -errno
		       : io_replace_file_at(images, image->id, image->config, image->config_len, 0600);
	if (r < 0)
		return err_set(e, r, "%s/images/%s: %m", s->path, image->id);
	return set_name(s, name, image->id, e);
}

int store_commit_layer(const struct store_staging *g, const char *layer, struct err *e)
{
	scoped_fd lock = store_lock(g->store, true, e);
	int r = lock < 0 ? lock : commit_layer(g, layer, e);

	return r == 0 ? sync_dir(g->store, "layers", e) : r;
}

int store_remove(const struct store *s, const char *what, struct err *e)
{
	scoped_fd lock = store_lock(s, true, e);
	scoped_free struct store_row *rows = NULL;
	scoped_free char *path = NULL;
	bool by_name = false, still = false;
	char id[SHA256_HEX];
	size_t n, kept = 0;
	int r = lock < 0 ? lock : store_find(s, what, id, e);

	if (r == 0)
		r = store_read_names(s, &rows, &n, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		by_name = by_name || str_eq(rows[i].name, what);
	for (size_t i = 0; i < n; i++) {
		if (by_name ? str_eq(rows[i].name, what) : str_eq(rows[i].id, id))
			continue;
		still = still || str_eq(rows[i].id, id);
		rows[kept++] = rows[i];
	}
	r = write_names(s, rows, kept, e);
	if (r < 0 || still)
		return r;
	path = str_fmt("images/%s", id);
	if (!path || (unlinkat(s->fd, path, 0) < 0 && errno != ENOENT))
		return err_set(e, path ? -errno : -ENOMEM, "%s/images/%s: %m", s->path, id);
	return 0;
}

struct sweep {
	struct strv used; /* layers */
	struct store_gc *gc;
};

/* Removes a file of layers/ unless it belongs to a layer that an image has. */
static int sweep_layer(void *arg, int dir, const char *name)
{
	struct sweep *w = arg;
	char layer[SHA256_HEX];
	struct stat st;

	(void)snprintf(layer, sizeof layer, "%.*s", (int)sizeof layer - 1, name);
	if (strv_has(&w->used, layer) &&
	    (str_eq(name + SHA256_HEX - 1, suffixes[0]) || str_eq(name + SHA256_HEX - 1, suffixes[1])))
		return 0;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || unlinkat(dir, name, 0) < 0)
		return -errno;
	w->gc->layers += str_ends(name, suffixes[0]);
	w->gc->bytes += (uint64_t)st.st_blocks * 512;
	return 0;
}

/* What io_replace_file_at() left when it was cut off. */
static int sweep_image(void *arg, int dir, const char *name)
{
	(void)arg;
	if (store_is_hex(name, SHA256_HEX - 1))
		return 0;
	return unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

/* The same, of the list of names. */
static int sweep_root(void *arg, int dir, const char *name)
{
	(void)arg;
	return str_starts(name, IO_TEMPORARY) && unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

int store_gc(const struct store *s, struct store_gc *ret, struct err *e)
{
	scoped_fd lock = store_lock(s, true, e);
	scoped_strv ids = { 0 };
	struct sweep w = { .gc = ret };
	int r = lock < 0 ? lock : store_read_ids(s, &ids, e);

	*ret = (struct store_gc){ 0 };
	for (size_t i = 0; r == 0 && i < ids.n; i++) {
		scoped_store_image image = { 0 };

		r = store_read(s, ids.p[i], &image, e);
		for (size_t n = 0; r == 0 && n < image.files.n; n++)
			strv_add(&w.used, image.files.p[n]);
	}
	if (r == 0 && strv_check(&w.used) < 0)
		r = err_set(e, -ENOMEM, "%m");
	if (r == 0)
		r = each(s, "staging", remove_dead, ret, e);
	if (r == 0)
		r = each(s, "images", sweep_image, NULL, e);
	if (r == 0)
		r = each(s, ".", sweep_root, NULL, e);
	if (r == 0)
		r = each(s, "layers", sweep_layer, &w, e);
	strv_fini(&w.used);
	return r;
}
