/* loop.h - one epoll loop per thread. Sources are embedded in their owners: the loop allocates
 * nothing. Single thread: every function is called on the loop's thread.
 *
 * Regular files and /dev/null can't be polled; a source with such an fd counts as always ready and
 * is called once per turn while its events are not 0, so every fd a caller passes can be served. */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/scope.h"

struct loop;
struct source;

/* events: the EPOLL* bits that are ready. The source may delete itself or others. */
typedef void source_fn(struct source *s, uint32_t events);

struct source {
	int fd; /* borrowed: the owner closes it, after loop_del() */
	uint32_t events;
	source_fn *fn;
	struct loop *loop;   /* NULL = not in a loop */
	bool always;         /* not pollable: always ready */
	struct source *next; /* list of always-ready sources */
};

struct loop {
	int epfd;
	bool open; /* epfd is ours: a zeroed loop can be given to loop_fini() */
	bool stop;
	bool busy; /* a turn is being served */
	struct source *always;
	struct source *always_next; /* the next always-ready source of the current turn */
	struct epoll_event *batch;  /* events of the current turn: loop_del() clears dead ones */
	int n_batch;
};

int must_check loop_init(struct loop *l);
void loop_fini(struct loop *l); /* idempotent */

/* Watches fd for events (EPOLLIN/EPOLLOUT; 0 = only errors and hang-up). */
int must_check loop_add(struct loop *l, struct source *s, int fd, uint32_t events, source_fn *fn);
/* Changes the events; cheap when they are the same. */
int must_check loop_mod(struct source *s, uint32_t events);
/* Forgets the source: its function is not called again, also not in the current turn. Idempotent;
 * a zeroed source is fine. Does not close the fd. */
void loop_del(struct source *s);

/* Waits up to timeout_ms (-1 = for ever) and serves one batch; a signal ends the wait early. Returns
 * -errno only if epoll fails, -EBUSY when called from a source's function. */
int must_check loop_once(struct loop *l, int timeout_ms);
/* Serves until loop_stop(), which is forgotten when it returns or is called anew. */
int must_check loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* A monotonic timer. */
struct timer {
	struct source src;
	void (*fn)(struct timer *t);
};

int must_check loop_timer_add(struct loop *l, struct timer *t, void (*fn)(struct timer *t));
/* Fires once in `ms` milliseconds (0 = disarm). */
int must_check loop_timer_set(struct timer *t, uint64_t ms);
void loop_timer_del(struct timer *t); /* idempotent; closes the timer's fd */

#endif
