/* tar.c - see tar.h. The forms: POSIX.1-2017 "pax Interchange Format" and "ustar", and GNU tar's manual,
 * appendix "Sparse Formats".
 * Distrusts every byte. Never: allocates by a size from the archive without a bound. */
#include "image/tar.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"

#define MEM_MAX      (16u << 20) /* of one entry, all headers together */
#define LINK_MAX_GNU (64u << 10)
#define HEADERS_MAX  16 /* in front of one entry */
#define XATTRS_MAX   1024
#define SKIP_LEN     16384
#define XATTR_PREFIX "SCHILY.xattr."

/* Offsets and lengths in a header block. */
#define F_NAME           0, 100
#define F_MODE           100, 8
#define F_UID            108, 8
#define F_GID            116, 8
#define F_SIZE           124, 12
#define F_MTIME          136, 12
#define F_SUM            148, 8
#define F_LINK           157, 100
#define F_MAJOR          329, 8
#define F_MINOR          337, 8
#define F_PREFIX         345, 155
#define F_REALSIZE       483, 12
#define AT_TYPE          156
#define AT_MAGIC         257
#define AT_SPARSE        386
#define AT_MORE          482 /* GNU: more blocks of the sparse map follow */
#define AT_MORE2         504 /* the same in such a block */
#define SPARSE_IN_HEADER 4
#define SPARSE_IN_BLOCK  21

/* What the headers in front of an entry said; NULL or false = nothing. */
struct extra {
	const char *name, *link, *sparse_name;
	bool has_size, has_uid, has_gid, has_mtime, has_real, has_map;
	uint64_t size, uid, gid, real;
	int64_t mtime;
	uint32_t mtime_ns;
	uint64_t sparse_major;
	struct tar_segment *segments;
	size_t n_segments, cap_segments;
	struct tar_xattr *xattrs;
	size_t n_xattrs;
	bool half; /* an offset came, its length did not */
};

void tar_init(struct tar *t, const struct tar_source *src)
{
	*t = (struct tar){ .src = *src, .mem = { .max = MEM_MAX } };
}

void tar_fini(struct tar *t)
{
	arena_fini(&t->mem);
}

static int bad(const struct tar *t, struct err *e, const char *what)
{
	return err_set(e, -EBADMSG, "the archive is damaged at byte %llu: %s", (unsigned long long)t->offset,
		       what);
}

/* Exactly n bytes. */
static int take(struct tar *t, void *p, size_t n, struct err *e)
{
	ssize_t got = t->src.read(t->src.arg, p, n, e);

	if (got < 0)
		return (int)got;
	t->offset += (uint64_t)got;
	return (size_t)got == n ? 0 : bad(t, e, "it ends too early (truncated)");
}

static int skip(struct tar *t, uint64_t n, struct err *e)
{
	char waste[SKIP_LEN];

	while (n > 0) {
		size_t part = (size_t)num_min(n, sizeof waste);
		int r = take(t, waste, part, e);

		if (r < 0)
			return r;
		n -= part;
	}
	return 0;
}

ssize_t tar_read(struct tar *t, void *p, size_t n, struct err *e)
{
	size_t part = (size_t)num_min(n, t->left);
	int r = take(t, p, part, e);

	if (r < 0)
		return r;
	t->left -= part;
	return (ssize_t)part;
}

/* A number field: octal digits between blanks or NULs, or base 256. */
static int number(const uint8_t *block, size_t off, size_t len, int64_t *ret)
{
	const uint8_t *p = block + off;
	int64_t v = 0;

	if (p[0] & 0x80) {
		v = p[0] & 0x40 ? -1 : p[0] & 0x3f;
		for (size_t i = 1; i < len; i++) {
			if (v > INT64_MAX >> 8 || v < INT64_MIN >> 8)
				return -ERANGE;
			v = v * 256 + p[i];
		}
		*ret = v;
		return 0;
	}
	while (len > 0 && *p == ' ')
		p++, len--;
	for (; len > 0 && *p >= '0' && *p <= '7'; p++, len--) {
		if (v > INT64_MAX >> 3)
			return -ERANGE;
		v = v * 8 + (*p - '0');
	}
	for (; len > 0; p++, len--) {
		if (*p != ' ' && *p != '\0')
			return -EINVAL;
	}
	*ret = v;
	return 0;
}

static int positive(const uint8_t *block, size_t off, size_t len, uint64_t *ret)
{
	int64_t v;

	if (number(block, off, len, &v) < 0 || v < 0)
		return -EINVAL;
	*ret = (uint64_t)v;
	return 0;
}

