/* test_rng.c - the entropy device. */
#include "unit.h"

#include <string.h>

#include "rig.h"
#include "vmm/dev/dev.h"

static struct rig rig;

static int setup(void **state)
{
	struct vdev *d = NULL;

	(void)state;
	if (rng_new(&d, NULL) < 0 || rig_init(&rig, d) < 0)
		return -1;
	rig_up(&rig, 16);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_fini(&rig);
	return 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static void test_fill(void **state)
{
	struct vqdrv_seg seg[] = { { rig.data, 8 }, { rig.data + 100, 24 }, { rig.data + 1000, 400 } };
	uint8_t *p = vqdrv_at(&rig.q[0], rig.data);
	uint32_t id, len;
	uint16_t head = vqdrv_add(&rig.q[0], seg, 1, 2);

	(void)state;
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[0], &id, &len));
	assert_int_equal(id, head);
	assert_int_equal(len, 424);
	assert_true(all_zero(p, 100)); /* the readable part, and what lies between */
	assert_true(all_zero(p + 124, 1000 - 124));
	assert_true(all_zero(p + 1400, 600));
	assert_false(all_zero(p + 100, 24));
	assert_false(all_zero(p + 1392, 8)); /* to the last byte */
	assert_int_equal(rig.irqs[0], 1);
}

/* A huge request gets a part; one without room gets nothing, but its chain back. */
static void test_bounds(void **state)
{
	struct vqdrv_seg big = { rig.data, 64 * 1024 }, out = { rig.data, 8 };
	uint32_t id, len;

	(void)state;
	vqdrv_add(&rig.q[0], &big, 0, 1);
	vqdrv_add(&rig.q[0], &out, 1, 0);
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[0], &id, &len));
	assert_int_equal(len, 4096);
	assert_true(all_zero(vqdrv_at(&rig.q[0], rig.data + 4096), 60 * 1024));
	assert_true(vqdrv_used(&rig.q[0], &id, &len));
	assert_int_equal(len, 0);
	assert_true(vdev_is_active(rig.d));
}

/* More requests than one turn serves: all are answered in the end, and the driver's kicks are heard again. */
static void test_many(void **state)
{
	struct vqdrv_seg seg = { rig.data, 4 };
	uint32_t id, len;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		for (unsigned k = 0; k < 16; k++)
			vqdrv_add(&rig.q[0], &seg, 0, 1);
		rig_serve(&rig);
		for (unsigned k = 0; k < 16; k++)
			assert_true(vqdrv_used(&rig.q[0], &id, &len) && len == 4);
		assert_int_equal(*vqdrv_avail_event(&rig.q[0]), rig.q[0].avail_idx);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_fill),
		T(test_bounds),
		T(test_many),
	};
	return cmocka_run_group_tests_name("vmm/rng", tests, NULL, NULL);
}
