/* test_balloon.c - memory given back: which pages, which not, and what the driver may say. */
#include "unit.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/mman.h>

#include "rig.h"
#include "vmm/dev/dev.h"

#define FIRST   (RIG_BASE >> 12)      /* page number of the first page */
#define PAGES   (RIG_RAM / GMEM_PAGE) /* 64 */
#define INFLATE 0
#define DEFLATE 1
#define STATS   2
#define REPORT  3

static struct rig rig;

static void make(bool shared)
{
	struct balloon_cfg cfg = { .ram_end = RIG_BASE + RIG_RAM / 2, .ram_pages = PAGES, .shared = shared };
	struct vdev *d = NULL;

	assert_int_equal(balloon_new(&cfg, &d, NULL), 0);
	assert_int_equal(rig_init(&rig, d), 0);
	/* The upper half is a region of its own, as a pmem file is. */
	rig.mem.r[0].len = RIG_RAM / 2;
	assert_int_equal(
		gmem_add(&rig.mem, gpa(RIG_BASE + RIG_RAM / 2), rig.ram + RIG_RAM / 2, RIG_RAM / 2, true), 0);
	rig_up(&rig, 16);
}

static int setup(void **state)
{
	(void)state;
	make(true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_fini(&rig);
	return 0;
}

static uint8_t *page(unsigned n)
{
	return rig.ram + n * GMEM_PAGE;
}

static void mark(void)
{
	for (unsigned i = 16; i < PAGES; i++) /* the rings lie before */
		page(i)[0] = (uint8_t)i;
}

/* Offers the page numbers as n bytes; true if the device gave the chain back. */
static bool list(unsigned q, const uint32_t *pfn, uint32_t bytes)
{
	struct vqdrv_seg seg = { RIG_BASE + 12 * GMEM_PAGE, bytes };
	uint32_t id, len;

	memcpy(page(12), pfn, bytes);
	vqdrv_add(&rig.q[q], &seg, 1, 0);
	rig_serve(&rig);
	return vqdrv_used(&rig.q[q], &id, &len);
}

static void test_inflate(void **state)
{
	uint32_t pfn[] = {
		FIRST + 20, FIRST + 21, FIRST + 22, FIRST + 30, FIRST + 29, FIRST + 25, FIRST + 25
	};

	(void)state;
	mark();
	assert_true(list(INFLATE, pfn, sizeof pfn));
	for (unsigned i = 16; i < PAGES; i++) {
		bool gone = (i >= 20 && i <= 22) || i == 25 || i == 29 || i == 30;

		assert_int_equal(page(i)[0], gone ? 0 : i);
	}
	assert_true(list(DEFLATE, pfn, sizeof pfn));
	page(20)[0] = 1; /* and usable again */
	assert_true(list(INFLATE, pfn, 0 * sizeof pfn + 4));
	assert_int_equal(page(20)[0], 0);
}

/* Numbers that are no RAM: the pmem half, the read-only page, nothing at all; and across an end. */
static void test_outside(void **state)
{
	static const uint32_t bad[] = { FIRST + PAGES / 2, FIRST + PAGES,    FIRST - 1, 0,
					UINT32_MAX,        FIRST + PAGES - 1 };
	uint32_t across[] = { FIRST + PAGES / 2 - 1, FIRST + PAGES / 2 };

	(void)state;
	mark();
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		assert_false(list(INFLATE, &bad[i], sizeof bad[i]));
		assert_true(vdev_status(rig.d) & VIRTIO_CONFIG_S_NEEDS_RESET);
		rig_up(&rig, 16);
	}
	assert_false(list(INFLATE, across, sizeof across));
	for (unsigned i = 16; i < PAGES; i++)
		assert_int_equal(page(i)[0], i);
}

static void test_length(void **state)
{
	uint32_t pfn[513];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(pfn); i++)
		pfn[i] = FIRST + 20;
	assert_true(list(INFLATE, pfn, 512 * 4));
	assert_false(list(INFLATE, pfn, 513 * 4));
	rig_up(&rig, 16);
	assert_false(list(INFLATE, pfn, 7));
	assert_false(vdev_is_active(rig.d));
}

/* A clone: dropped pages are the template's again. */
static void test_template(void **state)
{
	uint32_t pfn = FIRST + 20;

	(void)state;
	rig_fini(&rig);
	make(false);
	memcpy(page(20), "template", 8);
	assert_true(mmap(page(20), GMEM_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, rig.ram_fd,
			 20 * GMEM_PAGE) == page(20));
	memcpy(page(20), "clone's ", 8);
	assert_true(list(INFLATE, &pfn, sizeof pfn));
	assert_memory_equal(page(20), "template", 8);
}

static bool report(uint64_t addr, uint32_t len)
{
	struct vqdrv_seg seg = { addr, len };
	uint32_t id, n;

	vqdrv_add(&rig.q[REPORT], &seg, 0, 1);
	rig_serve(&rig);
	return vqdrv_used(&rig.q[REPORT], &id, &n) && n == 0;
}

static void test_report(void **state)
{
	(void)state;
	mark();
	assert_true(report(RIG_BASE + 20 * GMEM_PAGE, 2 * GMEM_PAGE));
	assert_int_equal(page(19)[0], 19);
	assert_int_equal(page(20)[0] + page(21)[0], 0);
	assert_int_equal(page(22)[0], 22);
	assert_true(report(RIG_BASE + 24 * GMEM_PAGE + 8, GMEM_PAGE)); /* not whole pages: nothing happens */
	assert_true(report(RIG_BASE + 24 * GMEM_PAGE, 100));
	assert_int_equal(page(24)[0], 24);
	assert_false(report(RIG_BASE + 40 * GMEM_PAGE, GMEM_PAGE)); /* not RAM */
	assert_int_equal(page(40)[0], 40);
	assert_false(vdev_is_active(rig.d));
}

