/* transfer.c - moves bytes through a container's stdout or root file system; ./bench io runs it inside.
 *
 *     transfer stdout MIB        zeros to stdout, in blocks of 64 KiB
 *     transfer write MIB FILE    zeros to FILE, in blocks of 1 MiB, then fsync; prints the nanoseconds that
 * took transfer read MIB FILE     reads FILE in blocks of 1 MiB; prints the nanoseconds Static, because
 * nothing but time between two readings of one clock shall be measured: no shell, no page of a library. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MIB (1u << 20)

static char block[MIB];

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int write_all(int fd, uint64_t left, size_t step)
{
	while (left > 0) {
		ssize_t n = write(fd, block, left < step ? (size_t)left : step);

		if (n < 0)
			return -1;
		left -= (uint64_t)n;
	}
	return 0;
}

static int read_all(int fd, uint64_t left)
{
	while (left > 0) {
		ssize_t n = read(fd, block, left < MIB ? (size_t)left : MIB);

		if (n <= 0)
			return -1;
		left -= (uint64_t)n;
	}
	return 0;
}

static int timed(const char *path, int flags, uint64_t bytes)
{
	int64_t begin;
	int fd, r;

	memset(block, 0, sizeof block); /* its pages are there before the clock runs */
	begin = now_ns();
	fd = open(path, flags | O_CLOEXEC, 0644);
	if (fd < 0)
		return -1;
	r = flags == O_RDONLY ? read_all(fd, bytes) : write_all(fd, bytes, MIB);
	if (r == 0 && flags != O_RDONLY)
		r = fsync(fd);
	if (r == 0)
		printf("%lld\n", (long long)(now_ns() - begin));
	close(fd);
	return r;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	uint64_t bytes = argc > 2 ? strtoull(argv[2], NULL, 10) * MIB : 0;
	int r = -1;

	if (!strcmp(what, "stdout") && argc == 3)
		r = write_all(1, bytes, 64 << 10);
	else if (!strcmp(what, "write") && argc == 4)
		r = timed(argv[3], O_WRONLY | O_CREAT | O_TRUNC, bytes);
	else if (!strcmp(what, "read") && argc == 4)
		r = timed(argv[3], O_RDONLY, bytes);
	if (r < 0)
		perror("transfer");
	return r < 0 ? 1 : 0;
}
