/* test_monitor.c - a monitor's life without a machine: start, output, exits, signals, pause, and what
 * happens when agent, VM or caller misbehave or go away. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>

static void send_data(struct rig *r, uint32_t proc, enum msg_stream which, const char *text)
{
	agent_raw(r, MSG_DATA, msg_stream_id(proc, which), text, strlen(text));
}

static void end_output(struct rig *r, uint32_t proc)
{
	agent_raw(r, MSG_EOF, msg_stream_id(proc, STREAM_STDOUT), NULL, 0);
	agent_raw(r, MSG_EOF, msg_stream_id(proc, STREAM_STDERR), NULL, 0);
}

/* What cor reads when its create fails. */
static void expect_failed(struct rig *r, const char *text)
{
	struct err e = { 0 };

	assert_true(ctl_result(verb_expect(r->sync, MSG_S_FAILED), &e) < 0);
	if (!strstr(e.msg, text))
		fail_msg("\"%s\" is not in: %s", text, e.msg);
}

static void test_whole_life(void **state)
{
	struct rig *r = *state;
	const struct frame *f;
	const struct msg_hello *hello;
	struct pollfd quiet;
	int verb;

	rig_start(r);
	rig_expect_up(r);
	hello = agent_body(agent_expect(r, MSG_A_HELLO));
	assert_int_equal(hello->version, PROTO_VERSION);
	assert_int_equal(hello->entropy.n, 64);
	assert_true(hello->realtime_ns > 0);
	r->nonce = hello->nonce;
	assert_true(rig_vm(r) > 1);
	/* the agent first, then the hooks: the container is handed over after both */
	agent_ready(r, r->nonce, PROTO_VERSION);
	quiet = (struct pollfd){ .fd = r->agent, .events = POLLIN };
	assert_int_equal(poll(&quiet, 1, 50), 0);
	verb_send(r->sync, MSG_S_HOOKS_DONE, NULL, NULL, NULL, 0);
	f = agent_expect(r, MSG_A_CREATE);
	assert_string_equal(((const struct msg_ctr *)agent_body(f))->id, "c1");
	agent_result(r, f->id, 0, NULL);
	/* set up beside its move to the cgroup, but not created before */
	quiet = (struct pollfd){ .fd = r->sync, .events = POLLIN };
	assert_int_equal(poll(&quiet, 1, 50), 0);
	verb_send(r->sync, MSG_S_CGROUPS_DONE, NULL, NULL, NULL, 0);
	(void)verb_expect(r->sync, MSG_S_CREATED);
	verb_gone(take_fd(&r->sync)); /* nobody is waited for any more */
	verb = verb_connect(r);
	assert_string_equal(rig_file(r, "phase"), "created\n");
	verb_send(verb, MSG_C_START, NULL, NULL, NULL, 0);
	agent_result(r, agent_expect(r, MSG_A_START)->id, 0, NULL);
	verb_result(verb, 0, "");
	assert_string_equal(rig_file(r, "phase"), "running\n");
	(void)close(verb);
	assert_int_equal(io_write_full(r->in, "to it", 5), 0);
	f = agent_expect(r, MSG_DATA);
	assert_int_equal(f->id, msg_stream_id(PROC_INIT, STREAM_STDIN));
	assert_memory_equal(f->body.p, "to it", 5);
	scope_close(&r->in);
	r->in = -1;
	assert_int_equal(agent_expect(r, MSG_EOF)->id, msg_stream_id(PROC_INIT, STREAM_STDIN));
	send_data(r, PROC_INIT, STREAM_STDOUT, "from it");
	send_data(r, PROC_INIT, STREAM_STDERR, "oh");
	expect_text(r->out, "from it");
	expect_text(r->err, "oh");
	end_output(r, PROC_INIT);
	expect_eof(r->out);
	expect_eof(r->err);
	agent_exited(r, PROC_INIT, 7);
	assert_int_equal(rig_hv_op(r), 'S');
	assert_int_equal(rig_wait(r), 7);
	assert_string_equal(rig_file(r, "phase"), "stopped 7\n");
	assert_string_equal(rig_file(r, "error"), "");
	assert_true(kill(rig_vm(r), 0) < 0);
}

