/* test_vq.c - the device's side of a ring against a driver that keeps the contract, and one that doesn't.
 * Each check of ring/vq.c has a case here that fails without it. */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring/vq.h"
#include "vqdrv.h"

#define BASE 0x40000000ull
#define RAM  (8u * GMEM_PAGE)
#define ROM  (BASE + RAM)
#define N    16

static struct gmem mem;
static struct vq q;
static struct vqdrv v;
static struct vq_chain c;
static uint8_t *ram, *rom;
static uint64_t data; /* first free guest address */

static int setup(void **state)
{
	(void)state;
	ram = calloc(1, RAM);
	rom = calloc(1, GMEM_PAGE);
	mem = (struct gmem){ 0 };
	if (!ram || !rom || gmem_add(&mem, gpa(BASE), ram, RAM, true) < 0 ||
	    gmem_add(&mem, gpa(ROM), rom, GMEM_PAGE, false) < 0)
		return -1;
	data = vqdrv_init(&v, ram, BASE, BASE, N);
	q = (struct vq){
		.st = { .desc = v.desc, .avail = v.avail, .used = v.used, .size = N, .enabled = 1 }
	};
	return vq_start(&q, &mem, false, true);
}

static int teardown(void **state)
{
	(void)state;
	free(ram);
	free(rom);
	return 0;
}

static void test_chain(void **state)
{
	struct vqdrv_seg seg[] = { { data, 8 }, { data + 100, 3 }, { data + 200, 5 }, { data + 300, 50 } };
	char text[12] = "";
	uint32_t id, len;
	uint16_t head;

	(void)state;
	assert_int_equal(vq_pop(&q, &c), 0);
	memcpy(vqdrv_at(&v, data), "abcdefgh", 8);
	memcpy(vqdrv_at(&v, data + 100), "ijk", 3);
	head = vqdrv_add(&v, seg, 2, 2);
	assert_int_equal(vq_pop(&q, &c), 1);
	assert_int_equal(c.head, head);
	assert_int_equal(c.n_out, 2);
	assert_int_equal(c.n_in, 2);
	assert_int_equal(c.out_len, 11);
	assert_int_equal(c.in_len, 55);
	assert_int_equal(vq_chain_read(&c, 6, text, sizeof text), 5);
	assert_memory_equal(text, "ghijk", 5);
	assert_int_equal(vq_chain_read(&c, 11, text, 1), 0);
	assert_int_equal(vq_chain_write(&c, 3, "XYZT", 4), 4);
	assert_memory_equal(vqdrv_at(&v, data + 203), "XY\0", 3);
	assert_memory_equal(vqdrv_at(&v, data + 300), "ZT", 2);
	assert_int_equal(vq_chain_write(&c, 54, "..", 2), 1);
	assert_false(vqdrv_used(&v, &id, &len));
	vq_push(&q, c.head, 7);
	assert_true(vqdrv_used(&v, &id, &len));
	assert_int_equal(id, head);
	assert_int_equal(len, 7);
	assert_int_equal(vq_pop(&q, &c), 0);
}

/* More chains than entries: every index wraps. */
static void test_wrap(void **state)
{
	struct vqdrv_seg seg = { data, 4 };
	uint32_t id, len;

	(void)state;
	v.avail_idx = v.used_seen = q.st.next_avail = q.st.next_used = 0xFFF8;
	*vqdrv_avail_idx(&v) = 0xFFF8;
	for (unsigned i = 0; i < 3 * N; i++) {
		uint16_t head = vqdrv_add(&v, &seg, 1, 0);

		assert_int_equal(vq_pop(&q, &c), 1);
		assert_int_equal(c.head, head);
		vq_push(&q, c.head, i);
		assert_true(vqdrv_used(&v, &id, &len));
		assert_int_equal(id, head);
		assert_int_equal(len, i);
	}
}

static void test_unpop(void **state)
{
	struct vqdrv_seg seg = { data, 4 };
	uint16_t head = vqdrv_add(&v, &seg, 1, 0);

	(void)state;
	assert_int_equal(vq_pop(&q, &c), 1);
	vq_unpop(&q, 1);
	assert_int_equal(vq_pop(&q, &c), 1);
	assert_int_equal(c.head, head);
}

