/* disk.h - the disk of a VM for what its container writes over the layers (vmcfg.disk).
 *
 * A file without a name: it is there as long as somebody has it open, which is the hypervisor. Whatever is
 * killed, and however, nothing of it stays. */
#ifndef HYPER_DISK_H
#define HYPER_DISK_H

#include "base/arena.h"
#include "base/err.h"
#include "wire/plan.h"

/* Looks at an empty disk (image/disk.h): vm->disk, in the arena. -EINVAL: no ext4 of that size, or the file
 * is not root's alone. */
int must_check hv_disk_describe(const char *path, uint64_t size, struct arena *a, struct vmcfg *vm,
				struct err *e);
/* Opens a copy of it, sparse and of the same size, for reading and writing. *ret is left alone if cfg has
 * none. A template's maker gets empty memory of the same size: a template holds nothing of a disk. -ESTALE:
 * the file is not the one that was described. */
int must_check hv_disk_open(const struct vmcfg *cfg, int *ret, struct err *e);
/* The descriptors that it takes: 1 or 0. */
size_t hv_disk_fds(const struct vmcfg *cfg);

#endif
