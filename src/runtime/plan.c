/* plan.c - the container's half of the plan: process, mounts, namespaces, limits.
 *
 * Called by create, run, exec and update with a spec that was parsed and validated (oci/validate.h).
 * Mostly copying from the spec's structs to the wire's: the spec says what the caller wrote, the wire
 * what the guest is to do. */
#include "runtime/plan.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* Copies a list of one struct type into a list of another, element by element. */
#define COPY_LIST(a, from, to, ...)                                                                          \
	do {                                                                                                 \
		(to)->p = arena_array((a), (from)->n + 1, sizeof *(to)->p);                                  \
		if (!(to)->p)                                                                                \
			return no_memory(e);                                                                 \
		(to)->n = (from)->n;                                                                         \
		for (size_t i = 0; i < (from)->n; i++)                                                       \
			copy_##__VA_ARGS__(&(from)->p[i], &(to)->p[i]);                                      \
	} while (0)

static int no_memory(struct err *e)
{
	return err_set(e, -ENOMEM, "out of memory");
}

static struct pack_strs strs(const struct spec_strs *v)
{
	return (struct pack_strs){ .p = v->p, .n = v->n };
}

static void copy_rlimit(const struct spec_rlimit *from, struct msg_rlimit *to)
{
	*to = (struct msg_rlimit){ .type = from->type, .soft = from->soft, .hard = from->hard };
}

static void copy_idmap(const struct spec_idmap *from, struct msg_idmap *to)
{
	*to = (struct msg_idmap){ .container = from->container_id,
				  .host = from->host_id,
				  .size = from->size };
}

static void copy_kv(const struct spec_kv *from, struct msg_kv *to)
{
	*to = (struct msg_kv){ .key = from->key, .value = from->value };
}

static void copy_timeoffset(const struct spec_time_offset *from, struct msg_timeoffset *to)
{
	*to = (struct msg_timeoffset){ .clock = from->clock, .secs = from->secs, .nanosecs = from->nanosecs };
}

static void copy_hook(const struct spec_hook *from, struct msg_hook *to)
{
	*to = (struct msg_hook){ .path = from->path,
				 .args = strs(&from->args),
				 .env = strs(&from->env),
				 .timeout_s = from->has_timeout ? from->timeout : 0 };
}

static void copy_device_rule(const struct spec_device_rule *from, struct msg_device_rule *to)
{
	*to = (struct msg_device_rule){ .allow = from->allow,
					.type = from->type,
					.major = from->major,
					.minor = from->minor,
					.access = from->access };
}

static void copy_hugepage(const struct spec_hugepage *from, struct msg_hugepage *to)
{
	*to = (struct msg_hugepage){ .size = from->page_size, .limit = from->limit };
}

static void copy_device(const struct spec_device *from, struct msg_device *to)
{
	*to = (struct msg_device){ .path = from->path,
				   .type = from->type,
				   .major = (uint32_t)from->major,
				   .minor = (uint32_t)from->minor,
				   .mode = from->has_file_mode ? from->file_mode & 07777 : 0666,
				   .uid = from->has_uid ? from->uid : 0,
				   .gid = from->has_gid ? from->gid : 0 };
}

static void copy_sched(const struct spec_scheduler *from, struct msg_sched *to)
{
	*to = (struct msg_sched){ .policy = from->policy,
				  .nice = from->nice,
				  .priority = (uint32_t)from->priority,
				  .flags = from->flags,
				  .runtime = from->runtime,
				  .deadline = from->deadline,
				  .period = from->period };
}

