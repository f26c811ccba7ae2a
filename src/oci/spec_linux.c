/* spec_linux.c - the `linux` and `vm` objects (see spec.h), but for resources.
 * Called by field.c's engine on behalf of spec.c. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "oci/field.h"

/* 12 and 20 bits: what makedev() of the kernel takes. */
#define MAJOR_MAX 0xfff
#define MINOR_MAX 0xfffff

/* A list of paths, each absolute, lexically cleaned. */
static int read_paths(const struct field_ctx *c, const struct json *v, void *obj)
{
	struct spec_strs *ret = obj, list = { 0 };
	int r = field_strs(c, v, &list);

	for (size_t i = 0; r >= 0 && i < list.n; i++) {
		scoped_free char *clean = NULL;

		if (list.p[i][0] != '/')
			return json_err(c->e, v, "[%zu] must be an absolute path, found \"%.200s\"", i,
					list.p[i]);
		clean = str_clean_path(list.p[i]);
		list.p[i] = clean ? arena_str(c->mem, clean) : NULL;
		if (!list.p[i])
			return field_no_memory(c);
	}
	if (r < 0)
		return r;
	*ret = list;
	return 0;
}

static int read_device_path(const struct field_ctx *c, const struct json *v, void *obj)
{
	scoped_free char *clean = NULL;
	char **ret = obj;
	const char *s;
	int r = json_string(v, &s, c->e);

	if (r < 0)
		return r;
	if (*s != '/')
		return json_err(c->e, v, "must be an absolute path, found \"%.200s\"", s);
	clean = str_clean_path(s);
	if (clean && strcmp(clean, "/") == 0)
		return json_err(c->e, v, "must name a file inside the container, found \"%.200s\"", s);
	*ret = clean ? arena_str(c->mem, clean) : NULL;
	return *ret ? 0 : field_no_memory(c);
}

static int finish_device(const struct field_ctx *c, const struct json *v, void *obj)
{
	struct spec_device *d = obj;

	d->file_mode &= 07777; /* Docker and Podman put the type's bits there too */
	if (d->type == S_IFIFO) {
		d->major = d->minor = 0;
		return 0;
	}
	if (!json_get(v, "major"))
		return json_err_member(c->e, v, "major", "is required for this type of device, but missing");
	if (!json_get(v, "minor"))
		return json_err_member(c->e, v, "minor", "is required for this type of device, but missing");
	return 0;
}

static int check_offset(const struct field_ctx *c, const struct json *v, void *obj)
{
	const struct spec_time_offset *o = obj;

	if (!names_find(&names_clocks, o->clock))
		return json_err(c->e, v, "is no clock of a time namespace; known: monotonic, boottime");
	return 0;
}

static int check_idmap(const struct field_ctx *c, const struct json *v, void *obj)
{
	const struct spec_idmap *m = obj;

	if (m->size == 0)
		return json_err_member(c->e, v, "size", "must be at least 1");
	if (m->container_id > UINT32_MAX - m->size || m->host_id > UINT32_MAX - m->size)
		return json_err_member(c->e, v, "size", "reaches beyond the last ID");
	return 0;
}

static int check_syscall(const struct field_ctx *c, const struct json *v, void *obj)
{
	const struct spec_seccomp_rule *rule = obj;

	if (rule->names.n == 0)
		return json_err_member(c->e, v, "names", "must hold at least one system call");
	return 0;
}

/* There are domains, but no flags: the spec defines none, so any is unknown. */
static int check_personality(const struct field_ctx *c, const struct json *v, void *obj)
{
	const struct json *flags = json_get(v, "flags");
	int r;

	(void)obj;
	if (!flags)
		return 0;
	r = json_want(flags, JSON_ARRAY, c->e);
	if (r < 0)
		return r;
	return flags->n ? json_err(c->e, flags, "no flags are defined for the personality") : 0;
}

/* runc and sysctl(8) know both "net/ipv4/..." and "net.ipv4...": the first separator decides. */
static int finish_sysctl(const struct field_ctx *c, const struct json *v, struct spec_linux *l)
{
	const struct json *obj = json_get(v, "sysctl");

	for (size_t i = 0; i < l->sysctl.n; i++) {
		char *key = l->sysctl.p[i].key;
		size_t first = strcspn(key, "./");

		if (key[first] == '/')
			for (char *p = key; *p; p++)
				*p = *p == '/' ? '.' : *p == '.' ? '/' : *p;
		/* '/' now stands for a dot inside a part ("net.ipv4.conf.eth0/100.rp_filter") */
		if (key[0] == '.' || strstr(key, "..") || str_ends(key, ".") || strstr(key, "//") ||
		    key[0] == '/' || !strchr(key, '.'))
			return json_err(c->e, obj,
					"\"%.80s\" is not the name of a sysctl as \"net.ipv4.ip_forward\"",
					key);
	}
	return 0;
}

