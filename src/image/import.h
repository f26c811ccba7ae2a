/* import.h - an image comes into the store. */
#ifndef IMAGE_IMPORT_H
#define IMAGE_IMPORT_H

#include "image/source.h"

/* Does the kernel check what is read of the layers (fs-verity)? */
enum import_verity {
	IMPORT_VERITY_OFF_N,
	IMPORT_VERITY_ON_N,      /* where the store's file system can */
	IMPORT_VERITY_REQUIRE_N, /* else the import fails */
	IMPORT_VERITY_N
};

struct import_opts {
	const char *path;
	const char
		*name;   /* what it will be called, or NULL: what the source calls it, else the file's name */
	const char *ref; /* which of the source's images, or NULL: the only one */
	enum source_kind kind;
	struct unpack_limits limits;
	enum import_verity verity;
};

#define IMPORT_ENTRIES 2000000ull
#define IMPORT_BYTES   (64ull << 30)

/* Converts what is not in the store yet and names it. Nothing of a failed import stays. *ret is the image as
 * store_read() gives it; *ret_new counts the layers that were made; *ret_name (free()) is what it is called.
 */
int must_check import_run(const struct store *s, const struct import_opts *o, struct ui *ui,
			  struct store_image *ret, size_t *ret_new, char **ret_name, struct err *e);

#endif
