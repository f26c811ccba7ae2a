/* cmd_state.c - `cor state` and `cor list`: what the state directories say. */
#include <errno.h>

#include "runtime/cli.h"
#include "runtime/ctr.h"
#include "runtime/out.h"
#include "runtime/verbs.h"

int cmd_state(struct cli *cli, struct err *e)
{
	scoped_ctr c = { .dirfd = -1, .lock_fd = -1 };
	scoped_str text = { 0 };
	int r;

	r = ctr_open_whole(cli->global.root, cli->id, &c, e);
	if (r < 0)
		return r;
	c.state.oci_version = NULL; /* of this document, not of config.json */
	state_write(&c.state, "  ", &text);
	str_addc(&text, '\n');
	return out_print(&text, e);
}

static int print_list(struct cli *cli, struct oci_state *states, size_t n, struct err *e)
{
	scoped_str text = { 0 };

	if (cli->list_quiet)
		state_list_quiet(states, n, &text);
	else if (cli->format == CLI_JSON)
		state_list_json(states, n, &text);
	else
		state_list_table(states, n, &text);
	return out_print(&text, e);
}

/* A container that vanishes while the list is made is not in it; a half-made one is shown by its ID. */
int cmd_list(struct cli *cli, struct err *e)
{
	scoped_strv ids = { 0 };
	scoped_free struct oci_state *states = NULL;
	scoped_free struct ctr *ctrs = NULL;
	struct err gone;
	size_t n = 0;
	int r;

	r = ctr_list(cli->global.root, &ids, e);
	if (r < 0)
		return r;
	states = calloc(ids.n + 1, sizeof *states);
	ctrs = calloc(ids.n + 1, sizeof *ctrs);
	if (!states || !ctrs)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ids.n; i++) {
		if (ctr_open(cli->global.root, ids.p[i], &ctrs[n], &gone) < 0)
			continue;
		states[n] = ctrs[n].state;
		if (ctrs[n].half_made) {
			states[n].id = ctrs[n].id;
			states[n].bundle = "";
		}
		n++;
	}
	r = print_list(cli, states, n, e);
	for (size_t i = 0; i < n; i++)
		ctr_fini(&ctrs[i]);
	return r;
}
