/* test_fs.c - the file system's front end: with a scripted back end that serves or lies (backend.h), and with
 * QEMU's virtiofsd where it is installed. */
#include "unit.h"

#include <errno.h>
#include <linux/fuse.h>
#include <linux/virtio_config.h>
#include <linux/virtio_fs.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "backend.h"
#include "rig.h"
#include "tmpdir.h"
#include "vmm/dev/dev.h"
#include "vmm/dev/vhost.h"

#define VIRTIOFSD "/usr/lib/qemu/virtiofsd"

static struct rig rig;
static struct backend back;
static unsigned wait_ms; /* 0 = as for everyone */

static int make(int sock)
{
	struct vhost_mem mem = { .start = RIG_BASE, .len = RIG_RAM };
	struct fs_cfg cfg = {
		.sock = sock, .tag = "shared", .n_requests = 1, .mem = &mem, .n_mem = 1, .wait_ms = wait_ms
	};
	struct vdev *d = NULL;
	int r;

	assert_int_equal(rig_memory(&rig), 0);
	mem.fd = rig.ram_fd;
	r = fs_new(&cfg, &d, NULL);
	if (r < 0)
		return r;
	assert_int_equal(rig_attach(&rig, d), 0);
	return 0;
}

static bool needs_reset(void)
{
	return (vdev_status(rig.d) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
}

static void offer(unsigned q)
{
	struct vqdrv_seg seg[] = { { rig.data, 8 }, { rig.data + 64, 16 } };

	*vqdrv_used_event(&rig.q[q]) = rig.q[q].used_seen; /* tell me of the next answer */
	vqdrv_add(&rig.q[q], seg, 1, 1);
}

/* Runs the loop until the condition holds; the other side is a process or thread of its own. */
#define UNTIL(cond)                                                                                          \
	do {                                                                                                 \
		for (unsigned until_i = 0; !(cond); until_i++) {                                             \
			assert_true(until_i < 1000);                                                         \
			assert_true(loop_once(&rig.loop, 10000) >= 0);                                       \
		}                                                                                            \
	} while (0)

static uint32_t used_len(unsigned q)
{
	uint32_t id = 0, len = 0;

	UNTIL(vqdrv_used(&rig.q[q], &id, &len));
	return len;
}

static void test_serve(void **state)
{
	struct virtio_fs_config c;

	(void)state;
	assert_int_equal(make(backend_start(&back, HONEST, 0)), 0);
	vdev_config_read(rig.d, 0, &c, sizeof c);
	assert_memory_equal(c.tag, "shared\0", 7);
	assert_int_equal(c.num_request_queues, 1);
	rig_up(&rig, 16);
	assert_true(vdev_is_active(rig.d));
	for (unsigned i = 0; i < 40; i++) {
		offer(1);
		if (i % 3 == 0)
			offer(0);
		vdev_kick_self(rig.d);
		assert_int_equal(used_len(1), sizeof BACKEND_SERVED);
		if (i % 3 == 0)
			assert_int_equal(used_len(0), sizeof BACKEND_SERVED);
		assert_string_equal(vqdrv_at(&rig.q[1], rig.data + 64), BACKEND_SERVED);
	}
	UNTIL(rig.irqs[1] > 0 && rig.irqs[0] > 0);
	/* A reset stops the rings, a new driver starts them at 0. */
	rig_up(&rig, 16);
	assert_true(vdev_is_active(rig.d));
	offer(1);
	vdev_kick_self(rig.d);
	assert_int_equal(used_len(1), sizeof BACKEND_SERVED);
	rig_fini(&rig);
	backend_stop(&back);
	assert_int_equal(back.base, 0);
	assert_int_equal(back.count[11], 2); /* both queues were asked for their state, once */
	assert_int_equal(back.count[3], 1);
	assert_int_equal(back.served, 40 + 14 + 1);
	assert_true(back.features >> VIRTIO_F_VERSION_1 & 1);
}

/* Whatever a back end does wrong while the device is made: an error, in time, and the socket is ours. */
static void test_refused(void **state)
{
	static const struct {
		enum backend_lie lie;
		uint32_t at;
		int want;
	} bad[] = {
		{ CLOSES, 1, -EPIPE },         { CLOSES, 15, -EPIPE },        { CLOSES, 17, -EPIPE },
		{ SILENT, 1, -EPIPE },         { HALF, 1, -EPIPE },           { WRONG_REQUEST, 1, -EPIPE },
		{ WRONG_SIZE, 1, -EPIPE },     { WRONG_VERSION, 1, -EPIPE },  { NOT_A_REPLY, 1, -EPIPE },
		{ ODD_FLAG, 1, -EPIPE },       { WRONG_VALUE, 1, -ENOTSUP },  { WRONG_VALUE, 15, -ENOTSUP },
		{ WRONG_VALUE, 17, -ENOTSUP }, { NO_VERSION_1, 1, -ENOTSUP },
	};
	struct timespec from, to;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int sock = backend_start(&back, bad[i].lie, bad[i].at);

		wait_ms = bad[i].lie == SILENT ? 300 : 0;
		(void)clock_gettime(CLOCK_MONOTONIC, &from);
		assert_int_equal(make(sock), bad[i].want);
		wait_ms = 0;
		(void)clock_gettime(CLOCK_MONOTONIC, &to);
		assert_true(to.tv_sec - from.tv_sec < 30);
		assert_int_equal(close(sock), 0);
		backend_stop(&back);
		rig_forget(&rig);
	}
}