static bool sum_is_right(const uint8_t *b)
{
	int64_t want, plain = 0, with_sign = 0;

	if (number(b, F_SUM, &want) < 0)
		return false;
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		uint8_t c = i >= 148 && i < 156 ? ' ' : b[i];

		plain += c;
		with_sign += (int8_t)c;
	}
	return want == plain || want == with_sign;
}

static bool all_zero(const uint8_t *b)
{
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		if (b[i])
			return false;
	}
	return true;
}

static const char *text(struct tar *t, const uint8_t *block, size_t off, size_t len)
{
	return arena_strn(&t->mem, block + off, strnlen((const char *)block + off, len));
}

/* Sparse maps: offsets and lengths come in turn. */
static int map_add(struct tar *t, struct extra *x, uint64_t v, struct err *e)
{
	if (x->half) {
		x->segments[x->n_segments - 1].len = v;
		x->half = false;
		return 0;
	}
	if (x->n_segments == x->cap_segments) {
		size_t cap = x->cap_segments ? 2 * x->cap_segments : 64;
		struct tar_segment *more =
			cap > TAR_SEGMENT_MAX ? NULL : arena_array(&t->mem, cap, sizeof *more);

		if (!more)
			return bad(t, e, "a sparse file has too many pieces");
		if (x->n_segments > 0)
			memcpy(more, x->segments, x->n_segments * sizeof *more);
		x->segments = more;
		x->cap_segments = cap;
	}
	x->segments[x->n_segments++].off = v;
	x->half = true;
	x->has_map = true;
	return 0;
}

/* "OFF,LEN,OFF,LEN..." */
static int map_text(struct tar *t, struct extra *x, const char *s, struct err *e)
{
	while (*s) {
		char digits[24];
		size_t n = strcspn(s, ",");
		uint64_t v;
		int r;

		(void)snprintf(digits, sizeof digits, "%.*s", n < sizeof digits ? (int)n : 0, s);
		if (num_parse_u64(digits, &v) < 0)
			return bad(t, e, "a sparse map is no list of numbers");
		r = map_add(t, x, v, e);
		if (r < 0)
			return r;
		s += n + (s[n] == ',');
	}
	return 0;
}

/* "-12.5": seconds, rounded down, and nanoseconds. */
static int parse_time(const char *s, int64_t *ret, uint32_t *ret_ns)
{
	char whole[24];
	size_t n = strcspn(s, ".");
	uint32_t ns = 0, unit = 100000000;
	int64_t v;

	(void)snprintf(whole, sizeof whole, "%.*s", n < sizeof whole ? (int)n : 0, s);
	if (num_parse_i64(whole, &v) < 0)
		return -EINVAL;
	for (s += n + (s[n] == '.'); *s; s++, unit /= 10) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		ns += (uint32_t)(*s - '0') * unit;
	}
	if (whole[0] == '-' && ns > 0) {
		v--;
		ns = 1000000000 - ns;
	}
	*ret = v;
	*ret_ns = ns;
	return 0;
}

static int add_xattr(struct tar *t, struct extra *x, const char *name, const char *value, size_t len,
		     struct err *e)
{
	if (!x->xattrs)
		x->xattrs = arena_array(&t->mem, XATTRS_MAX, sizeof *x->xattrs);
	if (!x->xattrs || x->n_xattrs == XATTRS_MAX || !*name)
		return bad(t, e, "an entry's extended attributes have no name, or are too many");
	x->xattrs[x->n_xattrs++] = (struct tar_xattr){ name, value, len };
	return 0;
}

/* The keys that hold a number. */
static int pax_number(struct tar *t, struct extra *x, const char *key, const char *value, struct err *e)
{
	const struct {
		const char *key;
		uint64_t *to;
		bool *has;
	} rows[] = {
		{ "size", &x->size, &x->has_size },
		{ "uid", &x->uid, &x->has_uid },
		{ "gid", &x->gid, &x->has_gid },
		{ "GNU.sparse.size", &x->real, &x->has_real },
		{ "GNU.sparse.realsize", &x->real, &x->has_real },
		{ "GNU.sparse.major", &x->sparse_major, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!str_eq(rows[i].key, key))
			continue;
		if (num_parse_u64(value, rows[i].to) < 0)
			return bad(t, e, "a pax header's number is none");
		if (rows[i].has)
			*rows[i].has = true;
	}
	return 0;
}

static int pax_record(struct tar *t, struct extra *x, const char *key, const char *value, size_t len,
		      struct err *e)
{
	uint64_t v;

