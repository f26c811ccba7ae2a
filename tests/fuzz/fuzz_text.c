/* fuzz_text.c - bytes from a guest on their way to a terminal, a log or an error.
 * Promises: what str_add_escaped() and err_import() give is printable UTF-8 only, printable input
 * stays as it is, an error's text is terminated and its code a negative errno; splitting and joining
 * gives the input back. */
#include <errno.h>

#include "base/err.h"
#include "base/str.h"
#include "fuzz.h"

static bool is_printable(const char *p, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t len = str_utf8_len(p + i, n - i);

		if (!len || (unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			return false;
		FUZZ_ASSERT(len <= 4 && len <= n - i);
		i += len;
	}
	return true;
}

static void check_escaped(const char *p, size_t n)
{
	scoped_str s = { 0 };

	str_add_escaped(&s, p, n);
	FUZZ_ASSERT(str_check(&s) == 0);
	FUZZ_ASSERT(s.len >= n && s.len <= 4 * n);
	FUZZ_ASSERT(is_printable(s.p ? s.p : "", s.len));
	if (is_printable(p, n))
		FUZZ_ASSERT(s.len == n && (n == 0 || memcmp(s.p, p, n) == 0));
}

static void check_import(int code, const char *p, size_t n)
{
	struct err e;
	size_t len;

	memset(&e, 0x55, sizeof(e));
	FUZZ_ASSERT(err_import(&e, code, p, n) == e.code);
	FUZZ_ASSERT(e.code < 0 && e.code >= -4095);
	len = strnlen(e.msg, sizeof(e.msg));
	FUZZ_ASSERT(len < sizeof(e.msg) && len <= n && is_printable(e.msg, len));
	FUZZ_ASSERT(err_wrap(&e, "%s", "context") == e.code);
	FUZZ_ASSERT(str_starts(e.msg, "context: ") && memchr(e.msg, 0, sizeof(e.msg)));
}

static void check_split(const char *text, char sep)
{
	scoped_strv v = { 0 };
	scoped_str s = { 0 };

	strv_split(&v, text, sep);
	FUZZ_ASSERT(strv_check(&v) == 0 && v.n >= 1 && !v.p[v.n]);
	for (size_t i = 0; i < v.n; i++) {
		FUZZ_ASSERT(!strchr(v.p[i], sep));
		if (i)
			str_addc(&s, sep);
		str_add(&s, v.p[i]);
	}
	FUZZ_ASSERT(str_eq(s.p ? s.p : "", text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	int code = (int)(int32_t)fuzz_uint(&in, 4);
	size_t n = 0;
	char *bytes = (char *)fuzz_bytes(&in, 4096, &n), *text = strndup(bytes, n);

	if (!text)
		abort();
	check_escaped(bytes, n);
	check_import(code, bytes, n);
	check_split(text, ',');
	free(bytes);
	free(text);
	return 0;
}
