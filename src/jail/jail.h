/* jail.h - starts one program with nothing but what it was handed: the launcher behind cor-jail.
 *
 * cor-vmm and cor-fsd face the guest. They are started through here, after everything they need was
 * opened for them: in user, mount, pid, network, ipc, uts and cgroup namespaces of their own, with an
 * empty root directory that can't be written, as an ordinary user without capabilities, without a way to
 * gain any, with low limits, and with a system call filter that was made at build time. A step that
 * fails ends the start: there is no "jailed a little". What a policy needs beyond that, its row says.
 *
 * The order of the steps is the table in jail.c. Single-threaded; the calling process is the launcher and
 * lives for milliseconds. */
#ifndef JAIL_JAIL_H
#define JAIL_JAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

#define JAIL_FDS_MAX 64

struct jail_policy; /* a row of the table in policy.h */

struct jail {
	const struct jail_policy *policy;
	const char *program; /* absolute path of a static executable; opened before the root is left */
	char *const *argv;   /* of the program, NULL-terminated; its environment is empty */
	int keep_fds;        /* descriptors 0..keep_fds-1 go to the program, at their places; no others, but
				what the policy adds (fd_dir) */
	uid_t uid;           /* host ids that the program runs as when the caller is root; */
	gid_t gid;           /* else it keeps the caller's */
	const char
		*root;  /* a directory of the host that is its root instead of an empty one, with what is
			   mounted in it; nosuid, nodev, noexec. NULL = none. Policies with share_root only */
	bool read_only; /* nothing can be written there; with `root` only */
	bool keep_net;  /* it stays in the caller's network namespace, which is empty: made for it */
	bool sibling;   /* make it a child of our parent, who reaps it; else it is our own child */
};

/* Starts the program; *ret_pid is its pid in our pid namespace. Returns when it was exec'ed, so an
 * error of any step is reported here, by name. It gets SIGKILL when its parent ends. -EINVAL also if
 * `sibling` is asked for by a process that has no parent in its pid namespace. A caller that is root loses
 * its supplementary groups: the program must not have them. */
int must_check jail_start(const struct jail *j, pid_t *ret_pid, struct err *e);

/* cor-jail's command line; returns the exit code. */
int jail_main(int argc, char **argv);

#endif
