/* clipriv.h - what clitable.c, cli.c and climain.c share, and nobody else needs. */
#ifndef RUNTIME_CLIPRIV_H
#define RUNTIME_CLIPRIV_H

#include "base/err.h"
#include "base/str.h"

/* Writes the text to stdout; a full disk or a closed pipe is an error. */
int must_check cli_print(const struct str *text, struct err *e);
/* Sets the error for a verb that doesn't exist, with the nearest one that does. */
int cli_unknown_verb(const char *name, struct err *e);

#endif
