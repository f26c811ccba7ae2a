/* ring.h - a byte ring of fixed capacity. Single thread; no bounds are left to the caller. */
#ifndef BASE_RING_H
#define BASE_RING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/scope.h"

struct ring {
	uint8_t *p; /* owned, NULL until ring_init() */
	size_t cap, head, len;
};

int must_check ring_init(struct ring *r, size_t cap); /* 0 or -ENOMEM */
void ring_fini(struct ring *r);                       /* idempotent */
/* Appends up to n bytes, returns how many fitted. */
size_t ring_put(struct ring *r, const void *p, size_t n);
/* Appends n bytes, dropping the oldest ones when full: "the last 64 KiB". */
void ring_put_last(struct ring *r, const void *p, size_t n);
/* The stored bytes in order, as one or two pieces; returns the number of pieces. */
int ring_peek(const struct ring *r, struct iovec iov[2]);
/* Drops n bytes (at most len) from the front. */
void ring_drop(struct ring *r, size_t n);
static inline size_t ring_room(const struct ring *r)
{
	return r->cap - r->len;
}

#endif