/* While the driver starts: the device is broken, and stays it, however often the driver tries. */
static void test_bad_start(void **state)
{
	static const uint32_t at[] = { 2, 5, 8, 10, 9, 13, 12, 18 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		assert_int_equal(make(backend_start(&back, WRONG_VALUE, at[i])), 0);
		rig_up(&rig, 16);
		assert_true(needs_reset());
		rig_up(&rig, 16);
		assert_true(needs_reset());
		rig_fini(&rig);
		backend_stop(&back);
	}
	wait_ms = 2000; /* it answers everything before */
	assert_int_equal(make(backend_start(&back, SILENT, 5)), 0);
	wait_ms = 0;
	rig_up(&rig, 16); /* gives up by itself */
	assert_true(needs_reset());
	rig_fini(&rig);
	backend_stop(&back);
}

/* A wrong answer to the question where it stopped is no index of ours. */
static void test_bad_stop(void **state)
{
	static const enum backend_lie lies[] = { WRONG_INDEX, LARGE_BASE, WRONG_SIZE, CLOSES, SILENT };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		wait_ms = lies[i] == SILENT ? 2000 : 0; /* it answers everything before */
		assert_int_equal(make(backend_start(&back, lies[i], 11)), 0);
		wait_ms = 0;
		rig_up(&rig, 16);
		assert_true(vdev_is_active(rig.d));
		assert_int_equal(fs_pause(rig.d), -EPIPE);
		fs_resume(rig.d);
		assert_true(needs_reset());
		rig_fini(&rig);
		backend_stop(&back);
	}
}

/* The back end ends, or talks without being asked: the device is broken, nobody spins. */
static void test_death(void **state)
{
	struct epoll_event e;

	(void)state;
	assert_int_equal(make(backend_start(&back, HONEST, 0)), 0);
	rig_up(&rig, 16);
	backend_stop(&back);
	UNTIL(needs_reset());
	assert_int_equal(rig.config_irqs, 1);
	rig_turn(&rig);
	assert_int_equal(epoll_wait(rig.loop.epfd, &e, 1, 0), 0);
	rig_up(&rig, 16);
	assert_true(needs_reset());
	rig_fini(&rig);

	assert_int_equal(make(backend_start(&back, HONEST, 0)), 0);
	rig_up(&rig, 16);
	assert_int_equal(write(back.sock, "unasked", 7), 7);
	UNTIL(needs_reset());
	rig_fini(&rig);
	backend_stop(&back);
}

