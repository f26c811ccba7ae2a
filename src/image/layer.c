/* layer.c - see layer.h. The EROFS image is made by erofs-utils from an unpacked copy: Debian 12's reads no
 * tar. Equal archives give equal files: time stamps of the file system, its UUID and the order of its entries
 * do not depend on when and where it was made.
 * Distrusts the archive, its packing and its digest. Never: writes outside of staging. */
#include "image/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/num.h"
#include "image/child.h"

#define COPY_LEN (256u << 10)
#define TAIL_MAX (64u << 20) /* bytes behind an archive's end mark; packers pad to 10 KiB */
/* 2100-01-01: mkfs.erofs keeps times up to this one as they are, and stamps the file system with it. */
#define EPOCH "4102444800"

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

/* A tar archive being read, and hashed on the way. */
struct stream {
	const struct range *from;
	uint64_t at;
	struct sha256 sum;
};

static ssize_t stream_read(void *arg, void *p, size_t n, struct err *e)
{
	struct stream *s = arg;
	ssize_t got = range_pread(s->from, s->at, p, n);

	if (got < 0)
		return err_set(e, (int)got, "read: %m");
	s->at += (uint64_t)got;
	sha256_add(&s->sum, p, (size_t)got);
	return got;
}

static int stream_rest(struct stream *s, char ret[SHA256_HEX], struct err *e)
{
	scoped_free char *buf = malloc(COPY_LEN);
	uint8_t digest[SHA256_LEN];
	ssize_t n;

	if (!buf)
		return err_set(e, -ENOMEM, "%m");
	while ((n = stream_read(s, buf, COPY_LEN, e)) > 0)
		;
	if (n < 0)
		return (int)n;
	sha256_done(&s->sum, digest);
	sha256_to_hex(digest, ret);
	return 0;
}

