/* test_vmm.c - the driver for cor-vmm (hyper/kvm.h): its arguments against lists, and its jailed starts, for
 * which shell scripts stand in, and its control socket. The whole runs in lane kvm. */
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "hyper/cmdline.h"
#include "hyper/jailed.h"
#include "hyper/kvm.h"
#include "tmpdir.h"
#include "wire/vmmctl.h"

static struct vmcfg config(void)
{
	static char vmm[] = "/l/cor-vmm", jail[] = "/l/cor-jail", fsd[] = "/l/cor-fsd",
		    kernel[] = "/os/vmlinux", initrd[] = "/os/initrd", cmdline[] = "quiet panic=-1";

	return (struct vmcfg){ .hypervisor = PLAN_HV_KVM,
			       .hypervisor_path = vmm,
			       .jail_path = jail,
			       .fsd_path = fsd,
			       .kernel = kernel,
			       .initrd = initrd,
			       .cmdline = cmdline,
			       .kvm = true,
			       .memory = 512u << 20,
			       .vcpus = 2 };
}

static void check_args(const struct vmcfg *cfg, const char *const *more, size_t n_more)
{
	static const char *const same[] = { "/l/cor-vmm", "run",  "--kvm",      "fd:6",
					    "--cpus",     "2",    "--memory",   "512M",
					    "--console",  "fd:4", "--port",     "cor.agent=fd:3",
					    "--control",  "fd:5", "--virtiofs", "cor=fd:7",
					    "--balloon" };
	scoped_strv args = { 0 };
	struct err e = { 0 };

	assert_int_equal(kvm_args(cfg, &args, &e), 0);
	assert_int_equal(args.n, ARRAY_LEN(same) + n_more);
	for (size_t i = 0; i < args.n; i++)
		assert_string_equal(args.p[i], i < ARRAY_LEN(same) ? same[i] : more[i - ARRAY_LEN(same)]);
}

static void test_boot(void **state)
{
	static const char *const more[] = { "--kernel",  "fd:8",           "--initrd", "fd:9",
					    "--cmdline", "quiet panic=-1", "--rng" };
	static char extra[] = "--rng";
	char *params[] = { extra };
	struct vmcfg c = config();

	check_args(&c, more, ARRAY_LEN(more) - 1);
	c.hypervisor_params = (struct pack_strs){ params, 1 };
	check_args(&c, more, ARRAY_LEN(more));
}

/* A maker's memory is the template's file; a clone has no kernel, and leaves the file as it is. */
static void test_template(void **state)
{
	static const char *const maker[] = { "--kernel",      "fd:8",  "--initrd",  "fd:9",
					     "--memory-file", "fd:10", "--cmdline", "quiet panic=-1" };
	static const char *const clone[] = { "--restore", "fd:8",  "--memory-file", "fd:9",
					     "--hot",     "fd:10", "--clone" };
	static const char *const merged[] = { "--restore", "fd:8",  "--memory-file", "fd:9",
					      "--hot",     "fd:10", "--merge",       "--clone" };
	static char dir[] = "/templates/a";
	struct vmcfg c = config();

	c.template_dir = dir;
	check_args(&c, clone, ARRAY_LEN(clone));
	c.merge = true;
	check_args(&c, merged, ARRAY_LEN(merged));
	c.merge = false;
	c.template_make = true;
	check_args(&c, maker, ARRAY_LEN(maker));
}

