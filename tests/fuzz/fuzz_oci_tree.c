/* fuzz_oci_tree.c - documents built from choices: members of the parser's own tables, mostly with
 * values that fit. Raw text hardly gets past the grammar; this reaches every section. Promises: see
 * fuzz_oci.h; and the text that the writer makes is read back by the reader. */
#include <stdbool.h>

#include "fuzz_oci.h"
#include "oci/field.h"

struct gen {
	struct fuzz_in in;
	struct json_writer w;
	size_t values; /* written so far */
};

#define VALUES_MAX 400u

static const char *pick(struct gen *g, const char *const *from, size_t n)
{
	return from[fuzz_below(&g->in, n - 1)];
}

static void put_text(struct gen *g, const char *key)
{
	static const char *const texts[] = {
		"",
		"/",
		"/a/../b",
		"x",
		"1.0.2",
		"1.3.0",
		"rw",
		"ro",
		"rbind",
		"rslave",
		"rro",
		"mode=755",
		"SCMP_ACT_ALLOW",
		"SCMP_ACT_ERRNO",
		"SCMP_ACT_NOTIFY",
		"SCMP_CMP_EQ",
		"SCMP_CMP_MASKED_EQ",
		"SCMP_ARCH_X86_64",
		"getppid",
		"clone",
		"no_such_call",
		"0-3",
		"2MB",
		"../..",
		"/proc/\x1b[2J",
		"\xc3\xa9",
		"CAP_KILL",
		"CAP_X",
		"bind",
		"tmpfs",
		"rwm",
	};

	json_put_str(&g->w, key, pick(g, texts, ARRAY_LEN(texts)));
}

static void put_number(struct gen *g, const char *key)
{
	static const uint64_t numbers[] = { 0,    1,    5,          10,        38,        229,
					    1024, 4096, UINT32_MAX, INT64_MAX, UINT64_MAX };
	size_t i = fuzz_below(&g->in, ARRAY_LEN(numbers) + 1);

	if (i < ARRAY_LEN(numbers))
		json_put_u64(&g->w, key, numbers[i]);
	else
		json_put_i64(&g->w, key, i == ARRAY_LEN(numbers) ? -1 : INT64_MIN);
}

/* A value of any type: what the member doesn't want. */
static void put_wrong(struct gen *g, const char *key)
{
	switch (fuzz_below(&g->in, 3)) {
	case 0:
		put_text(g, key);
		break;
	case 1:
		put_number(g, key);
		break;
	case 2:
		json_put_bool(&g->w, key, true);
		break;
	default:
		json_open(&g->w, key, '[');
		json_close(&g->w, ']');
		break;
	}
}

static void put_object(struct gen *g, const char *key, const struct field_obj *t);

static void put_name(struct gen *g, const char *key, const struct name_table *t)
{
	json_put_str(&g->w, key, t->rows[fuzz_below(&g->in, t->n - 1)].name);
}

static void put_array(struct gen *g, const char *key, const struct field *f)
{
	size_t n = fuzz_below(&g->in, 3);

	json_open(&g->w, key, '[');
	while (n--)
		if (f->type == FIELD_OBJS)
			put_object(g, NULL, f->sub);
		else if (f->type == FIELD_FLAGS)
			put_name(g, NULL, f->names);
		else if (f->type == FIELD_U32S)
			put_number(g, NULL);
		else
			put_text(g, NULL);
	json_close(&g->w, ']');
}

static void put_map(struct gen *g, const char *key, const struct field *f)
{
	static const char *const keys[] = { "monotonic",   "boottime", "net.ipv4.a", "kernel/b",
					    "memory.high", "",         "a..b",       "e" };
	size_t i = fuzz_below(&g->in, ARRAY_LEN(keys) - 1), n = fuzz_below(&g->in, 2);

	json_open(&g->w, key, '{');
	for (; n--; i = (i + 1) % ARRAY_LEN(keys))
		if (f->type == FIELD_MAP)
			put_object(g, keys[i], f->sub);
		else
			put_text(g, keys[i]);
	json_close(&g->w, '}');
}

/* Capabilities, options and the like have functions of their own. */
static void put_special(struct gen *g, const struct field *f)
{
	static const char *const sets[] = { "bounding", "effective", "inheritable", "permitted", "ambient" };
	static const char *const caps[] = { "CAP_KILL", "CAP_CHOWN", "CAP_FUTURE" };

	if (strcmp(f->name, "capabilities") == 0) {
		json_open(&g->w, f->name, '{');
		json_open(&g->w, pick(g, sets, ARRAY_LEN(sets)), '[');
		json_put_str(&g->w, NULL, pick(g, caps, ARRAY_LEN(caps)));
		json_close(&g->w, ']');
		json_close(&g->w, '}');
	} else if (str_ends(f->name, "Paths")) {
		put_array(g, f->name, f);
	} else if (strcmp(f->name, "timeout") == 0) {
		put_number(g, f->name);
	} else {
		put_text(g, f->name);
	}
}

static void put_field(struct gen *g, const struct field *f)
{
	switch (f->type) {
	case FIELD_STR:
		put_text(g, f->name);
		break;
	case FIELD_BOOL:
		json_put_bool(&g->w, f->name, fuzz_below(&g->in, 1));
		break;
	case FIELD_U32:
	case FIELD_U64:
	case FIELD_I64:
		put_number(g, f->name);
		break;
	case FIELD_STRS:
	case FIELD_U32S:
	case FIELD_FLAGS:
	case FIELD_OBJS:
		put_array(g, f->name, f);
		break;
	case FIELD_KVS:
	case FIELD_MAP:
		put_map(g, f->name, f);
		break;
	case FIELD_ENUM:
	case FIELD_ENUM64:
		put_name(g, f->name, f->names);
		break;
	case FIELD_OBJ:
		put_object(g, f->name, f->sub);
		break;
	case FIELD_FN:
	case FIELD_TYPE_N:
		put_special(g, f);
		break;
	}
}

static void put_object(struct gen *g, const char *key, const struct field_obj *t)
{
	json_open(&g->w, key, '{');
	for (size_t i = 0; i < t->n && g->values < VALUES_MAX; i++) {
		const struct field *f = &t->fields[i];
		uint64_t choice = fuzz_uint(&g->in, 1);

		/* required ones nearly always, others in half of the cases; one in 32 is of a wrong type */
		if (choice < ((f->flags & FIELD_REQUIRED) ? 8 : 128))
			continue;
		g->values++;
		if (choice % 32 == 31)
			put_wrong(g, f->name);
		else
			put_field(g, f);
	}
	json_close(&g->w, '}');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct field_obj *const tables[] = { &spec_table, &spec_process_table,
							  &spec_resources_table };
	struct arena a = { 0 };
	struct str text = { 0 };
	struct gen g = { .in = { data, size }, .w = { .to = &text, .indent = "" } };
	struct json *v;
	struct err e;

	put_object(&g, NULL, tables[fuzz_below(&g.in, 8) % ARRAY_LEN(tables)]);
	FUZZ_ASSERT(str_check(&text) == 0);
	FUZZ_ASSERT(json_parse(text.p, text.len, "written", &a, &v, &e) == 0);
	check_documents(text.p, text.len);
	arena_fini(&a);
	str_fini(&text);
	return 0;
}
