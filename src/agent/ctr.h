/* ctr.h - the container: made by CREATE, gone when its first process has ended. Called by agent.c
 * (messages) and proc.c (the end). */
#ifndef AGENT_CTR_H
#define AGENT_CTR_H

#include "agent/agent.h"

/* The cgroup of one container. */
struct ctr_group {
	char name[24];
	int cg;     /* its directory; -1 = there are no cgroups */
	int oom_fd; /* inotify of memory.events; -1 = no memory controller */
};

/* Makes it in the tree (-1 = none: nothing is made). What was made before an error is in *g. */
int must_check ctr_group_make(int tree, unsigned number, struct ctr_group *g, struct err *e);

/* CREATE. The answer follows when the child is ready, or at once with the error in e. */
int must_check ctr_create(struct agent *a, uint32_t request, const struct msg_ctr *m, struct err *e);
/* EXEC, likewise. */
int must_check ctr_exec(struct agent *a, uint32_t request, const struct msg_exec *m, struct err *e);
int must_check ctr_update(struct agent *a, const struct msg_update *m, struct err *e);
int must_check ctr_signal(struct agent *a, const struct msg_signal *m, struct err *e);
/* Kills what is left of it: its first process ended. */
void ctr_kill_rest(struct agent *a);
/* Forgets it: every process was reaped and reported. */
void ctr_fini(struct agent *a);

#endif
