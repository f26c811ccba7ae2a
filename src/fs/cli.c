/* cli.c - cor-fsd's command line and its loop.
 *
 *     cor-fsd --socket FD --fds FD [--timeout-ms N]
 *     cor-fsd --vhost-user FD --fds FD [--timeout-ms N]
 *
 * The first is for cor-vmm. Its socket is SOCK_SEQPACKET: one request a packet, one reply a packet, in the
 * order of the requests; requests that have no reply get none. The VMM copies between guest memory and the
 * socket: this process never sees guest memory, which in a clone is private to the VMM anyway.
 * The second is for any VMM that shares its guest's memory (vhost.h); the socket may also listen: for one
 * VMM. Never: opens anything that it was not handed, apart from what is below the directory. */
#include "fs/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/num.h"
#include "base/str.h"
#include "fs/fs.h"
#include "fs/vhost.h"
#include "sys/share.h"

#define MAX_INODES  (4u << 20) /* about 600 MB of ours; a guest with 2 GiB forgets before that */
#define SPARE_FDS   32u        /* stdio, ours, and those in passing */
#define IDLE_FDS    4096u      /* finding one again costs about as much as finding it did */
#define TIMEOUT_MS  1000u
#define TIMEOUT_MAX 3600000u

struct options {
	uint64_t socket, vhost_user, fds, timeout_ms;
};

static const struct option_row {
	const char *name;
	size_t offset;
	uint64_t max;
} rows[] = {
	{ "--socket", offsetof(struct options, socket), 65535 },
	{ "--vhost-user", offsetof(struct options, vhost_user), 65535 },
	{ "--fds", offsetof(struct options, fds), 65535 },
	{ "--timeout-ms", offsetof(struct options, timeout_ms), TIMEOUT_MAX },
};

static int parse(int argc, char **argv, struct options *o, struct err *e)
{
	for (int i = 1; i < argc; i += 2) {
		const struct option_row *row = NULL;

		for (size_t k = 0; k < ARRAY_LEN(rows); k++)
			if (str_eq(argv[i], rows[k].name))
				row = &rows[k];
		if (!row)
			return err_set(e, -EINVAL, "%s: no such option", argv[i]);
		if (i + 1 == argc || num_parse_u64_max(argv[i + 1], row->max,
						       (uint64_t *)(void *)((char *)o + row->offset)) < 0)
			return err_set(e, -EINVAL, "%s: wants a number up to %llu", argv[i],
				       (unsigned long long)row->max);
	}
	if (o->fds < 3 || (o->socket < 3) == (o->vhost_user < 3))
		return err_set(e, -EINVAL,
			       "usage: cor-fsd --socket FD|--vhost-user FD --fds FD [--timeout-ms N] "
			       "(FDs from 3; by hand: docs/files.md)");
	return 0;
}

/* The soft limit of open files is made for select(2). */
static unsigned raise_nofile(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return 256;
	l.rlim_cur = l.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &l) < 0 && getrlimit(RLIMIT_NOFILE, &l) < 0)
		return 256;
	return l.rlim_cur > 1u << 20 ? 1u << 20 : (unsigned)l.rlim_cur;
}

/* The memory that the VMM shares was cut. Only calls that a handler may make. */
static void on_bus(int sig unused_arg)
{
	static const char text[] = "cor-fsd: the guest's memory ends before the VMM said: its file was cut\n";
	ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);

	(void)n;
	_exit(1);
}

static void say(const char *text)
{
	(void)fprintf(stderr, "cor-fsd: %s\n", text);
}

static int serve_rings(struct fs *fs, int sock, struct err *e)
{
	/* The call itself: musl's accept4() tries accept(2) after EINVAL, which is not in the filter. */
	int vmm = (int)syscall(SYS_accept4, sock, NULL, NULL, SOCK_CLOEXEC), r;
	struct vhs *s = NULL;

	if (vmm < 0 && errno != EINVAL) /* not a listening one: it is the connection */
		return err_set(e, -errno, "the VMM's socket: %m");
	(void)signal(SIGBUS, on_bus); /* neither can fail */
	(void)signal(SIGPIPE, SIG_IGN);
	r = vhs_new(fs, vmm < 0 ? sock : vmm, say, &s, e);
	while (r >= 0) {
		r = vhs_turn(s, -1, e);
		if (r == 0)
			break;
	}
	vhs_free(s);
	return r;
}

/* Until the VMM closes its end. */
static int serve(struct fs *fs, int sock, struct err *e)
{
	static _Alignas(8) char req[FS_REQ_MAX], reply[FS_REPLY_MAX];

	for (;;) {
		ssize_t n = recv(sock, req, sizeof req, MSG_TRUNC);
		size_t len;

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return 0;
		if (n < 0 || (size_t)n > sizeof req)
			return err_set(e, n < 0 ? -errno : -EMSGSIZE, "the VMM's socket: %m");
		len = fs_handle(fs, req, (size_t)n, reply, sizeof reply);
		if (len > 0 && send(sock, reply, len, MSG_NOSIGNAL) < 0)
			return errno == EPIPE ? 0 : err_set(e, -errno, "the VMM's socket: %m");
	}
}

static int run(const struct options *o, struct err *e)
{
	struct fs_conf conf = { .root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC),
				.fds = (int)o->fds,
				.idle_fds = IDLE_FDS,
				.max_inodes = MAX_INODES,
				.timeout_ms = (uint32_t)o->timeout_ms,
				.main = SHARE_ROOT };
	unsigned files = raise_nofile();
	struct fs *fs;
	int r;

	conf.max_fds = files > SPARE_FDS ? files - SPARE_FDS : 0;
	r = fs_open(&conf, &fs, e);
	if (r < 0)
		return r;
	r = o->socket ? serve(fs, (int)o->socket, e) : serve_rings(fs, (int)o->vhost_user, e);
	fs_close(fs);
	return r;
}

int fsd_main(int argc, char **argv)
{
	struct options o = { .timeout_ms = TIMEOUT_MS };
	struct err e = { 0 };
	int r;

	r = parse(argc, argv, &o, &e);
	if (r == 0)
		r = run(&o, &e);
	if (r == 0)
		return 0;
	(void)fprintf(stderr, "cor-fsd: %s\n", e.msg);
	return 1;
}