/* More output than a pipe holds: the exit waits for a reader that is slow. */
static void test_exit_waits_for_output(void **state)
{
	struct rig *r = *state;
	static char block[MUX_CHUNK];
	struct pollfd ended;
	size_t got = 0;
	ssize_t n;
	char buf[4096];

	rig_run(r);
	memset(block, 'x', sizeof block);
	for (int i = 0; i < 8; i++)
		agent_raw(r, MSG_DATA, msg_stream_id(PROC_INIT, STREAM_STDOUT), block, sizeof block);
	end_output(r, PROC_INIT);
	agent_exited(r, PROC_INIT, 300); /* more than an exit code holds */
	expect_eof(r->err);
	ended = (struct pollfd){ .fd = r->ops, .events = POLLIN };
	assert_int_equal(poll(&ended, 1, 50), 0);
	while ((n = read(r->out, buf, sizeof buf)) > 0)
		got += (size_t)n;
	assert_int_equal(got, 8 * sizeof block);
	assert_int_equal(rig_wait(r), 300 & 0xff);
	assert_string_equal(rig_file(r, "phase"), "stopped 44\n");
}

/* `cor start` is killed between its request and the answer: the container runs all the same. */
static void test_start_survives_its_caller(void **state)
{
	struct rig *r = *state;
	uint32_t request;
	int verb;

	rig_create(r);
	verb = verb_connect(r);
	verb_send(verb, MSG_C_START, NULL, NULL, NULL, 0);
	request = agent_expect(r, MSG_A_START)->id;
	(void)close(verb);
	verb = verb_connect(r); /* when this one is served, the end of the other was seen */
	verb_send(verb, MSG_C_STATS, NULL, NULL, NULL, 0);
	agent_result(r, agent_expect(r, MSG_A_STATS)->id, -EINVAL, "not now");
	verb_result(verb, -EINVAL, "not now");
	agent_result(r, request, 0, NULL);
	assert_int_equal(io_write_full(r->in, "hello", 5), 0);
	assert_int_equal(agent_expect(r, MSG_DATA)->len, 5);
	assert_string_equal(rig_file(r, "phase"), "running\n");
	(void)close(verb);
}

static void test_start_only_once(void **state)
{
	struct rig *r = *state;
	int one, two;
	uint32_t request;

	rig_create(r);
	one = verb_connect(r);
	verb_send(one, MSG_C_START, NULL, NULL, NULL, 0);
	request = agent_expect(r, MSG_A_START)->id;
	two = verb_connect(r);
	verb_send(two, MSG_C_START, NULL, NULL, NULL, 0);
	verb_result(two, -EINVAL, "cannot start");
	agent_result(r, request, -ENOENT, "exec /nope: No such file");
	verb_result(one, -ENOENT, "exec /nope");
	assert_string_equal(rig_file(r, "phase"), "created\n");
	agent_exited(r, PROC_INIT, 127);
	end_output(r, PROC_INIT);
	assert_int_equal(rig_wait(r), 127);
	(void)close(one);
	(void)close(two);
}

static void test_create_refused(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	rig_expect_up(r);
	r->nonce = ((const struct msg_hello *)agent_body(agent_expect(r, MSG_A_HELLO)))->nonce;
	verb_send(r->sync, MSG_S_HOOKS_DONE, NULL, NULL, NULL, 0);
	agent_ready(r, r->nonce, PROTO_VERSION);
	agent_result(r, agent_expect(r, MSG_A_CREATE)->id, -ENOENT, "mounts[3]: \033[31mno such thing");
	expect_failed(r, "mounts[3]: ");
	assert_int_equal(rig_wait(r), 255);
	assert_null(strchr(rig_file(r, "error"), '\033'));
	assert_non_null(strstr(rig_file(r, "error"), "no such thing"));
}

static pid_t only_child(pid_t of)
{
	scoped_free char *path = str_fmt("/proc/%d/task/%d/children", (int)of, (int)of), *text = NULL;
	size_t n;

	assert_int_equal(io_read_file_at(AT_FDCWD, path, 64, &text, &n), 0);
	return (pid_t)strtol(text, NULL, 10);
}

