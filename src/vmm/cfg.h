/* cfg.h - what one VM is made of: plain values and open fds. The command line makes it (cli.c); after that
 * nobody parses text or opens files. */
#ifndef VMM_CFG_H
#define VMM_CFG_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/dev/dev.h"

#define VMM_PMEMS_MAX 24 /* each is a memory slot: see GMEM_REGIONS_MAX */
#define VMM_DISKS_MAX 24
#define VMM_NETS_MAX  4
#define VMM_FS_MAX    2

struct vmm_cfg {
	int kvm_fd;      /* -1: open /dev/kvm */
	uint64_t memory; /* bytes, whole pages of 1 MiB */
	bool huge_pages; /* 2 MiB pages of the host's pool */
	bool merge;      /* the host's KSM may merge private pages with equal ones */
	/* The memory's file; -1: memory of this process alone, or a fresh memfd where a share's back end must
	 * see it. Written through, or a template's, of which `clone` maps the pages copy-on-write. */
	int memory_fd;
	bool clone;
	int hot_fd;   /* pages that a clone writes soon (wire/hotpages.h); -1 = not known */
	int state_fd; /* a snapshot to go on from instead of booting; -1 = none */
	uint32_t cpus;
	int kernel_fd, initrd_fd; /* initrd: -1 = none */
	const char *cmdline;
	bool has_console;
	struct console_cfg console;
	int serial_fd; /* the 16550's output, not blocking; -1 = no UART */
	bool rng, balloon;
	bool confine; /* the threads may call only what they need (confine.h), for ever: a process of its own
		       */
	unsigned n_pmems, n_disks, n_nets, n_fs;
	struct pmem_cfg pmems[VMM_PMEMS_MAX]; /* `start` is the machine's to set */
	struct blk_cfg disks[VMM_DISKS_MAX];
	struct net_cfg nets[VMM_NETS_MAX];
	struct fs_cfg fs[VMM_FS_MAX]; /* `mem` is the machine's to set */
	bool has_virtiofs;
	struct virtiofs_cfg virtiofs;
};

/* Closes the fds that nobody took. */
void vmm_cfg_close(struct vmm_cfg *cfg);

#endif
