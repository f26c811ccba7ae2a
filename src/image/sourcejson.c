/* sourcejson.c - see source.h: the JSON of OCI layouts and docker archives.
 * Distrusts every byte; what a manifest names is only used as a digest or as a path for source_file(). Never:
 * trusts a file whose digest was not compared. */
#include <errno.h>
#include <string.h>

#include "base/arena.h"
#include "image/source.h"
#include "image/storepriv.h"
#include "oci/json.h"

#define MEM_MAX   (64u << 20)
#define DEPTH_MAX 4 /* an index in an index */
#define REF_NAME  "org.opencontainers.image.ref.name"
#define FULL_NAME "io.containerd.image.name"

void source_image_fini(struct source_image *i)
{
	free(i->config);
	free(i->name);
	i->config = i->name = NULL;
	strv_fini(&i->layers);
	strv_fini(&i->digests);
}

static int copy_string(const struct json *v, char **ret, struct err *e)
{
	const char *s;
	int r = json_string(v, &s, e);

	if (r < 0)
		return r;
	free(*ret);
	*ret = strdup(s);
	return *ret ? 0 : err_set(e, -ENOMEM, "%m");
}

/* The member `key` of v, which must be there and of a type. */
static int member(const struct json *v, const char *key, enum json_type type, const struct json **ret,
		  struct err *e)
{
	*ret = json_get(v, key);
	return *ret ? json_want(*ret, type, e) : json_err_member(e, v, key, "is missing");
}

static bool has_string(const struct json *list, const char *s)
{
	for (const struct json *v = list && list->type == JSON_ARRAY ? list->first : NULL; v; v = v->next) {
		if (v->type == JSON_STRING && str_eq(v->text, s))
			return true;
	}
	return false;
}

/* Of manifest.json's images the one that is asked for. */
static int choose_docker(const struct json *all, const char *ref, const struct json **ret, struct err *e)
{
	*ret = NULL;
	for (const struct json *v = all->first; v; v = v->next) {
		int r = json_want(v, JSON_OBJECT, e);

		if (r < 0)
			return r;
		if (!ref || has_string(json_get(v, "RepoTags"), ref))
			*ret = v;
	}
	if (!*ret)
		return json_err(e, all, ref ? "no image in it is called '%.200s'" : "holds no image%.0s",
				ref ? ref : "");
	return !ref && all->n > 1 ? json_err(e, all, "holds %zu images: choose one with --ref NAME", all->n)
				  : 0;
}

int source_parse_docker(const char *text, size_t n, const char *doc, const char *ref,
			struct source_image *ret, char **config, struct err *e)
{
	scoped_arena mem = { .max = MEM_MAX };
	const struct json *one, *v, *tags;
	struct json *all;
	int r = json_parse(text, n, doc, &mem, &all, e);

	if (r == 0)
		r = json_want(all, JSON_ARRAY, e);
	if (r == 0)
		r = choose_docker(all, ref, &one, e);
	if (r == 0)
		r = member(one, "Config", JSON_STRING, &v, e);
	if (r == 0)
		r = copy_string(v, config, e);
	if (r == 0)
		r = member(one, "Layers", JSON_ARRAY, &v, e);
	if (r < 0)
		return r;
	for (v = v->first; v; v = v->next) {
		const char *path;

		r = json_string(v, &path, e);
		if (r < 0)
			return r;
		strv_add(&ret->layers, path);
		strv_add(&ret->digests, "");
	}
	if (strv_check(&ret->layers) < 0 || strv_check(&ret->digests) < 0)
		return err_set(e, -ENOMEM, "%m");
	tags = json_get(one, "RepoTags");
	if (tags && tags->type == JSON_ARRAY && tags->first)
		return copy_string(tags->first, &ret->name, e);
	return 0;
}