/* More chains than entries, each of them fine; and once broken, a driver's repair does not heal. */
static void test_too_many(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < N; i++)
		vqdrv_desc(&v, i, data, 4, 0, 0);
	*vqdrv_avail_idx(&v) = N + 1;
	assert_int_equal(vq_pop(&q, &c), -EPROTO);
	*vqdrv_avail_idx(&v) = 1;
	assert_int_equal(vq_pop(&q, &c), -EPROTO);
}

/* What lies behind the table looks like a descriptor, too. */
static void test_beyond_table(void **state)
{
	(void)state;
	v.desc = q.st.desc = data;
	for (uint16_t i = 0; i <= N; i++)
		vqdrv_desc(&v, i, data + 0x1000, 4, 0, 0);
	assert_int_equal(vq_start(&q, &mem, false, true), 0);
	vqdrv_offer(&v, N - 1);
	assert_int_equal(vq_pop(&q, &c), 1);
	vqdrv_offer(&v, N);
	assert_int_equal(vq_pop(&q, &c), -EPROTO);
}

/* Several at once: in order, over the ring's end. */
static void test_push_n(void **state)
{
	struct vqdrv_seg seg = { data, 4 };
	struct vring_used_elem e[3];
	uint32_t id, len;

	(void)state;
	for (unsigned round = 0; round < 11; round++) {
		for (unsigned i = 0; i < 3; i++) {
			e[i] = (struct vring_used_elem){ .id = vqdrv_add(&v, &seg, 0, 1), .len = i };
			assert_int_equal(vq_pop(&q, &c), 1);
		}
		vq_push_n(&q, e, 3);
		for (unsigned i = 0; i < 3; i++) {
			assert_true(vqdrv_used(&v, &id, &len));
			assert_int_equal(id, e[i].id);
			assert_int_equal(len, i);
		}
		assert_false(vqdrv_used(&v, &id, &len));
	}
}

static void expect_broken(void)
{
	assert_int_equal(vq_pop(&q, &c), -EPROTO);
	assert_true(q.broken);
	assert_int_equal(vq_pop(&q, &c), -EPROTO); /* and stays it */
	vq_push(&q, 0, 0);
	assert_int_equal(*(uint16_t *)vqdrv_at(&v, v.used + 2), 0); /* nothing is written any more */
	assert_false(vq_should_notify(&q));
	assert_false(vq_kicks_on(&q));
}

static void test_start(void **state)
{
	static const struct {
		struct vq_state st;
	} bad[] = {
		{ { .desc = BASE, .avail = BASE + 0x1000, .used = BASE + 0x2000, .size = 0 } },
		{ { .desc = BASE, .avail = BASE + 0x1000, .used = BASE + 0x2000, .size = 3 } },
		{ { .desc = BASE, .avail = BASE + 0x1000, .used = BASE + 0x2000, .size = 512 } },
		{ { .desc = BASE + 8, .avail = BASE + 0x1000, .used = BASE + 0x2000, .size = N } },
		{ { .desc = BASE, .avail = BASE + 0x1001, .used = BASE + 0x2000, .size = N } },
		{ { .desc = BASE, .avail = BASE + 0x1000, .used = BASE + 0x2002, .size = N } },
		{ { .desc = BASE - 16, .avail = BASE + 0x1000, .used = BASE + 0x2000, .size = N } },
		{ { .desc = ROM + 0x1000 - 16 * N + 16, .avail = BASE, .used = BASE + 0x2000, .size = N } },
		{ { .desc = BASE, .avail = ROM + 0x1000 - 4 - 2 * N, .used = BASE + 0x2000, .size = N } },
		{ { .desc = BASE, .avail = BASE + 0x1000, .used = ROM, .size = N } },
		{ { .desc = BASE, .avail = BASE + 0x1000, .used = ROM - 4 - 8 * N, .size = N } },
		{ { .desc = UINT64_MAX - 15, .avail = BASE + 0x1000, .used = BASE + 0x2000, .size = N } },
	};
	struct vq_state edge = { .desc = ROM + 0x1000 - 16 * N,
				 .avail = ROM + 0x1000 - 6 - 2 * N,
				 .used = ROM - 8 - 8 * N,
				 .size = N };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		q = (struct vq){ .st = bad[i].st };
		assert_int_equal(vq_start(&q, &mem, true, true), -EPROTO);
		assert_true(q.broken);
		assert_null(q.mem);
	}
	q = (struct vq){ .st = edge };
	assert_int_equal(vq_start(&q, &mem, true, true), 0);
	vq_stop(&q);
	assert_int_equal(vq_pop(&q, &c), 0); /* a stopped queue is empty */
	assert_false(vq_kicks_on(&q));
	vq_kicks_off(&q);
	vq_push(&q, 0, 0);
	assert_false(vq_should_notify(&q));
}

