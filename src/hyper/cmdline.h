/* cmdline.h - the guest kernel's command line: one table of words, each with what it is for.
 *
 * Used by the runtime's plan; the administrator's own words go behind these and win. What each word bought
 * is measured in docs/machine.md. */
#ifndef HYPER_CMDLINE_H
#define HYPER_CMDLINE_H

#include "base/str.h"
#include "wire/plan.h"

/* Appends the words for this machine, separated by blanks, without a blank at the end; cfg->cmdline is not
 * looked at. 0 or -ENOMEM. */
int must_check hv_kernel_cmdline(const struct vmcfg *cfg, struct str *to);

/* Appends what of a command line shapes the machine: all words but those that were measured, which differ
 * a little each time. */
void hv_cmdline_shape(const char *cmdline, struct str *to);

#endif
