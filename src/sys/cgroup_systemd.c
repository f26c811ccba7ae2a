/* cgroup_systemd.c - scopes: the cgroup of a container where systemd owns the tree.
 * Called by cgroup.c, cgroup_limits.c and cgroup_end.c. systemd is spoken to by its own bus tool in a
 * child process, so that no D-Bus code is in ours.
 * Trusts: systemd. Distrusts: linux.cgroupsPath: its parts become unit names, not paths.
 * Never: leaves the placeholder behind: it dies with the thread that made it.
 *
 * A scope needs a process from its birth, and ends with its last one. The container's monitor does
 * not exist yet, so a placeholder holds the place until cgroup_settled(). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/log.h"
#include "base/num.h"
#include "sys/cgroup.h"
#include "sys/cgroup_impl.h"
#include "sys/proc.h"

#define BUS_TIMEOUT_MS   30000 /* above the 25 s that the bus tool itself waits */
#define SCOPE_TIMEOUT_MS 10000
#define SCOPE_POLL_MS    5 /* on v1 a move into a cgroup makes no event */
#define START_TRIES      20
#define START_RETRY_MS   100

static bool is_unit_part(const char *s, bool may_be_empty)
{
	const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@+";

	return s[strspn(s, allowed)] == '\0' && (may_be_empty || *s) && strlen(s) < 200;
}

/* "user-1000.slice" is the directory /user.slice/user-1000.slice. */
static int add_slice_dir(struct str *to, const char *slice)
{
	size_t len = strlen(slice), i;

	if (!str_ends(slice, ".slice") || !is_unit_part(slice, false))
		return -EINVAL;
	len -= strlen(".slice");
	if (len == 1 && slice[0] == '-')
		return 0; /* -.slice is the root */
	if (len == 0 || slice[0] == '-' || slice[len - 1] == '-')
		return -EINVAL;
	for (i = 0; i < len; i++) {
		if (slice[i] != '-')
			continue;
		if (slice[i + 1] == '-')
			return -EINVAL;
		str_addc(to, '/');
		str_addn(to, slice, i);
		str_add(to, ".slice");
	}
	str_addf(to, "/%s", slice);
	return 0;
}

int cgroup_systemd_plan(const char *path, const char *id, struct cgroup *c, char **ret_dir, struct err *e)
{
	scoped_free char *own = str_fmt("system.slice:cor:%s", id);
	scoped_strv parts = { 0 };
	scoped_str dir = { 0 };

	if (access("/run/systemd/system", F_OK) < 0)
		return err_set(e, -ENOENT,
			       "systemd not running on this host, cannot use systemd cgroups manager");
	if (!own)
		return err_set(e, -ENOMEM, "linux.cgroupsPath: %m");
	strv_split(&parts, path && *path ? path : own, ':');
	if (strv_check(&parts) < 0)
		return err_set(e, -ENOMEM, "linux.cgroupsPath: %m");
	if (parts.n != 3 || !is_unit_part(parts.p[1], true) || !is_unit_part(parts.p[2], false))
		return err_set(e, -EINVAL,
			       "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd "
			       "cgroups, got \"%s\" instead",
			       path);
	c->slice = strdup(*parts.p[0] ? parts.p[0] : "system.slice");
	c->unit = str_fmt("%s%s%s.scope", parts.p[1], *parts.p[1] ? "-" : "", parts.p[2]);
	if (!c->slice || !c->unit)
		return err_set(e, -ENOMEM, "linux.cgroupsPath: %m");
	if (add_slice_dir(&dir, c->slice) < 0)
		return err_set(e, -EINVAL, "linux.cgroupsPath: \"%s\" is no name of a slice", c->slice);
	str_addf(&dir, "/%s", c->unit);
	*ret_dir = str_take(&dir);
	return *ret_dir ? 0 : err_set(e, -ENOMEM, "linux.cgroupsPath: %m");
}

