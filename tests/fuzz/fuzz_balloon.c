/* fuzz_balloon.c - the balloon with drivers made of choices, and a host that asks.
 * Promises: fuzz_dev.h (the rig's pages keep their content: MADV_DONTNEED on a shared mapping); the target is
 * the host's alone, statistics hold nothing unknown, and at most one buffer is kept. */
#include "fuzz_dev.h"

#include "vmm/dev/dev.h"

#define FIRST (RIG_BASE >> 12)
#define PAGES (RIG_RAM / GMEM_PAGE)

static void fill(struct fuzz_dev *f, unsigned q, uint8_t *p, size_t n)
{
	uint32_t pfn = FIRST + (uint32_t)fuzz_below(f->in, PAGES - 1);
	uint64_t odd = fuzz_uint(f->in, 1);

	if (q == 2) { /* a statistic: tag and value */
		for (size_t i = 0; i < n && i < 10; i++)
			p[i] = i < 2 ? (uint8_t)(i ? 0 : fuzz_below(f->in, 11)) : 0x55;
		return;
	}
	for (size_t i = 0; i + 4 <= n && i < 256; i += 4) {
		memcpy(p + i, &pfn, sizeof pfn);
		pfn = pfn + 1 < FIRST + PAGES ? pfn + 1 : FIRST;
	}
	if (odd == 0xFF && n >= 4) {
		pfn = (uint32_t)fuzz_uint(f->in, 4);
		memcpy(p, &pfn, sizeof pfn);
	}
}

static void event(struct fuzz_dev *f)
{
	uint32_t target = (uint32_t)fuzz_below(f->in, 2 * PAGES), got = 0;
	uint32_t *want = f->data;

	if (balloon_set_target(f->rig.d, target) == 0)
		*want = target;
	FUZZ_ASSERT(*want <= PAGES);
	vdev_config_write(f->rig.d, (uint32_t)fuzz_below(f->in, 9), &target, 4);
	vdev_config_read(f->rig.d, 0, &got, sizeof got);
	FUZZ_ASSERT(got == *want);
	(void)balloon_ask_stats(f->rig.d);
	FUZZ_ASSERT(!balloon_ask_stats(f->rig.d));
	memcpy(f->before, f->rig.ram, RIG_RAM); /* the used ring changed */
}

static void check(struct fuzz_dev *f)
{
	struct balloon_stats s;

	balloon_stats(f->rig.d, &s);
	FUZZ_ASSERT(s.valid < 1u << BALLOON_STATS_N);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fuzz_dev_hooks hooks = {
		.fill = fill, .event = event, .check = check, .holds = true
	};
	struct balloon_cfg cfg = { .ram_end = RIG_BASE + RIG_RAM, .ram_pages = PAGES, .shared = false };
	struct fuzz_in in = { data, size };
	struct vdev *d = NULL;
	uint32_t want = 0;

	if (balloon_new(&cfg, &d, NULL) < 0)
		abort();
	fuzz_dev_run(&in, d, &hooks, &want);
	return 0;
}
