/* limits.c - see limits.h. A limit that can't be kept is an error: silence would be a lie. */
#include "agent/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "sys/bpfdev.h"
#include "sys/cg2.h"

#define DEVICE_RULES_MAX 768

uint64_t limits_weight(uint64_t shares)
{
	if (shares < 2)
		shares = 2;
	if (shares > 262144)
		shares = 262144;
	return 1 + (shares - 2) * 9999 / 262142;
}

static int put(int cg, const char *file, const char *value, const char *field, struct err *e)
{
	int r;

	if (!value)
		return err_set(e, -ENOMEM, "linux.resources.%s: %m", field);
	r = cg2_write(cg, file, value);
	if (r == -ENOENT)
		return err_set(e, r, "linux.resources.%s: the guest's cgroup has no %s (controller missing)",
			       field, file);
	return r < 0 ? err_set(e, r, "linux.resources.%s: write %s to %s: %m", field, value, file) : 0;
}

/* A negative value is "no limit". */
static int put_limit(int cg, const char *file, int64_t value, const char *field, struct err *e)
{
	scoped_free char *text = value < 0 ? str_fmt("max") : str_fmt("%" PRId64, value);

	return put(cg, file, text, field, e);
}

static int put_u64(int cg, const char *file, uint64_t value, const char *field, struct err *e)
{
	scoped_free char *text = str_fmt("%" PRIu64, value);

	return put(cg, file, text, field, e);
}

/* OCI counts memory and swap together, the kernel's v2 swap alone. */
static int put_swap(int cg, const struct msg_resources *r, struct err *e)
{
	int64_t swap = r->mem_swap;
	uint64_t now;

	if (swap >= 0) {
		if (!r->has_mem_limit || r->mem_limit < 0)
			return err_set(e, -EINVAL,
				       "linux.resources.memory.swap needs a memory limit below it");
		if (swap < r->mem_limit)
			return err_set(e, -EINVAL,
				       "linux.resources.memory.swap is less than the memory limit");
		swap -= r->mem_limit;
	}
	/* A guest kernel without swap accounting: no swap to be limited. */
	if (cg2_read_u64(cg, "memory.swap.max", &now) == -ENOENT)
		return 0;
	return put_limit(cg, "memory.swap.max", swap, "memory.swap", e);
}

static int put_memory(int cg, const struct msg_resources *r, struct err *e)
{
	int rc = 0;

	if (r->has_mem_reservation)
		rc = put_limit(cg, "memory.low", r->mem_reservation, "memory.reservation", e);
	/* 0 is how callers say "unset". */
	if (rc == 0 && r->has_mem_swap && r->mem_swap != 0)
		rc = put_swap(cg, r, e);
	if (rc == 0 && r->has_mem_limit && r->mem_limit != 0)
		rc = put_limit(cg, "memory.max", r->mem_limit, "memory.limit", e);
	return rc;
}

static int put_quota(int cg, const struct msg_resources *r, struct err *e)
{
	scoped_free char *text = NULL;
	char quota[24] = "max";

	if (r->has_cpu_quota && r->cpu_quota > 0)
		(void)snprintf(quota, sizeof quota, "%" PRId64, r->cpu_quota); /* fits */
	text = r->has_cpu_period && r->cpu_period ? str_fmt("%s %" PRIu64, quota, r->cpu_period)
						  : str_fmt("%s", quota);
	return put(cg, "cpu.max", text, r->has_cpu_quota ? "cpu.quota" : "cpu.period", e);
}

static int put_cpu(int cg, const struct msg_resources *r, struct err *e)
{
	int rc = 0;

	if (r->has_cpu_idle && r->cpu_idle)
		rc = put_limit(cg, "cpu.idle", r->cpu_idle, "cpu.idle", e);
	if (rc == 0 && r->has_cpu_shares && r->cpu_shares)
		rc = put_u64(cg, "cpu.weight", limits_weight(r->cpu_shares), "cpu.shares", e);
	if (rc == 0 && ((r->has_cpu_quota && r->cpu_quota) || (r->has_cpu_period && r->cpu_period)))
		rc = put_quota(cg, r, e);
	if (rc == 0 && r->has_cpu_burst)
		rc = put_u64(cg, "cpu.max.burst", r->cpu_burst, "cpu.burst", e);
	if (rc == 0 && r->cpus && *r->cpus)
		rc = put(cg, "cpuset.cpus", r->cpus, "cpu.cpus", e);
	if (rc == 0 && r->mems && *r->mems)
		rc = put(cg, "cpuset.mems", r->mems, "cpu.mems", e);
	return rc;
}

static int put_hugepages(int cg, const struct msg_resources *r, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->hugepages.n; i++) {
		const struct msg_hugepage *h = &r->hugepages.p[i];
		scoped_free char *file = str_fmt("hugetlb.%s.max", h->size ? h->size : "");

		if (!file || strchr(file, '/'))
			return err_set(e, -EINVAL, "linux.resources.hugepageLimits[%zu].pageSize", i);
		rc = put_u64(cg, file, h->limit, "hugepageLimits", e);
	}
	return rc;
}

