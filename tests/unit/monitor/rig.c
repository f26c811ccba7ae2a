/* rig.c - see rig.h. The child that becomes the monitor gets what cor gives it: fds 0-2 and those of enum
 * plan_fd. What the scripted hypervisor hands out lies above them. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "hyper/hyper.h"
#include "hyper/pool.h"
#include "hyper/template.h"
#include "monitor/monitor.h"
#include "sys/pty.h"

#define NOBODY INT_MAX /* above every pid */

/* For the hypervisor in the monitor's process. */
static struct {
	int agent, console, log, ops;
} given;

int __real_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old);

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
	struct itimerspec sooner = *when;
	long long ns = (when->it_value.tv_sec * 1000000000LL + when->it_value.tv_nsec) / RIG_SPEED;

	sooner.it_value = (struct timespec){ .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	return __real_timerfd_settime(fd, flags, &sooner, old);
}

static void note(char op)
{
	if (write(given.ops, &op, 1) != 1)
		_exit(99);
}

/* A VM that ended just after its start, and so has its helper. */
static int start_dead(struct hv *hv)
{
	int *const fds[] = { &hv->agent_fd, &hv->console_fd, &hv->log_fd };
	int p[2];
	pid_t helper = fork();

	if (helper == 0)
		_exit(0);
	hv->helper_fd = (int)syscall(SYS_pidfd_open, helper, 0u);
	(void)waitpid(helper, NULL, 0);
	hv->pid = fork();
	if (hv->pid == 0)
		_exit(7);
	hv->pidfd = (int)syscall(SYS_pidfd_open, hv->pid, 0u);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p) < 0)
			_exit(96);
		*fds[i] = p[0];
		(void)close(p[1]);
	}
	return 0;
}

static int fake_start(struct hv *hv, const struct vmcfg *cfg, struct err *e)
{
	pid_t self = getpid();

	if (str_eq(cfg->hypervisor_path, "/dies") && cfg->template_dir)
		return start_dead(hv);
	if (str_eq(cfg->hypervisor_path, "/missing"))
		return err_set(e, -ENOENT, "the scripted hypervisor is missing");
	hv->priv = str_eq(cfg->hypervisor_path, "/slow") ? hv : NULL;
	hv->pid = fork();
	if (hv->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)syscall(SYS_close_range, 0u, ~0u, 0u);
		while (getppid() == self)
			(void)pause();
		_exit(0);
	}
	hv->pidfd = (int)syscall(SYS_pidfd_open, hv->pid, 0u);
	hv->agent_fd = given.agent;
	hv->console_fd = given.console;
	hv->log_fd = given.log;
	return hv->pid < 0 || hv->pidfd < 0 ? err_set(e, -errno, "fork") : 0;
}

static int fake_pause(struct hv *hv, struct err *e)
{
	note('P');
	return hv->priv ? err_set(e, -ETIMEDOUT, "the scripted hypervisor did not answer in time") : 0;
}

static int fake_resume(struct hv *hv, struct err *e)
{
	(void)hv;
	(void)e;
	note('R');
	return 0;
}

static void fake_stop(struct hv *hv)
{
	note('S');
	(void)kill(hv->pid, SIGKILL);
}

static void fake_why(struct hv *hv, int wait_status, struct str *to)
{
	(void)hv;
	str_addf(to, "the scripted VM ended (%d)", wait_status);
}

static void fake_fini(struct hv *hv)
{
	(void)hv;
}

static const struct hv_ops fake_ops = { .name = "fake",
					.start = fake_start,
					.pause = fake_pause,
					.resume = fake_resume,
					.stop = fake_stop,
					.why = fake_why,
					.fini = fake_fini };

int hv_new(const struct vmcfg *cfg, struct hv **ret, struct err *e)
{
	struct hv *hv = calloc(1, sizeof *hv);

	(void)cfg;
	if (!hv)
		return err_set(e, -ENOMEM, "out of memory");
	*hv = (struct hv){ .ops = &fake_ops,
			   .pid = -1,
			   .helper = -1,
			   .helper_fd = -1,
			   .pidfd = -1,
			   .agent_fd = -1,
			   .console_fd = -1,
			   .log_fd = -1 };
	*ret = hv;
	return 0;
}

void template_drop(const char *dir unused_arg, int used unused_arg)
{
}

int hv_reap(struct hv *hv)
{
	int status = 0;

	(void)waitpid(hv->pid, &status, 0);
	hv->pid = -1;
	return status;
}

