/* share.h - the directory that the guest sees over 9p, and the monitor's own view of the container.
 *
 * Both are made of mounts in private mount namespaces: the host's mount table shows none of them,
 * and nothing is left when the last process in the namespace is gone. Order, all in the monitor,
 * single-threaded:
 *     share_isolate()      first namespace: the host's mounts, as a slave
 *     share_open()         DIR is an empty directory of its own
 *     (start the VM: it inherits this namespace, exports DIR and walks from it, so that it sees what comes)
 *     share_take()         copies of the root and the binds, not mounted anywhere yet
 *     share_fill()         they appear as DIR/rootfs, DIR/m0...; DIR itself becomes read-only
 *     share_enter_view()   second namespace: / is the container's root, binds at their places
 * Between taking and filling the caller may go to another mount namespace, that of a VM which was started
 * before anybody knew the container.
 * Trusts: `dir`. Distrusts: symlinks in sources (they were resolved at create; one that
 * appears later is an error) and everything inside the container's root. */
#ifndef SYS_SHARE_H
#define SYS_SHARE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define SHARE_ROOT "rootfs" /* entry of the container's root */

struct share_bind {
	const char *name;   /* entry in the share: "m0"; one component */
	const char *source; /* absolute host path without symlinks */
	const char *dest;   /* absolute path in the container */
	bool is_file;       /* the source is no directory */
	bool readonly;
	bool recursive; /* with the mounts below it */
	/* It is idmapped so, as in ns_new_user(); NULL: owners are as in the source */
	const char *uid_map, *gid_map;
	bool map_recursive; /* and so are the mounts below it */
};

struct share {
	const char *dir;    /* an existing directory, absolute: STATE_DIR/share */
	const char *root;   /* container root, absolute, without symlinks; NULL: the guest makes its own, the
			       share's is empty */
	bool root_readonly; /* the guest can't write to it, whatever its kernel does. The binds' mount
			       points are made before, those of other mounts by the caller: mnt_place() */
	const struct share_bind *binds;
	size_t n_binds;
};

/* Puts the caller into a mount namespace of its own, in which nothing propagates back to the host. */
int must_check share_isolate(struct err *e);

/* Mounts an empty share on `dir`, in the caller's mount namespace. */
int must_check share_open(const char *dir, struct err *e);

/* What the share's entries will be: [0] the root, [1 + i] bind i; detached mounts. */
struct share_trees {
	int *fd;
	size_t n;
};

/* Copies root and binds out of the caller's mount namespace. Every entry is nosuid, nodev and
 * noexec *on the host side*: the guest's kernel applies its own rules, the exporting process can open no
 * device node and execute nothing that the guest left there. share_trees_fini() on success. */
int must_check share_take(const struct share *s, struct share_trees *ret, struct err *e);
/* Puts them into the share that is open on s->dir in the caller's mount namespace, which it closes for
 * writing. After an error the namespace is to be given up. */
int must_check share_fill(const struct share *s, const struct share_trees *t, struct err *e);
void share_trees_fini(struct share_trees *t); /* idempotent */
#define scoped_share_trees __attribute__((cleanup(share_trees_fini))) struct share_trees

enum share_view_flags {
	SHARE_VIEW_PROC = 1,     /* mount the caller's /proc at /proc if the root has such a directory */
	SHARE_VIEW_READONLY = 2, /* the root is read-only in the view: no mount point is made */
};

/* Puts the caller into a second mount namespace whose / is the share's root with the binds at their
 * destinations, and its working directory to /. A destination that can't be used (missing in a
 * read-only root, a file where a directory is needed) leaves that bind out: the guest's agent is the one to
 * report it. Needs the assembled share. Host paths can't be reached afterwards: open what is
 * needed before. */
int must_check share_enter_view(const struct share *s, unsigned flags, struct err *e);

#endif
