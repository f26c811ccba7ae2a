/* import.c - see import.h: the way of one import. Called by clistore.c. Everything happens in a staging
 * directory of its own, so that several can run at once; the store changes in one step at the end. Distrusts
 * the source. Never: leaves anything of an import that failed. */
#include "image/import.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/arena.h"
#include "image/child.h"
#include "image/merge.h"
#include "oci/json.h"

#define JSON_MEM (64u << 20)

/* What a plain archive's image is configured as: nothing, and always the same. */
static const char plain_config[] =
	"{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":"
	"\"layers\",\"diff_ids\":[\"sha256:%s\"]}}";

/* A name from the file's: "/x/My App.tar.gz" is "my-app". */
static char *name_of_path(const char *path)
{
	scoped_free char *clean = str_clean_path(path);
	const char *base = clean ? strrchr(clean, '/') : NULL;
	size_t n;
	char *name;

	base = base ? base + 1 : clean;
	if (!base)
		return NULL;
	n = strcspn(base, ".");
	name = strndup(base, n ? n : strlen(base));
	for (char *p = name; p && *p; p++)
		*p = isalnum((unsigned char)*p) && (unsigned char)*p < 0x80 ? (char)tolower((unsigned char)*p)
									    : '-';
	return name;
}

static int choose_name(const struct import_opts *o, const char *own, char **ret, struct err *e)
{
	*ret = o->name ? strdup(o->name) : own ? strdup(own) : name_of_path(o->path);
	if (!*ret)
		return err_set(e, -ENOMEM, "%m");
	if (store_name_ok(*ret))
		return 0;
	return err_set(e, -EINVAL,
		       "'%.100s' can't be an image's name: give one with --name (letters, digits and "
		       ". _ - / : @, not like an id)",
		       *ret);
}

static int check_platform(const struct source_image *i, const char *path, struct err *e)
{
	static const struct {
		const char *key, *want;
	} rows[] = { { "os", "linux" }, { "architecture", "amd64" } };
	scoped_arena mem = { .max = JSON_MEM };
	struct json *v;
	int r = json_parse(i->config, i->config_len, path, &mem, &v, e);

	for (size_t n = 0; r == 0 && n < ARRAY_LEN(rows); n++) {
		const struct json *m = json_get(v, rows[n].key);

		if (m && m->type == JSON_STRING && *m->text && !str_eq(m->text, rows[n].want))
			return json_err(
				e, m,
				"the image is for '%.50s', machines here are %s: get it for linux/amd64",
				m->text, rows[n].want);
	}
	return r;
}

/* The layers of an image on their way. */
struct layers {
	const struct store_staging *g;
	const struct source *s;
	const struct source_image *i;
	const struct strv *ids;
	struct unpack_limits lim;
	struct ui *ui;
	struct store_run run;
	struct merge merge;
	size_t made;
};

/* Unpacks one of a run and puts it over the ones below. What a layer may have is for all of them together. */
static int add_to_run(struct layers *l, const struct range *range, const char *want, struct err *e)
{
	struct unpack_stats stats;
	int r = layer_unpack(l->g, range, want, &l->lim, l->ui, &stats, e);

	if (r < 0)
		return r;
	l->lim.used_entries += stats.entries;
	l->lim.used_bytes += stats.bytes;
	return merge_add(&l->merge, stats.entries, e);
}

