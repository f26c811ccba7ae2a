/* boot.h - the guest's start and end: what PID 1 of an initramfs has to do before it can serve.
 * Called by main.c, and by ctr.c for modules; not used in test mode. */
#ifndef AGENT_BOOT_H
#define AGENT_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct boot_times;

#define BOOT_SHARE_DIR "/run/cor/share"
#define BOOT_SYSFS_DIR "/run/cor/sys" /* a sysfs with nothing mounted below it; see boot_extra_sysfs() */

/* Kernel file systems, cgroup tree (*ret_cgroup), modules, the list of those to be loaded on demand
 * (*ret_demand, free(); unchanged if there is none), loopback interface. stdio is the console. */
int must_check boot_guest(int *ret_cgroup, char **ret_demand, struct boot_times *times, struct err *e);
/* Opens the agent channel's port; waits until it is there and the host holds its other end. */
int must_check boot_open_channel(int *ret_fd, struct err *e);
/* Loads the modules that `list` (NULL = empty) names for `name` (a file system, a device), if any. A
 * failure is logged: what needs them says so itself. */
void boot_load_on_demand(const char *list, const char *name);
/* Mounts BOOT_SYSFS_DIR, once: what a container in a user namespace gets as /sys, for it can neither
 * mount one nor take the guest's without the cgroup tree below it. */
int must_check boot_extra_sysfs(struct err *e);
/* True if the kernel's command line has the word. */
bool boot_has_word(const char *word);
/* What stands behind `begin` in the first word of the command line that begins so (free()); NULL = none does.
 */
char *boot_word_value(const char *begin);
/* A socket that becomes readable when a device appears. */
int must_check boot_open_uevents(void);
/* CLOCK_BOOTTIME in ns. */
uint64_t boot_now_ns(void);
/* Writes everything back and ends the machine. Returns only if the kernel refuses. */
void boot_end(void);

#endif
