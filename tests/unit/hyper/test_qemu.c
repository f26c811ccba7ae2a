/* test_qemu.c - hyper/hyper.h with the QEMU driver: its arguments against a list, and its process, for which
 * shell scripts stand in. They get QEMU's fds and block on the agent channel, so nothing sleeps. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "hyper/cmdline.h"
#include "hyper/hyper.h"
#include "hyper/qemu.h"
#include "hyper/shape.h"
#include "tmpdir.h"

#define WAIT_MS 20000

static struct vmcfg config(void)
{
	static char path[] = "/usr/bin/qemu-system-x86_64", kernel[] = "/os/kernel", initrd[] = "/os/initrd",
		    cmdline[] = "quiet panic=-1", share[] = "/run/a,b/share";

	return (struct vmcfg){ .hypervisor = PLAN_HV_QEMU,
			       .hypervisor_path = path,
			       .kernel = kernel,
			       .initrd = initrd,
			       .cmdline = cmdline,
			       .memory = 512u << 20,
			       .vcpus = 1,
			       .share = share };
}

/* Checks one argument behind an option; several of one name are told apart by their beginning. */
static bool has_arg(const struct strv *v, const char *option, const char *value)
{
	for (size_t i = 1; i + 1 < v->n; i++)
		if (strcmp(v->p[i], option) == 0 && strcmp(v->p[i + 1], value) == 0)
			return true;
	return false;
}

#include "golden.h"

static void check_golden(const struct vmcfg *cfg, const char *const *want, size_t n)
{
	scoped_strv args = { 0 };
	struct err e = { 0 };

	assert_int_equal(qemu_args(cfg, &args, &e), 0);
	for (size_t i = 0; i < args.n && i < n; i++)
		assert_string_equal(args.p[i], want[i]);
	assert_int_equal(args.n, n);
}

static void test_golden(void **state)
{
	struct vmcfg c = config();

	check_golden(&c, golden_tcg, ARRAY_LEN(golden_tcg));
}

static void test_variants(void **state)
{
	static char extra[] = "-name", value[] = "a,b";
	char *params[] = { extra, value, NULL };
	struct vmcfg c = config();
	scoped_strv args = { 0 };
	struct err e = { 0 };

	c.kvm = true;
	c.vcpus = 4;
	c.memory = 4096ull << 20;
	c.hypervisor_params = (struct pack_strs){ params, 2 };
	assert_int_equal(qemu_args(&c, &args, &e), 0);
	assert_true(has_arg(&args, "-accel", "kvm"));
	assert_true(has_arg(&args, "-cpu", "host"));
	assert_true(has_arg(&args, "-smp", "4"));
	assert_true(has_arg(&args, "-m", "4096M"));
	assert_string_equal(args.p[args.n - 2], "-name");
	assert_string_equal(args.p[args.n - 1], "a,b");
}

static bool holds(const struct vmcfg *cfg, const char *text)
{
	scoped_strv args = { 0 };

	assert_int_equal(qemu_args(cfg, &args, NULL), 0);
	for (size_t i = 0; i < args.n; i++)
		if (strstr(args.p[i], text))
			return true;
	return false;
}

/* The share by cor-fsd: memory that it can map, a socket to it, no 9p; and no template. */
static void test_virtiofs(void **state)
{
	static char jail[] = "/cor-jail", fsd[] = "/cor-fsd", dir[] = "/t";
	struct vmcfg c = config();
	scoped_strv args = { 0 };
	scoped_str words = { 0 };
	struct err e = { 0 };

	c.jail_path = jail;
	c.fsd_path = fsd;
	assert_int_equal(qemu_args(&c, &args, &e), 0);
	assert_true(has_arg(&args, "-object", "memory-backend-memfd,id=mem,size=512M,share=on"));
	assert_true(has_arg(&args, "-machine", "memory-backend=mem"));
	assert_true(has_arg(&args, "-chardev", "socket,id=share,fd=6"));
	assert_true(has_arg(&args, "-device", "vhost-user-fs-pci,chardev=share,tag=cor"));
	assert_false(holds(&c, "9p"));
	assert_false(holds(&c, "/run/a"));
	assert_int_equal(hv_kernel_cmdline(&c, &words), 0);
	assert_non_null(strstr(words.p, " " WORD_VIRTIOFS " "));
	assert_false(vmcfg_can_clone(&c));
	c.template_dir = dir;
	assert_int_equal(qemu_args(&c, &args, &e), -EINVAL);
	c.template_dir = NULL;
	c.jail_path = NULL;
	assert_int_equal(qemu_args(&c, &args, &e), -EINVAL);
	c.fsd_path = NULL;
	assert_true(vmcfg_can_clone(&c));
}

