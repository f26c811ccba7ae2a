/* kvm_probe.c - does /dev/kvm really run a guest?
 *
 * Called by `cor create` and `cor check`. There are hosts whose /dev/kvm opens, makes machines and passes
 * a trivial test, but can't run an unmodified kernel: modules that only run guests made for them (PVM) put
 * everything else through an instruction emulator or run it unprivileged. So a child runs, after a few
 * instructions of real mode, 64-bit code with paging that such a module gets wrong: vector
 * arithmetic, the privilege bits of %cs, the interrupt flag, an exception through the guest's own IDT.
 * The child is killed when it takes too long; whatever the device does to it, the caller goes on.
 * Trusts: nothing about the device. Never: blocks longer than its time. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "hyper/hyper.h"

#define KILL_WAIT_MS 200 /* a killed child that is stuck in the kernel is left to init */

/* Guest-physical layout: one page each. */
#define GUEST_PML4  0x1000u
#define GUEST_PDPT  0x2000u
#define GUEST_PD    0x3000u
#define GUEST_CODE  0x4000u
#define GUEST_IDT   0x5000u
#define GUEST_GDT   0x6000u
#define GUEST_STACK 0x8000u /* its top */
#define GUEST_SIZE  0x8000u
#define CODE64_OFF  0x100u
#define TRAP64_OFF  0x200u
#define PROBE_PORT  0xe9
#define REAL_RESULT 0x5a
#define LONG_RESULT 0x2b /* CS 8 + 1 with IF set + 2 * 0x11 from the vector unit */
#define TRAP_RESULT 0x77

#define PTE_P_W    0x3u
#define PTE_LARGE  0x80u
#define CR0_PE     0x1u
#define CR0_MP     0x2u
#define CR0_NE     0x20u
#define CR0_WP     0x10000u
#define CR0_PG     0x80000000u
#define CR4_PAE    0x20u
#define CR4_OSFXSR 0x200u
#define CR4_OSXMM  0x400u
#define EFER_LME   0x100u
#define EFER_LMA   0x400u
#define SEL_CODE   8
#define SEL_DATA   16
#define SEG_CODE64 0xb
#define SEG_DATA   0x3
#define GDT_CODE64 0x00af9b000000ffffull
#define GDT_DATA   0x00cf93000000ffffull
#define GATE_INT64 0x8e00u
#define VECTOR_BP  3u

static const uint8_t code16[] = {
	0xb0, 0x2d,       /* mov $0x2d, %al */
	0x00, 0xc0,       /* add %al, %al -> 0x5a */
	0xe6, PROBE_PORT, /* out %al, $port */
	0xf4,             /* hlt */
};

static const uint8_t code64[] = {
	0xb8, 0x11,       0,    0,    0,   /* mov $0x11, %eax */
	0x66, 0x0f,       0x6e, 0xc0,      /* movd %eax, %xmm0 */
	0x66, 0x0f,       0xfe, 0xc0,      /* paddd %xmm0, %xmm0 */
	0x66, 0x0f,       0x7e, 0xc3,      /* movd %xmm0, %ebx */
	0x8c, 0xc9,                        /* mov %cs, %ecx */
	0x01, 0xcb,                        /* add %ecx, %ebx */
	0x9c,                              /* pushfq */
	0x80, 0x4c,       0x24, 0x01, 0x2, /* orb $2, 1(%rsp): IF */
	0x9d,                              /* popfq */
	0x9c,                              /* pushfq */
	0x58,                              /* pop %rax */
	0xc1, 0xe8,       0x09,            /* shr $9, %eax */
	0x83, 0xe0,       0x01,            /* and $1, %eax */
	0x01, 0xd8,                        /* add %ebx, %eax -> 0x2b */
	0xe6, PROBE_PORT,                  /* out %al, $port */
	0xb0, 0,                           /* mov $0, %al */
	0xcc,                              /* int3: the handler sets %al */
	0xe6, PROBE_PORT,                  /* out %al, $port */
	0xf4,                              /* hlt */
};

static const uint8_t trap64[] = {
	0xb0, TRAP_RESULT, /* mov $0x77, %al */
	0x48, 0xcf,        /* iretq */
};

struct vm {
	uint8_t *mem;
	int kvm, vm, vcpu;
	struct kvm_run *run;
	size_t run_size;
};

static const char *exit_name(uint32_t reason)
{
	switch (reason) {
	case KVM_EXIT_HLT:
		return "HLT";
	case KVM_EXIT_SHUTDOWN:
		return "shutdown (triple fault)";
	case KVM_EXIT_FAIL_ENTRY:
		return "the CPU refused to enter the guest";
	case KVM_EXIT_INTERNAL_ERROR:
		return "internal error of KVM";
	case KVM_EXIT_MMIO:
		return "MMIO";
	case KVM_EXIT_IO:
		return "I/O";
	default:
		return "other";
	}
}

