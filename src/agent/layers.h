/* layers.h - a container's root from images: EROFS file systems on pmem devices, mapped from the host's page
 * cache (DAX) and stacked by overlayfs below a layer in memory or on a disk. Called by boot.c (modules),
 * main.c (what is made in advance) and agent.c (mounts); docs/images.md.
 *
 * Trusts: the host's list. Distrusts: the images, as far as that is possible: it is this guest's kernel that
 * reads them, and nobody else's. */
#ifndef AGENT_LAYERS_H
#define AGENT_LAYERS_H

#include <stdbool.h>

#include "base/err.h"
#include "wire/msg.h"

/* What was made before the images are known; all zero: nothing. */
struct layers_ready {
	unsigned n;      /* devices that the kernel's command line announces */
	bool is_settled; /* they are there and read-only, and nothing that was read of them is kept */
	bool has_upper;  /* memory for what the container writes is there, of the usual size; not used yet */
};

/* How many devices the kernel's command line announces; 0 = none. */
unsigned layers_announced(void);
/* Makes what does not depend on the images, so that a template holds it: waits for the devices (it then also
 * holds what the kernel keeps about each page of them), closes them for writing, makes the places of mounts
 * and the writable layer. Keeps nothing of what was read of them. What can't be made is logged. */
void layers_prepare(struct layers_ready *l);
/* Mounts the container's root on `on`. The devices may have other content than when the kernel first saw
 * them. The writable layer of `l` is used by the first who asks. */
int must_check layers_mount(struct layers_ready *l, const struct msg_ctr *c, const char *on, struct err *e);

#endif
