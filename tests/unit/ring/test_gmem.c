/* test_gmem.c - the accessor: what is inside a region is reached, nothing else is. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "ring/gmem.h"

static uint8_t ram[3 * GMEM_PAGE], rom[GMEM_PAGE];

static struct gmem two_regions(void)
{
	struct gmem m = { 0 };

	assert_int_equal(gmem_add(&m, gpa(0x10000), ram, sizeof ram, true), 0);
	assert_int_equal(gmem_add(&m, gpa(0x13000), rom, sizeof rom, false), 0);
	return m;
}

static void test_add(void **state)
{
	struct gmem m = two_regions();

	(void)state;
	assert_int_equal(gmem_add(&m, gpa(0), NULL, GMEM_PAGE, true), -EINVAL);
	assert_int_equal(gmem_add(&m, gpa(0), ram, 0, true), -EINVAL);
	assert_int_equal(gmem_add(&m, gpa(1), ram, GMEM_PAGE, true), -EINVAL);
	assert_int_equal(gmem_add(&m, gpa(0), ram, GMEM_PAGE + 1, true), -EINVAL);
	assert_int_equal(gmem_add(&m, gpa(UINT64_MAX - 0xFFF), ram, 2 * GMEM_PAGE, true),
			 -EINVAL); /* wraps */
	assert_int_equal(gmem_add(&m, gpa(0xF000), ram, 2 * GMEM_PAGE, true),
			 -EINVAL);                                                   /* overlaps its start */
	assert_int_equal(gmem_add(&m, gpa(0x12000), ram, GMEM_PAGE, true), -EINVAL); /* inside */
	assert_int_equal(gmem_add(&m, gpa(0x13000), ram, GMEM_PAGE, true), -EINVAL); /* the same */
	assert_int_equal(m.n, 2);
	for (unsigned i = 2; i < GMEM_REGIONS_MAX; i++)
		assert_int_equal(gmem_add(&m, gpa(0x100000 + i * GMEM_PAGE), ram, GMEM_PAGE, true), 0);
	assert_int_equal(gmem_add(&m, gpa(0x200000), ram, GMEM_PAGE, true), -ENOSPC);
}

static void test_slice(void **state)
{
	struct gmem m = two_regions();

	(void)state;
	assert_ptr_equal(gmem_slice(&m, gpa(0x10000), 1, GMEM_WRITE), ram);
	assert_ptr_equal(gmem_slice(&m, gpa(0x10000), sizeof ram, GMEM_WRITE), ram);
	assert_ptr_equal(gmem_slice(&m, gpa(0x12FFF), 1, GMEM_WRITE), ram + sizeof ram - 1);
	assert_ptr_equal(gmem_slice(&m, gpa(0x13004), 8, GMEM_READ), rom + 4);
	assert_null(gmem_slice(&m, gpa(0x10000), 0, GMEM_READ));
	assert_null(gmem_slice(&m, gpa(0xFFFF), 1, GMEM_READ));
	assert_null(gmem_slice(&m, gpa(0x14000), 1, GMEM_READ));
	assert_null(gmem_slice(&m, gpa(0x10000), sizeof ram + 1, GMEM_READ)); /* not across regions */
	assert_null(gmem_slice(&m, gpa(0x12FFF), 2, GMEM_READ));
	assert_null(gmem_slice(&m, gpa(0x10001), UINT64_MAX, GMEM_READ)); /* sum wraps */
	assert_null(gmem_slice(&m, gpa(UINT64_MAX), 1, GMEM_READ));
	assert_null(gmem_slice(&m, gpa(0x13000), 1, GMEM_WRITE)); /* read-only */
}

static void test_copy(void **state)
{
	struct gmem m = two_regions();
	uint32_t v = 0x12345678, back = 0;

	(void)state;
	assert_int_equal(gmem_write(&m, gpa(0x12FFC), &v, sizeof v), 0);
	assert_int_equal(gmem_read(&m, gpa(0x12FFC), &back, sizeof back), 0);
	assert_int_equal(back, v);
	assert_int_equal(gmem_write(&m, gpa(0x12FFD), &v, sizeof v), -EFAULT);
	assert_int_equal(gmem_write(&m, gpa(0x13000), &v, sizeof v), -EFAULT);
	assert_int_equal(gmem_read(&m, gpa(0x13FFD), &back, sizeof back), -EFAULT);
	assert_int_equal(back, v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_slice),
		cmocka_unit_test(test_copy),
	};
	return cmocka_run_group_tests_name("ring/gmem", tests, NULL, NULL);
}
