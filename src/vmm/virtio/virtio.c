/* virtio.c - the core of every virtio device: see virtio.h.
 *
 * Called by the transport (vCPU threads), by devices (with their lock held) and by the loop.
 * Trusts: the device's own code. Distrusts: every register write, and snapshots.
 * Never: allocates after vdev_init(), ends the VMM, or writes more than VDEV_LOG_MAX lines for one device. */
#include "vmm/virtio/virtio.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "vmm/note.h"

#define CORE_FEATURES                                                                                        \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC)
/* Status bits a driver may set. */
#define DRIVER_STATUS                                                                                        \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |                  \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED)

void vdev_lock(struct vdev *d)
{
	int r = pthread_mutex_lock(&d->lock);

	assert(r == 0);
	(void)r;
}

void vdev_unlock(struct vdev *d)
{
	int r = pthread_mutex_unlock(&d->lock);

	assert(r == 0);
	(void)r;
}

uint64_t vdev_offered(const struct vdev *d)
{
	return d->features | CORE_FEATURES;
}

/* ---- for devices ---- */

void vdev_break(struct vdev *d, const char *why)
{
	if (d->core.status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	d->active = false;
	d->core.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if (d->n_logged < VDEV_LOG_MAX) {
		d->n_logged++;
		note("device=%s event=broken reason=\"%s\"", d->label, why);
	}
	if (d->core.status & VIRTIO_CONFIG_S_DRIVER_OK)
		d->transport->interrupt(d, -1);
}

bool vdev_pop(struct vdev *d, unsigned q, struct vq_chain *c)
{
	int r;

	assert(q < d->n_queues);
	if (!d->active)
		return false;
	r = vq_pop(&d->queues[q], c);
	/* Empty: the driver shall kick for the next one, unless that came before it could know. */
	if (r == 0 && vq_kicks_on(&d->queues[q]))
		r = vq_pop(&d->queues[q], c);
	if (r < 0)
		vdev_break(d, "malformed ring");
	return r > 0;
}

void vdev_push(struct vdev *d, unsigned q, uint16_t head, uint32_t len)
{
	assert(q < d->n_queues);
	if (d->active)
		vq_push(&d->queues[q], head, len);
}

void vdev_push_n(struct vdev *d, unsigned q, const struct vring_used_elem *e, uint16_t n)
{
	assert(q < d->n_queues);
	if (d->active)
		vq_push_n(&d->queues[q], e, n);
}

void vdev_unpop(struct vdev *d, unsigned q, uint16_t n)
{
	assert(q < d->n_queues);
	if (d->active)
		vq_unpop(&d->queues[q], n);
}

void vdev_notify(struct vdev *d, unsigned q)
{
	assert(q < d->n_queues);
	if (d->active && vq_should_notify(&d->queues[q]))
		d->transport->interrupt(d, (int)q);
}

void vdev_interrupt(struct vdev *d, unsigned q)
{
	assert(q < d->n_queues);
	if (d->active)
		d->transport->interrupt(d, (int)q);
}

void vdev_config_changed(struct vdev *d)
{
	d->core.config_generation++;
	if (d->core.status & VIRTIO_CONFIG_S_DRIVER_OK)
		d->transport->interrupt(d, -1);
}

void vdev_kick_self(struct vdev *d)
{
	uint64_t one = 1;
	ssize_t n = write(d->kick_fd, &one, sizeof one);

	(void)n; /* full counter: it is signalled anyway */
}

void vdev_serve(struct vdev *d, unsigned q, vdev_serve_fn *fn)
{
	unsigned spent = 0, cost = 1;
	struct vq_chain c;
	uint32_t len;

	while (spent < VDEV_BUDGET && cost && vdev_pop(d, q, &c)) {
		len = 0;
		cost = fn(d, q, &c, &len);
		spent += cost;
		if (cost)
			vdev_push(d, q, c.head, len);
		else
			vdev_unpop(d, q, 1);
	}
	vdev_notify(d, q);
	if (spent >= VDEV_BUDGET)
		vdev_kick_self(d);
}

static void watch_ready(struct source *s, uint32_t events)
{
	struct vdev_watch *w = container_of(s, struct vdev_watch, src);

	vdev_lock(w->d);
	w->fn(w->d, w, events);
	vdev_unlock(w->d);
}

void vdev_watch_init(struct vdev *d, struct vdev_watch *w, int fd,
		     void (*fn)(struct vdev *, struct vdev_watch *, uint32_t))
{
	*w = (struct vdev_watch){ .d = d, .fd = fd, .fn = fn };
}

void vdev_watch_set(struct vdev_watch *w, uint32_t events)
{
	int r = 0;

	if (w->events == events)
		return;
	/* epoll reports a hang-up even to those who wait for nothing: then the fd leaves the set. */
	if (events == 0)
		loop_del(&w->src);
	else if (w->events == 0)
		r = loop_add(w->d->loop, &w->src, w->fd, events, watch_ready);
	else
		r = loop_mod(&w->src, events);
	if (r == 0)
		w->events = events;
	else /* the kernel has no memory for it: the device can't go on */
		vdev_break(w->d, "host file can't be watched");
}

/* ---- life ---- */

static void queues_default(struct vdev *d)
{
	for (unsigned i = 0; i < VDEV_QUEUES_MAX; i++) {
		vq_stop(&d->queues[i]);
		d->queues[i].st = (struct vq_state){ .size = d->ops->queue_size };
	}
}

static void reset(struct vdev *d)
{
	d->active = false;
	if (d->core.status && d->ops->reset)
		d->ops->reset(d);
	memset(&d->core, 0, sizeof d->core);
	queues_default(d);
}

static void kicked(struct source *s, uint32_t events)
{
	struct vdev *d = container_of(s, struct vdev, kick_source);
	uint64_t n;
	ssize_t r = read(d->kick_fd, &n, sizeof n);

	(void)events;
	(void)r; /* EAGAIN: someone was quicker; serving once more does no harm */
	vdev_lock(d);
	for (unsigned i = 0; i < d->n_queues && d->active; i++)
		if (d->queues[i].mem)
			d->ops->kick(d, i);
	vdev_unlock(d);
}

int vdev_init(struct vdev *d, struct err *e)
{
	assert(d->n_queues >= 1 && d->n_queues <= VDEV_QUEUES_MAX);
	assert(d->ops->queue_size <= VQ_SIZE_MAX && d->ops->state_size <= VDEV_STATE_MAX);
	d->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->kick_fd < 0)
		return err_set(e, -errno, "%s: eventfd: %m", d->label);
	(void)pthread_mutex_init(&d->lock, NULL); /* can't fail for a plain one */
	reset(d);
	return 0;
}

