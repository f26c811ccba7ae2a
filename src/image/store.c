/* store.c - see store.h: reading. What changes the store is in storew.c.
 * Trusts the store's directory, but checks what it reads: a file that a crash or a user damaged is an error
 * that names it. Never: writes, but for making an empty store. */
#include "image/store.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/num.h"
#include "image/storepriv.h"
#include "oci/json.h"
#include "sys/verity.h"

#define NAMES_MAX (16u << 20)
#define ID_MIN    6u
#define SUM_MAX   256u
#define JSON_MAX  (64u << 20) /* memory of a parsed configuration */
#define RUN_STEP  8u          /* a run is a multiple of this long, and up to so many are above it */
#define RUN_KIND  "cor run 1" /* another way to put layers together needs another name */

void store_fini(struct store *s)
{
	free(s->path);
	s->path = NULL;
	scope_close(&s->fd);
	s->fd = -1;
}

void store_image_fini(struct store_image *i)
{
	free(i->config);
	i->config = NULL;
	strv_fini(&i->layers);
	strv_fini(&i->files);
}

int store_open(struct store *s, const char *path, bool create, struct err *e)
{
	static const char *const dirs[] = { "images", "layers", "staging" };
	int r;

	*s = (struct store){ .fd = -1 };
	s->path = strdup(path);
	if (!s->path)
		return err_set(e, -ENOMEM, "%m");
	if (create) {
		r = io_mkdirs(path, 0700);
		if (r < 0)
			return err_set(e, r, "image store %s: %m", path);
	}
	s->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->fd < 0)
		return err_set(e, -errno, "image store %s: %m%s", path,
			       errno == ENOENT ? " ('cor-image import' makes it)" : "");
	for (size_t i = 0; create && i < ARRAY_LEN(dirs); i++) {
		if (mkdirat(s->fd, dirs[i], 0700) < 0 && errno != EEXIST)
			return err_set(e, -errno, "image store %s/%s: %m", path, dirs[i]);
	}
	return 0;
}

int store_lock(const struct store *s, bool exclusive, struct err *e)
{
	scoped_fd fd = openat(s->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set(e, -errno, "%s/lock: %m", s->path);
	while (flock(fd, exclusive ? LOCK_EX : LOCK_SH) < 0) {
		if (errno != EINTR)
			return err_set(e, -errno, "%s/lock: %m", s->path);
	}
	return take_fd(&fd);
}

bool store_is_hex(const char *s, size_t n)
{
	return strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

bool store_name_ok(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > STORE_NAME_MAX || !isalnum((unsigned char)name[0]) || str_starts(name, "sha256:"))
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c > 0x7e || (!isalnum(c) && !strchr("._-/:@", c)))
			return false;
	}
	return n < ID_MIN || strspn(name, "0123456789abcdef") != n;
}

static int by_name(const void *a, const void *b)
{
	const struct store_row *x = a, *y = b;

	return strcmp(x->name, y->name);
}

int store_read_names(const struct store *s, struct store_row **ret, size_t *ret_n, struct err *e)
{
	scoped_free char *text = NULL;
	scoped_strv lines = { 0 };
	struct store_row *rows;
	size_t len, n = 0;
	int r = io_read_file_at(s->fd, "names", NAMES_MAX, &text, &len);

	*ret = NULL;
	*ret_n = 0;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_set(e, r, "%s/names: %m", s->path);
	strv_split(&lines, text, '\n');
	rows = calloc(lines.n + 1, sizeof *rows);
	if (!rows || strv_check(&lines) < 0) {
		free(rows);
		return err_set(e, -ENOMEM, "%m");
	}
	for (size_t i = 0; i < lines.n; i++) {
		char *blank = strchr(lines.p[i], ' ');

		if (!*lines.p[i])
			continue;
		if (blank)
			*blank = '\0';
		if (!blank || !store_is_hex(lines.p[i], SHA256_HEX - 1) || !store_name_ok(blank + 1)) {
			free(rows);
			return err_set(e, -EBADMSG, "%s/names: line %zu is no 'ID NAME'", s->path, i + 1);
		}
		(void)snprintf(rows[n].id, sizeof rows[n].id, "%s", lines.p[i]);
		(void)snprintf(rows[n++].name, sizeof rows[n].name, "%s", blank + 1);
	}
	qsort(rows, n, sizeof *rows, by_name);
	*ret = rows;
	*ret_n = n;
	return 0;
}

