/* layers.h - EROFS files that become read-only pmem devices of a VM (vmcfg.layers).
 *
 * The runtime describes them for the plan, a driver opens them. Between the two nobody may have put another
 * file in the place of one: size and UUID are compared. What the file system holds is never looked at here;
 * it is the guest's business. */
#ifndef HYPER_LAYERS_H
#define HYPER_LAYERS_H

#include "base/arena.h"
#include "base/err.h"
#include "wire/plan.h"

/* Looks at each file: vm->layers, in the arena; `os` (NULL = none) is the first. -EINVAL: no EROFS file
 * system, or a size that no device can have; -E2BIG: too many. */
int must_check hv_layers_describe(const char *os, const struct pack_strs *paths, struct arena *a,
				  struct vmcfg *vm, struct err *e);
/* True if there is an EROFS file system in the file. */
bool hv_layer_is(const char *path);
/* Opens them for reading: fds[i] is cfg->layers.p[i]. A template's maker gets empty memory of the same sizes
 * instead: a template holds nothing of a container. -ESTALE: a file is not the one that was described;
 * -EBADMSG: it has not the fs-verity digest that it should have. After an error some are open. */
int must_check hv_layers_open(const struct vmcfg *cfg, int fds[LAYERS_MAX], struct err *e);

#endif
