/* test_source.c - image/sourcejson.c and image/store.c: manifests, indexes, names; what is refused and which
 * member the error names. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "image/source.h"

#define A64     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64     "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define DESC(d) "{\"digest\":\"sha256:" d "\",\"size\":7}"
#define V3(d)                                                                                                \
	"{\"digest\":\"sha256:" d                                                                            \
	"\",\"size\":1,\"platform\":{\"architecture\":\"amd64\",\"variant\":\"v3\"}}"

static void test_docker(void **state)
{
	static const char text[] =
		"[{\"Config\":\"c\",\"RepoTags\":[\"a:1\",\"a:2\"],\"Layers\":[\"x\",\"y\"]},"
		"{\"Config\":\"d\",\"RepoTags\":null,\"Layers\":[]}]";
	scoped_source_image i = { 0 };
	scoped_free char *config = NULL;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(source_parse_docker(text, strlen(text), "m", "a:2", &i, &config, &e), 0);
	assert_string_equal(config, "c");
	assert_string_equal(i.name, "a:1");
	assert_int_equal(i.layers.n, 2);
	assert_string_equal(i.layers.p[1], "y");
	assert_string_equal(i.digests.p[1], "");
	assert_int_equal(source_parse_docker(text, strlen(text), "m", NULL, &i, &config, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "holds 2 images"));
	assert_int_equal(source_parse_docker(text, strlen(text), "m", "b", &i, &config, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "called 'b'"));
}

static void test_docker_bad(void **state)
{
	static const struct {
		const char *text, *part;
	} rows[] = {
		{ "{}", "array" },
		{ "[]", "holds no image" },
		{ "[1]", "[0]" },
		{ "[{\"Layers\":[]}]", "Config" },
		{ "[{\"Config\":1,\"Layers\":[]}]", "Config" },
		{ "[{\"Config\":\"c\"}]", "Layers" },
		{ "[{\"Config\":\"c\",\"Layers\":[1]}]", "Layers[0]" },
		{ "[{\"Config\":\"c\",\"Config\":\"d\"}]", "Config" },
	};

	(void)state;
	for (size_t n = 0; n < ARRAY_LEN(rows); n++) {
		scoped_source_image i = { 0 };
		scoped_free char *config = NULL;
		struct err e = { 0 };

		assert_int_equal(
			source_parse_docker(rows[n].text, strlen(rows[n].text), "m", NULL, &i, &config, &e),
			-EINVAL);
		if (!strstr(e.msg, rows[n].part))
			fail_msg("%s: %s", rows[n].text, e.msg);
	}
}

static void test_index(void **state)
{
	static const struct {
		const char *text, *ref, *want; /* digest, or part of the error */
	} rows[] = {
		{ "{\"manifests\":[" DESC(A64) "]}", NULL, A64 },
		{ "{\"manifests\":[" DESC(A64) "," DESC(B64) "]}", NULL, "holds 2 images" },
		{ "{\"manifests\":[{\"digest\":\"sha256:" A64
		  "\",\"size\":1,\"platform\":{\"architecture\":\"arm64\"}},"
		  "{\"digest\":\"sha256:" B64
		  "\",\"size\":1,\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"}}]}",
		  NULL, B64 },
		{ "{\"manifests\":[" DESC(A64) ",{\"digest\":\"sha256:" B64 "\",\"size\":1,\"annotations\":"
					       "{\"org.opencontainers.image.ref.name\":\"v2\"}}]}",
		  "v2", B64 },
		{ "{\"manifests\":[" V3(A64) "," DESC(B64) "," V3(A64) "]}", NULL, B64 },
		{ "{\"manifests\":[" DESC(B64) "," V3(A64) "]}", NULL, B64 },
		{ "{\"manifests\":[" V3(A64) "]}", NULL, A64 },
		{ "{\"manifests\":[" V3(A64) "," V3(B64) "]}", NULL, "holds 2 images" },
		{ "{\"manifests\":[" DESC(A64) "," V3(A64) "," DESC(B64) "]}", NULL, "holds 2 images" },
		{ "{\"manifests\":[" DESC(A64) "]}", "v2", "called 'v2'" },
		{ "{\"manifests\":[]}", NULL, "holds no image" },
		{ "{\"manifests\":[{\"digest\":\"sha256:../../x\",\"size\":1}]}", NULL, "sha256 digest" },
		{ "{\"manifests\":[{\"digest\":\"sha256:" A64 "\"}]}", NULL, "size" },
		{ "{\"manifests\":[{\"digest\":\"sha256:" A64 "\",\"size\":-1}]}", NULL, "size" },
		{ "{\"manifests\":[null]}", NULL, "[0]" },
		{ "{}", NULL, "manifests" },
		{ "[]", NULL, "object" },
	};

	(void)state;
	for (size_t n = 0; n < ARRAY_LEN(rows); n++) {
		scoped_free char *name = NULL;
		struct source_desc d = { .size = 0 };
		struct err e = { 0 };
		int r = source_parse_index(rows[n].text, strlen(rows[n].text), "i", rows[n].ref, &d, &name,
					   &e);

		if (r == 0 ? strcmp(d.digest, rows[n].want) != 0 : !strstr(e.msg, rows[n].want))
			fail_msg("%s: %s", rows[n].text, r == 0 ? d.digest : e.msg);
	}
}