/* Their descriptors follow the files'. Templates are for sizes, in their order, not for files. */
static void test_layers(void **state)
{
	static const char *const more[] = { "--kernel", "fd:8",   "--initrd", "fd:9",      "--pmem",
					    "fd:10,ro", "--pmem", "fd:11,ro", "--cmdline", "quiet panic=-1" };
	static char exe[] = "/bin/true", a[] = "/a", b[] = "/b";
	struct vm_layer one[] = { { .path = a, .size = 4u << 20 }, { .path = b, .size = 2u << 20 } };
	struct vm_layer same[] = { { .path = b, .size = 4u << 20 }, { .path = a, .size = 2u << 20 } };
	struct vm_layer other[] = { { .path = a, .size = 2u << 20 }, { .path = b, .size = 4u << 20 } };
	static const char *const disk[] = { "--kernel", "fd:8",     "--initrd",  "fd:9",
					    "--pmem",   "fd:10,ro", "--pmem",    "fd:11,ro",
					    "--disk",   "fd:12",    "--cmdline", "quiet panic=-1" };
	struct str shapes[6] = { { 0 } };
	struct vmcfg c = config();
	struct err e = { 0 };

	c.layers.p = one;
	c.layers.n = 2;
	check_args(&c, more, ARRAY_LEN(more));
	c.disk.path = a;
	check_args(&c, disk, ARRAY_LEN(disk));
	c.hypervisor_path = c.kernel = c.initrd = exe;
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		c.layers.p = i == 1 ? same : i == 2 ? other : one;
		c.layers.n = i == 3 ? 1 : 2;
		c.disk = (struct vm_layer){ .path = i >= 4 ? a : NULL,
					    .size = i == 4 ? 64u << 20 : 128u << 20 };
		assert_int_equal(kvm_ops.shape(&c, &shapes[i], &e), 0);
	}
	assert_string_equal(shapes[0].p, shapes[1].p);
	assert_string_not_equal(shapes[0].p, shapes[2].p);
	assert_string_not_equal(shapes[0].p, shapes[3].p);
	assert_string_not_equal(shapes[0].p, shapes[4].p);
	assert_string_not_equal(shapes[4].p, shapes[5].p);
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
		str_fini(&shapes[i]);
}

/* Without an initramfs the first layer is the mini-OS: the very file, also for templates. */
static void test_os_layer(void **state)
{
	static const char *const more[] = { "--kernel", "fd:8",     "--pmem",    "fd:9,ro",
					    "--pmem",   "fd:10,ro", "--cmdline", "quiet panic=-1" };
	static char exe[] = "/bin/true", other[] = "/bin/false";
	struct vm_layer layers[] = { { .path = exe, .size = 2u << 20 }, { .path = exe, .size = 2u << 20 } };
	struct str shapes[3] = { { 0 } };
	scoped_str words = { 0 };
	struct vmcfg c = config();
	struct err e = { 0 };

	c.initrd = NULL;
	c.layers.p = layers;
	c.layers.n = 2;
	check_args(&c, more, ARRAY_LEN(more));
	assert_int_equal(hv_kernel_cmdline(&c, &words), 0);
	assert_non_null(strstr(
		words.p, " root=/dev/pmem0 rootfstype=erofs rootflags=dax=always ro rootwait init=/init"));
	c.hypervisor_path = c.kernel = exe;
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		layers[0].path = i == 1 ? other : exe;
		layers[1].path = i == 2 ? other : exe;
		assert_int_equal(kvm_ops.shape(&c, &shapes[i], &e), 0);
	}
	assert_string_not_equal(shapes[0].p, shapes[1].p);
	assert_string_equal(shapes[0].p, shapes[2].p);
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
		str_fini(&shapes[i]);
}

static void refuse(struct vmcfg c)
{
	scoped_strv args = { 0 };
	struct err e = { 0 };

	assert_int_equal(kvm_args(&c, &args, &e), -EINVAL);
	assert_true(strlen(e.msg) > 0);
}

static void test_refused(void **state)
{
	struct vmcfg c = config();

	c.memory += 4096;
	refuse(c);
	c = config();
	c.vcpus = 0;
	refuse(c);
	c = config();
	c.fsd_path = NULL;
	refuse(c);
	c = config();
	c.initrd = NULL; /* and no layer either */
	refuse(c);
}

static void test_cmdline(void **state)
{
	struct vmcfg c = config();
	scoped_str words = { 0 };

	assert_int_equal(hv_kernel_cmdline(&c, &words), 0);
	assert_non_null(strstr(words.p, "console=hvc0 "));
	assert_non_null(strstr(words.p, " " WORD_VIRTIOFS " "));
	assert_non_null(strstr(words.p, " panic=-1 "));
	assert_null(strstr(words.p, "ttyS0"));
	assert_non_null(strstr(words.p, " dhash_entries=8192 ihash_entries=4096")); /* of 512 MiB */
}

/* ---- control: the test is cor-vmm, and the driver's time is up when nothing stands there ---- */

int __real_io_wait_readable(int fd, int timeout_ms);
int __wrap_io_wait_readable(int fd, int timeout_ms);

int __wrap_io_wait_readable(int fd, int timeout_ms unused_arg)
{
	return __real_io_wait_readable(fd, 0);
}

#define ANSWERS 100 /* at once; the socket has room for some more */

struct vmm {
	struct hv *hv;
	int sock; /* cor-vmm's end */
};

