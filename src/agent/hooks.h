/* hooks.h - startContainer hooks: run in the container's namespaces before its program. Called by
 * child.c in the container's first process. */
#ifndef AGENT_HOOKS_H
#define AGENT_HOOKS_H

#include "base/err.h"
#include "wire/msg.h"

/* Runs all in order, each with exactly its environment and `state` on stdin. The first failure ends
 * the list: the error names the hook, its exit status or timeout, and the end of its stderr. */
int must_check hooks_run(const struct msg_hook *hooks, size_t n, const char *state, struct err *e);

#endif
