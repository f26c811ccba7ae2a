/* The agent with a cgroup2 tree: where processes are, what limits become, what is left. Runs where the host
 * has a writable one, whatever controllers it holds; limits themselves are tested in a VM. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "unit.h"

#include "box.h"
#include "sys/cg2.h"

static char tree[64];

static int start(void **state)
{
	static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	char file[96];

	host.agent = -1;
	for (size_t i = 0; i < ARRAY_LEN(roots) && geteuid() == 0; i++) {
		(void)snprintf(file, sizeof file, "%s/cgroup.controllers", roots[i]);
		(void)snprintf(tree, sizeof tree, "%s/cor-test-agent-%d", roots[i], (int)getpid());
		if (access(file, F_OK) == 0 && mkdir(tree, 0755) == 0) {
			(void)host_start(&host, tree);
			return 0;
		}
	}
	print_message("# skipped: no writable cgroup2 tree\n");
	return 0;
}

static int stop(void **state)
{
	if (host.agent < 0)
		return 0;
	host_stop(&host);
	/* The agent left no cgroup in it. */
	assert_int_equal(rmdir(tree), 0);
	return 0;
}

static bool have_controller(const char *name)
{
	int cg = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool has = cg2_has_controller(cg, name);

	close(cg);
	return has;
}

static void test_place(void **state)
{
	struct ctr_box b;

	NEED_HOST;
	shell_init(&b, "grep ^0: /proc/self/cgroup; ls /sys/fs/cgroup/cgroup.procs; cat "
		       "/sys/fs/cgroup/cgroup.procs | head -n 1");
	b.c.namespaces |= CLONE_NEWCGROUP;
	(void)ctr_box_mount(&b, MOUNT_CGROUP, "/sys/fs/cgroup", "cgroup", "cgroup");
	expect(&b, "0::/\n/sys/fs/cgroup/cgroup.procs\n1\n", 0);
}

/* A missing controller is named; the container isn't made. */
static void test_missing_controller(void **state)
{
	static struct msg_kv kv[] = { { NULL, NULL } };
	struct ctr_box b;

	NEED_HOST;
	if (!have_controller("memory")) {
		shell_init(&b, "true");
		b.c.resources.has_mem_limit = true;
		b.c.resources.mem_limit = 1 << 26;
		expect_refused(&b, -ENOENT,
			       "linux.resources.memory.limit: the guest's cgroup has no memory.max");
	}
	kv[0].key = lit("nosuch.max");
	kv[0].value = lit("1");
	shell_init(&b, "true");
	b.c.resources.unified.p = kv;
	b.c.resources.unified.n = 1;
	expect_refused(&b, -ENOENT, "linux.resources.unified.nosuch.max: the guest has no nosuch controller");
	kv[0].key = lit("../cgroup.procs");
	shell_init(&b, "true");
	b.c.resources.unified.p = kv;
	b.c.resources.unified.n = 1;
	expect_refused(&b, -EINVAL, "linux.resources.unified");
	kv[0].key = lit("cgroup.max.depth");
	kv[0].value = lit("7");
	shell_init(&b, "cat /sys/fs/cgroup/cgroup.max.depth");
	b.c.namespaces |= CLONE_NEWCGROUP;
	(void)ctr_box_mount(&b, MOUNT_CGROUP, "/sys/fs/cgroup", "cgroup", "cgroup");
	b.c.resources.unified.p = kv;
	b.c.resources.unified.n = 1;
	expect(&b, "7\n", 0);
}

static void test_devices(void **state)
{
	static struct msg_device_rule rules[] = { { .type = 'a', .major = -1, .minor = -1, .access = 7 } };
	static struct msg_device d[] = { { .type = S_IFCHR, .major = 1, .minor = 11, .mode = 0666 } };
	struct ctr_box b;
	struct run r;

	NEED_HOST;
	shell_init(&b, "head -c 1 /dev/zero | wc -c; head -c 1 /dev/kmsg 2>/dev/null || echo denied; mknod "
		       "/tmp/z c 1 5 && head -c 1 /tmp/z | wc -c; rm /tmp/z");
	d[0].path = lit("/dev/kmsg");
	b.c.devices.p = d;
	b.c.devices.n = 1;
	b.c.resources.has_devices = true;
	b.c.resources.devices.p = rules;
	b.c.resources.devices.n = 1;
	run_init(&r);
	if (host_create(&host, &b.c, &r) < 0 && strstr(r.text, "device program: Operation not permitted")) {
		print_message("# skipped: this kernel refuses device programs\n");
		run_fini(&r);
		skip();
	}
	if (r.code < 0)
		print_message("# %s\n", r.text);
	assert_int_equal(r.code, 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	host_finish(&host, &r);
	{
		char *text = run_text(r.out);

		assert_string_equal(text, "1\ndenied\n1\n");
		free(text);
	}
	run_fini(&r);
}

static bool has_stats(struct host *h)
{
	return h->got_stats;
}

/* Without a pid namespace of its own the cgroup says who belongs to the container: its end takes all. */
static void test_no_pid_namespace(void **state)
{
	struct msg_ref ref = { 0 };
	struct ctr_box b;
	struct run r, x;

	NEED_HOST;
	shell_init(&b, "sleep 1000 & echo ready; wait");
	b.c.namespaces = CLONE_NEWNS;
	run_init(&r);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_output(&r);
	exec_line(&x, 1, "echo ready; sleep 1000; true", NULL);
	assert_int_equal(x.code, 0);
	wait_output(&x);
	(void)host_send(&host, MSG_A_STATS, &rec_ref, &ref);
	host_until(&host, has_stats);
	assert_true(host.stats.cpu_usage_us > 0);
	assert_int_equal(signal_proc(PROC_INIT, SIGTERM, false), 0);
	(void)host_exit(&host, PROC_INIT);
	/* The session was killed, and told first. */
	assert_int_equal(host.n_exits, 2);
	assert_int_equal(host.exits[0].proc, 1);
	assert_int_equal(host.exits[0].signal, SIGKILL);
	assert_int_equal(host.exits[1].signal, SIGTERM);
	host_finish(&host, &r);
	host_finish(&host, &x);
	run_fini(&r);
	run_fini(&x);
}

static void test_signal_all(void **state)
{
	struct ctr_box b;
	struct run r, x;

	NEED_HOST;
	shell_init(&b, "trap 'echo term; exit 4' TERM; echo ready; while :; do sleep 1000 & wait; done");
	run_init(&r);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_output(&r);
	exec_line(&x, 9, "trap 'exit 5' TERM; echo ready; while :; do sleep 1000 & wait; done", NULL);
	wait_output(&x);
	assert_int_equal(signal_proc(PROC_INIT, SIGTERM, true), 0);
	host_finish(&host, &r);
	assert_int_equal(r.status, 4);
	host_finish(&host, &x);
	assert_true(x.status == 5 || x.status == 137); /* its own way, or with the container */
	run_fini(&r);
	run_fini(&x);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, start, stop)
	const struct CMUnitTest tests[] = {
		T(test_place),      T(test_missing_controller), T(test_devices), T(test_no_pid_namespace),
		T(test_signal_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
