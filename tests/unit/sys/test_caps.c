/* Capability sets, each case in a child of its own: what is dropped doesn't come back. */
#include <errno.h>
#include <linux/capability.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#include "sys/caps.h"

#define BIT(n) (UINT64_C(1) << (n))

static void need_root(void)
{
	if (geteuid() != 0) {
		print_message("# skipped: capabilities need root\n");
		skip();
	}
}

/* Runs fn in a child; what it returns is the number of the check that failed. */
static void in_child(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void kernel_knows_some(void **state)
{
	uint64_t known = caps_known();

	assert_true(known & BIT(CAP_SYS_ADMIN));
	assert_true(known & BIT(0));
	assert_false(known & BIT(63));
}

static int drop_all(void)
{
	struct caps_sets none = { 0 }, got;

	if (caps_set_bounding(0) < 0 || caps_set(&none) < 0 || caps_get(&got) < 0)
		return 1;
	if (got.bounding | got.effective | got.permitted | got.inheritable | got.ambient)
		return 2;
	/* Nothing left, so nothing more can be dropped or needed. */
	return caps_set_bounding(0) < 0 ? 3 : 0;
}

static void everything_can_go(void **state)
{
	need_root();
	in_child(drop_all);
}

static int keep_some_as_user(void)
{
	struct caps_sets want = { .bounding = BIT(CAP_KILL) | BIT(CAP_CHOWN),
				  .permitted = BIT(CAP_KILL) | BIT(CAP_CHOWN),
				  .effective = BIT(CAP_CHOWN),
				  .inheritable = BIT(CAP_KILL),
				  .ambient = BIT(CAP_KILL) };
	struct caps_sets got;

	if (caps_set_bounding(want.bounding) < 0 || caps_keep_on_setuid(true) < 0 || setuid(1000) < 0)
		return 1;
	if (caps_keep_on_setuid(false) < 0 || caps_set(&want) < 0 || caps_get(&got) < 0)
		return 2;
	if (got.bounding != want.bounding || got.permitted != want.permitted ||
	    got.effective != want.effective)
		return 3;
	return got.inheritable != want.inheritable || got.ambient != want.ambient ? 4 : 0;
}

static void some_survive_setuid(void **state)
{
	need_root();
	in_child(keep_some_as_user);
}

static int ask_too_much(void)
{
	struct caps_sets want = { .bounding = UINT64_MAX,
				  .permitted = UINT64_MAX,
				  .effective = UINT64_MAX,
				  .inheritable = UINT64_MAX,
				  .ambient = UINT64_MAX };
	struct caps_sets less = { .permitted = BIT(CAP_KILL), .effective = BIT(CAP_KILL) }, got;

	/* Unknown ones and those that we don't have are left out... */
	if (caps_set(&want) < 0 || caps_set(&less) < 0 || caps_set(&want) < 0 || caps_get(&got) < 0)
		return 1;
	if (got.permitted != BIT(CAP_KILL) || got.effective != BIT(CAP_KILL))
		return 2;
	/* ...and ambient is only what is permitted and inheritable. */
	want.inheritable = 0;
	if (caps_set(&want) < 0 || caps_get(&got) < 0)
		return 3;
	return got.ambient ? 4 : 0;
}

static void what_cannot_be_is_left_out(void **state)
{
	need_root();
	in_child(ask_too_much);
}

static int without_keep(void)
{
	struct caps_sets got;

	if (caps_keep_on_setuid(false) < 0 || setuid(1000) < 0 || caps_get(&got) < 0)
		return 1;
	return got.permitted | got.effective ? 2 : 0;
}

static void setuid_takes_them(void **state)
{
	need_root();
	in_child(without_keep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernel_knows_some),          cmocka_unit_test(everything_can_go),
		cmocka_unit_test(some_survive_setuid),        cmocka_unit_test(setuid_takes_them),
		cmocka_unit_test(what_cannot_be_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
