/* pidfile.h - how callers learn which host process stands for a container or an exec session. */
#ifndef RUNTIME_PIDFILE_H
#define RUNTIME_PIDFILE_H

#include <sys/types.h>

#include "base/err.h"

/* --pid-file: decimal digits and nothing else - go-runc parses the raw bytes. path NULL = not asked. */
int must_check pidfile_write(const char *path, pid_t pid, struct err *e);
/* --pidfd-socket: a pidfd over a unix socket. path NULL = not asked. */
int must_check pidfile_send_pidfd(const char *path, pid_t pid, struct err *e);

#endif