static void test_manifest(void **state)
{
	static const char good[] = "{\"config\":" DESC(A64) ",\"layers\":[" DESC(B64) "]}";
	static const char bad[] = "{\"config\":" DESC(A64) ",\"layers\":[{\"digest\":\"md5:1\",\"size\":1}]}";
	scoped_source_image i = { 0 };
	struct source_desc config;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(source_parse_manifest(good, strlen(good), "m", &config, &i, &e), 0);
	assert_string_equal(config.digest, A64);
	assert_int_equal(config.size, 7);
	assert_string_equal(i.layers.p[0], "blobs/sha256/" B64);
	assert_string_equal(i.digests.p[0], B64);
	assert_int_equal(source_parse_manifest(bad, strlen(bad), "m", &config, &i, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "layers[0].digest"));
}

static void test_config(void **state)
{
	static const char good[] = "{\"rootfs\":{\"diff_ids\":[\"sha256:" A64 "\",\"sha256:" B64 "\"]}}";
	static const char *const bad[] = { "{}",
					   "[]",
					   "{\"rootfs\":1}",
					   "{\"rootfs\":{\"diff_ids\":[]}}",
					   "{\"rootfs\":{\"diff_ids\":[1]}}",
					   "{\"rootfs\":{\"diff_ids\":[\"" A64 "\"]}}" };
	scoped_strv ids = { 0 };

	(void)state;
	assert_int_equal(store_config_layers(good, strlen(good), "c", &ids, NULL), 0);
	assert_int_equal(ids.n, 2);
	assert_string_equal(ids.p[1], B64);
	for (size_t n = 0; n < ARRAY_LEN(bad); n++)
		assert_int_equal(store_config_layers(bad[n], strlen(bad[n]), "c", &ids, NULL), -EINVAL);
}

static void test_names(void **state)
{
	static const char *const good[] = { "a", "docker.io/library/x:1", "r.example:5000/a/b@c", "abcde",
					    "abcdefg" };
	static const char *const bad[] = { "",    "-a",       ".a",     "/a",       "a b",
					   "a\n", "\xc3\xa9", "abcdef", "sha256:x", "0123456789" };

	(void)state;
	for (size_t n = 0; n < ARRAY_LEN(good); n++)
		assert_true(store_name_ok(good[n]));
	for (size_t n = 0; n < ARRAY_LEN(bad); n++)
		assert_false(store_name_ok(bad[n]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_docker), cmocka_unit_test(test_docker_bad),
		cmocka_unit_test(test_index),  cmocka_unit_test(test_manifest),
		cmocka_unit_test(test_config), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
