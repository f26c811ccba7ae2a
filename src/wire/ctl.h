/* ctl.h - one message and its fds over a SOCK_SEQPACKET socket: the control socket (cor <-> monitor)
 * and the start's sync socket. A packet is the type (u32) and the packed record; what is longer than
 * a packet may be travels in a sealed memfd among the fds. */
#ifndef WIRE_CTL_H
#define WIRE_CTL_H

#include "base/io.h"
#include "wire/msg.h"

#define CTL_MAX 16384 /* longest packet */
#define CTL_FDS 8

struct ctl_msg {
	enum msg_type type;
	size_t len; /* bytes of the record in `body` */
	uint8_t body[CTL_MAX];
	int fds[CTL_FDS]; /* owned; -1 = none or taken */
	size_t n_fds;
};

/* rec NULL = no record. The fds stay the caller's. -errno; -EPIPE when the other side is gone. */
int must_check ctl_send(int sock, enum msg_type type, const struct pack_rec *rec, const void *v,
			const int *fds, size_t n_fds);
/* Sends an error (or success: code 0) as a msg_result of the given type. */
int must_check ctl_send_result(int sock, enum msg_type type, int code, const char *text);
/* 1 = a message, 0 = the other side closed, -errno (-EAGAIN on a non-blocking socket). */
int must_check ctl_recv(int sock, struct ctl_msg *m);
/* Closes the fds that nobody took. Idempotent. */
void ctl_fini(struct ctl_msg *m);
/* Decodes the body with the type's record. */
int must_check ctl_decode(const struct ctl_msg *m, struct arena *a, void *to);
/* Turns a msg_result body into an error: 0 for success, else its code with the text in e. */
int must_check ctl_result(const struct ctl_msg *m, struct err *e);

/* A record in a sealed memfd, and back (at most MSG_MAX bytes). */
int must_check ctl_memfd(const struct pack_rec *rec, const void *v);
int must_check ctl_from_memfd(const struct pack_rec *rec, int fd, struct arena *a, void *to);

#endif
