/* names.h - the fixed vocabularies of the OCI spec and the kernel's numbers for them: capabilities,
 * rlimits, namespaces, scheduling, I/O classes, memory policies, propagation, mount options.
 *
 * Constant tables and look-ups; used by spec.c, validate.c, features.c and by runtime/ for its
 * options (exec --cap, kill, update). No state. */
#ifndef OCI_NAMES_H
#define OCI_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct name {
	const char *name;
	uint64_t value;
};

struct name_table {
	const char *what; /* for error texts: "a capability" */
	const struct name *rows;
	size_t n;
};

extern const struct name_table names_caps;       /* CAP_* -> number, in the order of the numbers */
extern const struct name_table names_rlimits;    /* RLIMIT_* */
extern const struct name_table names_namespaces; /* "pid"... -> CLONE_NEW* */
extern const struct name_table names_sched_policies, names_sched_flags;
extern const struct name_table names_io_classes;
extern const struct name_table names_mem_modes, names_mem_flags;
extern const struct name_table names_propagations; /* "rshared"... -> MS_SHARED|MS_REC */
extern const struct name_table names_personalities;
extern const struct name_table names_device_types;      /* "c", "b", "u", "p" -> S_IFCHR... */
extern const struct name_table names_device_rule_types; /* "a", "c", "b" -> the letter */
extern const struct name_table names_clocks;            /* time namespaces: "monotonic", "boottime" */

/* The row of this name, or NULL. Case matters. */
const struct name *names_find(const struct name_table *t, const char *name);
/* The name of a value ("?" when unknown). */
const char *names_of(const struct name_table *t, uint64_t value);
/* Appends all names, separated by ", ". */
void names_list(const struct name_table *t, struct str *to);

/* What one mount option does; the masks of struct spec_mount. */
enum option_kind {
	OPTION_NONE,        /* recognised, does nothing: "defaults", "rw" of older tools... */
	OPTION_SET,         /* mask: MS_* set */
	OPTION_CLEAR,       /* mask: MS_* cleared */
	OPTION_PROPAGATION, /* mask: MS_SHARED..., with MS_REC */
	OPTION_REC,         /* attr_set, attr_clear: recursive by mount_setattr(2) */
	OPTION_BIND,
	OPTION_RBIND,
	OPTION_IDMAP,
	OPTION_RIDMAP,
	OPTION_TMPCOPYUP,
	OPTION_KIND_N
};

struct mount_option {
	const char *name;
	enum option_kind kind;
	uint64_t mask;                 /* SET, CLEAR, PROPAGATION */
	uint64_t attr_set, attr_clear; /* REC */
	bool honoured;                 /* listed by `features` */
};

extern const struct mount_option mount_options[];
extern const size_t mount_options_n;
/* The row of this name; NULL = an option of the file system. */
const struct mount_option *mount_option_find(const char *name);

#endif