int plan_process(const struct spec_process *p, struct arena *a, struct msg_process *ret, struct err *e)
{
	*ret = (struct msg_process){
		.terminal = p->terminal,
		.uid = p->user.uid,
		.gid = p->user.gid,
		.gids = { .p = p->user.additional_gids.p, .n = p->user.additional_gids.n },
		.user = p->user.name,
		.has_umask = p->user.has_umask,
		.umask = p->user.umask,
		.cwd = p->cwd,
		.args = strs(&p->args),
		.env = strs(&p->env),
		.has_caps = p->has_capabilities,
		.no_new_privs = p->no_new_privileges,
		.has_oom_score_adj = p->has_oom_score_adj,
		.oom_score_adj = p->oom_score_adj,
		.has_sched = p->has_scheduler,
		.has_ioprio = p->has_io_priority,
		.ioprio_class = p->io_priority.class,
		.ioprio_level = p->io_priority.priority,
		.cpus_initial = p->affinity_initial,
		.cpus_final = p->affinity_final,
	};
	if (p->terminal && p->has_console_size) {
		ret->rows = (uint32_t)p->console_size.height;
		ret->cols = (uint32_t)p->console_size.width;
	}
	ret->caps = (struct msg_caps){ .bounding = p->capabilities.bounding,
				       .effective = p->capabilities.effective,
				       .inheritable = p->capabilities.inheritable,
				       .permitted = p->capabilities.permitted,
				       .ambient = p->capabilities.ambient };
	copy_sched(&p->scheduler, &ret->sched);
	COPY_LIST(a, &p->rlimits, &ret->rlimits, rlimit);
	return 0;
}

int plan_resources(const struct spec_resources *r, struct arena *a, struct msg_resources *ret, struct err *e)
{
	const struct spec_memory *m = &r->memory;
	const struct spec_cpu *c = &r->cpu;

	*ret = (struct msg_resources){
		/* 0 counts as absent in the spec's Go types, as everywhere else */
		.has_mem_limit = m->has_limit && m->limit != 0,
		.has_mem_reservation = m->has_reservation && m->reservation != 0,
		.has_mem_swap = m->has_swap && m->swap != 0,
		.mem_limit = m->limit,
		.mem_reservation = m->reservation,
		.mem_swap = m->swap,
		.has_cpu_shares = c->has_shares,
		.has_cpu_quota = c->has_quota,
		.has_cpu_period = c->has_period,
		.has_cpu_burst = c->has_burst,
		.has_cpu_idle = c->has_idle,
		.cpu_shares = c->shares,
		.cpu_period = c->period,
		.cpu_burst = c->burst,
		.cpu_quota = c->quota,
		.cpu_idle = c->idle,
		.has_pids = r->has_pids,
		.pids_limit = r->pids_limit,
		.has_devices = r->devices.n > 0,
	};
	/* cpus and mems name host CPUs and nodes: they place the VM, see plan_host_limits() */
	COPY_LIST(a, &r->hugepage_limits, &ret->hugepages, hugepage);
	COPY_LIST(a, &r->unified, &ret->unified, kv);
	COPY_LIST(a, &r->devices, &ret->devices, device_rule);
	return 0;
}

/* Throttle and weight lists of blockIO, as the host's cgroup takes them. */
#define COPY_VALUES(a, from, to, field)                                                                      \
	do {                                                                                                 \
		struct cgroup_dev_value *v = arena_array((a), (from)->n + 1, sizeof *v);                     \
		if (!v)                                                                                      \
			return no_memory(e);                                                                 \
		for (size_t i = 0; i < (from)->n; i++)                                                       \
			v[i] = (struct cgroup_dev_value){ .major = (uint32_t)(from)->p[i].major,             \
							  .minor = (uint32_t)(from)->p[i].minor,             \
							  .value = (from)->p[i].field };                     \
		*(to) = (struct cgroup_dev_values){ .p = v, .n = (from)->n };                                \
	} while (0)

int plan_host_limits(const struct spec_resources *r, uint64_t overhead, struct arena *a,
		     struct cgroup_limits *ret, struct err *e)
{
	const struct spec_cpu *c = &r->cpu;
	const struct spec_block_io *b = &r->block_io;

