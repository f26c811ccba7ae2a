/* pool.c - see pool.h. Never: delays or fails a container because of the pool. */
#include "runtime/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/io.h"
#include "oci/template.h"
#include "runtime/plan.h"
#include "runtime/spawn.h"
#include "sys/cgroup.h"

#define SHARES     ".pool" /* below template.dir: the mount points of the shares, for as long as a VM lives */
#define CGROUP     "/cor-pool"
#define NS_PER_MS  1000000u
#define NEW_S      60 /* a keeper locks its mount point within that time */
#define SECCOMP_NR 0  /* where a filter finds the number of the system call */

/* Filters of engines are longer; attaching and passing one is what is to be rehearsed. */
static const struct sock_filter filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SECCOMP_NR),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ~0u, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static bool has_images(const struct vmcfg *vm)
{
	return vm->layers.n > vmcfg_os_layers(vm);
}

bool pool_suits(const struct settings *s, const struct spec *spec, const struct vmcfg *vm)
{
	const struct hv_ops *ops = hv_ops_of(vm);

	return s->pool > 0 && !has_images(vm) && vm->template_dir && ops && ops->control &&
	       !spec->process.selinux_label && spec->hooks.lists[HOOK_CREATE_CONTAINER].n == 0;
}

/* One that waits is enough: it stays. */
static bool is_copied(const struct settings *s, const struct vmcfg *vm)
{
	return s->pool_fork && vm->hypervisor == PLAN_HV_QEMU && !vm->kvm && vm->hypervisor_preload;
}

static int open_pool(const char *template_dir, bool make, struct err *e)
{
	scoped_free char *path = str_fmt("%s/" POOL_DIR, template_dir);
	int fd;

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_set(e, -errno, "pool: mkdir %s: %m", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_set(e, -errno, "pool %s: %m", path) : fd;
}

/* -ESTALE: whoever had the lock has drained the pool, and removed the lock with it. */
static int lock(int pool, bool wait)
{
	scoped_fd fd = openat(pool, POOL_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct stat held, now;
	int r;

	if (fd < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	do {
		r = flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB));
	} while (r < 0 && errno == EINTR);
	if (r < 0 || fstat(fd, &held) < 0)
		return -errno;
	if (fstatat(pool, POOL_LOCK, &now, AT_SYMLINK_NOFOLLOW) < 0 || now.st_dev != held.st_dev ||
	    now.st_ino != held.st_ino)
		return -ESTALE;
	return take_fd(&fd);
}

/* The pool, and its lock as the result. -ENOENT: there is none, and none was to be made. */
static int enter(const char *template_dir, bool make, bool wait, int *ret_pool, struct err *e)
{
	int r;

	do {
		scope_close(ret_pool);
		*ret_pool = open_pool(template_dir, make, e);
		if (*ret_pool < 0)
			return *ret_pool;
		r = lock(*ret_pool, wait);
	} while (r == -ESTALE);
	return r < 0 ? err_set(e, r, "pool of template %s: lock: %m", template_dir) : r;
}

/* What VMs rehearse: the container of `cor spec`, with a program that comes with the keeper. */
static int plan_rehearsal(const struct settings *s, const char *libexecdir, struct spec *spec,
			  struct arena *a, struct mon_plan *plan, struct err *e)
{
	static const char *const args[] = { REHEARSAL_PROGRAM, REHEARSAL_WORD };
	struct plan_in in = { .spec = spec,
			      .settings = s,
			      .id = "pool",
			      .bundle = "/",
			      .state_dir = "/",
			      .libexecdir = libexecdir };
	scoped_str text = { 0 };
	struct msg_process *p = &plan->ctr.process;
	int r;

	template_write(&template_spec, &text);
	r = str_check(&text);
	if (r == 0)
		r = spec_parse(text.p, text.len, spec, e);
	if (r < 0)
		return err_set(e, r, "pool: rehearsal: %m");
	spec->process.terminal = false;
	r = plan_ctr(&in, a, plan, e);
	if (r < 0)
		return r;
	p->args.p = arena_array(a, ARRAY_LEN(args), sizeof *p->args.p);
	if (!p->args.p)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ARRAY_LEN(args); i++) {
		p->args.p[i] = arena_str(a, args[i]);
		if (!p->args.p[i])
			return err_set(e, -ENOMEM, "out of memory");
	}
	p->args.n = ARRAY_LEN(args);
	p->seccomp = (struct pack_blob){ .p = (const uint8_t *)filter, .n = sizeof filter };
	return 0;
}

static int wait_end(pid_t pid, struct err *e)
{
	while (waitpid(pid, NULL, 0) < 0)
		if (errno != EINTR)
			return err_set(e, -errno, "pool: the end of a keeper: %m");
	return 0;
}

/* From the plan to a VM that waits, or to the end of one that only learns. Its keeper stays, whoever becomes
 * its parent. */
static int start_keeper(const char *monitor, int state, struct mon_plan *plan, struct err *e)
{
	struct spawned s;
	int r;

	if (mkdir(plan->vm.share, 0700) < 0)
		return err_set(e, -errno, "pool: mkdir %s: %m", plan->vm.share);
	r = spawn_process(monitor, plan->vm.share, state, -1, -1, &s, e);
	if (r == 0) {
		if (!plan->learn)
			cgroup_join_shared(CGROUP, s.pid);
		r = spawn_go(&s, plan, e);
		if (r == 0)
			r = spawn_wait(&s, MSG_S_CREATED, e);
		if (r < 0)
			spawn_abort(&s);
		scope_close(&s.sync);
		if (r == 0 && plan->learn)
			r = wait_end(s.pid, e);
	}
	if (r < 0)
		(void)rmdir(plan->vm.share); /* its keeper may have done it */
	return r;
}

