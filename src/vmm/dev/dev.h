/* dev.h - how each kind of device is made. One function per file of this folder.
 *
 * A `new` allocates the device, fills its `new` part (vmm/virtio/virtio.h) and takes the fds of its settings:
 * they are the device's from success on, and it closes them in ops->fini. It opens nothing and starts
 * nothing. */
#ifndef VMM_DEV_DEV_H
#define VMM_DEV_DEV_H

#include "vmm/virtio/virtio.h"

/* console.c: port 0 is the guest's console (hvc0), port 1 a named byte stream (the agent's channel). All fds
 * are non-blocking, -1 = none; the two of a pair differ (dup one). */
struct console_cfg {
	int in_fd, out_fd;           /* where port 0's input comes from and its output goes */
	bool has_port;               /* there is a port 1 */
	int port_in_fd, port_out_fd; /* its host's end; -1: the guest finds it closed */
	const char
		*port_name; /* 1..31 bytes, as in the guest's /sys/class/virtio-ports; borrowed during new */
};
int must_check console_new(const struct console_cfg *cfg, struct vdev **ret, struct err *e);

/* rng.c: random numbers of the host. */
int must_check rng_new(struct vdev **ret, struct err *e);

#endif
