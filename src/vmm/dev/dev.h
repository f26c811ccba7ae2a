/* dev.h - how each kind of device is made. One function per file of this folder.
 *
 * A `new` allocates the device, fills its `new` part (vmm/virtio/virtio.h) and takes the fds of its settings:
 * they are the device's from success on, and it closes them in ops->fini. It opens nothing and starts
 * nothing. */
#ifndef VMM_DEV_DEV_H
#define VMM_DEV_DEV_H

#include "vmm/virtio/virtio.h"

/* console.c: port 0 is the guest's console (hvc0), port 1 a named byte stream (the agent's channel). */
struct console_cfg {
	/* Where port 0's output goes and where its input comes from; -1 = nowhere. May be the same fd. */
	int out_fd, in_fd;
	/* Port 1: a socket or pipe, non-blocking; -1 = no such port. */
	int port_fd;
	const char *port_name; /* 1..31 bytes: what the guest finds in /sys/class/virtio-ports (borrowed
				  during new) */
};
int must_check console_new(const struct console_cfg *cfg, struct vdev **ret, struct err *e);

#endif
