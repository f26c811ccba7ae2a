/* rehearse.h - a container before the first one, for warming up a VM that waits. */
#ifndef AGENT_REHEARSE_H
#define AGENT_REHEARSE_H

#include "agent/agent.h"

/* The rehearsal's container has ended and been removed: from here on the agent knows as much of the host as
 * before its HELLO, and waits for one. The share stays mounted: its content is the host's. */
void rehearse_end(struct agent *a);

#endif
