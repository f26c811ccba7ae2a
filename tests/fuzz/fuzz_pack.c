/* fuzz_pack.c - decoding any record from any bytes.
 * Promises: what is accepted has exactly one encoding, the bytes it came from; what is refused leaves
 * the record zeroed; memory use is bounded by the arena. */
#include "base/arena.h"
#include "fuzz.h"
#include "wire/plan.h"

static const struct pack_rec *const records[] = { &rec_hello,     &rec_ready,  &rec_result,  &rec_ref,
						  &rec_signal,    &rec_resize, &rec_exited,  &rec_mark,
						  &rec_ps,        &rec_stats,  &rec_process, &rec_exec,
						  &rec_resources, &rec_ctr,    &rec_update,  &rec_vmcfg,
						  &rec_mon_plan };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	const struct pack_rec *rec = records[fuzz_below(&in, ARRAY_LEN(records) - 1)];
	struct arena a = { .max = 1u << 20 };
	struct str again = { 0 };
	size_t n;
	uint8_t *bytes = fuzz_bytes(&in, 1u << 16, &n);
	char *v = malloc(rec->size);
	int r;

	if (!v)
		abort();
	memset(v, 0x5a, rec->size);
	r = pack_decode(rec, bytes, n, &a, v);
	FUZZ_ASSERT(a.used <= a.max);
	if (r == 0) {
		FUZZ_ASSERT(pack_encode(rec, v, &again) == 0);
		FUZZ_ASSERT(again.len == n && (n == 0 || memcmp(again.p, bytes, n) == 0));
	} else {
		for (size_t i = 0; i < rec->size; i++)
			FUZZ_ASSERT(v[i] == 0);
	}
	str_fini(&again);
	arena_fini(&a);
	free(v);
	free(bytes);
	return 0;
}
