/* convert.c - see convert.h.
 *
 * A layer made here is called by its key, not by an archive's digest: nothing else has that name, no image
 * lists it, so `gc` removes it. The next container makes it again. */
#include "image/convert.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/io.h"
#include "image/child.h"
#include "image/layer.h"
#include "image/merge.h"

#define MOUNTINFO_MAX (16u << 20)
#define DEPTH_MAX     128
#define LOWER_MAX     (STORE_DEVICES - 1) /* what is above them may need one, too */
#define UPPER_ENTRIES 4096ull /* of what is written above the layers: converted for each container */
#define UPPER_BYTES   (64ull << 20)
#define ROOT_ENTRIES  2000000ull
#define ROOT_BYTES    (64ull << 30)
#define KEY_KIND      "cor root 1" /* another way to convert needs another key */

void convert_mount_fini(struct convert_mount *m)
{
	strv_fini(&m->lower);
	free(m->upper);
	*m = (struct convert_mount){ 0 };
}

/* ---- mountinfo ---- */

/* Blanks, tabs, line breaks and backslashes stand there as \ooo. */
static void unescape(char *p)
{
	char *to = p;

	for (; *p; p++) {
		if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' && p[3] >= '0' &&
		    p[3] <= '7') {
			*to++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 3;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
}

static bool is_below(const char *path, const char *root)
{
	size_t n = strlen(root);

	return strncmp(path, root, n) == 0 && path[n] == '/';
}

static int take_lower(const char *text, struct convert_mount *ret, struct err *e)
{
	if (strchr(text, '\\'))
		return err_set(e, -ENOTSUP, "its overlay has a layer with a colon or comma in its path");
	strv_split(&ret->lower, text, ':');
	if (strv_check(&ret->lower) < 0)
		return err_set(e, -ENOMEM, "%m");
	for (size_t i = 0; i < ret->lower.n; i++)
		if (!*ret->lower.p[i])
			return err_set(e, -ENOTSUP, "its overlay has data-only layers");
	return 0;
}

/* Of "X/a/b": how long X is; 0 = it is none such. */
static size_t grandparent(const char *path)
{
	size_t n = strlen(path);

	for (int i = 0; i < 2 && n > 0; i++) {
		const char *slash = memrchr(path, '/', n);

		if (!slash || slash + 1 == path + n)
			return 0;
		n = (size_t)(slash - path);
	}
	return n;
}

/* Of many layers engines write relative paths, since mount(2) takes a page of options, and the kernel does
 * not say to what. They are two names long, and what they are relative to shows in how the others look:
 * containerd's upper directory is X/9/fs, Podman's 9/diff of a root X/9/merged. */
static size_t find_base(const char *root, const struct convert_mount *m, const char **ret)
{
	bool podman = m->upper && m->upper[0] != '/';
	size_t n;

	*ret = podman ? root : m->upper;
	n = m->upper ? grandparent(*ret) : 0;
	if (n && podman) { /* both have the same middle */
		size_t len = strcspn(m->upper, "/") + 1;

		if (strncmp(root + n + 1, m->upper, len) != 0 || strchr(m->upper + len, '/'))
			return 0;
	}
	return n;
}

/* Is it of two plain names? */
static bool is_short(const char *path)
{
	const char *slash = strchr(path, '/');

	return slash && slash > path && slash[1] && slash[1] != '.' && *path != '.' &&
	       !strchr(slash + 1, '/');
}

static int complete(char **path, const char *base, size_t n, struct err *e)
{
	char *full;

	if (**path == '/')
		return 0;
	if (!n || !is_short(*path))
		return err_set(e, -ENOTSUP, "its overlay has layers whose paths are relative");
	full = str_fmt("%.*s/%s", (int)n, base, *path);
	if (!full)
		return err_set(e, -ENOMEM, "%m");
	free(*path);
	*path = full;
	return 0;
}

static int make_absolute(const char *root, struct convert_mount *m, struct err *e)
{
	const char *base = NULL;
	size_t n = find_base(root, m, &base);
	int r = 0;

	for (size_t i = 0; i < m->lower.n && r == 0; i++)
		r = complete(&m->lower.p[i], base, n, e);
	return r == 0 && m->upper ? complete(&m->upper, base, n, e) : r;
}

/* Options of an overlay: what it is made of, and the ones that make layers no layers by themselves. */
static int take_options(char *options, struct convert_mount *ret, struct err *e)
{
	char *rest = options, *o;
	int r = 0;

	while (r == 0 && (o = strsep(&rest, ",")) != NULL) {
		unescape(o);
		if (str_starts(o, "lowerdir=")) {
			r = take_lower(o + strlen("lowerdir="), ret, e);
		} else if (str_starts(o, "upperdir=")) {
			free(ret->upper);
			ret->upper = strdup(o + strlen("upperdir="));
			if (!ret->upper)
				r = err_set(e, -ENOMEM, "%m");
		} else if (str_eq(o, "metacopy=on") || str_eq(o, "userxattr") || str_starts(o, "lowerdir+") ||
			   str_starts(o, "datadir+")) {
			r = err_set(e, -ENOTSUP, "its overlay is mounted with %s", o);
		}
	}
	return r;
}

/* One line: "ID PARENT DEV ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPEROPTIONS". */
static int take_line(char *line, const char *root, struct convert_mount *ret, struct err *e)
{
	char *tail = strstr(line, " - "), *field[5], *rest = line, *type;

	for (size_t i = 0; i < ARRAY_LEN(field); i++)
		field[i] = strsep(&rest, " ");
	if (!field[4] || !tail)
		return 0;
	unescape(field[4]);
	if (is_below(field[4], root))
		return err_set(e, -ENOTSUP, "%s is mounted in it", field[4]);
	if (!str_eq(field[4], root))
		return 0;
	convert_mount_fini(ret); /* the last one of several is on top */
	rest = tail + 3;
	type = strsep(&rest, " ");
	(void)strsep(&rest, " ");
	if (!rest || !str_eq(type, "overlay"))
		return 0;
	ret->overlay = true;
	return take_options(rest, ret, e);
}

int convert_parse_mounts(const char *mountinfo, const char *root, struct convert_mount *ret, struct err *e)
{
	scoped_free char *copy = strdup(mountinfo);
	char *rest = copy, *line;
	int r = copy ? 0 : err_set(e, -ENOMEM, "%m");

	*ret = (struct convert_mount){ 0 };
	while (r == 0 && (line = strsep(&rest, "\n")) != NULL)
		r = take_line(line, root, ret, e);
	if (r == 0 && ret->overlay && ret->lower.n == 0)
		r = err_set(e, -ENOTSUP, "its overlay does not say what it is made of");
	return r == 0 ? make_absolute(root, ret, e) : r;
}

/* ---- trees ---- */

struct walk {
	const char *path;   /* for errors */
	struct sha256 *key; /* of all that is there; NULL = not wanted */
	uint64_t entries, bytes, max_entries, max_bytes;
};

static void add_stat(struct sha256 *key, const char *name, const struct stat *st)
{
	const uint64_t v[] = { st->st_dev,
			       st->st_ino,
			       st->st_mode,
			       st->st_uid,
			       st->st_gid,
			       st->st_rdev,
			       (uint64_t)st->st_size,
			       (uint64_t)st->st_mtim.tv_sec,
			       (uint64_t)st->st_mtim.tv_nsec,
			       (uint64_t)st->st_ctim.tv_sec,
			       (uint64_t)st->st_ctim.tv_nsec };

	sha256_add(key, name, strlen(name) + 1);
	sha256_add(key, v, sizeof v);
}

/* Layers that lean on each other can't be taken apart. */
static int check_xattrs(const struct walk *w, int dir, const char *name, struct err *e)
{
	static const char *const leaning[] = { "trusted.overlay.redirect", "trusted.overlay.metacopy",
					       "trusted.overlay.whiteout" };
	scoped_free char *path = str_fmt("/proc/self/fd/%d/%s", dir, name);

	if (!path)
		return err_set(e, -ENOMEM, "%m");
	for (size_t i = 0; i < ARRAY_LEN(leaning); i++)
		if (lgetxattr(path, leaning[i], NULL, 0) >= 0)
			return err_set(e, -ENOTSUP, "%s: %s has the attribute %s", w->path, name, leaning[i]);
	return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): bounded by DEPTH_MAX */
static int walk_dir(struct walk *w, int fd, unsigned depth, struct err *e);

/* NOLINTNEXTLINE(misc-no-recursion): bounded by DEPTH_MAX */
static int walk_entry(struct walk *w, int dir, const char *name, unsigned depth, struct err *e)
{
	scoped_fd fd = -1;
	struct stat st;
	int r;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(e, -errno, "%s: %s: %m", w->path, name);
	if (strlen(name) > UNPACK_NAME_MAX)
		return err_set(e, -ENOTSUP, "%s has a name of more than %u bytes", w->path, UNPACK_NAME_MAX);
	w->entries++;
	if (S_ISREG(st.st_mode))
		w->bytes += (uint64_t)st.st_size;
	if (w->entries > w->max_entries || w->bytes > w->max_bytes)
		return err_set(e, -ENOTSUP, "%s has more than %llu entries or %llu MB", w->path,
			       (unsigned long long)w->max_entries, (unsigned long long)(w->max_bytes >> 20));
	if (w->key)
		add_stat(w->key, name, &st);
	r = S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? check_xattrs(w, dir, name, e) : 0;
	if (r < 0 || !S_ISDIR(st.st_mode))
		return r;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, -errno, "%s: %s: %m", w->path, name);
	return walk_dir(w, fd, depth + 1, e);
}

