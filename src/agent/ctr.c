/* ctr.c - see ctr.h. One container at a time; its processes are in proc.c. */
#include "agent/ctr.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "agent/boot.h"
#include "agent/limits.h"
#include "agent/park.h"
#include "agent/proc.h"
#include "base/log.h"
#include "base/str.h"
#include "sys/cg2.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
/* What is made at clone; cgroup and time are made by the child (child.c says why), the network
 * namespace is the machine's own. */
#define NS_AT_CLONE (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWUSER)
#define NS_ALL      (NS_AT_CLONE | CLONE_NEWCGROUP | CLONE_NEWTIME)
#define END_MS      1000 /* for killed processes to be gone */

static void oom_ready(struct source *src, uint32_t events unused_arg)
{
	struct agent *a = container_of(src, struct agent, ctr.oom);
	struct msg_ref m = { .proc = PROC_INIT };
	char buf[4096];
	uint64_t kills;

	while (read(a->ctr.oom_fd, buf, sizeof buf) > 0)
		;
	if (cg2_read_key(a->ctr.cg, "memory.events", "oom_kill", &kills) < 0 || kills <= a->ctr.oom_kills)
		return;
	a->ctr.oom_kills = kills;
	agent_send(a, MSG_A_OOM, 0, &rec_ref, &m);
}

/* Without a memory controller there is no such event. */
static int watch_oom(struct ctr_group *g)
{
	scoped_free char *path = str_fmt("/proc/self/fd/%d/memory.events", g->cg);
	scoped_fd fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (!path || fd < 0)
		return -ENOMEM;
	if (inotify_add_watch(fd, path, IN_MODIFY) < 0)
		return errno == ENOENT ? 0 : -errno;
	g->oom_fd = take_fd(&fd);
	return 0;
}

int ctr_group_make(int tree, unsigned number, struct ctr_group *g, struct err *e)
{
	int r;

	*g = (struct ctr_group){ .cg = -1, .oom_fd = -1 };
	if (tree < 0)
		return 0;
	(void)snprintf(g->name, sizeof g->name, "ctr-%u", number); /* fits */
	r = cg2_make(tree, g->name, &g->cg);
	if (r < 0)
		return err_set(e, r, "the container's cgroup in the guest: %m");
	r = watch_oom(g);
	return r < 0 ? err_set(e, r, "memory.events of the guest's cgroup: %m") : 0;
}

/* Controllers that few containers ask for: enabled late. What can't be is named by limits_apply(). */
static int enable_controllers(const struct agent *a, const struct msg_resources *r)
{
	int rc = 0;

	if (a->conf.cgroup < 0)
		return 0;
	if (r->hugepages.n)
		rc = cg2_enable(a->conf.cgroup, "hugetlb");
	for (size_t i = 0; rc == 0 && i < r->unified.n; i++) {
		const char *key = r->unified.p[i].key ? r->unified.p[i].key : "";
		scoped_free char *name = strndup(key, strcspn(key, ". "));

		rc = name ? cg2_enable(a->conf.cgroup, name) : -ENOMEM;
	}
	return rc;
}

static int apply_limits(struct agent *a, const struct msg_resources *r, struct err *e)
{
	int rc;

	rc = enable_controllers(a, r);
	if (rc < 0)
		return err_set(e, rc, "controllers of the guest's cgroups: %m");
	return limits_apply(a->ctr.cg, r, &a->conf.devices, &a->ctr.device_prog, e);
}

/* The one that was made in advance, or one of its own. */
static int make_cgroup(struct agent *a, const struct msg_resources *res, struct err *e)
{
	struct ctr *c = &a->ctr;
	struct parked *k = a->conf.parked;
	struct ctr_group g = { .cg = -1, .oom_fd = -1 };
	int r = 0;

	if (k && k->group.cg >= 0) {
		g = k->group;
		k->group = (struct ctr_group){ .cg = -1, .oom_fd = -1 };
	} else {
		r = ctr_group_make(a->conf.cgroup, a->ctr_count, &g, e);
	}
	memcpy(c->cg_name, g.name, sizeof c->cg_name);
	c->cg = g.cg;
	c->oom_fd = g.oom_fd;
	if (r == 0 && c->oom_fd >= 0) {
		r = loop_add(&a->loop, &c->oom, c->oom_fd, EPOLLIN, oom_ready);
		if (r < 0)
			return err_set(e, r, "memory.events of the guest's cgroup: %m");
	}
	return r < 0 ? r : apply_limits(a, res, e);
}

