/* source.c - see source.h: opening one, the files in it. What its JSON says is read by sourcejson.c.
 * Distrusts all of it. Paths are looked up below the directory without following symlinks, or in a table of
 * the archive's members; links between members are followed in that table alone. Never: opens a path of the
 * source's outside of it. */
#include "image/source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "sys/mnt.h"

#define MEMBERS_MAX     65536u
#define MEMBER_NAME_MAX 1024u /* of a member: what manifests name is a digest and a folder or two */
#define LINKS_MAX       8

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

struct plain {
	int fd;
	uint64_t at, len;
};

static ssize_t plain_read(void *arg, void *p, size_t n, struct err *e)
{
	struct plain *s = arg;
	size_t want = (size_t)num_min(n, s->len - s->at), done = 0;

	while (done < want) {
		ssize_t got = pread(s->fd, (char *)p + done, want - done, (off_t)(s->at + done));

		if (got < 0 && errno != EINTR)
			return err_set(e, -errno, "read: %m");
		if (got == 0)
			break;
		done += got > 0 ? (size_t)got : 0;
	}
	s->at += done;
	return (ssize_t)done;
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

/* Of several members of one name the last counts; with none left over the table is searched by halves. */
static int index_archive(struct source *s, struct err *e)
{
	struct plain p = { .fd = s->fd, .len = s->len };
	const struct tar_source src = { .read = plain_read, .arg = &p };
	struct tar_entry t;
	scoped_tar tar = { 0 };
	size_t cap = 0;
	int r;

	tar_init(&tar, &src);
	while ((r = tar_next(&tar, &t, e)) > 0 && s->n_members < MEMBERS_MAX) {
		r = add_member(s, &cap, &t, p.at);
		if (r < 0)
			return err_set(e, r, "%m");
		p.at += tar.left; /* no need to read it */
		tar.left = 0;
	}
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

static int open_archive(struct source *s, int staging, uint64_t max, struct err *e)
{
	struct range whole = { .fd = s->fd, .len = s->len }, plain = { .fd = -1 };
	bool asked = s->kind == SOURCE_TAR;
	int r = range_unpack(&whole, staging, max, &plain, e);

	if (r == 1) {
		(void)close(s->fd);
		s->fd = plain.fd;
		s->len = plain.len;
	}
	if (r < 0 || asked)
		return r < 0 ? r : 0;
	r = index_archive(s, e);
	find_kind(s);
	if (r == -EBADMSG && s->kind == SOURCE_TAR && s->n_members > 0) {
		if (e)
			*e = (struct err){ 0 };
		return 0; /* a layer: unpacking it says what is wrong, and where; twice the same name is
			     allowed there */
	}
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
