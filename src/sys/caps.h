/* caps.h - the five capability sets of the calling process, by raw system calls: libcap is not
 * needed. Called by the agent in a process that is about to become a container's.
 * Bit n of a set stands for capability n. Leaf helpers: 0 or -errno. */
#ifndef SYS_CAPS_H
#define SYS_CAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/scope.h"

struct caps_sets {
	uint64_t bounding, effective, inheritable, permitted, ambient;
};

/* The capabilities that this kernel knows. */
uint64_t caps_known(void);
/* Reads all five. */
int must_check caps_get(struct caps_sets *ret);
/* Drops what is not in `keep` from the bounding set. Needs CAP_SETPCAP unless nothing is dropped. */
int must_check caps_set_bounding(uint64_t keep);
/* Whether permitted capabilities survive the next change of uid from 0. */
int must_check caps_keep_on_setuid(bool keep);
/* Sets effective, permitted, inheritable and ambient. What can't be granted (unknown to the kernel, not
 * permitted to the caller, ambient without permitted and inheritable) is left out: the OCI spec
 * wants that to be no failure. */
int must_check caps_set(const struct caps_sets *want);

#endif
