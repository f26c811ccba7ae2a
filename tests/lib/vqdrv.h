/* vqdrv.h - the driver's side of a split virtqueue, for tests and fuzz targets: builds chains in plain memory
 * that poses as a guest's. Nothing is checked: a test may write any nonsense it likes. */
#ifndef LIB_VQDRV_H
#define LIB_VQDRV_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

struct vqdrv {
	uint8_t *ram;               /* host address of guest address `base` */
	uint64_t base;              /* guest address */
	uint16_t size;              /* entries */
	uint64_t desc, avail, used; /* guest addresses */
	uint16_t next_desc;         /* the next free descriptor; wraps */
	uint16_t avail_idx, used_seen;
};

/* A segment of a chain: guest address and length. */
struct vqdrv_seg {
	uint64_t addr;
	uint32_t len;
};

/* Puts empty rings of `size` entries at guest address `at`; returns the first address behind them. */
uint64_t vqdrv_init(struct vqdrv *v, uint8_t *ram, uint64_t base, uint64_t at, uint16_t size);
void vqdrv_desc(struct vqdrv *v, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next);
/* Puts a head into the available ring and raises its index. */
void vqdrv_offer(struct vqdrv *v, uint16_t head);
/* Builds a chain of n_out readable and n_in writable segments and offers it; returns its head. */
uint16_t vqdrv_add(struct vqdrv *v, const struct vqdrv_seg *seg, unsigned n_out, unsigned n_in);
/* The next used entry, if there is one. */
bool vqdrv_used(struct vqdrv *v, uint32_t *ret_id, uint32_t *ret_len);
/* Fields of the rings, for tests of notification: available flags, used flags, used_event, avail_event. */
uint16_t *vqdrv_avail_flags(struct vqdrv *v);
uint16_t *vqdrv_avail_idx(struct vqdrv *v);
uint16_t *vqdrv_used_flags(struct vqdrv *v);
uint16_t *vqdrv_used_event(struct vqdrv *v);
uint16_t *vqdrv_avail_event(struct vqdrv *v);
/* Host address of a guest address. */
void *vqdrv_at(struct vqdrv *v, uint64_t addr);

#endif
