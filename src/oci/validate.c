/* validate.c - see validate.h. One function per section; each rule stands in docs/oci-fields.md.
 *
 * Trusts the types and ranges that the parser checked, nothing else. */
#include "oci/validate.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <linux/sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/io.h"
#include "oci/names.h"
#include "oci/text.h"

struct check {
	const char *at; /* what stands before member names: "config.json: process." */
	const struct validate_host *host;
	struct strv *warnings; /* may be NULL */
	struct err *e;
};

/* The text may quote the document, which may hold anything: see text.h. */
static int printf_like(4, 0)
	fail(const struct check *c, int code, const char *member, const char *fmt, va_list ap)
{
	scoped_str text = { 0 };

	text_addv(&text, fmt, ap);
	return err_set(c->e, code, "%s%s: %s", c->at, member, text.p ? text.p : "");
}

/* A VM can't do that. */
static int printf_like(3, 4) refuse(const struct check *c, const char *member, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = fail(c, -ENOTSUP, member, fmt, ap);
	va_end(ap);
	return r;
}

/* The spec doesn't allow that. */
static int printf_like(3, 4) invalid(const struct check *c, const char *member, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = fail(c, -EINVAL, member, fmt, ap);
	va_end(ap);
	return r;
}

static void printf_like(3, 4) warn(const struct check *c, const char *member, const char *fmt, ...)
{
	scoped_str text = { 0 };
	va_list ap;

	if (!c->warnings)
		return;
	va_start(ap, fmt);
	text_addv(&text, fmt, ap);
	va_end(ap);
	strv_addf(c->warnings, "%s%s: %s", c->at, member, text.p ? text.p : "");
}

void validate_probe(struct validate_host *ret)
{
	/* the file is there only while SELinux is enabled */
	ret->selinux = access("/sys/fs/selinux/enforce", F_OK) == 0;
}

static int check_process(const struct check *c, const struct spec_process *p)
{
	if (p->args.n == 0)
		return invalid(c, "args", "must name the program to run, but is empty");
	if (p->args.p[0][0] == '\0')
		return invalid(c, "args[0]", "must name the program to run, but is empty");
	if (p->selinux_label && !c->host->selinux)
		return refuse(c, "selinuxLabel", "SELinux is not enabled on this host; leave the label out");
	if (p->has_scheduler && p->scheduler.policy == 4) /* SCHED_ISO: reserved, never in a kernel */
		return refuse(c, "scheduler.policy", "SCHED_ISO is in no Linux kernel");
	for (size_t i = 0; i < p->capabilities.unknown.n; i++)
		warn(c, "capabilities", "\"%.60s\" is not known and not granted",
		     p->capabilities.unknown.p[i]);
	if (p->apparmor_profile)
		warn(c, "apparmorProfile",
		     "\"%.100s\" is not applied: the guest has no AppArmor, the VM boundary stands in its "
		     "place",
		     p->apparmor_profile);
	return 0;
}

static int check_namespaces(const struct check *c, const struct spec *s)
{
	static const struct {
		uint64_t type;
		const char *remedy;
	} needed[] = {
		{ CLONE_NEWNET,
		  "a container in a VM can't use the host's network (engines: no --network host)" },
		{ CLONE_NEWPID,
		  "a container in a VM can't see the host's processes (engines: no --pid host)" },
		{ CLONE_NEWIPC,
		  "a container in a VM can't use the host's IPC objects (engines: no --ipc host)" },
		{ CLONE_NEWNS, "a container in a VM always has mounts of its own" },
	};

	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!spec_namespace(s, needed[i].type)) {
			const char *name = names_of(&names_namespaces, needed[i].type);

			return refuse(c, "linux.namespaces",
				      "there is no \"%s\" entry: %s; add {\"type\": \"%s\"}", name,
				      needed[i].remedy, name);
		}
	for (size_t i = 0; i < s->lnx.namespaces.n; i++) {
		const struct spec_namespace *n = &s->lnx.namespaces.p[i];

		if (n->path && n->type != CLONE_NEWNET)
			return refuse(c, "linux.namespaces",
				      "\"%s\" has the path %.200s: sharing it with another container is not "
				      "supported; leave the path out for a namespace of its own",
				      names_of(&names_namespaces, n->type), n->path);
	}
	return 0;
}

#define MAP_LINES_MAX 340u  /* of one uid_map */
#define MAP_BYTES     4096u /* of it, in one write */

static bool overlap(uint32_t a, uint32_t a_n, uint32_t b, uint32_t b_n)
{
	return a < (uint64_t)b + b_n && b < (uint64_t)a + a_n;
}

