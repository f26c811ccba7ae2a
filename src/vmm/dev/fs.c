/* fs.c - virtio file system (id 26): a directory served by another process, by vhost-user (vhost.h).
 *
 * Made by the machine. The back end serves the rings itself; here are the registers, the hand-over and the
 * two bells of each queue: the loop thread passes the guest's kick on, and the back end's call as an
 * interrupt.
 *
 * Distrusts: the driver, and the back end: its end or a wrong answer breaks the device, no more; it is
 * waited for with a limit (vhost.h). Never: serves a ring itself. Guest memory must be shared (a memfd
 * that the back end maps): a clone's private memory can't be. */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>

#include "vmm/dev/dev.h"
#include "vmm/dev/vhost.h"

#define REQUESTS_MAX (FS_QUEUES_MAX - 1u)
/* What the core offers: the back end must be able to do it. */
#define NEEDED                                                                                               \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX)

struct fs_queue {
	int kick, call; /* eventfds; -1 = none */
	struct vdev_watch called;
	bool running;     /* the back end has it */
	bool kicked;      /* since then, for... */
	uint16_t kick_at; /* ...this index of the available ring */
};

struct fs {
	struct vdev d;
	struct virtio_fs_config config;
	struct vhost v;
	struct vdev_watch hangup;
	struct vhost_mem mem[VHOST_MEM_MAX];
	unsigned n_mem, wait_ms;
	struct fs_queue q[FS_QUEUES_MAX];
};

static struct fs *fs_of(struct vdev *d)
{
	return container_of(d, struct fs, d);
}

static int queues_start(struct fs *f)
{
	int r = vhost_set_up(&f->v, f->d.core.driver_features, f->mem, f->n_mem);

	for (unsigned i = 0; i < f->d.n_queues && r == 0; i++) {
		struct fs_queue *q = &f->q[i];

		if (!f->d.queues[i].mem)
			continue;
		q->kicked = false;
		q->running = true;
		r = vhost_queue_start(&f->v, i, &f->d.queues[i].st, q->kick, q->call);
	}
	return r;
}

static int queues_stop(struct fs *f)
{
	int r = 0, n;

	for (unsigned i = 0; i < f->d.n_queues; i++) {
		if (!f->q[i].running)
			continue;
		f->q[i].running = false;
		n = vhost_queue_stop(&f->v, i, &f->d.queues[i].st.next_avail);
		r = r == 0 ? n : r;
	}
	return r;
}

/* Without a back end (a template's placeholder) requests wait in the ring. */
static int fs_start(struct vdev *d)
{
	struct fs *f = fs_of(d);

	return f->v.sock >= 0 ? queues_start(f) : 0;
}

static void fs_reset(struct vdev *d)
{
	may_fail(queues_stop(fs_of(d))); /* a dead back end: the next start says so */
}

/* All queues have one kick: the bell of those with something new. */
static void fs_kick(struct vdev *d, unsigned i)
{
	struct fs_queue *q = &fs_of(d)->q[i];
	uint16_t at = vq_offered(&d->queues[i]);
	uint64_t one = 1;
	ssize_t n;

	if (!q->running || (q->kicked && q->kick_at == at))
		return;
	q->kicked = true;
	q->kick_at = at;
	n = write(q->kick, &one, sizeof one);
	(void)n; /* full: it rings anyway */
}

static void called(struct vdev *d, struct vdev_watch *w, uint32_t events)
{
	struct fs_queue *q = container_of(w, struct fs_queue, called);
	uint64_t n;
	ssize_t r = read(q->call, &n, sizeof n);

	(void)events;
	if (r == (ssize_t)sizeof n && q->running)
		vdev_interrupt(d, (unsigned)(q - fs_of(d)->q));
}

static void hung_up(struct vdev *d, struct vdev_watch *w, uint32_t events)
{
	(void)events;
	if (vhost_check(&fs_of(d)->v) == 0)
		return;
	vdev_watch_set(w, 0);
	vdev_break(d, "back end ended");
}

static int fs_attach(struct vdev *d, struct err *e)
{
	struct fs *f = fs_of(d);

	for (unsigned i = 0; i < d->n_queues; i++) {
		f->q[i].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		f->q[i].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (f->q[i].kick < 0 || f->q[i].call < 0)
			return err_set(e, -errno, "eventfd: %m");
		vdev_watch_init(d, &f->q[i].called, f->q[i].call, called);
		vdev_watch_set(&f->q[i].called, EPOLLIN);
	}
	vdev_watch_init(d, &f->hangup, f->v.sock, hung_up);
	if (f->v.sock >= 0)
		vdev_watch_set(&f->hangup, EPOLLIN);
	return 0;
}

