/* initrd.c - what is in the mini-OS (os_initrd(), os_root() of os.h). Called by os.c. The agent and the
 * modules were checked by the caller. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "image/child.h"
#include "image/cpio.h"
#include "image/os.h"

#define MODULES_DIR "lib/modules"

/* Mount points and homes that the agent finds made. */
static const struct {
	const char *path;
	mode_t perm;
} dirs[] = {
	{ "dev", 0755 }, { "lib", 0755 }, { MODULES_DIR, 0755 }, { "proc", 0755 },
	{ "run", 0755 }, { "sys", 0755 }, { "tmp", 01777 },
};

/* The module's path in the guest, without the first '/'. */
static char *guest_path(const struct module *m)
{
	return str_fmt(MODULES_DIR "/%s.ko", m->name);
}

static void load_list(const struct modset *s, struct str *to)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->p[i].boot)
			str_addf(to, "/" MODULES_DIR "/%s.ko\n", s->p[i].name);
	}
}

/* Marks m and all below it that a guest has not loaded at boot. The set's order keeps dependencies
 * first, so a list of marks is a load order. */
static void mark_needed(const struct modset *s, const struct module *m, bool *needed)
{
	if (m->boot || needed[m - s->p])
		return;
	needed[m - s->p] = true;
	for (size_t i = 0; i < m->deps.n; i++) {
		const struct module *d = modset_find(s, m->deps.p[i]);

		if (d)
			mark_needed(s, d, needed);
	}
}

static int ondemand_list(const struct modset *s, struct str *to)
{
	for (size_t i = 0; i < s->n; i++) {
		scoped_free bool *needed = s->p[i].boot ? NULL : calloc(s->n, sizeof(*needed));

		if (s->p[i].boot)
			continue;
		if (!needed)
			return -ENOMEM;
		mark_needed(s, &s->p[i], needed);
		str_add(to, s->p[i].name);
		for (size_t k = 0; k < s->n; k++) {
			if (needed[k])
				str_addf(to, " /" MODULES_DIR "/%s.ko", s->p[k].name);
		}
		str_addc(to, '\n');
	}
	return str_check(to);
}

/* What the entries point to. */
struct texts {
	struct str load, ondemand, early;
};

static void texts_fini(struct texts *t)
{
	str_fini(&t->load);
	str_fini(&t->ondemand);
	str_fini(&t->early);
}

static int fill(const struct os_parts *p, struct texts *t, struct cpio *c, struct err *e)
{
	int r;

	load_list(p->modules, &t->load);
	r = ondemand_list(p->modules, &t->ondemand);
	if (r == 0)
		r = str_check(&t->load);
	if (r < 0)
		return err_set(e, r, "initrd: %m");
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		cpio_dir(c, dirs[i].path, dirs[i].perm);
	cpio_file(c, "init", 0755, p->agent, p->agent_len);
	cpio_file(c, OS_LOAD, 0644, t->load.p, t->load.len);
	cpio_file(c, OS_ONDEMAND, 0644, t->ondemand.p, t->ondemand.len);
	for (size_t i = 0; i < p->modules->n; i++) {
		scoped_free char *path = guest_path(&p->modules->p[i]);

		if (!path)
			return err_set(e, -ENOMEM, "initrd: %m");
		cpio_file(c, path, 0644, p->modules->p[i].data, p->modules->p[i].len);
	}
	return bundles_put(p->bundles, &t->early, c, e);
}

int os_initrd(const struct os_parts *p, struct str *to, struct err *e)
{
	__attribute__((cleanup(texts_fini))) struct texts t = { 0 };
	scoped_cpio c = { 0 };
	int r = fill(p, &t, &c, e);

	/* The kernel opens it as the stdio of /init before the agent has mounted anything. */
	cpio_char_device(&c, "dev/console", 0600, 5, 1);
	return r < 0 ? r : cpio_write(&c, to, e);
}

/* Equal trees give equal files: no times, no owners, a UUID from what went in. */
static int run_mkfs(const char *from, const char *digest, const char *file, struct err *e)
{
	scoped_free char *uuid = str_fmt("-U%.8s-%.4s-%.4s-%.4s-%.12s", digest, digest + 8, digest + 12,
					 digest + 16, digest + 20);
	const char *argv[] = { "mkfs.erofs", "--quiet",         "-d0", "-T0", "--all-root",
			       uuid,         "-Enoinline_data", file,  from,  NULL };
	struct child c = { .argv = argv, .in_fd = -1, .out_fd = -1 };

	return uuid ? child_run(&c, e) : err_set(e, -ENOMEM, "%m");
}

/* What a pmem device's size must be a multiple of. */
#define ROOT_ALIGN (2u << 20)

static int pad(const char *file, struct err *e)
{
	scoped_fd fd = open(file, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || fchmod(fd, 0644) < 0 ||
	    ftruncate(fd, (st.st_size + ROOT_ALIGN - 1) / ROOT_ALIGN * ROOT_ALIGN) < 0)
		return err_set(e, -errno, "%s: %m", file);
	return 0;
}

int os_root(const struct os_parts *p, const char *digest, const char *file, struct err *e)
{
	__attribute__((cleanup(texts_fini))) struct texts t = { 0 };
	char dir[] = "/tmp/cor-image.XXXXXX";
	scoped_cpio c = { 0 };
	scoped_fd fd = -1;
	int r = fill(p, &t, &c, e);

	if (r < 0)
		return r;
	if (!mkdtemp(dir))
		return err_set(e, -errno, "%s: %m", dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? err_set(e, -errno, "%s: %m", dir) : cpio_unpack(&c, fd, e);
	if (r == 0 && fchmod(fd, 0755) < 0)
		r = err_set(e, -errno, "%s: %m", dir);
	if (r == 0)
		r = run_mkfs(dir, digest, file, e);
	if (r == 0)
		r = pad(file, e);
	may_fail(io_remove_tree_at(AT_FDCWD, dir)); /* only a copy of what is elsewhere */
	return r;
}
