/* life.c - the table behind life.h. Rows are events, columns states, in the order of the enums. */
#include "wire/life.h"

#include <errno.h>

#include "base/str.h"

#define GO(state)                                                                                            \
	{                                                                                                    \
		LIFE_GO, LIFE_##state, NULL                                                                  \
	}
#define IGNORE                                                                                               \
	{                                                                                                    \
		LIFE_IGNORE, 0, NULL                                                                         \
	}
#define NO(text)                                                                                             \
	{                                                                                                    \
		LIFE_REFUSE, 0, text                                                                         \
	}
#define NOT_RUNNING     NO("container not running")
#define UNDER_WAY       NO("the container is still being created")
#define PAUSED_NO(what) NO("cannot " what " a paused container: resume it first")

/* clang-format off */
static const struct life_cell table[LIFE_EVENT_N][LIFE_STATE_N] = {
	/*                         creating       created       running       paused        stopped */
	[LIFE_DO_START]        = { UNDER_WAY,     GO(CREATED),  NO("cannot start a container that is running: it is not in the created state"),
	                                                                      NO("cannot start a container that is paused: it is not in the created state"),
	                                                                                    NO("cannot start a container that has stopped: container not running") },
	[LIFE_DO_SIGNAL]       = { UNDER_WAY,     GO(CREATED),  GO(RUNNING),  GO(PAUSED),   NOT_RUNNING },
	[LIFE_DO_KILL]         = { UNDER_WAY,     GO(CREATED),  GO(RUNNING),  GO(RUNNING),  NOT_RUNNING },
	[LIFE_DO_EXEC]         = { UNDER_WAY,     GO(CREATED),  GO(RUNNING),  PAUSED_NO("exec in"),
	                                                                                    NO("cannot exec in a stopped container: container not running") },
	[LIFE_DO_PAUSE]        = { UNDER_WAY,     NO("cannot pause a container that is not running: it is created"),
	                                                        GO(PAUSED),   NO("the container is paused already"),
	                                                                                    NOT_RUNNING },
	[LIFE_DO_RESUME]       = { UNDER_WAY,     NO("cannot resume a container that is not paused"),
	                                                        NO("cannot resume a container that is not paused"),
	                                                                      GO(RUNNING),  NOT_RUNNING },
	[LIFE_DO_UPDATE]       = { UNDER_WAY,     GO(CREATED),  GO(RUNNING),  PAUSED_NO("update"),
	                                                                                    NOT_RUNNING },
	[LIFE_DO_QUERY]        = { UNDER_WAY,     GO(CREATED),  GO(RUNNING),  PAUSED_NO("ask"), NOT_RUNNING },
	[LIFE_DO_DELETE]       = { UNDER_WAY,     GO(STOPPED),  NO("cannot delete a container that is not stopped: it is running"),
	                                                                      NO("cannot delete a container that is not stopped: it is paused"),
	                                                                                    GO(STOPPED) },
	[LIFE_DO_DELETE_FORCE] = { GO(STOPPED),   GO(STOPPED),  GO(STOPPED),  GO(STOPPED),  GO(STOPPED) },
	[LIFE_IS_CREATED]      = { GO(CREATED),   IGNORE,       IGNORE,       IGNORE,       IGNORE },
	[LIFE_IS_STARTED]      = { IGNORE,        GO(RUNNING),  IGNORE,       IGNORE,       IGNORE },
	[LIFE_HAS_EXITED]      = { GO(STOPPED),   GO(STOPPED),  GO(STOPPED),  GO(STOPPED),  IGNORE },
	[LIFE_VM_DIED]         = { GO(STOPPED),   GO(STOPPED),  GO(STOPPED),  GO(STOPPED),  IGNORE },
	/* A detached container has no caller any more when it is created: nobody is watched then. */
	[LIFE_CALLER_GONE]     = { GO(STOPPED),   GO(STOPPED),  GO(STOPPED),  GO(STOPPED),  IGNORE },
};
/* clang-format on */

static const char *const names[LIFE_STATE_N] = {
	[LIFE_CREATING] = "creating", [LIFE_CREATED] = "created", [LIFE_RUNNING] = "running",
	[LIFE_PAUSED] = "paused",     [LIFE_STOPPED] = "stopped",
};

const struct life_cell *life_cell(enum life_state state, enum life_event event)
{
	static const struct life_cell unknown = NO("no such state or event");

	return state < LIFE_STATE_N && event < LIFE_EVENT_N ? &table[event][state] : &unknown;
}

int life_check(enum life_state state, enum life_event event, struct err *e)
{
	const struct life_cell *c = life_cell(state, event);

	if (c->verdict != LIFE_REFUSE)
		return 0;
	return err_set(e, state == LIFE_STOPPED ? -ESRCH : -EINVAL, "%s", c->why);
}

const char *life_name(enum life_state state)
{
	return state < LIFE_STATE_N ? names[state] : "?";
}

enum life_state life_by_name(const char *name)
{
	for (unsigned i = 0; i < LIFE_STATE_N; i++)
		if (str_eq(names[i], name))
			return (enum life_state)i;
	return LIFE_STATE_N;
}
