/* proc.h - one process that the host knows: from clone to its exit report. Called by ctr.c (start)
 * and agent.c (loop, messages). */
#ifndef AGENT_PROC_H
#define AGENT_PROC_H

#include "agent/agent.h"
#include "agent/child.h"

void procs_init(struct agent *a);
/* The process with the host's number, NULL if there is none (also when it has ended). */
struct proc *proc_find(struct agent *a, uint32_t id);

/* What the agent keeps of a new child. */
struct proc_birth {
	pid_t pid;   /* -1 = there is none */
	int ctl;     /* our end of its control socket; -1 */
	int ours[3]; /* our ends of its pipes; -1 */
};

/* Where it is born. */
struct proc_place {
	uint64_t clone_flags; /* namespaces to be made */
	int cgroup;           /* -1 = the agent's */
	int pidns, own_pidns; /* one to be born in, and the way back; -1 = ours, or a new one by flags */
};

/* Clones a child that runs child_main(job). It waits for its first message, and ends when ctl is closed. */
int must_check proc_bear(struct child_job *job, const struct proc_place *at, bool has_pipes,
			 struct proc_birth *ret, struct err *e);
/* Closes what is open. */
void proc_birth_fini(struct proc_birth *b);

struct proc_spawn {
	uint32_t id, request;
	uint64_t clone_flags;      /* namespaces to be made at clone */
	int pidns;                 /* the pid namespace to be born in; -1 = ours, or a new one by flags */
	struct proc_birth *parked; /* a parked child that fits, taken; NULL = one is made */
	const struct msg_idmap *uid_map, *gid_map;
	size_t n_uid_map, n_gid_map;
	struct child_job *job; /* ctl and stdio are filled in here */
};

/* Starts the child, binds its streams and sends it on. The request is answered later. */
int must_check proc_spawn(struct agent *a, const struct proc_spawn *s, struct err *e);
/* START. */
int must_check proc_start(struct proc *p, uint32_t request, struct err *e);
void proc_resize(struct proc *p, uint32_t rows, uint32_t cols);

/* Reaps every child that has ended. */
void procs_reap(struct agent *a);
/* Reports what has ended and is drained: exec sessions first, the container's process last. Called
 * after each turn of the loop. */
void procs_settle(struct agent *a);

#endif
