/* limits.h - the container's resources in the guest's cgroup (v2). Called by ctr.c. */
#ifndef AGENT_LIMITS_H
#define AGENT_LIMITS_H

#include "base/err.h"
#include "wire/msg.h"

/* Applies what the record has to the cgroup; cg -1 = there are no cgroups, and any limit is an error. The
 * error names the field. *device_prog: see bpfdev_attach(). */
int must_check limits_apply(int cg, const struct msg_resources *r, int *device_prog, struct err *e);

/* cpu.shares (2..262144) as cpu.weight (1..10000), by the formula of runc. */
uint64_t limits_weight(uint64_t shares);

#endif