	*ret = (struct cgroup_limits){
		.memory_overhead = overhead,
		.has_shares = c->has_shares,
		.has_quota = c->has_quota,
		.has_period = c->has_period,
		.has_burst = c->has_burst,
		.has_idle = c->has_idle,
		.shares = c->shares,
		.quota = c->quota,
		.period = c->period,
		.burst = c->burst,
		.idle = c->idle,
		.cpus = c->cpus,
		.mems = c->mems,
		/* A pids limit counts the container's processes, which the host doesn't see: the guest's job.
		 */
		.has_weight = b->has_weight,
		.weight = b->weight,
	};
	if (r->memory.has_limit && r->memory.limit > 0) {
		ret->has_memory = true;
		ret->memory = r->memory.limit > INT64_MAX - (int64_t)overhead
				      ? -1
				      : r->memory.limit + (int64_t)overhead;
	}
	COPY_VALUES(a, &b->weight_device, &ret->weight_device, weight);
	COPY_VALUES(a, &b->read_bps, &ret->read_bps, rate);
	COPY_VALUES(a, &b->write_bps, &ret->write_bps, rate);
	COPY_VALUES(a, &b->read_iops, &ret->read_iops, rate);
	COPY_VALUES(a, &b->write_iops, &ret->write_iops, rate);
	return 0;
}

/* A host path, absolute or relative to the bundle, without symlinks, in the arena. */
static int resolve(const char *bundle, const char *path, struct arena *a, char **ret)
{
	scoped_free char *full = NULL, *real = NULL;

	full = path[0] == '/' ? str_fmt("%s", path) : str_fmt("%s/%s", bundle, path);
	if (!full)
		return -ENOMEM;
	real = realpath(full, NULL);
	if (!real)
		return -errno;
	*ret = arena_str(a, real);
	return *ret ? 0 : -ENOMEM;
}

int plan_root(const struct spec *s, const char *bundle, struct arena *a, char **ret, struct err *e)
{
	struct stat st;
	int r;

	r = resolve(bundle, s->root.path, a, ret);
	if (r < 0)
		return err_set(e, r, "root.path: %s (in bundle %s): %m", s->root.path, bundle);
	if (stat(*ret, &st) < 0)
		return err_set(e, -errno, "root.path: %s: %m", *ret);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, -ENOTDIR, "root.path: %s is not a directory", *ret);
	return 0;
}

/* The lines that the kernel's uid_map takes. NULL: no memory. */
static char *map_text(const struct spec_idmap *p, size_t n, struct arena *a)
{
	scoped_str text = { 0 };

	for (size_t i = 0; i < n; i++)
		str_addf(&text, "%u %u %u\n", p[i].container_id, p[i].host_id, p[i].size);
	return str_check(&text) < 0 ? NULL : arena_str(a, text.p);
}

/* Its own mappings, or those of the container's user namespace. */
static int plan_idmap(const struct spec *s, const struct spec_mount *from, struct arena *a,
		      struct plan_bind *b, struct err *e)
{
	const struct spec_linux *l = &s->lnx;

	if (!from->idmap && !from->ridmap && !from->has_uid_mappings)
		return 0;
	b->map_recursive = from->ridmap;
	b->uid_map = from->has_uid_mappings ? map_text(from->uid_mappings.p, from->uid_mappings.n, a)
					    : map_text(l->uid_mappings.p, l->uid_mappings.n, a);
	b->gid_map = from->has_gid_mappings ? map_text(from->gid_mappings.p, from->gid_mappings.n, a)
					    : map_text(l->gid_mappings.p, l->gid_mappings.n, a);
	return b->uid_map && b->gid_map ? 0 : no_memory(e);
}

static int plan_bind(const struct plan_in *in, const struct spec_mount *from, size_t i, struct arena *a,
		     struct mon_plan *plan, struct msg_mount *to, struct err *e)
{
	struct plan_bind *b = &plan->binds.p[plan->binds.n];
	struct stat st;
	int r;

	if (!from->source || !from->source[0])
		return err_set(e, -EINVAL, "config.json: mounts[%zu].source: a bind mount needs one", i);
	b->name = arena_fmt(a, "m%zu", plan->binds.n);
	if (!b->name)
		return no_memory(e);
	r = resolve(in->bundle, from->source, a, &b->source);
	if (r == 0 && stat(b->source, &st) < 0)
		r = -errno;
	if (r < 0)
		return err_set(e, r, "config.json: mounts[%zu].source: %s: %m", i, from->source);
	b->dest = from->destination;
	b->is_file = !S_ISDIR(st.st_mode);
	b->recursive = from->recursive;
	b->readonly = (from->flags_set & MS_RDONLY) || (from->rec_set & 1 /* MOUNT_ATTR_RDONLY */);
	plan->binds.n++;
	to->kind = MOUNT_SHARE;
	to->source = b->name;
	to->is_file = b->is_file;
	to->recursive = from->recursive;
	return plan_idmap(in->spec, from, a, b, e);
}

