/* layers.h - a container's root from images: EROFS file systems on pmem devices, mapped from the host's page
 * cache (DAX) and stacked by overlayfs below a layer in memory or on a disk. Called by boot.c (devices) and
 * agent.c (mounts); docs/images.md.
 *
 * Trusts: the host's list. Distrusts: the images, as far as that is possible: it is this guest's kernel that
 * reads them, and nobody else's. */
#ifndef AGENT_LAYERS_H
#define AGENT_LAYERS_H

#include "base/err.h"
#include "wire/msg.h"

/* How many devices the kernel's command line announces; 0 = none. */
unsigned layers_announced(void);
/* Waits until their block devices are there, and the disk if one is announced: before a template is saved,
 * which then holds what the kernel keeps about each page of them. Reads nothing of them. */
int must_check layers_await(unsigned n, struct err *e);
/* Mounts the container's root on `on`. The devices may have other content than when the kernel first saw
 * them. */
int must_check layers_mount(const struct msg_ctr *c, const char *on, struct err *e);

#endif
