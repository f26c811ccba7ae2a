/* timing.h - where the time of a start went: the phase marks of all processes as a table or JSON. */
#ifndef RUNTIME_TIMING_H
#define RUNTIME_TIMING_H

#include "runtime/cli.h"

/* Prints what the options ask for (--timing: table on stderr, --timing-json: FILE) from the marks in
 * the state directory. Nothing asked = nothing done. */
int must_check timing_report(int dirfd, const struct cli_create *o, struct err *e);

/* The same from the text of a marks file; for tests too. Both append. -EBADMSG. */
int must_check timing_table(const char *marks, struct str *to);
int must_check timing_json(const char *marks, struct str *to);

#endif
