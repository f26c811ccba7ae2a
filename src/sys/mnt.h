/* mnt.h - mounts below a container's root, by file descriptor.
 *
 * A root file system is written by its container: every symlink in it is hostile. So no function
 * here takes a path that the kernel resolves by itself: destinations are walked inside the root
 * (mnt_place, mnt_open_in) and mounts are made on the resulting fds. Called by the agent in the
 * child that becomes a container, single-threaded, in a mount namespace of its own.
 * Needs /proc at /proc and Linux 5.12. Leaf helpers: 0 or -errno. */
#ifndef SYS_MNT_H
#define SYS_MNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/scope.h"

/* Opens an existing path below `root`; symlinks are followed, but never out of it, and never the
 * magic ones of /proc. `flags` as for open(2); O_CLOEXEC is added. */
int must_check mnt_open_in(int root, const char *path, int flags, int *ret_fd);
/* The same without following any symlink. */
int must_check mnt_open_plain(int root, const char *path, int flags, int *ret_fd);

enum mnt_want { MNT_WANT_DIR, MNT_WANT_FILE };
/* Finds a place for a mount below `root` and makes what is missing: directories (0755) and, for
 * MNT_WANT_FILE, an empty file at the end. Symlinks are followed inside the root, also ones whose
 * target is missing. *ret_fd: the place (O_PATH); *ret_real: its path below the root without
 * symlinks, without a leading slash, "" for the root itself (free()). -ELOOP after 40 links. */
int must_check mnt_place(int root, const char *path, enum mnt_want want, int *ret_fd, char **ret_real);
/* The directory that `path` is in, made if missing, and the last component (borrowed from path). */
int must_check mnt_place_parent(int root, const char *path, int *ret_dir, const char **ret_name);

/* mount(2) of a file system on the place `on`. */
int must_check mnt_fs(const char *type, const char *source, int on, unsigned long flags, const char *data);
/* mount(2) that changes an existing mount: `on` is its root. */
int must_check mnt_remount(int on, unsigned long flags, const char *data);
/* Takes off the mount whose root `on` is, with what is below it. */
int must_check mnt_detach(int on);

/* A file system of its own, nosuid, nodev and noexec, not attached yet: mnt_attach(). `option` is one that
 * its type knows, with its value; NULL = none. */
int must_check mnt_new(const char *type, const char *option, const char *value, int *ret_tree);
/* A copy of the mount at `from` (an fd), not attached yet; recursive = with the mounts below it. */
int must_check mnt_clone(int from, bool recursive, int *ret_tree);
/* Attaches what mnt_new() or mnt_clone() made. */
int must_check mnt_attach(int tree, int on);
/* mount_setattr(2): MOUNT_ATTR_* to set and to clear on the mount that the fd is in. */
int must_check mnt_set_attr(int fd, uint64_t set, uint64_t clear, bool recursive);
/* Owners of files in a tree that is not attached yet are mapped as user namespace `user` maps them: what it
 * has inside is on the disk, what outside is seen. -EINVAL: its file system can't. */
int must_check mnt_idmap(int tree, int user, bool recursive);
/* MS_SHARED and friends, with MS_REC for the whole subtree. */
int must_check mnt_set_propagation(int fd, unsigned long propagation);
/* The MOUNT_ATTR_* that stand for the per-mount flags among MS_* (ro, nosuid, nodev, noexec,
 * nosymfollow, atime); *ret_clear gets what must be cleared with them. */
uint64_t mnt_attr_of_flags(unsigned long flags, uint64_t *ret_clear);

/* True if the fd is on a file system of this type (statfs f_type). */
bool mnt_is_fs(int fd, long magic);

/* Copies the content of directory `from` into directory `to`, keeping type, mode, owner and times.
 * At most `depth` levels (-ELOOP). */
int must_check mnt_copy_tree(int from, int to, unsigned depth);

/* Makes `root` (a mount) the root of this mount namespace and drops everything else. */
int must_check mnt_pivot(int root);

#endif
