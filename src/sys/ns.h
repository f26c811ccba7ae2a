/* ns.h - host namespaces of the monitor and its VM: joined by path, or new ones. Called by the
 * monitor before it starts anything, and by the runtime to check paths at create. */
#ifndef SYS_NS_H
#define SYS_NS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct ns_want {
	uint64_t type;    /* one CLONE_NEW* */
	const char *path; /* join this one; NULL = a new one. Borrowed */
};

/* The OCI name of a type ("network", "mount"...), "?" if unknown. */
const char *ns_name(uint64_t type);
/* The CLONE_NEW* of an OCI name, 0 if unknown. */
uint64_t ns_type(const char *name);

/* Opens a namespace and proves that it is one of that type. -EINVAL if it is something else. */
int must_check ns_open(uint64_t type, const char *path, int *ret_fd, struct err *e);
/* True in *ret if the caller is in the namespace that the fd stands for. */
int must_check ns_is_own(uint64_t type, int fd, bool *ret);

/* Opens all that have a path, joins them (user first, mount last), then makes all new ones in one
 * step. A type that appears twice is -EINVAL. A pid or time namespace takes effect for children
 * only. The caller must be single-threaded. On an error the caller may stand in some of them
 * already: it must end. */
int must_check ns_enter(const struct ns_want *want, size_t n, struct err *e);

/* A user namespace that nobody is in, with these maps: lines as /proc/PID/uid_map takes them. Needs /proc;
 * the process that makes it is waited for. */
int must_check ns_new_user(const char *uid_map, const char *gid_map, int *ret_fd, struct err *e);

#endif
