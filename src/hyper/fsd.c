/* fsd.c - see fsd.h. Trusts: the vmcfg. */
#include "hyper/fsd.h"

#include <errno.h>

int hv_fsd_begin(const struct vmcfg *cfg, enum hv_fsd_kind kind, const int fds[HV_FSD_N],
		 struct hv_jailing *ret, struct err *e)
{
	scoped_strv args = { 0 };
	struct hv_jailed j = { .jail = cfg->jail_path,
			       .policy = "fsd",
			       .own_net = kind == HV_FSD_RINGS,
			       .fds = fds,
			       .n_fds = HV_FSD_N };

	strv_add(&args, cfg->fsd_path);
	strv_add(&args, kind == HV_FSD_RINGS ? "--vhost-user" : "--socket");
	strv_addf(&args, "%d", HV_FSD_SOCKET);
	strv_add(&args, "--fds");
	strv_addf(&args, "%d", HV_FSD_FDS);
	if (strv_check(&args) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	j.argv = args.p;
	return hv_jailed_begin(&j, ret, e);
}
