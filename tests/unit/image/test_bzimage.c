/* test_bzimage.c - finding the kernel in a bzImage, with headers that lie. */
#include "fixture.h"

#include <errno.h>

#include "image/bzimage.h"

#define XZ_STREAM                                                                                            \
	"\xfd"                                                                                               \
	"7zXZ\0"                                                                                             \
	"0123456789"

static void make(struct str *to)
{
	fix_bzimage(to, XZ_STREAM, 16, 1, 1000);
}

static void test_finds_payload(void **state)
{
	scoped_str s = { 0 };
	struct bzimage b;

	(void)state;
	make(&s);
	assert_int_equal(bzimage_parse(s.p, s.len, &b, NULL), 0);
	assert_ptr_equal(b.payload, s.p + 1024 + 16);
	assert_int_equal(b.len, 16);
	assert_int_equal(b.unpacked, 1000);
	assert_string_equal(b.packer->name, "xz");
	assert_string_equal(b.release, FIX_RELEASE);
}

/* gzip needs no trailer: the stream ends with the size. */
static void test_packers(void **state)
{
	static const struct {
		const char *magic, *name;
		size_t n, trailer;
	} rows[] = {
		{ "\x1f\x8b", "gzip", 2, 0 },
		{ "\xfd"
		  "7zXZ\0",
		  "xz", 6, 4 },
		{ "\x28\xb5\x2f\xfd", "zstd", 4, 4 },
		{ "\x02\x21\x4c\x18", "lz4", 4, 4 },
		{ "BZh", "bzip2", 3, 4 },
		{ "\x5d\0\0", "lzma", 3, 4 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char stream[64] = { 0 };
		scoped_str s = { 0 };
		struct bzimage b;

		memcpy(stream, rows[i].magic, rows[i].n);
		stream[60] = 7;
		fix_bzimage(&s, stream, sizeof(stream), 0, 0);
		assert_int_equal(bzimage_parse(s.p, s.len, &b, NULL), 0);
		assert_string_equal(b.packer->name, rows[i].name);
		assert_int_equal(b.len, sizeof(stream) - rows[i].trailer);
		assert_int_equal(b.unpacked, 7);
	}
}

static void refuse(struct str *s, int code)
{
	struct bzimage b = { .unpacked = 77 };
	struct err e = { 0 };

	assert_int_equal(bzimage_parse(s->p, s->len, &b, &e), code);
	assert_true(e.msg[0] != '\0');
	assert_int_equal(b.unpacked, 77); /* untouched */
}

static void test_hostile_headers(void **state)
{
	static const struct {
		size_t at, width;
		uint32_t value;
		int code;
	} rows[] = {
		{ 0x1fe, 2, 0x55aa, -ENOEXEC },     /* boot flag */
		{ 0x202, 4, 0x12345678, -ENOEXEC }, /* magic */
		{ 0x206, 2, 0x0207, -ENOEXEC },     /* a protocol without payload fields */
		{ 0x248, 4, 0xffffffff, -ENOEXEC }, /* start behind the end */
		{ 0x248, 4, 0xfffffc00, -ENOEXEC }, /* start that wraps in 32 bits */
		{ 0x24c, 4, 0xffffffff, -ENOEXEC }, /* length behind the end */
		{ 0x24c, 4, 20 + 33, -ENOEXEC },    /* one byte behind the end */
		{ 0x24c, 4, 0, -ENOEXEC },          /* nothing */
		{ 0x24c, 4, 3, -ENOEXEC },          /* no room for the trailer */
		{ 0x1f0, 2, 0xff00, -ENOEXEC },     /* 255 sectors of setup code */
		{ 0x410, 4, 0x41414141, -ENOTSUP }, /* unknown compression */
		{ 0x420, 4, 0, -ENOEXEC },          /* unpacks to nothing */
		{ 0x420, 4, 0xffffffff, -ENOEXEC }, /* unpacks to 4 GiB */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_str s = { 0 };

		make(&s);
		if (rows[i].width == 2)
			fix_put16(&s, rows[i].at, (uint16_t)rows[i].value);
		else
			fix_put32(&s, rows[i].at, rows[i].value);
		refuse(&s, rows[i].code);
	}
}

/* Every shorter file is refused, and none is read beyond its end (the sanitizer build sees that). */
static void test_cut_short(void **state)
{
	scoped_str s = { 0 };

	(void)state;
	make(&s);
	for (size_t n = 0; n < s.len - 32; n++) {
		char *exact = n ? malloc(n) : NULL;
		struct bzimage b;

		if (n)
			memcpy(exact, s.p, n);
		assert_int_equal(bzimage_parse(exact, n, &b, NULL), -ENOEXEC);
		free(exact);
	}
}

/* The release becomes a part of paths: anything strange in it counts as "does not say". */
static void test_release(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "6.12.9-x_y+z~1 (a) #1", "6.12.9-x_y+z~1" },
		{ "../../etc (a)", "" },
		{ "..", "" },
		{ ".. (a)", "" },
		{ "6.1\n", "" },
		{ "", "" },
		{ "unterminated-and-far-too-long-for-a-release-of-a-kernel-as-it-has-more-than-63-bytes x",
		  "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_str s = { 0 };
		struct bzimage b;

		make(&s);
		memcpy(s.p + 0x300, rows[i].text, strlen(rows[i].text) + 1);
		assert_int_equal(bzimage_parse(s.p, s.len, &b, NULL), 0);
		assert_string_equal(b.release, rows[i].want);
	}
}

static void test_release_outside(void **state)
{
	scoped_str s = { 0 };
	struct bzimage b;
	size_t len;

	(void)state;
	make(&s);
	fix_put16(&s, 0x20e, 0xffff);
	assert_int_equal(bzimage_parse(s.p, s.len, &b, NULL), 0);
	assert_string_equal(b.release, "");
	len = s.len; /* what lies behind the file's end in memory is not the file's */
	str_add(&s, " 9.9 behind the end");
	fix_put16(&s, 0x20e, (uint16_t)(len + 1 - 0x200));
	assert_int_equal(bzimage_parse(s.p, len, &b, NULL), 0);
	assert_string_equal(b.release, "");
	fix_put16(&s, 0x20e, (uint16_t)(len - 0x200 - 1));
	s.p[len - 1] = '7'; /* a release that the end cuts off */
	assert_int_equal(bzimage_parse(s.p, len, &b, NULL), 0);
	assert_string_equal(b.release, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_payload),   cmocka_unit_test(test_packers),
		cmocka_unit_test(test_hostile_headers), cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_release),         cmocka_unit_test(test_release_outside),
	};

	return cmocka_run_group_tests_name("image/bzimage", tests, NULL, NULL);
}
