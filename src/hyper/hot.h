/* hot.h - which pages of a template a clone has written: wire/hotpages.h. Monitor only, for the driver kvm.c.
 */
#ifndef HYPER_HOT_H
#define HYPER_HOT_H

#include <sys/types.h>

#include "base/err.h"

#define HOT_FILE "hot" /* in the template's directory; it may be missing */

/* Looks at the process `vmm`, which has the memory file of the template `dir` mapped as a clone, and writes
 * HOT_FILE there: of the pages that hold something in the template those that it has a copy of. Needs the
 * right to trace it. */
int must_check hot_learn(pid_t vmm, const char *dir, struct err *e);

#endif