static int finish_linux(const struct field_ctx *c, const struct json *v, void *obj)
{
	struct spec_linux *l = obj;
	uint64_t seen = 0;

	for (size_t i = 0; i < l->namespaces.n; i++) {
		uint64_t type = l->namespaces.p[i].type;

		if (seen & type)
			return json_err_member(c->e, v, "namespaces", "\"%s\" is given twice",
					       names_of(&names_namespaces, type));
		seen |= type;
	}
	return finish_sysctl(c, v, l);
}

static const struct field idmap_rows[] = {
	ROW("containerID", FIELD_U32, struct spec_idmap, container_id, .flags = FIELD_REQUIRED, MAX_U32),
	ROW("hostID", FIELD_U32, struct spec_idmap, host_id, .flags = FIELD_REQUIRED, MAX_U32),
	ROW("size", FIELD_U32, struct spec_idmap, size, .flags = FIELD_REQUIRED, MAX_U32),
};
const struct field_obj spec_idmap_table = FIELD_OBJ_OF(struct spec_idmap, idmap_rows, check_idmap);

static const struct field namespace_rows[] = {
	ROW("type", FIELD_ENUM64, struct spec_namespace, type, .flags = FIELD_REQUIRED,
	    .names = &names_namespaces),
	ROW("path", FIELD_STR, struct spec_namespace, path, .flags = FIELD_EMPTY_UNSET | FIELD_ABSOLUTE),
};
static const struct field_obj namespace = FIELD_OBJ_OF(struct spec_namespace, namespace_rows, NULL);

static const struct field offset_rows[] = {
	ROW("secs", FIELD_I64, struct spec_time_offset, secs, ANY_I64),
	ROW("nanosecs", FIELD_U32, struct spec_time_offset, nanosecs, .max = 999999999),
};
static const struct field_obj offset = FIELD_OBJ_OF(struct spec_time_offset, offset_rows, check_offset);

static const struct field device_rows[] = {
	ROW("type", FIELD_ENUM, struct spec_device, type, .flags = FIELD_REQUIRED,
	    .names = &names_device_types),
	ROW("path", FIELD_FN, struct spec_device, path, .flags = FIELD_REQUIRED, .fn = read_device_path),
	ROW("major", FIELD_I64, struct spec_device, major, .max = MAJOR_MAX),
	ROW("minor", FIELD_I64, struct spec_device, minor, .max = MINOR_MAX),
	ROW_HAS("fileMode", FIELD_U32, struct spec_device, file_mode, has_file_mode, MAX_U32),
	ROW_HAS("uid", FIELD_U32, struct spec_device, uid, has_uid, MAX_U32),
	ROW_HAS("gid", FIELD_U32, struct spec_device, gid, has_gid, MAX_U32),
};
static const struct field_obj device = FIELD_OBJ_OF(struct spec_device, device_rows, finish_device);

static const struct field net_device_rows[] = {
	ROW("name", FIELD_STR, struct spec_net_device, name, .flags = FIELD_EMPTY_UNSET),
};
static const struct field_obj net_device = FIELD_OBJ_OF(struct spec_net_device, net_device_rows, NULL);

static const struct field rdt_rows[] = {
	ROW("closID", FIELD_STR, struct spec_intel_rdt, clos_id, .flags = FIELD_EMPTY_UNSET),
	ROW("schemata", FIELD_STRS, struct spec_intel_rdt, schemata),
	ROW("l3CacheSchema", FIELD_STR, struct spec_intel_rdt, l3_cache_schema, .flags = FIELD_EMPTY_UNSET),
	ROW("memBwSchema", FIELD_STR, struct spec_intel_rdt, mem_bw_schema, .flags = FIELD_EMPTY_UNSET),
	ROW("enableMonitoring", FIELD_BOOL, struct spec_intel_rdt, enable_monitoring),
	ROW("enableCMT", FIELD_BOOL, struct spec_intel_rdt, enable_cmt), /* until 1.2 */
	ROW("enableMBM", FIELD_BOOL, struct spec_intel_rdt, enable_mbm), /* until 1.2 */
};
static const struct field_obj rdt = FIELD_OBJ_OF(struct spec_intel_rdt, rdt_rows, NULL);