	if (str_starts(key, XATTR_PREFIX))
		return add_xattr(t, x, key + strlen(XATTR_PREFIX), value, len, e);
	if (str_starts(key, TAR_ACL_TEXT))
		return add_xattr(t, x, key, value, len, e);
	if (strlen(value) != len)
		return bad(t, e, "a pax header has a NUL in it");
	if (len == 0) /* "as if it were not there" */
		return 0;
	if (str_eq(key, "path"))
		x->name = value;
	else if (str_eq(key, "linkpath"))
		x->link = value;
	else if (str_eq(key, "GNU.sparse.name"))
		x->sparse_name = value;
	else if (str_eq(key, "GNU.sparse.map"))
		return map_text(t, x, value, e);
	if (str_eq(key, "mtime")) {
		x->has_mtime = true;
		return parse_time(value, &x->mtime, &x->mtime_ns) < 0
			       ? bad(t, e, "a pax header's time is none")
			       : 0;
	}
	if (str_eq(key, "GNU.sparse.offset") || str_eq(key, "GNU.sparse.numbytes")) {
		if (num_parse_u64(value, &v) < 0 || x->half != str_eq(key, "GNU.sparse.numbytes"))
			return bad(t, e, "a sparse map is no list of numbers");
		return map_add(t, x, v, e);
	}
	return pax_number(t, x, key, value, e);
}

/* "LENGTH KEY=VALUE\n", again and again. Writes NULs into the text. */
static int pax_parse(struct tar *t, struct extra *x, char *p, size_t n, struct err *e)
{
	while (n > 0) {
		char *blank = memchr(p, ' ', n), *key, *equals;
		uint64_t len;
		int r;

		if (!blank)
			return bad(t, e, "a pax header has no length");
		*blank = '\0';
		key = blank + 1;
		if (num_parse_u64_max(p, n, &len) < 0 || len < (size_t)(key - p) + 2 || p[len - 1] != '\n')
			return bad(t, e, "a pax header's length is wrong");
		equals = memchr(key, '=', (size_t)(p + len - key));
		if (!equals)
			return bad(t, e, "a pax header has no '='");
		*equals = p[len - 1] = '\0';
		r = pax_record(t, x, key, equals + 1, (size_t)(p + len - 1 - (equals + 1)), e);
		if (r < 0)
			return r;
		p += len;
		n -= (size_t)len;
	}
	return 0;
}

/* A header that is followed by text of `size` bytes: pax 'x', GNU 'L' and 'K'. */
static int take_text(struct tar *t, char type, uint64_t size, struct extra *x, struct err *e)
{
	char *p;
	int r;

	if (size > (type == 'x' ? TAR_HEADER_MAX : LINK_MAX_GNU))
		return bad(t, e, "a header is too long");
	p = arena_alloc(&t->mem, (size_t)size + 1);
	if (!p)
		return bad(t, e, "the headers of an entry are too long");
	r = take(t, p, (size_t)size, e);
	if (r == 0)
		r = skip(t, -size % TAR_BLOCK, e);
	if (r < 0)
		return r;
	if (type == 'x')
		return pax_parse(t, x, p, (size_t)size, e);
	*(type == 'L' ? &x->name : &x->link) = p;
	return 0;
}

/* GNU's own map, in the header and blocks behind it. */
static int old_map(struct tar *t, const uint8_t *b, struct extra *x, struct err *e)
{
	uint8_t block[TAR_BLOCK];
	const uint8_t *p = b;
	size_t at = AT_SPARSE, n = SPARSE_IN_HEADER;
	bool more = b[AT_MORE] != 0;

	if (positive(b, F_REALSIZE, &x->real) < 0)
		return bad(t, e, "the size of a sparse file is no number");
	x->has_real = x->has_map = true;
	for (;;) {
		for (size_t i = 0; i < 2 * n && p[at + 12 * i]; i++) {
			uint64_t v;
			int r = positive(p, at + 12 * i, 12, &v) < 0 ? bad(t, e, "a sparse map is damaged")
								     : map_add(t, x, v, e);

			if (r < 0)
				return r;
		}
		if (!more)
			return 0;
		if (take(t, block, sizeof block, e) < 0)
			return -EBADMSG;
		p = block;
		at = 0;
		n = SPARSE_IN_BLOCK;
		more = block[AT_MORE2] != 0;
	}
}

