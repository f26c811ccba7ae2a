/* state.h - the OCI state document: the file state.json, the `state` and `list` verbs, the hooks'
 * standard input. The shape is runc's.
 *
 * Used by runtime/. Reading is strict: a file that is cut off, empty or of another shape is an error,
 * and the caller decides what a half-written state means. */
#ifndef OCI_STATE_H
#define OCI_STATE_H

#include <time.h>

#include "oci/json.h"
#include "oci/spec.h"

#define STATE_OCI_VERSION "1.3.0"    /* the runtime-spec version that state documents follow */
#define STATE_TEXT_MAX    (4u << 20) /* annotations of a config.json, escaped, fit with room to spare */

enum state_status {
	STATE_CREATING,
	STATE_CREATED,
	STATE_RUNNING,
	STATE_PAUSED,
	STATE_STOPPED,
	STATE_STATUS_N
};

/* Strings are borrowed when written, in `mem` when read. */
struct oci_state {
	struct arena mem;
	const char *oci_version; /* NULL when writing = STATE_OCI_VERSION */
	const char *id;
	enum state_status status;
	int64_t pid;         /* 0 when stopped */
	uint64_t pid_start;  /* start time of pid in /proc's clock ticks, 0 = unknown: an extra member
				("pidStart") of our state file, left out when 0 */
	const char *bundle;  /* absolute */
	const char *rootfs;  /* absolute, NULL = left out */
	const char *created; /* RFC 3339, NULL = left out */
	SPEC_LIST(struct spec_kv) annotations;
	const char *owner; /* NULL = left out: user name or number for `list` */
};

#define STATE_TIME_MAX 40
/* RFC 3339 in UTC with nanoseconds: "2026-11-22T01:18:00.123456789Z". */
void state_time(const struct timespec *realtime, char ret[STATE_TIME_MAX]);

const char *state_status_name(enum state_status s); /* "created" */

/* Appends the document; indent "" = one line, without a newline behind it. */
void state_write(const struct oci_state *s, const char *indent, struct str *to);

/* -EINVAL with a text that names the member. *ret is empty on failure. */
int must_check state_read(const char *json, size_t n, struct oci_state *ret, struct err *e);
void state_fini(struct oci_state *s); /* idempotent */

/* `list`: an array of documents ("[]" when there are none), runc's table, or ids alone, one a line. */
void state_list_json(const struct oci_state *s, size_t n, struct str *to);
void state_list_table(const struct oci_state *s, size_t n, struct str *to);
void state_list_quiet(const struct oci_state *s, size_t n, struct str *to);

#endif
