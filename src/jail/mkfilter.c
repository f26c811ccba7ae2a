/* mkfilter.c - run by the build: compiles a table of system calls into a source file with BPF instructions.
 *
 *     mkfilter NAME OUT.c
 *
 * The programs that load the filters need no compiler for them, hence no libseccomp, and no work at
 * start. A call that no row allows kills the process: an attempt is proof that it was taken over. What is
 * in a table is what strace(1) and the tests have seen the program need, and the reason stands beside it
 * where it is not plain. Trusts nothing: it has no input. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/scope.h"

#define CALL(name) SCMP_SYS(name), #name
/* Only if (argument i & mask) == value. */
#define IF(i, mask, value)                                                                                   \
	1,                                                                                                   \
	{                                                                                                    \
		SCMP_A##i(SCMP_CMP_MASKED_EQ, (mask), (value))                                               \
	}
#define WORD UINT64_C(0xffffffff) /* of an int argument the kernel looks at these bits only */

struct rule {
	int nr;
	const char *name;
	unsigned n_args;
	struct scmp_arg_cmp arg[1];
};

/* What any process needs that talks over descriptors it was given. */
static const struct rule common[] = {
	{ CALL(read) },
	{ CALL(readv) },
	{ CALL(pread64) },
	{ CALL(preadv) },
	{ CALL(write) },
	{ CALL(writev) },
	{ CALL(pwrite64) },
	{ CALL(pwritev) },
	{ CALL(close) },
	{ CALL(dup) },
	{ CALL(fstat) },
	{ CALL(lseek) },
	{ CALL(fcntl) },
	{ CALL(recvmsg) }, /* descriptors come by the control socket */
	{ CALL(sendmsg) },
	{ CALL(recvfrom) },
	{ CALL(sendto) },
	{ CALL(accept4) },
	{ CALL(shutdown) },
	{ CALL(poll) },
	{ CALL(ppoll) },
	{ CALL(epoll_create1) },
	{ CALL(epoll_ctl) },
	{ CALL(epoll_wait) },
	{ CALL(epoll_pwait) },
	{ CALL(eventfd2) },
	{ CALL(timerfd_create) },
	{ CALL(timerfd_settime) },
	{ CALL(signalfd4) },
	{ CALL(clock_gettime) },
	{ CALL(clock_nanosleep) },
	{ CALL(nanosleep) },
	{ CALL(getrandom) },
	{ CALL(futex) },
	{ CALL(sched_yield) },
	{ CALL(gettid) },
	{ CALL(getpid) },
	{ CALL(tgkill) },
	{ CALL(rt_sigaction) },
	{ CALL(rt_sigprocmask) },
	{ CALL(rt_sigreturn) },
	{ CALL(rt_sigtimedwait) },
	{ CALL(sigaltstack) },
	{ CALL(restart_syscall) },
	{ CALL(exit) },
	{ CALL(exit_group) },
	/* memory, but none that could be executed */
	{ CALL(brk) },
	{ CALL(munmap) },
	{ CALL(mremap) },
	{ CALL(madvise) },
	{ CALL(mmap), IF(2, PROT_EXEC, 0) },
	{ CALL(mprotect), IF(2, PROT_EXEC, 0) },
	{ CALL(memfd_create) },
	{ CALL(ftruncate) },
	{ CALL(fallocate) },
	{ CALL(fdatasync) },
	{ CALL(fsync) },
	/* threads, but no processes */
	{ CALL(clone), IF(0, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM) },
	{ CALL(set_tid_address) },
	{ CALL(set_robust_list) },
	{ CALL(arch_prctl) }, /* thread pointer */
	{ CALL(membarrier) },
	/* to become less */
	{ CALL(prctl), IF(0, WORD, PR_SET_NAME) },
	{ CALL(prctl), IF(0, WORD, PR_SET_DUMPABLE) },
	{ CALL(prctl), IF(0, WORD, PR_SET_PDEATHSIG) },
	{ CALL(prctl), IF(0, WORD, PR_SET_NO_NEW_PRIVS) },
	{ CALL(seccomp) },
	/* cor-jail's own exec of the program, by descriptor: an empty root holds no other */
	{ CALL(execveat), IF(4, WORD, AT_EMPTY_PATH) },
};

