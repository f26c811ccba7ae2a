/* What a container's settings do, and which are refused: shell lines look from the inside. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "unit.h"

#include "box.h"

/* What a shell line prints in containers of different settings. */
static void host_name(struct ctr_box *b)
{
	b->c.domainname = lit("example");
}

static void user_1000(struct ctr_box *b)
{
	static uint32_t groups[] = { 7, 2000 };

	b->c.process.uid = 1000;
	b->c.process.gid = 100;
	b->c.process.gids.p = groups;
	b->c.process.gids.n = 2;
	b->c.process.has_umask = true;
	b->c.process.umask = 027;
}

static void cwd_new(struct ctr_box *b)
{
	b->c.process.cwd = lit("/var/made/here");
}

static void cwd_escape(struct ctr_box *b)
{
	b->c.process.cwd = lit("/../../../../tmp");
}

static void root_ro(struct ctr_box *b)
{
	b->c.root_readonly = true;
}

static void masked(struct ctr_box *b)
{
	static char *mask[] = { NULL, NULL, NULL, NULL }, *ro[] = { NULL, NULL };

	mask[0] = lit("/proc/version");
	mask[1] = lit("/etc");
	mask[2] = lit("/not/there");
	b->c.masked_paths.p = mask;
	b->c.masked_paths.n = 3;
	ro[0] = lit("/proc/sys");
	b->c.readonly_paths.p = ro;
	b->c.readonly_paths.n = 1;
}

static void caps_few(struct ctr_box *b)
{
	b->c.process.caps = (struct msg_caps){ .bounding = 0x421,
					       .effective = 0x20,
					       .permitted = 0x421,
					       .inheritable = 0x400,
					       .ambient = 0x400 };
}

static void caps_none(struct ctr_box *b)
{
	b->c.process.has_caps = false;
}

static void caps_user(struct ctr_box *b)
{
	b->c.process.uid = 1000;
	b->c.process.caps = (struct msg_caps){ .bounding = 0x400,
					       .effective = 0x400,
					       .permitted = 0x400,
					       .inheritable = 0x400,
					       .ambient = 0x400 };
}

static void nnp(struct ctr_box *b)
{
	b->c.process.no_new_privs = true;
}

static void limits(struct ctr_box *b)
{
	static struct msg_rlimit l[] = { { RLIMIT_NOFILE, 100, 200 }, { RLIMIT_CORE, 0, 0 } };

	b->c.process.rlimits.p = l;
	b->c.process.rlimits.n = 2;
}

static void oom_score(struct ctr_box *b)
{
	b->c.process.has_oom_score_adj = true;
	b->c.process.oom_score_adj = 567;
}

static void bind_dir(struct ctr_box *b)
{
	(void)ctr_box_mount(b, MOUNT_SHARE, "/mnt/new/place", NULL, "m0");
}

static void bind_file_ro(struct ctr_box *b)
{
	struct msg_mount *m = ctr_box_mount(b, MOUNT_SHARE, "/etc/from-host", NULL, "m1");

	m->is_file = true;
	m->flags = MS_RDONLY | MS_NOSUID;
}

static void tmpfs_ro(struct ctr_box *b)
{
	struct msg_mount *m = ctr_box_mount(b, MOUNT_FS, "/mnt/ro", "tmpfs", "tmpfs");

	m->flags = MS_RDONLY;
	m->data = lit("size=1m");
	(void)ctr_box_mount(b, MOUNT_SHARE, "/mnt/ro/below", NULL, "m0");
}

static void copy_up(struct ctr_box *b)
{
	struct msg_mount *m = ctr_box_mount(b, MOUNT_FS, "/etc", "tmpfs", "tmpfs");

	m->tmpcopyup = true;
}

static void recursive_ro(struct ctr_box *b)
{
	struct msg_mount *m = ctr_box_mount(b, MOUNT_SHARE, "/mnt/new/place", NULL, "m0");

	m->recursive = true;
	m->rec_set = 1; /* MOUNT_ATTR_RDONLY */
}

