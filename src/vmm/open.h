/* open.h - from the texts of the command line to open fds and plain values (cfg.h). For cli.c. */
#ifndef VMM_OPEN_H
#define VMM_OPEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "vmm/cfg.h"

#define OPTION_REPEAT_MAX 24

/* An option that may be given several times. */
struct option_list {
	const char *v[OPTION_REPEAT_MAX];
	unsigned n;
};

/* What the options say, before anything is opened. All texts are argv's. */
struct options {
	const char *kernel, *initrd, *cmdline, *console, *serial, *port, *kvm, *control, *memory_file,
		*restore, *hot, *virtiofs;
	uint64_t memory, cpus;
	bool huge_pages, merge, clone, rng, balloon;
	struct option_list disks, pmems, nets, fs;
};

/* A path, or fd:N: an inherited fd, which becomes ours. `what` is the option's name. */
int must_check open_file(const char *what, const char *name, int flags, int *ret, struct err *e);
/* Opens everything. `texts` keeps names that cfg refers to. On failure the caller closes what is open
 * (vmm_cfg_close()). */
int must_check open_all(const struct options *o, struct strv *texts, struct vmm_cfg *cfg, struct err *e);
/* A socket for the control socket: a new listening one at a path, or fd:N as it is. */
int must_check open_control(const char *name, int *ret, struct err *e);

#endif
