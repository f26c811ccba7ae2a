/* tsc.c - prints the time stamp counter and CLOCK_BOOTTIME in ns. With QEMU's -icount shift=0 the counter is
 * the number of instructions since the machine's reset: ./bench boot runs it in a container. Trusts nothing,
 * reads nothing. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <time.h>

int main(void)
{
	struct timespec t;
	uint64_t tsc;

	if (clock_gettime(CLOCK_BOOTTIME, &t) < 0)
		return 1;
	tsc = __builtin_ia32_rdtsc();
	return printf("%llu %lld\n", (unsigned long long)tsc, (long long)t.tv_sec * 1000000000 + t.tv_nsec) <
	       0;
}
