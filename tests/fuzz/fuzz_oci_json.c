/* fuzz_oci_json.c - the JSON reader alone. Promises: what it accepts strict json-c accepts too; written
 * again it reads back as the same tree; strings hold no NUL; parents, positions and counts are right. */
#include "../unit/oci/oracle.h"
#include "fuzz_oci.h"
#include "oci/json.h"

static void put(struct json_writer *w, const struct json *v)
{
	bool object = v->type == JSON_OBJECT;
	size_t n = 0;

	switch (v->type) {
	case JSON_STRING:
		FUZZ_ASSERT(strlen(v->text) == v->n);
		json_put_str(w, v->key, v->text);
		return;
	case JSON_BOOL:
		json_put_bool(w, v->key, v->truth);
		return;
	case JSON_NULL:
	case JSON_NUMBER: /* numbers stay text; a string stands for them here */
		json_put_str(w, v->key, v->text ? v->text : "null");
		return;
	case JSON_ARRAY:
	case JSON_OBJECT:
	case JSON_TYPE_N:
		break;
	}
	json_open(w, v->key, object ? '{' : '[');
	for (const struct json *m = v->first; m; m = m->next, n++) {
		FUZZ_ASSERT(m->parent == v && m->index == n && (m->key != NULL) == object);
		put(w, m);
	}
	FUZZ_ASSERT(n == v->n);
	json_close(w, object ? '}' : ']');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct arena a = { 0 }, b = { 0 };
	struct str once = { 0 }, twice = { 0 };
	struct json_writer w = { .to = &once, .indent = "" };
	struct err e = { 0 };
	struct json *v;
	size_t n = 0;
	char *text = (char *)fuzz_bytes(&in, size, &n);
	int r = json_parse(text, n, "doc", &a, &v, &e);

	if (r < 0) {
		check_refusal(r, &e, NULL, "doc");
	} else {
		char *z = strndup(text, n);

		FUZZ_ASSERT(z && strlen(z) == n);
		FUZZ_ASSERT(oracle_accepts(z));
		free(z);
		put(&w, v);
		FUZZ_ASSERT(str_check(&once) == 0);
		FUZZ_ASSERT(json_parse(once.p, once.len, "doc", &b, &v, &e) == 0);
		w = (struct json_writer){ .to = &twice, .indent = "" };
		put(&w, v);
		FUZZ_ASSERT(str_eq(once.p, twice.p));
	}
	arena_fini(&a);
	arena_fini(&b);
	str_fini(&once);
	str_fini(&twice);
	free(text);
	return 0;
}