/* A VM that was to wait and does not come up: whoever fills the pool is told what is known of it. */
static void test_keeper_says_why(void **state)
{
	struct rig *r = *state;
	pid_t vm;

	r->plan.keeper = true;
	r->plan.vm.template_dir = r->t->path;
	rig_start(r);
	(void)agent_expect(r, MSG_A_HELLO);
	assert_int_equal(io_write_full(r->console, "guest's last\n", 13), 0);
	assert_int_equal(io_write_full(r->log, "hypervisor's last\n", 18), 0);
	vm = only_child(r->pid);
	assert_true(vm > 1);
	scope_close(&r->agent); /* as it is when a hypervisor dies: the channel's end may be seen first */
	r->agent = -1;
	assert_int_equal(kill(vm, SIGKILL), 0);
	expect_failed(r, "the scripted VM ended (9)\n  hypervisor:\n    hypervisor's last\n"
			 "  guest console:\n    guest's last");
	assert_true(rig_wait(r) != 0);
}

/* The VM that waited ended while it was taken: another one is started. */
static void test_waiting_gone(void **state)
{
	struct rig *r = *state;

	r->plan.pool = true;
	rig_run(r);
	assert_true(rig_vm(r) != INT_MAX);
	assert_int_equal(kill(rig_vm(r), 0), 0);
}

/* A clone that ended before its share was filled: another VM boots. No hook runs before there is a view. */
static void test_clone_gone(void **state)
{
	struct rig *r = *state;
	struct pollfd p = { .events = POLLIN };

	r->plan.vm.hypervisor_path = (char[]){ "/dies" };
	r->plan.vm.template_dir = r->t->path;
	rig_start(r);
	(void)verb_expect(r->sync, MSG_S_VM);
	p.fd = r->sync;
	assert_int_equal(poll(&p, 1, 50), 0);
	verb_send(r->sync, MSG_S_CGROUPS_DONE, NULL, NULL, NULL, 0);
	(void)verb_expect(r->sync, MSG_S_NAMESPACES);
	r->nonce = ((const struct msg_hello *)agent_body(agent_expect(r, MSG_A_HELLO)))->nonce;
	agent_ready(r, r->nonce, PROTO_VERSION);
	verb_send(r->sync, MSG_S_HOOKS_DONE, NULL, NULL, NULL, 0);
	agent_result(r, agent_expect(r, MSG_A_CREATE)->id, 0, NULL);
	(void)verb_expect(r->sync, MSG_S_CREATED);
	assert_int_equal(kill(rig_vm(r), 0), 0);
}

static void test_hypervisor_missing(void **state)
{
	struct rig *r = *state;

	r->plan.vm.hypervisor_path = (char[]){ "/missing" };
	rig_start(r);
	expect_failed(r, "hypervisor is missing");
	assert_int_equal(rig_wait(r), 255);
}

static void test_wrong_plan(void **state)
{
	struct rig *r = *state;

	r->plan.version = PROTO_VERSION + 1;
	rig_start(r);
	expect_failed(r, "one build");
	assert_int_equal(rig_wait(r), 255);
}

static void test_boot_timeout(void **state)
{
	struct rig *r = *state;

	r->plan.boot_timeout_ms = 1000;
	rig_start(r);
	rig_expect_up(r);
	expect_failed(r, "vm.boot_timeout");
	assert_int_equal(rig_wait(r), 255);
}

static void test_wrong_agents(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	rig_expect_up(r);
	r->nonce = ((const struct msg_hello *)agent_body(agent_expect(r, MSG_A_HELLO)))->nonce;
	verb_send(r->sync, MSG_S_HOOKS_DONE, NULL, NULL, NULL, 0);
	agent_ready(r, r->nonce + 1, PROTO_VERSION);
	agent_ready(r, r->nonce, PROTO_VERSION + 1);
	expect_failed(r, "rebuild it (cor-image os)");
	assert_int_equal(rig_wait(r), 255);
}

/* An agent that says the end before the beginning: cor is told, not left with a closed socket. */
static void test_exit_before_created(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	rig_expect_up(r);
	r->nonce = ((const struct msg_hello *)agent_body(agent_expect(r, MSG_A_HELLO)))->nonce;
	agent_ready(r, r->nonce, PROTO_VERSION);
	agent_exited(r, PROC_INIT, 0);
	expect_failed(r, "before it was created");
	assert_int_equal(rig_wait(r), 255);
}

