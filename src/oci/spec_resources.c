/* spec_resources.c - the `linux.resources` object (see spec.h), also of `update --resources`.
 * Called by field.c's engine on behalf of spec.c. Zeros that callers write for "unset" become absent. */
#include <errno.h>
#include <string.h>

#include "oci/field.h"

/* 12 and 20 bits: what makedev() of the kernel takes. -1 = any. */
#define MAJOR_MAX 0xfff
#define MINOR_MAX 0xfffff
#define ANY_MAJOR .min = (uint64_t)-1, .max = MAJOR_MAX
#define ANY_MINOR .min = (uint64_t)-1, .max = MINOR_MAX

static int read_access(const struct field_ctx *c, const struct json *v, void *obj)
{
	static const char letters[] = "rwm"; /* bit 1, 2, 4 */
	uint32_t *access = obj;
	const char *s;
	int r = json_string(v, &s, c->e);

	if (r < 0)
		return r;
	*access = 0;
	for (; *s; s++) {
		const char *hit = strchr(letters, *s);

		if (!hit)
			return json_err(c->e, v, "must be made of r, w and m, found \"%.20s\"", v->text);
		*access |= 1u << (hit - letters);
	}
	return 0;
}

/* An absent type, number or access means "all"; zeroed structs can't say that. */
static int finish_rule(const struct field_ctx *c, const struct json *v, void *obj)
{
	struct spec_device_rule *rule = obj;

	(void)c;
	if (rule->type == 0)
		rule->type = 'a';
	if (!json_get(v, "major"))
		rule->major = -1;
	if (!json_get(v, "minor"))
		rule->minor = -1;
	if (rule->access == 0)
		rule->access = 7;
	return 0;
}

static int read_page_size(const struct field_ctx *c, const struct json *v, void *obj)
{
	char **ret = obj;
	const char *s;
	size_t digits;
	int r = json_string(v, &s, c->e);

	if (r < 0)
		return r;
	digits = strspn(s, "0123456789");
	if (*s == '0' || digits == 0 || !s[digits] || !strchr("KMG", s[digits]) ||
	    strcmp(s + digits + 1, "B") != 0)
		return json_err(c->e, v, "must be a size as \"64KB\", \"2MB\" or \"1GB\", found \"%.40s\"",
				s);
	*ret = arena_str(c->mem, s);
	return *ret ? 0 : field_no_memory(c);
}

/* The keys become file names in the cgroup's directory. */
static int check_unified(const struct field_ctx *c, const struct json *v, const struct spec_resources *res)
{
	const struct json *m = json_get(v, "unified");

	for (size_t i = 0; m && i < res->unified.n; i++) {
		const char *key = res->unified.p[i].key;

		if (strchr(key, '/') || !strchr(key, '.') || key[0] == '.')
			return json_err_member(c->e, m, key,
					       "must be the name of a cgroup file as \"memory.high\"");
	}
	return 0;
}

static int check_weights(const struct field_ctx *c, const struct json *v, void *obj)
{
	const struct spec_block_io *b = obj;

	if (b->has_weight && b->weight < 10)
		return json_err_member(c->e, v, "weight", "must be 10 to 1000 (or 0 for unset), found %u",
				       b->weight);
	if (b->has_leaf_weight && b->leaf_weight < 10)
		return json_err_member(c->e, v, "leafWeight", "must be 10 to 1000 (or 0 for unset), found %u",
				       b->leaf_weight);
	return 0;
}

static int check_resources(const struct field_ctx *c, const struct json *v, void *obj)
{
	return check_unified(c, v, obj);
}

static const struct field rule_rows[] = {
	ROW("allow", FIELD_BOOL, struct spec_device_rule, allow, .flags = FIELD_REQUIRED),
	ROW("type", FIELD_ENUM, struct spec_device_rule, type, .flags = FIELD_EMPTY_UNSET,
	    .names = &names_device_rule_types),
	ROW("major", FIELD_I64, struct spec_device_rule, major, ANY_MAJOR),
	ROW("minor", FIELD_I64, struct spec_device_rule, minor, ANY_MINOR),
	ROW("access", FIELD_FN, struct spec_device_rule, access, .fn = read_access),
};
static const struct field_obj rule = FIELD_OBJ_OF(struct spec_device_rule, rule_rows, finish_rule);

