/* pack.h - C structs to bytes and back, by table.
 *
 * A record is a C struct and a table of its fields; one engine encodes, decodes, compares and
 * bounds every record of every protocol. Encoding is positional and little-endian: both ends are
 * built from one tree and say their PROTO_VERSION first. Decoded records point into an arena, and
 * every count and length was checked against the table and against the bytes that are there
 * before anything was allocated. Strings hold no NUL inside. Trailing bytes are refused.
 *
 * Thread: any; no state. */
#ifndef WIRE_PACK_H
#define WIRE_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

enum pack_type {
	PACK_BOOL, /* bool */
	PACK_U32,  /* uint32_t */
	PACK_U64,  /* uint64_t */
	PACK_I64,  /* int64_t */
	PACK_STR,  /* char *: NULL and "" differ */
	PACK_BLOB, /* struct pack_blob */
	PACK_STRS, /* struct pack_strs */
	PACK_U32S, /* struct pack_u32s */
	PACK_REC,  /* one record, in place */
	PACK_RECS, /* struct pack_recs: an array of records */
	PACK_N
};

struct pack_blob {
	const uint8_t *p;
	size_t n;
};

/* p is NULL-terminated when not NULL, so that it can be an argv. */
struct pack_strs {
	char **p;
	size_t n;
};

struct pack_u32s {
	uint32_t *p;
	size_t n;
};

/* Use PACK_RECS_OF(struct x) in records: the same layout with a typed pointer. */
struct pack_recs {
	void *p;
	size_t n;
};
#define PACK_RECS_OF(type)                                                                                   \
	struct {                                                                                             \
		type *p;                                                                                     \
		size_t n;                                                                                    \
	}

struct pack_rec;

struct pack_field {
	const char *name; /* for error texts */
	enum pack_type type;
	size_t off;
	size_t max; /* STR, BLOB: bytes; STRS, U32S, RECS: elements (each string <= PACK_STR_MAX) */
	const struct pack_rec *rec; /* REC, RECS */
};

struct pack_rec {
	const char *name;
	size_t size;
	const struct pack_field *fields;
	size_t n_fields;
};

#define PACK_STR_MAX (128u << 10) /* longest string, as the kernel's MAX_ARG_STRLEN */

/* Appends the record. 0, -ENOMEM, or -E2BIG when a field is over its limit. */
int must_check pack_encode(const struct pack_rec *rec, const void *from, struct str *to);
/* Decodes exactly n bytes into *to (zeroed first). -EBADMSG on malformed input, -ENOMEM when the
 * arena is full; *to is then zeroed. Pointers live as long as the arena. */
int must_check pack_decode(const struct pack_rec *rec, const void *p, size_t n, struct arena *a, void *to);

#endif
