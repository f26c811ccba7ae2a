/* json.c - see json.h. A recursive-descent reader (depth bounded by JSON_DEPTH_MAX) that builds the
 * tree in the caller's arena, typed access with errors that name the member, and a small writer.
 *
 * Trusts nothing in the text: every read is bounded by `end`. Never logs, never touches files. */
#include "oci/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "oci/text.h"

struct reader {
	const char *begin, *p, *end;
	const char *doc;
	struct arena *mem;
	struct err *e;
	unsigned depth;
};

static int fail(struct reader *r, const char *at, const char *what)
{
	size_t line = 1, column = 1;

	for (const char *c = r->begin; c < at; c++) {
		column++;
		if (*c == '\n') {
			line++;
			column = 1;
		}
	}
	return err_set(r->e, -EINVAL, "%s: not valid JSON: line %zu, column %zu: %s", r->doc, line, column,
		       what);
}

static int no_memory(struct reader *r)
{
	return err_set(r->e, -ENOMEM, "%s: no memory to read it", r->doc);
}

static void skip_blanks(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
		r->p++;
}

static bool at_char(const struct reader *r, char c)
{
	return r->p < r->end && *r->p == c;
}

/* Length of the valid UTF-8 sequence at p, or 0. Refuses overlong forms, surrogates, > U+10FFFF. */
static size_t utf8_len(const char *s, const char *end)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t left = (size_t)(end - s), n;
	unsigned char lo = 0x80, hi = 0xbf;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf) {
		n = 2;
	} else if (p[0] >= 0xe0 && p[0] <= 0xef) {
		n = 3;
		lo = p[0] == 0xe0 ? 0xa0 : 0x80;
		hi = p[0] == 0xed ? 0x9f : 0xbf;
	} else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		n = 4;
		lo = p[0] == 0xf0 ? 0x90 : 0x80;
		hi = p[0] == 0xf4 ? 0x8f : 0xbf;
	} else {
		return 0;
	}
	if (left < n || p[1] < lo || p[1] > hi)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return n;
}

