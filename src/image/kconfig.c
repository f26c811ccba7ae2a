/* kconfig.c - see kconfig.h. Called by kbuild.c. Fragments are ours or the user's: a line that is not
 * understood is an error, never skipped, since a kernel without what it asked for fails much later. */
#include "image/kconfig.h"

#include <errno.h>
#include <string.h>

#define PREFIX     "CONFIG_"
#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

static void option_fini(struct kconfig_option *o)
{
	free(o->name);
	free(o->value);
}
#define scoped_option __attribute__((cleanup(option_fini))) struct kconfig_option

void kconfig_fini(struct kconfig *c)
{
	for (size_t i = 0; i < c->n; i++)
		option_fini(&c->p[i]);
	free(c->p);
	*c = (struct kconfig){ 0 };
}

static struct kconfig_option *find(const struct kconfig *c, const char *name)
{
	for (size_t i = 0; i < c->n; i++) {
		if (str_eq(c->p[i].name, name))
			return &c->p[i];
	}
	return NULL;
}

/* Length of the value at s: y, n, a number, or a text in quotes without a quote or backslash in it. */
static size_t value_len(const char *s)
{
	size_t n;

	if (*s == '"') {
		n = strcspn(s + 1, "\"\\") + 1;
		return s[n] == '"' ? n + 1 : 0;
	}
	n = strcspn(s, " ");
	if (n == 1 && (*s == 'y' || *s == 'n'))
		return n;
	if (str_starts(s, "0x"))
		return n > 2 && strspn(s + 2, "0123456789abcdefABCDEF") == n - 2 ? n : 0;
	return n && strspn(s, "0123456789") == n ? n : 0;
}

/* "CONFIG_NAME=VALUE # reason". */
static int parse_line(const char *line, struct kconfig_option *ret)
{
	size_t name = strspn(line, NAME_CHARS), value;
	const char *s = line + name, *reason;

	if (!str_starts(line, PREFIX) || name == strlen(PREFIX) || *s++ != '=')
		return -EINVAL;
	value = value_len(s);
	reason = s + value;
	if (!value || !str_starts(reason, " # ") || !reason[3 + strspn(reason + 3, " ")])
		return -EINVAL;
	ret->name = strndup(line, name);
	ret->value = strndup(s, value);
	return ret->name && ret->value ? 0 : -ENOMEM;
}

static int put(struct kconfig *c, struct kconfig_option *o)
{
	struct kconfig_option *old = find(c, o->name), *p;

	if (old && old->file == o->file)
		return -EEXIST;
	if (old) {
		option_fini(old);
		*old = *o;
		*o = (struct kconfig_option){ 0 };
		return 0;
	}
	if (c->n == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 64;

		p = reallocarray(c->p, cap, sizeof(*p));
		if (!p)
			return -ENOMEM;
		c->p = p;
		c->cap = cap;
	}
	c->p[c->n++] = *o;
	*o = (struct kconfig_option){ 0 };
	return 0;
}

int kconfig_add(struct kconfig *c, const char *text, const char *file, struct err *e)
{
	scoped_strv lines = { 0 };
	size_t id = c->files++;
	int r;

	strv_split(&lines, text, '\n');
	r = strv_check(&lines);
	for (size_t i = 0; r == 0 && i < lines.n; i++) {
		const char *line = lines.p[i];
		scoped_option o = { .file = id };

		if (!line[strspn(line, " \t")] || *line == '#')
			continue;
		r = parse_line(line, &o);
		if (r == 0)
			r = put(c, &o);
		if (r == -EINVAL)
			return err_set(e, r,
				       "%s:%zu: not \"CONFIG_NAME=VALUE # reason\" with y, n, a number "
				       "or a \"text\": '%.60s'",
				       file, i + 1, line);
		if (r == -EEXIST)
			return err_set(e, -EINVAL, "%s:%zu: %.60s stands there twice", file, i + 1, o.name);
	}
	return r < 0 ? err_set(e, r, "%s: %m", file) : 0;
}

int kconfig_format(const struct kconfig *c, struct str *to, struct err *e)
{
	int r;

	for (size_t i = 0; i < c->n; i++) {
		if (str_eq(c->p[i].value, "n"))
			str_addf(to, "# %s is not set\n", c->p[i].name);
		else
			str_addf(to, "%s=%s\n", c->p[i].name, c->p[i].value);
	}
	r = str_check(to);
	return r < 0 ? err_set(e, r, "%m") : 0;
}

/* The value in `lines` of a .config; "n" if it has none. */
static const char *value_of(const struct strv *lines, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < lines->n; i++) {
		if (str_starts(lines->p[i], name) && lines->p[i][n] == '=')
			return lines->p[i] + n + 1;
	}
	return "n";
}

int kconfig_check(const struct kconfig *c, const char *text, struct strv *dropped, struct err *e)
{
	scoped_strv lines = { 0 };
	int r;

	strv_split(&lines, text, '\n');
	r = strv_check(&lines);
	for (size_t i = 0; r == 0 && i < c->n; i++) {
		if (!str_eq(value_of(&lines, c->p[i].name), c->p[i].value))
			strv_addf(dropped, "%s=%s", c->p[i].name, c->p[i].value);
	}
	if (r == 0)
		r = strv_check(dropped);
	return r < 0 ? err_set(e, r, "%m") : 0;
}
