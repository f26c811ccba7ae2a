/* machine.c - see machine.h. Called by cli.c and by tests with a fake hypervisor.
 *
 * Trusts: cfg, which was checked. Never: allocates, opens or creates anything once the vCPUs run. */
#include "vmm/machine.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/io.h"
#include "vmm/boot/boot.h"
#include "vmm/confine.h"
#include "vmm/devs.h"
#include "vmm/layout.h"
#include "vmm/note.h"
#include "vmm/snap.h"
#include "wire/hotpages.h"

#define VCPU_STACK 65536 /* run loop and register accesses; a vq_chain (4 KiB) never lives here */
#define MEMORY_MIN (32 * LAYOUT_MIB)
#define MEMORY_MAX (1024 * LAYOUT_GIB)

#define HUGE_PAGE (2 * LAYOUT_MIB)
#define HUGE_HINT " (of the host's huge pages; sysctl vm.nr_hugepages says how many there are)"

/* Of the guest's memory, or a pmem's. */
#define MEMORY_GONE "a file that is guest memory was cut or can't be read, or its file system is full"

const char *machine_end_text(enum machine_end how)
{
	static const char *const text[END_N] = { "running", "powered off", "reset", "crashed", "stopped" };

	return text[how];
}

/* ---- memory ---- */

