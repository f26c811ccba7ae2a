/* hotpages.h - which pages of a template its clones write soon: a file beside it, and only a hint.
 *
 * The monitor of a rehearsal writes it (hyper/hot.c), cor-vmm reads it before it runs a clone. It holds
 * numbers of pages, nothing of what is in them, and only those that a rehearsal of our own has written. It is
 * bound to the memory file that it was learnt of. Whoever reads it distrusts it: a wrong page costs its
 * memory, and no more. */
#ifndef WIRE_HOTPAGES_H
#define WIRE_HOTPAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/scope.h"

#define HOTPAGES_MAGIC      0x544F48524F43ull /* "CORHOT" */
#define HOTPAGES_VERSION    1u
#define HOTPAGES_PAGE       4096u
#define HOTPAGES_RANGES_MAX 1024u
#define HOTPAGES_PAGES_MAX  2048u /* of all ranges: 8 MiB */

struct hotpages_range {
	uint32_t first, n; /* pages from the memory's begin */
};

struct hotpages {
	uint64_t magic;
	uint32_t version, n;                   /* of the ranges; those behind are not in the file */
	uint64_t inode, changed_s, changed_ns; /* of the memory file */
	uint64_t sum;                          /* hotpages_sum(), with 0 here */
	struct hotpages_range ranges[HOTPAGES_RANGES_MAX]; /* ascending, apart */
};

/* Bytes of a file with n ranges. */
static inline size_t hotpages_size(uint32_t n)
{
	return offsetof(struct hotpages, ranges) + n * sizeof(struct hotpages_range);
}

/* Appends a page behind all that are in it; false: there is no room for it. */
bool hotpages_add(struct hotpages *h, uint32_t page);
/* Fills in the rest: it is of this memory file. */
void hotpages_seal(struct hotpages *h, const struct stat *memory);
/* True if the `size` bytes that were read to *h, the rest of which is 0, are such a list, whole, and of this
 * memory file. */
bool must_check hotpages_valid(const struct hotpages *h, size_t size, const struct stat *memory);

#endif
