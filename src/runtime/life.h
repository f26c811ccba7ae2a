/* life.h - what several verbs do with a container: start it, end it. */
#ifndef RUNTIME_LIFE_H
#define RUNTIME_LIFE_H

#include "runtime/cli.h"
#include "runtime/ctr.h"

/* Runs the created container's process, then the poststart hooks; one that fails ends the container. */
int must_check life_start(struct ctr *c, struct err *e);

/* What `delete` does once the lock is held. Alive and not `force`: only a created one is ended. */
int must_check life_delete(struct ctr *c, bool force, struct err *e);

#endif
