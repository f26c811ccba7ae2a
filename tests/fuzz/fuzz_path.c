/* fuzz_path.c - str_clean_path() and str_is_id() of base/str.h.
 * Promises: a cleaned path equals that of a model with a stack of parts, is clean by every single
 * rule, and cleaning it again changes nothing; an id has no byte that means something in a path. */
#include "base/str.h"
#include "fuzz.h"

/* Parts on a stack, as the definition reads. */
static char *model(const char *path)
{
	scoped_strv parts = { 0 }, out = { 0 };
	scoped_str s = { 0 };
	bool rooted = path[0] == '/';

	strv_split(&parts, path, '/');
	for (size_t i = 0; i < parts.n; i++) {
		const char *p = parts.p[i];

		if (!*p || str_eq(p, "."))
			continue;
		if (str_eq(p, "..") && out.n && !str_eq(out.p[out.n - 1], "..")) {
			free(out.p[--out.n]);
			out.p[out.n] = NULL;
		} else if (!str_eq(p, "..") || !rooted) {
			strv_add(&out, p);
		}
	}
	for (size_t i = 0; i < out.n; i++)
		str_addf(&s, "%s%s", rooted || i ? "/" : "", out.p[i]);
	if (!s.len)
		str_add(&s, rooted ? "/" : ".");
	return str_take(&s);
}

static void check_clean(const char *path, const char *c)
{
	size_t n = strlen(c);

	FUZZ_ASSERT(n > 0 && (c[0] == '/') == (path[0] == '/'));
	FUZZ_ASSERT(!strstr(c, "//") && !strstr(c, "/./"));
	FUZZ_ASSERT(n == 1 || c[n - 1] != '/');
	FUZZ_ASSERT(!str_ends(c, "/."));
	FUZZ_ASSERT(n == 1 || !str_starts(c, "./"));
	if (c[0] == '/')
		FUZZ_ASSERT(!strstr(c, "/../") && !str_ends(c, "/.."));
	FUZZ_ASSERT(n <= strlen(path) || str_eq(c, "."));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	char *path = fuzz_str(&in, 4096), *want = model(path);
	char *once = str_clean_path(path), *twice = once ? str_clean_path(once) : NULL;

	FUZZ_ASSERT(want && once && twice);
	check_clean(path, once);
	FUZZ_ASSERT(str_eq(once, want));
	FUZZ_ASSERT(str_eq(once, twice));
	if (str_is_id(path)) {
		FUZZ_ASSERT(!strchr(path, '/') && str_eq(once, path));
		FUZZ_ASSERT(strlen(path) >= 1 && strlen(path) <= 1024);
	}
	free(path);
	free(want);
	free(once);
	free(twice);
	return 0;
}
