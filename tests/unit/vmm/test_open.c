/* test_open.c - vmm/open.h: where the guest's output goes may not hold the machine up. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tmpdir.h"
#include "vmm/open.h"

#define OPEN_S 10 /* an open that waits ends the test */

static int open_these(const struct options *o, struct vmm_cfg *cfg, struct err *e)
{
	scoped_strv texts = { 0 };
	int r;

	*cfg = (struct vmm_cfg){ .kvm_fd = -1,
				 .kernel_fd = -1,
				 .initrd_fd = -1,
				 .memory_fd = -1,
				 .hot_fd = -1,
				 .state_fd = -1,
				 .serial_fd = -1,
				 .console = {
					 .in_fd = -1, .out_fd = -1, .port_in_fd = -1, .port_out_fd = -1 } };
	(void)alarm(OPEN_S);
	r = open_all(o, &texts, cfg, e);
	(void)alarm(0);
	return r;
}

static void test_fifo(void **state)
{
	struct tmpdir *t = *state;
	scoped_free char *path = str_fmt("%s/fifo", t->path);
	const struct options all[] = { { .console = path }, { .console = "none", .serial = path } };

	assert_int_equal(mkfifo(path, 0600), 0);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		scoped_fd reader = -1;
		struct err e = { 0 };
		struct vmm_cfg cfg;

		assert_int_equal(open_these(&all[i], &cfg, &e), -ENXIO);
		assert_non_null(strstr(e.msg, "nobody reads"));
		vmm_cfg_close(&cfg);
		reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		assert_int_equal(open_these(&all[i], &cfg, &e), 0);
		assert_true(fcntl(i == 0 ? cfg.console.out_fd : cfg.serial_fd, F_GETFL) & O_NONBLOCK);
		vmm_cfg_close(&cfg);
	}
}

static void test_stdout(void **state)
{
	const struct options o = { .console = "none", .serial = "stdio" };
	scoped_fd kept = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	struct err e = { 0 };
	struct vmm_cfg cfg;
	int p[2], r, ours, theirs;

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	(void)fflush(stdout);
	assert_true(dup2(p[1], STDOUT_FILENO) >= 0);
	r = open_these(&o, &cfg, &e);
	theirs = fcntl(STDOUT_FILENO, F_GETFL);
	assert_true(dup2(kept, STDOUT_FILENO) >= 0);
	assert_int_equal(r, 0);
	ours = fcntl(cfg.serial_fd, F_GETFL);
	assert_true(ours & O_NONBLOCK);
	assert_false(theirs & O_NONBLOCK); /* a shell may go on with it */
	vmm_cfg_close(&cfg);
	(void)close(p[0]);
	(void)close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fifo, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test(test_stdout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
