/* virtio.h - what a virtio device is to the machine, and what the machine is to a device.
 *
 * A device is one file dev/NAME.c: a `struct vdev` inside its own struct, a constant table of functions, and
 * a plain struct of what the guest can see of it. The core (virtio.c) owns status, feature negotiation, queue
 * set-up, reset, NEEDS_RESET and save/restore; the transport (virtio/pci.c) knows only the core. A device
 * that needs nothing special implements `kick`.
 *
 * Threads. Registers are accessed by vCPU threads, queues and host fds are served by the loop thread. Each
 * device has one lock; the core takes it around every function of the table and every watch, so device code
 * never sees it and is never entered twice. What may wait (a disk) waits with the lock held: only accesses to
 * this device's registers wait with it, and there are none while a driver runs.
 *
 * Life: new (a function of the device: opens nothing, takes the fds of its settings) -> attach (once, before
 * the guest runs: fds into the loop, last allocation) -> { start -> kick... -> reset } -> fini. After attach
 * nobody allocates, opens or creates a thread. A clone or a restored VM goes new -> attach -> restored.
 *
 * Hostile guests: whatever the driver does wrong ends in vdev_break(): the device says NEEDS_RESET, touches
 * its rings no more, and the log gets at most VDEV_LOG_MAX lines in the device's life. */
#ifndef VMM_VIRTIO_VIRTIO_H
#define VMM_VIRTIO_VIRTIO_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "ring/gmem.h"
#include "ring/vq.h"

#define VDEV_QUEUES_MAX 16
#define VDEV_LOG_MAX    8
#define VDEV_STATE_MAX  4096 /* bytes of a device's own state */
#define VDEV_NO_VECTOR  0xFFFFu

struct vdev;
struct vdev_watch;

/* All but `name`, `id`, `queue_size` and `kick` may be NULL. Called with the device's lock held. */
struct vdev_ops {
	const char *name;    /* "blk": also the log's tag and the snapshot's */
	uint16_t id;         /* virtio device id */
	uint16_t queue_size; /* entries that each queue has at most; a power of two, at most VQ_SIZE_MAX */
	uint16_t version;    /* of the state struct */
	uint16_t state_size;

	/* Loop thread's part of being built: watches. Once, before the guest runs. */
	int (*attach)(struct vdev *d, struct err *e);
	/* The config space where plain bytes (vdev.config) don't do. The range lies inside config_len. */
	void (*config_read)(struct vdev *d, uint32_t off, void *dst, uint32_t n);
	void (*config_write)(struct vdev *d, uint32_t off, const void *src, uint32_t n);
	/* The driver is ready, the enabled queues are mapped. A vCPU thread: must not touch the loop. Every
	 * queue is kicked right after it, on the loop thread. -errno: the device is broken. */
	int (*start)(struct vdev *d);
	/* Serve queue q, which is started. Loop thread. Bounded: after VDEV_BUDGET chains ask for another
	 * turn by vdev_kick_self(). */
	void (*kick)(struct vdev *d, unsigned q);
	/* Back to the state of new: forget requests, wait for those in flight. The queues are gone
	 * afterwards. A vCPU thread: must not touch the loop (watches may still fire; vdev_is_active() is
	 * false then). */
	void (*reset)(struct vdev *d);
	/* The state struct was filled from a snapshot (its size and version fit; its content is not trusted):
	 * check it and make the host's side fit. Then as after start. */
	int (*restored)(struct vdev *d, struct err *e);
	/* Frees the device. The loop no longer runs. */
	void (*fini)(struct vdev *d);
};

/* Requests served in one go before other devices get their turn. */
#define VDEV_BUDGET 64

/* How the core reaches the guest; the transport fills it in. Any thread, the device's lock is held. */
struct vdev_transport {
	/* Raises the interrupt of queue q, or of the configuration (q = -1). */
	void (*interrupt)(struct vdev *d, int q);
};

/* What the driver sees through the transport; a snapshot holds it. */
struct vdev_core_state {
	uint64_t driver_features;
	uint8_t status;
	uint8_t config_generation;
	uint8_t pad[2];
	uint32_t n_queues;
	struct vq_state queues[VDEV_QUEUES_MAX];
};

struct vdev {
	const struct vdev_ops *ops;
	/* Set by the device's new: */
	uint64_t features;   /* offered beside VIRTIO_F_VERSION_1, INDIRECT_DESC and EVENT_IDX, which the core
				offers */
	unsigned n_queues;   /* 1..VDEV_QUEUES_MAX */
	uint8_t *config;     /* config space as plain bytes (little-endian), part of the device's struct */
	uint32_t config_len; /* 0 = none */
	void *state;         /* ops->state_size bytes of plain struct, part of the device's struct */
	char label[24];      /* "blk0": for messages */
	/* Set by the machine before attach: */
	const struct gmem *mem;
	struct loop *loop;
	const struct vdev_transport *transport;
	void *transport_data;
	/* The core's: */
	pthread_mutex_t lock;
	struct vdev_core_state core;
	struct vq queues[VDEV_QUEUES_MAX];
	bool active; /* started and not broken */
	unsigned n_logged;
	int kick_fd; /* eventfd: the guest kicked some queue, or vdev_kick_self() */
	struct source kick_source;
};

/* ---- for devices; the lock is held ---- */

static inline bool vdev_is_active(const struct vdev *d)
{
	return d->active;
}

