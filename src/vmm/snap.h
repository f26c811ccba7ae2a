/* snap.h - a whole machine as a file, and back: docs/vmm.md, "Snapshots".
 *
 * The file holds what the guest can see of vCPUs, clock and devices; memory is a file of its own. It is bound
 * to this build (structs are written as they are), to the same machine (memory, vCPUs, devices in the same
 * slots) and to a like CPU. Reading it is strict: every device checks its own part. */
#ifndef VMM_SNAP_H
#define VMM_SNAP_H

#include "vmm/machine.h"

/* Writes the state of a machine that stands still (machine_pause()) from fd's offset on. Loop thread. */
int must_check snap_save(struct machine *m, int fd, struct err *e);
/* Copies the guest's memory to a file, without the pages that were never touched. Likewise. */
int must_check snap_save_memory(struct machine *m, int fd, struct err *e);
/* Sets the state of a machine that was built for it and never ran. -EBADMSG: of another machine, or damaged.
 */
int must_check snap_load(struct machine *m, int fd, struct err *e);

#endif
