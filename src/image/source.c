/* source.c - see source.h: opening one, the files in it. What its JSON says is read by sourcejson.c.
 * Distrusts all of it. Paths are looked up below the directory without following symlinks, or in a table of
 * the archive's members; links between members are followed in that table alone. Never: opens a path of the
 * source's outside of it. */
#include "image/source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "sys/mnt.h"

#define MEMBERS_MAX     65536u
#define MEMBER_NAME_MAX 1024u /* of a member: what manifests name is a digest and a folder or two */
#define LINKS_MAX       8
#define COPY_LEN        (256u << 10)

const char *const source_kind_names[] = { "auto", "oci", "docker", "tar", "dir", NULL };

void source_fini(struct source *s)
{
	scope_close(&s->fd);
	s->fd = -1;
	for (size_t i = 0; i < s->n_members; i++) {
		free(s->members[i].name);
		free(s->members[i].link);
	}
	free(s->members);
	s->members = NULL;
	s->n_members = 0;
}

static int compare(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static const struct member *find(const struct source *s, const char *name)
{
	struct member key = { 0 };
	scoped_free char *clean = str_clean_path(name);

	key.name = clean;
	return clean && s->n_members ? bsearch(&key, s->members, s->n_members, sizeof key, compare) : NULL;
}

/* An archive that is looked through for its members. What is packed is kept unpacked as it goes by, since
 * members are read later, in any order. */
struct look {
	struct unpacker from;
	int copy; /* -1 = it is not packed */
	struct tar tar;
	bool complete; /* all of it was seen, or kept */
};

static ssize_t look_read(void *arg, void *p, size_t n, struct err *e)
{
	struct look *l = arg;
	ssize_t got = unpacker_read(&l->from, p, n, e);

	if (got > 0 && l->copy >= 0 && io_write_full(l->copy, p, (size_t)got) < 0)
		return err_set(e, -errno, "temporary file in the image store: %m");
	return got;
}

/* Where a link leads: hard links count from the root, symlinks from their own directory. */
static char *link_target(const struct tar_entry *t)
{
	const char *slash = strrchr(t->name, '/');
	scoped_free char *path = NULL;

	if (t->type == TAR_HARDLINK || !slash || t->link[0] == '/')
		return str_clean_path(t->link);
	path = str_fmt("%.*s/%s", (int)(slash - t->name), t->name, t->link);
	return path ? str_clean_path(path) : NULL;
}

static int add_member(struct source *s, size_t *cap, const struct tar_entry *t, uint64_t off)
{
	bool link = t->type == TAR_HARDLINK || t->type == TAR_SYMLINK;
	struct member *m;

	/* a sparse member has no bytes to point at; no tool makes them */
	if (!link &&
	    (t->type != TAR_FILE || t->n_segments > 1 || (t->n_segments && t->segments[0].len != t->size)))
		return 0;
	if (strlen(t->name) > MEMBER_NAME_MAX || strlen(t->link) > MEMBER_NAME_MAX)
		return 0; /* a pax header has room for megabytes, each of which would be kept */
	if (s->n_members == *cap) {
		size_t more = *cap ? 2 * *cap : 64;

		m = reallocarray(s->members, more, sizeof *m);
		if (!m)
			return -ENOMEM;
		s->members = m;
		*cap = more;
	}
	m = &s->members[s->n_members];
	*m = (struct member){ .name = str_clean_path(t->name), .off = off, .len = t->size };
	m->link = link ? link_target(t) : NULL;
	if (!m->name || (link && !m->link)) {
		free(m->name);
		free(m->link);
		return -ENOMEM;
	}
	s->n_members++;
	return 0;
}

/* What is not to be read yet. What is packed goes by, but not what would be beyond the limit. */
static int pass_data(struct look *l, const struct tar_entry *t, struct err *e)
{
	if (l->copy < 0) {
		l->from.at += l->tar.left;
		l->tar.left = 0;
		return 0;
	}
	if (l->tar.left <= l->from.max - l->from.at)
		return 0;
	return err_set(e, -EFBIG,
		       "'%.200s' makes it unpack to more than %llu bytes: --max-size raises the limit",
		       t->name, (unsigned long long)l->from.max);
}

/* The end of what is packed: the tool says whether it was. */
static int pass_rest(struct look *l, struct err *e)
{
	scoped_free char *buf = l->copy < 0 ? NULL : malloc(COPY_LEN);
	uint64_t end = l->from.at;
	ssize_t n = 0;

	if (l->copy >= 0 && !buf)
		return err_set(e, -ENOMEM, "%m");
	while (l->copy >= 0 && (n = look_read(l, buf, COPY_LEN, e)) > 0)
		if (l->from.at - end > RANGE_TAIL_MAX)
			return err_set(e, -EBADMSG,
				       "more than %u bytes follow the end of the archive: it is damaged",
				       RANGE_TAIL_MAX);
	l->complete = n == 0;
	return (int)n;
}

/* Of several members of one name the last counts; with none left over the table is searched by halves. */
static int index_archive(struct source *s, struct look *l, struct err *e)
{
	const struct tar_source src = { .read = look_read, .arg = l };
	struct tar_entry t;
	size_t cap = 0;
	int r;

	tar_init(&l->tar, &src);
	while ((r = tar_next(&l->tar, &t, e)) > 0 && l->tar.n <= MEMBERS_MAX) {
		r = add_member(s, &cap, &t, l->from.at);
		r = r < 0 ? err_set(e, r, "%m") : pass_data(l, &t, e);
		if (r < 0)
			break;
	}
	if (r == 0)
		r = pass_rest(l, e);
	if (s->n_members > 0)
		qsort(s->members, s->n_members, sizeof *s->members, compare);
	if (r < 0)
		return r;
	for (size_t i = 1; i < s->n_members; i++) {
		if (str_eq(s->members[i].name, s->members[i - 1].name))
			return err_set(e, -EBADMSG, "holds '%.200s' twice", s->members[i].name);
	}
	return 0;
}

static bool has_file(const struct source *s, const char *name)
{
	struct range r;
	int fd = -1;
	bool has = source_file(s, name, &r, &fd, NULL) == 0;

	scope_close(&fd);
	return has;
}

static void find_kind(struct source *s)
{
	if (s->kind != SOURCE_AUTO)
		return;
	if (!s->is_dir && has_file(s, "manifest.json"))
		s->kind = SOURCE_DOCKER; /* newer ones are OCI layouts as well, but only this file has the
					    tags */
	else if (has_file(s, "oci-layout") && has_file(s, "index.json"))
		s->kind = SOURCE_OCI;
	else
		s->kind = s->is_dir ? SOURCE_DIR : SOURCE_TAR;
}

/* The kind of an archive that was looked through, r: how that ended. */
static int judge_archive(struct source *s, struct look *l, const struct range *whole, int r, struct err *e)
{
	bool is_layer;

	if (l->copy >= 0) { /* members are in the copy */
		s->fd = l->copy;
		s->len = l->from.at;
	}
	find_kind(s);
	is_layer = s->kind == SOURCE_TAR;
	if (l->copy >= 0 && (is_layer && !l->complete)) {
		s->fd = whole->fd;
		s->len = whole->len;
	}
	if (r < 0 && is_layer && s->n_members > 0 && (r == -EBADMSG || l->copy >= 0)) {
		if (e)
			*e = (struct err){ 0 };
		return 0; /* unpacking it says what is wrong, and where; twice the same name is allowed
			     there */
	}
	if (r == 0 && l->copy >= 0 && !l->complete && !is_layer)
		r = err_set(e, -E2BIG, "more than %u entries in the archive of an image", MEMBERS_MAX);
	return r;
}

static int open_archive(struct source *s, int staging, uint64_t max, struct err *e)
{
	struct range whole = { .fd = s->fd, .len = s->len };
	struct look l = { .copy = -1 };
	int r;

	if (s->kind == SOURCE_TAR)
		return 0; /* a layer is unpacked by who makes it */
	r = unpacker_open(&l.from, &whole, staging, max, e);
	if (r == 0 && l.from.packed)
		r = l.copy = range_temporary(staging, e);
	if (r >= 0)
		r = judge_archive(s, &l, &whole, index_archive(s, &l, e), e);
	if (l.copy >= 0)
		(void)close(s->fd == l.copy ? whole.fd : l.copy);
	tar_fini(&l.tar);
	unpacker_fini(&l.from);
	return r;
}

int source_open(struct source *s, const char *path, enum source_kind kind, int staging, uint64_t max,
		struct err *e)
{
	struct stat st;
	int r;

	*s = (struct source){ .kind = kind,
			      .path = path,
			      .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) };
	if (s->fd < 0 || fstat(s->fd, &st) < 0)
		return err_set(e, -errno, "%s: %m", path);
	s->is_dir = S_ISDIR(st.st_mode);
	s->len = (uint64_t)st.st_size;
	if (!s->is_dir && !S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "%s is neither a file nor a directory", path);
	if (s->is_dir ? kind == SOURCE_DOCKER || kind == SOURCE_TAR : kind == SOURCE_DIR)
		return err_set(e, -EINVAL, "%s is a %s: --type %s does not fit", path,
			       s->is_dir ? "directory" : "file", source_kind_names[kind]);
	if (s->is_dir) {
		find_kind(s);
		return 0;
	}
	r = open_archive(s, staging, max, e);
	return r < 0 ? err_wrap(e, "%s", path) : 0;
}

