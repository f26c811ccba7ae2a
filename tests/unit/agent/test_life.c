/* Life of a container and of exec sessions under the agent in test mode, driven over its channel.
 * Each test has an agent of its own, which serves all containers of the test. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "unit.h"

#include "box.h"

static void test_hello(void **state unused_arg)
{
	const char *const argv[] = { "/bin/echo", "hello", "guest", NULL };
	struct ctr_box b;

	NEED_HOST;
	ctr_box_init(&b, argv);
	expect(&b, "hello guest\n", 0);
}

/* Nothing but stdio is open, and the directory that ls reads. */
static void test_open_files(void **state unused_arg)
{
	const char *const argv[] = { "/bin/ls", "-1", "/proc/self/fd", NULL };
	struct ctr_box b;

	NEED_HOST;
	ctr_box_init(&b, argv);
	expect(&b, "0\n1\n2\n3\n", 0);
}

/* The agent's signal handling is not the program's. */
static void test_signal_state(void **state unused_arg)
{
	const char *const argv[] = { "/bin/sed", "-n", "/^SigBlk/s/^.*:\t//p;/^SigIgn/s/^.*:\t//p",
				     "/proc/self/status", NULL };
	struct ctr_box b;

	NEED_HOST;
	ctr_box_init(&b, argv);
	expect(&b, "0000000000000000\n0000000000000000\n", 0);
}

static void test_exit_codes(void **state unused_arg)
{
	static const uint32_t codes[] = { 0, 1, 2, 17, 42, 126, 127, 128, 137, 254, 255 };
	char script[32];
	struct ctr_box b;

	NEED_HOST;
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		(void)snprintf(script, sizeof script, "exit %u", codes[i]);
		shell_init(&b, script);
		expect(&b, "", codes[i]);
	}
}

static void test_signals(void **state unused_arg)
{
	struct ctr_box b;
	struct run r;

	NEED_HOST;
	/* A handler decides. */
	shell_init(&b, "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 1 & wait; done");
	run_init(&r);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_output(&r);
	assert_int_equal(signal_proc(PROC_INIT, 0, false), 0);
	assert_int_equal(signal_proc(PROC_INIT, 77, false), -EINVAL);
	assert_int_equal(signal_proc(5, SIGTERM, false), -ESRCH);
	assert_int_equal(signal_proc(PROC_INIT, SIGTERM, false), 0);
	host_finish(&host, &r);
	assert_int_equal(r.status, 9);
	assert_int_equal(r.signal, 0);
	run_fini(&r);
	/* KILL, with the children of the process. */
	shell_init(&b, "sleep 1000 & echo ready; wait");
	run_init(&r);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_output(&r);
	assert_int_equal(signal_proc(PROC_INIT, SIGKILL, true), 0);
	host_finish(&host, &r);
	assert_int_equal(r.status, 137);
	assert_int_equal(r.signal, SIGKILL);
	run_fini(&r);
	assert_int_equal(signal_proc(PROC_INIT, SIGKILL, false), -ESRCH);
}

static void test_created(void **state unused_arg)
{
	struct msg_ref ref = { 0 };
	struct ctr_box b;
	struct run r, again;

	NEED_HOST;
	shell_init(&b, "echo never");
	run_init(&r);
	run_init(&again);
	assert_int_equal(host_ask(&host, MSG_A_START, &rec_ref, &ref), -ESRCH);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	/* No second one beside it. */
	assert_int_equal((int)host_answer(&host, host_send(&host, MSG_A_CREATE, &rec_ctr, &b.c))->code,
			 -EBUSY);
	assert_int_equal(signal_proc(PROC_INIT, SIGTERM, false), 0);
	host_finish(&host, &r);
	assert_int_equal(r.status, 137);
	assert_false(has_byte(r.out));
	run_fini(&r);
	run_fini(&again);
}

static bool is_ready(struct host *h)
{
	return h->ready;
}

static void hello(bool rehearsal)
{
	struct msg_hello m = { .version = PROTO_VERSION, .nonce = 4711, .rehearsal = rehearsal };

	host.ready = false;
	(void)host_send(&host, MSG_A_HELLO, &rec_hello, &m);
	host_until(&host, is_ready);
}

