/* rig.c - see rig.h. Called by tests and fuzz targets; trusts them. */
#include "rig.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define TURNS_MAX 1000

static void on_interrupt(struct vdev *d, int q)
{
	struct rig *r = d->transport_data;

	if (q < 0)
		r->config_irqs++;
	else
		r->irqs[q]++;
}

static const struct vdev_transport transport = { .interrupt = on_interrupt };

/* A page that faults, the memory, and one more. */
static uint8_t *map_guarded(int fd, size_t off, size_t len)
{
	uint8_t *p = mmap(NULL, len + 2 * GMEM_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mmap(p + GMEM_PAGE, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
				    (off_t)off) == MAP_FAILED)
		abort();
	return p + GMEM_PAGE;
}

static void unmap_guarded(uint8_t *p, size_t len)
{
	if (p)
		(void)munmap(p - GMEM_PAGE, len + 2 * GMEM_PAGE);
}

int rig_memory(struct rig *r)
{
	int n;

	*r = (struct rig){ .ram_fd = memfd_create("rig", MFD_CLOEXEC) };
	if (r->ram_fd < 0 || ftruncate(r->ram_fd, RIG_RAM + GMEM_PAGE) < 0)
		return -errno;
	r->ram = map_guarded(r->ram_fd, 0, RIG_RAM);
	r->rom = map_guarded(r->ram_fd, RIG_RAM, GMEM_PAGE);
	n = gmem_add(&r->mem, gpa(RIG_BASE), r->ram, RIG_RAM, true);
	return n == 0 ? gmem_add(&r->mem, gpa(RIG_ROM), r->rom, GMEM_PAGE, false) : n;
}

int rig_attach(struct rig *r, struct vdev *d)
{
	int n = loop_init(&r->loop);

	r->d = d;
	d->mem = &r->mem;
	d->loop = &r->loop;
	d->transport = &transport;
	d->transport_data = r;
	if (n == 0)
		n = vdev_init(d, NULL);
	return n == 0 ? vdev_attach(d, NULL) : n;
}

int rig_init(struct rig *r, struct vdev *d)
{
	int n = rig_memory(r);

	return n == 0 ? rig_attach(r, d) : n;
}

void rig_fini(struct rig *r)
{
	vdev_fini(r->d);
	loop_fini(&r->loop);
	rig_forget(r);
}

void rig_forget(struct rig *r)
{
	unmap_guarded(r->ram, RIG_RAM);
	unmap_guarded(r->rom, GMEM_PAGE);
	(void)close(take_fd(&r->ram_fd));
}

bool rig_negotiate(struct rig *r, uint64_t wanted)
{
	uint64_t f = (wanted & vdev_offered(r->d)) | 1ull << VIRTIO_F_VERSION_1;
	uint8_t s = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	vdev_set_status(r->d, 0);
	vdev_set_status(r->d, s);
	vdev_set_features(r->d, false, (uint32_t)f);
	vdev_set_features(r->d, true, (uint32_t)(f >> 32));
	vdev_set_status(r->d, s | VIRTIO_CONFIG_S_FEATURES_OK);
	return (vdev_status(r->d) & VIRTIO_CONFIG_S_FEATURES_OK) != 0;
}

void rig_start(struct rig *r, uint16_t size)
{
	r->data = RIG_BASE;
	for (unsigned i = 0; i < r->d->n_queues; i++) {
		r->data = vqdrv_init(&r->q[i], r->ram, RIG_BASE, r->data, size);
		vdev_queue_set(r->d, i, VDEV_Q_SIZE, size);
		vdev_queue_set(r->d, i, VDEV_Q_DESC, r->q[i].desc);
		vdev_queue_set(r->d, i, VDEV_Q_AVAIL, r->q[i].avail);
		vdev_queue_set(r->d, i, VDEV_Q_USED, r->q[i].used);
		vdev_queue_set(r->d, i, VDEV_Q_ENABLE, 1);
	}
	vdev_set_status(r->d, (uint8_t)(vdev_status(r->d) | VIRTIO_CONFIG_S_DRIVER_OK));
	rig_turn(r);
}

void rig_up(struct rig *r, uint16_t size)
{
	if (!rig_negotiate(r, UINT64_MAX))
		abort();
	rig_start(r, size);
}

void rig_turn(struct rig *r)
{
	struct pollfd p = { .fd = r->loop.epfd, .events = POLLIN };

	for (unsigned i = 0; i < TURNS_MAX && poll(&p, 1, 0) == 1; i++)
		if (loop_once(&r->loop, 0) < 0)
			abort();
}

void rig_serve(struct rig *r)
{
	vdev_kick_self(r->d);
	rig_turn(r);
}
