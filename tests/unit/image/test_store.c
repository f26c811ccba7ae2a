/* Which layers of an image become one file, for every number that an image may have. */
#include <string.h>

#include "unit.h"

#include "image/store.h"

static void runs(void **state)
{
	(void)state;
	for (size_t room = STORE_DEVICES - 1; room <= STORE_DEVICES; room++) {
		struct store_run last = { 0 };

		for (size_t n = 1; n <= 600; n++) {
			struct store_run r = store_run(n, room);
			size_t above = n - r.to, len = r.to - r.from;

			if (n <= room) {
				assert_int_equal(len, 0);
				continue;
			}
			assert_int_equal(r.from, room - 9);
			assert_true(r.to > r.from && len % 8 == 0);
			assert_true(above >= 1 && above <= 8);
			assert_true(r.from + 1 + above <= room);
			assert_true(n == room + 1 || r.to >= last.to); /* what is on top changes first */
			last = r;
		}
	}
}

static void names(void **state)
{
	scoped_strv all = { 0 }, moved = { 0 };
	char one[SHA256_HEX], other[SHA256_HEX];

	(void)state;
	strv_split(&all, "a,b,c,ab,", ',');
	strv_split(&moved, "b,c", ',');
	assert_int_equal(strv_check(&all) + strv_check(&moved), 0);
	store_run_name(&all, (struct store_run){ 1, 3 }, one);
	store_run_name(&moved, (struct store_run){ 0, 2 }, other);
	assert_string_equal(one, other); /* what is below does not count */
	store_run_name(&all, (struct store_run){ 0, 3 }, other);
	assert_string_not_equal(one, other);
	store_run_name(&all, (struct store_run){ 0, 2 }, one);
	store_run_name(&all, (struct store_run){ 3, 5 }, other);
	assert_string_not_equal(one, other); /* where one name ends counts */
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(runs), cmocka_unit_test(names) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
