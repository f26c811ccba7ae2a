/* vq.c - see vq.h.
 *
 * Trusts: the gmem, which is fixed. Distrusts: every byte the guest can write, also between two reads, and
 * the addresses and sizes it put into registers. Never: allocates, logs, loops without a bound, or touches
 * the ring once it is broken. */
#include "ring/vq.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define AVAIL_HEAD 4u /* flags, idx */
#define USED_HEAD  4u
#define USED_ELEM  8u

/* Fields that driver and device share. All are little-endian, as is the one architecture we run on. */
static uint16_t ld16(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED);
}

static void st16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELAXED);
}

static int broken(struct vq *q)
{
	q->broken = true;
	return -EPROTO;
}

int vq_start(struct vq *q, const struct gmem *mem, bool event_idx, bool indirect)
{
	const struct vq_state *s = &q->st;
	uint32_t n = s->size, event = event_idx ? 2 : 0;

	q->mem = NULL;
	q->broken = false;
	/* Of a restored queue nobody knows whether the last interrupt arrived: its next one is sent. */
	q->signalled = 0;
	q->signalled_valid = s->next_used == 0;
	if (n == 0 || n > VQ_SIZE_MAX || (n & (n - 1)) != 0)
		return broken(q);
	if (s->desc % 16 != 0 || s->avail % 2 != 0 || s->used % 4 != 0)
		return broken(q);
	q->desc = gmem_slice(mem, gpa(s->desc), n * sizeof(struct vring_desc), GMEM_READ);
	q->avail = gmem_slice(mem, gpa(s->avail), AVAIL_HEAD + n * 2 + event, GMEM_READ);
	q->used = gmem_slice(mem, gpa(s->used), USED_HEAD + n * USED_ELEM + event, GMEM_WRITE);
	if (!q->desc || !q->avail || !q->used)
		return broken(q);
	q->mem = mem;
	q->event_idx = event_idx;
	q->indirect = indirect;
	return 0;
}

void vq_stop(struct vq *q)
{
	q->mem = NULL;
	q->desc = q->avail = q->used = NULL;
	q->broken = false;
}

/* Chains that the driver offers and that are not taken yet; more than the ring holds is -EPROTO. */
static int pending(const struct vq *q)
{
	/* Acquire: pairs with the driver's barrier between filling the entry and raising idx. */
	uint16_t idx = __atomic_load_n((const uint16_t *)(const void *)(q->avail + 2), __ATOMIC_ACQUIRE);
	uint16_t n = (uint16_t)(idx - q->st.next_avail);

	return n > q->st.size ? -EPROTO : n;
}

/* Adds a checked segment to the chain. */
static int add_segment(const struct vq *q, struct vq_chain *c, const struct vring_desc *d)
{
	bool in = (d->flags & VRING_DESC_F_WRITE) != 0;
	unsigned n = (unsigned)c->n_out + c->n_in;
	void *p;

	if (n == VQ_SEGS_MAX)
		return -EPROTO;
	if (!in && c->n_in != 0)
		return -EPROTO; /* readable behind writable */
	p = gmem_slice(q->mem, gpa(d->addr), d->len, in ? GMEM_WRITE : GMEM_READ);
	if (!p)
		return -EPROTO;
	c->iov[n] = (struct iovec){ .iov_base = p, .iov_len = d->len };
	if (in) {
		c->n_in++;
		c->in_len += d->len;
	} else {
		c->n_out++;
		c->out_len += d->len;
	}
	return 0;
}

/* Follows the chain from entry i of a table of n descriptors. A chain that visits more entries than there are
 * goes in circles. */
static int follow(const struct vq *q, struct vq_chain *c, const uint8_t *table, uint32_t n, uint32_t i,
		  struct vring_desc *ret_indirect)
{
	struct vring_desc d;
	int r;

	for (uint32_t hops = 0; hops < n; hops++) {
		if (i >= n)
			return -EPROTO;
		memcpy(&d, table + (size_t)i * sizeof d, sizeof d); /* once: the guest may go on writing */
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (!ret_indirect || (d.flags & VRING_DESC_F_NEXT))
				return -EPROTO; /* nested, or followed by more */
			*ret_indirect = d;
			return 1;
		}
		r = add_segment(q, c, &d);
		if (r < 0)
			return r;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 0;
		i = d.next;
	}
	return -EPROTO;
}

static int follow_indirect(const struct vq *q, struct vq_chain *c, const struct vring_desc *d)
{
	uint32_t n = d->len / sizeof(struct vring_desc);
	const uint8_t *table;

	if (!q->indirect || n == 0 || n > VQ_SEGS_MAX || d->len % sizeof(struct vring_desc) != 0)
		return -EPROTO;
	table = gmem_slice(q->mem, gpa(d->addr), d->len, GMEM_READ);
	if (!table)
		return -EPROTO;
	return follow(q, c, table, n, 0, NULL);
}