/* A template's placeholder: the driver starts, its requests wait, and are served when the back end comes. */
static void test_placeholder(void **state)
{
	int sock, liar;

	(void)state;
	assert_int_equal(make(-1), 0);
	rig_up(&rig, 16);
	assert_true(vdev_is_active(rig.d));
	offer(1);
	rig_serve(&rig);
	liar = backend_start(&back, WRONG_VALUE, 1);
	assert_int_equal(fs_back(rig.d, liar, NULL), -ENOTSUP);
	(void)close(liar);
	backend_stop(&back);
	sock = backend_start(&back, HONEST, 0);
	assert_int_equal(fs_back(rig.d, sock, NULL), 0);
	assert_int_equal(fs_back(rig.d, sock, NULL), -EBUSY);
	assert_int_equal(used_len(1), sizeof BACKEND_SERVED);
	rig_fini(&rig);
	backend_stop(&back);
}

/* A snapshot knows where the back end stopped; another one goes on from there. */
static void test_snapshot(void **state)
{
	struct vdev_snapshot s;

	(void)state;
	assert_int_equal(make(backend_start(&back, HONEST, 0)), 0);
	rig_up(&rig, 16);
	for (unsigned i = 0; i < 3; i++) {
		offer(1);
		vdev_kick_self(rig.d);
		(void)used_len(1);
	}
	assert_int_equal(fs_pause(rig.d), 0);
	vdev_save(rig.d, &s);
	assert_int_equal(s.core.queues[1].next_avail, 3);
	fs_resume(rig.d);
	offer(1);
	vdev_kick_self(rig.d);
	assert_int_equal(used_len(1), sizeof BACKEND_SERVED);
	assert_int_equal(fs_pause(rig.d), 0);
	vdev_save(rig.d, &s);
	assert_int_equal(vdev_restore(rig.d, &s, NULL), 0);
	offer(1);
	vdev_kick_self(rig.d);
	assert_int_equal(used_len(1), sizeof BACKEND_SERVED);
	rig_fini(&rig);
	backend_stop(&back);
	assert_int_equal(back.base, 4);
	assert_int_equal(back.served, 5);
}

static void test_config(void **state)
{
	struct vhost_mem mem[VHOST_MEM_MAX + 1] = { { .len = 1 } };
	struct fs_cfg ok = { .sock = -1, .tag = "t", .n_requests = 1, .mem = mem, .n_mem = 1 }, cfg;
	struct vdev *d = NULL;

	(void)state;
#define BAD(change)                                                                                          \
	do {                                                                                                 \
		cfg = ok;                                                                                    \
		change;                                                                                      \
		assert_int_equal(fs_new(&cfg, &d, NULL), -EINVAL);                                           \
	} while (0)
	BAD(cfg.tag = "");
	BAD(cfg.tag = "a-tag-that-is-longer-than-36-bytes-by-1");
	BAD(cfg.n_requests = 0);
	BAD(cfg.n_requests = FS_QUEUES_MAX);
	BAD(cfg.n_mem = 0);
	BAD(cfg.n_mem = VHOST_MEM_MAX + 1);
}

/* ---- virtiofsd ---- */

/* Starts it for the directory; returns a connected socket. */
static int start_virtiofsd(const struct tmpdir *t, pid_t *ret_pid)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char source[128], fd_arg[32];
	int l = socket(AF_UNIX, SOCK_STREAM, 0), s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(a.sun_path, sizeof a.sun_path, "%s/sock", t->path);
	(void)snprintf(source, sizeof source, "source=%s", t->path);
	(void)snprintf(fd_arg, sizeof fd_arg, "--fd=%d", l);
	assert_int_equal(bind(l, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(l, 1), 0);
	*ret_pid = fork();
	assert_true(*ret_pid >= 0);
	if (*ret_pid == 0) {
		(void)execl(VIRTIOFSD, VIRTIOFSD, fd_arg, "-f", "-o", source, "-o", "sandbox=chroot", "-o",
			    "log_level=err", NULL);
		_exit(127);
	}
	(void)close(l);
	assert_int_equal(connect(s, (struct sockaddr *)&a, sizeof a), 0);
	return s;
}

