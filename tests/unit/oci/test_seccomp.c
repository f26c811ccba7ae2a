/* test_seccomp.c - oci/seccomp.h: the program is loaded into a child, and the kernel is asked. */
#include "unit.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "oci/oci_samples.h"
#include "oci/seccomp.h"

static int compile_text(const char *text, struct seccomp_program *p, struct strv *warnings, struct err *e)
{
	scoped_free char *doc = str_fmt("{\"ociVersion\":\"1.0.0\",\"linux\":{\"seccomp\":%s}}", text);
	scoped_spec s = { 0 };

	assert_non_null(doc);
	if (spec_parse(doc, strlen(doc), &s, e) < 0)
		fail_msg("%s: %s", text, e->msg);
	return seccomp_compile(&s.lnx.seccomp, p, warnings, e);
}

/* What a child under the filter gets: exit status 0..., or 128 + signal. */
static int run_under(const struct seccomp_program *p, int (*probe)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct sock_fprog prog = { .len = (unsigned short)(p->len / sizeof(struct sock_filter)),
					   .filter = (struct sock_filter *)(void *)p->bpf };

		(void)signal(SIGSYS, SIG_DFL); /* cmocka catches it */
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, p->flags, &prog) < 0)
			_exit(125);
		/* not _exit(): a sanitizer looks for leaks there, with calls that the filter refuses */
		(void)syscall(SYS_exit_group, probe());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int probe_getppid(void)
{
	errno = 0;
	return syscall(SYS_getppid) < 0 ? errno : 0;
}

static int probe_personality_32(void)
{
	errno = 0;
	return syscall(SYS_personality, PER_LINUX32) < 0 ? errno : 0;
}

static int probe_personality_query(void)
{
	errno = 0;
	return syscall(SYS_personality, 0xffffffff) < 0 ? errno : 0;
}

static int probe_personality_bsd(void)
{
	errno = 0;
	return syscall(SYS_personality, PER_BSD) < 0 ? errno : 0;
}

static int probe_socket_unix(void)
{
	errno = 0;
	return syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0) < 0 ? errno : 0;
}

static int probe_kexec(void)
{
	errno = 0;
	return syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0) < 0 ? errno : 0;
}

static int probe_unassigned(void)
{
	errno = 0;
	return syscall(100000) < 0 ? errno : 0;
}

/* personality by its x32 number: the filter's business, not the stub's. */
static int probe_x32(void)
{
	errno = 0;
	return syscall(0x40000000 + SYS_personality, 0) < 0 ? errno : 0;
}

/* int 0x80: i386's numbers, whatever the program is. */
static int probe_i386(long nr)
{
	long r;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(0) : "memory", "cc");
	return r < 0 ? (int)-r : 0;
}

static int probe_i386_new(void)
{
	return probe_i386(100000);
}

static int probe_i386_personality(void)
{
	return probe_i386(136);
}

#define ALL_BUT(rules) "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[" rules "]}"

