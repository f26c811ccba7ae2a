/* test_pci.c - the bus and virtio over it, register by register, as a guest sees them. */
#include "unit.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>

#include "hv_fake.h"
#include "vmm/virtio/pci.h"
#include "vqdrv.h"

#define RAM_AT 0x100000ull
#define RAM    (16u * GMEM_PAGE)
#define MSI    0xFEE01000ull

static struct hv_fake fake;
static struct pci_bus bus;
static struct loop loop;
static struct gmem mem;
static uint8_t *ram;
static struct vpci v;

/* A device that gives everything back and remembers nothing. */
static struct vdev dev;
static uint8_t config[6] = { 1, 2, 3, 4, 5, 6 };
static bool dev_closed;

static void toy_kick(struct vdev *d, unsigned q)
{
	struct vq_chain c;

	while (vdev_pop(d, q, &c))
		vdev_push(d, q, c.head, 0);
	vdev_notify(d, q);
}

static void toy_fini(struct vdev *d)
{
	(void)d;
	dev_closed = true;
}

static const struct vdev_ops toy_ops = {
	.name = "toy", .id = 5, .queue_size = 8, .kick = toy_kick, .fini = toy_fini
};

static int setup(void **state)
{
	(void)state;
	hv_fake_init(&fake);
	pci_init(&bus);
	ram = calloc(1, RAM);
	mem = (struct gmem){ 0 };
	dev_closed = false;
	if (!ram || loop_init(&loop) < 0 || gmem_add(&mem, gpa(RAM_AT), ram, RAM, true) < 0)
		return -1;
	dev = (struct vdev){ .ops = &toy_ops,
			     .n_queues = 2,
			     .config = config,
			     .config_len = sizeof config,
			     .label = "toy",
			     .mem = &mem,
			     .loop = &loop };
	if (vdev_init(&dev, NULL) < 0 || vpci_init(&v, &dev, &bus, &fake.hv, NULL) < 0)
		return -1;
	return vdev_attach(&dev, NULL);
}

static int teardown(void **state)
{
	(void)state;
	vpci_fini(&v);
	vpci_fini(&v); /* twice does no harm */
	assert_true(dev_closed);
	loop_fini(&loop);
	pci_fini(&bus);
	free(ram);
	return 0;
}

/* ---- the guest's accesses ---- */

static uint32_t cfg_read(unsigned slot, uint32_t off, uint32_t n)
{
	uint32_t a = 1u << 31 | slot << 11 | (off & ~3u), r = 0;

	pci_port_write(&bus, 0, (uint8_t *)&a, 4);
	pci_port_read(&bus, 4 + (off & 3), (uint8_t *)&r, n);
	return r;
}

static void cfg_write(unsigned slot, uint32_t off, uint32_t n, uint32_t value)
{
	uint32_t a = 1u << 31 | slot << 11 | (off & ~3u);

	pci_port_write(&bus, 0, (uint8_t *)&a, 4);
	pci_port_write(&bus, 4 + (off & 3), (uint8_t *)&value, n);
}

static uint64_t bar_read(uint32_t off, uint32_t n)
{
	uint64_t r = 0;

	assert_true(pci_mem_read(&bus, pci_bar(&v.fn) + off, (uint8_t *)&r, n));
	return r;
}

static void bar_write(uint32_t off, uint32_t n, uint64_t value)
{
	assert_true(pci_mem_write(&bus, pci_bar(&v.fn) + off, (uint8_t *)&value, n));
}

/* Where a capability of this kind says its structure is. */
static uint32_t cap_offset(uint8_t type)
{
	unsigned n = 0;

	for (uint32_t at = cfg_read(1, PCI_CAPABILITY_LIST, 1); at; at = cfg_read(1, at + 1, 1)) {
		assert_true(++n < 10);
		if (cfg_read(1, at, 1) == PCI_CAP_ID_VNDR && cfg_read(1, at + 3, 1) == type)
			return cfg_read(1, at + 8, 4);
	}
	return UINT32_MAX;
}

