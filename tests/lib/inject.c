/* inject.c - failing library calls by link-time wrapping (inject.h).
 *
 * Called by unit tests. Trusts the calling convention: integer and pointer arguments travel in
 * registers, so one prototype of six longs can stand for every function of inject_calls.h.
 * Never: fails a call of the test itself (they are made while nothing is armed). */
#include "inject.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FILES     INJECT_FILES
#define SOCKETS   INJECT_SOCKETS
#define SYSTEM    INJECT_SYSTEM
#define MEMORY    INJECT_MEMORY
#define INTR      INJECT_INTR
#define COUNT     INJECT_COUNT
#define ALL_KINDS (FILES | SOCKETS | SYSTEM | MEMORY)
#define RUNS_MAX  2000u

static struct {
	bool on;
	enum inject_mode mode;
	unsigned kinds, nth, seen;
	int err;
	const char *only;
	void (*before)(void *arg); /* instead of a failure */
	void *arg;
	const char *failed; /* the first function that was made to fail */
} state;
static long blocks;

/* Counts this call; true if it has to fail (or, INJECT_SHORT, to be short). */
static bool hit(const char *name, unsigned kinds)
{
	unsigned need = state.mode == INJECT_EINTR ? INTR : state.mode == INJECT_SHORT ? COUNT : 0;

	if (!state.on || !(kinds & state.kinds) || (kinds & need) != need)
		return false;
	if (state.only && strcmp(name, state.only) != 0)
		return false;
	state.seen++;
	if (state.seen < state.nth || (state.seen > state.nth && state.mode != INJECT_FROM))
		return false;
	if (!state.failed)
		state.failed = name;
	if (state.before) {
		state.on = false;
		state.before(state.arg);
		return false;
	}
	if (state.mode != INJECT_SHORT)
		errno = kinds & MEMORY ? ENOMEM : state.mode == INJECT_EINTR ? EINTR : state.err;
	return true;
}

#define X(name, failure, kinds)                                                                              \
	long __real_##name(long a, long b, long c, long d, long e, long f);                                  \
	long __wrap_##name(long a, long b, long c, long d, long e, long f);                                  \
	long __wrap_##name(long a, long b, long c, long d, long e, long f)                                   \
	{                                                                                                    \
		if (hit(#name, kinds)) {                                                                     \
			if (state.mode != INJECT_SHORT)                                                      \
				return failure;                                                              \
			c = c ? 1 : 0;                                                                       \
		}                                                                                            \
		return __real_##name(a, b, c, d, e, f);                                                      \
	}
#include "inject_calls.h"
#undef X

/* One argument more than the others. */
long __real_syscall(long n, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long n, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long n, long a, long b, long c, long d, long e, long f)
{
	return hit("syscall", FILES | SYSTEM) ? -1 : __real_syscall(n, a, b, c, d, e, f);
}

/* The kernel closes the fd whatever close() returns. */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
	bool fails = hit("close", FILES);
	int saved = errno, r = __real_close(fd);

	if (!fails)
		return r;
	errno = saved;
	return -1;
}

/* Memory: counted as well. */
static void *counted(void *p)
{
	if (p)
		blocks++;
	return p;
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
	return hit("malloc", MEMORY) ? NULL : counted(__real_malloc(n));
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return hit("calloc", MEMORY) ? NULL : counted(__real_calloc(n, size));
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	if (hit("realloc", MEMORY))
		return NULL;
	return p ? __real_realloc(p, n) : counted(__real_realloc(p, n));
}

void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	if (hit("reallocarray", MEMORY))
		return NULL;
	return p ? __real_reallocarray(p, n, size) : counted(__real_reallocarray(p, n, size));
}

char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
char *__wrap_strdup(const char *s)
{
	return hit("strdup", MEMORY) ? NULL : counted(__real_strdup(s));
}

char *__real_strndup(const char *s, size_t n);
char *__wrap_strndup(const char *s, size_t n);
char *__wrap_strndup(const char *s, size_t n)
{
	return hit("strndup", MEMORY) ? NULL : counted(__real_strndup(s, n));
}

