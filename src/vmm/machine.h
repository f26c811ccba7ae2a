/* machine.h - one VM: memory, vCPUs, devices and how it ends.
 *
 * machine_build() makes everything; machine_run() serves it on the calling thread, which is the loop thread,
 * until the guest ends. Threads and locks: docs/vmm.md. */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "ring/gmem.h"
#include "vmm/cfg.h"
#include "vmm/hv.h"
#include "vmm/pci.h"
#include "vmm/virtio/pci.h"

#define MACHINE_DEVS_MAX 31 /* slot 0 is the host bridge */

/* What every vCPU shall do; read before each entry into the guest. */
enum machine_wish { WISH_RUN, WISH_PAUSE, WISH_STOP };

enum machine_end {
	END_NONE,
	END_POWEROFF, /* the guest switched itself off */
	END_RESET,    /* reset or triple fault */
	END_CRASH,    /* the hypervisor failed */
	END_STOPPED,  /* machine_stop() */
	END_N
};

struct machine;

struct vcpu {
	struct machine *m;
	uint32_t id;
	int tid; /* of the thread, once it runs */
	pthread_t thread;
	bool started; /* the thread exists */
};

struct machine {
	struct hv *hv; /* owned */
	struct gmem mem;
	int ram_fd;       /* the memory's file; -1 = anonymous memory */
	bool ram_private; /* a clone's: pages it wrote are its own, the others the file's */
	uint8_t *ram;     /* all of it; the part above the hole follows the part below */
	uint64_t ram_size;
	struct loop loop;
	struct pci_bus pci;
	struct vpci devs[MACHINE_DEVS_MAX];
	unsigned n_devs;
	struct vdev *balloon; /* one of devs; NULL = none */
	int files_fd;         /* the file server's socket once more, for its end; -1 = none */
	struct source files_source;
	void (*on_port_open)(void *arg); /* the guest opens the named port; loop thread, a device's lock is
					    held. NULL = nobody asks */
	void *on_port_arg;
	uint64_t pmem_next; /* where the next pmem slot may begin */
	int serial_fd;      /* owned; -1 = no UART */
	uint8_t uart_scratch, uart_lcr, uart_ier, uart_mcr;
	struct vcpu vcpus[LAYOUT_VCPUS_MAX];
	uint32_t n_vcpus;
	bool confine; /* see struct vmm_cfg */

	/* Run state. `wish` is read without the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* wish, n_parked or end changed */
	enum machine_wish wish;
	uint32_t n_parked; /* vCPUs that stand still */
	enum machine_end end;
	const char *end_reason; /* static text, or NULL */
	uint64_t end_code;
	int end_fd; /* eventfd: the machine ended */
	struct source end_source;
};

/* Builds the VM: takes hv and the fds in cfg (even if it fails). Nothing runs yet. */
int must_check machine_build(struct machine *m, struct hv *hv, struct vmm_cfg *cfg, struct err *e);
/* Starts the vCPUs and serves until the guest ends. 0, or an error that is not the guest's. Then m->end says
 * how. */
int must_check machine_run(struct machine *m, struct err *e);
void machine_fini(struct machine *m);

/* What the program's end says of a machine that crashed, or could not be built. */
#define MACHINE_EXIT_CRASH 2
/* From now on the process ends with a reason on stderr and MACHINE_EXIT_CRASH, when memory that is a file
 * can't be had because the file was cut, can't be read or its file system is full. Before machine_build(). */
void machine_catch_bus(void);

/* Ends the machine; the first reason counts. Any thread. */
void machine_stop(struct machine *m, enum machine_end how, const char *reason, uint64_t code);
/* Stops every vCPU and waits until all stand still; lets them run again. Loop thread. */
void machine_pause(struct machine *m);
void machine_resume(struct machine *m);

/* One exit of a vCPU: serves the access. vCPU threads; tests call it with exits of their own. */
void machine_exit(struct machine *m, const struct hv_exit *x);

/* Text of an end: "powered off", "reset". */
const char *machine_end_text(enum machine_end how);

#endif