/* A layer is a descriptor that the monitor has opened; nothing else changes. */
static void test_layers(void **state)
{
	struct vm_layer layers[] = { { .size = 4u << 20 }, { .size = 2u << 20 } };
	struct vmcfg c = config();
	scoped_strv args = { 0 }, bare = { 0 };
	scoped_str words = { 0 };
	struct err e = { 0 };

	assert_int_equal(qemu_args(&c, &bare, &e), 0);
	c.layers.p = layers;
	c.layers.n = 2;
	assert_int_equal(qemu_args(&c, &args, &e), 0);
	assert_true(has_arg(&args, "-m", "512M,maxmem=518M"));
	assert_true(has_arg(&args, "-object",
			    "memory-backend-file,id=layer0,size=4194304,align=2097152,share=on,readonly=on,"
			    "mem-path=/proc/self/fd/8"));
	assert_true(has_arg(&args, "-device", "virtio-pmem-pci,memdev=layer0"));
	assert_true(has_arg(&args, "-object",
			    "memory-backend-file,id=layer1,size=2097152,align=2097152,share=on,readonly=on,"
			    "mem-path=/proc/self/fd/9"));
	assert_true(has_arg(&args, "-device", "virtio-pmem-pci,memdev=layer1"));
	assert_int_equal(args.n, bare.n + 8);
	assert_int_equal(hv_kernel_cmdline(&c, &words), 0);
	assert_non_null(strstr(words.p, " cor.layers=2 numa=off"));
	assert_null(strstr(words.p, "cor.disk"));
}

/* The disk is one more, behind the layers; a host without space must not stop the machine. */
static void test_disk(void **state)
{
	static char path[] = "/disks/empty";
	struct vm_layer layers[] = { { .size = 4u << 20 }, { .size = 2u << 20 } };
	struct vmcfg c = config();
	scoped_strv args = { 0 };
	scoped_str words = { 0 };
	struct str shapes[2] = { { 0 } };
	struct err e = { 0 };

	c.layers.p = layers;
	c.layers.n = 2;
	c.disk = (struct vm_layer){ .path = path, .size = 64u << 20 };
	assert_int_equal(qemu_args(&c, &args, &e), 0);
	assert_true(has_arg(&args, "-blockdev",
			    "driver=file,node-name=disk,filename=/proc/self/fd/"
			    "10,discard=unmap,locking=off,drop-cache=off"));
	assert_true(has_arg(&args, "-device",
			    "virtio-blk-pci,drive=disk,num-queues=1,rerror=report,werror=report"));
	assert_int_equal(hv_kernel_cmdline(&c, &words), 0);
	assert_non_null(strstr(words.p, " cor.layers=2 numa=off cor.disk"));
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		hv_shape_layers(&c, &shapes[i]);
		assert_int_equal(str_check(&shapes[i]), 0);
		c.disk.size *= 2;
	}
	assert_string_not_equal(shapes[0].p, shapes[1].p);
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
		str_fini(&shapes[i]);
}

/* Free pages are reported if that can't reach a template; memory is offered to KSM when asked for. */
static void test_memory(void **state)
{
	static char dir[] = "/templates/a,b", preload[] = "/libexec/cor-qemu-fix.so";
	struct vmcfg c = config();

	assert_true(holds(&c, "free-page-reporting=on"));
	assert_false(holds(&c, "memory-backend"));
	assert_true(holds(&c, "mem-merge=off"));
	c.merge = true;
	assert_true(holds(&c, "mem-merge=on"));
	c.template_dir = dir;
	assert_false(holds(&c, "balloon"));
	assert_true(holds(&c, "share=off,mem-path=" QEMU_MEMORY_ANEW));
	assert_false(holds(&c, "/templates"));
	c.template_make = true;
	assert_false(holds(&c, "balloon"));
	c.hypervisor_preload = preload;
	assert_true(holds(&c, "free-page-reporting=on"));
	assert_true(holds(&c, "share=on,mem-path=" QEMU_MEMORY_NAME));
	c.template_make = false;
	assert_true(holds(&c, "free-page-reporting=on"));
	assert_true(holds(&c, "share=off,mem-path=" QEMU_MEMORY_NAME));
	assert_false(holds(&c, "/templates"));
}

