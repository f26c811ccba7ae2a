/* child.h - from clone() to the container's program: what the new process does.
 *
 * A child can be made before it is known what for: it is parked. What it can do without the request is done
 * then, and the request comes in its first message.
 *
 * Agent and child talk over a SOCK_SEQPACKET pair that is closed by exec:
 *     child: CHILD_PARKED    a parked one is ready for its request
 *     agent: the request, to a parked child, with the share's mount as an fd if it has to attach it
 *     agent: 'G'   to others: id maps and limits that need the agent's rights are in place: set yourself up
 *     child: CHILD_TTY    with the master of the terminal as an fd, if it has one
 *     child: CHILD_READY  set up (exec sessions go on at once, without waiting for 'S')
 *     agent: 'S'   run the start hooks, then exec
 *     child: CHILD_FAILED at any time, with the error; it then exits
 *     end of file: exec succeeded (or the child was killed) */
#ifndef AGENT_CHILD_H
#define AGENT_CHILD_H

#include "base/err.h"
#include "wire/msg.h"

enum child_kind { CHILD_TTY = 1, CHILD_READY, CHILD_FAILED, CHILD_PARKED };

struct child_msg {
	uint32_t kind;
	struct err err; /* CHILD_FAILED */
};

struct child_job {
	int ctl;      /* its end of the control socket */
	int stdio[3]; /* its ends of the pipes; -1 with a terminal */
	const struct msg_process *process;
	bool is_exec;
	bool is_parked; /* process and ctr come later */
	/* The container's first process: */
	const struct msg_ctr *ctr;
	const char *share;
	bool has_cgroup;
	/* An exec session: */
	int ns[8]; /* namespaces to join, in order; -1 = end of the list */
	bool has_userns;
};

/* Bytes of the largest request that a parked child takes. */
#define CHILD_REQUEST_MAX 65536u

/* Never returns. */
_Noreturn void child_main(struct child_job *job);

#endif
