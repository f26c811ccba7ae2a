/* park.c - see park.h. Trusts: the guest as it is before any container.
 * Never: waits for anything but the end of a child that was killed. */
#include "agent/park.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/log.h"
#include "sys/cg2.h"

/* What runtimes' callers ask for. The network is the machine's own; the child makes that of cgroups. */
#define PARK_MS  10000 /* of our own code's time, on a machine that may be emulated and busy */
#define AT_CLONE (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)
#define USUAL    (AT_CLONE | CLONE_NEWCGROUP)

void park_drop(struct parked *p)
{
	if (p->birth.pid < 0)
		return;
	(void)kill(p->birth.pid, SIGKILL);
	while (waitpid(p->birth.pid, NULL, 0) < 0 && errno == EINTR)
		;
	proc_birth_fini(&p->birth);
}

/* Until it has done all that it can do now: a template must not be saved before. */
static int await_parked(const struct proc_birth *b, struct err *e)
{
	struct child_msg m = { 0 };
	size_t n_fds;
	ssize_t n;
	int r;

	r = io_wait_readable(b->ctl, PARK_MS);
	if (r < 0)
		return err_set(e, r, "the parked child: %m");
	n = io_recv_fds(b->ctl, &m, sizeof m, NULL, 0, &n_fds);
	if (n != (ssize_t)sizeof m)
		return err_set(e, n < 0 ? (int)n : -ECHILD, "the parked child ended");
	m.err.msg[sizeof m.err.msg - 1] = '\0';
	return m.kind == CHILD_PARKED ? 0 : err_set(e, -ECHILD, "%s", m.err.msg);
}

void park_make(struct parked *p, int cgroup, const char *share)
{
	struct child_job job = { .is_parked = true, .share = share, .has_cgroup = cgroup >= 0, .ns = { -1 } };
	struct proc_place at = { .clone_flags = AT_CLONE, .cgroup = -1, .pidns = -1, .own_pidns = -1 };
	struct err e = { 0 };
	int r;

	*p = (struct parked){ .tree = cgroup,
			      .group = { .cg = -1, .oom_fd = -1 },
			      .birth = { .pid = -1, .ctl = -1, .ours = { -1, -1, -1 } } };
	r = ctr_group_make(cgroup, 0, &p->group, &e);
	at.cgroup = p->group.cg;
	if (r == 0)
		r = proc_bear(&job, &at, true, &p->birth, &e);
	if (r == 0)
		r = await_parked(&p->birth, &e);
	if (r < 0)
		park_drop(p);
	if (r < 0)
		log_warn("nothing was made in advance: %s", e.msg);
}

struct proc_birth *park_take(struct parked *p, uint64_t namespaces, size_t request_len)
{
	if (p->birth.pid >= 0 && namespaces == USUAL && request_len <= CHILD_REQUEST_MAX)
		return &p->birth;
	park_drop(p);
	return NULL;
}

void park_ended(struct parked *p, pid_t pid)
{
	if (p->birth.pid == pid)
		proc_birth_fini(&p->birth);
}

void park_fini(struct parked *p)
{
	park_drop(p);
	if (p->group.cg < 0)
		return;
	scope_close(&p->group.cg);
	scope_close(&p->group.oom_fd);
	may_fail(cg2_remove(p->tree, p->group.name)); /* the machine ends */
}
