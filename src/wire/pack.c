/* pack.c - the engine behind pack.h: one function per direction and field type.
 *
 * Called by: every process that sends or receives a message. Trusts: the tables. Distrusts: every
 * byte that is decoded. Never: allocates more than the bytes that are there can justify. */
#include "wire/pack.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"

static int encode_bytes(struct str *to, const void *p, size_t n, size_t max)
{
	if (n > max || n > UINT32_MAX - 1)
		return -E2BIG;
	buf_put_u32(to, (uint32_t)n);
	str_addn(to, p, n);
	return 0;
}

/* NULL and "" differ: 0 means NULL, n + 1 a text of n bytes. */
static int encode_str(struct str *to, const char *s, size_t max)
{
	size_t n;

	if (!s) {
		buf_put_u32(to, 0);
		return 0;
	}
	n = strlen(s);
	if (n > max)
		return -E2BIG;
	buf_put_u32(to, (uint32_t)n + 1);
	str_addn(to, s, n);
	return 0;
}

static int encode_strs(struct str *to, const struct pack_strs *v, size_t max)
{
	int r;

	if (v->n > max)
		return -E2BIG;
	buf_put_u32(to, (uint32_t)v->n);
	for (size_t i = 0; i < v->n; i++) {
		r = encode_bytes(to, v->p[i], strlen(v->p[i]), PACK_STR_MAX);
		if (r < 0)
			return r;
	}
	return 0;
}

static int encode_u32s(struct str *to, const struct pack_u32s *v, size_t max)
{
	if (v->n > max)
		return -E2BIG;
	buf_put_u32(to, (uint32_t)v->n);
	for (size_t i = 0; i < v->n; i++)
		buf_put_u32(to, v->p[i]);
	return 0;
}

static int encode_rec(const struct pack_rec *rec, const char *from, struct str *to);

static int encode_recs(const struct pack_field *f, const struct pack_recs *v, struct str *to)
{
	int r;

	if (v->n > f->max)
		return -E2BIG;
	buf_put_u32(to, (uint32_t)v->n);
	for (size_t i = 0; i < v->n; i++) {
		r = encode_rec(f->rec, (const char *)v->p + i * f->rec->size, to);
		if (r < 0)
			return r;
	}
	return 0;
}

static int encode_field(const struct pack_field *f, const void *at, struct str *to)
{
	const struct pack_blob *blob;

	switch (f->type) {
	case PACK_BOOL:
		buf_put_u8(to, *(const bool *)at ? 1 : 0);
		return 0;
	case PACK_U32:
		buf_put_u32(to, *(const uint32_t *)at);
		return 0;
	case PACK_U64:
	case PACK_I64:
		buf_put_u64(to, *(const uint64_t *)at);
		return 0;
	case PACK_STR:
		return encode_str(to, *(char *const *)at, f->max);
	case PACK_BLOB:
		blob = at;
		return encode_bytes(to, blob->p, blob->n, f->max);
	case PACK_STRS:
		return encode_strs(to, at, f->max);
	case PACK_U32S:
		return encode_u32s(to, at, f->max);
	case PACK_REC:
		return encode_rec(f->rec, at, to);
	case PACK_RECS:
		return encode_recs(f, at, to);
	case PACK_N:
		break;
	}
	return -EINVAL;
}

static int encode_rec(const struct pack_rec *rec, const char *from, struct str *to)
{
	int r;

	for (size_t i = 0; i < rec->n_fields; i++) {
		r = encode_field(&rec->fields[i], from + rec->fields[i].off, to);
		if (r < 0)
			return r;
	}
	return 0;
}

int pack_encode(const struct pack_rec *rec, const void *from, struct str *to)
{
	int r = encode_rec(rec, from, to);

	return r < 0 ? r : str_check(to);
}

/* A length or count: at most max, and at most what the bytes that are left can hold. */
static int get_count(struct buf_reader *in, size_t max, size_t min_each, uint32_t *ret)
{
	uint32_t n;
	int r;

	r = buf_get_u32(in, &n);
	if (r < 0)
		return r;
	if (n > max || n > in->left / min_each)
		return -EBADMSG;
	*ret = n;
	return 0;
}

/* n bytes of text without a NUL inside. */
static int get_text(struct buf_reader *in, size_t n, struct arena *a, char **ret)
{
	const uint8_t *p;
	char *s;
	int r;

	r = buf_get_bytes(in, n, &p);
	if (r < 0)
		return r;
	if (n > 0 && memchr(p, 0, n))
		return -EBADMSG;
	s = arena_strn(a, p, n);
	if (!s)
		return -ENOMEM;
	*ret = s;
	return 0;
}

