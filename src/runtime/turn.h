/* turn.h - how many containers start at the same time on a host that emulates: the others wait for their
 * turn. */
#ifndef RUNTIME_TURN_H
#define RUNTIME_TURN_H

#include "cfg/settings.h"
#include "wire/plan.h"

/* Waits until fewer than so many starts are under way as this host does well at a time, at most TURN_MS:
 * later it goes on without. Returns a descriptor that holds the turn until turn_end(), or -1: it needs none.
 * A process that ends has no turn any more. */
int turn_take(const struct settings *s, const struct vmcfg *vm);
/* Sets *fd to -1; -1 is fine. */
void turn_end(int *fd);

#endif
