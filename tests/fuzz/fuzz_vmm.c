/* fuzz_vmm.c - a machine's registers and the console device against a guest that writes garbage.
 *
 * The input is a list of steps: port and memory accesses, mostly at places that mean something, chains on the
 * console's queues, kicks, bytes from the host, snapshots saved and restored. Promises: no memory error; a
 * read gives only what it was asked for; messages go to LAPICs only; configuration space keeps its ids, its
 * BAR stays in its window; a broken device interrupts no queue and can be reset; a state that was saved can
 * be restored.
 */
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <signal.h>
#include <sys/socket.h>

#include "fuzz.h"
#include "hv_fake.h"
#include "vmm/dev/dev.h"
#include "vmm/machine.h"
#include "vqdrv.h"

#define RAM_AT 0x100000ull
#define RAM    (16u * GMEM_PAGE)
#define QUEUES 6

struct world {
	struct machine m;
	struct hv_fake fake;
	uint8_t *ram;
	struct vqdrv q[QUEUES];
	int host[2]; /* the other ends of console and port */
};

static uint64_t bar(const struct world *w)
{
	return pci_bar(&w->m.devs[0].fn);
}

static void touch(struct world *w, enum hv_exit_kind kind, uint64_t addr, uint8_t size, bool write,
		  uint64_t value)
{
	uint8_t data[16];
	struct hv_exit x = {
		.kind = kind, .addr = addr, .data = data, .size = size, .write = write, .count = 1
	};

	memset(data, 0xA5, sizeof data);
	memcpy(data, &value, sizeof value);
	machine_exit(&w->m, &x);
	for (size_t i = write ? 0 : size; i < 8; i++) /* what was not asked for is as it was */
		FUZZ_ASSERT(data[i] == (uint8_t)(value >> (8 * i)));
	for (size_t i = 8; i < sizeof data; i++)
		FUZZ_ASSERT(data[i] == 0xA5);
	FUZZ_ASSERT(w->m.devs[0].fn.config[0] == 0xF4 && w->m.devs[0].fn.config[1] == 0x1A);
}

/* The way of a driver to DRIVER_OK, with a wrong turn now and then. */
static void bring_up(struct fuzz_in *in, struct world *w)
{
	uint64_t b = bar(w), at = RAM_AT;

	touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_STATUS, 1, true, 0);
	touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_STATUS, 1, true, 3);
	touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_GFSELECT, 4, true, 0);
	touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_GF, 4, true, 0x30000002);
	touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_GFSELECT, 4, true, 1);
	touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_GF, 4, true, 1);
	touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_STATUS, 1, true, 11);
	for (unsigned i = 0; i < QUEUES; i++) {
		at = vqdrv_init(&w->q[i], w->ram, RAM_AT, at, 16);
		touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_Q_SELECT, 2, true, i);
		touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_Q_SIZE, 2, true, 16);
		touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_Q_MSIX, 2, true, i);
		touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_Q_DESCLO, 8, true, w->q[i].desc);
		touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_Q_AVAILLO, 8, true, w->q[i].avail);
		touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_Q_USEDLO, 8, true,
		      fuzz_below(in, 31) == 31 ? fuzz_uint(in, 8) : w->q[i].used);
		touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_Q_ENABLE, 2, true, 1);
	}
	touch(w, HV_EXIT_PIO, 0xCF8, 4, true, 1u << 31 | 1u << 11 | 0x40);
	touch(w, HV_EXIT_PIO, 0xCFE, 2, true, 0x8000);
	touch(w, HV_EXIT_MMIO, b + VIRTIO_PCI_COMMON_STATUS, 1, true, 15);
}

static void random_access(struct fuzz_in *in, struct world *w)
{
	static const uint16_t ports[] = { 0xCF8, 0xCFC, 0xCFD, 0xCFE, 0xCFF, 0x64, 0x3F8, 0x601 };
	uint8_t how = (uint8_t)fuzz_uint(in, 1);
	uint8_t size = (uint8_t)(1u << (how & 3));
	bool write = how >> 2 & 1;
	uint64_t value = fuzz_uint(in, 1 + (how >> 3 & 7));

	if ((how >> 6) == 0)
		touch(w, HV_EXIT_PIO, ports[fuzz_below(in, 7)], size > 4 ? 4 : size, write, value);
	else if ((how >> 6) == 1)
		touch(w, HV_EXIT_PIO, 0xCF8, 4, true, 1u << 31 | 1u << 11 | (value & 0xFC));
	else if ((how >> 6) == 2)
		touch(w, HV_EXIT_MMIO, bar(w) + fuzz_below(in, 0x40), size, write, value);
	else
		touch(w, HV_EXIT_MMIO, bar(w) + fuzz_below(in, LAYOUT_BAR_SIZE + 8), size, write, value);
}