/* One call of a method of systemd's manager object. `args`: the signature and the arguments. */
static int bus_call(const char *method, const struct strv *args, struct err *e)
{
	static const char *const head[] = { "busctl",
					    "--system",
					    "--quiet",
					    "call",
					    "org.freedesktop.systemd1",
					    "/org/freedesktop/systemd1",
					    "org.freedesktop.systemd1.Manager" };
	struct proc_run run = { .timeout_ms = BUS_TIMEOUT_MS, .out_max = ERR_MSG_MAX / 2 };
	scoped_strv argv = { 0 };
	scoped_str why = { 0 };
	size_t i;
	int r;

	for (i = 0; i < ARRAY_LEN(head); i++)
		strv_add(&argv, head[i]);
	strv_add(&argv, method);
	for (i = 0; i < args->n; i++)
		strv_add(&argv, args->p[i]);
	if (strv_check(&argv) < 0 || strv_check(args) < 0)
		return err_set(e, -ENOMEM, "systemd: %s: %m", method);
	run.argv = (const char *const *)argv.p;
	r = proc_run(&run, e);
	if (r == -ENOENT)
		err_set(e, r, "systemd: %s: the program busctl (package systemd) is missing", method);
	if (r == 0 && run.status != 0) {
		proc_status_text(run.status, &why);
		r = err_set(e, -EIO, "systemd: %s: busctl %s: %.*s", method, why.p ? why.p : "?",
			    (int)strcspn(run.out.p ? run.out.p : "", "\n"), run.out.p ? run.out.p : "");
	}
	str_fini(&run.out);
	return r;
}

/* Properties as the bus tool wants them: name, type, value; counted. */
struct props {
	struct strv v;
	size_t n;
};

static void add_prop(struct props *p, const char *name, const char *type, const char *value)
{
	strv_add(&p->v, name);
	strv_add(&p->v, type);
	strv_add(&p->v, value);
	p->n++;
}

static void add_number(struct props *p, const char *name, bool max, uint64_t v)
{
	char text[32];

	(void)snprintf(text, sizeof text, "%llu", (unsigned long long)(max ? UINT64_MAX : v));
	add_prop(p, name, "t", text);
}

/* The limits that systemd would otherwise set back to its own defaults when it next looks at the
 * unit. The files are written by cgroup_apply() all the same. */
static void add_limits(struct props *p, const struct cgroup *c, const struct cgroup_limits *l)
{
	bool v2 = c->n == 1 && c->dirs[0].v2;
	uint64_t period = l->has_period && l->period ? l->period : 100000, quota;

	if (l->has_memory && l->memory)
		add_number(p, v2 ? "MemoryMax" : "MemoryLimit", l->memory < 0, (uint64_t)l->memory);
	if (l->has_shares && l->shares)
		add_number(p, v2 ? "CPUWeight" : "CPUShares", false,
			   v2 ? cgroup_shares_to_weight(l->shares) : l->shares);
	if (l->has_quota && l->quota) {
		/* microseconds a second, in systemd's own steps of 10 ms */
		if (l->quota < 0 || num_mul((uint64_t)l->quota, 1000000, &quota) < 0)
			quota = UINT64_MAX;
		else
			quota = (quota / period + 9999) / 10000 * 10000;
		add_number(p, "CPUQuotaPerSecUSec", quota == UINT64_MAX, quota);
	}
	if (l->has_pids)
		add_number(p, "TasksMax", l->pids < 0, (uint64_t)l->pids + CGROUP_VMM_PIDS);
}

static void add_props(struct strv *args, const struct props *p)
{
	size_t i;

	args->oom |= p->v.oom;
	strv_addf(args, "%zu", p->n);
	for (i = 0; i < p->v.n; i++)
		strv_add(args, p->v.p[i]);
}

/* PIDs is an array, which does not fit add_prop()'s three words. */
static void add_scope(struct strv *args, const struct cgroup *c, const struct cgroup_limits *l)
{
	struct props p = { 0 };

	strv_add(&p.v, "PIDs");
	strv_add(&p.v, "au");
	strv_add(&p.v, "1");
	strv_addf(&p.v, "%d", (int)c->placeholder);
	p.n = 1;
	add_prop(&p, "Description", "s", "virtual machine of a container");
	add_prop(&p, "Slice", "s", c->slice);
	add_prop(&p, "Delegate", "b", "true");
	add_prop(&p, "DefaultDependencies", "b", "false");
	add_prop(&p, "CollectMode", "s", "inactive-or-failed");
	add_limits(&p, c, l);
	strv_add(args, "ssa(sv)a(sa(sv))");
	strv_add(args, c->unit);
	strv_add(args, "fail");
	add_props(args, &p);
	strv_add(args, "0");
	strv_fini(&p.v);
}