/* After a rehearsal nothing is served before another HELLO: what comes first is skipped as stale. */
static void test_rehearsal(void **state unused_arg)
{
	const char *const argv[] = { "/bin/echo", "rehearsed", NULL };
	struct ctr_box b;
	uint32_t lost;

	NEED_HOST;
	hello(true);
	ctr_box_init(&b, argv);
	expect(&b, "rehearsed\n", 0);
	lost = host_send(&host, MSG_A_CREATE, &rec_ctr, &b.c);
	hello(false);
	assert_false(host.results[lost % HOST_RESULTS].got);
	expect(&b, "rehearsed\n", 0);
	/* and no rehearsal again */
	expect(&b, "rehearsed\n", 0);
}

static void missing(struct msg_process *p)
{
	p->args.p[0] = lit("nosuch");
}

static void test_exec(void **state unused_arg)
{
	struct ctr_box b;
	struct run r, x, y;

	NEED_HOST;
	exec_line(&x, 1, "true", NULL);
	assert_int_equal(x.code, -ESRCH);
	run_fini(&x);
	shell_init(&b, "echo ready; sleep 1000");
	(void)ctr_box_mount(&b, MOUNT_FS, "/mnt", "tmpfs", "tmpfs");
	run_init(&r);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_output(&r);
	expect_exec(1, "hostname; grep -c ' /mnt ' /proc/mounts; grep -c sleep /proc/1/cmdline; exit 42",
		    NULL, "guest\n1\n1\n", 42);
	expect_exec(65535,
		    "id -u; pwd; echo $HOME; cat /proc/self/oom_score_adj; touch /root-only 2>/dev/null || "
		    "echo no",
		    as_user, "1000\n/tmp\n/home/user\n321\nno\n", 0);
	/* What a session leaves in the background doesn't hold its exit back. */
	expect_exec(2, "sleep 1000 & echo done", NULL, "done\n", 0);
	exec_line(&x, 3, "x", missing);
	assert_int_equal(x.code, -ENOENT);
	assert_non_null(strstr(x.text, "exec: \"nosuch\": executable file not found in $PATH"));
	run_fini(&x);
	exec_line(&x, PROC_MAX + 1, "true", NULL);
	assert_int_equal(x.code, -EINVAL);
	run_fini(&x);
	/* Two at once; the same number twice; one is killed by its number, the other by the container's end.
	 */
	exec_line(&x, 4, "echo ready; exec sleep 1000", NULL);
	exec_line(&y, 5, "echo ready; exec sleep 1000", NULL);
	assert_int_equal(x.code | y.code, 0);
	wait_output(&x);
	assert_int_equal(signal_proc(4, SIGTERM, false), 0);
	host_finish(&host, &x);
	assert_int_equal(x.status, 128 + SIGTERM);
	run_fini(&x);
	wait_output(&y);
	assert_int_equal(signal_proc(PROC_INIT, SIGKILL, false), 0);
	(void)host_exit(&host, PROC_INIT);
	/* The container's exit came last. */
	assert_true(host_has_exited(&host, 5));
	assert_int_equal(host.exits[host.n_exits - 1].proc, PROC_INIT);
	host_finish(&host, &y);
	assert_int_equal(y.status, 137);
	host_finish(&host, &r);
	run_fini(&y);
	run_fini(&r);
}

static void test_stdin(void **state unused_arg)
{
	struct ctr_box b;
	struct run r;
	char *text;
	int p[2];

	NEED_HOST;
	shell_init(&b, "cat; echo end");
	run_init(&r);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	r.in = p[0];
	assert_int_equal(write(p[1], "line\n", 5), 5);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_output(&r);
	close(p[1]);
	host_finish(&host, &r);
	text = run_text(r.out);
	assert_string_equal(text, "line\nend\n");
	free(text);
	run_fini(&r);
}

