/* check.h - is this host ready for VMs? A table of questions; each answer says what was found, what
 * its lack costs and how to get it. `cor check` prints them; nothing else depends on them: create
 * finds out for itself.
 *
 * Nothing on the host is changed. Files are read below `sysroot`, so that tests can make up hosts. */
#ifndef RUNTIME_CHECK_H
#define RUNTIME_CHECK_H

#include "base/arena.h"
#include "base/str.h"
#include "cfg/settings.h"

enum check_result { CHECK_OK, CHECK_DEGRADED, CHECK_MISSING, CHECK_RESULT_N };

struct check_ctx {
	const struct settings *settings; /* borrowed, as all here */
	const char *sysroot;             /* put before /proc, /sys, /dev and /run; "" = the host */
	const char *libexecdir;          /* where cor-monitor is, unless beside this program */
	struct arena *mem;
	bool kvm;   /* found by the kvm question, used by those after it */
	bool vmm;   /* found by the vmm question: containers run on cor-vmm, not on QEMU */
	char *qemu; /* found by the qemu question, used by those after it; NULL = none */
};

struct check_row;

struct check_item {
	const struct check_row *row;
	enum check_result result;
	bool required;      /* without it no container runs */
	struct str found;   /* in words */
	const char *cost;   /* what is lost while it is not ok */
	const char *remedy; /* how to get it */
};

struct check_row {
	const char *name;  /* for JSON: fixed, lower case */
	const char *title; /* for people */
	bool required;
	const char *cost, *remedy; /* the usual ones; a question may choose others */
	/* Sets result and found. -errno only if memory ran out. */
	int (*ask)(struct check_ctx *c, struct check_item *it);
};

extern const struct check_row check_host_rows[], check_part_rows[];
extern const size_t check_n_host_rows, check_n_part_rows;

struct check_report {
	struct check_item *items;
	size_t n;
	bool ready;       /* every required item is there */
	bool accelerated; /* KVM works and is not switched off */
};

/* Asks everything. */
int must_check check_run(struct check_ctx *c, struct check_report *ret, struct err *e);
void check_fini(struct check_report *r); /* idempotent */
const char *check_result_name(enum check_result r);
/* For people, and as one JSON object. */
void check_text(const struct check_report *r, struct str *to);
void check_json(const struct check_report *r, struct str *to);

/* For the questions: the path below the sysroot, in the arena (NULL: out of memory), and the file's text
 * (free()), NULL if it can't be read. */
char *must_check check_path(const struct check_ctx *c, const char *path);
char *must_check check_read(const struct check_ctx *c, const char *path);

#endif