static void shm_mqueue(struct ctr_box *b)
{
	struct msg_mount *m = ctr_box_mount(b, MOUNT_FS, "/dev/shm", "tmpfs", "shm");

	m->flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	m->data = lit("mode=1777,size=64k");
	(void)ctr_box_mount(b, MOUNT_FS, "/dev/mqueue", "mqueue", "mqueue");
}

static void device(struct ctr_box *b)
{
	static struct msg_device d[] = { { .path = NULL,
					   .type = S_IFCHR,
					   .major = 10,
					   .minor = 229,
					   .mode = 0640,
					   .uid = 5,
					   .gid = 6 },
					 { .path = NULL, .type = S_IFIFO, .mode = 0622 } };

	d[0].path = lit("/dev/sub/fuse");
	d[1].path = lit("/dev/fifo");
	b->c.devices.p = d;
	b->c.devices.n = 2;
}

static void sysctl(struct ctr_box *b)
{
	static struct msg_kv kv[] = { { NULL, NULL } };

	kv[0].key = lit("kernel.msgmax");
	kv[0].value = lit("12345");
	b->c.sysctls.p = kv;
	b->c.sysctls.n = 1;
}

static void home_set(struct ctr_box *b)
{
	b->env[1] = lit("HOME=/elsewhere");
	b->env[2] = NULL;
	b->c.process.env.n = 2;
}

static void clock_shift(struct ctr_box *b)
{
	static struct msg_timeoffset t[] = { { NULL, 86400ll * 3650, 0 } };

	t[0].clock = lit("boottime");
	b->c.namespaces |= 0x80; /* CLONE_NEWTIME */
	b->c.time_offsets.p = t;
	b->c.time_offsets.n = 1;
}

static void nice_5(struct ctr_box *b)
{
	b->c.process.has_sched = true;
	b->c.process.sched.nice = 5;
}

static void one_cpu(struct ctr_box *b)
{
	b->c.process.cpus_final = lit("0");
}

static void linux32(struct ctr_box *b)
{
	b->c.process.has_personality = true;
	b->c.process.personality = 8; /* PER_LINUX32 */
}

static void shared_root(struct ctr_box *b)
{
	b->c.root_propagation = MS_SHARED | MS_REC;
}

static void cgroup_ns(struct ctr_box *b)
{
	b->c.namespaces |= CLONE_NEWCGROUP;
	(void)ctr_box_mount(b, MOUNT_CGROUP, "/sys/fs/cgroup", "cgroup", "cgroup");
}

