/* create.c - making a container, as a table of steps with what undoes them.
 *
 * Order matters twice. What is to be cleaned up is written to the state directory before it is made, so
 * that `delete --force` finds it after a crash at any point; and state.json is written last, so that it
 * says the container is whole. The monitor is started as soon as the VM is known: everything after that runs
 * beside the VM's start. */
#include "runtime/create.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "oci/seccomp.h"
#include "oci/validate.h"
#include "runtime/hooks.h"
#include "runtime/pidfile.h"
#include "runtime/pool.h"
#include "runtime/templates.h"
#include "runtime/turn.h"
#include "sys/proc.h"
#include "wire/ctl.h"

static void log_warnings(struct strv *w)
{
	for (size_t i = 0; i < w->n; i++)
		log_warn("%s", w->p[i]);
	strv_fini(w);
}

/* Annotations and the vm section change settings only as far as the host allows. */
static int apply_settings(struct creation *c, struct err *e)
{
	const struct spec_vm *vm = &c->spec.vm;
	struct settings *s = &c->cli->settings;
	char number[32];
	int r = 0;
	const struct {
		const char *field, *value;
	} one[] = {
		{ "vm.hypervisor.path", vm->hypervisor_path },
		{ "vm.kernel.path", vm->kernel_path },
		{ "vm.kernel.initrd", vm->kernel_initrd },
	};

	for (size_t i = 0; i < ARRAY_LEN(one) && r == 0; i++)
		if (one[i].value)
			r = settings_set_spec(s, one[i].field, one[i].value, e);
	for (size_t i = 0; i < vm->hypervisor_parameters.n && r == 0; i++)
		r = settings_set_spec(s, "vm.hypervisor.parameters", vm->hypervisor_parameters.p[i], e);
	for (size_t i = 0; i < vm->kernel_parameters.n && r == 0; i++)
		r = settings_set_spec(s, "vm.kernel.parameters", vm->kernel_parameters.p[i], e);
	if (r == 0 && vm->has_vcpus) {
		(void)snprintf(number, sizeof number, "%u", vm->vcpus);
		r = settings_set_spec(s, "vm.hwConfig.vcpus", number, e);
	}
	if (r == 0 && vm->has_memory) {
		(void)snprintf(number, sizeof number, "%llu", (unsigned long long)vm->memory);
		r = settings_set_spec(s, "vm.hwConfig.memory", number, e);
	}
	for (size_t i = 0; i < c->spec.annotations.n && r == 0; i++)
		r = settings_set_annotation(s, c->spec.annotations.p[i].key, c->spec.annotations.p[i].value,
					    e);
	return r;
}

static int load_bundle(struct creation *c, struct err *e)
{
	const char *dir = c->cli->create.bundle ? c->cli->create.bundle : ".";

	c->bundle = realpath(dir, NULL);
	return c->bundle ? spec_load(c->bundle, c->cli->create.config, &c->spec, e)
			 : err_set(e, -errno, "bundle %s: %m", dir);
}

int create_load(struct creation *c, struct err *e)
{
	const struct cli_create *o = &c->cli->create;
	struct validate_host host;
	int r;

	c->monitor.sync = -1;
	c->ctr.dirfd = c->ctr.lock_fd = c->image.lock = c->turn = -1;
	c->marks = (struct marks){ .fd = -1, .proc = "cor" };
	c->t_start = mark_now_ns();
	if (geteuid() != 0)
		return err_set(
			e, -EPERM,
			"root is needed: namespaces, mounts and cgroups of the VM (you are uid %u; try sudo)",
			(unsigned)geteuid());
	if (o->preserve_fds > 0)
		return err_set(e, -EINVAL, "--preserve-fds %llu: descriptors can't cross the border of a VM",
			       (unsigned long long)o->preserve_fds);
	r = c->cli->image.name ? image_load(c->cli, &c->spec, &c->image, e) : load_bundle(c, e);
	if (r < 0)
		return r;
	validate_probe(&host);
	r = spec_validate(&c->spec, &host, &c->warnings, e);
	if (r == 0)
		r = spec_validate_start(&c->spec, e);
	if (r == 0)
		r = apply_settings(c, e);
	c->t_parsed = mark_now_ns();
	return r;
}

