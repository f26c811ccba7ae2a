/* test_kvm.c - hyper/hyper.h: kvm_probe() against devices that are missing, forbidden, something else, and
 * against a fake KVM: the probe's ioctl() calls come here (-Wl,--wrap=ioctl), also in its child. */
#include "unit.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mark.h"
#include "hyper/hyper.h"
#include "tmpdir.h"

#define RUN_SIZE 8192
#define DATA_OFF 4096

/* One KVM_RUN of the fake. */
struct step {
	uint32_t reason;
	uint8_t value; /* of an OUT */
	int fails;     /* errno instead */
};

static const struct step honest[] = {
	{ KVM_EXIT_IO, 0x5a, 0 }, { KVM_EXIT_HLT, 0, 0 }, { KVM_EXIT_IO, 0x2b, 0 },
	{ KVM_EXIT_IO, 0x77, 0 }, { KVM_EXIT_HLT, 0, 0 },
};

static struct {
	bool on;
	unsigned long fail_request; /* this ioctl fails with EPERM */
	struct step steps[ARRAY_LEN(honest)];
	size_t hang_at; /* this KVM_RUN never returns */
	size_t n_run;
} fake;

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

static int fake_run(int fd)
{
	struct step s = fake.steps[fake.n_run];
	struct kvm_run run = { .exit_reason = s.reason };

	if (fake.n_run == fake.hang_at)
		for (;;)
			(void)pause();
	fake.n_run++;
	run.io.direction = KVM_EXIT_IO_OUT;
	run.io.size = 1;
	run.io.port = 0xe9;
	run.io.data_offset = DATA_OFF;
	if (pwrite(fd, &run, sizeof run, 0) != sizeof run || pwrite(fd, &s.value, 1, DATA_OFF) != 1)
		_exit(9);
	errno = s.fails;
	return s.fails ? -1 : 0;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (!fake.on)
		return __real_ioctl(fd, request, arg);
	if (request == fake.fail_request) {
		errno = EPERM;
		return -1;
	}
	switch (request) {
	case KVM_GET_API_VERSION:
		return KVM_API_VERSION;
	case KVM_GET_VCPU_MMAP_SIZE:
		return RUN_SIZE;
	case KVM_CREATE_VM:
		return memfd_create("vm", MFD_CLOEXEC);
	case KVM_CREATE_VCPU:
		fd = memfd_create("vcpu", MFD_CLOEXEC);
		return ftruncate(fd, RUN_SIZE) < 0 ? -1 : fd;
	case KVM_RUN:
		return fake_run(fd);
	default:
		return 0;
	}
}

static int set_up(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof fake);
	memcpy(fake.steps, honest, sizeof honest);
	fake.hang_at = SIZE_MAX;
	fake.on = true;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fake.on = false;
	return 0;
}

static void expect(int code, const char *text)
{
	struct err e = { 0 };

	assert_int_equal(kvm_probe("/dev/null", 10000, &e), code);
	if (code == 0)
		return;
	assert_int_equal(e.code, code);
	assert_non_null(strstr(e.msg, text));
	assert_memory_equal(e.msg, "/dev/null: ", 11);
}

static void test_works(void **state)
{
	expect(0, NULL);
}

/* Each step answered wrongly once. */
static void test_wrong_result(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(honest); i++) {
		assert_int_equal(set_up(state), 0);
		if (honest[i].reason == KVM_EXIT_IO) {
			fake.steps[i].value ^= 1;
			expect(-ENODEV, "wrong result");
		} else {
			fake.steps[i].reason = KVM_EXIT_SHUTDOWN;
			expect(-ENODEV, "triple fault");
		}
	}
}

static void test_wrong_exit(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(honest); i++) {
		assert_int_equal(set_up(state), 0);
		fake.steps[i].reason = KVM_EXIT_INTERNAL_ERROR;
		expect(-ENODEV, "exit reason 17: internal error of KVM");
		assert_int_equal(set_up(state), 0);
		fake.steps[i].reason = KVM_EXIT_FAIL_ENTRY;
		expect(-ENODEV, "refused to enter");
	}
}

static void test_run_fails(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(honest); i++) {
		assert_int_equal(set_up(state), 0);
		fake.steps[i].fails = EFAULT;
		expect(-ENODEV, "KVM_RUN: Bad address");
	}
}

