/* test_mem.c - base/arena.h, base/ring.h and base/buf.h: limits, alignment, order of bytes. (Sequences
 * of operations are the fuzz target "ring".) */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/ring.h"

static void test_arena_blocks(void **state)
{
	scoped_arena a = { 0 };
	char *seen[200];

	for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
		size_t n = i * 37 % 6000;

		seen[i] = arena_alloc(&a, n);
		assert_non_null(seen[i]);
		assert_int_equal((uintptr_t)seen[i] % _Alignof(max_align_t), 0);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(seen[i][k], 0);
		memset(seen[i], (int)i + 1, n ? n : 1);
	}
	for (size_t i = 0; i < ARRAY_LEN(seen); i++)
		assert_int_equal((unsigned char)seen[i][0], (i + 1) & 0xff);
	arena_fini(&a);
	arena_fini(&a);
	assert_int_equal(a.used, 0);
	assert_non_null(arena_alloc(&a, 1));
}

static void test_arena_limits(void **state)
{
	scoped_arena a = { .max = 1000 };

	assert_null(arena_alloc(&a, 1001));
	assert_non_null(arena_alloc(&a, 512));
	assert_null(arena_alloc(&a, 512));
	assert_non_null(arena_alloc(&a, 256));
	assert_true(a.used <= a.max);
	a.max = 0;
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_alloc(&a, SIZE_MAX - 64));
	assert_null(arena_strn(&a, "x", SIZE_MAX));
	assert_null(arena_array(&a, SIZE_MAX / 2, 3));
	assert_null(arena_array(&a, SIZE_MAX / 8 + 2, 8)); /* 8, if it wrapped */
	assert_non_null(arena_array(&a, 10, 3));
	assert_non_null(arena_array(&a, 0, 8));
}

static void test_arena_text(void **state)
{
	scoped_arena a = { 0 };
	char big[5000];

	memset(big, 'b', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	assert_string_equal(arena_str(&a, "text"), "text");
	assert_memory_equal(arena_strn(&a, "a\0b", 3), "a\0b", 4);
	assert_string_equal(arena_strn(&a, NULL, 0), "");
	assert_string_equal(arena_fmt(&a, "%s-%d", "x", -1), "x--1");
	assert_string_equal(arena_fmt(&a, "%s", big), big);
}

static void test_ring(void **state)
{
	struct ring r = { 0 };
	struct iovec v[2];

	ring_fini(&r);
	assert_int_equal(ring_init(&r, 8), 0);
	assert_int_equal(ring_peek(&r, v), 0);
	assert_int_equal(ring_put(&r, "abcdefghij", 10), 8);
	assert_int_equal(ring_put(&r, "x", 1), 0);
	assert_int_equal(ring_room(&r), 0);
	ring_drop(&r, 5);
	assert_int_equal(ring_put(&r, "12", 2), 2);
	assert_int_equal(ring_peek(&r, v), 2);
	assert_int_equal(v[0].iov_len, 3);
	assert_memory_equal(v[0].iov_base, "fgh", 3);
	assert_memory_equal(v[1].iov_base, "12", 2);
	ring_put_last(&r, "3456", 4);
	assert_int_equal(r.len, 8);
	ring_drop(&r, 2);
	ring_drop(&r, SIZE_MAX);
	assert_int_equal(r.len, 0);
	ring_put_last(&r, "0123456789", 10);
	assert_int_equal(ring_peek(&r, v), 1);
	assert_memory_equal(v[0].iov_base, "23456789", 8);
	ring_fini(&r);
	ring_fini(&r);
	assert_int_equal(ring_put(&r, "x", 1), 0);
}

static void test_buf(void **state)
{
	scoped_str s = { 0 };
	struct buf_reader r;
	const uint8_t *p = NULL;
	uint8_t v8 = 0;
	uint16_t v16 = 0;
	uint32_t v32 = 0;
	uint64_t v64 = 0;

	buf_put_u8(&s, 0xfe);
	buf_put_u16(&s, 0x1234);
	buf_put_u32(&s, 0x89abcdef);
	buf_put_u64(&s, UINT64_C(0xf123456789abcdef));
	str_add(&s, "tail");
	assert_int_equal(s.len, 19);
	assert_memory_equal(s.p, "\xfe\x34\x12\xef\xcd\xab\x89\xef\xcd\xab\x89\x67\x45\x23\xf1tail", 19);
	r = buf_reader(s.p, s.len);
	assert_int_equal(buf_get_u8(&r, &v8), 0);
	assert_int_equal(buf_get_u16(&r, &v16), 0);
	assert_int_equal(buf_get_u32(&r, &v32), 0);
	assert_int_equal(buf_get_u64(&r, &v64), 0);
	assert_int_equal(buf_get_bytes(&r, 4, &p), 0);
	assert_int_equal(v8, 0xfe);
	assert_int_equal(v16, 0x1234);
	assert_true(v32 == 0x89abcdef && v64 == UINT64_C(0xf123456789abcdef));
	assert_memory_equal(p, "tail", 4);
	assert_int_equal(buf_get_bytes(&r, 0, &p), 0);
}

static void test_buf_end(void **state)
{
	struct buf_reader r = buf_reader("abc", 3);
	const uint8_t *p = NULL;
	uint32_t v32 = 7;
	uint8_t v8 = 7;

	assert_int_equal(buf_get_u32(&r, &v32), -EBADMSG);
	/* there are bytes left, but a broken message stays broken */
	assert_int_equal(buf_get_u8(&r, &v8), -EBADMSG);
	assert_int_equal(buf_get_bytes(&r, 0, &p), -EBADMSG);
	assert_int_equal(v32, 7);
	assert_int_equal(v8, 7);
	assert_null(p);

	r = buf_reader("abc", 3);
	assert_int_equal(buf_get_bytes(&r, SIZE_MAX, &p), -EBADMSG);
	r = buf_reader(NULL, 0);
	assert_int_equal(buf_get_bytes(&r, 0, &p), 0);
	assert_int_equal(buf_get_u8(&r, &v8), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arena_blocks), cmocka_unit_test(test_arena_limits),
		cmocka_unit_test(test_arena_text),   cmocka_unit_test(test_ring),
		cmocka_unit_test(test_buf),          cmocka_unit_test(test_buf_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
