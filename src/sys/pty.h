/* pty.h - pseudo terminals: making a pair, handing the master to the caller over its console socket,
 * and the user's own terminal. Called by the runtime (exec, run) and the monitor.
 * Leaf helpers: 0 or -errno. */
#ifndef SYS_PTY_H
#define SYS_PTY_H

#include <stdint.h>
#include <termios.h>

#include "base/err.h"

#define PTY_NAME_MAX 32 /* "/dev/pts/" and a number, with NUL */

/* A new pair, both ends O_CLOEXEC | O_NOCTTY. The slave is opened through the master, so no other
 * devpts can be slipped in. `name` is the slave's path, for messages and the console socket only. */
int must_check pty_open(int *ret_master, int *ret_slave, char name[PTY_NAME_MAX]);

/* No echo, no line editing, no signals, 8 bits, no output processing: every byte passes as it is. */
int must_check pty_set_raw(int fd);
/* Saves the settings of a terminal for pty_restore(); -ENOTTY. */
int must_check pty_save(int fd, struct termios *ret);
/* Puts the settings back after pending output has drained. */
int must_check pty_restore(int fd, const struct termios *saved);

int must_check pty_set_size(int fd, uint32_t rows, uint32_t cols);
int must_check pty_get_size(int fd, uint32_t *ret_rows, uint32_t *ret_cols);

/* Makes the terminal the controlling one of the caller, which must be a session leader (setsid()). */
int must_check pty_make_controlling(int fd);

/* Sends a terminal's master over the caller's socket (SOCK_STREAM, a path of any length), or a pidfd: one
 * sendmsg with the name as text and exactly one fd. The caller keeps its own copy of the fd. Errors name the
 * option that gave the path. */
int must_check pty_send_fd(const char *option, const char *socket_path, int fd, const char *name,
			   struct err *e);

#endif
