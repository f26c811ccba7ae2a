/* spec_process.c - the `process` object (see spec.h): table and the checks that are its own.
 * Called by field.c's engine on behalf of spec.c. */
#include <errno.h>
#include <string.h>

#include "oci/field.h"

/* More unknown names than these are not worth a warning each. */
#define UNKNOWN_MAX 16u

static int read_cap_set(const struct field_ctx *c, const struct json *v, uint64_t *set, struct strv *unknown)
{
	uint64_t all = 0;
	int r = json_want(v, JSON_ARRAY, c->e);

	if (r < 0)
		return r;
	for (const struct json *m = v->first; m; m = m->next) {
		const struct name *cap;
		const char *s;

		r = json_string(m, &s, c->e);
		if (r < 0)
			return r;
		cap = names_find(&names_caps, s);
		if (cap)
			all |= (uint64_t)1 << cap->value;
		else if (unknown->n < UNKNOWN_MAX && !strv_has(unknown, s))
			strv_add(unknown, s);
	}
	*set = all;
	return 0;
}

/* The spec wants a warning, not an error, for a capability that can't be granted. */
static int read_caps(const struct field_ctx *c, const struct json *v, void *obj)
{
	static const struct {
		const char *name;
		size_t off;
	} sets[] = { { "bounding", offsetof(struct spec_caps, bounding) },
		     { "effective", offsetof(struct spec_caps, effective) },
		     { "inheritable", offsetof(struct spec_caps, inheritable) },
		     { "permitted", offsetof(struct spec_caps, permitted) },
		     { "ambient", offsetof(struct spec_caps, ambient) } };
	struct spec_caps *caps = obj;
	scoped_strv unknown = { 0 };
	int r = json_want(v, JSON_OBJECT, c->e);

	for (size_t i = 0; i < ARRAY_LEN(sets) && r >= 0; i++) {
		const struct json *m = json_get(v, sets[i].name);

		if (m)
			r = read_cap_set(c, m, (uint64_t *)(void *)((char *)obj + sets[i].off), &unknown);
	}
	if (r < 0)
		return r;
	if (strv_check(&unknown) < 0)
		return field_no_memory(c);
	caps->unknown.p = arena_array(c->mem, unknown.n + 1, sizeof(char *));
	if (!caps->unknown.p)
		return field_no_memory(c);
	for (size_t i = 0; i < unknown.n; i++) {
		caps->unknown.p[i] = arena_str(c->mem, unknown.p[i]);
		if (!caps->unknown.p[i])
			return field_no_memory(c);
	}
	caps->unknown.n = unknown.n;
	return 0;
}

static int check_rlimit(const struct field_ctx *c, const struct json *v, void *obj)
{
	const struct spec_rlimit *l = obj;

	if (l->soft > l->hard)
		return json_err_member(c->e, v, "soft", "must not be above hard");
	return 0;
}

static int read_cpu_list(const struct field_ctx *c, const struct json *v, void *obj)
{
	char **ret = obj;
	const char *s;
	int r = json_string(v, &s, c->e);

	if (r < 0)
		return r;
	if (s[strspn(s, "0123456789, -")] != '\0')
		return json_err(c->e, v, "must be a list of CPUs as \"0-3,7\", found \"%.60s\"", s);
	if (*s == '\0')
		return 0;
	*ret = arena_str(c->mem, s);
	return *ret ? 0 : field_no_memory(c);
}

static int check_process(const struct field_ctx *c, const struct json *v, void *obj)
{
	const struct spec_process *p = obj;
	uint64_t seen = 0;

	for (size_t i = 0; i < p->rlimits.n; i++) {
		uint64_t bit = (uint64_t)1 << p->rlimits.p[i].type;

		if (seen & bit)
			return json_err_member(c->e, v, "rlimits", "%s is given twice",
					       names_of(&names_rlimits, p->rlimits.p[i].type));
		seen |= bit;
	}
	return 0;
}

static const struct field box_rows[] = {
	ROW("height", FIELD_U64, struct spec_box, height, .flags = FIELD_REQUIRED, .max = 65535),
	ROW("width", FIELD_U64, struct spec_box, width, .flags = FIELD_REQUIRED, .max = 65535),
};
static const struct field_obj box = FIELD_OBJ_OF(struct spec_box, box_rows, NULL);

static const struct field rlimit_rows[] = {
	ROW("type", FIELD_ENUM, struct spec_rlimit, type, .flags = FIELD_REQUIRED, .names = &names_rlimits),
	ROW("soft", FIELD_U64, struct spec_rlimit, soft, .flags = FIELD_REQUIRED, MAX_U64),
	ROW("hard", FIELD_U64, struct spec_rlimit, hard, .flags = FIELD_REQUIRED, MAX_U64),
};
static const struct field_obj rlimit = FIELD_OBJ_OF(struct spec_rlimit, rlimit_rows, check_rlimit);

