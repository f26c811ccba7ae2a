/* pci.c - see pci.h. Called by vCPU threads (registers) and by whoever interrupts (device's lock held).
 * Distrusts: every offset, size and value. Never: allocates after vpci_init(), calls the core with its lock
 * held. */
#include "vmm/virtio/pci.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <string.h>

#define VENDOR         0x1AF4u
#define DEVICE_BASE    0x1040u
#define CLASS_OTHER    0xFF0000u /* drivers go by vendor and device */
#define REVISION       1u
#define MSIX_MASKED    1u
#define MSIX_WRITABLE  (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)
#define MSI_ADDR_FIRST 0xFEE00000ull /* messages go to LAPICs, nowhere else */
#define MSI_ADDR_LAST  0xFEEFFFFFull

/* Places in the configuration space */
#define CAP_MSIX   0x40u
#define CAP_COMMON 0x50u
#define CAP_NOTIFY 0x60u
#define CAP_ISR    0x74u
#define CAP_DEVICE 0x84u
#define CAP_WINDOW 0x94u /* VIRTIO_PCI_CAP_PCI_CFG: a window to the BAR, for firmware */
#define WINDOW_OFF (CAP_WINDOW + 8u)
#define WINDOW_LEN (CAP_WINDOW + 12u)
#define WINDOW     (CAP_WINDOW + 16u)

static void lock(struct vpci *v)
{
	(void)pthread_mutex_lock(&v->lock); /* can't fail for a plain one */
}

static void unlock(struct vpci *v)
{
	(void)pthread_mutex_unlock(&v->lock);
}

static struct vpci *vpci_of(struct pci_fn *f)
{
	return container_of(f, struct vpci, fn);
}

/* ---- interrupts ---- */

static bool is_enabled(const struct vpci *v)
{
	return (v->st.msix_control & PCI_MSIX_FLAGS_ENABLE) != 0;
}

/* Sends vector i, or remembers it while it is masked. Locked. */
static void fire(struct vpci *v, uint32_t i)
{
	const struct vpci_msix *m = &v->st.table[i];

	if ((v->st.msix_control & PCI_MSIX_FLAGS_MASKALL) || (m->control & MSIX_MASKED)) {
		v->st.pending |= 1u << i;
		return;
	}
	v->st.pending &= ~(1u << i);
	if (m->addr < MSI_ADDR_FIRST || m->addr > MSI_ADDR_LAST)
		return;                                 /* the guest's own mistake: its interrupt is lost */
	(void)v->hv->ops->msi(v->hv, m->addr, m->data); /* likewise */
}

/* Sends what waited, after something was unmasked. Locked. */
static void fire_pending(struct vpci *v)
{
	for (uint32_t i = 0; i < v->n_vectors && is_enabled(v); i++)
		if (v->st.pending >> i & 1)
			fire(v, i);
}

static void on_interrupt(struct vdev *d, int q)
{
	struct vpci *v = d->transport_data;
	uint32_t i;

	lock(v);
	i = q < 0 ? v->st.config_vector : v->st.queue_vectors[q];
	v->st.isr |= q < 0 ? 2 : 1;
	if (is_enabled(v) && i < v->n_vectors)
		fire(v, i);
	unlock(v);
}

static const struct vdev_transport transport = { .interrupt = on_interrupt };

/* ---- MSI-X table: aligned 32- and 64-bit accesses ---- */

static void table_read(struct vpci *v, uint32_t off, void *dst, uint32_t n)
{
	const uint8_t *table = (const uint8_t *)v->st.table;

	if (off % n == 0 && n >= 4 && off + n <= v->n_vectors * sizeof v->st.table[0])
		memcpy(dst, table + off, n);
}

static void table_write(struct vpci *v, uint32_t off, const void *src, uint32_t n)
{
	uint8_t *table = (uint8_t *)v->st.table;

	if (off % n != 0 || n < 4 || off + n > v->n_vectors * sizeof v->st.table[0])
		return;
	memcpy(table + off, src, n);
	v->st.table[off / sizeof v->st.table[0]].control &= MSIX_MASKED;
	fire_pending(v);
}

/* ---- common configuration ---- */

