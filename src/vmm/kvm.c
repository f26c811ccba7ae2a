/* kvm.c - the hypervisor seam on Linux KVM (hv.h).
 *
 * The LAPICs are KVM's (split irqchip), there is no IOAPIC, PIC or PIT: devices send messages. Trusts: KVM.
 * Never: allocates or opens after the vCPUs are made. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "vmm/cpuid.h"
#include "vmm/hv.h"
#include "vmm/kvmcpu.h"
#include "vmm/layout.h"

struct kvm_vcpu {
	int fd;
	struct kvm_run *run;
};

struct kvm {
	struct hv hv;
	int fd, vm, run_size;
	bool fd_is_mine;
	uint32_t n_slots;
	struct cpuid_table cpuid;
	struct kvm_vcpu vcpus[LAYOUT_VCPUS_MAX];
	struct {
		struct {
			uint32_t nr, flags;
		} head; /* as struct kvm_irq_routing */
		struct kvm_irq_routing_entry entries[HV_GSIS_MAX];
	} routes;
};

static struct kvm *kvm_of(struct hv *h)
{
	return container_of(h, struct kvm, hv);
}

static int kvm_mem_add(struct hv *h, gpa_t start, void *host, uint64_t len, bool writable, struct err *e)
{
	struct kvm *k = kvm_of(h);
	struct kvm_userspace_memory_region r = { .slot = k->n_slots,
						 .flags = writable ? 0 : KVM_MEM_READONLY,
						 .guest_phys_addr = start.v,
						 .memory_size = len,
						 .userspace_addr = (uintptr_t)host };

	if (ioctl(k->vm, KVM_SET_USER_MEMORY_REGION, &r) < 0)
		return err_set(e, -errno, "KVM: memory at 0x%llx: %m", (unsigned long long)start.v);
	k->n_slots++;
	return 0;
}

static int kvm_ioeventfd_add(struct hv *h, gpa_t at, int fd, struct err *e)
{
	/* Length 0: any size and value, and KVM need not decode what was written where the CPU allows that.
	 */
	struct kvm_ioeventfd ev = { .addr = at.v, .len = 0, .fd = fd };

	if (ioctl(kvm_of(h)->vm, KVM_IOEVENTFD, &ev) < 0)
		return err_set(e, -errno, "KVM: ioeventfd: %m");
	return 0;
}

static int kvm_send_msi(struct hv *h, uint64_t addr, uint32_t data)
{
	struct kvm_msi msi = { .address_lo = (uint32_t)addr,
			       .address_hi = (uint32_t)(addr >> 32),
			       .data = data };

	return ioctl(kvm_of(h)->vm, KVM_SIGNAL_MSI, &msi) < 0 ? -errno : 0;
}

static int kvm_irqfd_add(struct hv *h, uint32_t gsi, int fd, struct err *e)
{
	struct kvm_irqfd irq = { .fd = (uint32_t)fd, .gsi = gsi };

	assert(gsi < HV_GSIS_MAX);
	if (ioctl(kvm_of(h)->vm, KVM_IRQFD, &irq) < 0)
		return err_set(e, -errno, "KVM: irqfd: %m");
	return 0;
}

static int kvm_msi_route(struct hv *h, uint32_t gsi, uint64_t addr, uint32_t data)
{
	struct kvm *k = kvm_of(h);
	struct kvm_irq_routing_entry *r = NULL;

	assert(gsi < HV_GSIS_MAX);
	for (uint32_t i = 0; i < k->routes.head.nr && !r; i++)
		if (k->routes.entries[i].gsi == gsi)
			r = &k->routes.entries[i];
	if (!r)
		r = &k->routes.entries[k->routes.head.nr++];
	*r = (struct kvm_irq_routing_entry){ .gsi = gsi, .type = KVM_IRQ_ROUTING_MSI };
	r->u.msi.address_lo = (uint32_t)addr;
	r->u.msi.address_hi = (uint32_t)(addr >> 32);
	r->u.msi.data = data;
	return ioctl(k->vm, KVM_SET_GSI_ROUTING, &k->routes) < 0 ? -errno : 0;
}