int vdev_attach(struct vdev *d, struct err *e)
{
	int r = loop_add(d->loop, &d->kick_source, d->kick_fd, EPOLLIN, kicked);

	if (r < 0)
		return err_set(e, r, "%s: event loop: %m", d->label);
	r = d->ops->attach ? d->ops->attach(d, e) : 0;
	return r < 0 ? err_wrap(e, "%s", d->label) : 0;
}

void vdev_fini(struct vdev *d)
{
	loop_del(&d->kick_source);
	if (d->kick_fd >= 0)
		(void)close(take_fd(&d->kick_fd));
	(void)pthread_mutex_destroy(&d->lock);
	if (d->ops->fini)
		d->ops->fini(d);
}

/* Maps the enabled queues. */
static int queues_start(struct vdev *d)
{
	bool event_idx = vdev_has(d, VIRTIO_RING_F_EVENT_IDX),
	     indirect = vdev_has(d, VIRTIO_RING_F_INDIRECT_DESC);
	int r;

	for (unsigned i = 0; i < d->n_queues; i++) {
		if (!d->queues[i].st.enabled)
			continue;
		r = vq_start(&d->queues[i], d->mem, event_idx, indirect);
		if (r < 0)
			return r;
	}
	return 0;
}

static void start(struct vdev *d)
{
	int r = queues_start(d);

	if (r < 0) {
		vdev_break(d, "queue outside of memory");
		return;
	}
	d->active = true;
	r = d->ops->start ? d->ops->start(d) : 0;
	if (r < 0)
		vdev_break(d, "device refused to start");
	else
		vdev_kick_self(d);
}

