/* Host cgroups: hierarchies, paths and limits on a made-up tree; making, killing and removing on the
 * host's own (as root, where it can be written). */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/io.h"
#include "sys/cgroup.h"
#include "sys/cgroup_impl.h"
#include "sys/proc.h"

#define TIMEOUT_MS 10000

static const char hybrid[] =
	"23 1 0:21 / / rw - ext4 /dev/vda rw\n"
	"31 23 0:28 / /cg rw,relatime - tmpfs tmpfs rw,mode=755\n"
	"32 31 0:29 / /cg/cpu rw,relatime shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct\n"
	"36 31 0:40 / /cg/my\\040systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n"
	"33 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n"
	"34 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
	"35 31 0:32 /sub /elsewhere rw - cgroup cgroup rw,memory\n";

static void parse(const char *text, struct cgroup_layout *l)
{
	assert_int_equal(cgroup_layout_parse(text, l), 0);
}

static void test_layout_hybrid(void **state)
{
	struct cgroup_layout l;

	parse(hybrid, &l);
	assert_int_equal(l.kind, CGROUP_HYBRID);
	assert_int_equal(l.n, 4);
	assert_true(l.hiers[0].v2);
	assert_string_equal(l.hiers[0].mount, "/cg/unified");
	assert_string_equal(l.hiers[1].controllers, "cpu,cpuacct");
	assert_string_equal(l.hiers[2].controllers, "name=systemd");
	assert_string_equal(l.hiers[2].mount, "/cg/my systemd");
	assert_string_equal(l.hiers[3].mount, "/cg/memory");
	assert_true(cgroup_layout_has(&l, "cpuacct"));
	assert_false(cgroup_layout_has(&l, "acct"));
	assert_false(cgroup_layout_has(&l, "cpuac"));
	cgroup_layout_fini(&l);
	cgroup_layout_fini(&l);
}

static void test_layout_kinds(void **state)
{
	static const struct {
		const char *text;
		enum cgroup_kind kind;
		size_t n;
	} cases[] = {
		{ "", CGROUP_NONE, 0 },
		{ "garbage\n\n - cgroup\n1 2 3 4 - cgroup2 x y\n", CGROUP_NONE, 0 },
		{ "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", CGROUP_V2, 1 },
		{ "30 23 0:26 / /c rw - cgroup cgroup rw,cpu\n", CGROUP_V1, 1 },
		/* the wider one of two mounts of a hierarchy counts, in whatever order */
		{ "30 23 0:26 /docker/x /c rw - cgroup cgroup rw,cpu\n"
		  "31 23 0:26 / /d rw - cgroup cgroup rw,cpu\n",
		  CGROUP_V1, 1 },
	};
	struct cgroup_layout l;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		parse(cases[i].text, &l);
		assert_int_equal(l.kind, cases[i].kind);
		assert_int_equal(l.n, cases[i].n);
		if (i == 4)
			assert_string_equal(l.hiers[0].mount, "/d");
		cgroup_layout_fini(&l);
	}
}

static void test_plan(void **state)
{
	static const struct {
		const char *path, *want; /* NULL = refused */
	} cases[] = {
		{ NULL, "/cg/cpu/cor/c1" },
		{ "", "/cg/cpu/cor/c1" },
		{ "/a//b/./c", "/cg/cpu/a/b/c" },
		{ "a/b", "/cg/cpu/cor/a/b" },
		{ "/..", NULL },
		{ "/a/../../b", NULL },
		{ "..", NULL },
		{ "a/..", NULL },
		{ "/", NULL },
		{ "//./", NULL },
		{ "/a\nb", NULL },
		{ "/a..b/c..", "/cg/cpu/a..b/c.." },
	};
	struct cgroup_layout l;
	struct cgroup c = { 0 };
	struct err e;
	int r;

	parse(hybrid, &l);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		e = (struct err){ 0 };
		r = cgroup_plan(&l, CGROUP_FS, cases[i].path, "c1", &c, &e);
		if (!cases[i].want) {
			assert_int_equal(r, -EINVAL);
			assert_non_null(strstr(e.msg, "linux.cgroupsPath"));
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(c.n, 4);
		assert_string_equal(c.dirs[1].path, cases[i].want);
		assert_ptr_equal(cgroup_dir_for(&c, "memory"), &c.dirs[3]);
		assert_null(cgroup_dir_for(&c, "pids"));
		cgroup_fini(&c);
	}
	assert_int_equal(cgroup_plan(&l, CGROUP_DISABLED, "/..", "c1", &c, NULL), 0);
	assert_int_equal(c.n, 0);
	cgroup_fini(&c);
	cgroup_layout_fini(&l);
}

