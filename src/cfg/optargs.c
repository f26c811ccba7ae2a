/* optargs.c - command lines: options in any of the spellings that callers use, and positionals.
 *
 * Called by runtime/cli.c. Callers of a container runtime send `--opt value`, `--opt=value`,
 * `-opt` with one dash (Go programs) and short ones; all of them are taken. Distrusts every argument.
 * Never: guesses from an abbreviated name, so that a new option can't change what an old line means. */
#include <errno.h>
#include <string.h>

#include "cfg/opt.h"

struct args_state {
	const struct opt_target *t;
	struct opt_args *a;
	int next; /* index of the first argument not looked at */
};

static const struct opt *find_short(const struct opt_table *t, char c)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->rows[i].short_name == c)
			return &t->rows[i];
	return NULL;
}

/* The row of a long name of n bytes that the command line may set. */
static const struct opt *find_long(const struct opt_table *t, const char *name, size_t n)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct opt *o = &t->rows[i];

		if ((o->from & OPT_FROM_CLI) && strlen(o->name) == n && memcmp(o->name, name, n) == 0)
			return o;
	}
	return NULL;
}

/* Sets o from `value`, or from the next argument when there is none. */
static int set_from(struct args_state *s, const struct opt *o, const char *value, struct err *e)
{
	if (!value && !opt_takes_value(o))
		value = "true";
	if (!value) {
		if (s->next >= s->a->argc)
			return err_set(e, -EINVAL, "option --%s requires an argument", o->name);
		value = s->a->argv[s->next++];
	}
	return opt_set(s->t, o, value, e);
}

static int unknown_long(struct args_state *s, const char *name, size_t n, struct err *e)
{
	char *copy = arena_strn(s->t->mem, name, n);

	if (!copy)
		return err_set(e, -ENOMEM, "command line: %m");
	s->a->unknown = copy;
	return opt_unknown(s->t, "option", copy, e);
}

static int unknown_short(const char *group, char c, struct err *e)
{
	char name[] = { '-', c, '\0' };
	scoped_str all = { 0 };
	scoped_str one = { 0 };

	opt_add_quoted(&one, name);
	opt_add_quoted(&all, group);
	return err_set(e, -EINVAL, "unknown option %s in %s", one.p ? one.p : "?", all.p ? all.p : "?");
}

/* `-b dir`, `-bdir`, `-b=dir`, `-dt`; `arg` with its dash. */
static int parse_shorts(struct args_state *s, const char *arg, struct err *e)
{
	for (const char *p = arg + 1; *p; p++) {
		const struct opt *o = find_short(&s->t->table, *p);
		const char *value = NULL;
		int r;

		if (!o)
			return unknown_short(arg, *p, e);
		if (p[1] && (opt_takes_value(o) || p[1] == '='))
			value = p + 1 + (p[1] == '=');
		r = set_from(s, o, value, e);
		if (r < 0 || value || opt_takes_value(o))
			return r;
	}
	return 0;
}

static int parse_option(struct args_state *s, const char *arg, struct err *e)
{
	const char *name = arg + (arg[1] == '-' ? 2 : 1);
	size_t n = strcspn(name, "=");
	const struct opt *o = n > 1 || arg[1] == '-' ? find_long(&s->t->table, name, n) : NULL;

	if (o)
		return set_from(s, o, name[n] ? name + n + 1 : NULL, e);
	if (arg[1] != '-')
		return parse_shorts(s, arg, e);
	return unknown_long(s, name, n, e);
}

static int take_positional(struct args_state *s, const char *arg, struct err *e)
{
	s->next++;
	if (opt_strs_add(&s->a->pos, s->t->mem, arg) < 0)
		return err_set(e, -ENOMEM, "command line: %m");
	return 0;
}

int opt_parse_args(const struct opt_target *t, struct opt_args *a, struct err *e)
{
	struct args_state s = { .t = t, .a = a };
	bool options = true;

	while (s.next < a->argc) {
		const char *arg = a->argv[s.next];
		int r = 0;

		if (a->until && a->pos.n >= a->until)
			options = false;
		if (options && strcmp(arg, "--") == 0) {
			options = false;
			s.next++;
		} else if (options && arg[0] == '-' && arg[1]) {
			s.next++;
			r = parse_option(&s, arg, e);
		} else if (a->until == 0) {
			break;
		} else {
			if (a->ends && *a->ends)
				options = false;
			a->among += options;
			r = take_positional(&s, arg, e);
		}
		if (r < 0)
			return r;
	}
	a->used = s.next;
	return 0;
}