/* Messages that make no sense are dropped; the container goes on. */
static void test_agent_nonsense(void **state)
{
	struct rig *r = *state;
	static const enum msg_type types[] = { MSG_A_READY,  MSG_A_RESULT, MSG_A_PS_RESULT,
					       MSG_A_EXITED, MSG_A_MARK,   MSG_A_STATS_RESULT,
					       MSG_A_OOM,    MSG_A_CREATE, MSG_C_RESULT };

	rig_run(r);
	agent_ready(r, r->nonce, PROTO_VERSION + 1);
	for (uint32_t id = 0; id < 4; id++)
		agent_result(r, id, -EIO, "again");
	agent_result(r, UINT32_MAX, 0, NULL);
	agent_exited(r, 77, 1);
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		agent_raw(r, types[i], 1, "\377\377\377\377", 4);
		agent_raw(r, types[i], 1, NULL, 0);
	}
	agent_raw(r, MSG_DATA, 400, "nobody", 6);
	send_data(r, PROC_INIT, STREAM_STDOUT, "still here");
	expect_text(r->out, "still here");
	assert_string_equal(rig_file(r, "phase"), "running\n");
	agent_exited(r, PROC_INIT, 3);
	agent_exited(r, PROC_INIT, 4); /* the first one counts */
	end_output(r, PROC_INIT);      /* last: the monitor closes the channel after it */
	assert_int_equal(rig_wait(r), 3);
}

static void test_channel_garbage(void **state)
{
	struct rig *r = *state;
	int verb;

	rig_run(r);
	verb = verb_connect(r);
	verb_send(verb, MSG_C_STATS, NULL, NULL, NULL, 0);
	(void)agent_expect(r, MSG_A_STATS);
	assert_int_equal(io_write_full(r->agent, "this is no frame", 16), 0);
	verb_result(verb, -ESRCH, "container has ended");
	assert_int_equal(rig_wait(r), 255);
	assert_non_null(strstr(rig_file(r, "error"), "broken frame"));
	assert_string_equal(rig_file(r, "phase"), "stopped 255\n");
	(void)close(verb);
}

/* The channel is dead before the loop runs, and the VM does not end: that must not wait for ever. */
static void test_channel_dead_from_the_start(void **state)
{
	struct rig *r = *state;

	r->agent_deaf = true;
	r->plan.boot_timeout_ms = 1000;
	rig_start(r);
	expect_failed(r, "channel");
	assert_int_equal(rig_wait(r), 255);
}

static void test_vm_dies_at_boot(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	rig_expect_up(r);
	(void)agent_expect(r, MSG_A_HELLO);
	assert_int_equal(io_write_full(r->log, "no \033[1mmemory\n", 14), 0);
	assert_int_equal(io_write_full(r->console, "one\r\nKernel panic - not syncing\r\ntwo\r\n", 37), 0);
	assert_int_equal(kill(rig_vm(r), SIGKILL), 0);
	expect_failed(r, "the scripted VM ended (9)");
	assert_int_equal(rig_wait(r), 128 + SIGKILL);
	assert_non_null(
		strstr(rig_file(r, "error"), "guest console:\n    Kernel panic - not syncing\n    two"));
	assert_null(strchr(rig_file(r, "error"), '\033'));
}

static void test_vm_dies_later(void **state)
{
	struct rig *r = *state;

	rig_run(r);
	assert_int_equal(kill(rig_vm(r), SIGKILL), 0);
	assert_int_equal(rig_wait(r), 128 + SIGKILL);
	assert_string_equal(rig_file(r, "phase"), "stopped 137\n");
	assert_non_null(strstr(rig_file(r, "error"), "the scripted VM ended"));
}

static void test_caller_gone(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	rig_expect_up(r);
	scope_close(&r->sync);
	r->sync = -1;
	assert_int_equal(rig_hv_op(r), 'S');
	assert_int_equal(rig_wait(r), 255);
	assert_non_null(strstr(rig_file(r, "error"), "cor that started the container is gone"));
}

static void test_foreground_caller_gone(void **state)
{
	struct rig *r = *state;

	r->plan.foreground = true;
	rig_run(r);
	scope_close(&r->sync);
	r->sync = -1;
	assert_int_equal(rig_wait(r), 255);
}

