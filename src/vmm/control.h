/* control.h - the control socket of a machine (wire/vmmctl.h), on the loop thread. */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include "vmm/machine.h"

struct control {
	struct machine *m;
	struct source listener, peer;
	int listen_fd; /* owned; -1 = none */
	int fd;        /* owned: the one connection; -1 = none */
};

/* fd: a connected SOCK_SEQPACKET socket, or a listening one, which then serves one client after the other.
 * Takes it. */
int must_check control_init(struct control *c, struct machine *m, int fd, struct err *e);
/* Tells the client how the machine ended, closes. Idempotent. */
void control_fini(struct control *c);

#endif