static size_t utf8_put(char *to, uint32_t c)
{
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (char)(0xc0 | c >> 6);
		to[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (char)(0xe0 | c >> 12);
		to[1] = (char)(0x80 | (c >> 6 & 0x3f));
		to[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | c >> 18);
	to[1] = (char)(0x80 | (c >> 12 & 0x3f));
	to[2] = (char)(0x80 | (c >> 6 & 0x3f));
	to[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

static int read_hex4(struct reader *r, uint32_t *ret)
{
	uint32_t v = 0;

	if (r->end - r->p < 4)
		return fail(r, r->p, "\\u needs four hexadecimal digits");
	for (int i = 0; i < 4; i++) {
		char c = *r->p;
		uint32_t d;

		if (c >= '0' && c <= '9')
			d = (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			d = (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return fail(r, r->p, "\\u needs four hexadecimal digits");
		v = v << 4 | d;
		r->p++;
	}
	*ret = v;
	return 0;
}

/* What follows "\u": one unit, or a pair of surrogates. */
static int read_unicode(struct reader *r, uint32_t *ret)
{
	const char *at = r->p;
	uint32_t hi = 0, lo = 0; /* at -O3 gcc 12 does not see that a failed read_hex4() returns here */
	int rc;

	rc = read_hex4(r, &hi);
	if (rc < 0)
		return rc;
	if (hi == 0)
		return fail(r, at, "a NUL character in a string is not allowed");
	if (hi < 0xd800 || hi > 0xdfff) {
		*ret = hi;
		return 0;
	}
	if (hi > 0xdbff || r->end - r->p < 2 || r->p[0] != '\\' || r->p[1] != 'u')
		return fail(r, at, "half of a surrogate pair");
	r->p += 2;
	rc = read_hex4(r, &lo);
	if (rc < 0)
		return rc;
	if (lo < 0xdc00 || lo > 0xdfff)
		return fail(r, at, "half of a surrogate pair");
	*ret = 0x10000 + ((hi - 0xd800) << 10 | (lo - 0xdc00));
	return 0;
}

/* The escape behind a backslash: appends 1..4 bytes to *to. */
static int read_escape(struct reader *r, char **to)
{
	static const char from[] = "\"\\/bfnrt", plain[] = "\"\\/\b\f\n\r\t";
	const char *hit;
	uint32_t c = 0;
	int rc;

	if (r->p == r->end)
		return fail(r, r->p, "the text ends inside a string");
	if (*r->p == 'u') {
		r->p++;
		rc = read_unicode(r, &c);
		if (rc < 0)
			return rc;
		*to += utf8_put(*to, c);
		return 0;
	}
	hit = *r->p ? strchr(from, *r->p) : NULL;
	if (!hit)
		return fail(r, r->p, "unknown escape in a string");
	*(*to)++ = plain[hit - from];
	r->p++;
	return 0;
}

/* Where the string that begins at p ends (its closing quote), or NULL. */
static const char *string_end(const char *p, const char *end)
{
	while (p < end && *p != '"')
		p += *p == '\\' && end - p > 1 ? 2 : 1;
	return p < end ? p : NULL;
}

/* At the opening quote. Decoding never grows a text, so the raw length bounds the copy. */
static int read_string(struct reader *r, char **ret, size_t *ret_len)
{
	const char *close;
	char *text, *to;
	int rc;

	r->p++;
	close = string_end(r->p, r->end);
	if (!close)
		return fail(r, r->p - 1, "the text ends inside a string");
	text = arena_alloc(r->mem, (size_t)(close - r->p) + 1);
	if (!text)
		return no_memory(r);
	to = text;
	while (r->p < close) {
		size_t n;

		if (*r->p == '\\') {
			r->p++;
			rc = read_escape(r, &to);
			if (rc < 0)
				return rc;
			continue;
		}
		if ((unsigned char)*r->p < 0x20)
			return fail(r, r->p, "a control character in a string (write it as \\u00XX)");
		n = utf8_len(r->p, close);
		if (n == 0)
			return fail(r, r->p, "a string that is not valid UTF-8");
		memcpy(to, r->p, n);
		to += n;
		r->p += n;
	}
	r->p = close + 1;
	*ret_len = (size_t)(to - text);
	*ret = text;
	return 0;
}

static const char *skip_digits(const char *p, const char *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?; returns where it ends, NULL if it is none. */
static const char *number_end(const char *p, const char *end)
{
	const char *q;

	if (p < end && *p == '-')
		p++;
	q = skip_digits(p, end);
	if (q == p || (*p == '0' && q - p > 1))
		return NULL;
	p = q;
	if (p < end && *p == '.') {
		q = skip_digits(p + 1, end);
		if (q == p + 1)
			return NULL;
		p = q;
	}
	if (p < end && (*p | 0x20) == 'e') {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		q = skip_digits(p, end);
		if (q == p)
			return NULL;
		p = q;
	}
	return p;
}

static int read_number(struct reader *r, struct json *v)
{
	const char *end = number_end(r->p, r->end);

	if (!end)
		return fail(r, r->p, "not a number");
	v->type = JSON_NUMBER;
	v->text = arena_strn(r->mem, r->p, (size_t)(end - r->p));
	if (!v->text)
		return no_memory(r);
	r->p = end;
	return 0;
}

static int read_word(struct reader *r, struct json *v)
{
	static const struct {
		const char *word;
		size_t len;
		enum json_type type;
		bool truth;
	} words[] = { { "null", 4, JSON_NULL, false },
		      { "true", 4, JSON_BOOL, true },
		      { "false", 5, JSON_BOOL, false } };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if ((size_t)(r->end - r->p) < words[i].len || memcmp(r->p, words[i].word, words[i].len) != 0)
			continue;
		v->type = words[i].type;
		v->truth = words[i].truth;
		r->p += words[i].len;
		return 0;
	}
	return fail(r, r->p,
		    "expected a value (object, array, string in double quotes, number, true, false, null)");
}

static int compare_keys(const void *a, const void *b)
{
	const struct json *const *x = a, *const *y = b;

	return strcmp((*x)->key, (*y)->key);
}

/* Sorting keeps it n log n: a document may hold 100,000 members. */
static int refuse_duplicates(struct reader *r, const struct json *obj)
{
	scoped_free const struct json **sorted = NULL;
	size_t n = 0;

	if (obj->n < 2)
		return 0;
	sorted = calloc(obj->n, sizeof(*sorted));
	if (!sorted)
		return no_memory(r);
	for (const struct json *m = obj->first; m; m = m->next)
		sorted[n++] = m;
	qsort(sorted, n, sizeof(*sorted), compare_keys);
	for (size_t i = 1; i < n; i++)
		if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0)
			return json_err(r->e, sorted[i], "the name appears twice in its object");
	return 0;
}

static int read_value(struct reader *r, struct json *v);

static int read_key(struct reader *r, struct json *child)
{
	size_t len;
	int rc;

	skip_blanks(r);
	if (!at_char(r, '"'))
		return fail(r, r->p, "expected a name in double quotes");
	rc = read_string(r, &child->key, &len);
	if (rc < 0)
		return rc;
	skip_blanks(r);
	if (!at_char(r, ':'))
		return fail(r, r->p, "expected ':'");
	r->p++;
	return 0;
}

/* Elements up to `close`; the opening bracket was read. */
static int read_elements(struct reader *r, struct json *v, char close)
{
	struct json **tail = &v->first;
	int rc;

	skip_blanks(r);
	if (at_char(r, close)) {
		r->p++;
		return 0;
	}
	for (;;) {
		struct json *child = arena_alloc(r->mem, sizeof(*child));

		if (!child)
			return no_memory(r);
		*child = (struct json){ .parent = v, .index = v->n, .doc = r->doc };
		if (close == '}') {
			rc = read_key(r, child);
			if (rc < 0)
				return rc;
		}
		rc = read_value(r, child);
		if (rc < 0)
			return rc;
		*tail = child;
		tail = &child->next;
		v->n++;
		skip_blanks(r);
		if (at_char(r, close))
			break;
		if (!at_char(r, ','))
			return fail(r, r->p, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
		r->p++;
	}
	r->p++;
	return 0;
}

static int read_nested(struct reader *r, struct json *v)
{
	bool object = *r->p == '{';
	int rc;

	if (r->depth == JSON_DEPTH_MAX)
		return fail(r, r->p, "nested too deeply (more than 64 levels)");
	v->type = object ? JSON_OBJECT : JSON_ARRAY;
	r->p++;
	r->depth++;
	rc = read_elements(r, v, object ? '}' : ']');
	r->depth--;
	if (rc < 0)
		return rc;
	return object ? refuse_duplicates(r, v) : 0;
}

static int read_value(struct reader *r, struct json *v)
{
	skip_blanks(r);
	if (r->p == r->end)
		return fail(r, r->p, "the text ends where a value is expected");
	switch (*r->p) {
	case '{':
	case '[':
		return read_nested(r, v);
	case '"':
		v->type = JSON_STRING;
		return read_string(r, &v->text, &v->n);
	case '-':
	case '0':
	case '1':
	case '2':
	case '3':
	case '4':
	case '5':
	case '6':
	case '7':
	case '8':
	case '9':
		return read_number(r, v);
	default:
		return read_word(r, v);
	}
}

int json_parse(const char *text, size_t n, const char *doc, struct arena *a, struct json **ret, struct err *e)
{
	struct reader r = { .begin = text, .p = text, .end = text + n, .doc = doc, .mem = a, .e = e };
	struct json *v;
	int rc;

	skip_blanks(&r);
	if (r.p == r.end)
		return err_set(e, -EINVAL, "%s: the document is empty", doc);
	v = arena_alloc(a, sizeof(*v));
	if (!v)
		return no_memory(&r);
	v->doc = doc;
	rc = read_value(&r, v);
	if (rc < 0)
		return rc;
	skip_blanks(&r);
	if (r.p < r.end)
		return fail(&r, r.p, "more text behind the end of the document");
	*ret = v;
	return 0;
}

const struct json *json_get(const struct json *v, const char *key)
{
	if (!v || v->type != JSON_OBJECT)
		return NULL;
	for (const struct json *m = v->first; m; m = m->next)
		if (strcmp(m->key, key) == 0)
			return m->type == JSON_NULL ? NULL : m;
	return NULL;
}

static bool is_plain_key(const char *key)
{
	size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

	return n > 0 && key[n] == '\0';
}

#define KEY_SHOWN_MAX 100u /* a longer name is cut in errors */

static void add_key(struct str *s, const char *key)
{
	if (is_plain_key(key) && strlen(key) < KEY_SHOWN_MAX) {
		if (s->len)
			str_addc(s, '.');
		str_add(s, key);
		return;
	}
	str_add(s, "[\"");
	text_add(s, key, KEY_SHOWN_MAX);
	str_add(s, "\"]");
}

static void add_path(struct str *s, const struct json *v)
{
	const struct json *chain[JSON_DEPTH_MAX + 1];
	size_t n = 0;

	for (; v && v->parent && n < ARRAY_LEN(chain); v = v->parent)
		chain[n++] = v;
	while (n > 0) {
		const struct json *step = chain[--n];

		if (step->key)
			add_key(s, step->key);
		else
			str_addf(s, "[%zu]", step->index);
	}
}

/* The text may quote the document, which may hold anything: see text.h. */
static int printf_like(4, 0)
	err_at(struct err *e, const struct json *v, const char *key, const char *fmt, va_list ap)
{
	scoped_str path = { 0 }, shown = { 0 }, text = { 0 };

	text_addv(&text, fmt, ap);
	add_path(&path, v);
	if (key)
		add_key(&path, key);
	text_add(&shown, path.p ? path.p : "", TEXT_PATH_MAX);
	return err_set(e, -EINVAL, "%s: %s%s%s", v->doc, shown.p ? shown.p : "", shown.len ? ": " : "",
		       text.p ? text.p : "");
}

int json_err(struct err *e, const struct json *v, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = err_at(e, v, NULL, fmt, ap);
	va_end(ap);
	return rc;
}

int json_err_member(struct err *e, const struct json *v, const char *key, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = err_at(e, v, key, fmt, ap);
	va_end(ap);
	return rc;
}

const char *json_what(const struct json *v)
{
	static const char *const names[JSON_TYPE_N] = { "null",     "a boolean", "a number",
							"a string", "an array",  "an object" };

	return v->type < JSON_TYPE_N ? names[v->type] : "?";
}

int json_want(const struct json *v, enum json_type type, struct err *e)
{
	static const char *const names[JSON_TYPE_N] = { "null",     "true or false", "a number",
							"a string", "an array",      "an object" };

	if (v->type != type)
		return json_err(e, v, "must be %s, found %s", names[type], json_what(v));
	return 0;
}

int json_string(const struct json *v, const char **ret, struct err *e)
{
	int rc = json_want(v, JSON_STRING, e);

	if (rc < 0)
		return rc;
	*ret = v->text;
	return 0;
}

int json_bool(const struct json *v, bool *ret, struct err *e)
{
	int rc = json_want(v, JSON_BOOL, e);

	if (rc < 0)
		return rc;
	*ret = v->truth;
	return 0;
}

int json_u64(const struct json *v, uint64_t min, uint64_t max, uint64_t *ret, struct err *e)
{
	uint64_t n;

	if (v->type != JSON_NUMBER)
		return json_err(e, v, "must be a non-negative integer, found %s", json_what(v));
	if (num_parse_u64(v->text, &n) < 0)
		return json_err(e, v, "must be a non-negative integer of at most 64 bits, found %.40s",
				v->text);
	if (n < min || n > max)
		return json_err(e, v, "must be %" PRIu64 " to %" PRIu64 ", found %" PRIu64, min, max, n);
	*ret = n;
	return 0;
}

int json_i64(const struct json *v, int64_t min, int64_t max, int64_t *ret, struct err *e)
{
	int64_t n;

	if (v->type != JSON_NUMBER)
		return json_err(e, v, "must be an integer, found %s", json_what(v));
	if (num_parse_i64(v->text, &n) < 0)
		return json_err(e, v, "must be an integer of at most 64 bits, found %.40s", v->text);
	if (n < min || n > max)
		return json_err(e, v, "must be %" PRId64 " to %" PRId64 ", found %" PRId64, min, max, n);
	*ret = n;
	return 0;
}

/* Puts the comma, the line break and the name that come before an element. */
static void begin(struct json_writer *w, const char *key)
{
	if (w->comma)
		str_addc(w->to, ',');
	if (*w->indent && w->depth > 0) {
		str_addc(w->to, '\n');
		for (unsigned i = 0; i < w->depth; i++)
			str_add(w->to, w->indent);
	}
	if (key) {
		json_add_quoted(w->to, key);
		str_add(w->to, *w->indent ? ": " : ":");
	}
	w->comma = true;
}

void json_open(struct json_writer *w, const char *key, char bracket)
{
	begin(w, key);
	str_addc(w->to, bracket);
	w->depth++;
	w->comma = false;
}

void json_close(struct json_writer *w, char bracket)
{
	bool filled = w->comma;

	w->depth--;
	if (*w->indent && filled) {
		str_addc(w->to, '\n');
		for (unsigned i = 0; i < w->depth; i++)
			str_add(w->to, w->indent);
	}
	str_addc(w->to, bracket);
	w->comma = true;
}

void json_put_str(struct json_writer *w, const char *key, const char *value)
{
	begin(w, key);
	json_add_quoted(w->to, value);
}

void json_put_bool(struct json_writer *w, const char *key, bool value)
{
	begin(w, key);
	str_add(w->to, value ? "true" : "false");
}

void json_put_u64(struct json_writer *w, const char *key, uint64_t value)
{
	begin(w, key);
	str_addf(w->to, "%" PRIu64, value);
}

void json_put_i64(struct json_writer *w, const char *key, int64_t value)
{
	begin(w, key);
	str_addf(w->to, "%" PRId64, value);
}

void json_add_quoted(struct str *to, const char *value)
{
	const char *end = value + strlen(value);

	str_addc(to, '"');
	while (value < end) {
		size_t n = utf8_len(value, end);
		unsigned char c = (unsigned char)*value;

		if (n == 0)
			str_add(to, "\xef\xbf\xbd");
		else if (c == '"' || c == '\\')
			str_addf(to, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			str_addf(to, "\\u%04x", c);
		else
			str_addn(to, value, n);
		value += n ? n : 1;
	}
	str_addc(to, '"');
}
