/* test_hot.c - hyper/hot.h with this process in the place of cor-vmm: of which pages of the file it has
 * copies. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/str.h"
#include "hyper/hot.h"
#include "hyper/kvm.h"
#include "tmpdir.h"
#include "wire/hotpages.h"

#define PAGES 2000u
#define SIZE  ((size_t)PAGES * HOTPAGES_PAGE)

/* A memory file in which pages [100, 1500) hold something. */
static int make_memory(const char *dir)
{
	static const char page[HOTPAGES_PAGE] = { 1 };
	scoped_free char *path = str_fmt("%s/" KVM_MEMORY_FILE, dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)SIZE), 0);
	for (size_t i = 100; i < 1500; i++)
		assert_int_equal(pwrite(fd, page, sizeof page, (off_t)(i * sizeof page)), sizeof page);
	return fd;
}

static size_t read_list(const char *dir, struct hotpages *h)
{
	scoped_free char *path = str_fmt("%s/" HOT_FILE, dir);
	scoped_fd fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = io_read_full(fd, h, sizeof *h);

	assert_true(n > 0);
	return (size_t)n;
}

/* What was written, and not what was read or is a hole of the file. */
static void test_learn(void **state)
{
	static const struct hotpages_range want[] = { { 100, 2 }, { 700, 1 }, { 1499, 1 } };
	static const size_t written[] = { 0, 99, 100, 101, 700, 1499, 1500, PAGES - 1 };
	struct tmpdir *t = *state;
	scoped_fd fd = make_memory(t->path);
	struct hotpages h;
	struct err e = { 0 };
	struct stat st;
	size_t size;
	char *p;

	assert_int_equal(hot_learn(getpid(), t->path, &e), -ENOENT); /* nobody has mapped it */
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	assert_int_equal(hot_learn(getpid(), t->path, &e), -ENOENT); /* not as a clone does */
	assert_int_equal(munmap(p, SIZE), 0);
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	assert_true(p != MAP_FAILED);
	assert_int_equal(p[300 * HOTPAGES_PAGE], 1);
	for (size_t i = 0; i < ARRAY_LEN(written); i++)
		p[written[i] * HOTPAGES_PAGE] = 2;
	assert_int_equal(hot_learn(getpid(), t->path, &e), 0);
	size = read_list(t->path, &h);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(hotpages_valid(&h, size, &st));
	assert_int_equal(h.n, ARRAY_LEN(want));
	assert_memory_equal(h.ranges, want, sizeof want);
	assert_int_equal(munmap(p, SIZE), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_learn, tmpdir_set_up, tmpdir_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
