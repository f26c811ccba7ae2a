/* mark.c - phase marks (mark.h).
 *
 * Called at the phases of a start by cor, the monitor and the agent. Never: fails or blocks longer
 * than one write to a file. */
#include "base/mark.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

uint64_t mark_now_ns(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_MONOTONIC, &t) < 0)
		return 0;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void mark_put_at(const struct marks *m, const char *name, uint64_t ns)
{
	char line[128];
	int n;

	if (m->fd < 0)
		return;
	n = snprintf(line, sizeof(line), "%llu %s %s\n", (unsigned long long)ns, m->proc, name);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(line)) { /* cut, but still one line */
		n = (int)sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	if (write(m->fd, line, (size_t)n) < 0)
		return; /* a lost mark must not cost a container */
}

void mark_put(const struct marks *m, const char *name)
{
	if (m->fd >= 0)
		mark_put_at(m, name, mark_now_ns());
}