/* Without statistics the reporting queue is the third. */
static void test_report_queue(void **state)
{
	struct vqdrv_seg seg = { RIG_BASE + 20 * GMEM_PAGE, GMEM_PAGE };
	uint32_t id, len;

	(void)state;
	assert_true(rig_negotiate(&rig, ~(1ull << VIRTIO_BALLOON_F_STATS_VQ)));
	rig_start(&rig, 16);
	mark();
	vqdrv_add(&rig.q[2], &seg, 0, 1);
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[2], &id, &len));
	assert_int_equal(page(20)[0], 0);
}

static void offer_stats(unsigned n, uint16_t first_tag)
{
	struct vqdrv_seg seg = { RIG_BASE + 12 * GMEM_PAGE,
				 (uint32_t)(n * sizeof(struct virtio_balloon_stat)) };

	for (unsigned i = 0; i < n; i++) {
		struct virtio_balloon_stat s = { .tag = (uint16_t)(first_tag + i), .val = 1000 + i };

		memcpy(page(12) + i * sizeof s, &s, sizeof s);
	}
	vqdrv_add(&rig.q[STATS], &seg, 1, 0);
	rig_serve(&rig);
}

static void test_stats(void **state)
{
	struct balloon_stats s;
	uint32_t id, len;

	(void)state;
	assert_false(balloon_ask_stats(rig.d)); /* no driver has spoken */
	offer_stats(3, 8);                      /* 8, 9, and one that we don't know */
	balloon_stats(rig.d, &s);
	assert_int_equal(s.count, 1);
	assert_int_equal(s.valid, 3u << 8);
	assert_int_equal(s.value[9], 1001);
	assert_false(vqdrv_used(&rig.q[STATS], &id, &len));
	assert_true(balloon_ask_stats(rig.d));
	assert_false(balloon_ask_stats(rig.d));
	assert_true(vqdrv_used(&rig.q[STATS], &id, &len));
	assert_int_equal(rig.irqs[STATS], 1);
	offer_stats(100, 0);
	balloon_stats(rig.d, &s);
	assert_int_equal(s.count, 2);
	assert_int_equal(s.valid, (1u << BALLOON_STATS_N) - 1);
	assert_true(balloon_ask_stats(rig.d));
	offer_stats(40, UINT16_MAX - 34); /* from the 36th on known ones: so far nobody reads */
	balloon_stats(rig.d, &s);
	assert_int_equal(s.count, 3);
	assert_int_equal(s.valid, 0);
	offer_stats(1, 0); /* two at a time */
	assert_false(vdev_is_active(rig.d));
	assert_false(balloon_ask_stats(rig.d));
	rig_up(&rig, 16);
	balloon_stats(rig.d, &s);
	assert_int_equal(s.count + s.valid, 0);
}

static uint32_t config(unsigned off)
{
	uint32_t v;

	vdev_config_read(rig.d, off, &v, sizeof v);
	return v;
}

static void test_config(void **state)
{
	uint32_t v = 77;

	(void)state;
	assert_int_equal(balloon_set_target(rig.d, PAGES + 1), -ERANGE);
	assert_int_equal(balloon_set_target(rig.d, PAGES), 0);
	assert_int_equal(config(0), PAGES);
	assert_int_equal(rig.config_irqs, 1);
	vdev_config_write(rig.d, 4, &v, 4);
	assert_int_equal(balloon_actual(rig.d), 77);
	assert_int_equal(config(4), 77);
	vdev_config_write(rig.d, 0, &v, 4);
	vdev_config_write(rig.d, 2, &v, 4);
	vdev_config_write(rig.d, 4, &v, 2);
	vdev_config_write(rig.d, 0, "\1\1\1\1\1\1\1\1", 8);
	assert_int_equal(config(0), PAGES);
	assert_int_equal(config(4), 77);
}

static void test_snapshot(void **state)
{
	struct vdev_snapshot s, bad;
	uint32_t v = 5, id, len;

	(void)state;
	assert_int_equal(balloon_set_target(rig.d, 9), 0);
	vdev_config_write(rig.d, 4, &v, 4);
	offer_stats(1, 0);
	vdev_save(rig.d, &s);
	vdev_set_status(rig.d, 0);
	assert_int_equal(balloon_set_target(rig.d, 1), 0);
	assert_int_equal(vdev_restore(rig.d, &s, NULL), 0);
	assert_int_equal(config(0), 9);
	assert_int_equal(config(4), 5);
	assert_true(balloon_ask_stats(rig.d)); /* the buffer was not forgotten */
	assert_true(vqdrv_used(&rig.q[STATS], &id, &len));
	bad = s;
	bad.state[1] = 1; /* target 265 */
	assert_int_equal(vdev_restore(rig.d, &bad, NULL), -EBADMSG);
	bad = s;
	bad.state[97] = 1; /* head 256 */
	assert_int_equal(vdev_restore(rig.d, &bad, NULL), -EBADMSG);
	bad = s;
	bad.state[98] = 2; /* held */
	assert_int_equal(vdev_restore(rig.d, &bad, NULL), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_inflate),      T(test_outside), T(test_length), T(test_template), T(test_report),
		T(test_report_queue), T(test_stats),   T(test_config), T(test_snapshot),
	};
	return cmocka_run_group_tests_name("vmm/balloon", tests, NULL, NULL);
}
