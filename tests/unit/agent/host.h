/* host.h - the host's side of the agent channel, for tests: starts the agent in test mode in fresh
 * namespaces, sends requests, collects what comes back. Every wait has a limit and fails the test. */
#ifndef TESTS_AGENT_HOST_H
#define TESTS_AGENT_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire/mux.h"

#define HOST_RESULTS 1024 /* answers kept: a later request's takes an old one's place */
#define HOST_EXITS   512

struct host_result {
	bool got;
	int64_t code;
	char text[ERR_MSG_MAX];
};

struct host {
	struct loop loop;
	struct mux mux;
	pid_t agent;
	int channel;
	char share[64];
	bool ready, broken, oom;
	uint32_t next_id;
	struct host_result results[HOST_RESULTS]; /* by request id, modulo HOST_RESULTS */
	struct msg_exited exits[HOST_EXITS];      /* in the order of arrival */
	size_t n_exits;
	struct arena mem; /* of the last ps and stats */
	struct msg_ps ps;
	struct msg_stats stats;
	bool got_ps, got_stats;
};

/* Starts the agent on a share with a busybox root. False, with the reason printed, where that can't be done:
 * the test is to be skipped. `cgroup`: a cgroup2 directory or NULL. */
bool host_start(struct host *h, const char *cgroup);
void host_stop(struct host *h);
/* A path in the share, as seen by the test (static buffer, valid until the next call). */
const char *host_path(const struct host *h, const char *name);

/* Sends a request and returns its id. */
uint32_t host_send(struct host *h, enum msg_type type, const struct pack_rec *rec, const void *v);
/* Waits for the answer. */
const struct host_result *host_answer(struct host *h, uint32_t id);
/* Both; returns the code. */
int host_ask(struct host *h, enum msg_type type, const struct pack_rec *rec, const void *v);
/* Waits until fn says true. */
void host_until(struct host *h, bool (*fn)(struct host *h));
/* Waits for the exit of a process. */
const struct msg_exited *host_exit(struct host *h, uint32_t proc);
bool host_has_exited(const struct host *h, uint32_t proc);

/* A container of usual shape; arrays may be exchanged by the test. */
struct ctr_box {
	struct msg_ctr c;
	struct msg_mount mounts[16];
	char *args[16], *env[16];
};
/* argv: NULL-terminated. */
void ctr_box_init(struct ctr_box *b, const char *const *argv);
struct msg_mount *ctr_box_mount(struct ctr_box *b, uint32_t kind, const char *dest, const char *type,
				const char *source);
/* A process for exec sessions. */
void process_init(struct msg_process *p, char **args, char **env, const char *const *argv);

/* What a container wrote. */
struct run {
	int code; /* of CREATE or START if that failed, else 0 */
	char text[ERR_MSG_MAX];
	uint32_t status, signal;
	int out, err; /* memfds */
	int in;       /* what stdin reads; -1 = empty. Taken. */
	uint32_t proc;
};
void run_init(struct run *r);
void run_fini(struct run *r);
/* CREATE, START, exit. */
void host_run(struct host *h, const struct msg_ctr *c, struct run *r);
/* The parts: binds streams and sends CREATE (or EXEC with r->proc set); sends START; waits. */
int host_create(struct host *h, const struct msg_ctr *c, struct run *r);
int host_exec(struct host *h, const struct msg_process *p, struct run *r);
int host_start_ctr(struct host *h, struct run *r);
void host_finish(struct host *h, struct run *r);
/* The text in a memfd so far (free()). */
char *run_text(int fd);

#endif