static int kvm_vcpu_add(struct hv *h, uint32_t id, uint32_t n, struct err *e)
{
	struct kvm *k = kvm_of(h);
	struct kvm_vcpu *v = &k->vcpus[id];
	struct cpuid_table t = k->cpuid;
	void *run;
	int r;

	assert(id < n && n <= LAYOUT_VCPUS_MAX && v->fd < 0);
	v->fd = ioctl(k->vm, KVM_CREATE_VCPU, (unsigned long)id);
	if (v->fd < 0)
		return err_set(e, -errno, "KVM: vCPU %u: %m", id);
	run = mmap(NULL, (size_t)k->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (run == MAP_FAILED)
		return err_set(e, -errno, "KVM: vCPU %u: map: %m", id);
	v->run = run;
	r = ioctl(v->fd, KVM_GET_TSC_KHZ);
	cpuid_fit(&t, id, n, r > 0 ? (uint32_t)r : 0);
	if (ioctl(v->fd, KVM_SET_CPUID2, &t) < 0)
		return err_set(e, -errno, "KVM: CPUID of vCPU %u: %m", id);
	return 0;
}

static void exit_pio(const struct kvm *k, struct kvm_run *run, struct hv_exit *ret)
{
	uint64_t end = run->io.data_offset + (uint64_t)run->io.size * run->io.count;

	assert(run->io.count > 0 && end <= (uint64_t)k->run_size);
	ret->kind = HV_EXIT_PIO;
	ret->addr = run->io.port;
	ret->size = run->io.size;
	ret->count = run->io.count;
	ret->write = run->io.direction == KVM_EXIT_IO_OUT;
	ret->data = (uint8_t *)run + run->io.data_offset;
}

static void exit_mmio(struct kvm_run *run, struct hv_exit *ret)
{
	assert(run->mmio.len <= sizeof run->mmio.data);
	ret->kind = HV_EXIT_MMIO;
	ret->addr = run->mmio.phys_addr;
	ret->size = (uint8_t)run->mmio.len;
	ret->write = run->mmio.is_write != 0;
	ret->data = run->mmio.data;
}

static void exit_crash(struct hv_exit *ret, const char *reason, uint64_t code)
{
	ret->kind = HV_EXIT_CRASH;
	ret->reason = reason;
	ret->code = code;
}

static void decode(const struct kvm *k, struct kvm_run *run, struct hv_exit *ret)
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		exit_pio(k, run, ret);
		break;
	case KVM_EXIT_MMIO:
		exit_mmio(run, ret);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_IOAPIC_EOI: /* nobody waits for the end of a message */
		ret->kind = HV_EXIT_INTR;
		break;
	case KVM_EXIT_SHUTDOWN:
	case KVM_EXIT_SYSTEM_EVENT:
		ret->kind = HV_EXIT_RESET;
		break;
	case KVM_EXIT_FAIL_ENTRY:
		exit_crash(ret, "KVM could not enter the guest",
			   run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		exit_crash(ret, "KVM internal error", run->internal.suberror);
		break;
	default:
		exit_crash(ret, "unknown exit of KVM", run->exit_reason);
	}
}

