/* spawn.h - starting a monitor and talking with it until the container is created. */
#ifndef RUNTIME_SPAWN_H
#define RUNTIME_SPAWN_H

#include "runtime/ctr.h"
#include "wire/plan.h"

struct spawned {
	pid_t pid; /* our child; 0 = none */
	int sync;  /* the start's socket; -1 */
};

/* Path of a file that comes with Cor: beside the running program (a build tree), else in libexecdir; in
 * `a`. -ENOENT. */
int must_check spawn_find(const char *libexecdir, const char *name, struct arena *a, char **ret);
/* Path of cor-monitor: beside the running program (a build tree), else in libexecdir. In `a`. */
int must_check spawn_monitor_path(const char *libexecdir, struct arena *a, char **ret, struct err *e);

/* Forks a process that becomes a monitor; it waits for spawn_go(). word: for ps(1); state_fd: its
 * PLAN_FD_STATE. */
int must_check spawn_process(const char *monitor_path, char *word, int state_fd, int stdin_fd, int log_fd,
			     struct spawned *ret, struct err *e);
/* The same for a container's monitor, which is noted in its state directory. stdin_fd: what becomes its fd 0
 * (fds 1 and 2 stay ours), -1 = ours. log_fd: the log file, -1 = none. */
int must_check spawn_fork(struct ctr *c, const char *monitor_path, int stdin_fd, int log_fd,
			  struct spawned *ret, struct err *e);
/* Hands it a plan: the first one starts it, see MSG_S_PLAN. */
int must_check spawn_go(const struct spawned *s, const struct mon_plan *plan, struct err *e);
/* Waits for a message of this type; MSG_S_FAILED becomes the error it carries. */
int must_check spawn_wait(const struct spawned *s, enum msg_type type, struct err *e);
/* Takes a MSG_S_FAILED that may have come: 0 = none, else the error. */
int must_check spawn_failure(const struct spawned *s, struct err *e);
/* Ends it: the sync socket is closed, the process killed and reaped. Idempotent. */
void spawn_abort(struct spawned *s);

#endif
