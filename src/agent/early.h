/* early.h - what the bundles of the mini-OS want done at boot (docs/bundles.md): kernel parameters, programs.
 * Called by boot.c before the agent is ready. */
#ifndef AGENT_EARLY_H
#define AGENT_EARLY_H

#include "base/err.h"

/* Made by cor-image: "sysctl PATH VALUE" or "run PATH ARGUMENT ..." a line. */
#define EARLY_LIST "/lib/cor/early"

/* Does the lines of `list` in order; a missing file is nothing to do. `sysctl_dir` is where a "sysctl" line's
 * path begins (/proc/sys). The first failure ends it: the error names the parameter or program. */
int must_check early_run(const char *list, const char *sysctl_dir, struct err *e);

#endif
