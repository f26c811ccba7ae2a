/* test_cpio.c - the initramfs writer: exact bytes, the same bytes for any order, and what it refuses. */
#include "fixture.h"

#include <errno.h>

#include "image/cpio.h"

/* A directory, a file of three bytes in it and a device, byte for byte as the format says. */
static void test_golden(void **state)
{
	static const char want[] =
		/* magic, ino, mode, uid, gid, links, mtime, size, 4 x device, name's size, check */
		"070701"
		"00000001"
		"000041ED"
		"00000000"
		"00000000"
		"00000002"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000004"
		"00000000"
		"bin\0\0\0"
		"070701"
		"00000002"
		"000081ED"
		"00000000"
		"00000000"
		"00000001"
		"00000000"
		"00000003"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000006"
		"00000000"
		"bin/x\0"
		"abc\0"
		"070701"
		"00000003"
		"00002180"
		"00000000"
		"00000000"
		"00000001"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000005"
		"00000001"
		"00000008"
		"00000000"
		"console\0\0\0"
		"070701"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000001"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"0000000B"
		"00000000"
		"TRAILER!!!\0\0\0";
	scoped_cpio c = { 0 };
	scoped_str out = { 0 };

	(void)state;
	cpio_dir(&c, "bin", 0755);
	cpio_file(&c, "bin/x", 0755, "abc", 3);
	cpio_char_device(&c, "console", 0600, 5, 1);
	assert_int_equal(cpio_write(&c, &out, NULL), 0);
	assert_int_equal(out.len, 512);
	assert_memory_equal(out.p, want, sizeof(want) - 1);
	for (size_t i = sizeof(want) - 1; i < out.len; i++)
		assert_int_equal(out.p[i], 0);
}

static void build(struct str *to, const int *order)
{
	scoped_cpio c = { 0 };

	for (int i = 0; i < 4; i++) {
		if (order[i] == 0)
			cpio_dir(&c, "lib", 0755);
		if (order[i] == 1)
			cpio_file(&c, "lib/b", 0644, "bbbbb", 5);
		if (order[i] == 2)
			cpio_file(&c, "lib/a", 0644, "", 0);
		if (order[i] == 3)
			cpio_file(&c, "init", 0755, "x", 1);
	}
	assert_int_equal(cpio_write(&c, to, NULL), 0);
}

static void test_same_bytes_for_any_order(void **state)
{
	scoped_str a = { 0 }, b = { 0 };

	(void)state;
	build(&a, (const int[]){ 0, 1, 2, 3 });
	build(&b, (const int[]){ 3, 2, 1, 0 });
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.p, b.p, a.len);
}

static void refuse(const char *path, const char *other, int code)
{
	scoped_cpio c = { 0 };
	scoped_str out = { 0 };
	struct err e = { 0 };

	if (other)
		cpio_file(&c, other, 0644, "", 0);
	cpio_file(&c, path, 0644, "", 0);
	assert_int_equal(cpio_write(&c, &out, &e), code);
	assert_non_null(strstr(e.msg, "initrd"));
}

static void test_refuses(void **state)
{
	(void)state;
	refuse("", NULL, -EINVAL);
	refuse("/init", NULL, -EINVAL);
	refuse("init/", NULL, -EINVAL);
	refuse("./init", NULL, -EINVAL);
	refuse("..", NULL, -EINVAL);
	refuse("a//b", NULL, -EINVAL);
	refuse("a", "a", -EEXIST);
	refuse("lib/a", NULL, -ENOENT);
	refuse("lib/a", "lib", -ENOENT); /* "lib" is a file */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_same_bytes_for_any_order),
		cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests_name("image/cpio", tests, NULL, NULL);
}
