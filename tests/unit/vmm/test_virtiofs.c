/* test_virtiofs.c - the file system device, with a server at the other end of its socket: a scripted one for
 * what the real one never does, and the real one (src/fs). */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/fs.h"
#include "rig.h"
#include "vmm/dev/dev.h"

#define Q 1u /* the request queue */

static struct rig rig;
static int server; /* the other end */
static int device_end;

static int setup(void **state)
{
	static const char tag[] = "cor";
	struct virtiofs_cfg cfg = { .tag = tag };
	struct vdev *d = NULL;
	int pair[2];

	(void)state;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	cfg.fd = device_end = pair[0];
	server = pair[1];
	if (virtiofs_new(&cfg, &d, NULL) < 0 || rig_init(&rig, d) < 0)
		return -1;
	rig_up(&rig, 32);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_fini(&rig);
	scope_close(&server);
	return 0;
}

/* Offers a request of `len` bytes in two segments, with `room` for the reply; returns the reply's place. */
static uint8_t *ask(unsigned n, uint32_t opcode, uint64_t unique, const void *arg, uint32_t arg_len,
		    uint32_t room)
{
	struct fuse_in_header h = { .len = (uint32_t)sizeof h + arg_len,
				    .opcode = opcode,
				    .unique = unique,
				    .nodeid = FUSE_ROOT_ID };
	uint64_t at = rig.data + n * 8192;
	struct vqdrv_seg seg[] = { { at, sizeof h }, { at + 64, arg_len }, { at + 4096, room } };
	unsigned n_out = arg_len ? 2 : 1;

	memcpy(vqdrv_at(&rig.q[Q], at), &h, sizeof h);
	if (arg_len)
		memcpy(vqdrv_at(&rig.q[Q], at + 64), arg, arg_len);
	if (!arg_len)
		seg[1] = seg[2];
	(void)vqdrv_add(&rig.q[Q], seg, n_out, room ? 1 : 0);
	return vqdrv_at(&rig.q[Q], at + 4096);
}

static bool used(uint32_t *len)
{
	uint32_t id;

	return vqdrv_used(&rig.q[Q], &id, len);
}

static struct fuse_in_header hear(void)
{
	uint8_t buf[8192];
	struct fuse_in_header h = { 0 };
	ssize_t n = recv(server, buf, sizeof buf, MSG_DONTWAIT);

	if (n >= (ssize_t)sizeof h)
		memcpy(&h, buf, sizeof h);
	return h;
}

static void say(uint64_t unique, int error, const void *data, uint32_t n)
{
	uint8_t buf[8192];
	struct fuse_out_header h = { .len = (uint32_t)sizeof h + n, .error = error, .unique = unique };

	memcpy(buf, &h, sizeof h);
	if (n)
		memcpy(buf + sizeof h, data, n);
	assert_int_equal(send(server, buf, h.len, MSG_DONTWAIT), h.len);
	rig_turn(&rig);
}

static void test_request_and_reply(void **state)
{
	static const char arg[] = "name";
	uint8_t *reply = ask(0, FUSE_LOOKUP, 77, arg, sizeof arg, 200);
	struct fuse_in_header h;
	uint32_t len;

	(void)state;
	rig_serve(&rig);
	h = hear();
	assert_int_equal(h.unique, 77);
	assert_int_equal(h.len, sizeof h + sizeof arg);
	assert_false(used(&len));
	say(77, 0, "0123456789", 10);
	assert_true(used(&len));
	assert_int_equal(len, 26);
	assert_memory_equal(reply + 16, "0123456789", 10);
	assert_int_equal(rig.irqs[Q], 1);
}

/* Answers come in order and end the right chains; a request without a reply is given back at once. */
static void test_pipeline(void **state)
{
	static const uint64_t nothing[1];
	uint32_t len;

	(void)state;
	(void)ask(0, FUSE_STATFS, 1, NULL, 0, 100);
	(void)ask(1, FUSE_FORGET, 2, nothing, 8, 0);
	(void)ask(2, FUSE_STATFS, 3, NULL, 0, 100);
	rig_serve(&rig);
	assert_int_equal(hear().unique, 1);
	assert_int_equal(hear().unique, 2);
	assert_int_equal(hear().unique, 3);
	assert_true(used(&len));
	assert_int_equal(len, 0);
	say(1, -EIO, NULL, 0);
	say(3, 0, NULL, 0);
	assert_true(used(&len) && used(&len));
	assert_false(used(&len));
}

#define SLOTS 16u /* of virtiofs.c */

