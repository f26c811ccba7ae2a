/* test_blk.c - the disk: every request, every limit, every error. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rig.h"
#include "vmm/dev/dev.h"

#define SECTORS    64u
#define UNANSWERED 0xEE

static struct rig rig;
static int file; /* ours, beside the device's */

static void make(bool read_only)
{
	struct blk_cfg cfg = { .read_only = read_only, .n_queues = 2, .serial = "disk-with-a-name-too-long" };
	struct vdev *d = NULL;

	file = memfd_create("disk", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(file >= 0 && ftruncate(file, SECTORS * 512 + 100) == 0);
	for (unsigned i = 0; i < SECTORS; i++)
		assert_int_equal(pwrite(file, &i, sizeof i, i * 512), sizeof i);
	cfg.fd = dup(file);
	assert_int_equal(blk_new(&cfg, &d, NULL), 0);
	assert_int_equal(rig_init(&rig, d), 0);
	rig_up(&rig, 256);
}

static int setup(void **state)
{
	(void)state;
	make(false);
	return 0;
}

static int setup_ro(void **state)
{
	(void)state;
	make(true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_fini(&rig);
	(void)close(file);
	return 0;
}

static uint8_t *data(void)
{
	return vqdrv_at(&rig.q[0], rig.data + 4096);
}

/* One request with `out` and `in` bytes of data (at data()) and the status behind; its status, and what the
 * device says it wrote. */
static uint8_t ask_len(uint32_t type, uint64_t sector, uint32_t out, uint32_t in, uint32_t *ret_len)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };
	struct vqdrv_seg seg[4] = { { rig.data, sizeof h } };
	uint8_t *status = vqdrv_at(&rig.q[0], rig.data + 64);
	unsigned n_out = 1, n_in = 0;
	uint32_t id;

	memcpy(vqdrv_at(&rig.q[0], rig.data), &h, sizeof h);
	*status = UNANSWERED;
	if (out)
		seg[n_out++] = (struct vqdrv_seg){ rig.data + 4096, out };
	if (in)
		seg[n_out + n_in++] = (struct vqdrv_seg){ rig.data + 4096, in };
	seg[n_out + n_in++] = (struct vqdrv_seg){ rig.data + 64, 1 };
	vqdrv_add(&rig.q[0], seg, n_out, n_in);
	rig_serve(&rig);
	if (!vqdrv_used(&rig.q[0], &id, ret_len))
		return UNANSWERED;
	return *status;
}

static uint8_t ask(uint32_t type, uint64_t sector, uint32_t out, uint32_t in)
{
	uint32_t len;

	return ask_len(type, sector, out, in, &len);
}

static uint32_t on_disk(unsigned sector)
{
	uint32_t v = 0;

	assert_int_equal(pread(file, &v, sizeof v, sector * 512), sizeof v);
	return v;
}

static void test_read(void **state)
{
	uint32_t len, v;

	(void)state;
	assert_int_equal(ask_len(VIRTIO_BLK_T_IN, 3, 0, 1024, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 1025);
	memcpy(&v, data(), sizeof v);
	assert_int_equal(v, 3);
	memcpy(&v, data() + 512, sizeof v);
	assert_int_equal(v, 4);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, SECTORS - 1, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(ask_len(VIRTIO_BLK_T_IN, SECTORS, 0, 0, &len), VIRTIO_BLK_S_OK); /* nothing */
	assert_int_equal(len, 1);
	assert_int_equal(ask_len(VIRTIO_BLK_T_IN, SECTORS, 0, 512, &len), VIRTIO_BLK_S_IOERR);
	assert_int_equal(len, 1);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, SECTORS - 1, 0, 1024), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, SECTORS + 1, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, UINT64_MAX, 0, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, UINT64_MAX / 512 + 1, 0, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, 0, 511), VIRTIO_BLK_S_IOERR);
}

