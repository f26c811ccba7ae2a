/* test_control.c - the control socket of a running monitor: verbs that ask, exec sessions, and clients that
 * are wrong or go away at any moment. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

/* The far ends of an exec session's stdio. */
struct ends {
	int in, out, err;
};

static int process_memfd(bool terminal)
{
	char *argv[] = { (char[]){ "/bin/true" }, NULL };
	struct msg_process p = { .terminal = terminal,
				 .cwd = (char[]){ "/" },
				 .args = { .p = argv, .n = 1 } };
	int fd = ctl_memfd(&rec_process, &p);

	assert_true(fd >= 0);
	return fd;
}

/* Asks for a session; the monitor holds the only near ends. */
static void ask_exec(int verb, struct ends *far)
{
	int p[3][2], fds[4];

	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pipe2(p[i], O_CLOEXEC), 0);
	fds[0] = process_memfd(false);
	fds[1] = p[0][0];
	fds[2] = p[1][1];
	fds[3] = p[2][1];
	verb_send(verb, MSG_C_EXEC, NULL, NULL, fds, 4);
	for (size_t i = 0; i < 4; i++)
		(void)close(fds[i]);
	*far = (struct ends){ .in = p[0][1], .out = p[1][0], .err = p[2][0] };
}

/* Nobody holds the near ends any more. */
static void expect_closed(const struct ends *far)
{
	struct pollfd in = { .fd = far->in };

	expect_eof(far->out);
	expect_eof(far->err);
	assert_int_equal(poll(&in, 1, RIG_WAIT_MS), 1);
	assert_true(in.revents & POLLERR);
	(void)close(far->in);
	(void)close(far->out);
	(void)close(far->err);
}

static uint32_t expect_exec(struct rig *r, uint32_t *ret_proc)
{
	const struct frame *f = agent_expect(r, MSG_A_EXEC);
	const struct msg_exec *x = agent_body(f);

	assert_string_equal(x->process.args.p[0], "/bin/true");
	*ret_proc = x->proc;
	return f->id;
}

static void end_output(struct rig *r, uint32_t proc)
{
	agent_raw(r, MSG_EOF, msg_stream_id(proc, STREAM_STDOUT), NULL, 0);
	agent_raw(r, MSG_EOF, msg_stream_id(proc, STREAM_STDERR), NULL, 0);
}

static void expect_end(int verb, uint32_t code)
{
	scoped_arena a = { 0 };
	struct msg_exited end;

	assert_int_equal(ctl_decode(verb_expect(verb, MSG_C_EXITED), &a, &end), 0);
	assert_int_equal(end.code, code);
}

static void test_exec(void **state)
{
	struct rig *r = *state;
	const struct msg_signal *s;
	struct msg_signal sig = { .sig = SIGHUP };
	struct msg_resize size = { .proc = 9, .rows = 3, .cols = 4 };
	struct ends far;
	uint32_t proc;
	int verb;

	rig_run(r);
	verb = verb_connect(r);
	ask_exec(verb, &far);
	agent_result(r, expect_exec(r, &proc), 0, NULL);
	verb_result(verb, 0, "");
	assert_int_equal(io_write_full(far.in, "abc", 3), 0);
	assert_int_equal(agent_expect(r, MSG_DATA)->id, msg_stream_id(proc, STREAM_STDIN));
	verb_send(verb, MSG_C_SIGNAL, &rec_signal, &sig, NULL, 0);
	s = agent_body(agent_expect(r, MSG_A_SIGNAL));
	assert_int_equal(s->proc, proc); /* the session's, not the container's */
	assert_int_equal(s->sig, SIGHUP);
	verb_send(verb, MSG_C_RESIZE, &rec_resize, &size, NULL, 0);
	assert_int_equal(((const struct msg_resize *)agent_body(agent_expect(r, MSG_A_RESIZE)))->proc, proc);
	agent_raw(r, MSG_DATA, msg_stream_id(proc, STREAM_STDOUT), "out", 3);
	agent_raw(r, MSG_DATA, msg_stream_id(proc, STREAM_STDERR), "err", 3);
	end_output(r, proc);
	agent_exited(r, proc, 0x109);
	expect_end(verb, 9);
	expect_text(far.out, "out"); /* there before the end was told */
	expect_text(far.err, "err");
	verb_gone(verb);
	expect_closed(&far);
}