static int parse_desc(const struct json *v, struct source_desc *ret, struct err *e)
{
	const struct json *m;
	const char *text;
	int r = json_want(v, JSON_OBJECT, e);

	*ret = (struct source_desc){ .index = false };
	if (r == 0)
		r = member(v, "digest", JSON_STRING, &m, e);
	if (r < 0)
		return r;
	text = m->text;
	if (!str_starts(text, "sha256:") || !store_is_hex(text + 7, SHA256_HEX - 1))
		return json_err(e, m, "is no sha256 digest");
	(void)snprintf(ret->digest, sizeof ret->digest, "%s", text + 7);
	r = member(v, "size", JSON_NUMBER, &m, e);
	if (r == 0)
		r = json_u64(m, 0, INT64_MAX, &ret->size, e);
	if (r < 0)
		return r;
	m = json_get(v, "mediaType");
	ret->index = m && m->type == JSON_STRING &&
		     (str_ends(m->text, "image.index.v1+json") || str_ends(m->text, "manifest.list.v2+json"));
	return 0;
}

/* A text of v's annotations or platform. */
static const char *inner(const struct json *v, const char *object, const char *key)
{
	const struct json *o = v->type == JSON_OBJECT ? json_get(v, object) : NULL;
	const struct json *m = o && o->type == JSON_OBJECT ? json_get(o, key) : NULL;

	return m && m->type == JSON_STRING ? m->text : NULL;
}

/* Is it for a machine like ours? Without a platform: the configuration will say. */
static bool fits(const struct json *v)
{
	const char *os = inner(v, "platform", "os"), *arch = inner(v, "platform", "architecture");

	return (!os || str_eq(os, "linux")) && (!arch || str_eq(arch, "amd64"));
}

/* For every processor of its kind: others beside it are for newer ones. */
static bool is_general(const struct json *v)
{
	const char *variant = inner(v, "platform", "variant");

	return !variant || str_eq(variant, "v1");
}

static bool is_called(const struct json *v, const char *ref)
{
	const char *name = inner(v, "annotations", REF_NAME), *full = inner(v, "annotations", FULL_NAME);

	return (name && str_eq(name, ref)) || (full && str_eq(full, ref));
}

int source_parse_index(const char *text, size_t n, const char *doc, const char *ref, struct source_desc *ret,
		       char **ret_name, struct err *e)
{
	const struct json *list, *hit = NULL;
	scoped_arena mem = { .max = MEM_MAX };
	struct json *top;
	const char *name;
	size_t hits = 0;
	int r = json_parse(text, n, doc, &mem, &top, e);

	if (r == 0)
		r = json_want(top, JSON_OBJECT, e);
	if (r == 0)
		r = member(top, "manifests", JSON_ARRAY, &list, e);
	if (r < 0)
		return r;
	for (const struct json *v = list->first; v; v = v->next) {
		if (!fits(v) || (ref && !is_called(v, ref)))
			continue;
		if (hit && is_general(hit) != is_general(v)) {
			hits = is_general(v) ? 1 : hits;
			hit = is_general(v) ? v : hit;
			continue;
		}
		hit = v;
		hits++;
	}
	if (hits == 0)
		return json_err(e, list,
				ref ? "no image for linux/amd64 in it is called '%.200s'"
				    : "holds no image for linux/amd64%.0s",
				ref ? ref : "");
	if (hits > 1)
		return json_err(e, list, "holds %zu images: choose one with --ref NAME", hits);
	name = inner(hit, "annotations", FULL_NAME);
	name = name ? name : inner(hit, "annotations", REF_NAME);
	if (name && !*ret_name) {
		*ret_name = strdup(name);
		if (!*ret_name)
			return err_set(e, -ENOMEM, "%m");
	}
	return parse_desc(hit, ret, e);
}

int source_parse_manifest(const char *text, size_t n, const char *doc, struct source_desc *config,
			  struct source_image *ret, struct err *e)
{
	scoped_arena mem = { .max = MEM_MAX };
	const struct json *v;
	struct json *top;
	int r = json_parse(text, n, doc, &mem, &top, e);

