/* hv_fake.h - a hypervisor without CPUs (vmm/hv.h): exits are scripted, interrupts and eventfds recorded. */
#ifndef VMM_HV_FAKE_H
#define VMM_HV_FAKE_H

#include "vmm/hv.h"

#define FAKE_MSIS_MAX   64
#define FAKE_EVENTS_MAX 32

/* One scripted exit; what a read got is put into `got`. */
struct fake_exit {
	enum hv_exit_kind kind;
	uint64_t addr, value, got;
	uint8_t size;
	bool write;
};

struct hv_fake {
	struct hv hv;
	struct gmem_region mem[GMEM_REGIONS_MAX];
	unsigned n_mem;
	struct {
		uint64_t addr;
		uint32_t data;
	} msis[FAKE_MSIS_MAX];
	unsigned n_msis; /* all that were sent; the first FAKE_MSIS_MAX are kept */
	struct {
		uint64_t at;
		int fd;
	} events[FAKE_EVENTS_MAX];
	unsigned n_events;
	struct hv_cpu cpu; /* vCPU 0's registers as set last */
	unsigned n_vcpus;
	/* vCPU 0 plays these, then waits for a kick like the others. */
	struct fake_exit *script;
	unsigned n_script, at;
	unsigned n_finished; /* accesses finished without going on */
	int kicked[64];      /* atomic */
	int fail_mem;        /* -errno of mem_add, 0 = works */
	uint64_t clock_ns;
	unsigned n_stood_still; /* atomic: vCPUs that were told */
	bool closed;
};

void hv_fake_init(struct hv_fake *f);

#endif
