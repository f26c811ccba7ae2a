/* cpio.h - writes an initramfs ("newc" cpio, uncompressed: a VM maps it, the kernel copies it once).
 * The same entries give the same bytes: sorted by path, numbered from 1, owner root, time 0. */
#ifndef IMAGE_CPIO_H
#define IMAGE_CPIO_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"

struct cpio_entry {
	char *path;       /* owned; relative: "lib/modules" */
	mode_t mode;      /* type and permission bits */
	const void *data; /* borrowed until cpio_write() */
	size_t len;
	uint32_t major, minor; /* of a device node */
};

/* Zero-initialise. */
struct cpio {
	struct cpio_entry *p;
	size_t n, cap;
	bool oom;
};

void cpio_fini(struct cpio *c); /* idempotent */
#define scoped_cpio __attribute__((cleanup(cpio_fini))) struct cpio

/* Entries in any order. A failed allocation is remembered and reported by cpio_write(). */
void cpio_dir(struct cpio *c, const char *path, mode_t perm);
void cpio_file(struct cpio *c, const char *path, mode_t perm, const void *data, size_t len);
void cpio_char_device(struct cpio *c, const char *path, mode_t perm, uint32_t major, uint32_t minor);

/* Writes the archive to `to`, which must be empty. -EEXIST: a path twice; -ENOENT: a path whose directory is
 * not an entry; -EINVAL: a path that is empty, absolute or has a "." or ".." part; -EFBIG; -ENOMEM. */
int must_check cpio_write(struct cpio *c, struct str *to, struct err *e);
/* Makes the entries in the empty directory `dir`; errors as above. */
int must_check cpio_unpack(struct cpio *c, int dir, struct err *e);

#endif
