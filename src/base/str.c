/* str.c - growing strings, string vectors, lexical paths (str.h).
 *
 * Called by everybody. Trusts its callers' pointers and lengths; the bytes may be anything.
 * Never: fails without remembering it in `oom`, or reads a str's own memory as its input. */
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#define STR_MIN  64
#define STRV_MIN 8

void str_fini(struct str *s)
{
	free(s->p);
	*s = (struct str){ 0 };
}

void str_reset(struct str *s)
{
	s->len = 0;
	if (s->p)
		s->p[0] = '\0';
}

/* Makes room for n more bytes and the NUL. */
static bool str_room(struct str *s, size_t n)
{
	size_t need, cap = s->cap ? s->cap : STR_MIN;
	char *p;

	if (s->oom)
		return false;
	if (s->p && n < s->cap - s->len)
		return true;
	if (n >= SIZE_MAX / 2 - s->len) {
		s->oom = true;
		return false;
	}
	need = s->len + n + 1;
	while (cap < need)
		cap *= 2;
	p = realloc(s->p, cap);
	if (!p) {
		s->oom = true;
		return false;
	}
	s->p = p;
	s->cap = cap;
	s->p[s->len] = '\0';
	return true;
}

void str_addn(struct str *s, const void *bytes, size_t n)
{
	if (!str_room(s, n))
		return;
	if (n)
		memcpy(s->p + s->len, bytes, n);
	s->len += n;
	s->p[s->len] = '\0';
}

void str_add(struct str *s, const char *text)
{
	if (text)
		str_addn(s, text, strlen(text));
}

void str_addc(struct str *s, char c)
{
	str_addn(s, &c, 1);
}

static void printf_like(2, 0) str_addv(struct str *s, const char *fmt, va_list ap)
{
	va_list again;
	int r;

	va_copy(again, ap);
	r = vsnprintf(NULL, 0, fmt, ap);
	if (r < 0)
		s->oom = true;
	if (r >= 0 && str_room(s, (size_t)r)) {
		(void)vsnprintf(s->p + s->len, (size_t)r + 1, fmt, again);
		s->len += (size_t)r;
	}
	va_end(again);
}

void str_addf(struct str *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	str_addv(s, fmt, ap);
	va_end(ap);
}

char *str_take(struct str *s)
{
	char *p;

	if (!str_room(s, 0)) {
		str_fini(s);
		return NULL;
	}
	p = s->p;
	*s = (struct str){ 0 };
	return p;
}

int str_check(const struct str *s)
{
	return s->oom ? -ENOMEM : 0;
}

char *str_fmt(const char *fmt, ...)
{
	struct str s = { 0 };
	va_list ap;

	va_start(ap, fmt);
	str_addv(&s, fmt, ap);
	va_end(ap);
	return str_take(&s);
}

void strv_fini(struct strv *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->p[i]);
	free(v->p);
	*v = (struct strv){ 0 };
}

/* Room for one more string and the terminating NULL. */
static bool strv_room(struct strv *v)
{
	size_t cap = v->cap ? v->cap * 2 : STRV_MIN;
	char **p;

	if (v->oom)
		return false;
	if (v->p && v->n + 1 < v->cap)
		return true;
	p = reallocarray(v->p, cap, sizeof(*p));
	if (!p) {
		v->oom = true;
		return false;
	}
	v->p = p;
	v->cap = cap;
	return true;
}

void strv_add_take(struct strv *v, char *s)
{
	if (!s)
		v->oom = true;
	if (!strv_room(v)) {
		free(s);
		return;
	}
	v->p[v->n++] = s;
	v->p[v->n] = NULL;
}

void strv_add(struct strv *v, const char *s)
{
	strv_add_take(v, strdup(s));
}

void strv_addf(struct strv *v, const char *fmt, ...)
{
	struct str s = { 0 };
	va_list ap;

	va_start(ap, fmt);
	str_addv(&s, fmt, ap);
	va_end(ap);
	strv_add_take(v, str_take(&s));
}

int strv_check(const struct strv *v)
{
	return v->oom ? -ENOMEM : 0;
}

