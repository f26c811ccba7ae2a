/* test_client.c - runtime/client.h and runtime/spawn.h against peers that answer as a script says, or don't.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "runtime/client.h"
#include "runtime/spawn.h"
#include "tmpdir.h"

static void pair(int *mine, int *theirs)
{
	int p[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p), 0);
	*mine = p[0];
	*theirs = p[1];
}

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

/* Asks with the answer already in the socket (the peer's end closed behind it). */
static int ask(enum msg_type type, const struct pack_rec *rec, const void *v, bool fd, enum msg_type want,
	       struct err *e)
{
	struct ctl_msg ans;
	int mine, theirs, zero = 0, r;

	pair(&mine, &theirs);
	if (type != 0)
		assert_int_equal(ctl_send(theirs, type, rec, v, &zero, fd ? 1 : 0), 0);
	r = client_ask(mine, MSG_C_PS, NULL, NULL, NULL, 0, want, &ans, e);
	if (r == 0)
		ctl_fini(&ans);
	(void)close(mine);
	(void)close(theirs);
	return r;
}

static void test_answers(void **state)
{
	struct msg_result bad = { .code = -EPERM, .text = (char[]){ "not \033so" } };
	struct msg_result good = { 0 }, odd = { .code = 5 };
	struct err e = { 0 };
	unsigned fds = count_fds();

	(void)state;
	assert_int_equal(ask(MSG_C_RESULT, &rec_result, &good, false, MSG_C_RESULT, &e), 0);
	assert_int_equal(ask(MSG_C_PS_RESULT, NULL, NULL, true, MSG_C_PS_RESULT, &e), 0);
	assert_int_equal(ask(MSG_C_RESULT, &rec_result, &bad, false, MSG_C_PS_RESULT, &e), -EPERM);
	assert_non_null(strstr(e.msg, "not "));
	assert_null(strchr(e.msg, '\033'));
	assert_true(ask(MSG_C_RESULT, &rec_result, &odd, false, MSG_C_RESULT, &e) < 0);
	assert_true(ask(MSG_C_RESULT, NULL, NULL, false, MSG_C_RESULT, &e) < 0); /* no record */
	assert_int_equal(ask(MSG_C_RESULT, &rec_result, &good, true, MSG_C_PS_RESULT, &e), -EPROTO);
	assert_int_equal(ask(MSG_C_STATS_RESULT, NULL, NULL, true, MSG_C_PS_RESULT, &e), -EPROTO);
	assert_int_equal(count_fds(), fds); /* also those that came with a wrong answer */
}

static void test_peer_gone(void **state)
{
	struct ctl_msg ans;
	struct err e;
	int mine, theirs;

	(void)state;
	pair(&mine, &theirs);
	(void)close(theirs);
	assert_int_equal(client_ask(mine, MSG_C_PS, NULL, NULL, NULL, 0, MSG_C_RESULT, &ans, &e), -ESRCH);
	assert_non_null(strstr(e.msg, "container not running"));
	(void)close(mine);
}

static void test_connect(void **state)
{
	const struct tmpdir *t = *state;
	struct err e;
	int fd;

	assert_int_equal(client_connect(t->fd, &e), -ESRCH); /* no socket */
	fd = io_unix_listen_at(t->fd, "monitor.sock", 1);
	assert_true(fd >= 0);
	(void)close(fd);
	assert_int_equal(client_do(t->fd, MSG_C_START, NULL, NULL, &e), -ESRCH); /* nobody listens */
	assert_string_equal(e.msg, "container not running");
}