/* cor-vmm: KVM is spoken to by ioctl; which ones, its threads' own filters say. */
static const struct rule vmm[] = {
	{ CALL(ioctl) }, { CALL(getsockopt) }, /* is the control socket a listening one? */
};

/* A vCPU's thread of a running cor-vmm (vmm/confine.h): guest code, and the register accesses it makes. */
static const struct rule vcpu[] = {
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_RUN) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_SIGNAL_MSI) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_KVMCLOCK_CTRL) },   /* after a pause */
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_SET_GSI_ROUTING) }, /* a driver sets an irqfd's message */
	{ CALL(ioctl), IF(1, WORD, (uint32_t)TUNSETOFFLOAD) },       /* a net driver says what it takes */
	{ CALL(write) },                                             /* eventfds, the log, the UART */
	{ CALL(writev) },
	{ CALL(read) },
	{ CALL(sendmsg) }, /* a share's driver starts and ends: its back end is told */
	{ CALL(sendto) },
	{ CALL(recvmsg) },
	{ CALL(recvfrom) },
	{ CALL(poll) },
	{ CALL(clock_gettime) },
	{ CALL(shutdown) },
	{ CALL(close) },
	{ CALL(futex) },
	{ CALL(gettid) },
	{ CALL(getpid) },
	{ CALL(tgkill) }, /* the others are kicked out of the guest */
	{ CALL(rt_sigprocmask) },
	{ CALL(rt_sigreturn) },
	{ CALL(restart_syscall) },
	{ CALL(madvise) }, /* glibc: a thread's end */
	{ CALL(exit) },
	/* SIGBUS: its handler ends the process, or lets the signal do it */
	{ CALL(rt_sigaction) },
	{ CALL(exit_group) },
};

/* The first thread of a running cor-vmm: queues, control socket, saving, and the end of it all. No new
 * memory, descriptors only from the control socket. */
static const struct rule vloop[] = {
	{ CALL(epoll_wait) },
	{ CALL(epoll_pwait) },
	{ CALL(epoll_ctl) },
	{ CALL(read) },
	{ CALL(readv) },
	{ CALL(pread64) },
	{ CALL(preadv) },
	{ CALL(write) },
	{ CALL(writev) },
	{ CALL(pwrite64) },
	{ CALL(pwritev) },
	{ CALL(lseek) },
	{ CALL(ftruncate) },
	{ CALL(fallocate) },
	{ CALL(fdatasync) },
	{ CALL(fstat) },
	{ CALL(accept4) },
	{ CALL(sendmsg) },
	{ CALL(sendto) },
	{ CALL(recvmsg) },
	{ CALL(recvfrom) },
	{ CALL(poll) },
	{ CALL(shutdown) },
	{ CALL(close) },
	{ CALL(fcntl) },
	{ CALL(getrandom) },
	{ CALL(clock_gettime) },
	{ CALL(futex) },
	{ CALL(gettid) },
	{ CALL(getpid) },
	{ CALL(tgkill) },
	{ CALL(rt_sigprocmask) },
	{ CALL(rt_sigreturn) },
	{ CALL(restart_syscall) },
	{ CALL(madvise) }, /* the balloon */
	{ CALL(munmap) },
	{ CALL(brk) },          /* free() */
	{ CALL(rt_sigaction) }, /* SIGBUS, as above */
	{ CALL(exit) },
	{ CALL(exit_group) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_SIGNAL_MSI) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_SET_GSI_ROUTING) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)TUNSETOFFLOAD) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)TCSETS) }, /* the terminal as it was */
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_GET_REGS) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_GET_SREGS) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_GET_XCRS) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_GET_XSAVE) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_GET_LAPIC) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_GET_MSRS) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_GET_DEBUGREGS) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_GET_VCPU_EVENTS) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_GET_MP_STATE) },
	{ CALL(ioctl), IF(1, WORD, (uint32_t)KVM_GET_CLOCK) },
};

