/* test_pmem.c - files as guest memory. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_pmem.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rig.h"
#include "vmm/dev/dev.h"

#define START (1ull << 40)

static struct rig rig;

/* A file of `len` bytes that begins with "file". */
static int file(uint64_t len)
{
	int fd = memfd_create("pmem", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, (off_t)len) == 0);
	if (len >= 4)
		assert_int_equal(pwrite(fd, "file", 4, 0), 4);
	return fd;
}

static struct vdev *make(int fd, uint64_t size, enum pmem_mode mode)
{
	struct pmem_cfg cfg = { .fd = fd, .start = START, .size = size, .mode = mode };
	struct vdev *d = NULL;

	assert_int_equal(pmem_new(&cfg, &d, NULL), 0);
	assert_int_equal(rig_init(&rig, d), 0);
	return d;
}

static uint8_t *host(struct vdev *d)
{
	struct pmem_memory m;

	pmem_memory(d, &m);
	return m.host;
}

/* Without a signal: the kernel tries to write there. */
static bool can_write(uint8_t *p)
{
	int fds[2];
	bool ok;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], "w", 1), 1);
	ok = read(fds[0], p, 1) == 1;
	(void)close(fds[0]);
	(void)close(fds[1]);
	return ok;
}

static void test_read_only(void **state)
{
	struct vdev *d = make(file(5000), 0, PMEM_READ_ONLY_N);
	struct virtio_pmem_config c;
	struct pmem_memory m;

	(void)state;
	pmem_memory(d, &m);
	assert_true(m.start.v == START && m.len == PMEM_ALIGN && !m.writable);
	assert_int_equal((uintptr_t)m.host % PMEM_ALIGN, 0);
	assert_memory_equal(m.host, "file", 4);
	assert_int_equal(((uint8_t *)m.host)[PMEM_ALIGN - 1], 0); /* there, beyond the file */
	assert_false(can_write(m.host));
	assert_false(can_write((uint8_t *)m.host + PMEM_ALIGN - 1));
	vdev_config_read(d, 0, &c, sizeof c);
	assert_true(c.start == START && c.size == PMEM_ALIGN);
	rig_fini(&rig);
}

static void test_private(void **state)
{
	int fd = file(5000), mine = dup(fd);
	struct vdev *d = make(fd, 0, PMEM_PRIVATE_N);
	char got[4];

	(void)state;
	memcpy(host(d), "mine", 4);
	host(d)[PMEM_ALIGN - 1] = 1;
	assert_int_equal(pread(mine, got, 4, 0), 4);
	assert_memory_equal(got, "file", 4);
	(void)close(mine);
	rig_fini(&rig);
}

static void test_shared(void **state)
{
	int fd = file(PMEM_ALIGN), mine = dup(fd);
	struct vdev *d = make(fd, 0, PMEM_SHARED_N);
	char got[4];

	(void)state;
	memcpy(host(d), "mine", 4);
	assert_int_equal(pread(mine, got, 4, 0), 4);
	assert_memory_equal(got, "mine", 4);
	(void)close(mine);
	rig_fini(&rig);
}

static uint32_t ask(uint32_t type, uint32_t req_len, uint32_t resp_len)
{
	struct vqdrv_seg seg[] = { { rig.data, req_len }, { rig.data + 64, resp_len } };
	uint32_t id, len, ret = 77;

	memcpy(vqdrv_at(&rig.q[0], rig.data), &type, sizeof type);
	memcpy(vqdrv_at(&rig.q[0], rig.data + 64), &ret, sizeof ret);
	vqdrv_add(&rig.q[0], seg, req_len != 0, resp_len != 0);
	rig_serve(&rig);
	if (!vqdrv_used(&rig.q[0], &id, &len))
		return 99;
	assert_int_equal(len, 4);
	memcpy(&ret, vqdrv_at(&rig.q[0], rig.data + 64), sizeof ret);
	return ret;
}