static void test_bus(void **state)
{
	uint32_t r = 0, a = 1u << 31 | 1u << 16; /* bus 1 */

	(void)state;
	assert_int_equal(cfg_read(0, PCI_CLASS_DEVICE, 2), 0x0600);
	assert_int_equal(cfg_read(2, 0, 4), UINT32_MAX); /* empty slot */
	pci_port_write(&bus, 0, (uint8_t *)&a, 4);
	pci_port_read(&bus, 0, (uint8_t *)&r, 4);
	assert_int_equal(r, a);
	pci_port_read(&bus, 4, (uint8_t *)&r, 4);
	assert_int_equal(r, UINT32_MAX);
	a = 1u << 31 | 1u << 11 | 1u << 8; /* function 1 */
	pci_port_write(&bus, 0, (uint8_t *)&a, 4);
	pci_port_read(&bus, 4, (uint8_t *)&r, 4);
	assert_int_equal(r, UINT32_MAX);
	a = 1u << 11; /* not enabled */
	pci_port_write(&bus, 0, (uint8_t *)&a, 4);
	pci_port_read(&bus, 4, (uint8_t *)&r, 4);
	assert_int_equal(r, UINT32_MAX);
	/* accesses that leave their register read as ones and write nothing */
	(void)cfg_read(1, 0, 4);
	pci_port_read(&bus, 6, (uint8_t *)&r, 4);
	assert_int_equal(r, UINT32_MAX);
	pci_port_read(&bus, 2, (uint8_t *)&r, 4);
	assert_int_equal(r, UINT32_MAX);
}

/* The last dword of a config space, with an access that would go on behind it. */
static void test_config_end(void **state)
{
	uint8_t guard[8];

	(void)state;
	(void)cfg_read(1, 0xFC, 4);
	memset(guard, 0x5A, sizeof guard);
	pci_port_read(&bus, 7, guard, 4);
	assert_memory_equal(guard, "\xFF\xFF\xFF\xFF\x5A\x5A\x5A\x5A", 8);
	pci_port_write(&bus, 7, guard, 4);
	assert_int_equal(cfg_read(1, 0xFC, 4), 0);
}

static void test_header(void **state)
{
	(void)state;
	assert_int_equal(cfg_read(1, 0, 4), 0x1045u << 16 | 0x1AF4);
	cfg_write(1, 0, 4, 0);
	assert_int_equal(cfg_read(1, 0, 2), 0x1AF4); /* read-only */
	cfg_write(1, PCI_COMMAND, 2, 0xFFFF);
	assert_int_equal(cfg_read(1, PCI_COMMAND, 2),
			 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	assert_int_equal(cfg_read(1, PCI_BASE_ADDRESS_0, 4), LAYOUT_BAR32 + LAYOUT_BAR_SIZE);
	cfg_write(1, PCI_BASE_ADDRESS_0, 4, UINT32_MAX);
	assert_int_equal(cfg_read(1, PCI_BASE_ADDRESS_0, 4), ~(LAYOUT_BAR_SIZE - 1));
	cfg_write(1, PCI_BASE_ADDRESS_0, 4, 0x80000000); /* it doesn't move */
	assert_int_equal(cfg_read(1, PCI_BASE_ADDRESS_0, 4), LAYOUT_BAR32 + LAYOUT_BAR_SIZE);
	cfg_write(1, PCI_BASE_ADDRESS_0 + 4, 4, UINT32_MAX);
	assert_int_equal(cfg_read(1, PCI_BASE_ADDRESS_0 + 4, 4), 0); /* no second BAR */
	assert_int_equal(cap_offset(VIRTIO_PCI_CAP_COMMON_CFG), VPCI_COMMON);
	assert_int_equal(cap_offset(VIRTIO_PCI_CAP_NOTIFY_CFG), VPCI_NOTIFY);
	assert_int_equal(cap_offset(VIRTIO_PCI_CAP_ISR_CFG), VPCI_ISR);
	assert_int_equal(cap_offset(VIRTIO_PCI_CAP_DEVICE_CFG), VPCI_DEVICE);
	assert_int_equal(fake.n_events, 1);
	assert_int_equal(fake.events[0].at, pci_bar(&v.fn) + VPCI_NOTIFY);
	assert_int_equal(fake.events[0].fd, dev.kick_fd);
}

static void test_full_bus(void **state)
{
	struct pci_fn fns[LAYOUT_PCI_SLOTS] = { 0 };

	(void)state;
	for (unsigned i = 2; i < LAYOUT_PCI_SLOTS; i++)
		assert_int_equal(pci_add(&bus, &fns[i]), 0);
	assert_int_equal(pci_add(&bus, &fns[0]), -ENOSPC);
}

static void test_mem_bounds(void **state)
{
	uint64_t end = LAYOUT_BAR32 + (uint64_t)LAYOUT_PCI_SLOTS * LAYOUT_BAR_SIZE;
	uint8_t b[8];

	(void)state;
	assert_false(pci_mem_read(&bus, LAYOUT_BAR32 - 1, b, 1));
	assert_false(pci_mem_read(&bus, end, b, 1));
	assert_false(pci_mem_read(&bus, UINT64_MAX, b, 8));
	assert_false(pci_mem_read(&bus, LAYOUT_BAR32, b, 4)); /* the bridge has none */
	assert_false(pci_mem_read(&bus, pci_bar(&v.fn) + LAYOUT_BAR_SIZE - 4, b, 8)); /* into the next */
	assert_false(pci_mem_write(&bus, pci_bar(&v.fn) + LAYOUT_BAR_SIZE - 4, b, 8));
	assert_false(pci_mem_write(&bus, pci_bar(&v.fn) + LAYOUT_BAR_SIZE, b, 1));
}

static void test_features(void **state)
{
	(void)state;
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_NUMQ, 2), 2);
	bar_write(VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_DFSELECT, 4), 1);
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_DF, 4), 1); /* VERSION_1 */
	bar_write(VIRTIO_PCI_COMMON_DFSELECT, 4, 64);
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_DF, 4), 0);
	bar_write(VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	bar_write(VIRTIO_PCI_COMMON_GF, 4, 1);
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_GF, 4), 1);
	assert_int_equal(vdev_driver_features(&dev), 1ull << 32);
	bar_write(VIRTIO_PCI_COMMON_GFSELECT, 4, 2);
	bar_write(VIRTIO_PCI_COMMON_GF, 4, 0xFF); /* no such half */
	assert_int_equal(vdev_driver_features(&dev), 1ull << 32);
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_GF, 4), 0);
	/* odd sizes and places are nothing */
	bar_write(VIRTIO_PCI_COMMON_STATUS, 4, 1);
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_STATUS, 1), 0);
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_DF + 2, 2), 0);
	assert_int_equal(bar_read(VPCI_COMMON_LEN, 4), 0);
}