	if (r == 0)
		r = json_want(top, JSON_OBJECT, e);
	if (r == 0)
		r = member(top, "config", JSON_OBJECT, &v, e);
	if (r == 0)
		r = parse_desc(v, config, e);
	if (r == 0)
		r = member(top, "layers", JSON_ARRAY, &v, e);
	if (r < 0)
		return r;
	for (v = v->first; v; v = v->next) {
		struct source_desc d;

		r = parse_desc(v, &d, e);
		if (r < 0)
			return r;
		strv_addf(&ret->layers, "blobs/sha256/%s", d.digest);
		strv_add(&ret->digests, d.digest);
	}
	return strv_check(&ret->layers) < 0 || strv_check(&ret->digests) < 0 ? err_set(e, -ENOMEM, "%m") : 0;
}

static int read_json(const struct source *s, const char *path, char **ret, size_t *ret_len, struct err *e)
{
	struct range range;
	scoped_fd fd = -1;
	int r = source_file(s, path, &range, &fd, e);

	if (r == 0) {
		r = range_read(&range, SOURCE_JSON_MAX, ret, ret_len, e);
		if (r < 0)
			return err_wrap(e, "%s: '%.200s'", s->path, path);
	}
	return r;
}

/* A JSON blob of an OCI layout, compared with its digest. */
static int read_blob(const struct source *s, const struct source_desc *d, char **ret, size_t *ret_len,
		     struct err *e)
{
	scoped_free char *path = str_fmt("blobs/sha256/%s", d->digest);
	char got[SHA256_HEX];
	int r;

	if (!path)
		return err_set(e, -ENOMEM, "%m");
	r = read_json(s, path, ret, ret_len, e);
	if (r < 0)
		return r;
	sha256_hex(*ret, *ret_len, got);
	if (str_eq(got, d->digest) && *ret_len == d->size)
		return 0;
	return err_set(e, -EBADMSG,
		       "%s: '%s' is damaged: it has %zu bytes and digest %s; get the image again", s->path,
		       path, *ret_len, got);
}

static int docker_image(const struct source *s, const char *ref, struct source_image *ret, struct err *e)
{
	scoped_free char *text = NULL, *config = NULL, *doc = str_fmt("%s: manifest.json", s->path);
	size_t len;
	int r = doc ? read_json(s, "manifest.json", &text, &len, e) : err_set(e, -ENOMEM, "%m");

	if (r == 0)
		r = source_parse_docker(text, len, doc, ref, ret, &config, e);
	if (r == 0 && ref) {
		free(ret->name);
		ret->name = strdup(ref);
		r = ret->name ? 0 : err_set(e, -ENOMEM, "%m");
	}
	return r == 0 ? read_json(s, config, &ret->config, &ret->config_len, e) : r;
}

static int oci_image(const struct source *s, const char *ref, struct source_image *ret, struct err *e)
{
	scoped_free char *text = NULL, *doc = str_fmt("%s: index.json", s->path);
	struct source_desc d, config;
	size_t len;
	int r = doc ? read_json(s, "index.json", &text, &len, e) : err_set(e, -ENOMEM, "%m");

	for (int depth = 0; r == 0; depth++) {
		r = depth == DEPTH_MAX
			    ? err_set(e, -ELOOP, "%s: index in index in index", s->path)
			    : source_parse_index(text, len, doc, depth == 0 ? ref : NULL, &d, &ret->name, e);
		free(take_ptr(&text));
		free(take_ptr(&doc));
		if (r == 0) {
			doc = str_fmt("%s: blobs/sha256/%s", s->path, d.digest);
			r = doc ? read_blob(s, &d, &text, &len, e) : err_set(e, -ENOMEM, "%m");
		}
		if (!d.index)
			break;
	}
	if (r == 0)
		r = source_parse_manifest(text, len, doc, &config, ret, e);
	return r == 0 ? read_blob(s, &config, &ret->config, &ret->config_len, e) : r;
}

int source_image(const struct source *s, const char *ref, struct source_image *ret, struct err *e)
{
	return s->kind == SOURCE_DOCKER ? docker_image(s, ref, ret, e) : oci_image(s, ref, ret, e);
}