/* ---- registers ---- */

uint8_t vdev_status(struct vdev *d)
{
	uint8_t v;

	vdev_lock(d);
	v = d->core.status;
	vdev_unlock(d);
	return v;
}

uint8_t vdev_generation(struct vdev *d)
{
	uint8_t v;

	vdev_lock(d);
	v = d->core.config_generation;
	vdev_unlock(d);
	return v;
}

uint64_t vdev_driver_features(struct vdev *d)
{
	uint64_t v;

	vdev_lock(d);
	v = d->core.driver_features;
	vdev_unlock(d);
	return v;
}

static void set_status(struct vdev *d, uint8_t status)
{
	uint8_t set = (uint8_t)(status & DRIVER_STATUS & ~d->core.status);
	uint64_t f = d->core.driver_features;

	if ((set & VIRTIO_CONFIG_S_FEATURES_OK) &&
	    ((f & ~vdev_offered(d)) != 0 || !(f >> VIRTIO_F_VERSION_1 & 1)))
		set &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK; /* the driver reads back that we refuse */
	if ((set & VIRTIO_CONFIG_S_DRIVER_OK) && !((d->core.status | set) & VIRTIO_CONFIG_S_FEATURES_OK))
		set &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	d->core.status |= set;
	if ((set & VIRTIO_CONFIG_S_DRIVER_OK) && !(d->core.status & VIRTIO_CONFIG_S_NEEDS_RESET))
		start(d);
}

void vdev_set_status(struct vdev *d, uint8_t status)
{
	vdev_lock(d);
	if (status == 0)
		reset(d);
	else
		set_status(d, status); /* bits are added only: a driver takes none back but by a reset */
	vdev_unlock(d);
}

