/* cmd_delete.c - `cor delete`: afterwards nothing of the container is left and its ID is free. */
#include <errno.h>

#include "runtime/life.h"
#include "runtime/verbs.h"

int cmd_delete(struct cli *cli, struct err *e)
{
	scoped_ctr c = { .dirfd = -1, .lock_fd = -1 };
	int r;

	r = ctr_open(cli->global.root, cli->id, &c, e);
	if (r == 0)
		r = ctr_lock(&c, cli->delete_force, e);
	if (r == -ENOENT && cli->delete_force)
		return 0;
	if (r == -EWOULDBLOCK)
		return err_set(
			e, -EBUSY,
			"container %s is being created or deleted by another cor (delete --force ends that)",
			cli->id);
	return r < 0 ? r : life_delete(&c, cli->delete_force, e);
}
