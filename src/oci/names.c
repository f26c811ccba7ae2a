/* names.c - see names.h. Tables only; the numbers are the kernel's, from its own headers where Debian
 * 12's have them. */
#include "oci/names.h"

#include <linux/capability.h>
#include <linux/ioprio.h>
#include <linux/mempolicy.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* Newer than Debian 12's headers, or left out of them. */
#ifndef MPOL_WEIGHTED_INTERLEAVE
#define MPOL_WEIGHTED_INTERLEAVE 6
#endif
#ifndef SCHED_ISO
#define SCHED_ISO 4
#endif
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

#define CAP(name)                                                                                            \
	{                                                                                                    \
#name, name                                                                                  \
	}
#define SAME(name)                                                                                           \
	{                                                                                                    \
#name, name                                                                                  \
	}
/* clang-format off */
static const struct name caps[] = {
	CAP(CAP_CHOWN), CAP(CAP_DAC_OVERRIDE), CAP(CAP_DAC_READ_SEARCH), CAP(CAP_FOWNER), CAP(CAP_FSETID),
	CAP(CAP_KILL), CAP(CAP_SETGID), CAP(CAP_SETUID), CAP(CAP_SETPCAP), CAP(CAP_LINUX_IMMUTABLE),
	CAP(CAP_NET_BIND_SERVICE), CAP(CAP_NET_BROADCAST), CAP(CAP_NET_ADMIN), CAP(CAP_NET_RAW),
	CAP(CAP_IPC_LOCK), CAP(CAP_IPC_OWNER), CAP(CAP_SYS_MODULE), CAP(CAP_SYS_RAWIO), CAP(CAP_SYS_CHROOT),
	CAP(CAP_SYS_PTRACE), CAP(CAP_SYS_PACCT), CAP(CAP_SYS_ADMIN), CAP(CAP_SYS_BOOT), CAP(CAP_SYS_NICE),
	CAP(CAP_SYS_RESOURCE), CAP(CAP_SYS_TIME), CAP(CAP_SYS_TTY_CONFIG), CAP(CAP_MKNOD), CAP(CAP_LEASE),
	CAP(CAP_AUDIT_WRITE), CAP(CAP_AUDIT_CONTROL), CAP(CAP_SETFCAP), CAP(CAP_MAC_OVERRIDE),
	CAP(CAP_MAC_ADMIN), CAP(CAP_SYSLOG), CAP(CAP_WAKE_ALARM), CAP(CAP_BLOCK_SUSPEND), CAP(CAP_AUDIT_READ),
	CAP(CAP_PERFMON), CAP(CAP_BPF), CAP(CAP_CHECKPOINT_RESTORE),
};

static const struct name rlimits[] = {
	SAME(RLIMIT_AS), SAME(RLIMIT_CORE), SAME(RLIMIT_CPU), SAME(RLIMIT_DATA), SAME(RLIMIT_FSIZE),
	SAME(RLIMIT_LOCKS), SAME(RLIMIT_MEMLOCK), SAME(RLIMIT_MSGQUEUE), SAME(RLIMIT_NICE),
	SAME(RLIMIT_NOFILE), SAME(RLIMIT_NPROC), SAME(RLIMIT_RSS), SAME(RLIMIT_RTPRIO), SAME(RLIMIT_RTTIME),
	SAME(RLIMIT_SIGPENDING), SAME(RLIMIT_STACK),
};

static const struct name namespaces[] = {
	{ "cgroup", CLONE_NEWCGROUP }, { "ipc", CLONE_NEWIPC }, { "mount", CLONE_NEWNS },
	{ "network", CLONE_NEWNET }, { "pid", CLONE_NEWPID }, { "time", CLONE_NEWTIME },
	{ "user", CLONE_NEWUSER }, { "uts", CLONE_NEWUTS },
};

static const struct name sched_policies[] = {
	{ "SCHED_OTHER", SCHED_NORMAL }, SAME(SCHED_FIFO), SAME(SCHED_RR), SAME(SCHED_BATCH), SAME(SCHED_ISO),
	SAME(SCHED_IDLE), SAME(SCHED_DEADLINE),
};

static const struct name sched_flags[] = {
	SAME(SCHED_FLAG_RESET_ON_FORK), SAME(SCHED_FLAG_RECLAIM), SAME(SCHED_FLAG_DL_OVERRUN),
	SAME(SCHED_FLAG_KEEP_POLICY), SAME(SCHED_FLAG_KEEP_PARAMS), SAME(SCHED_FLAG_UTIL_CLAMP_MIN),
	SAME(SCHED_FLAG_UTIL_CLAMP_MAX),
};

