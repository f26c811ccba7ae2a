/* convert.h - a bundle's root becomes layers in the store: of an engine that mounted it from layers of its
 * own (overlayfs), one for each, converted once; of a plain directory, one for all of it. Called by
 * runtime/image.c before a container is made.
 *
 * Trusts: who mounted the root, and that an engine's layers do not change once they are there. Distrusts:
 * what is in it. Never: writes to the root. */
#ifndef IMAGE_CONVERT_H
#define IMAGE_CONVERT_H

#include "image/store.h"

/* Gives the EROFS files that stand for the directory `root` (absolute, resolved), the bottom one first, as
 * absolute paths. What is in the store already is taken from there: a layer of an engine by its directory
 * (path, device, inode, change time), a plain directory by the same of everything in it. What an engine or a
 * user has written above the layers becomes a file "upper.erofs" in `private`, a directory of the caller's.
 * -ENOTSUP: can't stand for it, and *e says why; other errors as they come. The store is not locked: whoever
 * uses the files locks it and looks whether they are still there. */
int must_check convert_root(const struct store *s, const char *root, const char *private, struct strv *ret,
			    struct err *e);

/* What /proc/self/mountinfo says about a root. */
struct convert_mount {
	bool overlay;      /* it is a mount of its own, of overlayfs */
	struct strv lower; /* its layers, the top one first; and what is written above them: */
	char *upper;       /* owned; NULL = nothing can be */
};

void convert_mount_fini(struct convert_mount *m);
#define scoped_convert_mount __attribute__((cleanup(convert_mount_fini))) struct convert_mount

/* Reads the text of mountinfo. -ENOTSUP with the reason if the root can't be converted: something is mounted
 * below it, or it is an overlay of a kind that can't be taken apart. */
int must_check convert_parse_mounts(const char *mountinfo, const char *root, struct convert_mount *ret,
				    struct err *e);

#endif
