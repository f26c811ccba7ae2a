/* hyper.c - the driver table, and the end of a VM.
 *
 * Called by the monitor. Knows no hypervisor; a new one is a row here and a file beside qemu.c. */
#include "hyper/hyper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "hyper/child.h"
#include "hyper/kvm.h"
#include "hyper/qemu.h"
#include "sys/proc.h"
#include "wire/ctl.h"

static const struct hv_ops *const drivers[PLAN_HV_N] = {
	[PLAN_HV_QEMU] = &qemu_ops,
	[PLAN_HV_KVM] = &kvm_ops,
};

const struct hv_ops *hv_ops_of(const struct vmcfg *cfg)
{
	return cfg->hypervisor < PLAN_HV_N ? drivers[cfg->hypervisor] : NULL;
}

int hv_template_open(const struct vmcfg *cfg, int *ret, struct err *e)
{
	int fd = cfg->template_dir ? open(cfg->template_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
				   : -1;

	if (fd < 0)
		return err_set(e, cfg->template_dir ? -errno : -EINVAL, "template %s: %m",
			       cfg->template_dir ? cfg->template_dir : "");
	*ret = fd;
	return 0;
}

int hv_new(const struct vmcfg *cfg, struct hv **ret, struct err *e)
{
	struct hv *hv;

	if (!hv_ops_of(cfg))
		return err_set(e, -EINVAL, "hypervisor number %u: this monitor has no such driver",
			       cfg->hypervisor);
	hv = calloc(1, sizeof *hv);
	if (!hv)
		return err_set(e, -ENOMEM, "out of memory");
	hv->ops = hv_ops_of(cfg);
	hv->pid = hv->helper = -1;
	hv->pidfd = hv->helper_fd = hv->agent_fd = hv->console_fd = hv->log_fd = hv->keeper = -1;
	*ret = hv;
	return 0;
}

/* What the keeper says about its child's end. */
static int ask_keeper(int sock)
{
	scoped_arena a = { .max = CTL_MAX };
	struct msg_ended ended;
	struct ctl_msg msg;
	int status = SIGKILL;

	if (io_wait_readable(sock, HV_TIMEOUT_MS) < 0 || ctl_recv(sock, &msg) <= 0)
		return status;
	if (msg.type == MSG_P_ENDED && ctl_decode(&msg, &a, &ended) == 0)
		status = (int)(ended.status & 0xffff);
	ctl_fini(&msg);
	return status;
}

int hv_reap(struct hv *hv)
{
	int status = 0;

	if (hv->keeper >= 0)
		status = ask_keeper(hv->keeper);
	else
		while (waitpid(hv->pid, &status, 0) < 0 && errno == EINTR)
			;
	hv->pid = -1;
	return status;
}

void hv_let_go(struct hv *hv)
{
	int *const fds[] = { &hv->agent_fd, &hv->console_fd, &hv->log_fd };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		scope_close(fds[i]);
		*fds[i] = -1;
	}
	hv->ops->fini(hv);
}

void hv_free(struct hv *hv)
{
	if (!hv)
		return;
	if (hv->pid > 0) {
		hv->ops->stop(hv);
		if (hv->keeper >= 0)
			may_fail(proc_wait_end(hv->pidfd, HV_TIMEOUT_MS)); /* its keeper goes on killing it */
		else
			(void)hv_reap(hv);
	}
	if (hv->helper > 0 && hv->keeper < 0) {
		hv_child_kill(hv->helper_fd);
		while (waitpid(hv->helper, NULL, 0) < 0 && errno == EINTR)
			;
	}
	hv->ops->fini(hv);
	scope_close(&hv->keeper);
	scope_close(&hv->helper_fd);
	scope_close(&hv->pidfd);
	scope_close(&hv->agent_fd);
	scope_close(&hv->console_fd);
	scope_close(&hv->log_fd);
	free(hv);
}
