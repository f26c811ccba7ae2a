/* test_pool.c - hyper/pool.h: a keeper's socket and who takes a VM from it. The "VM" is a child that sleeps;
 * its channels are socket pairs. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hyper/pool.h"
#include "sys/proc.h"
#include "tmpdir.h"
#include "wire/ctl.h"

static struct vmcfg cfg_of(struct tmpdir *t)
{
	return (struct vmcfg){ .hypervisor = PLAN_HV_QEMU, .template_dir = t->path };
}

static int open_pool(struct tmpdir *t)
{
	if (mkdirat(t->fd, POOL_DIR, 0700) < 0)
		assert_int_equal(errno, EEXIST);
	return openat(t->fd, POOL_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			(void)pause();
	return pid;
}

static int other_end(int *mine)
{
	int p[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
	*mine = p[0];
	return p[1];
}

/* Gives a VM whose agent's other end is *agent to who asks; returns its pid. */
static pid_t keep(const struct vmcfg *cfg, int conn, int *agent)
{
	scoped_fd here = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int unused[3] = { -1, -1, -1 };
	struct ctl_msg msg;
	struct hv *hv;
	pid_t pid;

	assert_true(conn >= 0 && here >= 0);
	assert_int_equal(ctl_recv(conn, &msg), 1);
	assert_int_equal(msg.type, MSG_P_TAKE);
	assert_int_equal(hv_new(cfg, &hv, NULL), 0);
	pid = hv->pid = sleeper();
	hv->pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
	hv->agent_fd = other_end(agent);
	hv->console_fd = other_end(&unused[0]);
	hv->log_fd = other_end(&unused[1]);
	hv->helper = cfg->hypervisor == PLAN_HV_KVM ? pid + 1 : -1;
	assert_int_equal(hv->ops->attach(hv, other_end(&unused[2])), 0);
	hv->copied = cfg->hypervisor == PLAN_HV_QEMU;
	assert_int_equal(pool_give(hv, conn, here, "/some/share", hv->copied ? NULL : "no reason"), 0);
	assert_int_equal(hv->agent_fd, -1);
	for (size_t i = 0; i < 3; i++)
		(void)close(unused[i]);
	hv->pid = hv->helper = -1; /* the child is the test's */
	hv_free(hv);
	return pid;
}

/* The keeper's side in a child: it ends with the VM's wait status told, or silently. */
static pid_t start_keeper(const struct vmcfg *cfg, int listening, bool tells)
{
	struct msg_ended ended = { .status = 3 << 8 };
	pid_t keeper = fork(), vm;
	int agent, conn;
	char byte;

	if (keeper != 0)
		return keeper;
	conn = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	vm = keep(cfg, conn, &agent);
	if (read(agent, &byte, 1) == 1 && byte == 'x' && write(agent, "y", 1) == 1)
		(void)kill(vm, SIGKILL);
	(void)waitpid(vm, NULL, 0);
	if (tells)
		may_fail(ctl_send(conn, MSG_P_ENDED, &rec_ended, &ended, NULL,
				  0)); /* the taker will miss it */
	_exit(0);
}

