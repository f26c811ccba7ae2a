/* fuzz_tar.c - what cor-image imports: tar archives, and the JSON of OCI layouts and docker archives. The
 * first byte chooses: raw bytes, an archive built from choices (right checksums, so that what is behind them
 * is reached), a document. Promises: of an entry names are strings, pieces in order and within the file, and
 * tar_read() gives exactly their bytes; what is refused is explained; a digest taken from a document is one.
 */
#include <ctype.h>
#include <errno.h>

#include "fuzz.h"
#include "image/source.h"

#define ENTRIES_MAX 64
#define ARCHIVE_MAX (256u << 10)

struct memory {
	const uint8_t *p;
	size_t left;
};

static ssize_t from_memory(void *arg, void *p, size_t n, struct err *e)
{
	struct memory *m = arg;
	size_t part = n < m->left ? n : m->left;

	(void)e;
	if (part)
		memcpy(p, m->p, part);
	m->p += part;
	m->left -= part;
	return (ssize_t)part;
}

static void explained(int r, const struct err *e)
{
	FUZZ_ASSERT(r == 0 || (e->code == r && e->msg[0]));
}

static void check_entry(struct tar *t, const struct tar_entry *en)
{
	uint64_t end = 0, sum = 0;
	uint8_t part[700];
	ssize_t got;

	FUZZ_ASSERT(en->name && en->link && en->mode <= 07777 && en->mtime_ns < 1000000000);
	FUZZ_ASSERT(en->type == TAR_HARDLINK || en->type == TAR_SYMLINK || !en->link[0]);
	FUZZ_ASSERT(en->type == TAR_FILE || (en->size == 0 && en->n_segments == 0));
	for (size_t i = 0; i < en->n_segments; i++) {
		FUZZ_ASSERT(en->segments[i].off >= end && en->segments[i].off <= en->size);
		FUZZ_ASSERT(en->segments[i].len <= en->size - en->segments[i].off);
		end = en->segments[i].off + en->segments[i].len;
		sum += en->segments[i].len;
	}
	for (size_t i = 0; i < en->n_xattrs; i++)
		FUZZ_ASSERT(en->xattrs[i].name[0] && en->xattrs[i].value);
	if (en->n_xattrs % 2) /* sometimes its data is left for tar_next() to skip */
		return;
	do {
		struct err e = { 0 };

		got = tar_read(t, part, sizeof part, &e);
		explained(got < 0 ? (int)got : 0, &e);
		FUZZ_ASSERT(got < 0 || (uint64_t)got <= sum);
		sum -= got < 0 ? 0 : (uint64_t)got;
	} while (got > 0);
	FUZZ_ASSERT(got < 0 || sum == 0);
}

static void read_archive(const uint8_t *p, size_t n)
{
	struct memory m = { p, n };
	struct tar_source src = { .read = from_memory, .arg = &m, .whole = n % 2 };
	struct tar_entry en;
	struct err e = { 0 };
	uint64_t entries = 0;
	scoped_tar t;
	int r;

	tar_init(&t, &src);
	while ((r = tar_next(&t, &en, &e)) == 1) {
		check_entry(&t, &en);
		FUZZ_ASSERT(t.n == ++entries && t.offset == n - m.left);
	}
	explained(r, &e);
}

/* A header block with a right checksum; text too long for its field is cut. */
static void put_header(uint8_t *b, const char *name, char type, uint64_t size, uint64_t real)
{
	unsigned sum = 8 * ' ';

	memset(b, 0, TAR_BLOCK);
	(void)snprintf((char *)b, 100, "%s", name);
	(void)snprintf((char *)b + 100, 8, "%07o", 0644);
	(void)snprintf((char *)b + 124, 12, "%011llo", (unsigned long long)size & 077777777777);
	memcpy(b + 257, "ustar", 5);
	b[156] = (uint8_t)type;
	if (type == 'S') { /* one piece, at 512 */
		(void)snprintf((char *)b + 386, 12, "%011o", 512);
		(void)snprintf((char *)b + 398, 12, "%011llo", (unsigned long long)size & 077777777777);
		(void)snprintf((char *)b + 483, 12, "%011llo", (unsigned long long)real & 077777777777);
	}
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += b[i];
	(void)snprintf((char *)b + 148, 8, "%06o", sum);
}