static const struct name io_classes[] = {
	SAME(IOPRIO_CLASS_RT), SAME(IOPRIO_CLASS_BE), SAME(IOPRIO_CLASS_IDLE),
};

static const struct name mem_modes[] = {
	SAME(MPOL_DEFAULT), SAME(MPOL_PREFERRED), SAME(MPOL_BIND), SAME(MPOL_INTERLEAVE), SAME(MPOL_LOCAL),
	SAME(MPOL_PREFERRED_MANY), SAME(MPOL_WEIGHTED_INTERLEAVE),
};

static const struct name mem_flags[] = {
	SAME(MPOL_F_STATIC_NODES), SAME(MPOL_F_RELATIVE_NODES), SAME(MPOL_F_NUMA_BALANCING),
};

static const struct name propagations[] = {
	{ "private", MS_PRIVATE }, { "rprivate", MS_PRIVATE | MS_REC },
	{ "shared", MS_SHARED }, { "rshared", MS_SHARED | MS_REC },
	{ "slave", MS_SLAVE }, { "rslave", MS_SLAVE | MS_REC },
	{ "unbindable", MS_UNBINDABLE }, { "runbindable", MS_UNBINDABLE | MS_REC },
};

static const struct name personalities[] = { { "LINUX", PER_LINUX }, { "LINUX32", PER_LINUX32 } };

static const struct name device_types[] = {
	{ "c", S_IFCHR }, { "b", S_IFBLK }, { "u", S_IFCHR }, { "p", S_IFIFO },
};

static const struct name device_rule_types[] = { { "a", 'a' }, { "c", 'c' }, { "b", 'b' } };

static const struct name clocks[] = { { "monotonic", 0 }, { "boottime", 1 } };
/* clang-format on */

#define TABLE(rows, what)                                                                                    \
	{                                                                                                    \
		what, rows, ARRAY_LEN(rows)                                                                  \
	}

const struct name_table names_caps = TABLE(caps, "a capability");
const struct name_table names_rlimits = TABLE(rlimits, "a resource limit");
const struct name_table names_namespaces = TABLE(namespaces, "a namespace type");
const struct name_table names_sched_policies = TABLE(sched_policies, "a scheduling policy");
const struct name_table names_sched_flags = TABLE(sched_flags, "a scheduling flag");
const struct name_table names_io_classes = TABLE(io_classes, "an I/O class");
const struct name_table names_mem_modes = TABLE(mem_modes, "a memory policy");
const struct name_table names_mem_flags = TABLE(mem_flags, "a memory policy flag");
const struct name_table names_propagations = TABLE(propagations, "a mount propagation");
const struct name_table names_personalities = TABLE(personalities, "an execution domain");
const struct name_table names_device_types = TABLE(device_types, "a device type");
const struct name_table names_device_rule_types = TABLE(device_rule_types, "a device type of a cgroup rule");
const struct name_table names_clocks = TABLE(clocks, "a clock of a time namespace");

_Static_assert(ARRAY_LEN(caps) == 41, "41 capabilities since Linux 5.9");
_Static_assert(CAP_CHECKPOINT_RESTORE == 40, "the table is ordered by number");

const struct name *names_find(const struct name_table *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->rows[i].name, name) == 0)
			return &t->rows[i];
	return NULL;
}

const char *names_of(const struct name_table *t, uint64_t value)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->rows[i].value == value)
			return t->rows[i].name;
	return "?";
}

void names_list(const struct name_table *t, struct str *to)
{
	for (size_t i = 0; i < t->n; i++) {
		if (i > 0)
			str_add(to, ", ");
		str_add(to, t->rows[i].name);
	}
}

/* The kernel wants all access time bits in attr_clr when one of them changes (mount_setattr(2)). */
#define ATIME MOUNT_ATTR__ATIME

#define SET(name, mask)                                                                                      \
	{                                                                                                    \
		name, OPTION_SET, mask, 0, 0, true                                                           \
	}
#define CLEAR(name, mask)                                                                                    \
	{                                                                                                    \
		name, OPTION_CLEAR, mask, 0, 0, true                                                         \
	}
#define PROP(name, mask)                                                                                     \
	{                                                                                                    \
		name, OPTION_PROPAGATION, mask, 0, 0, true                                                   \
	}
