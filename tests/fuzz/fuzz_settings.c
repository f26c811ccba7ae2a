/* fuzz_settings.c - cor.conf, --set, annotations and the vm section through cfg/settings.h.
 * Input: text in parts that a line "--" separates: a settings file, then KEY=VALUE lines of --set,
 * annotations, and fields of the vm section.
 * Promises: a refused value changes nothing; every value kept is in its row's range; config.json
 * changes only keys that are open to it, within the host's bounds; errors are printable text. */
#include <json-c/json.h>

#include "cfg/settings.h"
#include "fuzz.h"

static char *as_json(const struct settings *s)
{
	scoped_str to = { 0 };

	settings_json(&to, s);
	return str_take(&to);
}

static void check_text(const struct err *e)
{
	FUZZ_ASSERT(e->msg[0] && e->code < 0);
	for (const char *p = e->msg; *p; p++)
		FUZZ_ASSERT((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void check_row(const struct settings *s, const struct opt *o)
{
	const void *field = (const char *)s + o->offset;
	uint64_t v = 0;

	if (o->type == OPT_U64 || o->type == OPT_SIZE || o->type == OPT_DURATION) {
		memcpy(&v, field, sizeof(v));
		FUZZ_ASSERT(v >= (uint64_t)o->min && (!o->max || v <= o->max));
	} else if (o->type == OPT_ENUM) {
		int i = *(const int *)field, n = 0;

		while (o->values[n])
			n++;
		FUZZ_ASSERT(i >= 0 && i < n);
	} else if (o->type == OPT_PATH) {
		const char *path = *(const char *const *)field;

		FUZZ_ASSERT(!path || path[0] == '/');
	}
}

static void check_values(const struct settings *s)
{
	char *json = as_json(s);
	struct json_object *parsed = json ? json_tokener_parse(json) : NULL;
	uint64_t memory = settings_vm_memory(s, 1u << 30, 0);

	FUZZ_ASSERT(parsed && (size_t)json_object_object_length(parsed) == settings_table.n);
	for (size_t i = 0; i < settings_table.n; i++)
		check_row(s, &settings_table.rows[i]);
	FUZZ_ASSERT(!s->memory_max || s->memory_min <= s->memory_max);
	FUZZ_ASSERT(memory % (1u << 20) == 0 && memory + (1u << 20) > s->memory_min);
	FUZZ_ASSERT(settings_vm_vcpus(s, 1, 2, 0, 0) >= 1);
	if (s->memory_asked)
		FUZZ_ASSERT(s->memory >= s->memory_min && (!s->memory_max || s->memory <= s->memory_max));
	if (s->vcpus_asked)
		FUZZ_ASSERT(s->vcpus <= s->vcpus_max);
	json_object_put(parsed);
	free(json);
}

/* What a step did: nothing when it failed or when the key is closed. */
static void check_step(const struct settings *s, const char *before, int r, bool may, const struct err *e)
{
	char *after = as_json(s);

	FUZZ_ASSERT(after);
	if (r < 0)
		check_text(e);
	if (r < 0 || !may)
		FUZZ_ASSERT(strcmp(before, after) == 0);
	check_values(s);
	free(after);
}

static void do_arg(struct settings *s, char *line)
{
	struct err e = { 0 };
	char *before = as_json(s);
	int r = settings_set_arg(s, line, &e);

	check_step(s, before, r, true, &e);
	free(before);
}

static void do_annotation(struct settings *s, char *line)
{
	size_t prefix = strlen(SETTINGS_PREFIX);
	char *eq = strchr(line, '='), *before = as_json(s);
	struct err e = { 0 };
	bool ours, may;
	int r;

	if (eq)
		*eq++ = '\0';
	ours = strncmp(line, SETTINGS_PREFIX, prefix) == 0;
	may = ours && settings_allows(s, line + prefix, OPT_FROM_ANNOTATION);
	r = settings_set_annotation(s, line, eq ? eq : "", &e);
	FUZZ_ASSERT(ours || r == 0);
	FUZZ_ASSERT(!ours || may || r < 0);
	check_step(s, before, r, may, &e);
	free(before);
}

static void do_field(struct settings *s, char *line)
{
	char *eq = strchr(line, '='), *before = as_json(s);
	struct err e = { 0 };
	bool may;
	int r;

	if (eq)
		*eq++ = '\0';
	may = settings_allows(s, line, OPT_FROM_SPEC);
	r = settings_set_spec(s, line, eq ? eq : "", &e);
	FUZZ_ASSERT(may || r < 0);
	check_step(s, before, r, may, &e);
	free(before);
}

static void each_line(struct settings *s, char *text, void (*fn)(struct settings *s, char *line))
{
	for (unsigned i = 0; text && *text && i < 64; i++) {
		char *nl = strchr(text, '\n');

		if (nl)
			*nl++ = '\0';
		fn(s, text);
		text = nl;
	}
}

/* Ends the part and returns the next one, or NULL. */
static char *cut_part(char *text)
{
	char *p = text ? strstr(text, "\n--\n") : NULL;

	if (!p)
		return NULL;
	p[1] = '\0';
	return p + 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	scoped_settings s = { 0 };
	struct fuzz_in in = { data, size };
	char *text, *args, *annotations, *fields, *before;
	struct err e = { 0 };
	int r;

	FUZZ_ASSERT(settings_init(&s, "/os", &e) == 0);
	check_values(&s);
	before = as_json(&s);
	r = settings_parse(&s, "raw.conf", (const char *)data, size, &e); /* NULs and all */
	check_step(&s, before, r, true, &e);
	free(before);
	settings_fini(&s);

	text = fuzz_str(&in, 1 << 16);
	args = cut_part(text);
	annotations = cut_part(args);
	fields = cut_part(annotations);
	FUZZ_ASSERT(settings_init(&s, "/os", &e) == 0);
	before = as_json(&s);
	r = settings_parse(&s, "cor.conf", text, strlen(text), &e);
	check_step(&s, before, r, true, &e);
	each_line(&s, args, do_arg);
	each_line(&s, annotations, do_annotation);
	each_line(&s, fields, do_field);
	free(before);
	free(text);
	return 0;
}
