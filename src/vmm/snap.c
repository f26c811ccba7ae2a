/* snap.c - see snap.h. Called on the loop thread, by control.c and while a machine is built.
 * Distrusts: the file. Never: allocates while saving. */
#include "vmm/snap.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "base/io.h"

#define SNAP_MAGIC   0x50414E53564D5643ull /* "CVMVSNAP" */
#define SNAP_VERSION 1u

struct snap_head {
	uint64_t magic;
	uint32_t version, cpu_size, device_size, transport_size;
	uint32_t n_vcpus, n_devs;
	uint64_t ram_size, clock_ns;
	uint8_t uart[8];
};
_Static_assert(sizeof(struct snap_head) == 56, "no padding inside");

static int write_part(int fd, const void *p, size_t n, struct err *e)
{
	int r = io_write_full(fd, p, n);

	return r < 0 ? err_set(e, r, "write the snapshot: %m") : 0;
}

static int read_part(int fd, void *p, size_t n, struct err *e)
{
	ssize_t r = io_read_full(fd, p, n);

	if (r < 0)
		return err_set(e, (int)r, "read the snapshot: %m");
	return (size_t)r < n ? err_set(e, -EBADMSG, "the snapshot is cut off") : 0;
}

static struct snap_head head_of(const struct machine *m)
{
	return (struct snap_head){ .magic = SNAP_MAGIC,
				   .version = SNAP_VERSION,
				   .cpu_size = sizeof(struct hv_cpu),
				   .device_size = sizeof(struct vdev_snapshot),
				   .transport_size = sizeof(struct vpci_state),
				   .n_vcpus = m->n_vcpus,
				   .n_devs = m->n_devs,
				   .ram_size = m->ram_size,
				   .uart = { m->uart_scratch, m->uart_lcr, m->uart_ier, m->uart_mcr } };
}

static int save_vcpus(struct machine *m, int fd, struct err *e)
{
	struct hv_cpu c;
	int r = 0;

	for (uint32_t i = 0; i < m->n_vcpus && r == 0; i++) {
		r = m->hv->ops->vcpu_get(m->hv, i, &c, false, e);
		if (r == 0)
			r = write_part(fd, &c, sizeof c, e);
	}
	return r;
}

static int save_devices(struct machine *m, int fd, struct err *e)
{
	struct vdev_snapshot s;
	struct vpci_state t;
	int r = 0;

	for (unsigned i = 0; i < m->n_devs && r == 0; i++) {
		struct vdev *d = m->devs[i].d;
		bool fs = d->ops->id == VIRTIO_ID_FS; /* its rings are another process's */

		if (fs && fs_pause(d) < 0)
			return err_set(e, -EIO, "%s: its back end does not stand still", d->label);
		vdev_save(d, &s);
		vpci_save(&m->devs[i], &t);
		if (fs)
			fs_resume(d);
		r = write_part(fd, &s, sizeof s, e);
		if (r == 0)
			r = write_part(fd, &t, sizeof t, e);
	}
	return r;
}

int snap_save(struct machine *m, int fd, struct err *e)
{
	struct snap_head h = head_of(m);
	int r = m->hv->ops->clock_get(m->hv, &h.clock_ns, e);

	if (r == 0)
		r = write_part(fd, &h, sizeof h, e);
	if (r == 0)
		r = save_vcpus(m, fd, e);
	return r == 0 ? save_devices(m, fd, e) : r;
}

/* One run of pages that hold something. */
static int copy_run(const struct machine *m, int fd, off_t from, off_t to, struct err *e)
{
	const uint8_t *p = m->ram + from;
	ssize_t r;

	while (from < to) {
		r = pwrite(fd, p, (size_t)(to - from), from);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return err_set(e, r < 0 ? -errno : -EIO, "write the memory: %m");
		p += r;
		from += r;
	}
	return 0;
}

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, GMEM_PAGE - 1) == 0;
}

/* Anonymous memory: every page that holds something. One that was never touched reads as the kernel's page
 * of zeros, and takes no memory for that. */