static int plan_mount(const struct plan_in *in, size_t i, struct arena *a, struct mon_plan *plan,
		      struct err *e)
{
	const struct spec_mount *from = &in->spec->mounts.p[i];
	struct msg_mount *to = &plan->ctr.mounts.p[i];
	const char *type = from->type ? from->type : "";

	*to = (struct msg_mount){ .kind = MOUNT_FS,
				  .dest = from->destination,
				  .type = from->type,
				  .source = from->source,
				  .data = from->data,
				  .flags = from->flags_set,
				  .propagation = from->propagation,
				  .rec_set = from->rec_set,
				  .rec_clear = from->rec_clear,
				  .tmpcopyup = from->tmpcopyup };
	if (from->bind)
		return plan_bind(in, from, i, a, plan, to, e);
	if (str_eq(type, "cgroup") || str_eq(type, "cgroup2"))
		to->kind = MOUNT_CGROUP;
	else if (!type[0])
		return err_set(e, -EINVAL, "config.json: mounts[%zu].type: missing, and the mount is no bind",
			       i);
	return 0;
}

static int plan_mounts(const struct plan_in *in, struct arena *a, struct mon_plan *plan, struct err *e)
{
	size_t n = in->spec->mounts.n;
	int r = 0;

	plan->ctr.mounts.p = arena_array(a, n + 1, sizeof *plan->ctr.mounts.p);
	plan->binds.p = arena_array(a, n + 1, sizeof *plan->binds.p);
	if (!plan->ctr.mounts.p || !plan->binds.p)
		return no_memory(e);
	plan->ctr.mounts.n = n;
	for (size_t i = 0; i < n && r == 0; i++)
		r = plan_mount(in, i, a, plan, e);
	return r;
}

/* The guest makes fresh ones of these. The network namespace is the VM itself; on the host, the
 * monitor and the VM stand in the one that the caller named, or in a new one. */
#define GUEST_NS                                                                                             \
	(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWUSER | 0x80)

static int plan_namespaces(const struct spec *s, struct arena *a, struct mon_plan *plan, struct err *e)
{
	const struct spec_namespace *net = spec_namespace(s, CLONE_NEWNET);

	/* Always one for cgroups: the host's can't be shared, and in its own a container finds its limits at
	 * the root of /sys/fs/cgroup, where programs look. */
	plan->ctr.namespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
	for (size_t i = 0; i < s->lnx.namespaces.n; i++)
		plan->ctr.namespaces |= s->lnx.namespaces.p[i].type & (uint64_t)GUEST_NS;
	plan->namespaces.p = arena_array(a, 1, sizeof *plan->namespaces.p);
	if (!plan->namespaces.p)
		return no_memory(e);
	if (net) {
		plan->namespaces.p[0] = (struct plan_ns){ .type = CLONE_NEWNET, .path = net->path };
		plan->namespaces.n = 1;
	}
	return 0;
}

static int plan_container(const struct plan_in *in, struct arena *a, struct mon_plan *plan, struct err *e)
{
	const struct spec *s = in->spec;
	struct msg_ctr *c = &plan->ctr;

	*c = (struct msg_ctr){
		.id = plan->id,
		.hostname = s->hostname,
		.domainname = s->domainname,
		.upper = in->upper,
		.root_readonly = s->root.readonly,
		.root_propagation = s->lnx.rootfs_propagation,
		.masked_paths = strs(&s->lnx.masked_paths),
		.readonly_paths = strs(&s->lnx.readonly_paths),
	};
	COPY_LIST(a, &s->lnx.uid_mappings, &c->uid_map, idmap);
	COPY_LIST(a, &s->lnx.gid_mappings, &c->gid_map, idmap);
	COPY_LIST(a, &s->lnx.time_offsets, &c->time_offsets, timeoffset);
	COPY_LIST(a, &s->lnx.devices, &c->devices, device);
	COPY_LIST(a, &s->lnx.sysctl, &c->sysctls, kv);
	COPY_LIST(a, &s->hooks.lists[HOOK_START_CONTAINER], &c->start_hooks, hook);
	return 0;
}

