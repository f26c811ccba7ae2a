/* io.c - whole reads and writes, files as values, memfds, waiting (io.h).
 *
 * Called by everybody who touches a file. Paths are trusted unless a function says otherwise; file
 * contents are not: every read has a limit. Never: leaves an fd without O_CLOEXEC, or a temporary
 * file behind. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define READ_MIN 4096u

ssize_t io_read_full(int fd, void *p, size_t n)
{
	size_t done = 0;

	if (n > SSIZE_MAX)
		return -EINVAL;
	while (done < n) {
		ssize_t r = read(fd, (char *)p + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

int io_write_full(int fd, const void *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = write(fd, (const char *)p + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0) /* no file does that to n > 0; never loop on it */
			return -EIO;
		done += (size_t)r;
	}
	return 0;
}

/* open(2) again after a signal: opening a FIFO or a file of a network may wait. */
static int open_retry(int dirfd, const char *path, int flags, mode_t mode)
{
	int fd;

	do
		fd = openat(dirfd, path, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

int io_read_all(int fd, size_t max, char **ret, size_t *ret_len)
{
	scoped_free char *buf = NULL;
	size_t len = 0, cap = 0;
	ssize_t r;

	if (max > SSIZE_MAX / 2)
		max = SSIZE_MAX / 2;
	do {
		size_t want = cap ? cap * 2 : READ_MIN;
		char *p;

		/* one byte more than allowed shows that there is more; another one for the NUL */
		if (want > max + 2)
			want = max + 2;
		p = realloc(buf, want);
		if (!p)
			return -ENOMEM;
		buf = p;
		cap = want;
		r = io_read_full(fd, buf + len, cap - 1 - len);
		if (r < 0)
			return (int)r;
		len += (size_t)r;
		if (len > max)
			return -EFBIG;
	} while (len == cap - 1);
	buf[len] = '\0';
	*ret = take_ptr(&buf);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int io_read_file_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	scoped_fd fd = open_retry(dirfd, path, O_RDONLY | O_NOCTTY, 0);

	if (fd < 0)
		return fd;
	return io_read_all(fd, max, ret, ret_len);
}

int io_write_existing_at(int dirfd, const char *path, const char *text)
{
	scoped_fd fd = open_retry(dirfd, path, O_WRONLY | O_NOCTTY, 0);
	size_t n = strlen(text);
	ssize_t r;

	if (fd < 0)
		return fd;
	do
		r = write(fd, text, n);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return (size_t)r == n ? 0 : -EIO;
}

/* Opens the directory that holds `path` and points *ret_name at the last part. */
static int open_parent(int dirfd, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	scoped_free char *dir = NULL;
	int fd;

	dir = !slash ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
	if (!dir)
		return -ENOMEM;
	fd = open_retry(dirfd, dir, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0)
		*ret_name = slash ? slash + 1 : path;
	return fd;
}

/* A fresh file in `dir`; its name goes to name. */
static int create_temporary(int dir, char *name, size_t size)
{
	for (int tries = 0; tries < 16; tries++) {
		uint64_t nonce = 0;
		int fd;

		if (getrandom(&nonce, sizeof(nonce), GRND_NONBLOCK) != (ssize_t)sizeof(nonce))
			nonce = (uint64_t)getpid() << 8 | (uint64_t)tries; /* uniqueness is O_EXCL's */
		(void)snprintf(name, size, IO_TEMPORARY "%016llx", (unsigned long long)nonce);
		fd = open_retry(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
		if (fd != -EEXIST)
			return fd;
	}
	return -EEXIST;
}

static int fill_file(int fd, const void *p, size_t n, mode_t mode)
{
	int r = io_write_full(fd, p, n);

	if (r < 0)
		return r;
	return fchmod(fd, mode) < 0 ? -errno : 0; /* as asked, whatever the umask */
}

static int replace_file(int dirfd, const char *path, const void *p, size_t n, mode_t mode, bool durable)
{
	scoped_fd dir = -1, fd = -1;
	const char *name = NULL;
	char tmp[40];
	int r;

	dir = open_parent(dirfd, path, &name);
	if (dir < 0)
		return dir;
	fd = create_temporary(dir, tmp, sizeof(tmp));
	if (fd < 0)
		return fd;
	r = fill_file(fd, p, n, mode);
	if (r == 0 && durable && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dir, tmp, dir, name) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(dir, tmp, 0); /* the first error is the one to report */
		return r;
	}
	return durable && fsync(dir) < 0 ? -errno : 0;
}

int io_replace_file_at(int dirfd, const char *path, const void *p, size_t n, mode_t mode)
{
	return replace_file(dirfd, path, p, n, mode, true);
}

int io_swap_file_at(int dirfd, const char *path, const void *p, size_t n, mode_t mode)
{
	return replace_file(dirfd, path, p, n, mode, false);
}

int io_memfd(const char *name, const void *p, size_t n)
{
	scoped_fd fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = io_write_full(fd, p, n);
	if (r < 0)
		return r;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	return take_fd(&fd);
}

int io_close_from(const int *keep, size_t n)
{
	unsigned from = 3;

	for (;;) {
		unsigned next = UINT_MAX; /* the smallest fd to keep that is not below `from` */

		for (size_t i = 0; i < n; i++)
			if (keep[i] >= 0 && (unsigned)keep[i] >= from && (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		/* UINT_MAX - 1 is beyond any fd, so it serves as "the end" */
		if (next > from && syscall(SYS_close_range, from, next - 1, 0) < 0)
			return -errno;
		if (next == UINT_MAX)
			return 0;
		from = next + 1;
	}
}

int io_open_dir_at(int dirfd, const char *name, DIR **ret)
{
	scoped_fd fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*ret = fdopendir(fd);
	if (!*ret)
		return -errno;
	(void)take_fd(&fd); /* the stream's */
	return 0;
}

int io_mkdirs(const char *path, mode_t mode)
{
	scoped_free char *p = strdup(path);
	struct stat st;

	if (!p)
		return -ENOMEM;
	for (char *end = p; *end;) {
		char c;

		end += strspn(end, "/");
		end += strcspn(end, "/");
		c = *end;
		*end = '\0';
		if (*p && mkdir(p, mode) < 0 && errno != EEXIST)
			return -errno;
		*end = c;
	}
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int64_t now_ns(void)
{
	struct timespec t = { 0 };

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* can't fail for this clock */
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int io_wait_readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t end = now_ns() + (int64_t)timeout_ms * 1000000;
	int r, left = timeout_ms;

	if (fd < 0)
		return -EBADF;
	do {
		r = poll(&p, 1, left);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r < 0 && timeout_ms >= 0) {
			int64_t rest = end - now_ns();

			left = rest > 0 ? (int)((rest + 999999) / 1000000) : 0; /* never too early */
		}
	} while (r < 0);
	if (r == 0)
		return -ETIMEDOUT;
	if (p.revents & POLLNVAL)
		return -EBADF;
	return p.revents & (POLLIN | POLLHUP) ? 0 : -EIO;
}
