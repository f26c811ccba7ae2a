/* arena.c - memory with one lifetime (arena.h).
 *
 * Called by decoders and parsers. Sizes may come from input: every sum is checked.
 * Never: moves what it has handed out, or frees a part. */
#include "base/arena.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_MIN 4096u
#define ALLOC_MAX (SIZE_MAX / 4) /* no object is that large; leaves room for block and alignment */
#define ALIGN     _Alignof(max_align_t)

struct arena_block {
	struct arena_block *next;
	size_t size, used; /* of data */
	max_align_t data[];
};

static struct arena_block *add_block(struct arena *a, size_t n)
{
	size_t size = n > BLOCK_MIN ? n : BLOCK_MIN;
	struct arena_block *b;

	b = calloc(1, sizeof(*b) + size);
	if (!b)
		return NULL;
	b->size = size;
	if (a->blocks && n > BLOCK_MIN / 4) {
		/* a large one gets a block of its own and leaves the open block at the front */
		b->next = a->blocks->next;
		a->blocks->next = b;
	} else {
		b->next = a->blocks;
		a->blocks = b;
	}
	return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
	struct arena_block *b = a->blocks;
	void *p;

	if (n == 0)
		n = 1; /* distinct addresses */
	if (n > ALLOC_MAX)
		return NULL;
	n = (n + ALIGN - 1) & ~(ALIGN - 1);
	if (a->max && (a->used > a->max || n > a->max - a->used))
		return NULL;
	if (!b || n > b->size - b->used)
		b = add_block(a, n);
	if (!b)
		return NULL;
	p = (char *)b->data + b->used;
	b->used += n;
	a->used += n;
	return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(n, size, &total))
		return NULL;
	return arena_alloc(a, total);
}

char *arena_strn(struct arena *a, const void *s, size_t n)
{
	char *p;

	if (n == SIZE_MAX)
		return NULL;
	p = arena_alloc(a, n + 1);
	if (p && n)
		memcpy(p, s, n);
	return p;
}

char *arena_str(struct arena *a, const char *s)
{
	return arena_strn(a, s, strlen(s));
}

char *arena_fmt(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	char *p = NULL;
	int r;

	va_start(ap, fmt);
	va_copy(again, ap);
	r = vsnprintf(NULL, 0, fmt, ap);
	if (r >= 0)
		p = arena_alloc(a, (size_t)r + 1);
	if (p)
		(void)vsnprintf(p, (size_t)r + 1, fmt, again);
	va_end(again);
	va_end(ap);
	return p;
}

int arena_reset(struct arena *a, size_t n)
{
	struct arena_block **at = &a->blocks, *keep = NULL;

	if (n > ALLOC_MAX)
		n = ALLOC_MAX;
	while (*at && !keep) {
		if ((*at)->size >= n) {
			keep = *at;
			*at = keep->next;
		} else {
			at = &(*at)->next;
		}
	}
	arena_fini(a);
	if (!keep)
		return add_block(a, n) ? 0 : -ENOMEM;
	memset(keep->data, 0, keep->used);
	keep->used = 0;
	keep->next = NULL;
	a->blocks = keep;
	return 0;
}

void arena_fini(struct arena *a)
{
	struct arena_block *b = a->blocks, *next;

	for (; b; b = next) {
		next = b->next;
		free(b);
	}
	a->blocks = NULL;
	a->used = 0;
}