static void test_bad_window(void **state)
{
	(void)state;
	*vqdrv_avail_idx(&v) = N + 1;
	expect_broken();
}

static void test_bad_head(void **state)
{
	(void)state;
	vqdrv_desc(&v, 0, data, 4, 0, 0);
	vqdrv_offer(&v, N);
	expect_broken();
}

static void test_bad_next(void **state)
{
	(void)state;
	vqdrv_desc(&v, 0, data, 4, VRING_DESC_F_NEXT, N);
	vqdrv_offer(&v, 0);
	expect_broken();
}

static void test_circle(void **state)
{
	(void)state;
	vqdrv_desc(&v, 0, data, 4, VRING_DESC_F_NEXT, 1);
	vqdrv_desc(&v, 1, data, 4, VRING_DESC_F_NEXT, 0);
	vqdrv_offer(&v, 0);
	expect_broken();
}

static void test_bad_segment(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
	} bad[] = {
		{ BASE + 0x1000, 0, 0 },     { BASE - 1, 1, 0 },
		{ BASE + RAM - 4, 5, 0 },                                    /* into the next region */
		{ ROM + 0x1000, 1, 0 },      { ROM, 4, VRING_DESC_F_WRITE }, /* read-only */
		{ BASE + 1, UINT32_MAX, 0 }, { UINT64_MAX, 2, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		(void)teardown(NULL);
		assert_int_equal(setup(NULL), 0);
		vqdrv_desc(&v, 0, bad[i].addr, bad[i].len, bad[i].flags, 0);
		vqdrv_offer(&v, 0);
		expect_broken();
	}
}