/* True if this feature bit was negotiated. */
static inline bool vdev_has(const struct vdev *d, unsigned feature)
{
	return (d->core.driver_features >> feature & 1) != 0;
}

/* vq_pop() on queue q; breaks the device if the ring is malformed, and is then false: nothing to serve. False
 * of an empty ring also means that the driver kicks for its next chain: who stops earlier is not kicked, and
 * asks for a turn himself. */
bool must_check vdev_pop(struct vdev *d, unsigned q, struct vq_chain *c);
/* vq_push(). `len` is at most what the chain may take. */
void vdev_push(struct vdev *d, unsigned q, uint16_t head, uint32_t len);
/* vq_push_n() and vq_unpop(), as above. */
void vdev_push_n(struct vdev *d, unsigned q, const struct vring_used_elem *e, uint16_t n);
void vdev_unpop(struct vdev *d, unsigned q, uint16_t n);
/* Interrupts the driver if it wants to know of what was pushed on q: once after a batch. */
void vdev_notify(struct vdev *d, unsigned q);
/* Interrupts the driver for queue q, which another process serves: that one has looked whether it wants to
 * know. */
void vdev_interrupt(struct vdev *d, unsigned q);
/* The config space changed: raises its generation and the configuration's interrupt. */
void vdev_config_changed(struct vdev *d);
/* The driver broke the contract: NEEDS_RESET. `why` is a constant text without guest bytes. */
void vdev_break(struct vdev *d, const char *why);
/* Another turn of kick() for every queue, soon. Any thread. */
void vdev_kick_self(struct vdev *d);

/* Serves one request: what it cost in units of VDEV_BUDGET (1 for an ordinary one), and how many bytes of the
 * chain's writable part were written; 0 = not now: the chain is put back, and the device asks for a turn by
 * vdev_kick_self() when it can serve it. A chain of a device that broke is not given back. */
typedef unsigned vdev_serve_fn(struct vdev *d, unsigned q, struct vq_chain *c, uint32_t *ret_len);
/* The whole kick() of an ordinary queue: serves what is there, within the budget, and sees to kicks,
 * interrupts and the next turn. */
void vdev_serve(struct vdev *d, unsigned q, vdev_serve_fn *fn);

/* A host fd a device waits for. Embedded in the device's struct. While events is 0 nothing is reported, no
 * hang-up either. */
struct vdev_watch {
	struct source src;
	struct vdev *d;
	int fd;
	uint32_t events;
	void (*fn)(struct vdev *d, struct vdev_watch *w, uint32_t events); /* loop thread, lock held */
};
/* In attach only. The fd stays the device's. Watches nothing yet. */
void vdev_watch_init(struct vdev *d, struct vdev_watch *w, int fd,
		     void (*fn)(struct vdev *, struct vdev_watch *, uint32_t));
/* Loop thread only (attach, kick, watches). */
void vdev_watch_set(struct vdev_watch *w, uint32_t events);

/* ---- for the machine and the transport; they don't hold the lock ---- */

/* Readies lock and kick fd of a device whose `new` part is set. */
int must_check vdev_init(struct vdev *d, struct err *e);
/* Puts it into its loop (d->mem, loop, transport are set) and calls attach. */
int must_check vdev_attach(struct vdev *d, struct err *e);
/* Closes what the core has and calls ops->fini. */
void vdev_fini(struct vdev *d);

/* For what one kind of device alone can do and the machine asks for (dev.h): that function takes the lock. */
void vdev_lock(struct vdev *d);
void vdev_unlock(struct vdev *d);

uint64_t vdev_offered(const struct vdev *d);
uint8_t vdev_status(struct vdev *d);
uint8_t vdev_generation(struct vdev *d);
uint64_t vdev_driver_features(struct vdev *d);
/* The driver writes the status byte: 0 resets; DRIVER_OK starts. */
void vdev_set_status(struct vdev *d, uint8_t status);
/* Writes to 32-bit half `high` of the driver's features; ignored once FEATURES_OK is set. */
void vdev_set_features(struct vdev *d, bool high, uint32_t bits);
/* One queue's registers, while the driver sets it up; NULL if there is no such queue. Changes are ignored
 * once the queue is enabled. */
enum vdev_queue_reg { VDEV_Q_SIZE, VDEV_Q_ENABLE, VDEV_Q_DESC, VDEV_Q_AVAIL, VDEV_Q_USED, VDEV_Q_N };
uint64_t vdev_queue_get(struct vdev *d, unsigned q, enum vdev_queue_reg reg);
void vdev_queue_set(struct vdev *d, unsigned q, enum vdev_queue_reg reg, uint64_t value);
/* Config space: reads past its end give zeros, writes there are ignored. */
void vdev_config_read(struct vdev *d, uint32_t off, void *dst, uint32_t n);
void vdev_config_write(struct vdev *d, uint32_t off, const void *src, uint32_t n);

/* The whole guest-visible state as one block: header, core, device. The loop and the vCPUs stand still. */
struct vdev_snapshot {
	char name[16];
	uint16_t version, state_size;
	uint32_t core_size;
	struct vdev_core_state core;
	uint8_t state[VDEV_STATE_MAX];
};
void vdev_save(struct vdev *d, struct vdev_snapshot *ret);
/* -EBADMSG: not this device's, or a state no driver can bring about. The device is as new then. */
int must_check vdev_restore(struct vdev *d, const struct vdev_snapshot *s, struct err *e);

#endif
