/* modules.c - see modules.h. Called by os.c and kernel.c. The modules directory is the distribution's
 * or the user's; every file is bounded in size and checked as ELF before a byte of it is used. */
#include "image/modules.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "image/child.h"
#include "image/elf.h"

#define INDEX_MAX  (4u << 20)
#define MODULE_MAX (64u << 20)
#define DEPTH_MAX  32
#define COUNT_MAX  256

const struct module_want module_table[] = {
	{ "virtio_pci", true, false, "every device of the VM" },
	{ "virtio_console", true, false, "the agent channel" },
	{ "9pnet_virtio", true, false, "transport of the shared directories" },
	{ "9p", true, false, "the shared directories themselves" },
	{ "overlay", false, false, "read-only images with a writable layer" },
	{ "erofs", false, true, "read-only images" },
	{ "crc32c_generic", false, true, "erofs and ext4 look it up by name, no module depends on it" },
	{ "virtio_pmem", false, true, "images mapped from the host's page cache" },
	{ "nd_pmem", false, true, "the block device of a virtio_pmem region, with DAX" },
	{ "virtio_blk", false, true, "disks" },
	{ "ext4", false, true, "a disk for what a container of an image writes" },
	{ "virtio_net", false, true, "network" },
	{ "virtio_balloon", true, true, "memory given back to the host" },
	{ "virtio_rng", false, true, "entropy of the host" },
	{ "fuse", false, true, "virtiofs, and fuse in containers" },
	{ "virtiofs", false, true, "shared directories without 9p" },
	{ "tun", false, true, "tunnels of containers" },
	{ NULL, false, false, NULL },
};

/* What the kernel registers of a module for tracing it: a third of the time that loading takes. The modules
 * that a guest loads at boot are traced by nobody. */
static const char *const trace_sections[] = {
	"_ftrace_events", "_ftrace_eval_map", "__tracepoints_ptrs", "__bpf_raw_tp_map", ".BTF",
};

/* How modules are stored; "" = as they are. */
static const struct {
	const char *suffix;
	const char *const argv[5];
} packings[] = {
	{ "", { NULL } },
	{ ".xz", { "xz", "-dc" } },
	{ ".zst", { "zstd", "-dcq", "--no-progress" } },
	{ ".gz", { "gzip", "-dc" } },
};

struct loader {
	struct modset *set;
	int dirfd;
	const char *release;
	struct strv order;           /* lines of modules.order */
	struct strv builtin;         /* lines of modules.builtin */
	const char *path[DEPTH_MAX]; /* names being loaded: who needs whom */
	size_t depth;
};

void modset_fini(struct modset *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->p[i].name);
		free(s->p[i].file);
		free(s->p[i].data);
		strv_fini(&s->p[i].deps);
	}
	free(s->p);
	strv_fini(&s->builtin);
	strv_fini(&s->missing);
	*s = (struct modset){ 0 };
}

const struct module *modset_find(const struct modset *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++) {
		if (str_eq(s->p[i].name, name))
			return &s->p[i];
	}
	return NULL;
}

/* Is the line's last part NAME.ko or NAME.o, '-' and '_' being the same? */
static bool line_is(const char *line, const char *name)
{
	const char *s = strrchr(line, '/');

	s = s ? s + 1 : line;
	for (; *name; name++, s++) {
		if ((*s == '-' ? '_' : *s) != *name)
			return false;
	}
	return str_eq(s, ".ko") || str_eq(s, ".o");
}

static const char *find_line(const struct strv *lines, const char *name)
{
	for (size_t i = 0; i < lines->n; i++) {
		if (line_is(lines->p[i], name))
			return lines->p[i];
	}
	return NULL;
}

static int read_index(int dirfd, const char *name, struct strv *ret, struct err *e)
{
	scoped_free char *text = NULL;
	size_t len;
	int r;

	r = io_read_file_at(dirfd, name, INDEX_MAX, &text, &len);
	if (r < 0)
		return err_set(e, r, "%s: %m", name);
	strv_split(ret, text, '\n');
	r = strv_check(ret);
	return r < 0 ? err_set(e, r, "%s: %m", name) : 0;
}

/* The path comes from modules.order: it must not lead out of the directory. */
static bool line_path_ok(const char *line)
{
	return *line && *line != '/' && !strstr(line, "../") && strlen(line) < 512;
}

/* Reads "PATH.ko" or a compressed form of it. */
static int read_file(const struct loader *l, const char *line, struct module *m, struct err *e)
{
	size_t stem = strlen(line) - (str_ends(line, ".ko") ? 3 : 2);

	if (!line_path_ok(line))
		return err_set(e, -EINVAL, "modules.order: bad path '%s'", line);
	for (size_t i = 0; i < ARRAY_LEN(packings); i++) {
		scoped_free char *file = str_fmt("%.*s.ko%s", (int)stem, line, packings[i].suffix);
		scoped_free char *raw = NULL;
		size_t len;
		int r;

		if (!file)
			return err_set(e, -ENOMEM, "%s: %m", line);
		r = io_read_file_at(l->dirfd, file, MODULE_MAX, &raw, &len);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return err_set(e, r, "%s: %m", file);
		m->file = take_ptr(&file);
		if (packings[i].argv[0]) {
			r = child_output(packings[i].argv, raw, len, MODULE_MAX, &m->data, &m->len, e);
			return r < 0 ? err_wrap(e, "%s", m->file) : 0;
		}
		m->data = take_ptr(&raw);
		m->len = len;
		return 0;
	}
	return err_set(e, -ENOENT, "modules.order names %s, but the file is not there", line);
}

/* Fills deps from the module's own words and checks that it is for this kernel. The signature goes:
 * a guest that loads it would spend milliseconds on checking what the host has just built. */
