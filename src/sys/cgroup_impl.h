/* cgroup_impl.h - what the files behind cgroup.h share. Nobody else includes it. */
#ifndef SYS_CGROUP_IMPL_H
#define SYS_CGROUP_IMPL_H

#include "sys/cgroup.h"

/* True if the directory's hierarchy has the controller; for v2 as it was at plan time. */
bool cgroup_dir_has(const struct cgroup_dir *d, const char *controller);
/* The directory that serves a controller, or NULL. */
const struct cgroup_dir *cgroup_dir_for(const struct cgroup *c, const char *controller);

/* The first limit that is asked for and needs the directory: its OCI field and its controller.
 * False if none does. */
bool cgroup_limits_need(const struct cgroup_limits *l, const struct cgroup_dir *d, const char **ret_field,
			const char **ret_controller);
/* cgroup_limits.c: -1 and other negative values are "max" on v2. */
uint64_t cgroup_shares_to_weight(uint64_t shares);
uint64_t cgroup_blkio_to_io_weight(uint64_t weight);

/* cgroup_systemd.c: names and directory ("/system.slice/cor-ID.scope") of a scope; starting one with a
 * placeholder process in it; telling systemd new limits; stopping it. */
int must_check cgroup_systemd_plan(const char *path, const char *id, struct cgroup *c, char **ret_dir,
				   struct err *e);
int must_check cgroup_systemd_start(struct cgroup *c, const struct cgroup_limits *l, struct err *e);
int must_check cgroup_systemd_update(const struct cgroup *c, const struct cgroup_limits *l, struct err *e);
void cgroup_systemd_stop(const struct cgroup *c);

/* cgroup_end.c: removes, at once and only if empty, what create made. */
int must_check cgroup_undo(const struct cgroup *c);

#endif
