/* spec.c - see spec.h: the top level of config.json, and the three entry points.
 *
 * Trusts nothing in the text. Reads files only in spec_load(). */
#include "oci/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "oci/field.h"

/* A tree of 1 MiB of "[[],[],..." takes about 60 times its text. */
#define TREE_MAX (128u << 20)

static int read_version(const struct field_ctx *c, const struct json *v, void *obj)
{
	char **ret = obj;
	const char *s;
	size_t minor;
	int r = json_string(v, &s, c->e);

	if (r < 0)
		return r;
	minor = str_starts(s, "1.") ? strspn(s + 2, "0123456789") : 0;
	if (minor == 0 || (s[2 + minor] != '.' && s[2 + minor] != '\0'))
		return json_err(c->e, v, "\"%.40s\" is not supported: this runtime reads versions 1.x", s);
	*ret = arena_str(c->mem, s);
	return *ret ? 0 : field_no_memory(c);
}

static int read_timeout(const struct field_ctx *c, const struct json *v, void *obj)
{
	uint64_t seconds;
	int r = json_u64(v, 0, INT32_MAX, &seconds, c->e);

	if (r < 0)
		return r;
	if (seconds == 0)
		return json_err(c->e, v, "must be greater than zero; leave it out for no limit");
	*(uint32_t *)obj = (uint32_t)seconds;
	return 0;
}

static const struct field hook_rows[] = {
	ROW("path", FIELD_STR, struct spec_hook, path, .flags = FIELD_REQUIRED | FIELD_ABSOLUTE),
	ROW("args", FIELD_STRS, struct spec_hook, args),
	ROW("env", FIELD_STRS, struct spec_hook, env),
	ROW_HAS("timeout", FIELD_FN, struct spec_hook, timeout, has_timeout, .fn = read_timeout),
};
static const struct field_obj hook = FIELD_OBJ_OF(struct spec_hook, hook_rows, NULL);

#define HOOKS(name, kind) ROW(name, FIELD_OBJS, struct spec_hooks, lists[kind], .sub = &hook)

static const struct field hooks_rows[] = {
	HOOKS("prestart", HOOK_PRESTART),
	HOOKS("createRuntime", HOOK_CREATE_RUNTIME),
	HOOKS("createContainer", HOOK_CREATE_CONTAINER),
	HOOKS("startContainer", HOOK_START_CONTAINER),
	HOOKS("poststart", HOOK_POSTSTART),
	HOOKS("poststop", HOOK_POSTSTOP),
};
static const struct field_obj hooks = FIELD_OBJ_OF(struct spec_hooks, hooks_rows, NULL);

static const struct field root_rows[] = {
	ROW("path", FIELD_STR, struct spec_root, path, .flags = FIELD_REQUIRED | FIELD_NOT_EMPTY),
	ROW("readonly", FIELD_BOOL, struct spec_root, readonly),
};
static const struct field_obj root = FIELD_OBJ_OF(struct spec_root, root_rows, NULL);

static const struct field spec_rows[] = {
	ROW("ociVersion", FIELD_FN, struct spec, oci_version, .flags = FIELD_REQUIRED, .fn = read_version),
	ROW_HAS("process", FIELD_OBJ, struct spec, process, has_process, .sub = &spec_process_table),
	ROW_HAS("root", FIELD_OBJ, struct spec, root, has_root, .sub = &root),
	ROW("hostname", FIELD_STR, struct spec, hostname, .flags = FIELD_EMPTY_UNSET),
	ROW("domainname", FIELD_STR, struct spec, domainname, .flags = FIELD_EMPTY_UNSET),
	ROW("mounts", FIELD_OBJS, struct spec, mounts, .sub = &spec_mount_table),
	ROW("hooks", FIELD_OBJ, struct spec, hooks, .sub = &hooks),
	ROW("annotations", FIELD_KVS, struct spec, annotations),
	ROW_HAS("linux", FIELD_OBJ, struct spec, lnx, has_linux, .sub = &spec_linux_table),
	ROW_HAS("vm", FIELD_OBJ, struct spec, vm, has_vm, .sub = &spec_vm_table),
};
const struct field_obj spec_table = FIELD_OBJ_OF(struct spec, spec_rows, NULL);