int pool_take(const struct vmcfg *cfg, struct pool_vm *ret)
{
	*ret = (struct pool_vm){ .mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC),
				 .share = str_fmt("/gone") };
	if (hv_new(cfg, &ret->hv, NULL) < 0)
		_exit(97);
	ret->hv->pid = NOBODY;
	return 0;
}

int pool_listen(int dir unused_arg, const char *name unused_arg)
{
	return -ENOSYS;
}

int pool_give(struct hv *hv unused_arg, int sock unused_arg, int mounts unused_arg,
	      const char *share unused_arg, const char *refused unused_arg)
{
	return -ENOSYS;
}

void pool_tell_bad(const struct hv *hv unused_arg)
{
}

void hv_free(struct hv *hv)
{
	if (!hv)
		return;
	if (hv->pid > 0) {
		hv->ops->stop(hv);
		(void)hv_reap(hv);
	}
	scope_close(&hv->helper_fd);
	scope_close(&hv->pidfd);
	scope_close(&hv->agent_fd);
	scope_close(&hv->console_fd);
	scope_close(&hv->log_fd);
	free(hv);
}

int rig_set_up(void **state)
{
	struct rig *r = calloc(1, sizeof *r);
	void *t = NULL;

	if (!r || tmpdir_set_up(&t) < 0)
		return -1;
	r->t = t;
	r->sync = r->agent = r->console = r->log = r->ops = r->in = r->out = r->err = r->tty = -1;
	r->plan = (struct mon_plan){ .version = PROTO_VERSION, .boot_timeout_ms = RIG_WAIT_MS * RIG_SPEED };
	*state = r;
	return mkdirat(r->t->fd, "share", 0700) < 0 || mkdirat(r->t->fd, "rootfs", 0755) < 0 ||
			       mkdirat(r->t->fd, "rootfs/proc", 0755) < 0
		       ? -1
		       : 0;
}

int rig_tear_down(void **state)
{
	struct rig *r = *state;
	void *t = r->t;

	if (r->pid > 0) {
		(void)kill(r->pid, SIGKILL);
		(void)waitpid(r->pid, NULL, 0);
	}
	for (size_t i = 0; i < 9; i++)
		scope_close((int *[]){ &r->sync, &r->agent, &r->console, &r->log, &r->ops, &r->in, &r->out,
				       &r->err, &r->tty }[i]);
	(void)rig_file(r, NULL);
	(void)agent_expect(NULL, MSG_A_HELLO);
	(void)agent_body(NULL);
	(void)verb_expect(-1, MSG_C_RESULT);
	free(r);
	return tmpdir_tear_down(&t);
}

static int up(int fd)
{
	int r = fcntl(fd, F_DUPFD_CLOEXEC, 100);

	(void)close(fd);
	return r;
}

static void make_pipe(int *rd, int *wr)
{
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	*rd = up(p[0]);
	*wr = up(p[1]);
}

static void make_pair(int type, int *a, int *b)
{
	int p[2];

	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, p), 0);
	*a = up(p[0]);
	*b = up(p[1]);
}

static _Noreturn void be_monitor(struct rig *r, int plan, int sync, const int stdio[3])
{
	const int fds[] = { stdio[0], stdio[1], stdio[2], plan, sync, r->t->fd, -1 };
	const int mine[] = { r->sync, r->agent, r->console, r->log, r->ops, r->in, r->out, r->err, r->tty };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), moved[7], keep[11];

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < ARRAY_LEN(mine); i++)
		if (mine[i] >= 0)
			(void)close(mine[i]);
	for (size_t i = 0; i < 7; i++)
		moved[i] = fcntl(fds[i] < 0 ? null : fds[i], F_DUPFD_CLOEXEC, 200);
	for (size_t i = 0; i < 7; i++)
		(void)dup2(moved[i], (int)i);
	for (int i = 0; i < 7; i++)
		keep[i] = i;
	keep[7] = given.agent;
	keep[8] = given.console;
	keep[9] = given.log;
	keep[10] = given.ops;
	if (io_close_from(keep, ARRAY_LEN(keep)) < 0)
		_exit(98);
	exit(monitor_main()); /* not _exit(): a sanitizer looks for leaks */
}

static bool can_mount(void)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0)
		_exit(unshare(CLONE_NEWNS) < 0);
	(void)waitpid(pid, &status, 0);
	return status == 0;
}

