/* num.h - strict parsers and checked arithmetic. All return 0 or -EINVAL/-ERANGE/-EOVERFLOW and
 * touch the output only on success. Nothing skips blanks; nothing accepts trailing text. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/scope.h"

/* Decimal digits only: no sign, no blanks, no base prefix. */
int must_check num_parse_u64(const char *s, uint64_t *ret);
/* As num_parse_u64, but at most `max` (else -ERANGE). */
int must_check num_parse_u64_max(const char *s, uint64_t max, uint64_t *ret);
/* An optional '-' and decimal digits. */
int must_check num_parse_i64(const char *s, int64_t *ret);
/* Octal digits only ("0755", "755"): file modes. */
int must_check num_parse_octal(const char *s, uint32_t *ret);
/* Bytes: digits and an optional suffix K M G T (powers of 1024; lower case, and a following
 * "iB" or "B", are accepted too): "512M", "1GiB", "4096". */
int must_check num_parse_size(const char *s, uint64_t *ret);
/* "1", "true", "yes", "on" / "0", "false", "no", "off". */
int must_check num_parse_bool(const char *s, bool *ret);
/* Go's time.Duration as runc takes it ("5s", "100ms", "1m30s"), in nanoseconds. */
int must_check num_parse_duration(const char *s, uint64_t *ret_ns);

/* Sums and products derived from input: -EOVERFLOW instead of wrapping. */
static inline int must_check num_add(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t r;

	if (__builtin_add_overflow(a, b, &r))
		return -75; /* -EOVERFLOW */
	*ret = r;
	return 0;
}

static inline int must_check num_mul(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t r;

	if (__builtin_mul_overflow(a, b, &r))
		return -75; /* -EOVERFLOW */
	*ret = r;
	return 0;
}

static inline uint64_t num_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t num_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
