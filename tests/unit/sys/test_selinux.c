/* The VM's SELinux label: refused in words where SELinux is not there. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sys/selinux.h"

static void test_absent(void **state)
{
	struct err e = { 0 };

	if (selinux_is_enabled()) {
		print_message("# skipped: SELinux is enabled here\n");
		skip();
	}
	assert_int_equal(selinux_set_exec_label("system_u:system_r:container_kvm_t:s0", &e), -EOPNOTSUPP);
	assert_non_null(strstr(e.msg, "process.selinuxLabel"));
	assert_int_equal(selinux_set_exec_label(NULL, NULL), -EOPNOTSUPP);
}

static void test_unknown_label(void **state)
{
	struct err e = { 0 };

	if (!selinux_is_enabled()) {
		print_message("# skipped: SELinux is not enabled here\n");
		skip();
	}
	assert_true(selinux_set_exec_label("no label at all", &e) < 0);
	assert_non_null(strstr(e.msg, "no label at all"));
	assert_int_equal(selinux_set_exec_label(NULL, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_unknown_label),
	};

	return cmocka_run_group_tests_name("sys/selinux", tests, NULL, NULL);
}
