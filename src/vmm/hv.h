/* hv.h - the seam between the machine and what runs its vCPUs.
 *
 * kvm.c is the product; tests/unit/vmm/hv_fake.c replays scripted exits and records interrupts, so that
 * machine, PCI and devices are tested where no KVM is. It is no portability layer: registers are KVM's
 * structs.
 *
 * Threads: everything up to the first run on the thread that builds the machine; run() and the registers of a
 * vCPU on the thread that runs it; msi() on any thread; kick() on any thread. After start only run, kick,
 * msi, stood_still and the state calls are made: no new fd, no new memory. */
#ifndef VMM_HV_H
#define VMM_HV_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "ring/gmem.h"

/* Why a vCPU came back. */
enum hv_exit_kind {
	HV_EXIT_INTR,  /* kicked, or nothing to do: look at the machine's wishes and run again */
	HV_EXIT_PIO,   /* port access */
	HV_EXIT_MMIO,  /* access to an address without memory */
	HV_EXIT_RESET, /* triple fault or reset: the machine ends */
	HV_EXIT_CRASH, /* the hypervisor gave up; `reason` says why */
};

/* An access of the guest. `data` is what it wrote, or where the answer goes: `size` bytes, `count` times in a
 * row (a repeated port instruction). It is the hypervisor's memory, not the guest's: nobody changes it
 * meanwhile. */
struct hv_exit {
	enum hv_exit_kind kind;
	uint64_t addr; /* port or guest-physical address */
	uint8_t *data;
	uint8_t size; /* 1, 2, 4 or 8 */
	bool write;
	uint32_t count;     /* at least 1 */
	const char *reason; /* static text, for HV_EXIT_CRASH */
	uint64_t code;      /* number that goes with it */
};

/* One MSR of a snapshot. */
#define HV_MSRS_MAX 64
/* What a vCPU is. Fixed layout of this architecture and of KVM's
 * ABI; a snapshot holds it as it is. */
struct hv_cpu {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_mp_state mp;
	uint32_t n_msrs;
	struct kvm_msr_entry msrs[HV_MSRS_MAX];
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;
	struct kvm_lapic_state lapic;
	uint8_t xsave[4096]; /* KVM_GET_XSAVE; larger areas (AMX) are not offered to the guest */
};

struct hv;

struct hv_ops {
	const char *name;
	/* Makes `len` bytes at `host` the guest's memory at `start`. */
	int (*mem_add)(struct hv *h, gpa_t start, void *host, uint64_t len, bool writable, struct err *e);
	/* A write of any size to this address signals `fd` and does not exit. */
	int (*ioeventfd)(struct hv *h, gpa_t at, int fd, struct err *e);
	/* Sends a message signalled interrupt. -errno is for the log only: a guest may program nonsense. */
	int (*msi)(struct hv *h, uint64_t addr, uint32_t data);
	/* Interrupt line `gsi` (0..HV_GSIS_MAX) that another process raises by writing to `fd`; the message
	 * it sends is set by msi_route(). For vhost-user; our own devices use msi(). */
	int (*irqfd)(struct hv *h, uint32_t gsi, int fd, struct err *e);
	int (*msi_route)(struct hv *h, uint32_t gsi, uint64_t addr, uint32_t data);
	/* Creates vCPU `id` of `n`, with the machine's CPUID; not yet with registers. */
	int (*vcpu_add)(struct hv *h, uint32_t id, uint32_t n, struct err *e);
	/* Runs until something is to be done. 0, or -errno when the hypervisor itself failed. An access that
	 * was served is over for the guest only when its vCPU runs again: `finish` does no more than that. */
	int (*vcpu_run)(struct hv *h, uint32_t id, bool finish, struct hv_exit *ret);
	/* Registers of a vCPU that does not run. `boot`: only regs, sregs, mp
	 * (and msrs, when setting). */
	int (*vcpu_get)(struct hv *h, uint32_t id, struct hv_cpu *ret, bool boot, struct err *e);
	int (*vcpu_set)(struct hv *h, uint32_t id, const struct hv_cpu *c, bool boot, struct err *e);
	/* Makes vcpu_run() return HV_EXIT_INTR, now or as soon as it is called. `tid`: the thread that runs
	 * it. */
	void (*vcpu_kick)(struct hv *h, uint32_t id, int tid);
	/* Tells the guest, when it runs again, that it stood still: so its watchdogs don't take a pause, or a
	 * snapshot's age, for a hang. A guest without kvmclock is not told. */
	void (*vcpu_stood_still)(struct hv *h, uint32_t id);
	/* The guest's clock (kvmclock), in ns; get before the vCPUs' registers, set before they run. */
	int (*clock_get)(struct hv *h, uint64_t *ret_ns, struct err *e);
	int (*clock_set)(struct hv *h, uint64_t ns, struct err *e);
	void (*fini)(struct hv *h); /* idempotent; closes everything */
};

#define HV_GSIS_MAX 64
/* What vcpu_kick() sends; the machine catches it with a handler that does nothing. */
#define HV_KICK_SIGNAL SIGUSR1

/* Embedded as first member by the implementation. */
struct hv {
	const struct hv_ops *ops;
};

/* Opens KVM (fd, borrowed and kept until fini; or -1: opens /dev/kvm) and creates a VM. *ret is freed by
 * fini. -ENODEV: no KVM; -ENOTSUP: one that lacks something, named in the error. */
int must_check kvm_open(int fd, struct hv **ret, struct err *e);

#endif
