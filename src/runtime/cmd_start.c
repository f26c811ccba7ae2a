/* cmd_start.c - `cor start`: runs the process of a created container. */
#include "runtime/life.h"
#include "runtime/verbs.h"

int cmd_start(struct cli *cli, struct err *e)
{
	scoped_ctr c = { .dirfd = -1, .lock_fd = -1 };
	int r;

	r = ctr_open_whole(cli->global.root, cli->id, &c, e);
	return r < 0 ? r : life_start(&c, e);
}
