/* start.c - the monitor's start: a table of steps in the order in which they happen.
 *
 * Each step says what it needs from the one before in its place in the table. A failed step ends the
 * monitor: its namespaces, mounts and the VM go with it. The VM is started before anything else that
 * takes time, with an empty share; what the container needs of the host is made beside the hypervisor's
 * start. The guest sets up the container from MSG_S_HOOKS_DONE on; what the container itself does waits for
 * MSG_S_CGROUPS_DONE, too: then `cor` has moved monitor and VM to the container's cgroup. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "base/log.h"
#include "hyper/pool.h"
#include "hyper/template.h"
#include "monitor/priv.h"
#include "sys/mnt.h"
#include "sys/ns.h"
#include "sys/proc.h"
#include "sys/selinux.h"
#include "sys/share.h"

static int read_plan(struct monitor *m, struct err *e)
{
	int r;

	m->mem.max = 4 * MSG_MAX;
	r = ctl_from_memfd(&rec_mon_plan, PLAN_FD_PLAN, &m->mem, &m->plan);
	if (r == 0 && m->plan.version != PROTO_VERSION)
		r = -EPROTO;
	if (r < 0)
		return err_set(e, r, "start plan: %m (cor and cor-monitor must come from one build)");
	(void)close(PLAN_FD_PLAN);
	log_setup("cor-monitor", LOG_LVL_WARN);
	log_to_fd(PLAN_FD_LOG, m->plan.log && m->plan.log_json, false);
	if (m->plan.marks)
		m->marks_fd = openat(m->state_fd, "marks", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	m->marks = (struct marks){ .fd = m->marks_fd, .proc = "monitor" };
	mark_put(&m->marks, "monitor");
	return 0;
}

/* The container's part, made by cor while the VM starts. What has become of the VM's is known only here. */
static int read_rest(struct monitor *m, struct err *e)
{
	const struct vmcfg vm = m->plan.vm;
	const bool pool = m->plan.pool;
	not_cleared struct ctl_msg msg;
	int r;

	if (!m->plan.vm_only)
		return 0; /* it was whole */
	r = io_wait_readable(m->sync_fd, -1);
	if (r == 0)
		r = ctl_recv(m->sync_fd, &msg);
	if (r == 0)
		return err_set(e, -EPIPE, "the cor that started the container is gone");
	if (r < 0)
		return err_set(e, r, "start plan: %m");
	r = msg.type == MSG_S_PLAN && msg.n_fds == 1
		    ? ctl_from_memfd(&rec_mon_plan, msg.fds[0], &m->mem, &m->plan)
		    : -EPROTO;
	ctl_fini(&msg);
	if (r == 0 && m->plan.vm_only)
		r = -EPROTO;
	m->plan.vm = vm;
	m->plan.pool = pool;
	return r < 0 ? err_set(e, r, "start plan: %m") : 0;
}

/* Its own session: a caller that kills its process group (conmon's timeout) reaches us and the VM,
 * not others; and a terminal can become the controlling one. */
static int own_session(struct monitor *m, struct err *e)
{
	struct rlimit files;

	if (setsid() < 0 && errno != EPERM) /* EPERM: the leader already */
		return err_set(e, -errno, "setsid: %m");
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return err_set(e, -errno, "signal: %m");
	/* Each exec session takes four descriptors; the caller's soft limit is made for select(2). */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files); /* it then works with fewer */
	}
	if (m->plan.keeper)
		return stdio_release(e); /* of `cor pool fill`, which ends */
	return 0;
}

static int set_oom_score(struct monitor *m, struct err *e)
{
	int r;

	if (!m->plan.has_oom_score_adj)
		return 0;
	r = proc_set_oom_score_adj(m->plan.oom_score_adj);
	/* Lowering needs CAP_SYS_RESOURCE on the host; inside the guest it is applied in any case. */
	if (r == -EACCES)
		return 0;
	return r < 0 ? err_set(e, r, "process.oomScoreAdj: %m") : 0;
}

static int enter_namespaces(struct monitor *m, struct err *e)
{
	struct ns_want want[16];
	size_t n = m->plan.namespaces.n;

	if (n > ARRAY_LEN(want))
		return err_set(e, -E2BIG, "too many namespaces");
	for (size_t i = 0; i < n; i++)
		want[i] = (struct ns_want){ .type = m->plan.namespaces.p[i].type,
					    .path = m->plan.namespaces.p[i].path };
	return ns_enter(want, n, e);
}

static void describe_share(const struct monitor *m, struct share *s, struct share_bind *binds)
{
	*s = (struct share){ .dir = m->share,
			     .root = m->plan.root,
			     .root_readonly = m->plan.root_readonly,
			     .binds = binds,
			     .n_binds = m->plan.binds.n };
	for (size_t i = 0; i < m->plan.binds.n; i++) {
		const struct plan_bind *b = &m->plan.binds.p[i];

		binds[i] = (struct share_bind){ .name = b->name,
						.source = b->source,
						.dest = b->dest,
						.is_file = b->is_file,
						.readonly = b->readonly,
						.recursive = b->recursive,
						.uid_map = b->uid_map,
						.gid_map = b->gid_map,
						.map_recursive = b->map_recursive };
	}
}