/* Without a uts namespace the container would have the host's name: the guest gets a copy of it. */
static int copy_hostname(const struct spec *s, struct arena *a, struct msg_ctr *c, struct err *e)
{
	char name[256] = "";

	if (c->hostname || spec_namespace(s, CLONE_NEWUTS))
		return 0;
	if (gethostname(name, sizeof name - 1) < 0)
		return err_set(e, -errno, "gethostname: %m");
	c->hostname = arena_str(a, name);
	return c->hostname ? 0 : no_memory(e);
}

int plan_ctr(const struct plan_in *in, struct arena *a, struct mon_plan *ret, struct err *e)
{
	const struct spec *s = in->spec;
	int r;

	r = plan_container(in, a, ret, e);
	if (r == 0)
		r = copy_hostname(s, a, &ret->ctr, e);
	if (r == 0)
		r = plan_mounts(in, a, ret, e);
	if (r == 0)
		r = plan_namespaces(s, a, ret, e);
	if (r == 0)
		r = plan_process(&s->process, a, &ret->ctr.process, e);
	if (r == 0 && s->lnx.has_personality) {
		ret->ctr.process.has_personality = true;
		ret->ctr.process.personality = s->lnx.personality;
	}
	return r == 0 ? plan_resources(&s->lnx.resources, a, &ret->ctr.resources, e) : r;
}

/* What the agent is to find on the VM's devices. */
static int name_layers(struct arena *a, struct mon_plan *plan, struct err *e)
{
	size_t os = vmcfg_os_layers(&plan->vm), n = plan->vm.layers.n - os;
	struct pack_strs *to = &plan->ctr.layers;

	plan->ctr.disk = plan->vm.disk.uuid;

	to->p = arena_array(a, n + 1, sizeof *to->p);
	if (!to->p)
		return no_memory(e);
	to->n = n;
	for (size_t i = 0; i < n; i++)
		to->p[i] = plan->vm.layers.p[os + i].uuid;
	return 0;
}

/* QEMU's own server makes every file as root: no file could be made where root is not mapped. */
static int check_idmaps(const struct mon_plan *plan, struct err *e)
{
	for (size_t i = 0; i < plan->binds.n && !plan->vm.fsd_path; i++)
		if (plan->binds.p[i].uid_map)
			return err_set(
				e, -EOPNOTSUPP,
				"mount %s: ID-mapped mounts need virtio-fs, and with QEMU files come by "
				"9p: set qemu.share = virtiofs in cor.conf, or leave idmap and the "
				"mappings out",
				plan->binds.p[i].dest);
	return 0;
}

int plan_make(const struct plan_in *in, struct arena *a, struct mon_plan *ret, struct strv *warnings,
	      struct err *e)
{
	const struct spec *s = in->spec;
	int r;

	*ret = (struct mon_plan){
		.version = PROTO_VERSION,
		.id = arena_str(a, in->id),
		.state_dir = arena_str(a, in->state_dir),
		.root_readonly = s->root.readonly,
		.has_oom_score_adj = s->process.has_oom_score_adj,
		.oom_score_adj = s->process.oom_score_adj,
		.selinux_label = s->process.selinux_label,
		.console_socket = in->console_socket ? arena_str(a, in->console_socket) : NULL,
		.pty_given = in->pty_given,
		.foreground = in->foreground,
		.marks = in->marks,
		.boot_timeout_ms = (uint32_t)(in->settings->boot_timeout_ns / 1000000),
	};
	if (!ret->id || !ret->state_dir || (in->console_socket && !ret->console_socket))
		return no_memory(e);
	r = in->layers.n ? 0 : plan_root(s, in->bundle, a, &ret->root, e);
	if (r == 0)
		r = plan_ctr(in, a, ret, e);
	if (r == 0)
		r = plan_vm(in, a, &ret->vm, warnings, e);
	if (r == 0)
		r = check_idmaps(ret, e);
	return r == 0 ? name_layers(a, ret, e) : r;
}
