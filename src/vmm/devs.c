/* devs.c - the device table: see devs.h. Called while the machine is built. */
#include "vmm/devs.h"

#include <errno.h>
#include <fcntl.h>

#include "vmm/boot/boot.h"
#include "vmm/dev/vhost.h"
#include "vmm/layout.h"

#define PAGE 4096u

/* Puts a device on the bus and into the loop. Takes it, also when it fails. */
static int add(struct machine *m, struct vdev *d, struct err *e)
{
	int r;

	if (m->n_devs == MACHINE_DEVS_MAX) {
		d->ops->fini(d);
		return err_set(e, -ENOSPC, "at most %d devices", MACHINE_DEVS_MAX);
	}
	d->mem = &m->mem;
	d->loop = &m->loop;
	r = vdev_init(d, e);
	if (r < 0) {
		d->ops->fini(d);
		return r;
	}
	r = vpci_init(&m->devs[m->n_devs++], d, &m->pci, m->hv, e);
	return r == 0 ? vdev_attach(d, e) : r;
}

static void port_opened(void *arg)
{
	struct machine *m = arg;

	if (m->on_port_open)
		m->on_port_open(m->on_port_arg);
}

static int build_console(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	struct vdev *d;
	int r;

	if (!cfg->has_console)
		return 0;
	cfg->console.opened = port_opened;
	cfg->console.arg = m;
	r = console_new(&cfg->console, &d, e);
	if (r < 0)
		return r;
	cfg->has_console = false; /* the device's now */
	return add(m, d, e);
}

static int build_rng(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	struct vdev *d;
	int r = cfg->rng ? rng_new(&d, e) : 0;

	return r == 0 && cfg->rng ? add(m, d, e) : r;
}

static uint64_t ram_end(const struct machine *m)
{
	uint64_t low = boot_low_ram(m->ram_size);

	return m->ram_size > low ? LAYOUT_RAM_ABOVE + (m->ram_size - low) : low;
}

static int build_balloon(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	struct balloon_cfg b = { .ram_end = ram_end(m),
				 .ram_pages = (uint32_t)(m->ram_size / PAGE),
				 .shared = m->ram_fd >= 0 && !m->ram_private };
	int r;

	if (!cfg->balloon)
		return 0;
	r = balloon_new(&b, &m->balloon, e);
	return r == 0 ? add(m, m->balloon, e) : r;
}

/* A pmem slot is memory of its own for guest, devices and hypervisor. */
static int add_pmem_memory(struct machine *m, struct vdev *d, struct err *e)
{
	struct pmem_memory p;
	int r;

	pmem_memory(d, &p);
	m->pmem_next = p.start.v + p.len;
	r = gmem_add(&m->mem, p.start, p.host, p.len, p.writable);
	if (r < 0)
		return err_set(e, r, "pmem at 0x%llx", (unsigned long long)p.start.v);
	return m->hv->ops->mem_add(m->hv, p.start, p.host, p.len, p.writable, e);
}

static int build_pmem(struct machine *m, struct pmem_cfg *p, struct err *e)
{
	struct vdev *d;
	int r;

	p->start = (m->pmem_next + LAYOUT_PMEM_ALIGN - 1) & ~(LAYOUT_PMEM_ALIGN - 1);
	r = pmem_new(p, &d, e);
	if (r < 0)
		return r;
	p->fd = -1; /* the device's now */
	r = add_pmem_memory(m, d, e);
	if (r < 0) {
		d->ops->fini(d);
		return r;
	}
	return add(m, d, e);
}

static int build_pmems(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	int r = 0;

	m->pmem_next = ram_end(m) > LAYOUT_RAM_ABOVE ? ram_end(m) : LAYOUT_RAM_ABOVE;
	for (unsigned i = 0; i < cfg->n_pmems && r == 0; i++)
		r = build_pmem(m, &cfg->pmems[i], e);
	return r;
}

static int build_disks(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	struct vdev *d;
	int r = 0;

	for (unsigned i = 0; i < cfg->n_disks && r == 0; i++) {
		r = blk_new(&cfg->disks[i], &d, e);
		if (r < 0)
			break;
		cfg->disks[i].fd = -1;
		r = add(m, d, e);
	}
	return r;
}

