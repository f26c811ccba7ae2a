/* verbs.h - the verbs of the command line, one function in one cmd_*.c each.
 *
 * Called once by cli_main() with everything parsed. Returns the program's exit code (>= 0), or a
 * negative errno with the reason in *e, which cli_main() logs and turns into the verb's exit code for
 * failures (exec: 255, others: 1). */
#ifndef RUNTIME_VERBS_H
#define RUNTIME_VERBS_H

#include "base/err.h"

struct cli;

/* Every verb once. Programs that read the tables but run no verb (documents, tests) make stand-ins of
 * the list. */
#define VERBS(X)                                                                                             \
	X(check)                                                                                             \
	X(create)                                                                                            \
	X(delete)                                                                                            \
	X(events)                                                                                            \
	X(exec)                                                                                              \
	X(features)                                                                                          \
	X(kill)                                                                                              \
	X(list)                                                                                              \
	X(pause)                                                                                             \
	X(pool)                                                                                              \
	X(ps)                                                                                                \
	X(resume)                                                                                            \
	X(run)                                                                                               \
	X(spec)                                                                                              \
	X(start)                                                                                             \
	X(state)                                                                                             \
	X(template)                                                                                          \
	X(update)

#define VERB_DECLARE(name) int must_check cmd_##name(struct cli *c, struct err *e);
VERBS(VERB_DECLARE)
#undef VERB_DECLARE

#endif