static int check_ctr(const struct msg_ctr *m, struct err *e)
{
	if (m->namespaces & ~(uint64_t)NS_ALL)
		return err_set(e, -EINVAL, "linux.namespaces: the guest can't make %#llx",
			       (unsigned long long)(m->namespaces & ~(uint64_t)NS_ALL));
	if (!(m->namespaces & CLONE_NEWNS))
		return err_set(e, -EINVAL, "linux.namespaces: a mount namespace is needed");
	if (m->uid_map.n && !(m->namespaces & CLONE_NEWUSER))
		return err_set(e, -EINVAL, "linux.uidMappings without a user namespace");
	return 0;
}

/* File systems and devices may need modules that the guest doesn't load at its start. */
static void load_modules(const char *list, const struct msg_ctr *m)
{
	for (size_t i = 0; i < m->mounts.n; i++) {
		const char *type = m->mounts.p[i].kind == MOUNT_FS ? m->mounts.p[i].type : NULL;

		if (type)
			boot_load_on_demand(list, str_eq(type, "fusectl") ? "fuse" : type);
	}
	for (size_t i = 0; i < m->devices.n; i++) {
		const char *slash = m->devices.p[i].path ? strrchr(m->devices.p[i].path, '/') : NULL;

		if (slash)
			boot_load_on_demand(list, slash + 1); /* /dev/fuse, /dev/net/tun */
	}
}

int ctr_create(struct agent *a, uint32_t request, const struct msg_ctr *m, struct err *e)
{
	struct child_job job = { .process = &m->process,
				 .ctr = m,
				 .share = a->conf.share,
				 .has_cgroup = a->conf.cgroup >= 0,
				 .ns = { -1 } };
	struct proc_spawn s = { .id = PROC_INIT,
				.request = request,
				.pidns = -1,
				.job = &job,
				.clone_flags = m->namespaces & NS_AT_CLONE,
				.uid_map = m->uid_map.p,
				.n_uid_map = m->uid_map.n,
				.gid_map = m->gid_map.p,
				.n_gid_map = m->gid_map.n };
	int r;

	if (a->ctr.exists)
		return err_set(e, -EBUSY, "this guest has a container already");
	r = check_ctr(m, e);
	if (r < 0)
		return r;
	a->ctr = (struct ctr){
		.exists = true, .namespaces = m->namespaces, .cg = -1, .device_prog = -1, .oom_fd = -1
	};
	a->ctr_count++;
	if (!a->conf.is_test) {
		load_modules(a->conf.on_demand, m);
		r = m->namespaces & CLONE_NEWUSER ? boot_extra_sysfs(e) : 0;
	}
	if (r == 0 && a->conf.parked)
		s.parked = park_take(a->conf.parked, m->namespaces, a->request_len);
	if (r == 0)
		r = make_cgroup(a, &m->resources, e);
	if (r == 0)
		r = proc_spawn(a, &s, e);
	if (r < 0 && s.parked)
		park_drop(a->conf.parked);
	if (r < 0)
		ctr_fini(a);
	return r;
}

/* The namespaces of the container's first process, in the order of joining: user first, for the
 * rights over the others; mount last, it changes what paths mean. */
static int open_namespaces(const struct agent *a, pid_t pid, struct child_job *job, int *pidns)
{
	static const struct {
		uint64_t flag;
		const char *name;
	} order[] = {
		{ CLONE_NEWUSER, "user" },     { CLONE_NEWIPC, "ipc" },   { CLONE_NEWUTS, "uts" },
		{ CLONE_NEWCGROUP, "cgroup" }, { CLONE_NEWTIME, "time" }, { CLONE_NEWNS, "mnt" },
		{ CLONE_NEWPID, "pid" },
	};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		scoped_free char *path = str_fmt("/proc/%d/ns/%s", (int)pid, order[i].name);
		int fd;

		if (!(a->ctr.namespaces & order[i].flag))
			continue;
		fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
		if (fd < 0)
			return path ? -errno : -ENOMEM;
		if (order[i].flag == CLONE_NEWPID)
			*pidns = fd;
		else
			job->ns[n++] = fd;
	}
	return 0;
}