static void test_signals(void **state)
{
	struct rig *r = *state;
	const struct msg_signal *s;
	struct msg_signal kill_it = { .sig = SIGUSR2, .all = true };
	int verb;

	rig_run(r);
	assert_int_equal(kill(r->pid, SIGTERM), 0);
	s = agent_body(agent_expect(r, MSG_A_SIGNAL));
	assert_int_equal(s->sig, SIGTERM);
	assert_int_equal(s->proc, PROC_INIT);
	assert_false(s->all);
	verb = verb_connect(r);
	kill_it.proc = 9; /* a verb can't name another process */
	verb_send(verb, MSG_C_SIGNAL, &rec_signal, &kill_it, NULL, 0);
	s = agent_body(agent_expect(r, MSG_A_SIGNAL));
	assert_int_equal(s->sig, SIGUSR2);
	assert_int_equal(s->proc, PROC_INIT);
	assert_true(s->all);
	agent_result(r, 2, -ESRCH, "not this request");
	(void)close(verb);
	verb = verb_connect(r);
	kill_it.sig = 65;
	verb_send(verb, MSG_C_SIGNAL, &rec_signal, &kill_it, NULL, 0);
	verb_result(verb, -EINVAL, "invalid signal");
	(void)close(verb);
}

static void test_signal_ends_creation(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	rig_expect_up(r);
	(void)agent_expect(r, MSG_A_HELLO);
	assert_int_equal(kill(r->pid, SIGTERM), 0);
	expect_failed(r, "ended by signal 15");
	assert_int_equal(rig_wait(r), 255);
}

/* The guest ignores SIGKILL: then the VM is ended, and the verb has done what it was asked. */
static void test_kill_ends_a_deaf_guest(void **state)
{
	struct rig *r = *state;
	struct msg_signal s = { .sig = SIGKILL };
	int verb;

	rig_run(r);
	verb = verb_connect(r);
	verb_send(verb, MSG_C_SIGNAL, &rec_signal, &s, NULL, 0);
	(void)agent_expect(r, MSG_A_SIGNAL);
	assert_int_equal(rig_hv_op(r), 'S');
	verb_result(verb, 0, "");
	assert_int_equal(rig_wait(r), 128 + SIGKILL);
	assert_string_equal(rig_file(r, "phase"), "stopped 137\n");
	(void)close(verb);
}

/* The process has ended, its output never does (a guest that lies, a reader that does not read): SIGKILL
 * ends that, too. */
static void test_kill_ends_the_wait_for_output(void **state)
{
	struct rig *r = *state;
	struct msg_signal s = { .sig = SIGKILL };
	int verb;

	rig_run(r);
	agent_exited(r, PROC_INIT, 5);
	assert_int_equal(agent_expect(r, MSG_EOF)->id, msg_stream_id(PROC_INIT, STREAM_STDIN));
	verb = verb_connect(r);
	verb_send(verb, MSG_C_SIGNAL, &rec_signal, &s, NULL, 0);
	verb_result(verb, -ESRCH, "container not running");
	assert_int_equal(rig_wait(r), 5);
	(void)close(verb);
}

static void test_pause(void **state)
{
	struct rig *r = *state;
	struct msg_signal s = { .sig = SIGTERM };
	int verb;

	rig_run(r);
	verb = verb_connect(r);
	verb_send(verb, MSG_C_RESUME, NULL, NULL, NULL, 0);
	verb_result(verb, -EINVAL, "not paused");
	verb_send(verb, MSG_C_PAUSE, NULL, NULL, NULL, 0);
	verb_result(verb, 0, "");
	assert_int_equal(rig_hv_op(r), 'P');
	assert_string_equal(rig_file(r, "phase"), "paused\n");
	verb_send(verb, MSG_C_PS, NULL, NULL, NULL, 0);
	verb_result(verb, -EINVAL, "resume it first");
	verb_send(verb, MSG_C_SIGNAL, &rec_signal, &s, NULL, 0); /* it waits for the resume */
	verb_result(verb, 0, "");
	(void)agent_expect(r, MSG_A_SIGNAL);
	verb_send(verb, MSG_C_RESUME, NULL, NULL, NULL, 0);
	verb_result(verb, 0, "");
	assert_int_equal(rig_hv_op(r), 'R');
	assert_string_equal(rig_file(r, "phase"), "running\n");
	verb_send(verb, MSG_C_PAUSE, NULL, NULL, NULL, 0);
	verb_result(verb, 0, "");
	assert_int_equal(rig_hv_op(r), 'P');
	s.sig = SIGKILL;
	verb_send(verb, MSG_C_SIGNAL, &rec_signal, &s, NULL, 0);
	verb_result(verb, 0, "");
	assert_int_equal(rig_hv_op(r), 'R'); /* a paused guest could not die */
	agent_exited(r, PROC_INIT, 128 + SIGKILL);
	assert_int_equal(rig_wait(r), 128 + SIGKILL); /* its output is not waited for */
	(void)close(verb);
}

