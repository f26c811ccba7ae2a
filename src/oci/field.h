/* field.h - JSON objects into C structs, by table.
 *
 * An object is described by the table of its members; one engine checks types, ranges, required
 * members and names of every section, so that every error looks the same and no section can forget a
 * check. What is special to one member is a small function in its row.
 *
 * Used by spec.c (and by the test that compares the tables with docs/oci-fields.md). No state. */
#ifndef OCI_FIELD_H
#define OCI_FIELD_H

#include "base/arena.h"
#include "oci/json.h"
#include "oci/names.h"
#include "oci/spec.h"

enum field_type {
	FIELD_STR,    /* char * */
	FIELD_BOOL,   /* bool */
	FIELD_U32,    /* uint32_t, min..max */
	FIELD_U64,    /* uint64_t, min..max */
	FIELD_I64,    /* int64_t, imin..imax */
	FIELD_STRS,   /* struct spec_strs */
	FIELD_U32S,   /* struct spec_u32s, min..max each */
	FIELD_KVS,    /* list of struct spec_kv: an object of strings */
	FIELD_ENUM,   /* uint32_t: a name out of `names` */
	FIELD_ENUM64, /* uint64_t */
	FIELD_FLAGS,  /* uint64_t: an array of names, or'ed */
	FIELD_OBJ,    /* a struct in place, or (off 0, same struct) members in a sub-object */
	FIELD_OBJS,   /* list of structs: an array of objects */
	FIELD_MAP,    /* list of structs: an object of objects; the name goes to the struct's first member */
	FIELD_FN,     /* fn alone */
	FIELD_TYPE_N
};

enum field_flag {
	FIELD_REQUIRED = 1,
	FIELD_NOT_EMPTY = 2,   /* "" is an error */
	FIELD_EMPTY_UNSET = 4, /* "" counts as absent: Go callers write it */
	FIELD_ZERO_UNSET = 8,  /* 0 counts as absent */
	FIELD_ABSOLUTE = 16,   /* a path that begins with '/' */
};

struct field;
struct field_ctx {
	struct arena *mem;
	struct err *e;
};

struct field_obj {
	size_t size; /* of the struct */
	const struct field *fields;
	size_t n;
	/* Checks across members, after all were read; NULL = none. */
	int (*finish)(const struct field_ctx *c, const struct json *v, void *obj);
};

#define FIELD_NO_HAS ((size_t)-1)

struct field {
	const char *name;
	enum field_type type;
	unsigned flags;
	size_t off, size;  /* of the member; a test compares size with the type */
	size_t has_off;    /* of the bool that says "present", or FIELD_NO_HAS */
	uint64_t min, max; /* I64: as int64_t */
	const struct field_obj *sub;
	const struct name_table *names;
	int (*fn)(const struct field_ctx *c, const struct json *v,
		  void *obj); /* runs instead of the type's */
};

/* Fills *obj (zeroed by the caller) from v. 0, -EINVAL naming the member, or -ENOMEM. */
int must_check field_read(const struct field_ctx *c, const struct field_obj *t, const struct json *v,
			  void *obj);

/* "no memory" for documents. Returns -ENOMEM. */
int field_no_memory(const struct field_ctx *c);
/* Reads an array of strings; reusable in row functions. */
int must_check field_strs(const struct field_ctx *c, const struct json *v, struct spec_strs *ret);
/* Looks v (a string) up in a table; an unknown name is an error that lists the known ones. */
int must_check field_name(const struct field_ctx *c, const struct json *v, const struct name_table *t,
			  uint64_t *ret);

/* Rows of a table: member `m` of struct S, without and with a bool that says "present". */
#define MEMBER(ftype, S, m) .type = ftype, .off = offsetof(S, m), .size = sizeof(((S *)0)->m)
#define ROW(json_name, ftype, S, m, ...)                                                                     \
	{                                                                                                    \
		.name = json_name, MEMBER(ftype, S, m), .has_off = FIELD_NO_HAS, __VA_ARGS__                 \
	}
#define ROW_HAS(json_name, ftype, S, m, has, ...)                                                            \
	{                                                                                                    \
		.name = json_name, MEMBER(ftype, S, m), .has_off = offsetof(S, has), __VA_ARGS__             \
	}
/* Members of a sub-object that belong to S itself. */
#define ROW_FLAT(json_name, table)                                                                           \
	{                                                                                                    \
		.name = json_name, .type = FIELD_OBJ, .has_off = FIELD_NO_HAS, .sub = table                  \
	}
#define FIELD_OBJ_OF(S, rows, check)                                                                         \
	{                                                                                                    \
		sizeof(S), rows, ARRAY_LEN(rows), check                                                      \
	}
#define MAX_U32 .max = UINT32_MAX
#define MAX_U64 .max = UINT64_MAX
#define ANY_I64 .min = (uint64_t)INT64_MIN, .max = INT64_MAX

/* The tables of the three documents, and those that several of them share. */
extern const struct field_obj spec_table, spec_process_table, spec_resources_table;
extern const struct field_obj spec_linux_table, spec_mount_table, spec_vm_table, spec_idmap_table;

#endif
