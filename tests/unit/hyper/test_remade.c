/* test_remade.c - hyper/hyper.h: another template gets a template's name while a clone is made of it, before
 * each call that opens a file. Memory, state and hint are then of one of both, never of the two.
 *
 * Instead of QEMU this very program is started, under the name of FAKE: it says what it was handed. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "hyper/hot.h"
#include "hyper/kvm.h"
#include "hyper/qemu.h"
#include "inject.h"
#include "tmpdir.h"

#define FAKE      "fake qemu"
#define WAIT_MS   30000
#define CALLS_MAX 200u

static struct {
	struct tmpdir *dir;
	char template[128], other[128], gone[128], exe[128];
	struct vmcfg cfg;
	pid_t pid;
} t;

static void fill(const char *dir, const char *text)
{
	static const char *const names[] = { KVM_MEMORY_FILE, KVM_STATE_FILE, HOT_FILE };

	assert_int_equal(mkdir(dir, 0700), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char path[256];
		int fd;

		(void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, text, 1), 1);
		assert_int_equal(close(fd), 0);
	}
}

static int set_up(void **state)
{
	static char word[] = "/x", share[] = "/share", cmdline[] = "quiet";
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	void *dir;

	(void)state;
	if (n < 0 || tmpdir_set_up(&dir) < 0)
		return -1;
	self[n] = '\0';
	t.dir = dir;
	t.pid = getpid();
	(void)snprintf(t.template, sizeof t.template, "%s/t", t.dir->path);
	(void)snprintf(t.other, sizeof t.other, "%s/other", t.dir->path);
	(void)snprintf(t.gone, sizeof t.gone, "%s/gone", t.dir->path);
	(void)snprintf(t.exe, sizeof t.exe, "%s/" FAKE, t.dir->path);
	t.cfg = (struct vmcfg){ .hypervisor_path = t.exe,
				.kernel = word,
				.initrd = word,
				.cmdline = cmdline,
				.share = share,
				.template_dir = t.template,
				.memory = 64u << 20,
				.vcpus = 1 };
	return symlink(self, t.exe);
}

static int tear_down(void **state)
{
	void *dir = t.dir;

	(void)state;
	return tmpdir_tear_down(&dir);
}

/* As template.c does it: away under another name, and the new one to this. */
static void remake(void *arg)
{
	(void)arg;
	if (getpid() != t.pid) /* the child that becomes the hypervisor counts on */
		return;
	assert_int_equal(rename(t.template, t.gone), 0);
	assert_int_equal(rename(t.other, t.template), 0);
}

/* Tells the template whose files all these are. */
static char one_of(const char *seen, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((seen[i] != 'a' && seen[i] != 'b') || seen[i] != seen[0])
			fail_msg("files of '%.*s'", (int)n, seen);
	return seen[0];
}

static char take(int fd)
{
	char c = '?';

	assert_int_equal(pread(fd, &c, 1, 0), 1);
	return c;
}

/* Runs it with the template exchanged before each of its calls in turn; both must be met. */
static void every_moment(char (*clone)(void))
{
	bool old = false, new = false;

	for (unsigned n = 1; n < CALLS_MAX; n++) {
		const char *call;
		char seen;

		assert_int_equal(io_remove_tree_at(t.dir->fd, "t"), 0);
		assert_int_equal(io_remove_tree_at(t.dir->fd, "gone"), 0);
		assert_int_equal(io_remove_tree_at(t.dir->fd, "other"), 0);
		fill(t.template, "a");
		fill(t.other, "b");
		inject_before(INJECT_FILES, n, remake, NULL);
		seen = clone();
		call = inject_off();
		old = old || seen == 'a';
		new = new || seen == 'b';
		if (!call) {
			assert_true(old && new);
			return;
		}
	}
	fail_msg("no end after %u calls", CALLS_MAX);
}

static char clone_kvm(void)
{
	int fds[KVM_FD_N - KVM_FD_FILES];
	struct err e = { 0 };
	char seen[3];
	size_t n = 0;
	int r;

	memset(fds, 0xff, sizeof fds);
	t.cfg.hypervisor = PLAN_HV_KVM;
	r = kvm_open_files(&t.cfg, fds, &n, &e);
	if (r < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(n, ARRAY_LEN(seen));
	for (size_t i = 0; i < n; i++) {
		seen[i] = take(fds[i]);
		scope_close(&fds[i]);
	}
	return one_of(seen, ARRAY_LEN(seen));
}

static void test_kvm(void **state)
{
	(void)state;
	every_moment(clone_kvm);
}

static char clone_qemu(void)
{
	struct err e = { 0 };
	struct hv *hv = NULL;
	char seen[2];
	int r;

	t.cfg.hypervisor = PLAN_HV_QEMU;
	r = hv_new(&t.cfg, &hv, &e);
	if (r == 0)
		r = hv_start(hv, &t.cfg, &e);
	if (r < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(io_wait_readable(hv->pidfd, WAIT_MS), 0);
	assert_int_equal(read(hv->console_fd, seen, sizeof seen), sizeof seen);
	hv_free(hv);
	return one_of(seen, ARRAY_LEN(seen));
}

static void test_qemu(void **state)
{
	(void)state;
	every_moment(clone_qemu);
}

/* The fake: the memory is a descriptor of its own, the state comes with a command. */
static int fake_qemu(void)
{
	char seen[2] = { '?', '?' }, line[4096];
	size_t n_fds = 0;
	int state = -1;

	while (n_fds == 0)
		if (io_recv_fds(QEMU_FD_QMP, line, sizeof line, &state, 1, &n_fds) <= 0)
			return 1;
	if (pread(QEMU_FD_MEMORY, &seen[0], 1, 0) != 1 || pread(state, &seen[1], 1, 0) != 1)
		return 1;
	return io_write_full(QEMU_FD_CONSOLE, seen, sizeof seen) < 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kvm, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_qemu, set_up, tear_down),
	};

	if (argc > 1 && strstr(argv[0], FAKE))
		return fake_qemu();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
