/* gen-docs.c - fills templates of documents from the option tables, at build time.
 *
 *     gen-docs TEMPLATE OUTPUT
 *
 * A line that is one of the marks below is replaced by generated text; in all others @VERSION@, @CONFDIR@
 * and @OSDIR@ are. So a manual page or completion script can't name an option that doesn't exist, nor
 * miss one. Trusts its template: it belongs to the sources. Never: part of what is installed. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "runtime/cli.h"
#include "runtime/verbs.h"

/* The table names the verbs; nothing here runs one. */
#define NEVER(name)                                                                                          \
	int cmd_##name(struct cli *c, struct err *e)                                                         \
	{                                                                                                    \
		(void)c;                                                                                     \
		(void)e;                                                                                     \
		abort();                                                                                     \
	}
VERBS(NEVER)

static void man_globals(struct str *to)
{
	opt_man(to, &cli_global_opts, true, NULL);
}

/* Each verb as a subsection: summary, usage, options. */
static void man_verbs(struct str *to)
{
	for (size_t i = 0; i < cli_n_verbs; i++) {
		const struct cli_verb *v = &cli_verbs[i];

		str_addf(to, ".SS cor %s%s", v->name, *v->usage ? " " : "");
		opt_add_roff(to, v->usage);
		str_addc(to, '\n');
		str_addc(to, (char)toupper(v->summary[0]));
		opt_add_roff(to, v->summary + 1);
		str_add(to, ".\n");
		opt_man(to, &v->opts, true, NULL);
	}
}

static void man_settings(struct str *to)
{
	scoped_settings defaults = { 0 };

	if (settings_init(&defaults, COR_OSDIR, NULL) < 0)
		to->oom = true;
	else
		opt_man(to, &settings_table, false, &defaults);
}

/* The keys that config.json may set without the host's leave. */
static void man_open_keys(struct str *to)
{
	for (size_t i = 0; i < settings_table.n; i++) {
		if (!(settings_table.rows[i].from & OPT_FROM_ANNOTATION))
			continue;
		str_add(to, ".TP\n\\fB" SETTINGS_PREFIX);
		opt_add_roff(to, settings_table.rows[i].name);
		str_add(to, "\\fR\n");
		opt_add_roff(to, settings_table.rows[i].help);
		str_add(to, ".\n");
	}
}

static void bash_verbs(struct str *to)
{
	str_add(to, "\tlocal verbs='");
	for (size_t i = 0; i < cli_n_verbs; i++)
		str_addf(to, "%s%s", i ? " " : "", cli_verbs[i].name);
	str_add(to, "'\n\tlocal options='");
	opt_words(to, &cli_global_opts);
	str_add(to, "'\n");
}

/* case branches: the options of each verb */
static void bash_verb_options(struct str *to)
{
	for (size_t i = 0; i < cli_n_verbs; i++) {
		str_addf(to, "\t%s) options='", cli_verbs[i].name);
		opt_words(to, &cli_verbs[i].opts);
		str_add(to, "' ;;\n");
	}
}

/* Adds "--NAME" of the options whose argument is called `arg`, each once. */
static void options_with(struct strv *to, const struct opt_table *t, const char *arg)
{
	for (size_t i = 0; i < t->n; i++) {
		scoped_free char *name = str_fmt("--%s", t->rows[i].name);

		if (name && str_eq(t->rows[i].arg, arg) && !strv_has(to, name))
			strv_add_take(to, take_ptr(&name));
	}
}

/* case branches: what may follow an option that takes a value */
static void bash_values(struct str *to)
{
	static const struct {
		const char *arg, *action;
	} kinds[] = { { "DIR", "_filedir -d" }, { "FILE", "_filedir" }, { "SOCKET", "_filedir" } };

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		scoped_strv names = { 0 };

		options_with(&names, &cli_global_opts, kinds[k].arg);
		for (size_t i = 0; i < cli_n_verbs; i++)
			options_with(&names, &cli_verbs[i].opts, kinds[k].arg);
		if (strv_check(&names) < 0)
			to->oom = true;
		str_add(to, "\t");
		for (size_t i = 0; i < names.n; i++)
			str_addf(to, "%s%s", i ? " | " : "", names.p[i]);
		str_addf(to, ")\n\t\t%s\n\t\treturn\n\t\t;;\n", kinds[k].action);
	}
}

