/* range.c - see range.h. Distrusts what is packed, and how. Never: writes what it unpacks anywhere. */
#include "image/range.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/num.h"

#define COPY_LEN (256u << 10)

static ssize_t range_pread(const struct range *r, uint64_t at, void *p, size_t n)
{
	size_t want = (size_t)num_min(n, r->len - at), done = 0;

	while (done < want) {
		ssize_t got = pread(r->fd, (char *)p + done, want - done, (off_t)(r->off + at + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int range_sha256(const struct range *r, char ret[SHA256_HEX], struct err *e)
{
	scoped_free char *buf = malloc(COPY_LEN);
	uint8_t digest[SHA256_LEN];
	struct sha256 sum;
	uint64_t at = 0;
	ssize_t n;

	if (!buf)
		return err_set(e, -ENOMEM, "%m");
	sha256_init(&sum);
	while ((n = range_pread(r, at, buf, COPY_LEN)) > 0) {
		sha256_add(&sum, buf, (size_t)n);
		at += (uint64_t)n;
	}
	if (n < 0)
		return err_set(e, (int)n, "read: %m");
	sha256_done(&sum, digest);
	sha256_to_hex(digest, ret);
	return 0;
}

int range_read(const struct range *r, size_t max, char **ret, size_t *ret_len, struct err *e)
{
	scoped_free char *p = NULL;
	ssize_t n;

	if (r->len > max)
		return err_set(e, -EFBIG, "has %llu bytes, %zu are the most", (unsigned long long)r->len,
			       max);
	p = malloc((size_t)r->len + 1);
	if (!p)
		return err_set(e, -ENOMEM, "%m");
	n = range_pread(r, 0, p, (size_t)r->len);
	if (n < 0)
		return err_set(e, (int)n, "%m");
	p[n] = '\0';
	*ret_len = (size_t)n;
	*ret = take_ptr(&p);
	return 0;
}

int range_temporary(int dir, struct err *e)
{
	int fd = openat(dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

	return fd < 0 ? err_set(e, -errno, "temporary file in the image store: %m") : fd;
}

/* How packed data begins, and who unpacks it. */
static const struct packer {
	const char *magic;
	size_t n;
	const char *argv[4];
} packers[] = {
	{ "\x1f\x8b", 2, { "gzip", "-dc", NULL } },
	{ "\x28\xb5\x2f\xfd", 4, { "zstd", "-dcq", NULL } },
	{ "\xfd"
	  "7zXZ",
	  5,
	  { "xz", "-dc", NULL } },
	{ "BZh", 3, { "bzip2", "-dc", NULL } },
	{ "\x04\x22\x4d\x18", 4, { "lz4", "-dcq", NULL } },
};

/* A whole file, opened once more: the place where it is read is not the caller's then. -1 = it is a part. */
static int reopen(const struct range *r)
{
	char path[32];
	struct stat st;

	if (r->off != 0 || fstat(r->fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != r->len)
		return -1;
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", r->fd); /* fits */
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* A tool reads its input from the start of a file: a part in the middle is copied out. */
static int as_file(const struct range *r, int dir, struct err *e)
{
	scoped_free char *buf = malloc(COPY_LEN);
	scoped_fd fd = reopen(r);

	if (fd >= 0)
		return take_fd(&fd);
	fd = range_temporary(dir, e);
	if (fd < 0 || !buf)
		return fd < 0 ? fd : err_set(e, -ENOMEM, "%m");
	for (uint64_t at = 0; at < r->len;) {
		ssize_t n = range_pread(r, at, buf, COPY_LEN);

		if (n == 0)
			return err_set(e, -EBADMSG, "the file ends too early (truncated)");
		if (n > 0 && io_write_full(fd, buf, (size_t)n) < 0)
			n = -errno;
		if (n < 0)
			return err_set(e, (int)n, "%m");
		at += (uint64_t)n;
	}
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_set(e, -errno, "%m");
	return take_fd(&fd);
}

int unpacker_open(struct unpacker *u, const struct range *from, int dir, uint64_t max, struct err *e)
{
	const struct packer *p = NULL;
	char head[8] = { 0 };
	struct child c = { .in_fd = -1 };
	ssize_t n;

	*u = (struct unpacker){ .from = *from, .max = max, .in = -1, .pipe = CHILD_PIPE_NONE };
	n = range_pread(from, 0, head, sizeof head);
	if (n < 0)
		return err_set(e, (int)n, "read: %m");
	for (size_t i = 0; i < ARRAY_LEN(packers) && !p; i++)
		p = memcmp(head, packers[i].magic, packers[i].n) == 0 ? &packers[i] : NULL;
	if (!p)
		return 0;
	u->packed = true;
	u->in = as_file(from, dir, e);
	if (u->in < 0)
		return u->in;
	c.argv = p->argv;
	c.in_fd = u->in;
	return child_start(&u->pipe, &c, e);
}

static ssize_t read_packed(struct unpacker *u, void *p, size_t n, struct err *e)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = child_read(&u->pipe, (char *)p + done, n - done, e);

		if (got < 0)
			return err_wrap(e, "unpacking");
		if (got == 0)
			break;
		done += (size_t)got;
	}
	if (done > u->max - u->at)
		return err_set(e, -EFBIG, "unpacks to more than %llu bytes: --max-size raises the limit",
			       (unsigned long long)u->max);
	return (ssize_t)done;
}

ssize_t unpacker_read(struct unpacker *u, void *p, size_t n, struct err *e)
{
	ssize_t got = u->packed ? read_packed(u, p, n, e) : range_pread(&u->from, u->at, p, n);

	if (got < 0)
		return u->packed ? got : err_set(e, (int)got, "read: %m");
	u->at += (uint64_t)got;
	return got;
}

void unpacker_fini(struct unpacker *u)
{
	child_stop(&u->pipe);
	scope_close(&u->in);
	u->in = -1;
}
