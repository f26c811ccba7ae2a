/* hooks.h - hooks that run on the host: prestart, createRuntime, createContainer, poststart, poststop.
 * startContainer hooks run in the guest; the agent has them. */
#ifndef RUNTIME_HOOKS_H
#define RUNTIME_HOOKS_H

#include <sys/types.h>

#include "base/str.h"
#include "oci/spec.h"

/* Runs the list in order with `state_json` on stdin. A hook that fails ends the list with an error that
 * names it and shows its output - except poststop, whose failures are warnings in *warnings and whose
 * list goes on. `in`: where they run (createContainer: where host paths and the container's network are both
 * there); NULL = here. */
struct hooks_in {
	pid_t net; /* in this process's network namespace */
	pid_t mnt; /* and in this one's mount namespace; 0 = in a copy of ours, each hook in its own */
};
int must_check hooks_run(const struct spec *s, enum spec_hook_kind kind, const char *state_json,
			 const struct hooks_in *in, struct strv *warnings, struct err *e);

/* True if the list has anything to run. */
bool hooks_any(const struct spec *s, enum spec_hook_kind kind);

#endif