/* A register of the common structure as one number. */
struct common_reg {
	uint8_t off, len;
	enum {
		R_DEVICE_FEATURE_SELECT,
		R_DEVICE_FEATURE,
		R_DRIVER_FEATURE_SELECT,
		R_DRIVER_FEATURE,
		R_CONFIG_VECTOR,
		R_NUM_QUEUES,
		R_STATUS,
		R_GENERATION,
		R_QUEUE_SELECT,
		R_QUEUE_SIZE,
		R_QUEUE_VECTOR,
		R_QUEUE_ENABLE,
		R_QUEUE_NOTIFY_OFF,
		R_QUEUE_DESC,
		R_QUEUE_DRIVER,
		R_QUEUE_DEVICE,
	} id;
};

static const struct common_reg common_regs[] = {
	{ VIRTIO_PCI_COMMON_DFSELECT, 4, R_DEVICE_FEATURE_SELECT },
	{ VIRTIO_PCI_COMMON_DF, 4, R_DEVICE_FEATURE },
	{ VIRTIO_PCI_COMMON_GFSELECT, 4, R_DRIVER_FEATURE_SELECT },
	{ VIRTIO_PCI_COMMON_GF, 4, R_DRIVER_FEATURE },
	{ VIRTIO_PCI_COMMON_MSIX, 2, R_CONFIG_VECTOR },
	{ VIRTIO_PCI_COMMON_NUMQ, 2, R_NUM_QUEUES },
	{ VIRTIO_PCI_COMMON_STATUS, 1, R_STATUS },
	{ VIRTIO_PCI_COMMON_CFGGENERATION, 1, R_GENERATION },
	{ VIRTIO_PCI_COMMON_Q_SELECT, 2, R_QUEUE_SELECT },
	{ VIRTIO_PCI_COMMON_Q_SIZE, 2, R_QUEUE_SIZE },
	{ VIRTIO_PCI_COMMON_Q_MSIX, 2, R_QUEUE_VECTOR },
	{ VIRTIO_PCI_COMMON_Q_ENABLE, 2, R_QUEUE_ENABLE },
	{ VIRTIO_PCI_COMMON_Q_NOFF, 2, R_QUEUE_NOTIFY_OFF },
	{ VIRTIO_PCI_COMMON_Q_DESCLO, 8, R_QUEUE_DESC },
	{ VIRTIO_PCI_COMMON_Q_AVAILLO, 8, R_QUEUE_DRIVER },
	{ VIRTIO_PCI_COMMON_Q_USEDLO, 8, R_QUEUE_DEVICE },
};

/* The register that holds [off, off + n) whole, or half of a 64-bit one. */
static const struct common_reg *find_reg(uint32_t off, uint32_t n)
{
	for (size_t i = 0; i < ARRAY_LEN(common_regs); i++) {
		const struct common_reg *r = &common_regs[i];

		if (off >= r->off && off < r->off + r->len)
			return (off == r->off && n == r->len) || (r->len == 8 && n == 4 && off % 4 == 0)
				       ? r
				       : NULL;
	}
	return NULL;
}

static uint64_t reg_get(struct vpci *v, const struct common_reg *r)
{
	struct vpci_state s;

	lock(v);
	s = v->st;
	unlock(v);
	switch (r->id) {
	case R_DEVICE_FEATURE_SELECT:
		return s.device_feature_select;
	case R_DEVICE_FEATURE:
		return s.device_feature_select < 2 ? vdev_offered(v->d) >> (32 * s.device_feature_select) : 0;
	case R_DRIVER_FEATURE_SELECT:
		return s.driver_feature_select;
	case R_DRIVER_FEATURE:
		return s.driver_feature_select < 2
			       ? vdev_driver_features(v->d) >> (32 * s.driver_feature_select)
			       : 0;
	case R_CONFIG_VECTOR:
		return s.config_vector;
	case R_NUM_QUEUES:
		return v->d->n_queues;
	case R_STATUS:
		return vdev_status(v->d);
	case R_GENERATION:
		return vdev_generation(v->d);
	case R_QUEUE_SELECT:
		return s.queue_select;
	case R_QUEUE_SIZE:
		return vdev_queue_get(v->d, s.queue_select, VDEV_Q_SIZE);
	case R_QUEUE_VECTOR:
		return s.queue_select < v->d->n_queues ? s.queue_vectors[s.queue_select] : VDEV_NO_VECTOR;
	case R_QUEUE_ENABLE:
		return vdev_queue_get(v->d, s.queue_select, VDEV_Q_ENABLE);
	case R_QUEUE_NOTIFY_OFF:
		return 0;
	case R_QUEUE_DESC:
		return vdev_queue_get(v->d, s.queue_select, VDEV_Q_DESC);
	case R_QUEUE_DRIVER:
		return vdev_queue_get(v->d, s.queue_select, VDEV_Q_AVAIL);
	case R_QUEUE_DEVICE:
		return vdev_queue_get(v->d, s.queue_select, VDEV_Q_USED);
	}
	return 0;
}

