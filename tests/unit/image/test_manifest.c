/* test_manifest.c - the manifest survives a round trip, and a damaged one is never taken for a good one. */
#include "fixture.h"

#include <errno.h>

#include "image/manifest.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char good[] = "cor-os 2\n"
			   "release 6.1.0-0-amd64\n"
			   "origin package linux-image 6.1\n"
			   "inputs " HEX_A "\n"
			   "vmlinuz " HEX_B "\n"
			   "vmlinux " HEX_A " 100\n"
			   "initrd " HEX_B " 18446744073709551615\n"
			   "agent " HEX_A " 0\n"
			   "module virtio boot " HEX_A "\n"
			   "module fuse demand " HEX_B "\n"
			   "bundle database " HEX_A "\n";

static void test_round_trip(void **state)
{
	scoped_manifest m = { 0 };
	scoped_str out = { 0 };

	(void)state;
	assert_int_equal(manifest_parse(good, &m, NULL), 0);
	assert_string_equal(m.release, "6.1.0-0-amd64");
	assert_string_equal(m.origin, "package linux-image 6.1");
	assert_string_equal(m.vmlinuz, HEX_B);
	assert_int_equal(m.vmlinux.size, 100);
	assert_true(m.initrd.size == UINT64_MAX);
	assert_int_equal(m.modules.n, 2);
	assert_int_equal(m.bundles.n, 1);
	assert_int_equal(manifest_format(&m, &out, NULL), 0);
	assert_string_equal(out.p, good);
}

static void refuse(const char *text)
{
	scoped_manifest m = { 0 };
	struct err e = { 0 };

	assert_int_equal(manifest_parse(text, &m, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "manifest"));
	assert_null(m.release);
}

/* `good` with the first `from` replaced. */
static void refuse_with(const char *from, const char *to)
{
	const char *at = strstr(good, from);
	scoped_str s = { 0 };

	assert_non_null(at);
	str_addn(&s, good, (size_t)(at - good));
	str_add(&s, to);
	str_add(&s, at + strlen(from));
	refuse(s.p);
}

static void test_damaged(void **state)
{
	(void)state;
	refuse("");
	refuse("cor-os 2\n");
	refuse_with("cor-os 2", "cor-os 1");
	refuse_with("release 6.1.0-0-amd64\n", "");
	refuse_with("release 6.1.0-0-amd64", "release ");
	refuse_with("origin", "release");
	refuse_with("origin", "unknown");
	refuse_with("inputs " HEX_A, "inputs " HEX_A "a");
	refuse_with("inputs " HEX_A, "inputs A" HEX_A);
	refuse_with("vmlinuz " HEX_B, "vmlinuz");
	refuse_with(HEX_A " 100", HEX_A);
	refuse_with(HEX_A " 100", HEX_A " ");
	refuse_with(HEX_A " 100", HEX_A " 1x");
	refuse_with(HEX_A " 100", HEX_A " 18446744073709551616");
	refuse_with("initrd", "vmlinux");
	refuse_with("inputs", "release again\ninputs");
	refuse_with("vmlinuz", "inputs " HEX_A "\nvmlinuz");
	refuse_with("release", "\nrelease");
}

/* Cut at any byte, it is refused, but where only lines of modules or the last line's end are lost. */
static void test_cut_short(void **state)
{
	const size_t required = (size_t)(strstr(good, "agent ") - good) + strlen("agent " HEX_A " 0");

	(void)state;
	for (size_t n = 0; n < required; n++) {
		scoped_free char *cut = strndup(good, n);

		assert_non_null(cut);
		refuse(cut);
	}
}

static void test_no_line_breaks(void **state)
{
	scoped_manifest m = { 0 };
	scoped_str out = { 0 };

	(void)state;
	assert_int_equal(manifest_parse(good, &m, NULL), 0);
	m.origin[3] = '\n';
	assert_int_equal(manifest_format(&m, &out, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_no_line_breaks),
	};

	return cmocka_run_group_tests_name("image/manifest", tests, NULL, NULL);
}
