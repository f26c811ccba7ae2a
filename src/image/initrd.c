/* initrd.c - what is in the guest's initramfs (os_initrd() of os.h). Called by os.c. The agent and the
 * modules were checked by the caller. */
#include <errno.h>
#include <string.h>

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

int os_initrd(const struct modset *set, const void *agent, size_t agent_len, const struct bundles *b,
	      struct str *to, struct err *e)
{
	scoped_str load = { 0 }, ondemand = { 0 }, early = { 0 };
	scoped_cpio c = { 0 };
	int r;

	load_list(set, &load);
	r = ondemand_list(set, &ondemand);
	if (r == 0)
		r = str_check(&load);
	if (r < 0)
		return err_set(e, r, "initrd: %m");
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		cpio_dir(&c, dirs[i].path, dirs[i].perm);
	/* The kernel opens it as the stdio of /init before the agent has mounted anything. */
	cpio_char_device(&c, "dev/console", 0600, 5, 1);
	cpio_file(&c, "init", 0755, agent, agent_len);
	cpio_file(&c, OS_LOAD, 0644, load.p, load.len);
	cpio_file(&c, OS_ONDEMAND, 0644, ondemand.p, ondemand.len);
	for (size_t i = 0; i < set->n; i++) {
		scoped_free char *path = guest_path(&set->p[i]);

		if (!path)
			return err_set(e, -ENOMEM, "initrd: %m");
		cpio_file(&c, path, 0644, set->p[i].data, set->p[i].len);
	}
	r = bundles_put(b, &early, &c, e);
	return r < 0 ? r : cpio_write(&c, to, e);
}
