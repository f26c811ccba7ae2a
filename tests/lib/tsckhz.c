/* tsckhz.c - prints the rate of this machine's TSC in kHz, for an emulated machine that is shown it
 * (kvmhost.py). */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define FOR_NS   50000000
#define READINGS 64 /* of which the one that took the least is believed */

struct moment {
	uint64_t tsc;
	int64_t ns;
};

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Both clocks at one time. */
static struct moment moment(void)
{
	struct moment best = { 0, 0 };
	int64_t least = INT64_MAX;

	for (int i = 0; i < READINGS; i++) {
		int64_t before = now();
		uint64_t tsc = __builtin_ia32_rdtsc();
		int64_t gap = now() - before;

		if (gap >= least)
			continue;
		least = gap;
		best = (struct moment){ tsc, before + gap / 2 };
	}
	return best;
}

int main(void)
{
	struct moment a = moment(), b;

	while (now() - a.ns < FOR_NS)
		;
	b = moment();
	printf("%llu\n", (unsigned long long)((b.tsc - a.tsc) * 1000000 / (uint64_t)(b.ns - a.ns)));
	return 0;
}