int vq_pop(struct vq *q, struct vq_chain *c)
{
	struct vring_desc table;
	int r;

	if (q->broken)
		return -EPROTO;
	if (!q->mem)
		return 0;
	r = pending(q);
	if (r == 0)
		return 0;
	if (r < 0)
		return broken(q);
	c->head = ld16(q->avail + AVAIL_HEAD + 2u * (q->st.next_avail & (q->st.size - 1u)));
	c->n_out = c->n_in = 0;
	c->out_len = c->in_len = 0;
	r = follow(q, c, q->desc, q->st.size, c->head, &table);
	if (r > 0)
		r = follow_indirect(q, c, &table);
	if (r < 0)
		return broken(q);
	q->st.next_avail++;
	return 1;
}

void vq_unpop(struct vq *q, uint16_t n)
{
	if (q->mem && !q->broken)
		q->st.next_avail = (uint16_t)(q->st.next_avail - n);
}

void vq_push_n(struct vq *q, const struct vring_used_elem *e, uint16_t n)
{
	if (q->broken || !q->mem)
		return;
	assert(n <= q->st.size);
	for (uint16_t i = 0; i < n; i++) {
		assert(e[i].id < q->st.size);
		memcpy(q->used + USED_HEAD + USED_ELEM * (size_t)(q->st.next_used & (q->st.size - 1u)), &e[i],
		       sizeof e[i]);
		q->st.next_used++;
	}
	/* Release: pairs with the driver's barrier between reading idx and the entry. */
	__atomic_store_n((uint16_t *)(void *)(q->used + 2), q->st.next_used, __ATOMIC_RELEASE);
}

void vq_push(struct vq *q, uint16_t head, uint32_t len)
{
	struct vring_used_elem e = { .id = head, .len = len };

	vq_push_n(q, &e, 1);
}

bool vq_should_notify(struct vq *q)
{
	uint16_t event, old = q->signalled, now = q->st.next_used;
	bool valid = q->signalled_valid;

	if (q->broken || !q->mem)
		return false;
	if (valid && now == old)
		return false;
	/* Pairs with the driver's barrier between setting used_event (or flags) and reading used idx again.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	q->signalled = now;
	q->signalled_valid = true;
	if (!q->event_idx)
		return !(ld16(q->avail) & VRING_AVAIL_F_NO_INTERRUPT);
	event = ld16(q->avail + AVAIL_HEAD + 2u * q->st.size);
	return !valid || vring_need_event(event, now, old);
}

void vq_kicks_off(struct vq *q)
{
	if (q->broken || !q->mem)
		return;
	if (!q->event_idx)
		st16(q->used, VRING_USED_F_NO_NOTIFY);
	/* With event_idx an avail_event that stays behind says the same. */
}

bool vq_kicks_on(struct vq *q)
{
	if (q->broken || !q->mem)
		return false;
	if (q->event_idx)
		st16(q->used + USED_HEAD + USED_ELEM * (size_t)q->st.size, q->st.next_avail);
	else
		st16(q->used, 0);
	/* Pairs with the driver's barrier between raising avail idx and reading avail_event (or flags). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return pending(q) != 0; /* a wrong idx is for vq_pop() to find */
}

uint16_t vq_offered(const struct vq *q)
{
	return q->mem ? ld16(q->avail + 2) : 0;
}

/* Copies n bytes at `off` of the k segments from or to `p`. */
static uint64_t copy(const struct iovec *iov, unsigned k, uint64_t off, uint8_t *p, uint64_t n, bool to_guest)
{
	uint64_t done = 0, part;

	for (unsigned i = 0; i < k && done < n; i++) {
		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = iov[i].iov_len - off;
		part = part < n - done ? part : n - done;
		if (to_guest)
			memcpy((uint8_t *)iov[i].iov_base + off, p + done, part);
		else
			memcpy(p + done, (const uint8_t *)iov[i].iov_base + off, part);
		done += part;
		off = 0;
	}
	return done;
}

uint64_t vq_chain_read(const struct vq_chain *c, uint64_t off, void *dst, uint64_t n)
{
	return copy(c->iov, c->n_out, off, (uint8_t *)dst, n, false);
}

uint64_t vq_chain_write(const struct vq_chain *c, uint64_t off, const void *src, uint64_t n)
{
	uint8_t *p;

	memcpy(&p, &src, sizeof p); /* only read from there: to_guest */
	return copy(c->iov + c->n_out, c->n_in, off, p, n, true);
}

unsigned vq_chain_iov(const struct vq_chain *c, uint64_t off, struct iovec *iov, unsigned cap)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->n_out && n < cap; i++) {
		if (off >= c->iov[i].iov_len) {
			off -= c->iov[i].iov_len;
			continue;
		}
		iov[n++] = (struct iovec){ .iov_base = (uint8_t *)c->iov[i].iov_base + off,
					   .iov_len = c->iov[i].iov_len - off };
		off = 0;
	}
	return n;
}
