/* fuzz_blk.c - the disk with drivers made of choices.
 * Promises: fuzz_dev.h; the file never changes its size, a read-only one not its content; an ordinary request
 * is answered at once. */
#include "fuzz_dev.h"

#include <linux/virtio_blk.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vmm/dev/dev.h"

#define SECTORS 32u

struct disk {
	int fd;
	bool read_only;
};

static void fill(struct fuzz_dev *f, unsigned q, uint8_t *p, size_t n)
{
	static const uint32_t types[] = {
		VIRTIO_BLK_T_IN,     VIRTIO_BLK_T_OUT,     VIRTIO_BLK_T_FLUSH,
		VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES
	};
	struct virtio_blk_outhdr h = { .type = types[fuzz_below(f->in, ARRAY_LEN(types) - 1)],
				       .sector = fuzz_below(f->in, SECTORS + 2) };
	struct virtio_blk_discard_write_zeroes r = { .sector = h.sector,
						     .num_sectors =
							     (uint32_t)fuzz_below(f->in, SECTORS + 2) };
	uint64_t odd = fuzz_uint(f->in, 1);

	(void)q;
	if (odd == 0xFF)
		h.sector = r.sector = fuzz_uint(f->in, 8);
	if (odd == 0xFE)
		r.flags = h.type = (uint32_t)fuzz_uint(f->in, 4);
	memcpy(p, &h, n < sizeof h ? n : sizeof h);
	if (n > sizeof h)
		memcpy(p + sizeof h, &r, n - sizeof h < sizeof r ? n - sizeof h : sizeof r);
}

static void check(struct fuzz_dev *f)
{
	const struct disk *k = f->data;
	uint8_t sector[512];
	struct stat st;

	FUZZ_ASSERT(fstat(k->fd, &st) == 0 && st.st_size == SECTORS * 512);
	for (unsigned i = 0; i < SECTORS && k->read_only; i++) {
		FUZZ_ASSERT(pread(k->fd, sector, sizeof sector, i * 512) == sizeof sector);
		FUZZ_ASSERT(sector[0] == i + 1 && sector[511] == 0);
	}
	for (unsigned i = 0; i < FUZZ_DEV_RING && vdev_is_active(f->rig.d) && !f->spoiled; i++)
		FUZZ_ASSERT(f->offered[0][i] + f->offered[1][i] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fuzz_dev_hooks hooks = { .fill = fill, .check = check, .len_min = 1 };
	struct fuzz_in in = { data, size };
	struct disk k = { .fd = memfd_create("disk", MFD_CLOEXEC), .read_only = fuzz_uint(&in, 1) & 1 };
	struct blk_cfg cfg = { .fd = dup(k.fd), .read_only = k.read_only, .n_queues = 2, .serial = "fuzz" };
	struct vdev *d = NULL;
	uint8_t mark;

	if (k.fd < 0 || ftruncate(k.fd, SECTORS * 512) < 0)
		abort();
	for (unsigned i = 0; i < SECTORS; i++) {
		mark = (uint8_t)(i + 1);
		if (pwrite(k.fd, &mark, 1, i * 512) != 1)
			abort();
	}
	if (blk_new(&cfg, &d, NULL) < 0)
		abort();
	fuzz_dev_run(&in, d, &hooks, &k);
	(void)close(k.fd);
	return 0;
}