static void test_order(void **state)
{
	(void)state;
	vqdrv_desc(&v, 0, data, 4, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	vqdrv_desc(&v, 1, data, 4, 0, 0);
	vqdrv_offer(&v, 0);
	expect_broken();
}

/* An indirect table of n entries at `at` of the kind that the flags say; the last has no next. */
static void put_table(uint64_t at, unsigned n, uint16_t flags)
{
	for (unsigned i = 0; i < n; i++) {
		struct vring_desc d = { .addr = data, .len = 1, .flags = flags, .next = (uint16_t)(i + 1) };

		if (i + 1 < n)
			d.flags |= VRING_DESC_F_NEXT;
		memcpy(vqdrv_at(&v, at + i * sizeof d), &d, sizeof d);
	}
}

static void test_indirect(void **state)
{
	uint64_t at = BASE + 2 * GMEM_PAGE;

	(void)state;
	put_table(at, VQ_SEGS_MAX, 0);
	/* the write flag of the referring descriptor means nothing */
	vqdrv_desc(&v, 0, at, VQ_SEGS_MAX * 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
	vqdrv_offer(&v, 0);
	assert_int_equal(vq_pop(&q, &c), 1);
	assert_int_equal(c.n_out, VQ_SEGS_MAX);
	/* a table behind ordinary descriptors */
	put_table(at, 3, VRING_DESC_F_WRITE);
	vqdrv_desc(&v, 1, data, 4, VRING_DESC_F_NEXT, 2);
	vqdrv_desc(&v, 2, at, 48, VRING_DESC_F_INDIRECT, 0);
	vqdrv_offer(&v, 1);
	assert_int_equal(vq_pop(&q, &c), 1);
	assert_int_equal(c.n_out, 1);
	assert_int_equal(c.n_in, 3);
	/* one segment more than there is room for */
	put_table(at, VQ_SEGS_MAX, 0);
	vqdrv_desc(&v, 3, data, 4, VRING_DESC_F_NEXT, 4);
	vqdrv_desc(&v, 4, at, VQ_SEGS_MAX * 16, VRING_DESC_F_INDIRECT, 0);
	vqdrv_offer(&v, 3);
	expect_broken();
}

static void test_bad_indirect(void **state)
{
	uint64_t at = BASE + 2 * GMEM_PAGE;
	static const struct {
		uint32_t len;
		uint16_t flags, inner;
		uint64_t offset;
	} bad[] = {
		{ 0, 0, 0, 0 },
		{ 17, 0, 0, 0 },
		{ (VQ_SEGS_MAX + 1) * 16, 0, 0, 0 },
		{ 16, VRING_DESC_F_NEXT, 0, 0 },                    /* more behind the table */
		{ 16, 0, VRING_DESC_F_INDIRECT, 0 },                /* nested */
		{ 32, 0, 0, RAM + GMEM_PAGE - 16 - 2 * GMEM_PAGE }, /* table half outside */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		(void)teardown(NULL);
		assert_int_equal(setup(NULL), 0);
		put_table(at, 1, bad[i].inner);
		vqdrv_desc(&v, 0, at + bad[i].offset, bad[i].len,
			   (uint16_t)(VRING_DESC_F_INDIRECT | bad[i].flags), 1);
		vqdrv_desc(&v, 1, data, 4, 0, 0);
		vqdrv_offer(&v, 0);
		expect_broken();
	}
}

static void test_indirect_not_negotiated(void **state)
{
	uint64_t at = BASE + 2 * GMEM_PAGE;

	(void)state;
	assert_int_equal(vq_start(&q, &mem, false, false), 0);
	put_table(at, 1, 0);
	vqdrv_desc(&v, 0, at, 16, VRING_DESC_F_INDIRECT, 0);
	vqdrv_offer(&v, 0);
	expect_broken();
}

/* A table whose entries form a circle ends as well. */
static void test_indirect_circle(void **state)
{
	uint64_t at = BASE + 2 * GMEM_PAGE;
	struct vring_desc d = { .addr = data, .len = 1, .flags = VRING_DESC_F_NEXT };

	(void)state;
	memcpy(vqdrv_at(&v, at), &d, sizeof d);
	vqdrv_desc(&v, 0, at, 16, VRING_DESC_F_INDIRECT, 0);
	vqdrv_offer(&v, 0);
	expect_broken();
}

static void serve_one(void)
{
	struct vqdrv_seg seg = { data, 4 };

	vqdrv_add(&v, &seg, 1, 0);
	assert_int_equal(vq_pop(&q, &c), 1);
	vq_push(&q, c.head, 0);
}

static void test_notify_flags(void **state)
{
	(void)state;
	serve_one();
	assert_true(vq_should_notify(&q));
	assert_false(vq_should_notify(&q)); /* nothing new */
	*vqdrv_avail_flags(&v) = VRING_AVAIL_F_NO_INTERRUPT;
	serve_one();
	assert_false(vq_should_notify(&q));
	vq_kicks_off(&q);
	assert_int_equal(*vqdrv_used_flags(&v), VRING_USED_F_NO_NOTIFY);
	assert_false(vq_kicks_on(&q));
	assert_int_equal(*vqdrv_used_flags(&v), 0);
	vqdrv_offer(&v, 0);
	assert_true(vq_kicks_on(&q)); /* one slipped in */
}

static void test_notify_event(void **state)
{
	(void)state;
	assert_int_equal(vq_start(&q, &mem, true, false), 0);
	*vqdrv_used_event(&v) = 1; /* interrupt when the second is used */
	serve_one();
	assert_false(vq_should_notify(&q));
	serve_one();
	assert_true(vq_should_notify(&q));
	serve_one();
	assert_false(vq_should_notify(&q));
	assert_int_equal(vq_start(&q, &mem, true, false), 0); /* as after a restore: */
	assert_true(vq_should_notify(&q));                    /* whether the last one arrived is not known */
	*vqdrv_used_event(&v) = 4;
	serve_one();
	serve_one();
	assert_true(vq_should_notify(&q));
	vq_kicks_off(&q);
	assert_int_equal(*vqdrv_avail_event(&v), 0);
	assert_false(vq_kicks_on(&q));
	assert_int_equal(*vqdrv_avail_event(&v), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_chain),
		T(test_push_n),
		T(test_too_many),
		T(test_beyond_table),
		T(test_wrap),
		T(test_unpop),
		T(test_start),
		T(test_bad_window),
		T(test_bad_head),
		T(test_bad_next),
		T(test_circle),
		T(test_bad_segment),
		T(test_order),
		T(test_indirect),
		T(test_bad_indirect),
		T(test_indirect_not_negotiated),
		T(test_indirect_circle),
		T(test_notify_flags),
		T(test_notify_event),
	};
	return cmocka_run_group_tests_name("ring/vq", tests, NULL, NULL);
}
