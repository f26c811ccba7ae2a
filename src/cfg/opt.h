/* opt.h - one option engine: a table of rows says what may be set, from where, in which range and
 * where the value goes. The same rows drive the command line, the settings file, annotations, the help
 * text, the manual pages, the shell completion and the JSON dump, so they can't disagree.
 *
 * Every value is text until opt_set() has checked it. Texts are copied into the target's arena; a
 * failed call leaves the field as it was. Errors name the option, where it came from, what is expected
 * and, for an unknown name, the nearest known one. Single thread. */
#ifndef CFG_OPT_H
#define CFG_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/* Where a value may come from, and where it came from. Bits. */
enum opt_from {
	OPT_FROM_FILE = 1,       /* the host's settings file */
	OPT_FROM_CLI = 2,        /* the command line */
	OPT_FROM_ANNOTATION = 4, /* annotations of config.json */
	OPT_FROM_SPEC = 8,       /* the vm section of config.json */
};

enum opt_type {
	OPT_FLAG,     /* bool; on the command line without a value (`=true`, `=false` are accepted) */
	OPT_BOOL,     /* bool, with a value */
	OPT_STR,      /* const char *, not empty */
	OPT_PATH,     /* const char *, an absolute path */
	OPT_STRS,     /* struct opt_strs: each occurrence adds one */
	OPT_WORDS,    /* struct opt_strs: each occurrence adds the blank-separated words */
	OPT_U64,      /* uint64_t */
	OPT_SIZE,     /* uint64_t, bytes: "512M" */
	OPT_DURATION, /* uint64_t, nanoseconds: "5s", "100ms"; min and max are nanoseconds */
	OPT_OCTAL,    /* uint32_t, a file mode */
	OPT_ENUM,     /* int: the index in `values` */
	OPT_INT,      /* struct opt_int: a signed number, may stay unset */
	OPT_LIMIT,    /* struct opt_int: bytes as OPT_SIZE, or -1 */
	OPT_TYPE_N
};

struct opt_strs {
	const char **p;
	size_t n, cap;
};

struct opt_int {
	bool set;
	int64_t v;
};

/* Instead of an offset. The value is checked and then dropped: accepted for compatibility. */
#define OPT_NOWHERE SIZE_MAX
/* Known, but can't be honoured: setting it fails, and the help says why. */
#define OPT_REFUSED (SIZE_MAX - 1)

struct opt {
	const char *name; /* "bundle", "vm.memory"; a row without a name is no row */
	char short_name;  /* 'b', 0 = none */
	enum opt_type type;
	unsigned from;             /* enum opt_from bits */
	size_t offset;             /* of the field in the target's object, OPT_NOWHERE or OPT_REFUSED */
	int64_t min;               /* numbers: the smallest value */
	uint64_t max;              /* numbers: the largest value, 0 = no limit of ours */
	const char *const *values; /* OPT_ENUM: NULL-terminated */
	const char *arg;           /* name of the argument in the help; NULL = the type's */
	const char *help;          /* one sentence, lower case, no full stop */
};

struct opt_table {
	const struct opt *rows;
	size_t n;
};
#define OPT_TABLE(array)                                                                                     \
	{                                                                                                    \
		.rows = (array), .n = ARRAY_LEN(array)                                                       \
	}

/* What a parse writes to. All pointers are borrowed. */
struct opt_target {
	struct opt_table table;
	void *obj;         /* the struct that the rows' offsets refer to */
	struct arena *mem; /* owns every text and list stored in obj */
	enum opt_from from;
	const char *origin; /* for errors: "cor.conf", "config.json"; NULL on the command line */
	const char *prefix; /* what users write before a row's name: "--", "dev.cor."; NULL = nothing */
};

/* The row of that exact name, or NULL. */
const struct opt *opt_find(const struct opt_table *t, const char *name);
/* The row whose name is nearest to a mistyped one, or NULL when none is near. */
const struct opt *opt_nearest(const struct opt_table *t, const char *name);
/* True if rows of this type take a value on the command line. */
bool opt_takes_value(const struct opt *o);
/* Checks `value` against the row and stores it. Where the value may come from is the caller's question. */
int must_check opt_set(const struct opt_target *t, const struct opt *o, const char *value, struct err *e);
/* "unknown X "name" in the origin, did you mean "near"?"; -EINVAL. */
int opt_unknown(const struct opt_target *t, const char *what, const char *name, struct err *e);