static const struct {
	void (*set)(struct ctr_box *b);
	const char *script, *out;
	uint32_t status;
} lines[] = {
	{ host_name, "hostname; cat /proc/sys/kernel/domainname", "guest\nexample\n", 0 },
	{ NULL, "echo $$; cd /proc; echo [0-9]*", "1\n1\n", 0 }, /* the shell alone looks */
	{ NULL, "cat /proc/1/cmdline | head -c 7", "/bin/sh", 0 },
	{ NULL, "pwd; echo $HOME; umask", "/\n/root\n0022\n", 0 },
	{ user_1000, "id -u; id -g; id -G; umask; echo $HOME", "1000\n100\n100 7 2000\n0027\n/home/user\n",
	  0 },
	{ user_1000, "echo to stderr >/dev/stderr; echo to stdout >/dev/stdout", "to stdout\n", 0 },
	{ home_set, "echo $HOME", "/elsewhere\n", 0 },
	{ cwd_new, "pwd", "/var/made/here\n", 0 },
	{ cwd_escape, "pwd", "/tmp\n", 0 },
	{ root_ro, "touch /x 2>/dev/null || echo no; touch /dev/x && echo yes", "no\nyes\n", 0 },
	{ masked,
	  "cat /proc/version; ls /etc; touch /etc/x 2>/dev/null || echo no; echo a 2>/dev/null "
	  ">/proc/sys/kernel/domainname || echo ro",
	  "no\nro\n", 0 },
	{ caps_few, "sed -n '/^Cap/s/^.*:\\t//p' /proc/1/status",
	  "0000000000000400\n0000000000000421\n0000000000000421\n0000000000000421\n0000000000000400\n", 0 },
	{ caps_none, "sed -n '/^Cap/s/^.*:\\t0*//p' /proc/1/status", "\n\n\n\n\n", 0 },
	{ caps_user, "sed -n '/^Cap/s/^.*:\\t0*//p' /proc/1/status", "400\n400\n400\n400\n400\n", 0 },
	{ nnp, "sed -n '/^NoNewPrivs/s/^.*:\\t//p' /proc/1/status", "1\n", 0 },
	{ NULL, "sed -n '/^NoNewPrivs/s/^.*:\\t//p' /proc/1/status", "0\n", 0 },
	{ limits, "ulimit -n; ulimit -Hn; ulimit -c", "100\n200\n0\n", 0 },
	{ oom_score, "cat /proc/1/oom_score_adj", "567\n", 0 },
	{ bind_dir, "cat /mnt/new/place/inside; echo x >/mnt/new/place/w; cat /mnt/new/place/w",
	  "from the host\nx\n", 0 },
	{ bind_file_ro, "cat /etc/from-host; echo x 2>/dev/null >/etc/from-host || echo ro",
	  "a single file\nro\n", 0 },
	{ tmpfs_ro, "touch /mnt/ro/x 2>/dev/null || echo ro; cat /mnt/ro/below/inside", "ro\nfrom the host\n",
	  0 },
	{ copy_up, "head -n 1 /etc/passwd; touch /etc/new && ls /etc",
	  "root:x:0:0:root:/root:/bin/sh\nfrom-host\nnew\nnoexec\npasswd\n", 0 },
	{ recursive_ro, "touch /mnt/new/place/y 2>/dev/null || echo ro", "ro\n", 0 },
	{ shm_mqueue,
	  "grep -c -e ' /dev/shm tmpfs rw,nosuid,nodev,noexec.*size=64k' -e '/dev/mqueue mqueue' "
	  "/proc/mounts",
	  "2\n", 0 },
	{ NULL, "stat -c '%n %F %t:%T %a' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty",
	  "/dev/null character special file 1:3 666\n/dev/zero character special file 1:5 666\n"
	  "/dev/full character special file 1:7 666\n/dev/random character special file 1:8 666\n"
	  "/dev/urandom character special file 1:9 666\n/dev/tty character special file 5:0 666\n",
	  0 },
	{ NULL, "for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done",
	  "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n", 0 },
	{ device, "stat -c '%F %t:%T %a %u %g' /dev/sub/fuse; stat -c '%F %a' /dev/fifo",
	  "character special file a:e5 640 5 6\nfifo 622\n", 0 },
	{ sysctl, "cat /proc/sys/kernel/msgmax", "12345\n", 0 },
	{ nice_5, "awk '{ print $19 }' /proc/1/stat", "5\n", 0 },
	{ one_cpu, "sed -n '/^Cpus_allowed_list/s/^.*:\\t//p' /proc/1/status", "0\n", 0 },
	{ linux32, "uname -m", "i686\n", 0 },
	{ clock_shift, "awk '{ print ($1 > 300000000) }' /proc/uptime", "1\n", 0 },
	{ shared_root, "grep -c ' / [^ ]* shared:' /proc/self/mountinfo", "1\n", 0 },
	{ cgroup_ns, "ls /sys/fs/cgroup; grep -v -c ':/$' /proc/self/cgroup", "0\n", 1 },
	{ NULL, "wc -l </proc/self/mountinfo", "4\n", 0 }, /* root, proc, dev, pts */
};

static void test_lines(void **state unused_arg)
{
	struct ctr_box b;

	NEED_HOST;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		print_message("# %s\n", lines[i].script);
		shell_init(&b, lines[i].script);
		if (lines[i].set)
			lines[i].set(&b);
		expect(&b, lines[i].out, lines[i].status);
	}
}