void vdev_set_features(struct vdev *d, bool high, uint32_t bits)
{
	unsigned shift = high ? 32 : 0;

	vdev_lock(d);
	if (!(d->core.status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		d->core.driver_features &= ~(0xFFFFFFFFull << shift);
		d->core.driver_features |= (uint64_t)bits << shift;
	}
	vdev_unlock(d);
}

static uint64_t *queue_area(struct vq_state *s, enum vdev_queue_reg reg)
{
	if (reg == VDEV_Q_DESC)
		return &s->desc;
	return reg == VDEV_Q_AVAIL ? &s->avail : &s->used;
}

uint64_t vdev_queue_get(struct vdev *d, unsigned q, enum vdev_queue_reg reg)
{
	struct vq_state *s;
	uint64_t v;

	if (q >= d->n_queues)
		return 0;
	vdev_lock(d);
	s = &d->queues[q].st;
	if (reg == VDEV_Q_SIZE)
		v = s->size;
	else
		v = reg == VDEV_Q_ENABLE ? s->enabled : *queue_area(s, reg);
	vdev_unlock(d);
	return v;
}

static bool size_ok(const struct vdev *d, uint64_t n)
{
	return n != 0 && n <= d->ops->queue_size && (n & (n - 1)) == 0;
}

static void queue_set(struct vdev *d, struct vq_state *s, enum vdev_queue_reg reg, uint64_t value)
{
	if (s->enabled || (d->core.status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	if (reg == VDEV_Q_SIZE) {
		if (size_ok(d, value))
			s->size = (uint16_t)value;
	} else if (reg == VDEV_Q_ENABLE) {
		s->enabled = value == 1;
	} else {
		*queue_area(s, reg) = value;
	}
}

void vdev_queue_set(struct vdev *d, unsigned q, enum vdev_queue_reg reg, uint64_t value)
{
	if (q >= d->n_queues)
		return;
	vdev_lock(d);
	queue_set(d, &d->queues[q].st, reg, value);
	vdev_unlock(d);
}

void vdev_config_read(struct vdev *d, uint32_t off, void *dst, uint32_t n)
{
	memset(dst, 0, n);
	if (off >= d->config_len || n > d->config_len - off)
		return;
	vdev_lock(d);
	if (d->ops->config_read)
		d->ops->config_read(d, off, dst, n);
	else
		memcpy(dst, d->config + off, n);
	vdev_unlock(d);
}

void vdev_config_write(struct vdev *d, uint32_t off, const void *src, uint32_t n)
{
	if (!d->ops->config_write || off >= d->config_len || n > d->config_len - off)
		return;
	vdev_lock(d);
	d->ops->config_write(d, off, src, n);
	vdev_unlock(d);
}

/* ---- snapshots ---- */

void vdev_save(struct vdev *d, struct vdev_snapshot *ret)
{
	memset(ret, 0, sizeof *ret);
	vdev_lock(d);
	(void)snprintf(ret->name, sizeof ret->name, "%s", d->ops->name);
	ret->version = d->ops->version;
	ret->state_size = d->ops->state_size;
	ret->core_size = sizeof ret->core;
	ret->core = d->core;
	ret->core.n_queues = d->n_queues;
	for (unsigned i = 0; i < d->n_queues; i++)
		ret->core.queues[i] = d->queues[i].st;
	if (d->ops->state_size)
		memcpy(ret->state, d->state, d->ops->state_size);
	vdev_unlock(d);
}

static bool fits(const struct vdev *d, const struct vdev_snapshot *s)
{
	const struct vdev_core_state *c = &s->core;
	uint8_t known = DRIVER_STATUS | VIRTIO_CONFIG_S_NEEDS_RESET;

	if (strnlen(s->name, sizeof s->name) == sizeof s->name || strcmp(s->name, d->ops->name) != 0)
		return false;
	if (s->version != d->ops->version || s->state_size != d->ops->state_size)
		return false;
	if (s->core_size != sizeof s->core || c->n_queues != d->n_queues || (c->status & ~known))
		return false;
	if ((c->status & VIRTIO_CONFIG_S_FEATURES_OK) && (c->driver_features & ~vdev_offered(d)))
		return false;
	if ((c->status & VIRTIO_CONFIG_S_DRIVER_OK) && !(c->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return false;
	for (unsigned i = 0; i < d->n_queues; i++)
		if (c->queues[i].enabled > 1 || !size_ok(d, c->queues[i].size))
			return false;
	return true;
}

static int restore(struct vdev *d, const struct vdev_snapshot *s, struct err *e)
{
	int r;

	if (!fits(d, s))
		return err_set(e, -EBADMSG, "%s: the snapshot is of another device or version", d->label);
	d->core = s->core;
	for (unsigned i = 0; i < d->n_queues; i++)
		d->queues[i].st = s->core.queues[i];
	if (d->ops->state_size)
		memcpy(d->state, s->state, d->ops->state_size);
	r = d->core.status & VIRTIO_CONFIG_S_DRIVER_OK ? queues_start(d) : 0;
	if (r < 0 && !(d->core.status & VIRTIO_CONFIG_S_NEEDS_RESET))
		return err_set(e, -EBADMSG, "%s: a queue of the snapshot is outside of memory", d->label);
	r = d->ops->restored ? d->ops->restored(d, e) : 0;
	if (r < 0) {
		(void)err_wrap(e, "%s", d->label);
		return r;
	}
	if ((d->core.status & VIRTIO_CONFIG_S_DRIVER_OK) && !(d->core.status & VIRTIO_CONFIG_S_NEEDS_RESET)) {
		d->active = true;
		vdev_kick_self(d);
	}
	return 0;
}

int vdev_restore(struct vdev *d, const struct vdev_snapshot *s, struct err *e)
{
	int r;

	vdev_lock(d);
	r = restore(d, s, e);
	if (r < 0)
		reset(d);
	vdev_unlock(d);
	return r;
}