static void test_config(void **state)
{
	(void)state;
	assert_int_equal(bar_read(VPCI_DEVICE, 4), 0x04030201);
	assert_int_equal(bar_read(VPCI_DEVICE + 4, 2), 0x0605);
	assert_int_equal(bar_read(VPCI_DEVICE + 4, 4), 0); /* past its end */
	assert_int_equal(bar_read(VPCI_DEVICE + VPCI_DEVICE_LEN - 8, 8), 0);
}

static void test_window(void **state)
{
	uint32_t at = cfg_read(1, PCI_CAPABILITY_LIST, 1);

	(void)state;
	while (!(cfg_read(1, at, 1) == PCI_CAP_ID_VNDR && cfg_read(1, at + 3, 1) == VIRTIO_PCI_CAP_PCI_CFG))
		at = cfg_read(1, at + 1, 1);
	cfg_write(1, at + 8, 4, VPCI_DEVICE);
	cfg_write(1, at + 12, 4, 4);
	assert_int_equal(cfg_read(1, at + 16, 4), 0x04030201);
	cfg_write(1, at + 8, 4, VIRTIO_PCI_COMMON_STATUS);
	cfg_write(1, at + 12, 4, 1);
	cfg_write(1, at + 16, 1, 3);
	assert_int_equal(vdev_status(&dev), 3);
	cfg_write(1, at + 8, 4, LAYOUT_BAR_SIZE); /* outside of the BAR, and odd sizes: nothing happens */
	cfg_write(1, at + 16, 1, 0);
	cfg_write(1, at + 8, 4, UINT32_MAX & ~3u);
	cfg_write(1, at + 12, 4, 4);
	(void)cfg_read(1, at + 16, 4);
	cfg_write(1, at + 12, 4, 4096);
	(void)cfg_read(1, at + 16, 4);
	assert_int_equal(vdev_status(&dev), 3);
}

