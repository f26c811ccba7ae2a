/* vq.h - a split virtqueue, device side (virtio 1.2, 2.7).
 *
 * Used by every device of the VMM and by vhost-user back ends. A queue belongs to one thread, or to whoever
 * holds its device's lock.
 *
 * Contract against a hostile driver: ring areas are checked once, by vq_start(). A descriptor is copied once
 * and the copy is checked; a chain handed out has 1..VQ_SEGS_MAX segments, each inside one region of guest
 * memory, the writable ones in writable memory, readable before writable. Whatever else the driver wrote
 * makes the queue `broken`: nothing is popped or pushed any more, until the device is reset. No call loops
 * more than VQ_SEGS_MAX + 1 times. Never: allocates, logs. */
#ifndef RING_VQ_H
#define RING_VQ_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ring/gmem.h"

#define VQ_SIZE_MAX 256 /* entries of a ring */
#define VQ_SEGS_MAX 256 /* segments of a chain, through an indirect table too */

/* What the driver sees and a snapshot holds. Fixed layout, no pointers. */
struct vq_state {
	uint64_t desc, avail, used; /* guest-physical addresses of the three areas */
	uint16_t size;              /* entries, a power of two, at most the device's */
	uint16_t next_avail;        /* the next entry of the available ring to take */
	uint16_t next_used;         /* the next entry of the used ring to fill */
	uint8_t enabled;            /* 0 or 1 */
	uint8_t pad;
};
_Static_assert(sizeof(struct vq_state) == 32, "written to snapshots");

struct vq {
	struct vq_state st;
	const struct gmem *mem; /* borrowed; NULL = not started */
	uint8_t *desc, *avail, *used;
	bool event_idx; /* VIRTIO_F_RING_EVENT_IDX was negotiated */
	bool indirect;  /* VIRTIO_F_RING_INDIRECT_DESC was negotiated */
	bool broken;
	bool signalled_valid;
	uint16_t signalled; /* next_used at the last vq_should_notify() */
};

/* One request. Valid until the next vq_pop() into it or the end of the request. */
struct vq_chain {
	uint16_t head;            /* for vq_push() */
	uint16_t n_out, n_in;     /* iov[0..n_out) are read by the device, the next n_in written */
	uint64_t out_len, in_len; /* sums of their lengths */
	struct iovec iov[VQ_SEGS_MAX];
};

/* Checks st (which comes from the driver, or from a snapshot) and maps the ring areas: size a power of two,
 * areas aligned (16, 2, 4) and inside guest memory. -EPROTO and broken otherwise. */
int must_check vq_start(struct vq *q, const struct gmem *mem, bool event_idx, bool indirect);
/* Forgets the mapping; st stays. Idempotent. */
void vq_stop(struct vq *q);

/* Takes the next chain: 1 = taken, 0 = the ring is empty, -EPROTO = the queue is broken (now or before). */
int must_check vq_pop(struct vq *q, struct vq_chain *c);
/* Puts the last `n` popped chains back, in order: they were not served and will be popped again. */
void vq_unpop(struct vq *q, uint16_t n);
/* Gives a chain back: `len` bytes of its writable part were written. Nothing happens on a broken or stopped
 * queue. */
void vq_push(struct vq *q, uint16_t head, uint32_t len);
/* Gives n chains back at once: the driver sees all of them or none (a packet that lies in several buffers).
 */
void vq_push_n(struct vq *q, const struct vring_used_elem *e, uint16_t n);
/* True if the driver wants an interrupt for what was pushed since the last call. */
bool vq_should_notify(struct vq *q);

/* Tells the driver that kicks are not needed (a hint), or are again. vq_kicks_on() is true if chains
 * arrived in between: then serve the queue again. */
void vq_kicks_off(struct vq *q);
bool must_check vq_kicks_on(struct vq *q);

/* The driver's index of the available ring, for a queue that another process serves; 0 = not started. */
uint16_t vq_offered(const struct vq *q);

/* Copies between a chain's segments and a buffer, from byte `off` of the readable (writable) part. Returns
 * the count, less than n at the end of the chain. */
uint64_t vq_chain_read(const struct vq_chain *c, uint64_t off, void *dst, uint64_t n);
uint64_t vq_chain_write(const struct vq_chain *c, uint64_t off, const void *src, uint64_t n);
/* The readable part from byte `off` on as at most `cap` segments; returns their number, 0 at its end. For
 * writev(). */
unsigned vq_chain_iov(const struct vq_chain *c, uint64_t off, struct iovec *iov, unsigned cap);

#endif
