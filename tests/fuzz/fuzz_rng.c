/* fuzz_rng.c - the entropy device with drivers made of choices.
 * Promises: fuzz_dev.h; an ordinary driver is answered in one turn. */
#include "fuzz_dev.h"

#include "vmm/dev/dev.h"

static void check(struct fuzz_dev *f)
{
	if (vdev_is_active(f->rig.d) && !f->spoiled)
		for (unsigned i = 0; i < FUZZ_DEV_RING; i++)
			FUZZ_ASSERT(f->offered[0][i] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fuzz_dev_hooks hooks = { .check = check, .len_max = 4096 };
	struct fuzz_in in = { data, size };
	struct vdev *d = NULL;

	if (rng_new(&d, NULL) < 0)
		abort();
	fuzz_dev_run(&in, d, &hooks, NULL);
	return 0;
}
