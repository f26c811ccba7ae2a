/* hyper.c - the driver table, and the end of a VM.
 *
 * Called by the monitor. Knows no hypervisor; a new one is a row here and a file beside qemu.c. */
#include "hyper/hyper.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "hyper/qemu.h"

static const struct hv_ops *const drivers[PLAN_HV_N] = {
	[PLAN_HV_QEMU] = &qemu_ops,
};

const struct hv_ops *hv_ops_of(const struct vmcfg *cfg)
{
	return cfg->hypervisor < PLAN_HV_N ? drivers[cfg->hypervisor] : NULL;
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
	hv->pid = -1;
	hv->pidfd = hv->agent_fd = hv->console_fd = hv->log_fd = -1;
	*ret = hv;
	return 0;
}

void hv_free(struct hv *hv)
{
	if (!hv)
		return;
	if (hv->pid > 0) {
		hv->ops->stop(hv);
		while (waitpid(hv->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	hv->ops->fini(hv);
	scope_close(&hv->pidfd);
	scope_close(&hv->agent_fd);
	scope_close(&hv->console_fd);
	scope_close(&hv->log_fd);
	free(hv);
}