/* Reads `t` from the text into *obj, which belongs to s. */
static int parse(const char *json, size_t n, const char *doc, const struct field_obj *t, struct spec *s,
		 void *obj, struct err *e)
{
	scoped_arena tree = { .max = TREE_MAX };
	struct field_ctx c = { .mem = &s->mem, .e = e };
	struct json *v;
	int r;

	if (n > SPEC_TEXT_MAX)
		return err_set(e, -EFBIG, "%s: %zu bytes are too many; at most %u (1 MiB) are read", doc, n,
			       SPEC_TEXT_MAX);
	r = json_parse(json, n, doc, &tree, &v, e);
	if (r < 0)
		return r;
	return field_read(&c, t, v, obj);
}

int spec_parse(const char *json, size_t n, struct spec *ret, struct err *e)
{
	scoped_spec s = { 0 };
	int r = parse(json, n, "config.json", &spec_table, &s, &s, e);

	*ret = (struct spec){ 0 };
	if (r < 0)
		return r;
	*ret = s;
	s = (struct spec){ 0 };
	return 0;
}

int spec_parse_process(const char *json, size_t n, struct spec *ret, struct err *e)
{
	scoped_spec s = { .has_process = true };
	int r = parse(json, n, "process", &spec_process_table, &s, &s.process, e);

	*ret = (struct spec){ 0 };
	if (r < 0)
		return r;
	*ret = s;
	s = (struct spec){ 0 };
	return 0;
}

int spec_parse_resources(const char *json, size_t n, struct spec *ret, struct err *e)
{
	scoped_spec s = { .has_linux = true, .lnx.has_resources = true };
	int r = parse(json, n, "resources", &spec_resources_table, &s, &s.lnx.resources, e);

	*ret = (struct spec){ 0 };
	if (r < 0)
		return r;
	*ret = s;
	s = (struct spec){ 0 };
	return 0;
}

static int read_text(const char *path, char **ret, size_t *ret_len, struct err *e)
{
	int r = io_read_file_at(AT_FDCWD, path, SPEC_TEXT_MAX, ret, ret_len);

	if (r == -ENOENT)
		return err_set(e, r, "%s: %m: is this a bundle? (`cor spec` writes a config.json)", path);
	if (r == -EFBIG)
		return err_set(e, r, "%s: too large; at most 1 MiB is read", path);
	return r < 0 ? err_set(e, r, "%s: %m", path) : 0;
}

int spec_load(const char *bundle, const char *file, struct spec *ret, struct err *e)
{
	scoped_free char *path = NULL, *text = NULL;
	size_t n = 0;
	int r;

	*ret = (struct spec){ 0 };
	if (!file)
		file = "config.json";
	path = file[0] == '/' ? str_fmt("%s", file) : str_fmt("%s/%s", bundle, file);
	if (!path)
		return err_set(e, -ENOMEM, "%s: %m", file);
	r = read_text(path, &text, &n, e);
	if (r < 0)
		return r;
	r = spec_parse(text, n, ret, e);
	if (r < 0)
		return r;
	ret->text = arena_strn(&ret->mem, text, n);
	if (!ret->text) {
		spec_fini(ret);
		return err_set(e, -ENOMEM, "%s: %m", path);
	}
	ret->text_len = n;
	return 0;
}

void spec_fini(struct spec *s)
{
	arena_fini(&s->mem);
	*s = (struct spec){ 0 };
}

const char *spec_annotation(const struct spec *s, const char *key)
{
	for (size_t i = 0; i < s->annotations.n; i++)
		if (strcmp(s->annotations.p[i].key, key) == 0)
			return s->annotations.p[i].value;
	return NULL;
}

const struct spec_namespace *spec_namespace(const struct spec *s, uint64_t type)
{
	for (size_t i = 0; i < s->lnx.namespaces.n; i++)
		if (s->lnx.namespaces.p[i].type == type)
			return &s->lnx.namespaces.p[i];
	return NULL;
}
