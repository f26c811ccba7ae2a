/* kvm.h - the driver for cor-vmm, our own virtual machine monitor: two jailed processes, cor-vmm and cor-fsd.
 *
 * Monitor only; others see struct hv. kvm_args() and kvm_open_files() are apart so that a test can hold every
 * argument and file against a list. */
#ifndef HYPER_KVM_H
#define HYPER_KVM_H

#include "base/str.h"
#include "hyper/hyper.h"

extern const struct hv_ops kvm_ops;

/* The fds that cor-vmm finds open beside stdio; the arguments name them. */
enum kvm_fd {
	KVM_FD_AGENT = 3,
	KVM_FD_CONSOLE,
	KVM_FD_CONTROL,
	KVM_FD_DEVICE, /* /dev/kvm */
	KVM_FD_SHARE,  /* to cor-fsd */
	KVM_FD_FILES,  /* from here on: see kvm_files(); then one for each of cfg->layers; then the disk */
	KVM_FD_FILES_MAX = KVM_FD_FILES + 3,
	KVM_FD_N = KVM_FD_FILES_MAX + LAYERS_MAX + 1
};

/* Files of a template. */
#define KVM_MEMORY_FILE "memory"
#define KVM_STATE_FILE  "state"

/* Appends cor-vmm's whole argv. -EINVAL with a text for a value that no machine can have. */
int must_check kvm_args(const struct vmcfg *cfg, struct strv *to, struct err *e);
/* Opens what cor-vmm gets from KVM_FD_FILES on: *ret_n descriptors in fds (room for KVM_FD_N - KVM_FD_FILES,
 * each -1 before). Those of a template are of one and the same. The caller closes all, after an error too. */
int must_check kvm_open_files(const struct vmcfg *cfg, int *fds, size_t *ret_n, struct err *e);

#endif
