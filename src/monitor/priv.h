/* priv.h - the monitor's state and what its files offer each other.
 *
 * One struct monitor hangs everything together. Start steps are a table in start.c, in the order
 * in which they happen; after the last one, events drive: the agent's messages (guest.c), the
 * control socket (control.c), signals and the ends of processes (monitor.c). */
#ifndef MONITOR_PRIV_H
#define MONITOR_PRIV_H

#include <sys/types.h>

#include "base/arena.h"
#include "base/loop.h"
#include "base/mark.h"
#include "base/ring.h"
#include "hyper/hyper.h"
#include "wire/ctl.h"
#include "wire/life.h"
#include "wire/mux.h"
#include "wire/plan.h"

#define CONSOLE_KEPT    (64u << 10) /* last bytes of the guest's console, for error reports */
#define VM_LOG_KEPT     (8u << 10)  /* last bytes of the hypervisor's stderr */
#define KILL_TIMEOUT_MS 10000       /* from SIGKILL for the container to the end of its VM */
#define FLUSH_KILLED_MS 1000        /* output of a killed container may wait that long for its reader */
#define CONNS_MAX       1024
#define AGENT_MARKS_MAX 128 /* marks that the agent may have written to the host's disk */

struct monitor;

/* One connection of the control socket: a verb that waits for an answer, or an exec session. */
struct conn {
	struct source src;
	struct monitor *m;
	uint32_t proc;    /* exec: its process number; 0 = none */
	uint32_t request; /* the agent's answer to this request is passed on; 0 = none */
	enum msg_type asked;
	bool exec_started;
	bool exited; /* exec: the end was reported by the agent */
	struct msg_exited end;
	struct conn *next;
};

struct monitor {
	struct mon_plan plan;
	struct arena mem; /* of the plan */
	struct loop loop;
	struct marks marks;
	int sync_fd;  /* to the `cor` that started us; -1 = closed */
	int state_fd; /* the state directory */
	int marks_fd;
	struct hv *hv;
	int host_ns;   /* the mount namespace with the host's paths, kept while a clone may turn out to be a
			  boot; -1 */
	int vm_mounts; /* that of a VM that waited; -1 = the same */
	const char *share; /* the shared directory in it */
	int share_held;    /* a keeper's: its mount point, locked; -1 */
	int template_used; /* its directory, opened before the clone was started, until that is up; -1 */
	struct mux mux;
	bool mux_up;
	uint64_t nonce;
	uint64_t vm_started_ns;
	uint64_t guest_epoch_ns; /* our clock when the guest's boot clock was 0; 0 = unknown */
	struct source sync_src, vm_src, share_src, console_src, log_src, signal_src, listen_src;
	int signal_fd, listen_fd;
	struct timer boot_timer, kill_timer, flush_timer;
	struct ring console, vm_log;
	struct conn *conns;
	size_t n_conns;
	uint32_t next_request, next_proc;
	uint32_t create_request; /* request number of MSG_A_CREATE */
	uint32_t start_request;  /* of MSG_A_START while it is under way; 0 = none */
	unsigned n_marks;        /* of the agent */
	enum life_state phase;
	bool vm_lost;      /* the clone did not come up; another VM will */
	bool may_wait;     /* the plan asked for a VM that waited */
	bool no_view;      /* the VM ended before its share was filled: there is no view of a container yet */
	bool told;         /* cor knows that the namespaces stand */
	bool ready;        /* the agent has answered */
	bool hooks_done;   /* cor has run the hooks that precede the container */
	bool cgroups_done; /* cor has moved us and the VM to the container's cgroup */
	bool create_sent;
	bool set_up;     /* the agent has answered it */
	bool exited;     /* the container's process has ended: `end` is valid */
	bool share_gone; /* the VM's file server ended first: the VM was ended for that */
	bool killed;     /* SIGKILL was asked for: its output need not reach a reader that does not read */
	struct msg_exited end;
	int tty_fd;   /* the container's terminal, slave side; -1 = none */
	int stdio[3]; /* the container's; -1 = handed to the mux */
	int exit_code;
	struct err error; /* why the VM failed; code 0 = it did not */
};

/* keeper.c */
/* Says that plan.vm.share is in use, for as long as this process lives: before anything is mounted there. */
int must_check keeper_hold(struct monitor *m, struct err *e);
/* Keeps the VM, which has been started, until it has ended, taken or not. 0, or -errno if it never became
 * ready. */
int must_check keeper_run(struct monitor *m, struct err *e);
/* start.c */
int must_check start_run(struct monitor *m, struct err *e); /* every step up to the event loop */
/* The VM was to be a clone and did not come up: drops the template and boots a new VM in its place. */
int must_check start_again(struct monitor *m, struct err *e);
/* guest.c */
extern const struct mux_ops guest_ops;
int must_check guest_hello(struct monitor *m);
void guest_go_on(struct monitor *m); /* after cor said something: CREATE to the agent, CREATED to cor */
int must_check guest_request(struct monitor *m, enum msg_type type, const struct pack_rec *rec, const void *v,
			     uint32_t *ret_request);
void guest_resize(struct monitor *m, uint32_t proc, int tty_fd);
void guest_signal(struct monitor *m, uint32_t proc, uint32_t sig, bool all);
/* stdio.c */
int must_check stdio_prepare(struct monitor *m, struct err *e); /* before the view is entered */
int must_check stdio_release(struct err *e);                    /* /dev/null takes the place of fds 0 to 2 */
int must_check stdio_bind_output(struct monitor *m);            /* with MSG_A_CREATE */
int must_check stdio_bind_input(struct monitor *m);             /* with MSG_A_START */
void stdio_keep_raw(struct mux *mux, uint32_t id, int fd);
bool stdio_flushed(const struct monitor *m, uint32_t proc);
/* control.c */
int must_check control_listen(struct monitor *m, struct err *e);
void control_answer(struct monitor *m, uint32_t request, const struct msg_result *res);
void control_answer_memfd(struct monitor *m, uint32_t request, const uint8_t *p, size_t n);
void control_answer_stats(struct monitor *m, uint32_t request, const struct msg_stats *st);
void control_exited(struct monitor *m, const struct msg_exited *end);
void control_check_flushed(struct monitor *m); /* reports exec sessions whose output is out */
void control_end(struct monitor *m);           /* the VM is gone: answers everybody */
/* monitor.c */
/* Watches the VM that was just started, and greets its agent. */
int must_check monitor_watch_vm(struct monitor *m);
/* Takes the last words of guest and hypervisor, for monitor_failed() to quote. */
void monitor_hear(struct monitor *m);
void monitor_phase(struct monitor *m, enum life_state phase);
/* Follows an event if the life table has a cell for it: writes the phase. False when it is ignored. */
bool monitor_event(struct monitor *m, enum life_event event);
void monitor_failed(struct monitor *m, const struct err *why); /* the VM can't go on */
void monitor_check_end(struct monitor *m); /* ends the loop when the container is over and flushed */
void monitor_kill(struct monitor *m);      /* SIGKILL was sent to the container: bound the wait */
void monitor_exited(struct monitor *m, const struct msg_exited *end);

#endif