static void bash_choices_of(struct str *to, const char *verb, const struct opt_table *t)
{
	for (size_t i = 0; i < t->n; i++) {
		if (t->rows[i].type != OPT_ENUM)
			continue;
		str_addf(to, "\t%s:--%s) choices='", verb, t->rows[i].name);
		for (size_t j = 0; t->rows[i].values[j]; j++)
			str_addf(to, "%s%s", j ? " " : "", t->rows[i].values[j]);
		str_add(to, "' ;;\n");
	}
}

/* case branches VERB:OPTION: the values of an enumeration */
static void bash_choices(struct str *to)
{
	bash_choices_of(to, "", &cli_global_opts);
	for (size_t i = 0; i < cli_n_verbs; i++)
		bash_choices_of(to, cli_verbs[i].name, &cli_verbs[i].opts);
}

static void bash_keys(struct str *to)
{
	str_add(to, "\tlocal keys='");
	for (size_t i = 0; i < settings_table.n; i++)
		if (settings_table.rows[i].from & OPT_FROM_CLI)
			str_addf(to, "%s%s=", i ? " " : "", settings_table.rows[i].name);
	str_add(to, "'\n");
}

/* A part of a description between single quotes: colons and brackets mean something there. */
static void zsh_text(struct str *to, const char *text)
{
	for (; *text; text++) {
		if (*text == '\'')
			str_add(to, "'\\'");
		else if (strchr(":[]\\", *text))
			str_addc(to, '\\');
		str_addc(to, *text);
	}
}

