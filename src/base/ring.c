/* ring.c - a byte ring of fixed capacity (ring.h).
 *
 * Called by the mux and by whoever keeps the last bytes of a stream. Any length is fine.
 * Never: allocates after ring_init(). */
#include "base/ring.h"

#include <errno.h>
#include <string.h>

int ring_init(struct ring *r, size_t cap)
{
	*r = (struct ring){ 0 };
	r->p = malloc(cap ? cap : 1);
	if (!r->p)
		return -ENOMEM;
	r->cap = cap;
	return 0;
}

void ring_fini(struct ring *r)
{
	free(r->p);
	*r = (struct ring){ 0 };
}

size_t ring_put(struct ring *r, const void *p, size_t n)
{
	const uint8_t *from = p;
	size_t tail, first;

	if (n > ring_room(r))
		n = ring_room(r);
	if (n == 0)
		return 0;
	tail = r->len < r->cap - r->head ? r->head + r->len : r->len - (r->cap - r->head);
	first = n < r->cap - tail ? n : r->cap - tail;
	memcpy(r->p + tail, from, first);
	memcpy(r->p, from + first, n - first);
	r->len += n;
	return n;
}

void ring_put_last(struct ring *r, const void *p, size_t n)
{
	const uint8_t *from = p;

	if (n > r->cap) {
		from += n - r->cap;
		n = r->cap;
	}
	if (n > ring_room(r))
		ring_drop(r, n - ring_room(r));
	(void)ring_put(r, from, n); /* fits: room was made */
}

int ring_peek(const struct ring *r, struct iovec iov[2])
{
	size_t first;

	if (r->len == 0)
		return 0;
	first = r->len < r->cap - r->head ? r->len : r->cap - r->head;
	iov[0] = (struct iovec){ .iov_base = r->p + r->head, .iov_len = first };
	if (first == r->len)
		return 1;
	iov[1] = (struct iovec){ .iov_base = r->p, .iov_len = r->len - first };
	return 2;
}

void ring_drop(struct ring *r, size_t n)
{
	if (n > r->len)
		n = r->len;
	r->len -= n;
	if (r->len == 0)
		r->head = 0; /* one piece for as long as possible */
	else
		r->head = n < r->cap - r->head ? r->head + n : n - (r->cap - r->head);
}
