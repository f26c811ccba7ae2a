/* test_documents.c - what `features` and `spec` print: valid, truthful, accepted by ourselves. And
 * docs/oci-fields.md names every field that the tables know. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <string.h>

#include "base/io.h"
#include "oci/features.h"
#include "oci/field.h"
#include "oci/oci_samples.h"
#include "oci/template.h"
#include "oci/validate.h"

static const struct json *at(const struct json *v, const char *a, const char *b)
{
	v = json_get(v, a);
	return b ? json_get(v, b) : v;
}

static bool has_item(const struct json *list, const char *item)
{
	for (const struct json *m = list ? list->first : NULL; m; m = m->next)
		if (m->type == JSON_STRING && strcmp(m->text, item) == 0)
			return true;
	return false;
}

static void assert_features(bool idmap)
{
	scoped_arena a = { 0 };
	scoped_str text = { 0 };
	const struct json *lnx, *seccomp;
	struct json *v = NULL;
	struct err e;

	features_write(&text, idmap);
	assert_int_equal(str_check(&text), 0);
	assert_true(str_ends(text.p, "}\n"));
	assert_int_equal(json_parse(text.p, text.len, "features", &a, &v, &e), 0);
	assert_string_equal(json_get(v, "ociVersionMin")->text, "1.0.0");
	assert_string_equal(json_get(v, "ociVersionMax")->text, "1.3.0");
	assert_int_equal(json_get(v, "hooks")->n, 6);
	assert_true(has_item(json_get(v, "mountOptions"), "rro"));
	assert_int_equal(has_item(json_get(v, "mountOptions"), "idmap"), idmap);
	assert_int_equal(has_item(json_get(v, "mountOptions"), "ridmap"), idmap);
	lnx = json_get(v, "linux");
	assert_int_equal(json_get(lnx, "namespaces")->n, 8);
	assert_int_equal(json_get(lnx, "capabilities")->n, 41);
	seccomp = json_get(lnx, "seccomp");
	assert_false(has_item(json_get(seccomp, "actions"), "SCMP_ACT_NOTIFY"));
	assert_true(has_item(json_get(seccomp, "actions"), "SCMP_ACT_ERRNO"));
	assert_int_equal(json_get(seccomp, "operators")->n, 7);
	assert_false(at(lnx, "apparmor", "enabled")->truth);
	assert_false(at(lnx, "netDevices", "enabled")->truth);
	assert_int_equal(at(json_get(lnx, "mountExtensions"), "idmap", "enabled")->truth, idmap);
	assert_int_equal(at(lnx, "memoryPolicy", "modes")->n, 0);
	assert_true(has_item(json_get(v, "potentiallyUnsafeConfigAnnotations"), "dev.cor."));
}

static void test_features(void **state)
{
	assert_features(false);
	assert_features(true);
}

static void test_template(void **state)
{
	const struct validate_host host = { 0 };

	for (int rootless = 0; rootless < 2; rootless++) {
		scoped_str text = { 0 };
		scoped_strv warnings = { 0 };
		scoped_spec s = { 0 };
		struct template t = template_spec;
		struct err e = { 0 };

		t.rootless = rootless;
		t.uid = 1000;
		t.gid = 1001;
		template_write(&t, &text);
		if (spec_parse(text.p, text.len, &s, &e) < 0 || spec_validate(&s, &host, &warnings, &e) < 0)
			fail_msg("%s", e.msg);
		assert_int_equal(warnings.n, 0);
		assert_true(s.process.terminal && s.root.readonly);
		assert_string_equal(s.process.args.p[0], "sh");
		assert_int_equal(s.mounts.n, 7);
		assert_int_equal(s.lnx.has_resources, !rootless);
		assert_int_equal(spec_namespace(&s, CLONE_NEWUSER) != NULL, rootless);
		assert_int_equal(strstr(text.p, "gid=5") == NULL, rootless);
		if (rootless) {
			assert_int_equal(s.lnx.uid_mappings.p[0].host_id, 1000);
			assert_int_equal(s.lnx.gid_mappings.p[0].host_id, 1001);
		}
	}
}

/* What the engine writes for a type must be as large as the member. */
static void check_sizes(const struct field_obj *t)
{
	static const size_t sizes[FIELD_TYPE_N] = {
		[FIELD_STR] = sizeof(char *),
		[FIELD_BOOL] = sizeof(bool),
		[FIELD_U32] = 4,
		[FIELD_U64] = 8,
		[FIELD_I64] = 8,
		[FIELD_STRS] = sizeof(struct spec_strs),
		[FIELD_U32S] = sizeof(struct spec_u32s),
		[FIELD_KVS] = 2 * sizeof(void *),
		[FIELD_ENUM] = 4,
		[FIELD_ENUM64] = 8,
		[FIELD_FLAGS] = 8,
		[FIELD_OBJS] = 2 * sizeof(void *),
		[FIELD_MAP] = 2 * sizeof(void *),
	};

	for (size_t i = 0; i < t->n; i++) {
		const struct field *f = &t->fields[i];

		if (f->type == FIELD_OBJ && f->size && f->size != f->sub->size)
			fail_msg("%s: the table is for %zu bytes, the member has %zu", f->name, f->sub->size,
				 f->size);
		if (sizes[f->type] && f->size != sizes[f->type])
			fail_msg("%s: the type writes %zu bytes, the member has %zu", f->name, sizes[f->type],
				 f->size);
		assert_true(f->off + f->size <= t->size);
		assert_true(f->has_off == FIELD_NO_HAS || f->has_off < t->size);
		if (f->sub)
			check_sizes(f->sub);
	}
}

static void test_sizes(void **state)
{
	check_sizes(&spec_table);
}

/* Every member of a table, and of the tables below it, has its line in the document. */
static void check_documented(const struct field_obj *t, const char *path, const char *doc, size_t *count)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct field *f = &t->fields[i];
		scoped_free char *name = str_fmt("%s%s%s%s", path, *path ? "." : "", f->name,
						 f->type == FIELD_OBJS  ? "[]"
						 : f->type == FIELD_MAP ? "{}"
									: "");
		scoped_free char *cell = name ? str_fmt("| `%s` |", name) : NULL;

		assert_non_null(cell);
		if (f->sub)
			check_documented(f->sub, name, doc, count);
		else if (!strstr(doc, cell))
			fail_msg("docs/oci-fields.md has no row for %s", name);
		else
			++*count;
	}
}

static void test_documented(void **state)
{
	scoped_free char *doc = NULL;
	size_t n = 0, count = 0;

	assert_int_equal(
		io_read_file_at(AT_FDCWD, SAMPLES_DIR "/../../../../docs/oci-fields.md", 1u << 20, &doc, &n),
		0);
	check_documented(&spec_table, "", doc, &count);
	assert_true(count > 150);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_template),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_documented),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
