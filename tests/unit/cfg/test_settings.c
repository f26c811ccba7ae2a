/* test_settings.c - the settings: where each key may come from, bounds, files on disk. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/io.h"
#include "cfg/settings.h"

#define MIB (1ull << 20)

/* A value that the row accepts. */
static const char *good_value(const struct opt *o)
{
	switch (o->type) {
	case OPT_PATH:
		return "/some/file";
	case OPT_ENUM:
		return o->values[1];
	case OPT_SIZE:
		return "256M";
	case OPT_U64:
		return "2";
	case OPT_DURATION:
		return "7s";
	case OPT_WORDS:
		return "one two";
	case OPT_FLAG:
	case OPT_BOOL:
		return "true";
	case OPT_OCTAL:
		return "0600";
	case OPT_STR:
	case OPT_STRS:
	case OPT_INT:
	case OPT_LIMIT:
	case OPT_TYPE_N:
		break;
	}
	return "1";
}

#define assert_says(e, part)                                                                                 \
	do {                                                                                                 \
		if (!strstr((e).msg, (part)))                                                                \
			fail_msg("\"%s\" is not in \"%s\"", (part), (e).msg);                                \
	} while (0)

static int parse(struct settings *s, const char *text, struct err *e)
{
	return settings_parse(s, "cor.conf", text, strlen(text), e);
}

static void every_row_is_sound(void **state)
{
	(void)state;
	for (size_t i = 0; i < settings_table.n; i++) {
		const struct opt *o = &settings_table.rows[i];

		assert_true(o->name && *o->name && o->help && *o->help);
		assert_true(o->offset < sizeof(struct settings));
		assert_true((o->type == OPT_ENUM) == (o->values != NULL));
		assert_true(o->from & OPT_FROM_FILE); /* the host can decide everything */
		assert_true(o->help[strlen(o->help) - 1] != '.');
		assert_ptr_equal(opt_find(&settings_table, o->name), o); /* no name twice */
	}
}

static void every_row_by_file_and_command_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < settings_table.n; i++) {
		const struct opt *o = &settings_table.rows[i];
		scoped_settings a = { 0 };
		scoped_settings b = { 0 };
		scoped_str line = { 0 };
		scoped_str from_file = { 0 };
		scoped_str from_arg = { 0 };
		struct err e = { 0 };

		assert_int_equal(settings_init(&a, "/os", &e), 0);
		assert_int_equal(settings_init(&b, "/os", &e), 0);
		str_addf(&line, "%s=%s", o->name, good_value(o));
		assert_int_equal(parse(&a, line.p, &e), 0);
		assert_int_equal(settings_set_arg(&b, line.p, &e), 0);
		settings_json(&from_file, &a);
		settings_json(&from_arg, &b);
		assert_string_equal(from_file.p, from_arg.p);
	}
}

/* Of an annotation nothing but the VM's size is taken: every other row is refused, and stays. */
static void annotations_are_closed(void **state)
{
	static const char *const open[] = { "vm.memory", "vm.vcpus" };
	size_t n_open = 0;

	(void)state;
	for (size_t i = 0; i < settings_table.n; i++) {
		const struct opt *o = &settings_table.rows[i];
		scoped_settings s = { 0 };
		scoped_str key = { 0 };
		scoped_str before = { 0 };
		scoped_str after = { 0 };
		struct err e = { 0 };
		bool is_open = strcmp(o->name, open[0]) == 0 || strcmp(o->name, open[1]) == 0;
		int r;

		assert_int_equal(settings_init(&s, "/os", &e), 0);
		settings_json(&before, &s);
		str_addf(&key, "%s%s", SETTINGS_PREFIX, o->name);
		r = settings_set_annotation(&s, key.p, good_value(o), &e);
		settings_json(&after, &s);
		assert_int_equal(r, is_open ? 0 : -EPERM);
		assert_int_equal(settings_allows(&s, o->name, OPT_FROM_ANNOTATION), is_open);
		assert_int_equal(strcmp(before.p, after.p) == 0, !is_open);
		if (!is_open)
			assert_says(e, "annotations.allow = ");
		n_open += is_open;
	}
	assert_int_equal(n_open, 2);
}

static void the_host_opens_annotations_by_pattern(void **state)
{
	scoped_settings s = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(settings_init(&s, "/os", &e), 0);
	assert_int_equal(parse(&s, "annotations.allow = vm.kernel_params qemu.*", &e), 0);
	assert_int_equal(settings_set_annotation(&s, "dev.cor.vm.kernel_params", "quiet", &e), 0);
	assert_int_equal(settings_set_annotation(&s, "dev.cor.qemu.accel", "tcg", &e), 0);
	assert_int_equal(settings_set_annotation(&s, "dev.cor.vm.kernel", "/k", &e), -EPERM);
	assert_int_equal(settings_set_annotation(&s, "dev.cor.hypervisor", "qemu", &e), -EPERM);
	assert_string_equal(s.kernel_params.p[0], "quiet");
	assert_int_equal(s.accel, SETTINGS_ACCEL_TCG);
}

