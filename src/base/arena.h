/* arena.h - memory with one lifetime: what a decoded record or a parsed document points to.
 * Single thread. arena_fini() frees everything at once. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/scope.h"

struct arena_block;

struct arena {
	struct arena_block *blocks;
	size_t used; /* bytes handed out so far */
	size_t max;  /* 0 = no limit; beyond it allocations fail */
};

/* Zeroed memory aligned for any type, NULL if memory or `max` ran out. */
void *must_check arena_alloc(struct arena *a, size_t n);
/* Zeroed array; NULL on overflow of n * size too. */
void *must_check arena_array(struct arena *a, size_t n, size_t size);
/* Copy of n bytes with a NUL behind it. */
char *must_check arena_strn(struct arena *a, const void *s, size_t n);
char *must_check arena_str(struct arena *a, const char *s);
char *must_check arena_fmt(struct arena *a, const char *fmt, ...) printf_like(2, 3);
/* Empties it but keeps a block of at least n bytes, zeroed, for what comes next: a loop that needs an arena
 * in each turn has the system's memory once. -ENOMEM: it is empty, and nothing is kept. */
int must_check arena_reset(struct arena *a, size_t n);
void arena_fini(struct arena *a); /* idempotent; the arena is empty and usable afterwards */
#define scoped_arena __attribute__((cleanup(arena_fini))) struct arena

#endif
