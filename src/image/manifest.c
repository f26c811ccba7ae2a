/* manifest.c - see manifest.h. Called by os.c and cli.c. A manifest that was damaged or written by
 * somebody else must give an error, never a file that passes for a good one. */
#include "image/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "base/num.h"

#define FIRST_LINE "cor-os 2"

void manifest_fini(struct manifest *m)
{
	free(m->release);
	free(m->origin);
	strv_fini(&m->modules);
	strv_fini(&m->bundles);
	*m = (struct manifest){ 0 };
}

static void put_file(struct str *to, const char *key, const struct manifest_file *f)
{
	str_addf(to, "%s %s %llu\n", key, f->sha256, (unsigned long long)f->size);
}

int manifest_format(const struct manifest *m, struct str *to, struct err *e)
{
	int r;

	if (strchr(m->release, '\n') || strchr(m->origin, '\n'))
		return err_set(e, -EINVAL, "manifest: a line break in '%s' or '%s'", m->release, m->origin);
	str_addf(to, FIRST_LINE "\nrelease %s\norigin %s\ninputs %s\nvmlinuz %s\n", m->release, m->origin,
		 m->inputs, m->vmlinuz);
	put_file(to, "vmlinux", &m->vmlinux);
	put_file(to, "initrd", &m->initrd);
	put_file(to, "agent", &m->agent);
	for (size_t i = 0; i < m->modules.n; i++)
		str_addf(to, "module %s\n", m->modules.p[i]);
	for (size_t i = 0; i < m->bundles.n; i++)
		str_addf(to, "bundle %s\n", m->bundles.p[i]);
	r = str_check(to);
	return r < 0 ? err_set(e, r, "manifest: %m") : 0;
}

static int take_text(const char *value, char **to)
{
	if (*to || !*value)
		return -EBADMSG;
	*to = strdup(value);
	return *to ? 0 : -ENOMEM;
}

static int take_hex(const char *value, size_t n, char to[SHA256_HEX])
{
	if (*to || n != SHA256_HEX - 1 || strspn(value, "0123456789abcdef") < n)
		return -EBADMSG;
	memcpy(to, value, n);
	to[n] = '\0';
	return 0;
}

static int take_file(const char *value, struct manifest_file *to)
{
	size_t n = strcspn(value, " ");

	if (take_hex(value, n, to->sha256) < 0 || value[n] != ' ')
		return -EBADMSG;
	return num_parse_u64(value + n + 1, &to->size);
}

static int take_line(const char *key, const char *value, struct manifest *m)
{
	struct strv *list;

	if (str_eq(key, "release"))
		return take_text(value, &m->release);
	if (str_eq(key, "origin"))
		return take_text(value, &m->origin);
	if (str_eq(key, "inputs"))
		return take_hex(value, strlen(value), m->inputs);
	if (str_eq(key, "vmlinuz"))
		return take_hex(value, strlen(value), m->vmlinuz);
	if (str_eq(key, "vmlinux"))
		return take_file(value, &m->vmlinux);
	if (str_eq(key, "initrd"))
		return take_file(value, &m->initrd);
	if (str_eq(key, "agent"))
		return take_file(value, &m->agent);
	list = str_eq(key, "module") ? &m->modules : str_eq(key, "bundle") ? &m->bundles : NULL;
	if (!list)
		return -EBADMSG;
	strv_add(list, value);
	return strv_check(list);
}

static int parse_lines(const struct strv *lines, struct manifest *m, struct err *e)
{
	if (!lines->n || !str_eq(lines->p[0], FIRST_LINE))
		return err_set(e, -EBADMSG, "manifest: the first line is not '" FIRST_LINE "'");
	for (size_t i = 1; i < lines->n; i++) {
		char *key = lines->p[i], *blank = strchr(key, ' ');
		int r = -EBADMSG;

		if (!*key && i == lines->n - 1)
			break;
		if (blank) {
			*blank = '\0';
			r = take_line(key, blank + 1, m);
		}
		if (r < 0)
			return err_set(e, r == -ENOMEM ? r : -EBADMSG,
				       "manifest line %zu: '%.40s': unknown, twice or damaged", i + 1, key);
	}
	if (!m->release || !m->origin || !*m->inputs || !*m->vmlinuz || !*m->vmlinux.sha256 ||
	    !*m->initrd.sha256 || !*m->agent.sha256)
		return err_set(e, -EBADMSG, "manifest: lines are missing");
	return 0;
}

int manifest_parse(const char *text, struct manifest *ret, struct err *e)
{
	scoped_manifest m = { 0 };
	scoped_strv lines = { 0 };
	int r;

	strv_split(&lines, text, '\n');
	r = strv_check(&lines);
	if (r < 0)
		return err_set(e, r, "manifest: %m");
	r = parse_lines(&lines, &m, e);
	if (r < 0)
		return r;
	*ret = m;
	m = (struct manifest){ 0 };
	return 0;
}

int manifest_read(const char *dir, struct manifest *ret, struct err *e)
{
	scoped_free char *path = str_fmt("%s/" MANIFEST_NAME, dir);
	scoped_free char *text = NULL;
	size_t len;
	int r;

	if (!path)
		return err_set(e, -ENOMEM, "%m");
	r = io_read_file_at(AT_FDCWD, path, MANIFEST_MAX, &text, &len);
	if (r < 0)
		return err_set(e, r, "%s: %m", path);
	if (strlen(text) != len)
		return err_set(e, -EBADMSG, "%s: holds a NUL byte", path);
	r = manifest_parse(text, ret, e);
	return r < 0 ? err_wrap(e, "%s", dir) : 0;
}
