/* test_sha256.c - the test vectors of FIPS 180-4 and the same bytes in pieces of every size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/sha256.h"

/* Both ways: by the processor's instructions, if it has them, and without. */
static void expect(const void *p, size_t n, const char *want)
{
	uint8_t digest[SHA256_LEN];
	char hex[SHA256_HEX];
	struct sha256 s;

	sha256_hex(p, n, hex);
	assert_string_equal(hex, want);
	sha256_init_portable(&s);
	sha256_add(&s, p, n);
	sha256_done(&s, digest);
	sha256_to_hex(digest, hex);
	assert_string_equal(hex, want);
}

static void test_vectors(void **state)
{
	struct sha256 s;
	uint8_t digest[SHA256_LEN];
	char block[1000], hex[SHA256_HEX];

	(void)state;
	expect("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	expect("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	expect("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
	       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	memset(block, 'a', sizeof(block));
	sha256_init(&s);
	for (int i = 0; i < 1000; i++)
		sha256_add(&s, block, sizeof(block));
	sha256_done(&s, digest);
	sha256_to_hex(digest, hex);
	assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Lengths around the padding's edges, cut in two at every place. */
static void test_pieces(void **state)
{
	uint8_t bytes[200], digest[SHA256_LEN];
	char whole[SHA256_HEX], parts[SHA256_HEX];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		sha256_hex(bytes, n, whole);
		expect(bytes, n, whole);
		for (size_t cut = 0; cut <= n; cut++) {
			struct sha256 s;

			sha256_init(&s);
			sha256_add(&s, bytes, cut);
			sha256_add(&s, bytes + cut, n - cut);
			sha256_done(&s, digest);
			sha256_to_hex(digest, parts);
			assert_string_equal(parts, whole);
		}
	}
}

static void test_fd(void **state)
{
	static uint8_t bytes[40000];
	char want[SHA256_HEX], got[SHA256_HEX];
	scoped_fd fd = -1;

	(void)state;
	memset(bytes, 3, sizeof(bytes));
	sha256_hex(bytes, sizeof(bytes), want);
	fd = io_memfd("x", bytes, sizeof(bytes));
	assert_true(fd >= 0);
	assert_int_equal(sha256_fd_hex(fd, got), 0);
	assert_string_equal(got, want);
	assert_true(sha256_fd_hex(-1, got) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_fd),
	};

	return cmocka_run_group_tests_name("base/sha256", tests, NULL, NULL);
}
