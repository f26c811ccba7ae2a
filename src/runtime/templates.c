/* templates.c - see templates.h. Never: delays or fails a container because of a template. */
#include "runtime/templates.h"

#include <errno.h>

#include "runtime/beside.h"
#include "runtime/plan.h"
#include "runtime/pool.h"

#define NS_PER_MS 1000000u

int templates_store(const struct settings *s, struct arena *a, struct template_store *ret, struct err *e)
{
	if (!str_is_id(s->template_domain) || s->template_domain[0] == '.')
		return err_set(
			e, -EINVAL,
			"template.domain = %s: expected letters, digits and _ + - . (it names a directory)",
			s->template_domain);
	ret->dir = arena_fmt(a, "%s/%s", s->template_dir, s->template_domain);
	ret->max_size = s->template_max_size;
	ret->rest_ms = (int)(s->template_rest_ns / NS_PER_MS);
	return ret->dir ? 0 : err_set(e, -ENOMEM, "out of memory");
}

int templates_plan(const struct settings *s, struct arena *a, struct vmcfg *vm, bool *ret_wanted,
		   struct strv *warnings, struct err *e)
{
	scoped_free char *dir = NULL;
	struct template_store store;
	struct err why = { 0 };
	int r;

	*ret_wanted = false;
	if (!s->template || !vmcfg_can_clone(vm))
		return 0;
	r = templates_store(s, a, &store, e);
	if (r < 0)
		return r;
	r = template_find(&store, vm, &dir, &why);
	*ret_wanted = r == -ENOENT || r == -ESTALE;
	if (r < 0 && why.code != 0)
		strv_addf(warnings, "%s", why.msg);
	if (r < 0)
		return 0;
	vm->template_dir = arena_str(a, dir);
	return vm->template_dir ? 0 : err_set(e, -ENOMEM, "out of memory");
}

int templates_default(const struct settings *s, const char *libexecdir, struct arena *a, struct vmcfg *ret,
		      struct err *e)
{
	struct spec none = { 0 };
	const struct plan_in in = {
		.spec = &none, .settings = s, .state_dir = "/", .libexecdir = libexecdir
	};
	scoped_strv warnings = { 0 };
	int r;

	r = plan_vm(&in, a, ret, &warnings, e);
	if (r == 0 && !vmcfg_can_clone(ret))
		r = err_set(e, -ENOTSUP,
			    "qemu.share = virtiofs: QEMU can't save such a VM: set it to 9p, or take "
			    "hypervisor = kvm");
	return r;
}

static int make(const struct templates_beside *b, struct err *e)
{
	struct pool_host host = { b->settings, b->libexecdir };
	scoped_arena a = { 0 };
	struct template_store store;
	int r;

	r = templates_store(b->settings, &a, &store, e);
	if (r == 0)
		r = template_make(&store, b->vm, (int)(b->settings->boot_timeout_ns / NS_PER_MS), false,
				  (struct template_last){ pool_learn, &host }, e);
	return r;
}

static void keep_pool(const struct templates_beside *b)
{
	struct err e = { 0 };

	if (b->settings->pool > 0)
		may_fail(pool_fill(b->settings, b->libexecdir, b->vm, false,
				   &e)); /* the next container tries again */
	else
		may_fail(pool_drain(b->settings, b->vm->template_dir, &e)); /* as above */
}

/* In a process of its own. */
static void work(void *arg)
{
	struct templates_beside *b = arg;
	scoped_free char *dir = NULL;
	scoped_arena a = { 0 };
	struct template_store store;
	struct err e = { 0 };

	if (!b->vm->template_dir) {
		if (make(b, &e) < 0 || templates_store(b->settings, &a, &store, &e) < 0 ||
		    template_find(&store, b->vm, &dir, &e) < 0)
			return;
		b->vm->template_dir = dir;
	}
	if (pool_wants(b->settings, b->vm))
		keep_pool(b);
	b->vm->template_dir = NULL;
}

void templates_beside(struct templates_beside *b)
{
	if (b->want_template || pool_wants(b->settings, b->vm))
		beside_run("cor-template", work, b);
}
