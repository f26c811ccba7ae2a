/* fuzz_vq.c - the device's side of a virtqueue against a driver that writes what it likes.
 *
 * The input builds chains that are mostly valid, with rare odd numbers, direct and indirect, and serves them.
 * Promises: every segment lies inside the memory it was given, writable ones in writable memory, readable
 * before writable; sums are right; a chain has at most VQ_SEGS_MAX segments; a queue that broke stays broken
 * and its used ring untouched. */
#include "fuzz.h"
#include "ring/vq.h"
#include "vqdrv.h"

#define BASE 0x10000ull
#define RAM  (4u * GMEM_PAGE)
#define N    8u

struct world {
	uint8_t *ram, *rom;
	struct gmem mem;
	struct vqdrv v;
	struct vq q;
};

static uint64_t address(struct fuzz_in *in)
{
	switch (fuzz_below(in, 15)) {
	case 0:
		return BASE + RAM - fuzz_below(in, 32); /* the end, and the read-only page behind */
	case 1:
		return fuzz_uint(in, 8);
	case 2:
		return BASE - fuzz_below(in, 32);
	case 3:
		return BASE + RAM + fuzz_below(in, GMEM_PAGE + 16);
	default:
		return BASE + GMEM_PAGE + fuzz_below(in, 2 * GMEM_PAGE);
	}
}

static void put_desc(struct fuzz_in *in, struct world *w, uint64_t table, uint16_t i, uint16_t next)
{
	struct vring_desc d = { .addr = address(in), .len = (uint32_t)fuzz_below(in, 63), .next = next };
	uint8_t kind = (uint8_t)fuzz_uint(in, 1);

	d.flags = (uint16_t)((kind & 3) ? VRING_DESC_F_NEXT : 0) |
		  (uint16_t)((kind >> 2 & 1) * VRING_DESC_F_WRITE);
	if ((kind >> 3 & 15) == 15) {
		d.flags = (uint16_t)fuzz_uint(in, 2);
		d.next = (uint16_t)fuzz_uint(in, 2);
		d.len = (uint32_t)fuzz_uint(in, 4);
	} else if ((kind >> 3 & 15) == 14) {
		d.flags = VRING_DESC_F_INDIRECT;
		d.addr = BASE + GMEM_PAGE;
		d.len = 16 * (uint32_t)fuzz_below(in, 20);
	}
	memcpy(vqdrv_at(&w->v, table + i * sizeof d), &d, sizeof d);
}

static void check_chain(const struct world *w, const struct vq_chain *c)
{
	uint64_t sums[2] = { 0, 0 };

	FUZZ_ASSERT(c->head < N && c->n_out + c->n_in >= 1 && c->n_out + c->n_in <= VQ_SEGS_MAX);
	for (unsigned i = 0; i < (unsigned)c->n_out + c->n_in; i++) {
		const uint8_t *p = c->iov[i].iov_base;
		size_t n = c->iov[i].iov_len;
		int in = i >= c->n_out;
		int ram = p >= w->ram && n <= RAM && (size_t)(p - w->ram) <= RAM - n;
		int rom = p >= w->rom && n <= GMEM_PAGE && (size_t)(p - w->rom) <= GMEM_PAGE - n;

		FUZZ_ASSERT(n > 0 && (ram || (rom && !in)));
		sums[in] += n;
	}
	FUZZ_ASSERT(sums[0] == c->out_len && sums[1] == c->in_len);
}

static void serve(struct fuzz_in *in, struct world *w)
{
	static struct vq_chain c;
	uint8_t buf[80];
	struct iovec iov[3];
	uint64_t off, n;
	int r;

	for (unsigned i = 0; i < 2 * N; i++) {
		r = vq_pop(&w->q, &c);
		FUZZ_ASSERT(r == 1 || r == 0 || (r == -71 && w->q.broken));
		if (r != 1)
			return;
		check_chain(w, &c);
		off = fuzz_below(in, 100);
		n = vq_chain_read(&c, off, buf, sizeof buf);
		FUZZ_ASSERT(n == (off >= c.out_len               ? 0
				  : c.out_len - off < sizeof buf ? c.out_len - off
								 : sizeof buf));
		n = vq_chain_write(&c, off, buf, sizeof buf);
		FUZZ_ASSERT(n == (off >= c.in_len               ? 0
				  : c.in_len - off < sizeof buf ? c.in_len - off
								: sizeof buf));
		FUZZ_ASSERT((vq_chain_iov(&c, off, iov, 3) == 0) == (off >= c.out_len));
		vq_push(&w->q, c.head, (uint32_t)n);
		(void)vq_should_notify(&w->q);
	}
}

static void step(struct fuzz_in *in, struct world *w)
{
	uint16_t used = *(uint16_t *)vqdrv_at(&w->v, w->v.used + 2);
	bool was_broken = w->q.broken;

	switch (fuzz_below(in, 7)) {
	case 0: /* a table for indirect descriptors */
		for (uint16_t i = 0; i < 20; i++)
			put_desc(in, w, BASE + GMEM_PAGE, i, (uint16_t)(i + 1));
		break;
	case 1:
		if (fuzz_below(in, 15) == 15)
			w->v.avail_idx = (uint16_t)fuzz_uint(in, 2);
		break;
	case 2:
		vq_kicks_off(&w->q);
		(void)!vq_kicks_on(&w->q);
		break;
	case 3:
		vq_unpop(&w->q, (uint16_t)fuzz_below(in, 1));
		break;
	default:
		for (uint16_t i = 0; i < N; i++)
			put_desc(in, w, w->v.desc, i, (uint16_t)(i + 1));
		vqdrv_offer(&w->v, fuzz_below(in, 31) == 31 ? (uint16_t)fuzz_uint(in, 2)
							    : (uint16_t)fuzz_below(in, N - 1));
		serve(in, w);
	}
	if (was_broken)
		FUZZ_ASSERT(w->q.broken && used == *(uint16_t *)vqdrv_at(&w->v, w->v.used + 2));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct world w = { .ram = calloc(1, RAM), .rom = calloc(1, GMEM_PAGE) };
	bool event_idx = fuzz_below(&in, 1), indirect = fuzz_below(&in, 3) != 0;

	if (!w.ram || !w.rom || gmem_add(&w.mem, gpa(BASE), w.ram, RAM, true) < 0 ||
	    gmem_add(&w.mem, gpa(BASE + RAM), w.rom, GMEM_PAGE, false) < 0)
		abort();
	vqdrv_init(&w.v, w.ram, BASE, BASE, N);
	w.q.st = (struct vq_state){ .desc = w.v.desc, .avail = w.v.avail, .used = w.v.used, .size = N };
	if (fuzz_below(&in, 7) == 7) /* areas from anywhere: started or refused */
		w.q.st = (struct vq_state){ .desc = address(&in),
					    .avail = address(&in),
					    .used = address(&in),
					    .size = (uint16_t)fuzz_uint(&in, 2) };
	if (vq_start(&w.q, &w.mem, event_idx, indirect) == 0 && w.q.st.desc == w.v.desc && w.q.st.size == N)
		while (in.left)
			step(&in, &w);
	else if (!w.q.broken) {
		static struct vq_chain c;

		(void)!vq_pop(&w.q, &c);
		vq_push(&w.q, 0, 0);
		(void)vq_should_notify(&w.q);
		(void)!vq_kicks_on(&w.q);
	}
	free(w.ram);
	free(w.rom);
	return 0;
}