/* Registers that are the transport's own. Locked. */
static bool own_set(struct vpci *v, const struct common_reg *r, uint64_t value)
{
	uint16_t vector = value < v->n_vectors ? (uint16_t)value : VDEV_NO_VECTOR;

	if (r->id == R_DEVICE_FEATURE_SELECT)
		v->st.device_feature_select = (uint32_t)value;
	else if (r->id == R_DRIVER_FEATURE_SELECT)
		v->st.driver_feature_select = (uint32_t)value;
	else if (r->id == R_CONFIG_VECTOR)
		v->st.config_vector = vector;
	else if (r->id == R_QUEUE_SELECT)
		v->st.queue_select = (uint16_t)value;
	else if (r->id == R_QUEUE_VECTOR && v->st.queue_select < v->d->n_queues)
		v->st.queue_vectors[v->st.queue_select] = vector;
	else
		return r->id == R_QUEUE_VECTOR;
	return true;
}

/* A driver that resets the device finds the vectors as at the start. */
static void vectors_reset(struct vpci *v)
{
	v->st.config_vector = VDEV_NO_VECTOR;
	for (unsigned i = 0; i < VDEV_QUEUES_MAX; i++)
		v->st.queue_vectors[i] = VDEV_NO_VECTOR;
	v->st.queue_select = 0;
	v->st.isr = 0;
}

static void set_status(struct vpci *v, uint8_t status)
{
	vdev_set_status(v->d, status);
	if (status != 0)
		return;
	lock(v);
	vectors_reset(v);
	unlock(v);
}

static void reg_set(struct vpci *v, const struct common_reg *r, uint64_t value)
{
	uint32_t select;
	uint16_t q;
	bool done;

	lock(v);
	done = own_set(v, r, value);
	select = v->st.driver_feature_select;
	q = v->st.queue_select;
	unlock(v);
	if (done)
		return;
	if (r->id == R_DRIVER_FEATURE && select < 2)
		vdev_set_features(v->d, select == 1, (uint32_t)value);
	else if (r->id == R_STATUS)
		set_status(v, (uint8_t)value);
	else if (r->id == R_QUEUE_SIZE)
		vdev_queue_set(v->d, q, VDEV_Q_SIZE, value);
	else if (r->id == R_QUEUE_ENABLE)
		vdev_queue_set(v->d, q, VDEV_Q_ENABLE, value);
	else if (r->id == R_QUEUE_DESC)
		vdev_queue_set(v->d, q, VDEV_Q_DESC, value);
	else if (r->id == R_QUEUE_DRIVER)
		vdev_queue_set(v->d, q, VDEV_Q_AVAIL, value);
	else if (r->id == R_QUEUE_DEVICE)
		vdev_queue_set(v->d, q, VDEV_Q_USED, value);
}

static void common_read(struct vpci *v, uint32_t off, void *dst, uint32_t n)
{
	const struct common_reg *r = find_reg(off, n);
	uint64_t value;

	if (!r)
		return;
	value = reg_get(v, r) >> (8 * (off - r->off));
	memcpy(dst, &value, n);
}

static void common_write(struct vpci *v, uint32_t off, const void *src, uint32_t n)
{
	const struct common_reg *r = find_reg(off, n);
	uint64_t value = 0;

	if (!r)
		return;
	memcpy(&value, src, n);
	if (r->len == 8 && n == 4) { /* one half of an address */
		uint64_t old = reg_get(v, r);

		value = off == r->off ? (old & ~0xFFFFFFFFull) | value : (old & 0xFFFFFFFFull) | value << 32;
	}
	reg_set(v, r, value);
}

/* ---- the BAR ---- */

static void isr_read(struct vpci *v, uint8_t *dst)
{
	lock(v);
	*dst = v->st.isr;
	v->st.isr = 0; /* reading acknowledges */
	unlock(v);
}

