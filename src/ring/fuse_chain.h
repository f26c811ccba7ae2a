/* fuse_chain.h - a FUSE request in a chain of descriptors (virtio 1.2, 5.11.6): what everyone checks first.
 *
 * Used by who carries requests from a virtio-fs queue to the file server: cor-vmm's device
 * (vmm/dev/virtiofs.c), and cor-fsd where it serves the rings itself (fs/vhost.c). */
#ifndef RING_FUSE_CHAIN_H
#define RING_FUSE_CHAIN_H

#include <linux/fuse.h>

#include "ring/vq.h"

/* Whether a request of this kind is answered. */
bool fuse_has_reply(uint32_t opcode);
/* Copies the request's header and checks the chain against it: as long as it says, at most `max` bytes, room
 * for the head of a reply where there is one. NULL, or how the driver broke the contract (a constant). */
const char *fuse_chain_check(const struct vq_chain *c, size_t max, struct fuse_in_header *ret);

#endif
