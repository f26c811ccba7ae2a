/* vhost_user.h - vhost-user as bytes: the messages by which a VMM hands a device's rings to another process.
 *
 * The protocol is QEMU's (docs/interop/vhost-user). Used by both ends of ours: the front end in cor-vmm
 * (vmm/dev/vhost.c) and the back end in cor-fsd (fs/vhost.c). Only what these two say is here. No code: what
 * was received is checked by who received it. */
#ifndef RING_VHOST_USER_H
#define RING_VHOST_USER_H

#include <stddef.h>
#include <stdint.h>

#define VHU_VERSION     1u
#define VHU_REPLY       4u
#define VHU_ACK         8u /* an acknowledgement is wanted: 0 as a u64, or not 0 = refused */
#define VHU_FLAGS_KNOWN (3u | VHU_REPLY | VHU_ACK)
#define VHU_F_PROTOCOL  30 /* bit of the features: the two messages about the protocol's are understood */
#define VHU_MEM_MAX     8u
#define VHU_HEAD        12u

#define VHU_PROTOCOL_MQ  0
#define VHU_PROTOCOL_ACK 3

/* Of the messages with a descriptor for a ring: its number, and whether there is none. */
#define VHU_RING_MASK 0xffu
#define VHU_RING_NOFD 0x100u

enum vhu_request {
	VHU_GET_FEATURES = 1,
	VHU_SET_FEATURES = 2,
	VHU_SET_OWNER = 3,
	VHU_SET_MEM_TABLE = 5,
	VHU_SET_VRING_NUM = 8,
	VHU_SET_VRING_ADDR = 9,
	VHU_SET_VRING_BASE = 10,
	VHU_GET_VRING_BASE = 11,
	VHU_SET_VRING_KICK = 12,
	VHU_SET_VRING_CALL = 13,
	VHU_SET_VRING_ERR = 14,
	VHU_GET_PROTOCOL_FEATURES = 15,
	VHU_SET_PROTOCOL_FEATURES = 16,
	VHU_GET_QUEUE_NUM = 17,
	VHU_SET_VRING_ENABLE = 18,
};

struct vhu_state {
	uint32_t index, num;
};

/* Addresses are the front end's own ("user addresses"), to be looked up in its memory table. */
struct vhu_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};

struct vhu_region {
	uint64_t start, len; /* guest-physical */
	uint64_t user;       /* the front end's address */
	uint64_t off;        /* where it begins in its file */
};

struct vhu_mem {
	uint32_t n, pad;
	struct vhu_region r[VHU_MEM_MAX];
};

struct vhu_msg {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		struct vhu_state state;
		struct vhu_addr addr;
		struct vhu_mem mem;
	} p;
} __attribute__((packed));
_Static_assert(offsetof(struct vhu_msg, p) == VHU_HEAD, "as on the wire");
_Static_assert(sizeof(struct vhu_msg) == VHU_HEAD + 8 + VHU_MEM_MAX * 32, "as on the wire");

#endif