static void bar_read(struct pci_fn *f, uint32_t off, void *dst, uint32_t n)
{
	struct vpci *v = vpci_of(f);

	memset(dst, 0, n);
	if (off < VPCI_COMMON_LEN) {
		common_read(v, off, dst, n);
	} else if (off == VPCI_ISR) {
		isr_read(v, dst);
	} else if (off >= VPCI_DEVICE && off < VPCI_DEVICE + VPCI_DEVICE_LEN) {
		vdev_config_read(v->d, off - VPCI_DEVICE, dst, n);
	} else if (off >= VPCI_TABLE) {
		lock(v);
		if (off < VPCI_PBA)
			table_read(v, off - VPCI_TABLE, dst, n);
		else if (off == VPCI_PBA)
			memcpy(dst, &v->st.pending, n < sizeof v->st.pending ? n : sizeof v->st.pending);
		unlock(v);
	}
}

static void bar_write(struct pci_fn *f, uint32_t off, const void *src, uint32_t n)
{
	struct vpci *v = vpci_of(f);

	if (off < VPCI_COMMON_LEN) {
		common_write(v, off, src, n);
	} else if (off >= VPCI_DEVICE && off < VPCI_DEVICE + VPCI_DEVICE_LEN) {
		vdev_config_write(v->d, off - VPCI_DEVICE, src, n);
	} else if (off == VPCI_NOTIFY) {
		vdev_kick_self(v->d); /* where the hypervisor has no ioeventfd */
	} else if (off >= VPCI_TABLE && off < VPCI_PBA) {
		lock(v);
		table_write(v, off - VPCI_TABLE, src, n);
		unlock(v);
	}
}

/* ---- configuration space ---- */

static void put16(uint8_t *p, uint16_t x)
{
	memcpy(p, &x, sizeof x);
}

static void put32(uint8_t *p, uint32_t x)
{
	memcpy(p, &x, sizeof x);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t x;

	memcpy(&x, p, sizeof x);
	return x;
}

/* The window's place in the BAR, as the driver wrote it; false if it points nowhere. */
static bool window(const struct pci_fn *f, uint32_t *ret_off, uint32_t *ret_n)
{
	uint32_t off = get32(f->config + WINDOW_OFF), n = get32(f->config + WINDOW_LEN);

	*ret_off = off;
	*ret_n = n;
	return (n == 1 || n == 2 || n == 4) && off < LAYOUT_BAR_SIZE && n <= LAYOUT_BAR_SIZE - off &&
	       off % n == 0;
}

static void config_read(struct pci_fn *f, uint32_t off, uint32_t n)
{
	uint32_t at, len;

	(void)n;
	if ((off & ~3u) != WINDOW || !window(f, &at, &len))
		return;
	bar_read(f, at, f->config + WINDOW, len);
}

static void msix_control(struct vpci *v, uint32_t off, uint32_t n, uint32_t value)
{
	uint8_t *p = v->fn.config + CAP_MSIX + PCI_MSIX_FLAGS;
	uint16_t c;

	lock(v);
	memcpy(v->fn.config + off, &value, n);
	memcpy(&c, p, sizeof c);
	v->st.msix_control = c & MSIX_WRITABLE;
	put16(p, (uint16_t)(v->st.msix_control | (v->n_vectors - 1)));
	fire_pending(v);
	unlock(v);
}

static void config_write(struct pci_fn *f, uint32_t off, uint32_t n, uint32_t value)
{
	uint32_t at, len, flags = CAP_MSIX + PCI_MSIX_FLAGS;

	if (off >= flags && off < flags + 2 && n <= flags + 2 - off) {
		msix_control(vpci_of(f), off, n, value);
	} else if (off >= WINDOW_OFF && off < WINDOW) {
		memcpy(f->config + off, &value, n);
	} else if ((off & ~3u) == WINDOW) {
		memcpy(f->config + off, &value, n);
		if (window(f, &at, &len))
			bar_write(f, at, f->config + WINDOW, len);
	}
}

static const struct pci_fn_ops fn_ops = {
	.config_write = config_write,
	.config_read = config_read,
	.bar_read = bar_read,
	.bar_write = bar_write,
};

static void add_virtio_cap(struct pci_fn *f, uint8_t at, uint8_t len, uint8_t type, uint32_t bar_off,
			   uint32_t n)
{
	pci_cap(f, at, PCI_CAP_ID_VNDR);
	f->config[at + 2] = len;
	f->config[at + 3] = type;
	put32(f->config + at + 8, bar_off);
	put32(f->config + at + 12, n);
}