static int build_nets(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	struct vdev *d;
	int r = 0;

	for (unsigned i = 0; i < cfg->n_nets && r == 0; i++) {
		r = net_new(&cfg->nets[i], &d, e);
		if (r < 0)
			break;
		cfg->nets[i].fd = -1;
		r = add(m, d, e);
	}
	return r;
}

static int build_fs(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	uint64_t low = boot_low_ram(m->ram_size);
	const struct vhost_mem mem[] = { { 0, low, m->ram_fd, 0 },
					 { LAYOUT_RAM_ABOVE, m->ram_size - low, m->ram_fd, low } };
	struct vdev *d;
	int r = 0;

	if (cfg->n_fs && m->ram_private)
		return err_set(e, -ENOTSUP, "a clone's memory is private: no back end can see it");
	for (unsigned i = 0; i < cfg->n_fs && r == 0; i++) {
		cfg->fs[i].mem = mem;
		cfg->fs[i].n_mem = m->ram_size > low ? 2 : 1;
		r = fs_new(&cfg->fs[i], &d, e);
		if (r < 0)
			break;
		cfg->fs[i].sock = -1;
		r = add(m, d, e);
	}
	return r;
}

/* Without its files no guest goes on: its processes would wait for them for ever. */
static void files_lost(struct source *s, uint32_t events)
{
	struct machine *m = container_of(s, struct machine, files_source);

	(void)events;
	loop_del(s);
	machine_stop(m, END_CRASH, "the file server is gone", 0);
}

/* By a descriptor of the machine's own: the device watches its one only while it waits for something. */
static int watch_files(struct machine *m, int sock, struct err *e)
{
	int r;

	m->files_fd = fcntl(sock, F_DUPFD_CLOEXEC, 3);
	r = m->files_fd < 0 ? -errno
			    : loop_add(&m->loop, &m->files_source, m->files_fd, EPOLLRDHUP, files_lost);
	return r < 0 ? err_set(e, r, "file server: %m") : 0;
}

static int build_virtiofs(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	struct vdev *d;
	int r;

	if (!cfg->has_virtiofs)
		return 0;
	r = watch_files(m, cfg->virtiofs.fd, e);
	if (r == 0)
		r = virtiofs_new(&cfg->virtiofs, &d, e);
	if (r < 0)
		return r;
	cfg->has_virtiofs = false; /* the device's now */
	return add(m, d, e);
}

static int (*const builders[])(struct machine *m, struct vmm_cfg *cfg, struct err *e) = {
	build_console, build_rng,  build_balloon, build_pmems,
	build_disks,   build_nets, build_fs,      build_virtiofs,
};

int devs_build(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(builders) && r == 0; i++)
		r = builders[i](m, cfg, e);
	return r;
}

static void close_fd(int *fd)
{
	scope_close(fd);
	*fd = -1;
}

static void close_console(struct vmm_cfg *cfg)
{
	if (!cfg->has_console)
		return;
	cfg->has_console = false;
	close_fd(&cfg->console.in_fd);
	close_fd(&cfg->console.out_fd);
	close_fd(&cfg->console.port_in_fd);
	close_fd(&cfg->console.port_out_fd);
}

void vmm_cfg_close(struct vmm_cfg *cfg)
{
	int *const fds[] = { &cfg->kernel_fd, &cfg->initrd_fd, &cfg->serial_fd,
			     &cfg->memory_fd, &cfg->state_fd,  &cfg->hot_fd };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close_fd(fds[i]);
	close_console(cfg);
	for (unsigned i = 0; i < cfg->n_pmems; i++)
		close_fd(&cfg->pmems[i].fd);
	for (unsigned i = 0; i < cfg->n_disks; i++)
		close_fd(&cfg->disks[i].fd);
	for (unsigned i = 0; i < cfg->n_nets; i++)
		close_fd(&cfg->nets[i].fd);
	for (unsigned i = 0; i < cfg->n_fs; i++)
		close_fd(&cfg->fs[i].sock);
	if (cfg->has_virtiofs)
		close_fd(&cfg->virtiofs.fd);
	cfg->has_virtiofs = false;
}