static void test_much_output(void **state unused_arg)
{
	struct ctr_box b;
	struct run r;
	struct stat st;
	char *text;

	NEED_HOST;
	shell_init(&b, "head -c 10485760 /dev/zero | tee /dev/null 2>/dev/null || head -c 10485760 "
		       "/dev/zero; seq 1 5 >&2");
	run_init(&r);
	host_run(&host, &b.c, &r);
	assert_int_equal(r.code, 0);
	assert_int_equal(fstat(r.out, &st), 0);
	assert_int_equal(st.st_size, 10485760);
	text = run_text(r.err);
	assert_string_equal(text, "1\n2\n3\n4\n5\n");
	free(text);
	run_fini(&r);
	/* In order and unchanged: a sequence is its own check. */
	shell_init(&b, "seq 1 1000000 | md5sum; seq 1 1000000");
	run_init(&r);
	host_run(&host, &b.c, &r);
	assert_int_equal(r.code, 0);
	text = run_text(r.out);
	assert_int_equal(strlen(text), strlen("8f94ee2ad5fa7e9a1ba13a1b2ea8e5ab  -\n") + 6888896);
	assert_non_null(strstr(text, "  -\n1\n2\n3\n"));
	assert_string_equal(text + strlen(text) - 16, "\n999999\n1000000\n");
	free(text);
	run_fini(&r);
}

/* More than the stream's credit and the guest's pipe hold together with the host's pipe left unread: the rest
 * waits in the guest. */
#define BLOCKED_BYTES 250000

/* A run whose stdout is a pipe that the test reads when it wants. Returns its read end. */
static int block_output(struct run *r)
{
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	close(r->out);
	r->out = p[1];
	return p[0];
}

static bool gone;

/* Asks until the process is no more; each answer is an event, nothing is slept. */
static void wait_gone(uint32_t proc)
{
	do {
		gone = signal_proc(proc, 0, false) == -ESRCH;
	} while (!gone);
}

/* Reads all of it while the loop runs; returns the number of bytes. */
static size_t read_all(struct run *r, int fd)
{
	static char buf[65536];
	size_t got = 0;
	ssize_t n;

	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	close(r->out); /* the mux has its own */
	r->out = -1;
	for (;;) {
		n = read(fd, buf, sizeof buf);
		if (n == 0)
			break;
		if (n > 0)
			got += (size_t)n;
		else
			assert_int_equal(loop_once(&host.loop, 1000), 0);
	}
	close(fd);
	return got;
}

/* An exit is told after the output, however long the reader takes. */
static void test_exit_after_output(void **state unused_arg)
{
	char script[64];
	struct ctr_box b;
	struct run r;
	int fd;

	NEED_HOST;
	(void)snprintf(script, sizeof script, "head -c %d /dev/zero; exit 3", BLOCKED_BYTES);
	shell_init(&b, script);
	run_init(&r);
	fd = block_output(&r);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_gone(PROC_INIT);
	assert_int_equal(host.n_exits, 0);
	assert_int_equal(read_all(&r, fd), BLOCKED_BYTES);
	host_finish(&host, &r);
	assert_int_equal(r.status, 3);
	run_fini(&r);
}

/* The container's exit is the last word, also when a session's output holds that session's exit back. */
static void test_container_exit_last(void **state unused_arg)
{
	static char *args[8], *env[8];
	char script[64];
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };
	struct msg_process p;
	struct ctr_box b;
	struct run r, x;
	int fd;

	NEED_HOST;
	shell_init(&b, "echo ready; sleep 1000");
	run_init(&r);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_output(&r);
	(void)snprintf(script, sizeof script, "head -c %d /dev/zero", BLOCKED_BYTES);
	process_init(&p, args, env, argv);
	run_init(&x);
	x.proc = 1;
	fd = block_output(&x);
	assert_int_equal(host_exec(&host, &p, &x), 0);
	wait_gone(1);
	assert_int_equal(signal_proc(PROC_INIT, SIGKILL, false), 0);
	wait_gone(PROC_INIT);
	assert_int_equal(host.n_exits, 0);
	assert_int_equal(read_all(&x, fd), BLOCKED_BYTES);
	(void)host_exit(&host, PROC_INIT);
	assert_int_equal(host.n_exits, 2);
	assert_int_equal(host.exits[0].proc, 1);
	assert_int_equal(host.exits[0].code, 0);
	host_finish(&host, &x);
	host_finish(&host, &r);
	run_fini(&x);
	run_fini(&r);
}

static void terminal(struct ctr_box *b)
{
	b->c.process.terminal = true;
	b->c.process.rows = 24;
	b->c.process.cols = 80;
}

