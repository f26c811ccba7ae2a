/* ready.h - file systems mounted before a container asks for them: what nearly every config.json wants, so
 * that only attaching them is left. Called by child.c (make) and rootfs.c (take).
 *
 * An entry is the result of mnt_fs() with exactly these arguments, made in the same namespaces; whoever
 * asks for anything else gets a mount of his own. Each is handed out once. */
#ifndef AGENT_READY_H
#define AGENT_READY_H

#include <stdbool.h>

#include "base/err.h"
#include "wire/msg.h"

#define READY_N 8
/* The data of an empty tmpfs, over masked directories. */
#define READY_MASK_DATA "mode=755,nr_blocks=1,nr_inodes=1"

struct ready {
	int tree[READY_N]; /* not attached; -1 = none (any more) */
	bool has_dev;      /* the one with device nodes was handed out */
};

/* Mounts them, below the directory `stage` for a moment. The caller has a mount namespace of its own,
 * private, and those namespaces that the mounts are to show. What can't be mounted is left out: who asks for
 * it gets the error. */
void ready_make(struct ready *r, const char *stage, bool has_cgroup);
/* The tree that mnt_fs() would have made at `dest`, now the caller's; -1 = there is none. */
int ready_take(struct ready *r, const char *dest, const char *type, const char *source, unsigned long flags,
	       const char *data);
/* True if a /dev that has its nodes and directories already ends up as one that gets them after the
 * container's mounts. */
bool ready_dev_fits(const struct msg_ctr *c);

#endif
