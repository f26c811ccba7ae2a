/* life.c - start and delete, shared by their verbs and by run. */
#include "runtime/life.h"

#include <errno.h>

#include "base/io.h"
#include "base/log.h"
#include "runtime/client.h"
#include "runtime/create.h"
#include "runtime/hooks.h"

/* The snapshot is parsed again only when create has noted that it has such hooks. */
static int run_hooks(struct ctr *c, enum spec_hook_kind kind, enum state_status status, struct err *e)
{
	scoped_spec spec = { 0 };
	scoped_free char *text = NULL, *json = NULL;
	scoped_strv warnings = { 0 };
	size_t n;
	int r;

	if (faccessat(c->dirfd, "hooks", F_OK, 0) < 0)
		return 0;
	r = io_read_file_at(c->dirfd, "config.json", SPEC_TEXT_MAX, &text, &n);
	if (r < 0)
		return err_set(e, r, "%s/config.json: %m", c->dir);
	r = spec_parse(text, n, &spec, e);
	json = create_state_json(c, status, status == STATE_STOPPED ? 0 : c->monitor.pid);
	if (r == 0 && !json)
		r = err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = hooks_run(&spec, kind, json, NULL, &warnings, e);
	for (size_t i = 0; i < warnings.n; i++)
		log_warn("%s", warnings.p[i]);
	return r;
}

int life_start(struct ctr *c, struct err *e)
{
	struct err ignored;
	int r;

	r = ctr_check(c, LIFE_DO_START, e);
	if (r < 0)
		return r;
	r = client_do(c->dirfd, MSG_C_START, NULL, NULL, e);
	if (r < 0)
		return r;
	r = run_hooks(c, HOOK_POSTSTART, STATE_CREATED, e);
	if (r < 0)
		may_fail(ctr_kill(c, &ignored)); /* the hook's error is the one to tell */
	return r;
}

int life_delete(struct ctr *c, bool force, struct err *e)
{
	int r;

	r = ctr_check(c, force ? LIFE_DO_DELETE_FORCE : LIFE_DO_DELETE, e);
	if (r < 0)
		return r;
	r = ctr_kill(c, e);
	if (r < 0)
		return r;
	if (!c->half_made) {
		struct err hook = { 0 };

		if (run_hooks(c, HOOK_POSTSTOP, STATE_STOPPED, &hook) < 0)
			log_warn("poststop hooks: %s", hook.msg);
	}
	return ctr_remove(c, e);
}
