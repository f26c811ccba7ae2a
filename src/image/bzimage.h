/* bzimage.h - finds the compressed ELF kernel inside a bzImage by the x86 boot protocol's header.
 * Input is untrusted bytes in memory; nothing is decompressed here. */
#ifndef IMAGE_BZIMAGE_H
#define IMAGE_BZIMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The kernel grows to this at most: a bound for what a decompressor may write. */
#define BZIMAGE_UNPACKED_MAX (512u << 20)
#define BZIMAGE_RELEASE_MAX  64

struct bzimage_packer {
	const char *name;
	uint8_t magic[6];
	uint8_t magic_len;
	uint8_t trailer;           /* bytes of unpacked size that the kernel's build puts behind the stream */
	const char *const argv[5]; /* the tool that unpacks stdin to stdout */
};

struct bzimage {
	const uint8_t *payload; /* borrowed: the compressed stream without the trailer */
	size_t len;
	uint32_t unpacked; /* size that the image says, 1..BZIMAGE_UNPACKED_MAX */
	const struct bzimage_packer *packer;
	char release[BZIMAGE_RELEASE_MAX]; /* `uname -r` of this kernel, "" if it does not say */
};

/* -ENOEXEC: not a bzImage, or one that does not hold together; -ENOTSUP: unknown compression. */
int must_check bzimage_parse(const void *p, size_t n, struct bzimage *ret, struct err *e);

#endif