static void test_write(void **state)
{
	uint32_t v = 1234, len;

	(void)state;
	memcpy(data(), &v, sizeof v);
	assert_int_equal(ask_len(VIRTIO_BLK_T_OUT, 5, 512, 0, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 1);
	assert_int_equal(on_disk(5), 1234);
	assert_int_equal(on_disk(6), 6);
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, SECTORS, 512, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, SECTORS - 1, 1024, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 0, 100, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(lseek(file, 0, SEEK_END), SECTORS * 512 + 100); /* never grows */
	assert_int_equal(on_disk(SECTORS - 1), SECTORS - 1);
	assert_int_equal(ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
}

static void test_read_only(void **state)
{
	struct virtio_blk_discard_write_zeroes range = { .num_sectors = 1 };

	(void)state;
	assert_true(vdev_has(rig.d, VIRTIO_BLK_F_RO));
	assert_false(vdev_has(rig.d, VIRTIO_BLK_F_DISCARD) || vdev_has(rig.d, VIRTIO_BLK_F_WRITE_ZEROES));
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 5, 512, 0), VIRTIO_BLK_S_IOERR);
	memcpy(data(), &range, sizeof range);
	range.sector = 5;
	memcpy(data(), &range, sizeof range);
	assert_int_equal(ask(VIRTIO_BLK_T_DISCARD, 0, 16, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(on_disk(5), 5);
	assert_int_equal(ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
}

/* Discards (or zeroes) one range; the request's status. */
static uint8_t clear(uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = { .sector = sector, .num_sectors = n, .flags = flags };

	memcpy(data(), &range, sizeof range);
	return ask(type, 0, sizeof range, 0);
}

static void test_ranges(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		unsigned at = 8 + 8 * i;

		assert_int_equal(clear(types[i], at, 2, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(on_disk(at - 1), at - 1);
		assert_int_equal(on_disk(at) + on_disk(at + 1), 0);
		assert_int_equal(on_disk(at + 2), at + 2);
		assert_int_equal(clear(types[i], 0, 0, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(clear(types[i], SECTORS - 1, 2, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(clear(types[i], UINT64_MAX, 2, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(clear(types[i], 0, 1, 2), VIRTIO_BLK_S_UNSUPP);
		assert_int_equal(ask(types[i], 0, 15, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(ask(types[i], 0, 0, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(ask(types[i], 0, 17 * 16, 0), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(on_disk(SECTORS - 1), SECTORS - 1);
	assert_int_equal(on_disk(0), 0);
	assert_int_equal(clear(VIRTIO_BLK_T_DISCARD, 20, 1, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(clear(VIRTIO_BLK_T_WRITE_ZEROES, 20, 1, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(on_disk(20), 0);
	memset(data(), 0, 32);
	assert_int_equal(ask(VIRTIO_BLK_T_DISCARD, 0, 32, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(ask(VIRTIO_BLK_T_WRITE_ZEROES, 0, 32, 0), VIRTIO_BLK_S_IOERR); /* one is the limit */
}

/* The file system can't zero a range: zeros are written, to the last byte and not beyond. */
static void test_zeros_written(void **state)
{
	unsigned from = 10, n = 50;

	(void)state;
	assert_int_equal(fallocate(file, FALLOC_FL_ZERO_RANGE, 0, 512), -1); /* tmpfs: as wanted here */
	assert_int_equal(clear(VIRTIO_BLK_T_WRITE_ZEROES, from, n, 0), VIRTIO_BLK_S_OK);
	for (unsigned i = from; i < from + n; i++)
		assert_int_equal(on_disk(i), 0);
	assert_int_equal(on_disk(from - 1), from - 1);
	assert_int_equal(on_disk(from + n), from + n);
}

static void test_id(void **state)
{
	uint32_t len;

	(void)state;
	memset(data(), 'x', 32);
	assert_int_equal(ask_len(VIRTIO_BLK_T_GET_ID, 0, 0, 20, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 21);
	assert_memory_equal(data(), "disk-with-a-name-toox", 21);
	memset(data(), 'x', 32);
	assert_int_equal(ask_len(VIRTIO_BLK_T_GET_ID, 0, 0, 5, &len), VIRTIO_BLK_S_OK);
	assert_memory_equal(data(), "disk-x", 6);
	assert_int_equal(len, 6);
	assert_int_equal(ask_len(VIRTIO_BLK_T_GET_ID, 0, 0, 30, &len), VIRTIO_BLK_S_OK);
	assert_int_equal(len, 21);
	assert_int_equal(data()[20], 'x');
}

static void test_unknown(void **state)
{
	(void)state;
	assert_int_equal(ask(2, 0, 0, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask(VIRTIO_BLK_T_SECURE_ERASE, 0, 16, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask(UINT32_MAX, 0, 512, 512), VIRTIO_BLK_S_UNSUPP);
}

/* Header and data in one segment, cut anywhere; data and status in one. */
static void test_framing(void **state)
{
	struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_OUT, .sector = 7 };
	struct vqdrv_seg seg[] = {
		{ rig.data, 5 }, { rig.data + 5, 11 + 500 }, { rig.data + 600, 12 }, { rig.data + 900, 1 }
	};
	struct vqdrv_seg in[] = { { rig.data, 16 }, { rig.data + 4096, 100 }, { rig.data + 4196, 413 } };
	uint8_t *p = vqdrv_at(&rig.q[0], rig.data);
	uint32_t id, len, v = 4321;

	(void)state;
	memcpy(p, &h, sizeof h);
	memcpy(p + 16, &v, sizeof v);
	p[900] = UNANSWERED;
	vqdrv_add(&rig.q[0], seg, 3, 1);
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[0], &id, &len));
	assert_int_equal(p[900], VIRTIO_BLK_S_OK);
	assert_int_equal(on_disk(7), 4321);
	h.type = VIRTIO_BLK_T_IN;
	memcpy(p, &h, sizeof h);
	data()[512] = UNANSWERED;
	data()[511] = 1;
	vqdrv_add(&rig.q[0], in, 1, 2);
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[0], &id, &len));
	assert_int_equal(len, 513);
	assert_int_equal(data()[512], VIRTIO_BLK_S_OK);
	assert_int_equal(data()[511], 0);
	assert_memory_equal(data(), &v, sizeof v);
}

static void test_malformed(void **state)
{
	struct vqdrv_seg seg[] = { { rig.data, 15 }, { rig.data + 64, 1 } };

	(void)state;
	vqdrv_add(&rig.q[1], seg, 1, 1); /* a short header */
	rig_serve(&rig);
	assert_true(vdev_status(rig.d) & VIRTIO_CONFIG_S_NEEDS_RESET);
	rig_up(&rig, 16);
	seg[0].len = 16;
	vqdrv_add(&rig.q[1], seg, 1, 0); /* no status */
	rig_serve(&rig);
	assert_true(vdev_status(rig.d) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

/* 255 segments that all lie on the same bytes: within the limits, but beyond the capacity; and far beyond. */
static void test_huge(void **state)
{
	uint32_t each[] = { 512, 65536 * 3 };
	uint32_t id, len;

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		struct vqdrv_seg seg[256] = { { rig.data, 16 } };

		rig_up(&rig, 256);
		memset(vqdrv_at(&rig.q[0], rig.data), 0, 16);
		for (unsigned i = 1; i < 255; i++)
			seg[i] = (struct vqdrv_seg){ rig.data + 4096, each[k] };
		seg[255] = (struct vqdrv_seg){ rig.data + 64, 1 };
		vqdrv_add(&rig.q[0], seg, 1, 255);
		rig_serve(&rig);
		assert_true(vqdrv_used(&rig.q[0], &id, &len));
		assert_int_equal(len, 1);
		assert_int_equal(*(uint8_t *)vqdrv_at(&rig.q[0], rig.data + 64), VIRTIO_BLK_S_IOERR);
	}
}

/* A large disk: what is beyond the limits told is refused even where the disk has it. */
static int setup_large(void **state)
{
	struct blk_cfg cfg = { .n_queues = 1, .serial = "" };
	struct vdev *d = NULL;

	(void)state;
	file = memfd_create("disk", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, 1ll << 40) < 0)
		return -1;
	cfg.fd = dup(file);
	if (blk_new(&cfg, &d, NULL) < 0 || rig_init(&rig, d) < 0)
		return -1;
	rig_up(&rig, 256);
	return 0;
}

static void test_limits(void **state)
{
	struct vqdrv_seg seg[256] = { { rig.data, 16 } };
	uint32_t id, len;

	(void)state;
	for (unsigned i = 1; i < 255; i++)
		seg[i] = (struct vqdrv_seg){ rig.data, 128 * 1024 + 512 * (i == 1) };
	seg[255] = (struct vqdrv_seg){ rig.data + 16, 1 };
	memset(vqdrv_at(&rig.q[0], rig.data), 0, 16);
	vqdrv_add(&rig.q[0], seg, 1, 255);
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[0], &id, &len));
	assert_int_equal(len, 1);
	assert_int_equal(clear(VIRTIO_BLK_T_DISCARD, 0, 1u << 22, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(clear(VIRTIO_BLK_T_DISCARD, 0, (1u << 22) + 1, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(clear(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1u << 15, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(clear(VIRTIO_BLK_T_WRITE_ZEROES, 0, (1u << 15) + 1, 1), VIRTIO_BLK_S_IOERR);
}

/* The file has become shorter: an error for the guest, nothing else. */
static void test_truncated(void **state)
{
	(void)state;
	assert_int_equal(ftruncate(file, 512 * 10), 0);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 9, 0, 1024), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 9, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 1, 512, 0), VIRTIO_BLK_S_IOERR);
}

static void test_config(void **state)
{
	struct virtio_blk_config c;

	(void)state;
	vdev_config_read(rig.d, 0, &c, sizeof c);
	assert_true(c.capacity == SECTORS);
	assert_int_equal(c.num_queues, 2);
	assert_int_equal(c.seg_max, 254);
	vdev_config_write(rig.d, 0, "\1", 1); /* nothing there is the driver's */
	vdev_config_read(rig.d, 0, &c, sizeof c);
	assert_true(c.capacity == SECTORS);
}

static void test_refused(void **state)
{
	struct blk_cfg ok = { .fd = file, .n_queues = 1, .serial = "" }, cfg = ok;
	int fds[2], small = memfd_create("small", MFD_CLOEXEC);
	struct vdev *d = NULL;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	cfg.n_queues = 9;
	assert_int_equal(blk_new(&cfg, &d, NULL), -EINVAL);
	cfg.n_queues = 0;
	assert_int_equal(blk_new(&cfg, &d, NULL), -EINVAL);
	cfg = ok;
	cfg.fd = fds[0];
	assert_int_equal(blk_new(&cfg, &d, NULL), -EINVAL);
	assert_int_equal(ftruncate(small, 511), 0);
	cfg.fd = small;
	assert_int_equal(blk_new(&cfg, &d, NULL), -EINVAL);
	(void)close(small);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void test_snapshot(void **state)
{
	struct vdev_snapshot s, bad;

	(void)state;
	vdev_save(rig.d, &s);
	bad = s;
	bad.state[0]++; /* capacity */
	assert_int_equal(vdev_restore(rig.d, &bad, NULL), -EBADMSG);
	assert_int_equal(vdev_restore(rig.d, &s, NULL), 0);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, 0, 512), VIRTIO_BLK_S_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_read),
		T(test_write),
		T(test_ranges),
		T(test_zeros_written),
		T(test_id),
		T(test_unknown),
		T(test_framing),
		T(test_malformed),
		T(test_huge),
		T(test_truncated),
		T(test_config),
		T(test_refused),
		T(test_snapshot),
		cmocka_unit_test_setup_teardown(test_read_only, setup_ro, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup_large, teardown),
	};
	return cmocka_run_group_tests_name("vmm/blk", tests, NULL, NULL);
}
