/* test_fail.c - settings and options when memory or the file fails: the failure is reported, nothing is
 * lost (tests/lib/inject.h). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "unit.h"

#include "base/io.h"
#include "cfg/settings.h"
#include "inject.h"
#include "tmpdir.h"

static const char text[] = "vm.memory = 1G\n"
			   "vm.kernel = /some/kernel\n"
			   "vm.kernel_params = a b c d e f g h i j k l m n o p\n"
			   "annotations.allow = qemu.* vm.kernel\n"
			   "spec.allow = vm.kernel\n";

static int op_settings(void *arg)
{
	scoped_settings s = { 0 };
	scoped_str json = { 0 };
	int r = settings_init(&s, "/os", NULL);

	if (r == 0)
		r = settings_load(&s, arg, true, NULL);
	if (r == 0)
		r = settings_set_arg(&s, "qemu.params=-a -b", NULL);
	if (r == 0)
		r = settings_set_annotation(&s, "dev.cor.qemu.path", "/q", NULL);
	if (r == 0)
		r = settings_set_spec(&s, "vm.kernel.path", "/k", NULL);
	if (r < 0)
		return r;
	settings_json(&json, &s);
	return str_check(&json);
}

static const struct opt rows[] = {
	{ "list", 'l', OPT_STRS, OPT_FROM_CLI, 0, 0, 0, NULL, NULL, "a list" },
};

static int op_args(void *arg)
{
	static const char *const argv[] = { "-la", "x",   "-lb", "--list", "c",   "y",   "z",
					    "-lx", "-ly", "-lz", "-l1",    "-l2", "-l3", "-l4",
					    "-l5", "p",   "q",   "r",      "s",   "t" };
	struct opt_strs list = { 0 };
	scoped_arena mem = { 0 };
	struct opt_target t = { OPT_TABLE(rows), &list, &mem, OPT_FROM_CLI, NULL, "--" };
	struct opt_args a = { .argc = ARRAY_LEN(argv),
			      .argv = (char *const *)(uintptr_t)argv,
			      .until = SIZE_MAX };

	(void)arg;
	return opt_parse_args(&t, &a, NULL);
}

static int op_texts(void *arg)
{
	scoped_str s = { 0 };

	(void)arg;
	opt_help(&s, &settings_table);
	opt_man(&s, &settings_table, false, NULL);
	opt_words(&s, &settings_table);
	return str_check(&s);
}

static void settings_fail_as_a_whole(void **state)
{
	const struct tmpdir *t = *state;
	scoped_free char *path = str_fmt("%s/cor.conf", t->path);

	assert_non_null(path);
	assert_int_equal(io_replace_file_at(AT_FDCWD, path, text, strlen(text), 0600), 0);
	inject_all(&(struct inject_case){ .name = "settings", .op = op_settings, .arg = path });
	inject_interrupts(&(struct inject_case){ .name = "settings", .op = op_settings, .arg = path });
}

static void command_lines_fail_as_a_whole(void **state)
{
	(void)state;
	inject_all(&(struct inject_case){ .name = "args", .op = op_args });
	inject_all(&(struct inject_case){ .name = "texts", .op = op_texts });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(settings_fail_as_a_whole, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test(command_lines_fail_as_a_whole),
	};

	return cmocka_run_group_tests_name("cfg/fail", tests, NULL, NULL);
}