/* What the kernel's uid_map and gid_map take. */
static int check_map(const struct check *c, const char *member, const struct spec_idmap *p, size_t n)
{
	size_t bytes = 0;

	if (n > MAP_LINES_MAX)
		return invalid(c, member, "has %zu mappings, and the kernel takes at most %u", n,
			       MAP_LINES_MAX);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < i; k++)
			if (overlap(p[i].container_id, p[i].size, p[k].container_id, p[k].size) ||
			    overlap(p[i].host_id, p[i].size, p[k].host_id, p[k].size))
				return invalid(c, member, "mappings %zu and %zu overlap", k, i);
		bytes += (size_t)snprintf(NULL, 0, "%u %u %u\n", p[i].container_id, p[i].host_id, p[i].size);
	}
	if (bytes >= MAP_BYTES)
		return invalid(c, member, "is %zu bytes as the kernel reads it, which takes less than %u",
			       bytes, MAP_BYTES);
	return 0;
}

static int check_maps(const struct check *c, const struct spec *s)
{
	const struct spec_linux *l = &s->lnx;
	bool user = spec_namespace(s, CLONE_NEWUSER);
	int r;

	if (user && l->uid_mappings.n == 0)
		return invalid(c, "linux.uidMappings", "a user namespace needs at least one mapping");
	if (user && l->gid_mappings.n == 0)
		return invalid(c, "linux.gidMappings", "a user namespace needs at least one mapping");
	if (!user && (l->uid_mappings.n || l->gid_mappings.n))
		return invalid(c, "linux.uidMappings",
			       "mappings need a \"user\" entry in linux.namespaces, but there is none");
	if (l->time_offsets.n && !spec_namespace(s, CLONE_NEWTIME))
		return invalid(c, "linux.timeOffsets",
			       "offsets need a \"time\" entry in linux.namespaces, but there is none");
	r = check_map(c, "linux.uidMappings", l->uid_mappings.p, l->uid_mappings.n);
	return r == 0 ? check_map(c, "linux.gidMappings", l->gid_mappings.p, l->gid_mappings.n) : r;
}

static int check_idmap(const struct check *c, const struct spec *s, const struct spec_mount *m)
{
	const char *what = m->has_uid_mappings ? "uidMappings" : "options";
	int r;

	if (m->has_uid_mappings != m->has_gid_mappings)
		return invalid(c, m->has_uid_mappings ? "gidMappings" : "uidMappings",
			       "is required beside its counterpart, but missing");
	if (!m->idmap && !m->ridmap && !m->has_uid_mappings)
		return 0;
	if (!m->bind)
		return refuse(c, what, "only bind mounts can be ID-mapped; leave it out");
	if (m->has_uid_mappings && (m->uid_mappings.n == 0 || m->gid_mappings.n == 0))
		return invalid(c, m->uid_mappings.n ? "gidMappings" : "uidMappings",
			       "needs at least one mapping");
	if (!m->has_uid_mappings && !spec_namespace(s, CLONE_NEWUSER))
		return invalid(c, what,
			       "idmap without mappings takes those of the container's user namespace, but it "
			       "has none");
	r = check_map(c, "uidMappings", m->uid_mappings.p, m->uid_mappings.n);
	return r == 0 ? check_map(c, "gidMappings", m->gid_mappings.p, m->gid_mappings.n) : r;
}

/* File systems that need nothing of the host. */
static bool is_guest_fs(const char *type)
{
	static const char *const types[] = { "proc",    "sysfs",   "tmpfs",      "devpts",   "mqueue",
					     "cgroup",  "cgroup2", "ramfs",      "devtmpfs", "debugfs",
					     "tracefs", "bpf",     "securityfs", "configfs", "hugetlbfs",
					     "fusectl", "pstore",  "binfmt_misc" };

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strcmp(types[i], type) == 0)
			return true;
	return false;
}

static int check_mount(const struct check *c, const struct spec *s, const struct spec_mount *m)
{
	int r = check_idmap(c, s, m);

	if (r < 0)
		return r;
	if (m->propagation & MS_SHARED)
		warn(c, "options", "mounts made below %.200s in the VM don't reach the host", m->destination);
	if (m->bind && !m->source)
		return invalid(c, "source", "a bind mount needs one");
	if (m->bind)
		return 0;
	if (!m->type)
		return invalid(c, "type", "is required for a mount that is no bind mount");
	if (!is_guest_fs(m->type))
		return refuse(
			c, "type",
			"\"%.60s\" needs a device, a network or directories of the host, which a VM has not; "
			"mount it on the host and use a bind mount",
			m->type);
	return 0;
}

static int check_mounts(const struct check *c, const struct spec *s)
{
	char at[64];
	struct check one = *c;
	int r = 0;

	one.at = at;
	for (size_t i = 0; i < s->mounts.n && r >= 0; i++) {
		(void)snprintf(at, sizeof(at), "%smounts[%zu].", c->at, i);
		r = check_mount(&one, s, &s->mounts.p[i]);
	}
	return r;
}