/* The driver's way to a running device; vectors 1 and 2 for the queues, 0 for the configuration. */
static void bring_up(struct vqdrv *q)
{
	uint64_t at = RAM_AT;
	uint32_t msix = cfg_read(1, PCI_CAPABILITY_LIST, 1);

	while (cfg_read(1, msix, 1) != PCI_CAP_ID_MSIX)
		msix = cfg_read(1, msix + 1, 1);
	assert_int_equal(cfg_read(1, msix + 2, 2), 2); /* three vectors */
	cfg_write(1, msix + 2, 2, 0xFFFF);
	assert_int_equal(cfg_read(1, msix + 2, 2), 0xC002);
	for (unsigned i = 0; i < 3; i++) {
		bar_write(VPCI_TABLE + 16 * i, 8, MSI);
		bar_write(VPCI_TABLE + 16 * i + 8, 4, 0x40 + i);
		bar_write(VPCI_TABLE + 16 * i + 12, 4, 0);
	}
	cfg_write(1, msix + 2, 2, PCI_MSIX_FLAGS_ENABLE);
	bar_write(VIRTIO_PCI_COMMON_STATUS, 1, 3);
	bar_write(VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	bar_write(VIRTIO_PCI_COMMON_GF, 4, 1);
	bar_write(VIRTIO_PCI_COMMON_STATUS, 1, 11);
	bar_write(VIRTIO_PCI_COMMON_MSIX, 2, 0);
	for (unsigned i = 0; i < 2; i++) {
		at = vqdrv_init(&q[i], ram, RAM_AT, at, 8);
		bar_write(VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		bar_write(VIRTIO_PCI_COMMON_Q_MSIX, 2, i + 1);
		assert_int_equal(bar_read(VIRTIO_PCI_COMMON_Q_MSIX, 2), i + 1);
		assert_int_equal(bar_read(VIRTIO_PCI_COMMON_Q_NOFF, 2), 0);
		bar_write(VIRTIO_PCI_COMMON_Q_DESCLO, 4, q[i].desc);
		bar_write(VIRTIO_PCI_COMMON_Q_DESCHI, 4, q[i].desc >> 32);
		bar_write(VIRTIO_PCI_COMMON_Q_AVAILLO, 8, q[i].avail);
		bar_write(VIRTIO_PCI_COMMON_Q_USEDHI, 4, 0);
		bar_write(VIRTIO_PCI_COMMON_Q_USEDLO, 4, q[i].used);
		assert_int_equal(bar_read(VIRTIO_PCI_COMMON_Q_USEDLO, 4), q[i].used);
		assert_int_equal(bar_read(VIRTIO_PCI_COMMON_Q_USEDHI, 4), 0);
		bar_write(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	}
	bar_write(VIRTIO_PCI_COMMON_STATUS, 1, 15);
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_STATUS, 1), 15);
}

static void offer(struct vqdrv *q)
{
	struct vqdrv_seg seg = { RAM_AT + RAM - 64, 4 };

	vqdrv_add(q, &seg, 1, 0);
	bar_write(VPCI_NOTIFY, 2, 0);
	assert_int_equal(loop_once(&loop, 1000), 0);
}

static void test_interrupts(void **state)
{
	struct vqdrv q[2];

	(void)state;
	bring_up(q);
	offer(&q[1]);
	assert_int_equal(fake.n_msis, 1);
	assert_int_equal(fake.msis[0].addr, MSI);
	assert_int_equal(fake.msis[0].data, 0x42);
	assert_int_equal(bar_read(VPCI_ISR, 1), 1);
	assert_int_equal(bar_read(VPCI_ISR, 1), 0); /* reading acknowledged */
	bar_write(VPCI_TABLE + 16 * 2 + 12, 4, 1);  /* masked: kept until it is unmasked */
	offer(&q[1]);
	assert_int_equal(fake.n_msis, 1);
	assert_int_equal(bar_read(VPCI_PBA, 8), 1u << 2);
	bar_write(VPCI_TABLE + 16 * 2 + 12, 4, 0);
	assert_int_equal(fake.n_msis, 2);
	assert_int_equal(bar_read(VPCI_PBA, 4), 0);
	bar_write(VPCI_TABLE + 16 * 1, 8, 0x1000); /* a message to memory is not sent */
	offer(&q[0]);
	assert_int_equal(fake.n_msis, 2);
	bar_write(VPCI_TABLE + 16 * 1, 8, MSI | 1ull << 32);
	offer(&q[0]);
	assert_int_equal(fake.n_msis, 2);
	vdev_config_changed(&dev);
	assert_int_equal(fake.n_msis, 3);
	assert_int_equal(fake.msis[2].data, 0x40);
	assert_int_equal(bar_read(VPCI_ISR, 1), 3);
}

static void test_function_mask(void **state)
{
	struct vqdrv q[2];

	(void)state;
	bring_up(q);
	cfg_write(1, 0x42, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	offer(&q[0]);
	assert_int_equal(fake.n_msis, 0);
	cfg_write(1, 0x42, 2, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(fake.n_msis, 1);
	cfg_write(1, 0x42, 2, 0);
	offer(&q[0]);
	assert_int_equal(fake.n_msis, 1); /* switched off: none */
}

static void test_vectors(void **state)
{
	struct vqdrv q[2];

	(void)state;
	bar_write(VIRTIO_PCI_COMMON_MSIX, 2, 3); /* there are 0..2 */
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_MSIX, 2), VDEV_NO_VECTOR);
	bar_write(VIRTIO_PCI_COMMON_Q_SELECT, 2, 2); /* no such queue */
	bar_write(VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_Q_MSIX, 2), VDEV_NO_VECTOR);
	bar_write(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0xFFFF);
	bar_write(VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_Q_MSIX, 2), VDEV_NO_VECTOR);
	bar_write(VIRTIO_PCI_COMMON_Q_SIZE, 2, 4);
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	/* the table ends behind the last vector */
	bar_write(VPCI_TABLE + 16 * 3, 4, 0x1234);
	assert_int_equal(bar_read(VPCI_TABLE + 16 * 3, 4), 0);
	assert_int_equal(bar_read(VPCI_TABLE + 16 * 3 + 12, 4), 0); /* not even that it is masked */
	bar_write(VPCI_TABLE + 16 * 3 - 4, 4, 0xFFFFFFFF);
	assert_int_equal(bar_read(VPCI_TABLE + 16 * 3 - 4, 4), 1);
	bar_write(VPCI_TABLE + 2, 4, 0xFFFFFFFF); /* not aligned */
	bar_write(VPCI_TABLE, 2, 0xFFFF);
	assert_int_equal(bar_read(VPCI_TABLE, 4), 0);
	for (uint32_t off = VPCI_TABLE; off < VPCI_PBA; off += 8)
		bar_write(off, 8, UINT64_MAX);
	bring_up(q);
	bar_write(VIRTIO_PCI_COMMON_Q_MSIX, 2, VDEV_NO_VECTOR); /* a queue without: its interrupt is none */
	offer(&q[1]);
	assert_int_equal(fake.n_msis, 0);
	assert_int_equal(bar_read(VPCI_PBA, 8), 0);
	bar_write(VIRTIO_PCI_COMMON_STATUS, 1, 0); /* a reset takes the vectors back */
	bar_write(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	assert_int_equal(bar_read(VIRTIO_PCI_COMMON_Q_MSIX, 2), VDEV_NO_VECTOR);
}

