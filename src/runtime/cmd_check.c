/* cmd_check.c - `cor check`: is this host ready? Exit code 0 if containers can run, 1 if not. */
#include <errno.h>

#include "runtime/check.h"
#include "runtime/cli.h"
#include "runtime/clipriv.h"
#include "runtime/verbs.h"

int cmd_check(struct cli *c, struct err *e)
{
	struct check_ctx ctx = {
		.settings = &c->settings, .sysroot = "", .libexecdir = c->env->libexecdir, .mem = &c->mem
	};
	struct check_report report = { 0 };
	scoped_str text = { 0 };
	bool ready;
	int r;

	r = check_run(&ctx, &report, e);
	if (r < 0)
		return r;
	if (c->format == CLI_JSON)
		check_json(&report, &text);
	else
		check_text(&report, &text);
	ready = report.ready;
	check_fini(&report);
	r = cli_print(&text, e);
	return r < 0 ? r : !ready;
}