static void fill_config(struct vpci *v)
{
	struct pci_ids ids = { .vendor = VENDOR,
			       .device = (uint16_t)(DEVICE_BASE + v->d->ops->id),
			       .sub_vendor = VENDOR,
			       .sub_device = (uint16_t)(DEVICE_BASE + v->d->ops->id),
			       .class_rev = CLASS_OTHER << 8 | REVISION };
	struct pci_fn *f = &v->fn;

	f->ops = &fn_ops;
	pci_header(f, &ids);
	add_virtio_cap(f, CAP_WINDOW, 20, VIRTIO_PCI_CAP_PCI_CFG, 0, 0);
	if (v->d->config_len)
		add_virtio_cap(f, CAP_DEVICE, 16, VIRTIO_PCI_CAP_DEVICE_CFG, VPCI_DEVICE, VPCI_DEVICE_LEN);
	add_virtio_cap(f, CAP_ISR, 16, VIRTIO_PCI_CAP_ISR_CFG, VPCI_ISR, 1);
	add_virtio_cap(f, CAP_NOTIFY, 20, VIRTIO_PCI_CAP_NOTIFY_CFG, VPCI_NOTIFY, 4); /* multiplier 0 */
	add_virtio_cap(f, CAP_COMMON, 16, VIRTIO_PCI_CAP_COMMON_CFG, VPCI_COMMON, VPCI_COMMON_LEN);
	pci_cap(f, CAP_MSIX, PCI_CAP_ID_MSIX);
	put16(f->config + CAP_MSIX + PCI_MSIX_FLAGS, (uint16_t)(v->n_vectors - 1));
	put32(f->config + CAP_MSIX + PCI_MSIX_TABLE, VPCI_TABLE);
	put32(f->config + CAP_MSIX + PCI_MSIX_PBA, VPCI_PBA);
}

int vpci_init(struct vpci *v, struct vdev *d, struct pci_bus *bus, struct hv *hv, struct err *e)
{
	int r;

	*v = (struct vpci){ .d = d, .hv = hv, .n_vectors = d->n_queues + 1 };
	(void)pthread_mutex_init(&v->lock, NULL); /* can't fail for a plain one */
	d->transport = &transport;
	d->transport_data = v;
	vectors_reset(v);
	for (unsigned i = 0; i < VPCI_VECTORS; i++)
		v->st.table[i].control = MSIX_MASKED;
	fill_config(v);
	r = pci_add(bus, &v->fn);
	if (r < 0)
		return err_set(e, r, "%s: no PCI slot left", d->label);
	return hv->ops->ioeventfd(hv, gpa(pci_bar(&v->fn) + VPCI_NOTIFY), d->kick_fd, e);
}

void vpci_fini(struct vpci *v)
{
	if (!v->d)
		return;
	vdev_fini(v->d);
	v->d = NULL;
	(void)pthread_mutex_destroy(&v->lock);
}

/* ---- snapshots ---- */

void vpci_save(struct vpci *v, struct vpci_state *ret)
{
	*ret = v->st;
	memcpy(&ret->command, v->fn.config + PCI_COMMAND, sizeof ret->command);
}

static bool vector_ok(const struct vpci *v, uint16_t i)
{
	return i == VDEV_NO_VECTOR || i < v->n_vectors;
}

int vpci_restore(struct vpci *v, const struct vpci_state *s, struct err *e)
{
	bool ok = !(s->command & ~v->fn.command_bits) && !(s->msix_control & ~MSIX_WRITABLE) &&
		  vector_ok(v, s->config_vector) && s->pending >> v->n_vectors == 0;

	for (unsigned i = 0; i < VDEV_QUEUES_MAX; i++)
		ok = ok && vector_ok(v, s->queue_vectors[i]);
	for (unsigned i = 0; i < VPCI_VECTORS; i++)
		ok = ok && !(s->table[i].control & ~MSIX_MASKED);
	if (!ok)
		return err_set(e, -EBADMSG, "%s: PCI state of the snapshot", v->d->label);
	v->st = *s;
	put16(v->fn.config + PCI_COMMAND, s->command);
	put16(v->fn.config + CAP_MSIX + PCI_MSIX_FLAGS, (uint16_t)(s->msix_control | (v->n_vectors - 1)));
	return 0;
}
