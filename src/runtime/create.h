/* create.h - from a bundle to a created container: the shared core of create and run. */
#ifndef RUNTIME_CREATE_H
#define RUNTIME_CREATE_H

#include "base/mark.h"
#include "runtime/cli.h"
#include "runtime/ctr.h"
#include "runtime/image.h"
#include "runtime/plan.h"
#include "runtime/spawn.h"

struct creation {
	/* given */
	struct cli *cli;
	bool foreground; /* the container ends with us */
	int pty_slave;   /* run with a terminal of our own; -1 = none */
	/* made */
	struct arena mem;
	struct spec spec;
	char *bundle; /* of an image: the state directory, once it is there */
	struct image_root image;
	struct ctr ctr;
	bool ctr_made;
	struct cgroup cgroup;
	struct mon_plan plan;
	struct strv warnings;
	struct spawned monitor;
	struct marks marks;
	int turn; /* turn.h; -1 */
	uint64_t t_start, t_parsed;
	bool want_template; /* there is none of this VM's shape */
};

/* Reads, checks and normalises the bundle: fills spec, bundle and the settings of the cli. Nothing is
 * made yet. */
int must_check create_load(struct creation *c, struct err *e);
/* Makes the container. On failure everything is undone, poststop hooks included. */
int must_check create_container(struct creation *c, struct err *e);
/* After the container was made, and started by whoever does that too: what is left to do for those that
 * follow. Returns at once. */
void create_beside(struct creation *c);
void create_fini(struct creation *c); /* idempotent; releases the lock, keeps the container */
/* Removes a container whose monitor has ended (run): poststop hooks, cgroup, directory. */
int must_check create_remove(struct creation *c, struct err *e);

/* State document for hooks; free(). */
char *must_check create_state_json(const struct ctr *c, enum state_status status, pid_t pid);

#endif