static void test_terminal(void **state unused_arg)
{
	struct msg_resize size = { .proc = PROC_INIT, .rows = 50, .cols = 132 };
	struct ctr_box b;
	struct run r;
	char *text;
	int p[2];

	NEED_HOST;
	shell_init(&b, "tty; stty size; test -c /dev/console && test -t 0 && echo console; read x; echo "
		       "\"<$x>\"; stty size; exit 3");
	terminal(&b);
	run_init(&r);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	r.in = p[0];
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_text(&r, "console");
	assert_int_equal(mux_send(&host.mux, MSG_A_RESIZE, 0, &rec_resize, &size), 0);
	/* Answered in order: the size is set by now. */
	assert_int_equal(signal_proc(PROC_INIT, 0, false), 0);
	assert_int_equal(write(p[1], "typed\n", 6), 6);
	host_finish(&host, &r);
	close(p[1]);
	text = run_text(r.out);
	assert_string_equal(text, "/dev/pts/0\r\n24 80\r\nconsole\r\ntyped\r\n<typed>\r\n50 132\r\n");
	assert_int_equal(r.status, 3);
	free(text);
	run_fini(&r);
}

static void exec_terminal(struct msg_process *p)
{
	p->terminal = true;
	p->uid = 1000;
	p->rows = 10;
	p->cols = 20;
}

/* A session on a terminal whose input is there before it. */
static void exec_typed(uint32_t proc, const char *typed, const char *script, const char *out)
{
	char *args[8], *env[8], *text;
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };
	struct msg_process p;
	struct run r;
	int in[2];

	process_init(&p, args, env, argv);
	p.terminal = true;
	run_init(&r);
	r.proc = proc;
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	r.in = in[0];
	assert_int_equal(write(in[1], typed, strlen(typed)), (ssize_t)strlen(typed));
	assert_int_equal(host_exec(&host, &p, &r), 0);
	host_finish(&host, &r);
	text = run_text(r.out);
	assert_string_equal(text, out);
	free(text);
	close(in[1]);
	run_fini(&r);
}

static void test_exec_terminal(void **state unused_arg)
{
	struct ctr_box b;
	struct run r;

	NEED_HOST;
	shell_init(&b, "echo ready; exec sleep 1000");
	run_init(&r);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_output(&r);
	expect_exec(1, "tty; stty size; echo x >/dev/tty; stat -c %u /dev/pts/0", exec_terminal,
		    "/dev/pts/0\r\n10 20\r\nx\r\n1000\r\n", 0);
	/* Typed before the terminal exists. */
	exec_typed(2, "typed early\n", "read x; echo \"<$x>\"", "typed early\r\n<typed early>\r\n");
	assert_int_equal(signal_proc(PROC_INIT, SIGKILL, false), 0);
	host_finish(&host, &r);
	run_fini(&r);
}

static void hook(struct ctr_box *b, struct msg_hook *h, char **args, const char *script)
{
	static char *env[] = { NULL, NULL };

	env[0] = lit("HOOK=yes");
	args[0] = lit("sh");
	args[1] = lit("-c");
	args[2] = lit(script);
	args[3] = NULL;
	*h = (struct msg_hook){ .path = lit("/bin/sh"), .args = { args, 3 }, .env = { env, 1 } };
	b->c.start_hooks.p = h;
	b->c.start_hooks.n = 1;
	b->c.hook_state = lit("{\"id\":\"test\"}");
}

static void test_hooks(void **state unused_arg)
{
	struct msg_hook h;
	struct ctr_box b;
	struct run r;
	char *args[4];

	NEED_HOST;
	shell_init(&b, "cat /tmp/state; rm /tmp/state");
	hook(&b, &h, args, "/bin/cat >/tmp/state; echo $HOOK >>/tmp/state; /bin/hostname >>/tmp/state");
	expect(&b, "{\"id\":\"test\"}yes\nguest\n", 0);
	/* A failure is an error to START, and the end of the container. */
	shell_init(&b, "echo never");
	hook(&b, &h, args, "echo because >&2; exit 7");
	run_init(&r);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), -EIO);
	assert_non_null(strstr(r.text, "startContainer hook /bin/sh: exit status 7: because"));
	host_finish(&host, &r);
	assert_int_equal(r.status, 1);
	assert_false(has_byte(r.out));
	run_fini(&r);
	shell_init(&b, "echo never");
	hook(&b, &h, args, "exec /bin/sleep 1000");
	h.timeout_s = 1;
	run_init(&r);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), -ETIMEDOUT);
	assert_non_null(strstr(r.text, "no end after 1 s"));
	host_finish(&host, &r);
	run_fini(&r);
	assert_int_equal(host.n_exits, 0);
}

