/* buf.c - reading and writing little-endian bytes (buf.h).
 *
 * Called by the codecs. Trusts nothing about the bytes; the reader's own fields are its callers' to
 * keep. Never: reads past the end or goes on after a failure. */
#include "base/buf.h"

#include <errno.h>

int buf_get_bytes(struct buf_reader *r, size_t n, const uint8_t **ret)
{
	if (r->bad || n > r->left) {
		r->bad = true;
		return -EBADMSG;
	}
	*ret = r->p;
	if (n) /* an empty reader may have no address */
		r->p += n;
	r->left -= n;
	return 0;
}

int buf_get_u8(struct buf_reader *r, uint8_t *ret)
{
	const uint8_t *p;
	int e = buf_get_bytes(r, 1, &p);

	if (e < 0)
		return e;
	*ret = p[0];
	return 0;
}

int buf_get_u16(struct buf_reader *r, uint16_t *ret)
{
	const uint8_t *p;
	int e = buf_get_bytes(r, 2, &p);

	if (e < 0)
		return e;
	*ret = buf_ld16(p);
	return 0;
}

int buf_get_u32(struct buf_reader *r, uint32_t *ret)
{
	const uint8_t *p;
	int e = buf_get_bytes(r, 4, &p);

	if (e < 0)
		return e;
	*ret = buf_ld32(p);
	return 0;
}

int buf_get_u64(struct buf_reader *r, uint64_t *ret)
{
	const uint8_t *p;
	int e = buf_get_bytes(r, 8, &p);

	if (e < 0)
		return e;
	*ret = (uint64_t)buf_ld32(p) | (uint64_t)buf_ld32(p + 4) << 32;
	return 0;
}

/* The lowest n bytes of v. */
static void put_le(struct str *s, uint64_t v, size_t n)
{
	uint8_t b[8];

	for (size_t i = 0; i < n; i++)
		b[i] = (uint8_t)(v >> (8 * i));
	str_addn(s, b, n);
}

void buf_put_u8(struct str *s, uint8_t v)
{
	put_le(s, v, 1);
}

void buf_put_u16(struct str *s, uint16_t v)
{
	put_le(s, v, 2);
}

void buf_put_u32(struct str *s, uint32_t v)
{
	put_le(s, v, 4);
}

void buf_put_u64(struct str *s, uint64_t v)
{
	put_le(s, v, 8);
}
