/* wait.h - in the foreground until a container's or an exec session's process has ended: signals are
 * passed on, a terminal is served. */
#ifndef RUNTIME_WAIT_H
#define RUNTIME_WAIT_H

#include <sys/types.h>

#include "base/err.h"
#include "runtime/term.h"

struct waiting {
	struct term *term; /* NULL = no terminal of ours */
	/* One of the two ends it: */
	pid_t child; /* our child, reaped here; signals go to it. 0 = none */
	int session; /* a control connection with an exec session; signals go through it. -1 = none */
	int tty_fd;  /* the session's terminal, whose size is told when it changes; -1 = none */
};

/* Returns the exit code (0..255), or -errno. */
int must_check wait_for_end(const struct waiting *w, struct err *e);

/* Blocks every signal that wait_for_end() passes on: call early, so that none is lost before. */
void wait_block_signals(void);

#endif
