/* proc.h - processes by identity: a pid alone may have been given to another process, so what is
 * stored on disk is the pid and its start time, and every signal goes through a pidfd that was
 * checked against both. Called by the runtime's verbs, the monitor and the drivers.
 * Leaf helpers: 0 or -errno. */
#ifndef SYS_PROC_H
#define SYS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"

struct proc_stat {
	pid_t pid, ppid, pgrp, session;
	char state;     /* R, S, D, T, Z, X... */
	uint64_t start; /* clock ticks after boot */
};

/* Reads /proc/PID/stat. -ESRCH if there is no such process. */
int must_check proc_stat_read(pid_t pid, struct proc_stat *ret);
/* The same from the text of such a file (a name may hold blanks and parentheses). -EBADMSG. */
int must_check proc_stat_parse(const char *text, struct proc_stat *ret);
/* The start time to be stored beside the pid. */
int must_check proc_start_time(pid_t pid, uint64_t *ret);

/* True if that very process exists and has not ended: a zombie counts as ended. */
bool proc_is_alive(pid_t pid, uint64_t start);

/* A pidfd (O_CLOEXEC) of that very process; -ESRCH if it is gone, reused, or a zombie. */
int must_check proc_open(pid_t pid, uint64_t start, int *ret_pidfd);
/* Sends a signal to that very process; -ESRCH as above. */
int must_check proc_signal(pid_t pid, uint64_t start, int sig);
int must_check proc_signal_fd(int pidfd, int sig);
/* Waits until the process behind pidfd has ended (it may still be a zombie): 0, -ETIMEDOUT after
 * timeout_ms (-1 = no limit). Reaps nothing. */
int must_check proc_wait_end(int pidfd, int timeout_ms);
/* SIGKILL and proc_wait_end(). A process that is already gone is success. */
int must_check proc_kill_wait(pid_t pid, uint64_t start, int timeout_ms);

/* Sets the caller's oom_score_adj. Lowering it needs CAP_SYS_RESOURCE: -EACCES. */
int must_check proc_set_oom_score_adj(int64_t adj);
/* Gives another process, in all its threads, what a child of the caller inherits: priority, CPUs,
 * oom_score_adj. The caller knows that the pid is that of the process it means. */
int must_check proc_be_like_caller(pid_t pid);
/* The caller is killed by SIGKILL when its parent thread ends. `parent` is the pid that the caller
 * knows as its parent from before the fork: if it is gone already, -ESRCH. */
int must_check proc_die_with_parent(pid_t parent);

/* A child that is run to its end. Zero-initialise, fill in, proc_run(). */
struct proc_run {
	const char *const *argv; /* argv[0] is looked up in PATH when it has no slash, unless `file` */
	const char *file;        /* what is exec'ed instead of argv[0], or NULL */
	const char *const *env;  /* NULL = the caller's */
	const void *in;          /* its stdin; nothing = /dev/null */
	size_t in_len;
	int timeout_ms; /* 0 = none; then SIGKILL and -ETIMEDOUT */
	size_t out_max; /* keep so much of stdout and stderr; the rest is read and dropped */
	int (*setup)(void *arg, struct err *e); /* in the child before exec, or NULL */
	void *setup_arg;
	/* results */
	struct str out; /* what it wrote to stdout and stderr; str_fini() by the caller */
	int status;     /* as of waitpid() */
};

/* Runs it and waits for it. 0 when it ran (then see `status`), -errno with a text if it could not be
 * started (the exec's error is reported here), -ETIMEDOUT. The child gets fds 0-2 and no other,
 * default signal dispositions, an empty signal mask, and dies with the caller's thread. Output is
 * taken until the child itself has ended: what it left running in the background is not waited for. */
int must_check proc_run(struct proc_run *p, struct err *e);
/* "exited with 3" / "was killed by signal 9 (Killed)": for messages. */
void proc_status_text(int status, struct str *to);

#endif
