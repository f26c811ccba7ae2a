/* sched.h - CPU and I/O scheduling of a process that was just cloned. Called by proc.c, with the
 * agent's rights: a user namespace has none. */
#ifndef AGENT_SCHED_H
#define AGENT_SCHED_H

#include <sys/types.h>

#include "base/err.h"
#include "wire/msg.h"

/* Scheduler, I/O priority and CPU affinity of process `pid`, as far as the record has them. */
int must_check sched_apply(pid_t pid, const struct msg_process *p, struct err *e);
/* A list of CPUs ("0-3,8") as a bit mask: bit n of word n/64 (base 0). -EINVAL, -ERANGE. */
#define SCHED_CPU_WORDS 16
int must_check sched_parse_cpus(const char *list, uint64_t mask[SCHED_CPU_WORDS]);

#endif
