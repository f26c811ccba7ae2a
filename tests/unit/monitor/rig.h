/* rig.h - a real monitor in a child process, between a scripted caller, a scripted hypervisor and a scripted
 * agent: the test plays all three.
 *
 * The hypervisor (rig.c has its own hv_new() and hv_free()) starts a process that does nothing but be there.
 * A waiting VM, if the plan asks for one, is always one whose process has just gone. The monitor's timers run
 * RIG_SPEED times faster. Everything that is waited for is an event with a time limit. */
#ifndef TESTS_MONITOR_RIG_H
#define TESTS_MONITOR_RIG_H

#include "unit.h"

#include "tmpdir.h"
#include "wire/ctl.h"
#include "wire/mux.h"
#include "wire/plan.h"

#define RIG_SPEED   20
#define RIG_WAIT_MS 20000

struct rig {
	struct tmpdir *t;
	struct mon_plan plan; /* set fields before rig_start() */
	bool agent_deaf;      /* the agent's end of the channel is closed from the beginning */
	pid_t pid;            /* the monitor; 0 = not started or reaped */
	int sync, agent, console, log, ops;
	int in, out, err; /* the far ends of the container's stdio */
	int tty;          /* the master when plan.ctr.process.terminal; -1 */
	uint64_t nonce;   /* of HELLO */
};

struct frame {
	enum msg_type type;
	uint32_t id;
	size_t len;
	struct str body;
};

/* cmocka fixtures: *state is a struct rig. The monitor needs root and mount namespaces: without them a test
 * is skipped by rig_start(). */
int rig_set_up(void **state);
int rig_tear_down(void **state);

void rig_start(struct rig *r);
/* Until the container is created, as cor and agent do it. */
void rig_expect_up(struct rig *r); /* the VM runs, the namespaces stand */
void rig_create(struct rig *r);
/* Created and started. */
void rig_run(struct rig *r);
/* The exit code of the monitor, 1000 + signal if it was killed. */
int rig_wait(struct rig *r);
/* The text of a file in the state directory, "" if there is none; valid until the next call. */
const char *rig_file(struct rig *r, const char *name);
pid_t rig_vm(struct rig *r);
/* The next thing that was asked of the hypervisor: 'P'ause, 'R'esume, 'S'top. */
char rig_hv_op(struct rig *r);

void agent_send(struct rig *r, enum msg_type type, uint32_t id, const struct pack_rec *rec, const void *v);
void agent_raw(struct rig *r, enum msg_type type, uint32_t id, const void *p, size_t n);
void agent_result(struct rig *r, uint32_t id, int code, const char *text);
void agent_ready(struct rig *r, uint64_t nonce, uint32_t version);
void agent_exited(struct rig *r, uint32_t proc, uint32_t code);
/* The next frame, which must be of this type; credit is skipped. The body is freed by the next call. */
const struct frame *agent_expect(struct rig *r, enum msg_type type);
/* Decodes a frame's body; the record's memory lives until the next call. */
const void *agent_body(const struct frame *f);

/* A verb's connection. */
int verb_connect(struct rig *r);
void verb_send(int fd, enum msg_type type, const struct pack_rec *rec, const void *v, const int *fds,
	       size_t n);
/* The next message must be of this type; it stays valid until the next call. */
const struct ctl_msg *verb_expect(int fd, enum msg_type type);
/* The next message must be a MSG_C_RESULT with this code, and its text must hold this. */
void verb_result(int fd, int code, const char *text);
void verb_gone(int fd); /* the other end must be closed */

void expect_readable(int fd);
void expect_text(int fd, const char *text); /* exactly these bytes come */
void expect_eof(int fd);

#endif