/* (uid_t)-1 means "no change" to the kernel. */
#define MAX_ID .max = UINT32_MAX - 1

static const struct field user_rows[] = {
	ROW("uid", FIELD_U32, struct spec_user, uid, MAX_ID),
	ROW("gid", FIELD_U32, struct spec_user, gid, MAX_ID),
	ROW_HAS("umask", FIELD_U32, struct spec_user, umask, has_umask, .max = 07777),
	ROW("additionalGids", FIELD_U32S, struct spec_user, additional_gids, MAX_ID),
	ROW("username", FIELD_STR, struct spec_user, name, .flags = FIELD_EMPTY_UNSET),
};
static const struct field_obj user = FIELD_OBJ_OF(struct spec_user, user_rows, NULL);

static const struct field scheduler_rows[] = {
	ROW("policy", FIELD_ENUM, struct spec_scheduler, policy, .flags = FIELD_REQUIRED,
	    .names = &names_sched_policies),
	ROW("nice", FIELD_I64, struct spec_scheduler, nice, .min = (uint64_t)-20, .max = 19),
	ROW("priority", FIELD_I64, struct spec_scheduler, priority, .min = 0, .max = 99),
	ROW("flags", FIELD_FLAGS, struct spec_scheduler, flags, .names = &names_sched_flags),
	ROW("runtime", FIELD_U64, struct spec_scheduler, runtime, MAX_U64),
	ROW("deadline", FIELD_U64, struct spec_scheduler, deadline, MAX_U64),
	ROW("period", FIELD_U64, struct spec_scheduler, period, MAX_U64),
};
static const struct field_obj scheduler = FIELD_OBJ_OF(struct spec_scheduler, scheduler_rows, NULL);

static const struct field ioprio_rows[] = {
	ROW("class", FIELD_ENUM, struct spec_ioprio, class, .flags = FIELD_REQUIRED,
	    .names = &names_io_classes),
	ROW("priority", FIELD_U32, struct spec_ioprio, priority, .max = 7),
};
static const struct field_obj ioprio = FIELD_OBJ_OF(struct spec_ioprio, ioprio_rows, NULL);

static const struct field affinity_rows[] = {
	ROW("initial", FIELD_FN, struct spec_process, affinity_initial, .fn = read_cpu_list),
	ROW("final", FIELD_FN, struct spec_process, affinity_final, .fn = read_cpu_list),
};
static const struct field_obj affinity = FIELD_OBJ_OF(struct spec_process, affinity_rows, NULL);

static const struct field process_rows[] = {
	ROW("terminal", FIELD_BOOL, struct spec_process, terminal),
	ROW_HAS("consoleSize", FIELD_OBJ, struct spec_process, console_size, has_console_size, .sub = &box),
	ROW("cwd", FIELD_STR, struct spec_process, cwd, .flags = FIELD_REQUIRED | FIELD_ABSOLUTE),
	ROW("env", FIELD_STRS, struct spec_process, env),
	ROW("args", FIELD_STRS, struct spec_process, args),
	ROW("rlimits", FIELD_OBJS, struct spec_process, rlimits, .sub = &rlimit),
	ROW("apparmorProfile", FIELD_STR, struct spec_process, apparmor_profile, .flags = FIELD_EMPTY_UNSET),
	ROW_HAS("capabilities", FIELD_FN, struct spec_process, capabilities, has_capabilities,
		.fn = read_caps),
	ROW("noNewPrivileges", FIELD_BOOL, struct spec_process, no_new_privileges),
	ROW_HAS("oomScoreAdj", FIELD_I64, struct spec_process, oom_score_adj, has_oom_score_adj,
		.min = (uint64_t)-1000, .max = 1000),
	ROW_HAS("scheduler", FIELD_OBJ, struct spec_process, scheduler, has_scheduler, .sub = &scheduler),
	ROW("selinuxLabel", FIELD_STR, struct spec_process, selinux_label, .flags = FIELD_EMPTY_UNSET),
	ROW_HAS("ioPriority", FIELD_OBJ, struct spec_process, io_priority, has_io_priority, .sub = &ioprio),
	{ .name = "execCPUAffinity",
	  .type = FIELD_OBJ,
	  .has_off = offsetof(struct spec_process, has_exec_cpu_affinity),
	  .sub = &affinity },
	ROW("user", FIELD_OBJ, struct spec_process, user, .sub = &user),
};
const struct field_obj spec_process_table = FIELD_OBJ_OF(struct spec_process, process_rows, check_process);
