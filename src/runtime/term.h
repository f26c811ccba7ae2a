/* term.h - the user's terminal in front of a container's: run and exec in the foreground.
 *
 * We made the pty: the container's side has the slave, we copy between its master and our stdio, with
 * the user's terminal raw while that goes on. Single thread, in the caller's loop. */
#ifndef RUNTIME_TERM_H
#define RUNTIME_TERM_H

#include <termios.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/ring.h"

struct term_pump {
	struct loop *loop;
	struct source from, to;
	int from_fd, to_fd;
	struct ring ring;
	bool eof;
};

struct term {
	int master;  /* owned; -1 */
	int in, out; /* ours, non-blocking; -1 */
	bool is_raw;
	struct termios saved;
	struct term_pump to_container, to_user;
};

/* Makes the pty; the slave is the caller's to hand over and close. The size is the user's terminal's. */
int must_check term_open(struct term *t, int *ret_slave, struct err *e);
/* Starts copying, makes the user's terminal raw. */
int must_check term_start(struct term *t, struct loop *l, struct err *e);
/* The user's window changed: passes the size on. */
void term_resize(struct term *t);
/* After the container's process ended: what it wrote last goes to the user; then the terminal is as it
 * was. Idempotent; a zeroed term (master -1) is fine. */
void term_finish(struct term *t);

#endif