static void test_actions(void **state)
{
	static const struct {
		const char *profile;
		int (*probe)(void);
		int result;
	} rows[] = {
		{ ALL_BUT("{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_ERRNO\"}"), probe_getppid, EPERM },
		{ ALL_BUT("{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":38}"),
		  probe_getppid, ENOSYS },
		{ ALL_BUT("{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":0}"),
		  probe_getppid, 0 },
		{ ALL_BUT("{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_KILL\"}"), probe_getppid,
		  128 + SIGSYS },
		{ ALL_BUT("{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_KILL_PROCESS\"}"), probe_getppid,
		  128 + SIGSYS },
		{ ALL_BUT("{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_TRAP\"}"), probe_getppid,
		  128 + SIGSYS },
		{ ALL_BUT("{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_TRACE\"}"), probe_getppid, ENOSYS },
		{ ALL_BUT("{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_LOG\"}"), probe_getppid, 0 },
		{ ALL_BUT("{\"names\":[\"getppid\",\"getppid\"],\"action\":\"SCMP_ACT_ERRNO\"}"),
		  probe_getppid, EPERM },
		{ ALL_BUT("{\"names\":[\"getpid\"],\"action\":\"SCMP_ACT_ERRNO\"}"), probe_getppid, 0 },
		/* one argument compared twice: either condition is enough */
		{ ALL_BUT("{\"names\":[\"personality\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":["
			  "{\"index\":0,\"value\":8,\"op\":\"SCMP_CMP_EQ\"},{\"index\":0,\"value\":"
			  "4294967295,\"op\":\"SCMP_CMP_EQ\"}]}"),
		  probe_personality_32, EPERM },
		{ ALL_BUT("{\"names\":[\"personality\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":["
			  "{\"index\":0,\"value\":8,\"op\":\"SCMP_CMP_EQ\"},{\"index\":0,\"value\":"
			  "4294967295,\"op\":\"SCMP_CMP_EQ\"}]}"),
		  probe_personality_query, EPERM },
		/* two arguments: both conditions are needed */
		{ ALL_BUT("{\"names\":[\"socket\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":["
			  "{\"index\":0,\"value\":1,\"op\":\"SCMP_CMP_EQ\"},{\"index\":1,\"value\":2,\"op\":"
			  "\"SCMP_CMP_EQ\"}]}"),
		  probe_socket_unix, 0 },
		{ ALL_BUT("{\"names\":[\"socket\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":["
			  "{\"index\":0,\"value\":1,\"op\":\"SCMP_CMP_EQ\"},{\"index\":1,\"value\":1,\"op\":"
			  "\"SCMP_CMP_EQ\"}]}"),
		  probe_socket_unix, EPERM },
		{ ALL_BUT("{\"names\":[\"personality\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":["
			  "{\"index\":0,\"value\":12,\"valueTwo\":8,\"op\":\"SCMP_CMP_MASKED_EQ\"}]}"),
		  probe_personality_32, EPERM },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_seccomp p = { 0 };
		struct err e = { 0 };
		int got;

		if (compile_text(rows[i].profile, &p, NULL, &e) < 0)
			fail_msg("row %zu: %s", i, e.msg);
		got = run_under(&p, rows[i].probe);
		if (got != rows[i].result)
			fail_msg("row %zu: wanted %d, got %d", i, rows[i].result, got);
	}
}

/* A default that refuses, with EPERM; exit_group (231, on i386 252) is the newest call it names. */
static void test_newer_calls(void **state)
{
	static const struct {
		const char *action;
		int (*probe)(void);
		int result;
	} rows[] = {
		{ "SCMP_ACT_ERRNO", probe_getppid, 0 },
		{ "SCMP_ACT_ERRNO", probe_personality_32, EPERM },
		{ "SCMP_ACT_ERRNO", probe_unassigned, ENOSYS },
		{ "SCMP_ACT_ERRNO", probe_x32, EPERM },
		{ "SCMP_ACT_ERRNO", probe_i386_new, ENOSYS },
		{ "SCMP_ACT_ERRNO", probe_i386_personality, EPERM },
		{ "SCMP_ACT_KILL_PROCESS", probe_personality_32, 128 + SIGSYS },
		{ "SCMP_ACT_KILL_PROCESS", probe_unassigned, ENOSYS },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_free char *profile = str_fmt(
			"{\"defaultAction\":\"%s\",\"architectures\":[\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_X86\","
			"\"SCMP_ARCH_X32\"],\"syscalls\":[{\"names\":[\"getppid\",\"exit_group\"],\"action\":"
			"\"SCMP_ACT_ALLOW\"}]}",
			rows[i].action);
		scoped_seccomp p = { 0 };
		struct err e = { 0 };
		int got;

		assert_non_null(profile);
		if (compile_text(profile, &p, NULL, &e) < 0)
			fail_msg("row %zu: %s", i, e.msg);
		got = run_under(&p, rows[i].probe);
		if (got != rows[i].result)
			fail_msg("row %zu: wanted %d, got %d", i, rows[i].result, got);
	}
}

static void test_too_many(void **state)
{
	scoped_str text = { 0 };
	scoped_strv warnings = { 0 };
	scoped_seccomp p = { 0 };
	struct err e = { 0 };

	str_add(&text, "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"");
	for (int i = 0; i < 9000; i++)
		str_add(&text, ",\"read\"");
	str_add(&text, "],\"action\":\"SCMP_ACT_LOG\"}]}");
	assert_int_equal(compile_text(text.p, &p, NULL, &e), -E2BIG);
	assert_true(str_starts(e.msg, "config.json: linux.seccomp.syscalls[0]: read: "));
	str_reset(&text);
	str_add(&text, "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"x\"");
	for (int i = 0; i < 9000; i++)
		str_addf(&text, ",\"x%d\"", i);
	str_add(&text, "],\"action\":\"SCMP_ACT_LOG\"}]}");
	assert_int_equal(compile_text(text.p, &p, &warnings, &e), 0);
	assert_int_equal(warnings.n, 1);
	assert_true(str_ends(warnings.p[0], ", x14 and more"));
}

/* The profile that podman sent: an allow list of 22 rules, the shape of Docker's default. */
static void test_default_profile(void **state)
{
	scoped_seccomp p = { 0 };
	scoped_spec s = { 0 };
	struct err e = { 0 };

	assert_int_equal(spec_load(SAMPLES_DIR, "podman.json", &s, &e), 0);
	if (seccomp_compile(&s.lnx.seccomp, &p, NULL, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(p.flags, SECCOMP_FILTER_FLAG_SPEC_ALLOW);
	assert_true(p.len % sizeof(struct sock_filter) == 0 && p.len > 100 * sizeof(struct sock_filter));
	assert_int_equal(run_under(&p, probe_getppid), 0);
	assert_int_equal(run_under(&p, probe_personality_32), 0);
	assert_int_not_equal(run_under(&p, probe_personality_bsd), 0);
	assert_int_equal(run_under(&p, probe_socket_unix), 0);
	assert_int_equal(run_under(&p, probe_kexec), EPERM);
}

static void test_flags(void **state)
{
	static const struct {
		const char *profile;
		uint32_t flags;
	} rows[] = {
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\"}", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[]}", 0 },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\",\"SECCOMP_"
		  "FILTER_FLAG_TSYNC\"]}",
		  SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_TSYNC },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_seccomp p = { 0 };
		struct err e = { 0 };

		assert_int_equal(compile_text(rows[i].profile, &p, NULL, &e), 0);
		assert_int_equal(p.flags, rows[i].flags);
		assert_int_equal(p.len, 0); /* allows everything: no program */
	}
}

static void test_skipped(void **state)
{
	scoped_strv warnings = { 0 };
	scoped_seccomp p = { 0 };
	struct err e = { 0 };

	assert_int_equal(
		compile_text("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_AARCH64\","
			     "\"SCMP_ARCH_X86\",\"SCMP_ARCH_X86_64\"],\"syscalls\":[{\"names\":[\"from_the_"
			     "future\","
			     "\"getppid\",\"from_the_future\"],\"action\":\"SCMP_ACT_ERRNO\"},{\"names\":["
			     "\"read\"],"
			     "\"action\":\"SCMP_ACT_ALLOW\"}]}",
			     &p, &warnings, &e),
		0);
	assert_int_equal(warnings.n, 1);
	assert_string_equal(warnings.p[0],
			    "config.json: linux.seccomp.syscalls: not known and skipped: from_the_future");
	assert_int_equal(run_under(&p, probe_getppid), EPERM);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *profile;
		int code;
		const char *message;
	} rows[] = {
		{ "{\"defaultAction\":\"SCMP_ACT_X\"}", -EINVAL,
		  "defaultAction: \"SCMP_ACT_X\" is not an action; known: SCMP_ACT_A" },
		{ "{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}", -ENOTSUP,
		  "defaultAction: SCMP_ACT_NOTIFY is not supported" },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"defaultErrnoRet\":1}", -EINVAL,
		  "defaultAction: SCMP_ACT_ALLOW takes no" },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/x\"}", -ENOTSUP,
		  "listenerPath: is not supported" },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"X\"]}", -EINVAL,
		  "flags: \"X\" is not a filter flag" },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_"
		  "RECV\"]}",
		  -EINVAL, "flags: " },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_Z80\"]}", -EINVAL,
		  "architectures: \"SCMP_ARCH_Z80\" is not" },
		{ ALL_BUT("{\"names\":[\"a\"],\"action\":\"SCMP_ACT_NOTIFY\"}"), -ENOTSUP,
		  "syscalls[0]: SCMP_ACT_NOTIFY" },
		{ ALL_BUT("{\"names\":[\"a\"],\"action\":\"SCMP_ACT_LOG\"},{\"names\":[\"a\"],\"action\":"
			  "\"Y\"}"),
		  -EINVAL, "syscalls[1]: \"Y\" is not an action" },
		{ ALL_BUT("{\"names\":[\"read\"],\"action\":\"SCMP_ACT_LOG\",\"args\":[{\"index\":0,"
			  "\"value\":1,\"op\":\"EQ\"}]}"),
		  -EINVAL, "syscalls[0]: \"EQ\" is not an operator" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_seccomp p = { 0 };
		struct err e = { 0 };
		int r = compile_text(rows[i].profile, &p, NULL, &e);

		if (r != rows[i].code || !str_starts(e.msg, "config.json: linux.seccomp.") ||
		    !str_starts(e.msg + 27, rows[i].message))
			fail_msg("row %zu: wanted %d \"%s\", got %d \"%s\"", i, rows[i].code, rows[i].message,
				 r, e.msg);
		assert_null(p.bpf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_actions),     cmocka_unit_test(test_default_profile),
		cmocka_unit_test(test_flags),       cmocka_unit_test(test_skipped),
		cmocka_unit_test(test_newer_calls), cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
