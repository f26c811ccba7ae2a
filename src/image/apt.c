/* apt.c - see apt.h. Called by kernel.c. Trusts apt and its signed lists; package names are checked
 * before they reach a command line. Never: installs, updates the lists, runs a shell. */
#include "image/apt.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "image/child.h"

#define SHOW_MAX (1u << 20)

void apt_package_fini(struct apt_package *p)
{
	free(p->name);
	free(p->version);
	free(p->file);
	*p = (struct apt_package){ 0 };
}

/* Debian policy 5.6.1; it can't start like an option. */
static bool name_ok(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.");

	return n >= 2 && n < 200 && s[n] == '\0' && s[0] != '-' && s[0] != '+' && s[0] != '.';
}

/* The value of "Key: value" in the first paragraph, in fresh memory; NULL if not there. */
static char *field(const char *text, const char *key)
{
	size_t len = strlen(key);

	while (text && *text && *text != '\n') {
		const char *end = strchrnul(text, '\n');

		if (strncmp(text, key, len) == 0 && text[len] == ':') {
			text += len + 1;
			text += strspn(text, " ");
			return strndup(text, (size_t)(end - text));
		}
		text = *end ? end + 1 : end;
	}
	return NULL;
}

static int show(const char *name, char **ret, struct err *e)
{
	const char *const argv[] = { "apt-cache", "show", "--no-all-versions", name, NULL };
	size_t len;
	int r;

	if (!name_ok(name))
		return err_set(e, -EINVAL, "'%s' is not a package name", name);
	r = child_output(argv, NULL, 0, SHOW_MAX, ret, &len, e);
	if (r == -ENOENT)
		return err_wrap(e, "no apt here to get a kernel with: give --vmlinuz and --modules");
	if (r < 0)
		return err_set(e, -ENOENT, "apt knows no package %s: run 'apt-get update' first", name);
	return 0;
}

/* The first linux-image-* among the dependencies of a metapackage, in fresh memory, or NULL. */
static char *image_dependency(const char *text)
{
	scoped_free char *depends = field(text, "Depends");
	scoped_strv parts = { 0 };

	if (!depends)
		return NULL;
	strv_split(&parts, depends, ',');
	for (size_t i = 0; i < parts.n; i++) {
		const char *s = parts.p[i] + strspn(parts.p[i], " ");

		if (str_starts(s, "linux-image-"))
			return strndup(s, strcspn(s, " (|"));
	}
	return NULL;
}

/* apt-get writes the ':' of an epoch as %3a. */
static char *file_name(const char *name, const char *version, const char *arch)
{
	scoped_str s = { 0 };

	str_addf(&s, "%s_", name);
	for (; *version; version++) {
		if (*version == ':')
			str_add(&s, "%3a");
		else
			str_addc(&s, *version);
	}
	str_addf(&s, "_%s.deb", arch);
	return str_take(&s);
}

static int fill(const char *text, struct apt_package *ret, struct err *e)
{
	scoped_free char *name = field(text, "Package");
	scoped_free char *version = field(text, "Version");
	scoped_free char *arch = field(text, "Architecture");
	scoped_free char *size = field(text, "Size");
	struct apt_package p = { 0 };

	if (!name || !version || !arch || !size || strchr(version, '/') || strchr(arch, '/') ||
	    !name_ok(name) || num_parse_u64(size, &p.size) < 0)
		return err_set(e, -EBADMSG, "apt-cache show gave an incomplete record");
	p.file = file_name(name, version, arch);
	if (!p.file)
		return err_set(e, -ENOMEM, "%m");
	p.name = take_ptr(&name);
	p.version = take_ptr(&version);
	*ret = p;
	return 0;
}

int apt_find(const char *name, struct apt_package *ret, struct err *e)
{
	scoped_free char *text = NULL, *real_text = NULL, *real = NULL;
	int r;

	r = show(name, &text, e);
	if (r < 0)
		return r;
	real = image_dependency(text);
	if (!real)
		return fill(text, ret, e);
	r = show(real, &real_text, e);
	return r < 0 ? r : fill(real_text, ret, e);
}

int apt_download(const struct apt_package *p, const char *dir, struct err *e)
{
	scoped_free char *what = str_fmt("%s=%s", p->name, p->version);
	/* As root apt would drop to a user of its own, who can't write here. */
	const char *const argv[] = { "apt-get", "download",           "-qq", "-o", "APT::Sandbox::User=root",
				     "-o",      "Acquire::Retries=3", what,  NULL };
	const struct child c = { .argv = argv, .dir = dir, .in_fd = -1, .out_fd = -1 };
	int r;

	if (!what)
		return err_set(e, -ENOMEM, "%m");
	r = child_run(&c, e);
	return r < 0 ? err_wrap(e, "download of %s (is there a network? are apt's lists of today?)", what)
		     : 0;
}
