/* cgroup.h - the host cgroup of a container's VM: where it is, its limits, its end.
 *
 * One struct cgroup stands for one directory in every hierarchy that is mounted: pure v2 has one,
 * v1 one per set of controllers, hybrid both. `cor create` finds and makes them; the monitor writes its pid
 * into the files of cgroup_procs(); `update`, `delete` and `state` load what create stored.
 *
 * Trusts: the kernel's files. Distrusts: the caller's cgroupsPath (it never leads out with "..",
 * and never names the root of a hierarchy). Never: writes device rules - a deny-all
 * list would take /dev/kvm from the VMM; those rules are the guest's. */
#ifndef SYS_CGROUP_H
#define SYS_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"

enum cgroup_manager { CGROUP_FS, CGROUP_SYSTEMD, CGROUP_DISABLED, CGROUP_MANAGER_N };

enum cgroup_kind { CGROUP_NONE, CGROUP_V1, CGROUP_HYBRID, CGROUP_V2 };

/* One mounted hierarchy. */
struct cgroup_hier {
	bool v2;
	char *controllers; /* v1: "cpu,cpuacct" or "name=systemd"; v2: what cgroup.controllers says */
	char *mount;       /* where it is mounted */
	char *root;        /* what of it is mounted there: "/" unless it is a part */
	char *dev;         /* "0:29": the same for all mounts of a hierarchy */
};

struct cgroup_layout {
	enum cgroup_kind kind;
	struct cgroup_hier *hiers; /* the v2 one first */
	size_t n;
};

/* Finds the hierarchies in the text of a mountinfo file. A hierarchy mounted twice counts once. */
int must_check cgroup_layout_parse(const char *mountinfo, struct cgroup_layout *ret);
/* The caller's own, /proc/self/mountinfo. */
int must_check cgroup_layout_read(struct cgroup_layout *ret);
void cgroup_layout_fini(struct cgroup_layout *l); /* idempotent */
bool cgroup_layout_has(const struct cgroup_layout *l, const char *controller);
/* "v1", "hybrid", "v2", "none". */
const char *cgroup_kind_name(enum cgroup_kind kind);

struct cgroup_dir {
	bool v2;
	char *controllers;
	char *path;  /* absolute */
	size_t base; /* length of the mount point at the front of path: rmdir never goes above it */
	size_t keep; /* length of the front part that was there before: known from the plan on, so that a
			create that crashes leaves nothing that its delete can't find */
};

/* Zero-initialise. */
struct cgroup {
	enum cgroup_manager manager;
	char *unit;              /* systemd: name of the scope */
	char *slice;             /* systemd: its slice */
	struct cgroup_dir *dirs; /* the v2 one first; none = nothing to do */
	size_t n;
	bool owned;        /* made by cgroup_create(): all in it is the container's */
	pid_t placeholder; /* systemd: keeps the new scope alive until cgroup_settled(); 0 = none */
};

/* Limits of the VMM on the host: what the container may have plus what the VM itself needs. The
 * caller has added the VM's share to the memory figures; pids gets CGROUP_VMM_PIDS here. The has_*
 * bits separate "unset" from 0; -1 = unlimited. All pointers are borrowed. */
#define CGROUP_VMM_PIDS 256 /* threads of QEMU (vCPUs, 64 of 9p, iothreads) and the monitor */

struct cgroup_dev_value {
	uint32_t major, minor;
	uint64_t value;
};

struct cgroup_dev_values {
	const struct cgroup_dev_value *p;
	size_t n;
};

struct cgroup_kv {
	const char *key, *value;
};

struct cgroup_limits {
	bool has_memory, has_reservation, has_swap; /* bytes; swap = memory + swap, as in OCI */
	int64_t memory, reservation, swap;
	uint64_t memory_overhead; /* added to memory.* sizes in `unified` */
	bool has_shares, has_quota, has_period, has_burst, has_idle; /* shares 0 = unset */
	uint64_t shares, period, burst;                              /* microseconds */
	int64_t quota, idle;
	const char *cpus, *mems; /* lists, NULL or "" = unset */
	bool has_pids;
	int64_t pids;
	bool has_weight;
	uint32_t weight; /* blkio: 10..1000; 0 = unset */
	struct cgroup_dev_values weight_device, read_bps, write_bps, read_iops, write_iops;
	const struct cgroup_kv *unified; /* v2 files by name */
	size_t n_unified;
};

/* Computes where the cgroup of container `id` is; makes nothing. `path` is linux.cgroupsPath:
 * cgroupfs: absolute = below the mount point of each hierarchy, relative = below /cor, NULL or "" =
 * /cor/ID. systemd: "slice:prefix:name", "" = "system.slice:cor:ID". Fails with -EINVAL (a text names
 * linux.cgroupsPath) for "..", for the root itself and for control characters; with -ENOENT if
 * systemd is asked for and does not run here. `disabled` gives an empty cgroup. */
int must_check cgroup_plan(const struct cgroup_layout *l, enum cgroup_manager manager, const char *path,
			   const char *id, struct cgroup *ret, struct err *e);

/* Makes the directories (and the scope) and applies the limits. A hierarchy that can't be written is
 * left out with a line in *warnings if no limit needs it, and is an error that names field and
 * controller if one does. -EBUSY if processes are in it already. Everything is undone on failure. */
int must_check cgroup_create(struct cgroup *c, const struct cgroup_limits *limits, struct strv *warnings,
			     struct err *e);
/* Moves a process to the cgroup `path` of every hierarchy, which several share: it is made if it is missing
 * and has no limits. As far as that is possible. */
void cgroup_join_shared(const char *path, pid_t pid);
/* Removes it where it is empty. */
void cgroup_remove_shared(const char *path);

/* Appends the files that a process's pid is written to, to join. */
void cgroup_procs(const struct cgroup *c, struct strv *to);
/* After the VM's first process has joined: ends the scope's placeholder. Nothing to do otherwise. */
void cgroup_settled(struct cgroup *c);

/* Sets those limits that are given, leaves the others. Errors name field and controller. */
int must_check cgroup_apply(const struct cgroup *c, const struct cgroup_limits *limits, struct err *e);

/* Pids of all members, of child cgroups too, each once: *ret (free()), *ret_n. */
int must_check cgroup_pids(const struct cgroup *c, pid_t **ret, size_t *ret_n);
/* SIGKILL to all members, until none is left: 0, or -ETIMEDOUT after timeout_ms. Zombies whose
 * parent does not wait for them are no members. A cgroup that is gone is success. One that was planned
 * but never made (create crashed before) may be somebody else's: nothing is done to its members. */
int must_check cgroup_kill(const struct cgroup *c, int timeout_ms);
/* Removes the directories, and those above that create made and nobody else uses. Waits up to
 * timeout_ms for members that are just ending; never kills. Gone already is success. Of one that was
 * planned but never made, only empty directories are removed. */
int must_check cgroup_remove(struct cgroup *c, int timeout_ms, struct err *e);
void cgroup_fini(struct cgroup *c); /* frees; idempotent; ends the placeholder, removes nothing */

/* To and from lines of text that are stored with the container. -EBADMSG for anything else. */
int must_check cgroup_encode(const struct cgroup *c, struct strv *to);
int must_check cgroup_decode(const struct strv *from, struct cgroup *ret);

#endif
