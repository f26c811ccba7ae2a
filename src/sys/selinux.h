/* selinux.h - the label that the VM's process runs with. Called by the monitor before it starts the
 * hypervisor, and by the runtime to check process.selinuxLabel at create. No library: SELinux's own
 * interface is two files. */
#ifndef SYS_SELINUX_H
#define SYS_SELINUX_H

#include <stdbool.h>

#include "base/err.h"

/* True if the kernel runs with SELinux. */
bool selinux_is_enabled(void);

/* The next program that this thread (or a child of it) executes runs with this label; NULL = back to
 * the policy's choice. -EOPNOTSUPP where SELinux is not enabled, -EINVAL if the policy does not know the
 * label. */
int must_check selinux_set_exec_label(const char *label, struct err *e);

#endif