/* A FUSE request for node 1; returns the error of the answer. */
static int32_t fuse(uint32_t opcode, const void *arg, uint32_t arg_len, void *ret, uint32_t ret_len)
{
	struct fuse_in_header h = {
		.len = (uint32_t)sizeof h + arg_len, .opcode = opcode, .unique = opcode, .nodeid = 1
	};
	struct vqdrv_seg seg[] = { { rig.data, h.len },
				   { rig.data + 4096, 16 },
				   { rig.data + 4112, ret_len } };
	struct fuse_out_header out;

	memcpy(vqdrv_at(&rig.q[1], rig.data), &h, sizeof h);
	memcpy(vqdrv_at(&rig.q[1], rig.data + sizeof h), arg, arg_len);
	*vqdrv_used_event(&rig.q[1]) = rig.q[1].used_seen;
	vqdrv_add(&rig.q[1], seg, 1, 2);
	vdev_kick_self(rig.d);
	assert_true(used_len(1) >= sizeof out);
	memcpy(&out, vqdrv_at(&rig.q[1], rig.data + 4096), sizeof out);
	assert_true(out.unique == opcode);
	memcpy(ret, vqdrv_at(&rig.q[1], rig.data + 4112), ret_len);
	return out.error;
}

static void ask_virtiofsd(void)
{
	struct fuse_init_in init = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_readahead = 4096 };
	struct fuse_init_out inited;
	struct fuse_entry_out entry;
	struct fuse_attr_out attr;
	struct fuse_getattr_in get = { 0 };

	assert_int_equal(fuse(FUSE_INIT, &init, sizeof init, &inited, sizeof inited), 0);
	assert_int_equal(inited.major, FUSE_KERNEL_VERSION);
	assert_int_equal(fuse(FUSE_GETATTR, &get, sizeof get, &attr, sizeof attr), 0);
	assert_true(S_ISDIR(attr.attr.mode));
	assert_int_equal(fuse(FUSE_LOOKUP, "hello", 6, &entry, sizeof entry), 0);
	assert_true(S_ISREG(entry.attr.mode));
	assert_int_equal(entry.attr.size, 5);
	assert_int_equal(fuse(FUSE_LOOKUP, "nobody", 7, &entry, sizeof entry), -ENOENT);
}

static void test_virtiofsd(void **state)
{
	struct tmpdir *t = *state;
	pid_t pid;

	if (access(VIRTIOFSD, X_OK) < 0 || geteuid() != 0) {
		print_message("skipped: %s is not installed, or we are not root\n", VIRTIOFSD);
		skip();
	}
	assert_int_equal(tmpdir_write(t, "hello", "hello"), 0);
	assert_int_equal(make(start_virtiofsd(t, &pid)), 0);
	rig_up(&rig, 64);
	assert_true(vdev_is_active(rig.d));
	ask_virtiofsd();
	/* Killed in the middle of its life. */
	assert_int_equal(kill(pid, SIGKILL), 0);
	UNTIL(needs_reset());
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_serve),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bad_start),
		cmocka_unit_test(test_bad_stop),
		cmocka_unit_test(test_death),
		cmocka_unit_test(test_placeholder),
		cmocka_unit_test(test_snapshot),
		cmocka_unit_test(test_config),
		cmocka_unit_test_setup_teardown(test_virtiofsd, tmpdir_set_up, tmpdir_tear_down),
	};
	return cmocka_run_group_tests_name("vmm/fs", tests, NULL, NULL);
}