/* Adds one text (borrowed, not copied) to a list. -ENOMEM. */
int must_check opt_strs_add(struct opt_strs *v, struct arena *mem, const char *s);

/* "a size between 64M and 1T": what a row accepts, in words. */
void opt_expects(struct str *to, const struct opt *o);
/* A number of bytes as people write it: "512M", "1000". Returns `to`. */
#define OPT_SIZE_TEXT 24
const char *opt_size_text(uint64_t bytes, char to[OPT_SIZE_TEXT]);
/* Text between double quotes, escaped and cut at 64 bytes: for errors about hostile input. */
void opt_add_quoted(struct str *to, const char *text);

/* --- command line (optargs.c) --- */

struct opt_args {
	int argc; /* in: arguments to parse, without the program or verb */
	char *const *argv;
	size_t until; /* in: options end after that many positionals; SIZE_MAX = they may stand anywhere */
	const char *const *ends; /* in: once this text is set, by an option, they end at the first positional;
				    NULL = never */
	int used;                /* out: how many arguments were consumed: all of them unless until is 0 */
	struct opt_strs pos;     /* out: the positionals (borrowed texts) */
	size_t among;        /* out: how many of them stood among the options, so that more could follow */
	const char *unknown; /* out: the long name that was refused as unknown, or NULL */
};

/* Parses `--opt value`, `--opt=value`, `-opt value` (one dash, as Go programs send), `-o value`,
 * `-ovalue`, flags in one group `-dt`; `--` ends the options. With until = 0 it stops before the first
 * positional. A lone `-` is a positional. */
int must_check opt_parse_args(const struct opt_target *t, struct opt_args *a, struct err *e);

/* --- settings file and annotations (optfile.c) --- */

#define OPT_FILE_MAX (1u << 20)

/* Parses the text of a `key = value` file of n bytes: one setting a line, `#` starts a comment line, a
 * value may stand in double quotes. Unknown keys, keys given twice (lists may be), NUL and control
 * bytes are errors that name the line. t->origin is the file's name. */
int must_check opt_parse_file(const struct opt_target *t, const char *text, size_t n, struct err *e);

/* May the row be set from t->from? `ctx` is the caller's. NULL = the row's mask decides alone. */
typedef bool opt_allowed_fn(const void *ctx, const struct opt *o, enum opt_from from);

/* One annotation. A key that does not start with t->prefix is ignored (*ret_ours = false); any other
 * must name a row that is allowed. `ret_ours` may be NULL. */
int must_check opt_set_annotation(const struct opt_target *t, const char *key, const char *value,
				  opt_allowed_fn *allowed, const void *ctx, bool *ret_ours, struct err *e);

/* --- texts made from the rows (optdoc.c) --- */

/* Aligned lines "  -b, --bundle DIR   text", wrapped at 100 columns. */
void opt_help(struct str *to, const struct opt_table *t);
/* The rows as man(7) source, one tagged paragraph each; `dashes`: as command-line options. `defaults`:
 * an object whose values are named as the default ones, or NULL. */
void opt_man(struct str *to, const struct opt_table *t, bool dashes, const void *defaults);
/* A row's value in `obj` as people write it: "512M", "auto", "a b"; nothing if it is unset. */
void opt_add_value(struct str *to, const struct opt *o, const void *obj);
/* Text for man(7): backslashes, dashes and leading dots are escaped. */
void opt_add_roff(struct str *to, const char *text);
/* "--bundle --pid-file ": every option's long name, for a completion script. */
void opt_words(struct str *to, const struct opt_table *t);
/* The object's values as one JSON object {"vm.memory":268435456,...}. */
void opt_json(struct str *to, const struct opt_table *t, const void *obj);
/* A JSON string with its quotes. Bytes that are no UTF-8 become U+FFFD. */
void opt_add_json_str(struct str *to, const char *text);

#endif
