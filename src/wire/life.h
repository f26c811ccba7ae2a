/* life.h - a container's life as one table: what every event does in every state.
 *
 * The monitor asks it before it acts; the runtime asks it before it asks the monitor, so that both give
 * the same answer in the same words. States are those of the OCI spec and of the file STATE_DIR/phase.
 * No cell is empty: an event is followed (perhaps into another state), ignored, or refused with
 * a text. */
#ifndef WIRE_LIFE_H
#define WIRE_LIFE_H

#include "base/err.h"

enum life_state { LIFE_CREATING, LIFE_CREATED, LIFE_RUNNING, LIFE_PAUSED, LIFE_STOPPED, LIFE_STATE_N };

enum life_event {
	/* asked for by verbs */
	LIFE_DO_START,
	LIFE_DO_SIGNAL, /* any but SIGKILL */
	LIFE_DO_KILL,   /* SIGKILL */
	LIFE_DO_EXEC,
	LIFE_DO_PAUSE,
	LIFE_DO_RESUME,
	LIFE_DO_UPDATE,
	LIFE_DO_QUERY, /* ps, events */
	LIFE_DO_DELETE,
	LIFE_DO_DELETE_FORCE,
	/* happened */
	LIFE_IS_CREATED,  /* the agent has set the container up */
	LIFE_IS_STARTED,  /* the agent has run its process */
	LIFE_HAS_EXITED,  /* its process ended */
	LIFE_VM_DIED,     /* the VM ended or the agent was lost */
	LIFE_CALLER_GONE, /* the cor that creates it, or runs it in the foreground, ended */
	LIFE_EVENT_N
};

enum life_verdict {
	LIFE_GO,     /* follow it; `next` is the state afterwards (may be the same) */
	LIFE_IGNORE, /* nothing to do, no error */
	LIFE_REFUSE  /* an error for whoever asked */
};

struct life_cell {
	enum life_verdict verdict;
	enum life_state next;
	const char *why; /* REFUSE: the text callers look for (oci-contract) */
};

/* The cell; a value outside the enums is refused. */
const struct life_cell *life_cell(enum life_state state, enum life_event event);
/* 0 if the event may be followed or ignored, else -EINVAL (or -ESRCH for a stopped one) with the
 * cell's text. */
int must_check life_check(enum life_state state, enum life_event event, struct err *e);
/* "creating", "created", "running", "paused", "stopped". */
const char *life_name(enum life_state state);
/* The state of that name, or LIFE_STATE_N. */
enum life_state life_by_name(const char *name);

#endif
