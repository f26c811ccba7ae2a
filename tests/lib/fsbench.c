/* fsbench.c - what ./bench fs measures of a file system, in a guest or beside it.
 *
 *     fsbench DIR FILES MIB BLOCKS
 *
 * Prints a line "NAME COUNT NANOSECONDS" for each thing that it did in DIR. A source tree is imitated by its
 * system calls (as tar, find and git make them), so that no program and no library is measured. As root:
 * before what is to come from the file system, the kernel's caches are dropped. Static. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB     (1u << 20)
#define BLOCK   4096u
#define PER_DIR 25u

static struct {
	unsigned files, mib, blocks;
	int64_t since;
	char buf[MIB];
} b;

static void check(const char *what, long r)
{
	if (r >= 0)
		return;
	(void)fprintf(stderr, "fsbench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void begin(void)
{
	b.since = now_ns();
}

static void end(const char *name, unsigned n)
{
	(void)printf("%s %u %lld\n", name, n, (long long)(now_ns() - b.since));
}

/* Everything that is not in the file system itself. */
static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	sync();
	check("drop_caches", write(fd, "3", 1));
	(void)close(fd);
}

static const char *path_of(unsigned k)
{
	static char path[64];

	(void)snprintf(path, sizeof path, "tree/dir-%u/source-%u.c", k / PER_DIR, k);
	return path;
}

/* As tar does it; 1 to 8 KiB each. */
static void untar(void)
{
	const struct timespec times[2] = { { 1700000000, 0 }, { 1700000000, 0 } };
	char dir[64];

	begin();
	check("mkdir", mkdir("tree", 0755));
	for (unsigned k = 0; k < b.files; k++) {
		int fd;

		if (k % PER_DIR == 0) {
			(void)snprintf(dir, sizeof dir, "tree/dir-%u", k / PER_DIR);
			check(dir, mkdir(dir, 0755));
		}
		fd = openat(AT_FDCWD, path_of(k), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		check(path_of(k), fd);
		check("write", write(fd, b.buf, 1024 * (1 + k % 8)));
		check("futimens", futimens(fd, times));
		check("fchown", fchown(fd, 1000, 1000));
		check("fchmod", fchmod(fd, 0644));
		check("close", close(fd));
	}
	end("untar", b.files);
}

/* Reads a directory and looks at each entry if asked to; how many files there were. */
static unsigned walk(const char *path, int look)
{
	DIR *d = opendir(path);
	unsigned n = 0;
	struct dirent *e;
	struct stat st;
	char sub[512];

	check(path, d ? 0 : -1);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		if (look)
			check(e->d_name, fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW));
		n += e->d_type == DT_REG;
		if (e->d_type == DT_DIR) {
			(void)snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
			n += walk(sub, look);
		}
	}
	(void)closedir(d);
	return n;
}

static void find(const char *name)
{
	begin();
	check("find: files", walk("tree", 1) == b.files ? 0 : -1);
	end(name, b.files);
}

/* Every file of the index is looked at, then the directories are read for what is not in it. */
static void status(void)
{
	struct stat st;

	begin();
	for (unsigned k = 0; k < b.files; k++)
		check("lstat", lstat(path_of(k), &st));
	check("status: files", walk("tree", 0) == b.files ? 0 : -1);
	end("status", b.files);
}

static void read_tree(void)
{
	begin();
	for (unsigned k = 0; k < b.files; k++) {
		int fd = open(path_of(k), O_RDONLY | O_CLOEXEC);

		check(path_of(k), fd);
		check("read", read(fd, b.buf, 8192));
		(void)close(fd);
	}
	end("cat", b.files);
}

static void remove_tree(void)
{
	char dir[64];

	begin();
	for (unsigned k = 0; k < b.files; k++)
		check("unlink", unlink(path_of(k)));
	for (unsigned k = 0; k < b.files; k += PER_DIR) {
		(void)snprintf(dir, sizeof dir, "tree/dir-%u", k / PER_DIR);
		check(dir, rmdir(dir));
	}
	check("rmdir", rmdir("tree"));
	end("rm", b.files);
}

static void sequential(void)
{
	int fd = open("large", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	check("large", fd);
	begin();
	for (unsigned k = 0; k < b.mib; k++)
		check("write", write(fd, b.buf, MIB) == MIB ? 0 : -1);
	check("fsync", fsync(fd));
	end("write", b.mib);
	drop_caches();
	begin();
	for (unsigned k = 0; k < b.mib; k++)
		check("read", pread(fd, b.buf, MIB, (off_t)k * MIB) == MIB ? 0 : -1);
	end("read", b.mib);
	(void)close(fd);
}

static void scattered(void)
{
	uint32_t at = 1, n = b.mib * (MIB / BLOCK);
	int fd = open("large", O_RDWR | O_CLOEXEC);

	check("large", fd);
	drop_caches();
	begin();
	for (unsigned k = 0; k < b.blocks; k++) {
		at = at * 1664525u + 1013904223u;
		check("read", pread(fd, b.buf, BLOCK, (off_t)(at >> 8) % n * BLOCK));
	}
	end("randread", b.blocks);
	begin();
	for (unsigned k = 0; k < b.blocks; k++) {
		at = at * 1664525u + 1013904223u;
		check("write", pwrite(fd, b.buf, BLOCK, (off_t)(at >> 8) % n * BLOCK));
	}
	check("fsync", fsync(fd));
	end("randwrite", b.blocks);
	(void)close(fd);
	check("unlink", unlink("large"));
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	check(argv[1], chdir(argv[1]));
	b.files = (unsigned)strtoul(argv[2], NULL, 10);
	b.mib = (unsigned)strtoul(argv[3], NULL, 10);
	b.blocks = (unsigned)strtoul(argv[4], NULL, 10);
	memset(b.buf, 'x', sizeof b.buf); /* its pages are there before the clock runs */
	untar();
	drop_caches();
	find("find");
	status();
	drop_caches();
	read_tree();
	remove_tree();
	sequential();
	scattered();
	(void)puts("complete");
	return 0;
}
