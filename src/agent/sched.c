/* sched.c - see sched.h. */
#include "agent/sched.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/num.h"
#include "base/str.h"

#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_CLASS_SHIFT 13

/* linux/sched/types.h defines it beside what libc has: our own copy, of the first version's size. */
struct sched_arg {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static int parse_range(char *part, uint64_t mask[SCHED_CPU_WORDS])
{
	char *to = strchr(part, '-');
	uint64_t first, last;
	int r;

	if (to)
		*to++ = '\0';
	r = num_parse_u64_max(part, SCHED_CPU_WORDS * 64 - 1, &first);
	if (r < 0)
		return r;
	last = first;
	r = to ? num_parse_u64_max(to, SCHED_CPU_WORDS * 64 - 1, &last) : 0;
	if (r < 0)
		return r;
	if (last < first)
		return -EINVAL;
	for (uint64_t i = first; i <= last; i++)
		mask[i / 64] |= UINT64_C(1) << (i % 64);
	return 0;
}

int sched_parse_cpus(const char *list, uint64_t mask[SCHED_CPU_WORDS])
{
	scoped_free char *copy = str_fmt("%s", list);
	uint64_t got[SCHED_CPU_WORDS] = { 0 };
	char *rest = copy, *part;
	int r;

	if (!copy)
		return -ENOMEM;
	while ((part = strsep(&rest, ",")) != NULL) {
		r = parse_range(part, got);
		if (r < 0)
			return r;
	}
	memcpy(mask, got, sizeof got);
	return 0;
}

static int set_cpus(pid_t pid, const char *cpus, const char *field, struct err *e)
{
	uint64_t mask[SCHED_CPU_WORDS];
	int r;

	r = sched_parse_cpus(cpus, mask);
	if (r < 0)
		return err_set(e, r, "process.execCPUAffinity.%s \"%s\" is no list of CPUs", field, cpus);
	if (syscall(SYS_sched_setaffinity, pid, sizeof mask, mask) < 0)
		return err_set(e, -errno,
			       "process.execCPUAffinity.%s %s: the guest's CPUs don't allow it: %m", field,
			       cpus);
	return 0;
}

int sched_apply(pid_t pid, const struct msg_process *p, struct err *e)
{
	struct sched_arg s = { .size = sizeof s,
			       .policy = p->sched.policy,
			       .flags = p->sched.flags,
			       .nice = (int32_t)p->sched.nice,
			       .priority = p->sched.priority,
			       .runtime = p->sched.runtime,
			       .deadline = p->sched.deadline,
			       .period = p->sched.period };
	uint32_t prio = p->ioprio_class << IOPRIO_CLASS_SHIFT | p->ioprio_level;
	int r;

	/* The final list holds while the program runs; there is no time before it in which the
	 * initial one could matter, unless it is the only one. */
	r = p->cpus_initial ? set_cpus(pid, p->cpus_initial, "initial", e) : 0;
	if (r == 0 && p->cpus_final)
		r = set_cpus(pid, p->cpus_final, "final", e);
	if (r < 0)
		return r;
	if (p->has_sched && syscall(SYS_sched_setattr, pid, &s, 0) < 0)
		return err_set(e, -errno, "process.scheduler: %m");
	if (p->has_ioprio && syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, prio) < 0)
		return err_set(e, -errno, "process.ioPriority: %m");
	return 0;
}
