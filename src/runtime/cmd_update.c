/* cmd_update.c - `cor update`: new limits for a running container, in the guest's cgroup and for the VM on
 * the host. The guest's come first: they are the ones that can be refused for what runs there. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "oci/validate.h"
#include "runtime/cli.h"
#include "runtime/client.h"
#include "runtime/ctr.h"
#include "runtime/plan.h"
#include "runtime/verbs.h"

static int load(struct cli *cli, struct spec *ret, struct err *e)
{
	const char *file = cli->update.resources;
	scoped_free char *text = NULL;
	scoped_strv warnings = { 0 };
	scoped_str flags = { 0 };
	size_t n;
	int r;

	if (!file) {
		cli_update_json(&flags, &cli->update);
		r = str_check(&flags);
		text = r < 0 ? NULL : str_take(&flags);
		n = text ? strlen(text) : 0;
		r = text ? 0 : -ENOMEM;
	} else {
		r = str_eq(file, "-") ? io_read_all(0, SPEC_TEXT_MAX, &text, &n)
				      : io_read_file_at(AT_FDCWD, file, SPEC_TEXT_MAX, &text, &n);
	}
	if (r < 0)
		return err_set(e, r, "--resources %s: %m", file ? file : "");
	r = spec_parse_resources(text, n, ret, e);
	if (r == 0)
		r = spec_validate_resources(&ret->lnx.resources, &warnings, e);
	for (size_t i = 0; i < warnings.n; i++)
		log_warn("%s", warnings.p[i]);
	return r;
}

static int update_guest(struct ctr *c, const struct msg_resources *res, struct err *e)
{
	scoped_fd sock = -1, memfd = -1;
	struct ctl_msg ans;
	int r;

	memfd = ctl_memfd(&rec_resources, res);
	if (memfd < 0)
		return err_set(e, memfd, "resources: %m");
	sock = client_connect(c->dirfd, e);
	if (sock < 0)
		return sock;
	r = client_ask(sock, MSG_C_UPDATE, NULL, NULL, &memfd, 1, MSG_C_RESULT, &ans, e);
	if (r == 0)
		ctl_fini(&ans);
	return r;
}

int cmd_update(struct cli *cli, struct err *e)
{
	scoped_ctr c = { .dirfd = -1, .lock_fd = -1 };
	scoped_spec spec = { 0 };
	scoped_arena a = { 0 };
	struct cgroup_limits limits;
	struct msg_resources res;
	struct cgroup cg;
	int r;

	r = ctr_open_whole(cli->global.root, cli->id, &c, e);
	if (r < 0)
		return r;
	r = ctr_check(&c, LIFE_DO_UPDATE, e);
	if (r < 0)
		return r;
	r = load(cli, &spec, e);
	if (r == 0)
		r = plan_resources(&spec.lnx.resources, &a, &res, e);
	if (r == 0)
		r = plan_host_limits(&spec.lnx.resources, PLAN_VMM_OVERHEAD + cli->settings.memory_overhead,
				     &a, &limits, e);
	if (r == 0)
		r = update_guest(&c, &res, e);
	if (r == 0)
		r = ctr_read_cgroup(&c, &cg, e);
	if (r < 0)
		return r;
	r = cgroup_apply(&cg, &limits, e);
	cgroup_fini(&cg);
	return r;
}
