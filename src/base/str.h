/* str.h - a growing string and string vectors.
 *
 * A failed allocation is remembered (`oom`), later calls do nothing, and the one check stands at
 * the end: str_take()/strv_check() return NULL/-ENOMEM. So a long build-up needs no check per line. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/scope.h"

/* Growing bytes, always NUL-terminated when p is not NULL. Zero-initialise. */
struct str {
	char *p;
	size_t len, cap;
	bool oom;
};

void str_fini(struct str *s);                  /* idempotent */
void str_reset(struct str *s);                 /* len = 0, memory kept */
void str_add(struct str *s, const char *text); /* NULL adds nothing */
void str_addn(struct str *s, const void *bytes, size_t n);
void str_addc(struct str *s, char c);
void str_addf(struct str *s, const char *fmt, ...) printf_like(2, 3);
/* Moves the text to the caller (free()); NULL if memory ran out. An empty str gives "". */
char *must_check str_take(struct str *s);
/* 0 or -ENOMEM. */
int must_check str_check(const struct str *s);
#define scoped_str __attribute__((cleanup(str_fini))) struct str

/* printf into fresh memory (free()), NULL if memory ran out. */
char *must_check str_fmt(const char *fmt, ...) printf_like(1, 2);

/* Vector of owned strings, NULL-terminated when p is not NULL. Zero-initialise. */
struct strv {
	char **p;
	size_t n, cap;
	bool oom;
};

void strv_fini(struct strv *v);               /* idempotent; frees the strings */
void strv_add(struct strv *v, const char *s); /* copies */
void strv_add_take(struct strv *v, char *s);  /* takes ownership; NULL = out of memory */
void strv_addf(struct strv *v, const char *fmt, ...) printf_like(2, 3);
int must_check strv_check(const struct strv *v);
/* Splits at each `sep`; empty parts are kept. */
void strv_split(struct strv *v, const char *s, char sep);
bool strv_has(const struct strv *v, const char *s);
/* The value of KEY in KEY=VALUE strings, borrowed, or NULL; the last one of several. */
const char *strv_env_get(const struct strv *v, const char *key);
/* Sets KEY=VALUE in the place of the first KEY and drops further ones. */
void strv_env_set(struct strv *v, const char *key, const char *value);
#define scoped_strv __attribute__((cleanup(strv_fini))) struct strv

bool str_eq(const char *a, const char *b); /* NULL equals only NULL */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
/* Appends text with control characters and invalid UTF-8 as \xHH, so that a guest's bytes can't
 * drive a terminal or break a log. */
void str_add_escaped(struct str *s, const char *bytes, size_t n);

/* Length (1..4) of the printable UTF-8 character at p, which has n bytes: 0 when the bytes are invalid
 * or a control character (C0, DEL, C1). */
size_t str_utf8_len(const char *p, size_t n);

/* An OCI container id: 1..1024 of letters, digits, `_ + - .`, and not "." or "..". */
bool str_is_id(const char *s);
/* Lexically cleans a path as Go's filepath.Clean does: no "//", "." or ".." inside ("" is ".";
 * a relative path keeps its leading ".."). free(). */
char *must_check str_clean_path(const char *path);

#endif