static void arg0(struct ctr_box *b, const char *name)
{
	b->args[0] = lit(name);
	b->args[1] = NULL;
	b->c.process.args.n = 1;
}

static void no_program(struct ctr_box *b)
{
	arg0(b, "nosuch");
}

static void no_file(struct ctr_box *b)
{
	arg0(b, "/bin/nosuch");
}

static void not_executable(struct ctr_box *b)
{
	arg0(b, "/etc/noexec");
}

static void a_directory(struct ctr_box *b)
{
	arg0(b, "/bin");
}

static void no_args(struct ctr_box *b)
{
	b->c.process.args.n = 0;
}

static void relative_cwd(struct ctr_box *b)
{
	b->c.process.cwd = lit("tmp");
}

static void file_as_cwd(struct ctr_box *b)
{
	b->c.process.cwd = lit("/etc/passwd");
}

static void unknown_fs(struct ctr_box *b)
{
	(void)ctr_box_mount(b, MOUNT_FS, "/mnt/x", "nosuchfs", "x");
}

static void bad_option(struct ctr_box *b)
{
	ctr_box_mount(b, MOUNT_FS, "/mnt/x", "tmpfs", "x")->data = lit("nosuchoption");
}

static void no_source(struct ctr_box *b)
{
	(void)ctr_box_mount(b, MOUNT_SHARE, "/mnt/x", NULL, "m77");
}

static void source_escape(struct ctr_box *b)
{
	(void)ctr_box_mount(b, MOUNT_SHARE, "/mnt/x", NULL, "..");
}

static void source_slash(struct ctr_box *b)
{
	(void)ctr_box_mount(b, MOUNT_SHARE, "/mnt/x", NULL, "rootfs/etc");
}

static void over_root(struct ctr_box *b)
{
	(void)ctr_box_mount(b, MOUNT_SHARE, "/tmp/..", NULL, "m0");
}

static void over_proc(struct ctr_box *b)
{
	(void)ctr_box_mount(b, MOUNT_SHARE, "/proc", NULL, "m0");
}

static void in_proc(struct ctr_box *b)
{
	(void)ctr_box_mount(b, MOUNT_SHARE, "/proc/sys", NULL, "m0");
}

static void in_proc_by_dots(struct ctr_box *b)
{
	(void)ctr_box_mount(b, MOUNT_FS, "/tmp/../proc/self", "tmpfs", "x");
}

static void odd_kind(struct ctr_box *b)
{
	(void)ctr_box_mount(b, 77, "/mnt/x", NULL, "m0");
}

static void no_devpts(struct ctr_box *b)
{
	b->c.mounts.n = 2;
	b->c.process.terminal = true;
}

static void odd_limit(struct ctr_box *b)
{
	static struct msg_rlimit l[] = { { 999, 1, 1 } };

	b->c.process.rlimits.p = l;
	b->c.process.rlimits.n = 1;
}

static void high_limit(struct ctr_box *b)
{
	static struct msg_rlimit l[] = { { RLIMIT_NOFILE, 1, UINT64_MAX } };

	b->c.process.rlimits.p = l;
	b->c.process.rlimits.n = 1;
}

static void memory_limit(struct ctr_box *b)
{
	b->c.resources.has_mem_limit = true;
	b->c.resources.mem_limit = 1 << 26;
}

static void odd_sysctl(struct ctr_box *b)
{
	static struct msg_kv kv[] = { { NULL, NULL } };

	kv[0].key = lit("../self/oom_score_adj");
	kv[0].value = lit("1");
	b->c.sysctls.p = kv;
	b->c.sysctls.n = 1;
}

static void odd_cpus(struct ctr_box *b)
{
	b->c.process.cpus_final = lit("3-1");
}

static void net_namespace(struct ctr_box *b)
{
	b->c.namespaces |= CLONE_NEWNET;
}

