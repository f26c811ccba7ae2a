/* Processes by identity, and children that are run to their end. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/num.h"
#include "sys/proc.h"

#define TIMEOUT_MS 10000

#define REST "1 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 " /* fields 4 to 21 */

static void test_parse(void **state)
{
	static const char *const bad[] = {
		"",
		"1",
		"1 (x",
		"1 (x) S",
		"1 x S " REST "7 ",
		"1 (x)S " REST "7 ",
		"1 (x) SS " REST "7 ",
		"99999999999 (x) S " REST "7 ",
		"-1 (x) S " REST "7 ",
		"1 (x) S " REST "x ",
		"1 (x) S " REST,
		"1 (x) S 1 x" REST "7 ",
	};
	struct proc_stat st = { 0 };

	assert_int_equal(
		proc_stat_parse(
			"12 (a b) Z (1 ) R) S 3 4 5 0 -1 7 8 9 10 11 12 13 14 15 16 17 18 0 777 2 3\n", &st),
		0);
	assert_int_equal(st.pid, 12);
	assert_int_equal(st.state, 'S');
	assert_int_equal(st.ppid, 3);
	assert_int_equal(st.session, 5);
	assert_int_equal(st.start, 777);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (proc_stat_parse(bad[i], &st) != -EBADMSG)
			fail_msg("accepted: %s", bad[i]);
	assert_int_equal(st.start, 777); /* untouched on failure */
}

static pid_t sleeper(void)
{
	pid_t self = getpid(), pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		/* a name that would fool a parser */
		if (proc_die_with_parent(self) < 0 || prctl(PR_SET_NAME, "x) Z 1 (", 0, 0, 0) < 0)
			_exit(1);
		for (;;)
			(void)pause();
	}
	return pid;
}

