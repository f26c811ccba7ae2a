/* cmd_ps.c - `cor ps`: as JSON the host's pids that stand for the container (callers feed them to the
 * host's ps), as a table the processes in the guest, as the container sees them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli.h"
#include "runtime/client.h"
#include "runtime/ctr.h"
#include "runtime/out.h"
#include "runtime/verbs.h"

/* The monitor and the stubs of exec sessions; the hypervisor is no process of the container. */
static int host_pids(struct ctr *c, struct str *to, struct err *e)
{
	scoped_free pid_t *pids = NULL;
	struct cgroup cg;
	size_t n = 0;
	int r;

	r = ctr_read_cgroup(c, &cg, e);
	if (r < 0)
		return r;
	r = cgroup_pids(&cg, &pids, &n);
	cgroup_fini(&cg);
	if (r < 0)
		return err_set(e, r, "members of the cgroup: %m");
	str_addf(to, "[%d", (int)c->monitor.pid);
	for (size_t i = 0; i < n; i++)
		if (pids[i] != c->monitor.pid && pids[i] != c->vm.pid)
			str_addf(to, ",%d", (int)pids[i]);
	str_add(to, "]\n");
	return 0;
}

static int guest_table(struct ctr *c, struct str *to, struct err *e)
{
	scoped_arena a = { .max = 2 * MSG_MAX };
	scoped_fd sock = -1;
	struct ctl_msg ans;
	struct msg_ps ps;
	int r;

	sock = client_connect(c->dirfd, e);
	if (sock < 0)
		return sock;
	r = client_ask(sock, MSG_C_PS, NULL, NULL, NULL, 0, MSG_C_PS_RESULT, &ans, e);
	if (r < 0)
		return r;
	r = ans.n_fds == 1 ? ctl_from_memfd(&rec_ps, ans.fds[0], &a, &ps) : -EBADMSG;
	ctl_fini(&ans);
	if (r < 0)
		return err_set(e, r, "malformed list of processes");
	str_addf(to, "%-8s %7s %7s %-8s %8s %s\n", "UID", "PID", "PPID", "TTY", "TIME", "CMD");
	for (size_t i = 0; i < ps.entries.n; i++) {
		const struct msg_ps_entry *p = &ps.entries.p[i];
		scoped_str tty = { 0 }, cmd = { 0 };
		uint64_t s = p->time_ms / 1000;

		/* The guest's text must not drive the reader's terminal. */
		str_add_escaped(&tty, p->tty ? p->tty : "?", p->tty ? strlen(p->tty) : 1);
		str_add_escaped(&cmd, p->cmd ? p->cmd : "?", p->cmd ? strlen(p->cmd) : 1);
		str_addf(to, "%-8u %7u %7u %-8s %02u:%02u:%02u %s\n", p->uid, p->pid, p->ppid,
			 tty.p ? tty.p : "?", (unsigned)(s / 3600), (unsigned)(s / 60 % 60),
			 (unsigned)(s % 60), cmd.p ? cmd.p : "?");
	}
	return 0;
}

int cmd_ps(struct cli *cli, struct err *e)
{
	scoped_ctr c = { .dirfd = -1, .lock_fd = -1 };
	scoped_str text = { 0 };
	int r;

	r = ctr_open_whole(cli->global.root, cli->id, &c, e);
	if (r < 0)
		return r;
	r = ctr_check(&c, LIFE_DO_QUERY, e);
	if (r < 0)
		return r;
	if (cli->args.n > 0)
		return err_set(e, -EINVAL,
			       "ps %s: options of ps(1) would apply to the host; the table shows the guest's "
			       "processes",
			       cli->args.p[0]);
	r = cli->format == CLI_JSON ? host_pids(&c, &text, e) : guest_table(&c, &text, e);
	if (r < 0)
		return r;
	return out_print(&text, e);
}