static int set_up_vmm(void **state)
{
	static struct vmm v;
	struct vmcfg cfg = config();
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
	    hv_new(&cfg, &v.hv, NULL) < 0 || v.hv->ops->attach(v.hv, pair[0]) < 0)
		return -1;
	v.hv->pid = getpid();
	v.sock = pair[1];
	*state = &v;
	return 0;
}

static int tear_down_vmm(void **state)
{
	struct vmm *v = *state;

	v->hv->pid = -1; /* nothing to be killed */
	hv_free(v->hv);
	scope_close(&v->sock);
	return 0;
}

static void say(const struct vmm *v, uint32_t verb, int result)
{
	const struct vmmctl_answer a = {
		.magic = VMMCTL_MAGIC, .verb = verb, .result = result, .text = "said so"
	};

	assert_int_equal(write(v->sock, &a, sizeof a), sizeof a);
}

static void hear(const struct vmm *v, uint32_t verb)
{
	struct vmmctl_request q;

	assert_int_equal(read(v->sock, &q, sizeof q), sizeof q);
	assert_int_equal(q.magic, VMMCTL_MAGIC);
	assert_int_equal(q.verb, verb);
}

static void test_commands(void **state)
{
	struct vmm *v = *state;
	struct err e = { 0 };

	say(v, VMMCTL_PORT_OPEN, 0);
	say(v, VMMCTL_PAUSE, 0);
	assert_int_equal(v->hv->ops->pause(v->hv, &e), 0);
	hear(v, VMMCTL_PAUSE);
	say(v, VMMCTL_RESUME, -EBUSY);
	assert_int_equal(v->hv->ops->resume(v->hv, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "said so"));
	say(v, VMMCTL_SAVE, 0);
	assert_int_equal(v->hv->ops->pause(v->hv, &e), -EPROTO);
	hear(v, VMMCTL_RESUME);
	hear(v, VMMCTL_PAUSE);
	scope_close(&v->sock);
	v->sock = -1;
	assert_int_equal(v->hv->ops->pause(v->hv, &e), -EPIPE);
	v->hv->pid = -1;
	assert_int_equal(v->hv->ops->pause(v->hv, &e), -ESRCH);
}

/* An answer that comes after its time is none to the next request, also of the same kind. */
static void test_late_answers(void **state)
{
	struct vmm *v = *state;
	struct err e = { 0 };

	assert_int_equal(v->hv->ops->pause(v->hv, &e), -ETIMEDOUT);
	assert_int_equal(v->hv->ops->resume(v->hv, &e), -ETIMEDOUT);
	say(v, VMMCTL_PAUSE, 0);
	say(v, VMMCTL_RESUME, 0);
	assert_int_equal(v->hv->ops->pause(v->hv, &e), -ETIMEDOUT);
	say(v, VMMCTL_PAUSE, 0);
	say(v, VMMCTL_RESUME, 0);
	assert_int_equal(v->hv->ops->resume(v->hv, &e), 0);
}

/* One that reads nothing fills the socket, and then holds up nobody. When it reads again all is well, however
 * many answers come late. */
static void test_full(void **state)
{
	struct vmm *v = *state;
	struct err e = { 0 };
	unsigned n = 0;

	(void)alarm(30); /* it hangs, and can't say so */
	while (v->hv->ops->pause(v->hv, &e) == -ETIMEDOUT)
		n++;
	(void)alarm(0);
	assert_int_equal(e.code, -EBUSY);
	assert_non_null(strstr(e.msg, "takes no requests"));
	assert_true(n > 64); /* EVENTS_MAX is no limit for these */
	assert_int_equal(v->hv->ops->resume(v->hv, &e), -EBUSY);
	for (unsigned i = 0; i < n; i++)
		hear(v, VMMCTL_PAUSE);
	for (; n > ANSWERS; n++) { /* this request is one more */
		for (unsigned i = 0; i < ANSWERS; i++, n--)
			say(v, VMMCTL_PAUSE, 0);
		assert_int_equal(v->hv->ops->pause(v->hv, &e), -ETIMEDOUT);
		hear(v, VMMCTL_PAUSE);
	}
	for (; n > 0; n--)
		say(v, VMMCTL_PAUSE, 0);
	say(v, VMMCTL_PAUSE, 0);
	assert_int_equal(v->hv->ops->pause(v->hv, &e), 0);
}

/* ---- a jailed start ---- */

struct launch {
	struct tmpdir *dir;
	char jail[128];
	int fds[3];
	struct hv_jailing j;
	pid_t pid;
	int pidfd;
};