static const struct field mem_policy_rows[] = {
	ROW("mode", FIELD_ENUM, struct spec_memory_policy, mode, .flags = FIELD_REQUIRED,
	    .names = &names_mem_modes),
	ROW("nodes", FIELD_STR, struct spec_memory_policy, nodes, .flags = FIELD_EMPTY_UNSET),
	ROW("flags", FIELD_FLAGS, struct spec_memory_policy, flags, .names = &names_mem_flags),
};
static const struct field_obj mem_policy = FIELD_OBJ_OF(struct spec_memory_policy, mem_policy_rows, NULL);

static const struct field arg_rows[] = {
	ROW("index", FIELD_U32, struct spec_seccomp_arg, index, .flags = FIELD_REQUIRED, .max = 5),
	ROW("value", FIELD_U64, struct spec_seccomp_arg, value, .flags = FIELD_REQUIRED, MAX_U64),
	ROW("valueTwo", FIELD_U64, struct spec_seccomp_arg, value_two, MAX_U64),
	ROW("op", FIELD_STR, struct spec_seccomp_arg, op, .flags = FIELD_REQUIRED),
};
static const struct field_obj seccomp_arg = FIELD_OBJ_OF(struct spec_seccomp_arg, arg_rows, NULL);

/* MAX_ERRNO of the kernel. */
#define ERRNO .max = 4095

static const struct field syscall_rows[] = {
	ROW("names", FIELD_STRS, struct spec_seccomp_rule, names, .flags = FIELD_REQUIRED),
	ROW("action", FIELD_STR, struct spec_seccomp_rule, action, .flags = FIELD_REQUIRED),
	ROW_HAS("errnoRet", FIELD_U32, struct spec_seccomp_rule, errno_ret, has_errno_ret, ERRNO),
	ROW("args", FIELD_OBJS, struct spec_seccomp_rule, args, .sub = &seccomp_arg),
};
static const struct field_obj seccomp_rule =
	FIELD_OBJ_OF(struct spec_seccomp_rule, syscall_rows, check_syscall);

static const struct field seccomp_rows[] = {
	ROW("defaultAction", FIELD_STR, struct spec_seccomp, default_action, .flags = FIELD_REQUIRED),
	ROW_HAS("defaultErrnoRet", FIELD_U32, struct spec_seccomp, default_errno_ret, has_default_errno_ret,
		ERRNO),
	ROW("architectures", FIELD_STRS, struct spec_seccomp, architectures),
	ROW_HAS("flags", FIELD_STRS, struct spec_seccomp, flags, has_flags),
	ROW("listenerPath", FIELD_STR, struct spec_seccomp, listener_path, .flags = FIELD_EMPTY_UNSET),
	ROW("listenerMetadata", FIELD_STR, struct spec_seccomp, listener_metadata,
	    .flags = FIELD_EMPTY_UNSET),
	ROW("syscalls", FIELD_OBJS, struct spec_seccomp, syscalls, .sub = &seccomp_rule),
};
static const struct field_obj seccomp = FIELD_OBJ_OF(struct spec_seccomp, seccomp_rows, NULL);

static const struct field personality_rows[] = {
	ROW("domain", FIELD_ENUM64, struct spec_linux, personality, .flags = FIELD_REQUIRED,
	    .names = &names_personalities),
};
static const struct field_obj personality =
	FIELD_OBJ_OF(struct spec_linux, personality_rows, check_personality);

static const struct field linux_rows[] = {
	ROW("namespaces", FIELD_OBJS, struct spec_linux, namespaces, .sub = &namespace),
	ROW("uidMappings", FIELD_OBJS, struct spec_linux, uid_mappings, .sub = &spec_idmap_table),
	ROW("gidMappings", FIELD_OBJS, struct spec_linux, gid_mappings, .sub = &spec_idmap_table),
	ROW("timeOffsets", FIELD_MAP, struct spec_linux, time_offsets, .sub = &offset),
	ROW("devices", FIELD_OBJS, struct spec_linux, devices, .sub = &device),
	ROW("netDevices", FIELD_MAP, struct spec_linux, net_devices, .sub = &net_device),
	ROW("cgroupsPath", FIELD_STR, struct spec_linux, cgroups_path, .flags = FIELD_EMPTY_UNSET),
	ROW_HAS("resources", FIELD_OBJ, struct spec_linux, resources, has_resources,
		.sub = &spec_resources_table),
	ROW_HAS("intelRdt", FIELD_OBJ, struct spec_linux, intel_rdt, has_intel_rdt, .sub = &rdt),
	ROW_HAS("memoryPolicy", FIELD_OBJ, struct spec_linux, memory_policy, has_memory_policy,
		.sub = &mem_policy),
	ROW("sysctl", FIELD_KVS, struct spec_linux, sysctl),
	ROW_HAS("seccomp", FIELD_OBJ, struct spec_linux, seccomp, has_seccomp, .sub = &seccomp),
	ROW("rootfsPropagation", FIELD_ENUM64, struct spec_linux, rootfs_propagation,
	    .flags = FIELD_EMPTY_UNSET, .names = &names_propagations),
	ROW("maskedPaths", FIELD_FN, struct spec_linux, masked_paths, .fn = read_paths),
	ROW("readonlyPaths", FIELD_FN, struct spec_linux, readonly_paths, .fn = read_paths),
	ROW("mountLabel", FIELD_STR, struct spec_linux, mount_label, .flags = FIELD_EMPTY_UNSET),
	{ .name = "personality",
	  .type = FIELD_OBJ,
	  .has_off = offsetof(struct spec_linux, has_personality),
	  .sub = &personality },
};
const struct field_obj spec_linux_table = FIELD_OBJ_OF(struct spec_linux, linux_rows, finish_linux);

