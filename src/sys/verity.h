/* verity.h - fs-verity: a file of the host whose content the kernel checks as it is read, against a tree of
 * hashes beside it. Such a file can't be written any more, only removed. */
#ifndef SYS_VERITY_H
#define SYS_VERITY_H

#include "base/err.h"

#define VERITY_HEX 65 /* SHA-256 as hex digits, and a NUL */

/* Makes a file one: its content is read once for that. fd: for reading; nobody may have it open for writing.
 * One that is already stays as it is. -EOPNOTSUPP or -ENOTTY: kernel or file system can't, and *e says what
 * to do; e may be NULL. */
int must_check verity_enable(int fd, struct err *e);
/* The digest of the tree's root and the file's size: two files with the same one have the same content, and
 * what is read of them is it or an error (EIO). One ioctl, whatever the size. -ENODATA: the file has none;
 * also where it can't have one. */
int must_check verity_measure(int fd, char ret[VERITY_HEX]);

#endif
