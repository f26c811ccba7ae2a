/* rehearsal.h - the program of the container that warms up a waiting VM (keeper.c). */
#ifndef MONITOR_REHEARSAL_H
#define MONITOR_REHEARSAL_H

#include "wire/plan.h"

/* In the guest: what most programs do first. argc: its own; it is 3 for a child. Returns its exit code. */
int rehearsal_main(int argc);

#endif
