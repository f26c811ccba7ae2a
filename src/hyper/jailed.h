/* jailed.h - starts a process of a VM in a jail, by cor-jail.
 *
 * Called by drivers, on the monitor's thread. cor-jail ends when the jailed process runs; that one is then a
 * child of the caller, like any that hv_child_start() starts: in its cgroup, and killed with it. */
#ifndef HYPER_JAILED_H
#define HYPER_JAILED_H

#include "base/str.h"
#include "hyper/child.h"

struct hv_jailed {
	const char *jail;   /* path of cor-jail */
	const char *policy; /* as cor-jail's command line names it */
	char *const *argv;  /* of the program, argv[0] its path; NULL-terminated */
	bool small_pages;   /* as in struct hv_child */
	bool own_net;   /* in a network namespace made for it; else in the caller's, which is to be an empty
			   one:   making one costs as much as all the rest of a jail */
	const int *fds; /* fds[i] becomes the program's fd i */
	size_t n_fds;   /* at least 3, less than HV_CHILD_FDS */
};

/* A start that is under way. */
struct hv_jailing {
	const char *program; /* borrowed, for the error's text */
	pid_t launcher;      /* cor-jail; -1 = none */
	int launcher_fd;     /* its pidfd */
	int answer;          /* it writes the jailed process' pid there */
};
#define HV_JAILING_NONE                                                                                      \
	{                                                                                                    \
		.launcher = -1, .launcher_fd = -1, .answer = -1                                              \
	}

/* Appends cor-jail's arguments for it. */
void hv_jailed_args(const struct hv_jailed *j, struct strv *to);
/* Starts cor-jail; two may be under way at a time. *ret is to be finished, also after an error. */
int must_check hv_jailed_begin(const struct hv_jailed *j, struct hv_jailing *ret, struct err *e);
/* Waits until the program runs: its pid and pidfd. Otherwise an error; what cor-jail said about it stands in
 * the program's fd 2. */
int must_check hv_jailed_finish(struct hv_jailing *j, pid_t *ret_pid, int *ret_pidfd, struct err *e);
/* Ends one that was not finished. Idempotent. */
void hv_jailed_drop(struct hv_jailing *j);

#endif