static void random_chain(struct fuzz_in *in, struct world *w)
{
	struct vqdrv *q = &w->q[fuzz_below(in, QUEUES - 1)];
	struct vqdrv_seg seg[3];
	unsigned n_out = (unsigned)fuzz_below(in, 1), n_in = (unsigned)fuzz_below(in, 2);
	uint8_t *text;
	size_t n;

	if (!q->ram || n_out + n_in == 0)
		return;
	for (unsigned i = 0; i < n_out + n_in; i++) {
		seg[i].addr = RAM_AT + RAM / 2 + fuzz_below(in, RAM / 2 - 64);
		seg[i].len = (uint32_t)fuzz_below(in, 63);
		if (fuzz_below(in, 31) == 31)
			seg[i].addr = fuzz_uint(in, 8);
	}
	text = fuzz_bytes(in, 8, &n);
	if (n_out && seg[0].addr >= RAM_AT && seg[0].addr <= RAM_AT + RAM - 8)
		memcpy(w->ram + (seg[0].addr - RAM_AT), text, n);
	free(text);
	vqdrv_add(q, seg, n_out, n_in);
}

static void drain(int fd)
{
	uint8_t b[4096];

	while (read(fd, b, sizeof b) > 0)
		;
}

static void turn(struct world *w)
{
	touch(w, HV_EXIT_MMIO, bar(w) + VPCI_NOTIFY, 2, true, 0);
	for (unsigned i = 0; i < 4; i++)
		if (loop_once(&w->m.loop, 0) < 0)
			abort();
}

static void save_restore(struct world *w)
{
	static struct vdev_snapshot s;
	struct vpci_state t;
	struct vpci *v = &w->m.devs[0];

	vdev_save(v->d, &s);
	vpci_save(v, &t);
	touch(w, HV_EXIT_MMIO, bar(w) + VIRTIO_PCI_COMMON_STATUS, 1, true, 0);
	FUZZ_ASSERT(vpci_restore(v, &t, NULL) == 0);
	/* A broken device's queues may be anywhere; any other state was brought about by a driver. */
	FUZZ_ASSERT(vdev_restore(v->d, &s, NULL) == 0);
}

static void step(struct fuzz_in *in, struct world *w)
{
	struct vdev *d = w->m.devs[0].d;
	uint8_t *text;
	size_t n;

	switch (fuzz_below(in, 15)) {
	case 0:
		bring_up(in, w);
		break;
	case 1:
	case 2:
	case 3:
		turn(w);
		break;
	case 4:
		text = fuzz_bytes(in, 64, &n);
		(void)!write(w->host[fuzz_below(in, 1)], text, n);
		free(text);
		break;
	case 5:
		drain(w->host[0]);
		drain(w->host[1]);
		break;
	case 6:
		save_restore(w);
		break;
	case 7:
	case 8:
	case 9:
		random_access(in, w);
		break;
	default:
		random_chain(in, w);
	}
	FUZZ_ASSERT(!(vdev_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET) || !d->active);
	FUZZ_ASSERT(d->n_logged <= VDEV_LOG_MAX);
	for (unsigned i = 0; i < w->fake.n_msis && i < FAKE_MSIS_MAX; i++)
		FUZZ_ASSERT(w->fake.msis[i].addr >> 20 == 0xFEE);
}

static void build(struct world *w)
{
	struct console_cfg cfg = { .has_port = true, .port_name = "cor.agent" };
	int a[2], b[2];
	struct vdev *d;

	hv_fake_init(&w->fake);
	w->m = (struct machine){
		.hv = &w->fake.hv, .ram_fd = -1, .end_fd = -1, .serial_fd = -1, .files_fd = -1
	};
	w->ram = calloc(1, RAM);
	pci_init(&w->m.pci);
	if (!w->ram || loop_init(&w->m.loop) < 0 || gmem_add(&w->m.mem, gpa(RAM_AT), w->ram, RAM, true) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b) < 0)
		abort();
	cfg.in_fd = a[0];
	cfg.out_fd = dup(a[0]);
	cfg.port_in_fd = b[0];
	cfg.port_out_fd = dup(b[0]);
	w->host[0] = a[1];
	w->host[1] = b[1];
	if (console_new(&cfg, &d, NULL) < 0)
		abort();
	d->mem = &w->m.mem;
	d->loop = &w->m.loop;
	d->n_logged = VDEV_LOG_MAX - 1; /* one line is enough here */
	if (vdev_init(d, NULL) < 0 || vpci_init(&w->m.devs[0], d, &w->m.pci, w->m.hv, NULL) < 0 ||
	    vdev_attach(d, NULL) < 0)
		abort();
	w->m.n_devs = 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	static struct world w;

	(void)signal(SIGPIPE, SIG_IGN);
	w = (struct world){ 0 };
	build(&w);
	while (in.left)
		step(&in, &w);
	machine_fini(&w.m);
	(void)close(w.host[0]);
	(void)close(w.host[1]);
	free(w.ram);
	return 0;
}
