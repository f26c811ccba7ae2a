/* test_kconfig.c - fragments of a kernel's configuration: what is understood, what is refused with its line,
 * how they merge, what the comparison finds; and that the tree's own fragments are well-formed. */
#include "fixture.h"

#include <errno.h>

#include "image/kbuild.h"
#include "image/kconfig.h"

static void add(struct kconfig *c, const char *text)
{
	struct err e = { 0 };

	if (kconfig_add(c, text, "f.config", &e) < 0)
		fail_msg("%s", e.msg);
}

static void expect(const struct kconfig *c, const char *want)
{
	scoped_str s = { 0 };

	str_add(&s, "");
	assert_int_equal(kconfig_format(c, &s, NULL), 0);
	assert_string_equal(s.p, want);
}

static void test_values(void **state)
{
	scoped_kconfig c = { 0 };

	(void)state;
	add(&c, "# a comment\n\n \t\nCONFIG_A=y # on\nCONFIG_B=n # off\nCONFIG_C=64 # number\n"
		"CONFIG_D=0x1aF # hexadecimal\nCONFIG_E=\"a b # c\" # text\nCONFIG_F=\"\" # no text\n");
	expect(&c, "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=64\nCONFIG_D=0x1aF\nCONFIG_E=\"a b # c\"\n"
		   "CONFIG_F=\"\"\n");
}

static void test_later_counts(void **state)
{
	scoped_kconfig c = { 0 };

	(void)state;
	add(&c, "CONFIG_A=y # on\nCONFIG_B=1 # one\n");
	add(&c, "CONFIG_B=2 # two\nCONFIG_A=n # off\nCONFIG_AB=y # new");
	expect(&c, "# CONFIG_A is not set\nCONFIG_B=2\nCONFIG_AB=y\n");
}

static void test_refuses(void **state)
{
	static const char *const bad[] = {
		"CONFIG_A=y",
		"CONFIG_A=y #",
		"CONFIG_A=y # ",
		"CONFIG_A=y #  ",
		"CONFIG_A=y  # two blanks",
		"CONFIG_A=m # a module",
		"CONFIG_A=yes # word",
		"CONFIG_A= # nothing",
		"CONFIG_A=-1 # sign",
		"CONFIG_A=0x # no digit",
		"CONFIG_A=1a # no number",
		"CONFIG_A=\"a # no end",
		"CONFIG_A=\"a\\\"b\" # escape",
		"CONFIG_=y # no name",
		"CONFIG_A-B=y # no name",
		"A=y # no prefix",
		" CONFIG_A=y # indented",
		"CONFIG_A # no value",
		"# CONFIG_B is not set\nCONFIG_A is not set",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		scoped_kconfig c = { 0 };
		scoped_free char *text = str_fmt("CONFIG_Z=y # good\n%s\n", bad[i]);
		struct err e = { 0 };

		assert_int_equal(kconfig_add(&c, text, "f.config", &e), -EINVAL);
		if (!str_starts(e.msg, "f.config:2: ") && !str_starts(e.msg, "f.config:3: "))
			fail_msg("'%s': %s", bad[i], e.msg);
	}
}

static void test_twice(void **state)
{
	scoped_kconfig c = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(kconfig_add(&c, "CONFIG_A=y # on\nCONFIG_A=y # on\n", "f.config", &e), -EINVAL);
	assert_string_equal(e.msg, "f.config:2: CONFIG_A stands there twice");
}

static void test_check(void **state)
{
	static const char text[] =
		"#\n# Linux\n#\nCONFIG_A=y\nCONFIG_AB=n\n# CONFIG_B is not set\nCONFIG_C=64\n"
		"CONFIG_D=m\nCONFIG_E=\"x\"\n";
	scoped_kconfig c = { 0 };
	scoped_strv dropped = { 0 };

	(void)state;
	add(&c, "CONFIG_A=y # there\nCONFIG_B=n # off\nCONFIG_Z=n # unknown is off\nCONFIG_C=64 # same\n"
		"CONFIG_E=\"x\" # same\n");
	assert_int_equal(kconfig_check(&c, text, &dropped, NULL), 0);
	assert_int_equal(dropped.n, 0);
	add(&c, "CONFIG_A=n # still on\nCONFIG_B=y # dropped\nCONFIG_C=65 # changed\nCONFIG_D=y # weaker\n"
		"CONFIG_E=\"y\" # changed\nCONFIG_Y=y # unknown\n");
	assert_int_equal(kconfig_check(&c, text, &dropped, NULL), 0);
	assert_int_equal(dropped.n, 6);
	assert_string_equal(dropped.p[0], "CONFIG_A=n");
	assert_string_equal(dropped.p[1], "CONFIG_B=y");
	assert_string_equal(dropped.p[2], "CONFIG_C=65");
	assert_string_equal(dropped.p[5], "CONFIG_Y=y");
}

/* Every line of the tree's fragments has a reason, no name stands twice. */
static void test_own_fragments(void **state)
{
	(void)state;
	for (const struct kbuild_profile *p = kbuild_profiles; p->name; p++) {
		scoped_kconfig c = { 0 };

		for (size_t i = 0; p->fragments[i]; i++) {
			scoped_free char *name = str_fmt("%s.config", p->fragments[i]);
			scoped_str text = { 0 };

			fix_read(FRAGMENTS, name, &text);
			add(&c, text.p);
		}
		assert_true(c.n > 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),  cmocka_unit_test(test_later_counts),
		cmocka_unit_test(test_refuses), cmocka_unit_test(test_twice),
		cmocka_unit_test(test_check),   cmocka_unit_test(test_own_fragments),
	};

	return cmocka_run_group_tests_name("image/kconfig", tests, NULL, NULL);
}
