/* fuzz.h - what the fuzz targets share: the entry, assertions, and input as numbers.
 *
 * A target gets bytes it must not trust and asserts the contract of what it calls: sanitizers alone
 * find only a part of the mistakes. Assertions also count in builds without sanitizers (replay.c). */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_ASSERT(cond)                                                                                    \
	do {                                                                                                 \
		if (!(cond)) {                                                                               \
			(void)fprintf(stderr, "%s:%d: contract broken: %s\n", __FILE__, __LINE__, #cond);    \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

/* The input as a sequence of choices; past its end everything is 0. */
struct fuzz_in {
	const uint8_t *p;
	size_t left;
};

static inline uint64_t fuzz_uint(struct fuzz_in *in, size_t bytes)
{
	uint64_t v = 0;

	for (; bytes && in->left; bytes--, in->p++, in->left--)
		v = v << 8 | in->p[0];
	return v;
}

/* A number in 0..max. */
static inline size_t fuzz_below(struct fuzz_in *in, size_t max)
{
	return (size_t)(fuzz_uint(in, max > 0xff ? 4 : 1) % (max + 1));
}

/* Up to n bytes, in a heap block of exactly their size, so that a sanitizer sees one byte too many;
 * free() it. */
static inline uint8_t *fuzz_bytes(struct fuzz_in *in, size_t n, size_t *ret_n)
{
	size_t len = n < in->left ? n : in->left;
	uint8_t *b = malloc(len ? len : 1);

	if (!b)
		abort();
	if (len)
		memcpy(b, in->p, len);
	in->p += len;
	in->left -= len;
	*ret_n = len;
	return b;
}

/* The rest up to n bytes as a string, in a block of exactly its size; free() it. It ends at a NUL of
 * the input, if there is one. */
static inline char *fuzz_str(struct fuzz_in *in, size_t n)
{
	size_t len = n < in->left ? n : in->left;
	char *s = strndup((const char *)in->p, len);

	if (!s)
		abort();
	in->p += len;
	in->left -= len;
	return s;
}

#endif