int store_read_ids(const struct store *s, struct strv *ret, struct err *e)
{
	scoped_dir d = NULL;
	struct dirent *de;
	int r = io_open_dir_at(s->fd, "images", &d);

	if (r < 0)
		return r == -ENOENT ? 0 : err_set(e, r, "%s/images: %m", s->path);
	while ((errno = 0, de = readdir(d))) {
		if (store_is_hex(de->d_name, SHA256_HEX - 1))
			strv_add(ret, de->d_name);
	}
	if (errno)
		return err_set(e, -errno, "%s/images: %m", s->path);
	return strv_check(ret) < 0 ? err_set(e, -ENOMEM, "%m") : 0;
}

static bool has_row(const struct store_row *rows, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++) {
		if (str_eq(rows[i].id, id))
			return true;
	}
	return false;
}

int store_list(const struct store *s, struct store_row **ret, size_t *ret_n, struct err *e)
{
	scoped_free struct store_row *rows = NULL;
	scoped_strv ids = { 0 };
	struct store_row *all;
	size_t n, named;
	int r = store_read_names(s, &rows, &named, e);

	if (r == 0)
		r = store_read_ids(s, &ids, e);
	if (r < 0)
		return r;
	all = calloc(named + ids.n + 1, sizeof *all);
	if (!all)
		return err_set(e, -ENOMEM, "%m");
	for (n = 0; n < named; n++)
		all[n] = rows[n];
	for (size_t i = 0; i < ids.n; i++) {
		if (!has_row(all, named, ids.p[i]))
			(void)snprintf(all[n++].id, sizeof all->id, "%s", ids.p[i]);
	}
	*ret = all;
	*ret_n = n;
	return 0;
}

int store_find(const struct store *s, const char *what, char ret_id[SHA256_HEX], struct err *e)
{
	const char *hex = str_starts(what, "sha256:") ? what + strlen("sha256:") : what;
	scoped_free struct store_row *rows = NULL;
	size_t n, len = strlen(hex), hits = 0;
	int r = store_list(s, &rows, &n, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (!*rows[i].name || !str_eq(rows[i].name, what)) /* "" is what an image without one has */
			continue;
		(void)snprintf(ret_id, SHA256_HEX, "%s", rows[i].id);
		return 0;
	}
	for (size_t i = 0; len >= ID_MIN && i < n; i++) {
		if (strncmp(rows[i].id, hex, len) != 0 || (hits > 0 && str_eq(ret_id, rows[i].id)))
			continue;
		(void)snprintf(ret_id, SHA256_HEX, "%s", rows[i].id);
		hits++;
	}
	if (hits > 1)
		return err_set(e, -EEXIST, "'%s' is the beginning of several images' ids: give more digits",
			       what);
	return hits == 1 ? 0
			 : err_set(e, -ENOENT, "no image '%s' in %s ('cor-image ls' shows what is there)",
				   what, s->path);
}

int store_config_layers(const char *config, size_t n, const char *doc, struct strv *ret, struct err *e)
{
	scoped_arena mem = { .max = JSON_MAX };
	const struct json *ids, *id;
	struct json *v;
	int r = json_parse(config, n, doc, &mem, &v, e);

	if (r == 0)
		r = json_want(v, JSON_OBJECT, e);
	if (r < 0)
		return r;
	ids = json_get(v, "rootfs");
	ids = ids && ids->type == JSON_OBJECT ? json_get(ids, "diff_ids") : NULL;
	if (!ids)
		return json_err(e, v, "has no rootfs.diff_ids: it is no container image's configuration");
	r = json_want(ids, JSON_ARRAY, e);
	if (r < 0)
		return r;
	if (ids->n == 0 || ids->n > STORE_LAYERS_MAX)
		return json_err(e, ids, "an image has 1 to %u layers, not %zu", STORE_LAYERS_MAX, ids->n);
	for (id = ids->first; id; id = id->next) {
		const char *text;

		r = json_string(id, &text, e);
		if (r < 0)
			return r;
		if (!str_starts(text, "sha256:") || !store_is_hex(text + 7, SHA256_HEX - 1))
			return json_err(e, id, "is no sha256 digest");
		strv_add(ret, text + 7);
	}
	return strv_check(ret) < 0 ? err_set(e, -ENOMEM, "%m") : 0;
}

