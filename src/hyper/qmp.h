/* qmp.h - the few QMP commands that a driver needs, without a JSON library.
 *
 * QEMU answers one JSON object a line. It is trusted to want no harm, but a guest may have taken it
 * over: lines, depth and strings are bounded, the grammar is checked in full, and a reply that can't be
 * read makes the connection unusable, never more. Blocking, on the monitor's thread. */
#ifndef HYPER_QMP_H
#define HYPER_QMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define QMP_LINE_MAX 16384 /* QEMU 7.2's longest line for us is its greeting: 140 bytes */
#define QMP_TEXT_MAX 256
#define QMP_DEPTH    16
#define QMP_LINES    256 /* events that are skipped while one answer is awaited */

enum qmp_kind {
	QMP_GREETING, /* {"QMP": ...} */
	QMP_RETURN,   /* {"return": ...} */
	QMP_ERROR,    /* {"error": {"desc": text}} */
	QMP_EVENT,    /* {"event": text} */
	QMP_KIND_N
};

struct qmp_reply {
	enum qmp_kind kind;
	bool has_id;
	uint64_t id;             /* "id", if it is a number */
	char text[QMP_TEXT_MAX]; /* desc of an error, name of an event: printable ASCII, cut if long; else ""
				  */
	bool open;               /* an event's data: "open" is true */
	char status[16];         /* an event's data: its "status", or "" */
};

/* Reads one line (without its end). 0, or -EBADMSG if it is no JSON object, nests deeper than
 * QMP_DEPTH, or is of none or several of the kinds; *ret is then unchanged. */
int must_check qmp_scan(const char *line, size_t n, struct qmp_reply *ret);

/* What a driver waits for. */
enum qmp_event {
	QMP_PORT_OPEN, /* the guest has opened the agent's port */
	QMP_SAVED,     /* a migration is complete */
	QMP_NOT_SAVED, /* or failed */
};

struct qmp {
	int fd;       /* owned; -1 = none */
	bool greeted; /* its greeting was read */
	bool ready;   /* capabilities are negotiated */
	uint64_t last_id;
	unsigned seen; /* bit per enum qmp_event */
	size_t len;
	char in[QMP_LINE_MAX];
};

void qmp_init(struct qmp *q, int fd); /* takes the fd */
void qmp_fini(struct qmp *q);         /* idempotent */

/* Runs a command without arguments and waits for its answer. The greeting and the capabilities are
 * exchanged at the first one: nothing of it is on the way of a start. -ETIMEDOUT; -EPIPE when QEMU
 * closed the connection; -EIO with QEMU's words when it refused; -EBADMSG, after which the connection
 * is closed. */
int must_check qmp_command(struct qmp *q, const char *name, int timeout_ms, struct err *e);
/* The same with arguments: `args` is their JSON object, NULL = none. */
int must_check qmp_command_args(struct qmp *q, const char *name, const char *args, int timeout_ms,
				struct err *e);
/* Gives QEMU a descriptor under a name, for commands that take one. It stays the caller's. */
int must_check qmp_send_fd(struct qmp *q, const char *name, int fd, int timeout_ms, struct err *e);
/* Waits until one of the events (bits) has been seen since the connection began; returns those seen.
 * -ETIMEDOUT, and as qmp_command(). */
int must_check qmp_wait_event(struct qmp *q, unsigned events, int timeout_ms, struct err *e);
/* Writes commands (whole lines) that QEMU obeys when it is up, with a descriptor for the first, and waits
 * for nothing: what they answer is skipped later. Before the first qmp_command() only. */
int must_check qmp_preload(const struct qmp *q, const char *lines, int fd);

#endif