static void test_store(void **state)
{
	static const char *const bad[] = { "", "cgroupfs", "cgroupfs made -", "other made - -",
					   "cgroupfs - - -" };
	static const char *const bad_dirs[] = { "v1 4 4 cpu",        "v3 3 4 cpu /cg/a", "v1 99 4 cpu /cg/a",
						"v1 3 99 cpu /cg/a", "v1 3 2 cpu /cg/a", "v1 2 4 cpu /cg/a",
						"v1 0 0 cpu cg/a" };
	struct cgroup_layout l;
	struct cgroup c = { 0 }, d = { 0 };
	struct strv a = { 0 }, b = { 0 };

	parse(hybrid, &l);
	assert_int_equal(cgroup_plan(&l, CGROUP_FS, "/my group/x", "c1", &c, NULL), 0);
	assert_int_equal(c.dirs[2].keep, c.dirs[2].base); /* nothing of it exists */
	assert_int_equal(cgroup_encode(&c, &a), 0);
	assert_int_equal(cgroup_decode(&a, &d), 0);
	assert_int_equal(cgroup_encode(&d, &b), 0);
	assert_int_equal(a.n, 5);
	for (size_t i = 0; i < a.n; i++)
		assert_string_equal(a.p[i], b.p[i]);
	assert_string_equal(d.dirs[0].controllers, c.dirs[0].controllers);
	assert_int_equal(d.dirs[2].keep, d.dirs[2].base);
	cgroup_fini(&c);
	cgroup_fini(&d);
	strv_fini(&b);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		strv_fini(&a);
		strv_add(&a, bad[i]);
		assert_int_equal(cgroup_decode(&a, &d), -EBADMSG);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad_dirs); i++) {
		strv_fini(&a);
		strv_add(&a, "cgroupfs made - -");
		strv_add(&a, bad_dirs[i]);
		assert_int_equal(cgroup_decode(&a, &d), -EBADMSG);
	}
	strv_fini(&a);
	assert_int_equal(cgroup_decode(&a, &d), -EBADMSG);
	cgroup_layout_fini(&l);
}

static void test_conversions(void **state)
{
	static const uint64_t shares[][2] = {
		{ 0, 1 }, { 2, 1 }, { 1024, 39 }, { 262144, 10000 }, { 1u << 30, 10000 }
	};
	static const uint64_t weights[][2] = { { 10, 1 }, { 500, 4950 }, { 1000, 10000 } };

	for (size_t i = 0; i < ARRAY_LEN(shares); i++)
		assert_int_equal(cgroup_shares_to_weight(shares[i][0]), shares[i][1]);
	for (size_t i = 0; i < ARRAY_LEN(weights); i++)
		assert_int_equal(cgroup_blkio_to_io_weight(weights[i][0]), weights[i][1]);
}

/* --- a made-up cgroup directory: ordinary files that take what is written --- */

struct fake {
	char dir[64];
	struct cgroup_dir d;
	struct cgroup c;
};

