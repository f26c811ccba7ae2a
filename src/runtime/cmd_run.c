/* cmd_run.c - `cor run`: create and start, and in the foreground wait and delete.
 *
 * In the foreground the container belongs to this process: if it is killed, the monitor sees its end
 * and ends the VM. */
#include <errno.h>

#include "base/log.h"
#include "runtime/create.h"
#include "runtime/life.h"
#include "runtime/out.h"
#include "runtime/timing.h"
#include "runtime/verbs.h"
#include "runtime/wait.h"

static int check_terminal(const struct creation *c, struct err *e)
{
	const struct cli_create *o = &c->cli->create;

	if (o->console_socket && !o->detach)
		return err_set(e, -EINVAL,
			       "--console-socket needs --detach: in the foreground the terminal is ours");
	if (o->console_socket && !c->spec.process.terminal)
		return err_set(e, -EINVAL, "--console-socket is given, but process.terminal is false");
	if (o->detach && c->spec.process.terminal && !o->console_socket)
		return err_set(e, -EINVAL,
			       "process.terminal is true: --detach needs --console-socket to hand the "
			       "terminal over");
	return 0;
}

/* The container is over or could not be started: nothing of it stays, unless it is to be kept. */
static int remove_container(struct creation *c, struct err *e)
{
	int r;

	r = ctr_kill(&c->ctr, e);
	if (r < 0 || c->cli->create.keep)
		return r;
	return create_remove(c, e);
}

static int run_foreground(struct creation *c, struct term *term, struct err *e)
{
	struct waiting w = { .term = term, .child = c->monitor.pid, .session = -1, .tty_fd = -1 };
	struct err died = { 0 };
	int code, r;

	code = wait_for_end(&w, e);
	if (code < 0)
		return code;
	c->monitor.pid = 0; /* reaped */
	if (spawn_failure(&c->monitor, &died) < 0)
		log_error("%s", died.msg);
	mark_put(&c->marks, "reaped");
	r = timing_report(c->ctr.dirfd, &c->cli->create, e);
	if (r == 0)
		r = remove_container(c, e);
	return r < 0 ? r : code;
}

/* An ID that nobody gave can be known from here alone. */
static int tell_id(const struct cli *cli, struct err *e)
{
	scoped_str line = { 0 };

	if (!cli->image.name || cli->image.id)
		return 0;
	str_addf(&line, "%s\n", cli->id);
	return out_print(&line, e);
}

/* From here on the container exists. */
static int run_created(struct creation *c, struct term *term, struct err *e)
{
	struct err also = { 0 };
	int r;

	ctr_unlock(&c->ctr);
	ctr_refresh(&c->ctr);
	r = life_start(&c->ctr, e);
	create_beside(c);
	if (r == 0 && c->cli->create.detach) {
		r = tell_id(c->cli, e);
		return r == 0 ? timing_report(c->ctr.dirfd, &c->cli->create, e) : r;
	}
	if (r == 0)
		return run_foreground(c, term, e);
	spawn_abort(&c->monitor);
	if (remove_container(c, &also) < 0)
		log_warn("cleaning up: %s", also.msg);
	return r;
}

int cmd_run(struct cli *cli, struct err *e)
{
	struct creation c = { .cli = cli, .pty_slave = -1, .foreground = !cli->create.detach };
	struct term term = { .master = -1, .in = -1, .out = -1 };
	int r;

	if (c.foreground)
		wait_block_signals();
	r = create_load(&c, e);
	if (r == 0)
		r = check_terminal(&c, e);
	if (r == 0 && c.foreground && c.spec.process.terminal)
		r = term_open(&term, &c.pty_slave, e);
	if (r == 0)
		r = create_container(&c, e);
	scope_close(&c.pty_slave);
	if (r == 0)
		r = run_created(&c, term.master >= 0 ? &term : NULL, e);
	term_finish(&term);
	create_fini(&c);
	return r;
}
