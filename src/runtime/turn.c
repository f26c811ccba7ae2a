/* turn.c - see turn.h.
 *
 * A clone's start under software emulation is CPU time, with code and data that no other start has in common
 * with it. Fifty of them that take turns in time slices on two CPUs need half as much again as ten. So only
 * some of them run at a time: each has a byte of one file locked, and who finds none free looks again. A lock
 * ends with its process, whatever ends that.
 *
 * Called by create.c. Never: fails a container, or keeps it waiting longer than TURN_MS. */
#include "runtime/turn.h"

#include <fcntl.h>
#include <sched.h>
#include <time.h>

#include "base/scope.h"
#include "base/str.h"

#define TURNS   ".turns" /* below template.dir */
#define FOR_CPU 5        /* starts for each CPU */
#define TURN_MS 30000
#define STEP_MS 40 /* others run meanwhile: nothing is lost by a late look */

static bool lock_one(int fd, int n)
{
	for (int i = 0; i < n; i++) {
		struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = i, .l_len = 1 };

		if (fcntl(fd, F_OFD_SETLK, &l) == 0)
			return true;
	}
	return false;
}

int turn_take(const struct settings *s, const struct vmcfg *vm)
{
	const struct timespec pause = { .tv_nsec = STEP_MS * 1000000 };
	scoped_free char *path = NULL;
	scoped_fd fd = -1;
	cpu_set_t cpus;

	if (!vm->template_dir || vm->kvm || sched_getaffinity(0, sizeof cpus, &cpus) < 0)
		return -1;
	path = str_fmt("%s/" TURNS, s->template_dir);
	fd = path ? open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600) : -1;
	for (int waited = 0; fd >= 0 && !lock_one(fd, CPU_COUNT(&cpus) * FOR_CPU); waited += STEP_MS) {
		if (waited >= TURN_MS)
			return -1;
		(void)nanosleep(&pause, NULL);
	}
	return take_fd(&fd);
}

void turn_end(int *fd)
{
	/* Not by close() alone: a child that was forked and not exec'ed has a copy of the descriptor. */
	struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	if (*fd >= 0)
		(void)fcntl(*fd, F_OFD_SETLK, &all);
	scope_close(fd);
	*fd = -1;
}
