/* verbs.h - the verbs of the command line, one function in one cmd_*.c each.
 *
 * Called once by cli_main() with everything parsed. Returns the program's exit code (>= 0), or a
 * negative errno with the reason in *e, which cli_main() logs and turns into the verb's exit code for
 * failures (exec: 255, others: 1). */
#ifndef RUNTIME_VERBS_H
#define RUNTIME_VERBS_H

#include "base/err.h"

struct cli;

int must_check cmd_check(struct cli *c, struct err *e);
int must_check cmd_create(struct cli *c, struct err *e);
int must_check cmd_delete(struct cli *c, struct err *e);
int must_check cmd_events(struct cli *c, struct err *e);
int must_check cmd_exec(struct cli *c, struct err *e);
int must_check cmd_features(struct cli *c, struct err *e);
int must_check cmd_kill(struct cli *c, struct err *e);
int must_check cmd_list(struct cli *c, struct err *e);
int must_check cmd_pause(struct cli *c, struct err *e);
int must_check cmd_ps(struct cli *c, struct err *e);
int must_check cmd_resume(struct cli *c, struct err *e);
int must_check cmd_run(struct cli *c, struct err *e);
int must_check cmd_spec(struct cli *c, struct err *e);
int must_check cmd_start(struct cli *c, struct err *e);
int must_check cmd_state(struct cli *c, struct err *e);
int must_check cmd_update(struct cli *c, struct err *e);

#endif