struct store_run store_run(size_t n, size_t room)
{
	size_t keep = room - 1 - RUN_STEP;

	if (n <= room)
		return (struct store_run){ 0 };
	return (struct store_run){ keep, keep + (n - keep - 1) / RUN_STEP * RUN_STEP };
}

void store_run_name(const struct strv *layers, struct store_run run, char ret[SHA256_HEX])
{
	uint8_t digest[SHA256_LEN];
	struct sha256 sum;

	sha256_init(&sum);
	sha256_add(&sum, RUN_KIND, sizeof RUN_KIND);
	for (size_t i = run.from; i < run.to; i++)
		sha256_add(&sum, layers->p[i], strlen(layers->p[i]) + 1);
	sha256_done(&sum, digest);
	sha256_to_hex(digest, ret);
}

int store_find_files(struct store_image *i, struct err *e)
{
	struct store_run run = store_run(i->layers.n, STORE_DEVICES);
	char name[SHA256_HEX];

	store_run_name(&i->layers, run, name);
	for (size_t n = 0; n < i->layers.n; n++) {
		if (n < run.from || n >= run.to)
			strv_add(&i->files, i->layers.p[n]);
		else if (n == run.from)
			strv_add(&i->files, name);
	}
	return strv_check(&i->files) < 0 ? err_set(e, -ENOMEM, "%m") : 0;
}

int store_read(const struct store *s, const char *id, struct store_image *ret, struct err *e)
{
	scoped_free char *path = str_fmt("images/%s", id);
	scoped_free char *doc = str_fmt("%s/images/%s", s->path, id);
	char got[SHA256_HEX];
	int r;

	if (!path || !doc)
		return err_set(e, -ENOMEM, "%m");
	r = io_read_file_at(s->fd, path, STORE_CONFIG_MAX, &ret->config, &ret->config_len);
	if (r < 0)
		return err_set(e, r, "%s: %m", doc);
	sha256_hex(ret->config, ret->config_len, got);
	if (!str_eq(got, id))
		return err_set(e, -EBADMSG,
			       "%s is damaged: its digest is %s; remove the image and import it again", doc,
			       got);
	(void)snprintf(ret->id, sizeof ret->id, "%s", id);
	r = store_config_layers(ret->config, ret->config_len, doc, &ret->layers, e);
	return r == 0 ? store_find_files(ret, e) : r;
}

int store_open_layer(const struct store *s, const char *layer, int *ret_fd, uint64_t *ret_size, struct err *e)
{
	scoped_free char *path = str_fmt("layers/%s.erofs", layer);
	scoped_fd fd = path ? openat(s->fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, -errno, "%s/layers/%s.erofs: %m%s", s->path, layer,
			       errno == ENOENT ? " (import the image again)" : "");
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size % STORE_ALIGN)
		return err_set(e, -EBADMSG,
			       "%s/layers/%s.erofs is damaged: import the image again after 'cor-image gc'",
			       s->path, layer);
	*ret_size = (uint64_t)st.st_size;
	*ret_fd = take_fd(&fd);
	return 0;
}

int store_read_sum_at(int dir, const char *shown, const char *layer, struct store_sum *ret, struct err *e)
{
	scoped_free char *path = str_fmt("%s.sum", layer), *text = NULL;
	scoped_strv part = { 0 };
	size_t len;
	int r = path ? io_read_file_at(dir, path, SUM_MAX, &text, &len) : -ENOMEM;

	if (r < 0)
		return err_set(e, r, "%s/%s.sum: %m", shown, layer);
	text[strcspn(text, "\n")] = '\0';
	strv_split(&part, text, ' ');
	if (strv_check(&part) < 0 || part.n < 3 || part.n > 4 || !store_is_hex(part.p[0], SHA256_HEX - 1) ||
	    num_parse_u64(part.p[1], &ret->size) < 0 || num_parse_u64(part.p[2], &ret->entries) < 0 ||
	    (part.n == 4 && !store_is_hex(part.p[3], SHA256_HEX - 1)))
		return err_set(e, -EBADMSG, "%s/%s.sum is no 'SHA256 SIZE ENTRIES [DIGEST]'", shown, layer);
	(void)snprintf(ret->sha256, sizeof ret->sha256, "%s", part.p[0]);
	(void)snprintf(ret->verity, sizeof ret->verity, "%s", part.n == 4 ? part.p[3] : "");
	return 0;
}

