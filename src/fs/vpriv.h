/* vpriv.h - what vhost.c (messages), vmem.c (memory) and vring.c (rings) share; not for others. */
#ifndef FS_VPRIV_H
#define FS_VPRIV_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "base/loop.h"
#include "fs/vhost.h"
#include "ring/vhost_user.h"
#include "ring/vq.h"

#define VHS_FEATURES                                                                                         \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC |                                  \
	 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VHU_F_PROTOCOL)

/* The VMM's memory table. */
struct vmem {
	struct gmem gmem; /* by guest-physical address */
	struct {
		uint64_t user, start, len; /* the VMM's address, the guest's */
		void *map;
		size_t map_len; /* of the mapping, which may begin before the region */
	} r[VHU_MEM_MAX];
	unsigned n;
};

/* Maps what a message tells; the descriptors stay the caller's. On failure nothing is mapped. */
int must_check vmem_map(struct vmem *m, const struct vhu_mem *told, const int *fds, size_t n_fds,
			struct err *e);
void vmem_unmap(struct vmem *m); /* idempotent */
/* The guest-physical address of one of the VMM's; -EFAULT if it is in no region. */
int must_check vmem_gpa(const struct vmem *m, uint64_t user, uint64_t *ret);

struct vhs_ring {
	struct vhs *s;
	struct vq q;          /* q.mem: it is started, or broken */
	struct vhu_addr addr; /* as the VMM told them */
	uint32_t size;
	uint16_t base;       /* where the next start begins */
	int kick, call, err; /* -1 = none */
	struct source kicked;
	bool running; /* between SET_VRING_KICK and GET_VRING_BASE, broken or not */
	bool enabled;
	bool busy; /* may have more than one turn serves */
};

struct vhs {
	struct fs *fs;
	void (*say)(const char *text);
	int said;
	int sock;
	struct loop loop;
	struct source heard;
	uint64_t features;
	uint64_t protocol;
	struct vmem mem;
	struct vhs_ring ring[VHS_QUEUES];
	int result; /* of the turn: as vhs_turn() */
	struct err *e;
	struct vq_chain chain;
	_Alignas(8) uint8_t req[FS_REQ_MAX];
	_Alignas(8) uint8_t reply[FS_REPLY_MAX];
};

/* vring.c. Maps the ring anew, at the start and when the memory is another: -EPROTO = it is broken. */
int must_check vring_attach(struct vhs_ring *r);
/* The kick's descriptor is taken over. -EPROTO as above, with the ring running; else the error. */
int must_check vring_start(struct vhs_ring *r, int kick, struct err *e);
/* Idempotent; base is where it would go on. */
void vring_stop(struct vhs_ring *r);
/* Serves some of what waits. */
void vring_serve(struct vhs_ring *r);

#endif
