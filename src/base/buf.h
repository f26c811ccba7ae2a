/* buf.h - bounds-checked reading of bytes that came from elsewhere, and the matching writing.
 * Little-endian. The reader never passes its end: after the first failure every get returns
 * -EBADMSG and the outputs stay as they were. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct buf_reader {
	const uint8_t *p; /* borrowed */
	size_t left;
	bool bad;
};

static inline struct buf_reader buf_reader(const void *p, size_t n)
{
	return (struct buf_reader){ .p = (const uint8_t *)p, .left = n };
}

int must_check buf_get_u8(struct buf_reader *r, uint8_t *ret);
int must_check buf_get_u16(struct buf_reader *r, uint16_t *ret);
int must_check buf_get_u32(struct buf_reader *r, uint32_t *ret);
int must_check buf_get_u64(struct buf_reader *r, uint64_t *ret);
/* `n` bytes, borrowed from the input. */
int must_check buf_get_bytes(struct buf_reader *r, size_t n, const uint8_t **ret);

/* Writers append to a str (which then holds bytes, not text). */
void buf_put_u8(struct str *s, uint8_t v);
void buf_put_u16(struct str *s, uint16_t v);
void buf_put_u32(struct str *s, uint32_t v);
void buf_put_u64(struct str *s, uint64_t v);

static inline uint32_t buf_ld32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint16_t buf_ld16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

#endif
