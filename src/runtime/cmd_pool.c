/* cmd_pool.c - `cor pool ls|fill|drain`: the VMs of one trust domain that wait for containers. */
#include <errno.h>

#include "oci/json.h"
#include "oci/state.h"
#include "runtime/cli.h"
#include "runtime/clipriv.h"
#include "runtime/pool.h"
#include "runtime/verbs.h"

#define NS_PER_MS 1000000u
#define KEY_SHOWN 12 /* digits of a template's key in the table */
#define MIB_OF(b) ((unsigned long long)((b) >> 20))

/* Calls fn for every template of the domain. */
static int each(const struct template_store *store,
		int (*fn)(const struct template_info *t, const char *dir, void *arg, struct err *e),
		void *arg, struct err *e)
{
	scoped_free struct template_info *all = NULL;
	size_t n = 0;
	int r;

	r = template_list(store, &all, &n, e);
	for (size_t i = 0; i < n && r == 0; i++) {
		scoped_free char *dir = str_fmt("%s/%s", store->dir, all[i].key);

		r = dir ? fn(&all[i], dir, arg, e) : err_set(e, -ENOMEM, "out of memory");
	}
	return r;
}

struct output {
	struct str text;
	struct json_writer json;
	bool as_json;
};

static void print_one(const struct template_info *t, const struct pool_entry *p, struct output *o)
{
	struct timespec since = { .tv_sec = (time_t)p->since };
	char at[STATE_TIME_MAX];

	state_time(&since, at);
	if (!o->as_json) {
		str_addf(&o->text, "%.*s  %10llu %5u %-5s %7d  %s\n", KEY_SHOWN, t->key, MIB_OF(t->memory),
			 t->vcpus, t->kvm ? "kvm" : "tcg", (int)p->keeper, at);
		return;
	}
	json_open(&o->json, NULL, '{');
	json_put_str(&o->json, "template", t->key);
	json_put_u64(&o->json, "memory", t->memory);
	json_put_u64(&o->json, "vcpus", t->vcpus);
	json_put_str(&o->json, "accel", t->kvm ? "kvm" : "tcg");
	json_put_u64(&o->json, "keeper", (uint64_t)p->keeper);
	json_put_str(&o->json, "since", at);
	json_close(&o->json, '}');
}

static int print_pool(const struct template_info *t, const char *dir, void *arg, struct err *e)
{
	scoped_free struct pool_entry *all = NULL;
	size_t n = 0;
	int r;

	r = pool_list(dir, &all, &n);
	for (size_t i = 0; i < n && r == 0; i++)
		print_one(t, &all[i], arg);
	return r < 0 ? err_set(e, r, "pool of template %s: %m", dir) : 0;
}

static int list(struct cli *c, const struct template_store *store, struct err *e)
{
	struct output o = { .as_json = c->format == CLI_JSON };
	int r;

	o.json = (struct json_writer){ .to = &o.text, .indent = "  " };
	if (o.as_json)
		json_open(&o.json, NULL, '[');
	else
		str_addf(&o.text, "%-*s  %10s %5s %-5s %7s  %s\n", KEY_SHOWN, "TEMPLATE", "MEMORY MiB",
			 "VCPUS", "ACCEL", "KEEPER", "SINCE");
	r = each(store, print_pool, &o, e);
	if (o.as_json) {
		json_close(&o.json, ']');
		str_addc(&o.text, '\n');
	}
	if (r == 0)
		r = cli_print(&o.text, e);
	str_fini(&o.text);
	return r;
}

static int fill(struct cli *c, const struct template_store *store, struct err *e)
{
	struct pool_host host = { &c->settings, c->env->libexecdir };
	scoped_free char *dir = NULL;
	struct vmcfg vm;
	int r;

	if (c->settings.pool == 0)
		return err_set(e, -EINVAL,
			       "pool fill: pool is 0: say how many VMs shall wait (pool = N in "
			       "cor.conf, or cor --set pool=N pool fill)");
	r = templates_default(&c->settings, c->env->libexecdir, &c->mem, &vm, e);
	if (r == 0)
		r = template_make(store, &vm, (int)(c->settings.boot_timeout_ns / NS_PER_MS), true,
				  (struct template_last){ pool_learn, &host }, e);
	if (r == 0)
		r = template_find(store, &vm, &dir, e);
	if (r < 0)
		return r;
	vm.template_dir = dir;
	return pool_fill(&c->settings, c->env->libexecdir, &vm, true, e);
}

static int drain_one(const struct template_info *t, const char *dir, void *arg, struct err *e)
{
	(void)t;
	return pool_drain(arg, dir, e);
}

static int drain(struct cli *c, const struct template_store *store, struct err *e)
{
	return each(store, drain_one, &c->settings, e);
}

static const struct {
	const char *name;
	int (*run)(struct cli *c, const struct template_store *store, struct err *e);
} verbs[] = {
	{ "ls", list },
	{ "fill", fill },
	{ "drain", drain },
};

int cmd_pool(struct cli *c, struct err *e)
{
	const char *verb = c->args.n ? c->args.p[0] : "ls";
	struct template_store store;
	int r;

	if (c->args.n > 1)
		return err_set(e, -EINVAL, "pool %s takes no further argument", verb);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (!str_eq(verb, verbs[i].name))
			continue;
		r = templates_store(&c->settings, &c->mem, &store, e);
		return r == 0 ? verbs[i].run(c, &store, e) : r;
	}
	return err_set(e, -EINVAL, "pool %s: expected ls, fill or drain", verb);
}