int source_file(const struct source *s, const char *path, struct range *ret, int *ret_fd, struct err *e)
{
	const struct member *m;
	scoped_fd fd = -1;
	struct stat st;
	int r = 0;

	if (s->is_dir) {
		r = mnt_open_plain(s->fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, &fd);
		if (r == 0 && fstat(fd, &st) < 0)
			r = -errno;
		if (r == 0 && !S_ISREG(st.st_mode))
			r = -EINVAL;
		if (r < 0)
			return err_set(e, r, "%s: file '%.200s' in it: %m", s->path, path);
		*ret = (struct range){ .fd = fd, .len = (uint64_t)st.st_size };
		*ret_fd = take_fd(&fd);
		return 0;
	}
	m = find(s, path);
	for (int i = 0; m && m->link && i < LINKS_MAX; i++)
		m = find(s, m->link);
	if (!m || m->link)
		return err_set(e, -ENOENT, "%s: there is no file '%.200s' in it", s->path, path);
	if (m->len > s->len || m->off > s->len - m->len)
		return err_set(e, -EBADMSG, "%s: it ends in the middle of '%.200s' (truncated)", s->path,
			       path);
	*ret = (struct range){ .fd = s->fd, .off = m->off, .len = m->len };
	*ret_fd = -1;
	return 0;
}