static void test_identity(void **state)
{
	struct proc_stat st;
	pid_t pid = sleeper();
	uint64_t start;
	int fd = -1;

	assert_int_equal(proc_start_time(pid, &start), 0);
	assert_int_equal(proc_stat_read(pid, &st), 0);
	assert_int_equal(st.ppid, getpid());
	assert_true(proc_is_alive(pid, start));
	/* the same pid of another time is another process */
	assert_false(proc_is_alive(pid, start + 1));
	assert_int_equal(proc_signal(pid, start + 1, SIGKILL), -ESRCH);
	assert_int_equal(proc_open(pid, start - 1, &fd), -ESRCH);
	assert_int_equal(proc_kill_wait(pid, start + 1, TIMEOUT_MS), 0);
	assert_true(proc_is_alive(pid, start));
	assert_int_equal(proc_open(pid, start, &fd), 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(proc_wait_end(fd, 10), -ETIMEDOUT);
	assert_int_equal(proc_kill_wait(pid, start, TIMEOUT_MS), 0);
	/* a zombie has ended */
	assert_int_equal(proc_wait_end(fd, 0), 0);
	assert_int_equal(proc_stat_read(pid, &st), 0);
	assert_int_equal(st.state, 'Z');
	assert_false(proc_is_alive(pid, start));
	assert_int_equal(proc_signal(pid, start, 0), -ESRCH);
	assert_int_equal(proc_kill_wait(pid, start, TIMEOUT_MS), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(proc_stat_read(pid, &st), -ESRCH);
	assert_int_equal(proc_signal_fd(fd, SIGTERM), -ESRCH);
	(void)close(fd);
	assert_int_equal(proc_start_time(0, &start), -ESRCH);
	assert_int_equal(proc_open(-1, 0, &fd), -ESRCH);
}

static void test_die_with_parent(void **state)
{
	int alive[2], fd = -1, pids[2];
	uint64_t start;
	pid_t mid, kid;
	char byte;

	assert_int_equal(pipe2(alive, O_CLOEXEC), 0);
	assert_int_equal(pipe2(pids, O_CLOEXEC), 0);
	mid = fork();
	assert_true(mid >= 0);
	if (mid == 0) {
		pid_t self = getpid();

		kid = fork();
		if (kid == 0) {
			kid = getpid();
			if (proc_die_with_parent(self) < 0 || write(pids[1], &kid, sizeof kid) != sizeof kid)
				_exit(1);
		}
		for (;;)
			(void)pause();
	}
	(void)close(alive[1]);
	assert_int_equal(read(pids[0], &kid, sizeof kid), sizeof kid);
	assert_int_equal(proc_start_time(kid, &start), 0);
	assert_int_equal(proc_open(kid, start, &fd), 0);
	assert_int_equal(kill(mid, SIGKILL), 0);
	assert_int_equal(proc_wait_end(fd, TIMEOUT_MS), 0);
	/* nobody holds the pipe any more: both are gone */
	assert_int_equal(read(alive[0], &byte, 1), 0);
	assert_int_equal(waitpid(mid, NULL, 0), mid);
	(void)close(fd);
	(void)close(alive[0]);
	(void)close(pids[0]);
	(void)close(pids[1]);
	/* a parent that has gone already */
	mid = fork();
	assert_true(mid >= 0);
	if (mid == 0)
		_exit(proc_die_with_parent(1 << 21) == -ESRCH ? 0 : 1);
	assert_int_equal(waitpid(mid, &pids[0], 0), mid);
	assert_int_equal(pids[0], 0);
}

static void test_oom_score(void **state)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		scoped_free char *text = NULL;
		size_t len;

		_exit(proc_set_oom_score_adj(1001) == -EINVAL && proc_set_oom_score_adj(-1001) == -EINVAL &&
				      proc_set_oom_score_adj(500) == 0 &&
				      io_read_file_at(AT_FDCWD, "/proc/self/oom_score_adj", 64, &text,
						      &len) == 0 &&
				      strcmp(text, "500\n") == 0
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static const char *const sh[] = { "sh", "-c", NULL, NULL };

static int run_sh(const char *script, struct proc_run *p, struct err *e)
{
	const char *argv[4] = { sh[0], sh[1], script, NULL };

	p->argv = argv;
	return proc_run(p, e);
}

static void test_run(void **state)
{
	static const char *const env[] = { "A=1", "PATH=/bin:/usr/bin", NULL };
	struct proc_run p = { .out_max = 4096, .env = env, .in = "hello\n", .in_len = 6 };
	struct err e = { 0 };
	struct str text = { 0 };

	assert_int_equal(run_sh("cat; echo $A-$HOME; echo err >&2; exit 3", &p, &e), 0);
	assert_true(WIFEXITED(p.status));
	proc_status_text(p.status, &text);
	assert_string_equal(text.p, "exited with 3");
	assert_string_equal(p.out.p, "hello\n1-\nerr\n");
	str_fini(&p.out);
	str_reset(&text);
	assert_int_equal(run_sh("kill -9 $$", &p, &e), 0);
	proc_status_text(p.status, &text);
	assert_string_equal(text.p, "was killed by signal 9 (Killed)");
	str_fini(&p.out);
	str_fini(&text);
}

/* The text up to the end of its line, in `to`. */
static const char *first_line(const char *s, char *to, size_t cap)
{
	(void)snprintf(to, cap, "%.*s", (int)strcspn(s, "\n"), s);
	return to;
}

/* Only stdio is open, signals are as after a login, nothing keeps the output open for ever. */
static void test_run_clean(void **state)
{
	struct proc_run p = { .out_max = 4096 };
	struct err e = { 0 };
	sigset_t set, old;
	static const char want[] = "4\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
	int leak = dup(0); /* inheritable */
	char line[32];
	uint64_t pid;

	assert_true(leak > 2);
	(void)sigfillset(&set);
	assert_int_equal(sigprocmask(SIG_BLOCK, &set, &old), 0);
	(void)signal(SIGPIPE, SIG_IGN);
	assert_int_equal(run_sh("ls /proc/self/fd | wc -l; grep -E 'Sig(Blk|Ign)' /proc/self/status; read x; "
				"sleep 1000 & echo $!",
				&p, &e),
			 0);
	(void)signal(SIGPIPE, SIG_DFL);
	assert_int_equal(sigprocmask(SIG_SETMASK, &old, NULL), 0);
	(void)close(leak);
	/* 0-2, and the directory that ls reads; then the pid of what was left in the background */
	assert_true(str_starts(p.out.p, want));
	assert_int_equal(num_parse_u64(first_line(p.out.p + strlen(want), line, sizeof line), &pid), 0);
	assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
	str_fini(&p.out);
}

static void test_run_limits(void **state)
{
	struct proc_run p = { .out_max = 10, .timeout_ms = TIMEOUT_MS };
	struct err e = { 0 };

	/* much more than a pipe holds, most of it dropped */
	assert_int_equal(run_sh("i=0; while [ $i -lt 3000 ]; do echo "
				"0123456789012345678901234567890123456789; i=$((i+1)); done",
				&p, &e),
			 0);
	assert_int_equal(p.status, 0);
	assert_string_equal(p.out.p, "0123456789");
	str_fini(&p.out);
	p.timeout_ms = 50;
	assert_int_equal(run_sh("exec sleep 1000", &p, &e), -ETIMEDOUT);
	assert_non_null(strstr(e.msg, "50 ms"));
	assert_true(WIFSIGNALED(p.status));
	str_fini(&p.out);
}

static int failing_setup(void *arg, struct err *e)
{
	return err_set(e, -EXDEV, "setup says %s", (const char *)arg);
}

static void test_run_errors(void **state)
{
	static const char *const missing[] = { "no-such-program-of-cor", NULL };
	static const char why[] = "no";
	struct proc_run p = { .argv = missing, .out_max = 10 };
	struct err e = { 0 };

	assert_int_equal(proc_run(&p, &e), -ENOENT);
	assert_non_null(strstr(e.msg, missing[0]));
	p.file = "/etc/passwd";
	assert_int_equal(proc_run(&p, &e), -EACCES);
	p.setup = failing_setup;
	p.setup_arg = (void *)(uintptr_t)why;
	assert_int_equal(proc_run(&p, &e), -EXDEV);
	assert_string_equal(e.msg, "setup says no");
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
	str_fini(&p.out);
}

/* Another process, in all its threads, as a child of ours would be. */
static void test_like_caller(void **state)
{
	scoped_free char *path = NULL, *text = NULL;
	cpu_set_t mine, its;
	pid_t pid = sleeper();
	size_t n;

	assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
	assert_int_equal(setpriority(PRIO_PROCESS, (id_t)pid, 19), 0);
	if (geteuid() != 0) {
		print_message("# skipped: needs root\n");
		(void)kill(pid, SIGKILL);
		skip();
	}
	CPU_ZERO(&its);
	for (int c = 0; c < CPU_SETSIZE && CPU_COUNT(&its) == 0; c++)
		if (CPU_ISSET(c, &mine))
			CPU_SET(c, &its);
	assert_int_equal(sched_setaffinity(pid, sizeof its, &its), 0);
	path = str_fmt("/proc/%d/oom_score_adj", (int)pid);
	assert_int_equal(io_write_existing_at(AT_FDCWD, path, "777"), 0);
	assert_int_equal(proc_be_like_caller(pid), 0);
	assert_int_equal(getpriority(PRIO_PROCESS, (id_t)pid), getpriority(PRIO_PROCESS, 0));
	assert_int_equal(sched_getaffinity(pid, sizeof its, &its), 0);
	assert_true(CPU_EQUAL(&its, &mine));
	assert_int_equal(io_read_file_at(AT_FDCWD, path, 32, &text, &n), 0);
	assert_true(strcmp(text, "777\n") != 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(proc_be_like_caller(pid) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_die_with_parent),
		cmocka_unit_test(test_oom_score),
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_run_clean),
		cmocka_unit_test(test_run_limits),
		cmocka_unit_test(test_run_errors),
		cmocka_unit_test(test_like_caller),
	};

	return cmocka_run_group_tests_name("sys/proc", tests, NULL, NULL);
}