/* A pax record from choices: a key that means something, a number or text. */
static size_t put_record(struct fuzz_in *in, char *to, size_t max)
{
	static const char *const keys[] = {
		"path",
		"linkpath",
		"size",
		"uid",
		"mtime",
		"GNU.sparse.major",
		"GNU.sparse.realsize",
		"GNU.sparse.name",
		"GNU.sparse.map",
		"GNU.sparse.offset",
		"GNU.sparse.numbytes",
		"SCHILY.xattr.user.a",
		"SCHILY.xattr.",
		"GNU.sparse.size",
	};
	const char *key = keys[fuzz_below(in, sizeof keys / sizeof *keys - 1)];
	char value[64];
	int len;

	if (fuzz_uint(in, 1) & 1)
		(void)snprintf(value, sizeof value, "%llu",
			       (unsigned long long)fuzz_uint(in, fuzz_below(in, 8)));
	else
		(void)snprintf(value, sizeof value, "%zu,%zu,%zu,%zu", fuzz_below(in, 99), fuzz_below(in, 99),
			       fuzz_below(in, 999), fuzz_below(in, 99));
	len = (int)(strlen(key) + strlen(value) + 5); /* two digits, blank, '=', newline */
	return (size_t)snprintf(to, max, "%02d %s=%s\n", len, key, value);
}

static void build_archive(struct fuzz_in *in)
{
	static const char types[] = "00x1235L6KxSg7x";
	uint8_t *a = calloc(1, ARCHIVE_MAX + 4 * TAR_BLOCK);
	size_t n = 0;

	if (!a)
		abort();
	for (int i = 0; i < ENTRIES_MAX && in->left && n < ARCHIVE_MAX - 8 * TAR_BLOCK; i++) {
		char type = types[fuzz_below(in, sizeof types - 2)], *data = (char *)a + n + TAR_BLOCK;
		size_t len = 0, claimed;

		if (type == 'x') {
			for (size_t k = fuzz_below(in, 8); k; k--)
				len += put_record(in, data + len, 2 * TAR_BLOCK);
		} else {
			len = fuzz_below(in, 1300);
			memset(data, '0' + (int)(len % 10), len);
			if (len > 8 && (fuzz_uint(in, 1) & 1)) /* a sparse map in front of the data */
				memcpy(data, "1\n0\n9\n", 6);
		}
		claimed = fuzz_uint(in, 1) == 0xff ? (size_t)fuzz_uint(in, 5) : len;
		put_header(a + n, fuzz_uint(in, 1) & 1 ? "dir/file" : "x/", type, claimed, 512 + len);
		n += TAR_BLOCK + (len + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	}
	if (!(fuzz_uint(in, 1) & 1))
		n += (2 * (size_t)TAR_BLOCK); /* the end mark */
	read_archive(a, n);
	free(a);
}

static void check_digest(const char *d)
{
	FUZZ_ASSERT(strlen(d) == SHA256_HEX - 1 && strspn(d, "0123456789abcdef") == SHA256_HEX - 1);
}

static void read_document(int which, const char *text, size_t n)
{
	scoped_source_image image = { .config = NULL };
	struct source_desc d = { .size = 0 };
	struct err e = { 0 };
	char *config = NULL, *name = NULL;
	int r;

	if (which == 0)
		r = source_parse_docker(text, n, "doc", n % 2 ? "a:1" : NULL, &image, &config, &e);
	else if (which == 1)
		r = source_parse_index(text, n, "doc", n % 2 ? "a:1" : NULL, &d, &name, &e);
	else
		r = source_parse_manifest(text, n, "doc", &d, &image, &e);
	explained(r, &e);
	if (r == 0 && which == 0)
		FUZZ_ASSERT(config && image.layers.n == image.digests.n);
	if (r == 0 && which > 0) {
		check_digest(d.digest);
		for (size_t i = 0; i < image.digests.n; i++)
			check_digest(image.digests.p[i]);
	}
	free(config);
	free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	size_t how = fuzz_below(&in, 4), n;
	uint8_t *p;

	if (how == 1) {
		build_archive(&in);
		return 0;
	}
	p = fuzz_bytes(&in, in.left, &n);
	if (how == 0)
		read_archive(p, n);
	else
		read_document((int)how - 2, (const char *)p, n);
	free(p);
	return 0;
}