/* The VM may stand still after the verb was told that it does not: it is told to go on. */
static void test_pause_late(void **state)
{
	static char slow[] = "/slow";
	struct rig *r = *state;
	int verb;

	r->plan.vm.hypervisor_path = slow;
	rig_run(r);
	verb = verb_connect(r);
	verb_send(verb, MSG_C_PAUSE, NULL, NULL, NULL, 0);
	verb_result(verb, -ETIMEDOUT, "did not answer in time");
	assert_int_equal(rig_hv_op(r), 'P');
	assert_int_equal(rig_hv_op(r), 'R');
	assert_string_equal(rig_file(r, "phase"), "running\n");
	(void)close(verb);
}

static void test_terminal(void **state)
{
	struct rig *r = *state;
	struct winsize w = { .ws_row = 33, .ws_col = 111 };
	const struct msg_resize *size;
	int verb;

	r->plan.ctr.process.terminal = r->plan.pty_given = true;
	rig_create(r);
	assert_int_equal(ioctl(r->tty, TIOCSWINSZ, &w), 0);
	/* its controlling terminal: the kernel says SIGWINCH */
	size = agent_body(agent_expect(r, MSG_A_RESIZE));
	assert_int_equal(size->rows, 33);
	assert_int_equal(size->cols, 111);
	verb = verb_connect(r);
	verb_send(verb, MSG_C_START, NULL, NULL, NULL, 0);
	agent_result(r, agent_expect(r, MSG_A_START)->id, 0, NULL);
	verb_result(verb, 0, "");
	(void)agent_expect(r, MSG_A_RESIZE);
	assert_int_equal(io_write_full(r->tty, "typed", 5), 0);
	assert_int_equal(agent_expect(r, MSG_DATA)->id, msg_stream_id(PROC_INIT, STREAM_STDIN));
	send_data(r, PROC_INIT, STREAM_STDOUT, "a\r\nb\n"); /* raw: nothing is added */
	expect_text(r->tty, "a\r\nb\n");
	agent_raw(r, MSG_EOF, msg_stream_id(PROC_INIT, STREAM_STDOUT), NULL, 0);
	agent_exited(r, PROC_INIT, 0);
	assert_int_equal(rig_wait(r), 0);
	expect_eof(r->tty);
	(void)close(verb);
}

/* Marks go to a file on the host: names are filtered, and a guest can't fill the disk. */
static void test_marks(void **state)
{
	struct rig *r = *state;
	struct msg_mark mark = { .name = (char[]){ "Bad \n\033name-x" }, .boot_ns = UINT64_MAX };

	r->plan.marks = true;
	rig_run(r);
	for (int i = 0; i < 2000; i++)
		agent_send(r, MSG_A_MARK, 0, &rec_mark, &mark);
	send_data(r, PROC_INIT, STREAM_STDOUT, "done");
	expect_text(r->out, "done");
	assert_non_null(strstr(rig_file(r, "marks"), " agent adname-x\n"));
	assert_non_null(strstr(rig_file(r, "marks"), " monitor running\n"));
	assert_true(strlen(rig_file(r, "marks")) < 16384);
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_whole_life),
		T(test_exit_waits_for_output),
		T(test_start_survives_its_caller),
		T(test_start_only_once),
		T(test_create_refused),
		T(test_hypervisor_missing),
		T(test_waiting_gone),
		T(test_clone_gone),
		T(test_keeper_says_why),
		T(test_wrong_plan),
		T(test_boot_timeout),
		T(test_wrong_agents),
		T(test_exit_before_created),
		T(test_agent_nonsense),
		T(test_channel_garbage),
		T(test_channel_dead_from_the_start),
		T(test_vm_dies_at_boot),
		T(test_vm_dies_later),
		T(test_caller_gone),
		T(test_foreground_caller_gone),
		T(test_signals),
		T(test_signal_ends_creation),
		T(test_kill_ends_a_deaf_guest),
		T(test_kill_ends_the_wait_for_output),
		T(test_pause),
		T(test_pause_late),
		T(test_terminal),
		T(test_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