char *__real_realpath(const char *path, char *resolved);
char *__wrap_realpath(const char *path, char *resolved);
char *__wrap_realpath(const char *path, char *resolved)
{
	if (hit("realpath", MEMORY))
		return NULL;
	return resolved ? __real_realpath(path, resolved) : counted(__real_realpath(path, NULL));
}

char *__real_getcwd(char *p, size_t n);
char *__wrap_getcwd(char *p, size_t n);
char *__wrap_getcwd(char *p, size_t n)
{
	if (hit("getcwd", MEMORY))
		return NULL;
	return p ? __real_getcwd(p, n) : counted(__real_getcwd(NULL, n));
}

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
	if (p)
		blocks--;
	__real_free(p);
}

void inject_on(enum inject_mode mode, unsigned kinds, unsigned nth, int err)
{
	state.mode = mode;
	state.kinds = kinds ? kinds : ALL_KINDS;
	state.nth = nth;
	state.err = err ? err : EIO;
	state.seen = 0;
	state.failed = NULL;
	state.only = NULL;
	state.before = NULL;
	state.on = true;
}

void inject_before(unsigned kinds, unsigned nth, void (*fn)(void *arg), void *arg)
{
	inject_on(INJECT_ONE, kinds, nth, 0);
	state.before = fn;
	state.arg = arg;
}

const char *inject_off(void)
{
	state.on = false;
	return state.failed;
}

unsigned inject_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	assert_int_equal(closedir(d), 0);
	return n;
}

long inject_count_blocks(void)
{
	return blocks;
}

static bool is_tolerated(const struct inject_case *c, const char *name)
{
	const char *const *t = c->tolerated;

	while (t && *t && strcmp(*t, name) != 0)
		t++;
	return (t && *t) || strcmp(name, "close") == 0 || strcmp(name, "getrandom") == 0;
}

static void judge(const struct inject_case *c, enum inject_mode mode, unsigned n, const char *failed, int r)
{
	if (r > 0)
		fail_msg("%s: returned %d, neither 0 nor an error", c->name, r);
	if (!failed && r < 0)
		fail_msg("%s: fails without a failing call: %s", c->name, strerror(-r));
	if (failed && r == 0 && mode == INJECT_ONE && !is_tolerated(c, failed))
		fail_msg("%s: the failure of call %u, %s(), was swallowed", c->name, n, failed);
	if (failed && r < 0 && (mode == INJECT_EINTR || mode == INJECT_SHORT))
		fail_msg("%s: did not go on after %s in call %u, %s(): %s", c->name,
			 mode == INJECT_EINTR ? "a signal" : "a short count", n, failed, strerror(-r));
}

unsigned inject_run(const struct inject_case *c, enum inject_mode mode)
{
	for (unsigned n = 1; n < RUNS_MAX; n++) {
		unsigned fds = inject_count_fds();
		long before = inject_count_blocks();
		const char *failed;
		int r;

		inject_on(mode, c->kinds, n, c->err);
		state.only = c->only;
		r = c->op(c->arg);
		failed = inject_off();
		judge(c, mode, n, failed, r);
		if (inject_count_fds() != fds)
			fail_msg("%s: call %u, %s(), failed: %u fds before, %u after", c->name, n,
				 failed ? failed : "none", fds, inject_count_fds());
		if (inject_count_blocks() > before)
			fail_msg("%s: call %u, %s(), failed: %ld blocks of memory leaked", c->name, n,
				 failed ? failed : "none", inject_count_blocks() - before);
		if (c->check)
			c->check(c->arg, mode, r);
		if (!failed)
			return n - 1;
	}
	fail_msg("%s: no end after %u runs", c->name, RUNS_MAX);
	return RUNS_MAX;
}

void inject_all(const struct inject_case *c)
{
	if (inject_run(c, INJECT_ONE) == 0)
		fail_msg("%s: makes no call that could fail", c->name);
	(void)inject_run(c, INJECT_FROM);
}

void inject_interrupts(const struct inject_case *c)
{
	(void)inject_run(c, INJECT_EINTR);
	(void)inject_run(c, INJECT_SHORT);
}