static int run_until(struct vm *v, uint32_t want, const char *mode, struct err *e)
{
	int r;

	do {
		r = ioctl(v->vcpu, KVM_RUN, 0);
	} while (r < 0 && errno == EINTR); /* the parent's patience ends it */
	if (r < 0)
		return err_set(e, -ENODEV, "it opened, but running guest code failed (%s, KVM_RUN: %s)", mode,
			       strerror(errno));
	if (v->run->exit_reason != want)
		return err_set(e, -ENODEV, "it opened, but could not run guest code (%s, exit reason %u: %s)",
			       mode, v->run->exit_reason, exit_name(v->run->exit_reason));
	return 0;
}

/* Runs up to an OUT of the right value. */
static int expect_out(struct vm *v, uint8_t want, const char *mode, struct err *e)
{
	uint64_t off;
	int r;

	r = run_until(v, KVM_EXIT_IO, mode, e);
	if (r < 0)
		return r;
	off = v->run->io.data_offset;
	if (v->run->io.direction != KVM_EXIT_IO_OUT || v->run->io.port != PROBE_PORT ||
	    v->run->io.size != 1 || off >= v->run_size || *((uint8_t *)v->run + off) != want)
		return err_set(e, -ENODEV,
			       "it opened, but guest code computed a wrong result (%s): it can't run "
			       "an unmodified kernel",
			       mode);
	return 0;
}

static int set_entry(struct vm *v, uint64_t rip, struct err *e)
{
	struct kvm_regs regs = { .rip = rip, .rsp = GUEST_STACK, .rflags = 2 };

	return ioctl(v->vcpu, KVM_SET_REGS, &regs) < 0 ? err_set(e, -ENODEV, "KVM_SET_REGS: %m") : 0;
}

static int run_real_mode(struct vm *v, struct err *e)
{
	struct kvm_sregs s;
	int r;

	if (ioctl(v->vcpu, KVM_GET_SREGS, &s) < 0)
		return err_set(e, -ENODEV, "KVM_GET_SREGS: %s", strerror(errno));
	s.cs.base = 0;
	s.cs.selector = 0;
	if (ioctl(v->vcpu, KVM_SET_SREGS, &s) < 0)
		return err_set(e, -ENODEV, "KVM_SET_SREGS: %s", strerror(errno));
	r = set_entry(v, GUEST_CODE, e);
	if (r == 0)
		r = expect_out(v, REAL_RESULT, "real mode", e);
	return r < 0 ? r : run_until(v, KVM_EXIT_HLT, "real mode", e);
}

static void put_u64(struct vm *v, uint64_t gpa, uint64_t value)
{
	memcpy(v->mem + gpa, &value, sizeof value);
}

static void put_tables(struct vm *v)
{
	const uint64_t trap = GUEST_CODE + TRAP64_OFF; /* below 64 KiB: the upper offset bits are 0 */

	put_u64(v, GUEST_PML4, GUEST_PDPT | PTE_P_W);
	put_u64(v, GUEST_PDPT, GUEST_PD | PTE_P_W);
	put_u64(v, GUEST_PD, PTE_P_W | PTE_LARGE); /* the first 2 MiB onto themselves */
	put_u64(v, GUEST_GDT + SEL_CODE, GDT_CODE64);
	put_u64(v, GUEST_GDT + SEL_DATA, GDT_DATA);
	put_u64(v, GUEST_IDT + 16u * VECTOR_BP, trap | SEL_CODE << 16 | (uint64_t)GATE_INT64 << 32);
}

static void set_long_mode(struct kvm_sregs *s)
{
	struct kvm_segment seg = { .limit = 0xffffffff,
				   .selector = SEL_CODE,
				   .present = 1,
				   .type = SEG_CODE64,
				   .s = 1,
				   .g = 1,
				   .l = 1 };

	s->cr3 = GUEST_PML4;
	s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMM;
	s->cr0 = CR0_PE | CR0_MP | CR0_NE | CR0_WP | CR0_PG;
	s->efer = EFER_LME | EFER_LMA;
	s->cs = seg;
	seg.type = SEG_DATA;
	seg.selector = SEL_DATA;
	seg.l = 0;
	seg.db = 1;
	s->ds = s->es = s->fs = s->gs = s->ss = seg;
	s->gdt.base = GUEST_GDT;
	s->gdt.limit = SEL_DATA + 7;
	s->idt.base = GUEST_IDT;
	s->idt.limit = 0xfff;
}

static int run_long_mode(struct vm *v, struct err *e)
{
	static const char mode[] = "64-bit mode", trap[] = "exception in 64-bit mode";
	struct kvm_sregs s;
	int r;

	put_tables(v);
	if (ioctl(v->vcpu, KVM_GET_SREGS, &s) < 0)
		return err_set(e, -ENODEV, "KVM_GET_SREGS: %s", strerror(errno));
	set_long_mode(&s);
	if (ioctl(v->vcpu, KVM_SET_SREGS, &s) < 0)
		return err_set(e, -ENODEV, "KVM_SET_SREGS for 64-bit mode: %s", strerror(errno));
	r = set_entry(v, GUEST_CODE + CODE64_OFF, e);
	if (r == 0)
		r = expect_out(v, LONG_RESULT, mode, e);
	if (r == 0)
		r = expect_out(v, TRAP_RESULT, trap, e);
	return r < 0 ? r : run_until(v, KVM_EXIT_HLT, trap, e);
}

