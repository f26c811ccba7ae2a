/* ctl.c - packets of the control and sync sockets.
 *
 * Both ends are our own programs of the same user, yet every packet is checked like any other:
 * length, type, record. Never: keeps an fd that nobody asked for. */
#include "wire/ctl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"

int ctl_send(int sock, enum msg_type type, const struct pack_rec *rec, const void *v, const int *fds,
	     size_t n_fds)
{
	scoped_str out = { 0 };
	int r;

	buf_put_u32(&out, (uint32_t)type);
	r = rec ? pack_encode(rec, v, &out) : str_check(&out);
	if (r < 0)
		return r;
	if (out.len > CTL_MAX)
		return -E2BIG;
	return io_send_fds(sock, out.p, out.len, fds, n_fds);
}

int ctl_send_result(int sock, enum msg_type type, int code, const char *text)
{
	char copy[ERR_MSG_MAX];
	struct msg_result res = { .code = code, .text = NULL };

	if (text) {
		(void)snprintf(copy, sizeof copy, "%s", text);
		res.text = copy;
	}
	return ctl_send(sock, type, &rec_result, &res, NULL, 0);
}

int ctl_recv(int sock, struct ctl_msg *m)
{
	not_cleared uint8_t packet[4 + CTL_MAX];
	ssize_t n;

	m->len = 0;
	m->n_fds = 0;
	for (size_t i = 0; i < CTL_FDS; i++)
		m->fds[i] = -1;
	n = io_recv_fds(sock, packet, sizeof packet, m->fds, CTL_FDS, &m->n_fds);
	/* A peer that closes with something of ours unread makes this error come first, once; what it
	 * said before (why it failed) is still there. */
	if (n == -ECONNRESET)
		n = io_recv_fds(sock, packet, sizeof packet, m->fds, CTL_FDS, &m->n_fds);
	if (n <= 0)
		return (int)n;
	if (n < 4) {
		ctl_fini(m);
		return -EBADMSG;
	}
	m->type = (enum msg_type)buf_ld32(packet);
	m->len = (size_t)n - 4;
	memcpy(m->body, packet + 4, m->len);
	return 1;
}

void ctl_fini(struct ctl_msg *m)
{
	for (size_t i = 0; i < CTL_FDS; i++) {
		scope_close(&m->fds[i]);
		m->fds[i] = -1;
	}
	m->n_fds = 0;
}

int ctl_decode(const struct ctl_msg *m, struct arena *a, void *to)
{
	const struct pack_rec *rec = msg_record(m->type);

	return rec ? pack_decode(rec, m->body, m->len, a, to) : -EBADMSG;
}

int ctl_result(const struct ctl_msg *m, struct err *e)
{
	scoped_arena a = { .max = CTL_MAX * 2 };
	struct msg_result res;
	int r;

	r = pack_decode(&rec_result, m->body, m->len, &a, &res);
	if (r < 0)
		return err_set(e, r, "malformed answer of the monitor");
	if (res.code == 0)
		return 0;
	return err_import(e, (int)res.code, res.text ? res.text : "", res.text ? strlen(res.text) : 0);
}

int ctl_memfd(const struct pack_rec *rec, const void *v)
{
	scoped_str out = { 0 };
	int r;

	r = pack_encode(rec, v, &out);
	if (r < 0)
		return r;
	if (out.len > MSG_MAX)
		return -E2BIG;
	return io_memfd(rec->name, out.p, out.len);
}

int ctl_from_memfd(const struct pack_rec *rec, int fd, struct arena *a, void *to)
{
	scoped_free char *p = NULL;
	size_t n;
	int r;

	r = io_read_all(fd, MSG_MAX, &p, &n);
	return r < 0 ? r : pack_decode(rec, p, n, a, to);
}