/* Devices that every Linux kernel makes up by itself: the guest's are as good as the host's. */
static bool is_guest_device(const struct spec_device *d)
{
	static const struct {
		int64_t major, minor_first, minor_last;
	} known[] = {
		{ 1, 3, 3 },         { 1, 5, 5 },
		{ 1, 7, 9 },         { 1, 11, 11 },    /* null zero full random urandom kmsg */
		{ 5, 0, 2 },                           /* tty console ptmx */
		{ 10, 200, 200 },    { 10, 229, 229 }, /* net/tun fuse */
		{ 136, 0, 0xfffff },                   /* pts */
	};

	if (d->type == S_IFIFO)
		return true;
	for (size_t i = 0; d->type == S_IFCHR && i < ARRAY_LEN(known); i++)
		if (d->major == known[i].major && d->minor >= known[i].minor_first &&
		    d->minor <= known[i].minor_last)
			return true;
	return false;
}

static int check_devices(const struct check *c, const struct spec_linux *l)
{
	for (size_t i = 0; i < l->devices.n; i++) {
		const struct spec_device *d = &l->devices.p[i];

		if (!is_guest_device(d))
			return refuse(c, "linux.devices",
				      "%.200s (%s %lld:%lld) is a device of the host, and a VM has none of "
				      "them; leave "
				      "it out (engines: no --device, no --privileged)",
				      d->path, d->type == S_IFBLK ? "block" : "char", (long long)d->major,
				      (long long)d->minor);
	}
	return 0;
}

static int check_memory(const struct check *c, const struct spec_memory *m)
{
	if (m->has_swap && m->swap > 0 && !m->has_limit)
		return invalid(c, "memory.swap", "needs memory.limit beside it");
	if (m->has_swap && m->swap > 0 && m->limit > m->swap)
		return invalid(c, "memory.swap",
			       "is memory and swap together, so it must not be below memory.limit");
	if (m->disable_oom_killer)
		return refuse(c, "memory.disableOOMKiller",
			      "cgroup v2 always has the OOM killer; leave it out");
	if (m->check_before_update)
		return refuse(c, "memory.checkBeforeUpdate", "is not supported; leave it out");
	if (m->has_kernel)
		warn(c, "memory.kernel", "is ignored: cgroup v2 has no such limit");
	if (m->has_kernel_tcp)
		warn(c, "memory.kernelTCP", "is ignored: cgroup v2 has no such limit");
	if (m->has_swappiness)
		warn(c, "memory.swappiness", "is ignored: cgroup v2 has no such knob");
	if (m->has_use_hierarchy && !m->use_hierarchy)
		warn(c, "memory.useHierarchy", "is ignored: cgroup v2 is always hierarchical");
	return 0;
}

static int check_cpu(const struct check *c, const struct spec_cpu *p)
{
	static const char list[] = "0123456789,-";

	if (p->has_rt_runtime || p->has_rt_period)
		return refuse(c, p->has_rt_runtime ? "cpu.realtimeRuntime" : "cpu.realtimePeriod",
			      "realtime limits are not supported; leave it out");
	if (p->cpus && p->cpus[strspn(p->cpus, list)])
		return invalid(c, "cpu.cpus", "must be a list as \"0-3,7\", found \"%.60s\"", p->cpus);
	if (p->mems && p->mems[strspn(p->mems, list)])
		return invalid(c, "cpu.mems", "must be a list as \"0-3,7\", found \"%.60s\"", p->mems);
	return 0;
}

/* Leaf weights were the CFQ scheduler's, which left Linux in 5.0. */
static bool has_leaf_weight(const struct spec_block_io *b)
{
	for (size_t i = 0; i < b->weight_device.n; i++)
		if (b->weight_device.p[i].has_leaf_weight)
			return true;
	return b->has_leaf_weight;
}

static int check_resources(const struct check *c, const struct spec_resources *r)
{
	int rc = check_memory(c, &r->memory);

	if (rc < 0)
		return rc;
	rc = check_cpu(c, &r->cpu);
	if (rc < 0)
		return rc;
	if (has_leaf_weight(&r->block_io))
		return refuse(c, "blockIO", "leafWeight is not supported by today's kernels; leave it out");
	if (r->network.has_class_id && r->network.class_id != 0)
		return refuse(c, "network.classID",
			      "tags sockets of the host, but a VM has its own; leave it out");
	if (r->network.priorities.n)
		return refuse(c, "network.priorities",
			      "concern sockets of the host, but a VM has its own; leave them out");
	if (r->rdma.n)
		return refuse(c, "rdma", "a VM has no RDMA devices; leave it out");
	return 0;
}

