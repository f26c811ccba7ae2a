/* test_pack.c - the codec: every record there and back, limits, truncation, the life table. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "wire/life.h"
#include "wire/plan.h"

static const struct pack_rec *const records[] = { &rec_hello,     &rec_ready,  &rec_result,  &rec_ref,
						  &rec_signal,    &rec_resize, &rec_exited,  &rec_mark,
						  &rec_ps,        &rec_stats,  &rec_process, &rec_exec,
						  &rec_resources, &rec_ctr,    &rec_update,  &rec_vmcfg,
						  &rec_mon_plan,  &rec_given,  &rec_ended };

static struct arena mem;
static unsigned count; /* gives every field its own value */

static void fill(const struct pack_rec *rec, char *to);

static char *text(size_t max)
{
	char *s = arena_fmt(&mem, "text %u", ++count);

	assert_non_null(s);
	if (strlen(s) > max)
		s[max] = 0;
	return s;
}

static void fill_list(const struct pack_field *f, void *at)
{
	struct pack_recs *recs = at;
	struct pack_strs *strs = at;
	struct pack_u32s *nums = at;

	if (f->type == PACK_RECS) {
		recs->n = f->max < 3 ? f->max : 3;
		recs->p = arena_array(&mem, recs->n, f->rec->size);
		assert_non_null(recs->p);
		for (size_t i = 0; i < recs->n; i++)
			fill(f->rec, (char *)recs->p + i * f->rec->size);
	} else if (f->type == PACK_STRS) {
		strs->n = 3;
		strs->p = arena_array(&mem, 4, sizeof *strs->p);
		assert_non_null(strs->p);
		for (size_t i = 0; i < strs->n; i++)
			strs->p[i] = text(100);
	} else {
		nums->n = 3;
		nums->p = arena_array(&mem, 3, sizeof *nums->p);
		assert_non_null(nums->p);
		for (size_t i = 0; i < nums->n; i++)
			nums->p[i] = ++count;
	}
}

static void fill_field(const struct pack_field *f, void *at)
{
	switch (f->type) {
	case PACK_BOOL:
		*(bool *)at = true;
		break;
	case PACK_U32:
		*(uint32_t *)at = ++count;
		break;
	case PACK_U64:
		*(uint64_t *)at = (uint64_t)++count << 33;
		break;
	case PACK_I64:
		*(int64_t *)at = -(int64_t)++count;
		break;
	case PACK_STR:
		*(char **)at = text(f->max);
		break;
	case PACK_BLOB:
		*(struct pack_blob *)at = (struct pack_blob){ .p = (const uint8_t *)text(8), .n = 5 };
		break;
	case PACK_REC:
		fill(f->rec, at);
		break;
	case PACK_RECS:
	case PACK_STRS:
	case PACK_U32S:
		fill_list(f, at);
		break;
	case PACK_N:
		fail();
	}
}

static void fill(const struct pack_rec *rec, char *to)
{
	for (size_t i = 0; i < rec->n_fields; i++)
		fill_field(&rec->fields[i], to + rec->fields[i].off);
}

/* Marks the bytes of the struct that a field covers. */
static void cover(const struct pack_field *f, uint8_t *map)
{
	static const size_t sizes[PACK_N] = {
		[PACK_BOOL] = sizeof(bool),
		[PACK_U32] = 4,
		[PACK_U64] = 8,
		[PACK_I64] = 8,
		[PACK_STR] = sizeof(char *),
		[PACK_BLOB] = sizeof(struct pack_blob),
		[PACK_STRS] = sizeof(struct pack_strs),
		[PACK_U32S] = sizeof(struct pack_u32s),
		[PACK_RECS] = sizeof(struct pack_recs),
	};
	size_t n = f->type == PACK_REC ? f->rec->size : sizes[f->type];

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(map[f->off + i], 0); /* no two fields overlap */
		map[f->off + i] = 1;
	}
}

/* A member that the table forgot leaves a hole larger than alignment needs. */
static void every_member_is_in_the_table(void **state)
{
	(void)state;
	for (size_t r = 0; r < ARRAY_LEN(records); r++) {
		uint8_t *map = calloc(1, records[r]->size);
		size_t hole = 0;

		assert_non_null(map);
		for (size_t i = 0; i < records[r]->n_fields; i++)
			cover(&records[r]->fields[i], map);
		for (size_t i = 0; i < records[r]->size; i++) {
			hole = map[i] ? 0 : hole + 1;
			if (hole >= 8)
				fail_msg("%s: bytes at %zu are in no field", records[r]->name, i);
		}
		free(map);
	}
}

static void every_record_there_and_back(void **state)
{
	(void)state;
	for (size_t r = 0; r < ARRAY_LEN(records); r++) {
		const struct pack_rec *rec = records[r];
		char *one = calloc(1, rec->size), *two = calloc(1, rec->size);
		struct str first = { 0 }, second = { 0 };
		struct arena a = { 0 };

		fill(rec, one);
		assert_int_equal(pack_encode(rec, one, &first), 0);
		assert_int_equal(pack_decode(rec, first.p, first.len, &a, two), 0);
		assert_int_equal(pack_encode(rec, two, &second), 0);
		assert_int_equal(first.len, second.len);
		assert_memory_equal(first.p, second.p, first.len);
		str_fini(&first);
		str_fini(&second);
		arena_fini(&a);
		free(one);
		free(two);
	}
}

