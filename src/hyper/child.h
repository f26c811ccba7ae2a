/* child.h - starts a hypervisor's process with exactly the fds it is to have.
 *
 * Called by the drivers, on the monitor's thread. The child stays in the caller's process group,
 * session, namespaces and cgroup: the monitor has a session of its own and takes the VM with it. */
#ifndef HYPER_CHILD_H
#define HYPER_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"

#define HV_CHILD_FDS 48 /* a layer of an image is one */

struct hv_child {
	const char *path;   /* executable, no PATH look-up */
	const char *remedy; /* what to do if it is missing; for the error text */
	char *const *argv;
	const char *preload;   /* LD_PRELOAD of the child, NULL = none */
	bool rests;            /* qemu_rest.h */
	bool small_pages;      /* no transparent huge pages: less memory, more page faults */
	int fds[HV_CHILD_FDS]; /* fds[i] becomes the child's fd i */
	size_t n_fds;          /* at least 3 */
};

/* Forks and execs. The child has default signal dispositions, an empty signal mask, a fixed
 * environment, / as its directory, its soft limit of open files raised to the hard one, no other fds, and
 * dies with the caller's thread (SIGKILL). Returns when the exec has happened, or its error. */
int must_check hv_child_start(const struct hv_child *c, pid_t *ret_pid, int *ret_pidfd, struct err *e);

/* SIGKILL through the pidfd; a process that has ended already is fine. */
void hv_child_kill(int pidfd);

/* Adds ": " and what is still unread in the child's log pipe, escaped; nothing if that is empty or log_fd is
 * -1. */
void hv_child_last_words(int log_fd, struct str *to);
/* Adds why the VM of hypervisor `name` ended, as the driver's why() says it: by its wait status, and its last
 * words. */
void hv_child_why(const char *name, int wait_status, int log_fd, struct str *to);

#endif
