/* hotpages.c - see hotpages.h. Trusts no field of a list before all are checked. */
#include "wire/hotpages.h"

#define FNV_START 0xCBF29CE484222325ull
#define FNV_PRIME 0x100000001B3ull

/* FNV-1a by words: against a file that was damaged, not against who can write it. */
static uint64_t sum_of(const struct hotpages *h)
{
	const uint64_t head[] = { h->magic, (uint64_t)h->version << 32 | h->n, h->inode, h->changed_s,
				  h->changed_ns };
	uint64_t sum = FNV_START;

	for (size_t i = 0; i < sizeof head / sizeof *head; i++)
		sum = (sum ^ head[i]) * FNV_PRIME;
	for (uint32_t i = 0; i < h->n; i++)
		sum = (sum ^ ((uint64_t)h->ranges[i].first << 32 | h->ranges[i].n)) * FNV_PRIME;
	return sum;
}

static uint32_t pages_of(const struct hotpages *h)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < h->n; i++)
		sum += h->ranges[i].n;
	return sum;
}

bool hotpages_add(struct hotpages *h, uint32_t page)
{
	struct hotpages_range *last = h->n ? &h->ranges[h->n - 1] : NULL;

	if (pages_of(h) == HOTPAGES_PAGES_MAX)
		return false;
	if (last && page == last->first + last->n) {
		last->n++;
		return true;
	}
	if (h->n == HOTPAGES_RANGES_MAX)
		return false;
	h->ranges[h->n++] = (struct hotpages_range){ page, 1 };
	return true;
}

void hotpages_seal(struct hotpages *h, const struct stat *memory)
{
	h->magic = HOTPAGES_MAGIC;
	h->version = HOTPAGES_VERSION;
	h->inode = memory->st_ino;
	h->changed_s = (uint64_t)memory->st_mtim.tv_sec;
	h->changed_ns = (uint64_t)memory->st_mtim.tv_nsec;
	h->sum = sum_of(h);
}

static bool is_of(const struct hotpages *h, const struct stat *memory)
{
	return h->magic == HOTPAGES_MAGIC && h->version == HOTPAGES_VERSION && h->inode == memory->st_ino &&
	       h->changed_s == (uint64_t)memory->st_mtim.tv_sec &&
	       h->changed_ns == (uint64_t)memory->st_mtim.tv_nsec;
}

bool hotpages_valid(const struct hotpages *h, size_t size, const struct stat *memory)
{
	uint64_t end = (uint64_t)memory->st_size / HOTPAGES_PAGE, from = 0, pages = 0;

	if (h->n > HOTPAGES_RANGES_MAX || size != hotpages_size(h->n) || !is_of(h, memory) ||
	    h->sum != sum_of(h))
		return false;
	for (uint32_t i = 0; i < h->n; i++) {
		const struct hotpages_range *r = &h->ranges[i];

		if (r->n == 0 || r->first < from || r->first >= end || r->n > end - r->first)
			return false;
		from = (uint64_t)r->first + r->n;
		pages += r->n;
	}
	return pages <= HOTPAGES_PAGES_MAX;
}
