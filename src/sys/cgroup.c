/* cgroup.c - where a container's host cgroup is, making it, storing it. Limits are in cgroup_limits.c,
 * the end in cgroup_end.c, systemd's scopes in cgroup_systemd.c.
 * Called by the runtime's verbs. Trusts: mountinfo and cgroupfs. Distrusts: linux.cgroupsPath.
 * Never: makes or removes anything above the mount point of a hierarchy. */
#include "sys/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/num.h"
#include "sys/cgroup_impl.h"

#define CGROUP_FILE_MAX (1u << 20)
#define MOUNTINFO_MAX   (8u << 20)
#define CGROUP_OWN      "/cor" /* where containers without an absolute cgroupsPath are */
#define MKDIR_TRIES     100    /* each lost race needs another container's end in between */

static const char *const kind_names[] = { "none", "v1", "hybrid", "v2" };

const char *cgroup_kind_name(enum cgroup_kind kind)
{
	return (unsigned)kind < ARRAY_LEN(kind_names) ? kind_names[kind] : "?";
}

/* --- hierarchies --- */

static void hier_fini(struct cgroup_hier *h)
{
	free(h->controllers);
	free(h->mount);
	free(h->root);
	free(h->dev);
	*h = (struct cgroup_hier){ 0 };
}

void cgroup_layout_fini(struct cgroup_layout *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		hier_fini(&l->hiers[i]);
	free(l->hiers);
	*l = (struct cgroup_layout){ 0 };
}

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* mountinfo writes blanks, tabs, newlines and backslashes as \ooo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && is_octal(s[1]) && is_octal(s[2]) && is_octal(s[3])) {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Is `word` one of the comma-separated `list`? */
static bool list_has(const char *list, const char *word)
{
	size_t len = strlen(word), part;

	for (; *list; list += part + (list[part] == ',')) {
		part = strcspn(list, ",");
		if (part == len && strncmp(list, word, len) == 0)
			return true;
	}
	return false;
}

/* The controllers among the options of a v1 superblock. */
static void add_controllers(struct str *to, const char *options)
{
	static const char *const others[] = { "rw",        "ro",       "xattr",          "noprefix",
					      "none",      "seclabel", "clone_children", "cpuset_v2_mode",
					      "nsdelegate" };
	scoped_strv parts = { 0 };
	size_t i, j;

	strv_split(&parts, options, ',');
	to->oom |= strv_check(&parts) < 0;
	for (i = 0; i < parts.n; i++) {
		for (j = 0; j < ARRAY_LEN(others) && !str_eq(parts.p[i], others[j]);)
			j++;
		if (j == ARRAY_LEN(others) && !str_starts(parts.p[i], "release_agent="))
			str_addf(to, "%s%s", to->len ? "," : "", parts.p[i]);
	}
}

/* What the root of the v2 hierarchy offers, comma-separated. */
static int add_v2_controllers(struct str *to, const char *mount)
{
	scoped_free char *path = str_fmt("%s/cgroup.controllers", mount);
	scoped_free char *text = NULL;
	size_t len, i;
	int r;

	if (!path)
		return -ENOMEM;
	r = io_read_file_at(AT_FDCWD, path, CGROUP_FILE_MAX, &text, &len);
	if (r < 0)
		return r == -ENOENT ? 0 : r; /* mounted over, or a test's made-up one */
	while (len && (text[len - 1] == '\n' || text[len - 1] == ' '))
		text[--len] = '\0';
	for (i = 0; i < len; i++)
		str_addc(to, (char)(text[i] == ' ' ? ',' : text[i]));
	return 0;
}

/* One line of mountinfo that is a cgroup mount, cut into what matters. Borrows from the line. */
struct mount_line {
	char *dev, *root, *mount, *type, *options;
};

static bool cut_line(char *line, struct mount_line *ret)
{
	char *word[6], *tail = strstr(line, " - "), *save = NULL;
	size_t i;

	if (!tail)
		return false;
	*tail = '\0';
	tail += 3;
	for (i = 0; i < 6; i++) {
		word[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!word[i])
			return false;
	}
	*ret = (struct mount_line){ .dev = word[2], .root = word[3], .mount = word[4] };
	ret->type = strtok_r(tail, " ", &save);
	(void)strtok_r(NULL, " ", &save); /* the source: any text */
	ret->options = strtok_r(NULL, " ", &save);
	return ret->type && ret->options && str_starts(ret->type, "cgroup");
}

static int fill_hier(const struct mount_line *m, struct cgroup_hier *h)
{
	scoped_str controllers = { 0 };
	int r = 0;

	h->v2 = str_eq(m->type, "cgroup2");
	if (h->v2)
		r = add_v2_controllers(&controllers, m->mount);
	else
		add_controllers(&controllers, m->options);
	h->controllers = str_take(&controllers);
	h->mount = strdup(m->mount);
	h->root = strdup(m->root);
	h->dev = strdup(m->dev);
	if (r == 0 && (!h->controllers || !h->mount || !h->root || !h->dev))
		r = -ENOMEM;
	if (r < 0)
		hier_fini(h);
	return r;
}

/* A hierarchy that is mounted more than once counts where most of it can be seen. */
static int add_mount(struct cgroup_layout *l, const struct mount_line *m)
{
	struct cgroup_hier h = { 0 };
	struct cgroup_hier *p;
	size_t i;
	int r;

	for (i = 0; i < l->n && !str_eq(l->hiers[i].dev, m->dev);)
		i++;
	if (i < l->n && strlen(l->hiers[i].root) <= strlen(m->root))
		return 0;
	r = fill_hier(m, &h);
	if (r < 0)
		return r;
	if (i < l->n) {
		hier_fini(&l->hiers[i]);
		l->hiers[i] = h;
		return 0;
	}
	p = reallocarray(l->hiers, l->n + 1, sizeof *p);
	if (!p) {
		hier_fini(&h);
		return -ENOMEM;
	}
	l->hiers = p;
	l->hiers[l->n++] = h;
	return 0;
}

static int add_lines(struct cgroup_layout *l, char *text)
{
	struct mount_line m;
	char *line, *save = NULL;
	int r;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (!cut_line(line, &m))
			continue;
		unescape(m.mount);
		r = add_mount(l, &m);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The v2 hierarchy goes first: cgroup.kill there ends everything at once. */
static void sort_layout(struct cgroup_layout *l)
{
	struct cgroup_hier v2;
	size_t i;

	l->kind = l->n ? CGROUP_V1 : CGROUP_NONE;
	for (i = 0; i < l->n && !l->hiers[i].v2;)
		i++;
	if (i == l->n)
		return;
	v2 = l->hiers[i];
	memmove(&l->hiers[1], &l->hiers[0], i * sizeof v2);
	l->hiers[0] = v2;
	l->kind = l->n == 1 ? CGROUP_V2 : CGROUP_HYBRID;
}

int cgroup_layout_parse(const char *mountinfo, struct cgroup_layout *ret)
{
	scoped_free char *copy = strdup(mountinfo);
	struct cgroup_layout l = { 0 };
	int r = copy ? add_lines(&l, copy) : -ENOMEM;

	if (r < 0) {
		cgroup_layout_fini(&l);
		return r;
	}
	sort_layout(&l);
	*ret = l;
	return 0;
}

int cgroup_layout_read(struct cgroup_layout *ret)
{
	scoped_free char *text = NULL;
	size_t len;
	int r = io_read_file_at(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, &len);

	if (r < 0)
		return r;
	return cgroup_layout_parse(text, ret);
}

bool cgroup_layout_has(const struct cgroup_layout *l, const char *controller)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (list_has(l->hiers[i].controllers, controller))
			return true;
	return false;
}

bool cgroup_dir_has(const struct cgroup_dir *d, const char *controller)
{
	return list_has(d->controllers, controller);
}

const struct cgroup_dir *cgroup_dir_for(const struct cgroup *c, const char *controller)
{
	size_t i;

	for (i = c->n; i-- > 0;) /* v1 before v2, which is the first */
		if (cgroup_dir_has(&c->dirs[i], controller))
			return &c->dirs[i];
	return NULL;
}

/* --- where --- */

static void dir_fini(struct cgroup_dir *d)
{
	free(d->controllers);
	free(d->path);
	*d = (struct cgroup_dir){ 0 };
}

void cgroup_fini(struct cgroup *c)
{
	size_t i;

	cgroup_settled(c);
	for (i = 0; i < c->n; i++)
		dir_fini(&c->dirs[i]);
	free(c->dirs);
	free(c->unit);
	free(c->slice);
	*c = (struct cgroup){ 0 };
}

/* The directory inside each hierarchy, for cgroupfs. */
static int plan_fs(const char *path, const char *id, char **ret, struct err *e)
{
	scoped_free char *full = NULL;
	scoped_free char *clean = NULL;
	scoped_strv parts = { 0 };
	const char *p;

	if (!path || !*path)
		full = str_fmt("%s/%s", CGROUP_OWN, id);
	else
		full = str_fmt("%s%s", path[0] == '/' ? "" : CGROUP_OWN "/", path);
	if (!full)
		return err_set(e, -ENOMEM, "linux.cgroupsPath: %m");
	for (p = full; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return err_set(e, -EINVAL, "linux.cgroupsPath: it holds a control character");
	strv_split(&parts, full, '/');
	if (strv_has(&parts, ".."))
		return err_set(e, -EINVAL, "linux.cgroupsPath \"%s\": \"..\" is not allowed", path);
	clean = str_clean_path(full);
	if (!clean || strv_check(&parts) < 0)
		return err_set(e, -ENOMEM, "linux.cgroupsPath: %m");
	if (str_eq(clean, "/"))
		return err_set(e, -EINVAL,
			       "linux.cgroupsPath \"%s\": this is the root of all cgroups; name one of the "
			       "container's own",
			       path);
	*ret = take_ptr(&clean);
	return 0;
}

/* How much of the path is there already. */
static int existing_part(const struct cgroup_dir *d, size_t *ret)
{
	scoped_free char *path = strdup(d->path);
	size_t end = d->base, next;
	struct stat st;

	if (!path)
		return -ENOMEM;
	while (path[end]) {
		next = end + 1 + strcspn(path + end + 1, "/");
		path[next] = '\0';
		if (stat(path, &st) < 0) {
			if (errno != ENOENT)
				return -errno;
			break;
		}
		path[next] = d->path[next];
		end = next;
	}
	*ret = end;
	return 0;
}

static int plan_dirs(const struct cgroup_layout *l, const char *dir, struct cgroup *c)
{
	struct cgroup_dir *d;
	size_t i;
	int r;

	c->dirs = calloc(l->n ? l->n : 1, sizeof *c->dirs);
	if (!c->dirs)
		return -ENOMEM;
	for (i = 0; i < l->n; i++) {
		d = &c->dirs[i];
		c->n = i + 1;
		d->v2 = l->hiers[i].v2;
		d->base = strlen(l->hiers[i].mount);
		d->controllers = strdup(l->hiers[i].controllers);
		d->path = str_fmt("%s%s", l->hiers[i].mount, dir);
		if (!d->controllers || !d->path)
			return -ENOMEM;
		r = existing_part(d, &d->keep);
		if (r < 0)
			return r;
	}
	return 0;
}

int cgroup_plan(const struct cgroup_layout *l, enum cgroup_manager manager, const char *path, const char *id,
		struct cgroup *ret, struct err *e)
{
	__attribute__((cleanup(cgroup_fini))) struct cgroup c = { .manager = manager };
	scoped_free char *dir = NULL;
	int r = 0;

	switch (manager) {
	case CGROUP_FS:
		r = plan_fs(path, id, &dir, e);
		break;
	case CGROUP_SYSTEMD:
		r = cgroup_systemd_plan(path, id, &c, &dir, e);
		break;
	case CGROUP_DISABLED:
		break;
	case CGROUP_MANAGER_N:
		return err_set(e, -EINVAL, "cgroup manager: unknown");
	}
	if (r < 0)
		return r;
	r = dir ? plan_dirs(l, dir, &c) : 0;
	if (r < 0)
		return err_set(e, r, "cgroup %s: %m", dir);
	*ret = c;
	c = (struct cgroup){ 0 };
	return 0;
}

/* --- making --- */

static int read_text(const char *dir, const char *file, char **ret)
{
	scoped_free char *path = str_fmt("%s/%s", dir, file);
	size_t len;

	if (!path)
		return -ENOMEM;
	return io_read_file_at(AT_FDCWD, path, CGROUP_FILE_MAX, ret, &len);
}

static int write_text(const char *dir, const char *file, const char *text)
{
	scoped_free char *path = str_fmt("%s/%s", dir, file);

	if (!path)
		return -ENOMEM;
	return io_write_existing_at(AT_FDCWD, path, text);
}

/* A new v1 cpuset has no CPU and no memory node, and nothing can run in it: it gets its parent's. */
static int inherit_cpuset(const char *parent, const char *dir)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	size_t i;
	int r;

	for (i = 0; i < ARRAY_LEN(files); i++) {
		scoped_free char *own = NULL;
		scoped_free char *text = NULL;

		r = read_text(dir, files[i], &own);
		if (r < 0)
			return r;
		if (*own && *own != '\n')
			continue;
		r = read_text(parent, files[i], &text);
		if (r == 0)
			r = write_text(dir, files[i], text);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Answers to a controller that can't be handed down here: not offered by the parent, in use by a v1
 * hierarchy, processes in the way, no right. */
static bool is_kernels_no(int r)
{
	return r == -ENOENT || r == -EINVAL || r == -EBUSY || r == -EOPNOTSUPP || r == -EACCES ||
	       r == -EPERM || r == -EROFS;
}

/* Hands the hierarchy's controllers down to the children of `dir`, as far as the kernel allows: a
 * controller that is not there afterwards is noticed when a limit needs it. */
static int enable_controllers(const char *dir, const char *controllers)
{
	scoped_strv names = { 0 };
	scoped_str all = { 0 };
	size_t i;
	int r;

	strv_split(&names, controllers, ',');
	r = strv_check(&names);
	for (i = 0; r == 0 && i < names.n; i++)
		if (*names.p[i])
			str_addf(&all, "%s+%s", all.len ? " " : "", names.p[i]);
	if (r == 0)
		r = str_check(&all);
	if (r < 0 || !all.len)
		return r;
	/* Each write costs the kernel a walk over all its cgroups. If one controller is refused, all are. */
	r = write_text(dir, "cgroup.subtree_control", all.p);
	if (!is_kernels_no(r))
		return r;
	for (i = 0; i < names.n; i++) {
		scoped_free char *text = str_fmt("+%s", names.p[i]);

		if (!text)
			return -ENOMEM;
		if (!*names.p[i])
			continue;
		r = write_text(dir, "cgroup.subtree_control", text);
		if (r < 0 && !is_kernels_no(r))
			return r;
	}
	return 0;
}

/* One level: `path` below `parent`, which exists. *ret_made: it was not there. */
static int make_level(const struct cgroup_dir *d, const char *parent, const char *path, bool *ret_made)
{
	int r;

	if (d->v2) {
		r = enable_controllers(parent, d->controllers);
		if (r < 0)
			return r;
	}
	if (mkdir(path, 0755) == 0)
		*ret_made = true;
	else if (errno != EEXIST)
		return -errno;
	return cgroup_dir_has(d, "cpuset") && !d->v2 ? inherit_cpuset(parent, path) : 0;
}

/* All levels from the mount point down; remembers in d->keep what was there. */
static int make_levels(struct cgroup_dir *d)
{
	size_t end = d->base, next;
	int r;

	while (d->path[end]) {
		scoped_free char *parent = strndup(d->path, end);
		scoped_free char *path = NULL;
		bool made = false;

		next = end + 1 + strcspn(d->path + end + 1, "/");
		path = strndup(d->path, next);
		if (!parent || !path)
			return -ENOMEM;
		r = make_level(d, parent, path, &made);
		if (made)
			d->keep = (size_t)num_min(d->keep, end);
		if (r < 0)
			return r;
		end = next;
	}
	return 0;
}

/* The container's cgroup is emptied by SIGKILL in the end, so nobody else may live in it. */
static int refuse_populated(const struct cgroup *c, const struct cgroup_dir *d, struct err *e)
{
	scoped_free char *procs = NULL;
	int r;

	if (c->placeholder)
		return 0; /* the new scope: it holds our placeholder, and systemd made sure it is new */
	r = read_text(d->path, "cgroup.procs", &procs);
	if (r < 0)
		return err_set(e, r, "cgroup %s: cgroup.procs: %m", d->path);
	if (*procs)
		return err_set(e, -EBUSY,
			       "cgroup %s: it holds processes already; linux.cgroupsPath must "
			       "name a cgroup of the container's own",
			       d->path);
	return 0;
}

static int make_dir(const struct cgroup *c, struct cgroup_dir *d, struct err *e)
{
	int tries, r = -ENOENT;

	/* Another container's end may take an empty parent away between two levels (ENODEV: while we
	 * had a file of it open): begin again. */
	for (tries = 0; (r == -ENOENT || r == -ENODEV) && tries < MKDIR_TRIES; tries++)
		r = make_levels(d);
	if (r < 0)
		return err_set(e, r, "cgroup %s: %m", d->path);
	return refuse_populated(c, d, e);
}

/* Leaves out dirs[i], which can't be made: an error if a limit needs it, a warning if not. */
static int leave_out(struct cgroup *c, size_t i, const struct cgroup_limits *l, struct strv *warnings,
		     struct err *e)
{
	struct cgroup_dir *d = &c->dirs[i];
	const char *field, *controller;

	if (cgroup_limits_need(l, d, &field, &controller))
		return err_wrap(e, "%s: the %s controller can't be used", field, controller);
	strv_addf(warnings, "%s; going on without it", e ? e->msg : d->path);
	dir_fini(d);
	memmove(d, d + 1, (c->n - i - 1) * sizeof *d);
	c->n--;
	return 0;
}

static bool is_no_right(int r)
{
	return r == -EACCES || r == -EPERM || r == -EROFS || r == -ENOENT;
}

static int create(struct cgroup *c, const struct cgroup_limits *l, struct strv *warnings, struct err *e)
{
	struct err local = { 0 };
	size_t i = 0;
	int r;

	while (i < c->n) {
		r = make_dir(c, &c->dirs[i], &local);
		if (r == 0) {
			i++;
			continue;
		}
		r = is_no_right(r) ? leave_out(c, i, l, warnings, &local) : r;
		if (r < 0)
			return err_set(e, r, "%s", local.msg);
	}
	c->owned = true;
	return cgroup_apply(c, l, e);
}

int cgroup_create(struct cgroup *c, const struct cgroup_limits *limits, struct strv *warnings, struct err *e)
{
	int r = 0;

	if (c->manager == CGROUP_DISABLED)
		return 0;
	if (c->manager == CGROUP_SYSTEMD)
		r = cgroup_systemd_start(c, limits, e);
	if (r < 0)
		return r;
	r = create(c, limits, warnings, e);
	if (r < 0) {
		cgroup_settled(c);
		c->owned = false;
		may_fail(cgroup_undo(c)); /* the first error is the one to report */
	}
	return r;
}

void cgroup_procs(const struct cgroup *c, struct strv *to)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		strv_addf(to, "%s/cgroup.procs", c->dirs[i].path);
}

/* --- a cgroup of several --- */

static int plan_shared(const char *path, struct cgroup *ret)
{
	struct cgroup_layout l = { 0 };
	int r;

	*ret = (struct cgroup){ .manager = CGROUP_FS };
	r = cgroup_layout_read(&l);
	if (r == 0)
		r = plan_dirs(&l, path, ret);
	cgroup_layout_fini(&l);
	return r;
}

void cgroup_join_shared(const char *path, pid_t pid)
{
	__attribute__((cleanup(cgroup_fini))) struct cgroup c = { 0 };
	char text[16];

	if (plan_shared(path, &c) < 0)
		return;
	(void)snprintf(text, sizeof text, "%d", (int)pid);
	for (size_t i = 0; i < c.n; i++)
		if (make_levels(&c.dirs[i]) == 0)
			may_fail(write_text(c.dirs[i].path, "cgroup.procs", text)); /* it stays where it is */
}

void cgroup_remove_shared(const char *path)
{
	__attribute__((cleanup(cgroup_fini))) struct cgroup c = { 0 };

	if (plan_shared(path, &c) < 0)
		return;
	for (size_t i = 0; i < c.n; i++)
		(void)rmdir(c.dirs[i].path); /* in use, or not there */
}

/* --- storing: a header line, then one line per directory --- */

static const char *const manager_names[] = { "cgroupfs", "systemd", "disabled" };

int cgroup_encode(const struct cgroup *c, struct strv *to)
{
	const struct cgroup_dir *d;
	size_t i;

	strv_addf(to, "%s %s %s %s", manager_names[c->manager], c->owned ? "made" : "planned",
		  c->slice ? c->slice : "-", c->unit ? c->unit : "-");
	for (i = 0; i < c->n; i++) {
		d = &c->dirs[i];
		strv_addf(to, "%s %zu %zu %s %s", d->v2 ? "v2" : "v1", d->base, d->keep,
			  *d->controllers ? d->controllers : "-", d->path);
	}
	return strv_check(to);
}

/* Cuts `line` at blanks into n words; the last one is all that is left. */
static bool cut_words(char *line, char **word, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		word[i] = line;
		line += i + 1 < n ? strcspn(line, " ") : strlen(line);
		if (line == word[i])
			return false;
		if (*line)
			*line++ = '\0';
		else if (i + 1 < n)
			return false;
	}
	return true;
}

static int decode_word(const char *word, char **ret)
{
	if (str_eq(word, "-"))
		return 0;
	*ret = strdup(word);
	return *ret ? 0 : -ENOMEM;
}

static int decode_head(char *line, struct cgroup *c)
{
	char *word[4];
	int m;

	if (!cut_words(line, word, ARRAY_LEN(word)))
		return -EBADMSG;
	for (m = 0; m < CGROUP_MANAGER_N && !str_eq(word[0], manager_names[m]);)
		m++;
	c->owned = str_eq(word[1], "made");
	if (m == CGROUP_MANAGER_N || (!c->owned && !str_eq(word[1], "planned")))
		return -EBADMSG;
	c->manager = (enum cgroup_manager)m;
	if (decode_word(word[2], &c->slice) < 0 || decode_word(word[3], &c->unit) < 0)
		return -ENOMEM;
	return 0;
}

static int decode_dir(char *line, struct cgroup_dir *d)
{
	uint64_t base, keep;
	size_t len;
	char *word[5];

	if (!cut_words(line, word, ARRAY_LEN(word)) || (!str_eq(word[0], "v1") && !str_eq(word[0], "v2")))
		return -EBADMSG;
	len = strlen(word[4]);
	if (num_parse_u64_max(word[1], len, &base) < 0 || num_parse_u64_max(word[2], len, &keep) < 0 ||
	    keep < base || word[4][0] != '/' || word[4][base] != '/')
		return -EBADMSG;
	d->v2 = str_eq(word[0], "v2");
	d->base = (size_t)base;
	d->keep = (size_t)keep;
	d->controllers = strdup(str_eq(word[3], "-") ? "" : word[3]);
	d->path = strdup(word[4]);
	return d->controllers && d->path ? 0 : -ENOMEM;
}

int cgroup_decode(const struct strv *from, struct cgroup *ret)
{
	__attribute__((cleanup(cgroup_fini))) struct cgroup c = { 0 };
	size_t i;
	int r;

	if (from->n == 0)
		return -EBADMSG;
	c.dirs = calloc(from->n, sizeof *c.dirs);
	if (!c.dirs)
		return -ENOMEM;
	for (i = 0; i < from->n; i++) {
		scoped_free char *line = strdup(from->p[i]);

		if (!line)
			return -ENOMEM;
		if (i == 0) {
			r = decode_head(line, &c);
		} else {
			c.n = i;
			r = decode_dir(line, &c.dirs[i - 1]);
		}
		if (r < 0)
			return r;
	}
	*ret = c;
	c = (struct cgroup){ 0 };
	return 0;
}
