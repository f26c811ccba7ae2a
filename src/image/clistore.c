/* clistore.c - the commands of cor-image that work on the image store (store.h). Called through cli.c's
 * table. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "image/clipriv.h"
#include "oci/json.h"

#define ENTRIES_MAX (1ull << 32)
#define BYTES_MAX   (1ull << 50)
#define ID_SHOWN    12

static const char *const device_names[] = { "usual", "keep", "drop", "refuse",
					    NULL }; /* enum unpack_devices */

static const char *const verity_names[] = { "off", "on", "require", NULL };
_Static_assert(ARRAY_LEN(verity_names) == IMPORT_VERITY_N + 1, "a name for each");

static bool index_of(const char *const *names, const char *s, unsigned *ret)
{
	for (unsigned i = 0; names[i]; i++) {
		if (!str_eq(names[i], s))
			continue;
		*ret = i;
		return true;
	}
	return false;
}

const char *cli_import_opts(struct args *a)
{
	struct unpack_limits *lim = &a->import.limits;
	unsigned i = 0;

	lim->entries = IMPORT_ENTRIES;
	lim->bytes = IMPORT_BYTES;
	if (a->type && !index_of(source_kind_names, a->type, &i))
		return "--type is auto, oci, docker, tar or dir";
	a->import.kind = (enum source_kind)i;
	i = UNPACK_USUAL;
	if (a->devices && !index_of(device_names, a->devices, &i))
		return "--devices is usual, keep, drop or refuse";
	lim->devices = (enum unpack_devices)i;
	i = IMPORT_VERITY_OFF_N;
	if (a->verity && !index_of(verity_names, a->verity, &i))
		return "--verity is off, on or require";
	a->import.verity = (enum import_verity)i;
	if (a->max_entries &&
	    (num_parse_u64_max(a->max_entries, ENTRIES_MAX, &lim->entries) < 0 || !lim->entries))
		return "--max-entries is a number from 1 to 4294967296";
	if (a->max_size &&
	    (num_parse_size(a->max_size, &lim->bytes) < 0 || !lim->bytes || lim->bytes > BYTES_MAX))
		return "--max-size is a size up to 1024T, like 500M or 20G";
	if (a->import.name && !store_name_ok(a->import.name))
		return "--name is up to 255 letters, digits and . _ - / : @, begins with a letter or digit "
		       "and is not "
		       "like an id";
	return NULL;
}

static int open_store(const struct args *a, bool create, struct store *s, struct err *e)
{
	return store_open(s, a->store ? a->store : STORE_DEFAULT, create, e);
}

static int need_arg(const struct args *a, const char *what, struct err *e)
{
	return a->arg ? 0 : err_set(e, -EINVAL, "which one? give %s", what);
}

/* Ends the line and prints it. */
static int print(struct str *s, struct err *e)
{
	str_addc(s, '\n');
	if (str_check(s) < 0)
		return err_set(e, -ENOMEM, "%m");
	(void)fwrite(s->p, 1, s->len, stdout);
	return 0;
}

/* One layer, or those that are one file. */
static int put_ids(struct json_writer *w, const struct store_image *i, size_t from, size_t to, struct err *e)
{
	bool several = to - from > 1;

	if (several)
		json_open(w, "diff_ids", '[');
	for (size_t n = from; n < to; n++) {
		scoped_free char *id = str_fmt("sha256:%s", i->layers.p[n]);

		if (!id)
			return err_set(e, -ENOMEM, "%m");
		json_put_str(w, several ? NULL : "diff_id", id);
	}
	if (several)
		json_close(w, ']');
	return 0;
}

static int put_layers(struct json_writer *w, const struct store *s, const struct store_image *i,
		      struct err *e)
{
	struct store_run run = store_run(i->layers.n, STORE_DEVICES);

	json_open(w, "layers", '[');
	for (size_t n = 0, l = 0; n < i->files.n; n++) {
		size_t end = run.to > run.from && l == run.from ? run.to : l + 1;
		scoped_free char *file = str_fmt("%s/layers/%s.erofs", s->path, i->files.p[n]);
		struct store_sum sum;
		int r = store_read_sum(s, i->files.p[n], &sum, e);

		if (r == 0 && !file)
			r = err_set(e, -ENOMEM, "%m");
		if (r < 0)
			return r;
		json_open(w, NULL, '{');
		r = put_ids(w, i, l, end, e);
		if (r < 0)
			return r;
		l = end;
		json_put_str(w, "file", file);
		json_put_str(w, "sha256", sum.sha256);
		json_put_u64(w, "size", sum.size);
		json_put_u64(w, "entries", sum.entries);
		json_put_str(w, "verity", sum.verity); /* "" = none */
		json_close(w, '}');
	}
	json_close(w, ']');
	return 0;
}