#define REC(name, set, clear)                                                                                \
	{                                                                                                    \
		name, OPTION_REC, 0, set, clear, true                                                        \
	}
#define OTHER(name, kind, yes)                                                                               \
	{                                                                                                    \
		name, kind, 0, 0, 0, yes                                                                     \
	}

/* clang-format off */
const struct mount_option mount_options[] = { /* sorted by name: `features` prints it as it is */
	CLEAR("async", MS_SYNCHRONOUS),
	CLEAR("atime", MS_NOATIME),
	OTHER("bind", OPTION_BIND, true),
	OTHER("defaults", OPTION_NONE, true),
	CLEAR("dev", MS_NODEV),
	CLEAR("diratime", MS_NODIRATIME),
	SET("dirsync", MS_DIRSYNC),
	CLEAR("exec", MS_NOEXEC),
	OTHER("idmap", OPTION_IDMAP, true),
	SET("iversion", MS_I_VERSION),
	SET("lazytime", MS_LAZYTIME),
	CLEAR("loud", MS_SILENT),
	SET("mand", MS_MANDLOCK),
	SET("noatime", MS_NOATIME),
	SET("nodev", MS_NODEV),
	SET("nodiratime", MS_NODIRATIME),
	SET("noexec", MS_NOEXEC),
	CLEAR("noiversion", MS_I_VERSION),
	CLEAR("nolazytime", MS_LAZYTIME),
	CLEAR("nomand", MS_MANDLOCK),
	CLEAR("norelatime", MS_RELATIME),
	CLEAR("nostrictatime", MS_STRICTATIME),
	SET("nosuid", MS_NOSUID),
	SET("nosymfollow", MS_NOSYMFOLLOW),
	PROP("private", MS_PRIVATE),
	REC("ratime", 0, ATIME),
	OTHER("rbind", OPTION_RBIND, true),
	REC("rdev", 0, MOUNT_ATTR_NODEV),
	REC("rdiratime", 0, MOUNT_ATTR_NODIRATIME),
	SET("relatime", MS_RELATIME),
	SET("remount", MS_REMOUNT),
	REC("rexec", 0, MOUNT_ATTR_NOEXEC),
	OTHER("ridmap", OPTION_RIDMAP, true),
	REC("rnoatime", MOUNT_ATTR_NOATIME, ATIME),
	REC("rnodev", MOUNT_ATTR_NODEV, 0),
	REC("rnodiratime", MOUNT_ATTR_NODIRATIME, 0),
	REC("rnoexec", MOUNT_ATTR_NOEXEC, 0),
	REC("rnorelatime", 0, 0), /* relatime is the absence of the other two */
	REC("rnostrictatime", 0, ATIME),
	REC("rnosuid", MOUNT_ATTR_NOSUID, 0),
	REC("rnosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0),
	SET("ro", MS_RDONLY),
	PROP("rprivate", MS_PRIVATE | MS_REC),
	REC("rrelatime", MOUNT_ATTR_RELATIME, ATIME),
	REC("rro", MOUNT_ATTR_RDONLY, 0),
	REC("rrw", 0, MOUNT_ATTR_RDONLY),
	PROP("rshared", MS_SHARED | MS_REC),
	PROP("rslave", MS_SLAVE | MS_REC),
	REC("rstrictatime", MOUNT_ATTR_STRICTATIME, ATIME),
	REC("rsuid", 0, MOUNT_ATTR_NOSUID),
	REC("rsymfollow", 0, MOUNT_ATTR_NOSYMFOLLOW),
	PROP("runbindable", MS_UNBINDABLE | MS_REC),
	CLEAR("rw", MS_RDONLY),
	PROP("shared", MS_SHARED),
	SET("silent", MS_SILENT),
	PROP("slave", MS_SLAVE),
	SET("strictatime", MS_STRICTATIME),
	CLEAR("suid", MS_NOSUID),
	CLEAR("symfollow", MS_NOSYMFOLLOW),
	SET("sync", MS_SYNCHRONOUS),
	OTHER("tmpcopyup", OPTION_TMPCOPYUP, true),
	PROP("unbindable", MS_UNBINDABLE),
};
/* clang-format on */
const size_t mount_options_n = ARRAY_LEN(mount_options);

const struct mount_option *mount_option_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(mount_options); i++)
		if (strcmp(mount_options[i].name, name) == 0)
			return &mount_options[i];
	return NULL;
}
