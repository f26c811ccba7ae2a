/* test_disk.c - image/disk.h and hyper/disk.h: empty disks, made once, and the copies of them that VMs get.
 */
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "hyper/disk.h"
#include "image/disk.h"
#include "tmpdir.h"

#define SIZE (64ull << 20)

static unsigned entries(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	assert_non_null(d);
	for (struct dirent *ent; (ent = readdir(d)) != NULL;)
		n += ent->d_name[0] != '.';
	closedir(d);
	return n;
}

static void test_blank(void **state)
{
	struct tmpdir *t = *state;
	scoped_free char *dir = str_fmt("%s/a/disks", t->path), *path = NULL, *again = NULL, *other = NULL;
	struct stat before, after;
	struct err e = { 0 };

	assert_int_equal(disk_blank(dir, SIZE, &path, &e), 0);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(before.st_size, SIZE);
	assert_true(before.st_blocks * 512 < 1 << 20);
	assert_int_equal(before.st_mode & 07777, 0400);
	assert_int_equal(disk_blank(dir, SIZE, &again, &e), 0);
	assert_int_equal(stat(again, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino); /* made once */
	assert_int_equal(disk_blank(dir, 2 * SIZE, &other, &e), 0);
	assert_string_not_equal(path, other);
	assert_int_equal(entries(dir), 2);
}

static void test_refused(void **state)
{
	static const struct {
		uint64_t size;
		int want;
		const char *says;
	} rows[] = { { 1u << 20, -EINVAL, "16M at least" },
		     { (20u << 20) + 4096, -EINVAL, "whole MiB" },
		     { 1ull << 60, -EFBIG, "image.disk" } };
	struct tmpdir *t = *state;
	char *path = NULL;
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(disk_blank(t->path, rows[i].size, &path, &e), rows[i].want);
		assert_non_null(strstr(e.msg, rows[i].says));
		assert_null(path);
	}
	assert_int_equal(chmod(t->path, 0777), 0);
	assert_int_equal(disk_blank(t->path, SIZE, &path, &e), -EPERM);
	assert_non_null(strstr(e.msg, "image.disk_dir"));
	assert_int_equal(disk_blank("/proc/none", SIZE, &path, &e), -ENOENT);
	assert_int_equal(entries(t->path), 0);
}

/* Sparse, without a name, the very content, and not the empty one itself. */
static void test_copy(void **state)
{
	struct tmpdir *t = *state;
	scoped_free char *path = NULL;
	scoped_fd fd = -1, blank = -1;
	struct vmcfg vm = { 0 };
	scoped_arena a = { 0 };
	uint8_t x[4096], y[4096];
	struct err e = { 0 };
	struct stat st;

	assert_int_equal(hv_disk_open(&vm, &fd, &e), 0);
	assert_int_equal(fd, -1);
	assert_int_equal(hv_disk_fds(&vm), 0);
	assert_int_equal(disk_blank(t->path, SIZE, &path, &e), 0);
	assert_int_equal(hv_disk_describe(path, SIZE, &a, &vm, &e), 0);
	assert_int_equal(hv_disk_fds(&vm), 1);
	assert_int_equal(strlen(vm.disk.uuid), 32);
	assert_int_equal(hv_disk_open(&vm, &fd, &e), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(st.st_nlink, 0);
	assert_true(st.st_blocks * 512 < 1 << 20);
	blank = open(path, O_RDONLY | O_CLOEXEC);
	for (off_t at = 0; at < (off_t)SIZE; at += (off_t)sizeof x) {
		assert_int_equal(pread(fd, x, sizeof x, at), sizeof x);
		assert_int_equal(pread(blank, y, sizeof y, at), sizeof y);
		assert_memory_equal(x, y, sizeof x);
	}
	assert_int_equal(pwrite(fd, "x", 1, 1024), 1);
	assert_int_equal(pread(blank, x, 1, 1024), 1);
	assert_int_equal(x[0], y[1024 % sizeof y]);
	assert_int_equal(entries(t->path), 1);
}

/* A template's maker sees nothing of it. */
static void test_maker(void **state)
{
	struct tmpdir *t = *state;
	scoped_free char *path = NULL;
	struct vmcfg vm = { .template_make = true };
	scoped_arena a = { 0 };
	uint8_t super[1024], zeros[1024] = { 0 };
	struct err e = { 0 };
	scoped_fd fd = -1;

	assert_int_equal(disk_blank(t->path, SIZE, &path, &e), 0);
	assert_int_equal(hv_disk_describe(path, SIZE, &a, &vm, &e), 0);
	assert_int_equal(hv_disk_open(&vm, &fd, &e), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), SIZE);
	assert_int_equal(pread(fd, super, sizeof super, 1024), sizeof super);
	assert_memory_equal(super, zeros, sizeof super);
}

/* Another file in its place, or one that others can write to. */
static void test_exchanged(void **state)
{
	struct tmpdir *t = *state;
	scoped_free char *path = NULL;
	struct vmcfg vm = { 0 }, none = { 0 };
	scoped_arena a = { 0 };
	struct err e = { 0 };
	int fd = -1;

	assert_int_equal(disk_blank(t->path, SIZE, &path, &e), 0);
	assert_int_equal(hv_disk_describe(path, SIZE, &a, &vm, &e), 0);
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(hv_disk_describe(path, SIZE, &a, &none, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "remove it"));
	assert_int_equal(hv_disk_open(&vm, &fd, &e), -EINVAL);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(hv_disk_open(&vm, &fd, &e), -ENOENT);
	free(take_ptr(&path));
	assert_int_equal(disk_blank(t->path, SIZE, &path, &e), 0);
	assert_int_equal(hv_disk_open(&vm, &fd, &e), -ESTALE);
	assert_int_equal(hv_disk_describe(path, 2 * SIZE, &a, &none, &e), -EINVAL);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(truncate(path, 512), 0);
	assert_int_equal(hv_disk_describe(path, 512, &a, &none, &e), -EINVAL);
	assert_int_equal(fd, -1);
	assert_null(none.disk.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_blank, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_refused, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_copy, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_maker, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_exchanged, tmpdir_set_up, tmpdir_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