int cmd_import(const struct args *a, const struct image_env *env, struct err *e)
{
	scoped_store_image image = { 0 };
	scoped_store s = { .fd = -1 };
	scoped_free char *name = NULL;
	struct import_opts o = a->import;
	scoped_str out = { 0 };
	struct json_writer w = { .to = &out, .indent = "" };
	size_t made;
	struct ui ui;
	int r = need_arg(a, "an archive or a directory", e);

	(void)env;
	if (r == 0)
		r = open_store(a, true, &s, e);
	if (r < 0)
		return r;
	o.path = a->arg;
	ui_init(&ui, a->quiet);
	r = import_run(&s, &o, &ui, &image, &made, &name, e);
	if (r < 0) {
		ui_abort(&ui);
		return r;
	}
	if (!a->json) {
		str_addf(&out, "%s: %.*s, %zu layers, %zu of them new", name, ID_SHOWN, image.id,
			 image.layers.n, made);
		return print(&out, e);
	}
	json_open(&w, NULL, '{');
	json_put_str(&w, "name", name);
	json_put_str(&w, "id", image.id);
	json_put_u64(&w, "new_layers", made);
	r = put_layers(&w, &s, &image, e);
	json_close(&w, '}');
	return r < 0 ? r : print(&out, e);
}

/* Sum of an image's layers; a missing one counts nothing: verify is there to complain. */
static uint64_t image_size(const struct store *s, const char *id, size_t *ret_layers)
{
	scoped_store_image image = { 0 };
	uint64_t total = 0;

	*ret_layers = 0;
	if (store_read(s, id, &image, NULL) < 0)
		return 0;
	for (size_t i = 0; i < image.files.n; i++) {
		struct store_sum sum;

		if (store_read_sum(s, image.files.p[i], &sum, NULL) == 0)
			total += sum.size;
	}
	*ret_layers = image.layers.n;
	return total;
}

static int width_of_names(const struct store_row *rows, size_t n)
{
	size_t width = 4;

	for (size_t i = 0; i < n; i++)
		width = strlen(rows[i].name) > width ? strlen(rows[i].name) : width;
	return (int)width;
}

int cmd_images(const struct args *a, const struct image_env *env, struct err *e)
{
	scoped_free struct store_row *rows = NULL;
	scoped_store s = { .fd = -1 };
	scoped_str out = { 0 };
	struct json_writer w = { .to = &out, .indent = "" };
	int r = open_store(a, false, &s, e), width;
	scoped_fd lock = r < 0 ? -1 : store_lock(&s, false, e);
	size_t n = 0;

	(void)env;
	if (r < 0 || lock < 0)
		return r < 0 ? r : lock;
	r = store_list(&s, &rows, &n, e);
	if (r < 0)
		return r;
	width = width_of_names(rows, n);
	if (a->json)
		json_open(&w, NULL, '[');
	else
		str_addf(&out, "%-*s  %-*s  %6s  %10s", width, "NAME", ID_SHOWN, "ID", "LAYERS", "SIZE");
	for (size_t i = 0; i < n; i++) {
		size_t layers;
		uint64_t size = image_size(&s, rows[i].id, &layers);

		if (!a->json) {
			str_addf(&out, "\n%-*s  %.*s  %6zu  %7llu MB", width,
				 *rows[i].name ? rows[i].name : "-", ID_SHOWN, rows[i].id, layers,
				 (unsigned long long)(size >> 20));
			continue;
		}
		json_open(&w, NULL, '{');
		json_put_str(&w, "name", rows[i].name);
		json_put_str(&w, "id", rows[i].id);
		json_put_u64(&w, "layers", layers);
		json_put_u64(&w, "size", size);
		json_close(&w, '}');
	}
	if (a->json)
		json_close(&w, ']');
	return print(&out, e);
}

/* An image has a row for each of its names. */
static bool came_before(const struct store_row *rows, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (str_eq(rows[k].id, rows[i].id))
			return true;
	return false;
}

