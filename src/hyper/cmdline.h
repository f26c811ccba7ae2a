/* cmdline.h - the guest kernel's command line, by table: each word with what it buys (docs/machine.md). */
#ifndef HYPER_CMDLINE_H
#define HYPER_CMDLINE_H

#include "base/str.h"
#include "wire/plan.h"

/* Appends the words for this VM, separated by blanks. 0 or -ENOMEM. */
int must_check hv_kernel_cmdline(const struct vmcfg *cfg, struct str *to);

#endif