void rig_start(struct rig *r)
{
	int plan, sync, agent, stdio[3], slave = -1;
	char dir[3][96];
	static const char *const names[] = { "", "/rootfs", "/share" };

	if (geteuid() != 0 || !can_mount()) {
		print_message("skipped: a monitor needs root and a mount namespace of its own\n");
		skip();
	}
	for (size_t i = 0; i < 3; i++)
		(void)snprintf(dir[i], sizeof dir[i], "%s%s", r->t->path, names[i]);
	r->plan.id = (char[]){ "c1" };
	r->plan.ctr.id = r->plan.id;
	r->plan.state_dir = dir[0];
	r->plan.root = dir[1];
	r->plan.vm.share = dir[2];
	make_pair(SOCK_SEQPACKET, &r->sync, &sync);
	make_pair(SOCK_STREAM, &r->agent, &agent);
	make_pipe(&given.console, &r->console);
	make_pipe(&given.log, &r->log);
	make_pipe(&r->ops, &given.ops);
	assert_int_equal(fcntl(given.console, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(fcntl(given.log, F_SETFL, O_NONBLOCK), 0);
	given.agent = agent;
	make_pipe(&stdio[0], &r->in);
	make_pipe(&r->out, &stdio[1]);
	make_pipe(&r->err, &stdio[2]);
	if (r->plan.ctr.process.terminal) {
		assert_int_equal(openpty(&r->tty, &slave, NULL, NULL, NULL), 0);
		assert_int_equal(pty_set_raw(slave), 0); /* as cor does it */
		(void)close(stdio[0]);
		stdio[0] = up(slave);
		r->tty = up(r->tty);
	}
	if (r->agent_deaf)
		scope_close((int[]){ take_fd(&r->agent) });
	plan = ctl_memfd(&rec_mon_plan, &r->plan);
	assert_true(plan >= 0);
	(void)fflush(NULL);
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0)
		be_monitor(r, plan, sync, stdio);
	for (size_t i = 0; i < 9; i++)
		(void)close((int[]){ plan, sync, given.agent, given.console, given.log, given.ops, stdio[0],
				     stdio[1], stdio[2] }[i]);
}

void rig_expect_up(struct rig *r)
{
	(void)verb_expect(r->sync, MSG_S_VM);
	(void)verb_expect(r->sync, MSG_S_NAMESPACES);
}

void rig_create(struct rig *r)
{
	const struct frame *f;
	const struct msg_hello *hello;

	rig_start(r);
	rig_expect_up(r);
	hello = agent_body(agent_expect(r, MSG_A_HELLO));
	r->nonce = hello->nonce;
	agent_ready(r, r->nonce, PROTO_VERSION);
	verb_send(r->sync, MSG_S_CGROUPS_DONE, NULL, NULL, NULL, 0);
	verb_send(r->sync, MSG_S_HOOKS_DONE, NULL, NULL, NULL, 0);
	f = agent_expect(r, MSG_A_CREATE);
	agent_result(r, f->id, 0, NULL);
	(void)verb_expect(r->sync, MSG_S_CREATED);
}

void rig_run(struct rig *r)
{
	int verb;

	rig_create(r);
	verb = verb_connect(r);
	verb_send(verb, MSG_C_START, NULL, NULL, NULL, 0);
	agent_result(r, agent_expect(r, MSG_A_START)->id, 0, NULL);
	verb_result(verb, 0, "");
	(void)close(verb);
}

int rig_wait(struct rig *r)
{
	int status, pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0u);

	expect_readable(pidfd);
	(void)close(pidfd);
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	r->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

const char *rig_file(struct rig *r, const char *name)
{
	static char *text;
	size_t n;

	free(take_ptr(&text));
	return name && io_read_file_at(r->t->fd, name, 1u << 20, &text, &n) == 0 ? text : "";
}

pid_t rig_vm(struct rig *r)
{
	long pid = strtol(rig_file(r, "vm"), NULL, 10);

	assert_true(pid > 1);
	return (pid_t)pid;
}

char rig_hv_op(struct rig *r)
{
	char op = 0;

	expect_readable(r->ops);
	assert_int_equal(read(r->ops, &op, 1), 1);
	return op;
}

void agent_raw(struct rig *r, enum msg_type type, uint32_t id, const void *p, size_t n)
{
	scoped_str out = { 0 };

	buf_put_u32(&out, MUX_MAGIC);
	buf_put_u16(&out, (uint16_t)type);
	buf_put_u16(&out, 0);
	buf_put_u32(&out, id);
	buf_put_u32(&out, (uint32_t)n);
	str_addn(&out, p, n);
	assert_int_equal(str_check(&out), 0);
	assert_int_equal(io_write_full(r->agent, out.p, out.len), 0);
}

void agent_send(struct rig *r, enum msg_type type, uint32_t id, const struct pack_rec *rec, const void *v)
{
	scoped_str body = { 0 };

	assert_int_equal(pack_encode(rec, v, &body), 0);
	agent_raw(r, type, id, body.p, body.len);
}

void agent_result(struct rig *r, uint32_t id, int code, const char *text)
{
	char copy[200];
	struct msg_result res = { .code = code, .text = text ? copy : NULL };

	(void)snprintf(copy, sizeof copy, "%s", text ? text : "");
	agent_send(r, MSG_A_RESULT, id, &rec_result, &res);
}

void agent_ready(struct rig *r, uint64_t nonce, uint32_t version)
{
	struct msg_ready ready = { .version = version, .nonce = nonce, .boot_ns = 1, .ready_ns = 2 };

	agent_send(r, MSG_A_READY, 0, &rec_ready, &ready);
}

void agent_exited(struct rig *r, uint32_t proc, uint32_t code)
{
	struct msg_exited end = { .proc = proc, .code = code };

	agent_send(r, MSG_A_EXITED, 0, &rec_exited, &end);
}

static void read_exactly(int fd, void *p, size_t n)
{
	for (size_t off = 0; off < n;) {
		ssize_t got;

		expect_readable(fd);
		got = read(fd, (char *)p + off, n - off);
		assert_true(got > 0);
		off += (size_t)got;
	}
}

const struct frame *agent_expect(struct rig *r, enum msg_type type)
{
	static struct frame f;
	uint8_t head[MUX_HDR];
	char *body;

	do {
		str_fini(&f.body);
		if (!r)
			return NULL;
		read_exactly(r->agent, head, sizeof head);
		assert_int_equal(buf_ld32(head), MUX_MAGIC);
		f.type = (enum msg_type)buf_ld16(head + 4);
		f.id = buf_ld32(head + 8);
		f.len = buf_ld32(head + 12);
		body = calloc(1, f.len + 1);
		assert_non_null(body);
		read_exactly(r->agent, body, f.len);
		str_addn(&f.body, body, f.len);
		free(body);
		assert_int_equal(str_check(&f.body), 0);
	} while (f.type == MSG_CREDIT && type != MSG_CREDIT);
	if (f.type != type)
		fail_msg("agent got %s, not %s", msg_name(f.type), msg_name(type));
	return &f;
}

const void *agent_body(const struct frame *f)
{
	static struct arena a;
	static union {
		struct msg_ctr ctr; /* the largest */
		char room[8192];
	} v;

	arena_fini(&a);
	if (!f)
		return NULL;
	assert_true(msg_record(f->type)->size <= sizeof v);
	assert_int_equal(pack_decode(msg_record(f->type), f->body.p, f->len, &a, &v), 0);
	return &v;
}

int verb_connect(struct rig *r)
{
	int fd = io_unix_connect_at(r->t->fd, "monitor.sock");

	assert_true(fd >= 0);
	return fd;
}

void verb_send(int fd, enum msg_type type, const struct pack_rec *rec, const void *v, const int *fds,
	       size_t n)
{
	assert_int_equal(ctl_send(fd, type, rec, v, fds, n), 0);
}

const struct ctl_msg *verb_expect(int fd, enum msg_type type)
{
	static struct ctl_msg msg = { .fds = { -1, -1, -1, -1 } };
	struct err e;

	ctl_fini(&msg);
	if (fd < 0)
		return NULL;
	expect_readable(fd);
	assert_int_equal(ctl_recv(fd, &msg), 1);
	if (msg.type != type && msg.type == MSG_S_FAILED && ctl_result(&msg, &e) < 0)
		fail_msg("the monitor failed: %s", e.msg);
	if (msg.type != type)
		fail_msg("verb got %s, not %s", msg_name(msg.type), msg_name(type));
	return &msg;
}

void verb_result(int fd, int code, const char *text)
{
	struct err e = { 0 };
	const struct ctl_msg *msg = verb_expect(fd, MSG_C_RESULT);
	int r = ctl_result(msg, &e);

	if (r != code || e.code != code || !strstr(e.msg, text))
		fail_msg("result %d \"%s\", not %d \"%s\"", e.code, e.msg, code, text);
}

void verb_gone(int fd)
{
	struct ctl_msg msg;

	expect_readable(fd);
	assert_true(ctl_recv(fd, &msg) <= 0);
	(void)close(fd);
}

void expect_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	assert_true(fd >= 0);
	if (poll(&p, 1, RIG_WAIT_MS) != 1)
		fail_msg("nothing came in time");
}

void expect_text(int fd, const char *text)
{
	char got[256];

	assert_true(strlen(text) < sizeof got);
	read_exactly(fd, got, strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

void expect_eof(int fd)
{
	char c;

	expect_readable(fd);
	assert_true(read(fd, &c, 1) <= 0);
}
