/* inject.h - failing library calls: reach every error path.
 *
 * A test linked with inject_src and inject_args (tests/unit/meson.build) runs an operation again and
 * again; in run n the n-th call of the chosen kinds fails (inject_calls.h, malloc and relatives, syscall()),
 * until a run needs fewer than n calls. After each run no fd and no memory may be left over. So an
 * operation cleans up what it produced, also when it succeeds:
 *
 *     static int op(void *arg)
 *     {
 *         scoped_free char *p = NULL;
 *         return io_read_file_at(AT_FDCWD, arg, 100, &p, NULL);
 *     }
 *     ...
 *     inject_all(&(struct inject_case){ .name = "read", .op = op, .arg = "/proc/version" });
 *
 * Only calls from the linked code fail, not those inside the C library. Single thread. */
#ifndef TESTS_INJECT_H
#define TESTS_INJECT_H

#include <stdbool.h>

enum inject_kind {
	INJECT_FILES = 1,
	INJECT_SOCKETS = 2,
	INJECT_SYSTEM = 4,
	INJECT_MEMORY = 8, /* malloc calloc realloc reallocarray strdup strndup realpath getcwd */
	INJECT_INTR = 16,  /* may fail with EINTR */
	INJECT_COUNT = 32, /* may do a part: the third argument is a count */
};

enum inject_mode {
	INJECT_ONE,   /* the n-th call fails, the others work: the operation must fail and clean up */
	INJECT_FROM,  /* the n-th and all later calls fail: cleaning up may fail, too */
	INJECT_EINTR, /* the n-th call that may see a signal does: the operation must succeed */
	INJECT_SHORT, /* the n-th read or write does one byte only: the operation must succeed */
};

struct inject_case {
	const char *name;
	int (*op)(void *arg); /* 0, or a negative errno */
	void *arg;
	/* After each run, no call failing: what must hold in spite of the failure. r: op's result. May be
	 * NULL. */
	void (*check)(void *arg, enum inject_mode mode, int r);
	/* Names of functions whose failure need not fail the operation, NULL-terminated; close() and
	 * getrandom() are always among them. May be NULL. */
	const char *const *tolerated;
	int err;          /* errno of failing calls, 0 = EIO; memory always fails with ENOMEM */
	unsigned kinds;   /* 0 = all */
	const char *only; /* only this function's calls count, NULL = all */
};

/* Runs one mode for all n. Fails the test (cmocka) on a swallowed failure, a leaked fd or leaked
 * memory, or an operation that fails without a failing call. Returns the number of calls that failed. */
unsigned inject_run(const struct inject_case *c, enum inject_mode mode);
/* INJECT_ONE and INJECT_FROM. */
void inject_all(const struct inject_case *c);
/* INJECT_EINTR and INJECT_SHORT. */
void inject_interrupts(const struct inject_case *c);

/* By hand: the n-th call (from 1) of these kinds fails until inject_off(), which tells the name of the
 * function that failed first (NULL = none did). */
void inject_on(enum inject_mode mode, unsigned kinds, unsigned nth, int err);
const char *inject_off(void);
/* Before the n-th call (from 1) of these kinds fn runs, whose own calls don't count, and nothing fails:
 * somebody else is quicker. inject_off() tells the name of that call (NULL = there were fewer). */
void inject_before(unsigned kinds, unsigned nth, void (*fn)(void *arg), void *arg);

/* Open fds of this process. */
unsigned inject_count_fds(void);
/* Blocks allocated and not freed by the linked code since its start. */
long inject_count_blocks(void);

#endif