/* Output that is not with its reader yet holds the end back. */
static void test_exec_end_after_output(void **state)
{
	struct rig *r = *state;
	static char block[MUX_CHUNK];
	struct pollfd p;
	struct ends far;
	uint32_t proc;
	int verb;

	rig_run(r);
	verb = verb_connect(r);
	ask_exec(verb, &far);
	agent_result(r, expect_exec(r, &proc), 0, NULL);
	verb_result(verb, 0, "");
	for (int i = 0; i < 8; i++)
		agent_raw(r, MSG_DATA, msg_stream_id(proc, STREAM_STDOUT), block, sizeof block);
	end_output(r, proc);
	agent_exited(r, proc, 1);
	expect_eof(far.err);
	p = (struct pollfd){ .fd = verb, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 50), 0);
	for (size_t got = 0; got < 8 * sizeof block;) {
		ssize_t n = read(far.out, block, sizeof block);

		assert_true(n > 0);
		got += (size_t)n;
	}
	expect_end(verb, 1);
	verb_gone(verb);
	expect_closed(&far);
}

static void test_exec_refused(void **state)
{
	struct rig *r = *state;
	struct ends far;
	uint32_t proc;
	int verb;

	rig_run(r);
	verb = verb_connect(r);
	ask_exec(verb, &far);
	agent_result(r, expect_exec(r, &proc), -ENOENT, "exec: \033no such program");
	verb_result(verb, -ENOENT, "no such program");
	expect_closed(&far);
	(void)close(verb);
}

/* Before the answer and after it: the process goes with its session, and the fds are closed. */
static void test_exec_client_gone(void **state)
{
	struct rig *r = *state;
	const struct msg_signal *s;
	struct ends far;
	uint32_t proc, request;
	int verb;

	rig_run(r);
	for (int answered = 0; answered < 2; answered++) {
		verb = verb_connect(r);
		ask_exec(verb, &far);
		request = expect_exec(r, &proc);
		if (answered) {
			agent_result(r, request, 0, NULL);
			verb_result(verb, 0, "");
		}
		(void)close(verb);
		s = agent_body(agent_expect(r, MSG_A_SIGNAL));
		assert_int_equal(s->sig, SIGKILL);
		assert_int_equal(s->proc, proc);
		expect_closed(&far);
		for (int i = 0; i < 3; i++) /* EOF and two CLOSED, in any order */
			assert_true(agent_expect(r, i ? MSG_CLOSED : MSG_EOF)->id / 4 == proc);
		if (!answered)
			agent_result(r, request, 0, NULL);
		agent_exited(r, proc, 137);
	}
}

/* The container ends first: every session is told, every question answered. */
static void test_end_tells_everybody(void **state)
{
	struct rig *r = *state;
	struct ends far;
	uint32_t proc;
	int session, question, idle;

	rig_run(r);
	idle = verb_connect(r);
	session = verb_connect(r);
	ask_exec(session, &far);
	agent_result(r, expect_exec(r, &proc), 0, NULL);
	verb_result(session, 0, "");
	question = verb_connect(r);
	verb_send(question, MSG_C_PS, NULL, NULL, NULL, 0);
	(void)agent_expect(r, MSG_A_PS);
	end_output(r, PROC_INIT);
	agent_exited(r, PROC_INIT, 0);
	expect_end(session, 128 + SIGKILL);
	verb_result(question, -ESRCH, "container has ended");
	assert_int_equal(rig_wait(r), 0);
	verb_gone(idle);
	verb_gone(session);
	verb_gone(question);
	expect_closed(&far);
}

/* Exec sessions have fds, which must not stay here when the request is wrong. */
static void test_exec_malformed(void **state)
{
	struct rig *r = *state;
	int verb, good, text, p[2];
	struct {
		int fds[4];
		size_t n;
	} cases[6];

	rig_run(r);
	good = process_memfd(false);
	text = io_memfd("text", "no process", 10);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	cases[0].n = 0;
	for (size_t i = 1; i < 6; i++) {
		int fds[4] = { i == 4 ? text : i == 5 ? p[1] : good, p[1], p[1], p[1] };

		memcpy(cases[i].fds, fds, sizeof fds);
		cases[i].n = i < 4 ? i : 4;
	}
	for (size_t i = 0; i < 5; i++) { /* the last would wait for a pipe's end */
		verb = verb_connect(r);
		verb_send(verb, MSG_C_EXEC, NULL, NULL, cases[i].fds, cases[i].n);
		verb_result(verb, -EINVAL, "malformed exec request");
		(void)close(verb);
	}
	(void)close(p[1]);
	expect_eof(p[0]);
	(void)close(p[0]);
	(void)close(good);
	(void)close(text);
}