/* A line of the map that stands in front of the data (pax sparse 1.0). */
static int map_line(struct tar *t, uint64_t *ret, struct err *e)
{
	char digits[24];

	for (size_t n = 0; n < sizeof digits; n++) {
		ssize_t got = tar_read(t, digits + n, 1, e);

		if (got < 0)
			return (int)got;
		if (got == 0)
			break;
		if (digits[n] != '\n')
			continue;
		digits[n] = '\0';
		if (num_parse_u64(digits, ret) < 0)
			break;
		return 0;
	}
	return bad(t, e, "a sparse map is no list of numbers");
}

static int map_in_data(struct tar *t, struct extra *x, struct err *e)
{
	uint64_t before = t->left, n, v, used;
	char waste[TAR_BLOCK];
	int r = map_line(t, &n, e);

	if (r == 0 && n > TAR_SEGMENT_MAX)
		return bad(t, e, "a sparse file has too many pieces");
	for (uint64_t i = 0; r == 0 && i < 2 * n; i++) {
		r = map_line(t, &v, e);
		if (r == 0)
			r = map_add(t, x, v, e);
	}
	if (r < 0)
		return r;
	x->has_map = true;
	used = before - t->left;
	if (-used % TAR_BLOCK > t->left)
		return bad(t, e, "a sparse map is longer than its file");
	return tar_read(t, waste, -used % TAR_BLOCK, e) < 0 ? -EBADMSG : 0;
}

/* The map is in order, within the file, and accounts for every byte that is stored. */
static int check_map(const struct tar *t, const struct extra *x, uint64_t size, struct err *e)
{
	uint64_t end = 0, sum = 0;

	if (x->half)
		return bad(t, e, "a sparse map ends with half a pair");
	for (size_t i = 0; i < x->n_segments; i++) {
		const struct tar_segment *s = &x->segments[i];

		if (s->off < end || s->off > size || s->len > size - s->off)
			return bad(t, e, "a sparse map is out of order, or leaves its file");
		end = s->off + s->len;
		sum += s->len; /* disjoint and within size: can't wrap */
	}
	return sum == t->left ? 0 : bad(t, e, "a sparse map does not fit its data");
}

static int fill_data(struct tar *t, struct extra *x, struct tar_entry *ret, struct err *e)
{
	struct tar_segment *one;
	int r;

	if (x->sparse_major == 1) {
		r = map_in_data(t, x, e);
		if (r < 0)
			return r;
	}
	if (x->has_map) {
		if (!x->has_real)
			return bad(t, e, "a sparse file has no size");
		ret->size = x->real;
		ret->segments = x->segments;
		ret->n_segments = x->n_segments;
		return check_map(t, x, ret->size, e);
	}
	one = arena_alloc(&t->mem, sizeof *one);
	if (!one)
		return bad(t, e, "the headers of an entry are too long");
	one->len = ret->size = t->left;
	ret->segments = one;
	ret->n_segments = t->left > 0;
	return 0;
}

static int type_of(const uint8_t *b, const char *name, enum tar_type *ret)
{
	static const struct {
		char c;
		enum tar_type type;
	} types[] = {
		{ '0', TAR_FILE },     { '\0', TAR_FILE },   { '7', TAR_FILE }, { 'S', TAR_FILE },
		{ '1', TAR_HARDLINK }, { '2', TAR_SYMLINK }, { '3', TAR_CHAR }, { '4', TAR_BLOCKDEV },
		{ '5', TAR_DIR },      { '6', TAR_FIFO },
	};

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (types[i].c != (char)b[AT_TYPE])
			continue;
		*ret = types[i].type;
		if (*ret == TAR_FILE && str_ends(name, "/") && b[AT_TYPE] != 'S')
			*ret = TAR_DIR; /* as v7 wrote them */
		return 0;
	}
	return -EINVAL;
}

/* Names: those of the headers in front count more. */
static int fill_names(struct tar *t, const uint8_t *b, const struct extra *x, struct tar_entry *ret)
{
	bool ustar = memcmp(b + AT_MAGIC, "ustar\0", 6) == 0;

	ret->name = x->sparse_name ? x->sparse_name : x->name;
	if (!ret->name && ustar && b[345]) {
		const char *prefix = text(t, b, F_PREFIX), *name = text(t, b, F_NAME);

		ret->name = prefix && name ? arena_fmt(&t->mem, "%s/%s", prefix, name) : NULL;
	} else if (!ret->name) {
		ret->name = text(t, b, F_NAME);
	}
	ret->link = x->link ? x->link : text(t, b, F_LINK);
	return ret->name && ret->link ? 0 : -ENOMEM;
}