static void nothing_opens_the_allow_lists(void **state)
{
	scoped_settings s = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(settings_init(&s, "/os", &e), 0);
	assert_int_equal(parse(&s, "annotations.allow = * annotations.allow\nspec.allow = *", &e), 0);
	assert_int_equal(settings_set_annotation(&s, "dev.cor.annotations.allow", "x", &e), -EPERM);
	assert_int_equal(settings_set_annotation(&s, "dev.cor.spec.allow", "x", &e), -EPERM);
	assert_int_equal(settings_set_annotation(&s, "dev.cor.vm.kernel", "/k", &e), 0);
	assert_int_equal(settings_set_spec(&s, "annotations.allow", "x", &e), -EINVAL);
	assert_int_equal(settings_set_spec(&s, "vm.image.path", "/x", &e), -EINVAL);
}

static void annotations_of_others_are_ignored(void **state)
{
	scoped_settings s = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(settings_init(&s, "/os", &e), 0);
	assert_int_equal(settings_set_annotation(&s, "io.podman.annotations.init", "FALSE", &e), 0);
	assert_int_equal(settings_set_annotation(&s, "dev.corx", "1", &e), 0);
	assert_int_equal(settings_set_annotation(&s, "", "1", &e), 0);
	assert_int_equal(settings_set_annotation(&s, "dev.cor.vm.memroy", "1G", &e), -EINVAL);
	assert_says(e, "did you mean \"dev.cor.vm.memory\"?");
	assert_int_equal(settings_set_annotation(&s, "dev.cor.", "1G", &e), -EINVAL);
}

