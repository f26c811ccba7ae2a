/* park.h - what is made before the host asks: the container's cgroup, and a child with the usual namespaces
 * and mounts that waits for its request (parked). Made before the agent opens its port, so a template
 * (docs/templates.md) holds it, and a clone only has to use it.
 *
 * Nothing here depends on a container: one that wants other namespaces gets a child of its own, and the
 * parked one ends. Called by main.c (make) and ctr.c (use). */
#ifndef AGENT_PARK_H
#define AGENT_PARK_H

#include "agent/ctr.h"
#include "agent/proc.h"

struct parked {
	int tree;
	struct ctr_group group;
	struct proc_birth birth;
};

/* `cgroup` is the tree to work in, -1 = none; `share` as in agent_conf. What can't be made is missing. */
void park_make(struct parked *p, int cgroup, const char *share);
/* The parked child if it can become this container, else NULL; then it has ended. */
struct proc_birth *park_take(struct parked *p, uint64_t namespaces, size_t request_len);
/* Ends the parked child, if there is one: its cgroup has become useless. */
void park_drop(struct parked *p);
/* This child of the agent has ended; if it was the parked one, there is none any more. */
void park_ended(struct parked *p, pid_t pid);
/* Ends and removes what was not used. */
void park_fini(struct parked *p);

#endif
