/* limits.h - the container's resources in the guest's cgroup (v2). Called by ctr.c. */
#ifndef AGENT_LIMITS_H
#define AGENT_LIMITS_H

#include "base/err.h"
#include "sys/bpfdev.h"
#include "wire/msg.h"

/* Loads the device program of a list that denies all, as nearly every config.json has it: the verifier's work
 * is done before a container is known. */
int must_check limits_prepare(struct bpfdev_prog *ret);
/* Applies what the record has to the cgroup; cg -1 = there are no cgroups, and any limit is an error. The
 * error names the field. ready (of limits_prepare()), *device_prog: see bpfdev_attach(). */
int must_check limits_apply(int cg, const struct msg_resources *r, const struct bpfdev_prog *ready,
			    int *device_prog, struct err *e);

/* cpu.shares (2..262144) as cpu.weight (1..10000), by the formula of runc. */
uint64_t limits_weight(uint64_t shares);

#endif
