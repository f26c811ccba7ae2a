/* signame.h - signals by name or number, as people and callers write them. */
#ifndef CFG_SIGNAME_H
#define CFG_SIGNAME_H

#include "base/scope.h"

/* "9", "KILL", "SIGKILL", "sigkill", "RTMIN+3", "RTMAX-1"; 0 is allowed by number. -EINVAL. The
 * numbers are the guest kernel's (Linux on x86 and arm: they are the host's). */
int must_check signame_parse(const char *s, int *ret);

#endif