static bool has_ps(struct host *h)
{
	return h->got_ps;
}

static void test_ps(void **state unused_arg)
{
	struct msg_ref ref = { 0 };
	struct ctr_box b;
	struct run r;

	NEED_HOST;
	assert_int_equal(host_ask(&host, MSG_A_PS, &rec_ref, &ref), -ESRCH);
	shell_init(&b, "sleep 1000 & echo ready; wait");
	b.c.process.uid = 1000;
	run_init(&r);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_output(&r);
	(void)host_send(&host, MSG_A_PS, &rec_ref, &ref);
	host_until(&host, has_ps);
	assert_int_equal(host.ps.entries.n, 2);
	assert_string_equal(host.ps.entries.p[0].cmd, "/bin/sh -c sleep 1000 & echo ready; wait");
	assert_int_equal(host.ps.entries.p[0].pid, 1);
	assert_int_equal(host.ps.entries.p[0].ppid, 0);
	assert_int_equal(host.ps.entries.p[0].uid, 1000);
	assert_int_equal(host.ps.entries.p[1].pid, 2);
	assert_int_equal(host.ps.entries.p[1].ppid, 1);
	assert_string_equal(host.ps.entries.p[1].tty, "?");
	/* Nothing is counted where there are no cgroups. */
	assert_int_equal(host_ask(&host, MSG_A_STATS, &rec_ref, &ref), -ENODEV);
	assert_int_equal(signal_proc(PROC_INIT, SIGKILL, false), 0);
	host_finish(&host, &r);
	run_fini(&r);
}

/* Messages that make no sense are answered, and the agent goes on. */
static void test_odd_messages(void **state unused_arg)
{
	struct msg_ref ref = { 77 };
	struct msg_update up = { 0 };
	struct msg_resize size = { .proc = 9, .rows = UINT32_MAX, .cols = UINT32_MAX };

	NEED_HOST;
	assert_int_equal(host_ask(&host, (enum msg_type)31, NULL, NULL), -ENOSYS);
	assert_int_equal(host_ask(&host, MSG_A_CREATE, &rec_ref, &ref), -EBADMSG);
	assert_int_equal(host_ask(&host, MSG_A_EXEC, NULL, NULL), -EBADMSG);
	assert_int_equal(host_ask(&host, MSG_A_UPDATE, &rec_update, &up), -ESRCH);
	assert_int_equal(mux_send(&host.mux, MSG_A_RESIZE, 0, &rec_resize, &size), 0);
	assert_int_equal(signal_proc(PROC_INIT, UINT32_MAX, true), -ESRCH);
}

/* The agent's number of processes has an end, which is an answer and not its end. */
static void test_many(void **state unused_arg)
{
	static struct run runs[200];
	size_t n = 0;
	struct ctr_box b;
	struct run r;

	NEED_HOST;
	shell_init(&b, "echo ready; exec sleep 1000");
	run_init(&r);
	assert_int_equal(host_create(&host, &b.c, &r), 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_output(&r);
	for (; n < ARRAY_LEN(runs); n++) {
		exec_line(&runs[n], (uint32_t)n + 1, "exec sleep 1000", NULL);
		if (runs[n].code)
			break;
	}
	assert_int_equal(n, 159); /* AGENT_PROCS without the container's own */
	assert_int_equal(runs[n].code, -EAGAIN);
	run_fini(&runs[n]);
	assert_int_equal(signal_proc(PROC_INIT, SIGKILL, false), 0);
	for (size_t i = 0; i < n; i++) {
		host_finish(&host, &runs[i]);
		assert_int_equal(runs[i].status, 137);
		run_fini(&runs[i]);
	}
	host_finish(&host, &r);
	run_fini(&r);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, box_start, box_stop)
	const struct CMUnitTest tests[] = {
		T(test_hello),
		T(test_open_files),
		T(test_signal_state),
		T(test_exit_codes),
		T(test_signals),
		T(test_created),
		T(test_rehearsal),
		T(test_exec),
		T(test_stdin),
		T(test_much_output),
		T(test_exit_after_output),
		T(test_container_exit_last),
		T(test_terminal),
		T(test_exec_terminal),
		T(test_hooks),
		T(test_ps),
		T(test_odd_messages),
		T(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
