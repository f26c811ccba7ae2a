/* tar.h - reads a tar archive as a stream: ustar, v7, pax and GNU, with long names, extended attributes and
 * all four forms of sparse files.
 *
 * A reader of its own, because names must come out as the bytes that went in: the packaged library
 * converts pax names to the locale and normalises them, so that two files can become one. Pull, not push: the
 * caller decides after each header what to do with it. Trusts nothing: every field is checked, memory per
 * entry is bounded, nothing is written anywhere. Used by unpack.c and source.c. Single thread. */
#ifndef IMAGE_TAR_H
#define IMAGE_TAR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"

#define TAR_BLOCK       512u
#define TAR_HEADER_MAX  (4u << 20) /* bytes of one pax header */
#define TAR_SEGMENT_MAX (1u << 18) /* pieces of one sparse file */

/* Where the bytes come from: `read` fills p with n bytes, or with fewer at the end; -errno with *e set. */
struct tar_source {
	ssize_t (*read)(void *arg, void *p, size_t n, struct err *e);
	void *arg;
	bool whole; /* somebody else sees to it that nothing is missing: it may end without an end mark */
};

enum tar_type { TAR_FILE, TAR_HARDLINK, TAR_SYMLINK, TAR_CHAR, TAR_BLOCKDEV, TAR_DIR, TAR_FIFO };

/* A piece of a file that the archive holds; what is between pieces is zero. */
struct tar_segment {
	uint64_t off, len;
};

/* An ACL as text, not as the kernel's attribute, which is what engines read: its whole key is the name. */
#define TAR_ACL_TEXT "SCHILY.acl."

struct tar_xattr {
	const char *name;
	const void *value;
	size_t len;
};

/* One entry, valid until the next tar_next(). No string holds a NUL; nothing else is known about them. */
struct tar_entry {
	enum tar_type type;
	const char *name, *link; /* as written; link = "" but for the two kinds of links */
	uint32_t mode;           /* 07777 at most */
	uint64_t uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	uint64_t size; /* of the file when unpacked; 0 for what is no file */
	uint32_t major, minor;
	const struct tar_segment *segments; /* ascending, within size; their sum is what tar_read() gives */
	size_t n_segments;
	const struct tar_xattr *xattrs;
	size_t n_xattrs;
};

struct tar {
	struct tar_source src;
	struct arena mem;   /* of the current entry */
	uint64_t offset;    /* bytes read so far */
	uint64_t left, pad; /* of the current entry's data: not read yet; zeros behind it */
	uint64_t n;         /* entries so far */
};

void tar_init(struct tar *t, const struct tar_source *src);
void tar_fini(struct tar *t);
#define scoped_tar __attribute__((cleanup(tar_fini))) struct tar

/* 1 = *ret is the next entry (data that was not read is skipped), 0 = the end mark, -EBADMSG = no tar
 * archive, damaged or truncated, or what `read` said. */
int must_check tar_next(struct tar *t, struct tar_entry *ret, struct err *e);
/* The next bytes of the entry's pieces, one piece after the other; fewer than n only at their end. */
ssize_t must_check tar_read(struct tar *t, void *p, size_t n, struct err *e);

#endif