/* More requests than slots: the rest is sent when the first are answered. */
static void test_many(void **state)
{
	uint32_t len;
	unsigned got = 0;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		(void)ask(i % 4, FUSE_STATFS, 100 + i % 4, NULL, 0, 100);
	rig_serve(&rig);
	for (unsigned i = 0; i < SLOTS; i++)
		assert_int_equal(hear().unique, 100 + i % 4);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(hear().unique, 0);
		say(100 + i % 4, 0, NULL, 0);
		rig_turn(&rig);
		while (used(&len))
			got++;
		if (i + SLOTS < 20)
			assert_int_equal(hear().unique, 100 + (i + SLOTS) % 4);
	}
	assert_int_equal(got, 20);
}

static void breaks(void)
{
	assert_false(vdev_is_active(rig.d));
	assert_int_equal(hear().unique, 0);
}

static void test_bad_requests(void **state)
{
	struct vqdrv_seg seg[] = { { rig.data, 20 }, { rig.data + 4096, 100 } };

	(void)state;
	(void)vqdrv_add(&rig.q[Q], seg, 1, 1); /* shorter than a header */
	rig_serve(&rig);
	breaks();
	rig_up(&rig, 32);
	(void)ask(0, FUSE_STATFS, 5, NULL, 0, 15); /* no room for a reply */
	rig_serve(&rig);
	breaks();
	rig_up(&rig, 32);
	(void)ask(0, FUSE_STATFS, 5, NULL, 0, 100);
	((struct fuse_in_header *)vqdrv_at(&rig.q[Q], rig.data))->len++; /* longer than it is */
	rig_serve(&rig);
	breaks();
}

/* A server that mixes up requests is not asked again. */
static void test_wrong_reply(void **state)
{
	(void)state;
	(void)ask(0, FUSE_STATFS, 5, NULL, 0, 100);
	rig_serve(&rig);
	(void)hear();
	say(6, 0, NULL, 0);
	assert_false(vdev_is_active(rig.d));
	rig_up(&rig, 32);
	(void)ask(0, FUSE_STATFS, 5, NULL, 0, 100);
	rig_serve(&rig);
	breaks();
}

/* A length in the header that is not the packet's. */
static void test_lying_reply(void **state)
{
	const struct fuse_out_header h = { .len = sizeof h + 8, .unique = 5 };

	(void)state;
	(void)ask(0, FUSE_STATFS, 5, NULL, 0, 100);
	rig_serve(&rig);
	(void)hear();
	assert_int_equal(send(server, &h, sizeof h, 0), sizeof h);
	rig_turn(&rig);
	assert_false(vdev_is_active(rig.d));
}

/* Less than a header, whatever it says of itself. */
static void test_short_reply(void **state)
{
	const uint32_t start[2] = { sizeof start };

	(void)state;
	(void)ask(0, FUSE_STATFS, 0, NULL, 0, 100);
	rig_serve(&rig);
	(void)hear();
	assert_int_equal(send(server, start, sizeof start, 0), sizeof start);
	rig_turn(&rig);
	assert_false(vdev_is_active(rig.d));
}

static void test_tags(void **state)
{
	static const char *const bad[] = { "", "1234567890123456789012345678901234567" };
	struct vdev *d = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct virtiofs_cfg cfg = { .tag = bad[i], .fd = -1 };

		assert_int_equal(virtiofs_new(&cfg, &d, NULL), -EINVAL);
	}
}

/* More than there is room for: an error, and not a longer reply. */
static void test_long_reply(void **state)
{
	uint32_t len;

	(void)state;
	(void)ask(0, FUSE_STATFS, 5, NULL, 0, 100);
	rig_serve(&rig);
	(void)hear();
	say(5, 0, rig.ram, 85);
	assert_true(vdev_is_active(rig.d));
	assert_true(used(&len));
	assert_int_equal(len, 16);
	assert_int_equal(((struct fuse_out_header *)vqdrv_at(&rig.q[Q], rig.data + 4096))->error, -EIO);
}

/* A reset with a session and a request in the server: it is told, and its late reply ends nobody's request.
 */