int ctr_exec(struct agent *a, uint32_t request, const struct msg_exec *m, struct err *e)
{
	struct child_job job = { .process = &m->process,
				 .is_exec = true,
				 .share = a->conf.share,
				 .ns = { -1, -1, -1, -1, -1, -1, -1, -1 },
				 .has_userns = (a->ctr.namespaces & CLONE_NEWUSER) != 0 };
	struct proc_spawn s = { .id = m->proc, .request = request, .pidns = -1, .job = &job };
	struct proc *init = proc_find(a, PROC_INIT);
	int r;

	if (!init || init->reaped || init->is_failed || init->state == PROC_SETUP)
		return err_set(e, -ESRCH, "container not running");
	if (m->proc == PROC_INIT || m->proc > PROC_MAX)
		return err_set(e, -EINVAL, "process number %u", m->proc);
	r = open_namespaces(a, init->pid, &job, &s.pidns);
	if (r < 0)
		(void)err_set(e, r, "open the container's namespaces: %m");
	else
		r = proc_spawn(a, &s, e);
	for (size_t i = 0; i < ARRAY_LEN(job.ns); i++)
		scope_close(&job.ns[i]);
	scope_close(&s.pidns);
	return r;
}

int ctr_update(struct agent *a, const struct msg_update *m, struct err *e)
{
	if (!a->ctr.exists)
		return err_set(e, -ESRCH, "container not running");
	return apply_limits(a, &m->resources, e);
}

/* True for signals that end a process which does nothing about them. */
static bool is_fatal(uint32_t sig)
{
	return sig != SIGCHLD && sig != SIGCONT && sig != SIGURG && sig != SIGWINCH && sig != SIGSTOP &&
	       sig != SIGTSTP && sig != SIGTTIN && sig != SIGTTOU;
}

static int signal_all(struct agent *a, struct proc *init, int sig)
{
	if (a->ctr.cg >= 0)
		return cg2_signal(a->ctr.cg, sig);
	/* Test mode: killing the first process of a pid namespace kills the rest. */
	return kill(init->pid, sig) < 0 ? -errno : 0;
}

int ctr_signal(struct agent *a, const struct msg_signal *m, struct err *e)
{
	struct proc *p = proc_find(a, m->proc);
	uint32_t sig = m->sig;
	int r;

	if (!p || p->reaped)
		return err_set(e, -ESRCH, "no such process");
	if (sig >= NSIG)
		return err_set(e, -EINVAL, "there is no signal %u", sig);
	/* The first process of a pid namespace gets no signal that it has no handler for, and
	 * before its program runs it has none. */
	if (p->id == PROC_INIT && (p->state == PROC_SETUP || p->state == PROC_CREATED) && sig &&
	    is_fatal(sig))
		sig = SIGKILL;
	if (m->all)
		r = signal_all(a, p, (int)sig);
	else
		r = kill(p->pid, (int)sig) < 0 ? -errno : 0;
	if (r == -ESRCH)
		return err_set(e, r, "no such process");
	return r < 0 ? err_set(e, r, "signal %u: %m", sig) : 0;
}

void ctr_kill_rest(struct agent *a)
{
	int r;

	if (a->ctr.cg < 0)
		return; /* the kernel killed its pid namespace */
	r = cg2_signal(a->ctr.cg, SIGKILL);
	if (r < 0 && r != -ESRCH)
		log_warn("kill the rest of the container: %s", strerror(-r));
}

void ctr_fini(struct agent *a)
{
	struct ctr *c = &a->ctr;
	int r = 0;

	if (!c->exists)
		return;
	loop_del(&c->oom);
	scope_close(&c->oom_fd);
	scope_close(&c->device_prog);
	/* Without a pid namespace its processes were killed one by one, and end in their own time. */
	if (c->cg >= 0)
		may_fail(cg2_wait_empty(c->cg, END_MS)); /* the removal says what is wrong */
	scope_close(&c->cg);
	if (a->conf.cgroup >= 0)
		r = cg2_remove(a->conf.cgroup, c->cg_name);
	if (r < 0)
		log_warn("remove the container's cgroup: %s", strerror(-r));
	*c = (struct ctr){ .cg = -1, .device_prog = -1, .oom_fd = -1 };
}
