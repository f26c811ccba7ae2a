/* cmd_kill.c - `cor kill`: a signal for the container's process, or for all of them. */
#include <errno.h>
#include <signal.h>

#include "runtime/cli.h"
#include "runtime/client.h"
#include "runtime/ctr.h"
#include "runtime/verbs.h"

int cmd_kill(struct cli *cli, struct err *e)
{
	scoped_ctr c = { .dirfd = -1, .lock_fd = -1 };
	struct msg_signal s = { .proc = PROC_INIT, .sig = (uint32_t)cli->kill_signal, .all = cli->kill_all };
	int r;

	r = ctr_open_whole(cli->global.root, cli->id, &c, e);
	if (r < 0)
		return r;
	r = ctr_check(&c, s.sig == SIGKILL ? LIFE_DO_KILL : LIFE_DO_SIGNAL, e);
	if (r < 0)
		return r;
	return client_do(c.dirfd, MSG_C_SIGNAL, &rec_signal, &s, e);
}