/* One layer of an OCI layout or docker archive. */
static int import_layer(struct layers *l, size_t n, bool in_run, struct err *e)
{
	const struct source_image *i = l->i;
	const char *want = l->ids->p[n];
	char got[SHA256_HEX];
	struct range range;
	scoped_fd fd = -1;
	int r = source_file(l->s, i->layers.p[n], &range, &fd, e);

	if (r < 0)
		return r;
	l->made++;
	ui_step(l->ui, "layer", "%zu of %zu: %.12s (%.1f MB)", n + 1, i->layers.n, want,
		(double)range.len / 1e6);
	if (*i->digests.p[n]) {
		r = range_sha256(&range, got, e);
		if (r == 0 && !str_eq(got, i->digests.p[n]))
			r = err_set(e, -EBADMSG, "is damaged: its digest is sha256:%s; get the image again",
				    got);
	}
	if (r == 0)
		r = in_run ? add_to_run(l, &range, want, e)
			   : layer_make(l->g, &range, want, &l->lim, l->ui, got, e);
	if (r < 0)
		return err_wrap(e, "%s: layer '%.100s'", l->s->path, i->layers.p[n]);
	ui_done(l->ui);
	return 0;
}

/* Those that a VM has no device for each of become one, unless it is there. Their own files are not made:
 * nothing would read them. */
static int import_merged(struct layers *l, struct err *e)
{
	char name[SHA256_HEX];
	int r;

	if (l->run.from == l->run.to)
		return 0;
	store_run_name(l->ids, l->run, name);
	r = store_stage_known(l->g, name, e);
	if (r != 0)
		return r < 0 ? r : 0;
	for (size_t n = l->run.from; n < l->run.to && r == 0; n++)
		r = import_layer(l, n, true, e);
	if (r < 0)
		return r;
	l->lim.used_entries = l->lim.used_bytes = 0;
	ui_step(l->ui, "merge", "layers %zu to %zu (%llu entries)", l->run.from + 1, l->run.to,
		(unsigned long long)l->merge.entries);
	r = merge_end(&l->merge, name, e);
	if (r == 0)
		ui_done(l->ui);
	return r;
}

static int import_single(struct layers *l, size_t from, size_t to, struct err *e)
{
	int r = 0;

	for (size_t n = from; n < to && r >= 0; n++) {
		r = store_stage_known(l->g, l->ids->p[n], e);
		if (r == 0)
			r = import_layer(l, n, false, e);
	}
	return r < 0 ? r : 0;
}

static int import_layers(const struct store_staging *g, const struct source *s, const struct source_image *i,
			 const struct import_opts *o, struct ui *ui, struct store_image *ret, size_t *ret_new,
			 struct err *e)
{
	struct layers l = { .g = g, .s = s, .i = i, .ids = &ret->layers, .lim = o->limits, .ui = ui };
	int r = check_platform(i, s->path, e);

	if (r == 0)
		r = store_config_layers(i->config, i->config_len, s->path, &ret->layers, e);
	if (r == 0)
		r = store_find_files(ret, e);
	if (r < 0)
		return r;
	if (ret->layers.n != i->layers.n)
		return err_set(e, -EBADMSG, "%s: the manifest has %zu layers, the configuration %zu", s->path,
			       i->layers.n, ret->layers.n);
	l.run = store_run(ret->layers.n, STORE_DEVICES);
	l.merge.g = g;
	r = import_single(&l, 0, l.run.from, e);
	if (r == 0)
		r = import_merged(&l, e);
	if (r == 0)
		r = import_single(&l, l.run.to, ret->layers.n, e);
	merge_fini(&l.merge);
	*ret_new = l.made;
	return r;
}

/* A directory becomes an archive first: one way for all. Sorted, numeric, so that equal trees are equal. */
static int archive_dir(const struct store_staging *g, const struct source *s, struct range *ret,
		       struct err *e)
{
	scoped_fd out = openat(g->fd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	/* by default tar puts its process id into headers, and into the names of sparse files but for version
	 * 0.0 */
	const char *argv[] = { "tar",
			       "-C",
			       s->path,
			       "--sort=name",
			       "--format=pax",
			       "--numeric-owner",
			       "--sparse",
			       "--sparse-version=0.0",
			       "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
			       "--xattrs",
			       "--xattrs-include=*",
			       "-cf",
			       "-",
			       ".",
			       NULL };
	struct child c = { .argv = argv, .in_fd = -1, .out_fd = out };
	off_t end;
	int r;

	if (out < 0)
		return err_set(e, -errno, "temporary file in the image store: %m");
	r = child_run(&c, e);
	if (r < 0)
		return err_wrap(e, "%s", s->path);
	end = lseek(out, 0, SEEK_END);
	if (end < 0)
		return err_set(e, -errno, "%m");
	*ret = (struct range){ .fd = take_fd(&out), .len = (uint64_t)end };
	return 0;
}

/* One layer, and a configuration that says nothing. */
static int import_plain(const struct store_staging *g, const struct source *s, const struct import_opts *o,
			struct ui *ui, struct source_image *i, struct store_image *ret, size_t *ret_new,
			struct err *e)
{
	struct range range = { .fd = s->fd, .len = s->len };
	char layer[SHA256_HEX];
	scoped_fd fd = -1;
	int r = 0;

