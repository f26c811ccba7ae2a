/* merge.h - several layers become one, as overlayfs would show them: for images and roots of more layers than
 * a VM has devices (store_run()). Called by import.c and convert.c, in a staging directory.
 *
 * What is hidden within the run is gone; what may hide something below it stays: whiteouts, opaque
 * directories. So the result is a layer as any other, whatever it is put on. */
#ifndef IMAGE_MERGE_H
#define IMAGE_MERGE_H

#include "image/store.h"

struct merge {
	const struct store_staging *g; /* "merged" in it is what has come so far */
	struct strv implied;           /* of all layers: paths that they have no entry for (sys/implied.h) */
	uint64_t entries;              /* of all layers: for the sum */
};

void merge_fini(struct merge *m);
#define scoped_merge __attribute__((cleanup(merge_fini))) struct merge

/* Puts the directory "root" of staging, a layer as overlayfs wants it, over what has come before, and removes
 * it. Nobody else may write to either. `entries` are counted for the sum. The lowest layer is the first. */
int must_check merge_add(struct merge *m, uint64_t entries, struct err *e);
/* Makes the layer `name` of it, with its sum, in staging. */
int must_check merge_end(struct merge *m, const char *name, struct err *e);

#endif
