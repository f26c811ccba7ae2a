/* hooks.h - hooks that run on the host: prestart, createRuntime, createContainer, poststart, poststop.
 * startContainer hooks run in the guest; the agent has them. */
#ifndef RUNTIME_HOOKS_H
#define RUNTIME_HOOKS_H

#include <sys/types.h>

#include "base/str.h"
#include "oci/spec.h"

/* Runs the list in order with `state_json` on stdin. A hook that fails ends the list with an error that
 * names it and shows its output - except poststop, whose failures are warnings in *warnings and whose
 * list goes on. in_pid > 0: the hooks run in that process's mount and network namespaces
 * (createContainer: the VM's, where host paths and the container's network are both there). */
int must_check hooks_run(const struct spec *s, enum spec_hook_kind kind, const char *state_json, pid_t in_pid,
			 struct strv *warnings, struct err *e);

/* True if the list has anything to run. */
bool hooks_any(const struct spec *s, enum spec_hook_kind kind);

#endif