static int save_anonymous(const struct machine *m, int fd, struct err *e)
{
	uint64_t from = 0, at = 0;
	int r = 0;

	while (r == 0 && at < m->ram_size) {
		for (from = at; from < m->ram_size && is_zero(m->ram + from);)
			from += GMEM_PAGE;
		for (at = from; at < m->ram_size && !is_zero(m->ram + at);)
			at += GMEM_PAGE;
		r = copy_run(m, fd, (off_t)from, (off_t)at, e);
	}
	return r;
}

/* A file knows which of its pages are there; reading the others would make them. */
static int save_file(const struct machine *m, int fd, struct err *e)
{
	off_t size = (off_t)m->ram_size, data = 0, hole;
	int r = 0;

	while (r == 0 && data < size) {
		data = lseek(m->ram_fd, data, SEEK_DATA);
		if (data < 0)
			return errno == ENXIO ? 0 : err_set(e, -errno, "find the memory in use: %m");
		hole = lseek(m->ram_fd, data, SEEK_HOLE);
		if (hole < 0)
			hole = size;
		r = copy_run(m, fd, data, hole, e);
		data = hole;
	}
	return r;
}

int snap_save_memory(struct machine *m, int fd, struct err *e)
{
	if (m->ram_private)
		return err_set(e, -ENOTSUP, "a clone's memory can't be saved: it is partly its template's");
	if (ftruncate(fd, (off_t)m->ram_size) < 0)
		return err_set(e, -errno, "write the memory: %m");
	return m->ram_fd >= 0 ? save_file(m, fd, e) : save_anonymous(m, fd, e);
}

static int check_head(const struct machine *m, const struct snap_head *h, struct err *e)
{
	struct snap_head want = head_of(m);

	if (h->magic != SNAP_MAGIC)
		return err_set(e, -EBADMSG, "not a snapshot of cor-vmm");
	want.clock_ns = h->clock_ns;
	memcpy(want.uart, h->uart, sizeof want.uart);
	if (memcmp(h, &want, sizeof want) != 0)
		return err_set(e, -EBADMSG,
			       "the snapshot is of another machine or build: %u vCPUs, %llu MiB, %u devices",
			       h->n_vcpus, (unsigned long long)(h->ram_size >> 20), h->n_devs);
	return 0;
}

static int load_vcpus(struct machine *m, int fd, struct err *e)
{
	struct hv_cpu c;
	int r = 0;

	for (uint32_t i = 0; i < m->n_vcpus && r == 0; i++) {
		r = read_part(fd, &c, sizeof c, e);
		if (r == 0)
			r = m->hv->ops->vcpu_set(m->hv, i, &c, false, e);
		if (r == 0)
			m->hv->ops->vcpu_stood_still(m->hv, i);
	}
	return r;
}

static int load_devices(struct machine *m, int fd, struct err *e)
{
	struct vdev_snapshot s;
	struct vpci_state t;
	int r = 0;

	for (unsigned i = 0; i < m->n_devs && r == 0; i++) {
		r = read_part(fd, &s, sizeof s, e);
		if (r == 0)
			r = read_part(fd, &t, sizeof t, e);
		if (r == 0)
			r = vpci_restore(&m->devs[i], &t, e); /* first: the device may interrupt at once */
		if (r == 0)
			r = vdev_restore(m->devs[i].d, &s, e);
	}
	return r;
}

int snap_load(struct machine *m, int fd, struct err *e)
{
	struct snap_head h;
	int r = read_part(fd, &h, sizeof h, e);

	if (r == 0)
		r = check_head(m, &h, e);
	if (r < 0)
		return r;
	m->uart_scratch = h.uart[0];
	m->uart_lcr = h.uart[1];
	m->uart_ier = h.uart[2];
	m->uart_mcr = h.uart[3];
	r = load_vcpus(m, fd, e);
	if (r == 0)
		r = m->hv->ops->clock_set(m->hv, h.clock_ns, e);
	return r == 0 ? load_devices(m, fd, e) : r;
}