#define HOST_PATH .flags = FIELD_EMPTY_UNSET | FIELD_ABSOLUTE

static const struct field hypervisor_rows[] = {
	ROW("path", FIELD_STR, struct spec_vm, hypervisor_path, HOST_PATH),
	ROW("parameters", FIELD_STRS, struct spec_vm, hypervisor_parameters),
};
static const struct field_obj hypervisor = FIELD_OBJ_OF(struct spec_vm, hypervisor_rows, NULL);

static const struct field kernel_rows[] = {
	ROW("path", FIELD_STR, struct spec_vm, kernel_path, HOST_PATH),
	ROW("parameters", FIELD_STRS, struct spec_vm, kernel_parameters),
	ROW("initrd", FIELD_STR, struct spec_vm, kernel_initrd, HOST_PATH),
};
static const struct field_obj kernel = FIELD_OBJ_OF(struct spec_vm, kernel_rows, NULL);

static const struct field image_rows[] = {
	ROW("path", FIELD_STR, struct spec_vm, image_path, HOST_PATH),
	ROW("format", FIELD_STR, struct spec_vm, image_format, .flags = FIELD_EMPTY_UNSET),
};
static const struct field_obj image = FIELD_OBJ_OF(struct spec_vm, image_rows, NULL);

static const struct field iomem_rows[] = {
	ROW("firstGFN", FIELD_U64, struct spec_iomem, first_gfn, MAX_U64),
	ROW("firstMFN", FIELD_U64, struct spec_iomem, first_mfn, .flags = FIELD_REQUIRED, MAX_U64),
	ROW("nrMFNs", FIELD_U64, struct spec_iomem, nr_mfns, .flags = FIELD_REQUIRED, MAX_U64),
};
static const struct field_obj iomem = FIELD_OBJ_OF(struct spec_iomem, iomem_rows, NULL);

static const struct field hw_rows[] = {
	ROW("deviceTree", FIELD_STR, struct spec_vm, device_tree, HOST_PATH),
	ROW_HAS("vcpus", FIELD_U32, struct spec_vm, vcpus, has_vcpus, .flags = FIELD_ZERO_UNSET, MAX_U32),
	ROW_HAS("memory", FIELD_U64, struct spec_vm, memory, has_memory, .flags = FIELD_ZERO_UNSET, MAX_U64),
	ROW("dtdevs", FIELD_STRS, struct spec_vm, dtdevs),
	ROW("iomems", FIELD_OBJS, struct spec_vm, iomems, .sub = &iomem),
	ROW("irqs", FIELD_U32S, struct spec_vm, irqs, MAX_U32),
};
static const struct field_obj hw = FIELD_OBJ_OF(struct spec_vm, hw_rows, NULL);

/* The text says "hwConfig", the Go bindings write "hwconfig". */
static int check_vm(const struct field_ctx *c, const struct json *v, void *obj)
{
	(void)obj;
	if (json_get(v, "hwConfig") && json_get(v, "hwconfig"))
		return json_err_member(c->e, v, "hwconfig", "stands beside hwConfig: give one of them");
	return 0;
}

static const struct field vm_rows[] = {
	ROW_FLAT("hypervisor", &hypervisor), ROW_FLAT("kernel", &kernel), ROW_FLAT("image", &image),
	ROW_FLAT("hwConfig", &hw),           ROW_FLAT("hwconfig", &hw),
};
const struct field_obj spec_vm_table = FIELD_OBJ_OF(struct spec_vm, vm_rows, check_vm);