static void no_mount_namespace(struct ctr_box *b)
{
	b->c.namespaces = CLONE_NEWPID;
}

static void odd_seccomp(struct ctr_box *b)
{
	b->c.process.seccomp.p = (const uint8_t *)"12345";
	b->c.process.seccomp.n = 5;
}

static void odd_device(struct ctr_box *b)
{
	static struct msg_device d[] = { { .path = NULL, .type = S_IFREG } };

	d[0].path = lit("/dev/x");
	b->c.devices.p = d;
	b->c.devices.n = 1;
}

static const struct {
	void (*set)(struct ctr_box *b);
	int code;
	const char *text;
} refusals[] = {
	{ no_program, -ENOENT, "exec: \"nosuch\": executable file not found in $PATH" },
	{ no_file, -ENOENT, "exec: \"/bin/nosuch\": stat /bin/nosuch: no such file or directory" },
	{ not_executable, -EACCES, "exec: \"/etc/noexec\": permission denied" },
	{ a_directory, -EISDIR, "exec: \"/bin\": is a directory" },
	{ no_args, -EINVAL, "process.args" },
	{ relative_cwd, -EINVAL, "process.cwd" },
	{ file_as_cwd, -ENOTDIR,
	  "chdir to cwd (\"/etc/passwd\") set in config.json failed: not a directory" },
	{ unknown_fs, -ENODEV, "mounts[3]: nosuchfs on /mnt/x" },
	{ bad_option, -EINVAL, "mounts[3]: tmpfs on /mnt/x" },
	{ no_source, -ENOENT, "mounts[3].source" },
	{ source_escape, -EINVAL, "mounts[3].source" },
	{ source_slash, -EINVAL, "mounts[3].source" },
	{ over_root, -EINVAL, "is the root itself" },
	{ over_proc, -EPERM, "cannot be mounted because it is not of type proc" },
	{ in_proc, -EPERM, "cannot be mounted because it is inside /proc" },
	{ in_proc_by_dots, -EPERM, "cannot be mounted because it is inside /proc" },
	{ odd_kind, -EINVAL, "mounts[3]: unknown kind 77" },
	{ no_devpts, -ENOENT, "is a devpts mounted at /dev/pts?" },
	{ odd_limit, -EINVAL, "process.rlimits[0]" },
	{ high_limit, -EPERM, "process.rlimits[0]" },
	{ memory_limit, -ENODEV, "linux.resources.memory.limit" },
	{ odd_sysctl, -EINVAL, "linux.sysctl" },
	{ odd_cpus, -EINVAL, "process.execCPUAffinity.final" },
	{ net_namespace, -EINVAL, "linux.namespaces" },
	{ no_mount_namespace, -EINVAL, "linux.namespaces" },
	{ odd_seccomp, -EINVAL, "linux.seccomp" },
	{ odd_device, -EINVAL, "linux.devices[0] /dev/x" },
};

static void test_refusals(void **state unused_arg)
{
	struct ctr_box b;

	NEED_HOST;
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		print_message("# %s\n", refusals[i].text);
		shell_init(&b, "true");
		refusals[i].set(&b);
		expect_refused(&b, refusals[i].code, refusals[i].text);
	}
	/* None of them left anything behind that is in the next one's way. */
	shell_init(&b, "echo fine");
	expect(&b, "fine\n", 0);
}