static void fake_file(struct fake *f, const char *name, const char *text)
{
	char path[PATH_MAX];
	int fd;

	(void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
	(void)close(fd);
}

static void fake_init(struct fake *f, bool v2, const char *controllers, const char *const *files)
{
	*f = (struct fake){ .dir = "/tmp/cor-cgroup-XXXXXX" };
	assert_non_null(mkdtemp(f->dir));
	f->d = (struct cgroup_dir){ .v2 = v2, .path = f->dir, .controllers = (char *)(uintptr_t)controllers };
	f->c = (struct cgroup){ .dirs = &f->d, .n = 1 };
	for (; *files; files++)
		fake_file(f, *files, "");
}

static void fake_fini(struct fake *f)
{
	assert_int_equal(io_remove_tree_at(AT_FDCWD, f->dir), 0);
}

/* The first `strlen(want)` bytes: ordinary files keep the tail of longer old text. */
static void fake_has(struct fake *f, const char *name, const char *want)
{
	scoped_free char *path = str_fmt("%s/%s", f->dir, name);
	scoped_free char *text = NULL;
	size_t len;

	assert_int_equal(io_read_file_at(AT_FDCWD, path, 4096, &text, &len), 0);
	if (strncmp(text, want, strlen(want)) != 0 || (*want == '\0' && *text))
		fail_msg("%s holds \"%s\", not \"%s\"", name, text, want);
}

static const struct cgroup_dev_value dev8 = { 8, 16, 1000 };
static const struct cgroup_limits many = {
	.has_memory = true,
	.memory = 1 << 20,
	.has_swap = true,
	.swap = 3 << 20,
	.has_reservation = true,
	.reservation = -1,
	.has_shares = true,
	.shares = 1024,
	.has_quota = true,
	.quota = 50000,
	.has_period = true,
	.period = 100000,
	.has_burst = true,
	.burst = 10,
	.has_idle = true,
	.idle = 1,
	.cpus = "0-1",
	.mems = "0",
	.has_pids = true,
	.pids = 0,
	.has_weight = true,
	.weight = 500,
	.read_bps = { &dev8, 1 },
	.write_iops = { &dev8, 1 },
	.weight_device = { &dev8, 1 },
};

static void test_limits_v2(void **state)
{
	static const char *const files[] = { "memory.max",  "memory.swap.max", "memory.low", "cpu.weight",
					     "cpu.max",     "cpu.max.burst",   "cpu.idle",   "cpuset.cpus",
					     "cpuset.mems", "pids.max",        "io.weight",  "io.max",
					     NULL };
	struct fake f;

	fake_init(&f, true, "cpuset,cpu,io,memory,pids", files);
	assert_int_equal(cgroup_apply(&f.c, &many, NULL), 0);
	fake_has(&f, "memory.max", "1048576");
	fake_has(&f, "memory.swap.max", "2097152");
	fake_has(&f, "memory.low", "max");
	fake_has(&f, "cpu.weight", "39");
	fake_has(&f, "cpu.max", "50000 100000");
	fake_has(&f, "cpu.max.burst", "10");
	fake_has(&f, "cpu.idle", "1");
	fake_has(&f, "cpuset.cpus", "0-1");
	fake_has(&f, "pids.max", "256");
	fake_has(&f, "io.weight", "8:16 10000");
	fake_has(&f, "io.max", "8:16 wiops=1000");
	/* a period alone keeps the quota that is set */
	fake_file(&f, "cpu.max", "70000 100000\n");
	assert_int_equal(
		cgroup_apply(&f.c, &(struct cgroup_limits){ .has_period = true, .period = 200000 }, NULL), 0);
	fake_has(&f, "cpu.max", "70000 200000");
	fake_fini(&f);
}

static void test_limits_v1(void **state)
{
	static const char *const files[] = { "memory.limit_in_bytes",
					     "memory.memsw.limit_in_bytes",
					     "memory.soft_limit_in_bytes",
					     "cpu.shares",
					     "cpu.cfs_period_us",
					     "cpu.cfs_quota_us",
					     "cpu.cfs_burst_us",
					     "cpu.idle",
					     "cpuset.cpus",
					     "cpuset.mems",
					     "pids.max",
					     "blkio.bfq.weight",
					     "blkio.bfq.weight_device",
					     "blkio.throttle.read_bps_device",
					     "blkio.throttle.write_iops_device",
					     NULL };
	struct fake f;

	fake_init(&f, false, "cpuset,cpu,blkio,memory,pids", files);
	assert_int_equal(cgroup_apply(&f.c, &many, NULL), 0);
	fake_has(&f, "memory.limit_in_bytes", "1048576");
	fake_has(&f, "memory.memsw.limit_in_bytes", "3145728");
	fake_has(&f, "memory.soft_limit_in_bytes", "-1");
	fake_has(&f, "cpu.shares", "1024");
	fake_has(&f, "cpu.cfs_period_us", "100000");
	fake_has(&f, "cpu.cfs_quota_us", "50000");
	fake_has(&f, "pids.max", "256");
	fake_has(&f, "blkio.bfq.weight", "500");
	fake_has(&f, "blkio.bfq.weight_device", "8:16 1000");
	fake_has(&f, "blkio.throttle.read_bps_device", "8:16 1000");
	fake_fini(&f);
}

static void refused(struct fake *f, const struct cgroup_limits *l, int code, const char *words)
{
	struct err e = { 0 };

	assert_int_equal(cgroup_apply(&f->c, l, &e), code);
	if (!strstr(e.msg, words))
		fail_msg("\"%s\" does not say \"%s\"", e.msg, words);
}

static void test_limits_refused(void **state)
{
	static const char *const files[] = { "pids.max", "memory.max", "memory.swap.max", "memory.high",
					     NULL };
	const struct cgroup_kv high = { "memory.high", "1000" }, missing = { "rdma.max", "1" },
			       escape = { "../x", "1" };
	struct fake f;

	fake_init(&f, true, "memory,pids", files);
	refused(&f, &(struct cgroup_limits){ .has_shares = true, .shares = 5 }, -EOPNOTSUPP,
		"linux.resources.cpu.shares: no cgroup of this host has the cpu controller");
	refused(&f, &(struct cgroup_limits){ .has_reservation = true, .reservation = 5 }, -EOPNOTSUPP,
		"no memory.low");
	refused(&f, &(struct cgroup_limits){ .has_swap = true, .swap = 5 }, -EINVAL,
		"linux.resources.memory.swap");
	refused(&f, &(struct cgroup_limits){ .unified = &missing, .n_unified = 1 }, -EOPNOTSUPP, "rdma.max");
	refused(&f, &(struct cgroup_limits){ .unified = &escape, .n_unified = 1 }, -EINVAL, "is no file");
	/* zeros that mean "unset" */
	assert_int_equal(cgroup_apply(&f.c,
				      &(struct cgroup_limits){ .has_shares = true,
							       .has_weight = true,
							       .has_memory = true,
							       .has_quota = true,
							       .cpus = "" },
				      NULL),
			 0);
	/* a size for the container becomes one for the VM */
	assert_int_equal(cgroup_apply(&f.c,
				      &(struct cgroup_limits){
					      .unified = &high, .n_unified = 1, .memory_overhead = 234 },
				      NULL),
			 0);
	fake_has(&f, "memory.high", "1234");
	f.d.v2 = false;
	refused(&f, &(struct cgroup_limits){ .unified = &high, .n_unified = 1 }, -EOPNOTSUPP, "cgroup v2");
	fake_fini(&f);
}

/* --- the host's own cgroups --- */

struct host {
	struct cgroup_layout l;
	struct cgroup c;
	char path[64];
	struct strv warnings;
};

enum use { USE_ALL, USE_V1, USE_V2 };

/* Drops the hierarchies that are not wanted. */
static void choose(struct cgroup_layout *l, enum use use)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (use == USE_ALL || l->hiers[i].v2 == (use == USE_V2)) {
			l->hiers[n++] = l->hiers[i];
			continue;
		}
		free(l->hiers[i].controllers);
		free(l->hiers[i].mount);
		free(l->hiers[i].root);
		free(l->hiers[i].dev);
	}
	l->n = n;
}

