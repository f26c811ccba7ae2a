/* vhost.h - vhost-user, front end: hands a device's rings to another process, the back end.
 *
 * The protocol is QEMU's (docs/interop/vhost-user). Every message is acknowledged: a back end without
 * REPLY_ACK is refused. Each call has a time for all its messages together; a back end that is slower,
 * answers something else or ends is dead, and every later call fails at once with -EPIPE. It is never told
 * host addresses: guest-physical ones serve as its "user addresses".
 *
 * Used by devices with their lock held, on any thread. Never: waits longer, allocates, keeps an fd it was not
 * given for good. */
#ifndef VMM_DEV_VHOST_H
#define VMM_DEV_VHOST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "ring/vhost_user.h"
#include "ring/vq.h"

#define VHOST_OPEN_MS 10000 /* of vhost_open(): the back end may just be starting */
#define VHOST_WAIT_MS 2000  /* of every other call: vCPUs and the loop may wait meanwhile */
#define VHOST_MEM_MAX VHU_MEM_MAX

/* A part of guest memory that the back end may map. */
struct vhost_mem {
	uint64_t start, len; /* guest-physical */
	int fd;              /* borrowed */
	uint64_t off;        /* where it begins in the file */
};

struct vhost {
	int sock; /* owned; -1 = no back end */
	bool dead;
	uint64_t features; /* the back end's virtio features */
	unsigned wait_ms;  /* that each call has */
	int64_t until_ms;  /* of the call that runs */
};

/* Takes the socket and agrees on the protocol. The back end must offer the virtio features `need` and have
 * n_queues queues. `wait_ms` is the time of each call (0: as above). On failure the socket is the caller's
 * still. */
int must_check vhost_open(struct vhost *v, int sock, uint64_t need, unsigned n_queues, unsigned wait_ms,
			  struct err *e);
void vhost_close(struct vhost *v); /* idempotent */

/* The driver's features and the memory; before the first queue of each start. */
int must_check vhost_set_up(struct vhost *v, uint64_t features, const struct vhost_mem *mem, unsigned n);
/* The back end serves queue i from st->next_avail on; it waits on `kick` and writes to `call`. */
int must_check vhost_queue_start(struct vhost *v, unsigned i, const struct vq_state *st, int kick, int call);
/* It has finished what it took, and touches the queue no more; *ret_next is the next entry to take. */
int must_check vhost_queue_stop(struct vhost *v, unsigned i, uint16_t *ret_next);

/* The socket is readable, though nothing was asked: 0 = by now it is not, -EPIPE = the back end is dead. */
int must_check vhost_check(struct vhost *v);

#endif
