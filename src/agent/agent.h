/* agent.h - the guest's PID 1: the agent's state, shared by the files of this folder.
 *
 * Reading order: agent.c (loop and messages), ctr.c (one container's life), proc.c (a process from
 * clone to exit report), child.c (what the new process does until it is the container's program),
 * rootfs.c and its helpers (mounts, devices). boot.c is the guest's own start.
 *
 * Trusts: the host's messages as far as their form was checked by the codec; a value that makes no sense
 * is an error answer. Distrusts: the container, so also every name below its root. Never: exits, aborts or
 * blocks on a container - the guest lives as long as PID 1. Thread: one. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/layers.h"
#include "base/arena.h"
#include "base/err.h"
#include "base/loop.h"
#include "sys/bpfdev.h"
#include "wire/msg.h"
#include "wire/mux.h"

/* At most this many processes are started by the host at a time (the container's own and exec
 * sessions): each has up to three streams, so MUX_STREAMS is not exceeded before. */
#define AGENT_PROCS 160

/* When the steps of the guest's start were done (CLOCK_BOOTTIME); 0 = there was none. Sent as marks. */
struct boot_times {
	uint64_t mounts, modules, settings, parked, channel;
};

struct parked;

/* How the agent is run; see agent_main(). */
struct agent_conf {
	int channel;       /* fd of the agent channel, borrowed */
	const char *share; /* where the share is (test mode) or is to be mounted */
	bool is_virtiofs;  /* it is a virtio-fs; else 9p */
	int cgroup;        /* directory fd of the cgroup2 tree to work in, -1 = there is none; borrowed */
	bool is_test;      /* an ordinary process in namespaces: leave clock, entropy and machine alone */
	char *on_demand;   /* modules to be loaded when a container needs them (boot.h); NULL, borrowed */
	uint64_t boot_ns;  /* CLOCK_BOOTTIME when main() began */
	struct boot_times times;
	struct parked *parked; /* see park.h; NULL = nothing was made in advance. Borrowed */
	struct layers_ready layers;
	struct bpfdev_prog devices; /* see limits_prepare(). Borrowed */
};

enum proc_state {
	PROC_FREE,
	PROC_SETUP,   /* the child prepares itself (CREATE or EXEC is not answered) */
	PROC_CREATED, /* it waits for START */
	PROC_STARTED, /* it was told to exec; not answered yet */
	PROC_RUNNING,
	PROC_STATE_N
};

struct agent;

struct proc {
	struct agent *agent;
	enum proc_state state;
	uint32_t id;       /* the host's number of it */
	pid_t pid;         /* as the agent sees it */
	struct source ctl; /* our end of its control socket (see child.h) */
	int ctl_fd;        /* -1 = closed: it runs the container's program */
	uint32_t request;  /* the request that is answered next */
	bool has_request;
	bool is_failed;  /* it could not be set up: no exit is reported */
	struct err *err; /* why (owned) */
	int tty;         /* the master of its terminal; -1 */
	bool reaped;
	int wait_status;
};

struct ctr {
	bool exists;
	uint64_t namespaces; /* CLONE_NEW* that are its own */
	char cg_name[24];
	int cg;            /* its cgroup's directory; -1 */
	int device_prog;   /* -1 = all devices are allowed */
	struct source oom; /* inotify of memory.events; its fd is -1 without */
	int oom_fd;
	uint64_t oom_kills;
};

struct agent {
	struct agent_conf conf;
	struct loop loop;
	struct mux mux;
	struct source signals;
	int signal_fd;
	struct timer ahead; /* until the share is read further ahead (ahead.h) */
	int own_pidns;      /* to come back from the container's */
	bool share_mounted, layers_mounted, greeted, marks, rehearsal, stop;
	uint32_t ctr_count;
	const uint8_t *request; /* the one that is being handled, as it came; NULL between requests */
	size_t request_len;
	struct arena mem; /* for what it decodes to */
	struct ctr ctr;
	struct proc procs[AGENT_PROCS];
};

/* The program:
 *     cor-agent                                      in the guest's initramfs, as /init
 *     cor-agent --test-fd N --share DIR [--cgroup DIR]
 *         on a host, for tests, as PID 1 of fresh pid and mount namespaces: fd N is the agent channel,
 *         DIR the share, and --cgroup a directory of a cgroup2 tree without processes. Without it,
 *         limits are refused. The machine (clock, entropy, modules, power) is left alone.
 * Returns the exit status; in a guest it ends the machine instead. */
int agent_main(int argc, char **argv);

/* Serves the channel until SHUTDOWN or the channel's end. Returns 0, or -errno when the agent could
 * not be set up. Powering off is up to the caller. */
int must_check agent_run(const struct agent_conf *conf);

/* Answers request `id` with the error in e, or with success when e is NULL or has code 0. */
void agent_answer(struct agent *a, uint32_t id, const struct err *e);
/* Sends a message; a lost channel is noticed by the mux. */
void agent_send(struct agent *a, enum msg_type type, uint32_t id, const struct pack_rec *rec, const void *v);
/* Writes what the guest still holds of the share back to the host, which may end the machine as
 * soon as the container's exit is reported. */
void agent_flush_share(struct agent *a);
/* A phase mark, if the host asked for them: small letters and '-'. */
void agent_mark(struct agent *a, const char *name);

#endif
