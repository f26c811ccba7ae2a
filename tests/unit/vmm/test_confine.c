/* test_confine.c - what a thread of a machine may call, and what kills it. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "vmm/confine.h"

#define ALIVE 7

/* How a process ends that is confined and then makes the call. */
static int end_of(enum confine_as as, const long call[7])
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct err e;

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (confine_thread(as, &e) == 0)
			(void)syscall(call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
		else
			(void)syscall(SYS_exit, 1);
		for (;;)
			(void)syscall(SYS_exit, ALIVE);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

#define SHELL (long)"/bin/sh"
#define X32   0x40000000

static void test_killed(void **state)
{
	static const struct {
		const char *what;
		long call[7];
	} calls[] = {
		{ "open", { SYS_open, SHELL, O_RDONLY } },
		{ "openat", { SYS_openat, AT_FDCWD, SHELL, O_RDONLY } },
		{ "openat2", { SYS_openat2, AT_FDCWD, SHELL, 0, 0 } },
		{ "socket", { SYS_socket, AF_UNIX, SOCK_STREAM, 0 } },
		{ "connect", { SYS_connect, 0, 0, 0 } },
		{ "execve", { SYS_execve, SHELL, 0, 0 } },
		{ "execveat", { SYS_execveat, 0, (long)"", 0, 0, AT_EMPTY_PATH } },
		{ "ptrace", { SYS_ptrace, PTRACE_TRACEME } },
		{ "process_vm_readv", { SYS_process_vm_readv, 1, 0, 0, 0, 0, 0 } },
		{ "executable memory", { SYS_mmap, 0, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0 } },
		{ "memory", { SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0 } },
		{ "memory made executable", { SYS_mprotect, 0, 4096, PROT_EXEC } },
		{ "a thread", { SYS_clone, CLONE_THREAD | CLONE_VM | CLONE_SIGHAND } },
		{ "a process", { SYS_fork } },
		{ "clone3", { SYS_clone3, 0, 0 } },
		{ "memfd_create", { SYS_memfd_create, SHELL, 0 } },
		{ "kill", { SYS_kill, 0, 0 } },
		{ "io_uring", { SYS_io_uring_setup, 1, 0 } },
		{ "bpf", { SYS_bpf, 0, 0, 0 } },
		{ "prctl", { SYS_prctl, PR_SET_DUMPABLE, 1 } },
		{ "another filter", { SYS_seccomp, 1, 0, 0 } },
		{ "a new VM", { SYS_ioctl, -1, KVM_CREATE_VM } },
		{ "a new vCPU", { SYS_ioctl, -1, KVM_CREATE_VCPU } },
		{ "other guest memory", { SYS_ioctl, -1, KVM_SET_USER_MEMORY_REGION } },
		{ "input to a terminal", { SYS_ioctl, 0, TIOCSTI } },
		{ "x32", { X32 | SYS_getpid } },
	};

	(void)state;
	for (int as = CONFINE_VCPU; as <= CONFINE_LOOP; as++) {
		for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
			int end = end_of((enum confine_as)as, calls[i].call);

			if (!WIFSIGNALED(end) || WTERMSIG(end) != SIGSYS)
				fail_msg("%s, thread %d: status 0x%x", calls[i].what, as, (unsigned)end);
		}
	}
}

/* One is the vCPUs', the other the loop's, and each kills in the other's thread. */
static void test_own(void **state)
{
	static const long run[7] = { SYS_ioctl, -1, KVM_RUN };
	static const long save[7] = { SYS_ioctl, -1, (long)KVM_GET_REGS };
	static const long disk[7] = { SYS_pwrite64, -1, 0, 0, 0 };
	static const long both[][7] = { { SYS_ioctl, -1, KVM_SIGNAL_MSI },
					{ SYS_write, -1, 0, 0 },
					{ SYS_futex, 0, FUTEX_WAKE, 1 },
					{ SYS_sendmsg, -1, 0, 0 } };

	(void)state;
	assert_int_equal(WEXITSTATUS(end_of(CONFINE_VCPU, run)), ALIVE);
	assert_int_equal(WTERMSIG(end_of(CONFINE_LOOP, run)), SIGSYS);
	assert_int_equal(WEXITSTATUS(end_of(CONFINE_LOOP, save)), ALIVE);
	assert_int_equal(WTERMSIG(end_of(CONFINE_VCPU, save)), SIGSYS);
	assert_int_equal(WEXITSTATUS(end_of(CONFINE_LOOP, disk)), ALIVE);
	assert_int_equal(WTERMSIG(end_of(CONFINE_VCPU, disk)), SIGSYS);
	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		assert_int_equal(WEXITSTATUS(end_of(CONFINE_VCPU, both[i])), ALIVE);
		assert_int_equal(WEXITSTATUS(end_of(CONFINE_LOOP, both[i])), ALIVE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_own),
	};
	return cmocka_run_group_tests_name("vmm/confine", tests, NULL, NULL);
}