static void take_and_end(struct tmpdir *t, enum plan_hypervisor driver, bool tells, int want)
{
	struct vmcfg cfg = { .hypervisor = driver, .template_dir = t->path };
	scoped_fd dir = open_pool(t), listening = -1;
	char name[POOL_NAME], byte = 0;
	struct pool_vm vm;
	pid_t keeper;

	assert_int_equal(pool_name(name), 0);
	listening = pool_listen(dir, name);
	assert_true(listening >= 0);
	keeper = start_keeper(&cfg, listening, tells);
	(void)close(take_fd(&listening));
	assert_int_equal(pool_take(&cfg, &vm), 0);
	assert_string_equal(vm.share, "/some/share");
	assert_true(vm.mounts >= 0 && vm.hv->keeper >= 0 && vm.hv->pid > 1);
	assert_int_equal(vm.hv->copied, driver == PLAN_HV_QEMU);
	assert_int_equal(vm.hv->helper, driver == PLAN_HV_KVM ? vm.hv->pid + 1 : -1);
	assert_int_equal(write(vm.hv->agent_fd, "x", 1), 1);
	assert_int_equal(read(vm.hv->agent_fd, &byte, 1), 1);
	assert_int_equal(byte, 'y');
	assert_int_equal(proc_wait_end(vm.hv->pidfd, 10000), 0);
	assert_int_equal(hv_reap(vm.hv), want);
	assert_int_equal(waitpid(keeper, NULL, 0), keeper);
	hv_free(vm.hv);
	(void)close(vm.mounts);
	free(vm.share);
	/* its name is left of a keeper that is gone: found, and removed */
	assert_int_equal(pool_take(&cfg, &vm), -ENOENT);
	assert_int_equal(faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static void test_take(void **state)
{
	take_and_end(*state, PLAN_HV_QEMU, true, 3 << 8);
	take_and_end(*state, PLAN_HV_QEMU, false, SIGKILL);
	take_and_end(*state, PLAN_HV_KVM, true, 3 << 8); /* which has a helper */
}

static void test_none(void **state)
{
	struct tmpdir *t = *state;
	struct vmcfg cfg = cfg_of(t);
	struct pool_entry *all = NULL;
	struct pool_vm vm;
	scoped_fd dir = -1;
	size_t n = 1;

	assert_int_equal(pool_take(&cfg, &vm), -ENOENT);
	assert_int_equal(pool_list(t->path, &all, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(pool_end(t->path), 0);
	/* what is no socket's name is not touched */
	dir = open_pool(t);
	assert_int_equal(mkdirat(dir, "0123456789abcdeg", 0700), 0);
	assert_int_equal(mkdirat(dir, POOL_LOCK, 0700), 0);
	assert_int_equal(pool_take(&cfg, &vm), -ENOENT);
	assert_int_equal(pool_end(t->path), 0);
	assert_int_equal(faccessat(dir, "0123456789abcdeg", F_OK, 0), 0);
	free(all);
}

/* Answers that are none: the taker goes on to the next. */
static void test_bad_answers(void **state)
{
	struct tmpdir *t = *state;
	struct vmcfg cfg = cfg_of(t);
	scoped_fd dir = open_pool(t);
	char share[] = "/s";
	const struct msg_given given[] = { { .pid = 0, .share = share },
					   { .pid = 5 },
					   { .pid = 1, .share = share } };

	for (size_t i = 0; i <= ARRAY_LEN(given); i++) {
		scoped_fd listening = -1;
		char name[POOL_NAME];
		struct pool_vm vm;
		pid_t keeper;

		assert_int_equal(pool_name(name), 0);
		listening = pool_listen(dir, name);
		keeper = fork();
		if (keeper == 0) {
			int conn = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
			struct ctl_msg msg;

			if (ctl_recv(conn, &msg) == 1 && i < ARRAY_LEN(given))
				may_fail(ctl_send(conn, MSG_P_GIVEN, &rec_given, &given[i],
						  (int[]){ 0, 0, 0, 0, 0, 0 }, POOL_FD_N - (i == 2)));
			_exit(0);
		}
		(void)close(take_fd(&listening));
		assert_int_equal(pool_take(&cfg, &vm), -ENOENT);
		assert_int_equal(waitpid(keeper, NULL, 0), keeper);
		assert_int_equal(pool_take(&cfg, &vm), -ENOENT); /* removes the name */
	}
}

static void test_list(void **state)
{
	struct tmpdir *t = *state;
	struct pool_entry *all = NULL;
	scoped_fd dir = open_pool(t), a = -1, b = -1;
	char name[2][POOL_NAME];
	size_t n = 0;

	assert_int_equal(pool_name(name[0]), 0);
	assert_int_equal(pool_name(name[1]), 0);
	assert_string_not_equal(name[0], name[1]);
	a = pool_listen(dir, name[0]);
	b = pool_listen(dir, name[1]);
	assert_true(a >= 0 && b >= 0);
	assert_int_equal(pool_listen(dir, name[0]), -EADDRINUSE);
	assert_int_equal(pool_list(t->path, &all, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(all[0].keeper, getpid());
	assert_true(all[1].since > 0);
	free(take_ptr(&all));
	(void)close(take_fd(&a));
	assert_int_equal(pool_list(t->path, &all, &n), 0);
	assert_int_equal(n, 1);
	assert_string_equal(all[0].name, name[1]);
	free(all);
}

#define T(name) cmocka_unit_test_setup_teardown(name, tmpdir_set_up, tmpdir_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = { T(test_take), T(test_none), T(test_bad_answers), T(test_list) };

	return cmocka_run_group_tests_name("hyper/pool", tests, NULL, NULL);
}
