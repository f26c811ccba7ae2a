/* fuzz_num.c - the number parsers of base/num.h against a slow, obvious model of each.
 * Promises: no parser accepts text beyond its grammar, returns a wrong value, or touches its output
 * when it fails. */
#include <errno.h>
#include <limits.h>

#include "base/num.h"
#include "base/str.h"
#include "fuzz.h"

#define UNTOUCHED UINT64_C(0xdeadbeefcafef00d)

/* Digits only, at least one, value as 128 bits; 2^100 stands for everything larger. */
static bool model(const char *s, unsigned base, unsigned __int128 *ret)
{
	static const char digits[] = "0123456789";
	unsigned __int128 v = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		const char *d = memchr(digits, *s, base);

		if (!d)
			return false;
		if (v < (unsigned __int128)1 << 100)
			v = v * base + (unsigned)(d - digits);
	}
	*ret = v;
	return true;
}

static void check_u64(const char *s, uint64_t max)
{
	unsigned __int128 want = 0;
	uint64_t v = UNTOUCHED;
	bool valid = model(s, 10, &want);
	int r = num_parse_u64_max(s, max, &v);

	if (valid && want <= max)
		FUZZ_ASSERT(r == 0 && v == want);
	else
		FUZZ_ASSERT((r == -EINVAL || r == -ERANGE) && v == UNTOUCHED);
	FUZZ_ASSERT(!valid || want <= max || r == -ERANGE);
}

static void check_i64(const char *s)
{
	bool neg = s[0] == '-';
	unsigned __int128 want = 0, limit = (unsigned __int128)INT64_MAX + (neg ? 1 : 0);
	int64_t v = (int64_t)UNTOUCHED;
	bool valid = model(neg ? s + 1 : s, 10, &want);
	int r = num_parse_i64(s, &v);

	if (valid && want <= limit)
		FUZZ_ASSERT(r == 0 && (__int128)v == (neg ? -(__int128)want : (__int128)want));
	else
		FUZZ_ASSERT((r == -EINVAL || r == -ERANGE) && v == (int64_t)UNTOUCHED);
}

static void check_octal(const char *s)
{
	unsigned __int128 want = 0;
	uint32_t v = (uint32_t)UNTOUCHED;
	bool valid = model(s, 8, &want);
	int r = num_parse_octal(s, &v);

	if (valid && want <= UINT32_MAX)
		FUZZ_ASSERT(r == 0 && v == want);
	else
		FUZZ_ASSERT((r == -EINVAL || r == -ERANGE) && v == (uint32_t)UNTOUCHED);
}

static void check_size(const char *s)
{
	uint64_t v = UNTOUCHED, plain = 0;
	int r = num_parse_size(s, &v);

	if (r < 0) {
		FUZZ_ASSERT((r == -EINVAL || r == -ERANGE) && v == UNTOUCHED);
		return;
	}
	FUZZ_ASSERT(s[0] >= '0' && s[0] <= '9');
	if (num_parse_u64(s, &plain) == 0)
		FUZZ_ASSERT(v == plain);
	else
		FUZZ_ASSERT(v % 1024 == 0 && s[strspn(s, "0123456789")] && strlen(s) < 64 + strspn(s, "0"));
}

/* "AB" lasts as long as "A" and "B" together. */
static void check_duration(const char *s)
{
	uint64_t all = UNTOUCHED, a = 0, b = 0;
	int r = num_parse_duration(s, &all);
	size_t cut;

	if (r < 0)
		FUZZ_ASSERT((r == -EINVAL || r == -ERANGE) && all == UNTOUCHED);
	else
		FUZZ_ASSERT(all <= INT64_MAX && (str_eq(s, "0") || str_eq(s, "+0") || strpbrk(s, "smh")));
	for (cut = 1; cut < strlen(s) && cut < 32; cut++) {
		char *head = strndup(s, cut);

		if (!head)
			abort();
		if (!str_ends(head, "0") && s[cut] != '+' && num_parse_duration(head, &a) == 0 &&
		    num_parse_duration(s + cut, &b) == 0 && !str_eq(s + cut, "0"))
			FUZZ_ASSERT(a + b > INT64_MAX ? r == -ERANGE : r == 0 && all == a + b);
		free(head);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	char *s = fuzz_str(&in, 256);
	uint64_t max = fuzz_uint(&in, 8); /* what follows a long text; 0 for a short one */
	bool yes = false;

	check_u64(s, max);
	check_u64(s, UINT64_MAX);
	check_i64(s);
	check_octal(s);
	check_size(s);
	check_duration(s);
	if (num_parse_bool(s, &yes) == 0)
		FUZZ_ASSERT(strlen(s) <= 5);
	free(s);
	return 0;
}