static int kvm_vcpu_run(struct hv *h, uint32_t id, bool finish, struct hv_exit *ret)
{
	struct kvm *k = kvm_of(h);
	struct kvm_vcpu *v = &k->vcpus[id];
	int r;

	if (finish)
		__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	r = ioctl(v->fd, KVM_RUN, 0);
	*ret = (struct hv_exit){ .kind = HV_EXIT_INTR, .count = 1 };
	/* After this the caller reads the machine's wishes, which are set before the kick (vcpu_kick()). */
	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	if (r < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	decode(k, v->run, ret);
	return 0;
}

static void kvm_vcpu_kick(struct hv *h, uint32_t id, int tid)
{
	struct kvm_vcpu *v = &kvm_of(h)->vcpus[id];

	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	(void)syscall(SYS_tgkill, getpid(), tid, HV_KICK_SIGNAL); /* a thread that is gone needs no kick */
}

static int kvm_vcpu_get(struct hv *h, uint32_t id, struct hv_cpu *ret, bool boot, struct err *e)
{
	return kvmcpu_get(kvm_of(h)->vcpus[id].fd, ret, boot, e);
}

static int kvm_vcpu_set(struct hv *h, uint32_t id, const struct hv_cpu *c, bool boot, struct err *e)
{
	return kvmcpu_set(kvm_of(h)->vcpus[id].fd, c, boot, e);
}

static void kvm_vcpu_stood_still(struct hv *h, uint32_t id)
{
	(void)ioctl(kvm_of(h)->vcpus[id].fd, KVM_KVMCLOCK_CTRL, 0); /* fails for a guest without kvmclock */
}

static int kvm_clock_get(struct hv *h, uint64_t *ret_ns, struct err *e)
{
	struct kvm_clock_data c = { 0 };

	if (ioctl(kvm_of(h)->vm, KVM_GET_CLOCK, &c) < 0)
		return err_set(e, -errno, "KVM: clock: %m");
	*ret_ns = c.clock;
	return 0;
}

static int kvm_clock_set(struct hv *h, uint64_t ns, struct err *e)
{
	struct kvm_clock_data c = { .clock = ns };

	if (ioctl(kvm_of(h)->vm, KVM_SET_CLOCK, &c) < 0)
		return err_set(e, -errno, "KVM: clock: %m");
	return 0;
}

static void kvm_fini(struct hv *h)
{
	struct kvm *k = kvm_of(h);

	for (unsigned i = 0; i < LAYOUT_VCPUS_MAX; i++) {
		if (k->vcpus[i].run)
			(void)munmap(k->vcpus[i].run, (size_t)k->run_size);
		scope_close(&k->vcpus[i].fd);
	}
	scope_close(&k->vm);
	if (k->fd_is_mine)
		scope_close(&k->fd);
	free(k);
}

static const struct hv_ops ops = {
	.name = "kvm",
	.mem_add = kvm_mem_add,
	.ioeventfd = kvm_ioeventfd_add,
	.msi = kvm_send_msi,
	.irqfd = kvm_irqfd_add,
	.msi_route = kvm_msi_route,
	.vcpu_add = kvm_vcpu_add,
	.vcpu_run = kvm_vcpu_run,
	.vcpu_get = kvm_vcpu_get,
	.vcpu_set = kvm_vcpu_set,
	.vcpu_kick = kvm_vcpu_kick,
	.vcpu_stood_still = kvm_vcpu_stood_still,
	.clock_get = kvm_clock_get,
	.clock_set = kvm_clock_set,
	.fini = kvm_fini,
};

/* What this VMM can't do without, and since when KVM has it. */
static const struct {
	long cap;
	const char *name;
} needed[] = {
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" }, /* 4.12 */
	{ KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP" },   /* 4.4 */
	{ KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI" },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH" }, /* 4.4 */
	{ KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM" },
	{ KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER" },
};

static int check_kvm(struct kvm *k, struct err *e)
{
	int r = ioctl(k->fd, KVM_GET_API_VERSION, 0);

	if (r != KVM_API_VERSION)
		return err_set(e, r < 0 ? -ENODEV : -ENOTSUP, "/dev/kvm: not KVM, or of another version");
	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (ioctl(k->fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return err_set(e, -ENOTSUP, "KVM lacks %s: a newer kernel is needed", needed[i].name);
	k->run_size = ioctl(k->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (k->run_size < (int)sizeof(struct kvm_run))
		return err_set(e, -ENOTSUP, "KVM: size of a vCPU's area: %d", k->run_size);
	k->cpuid.head.nent = CPUID_MAX;
	if (ioctl(k->fd, KVM_GET_SUPPORTED_CPUID, &k->cpuid) < 0)
		return err_set(e, -errno, "KVM: supported CPUID: %m");
	return 0;
}

static int create_vm(struct kvm *k, struct err *e)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP }; /* args[0] = 0: no IOAPIC pins */
	uint64_t idmap = LAYOUT_KVM_IDMAP;

	do
		k->vm = ioctl(k->fd, KVM_CREATE_VM, 0UL);
	while (k->vm < 0 && errno == EINTR);
	if (k->vm < 0)
		return err_set(e, -errno, "KVM: create a VM: %m");
	if (ioctl(k->vm, KVM_SET_IDENTITY_MAP_ADDR, &idmap) < 0 ||
	    ioctl(k->vm, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_KVM_TSS) < 0)
		return err_set(e, -errno, "KVM: place its own pages: %m");
	if (ioctl(k->vm, KVM_ENABLE_CAP, &split) < 0)
		return err_set(e, -errno, "KVM: interrupt controller: %m");
	return 0;
}

int kvm_open(int fd, struct hv **ret, struct err *e)
{
	struct kvm *k = calloc(1, sizeof *k);
	int r;

	if (!k)
		return err_set(e, -ENOMEM, "out of memory");
	k->hv.ops = &ops;
	k->vm = -1;
	k->fd = fd;
	for (unsigned i = 0; i < LAYOUT_VCPUS_MAX; i++)
		k->vcpus[i].fd = -1;
	if (fd < 0) {
		k->fd_is_mine = true;
		k->fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	}
	r = k->fd < 0 ? err_set(e, errno == ENOENT ? -ENODEV : -errno, "/dev/kvm: %m") : check_kvm(k, e);
	if (r == 0)
		r = create_vm(k, e);
	if (r < 0) {
		kvm_fini(&k->hv);
		return r;
	}
	*ret = &k->hv;
	return 0;
}
