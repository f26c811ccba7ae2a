/* policy.h - what each kind of jailed program may have: one row per kind.
 *
 * The filter of a row is the upper bound for the program's whole life, the exec of it included. A
 * program narrows it further itself, thread by thread, once it has set up (cor-vmm: vmm/filter.h). */
#ifndef JAIL_POLICY_H
#define JAIL_POLICY_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JAIL_LIMITS_MAX 8

struct jail_limit {
	int resource; /* RLIMIT_* */
	unsigned long long most;
};

struct jail_policy {
	const char *name;
	const char *what; /* for the help text */
	/* The program works with other users' files: it is the host's root, in no user namespace, with these
	 * capabilities. 0: an ordinary user with none. */
	uint64_t caps;
	bool share_root; /* its root can be written, and is made read-only by who mounts into it */
	bool fd_dir;     /* it gets its own /proc/self/fd as descriptor keep_fds */
	const struct sock_filter *filter;
	const unsigned short *filter_len; /* instructions */
	struct jail_limit limits[JAIL_LIMITS_MAX];
	size_t n_limits;
};

/* Made by mkfilter.c. */
extern const struct sock_filter filter_vmm[];
extern const unsigned short filter_vmm_len;
extern const struct sock_filter filter_fsd[];
extern const unsigned short filter_fsd_len;

/* The policy of that name, NULL if there is none. */
const struct jail_policy *jail_policy_find(const char *name);
/* Row i, NULL behind the last. */
const struct jail_policy *jail_policy_at(size_t i);

#endif