void strv_split(struct strv *v, const char *s, char sep)
{
	const char *end;

	for (; (end = strchr(s, sep)); s = end + 1)
		strv_add_take(v, strndup(s, (size_t)(end - s)));
	strv_add(v, s);
}

bool strv_has(const struct strv *v, const char *s)
{
	for (size_t i = 0; i < v->n; i++)
		if (strcmp(v->p[i], s) == 0)
			return true;
	return false;
}

static bool env_is(const char *entry, const char *key, size_t key_len)
{
	return strncmp(entry, key, key_len) == 0 && entry[key_len] == '=';
}

const char *strv_env_get(const struct strv *v, const char *key)
{
	size_t len = strlen(key);

	for (size_t i = v->n; i > 0; i--)
		if (env_is(v->p[i - 1], key, len))
			return v->p[i - 1] + len + 1;
	return NULL;
}

void strv_env_set(struct strv *v, const char *key, const char *value)
{
	char *entry = str_fmt("%s=%s", key, value);
	size_t len = strlen(key), n = 0;
	bool placed = false;

	if (!entry || v->oom) {
		v->oom = true;
		free(entry);
		return;
	}
	for (size_t i = 0; i < v->n; i++) {
		if (!env_is(v->p[i], key, len)) {
			v->p[n++] = v->p[i];
			continue;
		}
		free(v->p[i]);
		if (!placed)
			v->p[n++] = entry;
		placed = true;
	}
	v->n = n;
	if (v->p)
		v->p[n] = NULL;
	if (!placed)
		strv_add_take(v, entry);
}

bool str_eq(const char *a, const char *b)
{
	if (!a || !b)
		return a == b;
	return strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

size_t str_utf8_len(const char *p, size_t n)
{
	/* smallest code point of each length: longer forms of smaller ones are invalid */
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *u = (const unsigned char *)p;
	uint32_t cp;
	size_t len;

	if (n == 0 || u[0] < 0x20 || u[0] == 0x7f)
		return 0;
	if (u[0] < 0x80)
		return 1;
	if (u[0] >= 0xf8 || u[0] < 0xc0)
		return 0;
	len = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
	if (len > n)
		return 0;
	cp = u[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (u[i] & 0x3fu);
	}
	if (cp < least[len] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff) || cp < 0xa0)
		return 0; /* too long, too large, a surrogate, a C1 control character */
	return len;
}

void str_add_escaped(struct str *s, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t len = str_utf8_len(bytes + i, n - i);

		if (len)
			str_addn(s, bytes + i, len);
		else
			str_addf(s, "\\x%02x", (unsigned char)bytes[i]);
		i += len ? len : 1;
	}
}

bool str_is_id(const char *s)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.";
	size_t n = s ? strspn(s, allowed) : 0;

	return n >= 1 && n <= 1024 && !s[n] && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

/* Cleans `path` into out, which has room for strlen(path) + 1 bytes and "."; returns the length.
 * The output never outgrows what has been read, so no bound is checked. */
static size_t clean_into(const char *path, char *out)
{
	bool rooted = path[0] == '/';
	size_t n = 0, floor = 0; /* ".." takes nothing away below floor */

	if (rooted)
		out[n++] = '/';
	floor = n;
	while (*path) {
		size_t part = strcspn(path, "/");
		bool up = part == 2 && path[0] == '.' && path[1] == '.';

		if (up && n > floor) {
			while (n > floor && out[n - 1] != '/')
				n--;
			if (n > floor)
				n--;
		} else if (part && !(part == 1 && path[0] == '.') && !(up && rooted)) {
			if (n > (rooted ? 1u : 0u))
				out[n++] = '/';
			memcpy(out + n, path, part);
			n += part;
			if (up)
				floor = n;
		}
		path += part;
		if (*path)
			path++;
	}
	return n;
}

char *str_clean_path(const char *path)
{
	char *out = malloc(strlen(path) + 2);
	size_t n;

	if (!out)
		return NULL;
	n = clean_into(path, out);
	if (n == 0)
		out[n++] = '.';
	out[n] = '\0';
	return out;
}
