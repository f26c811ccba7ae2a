/* confine.h - what system calls a thread of a running machine may make.
 *
 * The tables are those of jail/mkfilter.c, compiled by the build. A call that a table does not name kills the
 * process: it is proof that the thread was taken over. It comes on top of cor-jail's filter, which is the
 * whole process's from its start and so must allow what only starting needs. */
#ifndef VMM_CONFINE_H
#define VMM_CONFINE_H

#include "base/err.h"

enum confine_as {
	CONFINE_VCPU, /* runs guest code, serves register accesses */
	CONFINE_LOOP, /* serves queues and the control socket; ends the machine */
};

/* For ever, and for this thread only; the thread can't gain privileges by exec any more, nor can those it
 * makes. An error: the kernel has no seccomp filters. */
int must_check confine_thread(enum confine_as as, struct err *e);

#endif
