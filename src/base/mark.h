/* mark.h - phase marks: where the time of a start went. A mark is a name, the process's name and a
 * monotonic time (CLOCK_MONOTONIC, ns); each is one line "ns process name\n" appended to a file
 * (O_APPEND, one write), so that several processes share one. A mark costs one clock read and one
 * write, and nothing when no file is open. */
#ifndef BASE_MARK_H
#define BASE_MARK_H

#include <stdint.h>

struct marks {
	int fd;           /* borrowed; -1 = off */
	const char *proc; /* "cor", "monitor", "agent" */
};

uint64_t mark_now_ns(void);
/* Failures are ignored: a lost mark must not cost a container. */
void mark_put(const struct marks *m, const char *name);
/* The same with a given time. */
void mark_put_at(const struct marks *m, const char *name, uint64_t ns);

#endif