static int new_ram(struct machine *m, bool huge, struct err *e)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB : 0);

	m->ram_fd = memfd_create("guest-ram", flags);
	if (m->ram_fd < 0)
		return err_set(e, -errno, "guest memory: %m%s", huge ? HUGE_HINT : "");
	if (ftruncate(m->ram_fd, (off_t)m->ram_size) < 0 ||
	    fcntl(m->ram_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_set(e, -errno, "guest memory of %llu MiB: %m",
			       (unsigned long long)(m->ram_size / LAYOUT_MIB));
	return 0;
}

/* A file that the caller keeps: it becomes as long as the memory, or, if there is something in it already,
 * must be. */
static int file_ram(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	struct stat st;

	m->ram_fd = take_fd(&cfg->memory_fd);
	if (cfg->state_fd < 0 && ftruncate(m->ram_fd, (off_t)m->ram_size) < 0)
		return err_set(e, -errno, "memory file: %m");
	if (fstat(m->ram_fd, &st) < 0)
		return err_set(e, -errno, "memory file: %m");
	if (st.st_size < 0 || (uint64_t)st.st_size != m->ram_size)
		return err_set(e, -EINVAL, "memory file: %lld bytes, the machine has %llu",
			       (long long)st.st_size, (unsigned long long)m->ram_size);
	return 0;
}

/* Memory that nobody else must see needs no file. It begins where a huge page does, so that the guest's
 * addresses and ours are congruent: then one page table entry and one fault are enough for 2 MiB. */
static int anonymous_ram(struct machine *m, struct err *e)
{
	uint8_t *p = mmap(NULL, m->ram_size + HUGE_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t before = -(uintptr_t)p & (HUGE_PAGE - 1);

	if (p == MAP_FAILED)
		return err_set(e, -errno, "guest memory of %llu MiB: %m",
			       (unsigned long long)(m->ram_size / LAYOUT_MIB));
	m->ram = p + before;
	if (before)
		(void)munmap(p, before); /* address space only */
	(void)munmap(m->ram + m->ram_size, HUGE_PAGE - before);
	(void)madvise(m->ram, m->ram_size, MADV_HUGEPAGE); /* a kernel without them has small ones */
	return 0;
}

static int make_ram(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	int r;
	void *p;

	if (cfg->memory_fd < 0 && !cfg->huge_pages && !cfg->n_fs)
		return anonymous_ram(m, e);
	r = cfg->memory_fd >= 0 ? file_ram(m, cfg, e) : new_ram(m, cfg->huge_pages, e);
	if (r < 0)
		return r;
	m->ram_private = cfg->clone;
	/* Of the pool all pages are reserved now: one that is missing later would end the machine. */
	p = mmap(NULL, m->ram_size, PROT_READ | PROT_WRITE,
		 (m->ram_private ? MAP_PRIVATE : MAP_SHARED) | (cfg->huge_pages ? 0 : MAP_NORESERVE),
		 m->ram_fd, 0);
	if (p == MAP_FAILED)
		return err_set(e, -errno, "map guest memory: %m%s", cfg->huge_pages ? HUGE_HINT : "");
	m->ram = p;
	return 0;
}

/* Pages of the template that the guest writes soon get their copies now, in one call for each run of them:
 * later each would take three nested page faults. Only a hint: a list that does not hold is ignored, and what
 * has no memory is copied when it is written. */
static void copy_hot(struct machine *m, int fd)
{
	struct hotpages h = { .n = 0 };
	struct stat st;
	ssize_t n = io_read_full(fd, &h, sizeof h);

	if (n <= 0 || fstat(m->ram_fd, &st) < 0)
		return;
	if (!hotpages_valid(&h, (size_t)n, &st)) {
		note("hot pages: not a list for this memory file: ignored");
		return;
	}
	for (uint32_t i = 0; i < h.n; i++)
		(void)madvise(m->ram + (uint64_t)h.ranges[i].first * HOTPAGES_PAGE,
			      (size_t)h.ranges[i].n * HOTPAGES_PAGE, MADV_POPULATE_WRITE);
}

static int add_ram(struct machine *m, uint64_t at, uint64_t off, uint64_t len, struct err *e)
{
	int r = gmem_add(&m->mem, gpa(at), m->ram + off, len, true);

	if (r < 0)
		return err_set(e, r, "guest memory at 0x%llx", (unsigned long long)at);
	return m->hv->ops->mem_add(m->hv, gpa(at), m->ram + off, len, true, e);
}

static int build_memory(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	uint64_t low = boot_low_ram(cfg->memory);
	int r;

	if (cfg->memory < MEMORY_MIN || cfg->memory > MEMORY_MAX || cfg->memory % LAYOUT_MIB != 0)
		return err_set(e, -EINVAL, "memory: whole MiB from 32M to 1024G");
	if (cfg->huge_pages && cfg->memory % HUGE_PAGE != 0)
		return err_set(e, -EINVAL, "memory: whole 2 MiB with --huge-pages");
	m->ram_size = cfg->memory;
	r = make_ram(m, cfg, e);
	if (r == 0 && cfg->merge)
		(void)madvise(m->ram, m->ram_size,
			      MADV_MERGEABLE); /* a kernel without KSM: `cor check` says it */
	if (r == 0 && cfg->clone && cfg->hot_fd >= 0)
		copy_hot(m, cfg->hot_fd);
	if (r == 0)
		r = add_ram(m, 0, 0, low, e);
	if (r == 0 && cfg->memory > low)
		r = add_ram(m, LAYOUT_RAM_ABOVE, low, cfg->memory - low, e);
	return r;
}

/* ---- vCPUs ---- */

static int build_vcpus(struct machine *m, const struct vmm_cfg *cfg, struct err *e)
{
	int r = 0;

	if (cfg->cpus < 1 || cfg->cpus > LAYOUT_VCPUS_MAX)
		return err_set(e, -EINVAL, "cpus: 1 to %u", LAYOUT_VCPUS_MAX);
	m->n_vcpus = cfg->cpus;
	for (uint32_t i = 0; i < m->n_vcpus && r == 0; i++) {
		m->vcpus[i] = (struct vcpu){ .m = m, .id = i };
		r = m->hv->ops->vcpu_add(m->hv, i, m->n_vcpus, e);
	}
	return r;
}

/* The first vCPU starts at the kernel's entry; the others wait for it, as KVM made them. */
static int boot(struct machine *m, const struct vmm_cfg *cfg, struct err *e)
{
	struct boot_cfg b = { .mem = &m->mem,
			      .ram = m->ram_size,
			      .map_kernel = m->ram_fd < 0,
			      .kernel_fd = cfg->kernel_fd,
			      .initrd_fd = cfg->initrd_fd,
			      .cmdline = cfg->cmdline,
			      .n_vcpus = m->n_vcpus };
	struct boot_entry entry;
	struct hv_cpu cpu;
	int r = boot_load(&b, &entry, e);

	if (r == 0)
		r = m->hv->ops->vcpu_get(m->hv, 0, &cpu, true, e);
	if (r < 0)
		return r;
	boot_regs(&entry, &cpu);
	return m->hv->ops->vcpu_set(m->hv, 0, &cpu, true, e);
}

static void ended(struct source *s, uint32_t events)
{
	(void)events;
	loop_stop(s->loop);
}

static int build(struct machine *m, struct vmm_cfg *cfg, struct err *e)
{
	int r = loop_init(&m->loop);

	if (r < 0)
		return err_set(e, r, "event loop: %m");
	m->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = m->end_fd < 0 ? -errno : loop_add(&m->loop, &m->end_source, m->end_fd, EPOLLIN, ended);
	if (r < 0)
		return err_set(e, r, "event loop: %m");
	r = build_memory(m, cfg, e);
	if (r == 0)
		r = build_vcpus(m, cfg, e);
	if (r == 0)
		r = devs_build(m, cfg, e);
	if (r < 0)
		return r;
	return cfg->state_fd >= 0 ? snap_load(m, cfg->state_fd, e) : boot(m, cfg, e);
}

int machine_build(struct machine *m, struct hv *hv, struct vmm_cfg *cfg, struct err *e)
{
	int r;

	*m = (struct machine){ .hv = hv,
			       .ram_fd = -1,
			       .end_fd = -1,
			       .files_fd = -1,
			       .serial_fd = take_fd(&cfg->serial_fd),
			       .confine = cfg->confine };
	(void)pthread_mutex_init(&m->lock, NULL); /* can't fail for plain ones */
	(void)pthread_cond_init(&m->changed, NULL);
	pci_init(&m->pci);
	r = build(m, cfg, e);
	vmm_cfg_close(cfg);
	if (r < 0)
		machine_fini(m);
	return r;
}

void machine_fini(struct machine *m)
{
	for (unsigned i = m->n_devs; i > 0; i--)
		vpci_fini(&m->devs[i - 1]);
	m->n_devs = 0;
	if (m->hv)
		m->hv->ops->fini(m->hv);
	m->hv = NULL;
	if (m->ram)
		(void)munmap(m->ram, m->ram_size);
	m->ram = NULL;
	loop_del(&m->end_source);
	loop_del(&m->files_source);
	loop_fini(&m->loop);
	scope_close(&m->ram_fd);
	scope_close(&m->end_fd);
	scope_close(&m->serial_fd);
	scope_close(&m->files_fd);
	m->ram_fd = m->end_fd = m->serial_fd = m->files_fd = -1;
	pci_fini(&m->pci);
	(void)pthread_cond_destroy(&m->changed);
	(void)pthread_mutex_destroy(&m->lock);
}

/* ---- memory whose file is gone ---- */

/* A thread touched such a page; there is nothing to go on with. Only calls that a handler may make. */
static void on_bus(int sig, siginfo_t *info, void *context)
{
	static const char text[] = "cor-vmm: event=crashed reason=\"" MEMORY_GONE "\" code=0xe\n";
	ssize_t r;

	(void)context;
	if (info->si_code != BUS_ADRERR) { /* not by a mapping: happens again, and then ends the process */
		(void)signal(sig, SIG_DFL);
		return;
	}
	r = write(STDERR_FILENO, text, sizeof text - 1);
	(void)r;
	_exit(MACHINE_EXIT_CRASH);
}

void machine_catch_bus(void)
{
	struct sigaction sa = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };

	(void)sigaction(SIGBUS, &sa, NULL); /* can't fail for this signal */
}

/* ---- running ---- */

static enum machine_wish wish_of(const struct machine *m)
{
	return __atomic_load_n(&m->wish, __ATOMIC_SEQ_CST);
}

/* Changes what the vCPUs shall do and tells those that are in the guest. Locked. */
static void set_wish(struct machine *m, enum machine_wish wish)
{
	__atomic_store_n(&m->wish, wish, __ATOMIC_SEQ_CST); /* before the kick: see vcpu_run() */
	(void)pthread_cond_broadcast(&m->changed);
	for (uint32_t i = 0; i < m->n_vcpus && wish != WISH_RUN; i++)
		if (m->vcpus[i].tid)
			m->hv->ops->vcpu_kick(m->hv, i, m->vcpus[i].tid);
}

void machine_stop(struct machine *m, enum machine_end how, const char *reason, uint64_t code)
{
	uint64_t one = 1;
	ssize_t r;

	(void)pthread_mutex_lock(&m->lock);
	if (m->end == END_NONE) {
		m->end = how;
		m->end_reason = reason;
		m->end_code = code;
		set_wish(m, WISH_STOP);
		r = write(m->end_fd, &one, sizeof one);
		(void)r; /* can't fail: the counter is 0 */
	}
	(void)pthread_mutex_unlock(&m->lock);
}

void machine_pause(struct machine *m)
{
	(void)pthread_mutex_lock(&m->lock);
	if (m->wish == WISH_RUN)
		set_wish(m, WISH_PAUSE);
	while (m->wish == WISH_PAUSE && m->n_parked < m->n_vcpus)
		(void)pthread_cond_wait(&m->changed, &m->lock);
	(void)pthread_mutex_unlock(&m->lock);
}

void machine_resume(struct machine *m)
{
	(void)pthread_mutex_lock(&m->lock);
	if (m->wish == WISH_PAUSE)
		set_wish(m, WISH_RUN);
	(void)pthread_mutex_unlock(&m->lock);
}

/* Stands still until the wish changes; false: the machine ends. */
static bool park(struct vcpu *v)
{
	struct machine *m = v->m;
	bool go;

	(void)pthread_mutex_lock(&m->lock);
	m->n_parked++;
	(void)pthread_cond_broadcast(&m->changed);
	while (m->wish == WISH_PAUSE)
		(void)pthread_cond_wait(&m->changed, &m->lock);
	m->n_parked--;
	go = m->wish == WISH_RUN;
	(void)pthread_mutex_unlock(&m->lock);
	if (go)
		m->hv->ops->vcpu_stood_still(m->hv, v->id);
	return go;
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	struct machine *m = v->m;
	bool access = false; /* the last exit was one that the guest waits for */
	struct hv_exit x;
	int r;

	(void)pthread_mutex_lock(&m->lock);
	v->tid = (int)syscall(SYS_gettid);
	(void)pthread_mutex_unlock(&m->lock);
	r = m->confine ? confine_thread(CONFINE_VCPU, NULL) : 0;
	if (r < 0)
		machine_stop(m, END_CRASH, "no system call filter for a vCPU", (uint64_t)-r);
	for (;;) {
		enum machine_wish wish = wish_of(m);

		/* Standing still, an access must be over: a snapshot would hold half of it. */
		if (wish != WISH_RUN && !access) {
			if (!park(v))
				break;
			continue;
		}
		r = m->hv->ops->vcpu_run(m->hv, v->id, wish != WISH_RUN, &x);
		if (r < 0)
			machine_stop(m, END_CRASH,
				     r == -EFAULT ? MEMORY_GONE : "the hypervisor can't run a vCPU",
				     (uint64_t)-r);
		else
			machine_exit(m, &x);
		access = r == 0 && (x.kind == HV_EXIT_PIO || x.kind == HV_EXIT_MMIO);
	}
	return NULL;
}

static void on_kick(int sig)
{
	(void)sig; /* only there to interrupt KVM_RUN */
}

static int start_vcpus(struct machine *m, struct err *e)
{
	struct sigaction sa = { .sa_handler = on_kick };
	pthread_attr_t attr;
	int r = 0;

	(void)sigaction(HV_KICK_SIGNAL, &sa, NULL); /* can't fail for this signal */
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, VCPU_STACK);
	for (uint32_t i = 0; i < m->n_vcpus && r == 0; i++) {
		r = -pthread_create(&m->vcpus[i].thread, &attr, vcpu_main, &m->vcpus[i]);
		m->vcpus[i].started = r == 0;
	}
	(void)pthread_attr_destroy(&attr);
	return r < 0 ? err_set(e, r, "vCPU thread: %m") : 0;
}

static void join_vcpus(struct machine *m)
{
	for (uint32_t i = 0; i < m->n_vcpus; i++)
		if (m->vcpus[i].started)
			(void)pthread_join(m->vcpus[i].thread, NULL);
}

int machine_run(struct machine *m, struct err *e)
{
	int r = start_vcpus(m, e), l = 0;

	if (r == 0 && m->confine)
		r = confine_thread(CONFINE_LOOP, e); /* the vCPUs were made before: it makes no threads */
	if (r == 0)
		l = loop_run(&m->loop);
	machine_stop(m, END_STOPPED, NULL, 0); /* unless it has ended: that is why the loop returned */
	join_vcpus(m);
	if (l < 0)
		return err_set(e, l, "event loop: %m");
	/* What the guest wrote just before its end is in the rings. */
	return r < 0 ? r : loop_once(&m->loop, 0);
}
