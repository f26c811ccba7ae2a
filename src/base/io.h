/* io.h - whole reads and writes, files as values, fds over sockets. All return a count or 0, or
 * -errno. Every fd created here is O_CLOEXEC. EINTR is retried. */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/scope.h"

/* Reads until n bytes or end of file; returns the count. */
ssize_t must_check io_read_full(int fd, void *p, size_t n);
/* Writes all n bytes, or fails. */
int must_check io_write_full(int fd, const void *p, size_t n);

/* Whole file into fresh memory with a NUL behind it (free()); more than `max` bytes is -EFBIG.
 * `dirfd` may be AT_FDCWD. Also for /proc and pipes (reads to the end). */
int must_check io_read_file_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);
/* The same from an open fd. */
int must_check io_read_all(int fd, size_t max, char **ret, size_t *ret_len);

/* Writes an existing file (cgroup, proc, sysfs) with one write(2). */
int must_check io_write_existing_at(int dirfd, const char *path, const char *text);
/* Replaces a file as a whole: temporary name, fsync, rename, directory fsync. After a crash the
 * name holds the old content or the new, never a part. What was cut off leaves a file that begins
 * with IO_TEMPORARY. */
#define IO_TEMPORARY ".cor-tmp-"
int must_check io_replace_file_at(int dirfd, const char *name, const void *p, size_t n, mode_t mode);
/* The same without the fsyncs, for what means nothing after a crash of the machine: readers see the old
 * content or the new; after such a crash the file may also be empty. */
int must_check io_swap_file_at(int dirfd, const char *name, const void *p, size_t n, mode_t mode);

#define IO_FDS_MAX 8
/* One message with up to IO_FDS_MAX fds over a unix socket (SOCK_SEQPACKET, or SOCK_STREAM for a
 * single small message). */
int must_check io_send_fds(int sock, const void *p, size_t n, const int *fds, size_t n_fds);
/* Receives one message: returns its length (0 = end of file). A message longer than `cap` or with
 * more fds than `cap_fds` is -EMSGSIZE and its fds are closed. *n_fds is set on success only. */
ssize_t must_check io_recv_fds(int sock, void *p, size_t cap, int *fds, size_t cap_fds, size_t *n_fds);

/* Connects to / listens on a unix socket `name` inside directory dirfd (SOCK_SEQPACKET), through
 * /proc/self/fd, so that the path's length has no limit. Returns the fd. */
int must_check io_unix_connect_at(int dirfd, const char *name);
int must_check io_unix_listen_at(int dirfd, const char *name, int backlog);

/* A sealed memfd with this content, offset 0. Returns the fd. */
int must_check io_memfd(const char *name, const void *p, size_t n);

/* A non-blocking fd for what `fd` has open, for use without disturbing those who share it: pipes
 * and terminals are opened anew through /proc/self/fd, so that O_NONBLOCK stays ours; files need none;
 * for sockets, and where opening fails, the shared flag is set. `fd` stays the caller's. Returns the
 * new fd (>= 3, O_CLOEXEC) or -errno. */
int must_check io_unshare_open(int fd);

/* Closes every fd >= 3 that is not in keep[n]. */
int must_check io_close_from(const int *keep, size_t n);

/* Opens the directory `name` (may be ".") below dirfd to be read from its beginning; the caller closes *ret.
 */
int must_check io_open_dir_at(int dirfd, const char *name, DIR **ret);

/* Removes a directory tree below dirfd without following symlinks or crossing mounts; a missing
 * one is no error. */
int must_check io_remove_tree_at(int dirfd, const char *name);

/* mkdir -p for a trusted path (no symlink care), mode for the new ones. */
int must_check io_mkdirs(const char *path, mode_t mode);

/* Blocks until fd is readable, `timeout_ms` (-1 = for ever) has passed (-ETIMEDOUT), or it fails. */
int must_check io_wait_readable(int fd, int timeout_ms);

#endif