/* cor-fsd: files, by descriptors and single names. */
static const struct rule fsd[] = {
	{ CALL(openat2) },
	{ CALL(openat) },
	{ CALL(open) },
	{ CALL(statx) },
	{ CALL(fstatfs) },
	{ CALL(getdents64) },
	{ CALL(readlinkat) },
	{ CALL(mkdirat) },
	{ CALL(mknodat) },
	{ CALL(symlinkat) },
	{ CALL(linkat) },
	{ CALL(unlinkat) },
	{ CALL(renameat2) },
	{ CALL(fchownat) },
	{ CALL(fchmodat) },
	{ CALL(truncate) },
	{ CALL(utimensat) },
	{ CALL(setxattr) },
	{ CALL(getxattr) },
	{ CALL(listxattr) },
	{ CALL(removexattr) },
	{ CALL(copy_file_range) },
	{ CALL(pwritev2) },
	{ CALL(syncfs) },
	{ CALL(umask) },
	{ CALL(setfsuid) }, /* who makes a file: no other ids */
	{ CALL(setfsgid) },
	{ CALL(geteuid) },
	{ CALL(getegid) },
	{ CALL(prctl), IF(0, WORD, PR_GET_PDEATHSIG) },
	{ CALL(fchdir) },
	{ CALL(prlimit64), IF(0, WORD, 0) }, /* its own limit of open files, up to the hard one */
};

static const struct policy {
	const char *name;
	const struct rule *rules;
	size_t n_rules;
	bool alone; /* without `common`: of a thread that has started already */
} policies[] = {
	{ "vmm", vmm, ARRAY_LEN(vmm), false },
	{ "vcpu", vcpu, ARRAY_LEN(vcpu), true },
	{ "vloop", vloop, ARRAY_LEN(vloop), true },
	{ "fsd", fsd, ARRAY_LEN(fsd), false },
};

static int add_rules(scmp_filter_ctx ctx, const struct rule *r, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, r[i].nr, r[i].n_args, r[i].arg);

		if (rc < 0) {
			(void)fprintf(stderr, "mkfilter: %s: %s\n", r[i].name, strerror(-rc));
			return rc;
		}
	}
	return 0;
}

static int compile(const struct policy *p, int to)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r;

	if (!ctx)
		return -ENOMEM;
	/* a tree instead of a list: a handful of steps to any call */
	r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0) /* no i386, no x32 */
		r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (r == 0 && !p->alone)
		r = add_rules(ctx, common, ARRAY_LEN(common));
	if (r == 0)
		r = add_rules(ctx, p->rules, p->n_rules);
	if (r == 0)
		r = seccomp_export_bpf(ctx, to);
	seccomp_release(ctx);
	return r;
}

/* Two objects, filter_NAME and filter_NAME_len; the header of whoever loads the filter declares them. */
static int emit(const char *name, int bpf, FILE *out)
{
	struct sock_filter f;
	unsigned len = 0;
	ssize_t n;

	(void)fprintf(out,
		      "/* made by mkfilter.c */\n"
		      "#include <linux/filter.h>\n\n"
		      "extern const struct sock_filter filter_%s[];\n"
		      "extern const unsigned short filter_%s_len;\n\n"
		      "const struct sock_filter filter_%s[] = {\n",
		      name, name, name);
	for (; (n = read(bpf, &f, sizeof f)) == (ssize_t)sizeof f; len++)
		(void)fprintf(out, "\t{ 0x%04x, %u, %u, 0x%08x },\n", f.code, f.jt, f.jf, f.k);
	(void)fprintf(out, "};\nconst unsigned short filter_%s_len = %u;\n", name, len);
	return n == 0 && !ferror(out) ? 0 : -EIO;
}

int main(int argc, char **argv)
{
	scoped_fd bpf = memfd_create("bpf", MFD_CLOEXEC);
	const struct policy *p = NULL;
	FILE *out;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(policies); i++)
		if (argc == 3 && strcmp(argv[1], policies[i].name) == 0)
			p = &policies[i];
	if (!p || bpf < 0) {
		(void)fprintf(stderr, "usage: mkfilter NAME OUT.c\n");
		return 2;
	}
	out = fopen(argv[2], "we");
	if (!out) {
		perror(argv[2]);
		return 1;
	}
	r = compile(p, bpf);
	if (r == 0 && lseek(bpf, 0, SEEK_SET) < 0)
		r = -errno;
	if (r == 0)
		r = emit(p->name, bpf, out);
	if (fclose(out) != 0 && r == 0)
		r = -EIO;
	if (r < 0)
		(void)fprintf(stderr, "mkfilter: %s: %s\n", p->name, strerror(-r));
	return r < 0;
}
