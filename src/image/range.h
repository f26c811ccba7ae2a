/* range.h - a part of an open file, and what it holds if it is packed (gzip, zstd, xz, bzip2, lz4). Called by
 * layer.c and source*.c. */
#ifndef IMAGE_RANGE_H
#define IMAGE_RANGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/sha256.h"
#include "image/child.h"

#define RANGE_TAIL_MAX (64u << 20) /* bytes behind an archive's end mark; packers pad to 10 KiB */

struct range {
	int fd; /* borrowed, or owned by who says so */
	uint64_t off, len;
};

/* The digest of what it holds, as it is, as hex. */
int must_check range_sha256(const struct range *r, char ret[SHA256_HEX], struct err *e);
/* All of it into fresh memory with a NUL behind (free()); more than `max` is -EFBIG. */
int must_check range_read(const struct range *r, size_t max, char **ret, size_t *ret_len, struct err *e);
/* A nameless file in a directory; its fd. */
int must_check range_temporary(int dir, struct err *e);

/* What a range holds, from its beginning to its end: unpacked as it is read, by a tool beside us, so that who
 * stops reading has unpacked no more than that. */
struct unpacker {
	struct range from; /* its fd is borrowed */
	bool packed;
	uint64_t at;  /* how much was read; may be moved on if it is not packed */
	uint64_t max; /* of what is packed */
	int in;       /* the tool's input */
	struct child_pipe pipe;
};

/* Looks at the first bytes. dir: for a nameless file, if the range is not a whole one. More than `max` bytes
 * are an error when they are read, if it is packed. */
int must_check unpacker_open(struct unpacker *u, const struct range *from, int dir, uint64_t max,
			     struct err *e);
/* Fills p with n bytes, or with fewer at the end. The end of what is packed is one only if the tool found no
 * fault. */
ssize_t must_check unpacker_read(struct unpacker *u, void *p, size_t n, struct err *e);
/* Ends the tool. */
void unpacker_fini(struct unpacker *u);
#define scoped_unpacker __attribute__((cleanup(unpacker_fini))) struct unpacker

#endif
