/* disk.h - empty disks for what containers of images write: an ext4 file system in a sparse file, made once
 * for each size and copied for each container (hyper/disk.h). Called by runtime/plan_vm.c.
 *
 *     DIR/ext4.1-BYTES   an empty one; the digit is raised with any change of how it is made
 *
 * Trusts: DIR, which only root may be able to write to. */
#ifndef IMAGE_DISK_H
#define IMAGE_DISK_H

#include <stdint.h>

#include "base/err.h"

#define DISK_MIN   (16ull << 20) /* bytes: below that the file system itself takes most of it */
#define DISK_ALIGN (1ull << 20)

/* The path (free()) of an empty disk of so many bytes below `dir` (absolute), made by mke2fs if it is not
 * there; `dir` is made, too. It appears whole or not at all, and nothing else is left, also by a crash.
 * Errors name the setting: -EINVAL for a size that no disk can have, -EPERM for a directory that others than
 * root can write to, -EOPNOTSUPP for a file system without O_TMPFILE, -ENOENT without mke2fs. Several may
 * make the same one at once. */
int must_check disk_blank(const char *dir, uint64_t size, char **ret, struct err *e);

#endif