static void test_reset(void **state)
{
	uint64_t init[8] = { 0 };
	uint32_t len;

	(void)state;
	(void)ask(0, FUSE_INIT, 1, init, sizeof init, 100);
	rig_serve(&rig);
	assert_int_equal(hear().opcode, FUSE_INIT);
	rig_up(&rig, 32); /* resets first */
	(void)ask(0, FUSE_STATFS, 1, NULL, 0, 100);
	rig_serve(&rig);
	assert_int_equal(hear().opcode, FUSE_DESTROY);
	assert_int_equal(hear().opcode, FUSE_STATFS);
	say(1, 0, NULL, 0); /* to INIT */
	say(0, 0, NULL, 0); /* to DESTROY */
	assert_false(used(&len));
	say(1, 0, NULL, 0);
	assert_true(used(&len));
}

static void test_server_gone(void **state)
{
	(void)state;
	(void)ask(0, FUSE_STATFS, 1, NULL, 0, 100);
	rig_serve(&rig);
	(void)hear();
	(void)close(server);
	server = -1;
	rig_turn(&rig);
	assert_false(vdev_is_active(rig.d));
	rig_up(&rig, 32);
	(void)ask(0, FUSE_STATFS, 1, NULL, 0, 100);
	rig_serve(&rig);
	assert_false(vdev_is_active(rig.d));
}

/* Nobody reads: the socket fills, the chains wait, nothing is lost. */
static void test_full_socket(void **state)
{
	static const uint64_t nothing[1];
	unsigned heard = 0, given_back = 0;
	int small = 1;
	uint32_t len;

	(void)state;
	assert_int_equal(setsockopt(device_end, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
	for (unsigned i = 0; i < 16; i++)
		(void)ask(i % 8, FUSE_FORGET, 1 + i % 8, nothing, 8, 0);
	rig_serve(&rig);
	while (used(&len))
		given_back++;
	assert_in_range(given_back, 1, 15);
	for (uint64_t unique; (unique = hear().unique) != 0; rig_serve(&rig))
		assert_int_equal(unique, 1 + heard++ % 8);
	while (used(&len))
		given_back++;
	assert_int_equal(heard, 16);
	assert_int_equal(given_back, 16);
	assert_true(vdev_is_active(rig.d));
}

static void test_restored(void **state)
{
	uint64_t init[8] = { 0 };

	(void)state;
	(void)ask(0, FUSE_INIT, 1, init, sizeof init, 100);
	rig_serve(&rig);
	assert_int_not_equal(rig.d->ops->restored(rig.d, NULL), 0); /* a mounted one can't be cloned */
	rig_up(&rig, 32);
	assert_int_equal(rig.d->ops->restored(rig.d, NULL), 0);
}

/* The real server: two requests through everything. */
static void test_real_server(void **state)
{
	static _Alignas(8) uint8_t req[FS_REQ_MAX], out[FS_REPLY_MAX];
	const struct fuse_init_in init = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION };
	const struct {
		struct fuse_mkdir_in in;
		char name[8];
	} mkdir = { .in.mode = 0700, .name = "d" };
	struct fs_conf conf = { .max_fds = 64, .idle_fds = 32, .max_inodes = 100 };
	scoped_fd before = open(".", O_PATH | O_CLOEXEC);
	char dir[] = "/tmp/cor-fs-XXXXXX";
	struct fs *fs = NULL;
	uint32_t len;

	(void)state;
	assert_non_null(mkdtemp(dir));
	scoped_fd at = open(dir, O_PATH | O_CLOEXEC);
	conf.root = open(dir, O_PATH | O_CLOEXEC);
	conf.fds = open("/proc/self/fd", O_PATH | O_CLOEXEC);
	assert_int_equal(fs_open(&conf, &fs, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *reply = i == 0 ? ask(0, FUSE_INIT, 1, &init, sizeof init, 200)
					: ask(1, FUSE_MKDIR, 2, &mkdir, (uint32_t)sizeof mkdir.in + 2, 200);
		ssize_t n;

		rig_serve(&rig);
		n = recv(server, req, sizeof req, 0);
		n = (ssize_t)fs_handle(fs, req, (size_t)n, out, sizeof out);
		assert_int_equal(send(server, out, (size_t)n, 0), n);
		rig_turn(&rig);
		assert_true(used(&len));
		assert_int_equal(((struct fuse_out_header *)(void *)reply)->error, 0);
	}
	fs_close(fs);
	assert_int_equal(unlinkat(at, "d", AT_REMOVEDIR), 0);
	assert_int_equal(fchdir(before), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_request_and_reply, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pipeline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_reply, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lying_reply, setup, teardown),
		cmocka_unit_test_setup_teardown(test_short_reply, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_reply, setup, teardown),
		cmocka_unit_test(test_tags),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restored, setup, teardown),
		cmocka_unit_test_setup_teardown(test_real_server, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
