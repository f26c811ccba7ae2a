/* image.c - see image.h. */
#include "oci/image.h"

#include "oci/field.h"

#define TREE_MAX (128u << 20)

/* The names of an object whose values say nothing. */
static int read_names(const struct field_ctx *c, const struct json *v, void *obj)
{
	struct spec_strs list = { 0 };
	int r = json_want(v, JSON_OBJECT, c->e);

	if (r < 0)
		return r;
	list.p = arena_array(c->mem, v->n + 1, sizeof *list.p);
	if (!list.p)
		return field_no_memory(c);
	for (const struct json *m = v->first; m; m = m->next) {
		list.p[list.n] = arena_str(c->mem, m->key);
		if (!list.p[list.n++])
			return field_no_memory(c);
	}
	*(struct spec_strs *)obj = list;
	return 0;
}

#define CONFIG(name, type, m) ROW(name, type, struct image_config, m, .flags = FIELD_EMPTY_UNSET)

static const struct field config_rows[] = {
	CONFIG("User", FIELD_STR, user),
	CONFIG("WorkingDir", FIELD_STR, workdir),
	CONFIG("StopSignal", FIELD_STR, stop_signal),
	CONFIG("Env", FIELD_STRS, env),
	CONFIG("Entrypoint", FIELD_STRS, entrypoint),
	CONFIG("Cmd", FIELD_STRS, cmd),
	CONFIG("Labels", FIELD_KVS, labels),
	ROW("Volumes", FIELD_FN, struct image_config, volumes, .fn = read_names),
	ROW("ExposedPorts", FIELD_FN, struct image_config, ports, .fn = read_names),
};
static const struct field_obj config = FIELD_OBJ_OF(struct image_config, config_rows, NULL);

static const struct field image_rows[] = {
	CONFIG("author", FIELD_STR, author),   CONFIG("created", FIELD_STR, created),
	CONFIG("os", FIELD_STR, os),           CONFIG("architecture", FIELD_STR, architecture),
	CONFIG("variant", FIELD_STR, variant), ROW_FLAT("config", &config),
};
static const struct field_obj image = FIELD_OBJ_OF(struct image_config, image_rows, NULL);

int image_config_parse(const char *json, size_t n, const char *doc, struct image_config *ret, struct err *e)
{
	scoped_arena tree = { .max = TREE_MAX };
	const struct field_ctx c = { .mem = &ret->mem, .e = e };
	struct json *v;
	int r;

	*ret = (struct image_config){ 0 };
	r = json_parse(json, n, doc, &tree, &v, e);
	if (r == 0)
		r = field_read(&c, &image, v, ret);
	if (r < 0)
		image_config_fini(ret);
	return r;
}

void image_config_fini(struct image_config *c)
{
	arena_fini(&c->mem);
	*c = (struct image_config){ 0 };
}
