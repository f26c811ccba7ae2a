/* fuzz_qmp.c - a line of QEMU's QMP replies through hyper/qmp.h.
 * Promises: an accepted line is one object of one kind; its text is terminated, printable ASCII and empty for
 * greetings and returns; it is accepted with blanks around it too, with the same result, and no proper
 * prefix of it is; a refused line leaves the result untouched. */
#include <errno.h>

#include "fuzz.h"
#include "hyper/qmp.h"

static void check_text(const struct qmp_reply *r)
{
	size_t n = strnlen(r->text, sizeof(r->text));

	FUZZ_ASSERT(n < sizeof(r->text));
	for (size_t i = 0; i < n; i++)
		FUZZ_ASSERT(r->text[i] >= 0x20 && r->text[i] < 0x7f);
	FUZZ_ASSERT(n == 0 || r->kind == QMP_ERROR || r->kind == QMP_EVENT);
}

static int scan(const char *p, size_t n, struct qmp_reply *r)
{
	char *exact = malloc(n ? n : 1); /* a sanitizer sees one byte too many */
	int ret;

	if (!exact)
		abort();
	memcpy(exact, p, n);
	ret = qmp_scan(exact, n, r);
	free(exact);
	FUZZ_ASSERT(ret == 0 || ret == -EBADMSG);
	return ret;
}

static void check_blanks(const char *p, size_t n, const struct qmp_reply *want)
{
	char *wide = malloc(n + 4);
	struct qmp_reply r;

	if (!wide)
		abort();
	wide[0] = ' ';
	wide[1] = '\t';
	memcpy(wide + 2, p, n);
	wide[n + 2] = '\r';
	wide[n + 3] = ' ';
	FUZZ_ASSERT(scan(wide, n + 4, &r) == 0);
	FUZZ_ASSERT(memcmp(&r, want, sizeof(r)) == 0);
	free(wide);
}

/* Deepest nesting outside strings. */
static int depth_of(const char *p, size_t n)
{
	int depth = 0, max = 0;
	bool quoted = false;

	for (size_t i = 0; i < n; i++) {
		if (quoted && p[i] == '\\')
			i++;
		else if (p[i] == '"')
			quoted = !quoted;
		else if (!quoted && (p[i] == '{' || p[i] == '['))
			max = ++depth > max ? depth : max;
		else if (!quoted && (p[i] == '}' || p[i] == ']'))
			depth--;
	}
	FUZZ_ASSERT(depth == 0 && !quoted);
	return max;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;
	struct qmp_reply r, untouched, other;

	memset(&r, 0x55, sizeof(r));
	untouched = r;
	if (scan(p, size, &r) < 0) {
		FUZZ_ASSERT(memcmp(&r, &untouched, sizeof(r)) == 0);
		return 0;
	}
	FUZZ_ASSERT(r.kind < QMP_KIND_N);
	check_text(&r);
	check_blanks(p, size, &r);
	while (size > 0 && strchr(" \t\r\n", p[size - 1]))
		size--;
	FUZZ_ASSERT(size >= 2 && p[size - 1] == '}');
	FUZZ_ASSERT(depth_of(p, size) <= QMP_DEPTH);
	FUZZ_ASSERT(scan(p, size - 1, &other) < 0 && scan(p, size / 2, &other) < 0);
	return 0;
}