static void free_list(struct dirent **list, int n)
{
	for (int i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

/* In the order of names, since a key is to come out. */
static int walk_dir(struct walk *w, int fd, unsigned depth, struct err *e)
{
	struct dirent **list = NULL;
	int n, r = 0;

	if (depth > DEPTH_MAX)
		return err_set(e, -ENOTSUP, "%s is more than %u directories deep", w->path, DEPTH_MAX);
	n = scandirat(fd, ".", &list, NULL, alphasort);
	if (n < 0)
		return err_set(e, -errno, "%s: %m", w->path);
	for (int i = 0; i < n && r == 0; i++)
		if (!str_eq(list[i]->d_name, ".") && !str_eq(list[i]->d_name, ".."))
			r = walk_entry(w, fd, list[i]->d_name, depth, e);
	free_list(list, n);
	if (w->key)
		sha256_add(w->key, "", 1); /* the end of this directory */
	return r;
}

static int walk_tree(struct walk *w, struct err *e)
{
	scoped_fd fd = open(w->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? err_set(e, -errno, "%s: %m", w->path) : walk_dir(w, fd, 0, e);
}

/* The key of a directory: of it alone, or of all in it. */
static int find_key(const char *dir, bool whole, char ret[SHA256_HEX], struct err *e)
{
	struct sha256 sum;
	struct walk w = { .path = dir, .key = &sum, .max_entries = ROOT_ENTRIES, .max_bytes = ROOT_BYTES };
	uint8_t digest[SHA256_LEN];
	struct stat st;
	int r;

	if (stat(dir, &st) < 0)
		return err_set(e, -errno, "%s: %m", dir);
	sha256_init(&sum);
	sha256_add(&sum, KEY_KIND, sizeof KEY_KIND);
	sha256_add(&sum, whole ? "tree" : "layer", 5);
	add_stat(&sum, dir, &st);
	r = whole ? walk_tree(&w, e) : 0;
	sha256_done(&sum, digest);
	sha256_to_hex(digest, ret);
	return r;
}

/* ---- layers ---- */

static int add_file(const struct store *s, const char *key, struct strv *ret, struct err *e)
{
	strv_addf(ret, "%s/layers/%s.erofs", s->path, key);
	return strv_check(ret) < 0 ? err_set(e, -ENOMEM, "%m") : 0;
}

static bool is_there(const struct store *s, const char *key)
{
	struct store_sum sum;
	scoped_fd fd = -1;
	uint64_t size;

	return store_read_sum(s, key, &sum, NULL) == 0 && store_open_layer(s, key, &fd, &size, NULL) == 0 &&
	       size == sum.size;
}

static int make_layer(const struct store *s, const char *dir, const char *key, struct err *e)
{
	struct walk w = { .path = dir, .max_entries = ROOT_ENTRIES, .max_bytes = ROOT_BYTES };
	scoped_staging g = { .fd = -1, .lock = -1, .store = s };
	int r = walk_tree(&w, e);

	if (r == 0)
		r = store_stage(s, &g, e);
	if (r == 0)
		r = layer_make_dir(&g, dir, key, w.entries, e);
	return r == 0 ? store_commit_layer(&g, key, e) : r;
}

/* A directory that only grows files that are never changed: an engine's layer; or a tree, which must be the
 * same before and after. */
static int convert_dir(const struct store *s, const char *dir, bool whole, struct strv *ret, struct err *e)
{
	char key[SHA256_HEX], after[SHA256_HEX];
	int r = find_key(dir, whole, key, e);

	if (r < 0)
		return r;
	if (!is_there(s, key)) {
		r = make_layer(s, dir, key, e);
		if (r == 0)
			r = find_key(dir, whole, after, e);
		if (r == 0 && !str_eq(key, after))
			r = err_set(e, -ENOTSUP, "%s changed while it was converted", dir);
		if (r < 0)
			return r;
	}
	return add_file(s, key, ret, e);
}

/* What is above the layers: few files at this time, if any. */
static int convert_upper(const char *dir, const char *private, struct strv *ret, struct err *e)
{
	struct walk w = { .path = dir, .max_entries = UPPER_ENTRIES, .max_bytes = UPPER_BYTES };
	scoped_free char *file = str_fmt("%s/upper.erofs", private);
	char key[SHA256_HEX];
	int r = walk_tree(&w, e);

	if (r < 0 || w.entries == 0)
		return r;
	if (!file)
		return err_set(e, -ENOMEM, "%m");
	sha256_hex(file, strlen(file), key); /* its UUID: no other layer of this VM has it */
	r = layer_make_file(dir, file, key, e);
	if (r < 0)
		return r;
	strv_add(ret, file);
	return strv_check(ret) < 0 ? err_set(e, -ENOMEM, "%m") : 0;
}

/* An engine's layers may not change, so they are copied for what moves them. */
static int copy_layer(const struct store_staging *g, const char *dir, struct err *e)
{
	scoped_free char *staging = str_fmt("%s/staging/%s", g->store->path, g->name);
	const char *argv[] = { "cp",
			       "--no-dereference",
			       "--recursive",
			       "--preserve=mode,ownership,timestamps,links,xattr",
			       "--reflink=auto",
			       "--sparse=auto",
			       "--no-target-directory",
			       "--",
			       dir,
			       "root",
			       NULL };
	struct child c = { .argv = argv, .dir = staging, .in_fd = -1, .out_fd = -1 };

	return staging ? child_run(&c, e) : err_set(e, -ENOMEM, "%m");
}

/* Layers by their directories, the bottom one first; `run` of them as one. What one layer may have is for all
 * of them together. */
static int make_run(const struct store *s, const struct strv *dirs, struct store_run run, const char *name,
		    struct err *e)
{
	struct walk w = { .max_entries = ROOT_ENTRIES, .max_bytes = ROOT_BYTES };
	scoped_staging g = { .fd = -1, .lock = -1, .store = s };
	scoped_merge m = { .g = &g };
	int r = store_stage(s, &g, e);

	for (size_t i = run.from; i < run.to && r == 0; i++) {
		uint64_t before = w.entries;

		w.path = dirs->p[i];
		r = walk_tree(&w, e);
		if (r == 0)
			r = copy_layer(&g, w.path, e);
		if (r == 0)
			r = merge_add(&m, w.entries - before, e);
	}
	if (r == 0)
		r = merge_end(&m, name, e);
	return r == 0 ? store_commit_layer(&g, name, e) : r;
}

static int find_run_name(const struct strv *dirs, struct store_run run, char ret[SHA256_HEX], struct err *e)
{
	scoped_strv keys = { 0 };
	char key[SHA256_HEX];
	int r = 0;

	for (size_t i = 0; i < dirs->n && r == 0; i++) {
		r = find_key(dirs->p[i], false, key, e);
		strv_add(&keys, key);
	}
	if (r == 0 && strv_check(&keys) < 0)
		r = err_set(e, -ENOMEM, "%m");
	if (r == 0)
		store_run_name(&keys, run, ret);
	return r;
}

static int convert_run(const struct store *s, const struct strv *dirs, struct store_run run, struct strv *ret,
		       struct err *e)
{
	char name[SHA256_HEX], after[SHA256_HEX];
	int r = find_run_name(dirs, run, name, e);

	if (r == 0 && !is_there(s, name)) {
		r = make_run(s, dirs, run, name, e);
		if (r == 0)
			r = find_run_name(dirs, run, after, e);
		if (r == 0 && !str_eq(name, after))
			r = err_set(e, -ENOTSUP, "its layers changed while they were converted");
	}
	return r == 0 ? add_file(s, name, ret, e) : r;
}

static int convert_lower(const struct store *s, const struct strv *dirs, struct strv *ret, struct err *e)
{
	struct store_run run = store_run(dirs->n, LOWER_MAX);
	int r = 0;

	for (size_t i = 0; i < dirs->n && r == 0; i++) {
		if (i < run.from || i >= run.to)
			r = convert_dir(s, dirs->p[i], false, ret, e);
		else if (i == run.from)
			r = convert_run(s, dirs, run, ret, e);
	}
	return r;
}

static int convert_overlay(const struct store *s, const struct convert_mount *m, const char *private,
			   struct strv *ret, struct err *e)
{
	scoped_strv dirs = { 0 };
	int r;

	for (size_t i = m->lower.n; i-- > 0;) {
		char *dir = realpath(m->lower.p[i], NULL);

		if (!dir)
			return err_set(e, -errno, "layer %s: %m", m->lower.p[i]);
		strv_add_take(&dirs, dir);
	}
	r = strv_check(&dirs) < 0 ? err_set(e, -ENOMEM, "%m") : convert_lower(s, &dirs, ret, e);
	return r == 0 && m->upper ? convert_upper(m->upper, private, ret, e) : r;
}

/* One conversion at a time: fifty containers that begin together convert once. */
static int take_turn(const struct store *s, struct err *e)
{
	scoped_fd fd = openat(s->fd, "convert", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set(e, -errno, "%s/convert: %m", s->path);
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return err_set(e, -errno, "%s/convert: %m", s->path);
	return take_fd(&fd);
}

int convert_root(const struct store *s, const char *root, const char *private, struct strv *ret,
		 struct err *e)
{
	scoped_convert_mount m = { .overlay = false };
	scoped_free char *text = NULL;
	scoped_fd turn = -1;
	size_t n;
	int r = io_read_file_at(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, &n);

	if (r < 0)
		return err_set(e, r, "/proc/self/mountinfo: %m");
	r = convert_parse_mounts(text, root, &m, e);
	if (r < 0)
		return r;
	turn = take_turn(s, e);
	if (turn < 0)
		return turn;
	return m.overlay ? convert_overlay(s, &m, private, ret, e) : convert_dir(s, root, true, ret, e);
}
