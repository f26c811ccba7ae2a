/* rig.h - a driver for one virtio device without a VM: guest memory, a loop, and a transport that counts
 * interrupts.
 *
 * A device's unit test and its fuzz target use it. The driver's side of the rings is vqdrv.h. Everything runs
 * on one thread: rig_serve() is the loop thread's turn. */
#ifndef VMM_RIG_H
#define VMM_RIG_H

#include "vmm/virtio/virtio.h"
#include "vqdrv.h"

#define RIG_BASE 0x100000ull /* guest address of the memory */
#define RIG_RAM  (64u * GMEM_PAGE)
#define RIG_ROM  (RIG_BASE + RIG_RAM) /* one read-only page behind it */

struct rig {
	struct vdev *d;
	struct loop loop;
	struct gmem mem;
	uint8_t *ram, *rom; /* shared mappings of ram_fd; unmapped pages around each: one byte too far is a
			       crash, in every build */
	int ram_fd;         /* memfd: RIG_RAM bytes, then the read-only page */
	struct vqdrv q[VDEV_QUEUES_MAX];
	uint64_t data;                  /* the first guest address that the rings left free */
	unsigned irqs[VDEV_QUEUES_MAX]; /* interrupts of each queue */
	unsigned config_irqs;
};

/* Makes the memory; takes the device (made by its `new`), attaches it. 0 or -errno. rig_init() does both. */
int rig_memory(struct rig *r);
int rig_attach(struct rig *r, struct vdev *d);
int rig_init(struct rig *r, struct vdev *d);
void rig_fini(struct rig *r);   /* the device too */
void rig_forget(struct rig *r); /* the memory, where no device was attached */

/* The driver's steps: reset, ACKNOWLEDGE, DRIVER, features (wanted & offered, with VERSION_1), FEATURES_OK.
 * False if the device refused. */
bool rig_negotiate(struct rig *r, uint64_t wanted);
/* Empty rings of `size` entries for queues 0..n_queues-1, enabled; then DRIVER_OK. */
void rig_start(struct rig *r, uint16_t size);
/* Both, with every feature. */
void rig_up(struct rig *r, uint16_t size);
/* Kicks the device and runs the loop until nothing is ready. At most `turns` turns. */
void rig_serve(struct rig *r);
/* Only runs the loop (a host fd became ready). */
void rig_turn(struct rig *r);

#endif
