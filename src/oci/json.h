/* json.h - JSON text to a tree and back, strictly by RFC 8259.
 *
 * A reader of its own rather than a library behind a pre-scan: refusing duplicate names, NaN, single
 * quotes and comments already takes a complete scanner, and this one also gives line numbers, exact
 * 64-bit integers and the full path of the member that is at fault.
 *
 * Refused beyond the grammar: duplicate names in an object, invalid UTF-8, lone surrogates, NUL
 * (also as \u0000), nesting deeper than JSON_DEPTH_MAX, text after the value.
 *
 * Used by spec.c, state.c and features.c. Trusts nothing. Never touches the file system. */
#ifndef OCI_JSON_H
#define OCI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#define JSON_DEPTH_MAX 64u /* the deepest member of config.json has depth 7 */

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT, JSON_TYPE_N };

/* One value. Lives in the arena given to json_parse(). */
struct json {
	enum json_type type;
	bool truth;                /* JSON_BOOL */
	char *text;                /* JSON_STRING: decoded; JSON_NUMBER: as written. NUL-terminated */
	size_t n;                  /* JSON_ARRAY, JSON_OBJECT: elements; JSON_STRING: bytes */
	struct json *first, *next; /* first child; next sibling */
	const struct json *parent; /* NULL for the document's value */
	char *key;                 /* name in the parent if that is an object */
	size_t index;              /* position in the parent */
	const char *doc;           /* the document's name, for errors */
};

/* Parses n bytes. `doc` names the document in errors ("config.json") and must outlive the tree.
 * -EINVAL with a text that says line and column, or -ENOMEM. */
int must_check json_parse(const char *text, size_t n, const char *doc, struct arena *a, struct json **ret,
			  struct err *e);

/* The member of an object by name; NULL if it is absent, null, or v is no object. */
const struct json *json_get(const struct json *v, const char *key);

/* Sets an error that names the value: "config.json: process.args[1]: text". Returns -EINVAL. */
int json_err(struct err *e, const struct json *v, const char *fmt, ...) printf_like(3, 4);
/* The same for a member of v that isn't there. */
int json_err_member(struct err *e, const struct json *v, const char *key, const char *fmt, ...)
	printf_like(4, 5);
/* "a string", "an object"...: what v is, for error texts. */
const char *json_what(const struct json *v);

/* Typed access. Each refuses another type, naming it: -EINVAL. */
int must_check json_string(const struct json *v, const char **ret, struct err *e); /* borrowed */
int must_check json_bool(const struct json *v, bool *ret, struct err *e);
int must_check json_u64(const struct json *v, uint64_t min, uint64_t max, uint64_t *ret, struct err *e);
int must_check json_i64(const struct json *v, int64_t min, int64_t max, int64_t *ret, struct err *e);
/* v must be an array / an object. */
int must_check json_want(const struct json *v, enum json_type type, struct err *e);

/* Writing: appends to a str, keeps the commas and the indentation right. Zero-initialise with .to. */
struct json_writer {
	struct str *to;
	const char *indent; /* "" = one line; "\t" or "  " per level */
	unsigned depth;
	bool comma; /* the next element needs one before it */
};

/* `key` is NULL inside arrays and for the document's value. */
void json_open(struct json_writer *w, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json_writer *w, char bracket);                 /* '}' or ']' */
void json_put_str(struct json_writer *w, const char *key, const char *value);
void json_put_bool(struct json_writer *w, const char *key, bool value);
void json_put_u64(struct json_writer *w, const char *key, uint64_t value);
void json_put_i64(struct json_writer *w, const char *key, int64_t value);
/* A quoted, escaped string alone. Bytes that are no UTF-8 become U+FFFD. */
void json_add_quoted(struct str *to, const char *value);

#endif
