/* unpack.h - one layer's tar archive into a directory of our own, as overlayfs wants it: whiteouts are
 * device 0/0, hidden directories carry trusted.overlay.opaque. Called by layer.c. Needs root. */
#ifndef IMAGE_UNPACK_H
#define IMAGE_UNPACK_H

#include "image/tar.h"

/* Of one part of a path. Linux has 255; mkfs.erofs (1.5) cuts such a name to 254, onto another file's
 * perhaps. */
#define UNPACK_NAME_MAX 254u

enum unpack_devices {
	UNPACK_USUAL,  /* what every container's /dev has (null, zero, tty...); others are an error */
	UNPACK_KEEP,   /* all */
	UNPACK_DROP,   /* none, silently */
	UNPACK_REFUSE, /* each is an error */
};

struct unpack_limits {
	uint64_t entries; /* of one layer */
	uint64_t bytes;   /* of one layer, unpacked, holes counted: the EROFS image has them as zeros */
	enum unpack_devices devices;
	uint64_t used_entries, used_bytes; /* of both, by layers that it is put together with (merge.h) */
};

struct unpack_stats {
	uint64_t entries, bytes;
	uint64_t xattrs_left_out; /* of namespaces that an image may not set (trusted, most of security), and
				     ACLs as text alone */
};

/* Reads the archive to its end mark and makes its entries below `root` (a directory nobody else writes).
 * Every path is resolved below it without following any symlink. The first entry that may not be is an error
 * that names it; what was made until then is the caller's to remove. */
int must_check unpack_tar(const struct tar_source *src, int root, const struct unpack_limits *lim,
			  struct unpack_stats *ret, struct err *e);

#endif
