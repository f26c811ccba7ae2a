/* client.c - `cor-vmm ctl`: one request to a running machine's control socket. Called by cli.c.
 * Distrusts: nothing but its command line; the VMM at the other end is the user's own. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/io.h"
#include "base/num.h"
#include "base/str.h"
#include "vmm/cli.h"
#include "vmm/note.h"
#include "wire/vmmctl.h"

static const struct verb_row {
	const char *name;
	enum vmmctl_verb verb;
	int min, max; /* arguments */
} rows[] = {
	{ "info", VMMCTL_INFO, 0, 0 }, { "pause", VMMCTL_PAUSE, 0, 0 },     { "resume", VMMCTL_RESUME, 0, 0 },
	{ "stop", VMMCTL_STOP, 0, 0 }, { "balloon", VMMCTL_BALLOON, 1, 1 }, { "save", VMMCTL_SAVE, 1, 2 },
};

struct call {
	struct vmmctl_request q;
	int fds[2];
	const char *names[2]; /* of files that were made for it */
	size_t n_fds;
};

static int connect_to(const char *path, struct err *e)
{
	const char *base = strrchr(path, '/');
	scoped_free char *dir = base ? str_fmt("%.*s", (int)(base - path + 1), path) : str_fmt(".");
	scoped_fd at = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int fd = at < 0 ? -errno : io_unix_connect_at(at, base ? base + 1 : path);

	return fd < 0 ? err_set(e, fd, "%s: %m", path) : fd;
}

static int prepare(const struct verb_row *row, int n, char **args, struct call *c, struct err *e)
{
	c->q = (struct vmmctl_request){ .magic = VMMCTL_MAGIC, .verb = row->verb };
	if (n < row->min || n > row->max)
		return err_set(e, -EINVAL, "%s: %d to %d arguments", row->name, row->min, row->max);
	if (row->verb == VMMCTL_BALLOON && num_parse_size(args[0], &c->q.arg) < 0)
		return err_set(e, -EINVAL, "balloon %s: not a size", args[0]);
	for (int i = 0; i < n && row->verb == VMMCTL_SAVE; i++) {
		/* New ones: what is there may be the only copy, or the machine's own memory. */
		int fd = open(args[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

		if (fd < 0)
			return err_set(e, -errno, "%s: %m", args[i]);
		c->names[c->n_fds] = args[i];
		c->fds[c->n_fds++] = fd;
	}
	return 0;
}

static int call(const char *path, struct call *c, struct vmmctl_answer *ret, struct err *e)
{
	scoped_fd sock = connect_to(path, e);
	size_t n_fds = 0;
	ssize_t n;
	int r;

	if (sock < 0)
		return sock;
	r = io_send_fds(sock, &c->q, sizeof c->q, c->fds, c->n_fds);
	if (r < 0)
		return err_set(e, r, "%s: %m", path);
	do {
		n = io_recv_fds(sock, ret, sizeof *ret, NULL, 0, &n_fds);
	} while (n == (ssize_t)sizeof *ret && ret->magic == VMMCTL_MAGIC && ret->verb != c->q.verb);
	if (n != (ssize_t)sizeof *ret || ret->magic != VMMCTL_MAGIC)
		return err_set(e, n < 0 ? (int)n : -EPROTO, "%s: no answer of this build", path);
	ret->text[sizeof ret->text - 1] = '\0';
	return ret->result < 0 ? err_set(e, ret->result, "%s", ret->text) : 0;
}

/* One JSON object: numbers are bytes. */
static void print(const struct vmmctl_answer *a)
{
	static const char *const states[] = { "running", "paused", "ended" };

	(void)printf("{\"state\":\"%s\",\"vcpus\":%u,\"memory\":%llu,\"balloon\":%llu}\n",
		     a->state < ARRAY_LEN(states) ? states[a->state] : "unknown", a->vcpus,
		     (unsigned long long)a->memory, (unsigned long long)a->balloon);
}

int vmctl_main(int argc, char **argv)
{
	struct call c = { .n_fds = 0 };
	struct vmmctl_answer a = { 0 };
	const struct verb_row *row = NULL;
	struct err e = { 0 };
	int r;

	for (size_t i = 0; argc >= 2 && i < ARRAY_LEN(rows); i++)
		if (str_eq(argv[1], rows[i].name))
			row = &rows[i];
	if (!row) {
		note("ctl: SOCKET and one of info, pause, resume, stop, balloon, save");
		return 1;
	}
	r = prepare(row, argc - 2, argv + 2, &c, &e);
	if (r == 0)
		r = call(argv[0], &c, &a, &e);
	for (size_t i = 0; i < c.n_fds; i++) {
		scope_close(&c.fds[i]);
		if (r < 0)
			(void)unlink(c.names[i]); /* the first error is the one to report */
	}
	if (r < 0)
		note("%s", e.msg);
	else if (row->verb == VMMCTL_INFO)
		print(&a);
	return r < 0 ? 2 : 0;
}
