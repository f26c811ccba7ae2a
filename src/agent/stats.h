/* stats.h - what the container's processes are and use: answers to PS and STATS. Called by agent.c. */
#ifndef AGENT_STATS_H
#define AGENT_STATS_H

#include "agent/agent.h"

/* Sends MSG_A_PS_RESULT as the answer to request `id`. */
int must_check stats_send_ps(struct agent *a, uint32_t id, struct err *e);
/* Sends MSG_A_STATS_RESULT. What the cgroup doesn't have is 0; without a limit it is UINT64_MAX. */
int must_check stats_send(struct agent *a, uint32_t id, struct err *e);

/* One line of /proc/PID/status, "NSpid:", as the pids from the outermost namespace inwards. Returns how many
 * there are (at most cap), 0 if the line is missing or malformed. */
size_t stats_parse_nspid(const char *status, uint32_t *pids, size_t cap);

#endif
