/* fuzz_oci_state.c - a state file. Promises: what is accepted has an id that can't leave a directory and
 * an absolute bundle, is written again, and reads back as the same text; what is refused leaves
 * nothing behind. The table of `list` has one line per container, free of control characters. */
#include "fuzz_oci.h"
#include "oci/state.h"

static void check_table(const struct oci_state *s)
{
	struct str table = { 0 };
	size_t lines = 0;

	state_list_table(s, 1, &table);
	FUZZ_ASSERT(str_check(&table) == 0);
	for (size_t i = 0; i < table.len; i++) {
		lines += table.p[i] == '\n';
		FUZZ_ASSERT((unsigned char)table.p[i] >= 0x20 || table.p[i] == '\n');
	}
	FUZZ_ASSERT(lines == 2);
	str_fini(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct str once = { 0 }, twice = { 0 };
	struct oci_state s, back;
	struct err e = { 0 };
	size_t n = 0;
	char *text = (char *)fuzz_bytes(&in, size, &n);
	int r = state_read(text, n, &s, &e);

	if (r < 0) {
		check_refusal(r, &e, NULL, "state");
		FUZZ_ASSERT(!s.mem.blocks && !s.id);
	} else {
		FUZZ_ASSERT(str_is_id(s.id) && s.bundle[0] == '/' && s.pid >= 0 && s.status < STATE_STATUS_N);
		state_write(&s, "\t", &once);
		FUZZ_ASSERT(str_check(&once) == 0);
		FUZZ_ASSERT(state_read(once.p, once.len, &back, &e) == 0);
		state_write(&back, "\t", &twice);
		FUZZ_ASSERT(str_eq(once.p, twice.p));
		check_table(&s);
		state_fini(&back);
	}
	state_fini(&s);
	str_fini(&once);
	str_fini(&twice);
	free(text);
	return 0;
}
