/* num.c - strict number parsers (num.h).
 *
 * Called by everything that reads numbers from text: options, annotations, config.json, /proc.
 * Trusts nothing about the text but its NUL. Never: looks at the locale, skips blanks, or touches
 * the output on failure. */
#include "base/num.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

/* Digits of `base` (<= 10) from *s on; moves *s behind them. At least one is needed. */
static int parse_digits(const char **s, unsigned base, uint64_t *ret)
{
	const char *p = *s;
	uint64_t v = 0;

	if (*p < '0' || *p >= (char)('0' + base))
		return -EINVAL;
	for (; *p >= '0' && *p < (char)('0' + base); p++) {
		if (num_mul(v, base, &v) < 0 || num_add(v, (uint64_t)(*p - '0'), &v) < 0)
			return -ERANGE;
	}
	*s = p;
	*ret = v;
	return 0;
}

/* Digits that must be the whole text. An overflow in front of trailing text is -ERANGE: the number
 * is wrong in any case. */
static int parse_whole(const char *s, unsigned base, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;
	int r;

	if (!s)
		return -EINVAL;
	r = parse_digits(&s, base, &v);
	if (r < 0)
		return r;
	if (*s)
		return -EINVAL;
	if (v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

int num_parse_u64(const char *s, uint64_t *ret)
{
	return parse_whole(s, 10, UINT64_MAX, ret);
}

int num_parse_u64_max(const char *s, uint64_t max, uint64_t *ret)
{
	return parse_whole(s, 10, max, ret);
}

int num_parse_i64(const char *s, int64_t *ret)
{
	bool neg = s && s[0] == '-';
	uint64_t v = 0;
	int r;

	r = parse_whole(neg ? s + 1 : s, 10, (uint64_t)INT64_MAX + (neg ? 1 : 0), &v);
	if (r < 0)
		return r;
	*ret = neg ? (int64_t)(0 - v) : (int64_t)v;
	return 0;
}

int num_parse_octal(const char *s, uint32_t *ret)
{
	uint64_t v = 0;
	int r;

	r = parse_whole(s, 8, UINT32_MAX, &v);
	if (r < 0)
		return r;
	*ret = (uint32_t)v;
	return 0;
}

/* The shift of a size's suffix; -EINVAL if it is none. */
static int size_shift(const char *s)
{
	static const char units[] = "KMGTkmgt";
	const char *u;

	if (!*s)
		return 0;
	u = strchr(units, *s++);
	if (!u)
		return -EINVAL;
	if (s[0] == 'i' && (s[1] == 'B' || s[1] == 'b'))
		s += 2;
	else if (s[0] == 'B' || s[0] == 'b')
		s++;
	if (*s)
		return -EINVAL;
	return 10 * (int)((u - units) % 4 + 1);
}

int num_parse_size(const char *s, uint64_t *ret)
{
	uint64_t v = 0;
	int r, shift;

	if (!s)
		return -EINVAL;
	r = parse_digits(&s, 10, &v);
	if (r < 0)
		return r;
	shift = size_shift(s);
	if (shift < 0)
		return shift;
	if (num_mul(v, (uint64_t)1 << shift, &v) < 0)
		return -ERANGE;
	*ret = v;
	return 0;
}

int num_parse_bool(const char *s, bool *ret)
{
	static const struct {
		const char *text;
		bool value;
	} words[] = {
		{ "1", true },  { "true", true },   { "yes", true }, { "on", true },
		{ "0", false }, { "false", false }, { "no", false }, { "off", false },
	};

	for (size_t i = 0; s && i < ARRAY_LEN(words); i++) {
		if (strcmp(s, words[i].text) == 0) {
			*ret = words[i].value;
			return 0;
		}
	}
	return -EINVAL;
}

static const struct duration_unit {
	const char *name;
	uint64_t ns;
} duration_units[] = {
	/* longer names first: "ms" before "m" */
	{ "ns", 1 },
	{ "us", 1000 },
	{ "\xc2\xb5s", 1000 }, /* U+00B5, micro sign */
	{ "\xce\xbcs", 1000 }, /* U+03BC, Greek mu */
	{ "ms", 1000000 },
	{ "s", 1000000000 },
	{ "m", UINT64_C(60) * 1000000000 },
	{ "h", UINT64_C(3600) * 1000000000 },
};

/* ".25" as a numerator and a denominator; what lies beyond 18 digits is below a nanosecond. */
static size_t parse_fraction(const char **s, uint64_t *num, uint64_t *den)
{
	const char *p = *s + 1;
	size_t digits = 0;

	*num = 0;
	*den = 1;
	for (; *p >= '0' && *p <= '9'; p++, digits++) {
		if (digits >= 18)
			continue;
		*num = *num * 10 + (uint64_t)(*p - '0');
		*den *= 10;
	}
	*s = p;
	return digits;
}

/* One "12.5ms"; moves *s behind it. */
static int parse_duration_part(const char **s, uint64_t *ret)
{
	const struct duration_unit *u = NULL;
	uint64_t v = 0, num = 0, den = 1;
	bool digits = **s >= '0' && **s <= '9';
	int r;

	if (digits) {
		r = parse_digits(s, 10, &v);
		if (r < 0)
			return r;
	}
	if (**s == '.')
		digits = parse_fraction(s, &num, &den) > 0 || digits;
	if (!digits)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(duration_units) && !u; i++)
		if (str_starts(*s, duration_units[i].name))
			u = &duration_units[i];
	if (!u)
		return -EINVAL;
	*s += strlen(u->name);
	/* num < den <= 10^18, so the quotient is below u->ns */
	num = (uint64_t)((unsigned __int128)num * u->ns / den);
	if (num_mul(v, u->ns, &v) < 0 || num_add(v, num, &v) < 0)
		return -ERANGE;
	*ret = v;
	return 0;
}

int num_parse_duration(const char *s, uint64_t *ret_ns)
{
	uint64_t sum = 0, part = 0;
	int r;

	if (!s)
		return -EINVAL;
	if (*s == '+')
		s++;
	if (strcmp(s, "0") == 0) { /* the only number without a unit */
		*ret_ns = 0;
		return 0;
	}
	if (!*s)
		return -EINVAL;
	while (*s) {
		r = parse_duration_part(&s, &part);
		if (r < 0)
			return r;
		if (num_add(sum, part, &sum) < 0 || sum > INT64_MAX)
			return -ERANGE;
	}
	*ret_ns = sum;
	return 0;
}
