/* cpio.c - see cpio.h. Called by os.c. Paths are made by this program, contents are anybody's; the
 * checks on paths keep a bug here from becoming a strange guest. */
#include "image/cpio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/io.h"

void cpio_fini(struct cpio *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->p[i].path);
	free(c->p);
	*c = (struct cpio){ 0 };
}

static void add(struct cpio *c, struct cpio_entry entry, const char *path)
{
	if (c->n == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 32;
		struct cpio_entry *p = reallocarray(c->p, cap, sizeof(*p));

		if (!p) {
			c->oom = true;
			return;
		}
		c->p = p;
		c->cap = cap;
	}
	entry.path = strdup(path);
	if (!entry.path) {
		c->oom = true;
		return;
	}
	c->p[c->n++] = entry;
}

void cpio_dir(struct cpio *c, const char *path, mode_t perm)
{
	add(c, (struct cpio_entry){ .mode = S_IFDIR | perm }, path);
}

void cpio_file(struct cpio *c, const char *path, mode_t perm, const void *data, size_t len)
{
	add(c, (struct cpio_entry){ .mode = S_IFREG | perm, .data = data, .len = len }, path);
}

void cpio_char_device(struct cpio *c, const char *path, mode_t perm, uint32_t major, uint32_t minor)
{
	add(c, (struct cpio_entry){ .mode = S_IFCHR | perm, .major = major, .minor = minor }, path);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct cpio_entry *)a)->path, ((const struct cpio_entry *)b)->path);
}

/* Relative, no empty, "." or ".." part. */
static bool path_ok(const char *path)
{
	for (const char *s = path;; s++) {
		size_t n = strcspn(s, "/");

		if (!n || (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
			return false;
		s += n;
		if (!*s)
			return strlen(path) < PATH_MAX;
	}
}

/* A directory sorts before what is in it, so the kernel can make each entry when it meets it. */
static bool has_parent(const struct cpio *c, size_t i)
{
	const char *slash = strrchr(c->p[i].path, '/');
	size_t len;

	if (!slash)
		return true;
	len = (size_t)(slash - c->p[i].path);
	for (size_t k = 0; k < i; k++) {
		const struct cpio_entry *d = &c->p[k];

		if (S_ISDIR(d->mode) && strlen(d->path) == len && memcmp(d->path, c->p[i].path, len) == 0)
			return true;
	}
	return false;
}

static int check(const struct cpio *c, struct err *e)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct cpio_entry *t = &c->p[i];

		if (!path_ok(t->path))
			return err_set(e, -EINVAL, "initrd: bad path '%s'", t->path);
		if (i && str_eq(c->p[i - 1].path, t->path))
			return err_set(e, -EEXIST, "initrd: '%s' is there twice", t->path);
		if (!has_parent(c, i))
			return err_set(e, -ENOENT, "initrd: '%s' has no directory entry above it", t->path);
		if (t->len > UINT32_MAX)
			return err_set(e, -EFBIG, "initrd: '%s' is too large", t->path);
	}
	return 0;
}

static void pad(struct str *to, size_t align)
{
	static const char zeros[512];

	str_addn(to, zeros, (align - to->len % align) % align);
}

static void put_entry(struct str *to, const struct cpio_entry *t, size_t ino)
{
	unsigned links = S_ISDIR(t->mode) ? 2 : 1;

	str_addf(to, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", (unsigned)ino,
		 (unsigned)t->mode, 0u, 0u, links, 0u, (unsigned)t->len, 0u, 0u, t->major, t->minor,
		 (unsigned)strlen(t->path) + 1, 0u);
	str_addn(to, t->path, strlen(t->path) + 1);
	pad(to, 4);
	str_addn(to, t->data, t->len);
	pad(to, 4);
}

static int prepare(struct cpio *c, struct err *e)
{
	if (c->oom)
		return err_set(e, -ENOMEM, "initrd: %m");
	if (c->n)
		qsort(c->p, c->n, sizeof(*c->p), by_path);
	return check(c, e);
}

/* The modes are the entries', whatever the caller's umask. */
static int make_entry(int dir, const struct cpio_entry *t)
{
	scoped_fd fd = -1;
	int r;

	if (S_ISDIR(t->mode)) {
		if (mkdirat(dir, t->path, 0700) < 0)
			return -errno;
		return fchmodat(dir, t->path, t->mode & 07777, 0) < 0 ? -errno : 0;
	}
	if (!S_ISREG(t->mode))
		return mknodat(dir, t->path, t->mode, makedev(t->major, t->minor)) < 0 ? -errno : 0;
	fd = openat(dir, t->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : io_write_full(fd, t->data, t->len);
	return r == 0 && fchmod(fd, t->mode & 07777) < 0 ? -errno : r;
}

int cpio_unpack(struct cpio *c, int dir, struct err *e)
{
	int r = prepare(c, e);

	for (size_t i = 0; i < c->n && r == 0; i++) {
		r = make_entry(dir, &c->p[i]);
		if (r < 0)
			return err_set(e, r, "initrd: %s: %m", c->p[i].path);
	}
	return r;
}

int cpio_write(struct cpio *c, struct str *to, struct err *e)
{
	char end[] = "TRAILER!!!";
	const struct cpio_entry trailer = { .path = end };
	int r = prepare(c, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < c->n; i++)
		put_entry(to, &c->p[i], i + 1);
	put_entry(to, &trailer, 0);
	pad(to, 512);
	r = str_check(to);
	return r < 0 ? err_set(e, r, "initrd: %m") : 0;
}
