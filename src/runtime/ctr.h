/* ctr.h - one container's state directory, ROOT/ID: made by create, read by every verb, removed by delete.
 *
 *   lock          flock: held by create and delete; contains the holder's "pid start"
 *   config.json   snapshot of the bundle's: later changes there don't matter; of an image it is made here
 *   monitor, vm   "pid start" of the processes
 *   cgroup        where the host cgroup is, one line a directory; written before it is made
 *   state.json    written last by create: a directory without it is half made
 *   phase         by the monitor: created, running, paused, "stopped CODE"
 *   error         by the monitor: why the VM ended by itself
 *   seccomp       compiled filter for exec sessions
 *   upper.erofs   image.convert: what an engine wrote above its layers (image/convert.h)
 *   marks         phase marks (--timing)
 *   monitor.sock  control socket;  share/  mount point of the guest's share
 *
 * Every file is replaced as a whole: a reader sees the old content or the new. Nothing is synced to the disk,
 * since no container outlives the machine: after its crash a file may be empty, too. What is on disk is
 * checked against the processes: a monitor that is gone means stopped, whatever `phase` says. */
#ifndef RUNTIME_CTR_H
#define RUNTIME_CTR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/state.h"
#include "sys/cgroup.h"
#include "wire/life.h"

struct ctr_proc {
	pid_t pid; /* 0 = unknown */
	uint64_t start;
};

struct ctr {
	char *id, *dir; /* dir: absolute ROOT/ID */
	int dirfd, lock_fd;
	bool half_made; /* no state.json (yet) */
	struct ctr_proc monitor, vm, helper;
	enum life_state life;
	struct oci_state state; /* as create wrote it, with `status` and `pid` brought up to date */
	int exit_code;          /* of a stopped container; -1 = unknown */
};

/* Makes ROOT/ID and locks it. -EEXIST if the ID is taken. */
int must_check ctr_make(const char *root, const char *id, struct ctr *ret, struct err *e);
/* Opens ROOT/ID and reads what is there: -ENOENT "container ID does not exist". A half-made one
 * is opened too (see half_made). Takes no lock. */
int must_check ctr_open(const char *root, const char *id, struct ctr *ret, struct err *e);
/* ctr_open(), but a half-made one is an error: for verbs that need a whole container. */
int must_check ctr_open_whole(const char *root, const char *id, struct ctr *ret, struct err *e);
void ctr_fini(struct ctr *c); /* idempotent; releases the lock */
#define scoped_ctr __attribute__((cleanup(ctr_fini))) struct ctr

/* Takes the lock. `force`: whoever holds it (a create that hangs) is killed, with the monitor that it
 * started; else it is waited for, some seconds at most: -EWOULDBLOCK. -ENOENT if the container went away
 * meanwhile. */
int must_check ctr_lock(struct ctr *c, bool force, struct err *e);
/* Gives the lock back early: the container is whole and others may delete it. */
void ctr_unlock(struct ctr *c);
/* Brings processes, status and pid up to date. */
void ctr_refresh(struct ctr *c);
/* What the life table says to an event now: 0, or an error that names the container. */
int must_check ctr_check(const struct ctr *c, enum life_event event, struct err *e);
bool ctr_is_alive(const struct ctr *c); /* the monitor lives */

int must_check ctr_write(struct ctr *c, const char *name, const void *p, size_t n, struct err *e);
int must_check ctr_write_proc(struct ctr *c, const char *name, pid_t pid, struct err *e);
int must_check ctr_write_cgroup(struct ctr *c, const struct cgroup *cg, struct err *e);
/* The stored cgroup; none stored = an empty one. */
int must_check ctr_read_cgroup(struct ctr *c, struct cgroup *ret, struct err *e);

/* Ends every process of the container and waits for it: monitor, VM, members of the cgroup. */
int must_check ctr_kill(struct ctr *c, struct err *e);
/* Removes cgroup and directory: afterwards the ID is free. The processes must have ended. */
int must_check ctr_remove(struct ctr *c, struct err *e);

/* The IDs in ROOT, sorted; a missing ROOT is an empty list. */
int must_check ctr_list(const char *root, struct strv *ids, struct err *e);

#endif
