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
/* 2100-01-01: mkfs.erofs keeps times up to this one as they are, and stamps the file system with it. */
#define EPOCH "4102444800"

/* A tar archive being read, and hashed on the way. */
struct stream {
	struct unpacker from;
	struct sha256 sum;
};

static ssize_t stream_read(void *arg, void *p, size_t n, struct err *e)
{
	struct stream *s = arg;
	ssize_t got = unpacker_read(&s->from, p, n, e);

	if (got > 0)
		sha256_add(&s->sum, p, (size_t)got);
	return got;
}

/* What is behind the end mark counts for the digest. */
static int stream_rest(struct stream *s, char ret[SHA256_HEX], struct err *e)
{
	scoped_free char *buf = malloc(COPY_LEN);
	uint64_t end = s->from.at;
	uint8_t digest[SHA256_LEN];
	ssize_t n;

	if (!buf)
		return err_set(e, -ENOMEM, "%m");
	while ((n = stream_read(s, buf, COPY_LEN, e)) > 0)
		if (s->from.at - end > RANGE_TAIL_MAX)
			return err_set(e, -EBADMSG,
				       "more than %u bytes follow the end of the archive: it is damaged",
				       RANGE_TAIL_MAX);
	if (n < 0)
		return (int)n;
	sha256_done(&s->sum, digest);
	sha256_to_hex(digest, ret);
	return 0;
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

/* What a packed archive may be long: its files, and a few headers each; the names of most entries fit one
 * block. */
static uint64_t max_packed(const struct unpack_limits *lim)
{
	uint64_t headers, max;

	if (num_mul(lim->entries, 4ull * TAR_BLOCK, &headers) < 0 || num_add(lim->bytes, headers, &max) < 0)
		max = INT64_MAX;
	return max;
}

static int read_archive(struct stream *s, int root, bool has_digest, const struct unpack_limits *lim,
			struct unpack_stats *stats, char ret[SHA256_HEX], struct err *e)
{
	const struct tar_source src = { stream_read, s, .whole = has_digest };
	int r = unpack_tar(&src, root, lim, stats, e);

	return r == 0 ? stream_rest(s, ret, e) : r;
}

/* Unpacks the archive to "root" in staging and takes its digest. */
static int fill_root(const struct store_staging *g, const struct range *tar, bool has_digest,
		     const struct unpack_limits *lim, struct unpack_stats *stats, char ret[SHA256_HEX],
		     struct err *e)
{
	struct stream s;
	scoped_fd root = -1;
	int r;

	sha256_init(&s.sum);
	if (mkdirat(g->fd, "root", 0700) < 0)
		return err_set(e, -errno, "image store: %m");
	root = openat(g->fd, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (root < 0)
		return err_set(e, -errno, "image store: %m");
	r = unpacker_open(&s.from, tar, g->fd, max_packed(lim), e);
	if (r == 0)
		r = read_archive(&s, root, has_digest, lim, stats, ret, e);
	unpacker_fini(&s.from);
	return r;
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
	int r = fill_root(g, tar, want != NULL, lim, stats, ret, e);

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