static void test_flush(void **state)
{
	int fds[2], fd = file(PMEM_ALIGN);

	(void)state;
	(void)make(fd, 0, PMEM_SHARED_N);
	rig_up(&rig, 16);
	assert_int_equal(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH, 4, 4), 0);
	assert_int_equal(ask(1, 4, 4), 1); /* no such request */
	/* A file that can't be flushed: the guest is told. */
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(dup3(fds[0], fd, O_CLOEXEC), fd);
	assert_int_equal(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH, 4, 4), 1);
	(void)close(fds[0]);
	(void)close(fds[1]);
	assert_int_equal(ask(0, 3, 4), 99);
	assert_false(vdev_is_active(rig.d));
	rig_up(&rig, 16);
	assert_int_equal(ask(0, 4, 3), 99);
	assert_false(vdev_is_active(rig.d));
	rig_fini(&rig);
}

static void test_refused(void **state)
{
	struct pmem_cfg ok = { .fd = file(5000), .start = START, .mode = PMEM_READ_ONLY_N }, cfg;
	int empty = file(0), big = file(PMEM_ALIGN + 1), huge = memfd_create("huge", MFD_CLOEXEC), fds[2];
	struct vdev *d = NULL;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
#define BAD(want, change)                                                                                    \
	do {                                                                                                 \
		cfg = ok;                                                                                    \
		change;                                                                                      \
		assert_int_equal(pmem_new(&cfg, &d, NULL), want);                                            \
	} while (0)
	BAD(-EINVAL, cfg.start += 4096);
	BAD(-EINVAL, cfg.size = 4096);
	BAD(-EINVAL, cfg.size = (1ull << 40) + PMEM_ALIGN);
	BAD(-EINVAL, cfg.fd = -1);
	BAD(-EINVAL, cfg.fd = empty);
	BAD(-EINVAL, cfg.fd = fds[0]);
	BAD(-EFBIG, (cfg.fd = big, cfg.size = PMEM_ALIGN));
	assert_int_equal(ftruncate(huge, (1ll << 40) + PMEM_ALIGN), 0);
	BAD(-EFBIG, cfg.fd = huge);
	BAD(-EINVAL, cfg.mode = PMEM_SHARED_N);              /* its last pages would be lost */
	assert_int_equal(fcntl(ok.fd, F_GETFD), FD_CLOEXEC); /* not taken */
	(void)close(ok.fd);
	(void)close(empty);
	(void)close(big);
	(void)close(huge);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

/* A template has no file; a clone's comes later and may be smaller. */
static void test_placeholder(void **state)
{
	struct vdev *d = make(-1, 2 * PMEM_ALIGN, PMEM_READ_ONLY_N);
	int big = file(3 * PMEM_ALIGN), fd = file(PMEM_ALIGN + 4096);
	uint8_t *p = host(d);

	(void)state;
	assert_int_equal(p[0], 0);
	rig_up(&rig, 16);
	assert_int_equal(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH, 4, 4), 0);
	assert_int_equal(pmem_back(d, big, NULL), -EFBIG);
	assert_int_equal(pmem_back(d, fd, NULL), 0);
	assert_memory_equal(p, "file", 4); /* the same addresses */
	assert_int_equal(p[2 * PMEM_ALIGN - 1], 0);
	assert_false(can_write(p));
	assert_int_equal(pmem_back(d, big, NULL), -EBUSY);
	(void)close(big);
	rig_fini(&rig);
}

static void test_snapshot(void **state)
{
	struct vdev_snapshot s, bad;

	(void)state;
	(void)make(-1, 2 * PMEM_ALIGN, PMEM_READ_ONLY_N);
	rig_up(&rig, 16);
	vdev_save(rig.d, &s);
	bad = s;
	bad.state[8]++; /* size */
	assert_int_equal(vdev_restore(rig.d, &bad, NULL), -EBADMSG);
	assert_int_equal(vdev_restore(rig.d, &s, NULL), 0);
	assert_int_equal(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH, 4, 4), 0);
	rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_only), cmocka_unit_test(test_private),
		cmocka_unit_test(test_shared),    cmocka_unit_test(test_flush),
		cmocka_unit_test(test_refused),   cmocka_unit_test(test_placeholder),
		cmocka_unit_test(test_snapshot),
	};
	return cmocka_run_group_tests_name("vmm/pmem", tests, NULL, NULL);
}
