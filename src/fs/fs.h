/* fs.h - one directory of the host as a FUSE file system: requests in, replies out.
 *
 * A guest's kernel is the client (virtio-fs speaks FUSE); how its requests come here is the transport's
 * business (cli.c). A request is bytes from a hostile guest: it is copied before it comes here, every
 * length in it is checked, every name is one component without a slash, and no call follows a symbolic link
 * or leaves the directory. What may be done to a file is checked by the guest's kernel for its users; here
 * everything is done with the server's own rights, so those must end at the directory (the jail sees to it).
 *
 * Descriptors are bounded: of the files that the guest knows only the lately used ones are open (each keeps a
 * dentry and an inode of the host's in memory, too); the others are found again by their path, and the find
 * is checked by device, inode and mount.
 *
 * One thread. */
#ifndef FS_FS_H
#define FS_FS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define FS_DATA_MAX  (128u << 10) /* bytes of one read or write */
#define FS_REQ_MAX   (FS_DATA_MAX + 4096u)
#define FS_REPLY_MAX (FS_DATA_MAX + 4096u)

struct fs_conf {
	int root;            /* the directory; O_PATH is enough. Taken over */
	int fds;             /* /proc/self/fd as a directory. Taken over */
	unsigned max_fds;    /* descriptors at most, 64 or more */
	unsigned idle_fds;   /* of them, of files that the guest knows but has not open; 16 or more */
	unsigned max_inodes; /* files at most that the guest may know at a time */
	uint32_t timeout_ms; /* how long the guest may believe what it was told of a file or a name */
	const char *main; /* an entry of the root, NULL = none: the file system mounted there (if none is, the
			     first that is met in the root) has the root's device number in the guest,
			     wherever it is mounted in the root. Others have their own, and no ACLs: Linux
			     (6.1, 6.12) does not switch them on for such. Borrowed */
};

struct fs;

/* Makes a server. The process' working directory becomes conf->fds: descriptors are reopened, and extended
 * attributes reached, by their number there. The umask is the server's to change, and so are the ids that it
 * makes files with: a root needs SECBIT_NO_SETUID_FIXUP, or it makes them with its user's rights. */
int must_check fs_open(const struct fs_conf *conf, struct fs **ret, struct err *e);
void fs_close(struct fs *fs); /* NULL is fine */

/* Serves one request: `n` bytes at `req` (8-byte aligned), the reply goes to `reply` (8-byte aligned), which
 * has room for `cap` bytes. Returns the reply's length, 0 = there is none (forget, or not even a header). */
size_t fs_handle(struct fs *fs, const void *req, size_t n, void *reply, size_t cap);

/* For tests and reports. */
struct fs_counts {
	unsigned inodes, handles, fds;
};
struct fs_counts fs_count(const struct fs *fs);

#endif
