/* rootfs.h - the container's view of files: root, mounts, devices, masks. Called by child.c in the
 * container's new mount namespace. */
#ifndef AGENT_ROOTFS_H
#define AGENT_ROOTFS_H

#include "base/err.h"
#include "wire/msg.h"

struct ready;

struct rootfs {
	const struct msg_ctr *ctr;
	const char *share;
	bool has_cgroup;
	bool has_userns;
	struct ready *ready; /* mounts made in advance; NULL */
	int mask;            /* an empty directory over some masked path; -1 */
	int root;            /* its top directory; -1 before rootfs_open() */
	int *sources;        /* of each mount from the share; -1 for others */
};

/* Opens what comes from the share, with the rights that the caller has before it enters a user
 * namespace: directories above may be closed to the container's root. The caller ends in exec or _exit, which
 * frees all. */
int must_check rootfs_open(struct rootfs *r, struct err *e);

/* Root and all mounts, in order. */
int must_check rootfs_mount(struct rootfs *r, struct err *e);
/* Default and given device nodes, links in /dev. */
int must_check rootfs_devices(struct rootfs *r, struct err *e);
/* A new terminal from the container's own devpts. With `console`, the slave is also /dev/console. */
int must_check rootfs_terminal(int root, bool console, int *ret_master, int *ret_slave, struct err *e);
/* Read-only mounts and root, masked and read-only paths: after everything that writes. */
int must_check rootfs_protect(struct rootfs *r, struct err *e);
/* Makes it this process's root. */
int must_check rootfs_enter(struct rootfs *r, struct err *e);

#endif
