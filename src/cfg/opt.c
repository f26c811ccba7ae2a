/* opt.c - the rows of an option table: finding them, naming them, and checking one value.
 *
 * Called by optargs.c, optfile.c and settings.c. Trusts the table (it is constant and a test walks it).
 * Distrusts every name and value: they come from command lines, files and annotations. Never: stores
 * a value that a row's type or range refuses; logs. */
#include "cfg/opt.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"

#define NAME_MAX_CMP 64 /* longer names are never near to ours */

const struct opt *opt_find(const struct opt_table *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->rows[i].name, name) == 0)
			return &t->rows[i];
	return NULL;
}

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/* Levenshtein distance of two names of at most NAME_MAX_CMP bytes. */
static size_t distance(const char *a, size_t n_a, const char *b, size_t n_b)
{
	size_t row[NAME_MAX_CMP + 1];

	for (size_t j = 0; j <= n_b; j++)
		row[j] = j;
	for (size_t i = 1; i <= n_a; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n_b; j++) {
			size_t above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[n_b];
}

/* The distance to a row's name, or to its last part: "memory" is near to "vm.memory". */
static size_t distance_to(const char *name, size_t n, const char *row_name)
{
	const char *dot = strrchr(row_name, '.');
	size_t whole = distance(name, n, row_name, strlen(row_name));
	size_t part = dot ? distance(name, n, dot + 1, strlen(dot + 1)) : whole;

	return part < whole ? part : whole;
}

const struct opt *opt_nearest(const struct opt_table *t, const char *name)
{
	size_t n = strlen(name);
	size_t best = n / 3 + 2; /* a third of the letters wrong is still a typo */
	const struct opt *near = NULL;

	if (n < 2 || n > NAME_MAX_CMP)
		return NULL;
	for (size_t i = 0; i < t->n; i++) {
		size_t d;

		if (strlen(t->rows[i].name) > NAME_MAX_CMP)
			continue;
		d = distance_to(name, n, t->rows[i].name);
		if (d < best && d < n) {
			best = d;
			near = &t->rows[i];
		}
	}
	return near;
}

bool opt_takes_value(const struct opt *o)
{
	return o->type != OPT_FLAG;
}

void opt_add_quoted(struct str *to, const char *text)
{
	size_t n = strlen(text);

	str_addc(to, '"');
	str_add_escaped(to, text, n > 64 ? 64 : n);
	str_add(to, n > 64 ? "...\"" : "\"");
}

int opt_unknown(const struct opt_target *t, const char *what, const char *name, struct err *e)
{
	const struct opt *near = opt_nearest(&t->table, name);
	scoped_str s = { 0 };
	scoped_str full = { 0 };

	str_add(&full, t->prefix);
	str_add(&full, name);
	str_addf(&s, "unknown %s ", what);
	opt_add_quoted(&s, full.p ? full.p : "?");
	if (t->origin)
		str_addf(&s, " in %s", t->origin);
	if (near)
		str_addf(&s, ", did you mean \"%s%s\"?", t->prefix ? t->prefix : "", near->name);
	return err_set(e, -EINVAL, "%s", s.p ? s.p : "unknown name");
}

int opt_strs_add(struct opt_strs *v, struct arena *mem, const char *s)
{
	if (v->n == v->cap) {
		size_t cap = v->cap ? v->cap * 2 : 8;
		const char **p = arena_array(mem, cap, sizeof *p);

		if (!p)
			return -ENOMEM;
		if (v->n)
			memcpy(p, v->p, v->n * sizeof *p);
		v->p = p;
		v->cap = cap;
	}
	v->p[v->n++] = s;
	return 0;
}

const char *opt_size_text(uint64_t bytes, char to[OPT_SIZE_TEXT])
{
	static const char *const units[] = { "", "K", "M", "G", "T" };
	size_t i = 0;

	while (i + 1 < ARRAY_LEN(units) && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		i++;
	}
	(void)snprintf(to, OPT_SIZE_TEXT, "%llu%s", (unsigned long long)bytes,
		       units[i]); /* 20 digits at most */
	return to;
}

static void add_duration(struct str *to, uint64_t ns)
{
	if (ns % 1000000000u == 0)
		str_addf(to, "%llus", (unsigned long long)(ns / 1000000000u));
	else
		str_addf(to, "%llums", (unsigned long long)(ns / 1000000u));
}

static void add_number(struct str *to, enum opt_type type, uint64_t v)
{
	char size[OPT_SIZE_TEXT];

	if (type == OPT_SIZE || type == OPT_LIMIT)
		str_add(to, opt_size_text(v, size));
	else if (type == OPT_DURATION)
		add_duration(to, v);
	else if (type == OPT_OCTAL)
		str_addf(to, "0%llo", (unsigned long long)v);
	else
		str_addf(to, "%llu", (unsigned long long)v);
}

static void add_range(struct str *to, const struct opt *o)
{
	bool has_min = o->min > 0 || (o->type == OPT_INT && o->min != INT64_MIN);

	if (!has_min && !o->max)
		return;
	if (has_min) {
		str_add(to, o->max ? ", from " : ", at least ");
		if (o->min < 0)
			str_addf(to, "%lld", (long long)o->min);
		else
			add_number(to, o->type, (uint64_t)o->min);
	}
	if (o->max) {
		str_add(to, has_min ? " to " : ", at most ");
		add_number(to, o->type, o->max);
	}
}

static void add_choices(struct str *to, const struct opt *o)
{
	for (size_t i = 0; o->values[i]; i++) {
		if (i)
			str_add(to, o->values[i + 1] ? ", " : " or ");
		str_add(to, o->values[i]);
	}
}

void opt_expects(struct str *to, const struct opt *o)
{
	static const char *const words[OPT_TYPE_N] = {
		[OPT_FLAG] = "true or false",
		[OPT_BOOL] = "true or false",
		[OPT_STR] = "a text that is not empty",
		[OPT_PATH] = "an absolute path",
		[OPT_STRS] = "a text that is not empty",
		[OPT_WORDS] = "words separated by blanks",
		[OPT_U64] = "a number",
		[OPT_SIZE] = "a size such as 4096, 512M or 2G",
		[OPT_DURATION] = "a duration such as 500ms, 5s or 1m",
		[OPT_OCTAL] = "an octal number",
		[OPT_ENUM] = "",
		[OPT_INT] = "a number",
		[OPT_LIMIT] = "a size such as 4096, 512M or 2G, or -1",
	};

	str_add(to, words[o->type]);
	if (o->type == OPT_ENUM)
		add_choices(to, o);
	else
		add_range(to, o);
}

static void add_int(struct str *to, const struct opt *o, const struct opt_int *v)
{
	if (v->set && v->v >= 0)
		add_number(to, o->type, (uint64_t)v->v);
	else if (v->set)
		str_addf(to, "%lld", (long long)v->v);
}

void opt_add_value(struct str *to, const struct opt *o, const void *obj)
{
	const void *field = (const char *)obj + o->offset;
	const struct opt_strs *list = field;

	switch (o->type) {
	case OPT_FLAG:
	case OPT_BOOL:
		str_add(to, *(const bool *)field ? "true" : "false");
		break;
	case OPT_STR:
	case OPT_PATH:
		str_add(to, *(const char *const *)field);
		break;
	case OPT_STRS:
	case OPT_WORDS:
		for (size_t i = 0; i < list->n; i++)
			str_addf(to, "%s%s", i ? " " : "", list->p[i]);
		break;
	case OPT_U64:
	case OPT_SIZE:
	case OPT_DURATION:
		add_number(to, o->type, *(const uint64_t *)field);
		break;
	case OPT_OCTAL:
		add_number(to, o->type, *(const uint32_t *)field);
		break;
	case OPT_ENUM:
		str_add(to, o->values[*(const int *)field]);
		break;
	case OPT_INT:
	case OPT_LIMIT:
		add_int(to, o, field);
		break;
	case OPT_TYPE_N:
		break;
	}
}

/* How the user wrote the option: "--bundle", or "vm.memory in cor.conf". */
static void add_where(struct str *to, const struct opt_target *t, const struct opt *o)
{
	str_add(to, t->prefix);
	str_add(to, o->name);
	if (t->origin)
		str_addf(to, " in %s", t->origin);
}

static int bad_value(const struct opt_target *t, const struct opt *o, const char *value, int code,
		     struct err *e)
{
	scoped_str s = { 0 };

	if (code == -ENOMEM)
		return err_set(e, code, "%s: %m", o->name);
	add_where(&s, t, o);
	str_add(&s, ": ");
	opt_add_quoted(&s, value);
	str_add(&s, code == -ERANGE || code == -EOVERFLOW ? " is out of range" : " can't be used");
	str_add(&s, ": give ");
	opt_expects(&s, o);
	return err_set(e, code, "%s", s.p ? s.p : o->name);
}

static int in_range(const struct opt *o, uint64_t v)
{
	if (o->min > 0 && v < (uint64_t)o->min)
		return -ERANGE;
	return o->max && v > o->max ? -ERANGE : 0;
}

static int set_unsigned(const struct opt *o, const char *value, void *field)
{
	uint64_t v = 0;
	uint32_t mode = 0;
	int r;

	if (o->type == OPT_SIZE) {
		r = num_parse_size(value, &v);
	} else if (o->type == OPT_DURATION) {
		r = num_parse_duration(value, &v);
	} else if (o->type == OPT_OCTAL) {
		r = num_parse_octal(value, &mode);
		v = mode;
	} else {
		r = num_parse_u64(value, &v);
	}
	if (r == 0)
		r = in_range(o, v);
	if (r < 0 || !field)
		return r;
	if (o->type == OPT_OCTAL)
		*(uint32_t *)field = mode;
	else
		*(uint64_t *)field = v;
	return 0;
}

static int set_int(const struct opt *o, const char *value, struct opt_int *field)
{
	int64_t v = 0;
	uint64_t size = 0;
	int r;

	if (o->type == OPT_LIMIT && strcmp(value, "-1") != 0) {
		r = num_parse_size(value, &size);
		if (r == 0)
			r = size > INT64_MAX ? -ERANGE : in_range(o, size);
		v = (int64_t)size;
	} else {
		r = num_parse_i64(value, &v);
		if (r == 0 && o->type == OPT_INT)
			r = v < o->min || (o->max && v > (int64_t)o->max) ? -ERANGE : 0;
	}
	if (r < 0 || !field)
		return r;
	field->set = true;
	field->v = v;
	return 0;
}

static int set_bool(const char *value, bool *field)
{
	bool v = false;
	int r = num_parse_bool(value, &v);

	if (r == 0 && field)
		*field = v;
	return r;
}

static int set_enum(const struct opt *o, const char *value, int *field)
{
	for (int i = 0; o->values[i]; i++) {
		if (strcmp(o->values[i], value) != 0)
			continue;
		if (field)
			*field = i;
		return 0;
	}
	return -EINVAL;
}

static int set_words(struct opt_strs *field, struct arena *mem, char *words)
{
	char *p = words;

	while (*(p += strspn(p, " \t"))) {
		size_t n = strcspn(p, " \t");
		bool last = !p[n];
		int r;

		p[n] = '\0';
		r = opt_strs_add(field, mem, p);
		if (r < 0 || last)
			return r;
		p += n + 1;
	}
	return 0;
}

static int set_text(const struct opt_target *t, const struct opt *o, const char *value, void *field)
{
	char *copy;

	if (!*value || (o->type == OPT_PATH && *value != '/'))
		return -EINVAL;
	if (!field)
		return 0;
	copy = arena_str(t->mem, value);
	if (!copy)
		return -ENOMEM;
	if (o->type == OPT_STRS)
		return opt_strs_add(field, t->mem, copy);
	if (o->type == OPT_WORDS)
		return set_words(field, t->mem, copy);
	*(const char **)field = copy;
	return 0;
}

/* The help of such a row gives the reason. */
static int refuse(const struct opt_target *t, const struct opt *o, struct err *e)
{
	scoped_str s = { 0 };

	add_where(&s, t, o);
	return err_set(e, -EOPNOTSUPP, "%s is %s", s.p ? s.p : o->name, o->help);
}

int opt_set(const struct opt_target *t, const struct opt *o, const char *value, struct err *e)
{
	void *field = o->offset == OPT_NOWHERE ? NULL : (char *)t->obj + o->offset;
	int r = -EINVAL;

	if (o->offset == OPT_REFUSED)
		return refuse(t, o, e);
	switch (o->type) {
	case OPT_FLAG:
	case OPT_BOOL:
		r = set_bool(value, field);
		break;
	case OPT_STR:
	case OPT_PATH:
	case OPT_STRS:
	case OPT_WORDS:
		r = set_text(t, o, value, field);
		break;
	case OPT_U64:
	case OPT_SIZE:
	case OPT_DURATION:
	case OPT_OCTAL:
		r = set_unsigned(o, value, field);
		break;
	case OPT_ENUM:
		r = set_enum(o, value, field);
		break;
	case OPT_INT:
	case OPT_LIMIT:
		r = set_int(o, value, field);
		break;
	case OPT_TYPE_N:
		break;
	}
	return r < 0 ? bad_value(t, o, value, r, e) : 0;
}