static void test_wrong_requests(void **state)
{
	struct rig *r = *state;
	uint8_t raw[4] = { 0xff, 0, 0, 0 };
	static uint8_t big[CTL_MAX + 100];
	uint32_t request;
	int verb;

	rig_run(r);
	verb = verb_connect(r);
	verb_send(verb, MSG_A_CREATE, NULL, NULL, NULL, 0);
	verb_result(verb, -EINVAL, "unknown request");
	assert_int_equal(io_send_fds(verb, raw, sizeof raw, NULL, 0), 0);
	verb_result(verb, -EINVAL, "unknown request");
	verb_send(verb, MSG_C_UPDATE, NULL, NULL, NULL, 0);
	verb_result(verb, -EINVAL, "malformed update");
	verb_send(verb, MSG_C_SIGNAL, NULL, NULL, NULL, 0);
	verb_result(verb, -EINVAL, "invalid signal");
	verb_send(verb, MSG_C_RESIZE, NULL, NULL, NULL, 0); /* no session: nothing happens */
	/* a second question before the answer: refused, and the first one is answered all the same */
	verb_send(verb, MSG_C_STATS, NULL, NULL, NULL, 0);
	request = agent_expect(r, MSG_A_STATS)->id;
	verb_send(verb, MSG_C_PS, NULL, NULL, NULL, 0);
	verb_result(verb, -EBUSY, "under way");
	agent_result(r, request, -EAGAIN, "later");
	verb_result(verb, -EAGAIN, "later");
	(void)close(verb);
	verb = verb_connect(r);
	assert_int_equal(io_send_fds(verb, big, sizeof big, NULL, 0), 0);
	verb_gone(verb);
	verb = verb_connect(r);
	assert_int_equal(io_send_fds(verb, raw, 3, NULL, 0), 0);
	verb_gone(verb);
	assert_string_equal(rig_file(r, "phase"), "running\n");
}

/* The agent answers with something that was not asked for: nobody may be given it. */
static void test_answers_of_another_kind(void **state)
{
	struct rig *r = *state;
	struct msg_stats st = { .pids_current = 5 };
	struct msg_ps ps = { 0 };
	scoped_arena a = { 0 };
	struct msg_stats got;
	uint32_t request;
	int verb;

	rig_run(r);
	verb = verb_connect(r);
	verb_send(verb, MSG_C_PS, NULL, NULL, NULL, 0);
	request = agent_expect(r, MSG_A_PS)->id;
	agent_send(r, MSG_A_STATS_RESULT, request, &rec_stats, &st);
	agent_result(r, request + 1, 0, NULL);
	agent_send(r, MSG_A_PS_RESULT, request, &rec_ps, &ps);
	assert_int_equal(verb_expect(verb, MSG_C_PS_RESULT)->n_fds, 1);
	verb_send(verb, MSG_C_STATS, NULL, NULL, NULL, 0);
	request = agent_expect(r, MSG_A_STATS)->id;
	agent_send(r, MSG_A_PS_RESULT, request, &rec_ps, &ps);
	agent_send(r, MSG_A_STATS_RESULT, request, &rec_stats, &st);
	assert_int_equal(ctl_decode(verb_expect(verb, MSG_C_STATS_RESULT), &a, &got), 0);
	assert_int_equal(got.pids_current, 5);
	(void)close(verb);
}

/* A process list as long as a message may be. */
static void test_huge_ps(void **state)
{
	struct rig *r = *state;
	scoped_arena a = { 0 };
	static char cmd[4000];
	struct msg_ps_entry *many = calloc(500, sizeof *many);
	struct msg_ps ps = { .entries = { .p = many, .n = 500 } }, got;
	int verb;

	assert_non_null(many);
	memset(cmd, 'c', sizeof cmd - 1);
	for (size_t i = 0; i < 500; i++)
		many[i] = (struct msg_ps_entry){ .pid = (uint32_t)i, .cmd = cmd };
	rig_run(r);
	verb = verb_connect(r);
	verb_send(verb, MSG_C_PS, NULL, NULL, NULL, 0);
	agent_send(r, MSG_A_PS_RESULT, agent_expect(r, MSG_A_PS)->id, &rec_ps, &ps);
	assert_int_equal(ctl_from_memfd(&rec_ps, verb_expect(verb, MSG_C_PS_RESULT)->fds[0], &a, &got), 0);
	assert_int_equal(got.entries.n, 500);
	assert_string_equal(got.entries.p[499].cmd, cmd);
	(void)close(verb);
	free(many);
}

static void test_update(void **state)
{
	struct rig *r = *state;
	struct msg_resources res = { .has_pids = true, .pids_limit = 11 };
	const struct frame *f;
	int verb, fd = ctl_memfd(&rec_resources, &res);

	rig_run(r);
	verb = verb_connect(r);
	verb_send(verb, MSG_C_UPDATE, NULL, NULL, &fd, 1);
	f = agent_expect(r, MSG_A_UPDATE);
	assert_int_equal(((const struct msg_update *)agent_body(f))->resources.pids_limit, 11);
	agent_result(r, f->id, 0, NULL);
	verb_result(verb, 0, "");
	(void)close(fd);
	(void)close(verb);
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_exec),
		T(test_exec_end_after_output),
		T(test_exec_refused),
		T(test_exec_client_gone),
		T(test_end_tells_everybody),
		T(test_exec_malformed),
		T(test_wrong_requests),
		T(test_answers_of_another_kind),
		T(test_huge_ps),
		T(test_update),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
