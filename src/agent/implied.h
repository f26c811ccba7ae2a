/* implied.h - directories of a root made of layers that the top one which has them says nothing of
 * (sys/implied.h): they get owner, mode and attributes from the layer below that does. Called by layers.c.
 *
 * Distrusts: the lists, which are content of images. They are paths below the layers and the root, whose
 * symlinks are not followed. */
#ifndef AGENT_IMPLIED_H
#define AGENT_IMPLIED_H

#include "base/err.h"
#include "wire/msg.h"

struct implied {
	size_t n;             /* layers */
	int dirs[LAYERS_MAX]; /* they, the bottom one first */
	char *lists[LAYERS_MAX];
	size_t lens[LAYERS_MAX];
};

/* Opens `base`/0 to `base`/n-1 and reads their lists. *ret_any: there is one, whose file is to be hidden. */
int must_check implied_read(struct implied *i, const char *base, size_t n, bool *ret_any, struct err *e);
/* `on` is where they are stacked, with a writable layer above. */
int must_check implied_mend(const struct implied *i, const char *on, struct err *e);
/* Closes and frees; all zero with n = 0 is fine. */
void implied_fini(struct implied *i);
#define scoped_implied __attribute__((cleanup(implied_fini))) struct implied

#endif
