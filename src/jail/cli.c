/* cli.c - cor-jail's command line: for our own programs, and to try a policy by hand.
 *
 *     cor-jail [--uid N] [--gid N] [--keep-fds N] [--keep-net] [--detach] [--root DIR [--read-only]]
 *              [--listen PATH] POLICY PROGRAM [ARG...]
 *
 * --listen makes a socket for the program, which can't make one with a name: its next descriptor.
 * Without --detach it waits and exits as the program did. With it, the program becomes a child of
 * cor-jail's parent, its pid is written to stdout (which it then doesn't get), and cor-jail exits. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "jail/jail.h"
#include "jail/policy.h"

#define NOBODY 65534

static void usage(FILE *to)
{
	(void)fprintf(
		to, "Usage: cor-jail [OPTION...] POLICY PROGRAM [ARG...]\n"
		    "\n"
		    "Starts a static PROGRAM (absolute path) in namespaces of its own, with an empty root,\n"
		    "without capabilities, under the limits and the system call filter of POLICY.\n"
		    "\n"
		    "  --uid N, --gid N  host ids of the program if the caller is root (default 65534)\n"
		    "  --keep-fds N      it gets descriptors 0 to N-1 (default 3) and no others\n"
		    "  --keep-net        it stays in our network namespace, which must be an empty one\n"
		    "  --root DIR        DIR is its root, with what is mounted there, and not an empty one\n"
		    "  --read-only       nothing in DIR can be written\n"
		    "  --listen PATH     it gets a listening unix socket of that name as descriptor N\n"
		    "  --detach          write its pid to descriptor N and leave it to our parent\n"
		    "  --help\n"
		    "\n"
		    "Policies:\n");
	for (size_t i = 0; jail_policy_at(i); i++)
		(void)fprintf(to, "  %-17s %s\n", jail_policy_at(i)->name, jail_policy_at(i)->what);
}

static int fail(const struct err *e)
{
	(void)fprintf(stderr, "cor-jail: %s\n", e->msg);
	return 125;
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 125;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

enum opt { OPT_UID = 256, OPT_GID, OPT_FDS, OPT_NET, OPT_ROOT, OPT_RO, OPT_LISTEN, OPT_DETACH, OPT_HELP };

static const struct option options[] = {
	{ "uid", required_argument, NULL, OPT_UID },       { "gid", required_argument, NULL, OPT_GID },
	{ "keep-fds", required_argument, NULL, OPT_FDS },  { "keep-net", no_argument, NULL, OPT_NET },
	{ "root", required_argument, NULL, OPT_ROOT },     { "read-only", no_argument, NULL, OPT_RO },
	{ "listen", required_argument, NULL, OPT_LISTEN }, { "detach", no_argument, NULL, OPT_DETACH },
	{ "help", no_argument, NULL, OPT_HELP },           { 0 },
};

struct job {
	struct jail j;
	const char *listen; /* NULL = no socket */
	struct stat made;   /* the socket's name as it was made */
};

/* One option; `c` as getopt_long() says. */
static int take(struct job *job, int c, struct err *e)
{
	struct jail *j = &job->j;
	uint64_t v = 0;

	switch (c) {
	case OPT_DETACH:
		j->sibling = true;
		return 0;
	case OPT_NET:
		j->keep_net = true;
		return 0;
	case OPT_ROOT:
		j->root = optarg;
		return 0;
	case OPT_RO:
		j->read_only = true;
		return 0;
	case OPT_LISTEN:
		job->listen = optarg;
		return 0;
	case '?':
		return err_set(e, -EINVAL, "unknown option or missing value (see --help)");
	default:
		break;
	}
	if (num_parse_u64_max(optarg, c == OPT_FDS ? JAIL_FDS_MAX : 0xfffffffeu, &v) < 0)
		return err_set(e, -EINVAL, "%s: not a number in range", optarg);
	if (c == OPT_UID)
		j->uid = (uid_t)v;
	if (c == OPT_GID)
		j->gid = (gid_t)v;
	if (c == OPT_FDS)
		j->keep_fds = (int)v;
	return 0;
}

/* 0, 1 = help was asked for, or -EINVAL. */
static int parse(int argc, char **argv, struct job *job, struct err *e)
{
	struct jail *j = &job->j;
	int c, r = 0;

	opterr = 0;
	while (r == 0 && (c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		if (c == OPT_HELP || c == 'h')
			return 1;
		r = take(job, c, e);
	}
	if (r < 0)
		return r;
	if (argc - optind < 2)
		return err_set(e, -EINVAL, "POLICY and PROGRAM are missing (see --help)");
	j->policy = jail_policy_find(argv[optind]);
	if (!j->policy)
		return err_set(e, -EINVAL, "policy \"%s\" is unknown (see --help)", argv[optind]);
	j->program = argv[optind + 1];
	if (j->program[0] != '/')
		return err_set(e, -EINVAL, "%s: not an absolute path", j->program);
	if (job->listen && j->sibling)
		return err_set(e, -EINVAL, "--listen: with --detach nobody is left to remove the socket");
	j->argv = argv + optind + 1;
	return 0;
}

/* The caller's only, whatever the umask is. */
static int listen_at(struct job *job, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	scoped_fd s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	mode_t before;
	int r;

	if (strlen(job->listen) >= sizeof a.sun_path)
		return err_set(e, -ENAMETOOLONG, "%s: %m", job->listen);
	memcpy(a.sun_path, job->listen, strlen(job->listen));
	before = umask(0177);
	r = s < 0 || bind(s, (struct sockaddr *)&a, sizeof a) < 0 ? -errno : 0;
	(void)umask(before);
	if (r < 0)
		return err_set(e, r, "%s: %m%s", job->listen,
			       r == -EADDRINUSE ? " (remove it if nobody listens)" : "");
	if (listen(s, 1) < 0 || lstat(job->listen, &job->made) < 0 || job->j.keep_fds == JAIL_FDS_MAX ||
	    dup2(s, job->j.keep_fds) < 0)
		return err_set(e, -errno, "%s: %m", job->listen);
	if (s == job->j.keep_fds)
		(void)take_fd(&s);
	job->j.keep_fds++;
	return 0;
}

/* Only ours: another server may have taken the name by now. Ours is open here still, so that its number is
 * nobody else's. */
static void remove_socket(const struct job *job)
{
	struct stat now;

	if (lstat(job->listen, &now) == 0 && now.st_dev == job->made.st_dev && now.st_ino == job->made.st_ino)
		(void)unlink(job->listen);
}

int jail_main(int argc, char **argv)
{
	struct job job = { .j = { .keep_fds = 3, .uid = NOBODY, .gid = NOBODY } };
	struct err e = { 0 };
	bool listens = false;
	pid_t pid;
	int r;

	r = parse(argc, argv, &job, &e);
	if (r == 1) {
		usage(stdout);
		return 0;
	}
	if (r == 0 && job.listen) {
		r = listen_at(&job, &e);
		listens = r == 0;
	}
	if (r == 0)
		r = jail_start(&job.j, &pid, &e);
	if (r < 0)
		r = fail(&e);
	else if (job.j.sibling)
		r = dprintf(job.j.keep_fds, "%d\n", (int)pid) < 0 ? 125 : 0;
	else
		r = wait_for(pid);
	if (listens)
		remove_socket(&job);
	return r;
}
