/* field.c - see field.h. */
#include "oci/field.h"

#include <errno.h>
#include <string.h>

int field_no_memory(const struct field_ctx *c)
{
	return err_set(c->e, -ENOMEM, "no memory for the container's configuration");
}

static void *at(void *obj, size_t off)
{
	return (char *)obj + off;
}

static int read_str(const struct field_ctx *c, const struct field *f, const struct json *v, char **ret,
		    bool *has)
{
	const char *s;
	int r = json_string(v, &s, c->e);

	if (r < 0)
		return r;
	if (*s == '\0' && (f->flags & FIELD_EMPTY_UNSET)) {
		*has = false;
		return 0;
	}
	if (*s == '\0' && (f->flags & FIELD_NOT_EMPTY))
		return json_err(c->e, v, "must not be empty");
	if ((f->flags & FIELD_ABSOLUTE) && *s != '/')
		return json_err(c->e, v, "must be an absolute path, found \"%.200s\"", s);
	*ret = arena_str(c->mem, s);
	return *ret ? 0 : field_no_memory(c);
}

int field_strs(const struct field_ctx *c, const struct json *v, struct spec_strs *ret)
{
	struct spec_strs list = { 0 };
	int r = json_want(v, JSON_ARRAY, c->e);

	if (r < 0)
		return r;
	list.p = arena_array(c->mem, v->n + 1, sizeof(*list.p));
	if (!list.p)
		return field_no_memory(c);
	for (const struct json *m = v->first; m; m = m->next) {
		const char *s;

		r = json_string(m, &s, c->e);
		if (r < 0)
			return r;
		list.p[list.n] = arena_str(c->mem, s);
		if (!list.p[list.n++])
			return field_no_memory(c);
	}
	*ret = list;
	return 0;
}

static int read_u32s(const struct field_ctx *c, const struct field *f, const struct json *v,
		     struct spec_u32s *ret)
{
	struct spec_u32s list = { 0 };
	uint64_t n;
	int r = json_want(v, JSON_ARRAY, c->e);

	if (r < 0)
		return r;
	list.p = arena_array(c->mem, v->n + 1, sizeof(*list.p));
	if (!list.p)
		return field_no_memory(c);
	for (const struct json *m = v->first; m; m = m->next) {
		r = json_u64(m, f->min, f->max, &n, c->e);
		if (r < 0)
			return r;
		list.p[list.n++] = (uint32_t)n;
	}
	*ret = list;
	return 0;
}

/* Every list has this layout; see SPEC_LIST. */
struct any_list {
	void *p;
	size_t n;
};

static int read_kvs(const struct field_ctx *c, const struct json *v, struct any_list *ret)
{
	struct spec_kv *kvs;
	size_t n = 0;
	int r = json_want(v, JSON_OBJECT, c->e);

	if (r < 0)
		return r;
	kvs = arena_array(c->mem, v->n + 1, sizeof(*kvs));
	if (!kvs)
		return field_no_memory(c);
	for (const struct json *m = v->first; m; m = m->next) {
		const char *s;

		if (m->key[0] == '\0')
			return json_err(c->e, v, "a name must not be empty");
		r = json_string(m, &s, c->e);
		if (r < 0)
			return r;
		kvs[n].key = arena_str(c->mem, m->key);
		kvs[n].value = arena_str(c->mem, s);
		if (!kvs[n].key || !kvs[n].value)
			return field_no_memory(c);
		n++;
	}
	*ret = (struct any_list){ kvs, n };
	return 0;
}

int field_name(const struct field_ctx *c, const struct json *v, const struct name_table *t, uint64_t *ret)
{
	scoped_str known = { 0 };
	const struct name *row;
	const char *s;
	int r = json_string(v, &s, c->e);

	if (r < 0)
		return r;
	row = names_find(t, s);
	if (row) {
		*ret = row->value;
		return 0;
	}
	names_list(t, &known);
	return json_err(c->e, v, "\"%.60s\" is not %s; known: %s", s, t->what, known.p ? known.p : "?");
}

static int read_flags(const struct field_ctx *c, const struct field *f, const struct json *v, uint64_t *ret)
{
	uint64_t all = 0, one;
	int r = json_want(v, JSON_ARRAY, c->e);

	if (r < 0)
		return r;
	for (const struct json *m = v->first; m; m = m->next) {
		r = field_name(c, m, f->names, &one);
		if (r < 0)
			return r;
		all |= one;
	}
	*ret = all;
	return 0;
}