static int decode_str(struct buf_reader *in, size_t max, struct arena *a, char **ret)
{
	uint32_t n;
	int r;

	r = buf_get_u32(in, &n);
	if (r < 0)
		return r;
	if (n == 0) {
		*ret = NULL;
		return 0;
	}
	if (n - 1 > max)
		return -EBADMSG;
	return get_text(in, n - 1, a, ret);
}

static int decode_blob(struct buf_reader *in, size_t max, struct arena *a, struct pack_blob *ret)
{
	const uint8_t *p;
	uint32_t n;
	void *copy;
	int r;

	r = get_count(in, max, 1, &n);
	if (r < 0 || n == 0)
		return r;
	r = buf_get_bytes(in, n, &p);
	if (r < 0)
		return r;
	copy = arena_alloc(a, n);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, p, n);
	*ret = (struct pack_blob){ .p = copy, .n = n };
	return 0;
}

static int decode_strs(struct buf_reader *in, size_t max, struct arena *a, struct pack_strs *ret)
{
	uint32_t n, len;
	char **p;
	int r;

	r = get_count(in, max, 4, &n);
	if (r < 0)
		return r;
	p = arena_array(a, (size_t)n + 1, sizeof *p);
	if (!p)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		r = get_count(in, PACK_STR_MAX, 1, &len);
		if (r < 0)
			return r;
		r = get_text(in, len, a, &p[i]);
		if (r < 0)
			return r;
	}
	*ret = (struct pack_strs){ .p = p, .n = n };
	return 0;
}

static int decode_u32s(struct buf_reader *in, size_t max, struct arena *a, struct pack_u32s *ret)
{
	uint32_t n, *p;
	int r;

	r = get_count(in, max, 4, &n);
	if (r < 0 || n == 0)
		return r;
	p = arena_array(a, n, sizeof *p);
	if (!p)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		r = buf_get_u32(in, &p[i]);
		if (r < 0)
			return r;
	}
	*ret = (struct pack_u32s){ .p = p, .n = n };
	return 0;
}

static int decode_rec(const struct pack_rec *rec, struct buf_reader *in, struct arena *a, char *to);

static int decode_recs(const struct pack_field *f, struct buf_reader *in, struct arena *a,
		       struct pack_recs *ret)
{
	uint32_t n;
	char *p;
	int r;

	r = get_count(in, f->max, 1, &n);
	if (r < 0 || n == 0)
		return r;
	p = arena_array(a, n, f->rec->size);
	if (!p)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		r = decode_rec(f->rec, in, a, p + i * f->rec->size);
		if (r < 0)
			return r;
	}
	*ret = (struct pack_recs){ .p = p, .n = n };
	return 0;
}

static int decode_bool(struct buf_reader *in, bool *ret)
{
	uint8_t v;
	int r;

	r = buf_get_u8(in, &v);
	if (r < 0)
		return r;
	if (v > 1)
		return -EBADMSG;
	*ret = v == 1;
	return 0;
}

static int decode_field(const struct pack_field *f, struct buf_reader *in, struct arena *a, void *at)
{
	switch (f->type) {
	case PACK_BOOL:
		return decode_bool(in, at);
	case PACK_U32:
		return buf_get_u32(in, at);
	case PACK_U64:
	case PACK_I64:
		return buf_get_u64(in, at);
	case PACK_STR:
		return decode_str(in, f->max, a, at);
	case PACK_BLOB:
		return decode_blob(in, f->max, a, at);
	case PACK_STRS:
		return decode_strs(in, f->max, a, at);
	case PACK_U32S:
		return decode_u32s(in, f->max, a, at);
	case PACK_REC:
		return decode_rec(f->rec, in, a, at);
	case PACK_RECS:
		return decode_recs(f, in, a, at);
	case PACK_N:
		break;
	}
	return -EINVAL;
}

static int decode_rec(const struct pack_rec *rec, struct buf_reader *in, struct arena *a, char *to)
{
	int r;

	for (size_t i = 0; i < rec->n_fields; i++) {
		r = decode_field(&rec->fields[i], in, a, to + rec->fields[i].off);
		if (r < 0)
			return r;
	}
	return 0;
}

int pack_decode(const struct pack_rec *rec, const void *p, size_t n, struct arena *a, void *to)
{
	struct buf_reader in = buf_reader(p, n);
	int r;

	memset(to, 0, rec->size);
	r = decode_rec(rec, &in, a, to);
	if (r == 0 && in.left != 0)
		r = -EBADMSG;
	if (r < 0)
		memset(to, 0, rec->size);
	return r;
}