#define LIMIT .flags = FIELD_ZERO_UNSET, .min = (uint64_t)-1, .max = INT64_MAX

static const struct field memory_rows[] = {
	ROW_HAS("limit", FIELD_I64, struct spec_memory, limit, has_limit, LIMIT),
	ROW_HAS("reservation", FIELD_I64, struct spec_memory, reservation, has_reservation, LIMIT),
	ROW_HAS("swap", FIELD_I64, struct spec_memory, swap, has_swap, LIMIT),
	ROW_HAS("kernel", FIELD_I64, struct spec_memory, kernel, has_kernel, LIMIT),
	ROW_HAS("kernelTCP", FIELD_I64, struct spec_memory, kernel_tcp, has_kernel_tcp, LIMIT),
	ROW_HAS("swappiness", FIELD_U64, struct spec_memory, swappiness, has_swappiness, .max = 100),
	ROW_HAS("disableOOMKiller", FIELD_BOOL, struct spec_memory, disable_oom_killer,
		has_disable_oom_killer),
	ROW_HAS("useHierarchy", FIELD_BOOL, struct spec_memory, use_hierarchy, has_use_hierarchy),
	ROW_HAS("checkBeforeUpdate", FIELD_BOOL, struct spec_memory, check_before_update,
		has_check_before_update),
};
static const struct field_obj memory = FIELD_OBJ_OF(struct spec_memory, memory_rows, NULL);

static const struct field cpu_rows[] = {
	ROW_HAS("shares", FIELD_U64, struct spec_cpu, shares, has_shares, .flags = FIELD_ZERO_UNSET, MAX_U64),
	ROW_HAS("quota", FIELD_I64, struct spec_cpu, quota, has_quota, .flags = FIELD_ZERO_UNSET, ANY_I64),
	ROW_HAS("burst", FIELD_U64, struct spec_cpu, burst, has_burst, MAX_U64),
	ROW_HAS("period", FIELD_U64, struct spec_cpu, period, has_period, .flags = FIELD_ZERO_UNSET, MAX_U64),
	ROW_HAS("realtimeRuntime", FIELD_I64, struct spec_cpu, rt_runtime, has_rt_runtime,
		.flags = FIELD_ZERO_UNSET, ANY_I64),
	ROW_HAS("realtimePeriod", FIELD_U64, struct spec_cpu, rt_period, has_rt_period,
		.flags = FIELD_ZERO_UNSET, MAX_U64),
	ROW("cpus", FIELD_STR, struct spec_cpu, cpus, .flags = FIELD_EMPTY_UNSET),
	ROW("mems", FIELD_STR, struct spec_cpu, mems, .flags = FIELD_EMPTY_UNSET),
	ROW_HAS("idle", FIELD_I64, struct spec_cpu, idle, has_idle, .min = 0, .max = 1),
};
static const struct field_obj cpu = FIELD_OBJ_OF(struct spec_cpu, cpu_rows, NULL);

static const struct field pids_rows[] = {
	ROW_HAS("limit", FIELD_I64, struct spec_resources, pids_limit, has_pids, ANY_I64),
};
static const struct field_obj pids = FIELD_OBJ_OF(struct spec_resources, pids_rows, NULL);

#define WEIGHT .flags = FIELD_ZERO_UNSET, .max = 1000

static const struct field weight_rows[] = {
	ROW("major", FIELD_I64, struct spec_weight_device, major, .flags = FIELD_REQUIRED, .max = MAJOR_MAX),
	ROW("minor", FIELD_I64, struct spec_weight_device, minor, .flags = FIELD_REQUIRED, .max = MINOR_MAX),
	ROW_HAS("weight", FIELD_U32, struct spec_weight_device, weight, has_weight, WEIGHT),
	ROW_HAS("leafWeight", FIELD_U32, struct spec_weight_device, leaf_weight, has_leaf_weight, WEIGHT),
};
static const struct field_obj weight = FIELD_OBJ_OF(struct spec_weight_device, weight_rows, NULL);

