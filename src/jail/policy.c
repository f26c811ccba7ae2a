/* policy.c - see policy.h. The filters come from mkfilter.c, at build time. */
#include "jail/policy.h"

#include <string.h>
#include <sys/resource.h>

#include "base/scope.h"

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