static void test_spawn_wait(void **state)
{
	struct spawned s = { .sync = -1 };
	struct err e;
	int peer;

	(void)state;
	pair(&s.sync, &peer);
	assert_int_equal(ctl_send(peer, MSG_S_NAMESPACES, NULL, NULL, NULL, 0), 0);
	assert_int_equal(spawn_wait(&s, MSG_S_NAMESPACES, &e), 0);
	assert_int_equal(ctl_send(peer, MSG_S_NAMESPACES, NULL, NULL, NULL, 0), 0);
	assert_int_equal(spawn_wait(&s, MSG_S_CREATED, &e), -EPROTO);
	assert_int_equal(ctl_send_result(peer, MSG_S_FAILED, -ENOSPC, "why it failed"), 0);
	assert_int_equal(spawn_wait(&s, MSG_S_CREATED, &e), -ENOSPC);
	assert_string_equal(e.msg, "why it failed");
	assert_int_equal(ctl_send_result(peer, MSG_S_FAILED, 0, NULL), 0); /* a failure is one */
	assert_true(spawn_wait(&s, MSG_S_CREATED, &e) < 0);
	assert_int_equal(ctl_send(peer, MSG_S_CREATED, NULL, NULL, NULL, 0), 0);
	assert_int_equal(ctl_send_result(peer, MSG_S_FAILED, -EIO, "later"), 0);
	(void)close(peer);
	assert_int_equal(spawn_failure(&s, &e), -EIO);
	assert_int_equal(spawn_failure(&s, &e), 0);
	assert_int_equal(spawn_wait(&s, MSG_S_CREATED, &e), -EPIPE);
	assert_non_null(strstr(e.msg, "ended without a word"));
	spawn_abort(&s);
	spawn_abort(&s);
}

/* A monitor that is a shell script: it sees the plan, the socket, the state directory, nothing else, and no
 * environment. */
static void test_spawn(void **state)
{
	const struct tmpdir *t = *state;
	scoped_free char *path = str_fmt("%s/monitor.sh", t->path), *text = NULL;
	struct mon_plan plan = { .version = PROTO_VERSION };
	struct spawned s;
	scoped_ctr c = { .dirfd = -1, .lock_fd = -1 };
	struct err e;
	size_t n;
	int status;

	assert_int_equal(
		tmpdir_write(t, "monitor.sh",
			     "#!/bin/sh\nfor fd in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$fd ] && printf "
			     "\"$fd \"; done > /proc/$$/fd/5/seen\nexit 42\n"),
		0);
	assert_int_equal(fchmodat(t->fd, "monitor.sh", 0755, 0), 0);
	assert_int_equal(ctr_make(t->path, "c1", &c, &e), 0);
	assert_int_equal(spawn_fork(&c, path, -1, -1, &s, &e), 0);
	assert_int_equal(io_read_file_at(c.dirfd, "monitor", 64, &text, &n), 0);
	assert_int_equal(strtol(text, NULL, 10), s.pid);
	assert_int_equal(spawn_go(&s, &plan, &e), 0);
	assert_int_equal(spawn_wait(&s, MSG_S_NAMESPACES, &e), -EPIPE);
	assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	s.pid = 0;
	spawn_abort(&s);
	free(take_ptr(&text));
	assert_int_equal(io_read_file_at(c.dirfd, "seen", 64, &text, &n), 0);
	assert_true(strncmp(text, "3 4 5 6 ", 8) == 0);
	assert_null(strpbrk(text, "789"));
}

static void test_spawn_fails(void **state)
{
	const struct tmpdir *t = *state;
	struct mon_plan plan = { .version = PROTO_VERSION };
	struct spawned s;
	scoped_ctr c = { .dirfd = -1, .lock_fd = -1 };
	struct err e;
	pid_t pid;

	assert_int_equal(ctr_make(t->path, "c1", &c, &e), 0);
	assert_int_equal(spawn_fork(&c, "/nonexistent/cor-monitor", -1, -1, &s, &e), 0);
	assert_int_equal(spawn_go(&s, &plan, &e), 0);
	assert_int_equal(spawn_wait(&s, MSG_S_NAMESPACES, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/nonexistent/cor-monitor"));
	spawn_abort(&s);
	/* one that never got its plan is gone after the abort */
	assert_int_equal(spawn_fork(&c, "/bin/true", -1, -1, &s, &e), 0);
	pid = s.pid;
	spawn_abort(&s);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(s.sync, -1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, tmpdir_set_up, tmpdir_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_peer_gone),
		T(test_connect),
		cmocka_unit_test(test_spawn_wait),
		T(test_spawn),
		T(test_spawn_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