static void config_stays_within_the_hosts_bounds(void **state)
{
	static const struct {
		const char *key, *value, *says;
	} cases[] = {
		{ "dev.cor.vm.memory", "3G",
		  "dev.cor.vm.memory: 3G of memory is more than vm.memory_max, 2G" },
		{ "dev.cor.vm.memory", "100M", "less than vm.memory_min, 128M" },
		{ "dev.cor.vm.memory", "1M", "out of range" },
		{ "dev.cor.vm.vcpus", "5", "5 virtual CPUs are more than vm.vcpus_max, 4" },
		{ "dev.cor.vm.vcpus", "0", "out of range" },
		{ "dev.cor.vm.vcpus", "two",
		  "dev.cor.vm.vcpus in config.json's annotations: \"two\" can't be used" },
	};
	scoped_settings s = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(settings_init(&s, "/os", &e), 0);
	assert_int_equal(parse(&s, "vm.memory_max = 2G\nvm.vcpus_max = 4", &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_true(settings_set_annotation(&s, cases[i].key, cases[i].value, &e) < 0);
		assert_says(e, cases[i].says);
	}
	assert_int_equal(s.memory, 512 * MIB);
	assert_int_equal(s.vcpus, 1);
	assert_false(s.memory_asked || s.vcpus_asked);
	assert_int_equal(settings_set_spec(&s, "vm.hwConfig.memory", "4294967296", &e), -ERANGE);
	assert_says(e, "vm.hwConfig.memory: 4G of memory is more than");
	assert_int_equal(settings_set_annotation(&s, "dev.cor.vm.memory", "2G", &e), 0);
	assert_true(s.memory_asked);
	assert_int_equal(settings_set_arg(&s, "vm.memory=3G", &e), 0); /* the host itself isn't bound */
}

static void the_spec_section_is_closed_until_opened(void **state)
{
	static const char *const fields[] = { "vm.kernel.path", "vm.kernel.initrd", "vm.kernel.parameters",
					      "vm.hypervisor.path", "vm.hypervisor.parameters" };
	scoped_settings s = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(settings_init(&s, "/os", &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		assert_false(settings_allows(&s, fields[i], OPT_FROM_SPEC));
		assert_int_equal(settings_set_spec(&s, fields[i], "/x", &e), -EPERM);
		assert_says(e, "spec.allow = ");
		assert_says(e, fields[i]);
	}
	assert_string_equal(s.kernel, "/os/vmlinux");
	assert_int_equal(settings_set_spec(&s, "vm.hwConfig.vcpus", "2", &e), 0);
	assert_int_equal(s.vcpus, 2);

	assert_int_equal(parse(&s, "spec.allow = vm.kernel vm.hypervisor.path", &e), 0);
	assert_true(settings_allows(&s, "vm.kernel.path", OPT_FROM_SPEC));
	assert_true(settings_allows(&s, "vm.hypervisor.path", OPT_FROM_SPEC));
	assert_false(settings_allows(&s, "vm.hypervisor.parameters", OPT_FROM_SPEC));
	assert_false(settings_allows(&s, "vm.kernel.path", OPT_FROM_ANNOTATION));
	assert_int_equal(settings_set_spec(&s, "vm.kernel.path", "/k", &e), 0);
	assert_int_equal(settings_set_spec(&s, "vm.kernel.parameters", "a=b", &e), 0);
	assert_int_equal(settings_set_spec(&s, "vm.hypervisor.path", "q", &e), -EINVAL);
	assert_says(e, "vm.hypervisor.path: ");
	assert_string_equal(s.kernel, "/k");
	assert_string_equal(s.kernel_params.p[0], "a=b");
}

static void patterns_match_at_dots_only(void **state)
{
	scoped_settings s = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(settings_init(&s, "/os", &e), 0);
	assert_int_equal(parse(&s, "annotations.allow = vm.kernel\nspec.allow = vm.kern", &e), 0);
	assert_true(settings_allows(&s, "vm.kernel", OPT_FROM_ANNOTATION));
	assert_false(settings_allows(&s, "vm.kernel_params", OPT_FROM_ANNOTATION));
	assert_false(settings_allows(&s, "vm.kernel.path", OPT_FROM_SPEC));
	assert_false(settings_allows(&s, "no.such", OPT_FROM_FILE));
	assert_true(settings_allows(&s, "vm.kernel", OPT_FROM_FILE));
}

static void later_sources_win(void **state)
{
	scoped_settings s = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(settings_init(&s, "/os", &e), 0);
	assert_int_equal(parse(&s, "vm.memory = 1G\nvm.vcpus = 2\nvm.kernel_params = a", &e), 0);
	assert_int_equal(settings_set_arg(&s, "vm.memory=2G", &e), 0);
	assert_int_equal(settings_set_arg(&s, "vm.kernel_params=b c", &e), 0);
	assert_int_equal(settings_set_annotation(&s, "dev.cor.vm.memory", "256M", &e), 0);
	assert_int_equal(s.memory, 256 * MIB);
	assert_int_equal(s.vcpus, 2);
	assert_int_equal(s.kernel_params.n, 3);
	assert_string_equal(s.kernel_params.p[2], "c");
}

static void bad_arguments_and_files_change_nothing(void **state)
{
	static const char *const args[] = { "vm.memory",      "vm.memory=",       "vm.memory=1",   "=1", "",
					    "vm.memroy=512M", "vm.memory_min=1T", "hypervisor=xen" };
	scoped_settings s = { 0 };
	scoped_str before = { 0 };
	scoped_str after = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(settings_init(&s, "/os", &e), 0);
	assert_int_equal(settings_set_arg(&s, "vm.memory_max=1G", &e), 0);
	settings_json(&before, &s);
	for (size_t i = 0; i < ARRAY_LEN(args); i++)
		assert_true(settings_set_arg(&s, args[i], &e) < 0);
	assert_true(parse(&s, "vm.vcpus = 3\nqemu.params = a b\nvm.memory = x\n", &e) < 0);
	assert_true(parse(&s, "vm.memory_min = 2G\n", &e) < 0);
	assert_says(e, "vm.memory_min is 2G, more than vm.memory_max, 1G");
	settings_json(&after, &s);
	assert_string_equal(before.p, after.p);
}

static void vm_memory_follows_the_limit(void **state)
{
	static const struct {
		uint64_t limit, host, expect;
	} cases[] = {
		{ 0, 0, 512 * MIB },
		{ 0, 64 * MIB, 512 * MIB },
		{ 256 * MIB, 0, 352 * MIB },
		{ 4096, 0, 128 * MIB },
		{ 256 * MIB + 1, 0, 352 * MIB },
		{ 900 * MIB, 800 * MIB, 800 * MIB },
		{ UINT64_MAX, 0, 2048 * MIB },
		{ UINT64_MAX, 1024 * MIB, 1024 * MIB },
	};
	scoped_settings s = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(settings_init(&s, "/os", &e), 0);
	assert_int_equal(settings_set_arg(&s, "vm.memory_max=2G", &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(settings_vm_memory(&s, cases[i].limit, cases[i].host), cases[i].expect);
	assert_int_equal(settings_set_annotation(&s, "dev.cor.vm.memory", "300M", &e), 0);
	assert_int_equal(settings_vm_memory(&s, 256 * MIB, 0), 300 * MIB);
}

static void vm_vcpus_follow_the_limits(void **state)
{
	static const struct {
		uint64_t quota, period;
		unsigned cpus, host, expect;
	} cases[] = {
		{ 0, 0, 0, 8, 1 },           { 150000, 100000, 0, 8, 2 }, { 50000, 100000, 0, 8, 1 },
		{ 900000, 100000, 0, 2, 2 }, { 900000, 100000, 0, 0, 4 }, { 0, 0, 3, 8, 3 },
		{ 200000, 100000, 3, 8, 2 }, { 400000, 100000, 3, 8, 3 }, { 100000, 0, 0, 8, 1 },
		{ UINT64_MAX, 1, 0, 0, 4 },
	};
	scoped_settings s = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(settings_init(&s, "/os", &e), 0);
	assert_int_equal(settings_set_arg(&s, "vm.vcpus_max=4", &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(
			settings_vm_vcpus(&s, cases[i].quota, cases[i].period, cases[i].cpus, cases[i].host),
			cases[i].expect);
	assert_int_equal(settings_set_annotation(&s, "dev.cor.vm.vcpus", "3", &e), 0);
	assert_int_equal(settings_vm_vcpus(&s, 100000, 100000, 1, 2), 3);
}

/* --- files on disk --- */

static void write_file(const char *path, const char *text, mode_t mode)
{
	scoped_fd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
}

static void files_are_checked_before_they_are_read(void **state)
{
	char dir[] = "/tmp/test-settings-XXXXXX";
	scoped_settings s = { 0 };
	scoped_free char *path = NULL;
	struct err e = { 0 };

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = str_fmt("%s/cor.conf", dir);
	assert_int_equal(settings_init(&s, "/os", &e), 0);
	assert_int_equal(settings_load(&s, path, false, &e), 0);
	assert_int_equal(settings_load(&s, path, true, &e), -ENOENT);
	assert_says(e, path);
	write_file(path, "vm.vcpus = 2\n", 0644);
	assert_int_equal(settings_load(&s, path, true, &e), 0);
	assert_int_equal(s.vcpus, 2);
	write_file(path, "vm.vcpus = 3\n", 0664);
	assert_int_equal(settings_load(&s, path, false, &e), -EPERM);
	assert_says(e, "can be written by others than its owner");
	write_file(path, "vm.vcpus = 3\n", 0602);
	assert_int_equal(settings_load(&s, path, false, &e), -EPERM);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0); /* must not block either */
	assert_int_equal(settings_load(&s, path, false, &e), -EINVAL);
	assert_says(e, "no regular file");
	assert_int_equal(s.vcpus, 2);
	assert_int_equal(settings_load(&s, dir, false, &e), -EINVAL);
	assert_int_equal(io_remove_tree_at(AT_FDCWD, dir), 0);
}

static void files_of_other_users_are_refused(void **state)
{
	char dir[] = "/tmp/test-settings-XXXXXX";
	scoped_settings s = { 0 };
	scoped_free char *path = NULL;
	struct err e = { 0 };

	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: needs root to give a file away\n");
		skip();
	}
	assert_non_null(mkdtemp(dir));
	path = str_fmt("%s/cor.conf", dir);
	write_file(path, "vm.vcpus = 3\n", 0644);
	assert_int_equal(chown(path, 1000, 0), 0);
	assert_int_equal(settings_init(&s, "/os", &e), 0);
	assert_int_equal(settings_load(&s, path, false, &e), -EPERM);
	assert_says(e, "belongs to user 1000");
	assert_int_equal(io_remove_tree_at(AT_FDCWD, dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_sound),
		cmocka_unit_test(every_row_by_file_and_command_line),
		cmocka_unit_test(annotations_are_closed),
		cmocka_unit_test(the_host_opens_annotations_by_pattern),
		cmocka_unit_test(nothing_opens_the_allow_lists),
		cmocka_unit_test(annotations_of_others_are_ignored),
		cmocka_unit_test(config_stays_within_the_hosts_bounds),
		cmocka_unit_test(the_spec_section_is_closed_until_opened),
		cmocka_unit_test(patterns_match_at_dots_only),
		cmocka_unit_test(later_sources_win),
		cmocka_unit_test(bad_arguments_and_files_change_nothing),
		cmocka_unit_test(vm_memory_follows_the_limit),
		cmocka_unit_test(vm_vcpus_follow_the_limits),
		cmocka_unit_test(files_are_checked_before_they_are_read),
		cmocka_unit_test(files_of_other_users_are_refused),
	};

	return cmocka_run_group_tests_name("cfg/settings", tests, NULL, NULL);
}
