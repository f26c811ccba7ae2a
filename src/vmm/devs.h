/* devs.h - a machine's devices, from its settings. For machine.c. */
#ifndef VMM_DEVS_H
#define VMM_DEVS_H

#include "vmm/machine.h"

/* Makes every device of cfg, in the order of the table in devs.c, which is the order of their PCI slots: a
 * snapshot depends on it. Takes the fds of what was made. */
int must_check devs_build(struct machine *m, struct vmm_cfg *cfg, struct err *e);

#endif