	ui_step(ui, "layer", "%s", s->path);
	if (s->is_dir) {
		r = archive_dir(g, s, &range, e);
		fd = r == 0 ? range.fd : -1;
	}
	if (r == 0) {
		r = layer_make(g, &range, NULL, &o->limits, ui, layer, e);
		if (r < 0)
			(void)err_wrap(e, "%s", s->path);
	}
	if (r < 0)
		return r;
	*ret_new = r == 0;
	ui_done(ui);
	i->config = str_fmt(plain_config, layer);
	strv_add(&ret->layers, layer);
	if (!i->config || strv_check(&ret->layers) < 0)
		return err_set(e, -ENOMEM, "%m");
	i->config_len = strlen(i->config);
	return store_find_files(ret, e);
}

static int seal_layers(const struct store_staging *g, const struct store_image *i, enum import_verity how,
		       struct ui *ui, struct err *e)
{
	struct err why = { 0 };
	int r = 0;

	if (how == IMPORT_VERITY_OFF_N)
		return 0;
	ui_step(ui, "verity", "%zu layers", i->files.n);
	for (size_t n = 0; n < i->files.n && r == 0; n++)
		r = store_stage_seal(g, i->files.p[n], &why);
	if (r == 0)
		ui_done(ui);
	if (r == 0 || how == IMPORT_VERITY_REQUIRE_N || (r != -EOPNOTSUPP && r != -ENOTTY))
		return r == 0 ? 0 : err_set(e, r, "%s", why.msg);
	ui_note(ui, "%s", why.msg);
	return 0;
}

int import_run(const struct store *s, const struct import_opts *o, struct ui *ui, struct store_image *ret,
	       size_t *ret_new, char **ret_name, struct err *e)
{
	scoped_staging g = { .fd = -1, .lock = -1, .store = s };
	scoped_source src = { .fd = -1 };
	scoped_source_image i = { 0 };
	int r = store_stage(s, &g, e);

	*ret_new = 0;
	if (r == 0)
		r = source_open(&src, o->path, o->kind, g.fd, 2 * o->limits.bytes, e);
	if (r < 0)
		return r;
	if (src.kind == SOURCE_OCI || src.kind == SOURCE_DOCKER)
		r = source_image(&src, o->ref, &i, e);
	else if (o->ref)
		r = err_set(e, -EINVAL, "%s holds one image without a name: --ref does not fit", o->path);
	if (r == 0)
		r = choose_name(o, i.name, ret_name, e);
	if (r == 0 && (src.kind == SOURCE_OCI || src.kind == SOURCE_DOCKER)) {
		r = import_layers(&g, &src, &i, o, ui, ret, ret_new, e);
	} else if (r == 0) {
		r = import_plain(&g, &src, o, ui, &i, ret, ret_new, e);
	}
	if (r == 0)
		r = seal_layers(&g, ret, o->verity, ui, e);
	if (r < 0)
		return r;
	sha256_hex(i.config, i.config_len, ret->id);
	ret->config = take_ptr(&i.config);
	ret->config_len = i.config_len;
	return store_commit(&g, ret, *ret_name, e);
}