int cmd_images_verify(const struct args *a, const struct image_env *env, struct err *e)
{
	scoped_free struct store_row *rows = NULL;
	scoped_store s = { .fd = -1 };
	scoped_str out = { 0 };
	struct json_writer w = { .to = &out, .indent = "" };
	char id[SHA256_HEX];
	size_t n = 0, done = 0;
	struct ui ui;
	int r = open_store(a, false, &s, e);

	(void)env;
	if (r == 0)
		r = a->arg ? store_find(&s, a->arg, id, e) : store_list(&s, &rows, &n, e);
	ui_init(&ui, a->quiet);
	for (size_t i = 0; r == 0 && i < (a->arg ? 1 : n); i++) {
		bool gone;

		if (!a->arg && came_before(rows, i))
			continue;
		ui_step(&ui, "verify", "%.*s", ID_SHOWN, a->arg ? id : rows[i].id);
		r = store_verify(&s, a->arg ? id : rows[i].id, &gone, e);
		if (r == 0)
			ui_done(&ui);
		done += r == 0 && !gone;
	}
	if (r < 0) {
		ui_abort(&ui);
		return r;
	}
	if (!a->json) {
		str_addf(&out, "%s: %zu images as they were imported", s.path, done);
		return print(&out, e);
	}
	json_open(&w, NULL, '{');
	json_put_u64(&w, "images", done);
	json_close(&w, '}');
	return print(&out, e);
}

int cmd_rm(const struct args *a, const struct image_env *env, struct err *e)
{
	scoped_store s = { .fd = -1 };
	int r = need_arg(a, "an image's name or id", e);

	(void)env;
	if (r == 0)
		r = open_store(a, false, &s, e);
	if (r == 0)
		r = store_remove(&s, a->arg, e);
	if (r == 0 && a->json)
		(void)puts("{}");
	return r;
}

int cmd_gc(const struct args *a, const struct image_env *env, struct err *e)
{
	scoped_store s = { .fd = -1 };
	scoped_str out = { 0 };
	struct json_writer w = { .to = &out, .indent = "" };
	struct store_gc gc = { 0 };
	int r = open_store(a, false, &s, e);

	(void)env;
	if (r == 0)
		r = store_gc(&s, &gc, e);
	if (r < 0)
		return r;
	if (!a->json) {
		str_addf(&out, "%s: removed %llu layers and %llu unfinished imports, %.1f MB", s.path,
			 (unsigned long long)gc.layers, (unsigned long long)gc.staging,
			 (double)gc.bytes / 1e6);
		return print(&out, e);
	}
	json_open(&w, NULL, '{');
	json_put_u64(&w, "layers", gc.layers);
	json_put_u64(&w, "staging", gc.staging);
	json_put_u64(&w, "bytes", gc.bytes);
	json_close(&w, '}');
	return print(&out, e);
}

/* JSON in any case: the configuration is, and who asks wants all of it. */
int cmd_inspect(const struct args *a, const struct image_env *env, struct err *e)
{
	scoped_store_image image = { 0 };
	scoped_store s = { .fd = -1 };
	scoped_free struct store_row *rows = NULL;
	scoped_str out = { 0 };
	struct json_writer w = { .to = &out, .indent = "" };
	char id[SHA256_HEX];
	size_t n = 0;
	int r = need_arg(a, "an image's name or id", e);

	(void)env;
	if (r == 0)
		r = open_store(a, false, &s, e);
	if (r == 0)
		r = store_find(&s, a->arg, id, e);
	if (r == 0)
		r = store_read(&s, id, &image, e);
	if (r == 0)
		r = store_list(&s, &rows, &n, e);
	if (r < 0)
		return r;
	json_open(&w, NULL, '{');
	json_put_str(&w, "id", id);
	json_open(&w, "names", '[');
	for (size_t i = 0; i < n; i++) {
		if (str_eq(rows[i].id, id) && *rows[i].name)
			json_put_str(&w, NULL, rows[i].name);
	}
	json_close(&w, ']');
	r = put_layers(&w, &s, &image, e);
	if (r < 0)
		return r;
	str_add(&out, ",\"config\":");
	str_addn(&out, image.config, image.config_len); /* checked: it is one JSON value */
	json_close(&w, '}');
	return print(&out, e);
}
