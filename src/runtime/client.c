/* client.c - the verbs' end of the control socket. Trusts the monitor as our own program, yet decodes
 * everything by the same tables. */
#include "runtime/client.h"

#include <errno.h>

int client_connect(int dirfd, struct err *e)
{
	int fd = io_unix_connect_at(dirfd, "monitor.sock");

	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return err_set(e, -ESRCH, "container not running");
	return fd < 0 ? err_set(e, fd, "cannot reach the container's monitor: %m") : fd;
}

int client_ask(int sock, enum msg_type type, const struct pack_rec *rec, const void *v, const int *fds,
	       size_t n_fds, enum msg_type want, struct ctl_msg *ans, struct err *e)
{
	int r;

	r = ctl_send(sock, type, rec, v, fds, n_fds);
	if (r == 0)
		r = ctl_recv(sock, ans);
	if (r == 0 || r == -EPIPE || r == -ECONNRESET)
		return err_set(e, -ESRCH, "container not running: its monitor ended");
	if (r < 0)
		return err_set(e, r, "asking the container's monitor: %m");
	r = ans->type == MSG_C_RESULT ? ctl_result(ans, e) : 0;
	if (r == 0 && ans->type != want)
		r = err_set(e, -EPROTO, "the monitor gave an unexpected answer (%s)", msg_name(ans->type));
	if (r < 0)
		ctl_fini(ans);
	return r;
}

int client_do(int dirfd, enum msg_type type, const struct pack_rec *rec, const void *v, struct err *e)
{
	scoped_fd sock = -1;
	struct ctl_msg ans;
	int r;

	sock = client_connect(dirfd, e);
	if (sock < 0)
		return sock;
	r = client_ask(sock, type, rec, v, NULL, 0, MSG_C_RESULT, &ans, e);
	if (r == 0)
		ctl_fini(&ans);
	return r;
}
