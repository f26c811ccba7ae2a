/* cmd_create.c - `cor create`: a container that waits for start. */
#include "runtime/create.h"
#include "runtime/verbs.h"

#include <errno.h>

int cmd_create(struct cli *cli, struct err *e)
{
	struct creation c = { .cli = cli, .pty_slave = -1 };
	int r;

	r = create_load(&c, e);
	if (r == 0 && c.spec.process.terminal && !cli->create.console_socket)
		r = err_set(
			e, -EINVAL,
			"process.terminal is true: create needs --console-socket to hand the terminal over");
	if (r == 0 && !c.spec.process.terminal && cli->create.console_socket)
		r = err_set(e, -EINVAL, "--console-socket is given, but process.terminal is false");
	if (r == 0)
		r = create_container(&c, e);
	if (r == 0)
		create_beside(&c);
	create_fini(&c);
	return r;
}
