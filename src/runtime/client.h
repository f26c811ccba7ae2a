/* client.h - asking a running monitor: one connection, one request, one answer. */
#ifndef RUNTIME_CLIENT_H
#define RUNTIME_CLIENT_H

#include "wire/ctl.h"

/* Connects to the monitor of the container whose state directory is dirfd. Returns the fd; -ESRCH
 * "container not running" when nobody listens. */
int must_check client_connect(int dirfd, struct err *e);

/* Sends a request and waits for the answer, which must be of type `want` (a MSG_C_RESULT with an error
 * is turned into that error). The answer is left in *ans (ctl_fini() it on success). */
int must_check client_ask(int sock, enum msg_type type, const struct pack_rec *rec, const void *v,
			  const int *fds, size_t n_fds, enum msg_type want, struct ctl_msg *ans,
			  struct err *e);

/* The whole way for requests without a value in the answer. */
int must_check client_do(int dirfd, enum msg_type type, const struct pack_rec *rec, const void *v,
			 struct err *e);

#endif
