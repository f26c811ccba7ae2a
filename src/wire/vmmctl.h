/* vmmctl.h - cor-vmm's control socket (SOCK_SEQPACKET): one fixed struct a request, one an answer, in order.
 *
 * Both ends are ours and of the same build; the VMM checks everything nevertheless. fds travel beside
 * the request as its comment says. */
#ifndef WIRE_VMMCTL_H
#define WIRE_VMMCTL_H

#include <stdint.h>

#define VMMCTL_MAGIC 0x434D5602u /* changes with the structs */

enum vmmctl_verb {
	VMMCTL_INFO,  /* no effect */
	VMMCTL_PAUSE, /* the vCPUs stand still when the answer comes */
	VMMCTL_RESUME,
	VMMCTL_STOP,    /* ends the machine at once */
	VMMCTL_BALLOON, /* arg: bytes that the guest shall keep */
	VMMCTL_SAVE, /* fd 0: a file for the state; fd 1, if any: one for a copy of the memory. Paused only */
	VMMCTL_N
};

struct vmmctl_request {
	uint32_t magic, verb;
	uint64_t arg;
};
_Static_assert(sizeof(struct vmmctl_request) == 16, "fixed");

enum vmmctl_state { VMMCTL_RUNNING, VMMCTL_PAUSED, VMMCTL_ENDED };

/* Sent unasked, in place of a verb. */
enum vmmctl_event {
	VMMCTL_END = VMMCTL_N, /* the machine's end; state is VMMCTL_ENDED */
	VMMCTL_PORT_OPEN,      /* the guest has opened its end of the named port; once */
};

/* To every request, and of every event. */
struct vmmctl_answer {
	uint32_t magic, verb;
	int32_t result; /* 0 or -errno */
	uint32_t state; /* enum vmmctl_state */
	uint32_t end;   /* how it ended: enum machine_end of the VMM; 0 = it runs */
	uint32_t vcpus;
	uint64_t memory;  /* bytes */
	uint64_t balloon; /* bytes that the guest gave back */
	char text[192];   /* why, NUL-terminated */
};
_Static_assert(sizeof(struct vmmctl_answer) == 232, "fixed");

#endif
