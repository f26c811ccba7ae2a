/* tmpdir.h - a fresh directory per test, removed with the tools of the C library only (the code
 * under test must not clean up after itself). */
#ifndef TESTS_TMPDIR_H
#define TESTS_TMPDIR_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tmpdir {
	char path[64];
	int fd;
};

static inline int tmpdir_remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int tmpdir_set_up(void **state)
{
	struct tmpdir *t = calloc(1, sizeof(*t));

	if (!t)
		return -1;
	(void)snprintf(t->path, sizeof(t->path), "/tmp/cor-test-XXXXXX");
	if (!mkdtemp(t->path))
		return -1;
	t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = t;
	return t->fd < 0 ? -1 : 0;
}

static inline int tmpdir_tear_down(void **state)
{
	struct tmpdir *t = *state;
	int r = nftw(t->path, tmpdir_remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);

	(void)close(t->fd);
	free(t);
	return r;
}

/* Makes a file with this text, whatever was there. */
static inline int tmpdir_write(const struct tmpdir *t, const char *name, const char *text)
{
	int fd = openat(t->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	size_t n = strlen(text);
	ssize_t r = fd < 0 ? -1 : write(fd, text, n);

	if (fd >= 0)
		(void)close(fd);
	return r == (ssize_t)n ? 0 : -1;
}

/* Entries of the directory, without . and .. */
static inline unsigned tmpdir_count(const struct tmpdir *t)
{
	DIR *d = opendir(t->path);
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		(void)closedir(d);
	return n - 2;
}

#endif
