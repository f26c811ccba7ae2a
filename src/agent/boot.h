/* boot.h - the guest's start and end: what PID 1 of an initramfs has to do before it can serve.
 * Called by cmd/cor-agent.c only; not used in test mode. */
#ifndef AGENT_BOOT_H
#define AGENT_BOOT_H

#include "base/err.h"

#define BOOT_SHARE_DIR "/run/cor/share"

/* Kernel file systems, cgroup tree (*ret_cgroup), modules, loopback interface. stdio is the console. */
int must_check boot_guest(int *ret_cgroup, struct err *e);
/* Opens the agent channel's port; waits until it is there and the host holds its other end. */
int must_check boot_open_channel(int *ret_fd, struct err *e);
/* Writes everything back and ends the machine. Returns only if the kernel refuses. */
void boot_end(void);

#endif