static void test_snapshot(void **state)
{
	struct vpci_state s, bad;
	struct vqdrv q[2];

	(void)state;
	bring_up(q);
	vpci_save(&v, &s);
	cfg_write(1, 0x42, 2, 0);
	cfg_write(1, PCI_COMMAND, 2, 0);
	assert_int_equal(vpci_restore(&v, &s, NULL), 0);
	assert_int_equal(cfg_read(1, 0x42, 2), PCI_MSIX_FLAGS_ENABLE | 2);
	assert_int_equal(cfg_read(1, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
	offer(&q[1]);
	assert_int_equal(fake.n_msis, 1);
#define BAD(change)                                                                                          \
	do {                                                                                                 \
		bad = s;                                                                                     \
		change;                                                                                      \
		assert_int_equal(vpci_restore(&v, &bad, NULL), -EBADMSG);                                    \
	} while (0)
	BAD(bad.command = 1);
	BAD(bad.msix_control = 2);
	BAD(bad.config_vector = 3);
	BAD(bad.queue_vectors[1] = 3);
	BAD(bad.pending = 1u << 3);
	BAD(bad.table[0].control = 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_bus),        T(test_config_end),    T(test_header),  T(test_full_bus),
		T(test_mem_bounds), T(test_features),      T(test_config),  T(test_window),
		T(test_interrupts), T(test_function_mask), T(test_vectors), T(test_snapshot),
	};
	return cmocka_run_group_tests_name("vmm/pci", tests, NULL, NULL);
}