static void every_truncation_is_refused(void **state)
{
	(void)state;
	for (size_t r = 0; r < ARRAY_LEN(records); r++) {
		const struct pack_rec *rec = records[r];
		char *one = calloc(1, rec->size), *two = calloc(1, rec->size);
		struct str enc = { 0 };

		fill(rec, one);
		assert_int_equal(pack_encode(rec, one, &enc), 0);
		for (size_t n = 0; n < enc.len; n++) {
			struct arena a = { 0 };
			char *exact = malloc(n ? n : 1);

			memcpy(exact, enc.p, n);
			assert_int_equal(pack_decode(rec, exact, n, &a, two), -EBADMSG);
			for (size_t i = 0; i < rec->size; i++)
				assert_int_equal(two[i], 0);
			free(exact);
			arena_fini(&a);
		}
		str_addc(&enc, 0); /* and so is one byte too many */
		struct arena a = { 0 };
		assert_int_equal(pack_decode(rec, enc.p, enc.len, &a, two), -EBADMSG);
		arena_fini(&a);
		str_fini(&enc);
		free(one);
		free(two);
	}
}

static void null_and_empty_differ(void **state)
{
	struct msg_result none = { .code = 1, .text = NULL }, empty = { .code = 1, .text = (char[]){ "" } },
			  got;
	struct str enc = { 0 };
	struct arena a = { 0 };

	(void)state;
	assert_int_equal(pack_encode(&rec_result, &none, &enc), 0);
	assert_int_equal(pack_decode(&rec_result, enc.p, enc.len, &a, &got), 0);
	assert_null(got.text);
	str_reset(&enc);
	assert_int_equal(pack_encode(&rec_result, &empty, &enc), 0);
	assert_int_equal(pack_decode(&rec_result, enc.p, enc.len, &a, &got), 0);
	assert_string_equal(got.text, "");
	str_fini(&enc);
	arena_fini(&a);
}

static void limits_hold_both_ways(void **state)
{
	struct msg_ready big = { .release = NULL }, got;
	char name[80];
	struct str enc = { 0 };
	struct arena a = { 0 };
	uint8_t *p;

	(void)state;
	memset(name, 'x', sizeof name - 1);
	name[64] = 0; /* exactly the limit */
	big.release = name;
	assert_int_equal(pack_encode(&rec_ready, &big, &enc), 0);
	assert_int_equal(pack_decode(&rec_ready, enc.p, enc.len, &a, &got), 0);
	p = (uint8_t *)enc.p + 12; /* after version and nonce: the length, plus one */
	assert_int_equal(p[0], 65);
	p[0] = 66;
	assert_int_equal(pack_decode(&rec_ready, enc.p, enc.len, &a, &got), -EBADMSG);
	name[64] = 'x';
	name[65] = 0;
	str_reset(&enc);
	assert_int_equal(pack_encode(&rec_ready, &big, &enc), -E2BIG);
	str_fini(&enc);
	arena_fini(&a);
}

static void hostile_counts_allocate_nothing(void **state)
{
	/* a msg_ps that claims 32768 entries in 4 bytes, and one with a NUL inside a text */
	static const uint8_t many[] = { 0, 0x80, 0, 0 };
	static const uint8_t nul[] = { 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 'a', 0 };
	struct arena a = { 0 };
	struct msg_ps ps;
	struct msg_result res;

	(void)state;
	assert_int_equal(pack_decode(&rec_ps, many, sizeof many, &a, &ps), -EBADMSG);
	assert_int_equal(a.used, 0);
	assert_int_equal(pack_decode(&rec_result, nul, sizeof nul, &a, &res), -EBADMSG);
	arena_fini(&a);
}

static void arena_limit_is_an_error(void **state)
{
	struct msg_ps_entry e[100] = { { .pid = 1 } };
	struct msg_ps ps = { .entries = { .p = e, .n = 100 } }, got;
	struct arena a = { .max = 1000 };
	struct str enc = { 0 };

	(void)state;
	assert_int_equal(pack_encode(&rec_ps, &ps, &enc), 0);
	assert_int_equal(pack_decode(&rec_ps, enc.p, enc.len, &a, &got), -ENOMEM);
	assert_null(got.entries.p);
	str_fini(&enc);
	arena_fini(&a);
}

static void booleans_are_strict(void **state)
{
	struct msg_signal s = { .all = true }, got;
	struct arena a = { 0 };
	struct str enc = { 0 };

	(void)state;
	assert_int_equal(pack_encode(&rec_signal, &s, &enc), 0);
	enc.p[enc.len - 1] = 2;
	assert_int_equal(pack_decode(&rec_signal, enc.p, enc.len, &a, &got), -EBADMSG);
	str_fini(&enc);
	arena_fini(&a);
}