/* The host's hierarchies; skips where they can't be written. */
static void host_init(struct host *h, enum use use)
{
	*h = (struct host){ 0 };
	(void)snprintf(h->path, sizeof h->path, "/cor-test-%d/a/b", (int)getpid());
	assert_int_equal(cgroup_layout_read(&h->l), 0);
	choose(&h->l, use);
	if (geteuid() != 0 || h->l.n == 0 || access(h->l.hiers[0].mount, W_OK) < 0) {
		print_message("# skipped: needs root and writable cgroups of that version\n");
		cgroup_layout_fini(&h->l);
		skip();
	}
	assert_int_equal(cgroup_plan(&h->l, CGROUP_FS, h->path, "x", &h->c, NULL), 0);
}

static void host_create(struct host *h, const struct cgroup_limits *l)
{
	struct err e = { 0 };
	int r = cgroup_create(&h->c, l, &h->warnings, &e);

	for (size_t i = 0; i < h->warnings.n; i++)
		print_message("# %s\n", h->warnings.p[i]);
	if (r < 0)
		fail_msg("%s", e.msg);
}

static void host_fini(struct host *h)
{
	cgroup_fini(&h->c);
	cgroup_layout_fini(&h->l);
	strv_fini(&h->warnings);
}

/* A process in the cgroup that ignores every signal it can; `grandchildren` more of them. */
static pid_t member(struct host *h, int grandchildren)
{
	struct strv files = { 0 };
	int ready[2];
	pid_t pid, self = getpid();
	char byte;

	cgroup_procs(&h->c, &files);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		for (size_t i = 0; i < files.n; i++)
			if (io_write_existing_at(AT_FDCWD, files.p[i], "0") < 0)
				_exit(1);
		(void)signal(SIGTERM, SIG_IGN);
		for (int i = 0; i < grandchildren; i++) {
			pid = getpid();
			if (fork() == 0) {
				self = pid;
				break;
			}
		}
		if (proc_die_with_parent(self) < 0)
			_exit(1);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	(void)close(ready[1]);
	for (int i = 0; i < 1 + grandchildren; i++)
		assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	strv_fini(&files);
	return pid;
}

