/* out.h - what a verb prints. */
#ifndef RUNTIME_OUT_H
#define RUNTIME_OUT_H

#include "base/err.h"
#include "base/str.h"

/* Writes the text to stdout, all of it: a closed pipe or a full disk is the caller's to know. An
 * allocation that failed while it was built is reported here. */
int must_check out_print(const struct str *text, struct err *e);

#endif