static void test_request_fails(void **state)
{
	static const unsigned long requests[] = {
		KVM_GET_API_VERSION, KVM_CREATE_VM,          KVM_SET_USER_MEMORY_REGION,
		KVM_CREATE_VCPU,     KVM_GET_SREGS,          KVM_SET_SREGS,
		KVM_SET_REGS,        KVM_GET_VCPU_MMAP_SIZE,
	};

	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		assert_int_equal(set_up(state), 0);
		fake.fail_request = requests[i];
		expect(-ENODEV, "");
	}
	/* Only old CPUs need it: the others may not know it. */
	assert_int_equal(set_up(state), 0);
	fake.fail_request = KVM_SET_TSS_ADDR;
	expect(0, NULL);
}

static void test_hangs(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(honest); i += 2) {
		struct err e = { 0 };
		uint64_t begin = mark_now_ns();

		assert_int_equal(set_up(state), 0);
		fake.hang_at = i;
		assert_int_equal(kvm_probe("/dev/null", 30, &e), -ETIMEDOUT);
		assert_string_equal(e.msg,
				    "/dev/null: it opened, but guest code did not finish within 30 ms");
		assert_true(mark_now_ns() - begin >= 30 * 1000000ull);
		assert_true(mark_now_ns() - begin < 5000 * 1000000ull);
	}
}

static void test_no_device(void **state)
{
	struct err e = { 0 };

	assert_int_equal(kvm_probe("/dev/no-such-kvm", 1000, &e), -ENOENT);
	assert_string_equal(e.msg, "/dev/no-such-kvm: No such file or directory");
}

static void test_not_kvm(void **state)
{
	struct err e = { 0 };

	assert_int_equal(kvm_probe("/dev/null", 1000, &e), -ENODEV);
	assert_string_equal(e.msg, "/dev/null: it opened, but is no KVM device of version 12");
}

static void test_forbidden(void **state)
{
	struct tmpdir *t = *state;
	char path[sizeof t->path + 8];
	struct err e = { 0 };
	int r;

	assert_int_equal(tmpdir_write(t, "kvm", ""), 0);
	(void)snprintf(path, sizeof path, "%s/kvm", t->path);
	assert_int_equal(chmod(path, 0), 0);
	if (geteuid() == 0) /* root may open it */
		assert_int_equal(seteuid(65534), 0);
	r = kvm_probe(path, 1000, &e);
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(r, -EACCES);
}

/* A verdict is kept for this device, and only a certain one; a damaged file is no verdict. */
static void test_known(void **state)
{
	struct tmpdir *t = *state;
	void *none = NULL;
	struct err e = { 0 };

	assert_int_equal(set_up(&none), 0);
	fake.hang_at = 0;
	assert_int_equal(kvm_probe_known("/dev/null", 30, t->fd, &e), -ETIMEDOUT);
	assert_int_equal(tmpdir_count(t), 0);
	assert_int_equal(set_up(&none), 0);
	assert_int_equal(kvm_probe_known("/dev/null", 10000, t->fd, &e), 0);
	fake.fail_request = KVM_CREATE_VM;
	assert_int_equal(kvm_probe_known("/dev/null", 10000, t->fd, &e), 0);
	assert_int_equal(kvm_probe_known("/dev/zero", 10000, t->fd, &e), -ENODEV);
	assert_int_equal(set_up(&none), 0);
	memset(&e, 0, sizeof e);
	assert_int_equal(kvm_probe_known("/dev/zero", 10000, t->fd, &e), -ENODEV);
	assert_non_null(strstr(e.msg, "/dev/zero: it opened, but makes no virtual machine"));
	assert_null(strchr(e.msg, '\n'));
	assert_int_equal(tmpdir_write(t, "kvm", "works\n"), 0);
	assert_int_equal(kvm_probe_known("/dev/zero", 10000, t->fd, &e), 0);
	assert_int_equal(tmpdir_count(t), 1);
	assert_int_equal(kvm_probe_known("/dev/no-such-kvm", 1000, t->fd, &e), -ENOENT);
	(void)tear_down(&none);
}

/* Whatever this machine has: an answer in time, and no child left. */
static void test_real(void **state)
{
	uint64_t begin = mark_now_ns();
	struct err e = { 0 };
	int r = kvm_probe("/dev/kvm", 2000, &e);

	print_message("# /dev/kvm: %d %s\n", r, e.msg);
	assert_true(r == 0 || r == -ENOENT || r == -EACCES || r == -ENODEV);
	assert_true(mark_now_ns() - begin < 5000 * 1000000ull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_works, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wrong_result, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wrong_exit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_run_fails, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_request_fails, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_hangs, set_up, tear_down),
		cmocka_unit_test(test_no_device),
		cmocka_unit_test(test_not_kvm),
		cmocka_unit_test_setup_teardown(test_forbidden, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_known, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test(test_real),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