/* What may stand for an option's argument; NULL = nobody knows. */
static const char *zsh_action(const struct opt *o)
{
	static const struct {
		const char *name, *arg, *action;
	} kinds[] = {
		{ "set", NULL, "_cor_keys" }, { "image", NULL, "_cor_images" }, { NULL, "DIR", "_files -/" },
		{ NULL, "FILE", "_files" },   { NULL, "SOCKET", "_files" },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (str_eq(kinds[i].name, o->name) || (o->arg && str_eq(kinds[i].arg, o->arg)))
			return kinds[i].action;
	return NULL;
}

/* One form of an option, as _arguments takes it: '(-b --bundle)--bundle=[help]:DIR:_files -/'. */
static void zsh_option(struct str *to, const struct opt *o, bool is_short)
{
	const char *action = zsh_action(o);

	str_add(to, "\t\t'");
	if (o->type == OPT_STRS || o->type == OPT_WORDS)
		str_addc(to, '*');
	else if (o->short_name)
		str_addf(to, "(-%c --%s)", o->short_name, o->name);
	if (is_short)
		str_addf(to, "-%c%s[", o->short_name, opt_takes_value(o) ? "+" : "");
	else
		str_addf(to, "--%s%s[", o->name, opt_takes_value(o) ? "=" : "");
	zsh_text(to, o->help);
	str_addc(to, ']');
	if (opt_takes_value(o)) {
		str_addc(to, ':');
		zsh_text(to, o->arg ? o->arg : "value");
		str_addc(to, ':');
		if (o->type == OPT_ENUM) {
			for (size_t i = 0; o->values[i]; i++)
				str_addf(to, "%c%s", i ? ' ' : '(', o->values[i]);
			str_addc(to, ')');
		} else {
			str_add(to, action ? action : " ");
		}
	}
	str_add(to, "'\n");
}

static void zsh_table(struct str *to, const struct opt_table *t)
{
	for (size_t i = 0; i < t->n; i++) {
		if (t->rows[i].short_name)
			zsh_option(to, &t->rows[i], true);
		zsh_option(to, &t->rows[i], false);
	}
}

static void zsh_options(struct str *to)
{
	str_add(to, "\toptions=(\n");
	zsh_table(to, &cli_global_opts);
	str_add(to, "\t)\n");
}

static void zsh_verbs(struct str *to)
{
	str_add(to, "\tverbs=(\n");
	for (size_t i = 0; i < cli_n_verbs; i++) {
		str_addf(to, "\t\t'%s:", cli_verbs[i].name);
		zsh_text(to, cli_verbs[i].summary);
		str_add(to, "'\n");
	}
	str_add(to, "\t)\n");
}

/* case branches: the options of each verb, and what may follow them */
static void zsh_verb_options(struct str *to)
{
	for (size_t i = 0; i < cli_n_verbs; i++) {
		const struct cli_verb *v = &cli_verbs[i];

		str_addf(to, "\t%s) options=(\n", v->name);
		zsh_table(to, &v->opts);
		if (v->id)
			str_add(to, "\t\t'1:ID:_cor_ids'\n");
		else if (str_eq(v->name, "help"))
			str_add(to, "\t\t'1:command:_cor_verbs'\n");
		if (v->max > 1)
			str_add(to, v->until == 1 ? "\t\t'(-)*::argument: '\n" : "\t\t'*:argument: '\n");
		str_add(to, "\t\t) ;;\n");
	}
}

static void zsh_keys(struct str *to)
{
	str_add(to, "\tkeys=(");
	for (size_t i = 0; i < settings_table.n; i++)
		if (settings_table.rows[i].from & OPT_FROM_CLI)
			str_addf(to, "%s%s=", i ? " " : "", settings_table.rows[i].name);
	str_add(to, ")\n");
}

static const struct {
	const char *line;
	void (*fill)(struct str *to);
} marks[] = {
	{ "@global-options@", man_globals }, { "@commands@", man_verbs },
	{ "@settings@", man_settings },      { "@annotations@", man_open_keys },
	{ "@bash-verbs@", bash_verbs },      { "@bash-verb-options@", bash_verb_options },
	{ "@bash-values@", bash_values },    { "@bash-choices@", bash_choices },
	{ "@bash-keys@", bash_keys },        { "@zsh-options@", zsh_options },
	{ "@zsh-verbs@", zsh_verbs },        { "@zsh-verb-options@", zsh_verb_options },
	{ "@zsh-keys@", zsh_keys },
};

static const struct {
	const char *name, *text;
} words[] = {
	{ "@VERSION@", COR_VERSION },
	{ "@CONFDIR@", COR_CONFDIR },
	{ "@OSDIR@", COR_OSDIR },
};

static void fill_line(struct str *to, const char *line)
{
	while (*line) {
		size_t i = 0;

		while (i < ARRAY_LEN(words) && !str_starts(line, words[i].name))
			i++;
		if (i < ARRAY_LEN(words)) {
			str_add(to, words[i].text);
			line += strlen(words[i].name);
		} else {
			str_addc(to, *line++);
		}
	}
	str_addc(to, '\n');
}

static void fill(struct str *to, const struct strv *lines)
{
	for (size_t n = 0; n + 1 < lines->n; n++) { /* the last one is what follows the last newline */
		size_t i = 0;

		while (i < ARRAY_LEN(marks) && strcmp(marks[i].line, lines->p[n]) != 0)
			i++;
		if (i < ARRAY_LEN(marks))
			marks[i].fill(to);
		else
			fill_line(to, lines->p[n]);
	}
}

static int generate(const char *from, const char *output)
{
	scoped_fd out = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	scoped_free char *text = NULL;
	scoped_strv lines = { 0 };
	scoped_str s = { 0 };
	size_t n = 0;
	int r = out < 0 ? -errno : io_read_file_at(AT_FDCWD, from, 1 << 20, &text, &n);

	if (r < 0)
		return r;
	strv_split(&lines, text, '\n');
	fill(&s, &lines);
	if (strv_check(&lines) < 0 || str_check(&s) < 0)
		return -ENOMEM;
	return io_write_full(out, s.p, s.len);
}

int main(int argc, char **argv)
{
	int r = argc == 3 ? generate(argv[1], argv[2]) : -EINVAL;

	if (r < 0)
		(void)fprintf(stderr, "usage: gen-docs TEMPLATE OUTPUT: %s\n", strerror(-r));
	return r < 0 ? 1 : 0;
}