static const struct field throttle_rows[] = {
	ROW("major", FIELD_I64, struct spec_throttle_device, major, .flags = FIELD_REQUIRED,
	    .max = MAJOR_MAX),
	ROW("minor", FIELD_I64, struct spec_throttle_device, minor, .flags = FIELD_REQUIRED,
	    .max = MINOR_MAX),
	ROW("rate", FIELD_U64, struct spec_throttle_device, rate, .flags = FIELD_REQUIRED, MAX_U64),
};
static const struct field_obj throttle = FIELD_OBJ_OF(struct spec_throttle_device, throttle_rows, NULL);

static const struct field block_io_rows[] = {
	ROW_HAS("weight", FIELD_U32, struct spec_block_io, weight, has_weight, WEIGHT),
	ROW_HAS("leafWeight", FIELD_U32, struct spec_block_io, leaf_weight, has_leaf_weight, WEIGHT),
	ROW("weightDevice", FIELD_OBJS, struct spec_block_io, weight_device, .sub = &weight),
	ROW("throttleReadBpsDevice", FIELD_OBJS, struct spec_block_io, read_bps, .sub = &throttle),
	ROW("throttleWriteBpsDevice", FIELD_OBJS, struct spec_block_io, write_bps, .sub = &throttle),
	ROW("throttleReadIOPSDevice", FIELD_OBJS, struct spec_block_io, read_iops, .sub = &throttle),
	ROW("throttleWriteIOPSDevice", FIELD_OBJS, struct spec_block_io, write_iops, .sub = &throttle),
};
static const struct field_obj block_io = FIELD_OBJ_OF(struct spec_block_io, block_io_rows, check_weights);

static const struct field hugepage_rows[] = {
	ROW("pageSize", FIELD_FN, struct spec_hugepage, page_size, .flags = FIELD_REQUIRED,
	    .fn = read_page_size),
	ROW("limit", FIELD_U64, struct spec_hugepage, limit, .flags = FIELD_REQUIRED, MAX_U64),
};
static const struct field_obj hugepage = FIELD_OBJ_OF(struct spec_hugepage, hugepage_rows, NULL);

static const struct field priority_rows[] = {
	ROW("name", FIELD_STR, struct spec_net_priority, name, .flags = FIELD_REQUIRED | FIELD_NOT_EMPTY),
	ROW("priority", FIELD_U32, struct spec_net_priority, priority, .flags = FIELD_REQUIRED, MAX_U32),
};
static const struct field_obj priority = FIELD_OBJ_OF(struct spec_net_priority, priority_rows, NULL);

static const struct field network_rows[] = {
	ROW_HAS("classID", FIELD_U32, struct spec_network, class_id, has_class_id, MAX_U32),
	ROW("priorities", FIELD_OBJS, struct spec_network, priorities, .sub = &priority),
};
static const struct field_obj network = FIELD_OBJ_OF(struct spec_network, network_rows, NULL);

static const struct field rdma_rows[] = {
	ROW_HAS("hcaHandles", FIELD_U32, struct spec_rdma, hca_handles, has_hca_handles, MAX_U32),
	ROW_HAS("hcaObjects", FIELD_U32, struct spec_rdma, hca_objects, has_hca_objects, MAX_U32),
};
static const struct field_obj rdma = FIELD_OBJ_OF(struct spec_rdma, rdma_rows, NULL);

static const struct field resources_rows[] = {
	ROW("devices", FIELD_OBJS, struct spec_resources, devices, .sub = &rule),
	ROW_HAS("memory", FIELD_OBJ, struct spec_resources, memory, has_memory, .sub = &memory),
	ROW_HAS("cpu", FIELD_OBJ, struct spec_resources, cpu, has_cpu, .sub = &cpu),
	ROW_FLAT("pids", &pids),
	ROW_HAS("blockIO", FIELD_OBJ, struct spec_resources, block_io, has_block_io, .sub = &block_io),
	ROW("hugepageLimits", FIELD_OBJS, struct spec_resources, hugepage_limits, .sub = &hugepage),
	ROW_HAS("network", FIELD_OBJ, struct spec_resources, network, has_network, .sub = &network),
	ROW("rdma", FIELD_MAP, struct spec_resources, rdma, .sub = &rdma),
	ROW("unified", FIELD_KVS, struct spec_resources, unified),
};
const struct field_obj spec_resources_table =
	FIELD_OBJ_OF(struct spec_resources, resources_rows, check_resources);
