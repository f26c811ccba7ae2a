/* cmd_pause.c - `cor pause` and `cor resume`: the whole VM stands still and goes on. */
#include <errno.h>

#include "runtime/cli.h"
#include "runtime/client.h"
#include "runtime/ctr.h"
#include "runtime/verbs.h"

static int ask(struct cli *cli, enum msg_type type, enum life_event event, struct err *e)
{
	scoped_ctr c = { .dirfd = -1, .lock_fd = -1 };
	int r;

	r = ctr_open_whole(cli->global.root, cli->id, &c, e);
	if (r < 0)
		return r;
	r = ctr_check(&c, event, e);
	if (r < 0)
		return r;
	return client_do(c.dirfd, type, NULL, NULL, e);
}

int cmd_pause(struct cli *cli, struct err *e)
{
	return ask(cli, MSG_C_PAUSE, LIFE_DO_PAUSE, e);
}

int cmd_resume(struct cli *cli, struct err *e)
{
	return ask(cli, MSG_C_RESUME, LIFE_DO_RESUME, e);
}