/* Links in the root that point out of it, or nowhere. */
static void test_links(void **state unused_arg)
{
	struct ctr_box b;
	struct stat st;

	NEED_HOST;
	assert_int_equal(
		symlink("/../../../../../../../tmp/cor-agent-outside", host_path(&host, "rootfs/out")), 0);
	assert_int_equal(symlink("../run/dangling/target", host_path(&host, "rootfs/etc/dangling")), 0);
	assert_int_equal(symlink("loop", host_path(&host, "rootfs/loop")), 0);
	shell_init(&b, "cat /out/inside; ls /tmp; cat /run/dangling/target; readlink /etc/dangling");
	(void)ctr_box_mount(&b, MOUNT_SHARE, "/out", NULL, "m0");
	ctr_box_mount(&b, MOUNT_SHARE, "/etc/dangling", NULL, "m1")->is_file = true;
	expect(&b, "from the host\ncor-agent-outside\na single file\n../run/dangling/target\n", 0);
	assert_int_equal(stat("/tmp/cor-agent-outside", &st), -1);
	shell_init(&b, "true");
	(void)ctr_box_mount(&b, MOUNT_SHARE, "/loop/x", NULL, "m0");
	expect_refused(&b, -ELOOP, "mounts[3].destination /loop/x");
	/* proc and sysfs are not mounted through a link. */
	assert_int_equal(symlink("tmp", host_path(&host, "rootfs/notsys")), 0);
	shell_init(&b, "true");
	(void)ctr_box_mount(&b, MOUNT_FS, "/notsys", "sysfs", "sysfs");
	expect_refused(&b, -EPERM, "must be mounted on an ordinary directory");
}

/* getpid() and everything else allowed, mkdir() answered with EPERM's neighbour EXDEV. */
static struct sock_filter filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static void test_seccomp(void **state unused_arg)
{
	struct ctr_box b;

	NEED_HOST;
	for (int nnp_on = 0; nnp_on < 2; nnp_on++) {
		shell_init(&b, "mkdir /tmp/d 2>&1; sed -n '/^Seccomp:/s/^.*:\\t//p' /proc/1/status");
		b.c.process.no_new_privs = nnp_on;
		b.c.process.seccomp.p = (const uint8_t *)filter;
		b.c.process.seccomp.n = sizeof filter;
		expect(&b, "mkdir: can't create directory '/tmp/d': Invalid cross-device link\n2\n", 0);
	}
}

static void test_user_namespace(void **state unused_arg)
{
	static struct msg_idmap map[] = { { 0, 200000, 65536 } };
	struct ctr_box b;
	struct run r;
	const char *const dirs[] = { "rootfs", "rootfs/tmp", "rootfs/etc" };

	NEED_HOST;
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		assert_int_equal(chown(host_path(&host, dirs[i]), 200000, 200000), 0);
	shell_init(&b, "echo ready; id -u; cat /proc/self/uid_map; touch /tmp/mine; stat -c %u /tmp/mine; "
		       "echo x >/dev/null && echo null; hostname; exec sleep 1000");
	clock_shift(&b);
	b.c.namespaces |= CLONE_NEWUSER;
	b.c.uid_map.p = b.c.gid_map.p = NULL;
	b.c.uid_map.p = map;
	b.c.uid_map.n = 1;
	b.c.gid_map.p = map;
	b.c.gid_map.n = 1;
	run_init(&r);
	if (host_create(&host, &b.c, &r) < 0)
		print_message("# %s\n", r.text);
	assert_int_equal(r.code, 0);
	assert_int_equal(host_start_ctr(&host, &r), 0);
	wait_text(&r, "guest\n");
	expect_exec(1, "id -u; stat -c %u /tmp/mine", NULL, "0\n0\n", 0);
	expect_exec(2, "id -u; cat /proc/self/oom_score_adj", as_user, "1000\n321\n", 0);
	assert_int_equal(signal_proc(PROC_INIT, SIGKILL, false), 0);
	host_finish(&host, &r);
	{
		char *text = run_text(r.out);
		struct stat st;

		assert_string_equal(text, "ready\n0\n         0     200000      65536\n0\nnull\nguest\n");
		assert_int_equal(stat(host_path(&host, "rootfs/tmp/mine"), &st), 0);
		assert_int_equal(st.st_uid, 200000);
		free(text);
	}
	run_fini(&r);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		assert_int_equal(chown(host_path(&host, dirs[i]), 0, 0), 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, box_start, box_stop)
	const struct CMUnitTest tests[] = {
		T(test_lines), T(test_refusals), T(test_links), T(test_seccomp), T(test_user_namespace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