/* Every cell of the life table says something, and what it says is consistent. */
static void life_table_cell_by_cell(void **state)
{
	(void)state;
	for (unsigned e = 0; e < LIFE_EVENT_N; e++) {
		for (unsigned s = 0; s < LIFE_STATE_N; s++) {
			const struct life_cell *c = life_cell((enum life_state)s, (enum life_event)e);
			struct err err = { 0 };
			int r = life_check((enum life_state)s, (enum life_event)e, &err);

			assert_true(c->next < LIFE_STATE_N);
			assert_int_equal(c->verdict == LIFE_REFUSE, r < 0);
			assert_int_equal(c->verdict == LIFE_REFUSE, c->why != NULL);
			/* only requests are refused: what happened can't be */
			if (e >= LIFE_IS_CREATED)
				assert_int_not_equal(c->verdict, LIFE_REFUSE);
			if (s == LIFE_STOPPED && r < 0) {
				assert_int_equal(r, -ESRCH);
				assert_non_null(strstr(err.msg, "container not running"));
			}
			/* nothing leaves the stopped state */
			if (s == LIFE_STOPPED && c->verdict == LIFE_GO)
				assert_int_equal(c->next, LIFE_STOPPED);
		}
	}
	assert_int_equal(life_cell(LIFE_STATE_N, LIFE_DO_START)->verdict, LIFE_REFUSE);
	assert_int_equal(life_cell(LIFE_CREATED, LIFE_EVENT_N)->verdict, LIFE_REFUSE);
}

/* The ways that callers rely on, spelled out. */
static void life_ways(void **state)
{
	static const struct {
		enum life_state from;
		enum life_event event;
		enum life_verdict verdict;
		enum life_state to;
	} want[] = {
		{ LIFE_CREATING, LIFE_IS_CREATED, LIFE_GO, LIFE_CREATED },
		{ LIFE_CREATING, LIFE_CALLER_GONE, LIFE_GO, LIFE_STOPPED },
		{ LIFE_CREATING, LIFE_DO_DELETE, LIFE_REFUSE, 0 },
		{ LIFE_CREATING, LIFE_DO_DELETE_FORCE, LIFE_GO, LIFE_STOPPED },
		{ LIFE_CREATED, LIFE_DO_START, LIFE_GO, LIFE_CREATED },
		{ LIFE_CREATED, LIFE_IS_STARTED, LIFE_GO, LIFE_RUNNING },
		{ LIFE_CREATED, LIFE_DO_DELETE, LIFE_GO, LIFE_STOPPED },
		{ LIFE_CREATED, LIFE_DO_PAUSE, LIFE_REFUSE, 0 },
		{ LIFE_RUNNING, LIFE_DO_START, LIFE_REFUSE, 0 },
		{ LIFE_RUNNING, LIFE_DO_PAUSE, LIFE_GO, LIFE_PAUSED },
		{ LIFE_RUNNING, LIFE_DO_DELETE, LIFE_REFUSE, 0 },
		{ LIFE_PAUSED, LIFE_DO_EXEC, LIFE_REFUSE, 0 },
		{ LIFE_PAUSED, LIFE_DO_KILL, LIFE_GO, LIFE_RUNNING },
		{ LIFE_PAUSED, LIFE_DO_RESUME, LIFE_GO, LIFE_RUNNING },
		{ LIFE_STOPPED, LIFE_DO_KILL, LIFE_REFUSE, 0 },
		{ LIFE_STOPPED, LIFE_DO_DELETE, LIFE_GO, LIFE_STOPPED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		const struct life_cell *c = life_cell(want[i].from, want[i].event);

		assert_int_equal(c->verdict, want[i].verdict);
		if (c->verdict == LIFE_GO)
			assert_int_equal(c->next, want[i].to);
	}
	for (unsigned s = 0; s < LIFE_STATE_N; s++)
		assert_int_equal(life_by_name(life_name((enum life_state)s)), s);
	assert_int_equal(life_by_name("nonsense"), LIFE_STATE_N);
}

static void messages_have_names_and_records(void **state)
{
	(void)state;
	assert_ptr_equal(msg_record(MSG_A_CREATE), &rec_ctr);
	assert_ptr_equal(msg_record(MSG_A_EXITED), &rec_exited);
	assert_null(msg_record(MSG_DATA));
	assert_null(msg_record((enum msg_type)9999));
	assert_string_equal(msg_name(MSG_A_HELLO), "hello");
	assert_string_equal(msg_name((enum msg_type)9999), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_member_is_in_the_table),
		cmocka_unit_test(every_record_there_and_back),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(null_and_empty_differ),
		cmocka_unit_test(limits_hold_both_ways),
		cmocka_unit_test(hostile_counts_allocate_nothing),
		cmocka_unit_test(arena_limit_is_an_error),
		cmocka_unit_test(booleans_are_strict),
		cmocka_unit_test(life_table_cell_by_cell),
		cmocka_unit_test(life_ways),
		cmocka_unit_test(messages_have_names_and_records),
	};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	arena_fini(&mem);
	return r;
}
