/* cg2.h - one cgroup (version 2) by the fd of its directory: files, processes, end. Called by the
 * agent for its container's cgroup. Trusts the kernel's files. Leaf helpers: 0 or -errno. */
#ifndef SYS_CG2_H
#define SYS_CG2_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/scope.h"

/* Gives the children of this cgroup these controllers ("cpu memory pids"), as far as it has them. One
 * that refuses is left out: what is missing is named when a limit asks for it. */
int must_check cg2_enable(int cg, const char *controllers);
/* Makes (or finds) the child cgroup `name`; *ret_fd is its directory. */
int must_check cg2_make(int parent, const char *name, int *ret_fd);
/* Removes the empty child cgroup `name` and the cgroups below it. A missing one is no error. */
int must_check cg2_remove(int parent, const char *name);

/* True if the cgroup has the controller ("memory"). */
bool cg2_has_controller(int cg, const char *controller);
/* Writes a file with one write(2). */
int must_check cg2_write(int cg, const char *file, const char *text);
/* A file with one number; "max" is UINT64_MAX. */
int must_check cg2_read_u64(int cg, const char *file, uint64_t *ret);
/* The number behind `key` in a file of "key number" lines. -ENOENT if it isn't there. */
int must_check cg2_read_key(int cg, const char *file, const char *key, uint64_t *ret);

/* Sends a signal to every process in the cgroup and below. SIGKILL uses cgroup.kill where the
 * kernel has it. -ESRCH: there is none. */
int must_check cg2_signal(int cg, int sig);

/* Waits until no live process is in the cgroup or below: killed ones end a moment later. 0, or
 * -ETIMEDOUT after timeout_ms. */
int must_check cg2_wait_empty(int cg, int timeout_ms);

#endif