static int inspect(const struct loader *l, struct module *m, struct err *e)
{
	size_t len = strlen(l->release);
	struct modinfo info = { 0 };
	const char *depends, *magic;
	int r;

	m->len = elf_unsigned_len(m->data, m->len);
	r = elf_modinfo(m->data, m->len, &info, e);
	if (r < 0)
		return r;
	magic = modinfo_get(&info, "vermagic");
	if (!magic || strncmp(magic, l->release, len) != 0 || (magic[len] != ' ' && magic[len] != '\0'))
		return err_set(e, -ENOEXEC, "built for kernel '%.64s', not for '%s'",
			       magic ? magic : "(unknown)", l->release);
	depends = modinfo_get(&info, "depends");
	if (depends && *depends)
		strv_split(&m->deps, depends, ',');
	for (size_t i = 0; i < m->deps.n; i++) {
		for (char *s = m->deps.p[i]; *s; s++)
			*s = *s == '-' ? '_' : *s;
	}
	for (size_t i = 0; i < ARRAY_LEN(trace_sections); i++)
		elf_hide_section(m->data, m->len, trace_sections[i]);
	sha256_hex(m->data, m->len, m->digest);
	r = strv_check(&m->deps);
	return r < 0 ? err_set(e, r, "%m") : 0;
}

static int append(struct modset *s, struct module *m)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 32;
		struct module *p = reallocarray(s->p, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		s->p = p;
		s->cap = cap;
	}
	s->p[s->n++] = *m;
	*m = (struct module){ 0 };
	return 0;
}

static void module_fini(struct module *m)
{
	free(m->name);
	free(m->file);
	free(m->data);
	strv_fini(&m->deps);
}
#define scoped_module __attribute__((cleanup(module_fini))) struct module

static int load_one(struct loader *l, const char *name, bool boot, struct err *e);

/* Loads what `m` needs, then `m`. */
static int load_with_deps(struct loader *l, struct module *m, bool boot, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->deps.n; i++)
		r = load_one(l, m->deps.p[i], boot, e);
	if (r < 0)
		return r;
	if (l->set->n >= COUNT_MAX)
		return err_set(e, -E2BIG, "more than %d modules", COUNT_MAX);
	m->boot = boot;
	r = append(l->set, m);
	return r < 0 ? err_set(e, r, "%m") : 0;
}

/* A module that was loaded for later is needed at boot after all: so are those below it. */
static int raise_to_boot(struct modset *s, const char *name, struct err *e)
{
	const struct module *found = modset_find(s, name);
	struct module *m;
	int r = 0;

	if (!found || found->boot)
		return 0;
	m = &s->p[found - s->p];
	m->boot = true;
	for (size_t i = 0; r == 0 && i < m->deps.n; i++)
		r = raise_to_boot(s, m->deps.p[i], e);
	return r;
}

static int load_one(struct loader *l, const char *name, bool boot, struct err *e)
{
	scoped_module m = { 0 };
	const char *line;
	int r;

	if (modset_find(l->set, name))
		return boot ? raise_to_boot(l->set, name, e) : 0;
	for (size_t i = 0; i < l->depth; i++) {
		if (str_eq(l->path[i], name))
			return err_set(e, -ELOOP, "module %s needs itself, through %s", name,
				       l->path[l->depth - 1]);
	}
	if (find_line(&l->builtin, name))
		return 0;
	line = find_line(&l->order, name);
	if (!line)
		return err_set(e, -ENOENT, "module %s is not among the kernel's modules%s%s", name,
			       l->depth ? "; needed by " : "", l->depth ? l->path[l->depth - 1] : "");
	if (l->depth == DEPTH_MAX)
		return err_set(e, -ELOOP, "module %s: more than %d levels of dependencies", name, DEPTH_MAX);
	m.name = strdup(name);
	if (!m.name)
		return err_set(e, -ENOMEM, "%m");
	l->path[l->depth++] = name;
	r = read_file(l, line, &m, e);
	if (r == 0)
		r = inspect(l, &m, e);
	if (r < 0)
		err_wrap(e, "module %s", name);
	else
		r = load_with_deps(l, &m, boot, e);
	l->depth--;
	return r;
}

static int load_all(struct loader *l, const struct module_want *want, struct err *e)
{
	int r;

	for (; want->name; want++) {
		if (find_line(&l->builtin, want->name)) {
			strv_add(&l->set->builtin, want->name);
			continue;
		}
		if (want->optional && !find_line(&l->order, want->name)) {
			strv_add(&l->set->missing, want->name);
			continue;
		}
		r = load_one(l, want->name, want->boot, e);
		if (r < 0)
			return r;
	}
	r = strv_check(&l->set->builtin);
	if (r == 0)
		r = strv_check(&l->set->missing);
	return r < 0 ? err_set(e, r, "%m") : 0;
}

int modset_load(struct modset *s, int dirfd, const char *release, const struct module_want *want,
		struct err *e)
{
	struct loader l = { .set = s, .dirfd = dirfd, .release = release };
	int r;

	r = read_index(dirfd, "modules.order", &l.order, e);
	if (r == 0)
		r = read_index(dirfd, "modules.builtin", &l.builtin, e);
	if (r == 0)
		r = load_all(&l, want, e);
	strv_fini(&l.order);
	strv_fini(&l.builtin);
	return r;
}

int module_wants_digest(const struct module_want *want, char ret[SHA256_HEX], struct err *e)
{
	scoped_str s = { 0 };
	int r;

	for (; want->name; want++)
		str_addf(&s, "%s %d %d\n", want->name, want->boot, want->optional);
	r = str_check(&s);
	if (r < 0)
		return err_set(e, r, "%m");
	sha256_hex(s.p, s.len, ret);
	return 0;
}