int range_sha256(const struct range *r, char ret[SHA256_HEX], struct err *e)
{
	struct stream s = { .from = r };

	sha256_init(&s.sum);
	return stream_rest(&s, ret, e);
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

/* A nameless file in a directory. */
static int temporary(int dir, struct err *e)
{
	int fd = openat(dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

	return fd < 0 ? err_set(e, -errno, "temporary file in the image store: %m") : fd;
}

/* A tool reads its input from the start of a file: a part in the middle is copied out. */
static int as_file(const struct range *r, int dir, struct err *e)
{
	scoped_free char *buf = malloc(COPY_LEN);
	scoped_fd fd = temporary(dir, e);

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

int range_unpack(const struct range *r, int dir, uint64_t max, struct range *ret, struct err *e)
{
	const struct packer *p = NULL;
	scoped_fd in = -1, out = -1;
	struct child c = { .in_fd = -1 };
	char head[8] = { 0 };
	struct stat st;
	int done;

	done = (int)range_pread(r, 0, head, sizeof head);
	if (done < 0)
		return err_set(e, done, "read: %m");
	for (size_t i = 0; i < ARRAY_LEN(packers) && !p; i++)
		p = memcmp(head, packers[i].magic, packers[i].n) == 0 ? &packers[i] : NULL;
	if (!p)
		return 0;
	in = as_file(r, dir, e);
	out = in < 0 ? -1 : temporary(dir, e);
	if (out < 0)
		return in < 0 ? in : out;
	c.argv = p->argv;
	c.in_fd = in;
	c.out_fd = out;
	c.max_out = max;
	done = child_run(&c, e);
	if (done == -EFBIG)
		return err_set(e, -EFBIG, "unpacks to more than %llu bytes: --max-size raises the limit",
			       (unsigned long long)max);
	if (done < 0)
		return err_wrap(e, "unpacking");
	if (fstat(out, &st) < 0)
		return err_set(e, -errno, "%m");
	*ret = (struct range){ .fd = take_fd(&out), .len = (uint64_t)st.st_size };
	return 1;
}

/* Runs mkfs.erofs: the directory `from` becomes `file`; both may be relative to `dir`. */
static int run_mkfs(const char *dir, const char *from, const char *layer, const char *file, struct err *e)
{
	scoped_free char *uuid =
		str_fmt("-U%.8s-%.4s-%.4s-%.4s-%.12s", layer, layer + 8, layer + 12, layer + 16, layer + 20);
	const char *argv[] = { "mkfs.erofs", "--quiet", "-d0", uuid, "-Enoinline_data", file, from, NULL };
	struct child c = { .argv = argv,
			   .dir = dir,
			   .in_fd = -1,
			   .out_fd = -1,
			   .env = "SOURCE_DATE_EPOCH",
			   .env_value = EPOCH };

	return uuid ? child_run(&c, e) : err_set(e, -ENOMEM, "%m");
}

/* In staging. */
static int stage_mkfs(const struct store_staging *g, const char *from, const char *layer, const char *file,
		      struct err *e)
{
	scoped_free char *dir = str_fmt("%s/staging/%s", g->store->path, g->name);

	return dir ? run_mkfs(dir, from, layer, file, e) : err_set(e, -ENOMEM, "%m");
}

/* 2, 4, 6, 8, 12, 16, 24 MiB and so on: VMs whose layers have the same sizes share a template. */
static off_t size_class(off_t size)
{
	off_t c = STORE_ALIGN;

	while (c < size && (c == STORE_ALIGN || c / 2 * 3 < size))
		c *= 2;
	return c < size ? c / 2 * 3 : c;
}

/* Fills the file up to its class, by a hole. */
static int pad(int fd, off_t *ret_size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_size = size_class(st.st_size);
	return ftruncate(fd, *ret_size) < 0 || fchmod(fd, 0400) < 0 ? -errno : 0;
}

/* Pads the file, makes it durable and writes its sum beside it. */
static int finish(const struct store_staging *g, const char *layer, const char *file, uint64_t entries,
		  struct err *e)
{
	scoped_fd fd = openat(g->fd, file, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct store_sum sum = { .entries = entries };
	off_t size = 0;
	int r;

	r = fd < 0 ? -errno : pad(fd, &size);
	if (r < 0 || fsync(fd) < 0)
		return err_set(e, r < 0 ? r : -errno, "%s: %m", file);
	sum.size = (uint64_t)size;
	r = sha256_fd_hex(fd, sum.sha256);
	return r < 0 ? err_set(e, r, "%s: %m", file) : store_stage_sum(g, layer, &sum, e);
}

/* Unpacks the archive to "root" in staging and takes its digest. */
static int fill_root(const struct store_staging *g, const struct range *tar, bool has_digest,
		     const struct unpack_limits *lim, struct unpack_stats *stats, char ret[SHA256_HEX],
		     struct err *e)
{
	struct stream s = { .from = tar };
	const struct tar_source src = { stream_read, &s, .whole = has_digest };
	scoped_fd root = -1;
	int r;

	sha256_init(&s.sum);
	if (mkdirat(g->fd, "root", 0700) < 0)
		return err_set(e, -errno, "image store: %m");
	root = openat(g->fd, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (root < 0)
		return err_set(e, -errno, "image store: %m");
	r = unpack_tar(&src, root, lim, stats, e);
	if (r == 0 && tar->len - s.at > TAIL_MAX)
		r = err_set(e, -EBADMSG, "%llu bytes follow the end of the archive: it is damaged",
			    (unsigned long long)(tar->len - s.at));
	return r < 0 ? r : stream_rest(&s, ret, e);
}

static int check_digest(const char *got, const char *want, struct err *e)
{
	if (!want || str_eq(got, want))
		return 0;
	return err_set(e, -EBADMSG,
		       "its digest is sha256:%s, but the image says sha256:%s: the file is damaged or "
		       "was changed; get the image again",
		       got, want);
}

/* Whatever it is packed with, it becomes "root" in staging. */
static int unpack_any(const struct store_staging *g, const struct range *tar, const char *want,
		      const struct unpack_limits *lim, struct unpack_stats *stats, char ret[SHA256_HEX],
		      struct err *e)
{
	struct range plain = { .fd = -1 };
	uint64_t headers, max;
	int r;

	/* an archive is its files and a few headers each; the names of most entries fit one block */
	if (num_mul(lim->entries, 4ull * TAR_BLOCK, &headers) < 0 || num_add(lim->bytes, headers, &max) < 0)
		max = INT64_MAX;
	r = range_unpack(tar, g->fd, num_min(max, INT64_MAX), &plain, e);
	if (r < 0)
		return r;
	r = fill_root(g, r == 1 ? &plain : tar, want != NULL, lim, stats, ret, e);
	scope_close(&plain.fd);
	return r == 0 ? check_digest(ret, want, e) : r;
}

static void note_left_out(const struct unpack_stats *stats, struct ui *ui)
{
	if (stats->xattrs_left_out > 0)
		ui_note(ui,
			"%llu extended attributes left out: only user.*, security.capability and ACLs are "
			"taken, and no ACLs as text (tar --acls without --xattrs)",
			(unsigned long long)stats->xattrs_left_out);
}

int layer_unpack(const struct store_staging *g, const struct range *tar, const char *want,
		 const struct unpack_limits *lim, struct ui *ui, struct unpack_stats *ret, struct err *e)
{
	char got[SHA256_HEX];
	int r = unpack_any(g, tar, want, lim, ret, got, e);

	if (r == 0)
		note_left_out(ret, ui);
	return r;
}

int layer_make(const struct store_staging *g, const struct range *tar, const char *want,
	       const struct unpack_limits *lim, struct ui *ui, char ret[SHA256_HEX], struct err *e)
{
	struct unpack_stats stats;
	int r = unpack_any(g, tar, want, lim, &stats, ret, e), known = 0;

	if (r == 0)
		r = known = store_stage_known(g, ret, e); /* it can have come without its digest */
	if (r == 0)
		r = layer_make_dir(g, "root", ret, stats.entries, e);
	if (r < 0)
		return r;
	note_left_out(&stats, ui);
	r = io_remove_tree_at(g->fd, "root");
	return r < 0 ? err_set(e, r, "image store: %m") : known;
}

int layer_make_dir(const struct store_staging *g, const char *dir, const char *layer, uint64_t entries,
		   struct err *e)
{
	scoped_free char *file = str_fmt("%s.erofs", layer);
	int r = file ? stage_mkfs(g, dir, layer, file, e) : err_set(e, -ENOMEM, "%m");

	return r == 0 ? finish(g, layer, file, entries, e) : r;
}

int layer_make_file(const char *dir, const char *file, const char *layer, struct err *e)
{
	scoped_fd fd = -1;
	off_t size;
	int r = run_mkfs("/", dir, layer, file, e);

	if (r < 0)
		return r;
	fd = open(file, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	r = fd < 0 ? -errno : pad(fd, &size);
	return r < 0 ? err_set(e, r, "%s: %m", file) : 0;
}