static int set_up(void **state)
{
	struct launch *l = calloc(1, sizeof *l);
	void *dir;

	if (!l || tmpdir_set_up(&dir) < 0)
		return -1;
	l->dir = dir;
	(void)snprintf(l->jail, sizeof l->jail, "%s/jail", l->dir->path);
	for (int i = 0; i < 3; i++)
		l->fds[i] = i;
	l->j = (struct hv_jailing)HV_JAILING_NONE;
	l->pid = l->pidfd = -1;
	*state = l;
	return 0;
}

static int tear_down(void **state)
{
	struct launch *l = *state;
	void *dir = l->dir;

	hv_jailed_drop(&l->j);
	scope_close(&l->pidfd);
	free(l);
	return tmpdir_tear_down(&dir);
}

/* The script finds cor-jail's arguments, and the descriptor for its answer behind those of the program. */
static int start(struct launch *l, const char *script, struct err *e)
{
	static char program[] = "/l/prog", word[] = "word";
	char *argv[] = { program, word, NULL };
	const struct hv_jailed job = {
		.jail = l->jail, .policy = "vmm", .argv = argv, .fds = l->fds, .n_fds = 3
	};
	int r;

	if (script) {
		assert_int_equal(tmpdir_write(l->dir, "jail", script), 0);
		assert_int_equal(fchmodat(l->dir->fd, "jail", 0755, 0), 0);
	}
	do {
		hv_jailed_drop(&l->j);
		r = hv_jailed_begin(&job, &l->j, e);
	} while (r == -ETXTBSY); /* another test's fork may hold the script open for writing */
	return r < 0 ? r : hv_jailed_finish(&l->j, &l->pid, &l->pidfd, e);
}

static void test_jailed(void **state)
{
	struct launch *l = *state;
	struct err e = { 0 };

	/* $PPID is the test: a process of ours that is there */
	assert_int_equal(
		start(l,
		      "#!/bin/sh\n"
		      "[ \"$*\" = \"--keep-fds 3 --keep-net --detach vmm /l/prog word\" ] || exit 1\n"
		      "echo $PPID >&3\n",
		      &e),
		0);
	assert_int_equal(l->pid, getpid());
	assert_true(l->pidfd >= 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* the launcher is reaped */
	assert_int_equal(errno, ECHILD);
}

static void test_jail_fails(void **state)
{
	static const char *const scripts[] = { "#!/bin/sh\nexit 125\n", "#!/bin/sh\n",
					       "#!/bin/sh\necho $PPID >&3\nexit 1\n",
					       "#!/bin/sh\necho x >&3\n", "#!/bin/sh\necho 1 >&3\n" };
	struct launch *l = *state;
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
		assert_int_equal(start(l, scripts[i], &e), -EIO);
		assert_non_null(strstr(e.msg, "/l/prog"));
		assert_int_equal(l->pid, -1);
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	}
}

static void test_jail_missing(void **state)
{
	struct launch *l = *state;
	struct err e = { 0 };

	assert_int_equal(start(l, NULL, &e), -ENOENT);
	assert_non_null(strstr(e.msg, l->jail));
	assert_non_null(strstr(e.msg, "installed completely"));
}

/* One that is given up leaves nothing. */
static void test_jail_dropped(void **state)
{
	static char program[] = "/l/prog";
	char *argv[] = { program, NULL };
	struct launch *l = *state;
	const struct hv_jailed job = {
		.jail = l->jail, .policy = "vmm", .argv = argv, .fds = l->fds, .n_fds = 3
	};
	int r;

	assert_int_equal(tmpdir_write(l->dir, "jail", "#!/bin/sh\nexec sleep 50\n"), 0);
	assert_int_equal(fchmodat(l->dir->fd, "jail", 0755, 0), 0);
	do {
		r = hv_jailed_begin(&job, &l->j, NULL);
	} while (r == -ETXTBSY);
	assert_int_equal(r, 0);
	hv_jailed_drop(&l->j);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	hv_jailed_drop(&l->j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boot),
		cmocka_unit_test(test_os_layer),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_template),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_cmdline),
		cmocka_unit_test_setup_teardown(test_commands, set_up_vmm, tear_down_vmm),
		cmocka_unit_test_setup_teardown(test_late_answers, set_up_vmm, tear_down_vmm),
		cmocka_unit_test_setup_teardown(test_full, set_up_vmm, tear_down_vmm),
		cmocka_unit_test_setup_teardown(test_jailed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_jail_fails, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_jail_missing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_jail_dropped, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