static int make_vm(struct vm *v, struct err *e)
{
	struct kvm_userspace_memory_region region = { .memory_size = GUEST_SIZE };
	int n;

	v->vm = ioctl(v->kvm, KVM_CREATE_VM, 0);
	if (v->vm < 0)
		return err_set(e, -ENODEV, "it opened, but makes no virtual machine (KVM_CREATE_VM: %s)",
			       strerror(errno));
	/* CPUs that can't run real mode directly need three pages for it; the others ignore this. */
	(void)ioctl(v->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	v->mem = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (v->mem == MAP_FAILED)
		return err_set(e, -errno, "memory for the probe: %m");
	memcpy(v->mem + GUEST_CODE, code16, sizeof code16);
	memcpy(v->mem + GUEST_CODE + CODE64_OFF, code64, sizeof code64);
	memcpy(v->mem + GUEST_CODE + TRAP64_OFF, trap64, sizeof trap64);
	region.userspace_addr = (uintptr_t)v->mem;
	if (ioctl(v->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return err_set(e, -ENODEV, "it opened, but takes no memory (KVM_SET_USER_MEMORY_REGION: %s)",
			       strerror(errno));
	v->vcpu = ioctl(v->vm, KVM_CREATE_VCPU, 0);
	if (v->vcpu < 0)
		return err_set(e, -ENODEV, "it opened, but makes no CPU (KVM_CREATE_VCPU: %s)",
			       strerror(errno));
	n = ioctl(v->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (n < (int)sizeof *v->run)
		return err_set(e, -ENODEV, "it opened, but KVM_GET_VCPU_MMAP_SIZE says %d", n);
	v->run_size = (size_t)n;
	v->run = mmap(NULL, v->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->vcpu, 0);
	if (v->run == MAP_FAILED)
		return err_set(e, -ENODEV, "it opened, but its CPU can't be mapped: %s", strerror(errno));
	return 0;
}

/* In the child: everything it holds goes with it. */
static int probe(const char *dev, struct err *e)
{
	struct vm v = { .kvm = -1, .vm = -1, .vcpu = -1 };
	int r;

	v.kvm = open(dev, O_RDWR | O_CLOEXEC);
	if (v.kvm < 0)
		return err_set(e, -errno, "%m");
	r = ioctl(v.kvm, KVM_GET_API_VERSION, 0);
	if (r != KVM_API_VERSION)
		return err_set(e, -ENODEV, "it opened, but is no KVM device of version %d", KVM_API_VERSION);
	r = make_vm(&v, e);
	if (r == 0)
		r = run_real_mode(&v, e);
	if (r == 0)
		r = run_long_mode(&v, e);
	return r;
}

static _Noreturn void run_child(const char *dev, int fd)
{
	struct err e = { 0 };

	(void)prctl(PR_SET_PDEATHSIG,
		    SIGKILL); /* without it the child still ends by itself, or hangs alone */
	(void)probe(dev, &e);
	_exit(write(fd, &e, sizeof e) == sizeof e ? 0 : 1);
}

/* Reaps the child if it ends in time. A child that can't be killed must not take the caller with it. */
static void end_child(pid_t pid)
{
	(void)kill(pid, SIGKILL); /* not reaped yet: it is still this child */
	for (int i = 0; i < KILL_WAIT_MS; i++) {
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return;
		(void)poll(NULL, 0, 1);
	}
}

static int read_result(int fd, int timeout_ms, struct err *e)
{
	struct err got;
	ssize_t n;
	int r;

	r = io_wait_readable(fd, timeout_ms);
	if (r == -ETIMEDOUT)
		return err_set(e, -ETIMEDOUT, "it opened, but guest code did not finish within %d ms",
			       timeout_ms);
	if (r < 0)
		return err_set(e, r, "%m");
	n = io_read_full(fd, &got, sizeof got);
	if (n != sizeof got)
		return err_set(e, -ECHILD, "the probe was killed");
	return got.code == 0 ? 0 : err_import(e, got.code, got.msg, strnlen(got.msg, sizeof got.msg));
}

int kvm_probe(const char *dev, int timeout_ms, struct err *e)
{
	scoped_fd rd = -1, wr = -1;
	int p[2], r;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_set(e, -errno, "KVM probe: pipe: %m");
	rd = p[0];
	wr = p[1];
	pid = fork();
	if (pid < 0)
		return err_set(e, -errno, "KVM probe: fork: %m");
	if (pid == 0)
		run_child(dev, wr);
	(void)close(take_fd(&wr));
	r = read_result(rd, timeout_ms, e);
	end_child(pid);
	return r < 0 ? err_wrap(e, "%s", dev) : 0;
}