static void refuse(struct vmcfg c)
{
	scoped_strv args = { 0 };
	struct err e = { 0 };

	assert_int_equal(qemu_args(&c, &args, &e), -EINVAL);
	assert_true(strlen(e.msg) > 0);
}

static void test_refused(void **state)
{
	struct vmcfg c = config();
	struct err e = { 0 };
	struct hv *hv = NULL;

	c.memory = 0;
	refuse(c);
	c.memory = (512u << 20) + 4096;
	refuse(c);
	c = config();
	c.vcpus = 0;
	refuse(c);
	c = config();
	c.share = NULL;
	refuse(c);
	c = config();
	c.hypervisor = PLAN_HV_N;
	assert_int_equal(hv_new(&c, &hv, &e), -EINVAL);
	assert_null(hv);
	hv_free(NULL);
}

static bool has_word(const char *line, const char *word)
{
	scoped_strv v = { 0 };

	strv_split(&v, line, ' ');
	return strv_has(&v, word) && !strv_has(&v, "");
}

static void test_cmdline(void **state)
{
	struct vmcfg c = config();
	scoped_str tcg = { 0 };
	scoped_str kvm = { 0 };

	assert_int_equal(hv_kernel_cmdline(&c, &tcg), 0);
	c.kvm = true;
	assert_int_equal(hv_kernel_cmdline(&c, &kvm), 0);
	/* What the monitor counts on: last words, and an end. */
	assert_true(has_word(tcg.p, "console=ttyS0") && has_word(kvm.p, "console=ttyS0"));
	assert_true(has_word(tcg.p, "panic=-1") && has_word(kvm.p, "panic=-1"));
	/* The host's TSC is the guest's under emulation only; KVM tells it by itself. */
	assert_null(strstr(kvm.p, "tsc_early_khz="));
	assert_null(strstr(kvm.p, "noreplace-smp"));
#if defined(__x86_64__)
	assert_non_null(strstr(tcg.p, " tsc_early_khz="));
	assert_non_null(strstr(tcg.p, " noreplace-smp"));
#endif
	assert_true(tcg.len + 512 < 2048); /* x86's COMMAND_LINE_SIZE, with room for the administrator's */
}

struct vm {
	struct tmpdir *dir;
	struct vmcfg cfg;
	struct hv *hv;
	char path[128];
};

static int set_up(void **state)
{
	struct vm *v = calloc(1, sizeof *v);
	void *dir;

	if (!v || tmpdir_set_up(&dir) < 0)
		return -1;
	v->dir = dir;
	v->cfg = config();
	(void)snprintf(v->path, sizeof v->path, "%s/fake qemu", v->dir->path);
	v->cfg.hypervisor_path = v->path;
	*state = v;
	return hv_new(&v->cfg, &v->hv, NULL);
}

static int tear_down(void **state)
{
	struct vm *v = *state;
	void *dir = v->dir;

	hv_free(v->hv);
	free(v);
	return tmpdir_tear_down(&dir);
}

static void script(struct vm *v, const char *text)
{
	assert_int_equal(tmpdir_write(v->dir, "fake qemu", text), 0);
	assert_int_equal(fchmodat(v->dir->fd, "fake qemu", 0755, 0), 0);
}

static void start(struct vm *v, const char *text)
{
	struct err e = { 0 };
	int r;

	script(v, text);
	do {
		r = hv_start(v->hv, &v->cfg,
			     &e); /* another test's fork may hold the script open for writing */
	} while (r == -ETXTBSY);
	if (r < 0)
		print_message("# %s\n", e.msg);
	assert_int_equal(r, 0);
}