/* An array of objects, or an object of objects. */
static int read_list(const struct field_ctx *c, const struct field *f, const struct json *v,
		     struct any_list *ret)
{
	char *items;
	size_t n = 0;
	int r = json_want(v, f->type == FIELD_MAP ? JSON_OBJECT : JSON_ARRAY, c->e);

	if (r < 0)
		return r;
	items = arena_array(c->mem, v->n + 1, f->sub->size);
	if (!items)
		return field_no_memory(c);
	for (const struct json *m = v->first; m; m = m->next, n++) {
		void *item = items + n * f->sub->size;

		if (f->type == FIELD_MAP) {
			char *key = m->key[0] ? arena_str(c->mem, m->key) : NULL;

			if (m->key[0] == '\0')
				return json_err(c->e, v, "a name must not be empty");
			if (!key)
				return field_no_memory(c);
			memcpy(item, &key, sizeof(key));
		}
		r = field_read(c, f->sub, m, item);
		if (r < 0)
			return r;
	}
	*ret = (struct any_list){ items, n };
	return 0;
}

static int read_number(const struct field_ctx *c, const struct field *f, const struct json *v, void *to,
		       bool *has)
{
	uint64_t u = 0;
	int64_t i = 0;
	int r;

	if (f->type == FIELD_I64)
		r = json_i64(v, (int64_t)f->min, (int64_t)f->max, &i, c->e);
	else
		r = json_u64(v, f->min, f->max, &u, c->e);
	if (r < 0)
		return r;
	if (f->type == FIELD_I64)
		*(int64_t *)to = i;
	else if (f->type == FIELD_U64)
		*(uint64_t *)to = u;
	else
		*(uint32_t *)to = (uint32_t)u;
	if (u == 0 && i == 0 && (f->flags & FIELD_ZERO_UNSET))
		*has = false;
	return 0;
}

static int read_enum(const struct field_ctx *c, const struct field *f, const struct json *v, void *to,
		     bool *has)
{
	uint64_t value = 0;
	int r;

	if ((f->flags & FIELD_EMPTY_UNSET) && v->type == JSON_STRING && v->text[0] == '\0') {
		*has = false;
		return 0;
	}
	r = field_name(c, v, f->names, &value);
	if (r < 0)
		return r;
	if (f->type == FIELD_ENUM)
		*(uint32_t *)to = (uint32_t)value;
	else
		*(uint64_t *)to = value;
	return 0;
}

static int read_typed(const struct field_ctx *c, const struct field *f, const struct json *v, void *to,
		      bool *has)
{
	switch (f->type) {
	case FIELD_STR:
		return read_str(c, f, v, to, has);
	case FIELD_BOOL:
		return json_bool(v, to, c->e);
	case FIELD_U32:
	case FIELD_U64:
	case FIELD_I64:
		return read_number(c, f, v, to, has);
	case FIELD_STRS:
		return field_strs(c, v, to);
	case FIELD_U32S:
		return read_u32s(c, f, v, to);
	case FIELD_KVS:
		return read_kvs(c, v, to);
	case FIELD_ENUM:
	case FIELD_ENUM64:
		return read_enum(c, f, v, to, has);
	case FIELD_FLAGS:
		return read_flags(c, f, v, to);
	case FIELD_OBJ:
		return field_read(c, f->sub, v, to);
	case FIELD_OBJS:
	case FIELD_MAP:
		return read_list(c, f, v, to);
	case FIELD_FN:
	case FIELD_TYPE_N:
		break;
	}
	return json_err(c->e, v, "internal error: a row without a reader");
}

static int read_field(const struct field_ctx *c, const struct field *f, const struct json *v, void *obj)
{
	bool has = true;
	int r;

	if (f->fn)
		r = f->fn(c, v, at(obj, f->off));
	else
		r = read_typed(c, f, v, at(obj, f->off), &has);
	if (r < 0)
		return r;
	if (has && f->has_off != FIELD_NO_HAS)
		*(bool *)at(obj, f->has_off) = true;
	return 0;
}

int field_read(const struct field_ctx *c, const struct field_obj *t, const struct json *v, void *obj)
{
	int r = json_want(v, JSON_OBJECT, c->e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < t->n; i++) {
		const struct field *f = &t->fields[i];
		const struct json *m = json_get(v, f->name);

		if (!m && (f->flags & FIELD_REQUIRED))
			return json_err_member(c->e, v, f->name, "is required, but missing");
		if (!m)
			continue;
		r = read_field(c, f, m, obj);
		if (r < 0)
			return r;
	}
	return t->finish ? t->finish(c, v, obj) : 0;
}