static void assert_gone(struct host *h)
{
	static const char *const below[] = { "", "/cor" };
	char path[PATH_MAX];
	struct stat st;

	for (size_t i = 0; i < 2 * h->l.n; i++) {
		(void)snprintf(path, sizeof path, "%s%s/cor-test-%d", h->l.hiers[i / 2].mount, below[i % 2],
			       (int)getpid());
		if (stat(path, &st) == 0 || errno != ENOENT)
			fail_msg("%s is still there", path);
	}
}

static void life(enum use use)
{
	struct cgroup other = { 0 };
	struct strv lines = { 0 };
	struct err e = { 0 };
	struct host h;
	pid_t *pids, pid;
	size_t n;

	host_init(&h, use);
	host_create(&h, &(struct cgroup_limits){ 0 });
	pid = member(&h, 3);
	assert_int_equal(cgroup_pids(&h.c, &pids, &n), 0);
	assert_int_equal(n, 4);
	free(pids);
	/* nobody moves in with somebody */
	assert_int_equal(cgroup_plan(&h.l, CGROUP_FS, h.path, "x", &other, NULL), 0);
	assert_int_equal(cgroup_create(&other, &(struct cgroup_limits){ 0 }, &h.warnings, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "linux.cgroupsPath"));
	/* and a create that crashed before it noticed ends nobody */
	assert_int_equal(cgroup_kill(&other, TIMEOUT_MS), 0);
	assert_int_equal(cgroup_remove(&other, TIMEOUT_MS, &e), 0);
	cgroup_fini(&other);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	/* not removed while somebody is in it */
	assert_int_equal(cgroup_remove(&h.c, 20, &e), -EBUSY);
	assert_int_equal(cgroup_pids(&h.c, &pids, &n), 0);
	assert_int_equal(n, 4);
	free(pids);
	/* the end, from what was stored */
	assert_int_equal(cgroup_encode(&h.c, &lines), 0);
	assert_int_equal(cgroup_decode(&lines, &other), 0);
	assert_int_equal(cgroup_kill(&other, TIMEOUT_MS), 0);
	assert_int_equal(cgroup_pids(&other, &pids, &n), 0);
	assert_int_equal(n, 0);
	free(pids);
	assert_int_equal(cgroup_remove(&other, TIMEOUT_MS, &e), 0);
	assert_gone(&h);
	/* gone is success */
	assert_int_equal(cgroup_kill(&other, TIMEOUT_MS), 0);
	assert_int_equal(cgroup_remove(&other, TIMEOUT_MS, &e), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	cgroup_fini(&other);
	strv_fini(&lines);
	host_fini(&h);
}

static void test_life(void **state)
{
	life(USE_ALL);
}

static void test_life_v2(void **state)
{
	life(USE_V2);
}

/* Without cgroup.kill. */
static void test_life_v1(void **state)
{
	life(USE_V1);
}

/* Whoever is in the cgroup himself does not end himself. */
static void test_not_self(void **state)
{
	struct host h;
	int status;
	pid_t pid;

	host_init(&h, USE_ALL);
	host_create(&h, &(struct cgroup_limits){ 0 });
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		pid_t other = member(&h, 0);
		struct strv files = { 0 };

		cgroup_procs(&h.c, &files);
		for (size_t i = 0; i < files.n; i++)
			if (io_write_existing_at(AT_FDCWD, files.p[i], "0") < 0)
				_exit(2);
		_exit(cgroup_kill(&h.c, TIMEOUT_MS) == 0 && waitpid(other, &status, 0) == other &&
				      WIFSIGNALED(status)
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(cgroup_remove(&h.c, TIMEOUT_MS, NULL), 0);
	assert_gone(&h);
	host_fini(&h);
}

/* Memory and memory with swap bound each other: the order of writes depends on the old values. */
static void test_host_swap(void **state)
{
	struct cgroup_limits l = {
		.has_memory = true, .memory = 64 << 20, .has_swap = true, .swap = 64 << 20
	};
	scoped_free char *file = NULL;
	struct err e = { 0 };
	struct host h;

	host_init(&h, USE_V1);
	host_create(&h, &(struct cgroup_limits){ 0 });
	if (cgroup_dir_for(&h.c, "memory"))
		file = str_fmt("%s/memory.memsw.limit_in_bytes", cgroup_dir_for(&h.c, "memory")->path);
	if (!file || access(file, W_OK) < 0) {
		print_message("# skipped: no swap accounting of cgroup v1\n");
		assert_int_equal(cgroup_remove(&h.c, TIMEOUT_MS, &e), 0);
		host_fini(&h);
		skip();
	}
	for (int up = 1; up >= -1; up -= 2) {
		assert_int_equal(cgroup_apply(&h.c, &l, &e), 0);
		l.memory += up * (32 << 20);
		l.swap = l.memory;
	}
	assert_int_equal(cgroup_apply(&h.c, &l, &e), 0);
	assert_int_equal(cgroup_remove(&h.c, TIMEOUT_MS, &e), 0);
	host_fini(&h);
}

/* After a failed test: nothing of it stays on the host. */
static int group_teardown(void **state)
{
	struct cgroup_layout l = { 0 };
	struct cgroup c = { 0 };
	char path[64];

	if (geteuid() != 0 || cgroup_layout_read(&l) < 0)
		return 0;
	(void)snprintf(path, sizeof path, "/cor-test-%d", (int)getpid());
	if (cgroup_plan(&l, CGROUP_FS, path, "x", &c, NULL) == 0) {
		c.owned = true;
		may_fail(cgroup_kill(&c, TIMEOUT_MS));
		may_fail(cgroup_remove(&c, TIMEOUT_MS, NULL));
	}
	cgroup_fini(&c);
	cgroup_layout_fini(&l);
	return 0;
}

static void host_has(struct host *h, const char *controller, const char *file, const char *want)
{
	const struct cgroup_dir *d = cgroup_dir_for(&h->c, controller);
	scoped_free char *path = str_fmt("%s/%s", d->path, file);
	scoped_free char *text = NULL;
	size_t len;

	assert_int_equal(io_read_file_at(AT_FDCWD, path, 4096, &text, &len), 0);
	assert_string_equal(text, want);
}

static void test_host_limits(void **state)
{
	struct cgroup_limits l = { .has_memory = true,
				   .memory = 64 << 20,
				   .has_shares = true,
				   .shares = 512,
				   .has_quota = true,
				   .quota = 50000,
				   .has_period = true,
				   .period = 100000,
				   .cpus = "0",
				   .has_pids = true,
				   .pids = 10 };
	struct err e = { 0 };
	struct host h;

	host_init(&h, USE_ALL);
	if (h.l.kind == CGROUP_V2 || !cgroup_layout_has(&h.l, "memory") || !cgroup_layout_has(&h.l, "cpu")) {
		print_message("# skipped: this host has no v1 memory and cpu hierarchy\n");
		host_fini(&h);
		skip();
	}
	host_create(&h, &l);
	host_has(&h, "memory", "memory.limit_in_bytes", "67108864\n");
	host_has(&h, "cpu", "cpu.shares", "512\n");
	host_has(&h, "cpu", "cpu.cfs_quota_us", "50000\n");
	host_has(&h, "cpuset", "cpuset.cpus", "0\n");
	host_has(&h, "pids", "pids.max", "266\n");
	/* period below the quota's old value and back: the order of writes can't be fixed */
	l.quota = 5000;
	l.period = 5000;
	l.memory = 128 << 20;
	assert_int_equal(cgroup_apply(&h.c, &l, &e), 0);
	host_has(&h, "cpu", "cpu.cfs_period_us", "5000\n");
	host_has(&h, "memory", "memory.limit_in_bytes", "134217728\n");
	/* what the kernel refuses is named */
	l = (struct cgroup_limits){ .cpus = "4000" };
	assert_true(cgroup_apply(&h.c, &l, &e) < 0);
	assert_non_null(strstr(e.msg, "linux.resources.cpu.cpus"));
	assert_int_equal(cgroup_remove(&h.c, TIMEOUT_MS, &e), 0);
	assert_gone(&h);
	host_fini(&h);
}

/* A create that was killed: what its plan says is enough to remove what it had made. */
static void test_crash(void **state)
{
	struct strv lines = { 0 };
	struct cgroup c = { 0 };
	struct host h;

	host_init(&h, USE_ALL);
	assert_int_equal(cgroup_encode(&h.c, &lines), 0);
	host_create(&h, &(struct cgroup_limits){ 0 });
	assert_int_equal(cgroup_decode(&lines, &c), 0);
	assert_false(c.owned);
	assert_int_equal(cgroup_kill(&c, TIMEOUT_MS), 0);
	assert_int_equal(cgroup_remove(&c, TIMEOUT_MS, NULL), 0);
	assert_gone(&h);
	cgroup_fini(&c);
	strv_fini(&lines);
	host_fini(&h);
}

/* A limit that can't be set leaves nothing behind. */
static void test_undo(void **state)
{
	struct cgroup_limits l = { .cpus = "4000" };
	struct err e = { 0 };
	struct host h;

	host_init(&h, USE_ALL);
	assert_true(cgroup_create(&h.c, &l, &h.warnings, &e) < 0);
	assert_gone(&h);
	host_fini(&h);
}

static _Noreturn void race_child(struct host *h)
{
	struct err e = { 0 };

	for (int i = 0; i < 20; i++) {
		struct cgroup c = { 0 };
		char path[64];

		(void)snprintf(path, sizeof path, "cor-test-%d/%d", (int)getppid(), (int)getpid());
		if (cgroup_plan(&h->l, CGROUP_FS, path, "x", &c, &e) < 0 ||
		    cgroup_create(&c, &(struct cgroup_limits){ 0 }, &h->warnings, &e) < 0 ||
		    cgroup_remove(&c, TIMEOUT_MS, &e) < 0) {
			print_message("# %s\n", e.msg);
			_exit(1);
		}
		cgroup_fini(&c);
	}
	_exit(h->warnings.n ? 2 : 0);
}

/* Many containers that come and go share parents, below our own directory. */
static void test_race(void **state)
{
	pid_t kids[8];
	struct host h;
	int status;

	host_init(&h, USE_ALL);
	for (size_t k = 0; k < ARRAY_LEN(kids); k++) {
		kids[k] = fork();
		assert_true(kids[k] >= 0);
		if (kids[k] != 0)
			continue;
		race_child(&h);
	}
	for (size_t k = 0; k < ARRAY_LEN(kids); k++) {
		assert_int_equal(waitpid(kids[k], &status, 0), kids[k]);
		assert_int_equal(status, 0);
	}
	assert_gone(&h);
	host_fini(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout_hybrid), cmocka_unit_test(test_layout_kinds),
		cmocka_unit_test(test_plan),          cmocka_unit_test(test_store),
		cmocka_unit_test(test_conversions),   cmocka_unit_test(test_limits_v2),
		cmocka_unit_test(test_limits_v1),     cmocka_unit_test(test_limits_refused),
		cmocka_unit_test(test_life),          cmocka_unit_test(test_life_v2),
		cmocka_unit_test(test_life_v1),       cmocka_unit_test(test_not_self),
		cmocka_unit_test(test_crash),         cmocka_unit_test(test_host_swap),
		cmocka_unit_test(test_host_limits),   cmocka_unit_test(test_undo),
		cmocka_unit_test(test_race),
	};

	return cmocka_run_group_tests_name("sys/cgroup", tests, NULL, group_teardown);
}
