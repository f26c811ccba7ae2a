/* fuzz_ring.c - base/ring.h and base/buf.h as sequences of operations.
 * Promises: a ring holds exactly what a plain array holds, in one or two pieces inside its memory;
 * a reader never gives more than there is, and nothing after its first failure. */
#include <errno.h>

#include "base/buf.h"
#include "base/ring.h"
#include "fuzz.h"

#define CAP_MAX 96

struct pair {
	struct ring r;
	uint8_t model[CAP_MAX];
	size_t n;
};

static void check_same(const struct pair *p)
{
	struct iovec iov[2];
	int pieces = ring_peek(&p->r, iov);
	size_t at = 0;

	FUZZ_ASSERT(p->r.len == p->n && ring_room(&p->r) == p->r.cap - p->n);
	FUZZ_ASSERT(pieces >= 0 && pieces <= 2);
	for (int i = 0; i < pieces; i++) {
		FUZZ_ASSERT(iov[i].iov_len > 0 && iov[i].iov_len <= p->n - at);
		FUZZ_ASSERT(memcmp(iov[i].iov_base, p->model + at, iov[i].iov_len) == 0);
		at += iov[i].iov_len;
	}
	FUZZ_ASSERT(at == p->n);
}

static void model_drop(struct pair *p, size_t n)
{
	n = n < p->n ? n : p->n;
	memmove(p->model, p->model + n, p->n - n);
	p->n -= n;
}

static void step(struct pair *p, struct fuzz_in *in)
{
	uint64_t op = fuzz_uint(in, 1);
	size_t len = 0, want = fuzz_below(in, 2 * CAP_MAX), fits;
	uint8_t *bytes;

	if (op % 3 == 0) {
		ring_drop(&p->r, want);
		model_drop(p, want);
		return;
	}
	bytes = fuzz_bytes(in, want, &len);
	if (op % 3 == 1) {
		fits = len < p->r.cap - p->n ? len : p->r.cap - p->n;
		FUZZ_ASSERT(ring_put(&p->r, bytes, len) == fits);
		memcpy(p->model + p->n, bytes, fits);
		p->n += fits;
	} else {
		ring_put_last(&p->r, bytes, len);
		fits = len < p->r.cap ? len : p->r.cap;
		if (fits > p->r.cap - p->n)
			model_drop(p, fits - (p->r.cap - p->n));
		memcpy(p->model + p->n, bytes + len - fits, fits);
		p->n += fits;
	}
	free(bytes);
}

static void check_reader(struct fuzz_in ops, const uint8_t *data, size_t size)
{
	struct buf_reader r = buf_reader(data, size);
	size_t left = size;
	bool bad = false;

	while (ops.left) {
		static const size_t sizes[] = { 1, 2, 4, 8 };
		size_t kind = fuzz_below(&ops, 4), n = kind < 4 ? sizes[kind] : fuzz_below(&ops, 300);
		uint8_t v8 = 0;
		uint16_t v16 = 0;
		uint32_t v32 = 0;
		uint64_t v64 = 0;
		const uint8_t *p = NULL;
		int e = kind == 0   ? buf_get_u8(&r, &v8)
			: kind == 1 ? buf_get_u16(&r, &v16)
			: kind == 2 ? buf_get_u32(&r, &v32)
			: kind == 3 ? buf_get_u64(&r, &v64)
				    : buf_get_bytes(&r, n, &p);

		bad = bad || n > left;
		FUZZ_ASSERT(e == (bad ? -EBADMSG : 0) && r.bad == bad);
		FUZZ_ASSERT(!bad || (v8 == 0 && v16 == 0 && v32 == 0 && v64 == 0 && !p));
		if (!bad)
			left -= n;
		FUZZ_ASSERT(r.left == left);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct pair p = { .n = 0 };
	size_t n = 0;
	uint8_t *half;

	if (ring_init(&p.r, fuzz_below(&in, CAP_MAX)) < 0)
		abort();
	while (in.left) {
		step(&p, &in);
		check_same(&p);
	}
	ring_fini(&p.r);

	in = (struct fuzz_in){ data, size };
	half = fuzz_bytes(&in, size / 2, &n);
	check_reader(in, half, n);
	free(half);
	return 0;
}