static _Noreturn void placeholder_main(pid_t parent)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	/* Callers wait for the end of their pipes: this process must not hold any. */
	if (proc_die_with_parent(parent) < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
	    dup2(null, 2) < 0 || io_close_from(NULL, 0) < 0)
		_exit(1);
	for (;;)
		(void)pause();
}

static int placeholder_start(struct cgroup *c)
{
	pid_t self = getpid(), pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		placeholder_main(self);
	c->placeholder = pid;
	return 0;
}

void cgroup_settled(struct cgroup *c)
{
	if (c->placeholder <= 0)
		return;
	(void)kill(c->placeholder, SIGKILL); /* our own unreaped child */
	while (waitpid(c->placeholder, NULL, 0) < 0 && errno == EINTR)
		;
	c->placeholder = 0;
}

/* Is the placeholder in the directory that systemd itself manages? */
static bool is_placed(const struct cgroup *c)
{
	const struct cgroup_dir *d = cgroup_dir_for(c, "name=systemd");
	scoped_strv lines = { 0 };
	scoped_free char *path = NULL;
	scoped_free char *text = NULL;
	char pid[16];
	size_t len;

	if (!d && c->n && c->dirs[0].v2)
		d = &c->dirs[0];
	path = d ? str_fmt("%s/cgroup.procs", d->path) : NULL;
	if (!path || io_read_file_at(AT_FDCWD, path, 1u << 20, &text, &len) < 0)
		return false;
	(void)snprintf(pid, sizeof pid, "%d", (int)c->placeholder);
	strv_split(&lines, text, '\n');
	return strv_has(&lines, pid);
}

/* systemd answers before the job is done. */
static int wait_placed(const struct cgroup *c, struct err *e)
{
	int i;

	for (i = 0; i < SCOPE_TIMEOUT_MS / SCOPE_POLL_MS; i++) {
		if (is_placed(c))
			return 0;
		(void)poll(NULL, 0, SCOPE_POLL_MS);
	}
	return err_set(e, -ETIMEDOUT, "systemd: scope %s was not started within %d s", c->unit,
		       SCOPE_TIMEOUT_MS / 1000);
}

static int start_scope(struct cgroup *c, const struct cgroup_limits *l, struct err *e)
{
	scoped_strv args = { 0 }, reset = { 0 };
	int tries, r;

	add_scope(&args, c, l);
	strv_add(&reset, "s");
	strv_add(&reset, c->unit);
	for (tries = 0;; tries++) {
		r = bus_call("StartTransientUnit", &args, e);
		if (r != -EIO || tries == START_TRIES || !e || !strstr(e->msg, "already"))
			return r;
		/* The scope of a container of the same name that has just been deleted. */
		if (bus_call("ResetFailedUnit", &reset, NULL) < 0)
			log_debug("systemd: %s can't be reset", c->unit);
		(void)poll(NULL, 0, START_RETRY_MS);
	}
}

int cgroup_systemd_start(struct cgroup *c, const struct cgroup_limits *l, struct err *e)
{
	struct err local = { 0 };
	int r = placeholder_start(c);

	if (r < 0)
		return err_set(e, r, "systemd: placeholder process: %m");
	r = start_scope(c, l, &local);
	if (r == 0)
		r = wait_placed(c, &local);
	if (r < 0) {
		cgroup_settled(c);
		return err_set(e, r, "%s", local.msg);
	}
	return 0;
}

int cgroup_systemd_update(const struct cgroup *c, const struct cgroup_limits *l, struct err *e)
{
	scoped_strv args = { 0 };
	struct props p = { 0 };
	int r = 0;

	add_limits(&p, c, l);
	strv_add(&args, "sba(sv)");
	strv_add(&args, c->unit);
	strv_add(&args, "true");
	add_props(&args, &p);
	if (p.n > 0)
		r = bus_call("SetUnitProperties", &args, e);
	strv_fini(&p.v);
	return r;
}

void cgroup_systemd_stop(const struct cgroup *c)
{
	scoped_strv args = { 0 };

	strv_add(&args, "ss");
	strv_add(&args, c->unit);
	strv_add(&args, "replace");
	/* An empty scope ends by itself; this makes it sooner. Unknown units are no news. */
	if (bus_call("StopUnit", &args, NULL) < 0)
		log_debug("systemd: %s was not stopped: it had ended", c->unit);
}