/* Reads until `end` is seen. */
static void read_until(int fd, char *to, size_t cap, const char *end)
{
	size_t n = 0;

	for (to[0] = '\0'; !strstr(to, end); to[n] = '\0') {
		ssize_t got;

		assert_int_equal(io_wait_readable(fd, WAIT_MS), 0);
		got = read(fd, to + n, cap - 1 - n);
		assert_true(got > 0);
		n += (size_t)got;
	}
}

static int end_of(struct vm *v)
{
	int status = -1;

	assert_int_equal(io_wait_readable(v->hv->pidfd, WAIT_MS), 0);
	assert_int_equal(waitpid(v->hv->pid, &status, 0), v->hv->pid);
	v->hv->pid = -1;
	return status;
}

static void test_channels(void **state)
{
	struct vm *v = *state;
	char text[4096];

	start(v, "#!/bin/sh\n"
		 "echo to agent >&3; echo to console >&4; echo to log; echo to log too >&2\n"
		 "read line <&3; echo \"$line back\" >&3; read line <&3\n");
	read_until(v->hv->agent_fd, text, sizeof text, "to agent\n");
	read_until(v->hv->console_fd, text, sizeof text, "to console\n");
	read_until(v->hv->log_fd, text, sizeof text, "to log\nto log too\n");
	assert_int_equal(write(v->hv->agent_fd, "there\n", 6), 6);
	read_until(v->hv->agent_fd, text, sizeof text, "there back\n");
	/* The caller's ends: nothing there now, and no waiting for it. */
	assert_int_equal(read(v->hv->agent_fd, text, 1), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(fcntl(v->hv->agent_fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(v->hv->log_fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(v->hv->console_fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(v->hv->pidfd, F_GETFD), FD_CLOEXEC);
}

/* Only the named fds, whatever the caller had open; default signals; nothing of its environment; stdin
 * is empty; its directory is not held. */
static void test_inheritance(void **state)
{
	struct vm *v = *state;
	int leak = fcntl(STDERR_FILENO, F_DUPFD, 77);
	sigset_t usr1, old;
	char text[8192];

	assert_true(leak >= 77);
	assert_int_equal(setenv("COR_SECRET", "x", 1), 0);
	assert_int_equal(sigemptyset(&usr1) | sigaddset(&usr1, SIGUSR1), 0);
	assert_int_equal(sigprocmask(SIG_BLOCK, &usr1, &old), 0);
	assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	start(v, "#!/bin/sh\n"
		 "exec cat /proc/self/status /proc/self/environ /dev/stdin - >&4 <<END\n"
		 "END\n");
	assert_int_equal(end_of(v), 0);
	read_until(v->hv->console_fd, text, sizeof text, "PATH=");
	assert_non_null(strstr(text, "SigBlk:\t0000000000000000\n"));
	assert_non_null(strstr(text, "SigIgn:\t0000000000000000\n"));
	assert_null(strstr(text, "COR_SECRET"));
	hv_free(v->hv);
	assert_int_equal(hv_new(&v->cfg, &v->hv, NULL), 0);
	start(v, "#!/bin/sh\n"
		 "ls -1 /proc/self/fd | tr '\\n' ' ' >&4; pwd >&4; cat; echo end >&4\n");
	read_until(v->hv->console_fd, text, sizeof text, "end\n");
	assert_string_equal(text, "0 1 2 3 4 5 6 /\nend\n"); /* 6 is ls reading the directory */
	(void)end_of(v);
	assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
	assert_int_equal(sigprocmask(SIG_SETMASK, &old, NULL), 0);
	assert_int_equal(unsetenv("COR_SECRET"), 0);
	(void)close(leak);
}

static void add_template(struct vm *v, char *preload)
{
	v->cfg.template_dir = v->dir->path;
	v->cfg.hypervisor_preload = preload;
	assert_int_equal(tmpdir_write(v->dir, QEMU_STATE_FILE, "state"), 0);
}

/* A clone can't write to its template's memory. */
static void test_clone_memory(void **state)
{
	static char preload[] = "";
	struct vm *v = *state;
	struct err e = { 0 };
	char text[8192];

	add_template(v, preload);
	script(v, "#!/bin/sh\n");
	assert_int_equal(hv_start(v->hv, &v->cfg, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/" QEMU_MEMORY_FILE));
	hv_free(v->hv);
	assert_int_equal(hv_new(&v->cfg, &v->hv, NULL), 0);
	assert_int_equal(tmpdir_write(v->dir, QEMU_MEMORY_FILE, "memory\n"), 0);
	start(v, "#!/bin/sh\n{ cat <&6; echo no 2>&1 >&6; grep flags /proc/self/fdinfo/6; grep THP "
		 "/proc/self/status; echo end; } >&4\n");
	read_until(v->hv->console_fd, text, sizeof text, "end\n");
	assert_true(strncmp(text, "memory\n", 7) == 0);
	assert_non_null(strstr(text, "flags:\t0500000\n")); /* O_RDONLY, O_NOFOLLOW, O_LARGEFILE */
	assert_non_null(strstr(text, "THP_enabled:\t0\n"));
	(void)end_of(v);
}

/* Its maker makes it, of the VM's size, and never takes one that is there. */
static void test_maker_memory(void **state)
{
	static char preload[] = "";
	struct vm *v = *state;
	struct err e = { 0 };
	char text[8192];
	struct stat st;

	add_template(v, preload);
	v->cfg.template_make = true;
	start(v, "#!/bin/sh\n{ echo memory >&6 && echo written; echo end; } >&4\n");
	read_until(v->hv->console_fd, text, sizeof text, "end\n");
	assert_string_equal(text, "written\nend\n");
	(void)end_of(v);
	assert_int_equal(fstatat(v->dir->fd, QEMU_MEMORY_FILE, &st, 0), 0);
	assert_int_equal(st.st_size, 512 << 20);
	hv_free(v->hv);
	assert_int_equal(hv_new(&v->cfg, &v->hv, NULL), 0);
	assert_int_equal(hv_start(v->hv, &v->cfg, &e), -EEXIST);
}

static void test_arguments_arrive(void **state)
{
	struct vm *v = *state;
	char text[8192];

	start(v, "#!/bin/sh\nfor a; do echo \"$a\"; done >&4\necho =END= >&4\n");
	read_until(v->hv->console_fd, text, sizeof text, "=END=\n");
	assert_non_null(strstr(text, "\n-append\nquiet panic=-1\n"));
	assert_non_null(strstr(text, "path=/run/a,,b/share\n"));
}

static void test_missing(void **state)
{
	struct vm *v = *state;
	struct err e = { 0 };

	assert_int_equal(hv_start(v->hv, &v->cfg, &e), -ENOENT);
	assert_non_null(strstr(e.msg, v->path));
	assert_non_null(strstr(e.msg, "apt install qemu-system-x86"));
	assert_int_equal(v->hv->pid, -1);
	assert_int_equal(v->hv->pidfd, -1);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left behind */
	assert_int_equal(errno, ECHILD);
}

static void test_not_executable(void **state)
{
	struct vm *v = *state;
	struct err e = { 0 };

	assert_int_equal(tmpdir_write(v->dir, "fake qemu", "x"), 0);
	assert_int_equal(hv_start(v->hv, &v->cfg, &e), -EACCES);
	assert_non_null(strstr(e.msg, v->path));
}

static void test_started_once(void **state)
{
	struct vm *v = *state;
	struct err e = { 0 };

	start(v, "#!/bin/sh\nread line <&3\n");
	assert_int_equal(hv_start(v->hv, &v->cfg, &e), -EALREADY);
}

static void test_early_death(void **state)
{
	struct vm *v = *state;
	scoped_str why = { 0 };

	start(v, "#!/bin/sh\nprintf 'qemu: bad\\033 thing\\n' >&2; exit 3\n");
	v->hv->ops->why(v->hv, end_of(v), &why);
	assert_int_equal(str_check(&why), 0);
	assert_string_equal(why.p, "QEMU exited with 3: qemu: bad\\x1b thing");
}

static void test_guest_ended(void **state)
{
	struct vm *v = *state;
	scoped_str why = { 0 };

	start(v, "#!/bin/sh\nexit 0\n");
	v->hv->ops->why(v->hv, end_of(v), &why);
	assert_string_equal(why.p, "the virtual machine ended (the guest reset or powered off)");
}

/* Where a template's file system is full, the hypervisor has no words left. */
static void test_bus_error(void **state)
{
	struct vm *v = *state;
	scoped_str why = { 0 };

	start(v, "#!/bin/sh\nkill -BUS $$\n");
	v->hv->ops->why(v->hv, end_of(v), &why);
	assert_non_null(strstr(why.p, "signal 7 (Bus error), as when no space is left"));
}

static void test_stop(void **state)
{
	struct vm *v = *state;
	scoped_str why = { 0 };
	int status;

	start(v, "#!/bin/sh\ntrap '' TERM INT HUP\nread line <&3\n");
	assert_int_equal(io_wait_readable(v->hv->pidfd, 0), -ETIMEDOUT);
	v->hv->ops->stop(v->hv);
	status = end_of(v);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	v->hv->ops->why(v->hv, status, &why);
	assert_non_null(strstr(why.p, "signal 9"));
	v->hv->ops->stop(v->hv); /* it has ended: nothing happens */
}

static void test_free_ends_and_reaps(void **state)
{
	struct vm *v = *state;
	pid_t pid;

	start(v, "#!/bin/sh\nread line <&3\n");
	pid = v->hv->pid;
	hv_free(v->hv);
	v->hv = NULL;
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

/* The monitor is killed: the VM goes with it. Here a child of ours plays the monitor. */
static void test_dies_with_parent(void **state)
{
	struct vm *v = *state;
	int p[2], status;
	pid_t parent, vm = -1;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* the orphan becomes ours to wait for */
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	script(v,
	       "#!/bin/sh\necho up >&3; exec sleep 50\n"); /* it must not end by itself at the sockets' end */
	parent = fork();
	if (parent == 0) {
		char up[4];

		if (hv_start(v->hv, &v->cfg, NULL) < 0 || io_wait_readable(v->hv->agent_fd, WAIT_MS) < 0 ||
		    read(v->hv->agent_fd, up, 3) != 3 || write(p[1], &v->hv->pid, sizeof vm) != sizeof vm)
			_exit(1);
		(void)kill(getpid(), SIGKILL);
	}
	assert_int_equal(read(p[0], &vm, sizeof vm), sizeof vm);
	assert_int_equal(waitpid(parent, &status, 0), parent);
	assert_int_equal(waitpid(vm, &status, 0), vm);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
	(void)close(p[0]);
	(void)close(p[1]);
}

static void test_pause(void **state)
{
	struct vm *v = *state;
	struct err e = { 0 };
	char text[512];

	start(v, "#!/bin/sh\n"
		 "printf '{\"QMP\": {}}\\r\\n' >&5\n"
		 "read line <&5; echo \"$line\" >&4; printf '{\"return\": {}, \"id\": 1}\\r\\n' >&5\n"
		 "read line <&5; echo \"$line\" >&4\n"
		 "printf '{\"event\": \"STOP\"}\\r\\n{\"return\": {}, \"id\": 2}\\r\\n' >&5\n"
		 "read line <&5; echo \"$line\" >&4; printf '{\"return\": {}, \"id\": 3}\\r\\n' >&5\n"
		 "read line <&3\n");
	assert_int_equal(v->hv->ops->pause(v->hv, &e), 0);
	assert_int_equal(v->hv->ops->resume(v->hv, &e), 0);
	read_until(v->hv->console_fd, text, sizeof text, "cont\",\"id\":3}\n");
	assert_non_null(strstr(text, "{\"execute\":\"stop\",\"id\":2}\n"));
}

static void test_pause_of_a_dead_one(void **state)
{
	struct vm *v = *state;
	struct err e = { 0 };

	assert_int_equal(v->hv->ops->pause(v->hv, &e), -ESRCH);
	start(v, "#!/bin/sh\nexit 0\n");
	assert_int_equal(io_wait_readable(v->hv->pidfd, WAIT_MS), 0);
	assert_true(v->hv->ops->pause(v->hv, &e) < 0);
	(void)end_of(v);
	assert_int_equal(v->hv->ops->resume(v->hv, &e), -ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_variants),
		cmocka_unit_test(test_virtiofs),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_disk),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_cmdline),
		cmocka_unit_test_setup_teardown(test_channels, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_inheritance, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_clone_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_maker_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_arguments_arrive, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_missing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_executable, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_started_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_early_death, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_guest_ended, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bus_error, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stop, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_free_ends_and_reaps, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_dies_with_parent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pause, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pause_of_a_dead_one, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