static int check_linux(const struct check *c, const struct spec *s)
{
	const struct spec_linux *l = &s->lnx;
	struct check res = *c;
	int r;

	if (l->has_intel_rdt)
		return refuse(c, "linux.intelRdt", "is not supported; leave it out");
	if (l->net_devices.n)
		return refuse(c, "linux.netDevices",
			      "moving network devices into a VM is not supported; leave it out");
	if (l->has_memory_policy && (l->memory_policy.mode != MPOL_DEFAULT || l->memory_policy.nodes))
		return refuse(c, "linux.memoryPolicy",
			      "only MPOL_DEFAULT without nodes is supported; leave it out");
	if (l->mount_label && !c->host->selinux)
		return refuse(c, "linux.mountLabel",
			      "SELinux is not enabled on this host; leave the label out");
	if (l->mount_label)
		warn(c, "linux.mountLabel",
		     "is not applied to mounts inside the VM: the guest has no SELinux");
	if (l->rootfs_propagation & MS_SHARED)
		warn(c, "linux.rootfsPropagation", "mounts made in the VM don't reach the host");
	r = check_devices(c, l);
	if (r < 0 || !l->has_resources)
		return r;
	res.at = "config.json: linux.resources.";
	return check_resources(&res, &l->resources);
}

static int check_vm(const struct check *c, const struct spec_vm *vm)
{
	if (vm->image_path)
		return refuse(c, "vm.image",
			      "a guest image of its own is not supported; give vm.kernel.initrd instead");
	if (vm->device_tree || vm->dtdevs.n || vm->iomems.n || vm->irqs.n)
		return refuse(
			c, "vm.hwConfig",
			"deviceTree, dtdevs, iomems and irqs pass devices through, which is not supported");
	if (vm->kernel_initrd && !vm->kernel_path)
		return invalid(c, "vm.kernel.path", "is required beside vm.kernel.initrd, but missing");
	return 0;
}

/* The kernel's limit of both names is 64 bytes. */
static int check_host_name(const struct check *c, const char *member, const char *name)
{
	if (!name)
		return 0;
	if (strlen(name) > 64)
		return invalid(c, member, "must not be longer than 64 bytes");
	for (const char *p = name; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == '/')
			return invalid(c, member, "must not hold blanks, slashes or control characters");
	return 0;
}

static int check_names(const struct check *c, const struct spec *s)
{
	int r = check_host_name(c, "hostname", s->hostname);

	if (r < 0)
		return r;
	r = check_host_name(c, "domainname", s->domainname);
	if (r < 0)
		return r;
	if (s->lnx.cgroups_path) {
		scoped_strv parts = { 0 };

		strv_split(&parts, s->lnx.cgroups_path, '/');
		if (strv_check(&parts) < 0)
			return err_set(c->e, -ENOMEM, "no memory for the container's configuration");
		if (strv_has(&parts, ".."))
			return invalid(c, "linux.cgroupsPath", "must not hold \"..\"");
	}
	return 0;
}

static int check_root(const struct check *c, const struct spec *s)
{
	if (!s->has_root)
		return invalid(c, "root", "is required, but missing");
	if (!s->has_linux)
		return invalid(c, "linux", "is required, but missing");
	return 0;
}

static int check_vm_section(const struct check *c, const struct spec *s)
{
	return check_vm(c, &s->vm);
}

int spec_validate(const struct spec *s, const struct validate_host *host, struct strv *warnings,
		  struct err *e)
{
	static int (*const steps[])(const struct check *, const struct spec *) = {
		check_root,   check_names, check_namespaces, check_maps,
		check_mounts, check_linux, check_vm_section,
	};
	struct check c = { "config.json: ", host, warnings, e };

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		int r = steps[i](&c, s);

		if (r < 0)
			return r;
	}
	if (s->has_process) {
		int r;

		c.at = "config.json: process.";
		r = check_process(&c, &s->process);
		if (r < 0)
			return r;
	}
	if (warnings && strv_check(warnings) < 0)
		return err_set(e, -ENOMEM, "no memory for warnings");
	return 0;
}

int spec_validate_process(const struct spec_process *p, const struct validate_host *host,
			  struct strv *warnings, struct err *e)
{
	struct check c = { "process: ", host, warnings, e };

	return check_process(&c, p);
}

int spec_validate_resources(const struct spec_resources *r, struct strv *warnings, struct err *e)
{
	struct check c = { "resources: ", NULL, warnings, e };

	return check_resources(&c, r);
}

int spec_validate_start(const struct spec *s, struct err *e)
{
	if (!s->has_process)
		return err_set(e, -EINVAL,
			       "config.json: process: is required to start the container, but missing");
	return 0;
}