static int fs_restored(struct vdev *d, struct err *e)
{
	struct fs *f = fs_of(d);
	uint8_t s = d->core.status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET);
	int r = s == VIRTIO_CONFIG_S_DRIVER_OK ? fs_start(d) : 0;

	if (r < 0)
		return err_set(e, r, "the back end of \"%.36s\" did not take the queues",
			       (char *)f->config.tag);
	return 0;
}

static void fs_fini(struct vdev *d)
{
	struct fs *f = fs_of(d);

	loop_del(&f->hangup.src);
	vhost_close(&f->v);
	for (unsigned i = 0; i < FS_QUEUES_MAX; i++) {
		loop_del(&f->q[i].called.src);
		scope_close(&f->q[i].kick);
		scope_close(&f->q[i].call);
	}
	free(f);
}

static const struct vdev_ops fs_ops = {
	.name = "fs",
	.id = VIRTIO_ID_FS,
	.queue_size = 128,
	.version = 1,
	.attach = fs_attach,
	.start = fs_start,
	.kick = fs_kick,
	.reset = fs_reset,
	.restored = fs_restored,
	.fini = fs_fini,
};

static int check_cfg(const struct fs_cfg *cfg, struct err *e)
{
	size_t len = strlen(cfg->tag);

	if (len == 0 || len > sizeof(((struct virtio_fs_config *)NULL)->tag))
		return err_set(e, -EINVAL, "fs: a tag has 1 to 36 bytes");
	if (cfg->n_requests < 1 || cfg->n_requests > REQUESTS_MAX)
		return err_set(e, -EINVAL, "fs %s: 1 to %u request queues", cfg->tag, REQUESTS_MAX);
	if (cfg->n_mem < 1 || cfg->n_mem > VHOST_MEM_MAX)
		return err_set(e, -EINVAL, "fs %s: guest memory must be shared with the back end", cfg->tag);
	return 0;
}

int fs_new(const struct fs_cfg *cfg, struct vdev **ret, struct err *e)
{
	int r = check_cfg(cfg, e);
	struct fs *f;

	if (r < 0)
		return r;
	f = calloc(1, sizeof *f);
	if (!f)
		return err_set(e, -ENOMEM, "fs: %m");
	f->d = (struct vdev){ .ops = &fs_ops,
			      .n_queues = 1 + cfg->n_requests,
			      .config = (uint8_t *)&f->config,
			      .config_len = sizeof f->config };
	(void)snprintf(f->d.label, sizeof f->d.label, "fs-%s", cfg->tag);
	memcpy(f->config.tag, cfg->tag, strlen(cfg->tag));
	f->config.num_request_queues = cfg->n_requests;
	memcpy(f->mem, cfg->mem, cfg->n_mem * sizeof cfg->mem[0]);
	f->n_mem = cfg->n_mem;
	f->wait_ms = cfg->wait_ms;
	for (unsigned i = 0; i < FS_QUEUES_MAX; i++)
		f->q[i].kick = f->q[i].call = -1;
	f->v.sock = -1;
	r = cfg->sock >= 0 ? vhost_open(&f->v, cfg->sock, NEEDED, f->d.n_queues, f->wait_ms, e) : 0;
	if (r < 0) {
		(void)err_wrap(e, "fs %s", cfg->tag);
		fs_fini(&f->d);
		return r;
	}
	*ret = &f->d;
	return 0;
}

int fs_back(struct vdev *d, int sock, struct err *e)
{
	struct fs *f = fs_of(d);
	int r;

	vdev_lock(d);
	r = f->v.sock >= 0 ? err_set(e, -EBUSY, "%s has a back end already", d->label)
			   : vhost_open(&f->v, sock, NEEDED, d->n_queues, f->wait_ms, e);
	if (r == 0) {
		vdev_watch_init(d, &f->hangup, sock, hung_up);
		vdev_watch_set(&f->hangup, EPOLLIN);
		if (vdev_is_active(d) && queues_start(f) < 0)
			vdev_break(d, "back end did not take the queues");
		vdev_kick_self(d);
	}
	vdev_unlock(d);
	return r;
}

int fs_pause(struct vdev *d)
{
	int r;

	vdev_lock(d);
	r = queues_stop(fs_of(d));
	vdev_unlock(d);
	return r;
}

void fs_resume(struct vdev *d)
{
	vdev_lock(d);
	if (vdev_is_active(d) && fs_start(d) < 0)
		vdev_break(d, "back end did not take the queues");
	vdev_kick_self(d);
	vdev_unlock(d);
}
