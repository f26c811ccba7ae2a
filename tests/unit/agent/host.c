/* host.c - see host.h. */
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "agent/agent.h"
#include "base/io.h"

#define WAIT_MS 60000

static const char *const applets[] = { "sh",       "cat",   "echo", "ls",    "id",       "true",   "false",
				       "sleep",    "mount", "stat", "touch", "mkdir",    "head",   "dd",
				       "hostname", "uname", "ps",   "kill",  "readlink", "env",    "pwd",
				       "stty",     "tty",   "wc",   "seq",   "tail",     "grep",   "mknod",
				       "chmod",    "test",  "rm",   "yes",   "md5sum",   "umount", "date",
				       "printf",   "awk",   "sed",  "sort" };

const char *host_path(const struct host *h, const char *name)
{
	static char path[512];

	(void)snprintf(path, sizeof path, "%s/%s", h->share, name);
	return path;
}

static void write_file(const struct host *h, const char *name, const char *text)
{
	int fd = open(host_path(h, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
	close(fd);
}

static void make_root(const struct host *h)
{
	static const char *const dirs[] = { "rootfs",      "rootfs/bin",  "rootfs/etc",
					    "rootfs/proc", "rootfs/dev",  "rootfs/sys",
					    "rootfs/tmp",  "rootfs/home", "m0" };
	char *bytes;
	size_t n;
	int fd;

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		assert_int_equal(mkdir(host_path(h, dirs[i]), 0755), 0);
	assert_int_equal(io_read_file_at(AT_FDCWD, "/bin/busybox", 16u << 20, &bytes, &n), 0);
	fd = open(host_path(h, "rootfs/bin/busybox"), O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, bytes, n), 0);
	close(fd);
	free(bytes);
	for (size_t i = 0; i < ARRAY_LEN(applets); i++) {
		char name[64];

		(void)snprintf(name, sizeof name, "rootfs/bin/%s", applets[i]);
		assert_int_equal(symlink("busybox", host_path(h, name)), 0);
	}
	write_file(h, "rootfs/etc/passwd",
		   "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n");
	write_file(h, "rootfs/etc/noexec", "not a program\n");
	write_file(h, "m0/inside", "from the host\n");
	write_file(h, "m1", "a single file\n");
}

static void on_message(struct mux *m, enum msg_type type, uint32_t id, const uint8_t *p, size_t n)
{
	struct host *h = m->arg;
	struct arena mem = { 0 };
	struct msg_result res;

	if (type == MSG_A_READY) {
		struct msg_ready ready;

		assert_int_equal(pack_decode(&rec_ready, p, n, &mem, &ready), 0);
		assert_int_equal(ready.version, PROTO_VERSION);
		assert_int_equal(ready.nonce, 4711);
		h->ready = true;
	} else if (type == MSG_A_RESULT) {
		assert_int_equal(pack_decode(&rec_result, p, n, &mem, &res), 0);
		struct host_result *to = &h->results[id % HOST_RESULTS];

		assert_true(id > 0 && id < h->next_id && !to->got);
		to->got = true;
		to->code = res.code;
		(void)snprintf(to->text, sizeof to->text, "%s", res.text ? res.text : "");
	} else if (type == MSG_A_EXITED) {
		assert_true(h->n_exits < HOST_EXITS);
		assert_int_equal(pack_decode(&rec_exited, p, n, &mem, &h->exits[h->n_exits++]), 0);
	} else if (type == MSG_A_PS_RESULT) {
		arena_fini(&h->mem);
		assert_int_equal(pack_decode(&rec_ps, p, n, &h->mem, &h->ps), 0);
		h->got_ps = true;
	} else if (type == MSG_A_STATS_RESULT) {
		assert_int_equal(pack_decode(&rec_stats, p, n, &mem, &h->stats), 0);
		h->got_stats = true;
	} else if (type == MSG_A_OOM) {
		h->oom = true;
	}
	arena_fini(&mem);
}

static void on_stream_end(struct mux *m unused_arg, uint32_t id unused_arg, enum mux_end how unused_arg)
{
}

static void on_broken(struct mux *m, const struct err *why unused_arg)
{
	struct host *h = m->arg;

	h->broken = true;
}

static const struct mux_ops ops = { .message = on_message, .stream_end = on_stream_end, .broken = on_broken };

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void host_until(struct host *h, bool (*fn)(struct host *h))
{
	int64_t end = now_ms() + WAIT_MS;

	while (!fn(h)) {
		if (h->broken)
			fail_msg("the agent closed the channel");
		if (now_ms() > end)
			fail_msg("no answer from the agent within %d ms", WAIT_MS);
		assert_int_equal(loop_once(&h->loop, 1000), 0);
	}
}

static bool is_ready(struct host *h)
{
	return h->ready;
}

/* In the child: PID 1 of its namespaces. */
static void run_agent(const struct host *h, int channel, const char *cgroup)
{
	char fd[16];
	char *argv[] = { (char *)(uintptr_t) "cor-agent",
			 (char *)(uintptr_t) "--test-fd",
			 fd,
			 (char *)(uintptr_t) "--share",
			 (char *)(uintptr_t)h->share,
			 (char *)(uintptr_t) "--cgroup",
			 (char *)(uintptr_t)cgroup,
			 NULL };

	(void)snprintf(fd, sizeof fd, "%d", channel);
	_exit(agent_main(cgroup ? 7 : 5, argv));
}

static bool can_run(void)
{
	if (geteuid() != 0) {
		print_message("# skipped: needs root (namespaces, mounts)\n");
		return false;
	}
	if (access("/bin/busybox", X_OK) < 0) {
		print_message("# skipped: /bin/busybox is missing (package busybox-static)\n");
		return false;
	}
	return true;
}

bool host_start(struct host *h, const char *cgroup)
{
	struct clone_args args = { .flags = CLONE_NEWPID | CLONE_NEWNS, .exit_signal = SIGCHLD };
	struct msg_hello hello = { .version = PROTO_VERSION, .nonce = 4711 };
	int fds[2];

	memset(h, 0, sizeof *h);
	h->agent = -1;
	if (!can_run())
		return false;
	(void)snprintf(h->share, sizeof h->share, "/tmp/cor-agent-test-XXXXXX");
	assert_non_null(mkdtemp(h->share));
	make_root(h);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	h->agent = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (h->agent == 0) {
		close(fds[0]);
		run_agent(h, fds[1], cgroup);
	}
	close(fds[1]);
	h->channel = fds[0];
	if (h->agent < 0) {
		print_message("# skipped: no pid and mount namespaces: %s\n", strerror(errno));
		close(fds[0]);
		return false;
	}
	assert_int_equal(loop_init(&h->loop), 0);
	assert_int_equal(mux_init(&h->mux, &h->loop, h->channel, 0, &ops, h), 0);
	h->next_id = 1;
	assert_int_equal(mux_send(&h->mux, MSG_A_HELLO, 0, &rec_hello, &hello), 0);
	host_until(h, is_ready);
	return true;
}

void host_stop(struct host *h)
{
	int status, dir;

	if (h->agent < 0)
		return;
	if (!h->broken) {
		assert_int_equal(mux_send(&h->mux, MSG_A_SHUTDOWN, 0, NULL, NULL), 0);
		assert_int_equal(waitpid(h->agent, &status, 0), h->agent);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	} else {
		kill(h->agent, SIGKILL);
		waitpid(h->agent, &status, 0);
	}
	mux_fini(&h->mux);
	loop_fini(&h->loop);
	close(h->channel);
	arena_fini(&h->mem);
	dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(io_remove_tree_at(dir, h->share + strlen("/tmp/")), 0);
	close(dir);
	h->agent = -1;
}

uint32_t host_send(struct host *h, enum msg_type type, const struct pack_rec *rec, const void *v)
{
	uint32_t id = h->next_id++;

	h->results[id % HOST_RESULTS].got = false;
	assert_int_equal(mux_send(&h->mux, type, id, rec, v), 0);
	return id;
}

static void turn(struct host *h, int64_t end, const char *what)
{
	if (h->broken)
		fail_msg("the agent closed the channel while the test waited for %s", what);
	if (now_ms() > end)
		fail_msg("the test waited in vain for %s", what);
	assert_int_equal(loop_once(&h->loop, 1000), 0);
}

const struct host_result *host_answer(struct host *h, uint32_t id)
{
	int64_t end = now_ms() + WAIT_MS;

	while (!h->results[id % HOST_RESULTS].got)
		turn(h, end, "an answer");
	return &h->results[id % HOST_RESULTS];
}

int host_ask(struct host *h, enum msg_type type, const struct pack_rec *rec, const void *v)
{
	return (int)host_answer(h, host_send(h, type, rec, v))->code;
}

bool host_has_exited(const struct host *h, uint32_t proc)
{
	for (size_t i = 0; i < h->n_exits; i++)
		if (h->exits[i].proc == proc)
			return true;
	return false;
}

const struct msg_exited *host_exit(struct host *h, uint32_t proc)
{
	int64_t end = now_ms() + WAIT_MS;

	while (!host_has_exited(h, proc))
		turn(h, end, "an exit");
	for (size_t i = 0; i < h->n_exits; i++)
		if (h->exits[i].proc == proc)
			return &h->exits[i];
	return NULL;
}

static char *lit(const char *s)
{
	return (char *)(uintptr_t)s;
}

void process_init(struct msg_process *p, char **args, char **env, const char *const *argv)
{
	static const struct msg_caps all = { UINT64_MAX, UINT64_MAX, 0, UINT64_MAX, 0 };
	size_t n = 0;

	for (; argv[n]; n++)
		args[n] = lit(argv[n]);
	args[n] = NULL;
	env[0] = lit("PATH=/bin");
	env[1] = NULL;
	*p = (struct msg_process){
		.cwd = lit("/"), .args = { args, n }, .env = { env, 1 }, .has_caps = true, .caps = all
	};
}

struct msg_mount *ctr_box_mount(struct ctr_box *b, uint32_t kind, const char *dest, const char *type,
				const char *source)
{
	struct msg_mount *m = &b->mounts[b->c.mounts.n++];

	*m = (struct msg_mount){ .kind = kind, .dest = lit(dest), .type = lit(type), .source = lit(source) };
	return m;
}

void ctr_box_init(struct ctr_box *b, const char *const *argv)
{
	struct msg_mount *m;

	memset(b, 0, sizeof *b);
	b->c = (struct msg_ctr){ .id = lit("test"),
				 .hostname = lit("guest"),
				 .namespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
					       CLONE_NEWCGROUP };
	process_init(&b->c.process, b->args, b->env, argv);
	b->c.mounts.p = b->mounts;
	ctr_box_mount(b, MOUNT_FS, "/proc", "proc", "proc");
	m = ctr_box_mount(b, MOUNT_FS, "/dev", "tmpfs", "tmpfs");
	m->flags = MS_NOSUID | MS_STRICTATIME;
	m->data = lit("mode=755,size=65536k");
	m = ctr_box_mount(b, MOUNT_FS, "/dev/pts", "devpts", "devpts");
	m->flags = MS_NOSUID | MS_NOEXEC;
	m->data = lit("newinstance,ptmxmode=0666,mode=0620");
}

void run_init(struct run *r)
{
	*r = (struct run){ .out = -1, .err = -1, .in = -1 };
	r->out = memfd_create("out", MFD_CLOEXEC);
	r->err = memfd_create("err", MFD_CLOEXEC);
	assert_true(r->out >= 0 && r->err >= 0);
}

void run_fini(struct run *r)
{
	scope_close(&r->out);
	scope_close(&r->err);
	scope_close(&r->in);
}

char *run_text(int fd)
{
	struct stat st;
	char *text;

	assert_int_equal(fstat(fd, &st), 0);
	text = calloc(1, (size_t)st.st_size + 1);
	assert_non_null(text);
	assert_int_equal(pread(fd, text, (size_t)st.st_size, 0), st.st_size);
	return text;
}

static void bind_streams(struct host *h, struct run *r, bool terminal)
{
	int in = r->in;

	assert_int_equal(
		mux_sink(&h->mux, msg_stream_id(r->proc, STREAM_STDOUT), fcntl(r->out, F_DUPFD_CLOEXEC, 3)),
		0);
	if (!terminal)
		assert_int_equal(mux_sink(&h->mux, msg_stream_id(r->proc, STREAM_STDERR),
					  fcntl(r->err, F_DUPFD_CLOEXEC, 3)),
				 0);
	r->in = -1;
	if (in < 0)
		in = memfd_create("in", MFD_CLOEXEC);
	/* Before the request is answered, as a user may type early. */
	assert_int_equal(mux_source(&h->mux, msg_stream_id(r->proc, STREAM_STDIN), in), 0);
}

/* After a failure the streams are over. */
static void drop_streams(struct host *h, uint32_t proc)
{
	for (unsigned k = STREAM_STDIN; k <= STREAM_STDERR; k++)
		mux_close(&h->mux, msg_stream_id(proc, k));
}

static int answered(struct host *h, struct run *r, uint32_t id)
{
	const struct host_result *res = host_answer(h, id);

	r->code = (int)res->code;
	(void)snprintf(r->text, sizeof r->text, "%s", res->text);
	if (r->code < 0)
		drop_streams(h, r->proc);
	return r->code;
}

int host_create(struct host *h, const struct msg_ctr *c, struct run *r)
{
	r->proc = PROC_INIT;
	bind_streams(h, r, c->process.terminal);
	return answered(h, r, host_send(h, MSG_A_CREATE, &rec_ctr, c));
}

int host_exec(struct host *h, const struct msg_process *p, struct run *r)
{
	struct msg_exec m = { .proc = r->proc, .process = *p };

	bind_streams(h, r, p->terminal);
	return answered(h, r, host_send(h, MSG_A_EXEC, &rec_exec, &m));
}

int host_start_ctr(struct host *h, struct run *r)
{
	struct msg_ref m = { .proc = PROC_INIT };

	return answered(h, r, host_send(h, MSG_A_START, &rec_ref, &m));
}

void host_finish(struct host *h, struct run *r)
{
	const struct msg_exited *x = host_exit(h, r->proc);

	r->status = x->code;
	r->signal = x->signal;
	drop_streams(h, r->proc);
	/* The same number may come again. */
	for (size_t i = 0; i < h->n_exits; i++) {
		if (h->exits[i].proc == r->proc) {
			memmove(&h->exits[i], &h->exits[i + 1], (h->n_exits - i - 1) * sizeof h->exits[0]);
			h->n_exits--;
			break;
		}
	}
}

void host_run(struct host *h, const struct msg_ctr *c, struct run *r)
{
	if (host_create(h, c, r) == 0 && host_start_ctr(h, r) == 0)
		host_finish(h, r);
}
