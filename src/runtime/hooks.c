/* hooks.c - running hooks on the host. Called by create, run, start and delete. A hook is a program that
 * the caller's config.json names: it runs with the caller's rights and exactly the environment given. */
#include "runtime/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>

#include "base/str.h"
#include "sys/proc.h"
#include "sys/share.h"

#define OUTPUT_KEPT 500 /* of a hook that failed, for the error's text */

static const char *const kind_names[HOOK_KIND_N] = {
	[HOOK_PRESTART] = "prestart",
	[HOOK_CREATE_RUNTIME] = "createRuntime",
	[HOOK_CREATE_CONTAINER] = "createContainer",
	[HOOK_START_CONTAINER] = "startContainer",
	[HOOK_POSTSTART] = "poststart",
	[HOOK_POSTSTOP] = "poststop",
};

bool hooks_any(const struct spec *s, enum spec_hook_kind kind)
{
	return s->hooks.lists[kind].n > 0;
}

static int join(pid_t pid, const char *name, int type, struct err *e)
{
	char path[64];
	scoped_fd fd = -1;

	(void)snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, type) < 0)
		return err_set(e, -errno, "join %s: %m", path);
	return 0;
}

static int enter_namespaces(void *arg, struct err *e)
{
	const struct hooks_in *in = arg;
	int r;

	r = join(in->net, "net", CLONE_NEWNET, e);
	if (r < 0)
		return r;
	return in->mnt > 0 ? join(in->mnt, "mnt", CLONE_NEWNS, e) : share_isolate(e);
}

static int hook_run(const struct spec_hook *h, const char *state_json, const struct hooks_in *in,
		    struct err *e)
{
	static const char *const no_env[] = { NULL };
	char *self[] = { h->path, NULL };
	struct hooks_in place = in ? *in : (struct hooks_in){ 0 };
	char **argv = h->args.n ? h->args.p : self;
	struct proc_run run = {
		.argv = (const char *const *)argv,
		.file = h->path,
		.env = h->env.n ? (const char *const *)h->env.p : no_env,
		.in = state_json,
		.in_len = strlen(state_json),
		.timeout_ms =
			h->has_timeout ? (int)(h->timeout > 2000000 ? 2000000000 : h->timeout * 1000) : 0,
		.out_max = OUTPUT_KEPT,
		.setup = in ? enter_namespaces : NULL,
		.setup_arg = &place,
	};
	scoped_str how = { 0 }, out = { 0 };
	int r;

	r = proc_run(&run, e);
	if (r == -ETIMEDOUT)
		r = err_set(e, r, "timed out after %u s", h->timeout);
	if (r == 0 && run.status != 0) {
		proc_status_text(run.status, &how);
		str_add_escaped(&out, run.out.p ? run.out.p : "", run.out.len);
		r = err_set(e, -ECANCELED, "%s%s%s", how.p ? how.p : "failed", out.len ? ": " : "",
			    out.len ? out.p : "");
	}
	str_fini(&run.out);
	return r;
}

int hooks_run(const struct spec *s, enum spec_hook_kind kind, const char *state_json,
	      const struct hooks_in *in, struct strv *warnings, struct err *e)
{
	const spec_hook_list *list = &s->hooks.lists[kind];
	struct err mine = { 0 };
	int r;

	for (size_t i = 0; i < list->n; i++) {
		r = hook_run(&list->p[i], state_json, in, &mine);
		if (r == 0)
			continue;
		(void)err_wrap(&mine, "hooks.%s[%zu] %s", kind_names[kind], i, list->p[i].path);
		if (kind != HOOK_POSTSTOP) {
			*e = mine;
			return r;
		}
		strv_add(warnings, mine.msg);
	}
	return 0;
}