static int fill(struct tar *t, const uint8_t *b, struct extra *x, struct tar_entry *ret, struct err *e)
{
	uint64_t mode, major = 0, minor = 0;

	*ret = (struct tar_entry){ .mtime_ns = 0 };
	if (fill_names(t, b, x, ret) < 0)
		return bad(t, e, "the headers of an entry are too long");
	if (type_of(b, ret->name, &ret->type) < 0)
		return bad(t, e, "an entry is of an unknown type");
	if (ret->type != TAR_HARDLINK && ret->type != TAR_SYMLINK)
		ret->link = "";
	if (positive(b, F_MODE, &mode) < 0 || positive(b, F_UID, &ret->uid) < 0 ||
	    positive(b, F_GID, &ret->gid) < 0 || number(b, F_MTIME, &ret->mtime) < 0)
		return bad(t, e, "mode, owner or time of an entry is no number");
	ret->mode = (uint32_t)mode & 07777;
	if (ret->type == TAR_CHAR || ret->type == TAR_BLOCKDEV) {
		if (positive(b, F_MAJOR, &major) < 0 || positive(b, F_MINOR, &minor) < 0 ||
		    major > UINT32_MAX || minor > UINT32_MAX)
			return bad(t, e, "a device's number is none");
		ret->major = (uint32_t)major;
		ret->minor = (uint32_t)minor;
	}
	ret->uid = x->has_uid ? x->uid : ret->uid;
	ret->gid = x->has_gid ? x->gid : ret->gid;
	ret->mtime = x->has_mtime ? x->mtime : ret->mtime;
	ret->mtime_ns = x->mtime_ns;
	ret->xattrs = x->xattrs;
	ret->n_xattrs = x->n_xattrs;
	return ret->type == TAR_FILE ? fill_data(t, x, ret, e) : 0;
}

/* Reads a header block, the first of an entry's or not: 1, or 0 = the end mark. */
static int take_block(struct tar *t, uint8_t b[TAR_BLOCK], bool first, uint64_t *ret_size, struct err *e)
{
	ssize_t n = t->src.read(t->src.arg, b, TAR_BLOCK, e);

	if (n < 0)
		return (int)n;
	t->offset += (uint64_t)n;
	if (n == 0 && first && t->src.whole)
		return 0;
	if (n < TAR_BLOCK)
		return bad(t, e, "it ends too early (truncated)");
	if (all_zero(b))
		return 0;
	if (!sum_is_right(b))
		return bad(t, e,
			   t->offset == TAR_BLOCK ? "it is no tar archive" : "a header's checksum is wrong");
	if (positive(b, F_SIZE, ret_size) < 0)
		return bad(t, e, "a size is no number");
	return 1;
}

int tar_next(struct tar *t, struct tar_entry *ret, struct err *e)
{
	uint8_t b[TAR_BLOCK];
	struct extra x = { 0 };
	uint64_t size = 0;
	int r = skip(t, t->left, e);

	if (r == 0)
		r = skip(t, t->pad, e);
	t->left = t->pad = 0;
	if (r == 0 && arena_reset(&t->mem, 4096) < 0)
		r = err_set(e, -ENOMEM, "%m");
	for (int i = 0; r == 0; i++) {
		char type;

		r = take_block(t, b, i == 0, &size, e);
		if (r <= 0)
			return r;
		r = 0;
		type = (char)b[AT_TYPE];
		if (i == HEADERS_MAX)
			return bad(t, e, "too many headers in front of one entry");
		if (type == 'x' || type == 'L' || type == 'K')
			r = take_text(t, type, size, &x, e);
		else if (type == 'g') /* defaults for all that follows: a comment of git's, as a rule */
			r = size > TAR_HEADER_MAX ? bad(t, e, "a header is too long")
						  : skip(t, size + -size % TAR_BLOCK, e);
		else
			break;
	}
	if (r < 0)
		return r;
	if (b[AT_TYPE] == 'S')
		r = old_map(t, b, &x, e);
	/* only files have data; of links some writers give the target's size */
	if (b[AT_TYPE] == '\0' || b[AT_TYPE] == '0' || b[AT_TYPE] == '7' || b[AT_TYPE] == 'S')
		t->left = x.has_size ? x.size : size;
	if (r == 0 && t->left > INT64_MAX) { /* no offset may wrap when it is skipped */
		t->left = 0;
		return bad(t, e, "an entry's size is beyond every file's");
	}
	t->pad = -t->left % TAR_BLOCK;
	if (r == 0)
		r = fill(t, b, &x, ret, e);
	if (r == 0 && ret->type != TAR_FILE) { /* v7's directory may have data: no piece of it */
		t->pad += t->left;
		t->left = 0;
	}
	if (r == 0)
		t->n++;
	return r < 0 ? r : 1;
}