static int put_unified(int cg, const struct msg_resources *r, struct err *e)
{
	int rc;

	for (size_t i = 0; i < r->unified.n; i++) {
		const char *key = r->unified.p[i].key, *value = r->unified.p[i].value;
		scoped_free char *controller = NULL;

		if (!key || !value || !*key || strchr(key, '/') || !strchr(key, '.') || key[0] == '.')
			return err_set(e, -EINVAL, "linux.resources.unified: \"%s\" is no cgroup file",
				       key ? key : "");
		controller = strndup(key, strcspn(key, "."));
		if (!controller)
			return err_set(e, -ENOMEM, "linux.resources.unified: %m");
		if (strcmp(controller, "cgroup") != 0 && !cg2_has_controller(cg, controller))
			return err_set(e, -ENOENT,
				       "linux.resources.unified.%s: the guest has no %s controller", key,
				       controller);
		rc = cg2_write(cg, key, value);
		if (rc < 0)
			return err_set(e, rc, "linux.resources.unified.%s: write \"%s\": %m", key, value);
	}
	return 0;
}

/* What every container may use whatever the list says, as in runc: nodes may be made, and the
 * default devices work. */
static const struct bpfdev_rule default_rules[] = {
	{ -1, -1, BPFDEV_MKNOD, 'c', true },
	{ -1, -1, BPFDEV_MKNOD, 'b', true },
	{ 1, 3, 7, 'c', true },
	{ 1, 5, 7, 'c', true },
	{ 1, 7, 7, 'c', true },
	{ 1, 8, 7, 'c', true },
	{ 1, 9, 7, 'c', true },
	{ 5, 0, 7, 'c', true },
	{ 5, 1, 7, 'c', true },
	{ 5, 2, 7, 'c', true },
	{ 136, -1, 7, 'c', true },
};

/* With those (free()). */
static struct bpfdev_rule *make_rules(const struct msg_device_rule *list, size_t n)
{
	struct bpfdev_rule *rules = calloc(n + ARRAY_LEN(default_rules), sizeof *rules);

	for (size_t i = 0; rules && i < n; i++)
		rules[i] = (struct bpfdev_rule){ .allow = list[i].allow,
						 .type = (char)(list[i].type & 0x7f),
						 .major = list[i].major,
						 .minor = list[i].minor,
						 .access = list[i].access };
	if (rules)
		memcpy(rules + n, default_rules, sizeof default_rules);
	return rules;
}

int limits_prepare(struct bpfdev_prog *ret)
{
	static const struct msg_device_rule none = { false, 'a', -1, -1,
						     BPFDEV_READ | BPFDEV_WRITE | BPFDEV_MKNOD };
	scoped_free struct bpfdev_rule *rules = make_rules(&none, 1);

	return rules ? bpfdev_load(rules, 1 + ARRAY_LEN(default_rules), ret) : -ENOMEM;
}

static int put_devices(int cg, const struct msg_resources *r, const struct bpfdev_prog *ready, int *prog,
		       struct err *e)
{
	scoped_free struct bpfdev_rule *rules = NULL;
	size_t n = r->devices.n;
	int rc;

	if (!r->has_devices)
		return 0;
	if (n > DEVICE_RULES_MAX)
		return err_set(e, -E2BIG, "linux.resources.devices: more than %d rules", DEVICE_RULES_MAX);
	rules = make_rules(r->devices.p, n);
	if (!rules)
		return err_set(e, -ENOMEM, "linux.resources.devices: %m");
	rc = bpfdev_attach(cg, rules, n + ARRAY_LEN(default_rules), ready, prog);
	return rc < 0 ? err_set(e, rc, "linux.resources.devices: device program: %m") : 0;
}

/* The first field of the record that asks for something, or NULL. */
static const char *first_asked(const struct msg_resources *r)
{
	const struct {
		bool asked;
		const char *field;
	} fields[] = {
		{ r->has_mem_limit && r->mem_limit > 0, "memory.limit" },
		{ r->has_mem_reservation && r->mem_reservation > 0, "memory.reservation" },
		{ r->has_mem_swap && r->mem_swap > 0, "memory.swap" },
		{ r->has_cpu_shares && r->cpu_shares, "cpu.shares" },
		{ r->has_cpu_quota && r->cpu_quota > 0, "cpu.quota" },
		{ r->has_cpu_period && r->cpu_period, "cpu.period" },
		{ r->has_cpu_burst, "cpu.burst" },
		{ r->has_cpu_idle && r->cpu_idle, "cpu.idle" },
		{ r->cpus && *r->cpus, "cpu.cpus" },
		{ r->mems && *r->mems, "cpu.mems" },
		{ r->has_pids && r->pids_limit >= 0, "pids.limit" },
		{ r->hugepages.n > 0, "hugepageLimits" },
		{ r->unified.n > 0, "unified" },
	};

	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (fields[i].asked)
			return fields[i].field;
	return NULL;
}

int limits_apply(int cg, const struct msg_resources *r, const struct bpfdev_prog *ready, int *device_prog,
		 struct err *e)
{
	const char *field = cg < 0 ? first_asked(r) : NULL;
	int rc;

	if (field)
		return err_set(e, -ENODEV, "linux.resources.%s: the guest has no cgroups", field);
	if (cg < 0)
		return 0;
	rc = put_memory(cg, r, e);
	if (rc == 0)
		rc = put_cpu(cg, r, e);
	if (rc == 0 && r->has_pids)
		rc = put_limit(cg, "pids.max", r->pids_limit, "pids.limit", e);
	if (rc == 0)
		rc = put_hugepages(cg, r, e);
	if (rc == 0)
		rc = put_unified(cg, r, e);
	if (rc == 0)
		rc = put_devices(cg, r, ready, device_prog, e);
	return rc;
}
