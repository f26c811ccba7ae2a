/* optfile.c - settings from a `key = value` file and from annotations.
 *
 * Called by settings.c. The file belongs to the host's administrator: its mistakes are reported with
 * their line, none is passed over. Annotations come from whoever wrote config.json: only what the table,
 * or the administrator by name, opens to them is taken. Never: reads a file itself, or looks at a path
 * inside a container. */
#include <errno.h>
#include <string.h>

#include "cfg/opt.h"

struct file_state {
	const struct opt_target *t;
	unsigned line;
	unsigned *seen; /* per row: the line it was set in, 0 = not yet */
};

static int line_err(const struct file_state *s, struct err *e, const char *what)
{
	return err_set(e, -EINVAL, "%s:%u: %s", s->t->origin, s->line, what);
}

static char *trim(char *p)
{
	size_t n;

	p += strspn(p, " \t");
	n = strlen(p);
	while (n && (p[n - 1] == ' ' || p[n - 1] == '\t'))
		p[--n] = '\0';
	return p;
}

/* Removes a pair of double quotes; NULL if only one is there. */
static char *unquote(char *p)
{
	size_t n = strlen(p);

	if (*p != '"')
		return p;
	if (n < 2 || p[n - 1] != '"')
		return NULL;
	p[n - 1] = '\0';
	return p + 1;
}

static bool has_control(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f)
			return true;
	return false;
}

static bool is_list(const struct opt *o)
{
	return o->type == OPT_STRS || o->type == OPT_WORDS;
}

static int set_line(struct file_state *s, const char *key, const char *value, struct err *e)
{
	const struct opt *o = opt_find(&s->t->table, key);
	size_t i = o ? (size_t)(o - s->t->table.rows) : 0;
	int r;

	if (!o) {
		r = opt_unknown(s->t, "key", key, e);
		(void)err_wrap(e, "line %u", s->line);
		return r;
	}
	if (!(o->from & s->t->from))
		return err_set(e, -EPERM, "%s:%u: %s can't be set in this file", s->t->origin, s->line,
			       o->name);
	if (s->seen[i] && !is_list(o))
		return err_set(e, -EINVAL, "%s:%u: %s is set in line %u already: remove one of them",
			       s->t->origin, s->line, o->name, s->seen[i]);
	s->seen[i] = s->line;
	r = opt_set(s->t, o, value, e);
	if (r < 0)
		(void)err_wrap(e, "line %u", s->line);
	return r;
}

static int parse_line(struct file_state *s, char *line, size_t n, struct err *e)
{
	char *key, *value;

	if (n && line[n - 1] == '\r')
		n--;
	line[n] = '\0';
	if (has_control(line, n))
		return line_err(s, e, "there is a control character in this line: remove it");
	key = trim(line);
	if (!*key || *key == '#')
		return 0;
	value = strchr(key, '=');
	if (!value)
		return line_err(s, e, "expected \"key = value\"");
	*value++ = '\0';
	key = trim(key);
	value = unquote(trim(value));
	if (!value)
		return line_err(s, e, "the value has no closing double quote");
	return set_line(s, key, value, e);
}

int opt_parse_file(const struct opt_target *t, const char *text, size_t n, struct err *e)
{
	struct file_state s = { .t = t };
	char *copy, *p, *end;

	if (n > OPT_FILE_MAX)
		return err_set(e, -EFBIG, "%s is longer than 1 MiB", t->origin);
	copy = arena_strn(t->mem, text, n);
	s.seen = arena_array(t->mem, t->table.n, sizeof *s.seen);
	if (!copy || !s.seen)
		return err_set(e, -ENOMEM, "%s: %m", t->origin);
	end = copy + n;
	for (p = copy; p < end;) {
		char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = nl ? (size_t)(nl - p) : (size_t)(end - p);
		int r;

		s.line++;
		r = parse_line(&s, p, len, e);
		if (r < 0)
			return r;
		p += len + 1;
	}
	return 0;
}

int opt_set_annotation(const struct opt_target *t, const char *key, const char *value,
		       opt_allowed_fn *allowed, const void *ctx, bool *ret_ours, struct err *e)
{
	size_t n = strlen(t->prefix);
	const struct opt *o;
	bool may;

	if (ret_ours)
		*ret_ours = false;
	if (strncmp(key, t->prefix, n) != 0)
		return 0;
	if (ret_ours)
		*ret_ours = true;
	o = opt_find(&t->table, key + n);
	if (!o)
		return opt_unknown(t, "annotation", key + n, e);
	may = allowed ? allowed(ctx, o, t->from) : (o->from & t->from) != 0;
	if (!may)
		return err_set(
			e, -EPERM,
			"annotation %s%s is not allowed: this host alone decides it; its administrator "
			"can open it with \"annotations.allow = %s\" in cor.conf",
			t->prefix, o->name, o->name);
	return opt_set(t, o, value, e);
}