/* True if an earlier mount covers the place: then it is not in the root file system. */
static bool is_covered(const struct msg_ctr *c, size_t i)
{
	const char *dest = c->mounts.p[i].dest;

	for (size_t k = 0; k < i; k++) {
		size_t n = strlen(c->mounts.p[k].dest);

		if (strncmp(dest, c->mounts.p[k].dest, n) == 0 && (dest[n] == '/' || dest[n] == 0))
			return true;
	}
	return false;
}

/* The guest makes missing mount points itself, but in a read-only root it can't: then it is done here,
 * before the root is shared, as runc does before it remounts. A root that really can't be written is
 * left as it is: the guest says what is missing. */
static int make_mount_points(struct monitor *m, struct err *e)
{
	const struct msg_ctr *c = &m->plan.ctr;
	scoped_fd root = -1;

	if (!m->plan.root_readonly || !m->plan.root)
		return 0;
	root = open(m->plan.root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_set(e, -errno, "root %s: %m", m->plan.root);
	for (size_t i = 0; i < c->mounts.n; i++) {
		scoped_free char *real = NULL;
		scoped_fd at = -1;

		if (!is_covered(c, i))
			may_fail(mnt_place(root, c->mounts.p[i].dest,
					   c->mounts.p[i].is_file ? MNT_WANT_FILE : MNT_WANT_DIR, &at,
					   &real));
	}
	return 0;
}

static int fill_share(struct monitor *m, struct err *e)
{
	struct share_bind *binds = arena_array(&m->mem, m->plan.binds.n + 1, sizeof *binds);
	scoped_share_trees trees = { 0 };
	struct share s;
	int r;

	if (!binds)
		return err_set(e, -ENOMEM, "out of memory");
	describe_share(m, &s, binds);
	r = share_take(&s, &trees, e);
	if (r < 0)
		return r;
	/* A VM that waited has its share where it was started. Host paths are over then. */
	r = m->vm_mounts >= 0 && setns(m->vm_mounts, CLONE_NEWNS) < 0 ? -errno : 0;
	m->no_view = r == -ESRCH; /* whose it is has ended, and the VM with it: the loop will see that */
	if (r < 0)
		return m->no_view ? 0 : err_set(e, r, "the VM's mount namespace: %m");
	return share_fill(&s, &trees, e);
}

static int note_process(struct monitor *m, const char *file, pid_t pid, struct err *e)
{
	char line[64];
	uint64_t start;
	int n, r;

	r = proc_start_time(pid, &start);
	if (r == 0) {
		n = snprintf(line, sizeof line, "%d %llu", (int)pid, (unsigned long long)start);
		r = io_swap_file_at(m->state_fd, file, line, (size_t)n, 0600);
	}
	return r < 0 ? err_set(e, r, "write %s/%s: %m", m->plan.state_dir, file) : 0;
}

/* The VM's identity, for its cgroup, and for `cor delete --force` after we are gone. */
static int note_vm(struct monitor *m, struct err *e)
{
	int r = note_process(m, "vm", m->hv->pid, e);

	return r == 0 && m->hv->helper > 0 ? note_process(m, "helper", m->hv->helper, e) : r;
}

/* Where the VM has its shared directory. */
static int find_share(struct monitor *m, struct err *e)
{
	m->share = m->plan.vm.share;
	if (m->hv->helper_fd < 0)
		return 0;
	m->share = HV_HELPER_SHARE;
	m->vm_mounts = fcntl(m->hv->helper_fd, F_DUPFD_CLOEXEC, 3);
	return m->vm_mounts < 0 ? err_set(e, -errno, "the VM's mount namespace: %m") : 0;
}

static int new_vm(struct monitor *m, struct err *e)
{
	int r = hv_new(&m->plan.vm, &m->hv, e);

	return r == 0 ? hv_start(m->hv, &m->plan.vm, e) : r;
}

/* A template may be gone since cor looked at it: removed by hand, or for room, or because another of its
 * clones did not come up. Then the VM boots. */
static int clone_or_boot(struct monitor *m, struct err *e)
{
	int r;

	if (m->plan.vm.template_dir && !m->plan.keeper)
		m->template_used =
			open(m->plan.vm.template_dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	r = new_vm(m, e);
	if (r == 0 || !m->plan.vm.template_dir || m->plan.keeper)
		return r;
	log_warn("container %s: %s; the VM boots instead", m->plan.id, e->msg);
	hv_free(m->hv);
	m->hv = NULL;
	m->plan.vm.template_dir = NULL;
	return new_vm(m, e);
}

static int start_vm(struct monitor *m, struct err *e)
{
	int r;

	r = m->plan.keeper ? keeper_hold(m, e) : 0;
	if (r == 0 && !m->plan.vm.fsd_path)
		r = share_open(m->plan.vm.share, e);
	if (r < 0)
		return r;
	if (m->plan.selinux_label) {
		r = selinux_set_exec_label(m->plan.selinux_label, e);
		if (r < 0)
			return r;
	}
	r = clone_or_boot(m, e);
	if (r == 0)
		r = find_share(m, e);
	if (r < 0)
		return r;
	m->vm_started_ns = mark_now_ns();
	mark_put_at(&m->marks, "vm-started", m->vm_started_ns);
	return m->plan.keeper ? 0 : note_vm(m, e);
}

/* A VM that waited, with what it would have inherited from us. */
static int use_waiting(struct monitor *m, struct pool_vm *vm, struct err *e)
{
	int r = proc_be_like_caller(vm->hv->pid);

	if (r == 0 && vm->hv->helper > 0)
		r = proc_be_like_caller(vm->hv->helper);
	m->share = arena_str(&m->mem, vm->share);
	if (!m->share)
		r = -ENOMEM;
	m->hv = take_ptr(&vm->hv);
	m->vm_mounts = take_fd(&vm->mounts);
	free(take_ptr(&vm->share));
	m->vm_started_ns = mark_now_ns();
	mark_put_at(&m->marks, "vm-taken", m->vm_started_ns);
	return r < 0 ? err_set(e, r, "a VM that waited: %m") : note_vm(m, e);
}

/* The VM is of no use: nothing of it stays here. */
static void let_go(struct monitor *m)
{
	if (m->plan.pool)
		pool_tell_bad(m->hv);
	m->plan.pool = false; /* one that waited says nothing about others of its template */
	hv_free(m->hv);
	m->hv = NULL;
	scope_close(&m->vm_mounts);
	m->vm_mounts = -1;
}

/* One that ended while it was taken costs the time until here, no container. */
static bool take_waiting(struct monitor *m)
{
	struct pool_vm vm;
	struct err e = { 0 };

	if (pool_take(&m->plan.vm, &vm) < 0)
		return false;
	if (use_waiting(m, &vm, &e) == 0)
		return true;
	log_warn("container %s: %s; another VM is started instead", m->plan.id, e.msg);
	let_go(m);
	return false;
}

/* Isolated first: what is mounted for the guest must not show on the host. */
static int get_vm(struct monitor *m, struct err *e)
{
	int r = share_isolate(e);

	if (r < 0)
		return r;
	m->host_ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (m->host_ns < 0)
		return err_set(e, -errno, "mount namespace: %m");
	m->may_wait = m->plan.pool;
	if (m->plan.pool && take_waiting(m))
		return 0;
	m->plan.pool = false;
	return start_vm(m, e);
}

/* The first message waits in the channel until the guest reads it. */
static int greet(struct monitor *m, struct err *e)
{
	int r = monitor_watch_vm(m);

	if (r == 0 && m->error.code != 0) {
		*e = m->error;
		return e->code;
	}
	if (r == 0)
		r = ctl_send(m->sync_fd, MSG_S_VM, NULL, NULL, NULL, 0);
	return r < 0 ? err_set(e, r, "monitor: %m") : 0;
}

/* What callers see of the container under /proc/PID: its root, its mounts, its network. Last of the
 * steps that need host paths. */
static int enter_view(struct monitor *m, struct err *e)
{
	struct share_bind *binds = arena_array(&m->mem, m->plan.binds.n + 1, sizeof *binds);
	struct share s;

	if (m->no_view)
		return 0;
	if (!binds)
		return err_set(e, -ENOMEM, "out of memory");
	describe_share(m, &s, binds);
	return share_enter_view(&s, SHARE_VIEW_PROC, e);
}

/* From the view back to the host's paths, for as long as a start takes. */
int start_again(struct monitor *m, struct err *e)
{
	int r;

	if (setns(m->host_ns, CLONE_NEWNS) < 0)
		return err_set(e, -errno, "the host's mount namespace: %m");
	if (!m->plan.pool) {
		template_drop(m->plan.vm.template_dir, m->template_used);
		m->plan.vm.template_dir = NULL;
		(void)umount2(m->plan.vm.share, MNT_DETACH); /* the new share covers it otherwise */
	}
	let_go(m);
	r = start_vm(m, e);
	if (r == 0)
		r = fill_share(m, e);
	return r == 0 ? enter_view(m, e) : r;
}

static const struct {
	const char *name;
	int (*fn)(struct monitor *m, struct err *e);
} steps[] = {
	{ "plan", read_plan },
	{ "session", own_session },
	{ "oom score", set_oom_score },
	{ "namespaces", enter_namespaces },
	{ "vm", get_vm },
	{ "greeting", greet },
	{ "container's plan", read_rest },
	{ "mount points", make_mount_points },
	{ "stdio", stdio_prepare },
	{ "control socket", control_listen },
	{ "share", fill_share },
	{ "view", enter_view },
};

int start_run(struct monitor *m, struct err *e)
{
	int r;

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		if (m->plan.keeper && steps[i].fn == greet)
			return 0; /* nobody is to be greeted yet */
		r = steps[i].fn(m, e);
		if (r < 0) {
			log_debug("start step failed: %s", steps[i].name);
			return r;
		}
	}
	return 0;
}
