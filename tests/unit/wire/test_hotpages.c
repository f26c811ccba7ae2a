/* test_hotpages.c - the list of pages that clones write: what is made is valid, and nothing else is. */
#include "unit.h"

#include <string.h>

#include "wire/hotpages.h"

#define PAGES 8192u /* of the memory file */

static const struct stat memory = { .st_ino = 4711,
				    .st_size = (off_t)PAGES * HOTPAGES_PAGE,
				    .st_mtim = { .tv_sec = 1000, .tv_nsec = 5 } };

static struct hotpages made(void)
{
	struct hotpages h = { .n = 0 };

	assert_true(hotpages_add(&h, 0));
	assert_true(hotpages_add(&h, 7));
	assert_true(hotpages_add(&h, 8));
	assert_true(hotpages_add(&h, PAGES - 1));
	hotpages_seal(&h, &memory);
	return h;
}

/* Pages that follow each other are one range. */
static void test_made(void **state)
{
	static const struct hotpages_range want[] = { { 0, 1 }, { 7, 2 }, { PAGES - 1, 1 } };
	struct hotpages h = made(), none = { .n = 0 };

	(void)state;
	assert_int_equal(h.n, ARRAY_LEN(want));
	assert_memory_equal(h.ranges, want, sizeof want);
	assert_true(hotpages_valid(&h, hotpages_size(h.n), &memory));
	hotpages_seal(&none, &memory);
	assert_true(hotpages_valid(&none, hotpages_size(0), &memory));
}

/* More ranges or pages than there is room for are not taken, and what was taken holds. */
static void test_full(void **state)
{
	struct hotpages h = { .n = 0 };
	uint32_t n = 0;

	(void)state;
	while (n < PAGES / 2 && hotpages_add(&h, 2 * n))
		n++;
	assert_int_equal(n, HOTPAGES_RANGES_MAX);
	assert_true(hotpages_add(&h, 2 * n - 1)); /* of the last range */
	hotpages_seal(&h, &memory);
	assert_true(hotpages_valid(&h, sizeof h, &memory));
	h = (struct hotpages){ .n = 0 };
	for (n = 0; n < PAGES && hotpages_add(&h, n);)
		n++;
	assert_int_equal(n, HOTPAGES_PAGES_MAX);
	hotpages_seal(&h, &memory);
	assert_true(hotpages_valid(&h, hotpages_size(1), &memory));
	h.ranges[0].n++;
	hotpages_seal(&h, &memory);
	assert_false(hotpages_valid(&h, hotpages_size(1), &memory));
}

static void check_size(size_t size)
{
	struct hotpages h = made();

	assert_false(hotpages_valid(&h, size, &memory));
}

/* Each byte of the file counts, and its length. */
static void test_damaged(void **state)
{
	struct hotpages h = made();
	size_t size = hotpages_size(3);

	(void)state;
	for (size_t i = 0; i < size; i++) {
		struct hotpages bad = made();

		((uint8_t *)&bad)[i] ^= 1;
		assert_false(hotpages_valid(&bad, size, &memory));
	}
	/* more ranges than there is room for: a sanitizer sees who looks behind them */
	h.n = HOTPAGES_RANGES_MAX + 1;
	assert_false(hotpages_valid(&h, hotpages_size(h.n), &memory));
	check_size(0);
	check_size(hotpages_size(0) - 1);
	check_size(size - 1);
	check_size(size + 1);
	check_size(hotpages_size(2));
}

/* A list with a right sum can still be a wrong one. */
static void test_wrong(void **state)
{
	static const struct {
		const char *what;
		struct hotpages_range r[2];
	} rows[] = {
		{ "an empty range", { { 3, 0 }, { 5, 1 } } },
		{ "not ascending", { { 5, 1 }, { 3, 1 } } },
		{ "overlapping", { { 3, 3 }, { 5, 1 } } },
		{ "begins at the end", { { 3, 1 }, { PAGES, 1 } } },
		{ "begins behind the end", { { 3, 1 }, { PAGES + 5, 1 } } },
		{ "ends behind the end", { { 3, 1 }, { PAGES - 1, 2 } } },
		{ "wraps", { { 3, 1 }, { 5, ~0u } } },
		{ "wraps in the sum of its pages", { { 0, ~0u }, { 5, 2 } } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct hotpages h = { .n = 2, .ranges = { rows[i].r[0], rows[i].r[1] } };

		hotpages_seal(&h, &memory);
		if (hotpages_valid(&h, hotpages_size(2), &memory))
			fail_msg("%s: taken", rows[i].what);
	}
}

static void check_other(struct stat other)
{
	struct hotpages h = made();

	assert_false(hotpages_valid(&h, hotpages_size(h.n), &other));
}

/* Of another memory file, or of one that was written since. */
static void test_bound(void **state)
{
	struct stat st = memory;

	(void)state;
	st.st_ino++;
	check_other(st);
	st = memory;
	st.st_mtim.tv_sec++;
	check_other(st);
	st = memory;
	st.st_mtim.tv_nsec++;
	check_other(st);
	st = memory;
	st.st_size -= HOTPAGES_PAGE;
	check_other(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_made),  cmocka_unit_test(test_full),  cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_wrong), cmocka_unit_test(test_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
