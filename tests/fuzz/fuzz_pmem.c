/* fuzz_pmem.c - the pmem device with drivers made of choices.
 * Promises: fuzz_dev.h; an ordinary request is answered at once; what the guest is told of the slot never
 * changes. */
#include "fuzz_dev.h"

#include <linux/virtio_pmem.h>

#include "vmm/dev/dev.h"

#define START (1ull << 40)

static void fill(struct fuzz_dev *f, unsigned q, uint8_t *p, size_t n)
{
	(void)q;
	if (n)
		p[0] = (uint8_t)(fuzz_uint(f->in, 1) == 0xFF); /* a flush, or nothing we know */
}

static void check(struct fuzz_dev *f)
{
	struct virtio_pmem_config c;

	vdev_config_write(f->rig.d, 0, "garbage", 7);
	vdev_config_read(f->rig.d, 0, &c, sizeof c);
	FUZZ_ASSERT(c.start == START && c.size == PMEM_ALIGN);
	for (unsigned i = 0; i < FUZZ_DEV_RING && vdev_is_active(f->rig.d) && !f->spoiled; i++)
		FUZZ_ASSERT(f->offered[0][i] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fuzz_dev_hooks hooks = {
		.fill = fill, .check = check, .len_min = 4, .len_max = 4
	};
	struct pmem_cfg cfg = { .fd = -1, .start = START, .size = PMEM_ALIGN, .mode = PMEM_SHARED_N };
	struct fuzz_in in = { data, size };
	struct vdev *d = NULL;

	if (pmem_new(&cfg, &d, NULL) < 0)
		abort();
	fuzz_dev_run(&in, d, &hooks, NULL);
	return 0;
}
