/* policy.c - see policy.h. The filters come from mkfilter.c, at build time. */
#include "jail/policy.h"

#include <linux/capability.h>
#include <string.h>
#include <sys/resource.h>

#include "base/scope.h"

#define CAP(c) (UINT64_C(1) << (c))

/* Limits are lowered only: a root without CAP_SYS_RESOURCE can do no more. */
static const struct jail_policy policies[] = {
	{
		.name = "vmm",
		.what = "a virtual machine monitor",
		.filter = filter_vmm,
		.filter_len = &filter_vmm_len,
		.limits = {
			{ RLIMIT_CORE, 0 },     /* guest memory is in no file */
			{ RLIMIT_NOFILE, 1024 }, /* 64 CPUs and every queue's two eventfds */
			{ RLIMIT_MSGQUEUE, 0 },
		},
		.n_limits = 3,
	},
	{
		.name = "fsd",
		.what = "a server of one directory",
		.filter = filter_fsd,
		.filter_len = &filter_fsd_len,
		/* it makes files for every user of the guest, whose kernel has checked that they may */
		.caps = CAP(CAP_CHOWN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_FOWNER) | CAP(CAP_FSETID) | CAP(CAP_MKNOD) |
			CAP(CAP_SETFCAP) | CAP(CAP_SETUID) | CAP(CAP_SETGID), /* the filter: setfsuid, setfsgid */
		.share_root = true,
		.fd_dir = true,
		.limits = {
			{ RLIMIT_CORE, 0 },
			{ RLIMIT_MSGQUEUE, 0 },
		},
		.n_limits = 2,
	},
};

const struct jail_policy *jail_policy_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(policies); i++)
		if (strcmp(policies[i].name, name) == 0)
			return &policies[i];
	return NULL;
}

const struct jail_policy *jail_policy_at(size_t i)
{
	return i < ARRAY_LEN(policies) ? &policies[i] : NULL;
}
