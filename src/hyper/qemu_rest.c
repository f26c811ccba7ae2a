/* qemu_rest.c - see qemu_rest.h.
 *
 * Under software emulation nearly half of what an idle clone has of its own is code that was translated for
 * its start, and runs once. QEMU only drops translations when their buffer is full. Here it does so once,
 * when the VM has been at rest for the first time: what is run again is translated again, and then stays. The
 * pages of the buffer and of the tables about it go back to the host.
 *
 * By QEMU's own functions, which its modules may call: async_safe_run_on_cpu() runs work while no vCPU runs,
 * tb_flush() drops all translations. A QEMU without these names, or that has not dropped them then, keeps all
 * as it is.
 *
 * State: as in qemu_fork.c, one struct at file scope; only the main thread uses it. */
#include "hyper/qemu_rest.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"

#define NS_PER_MS 1000000ull
#define LOOK_MS   1500 /* at rest for so long: it has used less than BUSY_MS of CPU time in it */
#define BUSY_MS   30
#define KEPT      (64u << 10) /* the buffer's begin: code that is no translation, some KiB */

static struct {
	bool asked, wanted;
	uint64_t at, used; /* time, and CPU time until then, of the last look; ns */
} state;

/* What is asked of QEMU. Its union of run_on_cpu_data goes in one register. */
struct qemu {
	void *(*get_cpu)(int index);
	void (*run_safe)(void *cpu, void (*work)(void *cpu, unsigned long data), unsigned long data);
	void (*flush)(void *cpu);
	size_t (*count)(void);
	uintptr_t *buffer; /* where the buffer begins */
};

static bool find(struct qemu *q)
{
	*(void **)&q->get_cpu = dlsym(RTLD_DEFAULT, "qemu_get_cpu");
	*(void **)&q->run_safe = dlsym(RTLD_DEFAULT, "async_safe_run_on_cpu");
	*(void **)&q->flush = dlsym(RTLD_DEFAULT, "tb_flush");
	*(void **)&q->count = dlsym(RTLD_DEFAULT, "tcg_nb_tbs");
	q->buffer = dlsym(RTLD_DEFAULT, "tcg_qemu_tb_exec");
	return q->get_cpu && q->run_safe && q->flush && q->count && q->buffer;
}

/* Gives back the mapping that `begin` is in, but for what stands before it and KEPT bytes. */
static void drop_pages(uintptr_t begin)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long from, to;
	char line[512], mode[5];

	while (maps && fgets(line, sizeof line, maps)) {
		if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3 || begin < from || begin >= to)
			continue;
		begin = (begin + KEPT) & ~(uintptr_t)(KEPT - 1);
		if (mode[3] == 'p' && begin < to)
			(void)syscall(SYS_madvise, begin, to - begin, MADV_DONTNEED);
		break;
	}
	if (maps)
		(void)fclose(maps);
}

/* While no vCPU runs. */
static void give_back(void *cpu, unsigned long data unused_arg)
{
	struct qemu q;

	if (!find(&q))
		return;
	q.flush(cpu);
	if (q.count() != 0)
		return; /* it will, later: nothing may be taken away from below it */
	drop_pages(*q.buffer);
	(void)malloc_trim(0);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t); /* can't fail for these clocks */
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void qemu_rest_look(void)
{
	uint64_t now, used;
	struct qemu q;
	bool resting;

	if (!state.asked)
		state.wanted = getenv(QEMU_REST_WORD) != NULL;
	state.asked = true;
	if (!state.wanted || getpid() != (int)syscall(SYS_gettid))
		return;
	now = now_ns(CLOCK_MONOTONIC);
	if (now - state.at < LOOK_MS * NS_PER_MS)
		return;
	used = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	resting = state.at && used - state.used < BUSY_MS * NS_PER_MS;
	state.at = now;
	state.used = used;
	if (!resting)
		return;
	state.wanted = false;
	if (find(&q) && q.get_cpu(0))
		q.run_safe(q.get_cpu(0), give_back, 0);
}
