/* optdoc.c - texts made from option rows: help, manual page, completion words, JSON.
 *
 * Called by runtime/cli.c (help), settings.c (JSON) and the documentation generator. Trusts the table.
 * Never: prints; it only appends to a str. */
#include <string.h>

#include "cfg/opt.h"

#define HELP_COLUMN 30 /* where the help text begins */
#define HELP_WIDTH  100

static const char *arg_name(const struct opt *o)
{
	static const char *const names[OPT_TYPE_N] = {
		[OPT_FLAG] = "",         [OPT_BOOL] = "BOOL",   [OPT_STR] = "TEXT",   [OPT_PATH] = "PATH",
		[OPT_STRS] = "TEXT",     [OPT_WORDS] = "WORDS", [OPT_U64] = "N",      [OPT_SIZE] = "SIZE",
		[OPT_DURATION] = "TIME", [OPT_OCTAL] = "MODE",  [OPT_ENUM] = "WHICH", [OPT_INT] = "N",
		[OPT_LIMIT] = "SIZE",
	};

	return o->arg ? o->arg : names[o->type];
}

/* Appends words, breaking lines so that none passes HELP_WIDTH; text goes on in HELP_COLUMN. */
static void add_wrapped(struct str *to, const char *text)
{
	size_t column = HELP_COLUMN;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (column > HELP_COLUMN && column + 1 + n > HELP_WIDTH) {
			str_addf(to, "\n%*s", HELP_COLUMN, "");
			column = HELP_COLUMN;
		} else if (column > HELP_COLUMN) {
			str_addc(to, ' ');
			column++;
		}
		str_addn(to, text, n);
		column += n;
		text += n + strspn(text + n, " ");
	}
}

/* A text that was built apart is whole, or `to` isn't either. */
static bool is_whole(struct str *to, const struct str *part)
{
	if (str_check(part) < 0)
		to->oom = true;
	return !to->oom && part->p;
}

static void help_row(struct str *to, const struct opt *o)
{
	size_t start = to->len, width;
	scoped_str right = { 0 };

	if (o->short_name)
		str_addf(to, "  -%c, --%s", o->short_name, o->name);
	else
		str_addf(to, "      --%s", o->name);
	if (opt_takes_value(o))
		str_addf(to, " %s", arg_name(o));
	width = to->len - start;
	if (width + 2 > HELP_COLUMN)
		str_addf(to, "\n%*s", HELP_COLUMN, "");
	else
		str_addf(to, "%*s", (int)(HELP_COLUMN - width), "");
	str_add(&right, o->help);
	if (o->type == OPT_ENUM) {
		str_add(&right, ": ");
		opt_expects(&right, o);
	}
	if (is_whole(to, &right))
		add_wrapped(to, right.p);
	str_addc(to, '\n');
}

void opt_help(struct str *to, const struct opt_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		help_row(to, &t->rows[i]);
}

void opt_add_roff(struct str *to, const char *text)
{
	for (const char *p = text; *p; p++) {
		if (*p == '\\')
			str_add(to, "\\e");
		else if (*p == '-')
			str_add(to, "\\-");
		else if ((*p == '.' || *p == '\'') && (p == text || p[-1] == '\n'))
			str_addf(to, "\\&%c", *p);
		else
			str_addc(to, *p);
	}
}

static void man_default(struct str *to, const struct opt *o, const void *defaults)
{
	scoped_str value = { 0 };

	opt_add_value(&value, o, defaults);
	if (!is_whole(to, &value) || !value.len)
		return;
	str_add(to, "Default: ");
	opt_add_roff(to, value.p);
	str_add(to, ".\n");
}

