/* cmd_template.c - `cor template ls|make|rm|gc`: the templates of one trust domain. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "oci/json.h"
#include "oci/state.h"
#include "runtime/cli.h"
#include "runtime/clipriv.h"
#include "runtime/pool.h"
#include "runtime/templates.h"
#include "runtime/verbs.h"

#define NS_PER_MS 1000000u
#define KEY_SHOWN 12 /* digits of a key in the table; rm takes any unique beginning */
#define MIB_OF(b) ((unsigned long long)((b) >> 20))

static void add_time(int64_t at, char to[STATE_TIME_MAX])
{
	struct timespec t = { .tv_sec = (time_t)at };

	state_time(&t, to);
}

static void table(struct str *to, const struct template_info *all, size_t n)
{
	char used[STATE_TIME_MAX];

	str_addf(to, "%-*s  %10s %5s %-5s %10s  %-7s %s\n", KEY_SHOWN, "KEY", "MEMORY MiB", "VCPUS", "ACCEL",
		 "DISK MiB", "STATE", "USED");
	for (size_t i = 0; i < n; i++) {
		add_time(all[i].used, used);
		str_addf(to, "%.*s  %10llu %5u %-5s %10llu  %-7s %s\n", KEY_SHOWN, all[i].key,
			 MIB_OF(all[i].memory), all[i].vcpus, all[i].kvm ? "kvm" : "tcg", MIB_OF(all[i].disk),
			 all[i].valid ? "ok" : "invalid", used);
	}
}

static void json(struct str *to, const struct template_info *all, size_t n)
{
	struct json_writer w = { .to = to, .indent = "  " };
	char at[STATE_TIME_MAX];

	json_open(&w, NULL, '[');
	for (size_t i = 0; i < n; i++) {
		json_open(&w, NULL, '{');
		json_put_str(&w, "key", all[i].key);
		json_put_str(&w, "state", all[i].valid ? "ok" : "invalid");
		json_put_u64(&w, "memory", all[i].memory);
		json_put_u64(&w, "vcpus", all[i].vcpus);
		json_put_str(&w, "accel", all[i].kvm ? "kvm" : "tcg");
		json_put_u64(&w, "disk", all[i].disk);
		add_time(all[i].made, at);
		json_put_str(&w, "made", at);
		add_time(all[i].used, at);
		json_put_str(&w, "used", at);
		json_close(&w, '}');
	}
	json_close(&w, ']');
	str_addc(to, '\n');
}

static int list(struct cli *c, const struct template_store *store, struct err *e)
{
	scoped_free struct template_info *all = NULL;
	scoped_str text = { 0 };
	size_t n = 0;
	int r;

	r = template_list(store, &all, &n, e);
	if (r < 0)
		return r;
	if (c->format == CLI_JSON)
		json(&text, all, n);
	else
		table(&text, all, n);
	return cli_print(&text, e);
}

static int make(struct cli *c, const struct template_store *store, struct err *e)
{
	struct pool_host host = { &c->settings, c->env->libexecdir };
	struct vmcfg vm;
	int r;

	r = templates_default(&c->settings, c->env->libexecdir, &c->mem, &vm, e);
	if (r < 0)
		return r;
	return template_make(store, &vm, (int)(c->settings.boot_timeout_ns / NS_PER_MS), true,
			     (struct template_last){ pool_learn, &host }, e);
}

static int remove_one(const struct template_store *store, const char *key, struct err *e)
{
	scoped_free struct template_info *all = NULL;
	const char *hit = NULL;
	size_t n = 0;
	int r;

	if (!*key) /* the beginning of every key: a script's variable that has no value */
		return err_set(e, -EINVAL, "template rm: an empty key (cor template ls lists them)");
	r = template_list(store, &all, &n, e);
	for (size_t i = 0; i < n && r == 0; i++) {
		if (!str_starts(all[i].key, key))
			continue;
		if (hit)
			return err_set(e, -EINVAL, "key %s is not unique: give more of it", key);
		hit = all[i].key;
	}
	if (r < 0)
		return r;
	return template_remove(store, hit ? hit : key, e);
}

static int remove_some(struct cli *c, const struct template_store *store, struct err *e)
{
	int r = 0;

	if (c->args.n < 2)
		return err_set(e, -EINVAL, "template rm: which? (cor template ls lists their keys)");
	for (size_t i = 1; i < c->args.n && r == 0; i++)
		r = remove_one(store, c->args.p[i], e);
	return r;
}

static int gc(struct cli *c, const struct template_store *store, struct err *e)
{
	(void)c;
	return template_gc(store, e);
}

static const struct {
	const char *name;
	bool takes_keys;
	int (*run)(struct cli *c, const struct template_store *store, struct err *e);
} verbs[] = {
	{ "ls", false, list },
	{ "make", false, make },
	{ "rm", true, remove_some },
	{ "gc", false, gc },
};

int cmd_template(struct cli *c, struct err *e)
{
	const char *verb = c->args.n ? c->args.p[0] : "ls";
	struct template_store store;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (!str_eq(verb, verbs[i].name))
			continue;
		if (c->args.n > 1 && !verbs[i].takes_keys)
			return err_set(e, -EINVAL, "template %s takes no further argument", verbs[i].name);
		r = templates_store(&c->settings, &c->mem, &store, e);
		return r == 0 ? verbs[i].run(c, &store, e) : r;
	}
	return err_set(e, -EINVAL, "template %s: expected ls, make, rm or gc", verb);
}
