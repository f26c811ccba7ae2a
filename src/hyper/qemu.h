/* qemu.h - the driver for the distribution's QEMU, with KVM or software emulation (TCG).
 *
 * Monitor only; others see struct hv. qemu_args() is apart so that a test can hold every argument
 * against a list. */
#ifndef HYPER_QEMU_H
#define HYPER_QEMU_H

#include "base/str.h"
#include "hyper/hyper.h"

extern const struct hv_ops qemu_ops;

/* The fds that QEMU finds open beside stdio; the arguments name them. */
enum qemu_fd {
	QEMU_FD_AGENT = 3,
	QEMU_FD_CONSOLE,
	QEMU_FD_QMP,
	QEMU_FD_MEMORY,                 /* a template's, if there is one */
	QEMU_FD_SHARE = QEMU_FD_MEMORY, /* or cor-fsd's socket: no template has one */
	QEMU_FD_FORK,                   /* of a VM that is to be copied: qemu_fork.h */
	QEMU_FD_LAYERS,                 /* from here on, one for each of cfg->layers; then the disk */
	QEMU_FD_N = QEMU_FD_LAYERS + LAYERS_MAX + 1
};

/* Files of a template: memory is mapped by the argument list, state goes over QMP. */
#define QEMU_MEMORY_FILE "memory"
#define QEMU_STATE_FILE  "state"
/* What the argument list calls QEMU_FD_MEMORY: a name that only cor-qemu-fix.so (qemu_fix.c) can open. */
#define QEMU_MEMORY_NAME "/dev/fd/cor-memory"
#define QEMU_MEMORY_ANEW "/proc/self/fd/6" /* where that is missing */
_Static_assert(QEMU_FD_MEMORY == 6, "by its number");

/* Appends QEMU's whole argv. -EINVAL with a text for a value that no machine can have. docs/machine.md
 * says what each argument is for. */
int must_check qemu_args(const struct vmcfg *cfg, struct strv *to, struct err *e);

#endif