static void man_row(struct str *to, const struct opt *o, bool dashes, const void *defaults)
{
	str_add(to, ".TP\n");
	if (dashes && o->short_name)
		str_addf(to, "\\fB\\-%c\\fR, ", o->short_name);
	str_add(to, dashes ? "\\fB\\-\\-" : "\\fB");
	opt_add_roff(to, o->name);
	str_add(to, "\\fR");
	if (opt_takes_value(o)) {
		str_add(to, dashes ? " \\fI" : " = \\fI");
		opt_add_roff(to, arg_name(o));
		str_add(to, "\\fR");
	}
	str_addc(to, '\n');
	opt_add_roff(to, o->help);
	if (o->type == OPT_ENUM || o->type == OPT_SIZE || o->type == OPT_U64 || o->type == OPT_DURATION) {
		scoped_str expects = { 0 };

		opt_expects(&expects, o);
		str_add(to, "; ");
		if (is_whole(to, &expects))
			opt_add_roff(to, expects.p);
	}
	str_add(to, ".\n");
	if (defaults)
		man_default(to, o, defaults);
}

void opt_man(struct str *to, const struct opt_table *t, bool dashes, const void *defaults)
{
	for (size_t i = 0; i < t->n; i++)
		man_row(to, &t->rows[i], dashes, defaults);
}

void opt_words(struct str *to, const struct opt_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->rows[i].from & OPT_FROM_CLI)
			str_addf(to, "%s--%s", i ? " " : "", t->rows[i].name);
}

void opt_add_json_str(struct str *to, const char *text)
{
	size_t left = strlen(text);

	str_addc(to, '"');
	while (left) {
		size_t n = str_utf8_len(text, left);

		if (*text == '"' || *text == '\\')
			str_addf(to, "\\%c", *text);
		else if (n)
			str_addn(to, text, n);
		else if ((unsigned char)*text < 0x80)
			str_addf(to, "\\u%04x", (unsigned)*text);
		else
			str_add(to, "\\ufffd");
		n = n ? n : 1;
		text += n;
		left -= n;
	}
	str_addc(to, '"');
}

static void json_text(struct str *to, const char *s)
{
	if (s)
		opt_add_json_str(to, s);
	else
		str_add(to, "null");
}

static void json_list(struct str *to, const struct opt_strs *v)
{
	str_addc(to, '[');
	for (size_t i = 0; i < v->n; i++) {
		str_add(to, i ? "," : "");
		opt_add_json_str(to, v->p[i]);
	}
	str_addc(to, ']');
}

static void json_value(struct str *to, const struct opt *o, const void *field)
{
	const struct opt_int *number = field;

	switch (o->type) {
	case OPT_FLAG:
	case OPT_BOOL:
		str_add(to, *(const bool *)field ? "true" : "false");
		break;
	case OPT_STR:
	case OPT_PATH:
		json_text(to, *(const char *const *)field);
		break;
	case OPT_STRS:
	case OPT_WORDS:
		json_list(to, field);
		break;
	case OPT_U64:
	case OPT_SIZE:
	case OPT_DURATION:
		str_addf(to, "%llu", (unsigned long long)*(const uint64_t *)field);
		break;
	case OPT_OCTAL:
		str_addf(to, "%u", *(const uint32_t *)field);
		break;
	case OPT_ENUM:
		json_text(to, o->values[*(const int *)field]);
		break;
	case OPT_INT:
	case OPT_LIMIT:
		if (number->set)
			str_addf(to, "%lld", (long long)number->v);
		else
			str_add(to, "null");
		break;
	case OPT_TYPE_N:
		break;
	}
}

void opt_json(struct str *to, const struct opt_table *t, const void *obj)
{
	const char *sep = "";

	str_addc(to, '{');
	for (size_t i = 0; i < t->n; i++) {
		const struct opt *o = &t->rows[i];

		if (o->offset == OPT_NOWHERE || o->offset == OPT_REFUSED)
			continue;
		str_add(to, sep);
		opt_add_json_str(to, o->name);
		str_addc(to, ':');
		json_value(to, o, (const char *)obj + o->offset);
		sep = ",";
	}
	str_addc(to, '}');
}