int store_read_sum(const struct store *s, const char *layer, struct store_sum *ret, struct err *e)
{
	scoped_fd dir = openat(s->fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	scoped_free char *shown = str_fmt("%s/layers", s->path);

	if (dir < 0 || !shown)
		return err_set(e, -errno, "%s/layers: %m", s->path);
	return store_read_sum_at(dir, shown, layer, ret, e);
}

static int verify_seal(const struct store *s, const char *layer, int fd, const struct store_sum *sum,
		       struct err *e)
{
	char got[VERITY_HEX];
	int r = *sum->verity ? verity_measure(fd, got) : 0;

	if (!*sum->verity || (r == 0 && str_eq(got, sum->verity)))
		return 0;
	return err_set(
		e, -EBADMSG,
		"%s/layers/%s.erofs is not the file whose fs-verity digest was noted: it was exchanged; "
		"remove the images that have it, run 'cor-image gc' and import them again",
		s->path, layer);
}

struct sealed {
	struct store_sum sum;
	int fd;
	uint64_t size;
};

static int open_sealed(const struct store *s, const char *layer, struct sealed *to, struct err *e)
{
	int r = store_read_sum(s, layer, &to->sum, e);

	return r == 0 ? store_open_layer(s, layer, &to->fd, &to->size, e) : r;
}

static int verify_layer(const struct store *s, const char *layer, const struct sealed *l, struct err *e)
{
	char got[SHA256_HEX];
	int r = sha256_fd_hex(l->fd, got);

	if (r < 0)
		return err_set(e, r, "%s/layers/%s.erofs: %m", s->path, layer);
	if (l->size != l->sum.size || !str_eq(got, l->sum.sha256))
		return err_set(e, -EBADMSG,
			       "%s/layers/%s.erofs is not as it was written: remove the images that have it, "
			       "run 'cor-image gc' and import them again",
			       s->path, layer);
	return verify_seal(s, layer, l->fd, &l->sum, e);
}

/* What an image has, opened while nobody can remove it. 1 = it is not in the store any more. */
static int open_image(const struct store *s, const char *id, struct store_image *image, struct sealed **ret,
		      struct err *e)
{
	scoped_fd lock = store_lock(s, false, e);
	scoped_free struct store_row *rows = NULL;
	size_t n;
	int r = lock < 0 ? lock : store_list(s, &rows, &n, e);

	if (r == 0 && !has_row(rows, n, id))
		return 1;
	if (r == 0)
		r = store_read(s, id, image, e);
	if (r < 0)
		return r;
	*ret = calloc(image->files.n, sizeof **ret);
	if (!*ret)
		return err_set(e, -ENOMEM, "%m");
	for (size_t i = 0; i < image->files.n; i++)
		(*ret)[i].fd = -1;
	for (size_t i = 0; i < image->files.n && r == 0; i++)
		r = open_sealed(s, image->files.p[i], &(*ret)[i], e);
	return r;
}

int store_verify(const struct store *s, const char *id, bool *ret_gone, struct err *e)
{
	scoped_free struct sealed *layers = NULL;
	scoped_store_image image = { 0 };
	int r = open_image(s, id, &image, &layers, e);

	*ret_gone = r == 1;
	for (size_t i = 0; i < image.files.n && r == 0; i++)
		r = verify_layer(s, image.files.p[i], &layers[i], e);
	for (size_t i = 0; i < image.files.n && layers; i++)
		scope_close(&layers[i].fd);
	return r < 0 ? r : 0;
}