char *create_state_json(const struct ctr *c, enum state_status status, pid_t pid)
{
	struct oci_state s = c->state;
	struct str text = { 0 };

	s.status = status;
	s.pid = pid;
	state_write(&s, "", &text);
	if (str_check(&text) < 0) {
		str_fini(&text);
		return NULL;
	}
	return str_take(&text);
}

/* The container's state as it will be stored: strings live in c->mem. */
static int describe(struct creation *c, struct err *e)
{
	char created[STATE_TIME_MAX];
	struct timespec now;
	struct oci_state *s = &c->ctr.state;
	int r;

	if (clock_gettime(CLOCK_REALTIME, &now) < 0)
		return err_set(e, -errno, "clock: %m");
	state_time(&now, created);
	r = c->image.layers.n ? 0 : plan_root(&c->spec, c->bundle, &c->mem, &c->plan.root, e);
	if (r == 0 && c->plan.root)
		r = image_convert(&c->cli->settings, &c->spec, c->plan.root, c->ctr.dir, &c->image,
				  &c->warnings, e);
	if (r < 0)
		return r;
	s->rootfs = c->plan.root;
	s->created = arena_str(&c->mem, created);
	s->owner = arena_fmt(&c->mem, "%u", (unsigned)getuid());
	s->annotations.p = c->spec.annotations.p;
	s->annotations.n = c->spec.annotations.n;
	return s->created && s->owner ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static int make_directory(struct creation *c, struct err *e)
{
	int r;

	r = ctr_make(c->cli->global.root, c->cli->id, &c->ctr, e);
	if (r < 0)
		return r;
	c->ctr_made = true;
	if (!c->bundle)
		c->bundle = str_fmt("%s", c->ctr.dir);
	if (!c->bundle)
		return err_set(e, -ENOMEM, "out of memory");
	/* from here on poststop hooks may be told about it */
	c->ctr.state.oci_version = c->spec.oci_version;
	c->ctr.state.id = c->ctr.id;
	c->ctr.state.bundle = c->bundle;
	if (c->cli->create.timing || c->cli->create.timing_json)
		c->marks.fd = openat(c->ctr.dirfd, "marks", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	mark_put_at(&c->marks, "start", c->t_start);
	mark_put_at(&c->marks, "parsed", c->t_parsed);
	if (mkdirat(c->ctr.dirfd, "share", 0700) < 0)
		return err_set(e, -errno, "mkdir %s/share: %m", c->ctr.dir);
	return describe(c, e);
}

/* For delete, which the bundle need not outlive. */
static int keep_config(struct creation *c, struct err *e)
{
	bool hooks = hooks_any(&c->spec, HOOK_POSTSTART) || hooks_any(&c->spec, HOOK_POSTSTOP);
	int r;

	r = ctr_write(&c->ctr, "config.json", c->spec.text, c->spec.text_len, e);
	return r == 0 && hooks ? ctr_write(&c->ctr, "hooks", "", 0, e) : r;
}

static int make_plan(struct creation *c, struct err *e)
{
	const struct plan_in in = {
		.spec = &c->spec,
		.settings = &c->cli->settings,
		.id = c->ctr.id,
		.bundle = c->bundle,
		.state_dir = c->ctr.dir,
		.libexecdir = c->cli->env->libexecdir,
		.console_socket = c->cli->create.console_socket,
		.pty_given = c->pty_slave >= 0,
		.foreground = c->foreground,
		.marks = c->marks.fd >= 0,
		.layers = { .p = c->image.layers.p, .n = c->image.layers.n },
		.verity = { .p = c->image.verity.p, .n = c->image.verity.n },
		.upper = c->cli->settings.image_writable,
	};

	int r = plan_make(&in, &c->mem, &c->plan, &c->warnings, e);

	if (r == 0)
		r = templates_plan(&c->cli->settings, &c->mem, &c->plan.vm, &c->want_template, &c->warnings,
				   e);
	c->plan.pool = r == 0 && pool_suits(&c->cli->settings, &c->spec, &c->plan.vm);
	return r;
}

/* The filter is compiled here once; exec sessions take it from the file. */
static int compile_seccomp(struct creation *c, struct err *e)
{
	scoped_seccomp prog = { 0 };
	scoped_str file = { 0 };
	struct msg_process *p = &c->plan.ctr.process;
	void *copy;
	int r;

	if (!c->spec.lnx.has_seccomp)
		return 0;
	r = seccomp_compile(&c->spec.lnx.seccomp, &prog, &c->warnings, e);
	if (r < 0 || prog.len == 0)
		return r;
	copy = arena_strn(&c->mem, prog.bpf, prog.len);
	if (!copy)
		return err_set(e, -ENOMEM, "out of memory");
	p->seccomp = (struct pack_blob){ .p = copy, .n = prog.len };
	p->seccomp_flags = prog.flags;
	buf_put_u32(&file, prog.flags);
	str_addn(&file, prog.bpf, prog.len);
	r = str_check(&file);
	return r < 0 ? err_set(e, r, "seccomp: %m") : ctr_write(&c->ctr, "seccomp", file.p, file.len, e);
}

static int make_cgroup(struct creation *c, struct err *e)
{
	static const enum cgroup_manager managers[] = { [CLI_CGROUPFS] = CGROUP_FS,
							[CLI_CGROUPS_SYSTEMD] = CGROUP_SYSTEMD,
							[CLI_CGROUPS_DISABLED] = CGROUP_DISABLED };
	enum cgroup_manager manager = managers[c->cli->global.cgroup_manager];
	struct cgroup_layout layout = { 0 };
	struct cgroup_limits limits;
	int r;

	if (c->cli->global.systemd_cgroup)
		manager = CGROUP_SYSTEMD;
	r = plan_host_limits(&c->spec.lnx.resources, PLAN_VMM_OVERHEAD + c->cli->settings.memory_overhead,
			     &c->mem, &limits, e);
	if (r < 0)
		return r;
	r = cgroup_layout_read(&layout);
	if (r < 0)
		return err_set(e, r, "cannot read the cgroup hierarchies: %m");
	r = cgroup_plan(&layout, manager, c->spec.lnx.cgroups_path, c->ctr.id, &c->cgroup, e);
	cgroup_layout_fini(&layout);
	if (r == 0)
		r = ctr_write_cgroup(&c->ctr, &c->cgroup, e);
	if (r == 0)
		r = cgroup_create(&c->cgroup, &limits, &c->warnings, e);
	if (r < 0)
		return r;
	/* What could not be made was left out: the list on disk is what there is. */
	return ctr_write_cgroup(&c->ctr, &c->cgroup, e);
}

/* An SELinux domain change makes the kernel forget that the VM is to die with its monitor: there the cgroup
 * has to be around them from their start. */
static bool cgroup_first(const struct creation *c)
{
	return c->plan.selinux_label != NULL;
}

static bool has_hooks(const struct creation *c)
{
	for (int kind = 0; kind < HOOK_KIND_N; kind++)
		if (hooks_any(&c->spec, (enum spec_hook_kind)kind))
			return true;
	return false;
}

/* Until the container is started, or made by a `create`. Hooks may take any time, and may start containers.
 */
static int take_turn(struct creation *c, struct err *e unused_arg)
{
	if (!has_hooks(c))
		c->turn = turn_take(&c->cli->settings, &c->plan.vm);
	mark_put(&c->marks, "turn");
	return 0;
}

/* The VM's part of the plan goes first: the rest is made while the hypervisor starts. */
static int start_monitor(struct creation *c, struct err *e)
{
	const struct cli_global *g = &c->cli->global;
	scoped_fd log = g->log ? open(g->log, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
	struct mon_plan early;
	char *path;
	int r;

	c->plan.log = log >= 0;
	c->plan.log_json = g->log_format == 1;
	r = spawn_monitor_path(c->cli->env->libexecdir, &c->mem, &path, e);
	if (r == 0)
		r = spawn_fork(&c->ctr, path, c->pty_slave, log, &c->monitor, e);
	if (r == 0 && !cgroup_first(c)) {
		early = c->plan;
		early.vm_only = true;
		early.ctr = (struct msg_ctr){ 0 };
		early.binds.n = 0;
		r = spawn_go(&c->monitor, &early, e);
	}
	mark_put(&c->marks, "spawned");
	return r;
}

/* Moves one process, which is checked to be the one that was noted, to the container's cgroup. */
static int join_cgroup(struct creation *c, const struct ctr_proc *p, struct err *e)
{
	scoped_strv files = { 0 };
	scoped_fd pidfd = -1;
	char pid[16];
	int r;

	cgroup_procs(&c->cgroup, &files);
	if (strv_check(&files) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	r = proc_open(p->pid, p->start, &pidfd);
	if (r == -ESRCH)
		return 0; /* its end is reported by who waits for it */
	(void)snprintf(pid, sizeof pid, "%d", (int)p->pid);
	for (size_t i = 0; i < files.n && r == 0; i++) {
		r = io_write_existing_at(AT_FDCWD, files.p[i], pid);
		if (r == -ESRCH && proc_wait_end(pidfd, 0) == 0)
			return 0;
		if (r < 0)
			return err_set(e, r, "cannot join the cgroup: write %s: %m", files.p[i]);
	}
	return r < 0 ? err_set(e, r, "cannot join the cgroup: process %d: %m", (int)p->pid) : 0;
}

static int hand_over(struct creation *c, struct err *e)
{
	int r = 0;

	ctr_refresh(&c->ctr);
	if (cgroup_first(c))
		r = join_cgroup(c, &c->ctr.monitor, e);
	c->plan.ctr.hook_state = create_state_json(&c->ctr, STATE_CREATED, c->monitor.pid);
	if (r == 0 && !c->plan.ctr.hook_state)
		r = err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = spawn_go(&c->monitor, &c->plan, e);
	free(take_ptr(&c->plan.ctr.hook_state));
	return r;
}

/* Before the container's own code can run. */
static int join_cgroups(struct creation *c, struct err *e)
{
	int r;

	ctr_refresh(&c->ctr);
	if (!cgroup_first(c)) {
		r = join_cgroup(c, &c->ctr.monitor, e);
		if (r == 0)
			r = join_cgroup(c, &c->ctr.vm, e);
		if (r == 0 && c->ctr.helper.pid > 0)
			r = join_cgroup(c, &c->ctr.helper, e);
		if (r < 0)
			return r;
	}
	cgroup_settled(&c->cgroup);
	r = ctl_send(c->monitor.sync, MSG_S_CGROUPS_DONE, NULL, NULL, NULL, 0);
	return r < 0 && r != -EPIPE ? err_set(e, r, "the container's monitor: %m") : 0;
}

static const enum spec_hook_kind create_hooks[] = { HOOK_PRESTART, HOOK_CREATE_RUNTIME,
						    HOOK_CREATE_CONTAINER };

/* The first process that enters a cgroup waits for a grace period of the kernel, some 10 ms. A VM that is
 * being started takes longer than that; one that waited sets up the container meanwhile, unless hooks look at
 * the cgroup first. */
static bool cgroup_late(const struct creation *c)
{
	bool hooks = false;

	for (size_t i = 0; i < ARRAY_LEN(create_hooks); i++)
		hooks |= hooks_any(&c->spec, create_hooks[i]);
	return c->plan.pool && !hooks && !cgroup_first(c);
}

static int join_early(struct creation *c, struct err *e)
{
	int r = spawn_wait(&c->monitor, MSG_S_VM, e);

	return r < 0 || cgroup_late(c) ? r : join_cgroups(c, e);
}

static int join_late(struct creation *c, struct err *e)
{
	return cgroup_late(c) ? join_cgroups(c, e) : 0;
}

/* The monitor's host namespaces stand when it says so; the guest boots meanwhile. */
static int run_hooks(struct creation *c, struct err *e)
{
	scoped_free char *json = NULL;
	struct hooks_in in;
	int r;

	r = spawn_wait(&c->monitor, MSG_S_NAMESPACES, e);
	if (r < 0)
		return r;
	json = create_state_json(&c->ctr, STATE_CREATING, c->monitor.pid);
	if (!json)
		return err_set(e, -ENOMEM, "out of memory");
	ctr_refresh(&c->ctr);
	/* createContainer: the container's namespaces, the host's files. That is where the VM stands, unless
	 * it is jailed. */
	in = (struct hooks_in){ .net = c->monitor.pid, .mnt = c->ctr.helper.pid > 0 ? 0 : c->ctr.vm.pid };
	for (size_t i = 0; i < ARRAY_LEN(create_hooks) && r == 0; i++)
		r = hooks_run(&c->spec, create_hooks[i], json,
			      create_hooks[i] == HOOK_CREATE_CONTAINER ? &in : NULL, &c->warnings, e);
	if (r < 0)
		return r;
	mark_put(&c->marks, "hooks");
	r = ctl_send(c->monitor.sync, MSG_S_HOOKS_DONE, NULL, NULL, NULL, 0);
	return r < 0 && r != -EPIPE ? err_set(e, r, "the container's monitor: %m") : 0;
}

static int wait_created(struct creation *c, struct err *e)
{
	int r = spawn_wait(&c->monitor, MSG_S_CREATED, e);

	image_settled(&c->image);
	return r;
}

static int write_state(struct creation *c, struct err *e)
{
	const struct cli_create *o = &c->cli->create;
	scoped_free char *json = create_state_json(&c->ctr, STATE_CREATED, c->monitor.pid);
	int r;

	if (!json)
		return err_set(e, -ENOMEM, "out of memory");
	r = ctr_write(&c->ctr, "state.json", json, strlen(json), e);
	if (r == 0)
		r = pidfile_send_pidfd(o->pidfd_socket, c->monitor.pid, e);
	/* Last: a create that fails leaves none. */
	return r == 0 ? pidfile_write(o->pid_file, c->monitor.pid, e) : r;
}

static int (*const steps[])(struct creation *c, struct err *e) = {
	make_directory, make_plan,  take_turn, start_monitor, keep_config,  compile_seccomp, make_cgroup,
	hand_over,      join_early, run_hooks, join_late,     wait_created, write_state,
};

int create_remove(struct creation *c, struct err *e)
{
	scoped_free char *json = NULL;
	int r;

	if (hooks_any(&c->spec, HOOK_POSTSTOP)) {
		json = create_state_json(&c->ctr, STATE_STOPPED, 0);
		if (json)
			may_fail(hooks_run(&c->spec, HOOK_POSTSTOP, json, NULL, &c->warnings,
					   e)); /* warnings only */
		log_warnings(&c->warnings);
	}
	r = ctr_remove(&c->ctr, e);
	if (r == 0)
		c->ctr_made = false;
	return r;
}

/* After a failed step: as if it had never been attempted. */
static void undo(struct creation *c)
{
	struct err e = { 0 };

	if (!c->ctr_made)
		return;
	spawn_abort(&c->monitor);
	if (ctr_kill(&c->ctr, &e) < 0 || create_remove(c, &e) < 0)
		log_warn("cleaning up: %s (try: cor delete --force %s)", e.msg, c->ctr.id);
}

int create_container(struct creation *c, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(steps) && r == 0; i++)
		r = steps[i](c, e);
	log_warnings(&c->warnings);
	if (r < 0)
		undo(c);
	return r;
}

void create_beside(struct creation *c)
{
	struct templates_beside b = { .settings = &c->cli->settings,
				      .libexecdir = c->cli->env->libexecdir,
				      .vm = &c->plan.vm,
				      .want_template = c->want_template };

	turn_end(&c->turn);
	if (c->cli->settings.template)
		templates_beside(&b);
}

void create_fini(struct creation *c)
{
	scope_close(&c->monitor.sync);
	c->monitor.sync = -1;
	scope_close(&c->marks.fd);
	c->marks.fd = -1;
	turn_end(&c->turn);
	/* strings of the state belong to the spec and to mem */
	memset(&c->ctr.state, 0, sizeof c->ctr.state);
	ctr_fini(&c->ctr);
	image_root_fini(&c->image);
	cgroup_fini(&c->cgroup);
	strv_fini(&c->warnings);
	spec_fini(&c->spec);
	arena_fini(&c->mem);
	free(take_ptr(&c->bundle));
}
