/* test_layers.c - hyper/layers.h: which files may be layers, and that the one that is opened is the one that
 * was described. */
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hyper/layers.h"
#include "tmpdir.h"

#define MIB (1u << 20)

/* A file that begins as an EROFS file system does; `mark` is in its UUID. */
static void put(struct tmpdir *t, const char *name, off_t size, char mark, bool good)
{
	uint8_t super[64] = { 0xe2, 0xe1, 0xf5, good ? 0xe0 : 0xe1 };
	scoped_fd fd = openat(t->fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	super[48] = (uint8_t)mark;
	super[63] = 0xab;
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, super, sizeof super, 1024), sizeof super);
	assert_int_equal(ftruncate(fd, size), 0);
}

static int describe(struct tmpdir *t, const char *name, struct arena *a, struct vmcfg *vm, struct err *e)
{
	char path[256], *all[] = { path, path };
	struct pack_strs paths = { all, 2 };

	(void)snprintf(path, sizeof path, "%s/%s", t->path, name);
	return hv_layers_describe(NULL, &paths, a, vm, e);
}

/* A good one, described. */
static void start_with(struct tmpdir *t, const char *name, struct arena *a, struct vmcfg *vm)
{
	struct err e = { 0 };

	put(t, name, 4 * MIB, 1, true);
	assert_int_equal(describe(t, name, a, vm, &e), 0);
}

static void test_described(void **state)
{
	struct tmpdir *t = *state;
	scoped_arena a = { 0 };
	struct vmcfg vm = { 0 };
	struct err e = { 0 };
	char initrd[] = "/initrd";
	int fds[LAYERS_MAX];
	struct stat st;

	start_with(t, "good", &a, &vm);
	assert_int_equal(vm.layers.n, 2);
	assert_int_equal(vm.layers.p[1].size, 4 * MIB);
	assert_string_equal(vm.layers.p[0].uuid, "010000000000000000000000000000ab");
	assert_int_equal(hv_layers_open(&vm, fds, &e), 0);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(fcntl(fds[i], F_GETFL) & O_ACCMODE, O_RDONLY);
		(void)close(fds[i]);
	}
	/* A template's maker sees nothing of it, but all of a mini-OS. */
	vm.template_make = true;
	assert_int_equal(hv_layers_open(&vm, fds, &e), 0);
	for (size_t i = 0; i < 2; i++) {
		uint8_t magic = 0;

		assert_int_equal(pread(fds[i], &magic, 1, 1024), 1);
		assert_int_equal(magic, i == 0 ? 0xe2 : 0);
		(void)close(fds[i]);
	}
	vm.initrd = initrd;
	assert_int_equal(hv_layers_open(&vm, fds, &e), 0);
	for (size_t i = 0; i < 2; i++) {
		uint8_t first[4096], zero[4096] = { 0 };

		assert_int_equal(fstat(fds[i], &st), 0);
		assert_int_equal(st.st_size, 4 * MIB);
		assert_int_equal(pread(fds[i], first, sizeof first, 0), sizeof first);
		assert_memory_equal(first, zero, sizeof zero);
		(void)close(fds[i]);
	}
}

static void refused(struct tmpdir *t, const char *name, int code, const char *words)
{
	scoped_arena a = { 0 };
	struct vmcfg vm = { 0 };
	struct err e = { 0 };

	assert_int_equal(describe(t, name, &a, &vm, &e), code);
	if (!strstr(e.msg, words) || !strstr(e.msg, name))
		fail_msg("%s", e.msg);
}

static void test_refused(void **state)
{
	struct tmpdir *t = *state;
	char *none[LAYERS_MAX + 1];
	struct pack_strs many = { none, LAYERS_MAX + 1 };
	scoped_arena a = { 0 };
	struct vmcfg vm = { 0 };
	struct err e = { 0 };

	put(t, "odd", 4 * MIB + 4096, 1, true);
	put(t, "garbage", 4 * MIB, 1, false);
	put(t, "empty", 0, 1, true);
	assert_int_equal(symlinkat("garbage", t->fd, "link"), 0);
	assert_int_equal(mkfifoat(t->fd, "fifo", 0600), 0);
	refused(t, "odd", -EINVAL, "not a multiple of 2 MiB");
	refused(t, "empty", -EINVAL, "not a multiple of 2 MiB");
	refused(t, "garbage", -EINVAL, "no EROFS");
	refused(t, "link", -ELOOP, "image");
	refused(t, "fifo", -EINVAL, "not a regular file");
	refused(t, "missing", -ENOENT, "image");
	assert_int_equal(hv_layers_describe(NULL, &many, &a, &vm, &e), -E2BIG);
}

static void test_exchanged(void **state)
{
	struct tmpdir *t = *state;
	scoped_arena a = { 0 };
	struct vmcfg vm = { 0 };
	struct err e = { 0 };

	start_with(t, "layer", &a, &vm);
	for (int i = 0; i < 3; i++) {
		int fds[LAYERS_MAX] = { -1, -1 }, want = i == 2 ? -EINVAL : -ESTALE;

		put(t, "layer", i == 0 ? 2 * MIB : 4 * MIB, i == 1 ? 2 : 1, i != 2);
		assert_int_equal(hv_layers_open(&vm, fds, &e), want);
		assert_non_null(strstr(e.msg, "layer"));
		(void)close(fds[0]);
	}
}

/* One that should have an fs-verity digest, and has none: what replaces a file that had. */
static void test_unsealed(void **state)
{
	static char digest[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
	int fds[LAYERS_MAX] = { -1, -1 };
	struct tmpdir *t = *state;
	scoped_arena a = { 0 };
	struct vmcfg vm = { 0 };
	struct err e = { 0 };

	start_with(t, "layer", &a, &vm);
	vm.layers.p[1].verity = digest;
	assert_int_equal(hv_layers_open(&vm, fds, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "exchanged"));
	(void)close(fds[0]);
	(void)close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_described, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_refused, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_exchanged, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_unsealed, tmpdir_set_up, tmpdir_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