/* Mount points of keepers that were killed. One that lives holds a lock; one that was just started may not
 * yet. And nobody may remove a directory that is a mount point elsewhere: the kernel would take the mount
 * away. */
static void clean(const char *shares)
{
	scoped_dir d = opendir(shares);
	struct dirent *ent;
	struct timespec now;
	struct stat st;

	if (!d || clock_gettime(CLOCK_REALTIME, &now) < 0)
		return;
	while ((ent = readdir(d)) != NULL) {
		scoped_fd fd = ent->d_name[0] == '.'
				       ? -1
				       : openat(dirfd(d), ent->d_name,
						O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (fd >= 0 && fstat(fd, &st) == 0 && st.st_ctim.tv_sec + NEW_S < now.tv_sec &&
		    flock(fd, LOCK_EX | LOCK_NB) == 0)
			(void)unlinkat(dirfd(d), ent->d_name, AT_REMOVEDIR); /* tried again next time */
	}
}

/* `state`: the keeper's directory. */
static int start_one(const struct settings *s, const char *libexecdir, int state, bool learn,
		     const struct vmcfg *vm, struct err *e)
{
	struct mon_plan plan = { .version = PROTO_VERSION, .keeper = true, .learn = learn };
	scoped_arena a = { 0 };
	scoped_spec spec = { 0 };
	char name[POOL_NAME], *monitor;
	int r;

	plan.id = arena_str(&a, "pool");
	plan.state_dir = arena_fmt(&a, "%s%s", vm->template_dir, learn ? "" : "/" POOL_DIR);
	r = plan.id && plan.state_dir ? 0 : err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = plan_rehearsal(s, libexecdir, &spec, &a, &plan, e);
	if (r == 0)
		r = spawn_monitor_path(libexecdir, &a, &monitor, e);
	if (r < 0)
		return r;
	if (pool_name(name) < 0)
		return err_set(e, -EIO, "pool: random name");
	plan.vm = *vm;
	plan.vm.forkable = !learn && is_copied(s, vm);
	plan.vm.waits = !learn;
	plan.boot_timeout_ms = (uint32_t)(s->boot_timeout_ns / NS_PER_MS);
	plan.vm.share = arena_fmt(&a, "%s/" SHARES "/%s", s->template_dir, name);
	if (!plan.vm.share)
		return err_set(e, -ENOMEM, "out of memory");
	return start_keeper(monitor, state, &plan, e);
}

int pool_fill(const struct settings *s, const char *libexecdir, const struct vmcfg *vm, bool wait,
	      struct err *e)
{
	scoped_free char *shares = str_fmt("%s/" SHARES, s->template_dir);
	scoped_fd pool = -1, locked = -1;
	int r;

	locked = enter(vm->template_dir, true, wait, &pool, e);
	if (locked < 0)
		return locked == -EWOULDBLOCK ? 0 : locked;
	r = shares ? io_mkdirs(shares, 0700) : -ENOMEM;
	if (r < 0)
		return err_set(e, r, "pool: %m");
	clean(shares);
	/* Not more often than that, should they end as quickly as they are made. */
	for (uint64_t i = 0; i <= s->pool; i++) {
		scoped_free struct pool_entry *all = NULL;
		size_t n = 0;

		r = pool_list(vm->template_dir, &all, &n);
		if (r < 0)
			return err_set(e, r, "pool: %m");
		if (n >= (is_copied(s, vm) ? 1 : s->pool))
			return 0;
		r = start_one(s, libexecdir, pool, false, vm, e);
		if (r < 0)
			return r;
	}
	return err_set(e, -EIO, "pool of template %s: waiting VMs end at once", vm->template_dir);
}

void pool_learn(const struct vmcfg *vm, void *arg)
{
	const struct pool_host *host = arg;
	const struct settings *s = host->settings;
	scoped_free char *shares = str_fmt("%s/" SHARES, s->template_dir);
	const struct hv_ops *ops = hv_ops_of(vm);
	struct err e = { 0 };
	scoped_fd dir = -1;

	if (!ops || !ops->learn || !shares || io_mkdirs(shares, 0700) < 0)
		return;
	dir = open(vm->template_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0)
		may_fail(start_one(s, host->libexecdir, dir, true, vm, &e)); /* clones do without */
	(void)rmdir(shares);                                                 /* stays while VMs wait */
}

int pool_drain(const struct settings *s, const char *template_dir, struct err *e)
{
	scoped_free char *shares = str_fmt("%s/" SHARES, s->template_dir);
	scoped_free char *path = str_fmt("%s/" POOL_DIR, template_dir);
	scoped_fd pool = -1, locked = -1;
	int r;

	if (!shares || !path)
		return err_set(e, -ENOMEM, "out of memory");
	/* Whoever fills it is through in seconds; its VMs end, too. */
	locked = enter(template_dir, false, true, &pool, e);
	if (locked < 0)
		return locked == -ENOENT ? 0 : locked;
	r = pool_end(template_dir);
	/* Each of these stays as long as somebody uses it. The lock is the last that others wait for. */
	(void)rmdir(shares);
	cgroup_remove_shared(CGROUP);
	(void)unlinkat(pool, POOL_LOCK, 0);
	(void)rmdir(path);
	return r < 0 ? err_set(e, r, "pool of template %s: %m", template_dir) : 0;
}

bool pool_wants(const struct settings *s, const struct vmcfg *vm)
{
	scoped_free char *path = vm->template_dir ? str_fmt("%s/" POOL_DIR, vm->template_dir) : NULL;

	return path && !has_images(vm) && (s->pool > 0 || access(path, F_OK) == 0);
}
