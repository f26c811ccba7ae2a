/* pool.c - see pool.h. */
#include "hyper/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/log.h"
#include "sys/proc.h"
#include "wire/ctl.h"

#define ANSWER_MS 5000 /* a keeper's answer: others may be before us */
#define BACKLOG   512  /* containers that begin at once */
#define END_MS    5000 /* until a keeper that was told to end is gone */

static bool is_name(const char *s)
{
	return strlen(s) == POOL_NAME - 1 && strspn(s, "0123456789abcdef") == POOL_NAME - 1;
}

int pool_name(char ret[POOL_NAME])
{
	uint64_t n;

	if (getrandom(&n, sizeof n, 0) != (ssize_t)sizeof n)
		return -EIO;
	(void)snprintf(ret, POOL_NAME, "%016llx", (unsigned long long)n);
	return 0;
}

static int open_dir(const char *template_dir)
{
	scoped_free char *path = str_fmt("%s/" POOL_DIR, template_dir);
	int fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

	return fd < 0 ? (path ? -errno : -ENOMEM) : fd;
}

/* The next socket's name, or NULL. */
static const char *next(DIR *d)
{
	struct dirent *ent;

	while ((ent = readdir(d)) != NULL)
		if (is_name(ent->d_name))
			return ent->d_name;
	return NULL;
}

static DIR *open_list(const char *template_dir)
{
	int fd = open_dir(template_dir);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !d)
		(void)close(fd);
	return d;
}

/* A connection to a keeper; one that is dead leaves only its name. */
static int reach(int dir, const char *name)
{
	int fd = io_unix_connect_at(dir, name);

	if (fd == -ECONNREFUSED)
		(void)unlinkat(dir, name, 0); /* else it is tried again next time */
	return fd;
}

int pool_listen(int dir, const char *name)
{
	char early[POOL_NAME + 1];
	scoped_fd fd = -1;
	int r;

	/* Between bind and listen it refuses connections, as one that is dead: nobody may find it then. */
	(void)snprintf(early, sizeof early, POOL_EARLY "%s", name);
	fd = io_unix_listen_at(dir, early, BACKLOG);
	if (fd < 0)
		return fd;
	r = linkat(dir, early, dir, name, 0) == 0 ? 0 : errno == EEXIST ? -EADDRINUSE : -errno;
	(void)unlinkat(dir, early, 0);
	return r < 0 ? r : take_fd(&fd);
}

int pool_give(struct hv *hv, int sock, int mounts, const char *share, const char *refused)
{
	scoped_free char *text = str_fmt("%s", share), *why = refused ? str_fmt("%s", refused) : NULL;
	struct msg_given given = { .pid = (uint32_t)hv->pid,
				   .helper = hv->helper > 0 ? (uint32_t)hv->helper : 0,
				   .share = text,
				   .copied = hv->copied,
				   .refused = why };
	const int fds[POOL_FD_N] = { hv->pidfd,  hv->agent_fd,         hv->console_fd,
				     hv->log_fd, hv->ops->control(hv), mounts };
	int r;

	r = text ? ctl_send(sock, MSG_P_GIVEN, &rec_given, &given, fds, POOL_FD_N) : -ENOMEM;
	if (r < 0)
		return r;
	hv_let_go(hv);
	return 0;
}

/* Decodes what a keeper gave; the descriptors move to *ret. */
static int accept_given(const struct vmcfg *cfg, struct ctl_msg *msg, struct pool_vm *ret)
{
	scoped_arena a = { .max = CTL_MAX };
	struct msg_given given;
	struct hv *hv = NULL;
	int r;

	if (msg->type != MSG_P_GIVEN || msg->n_fds != POOL_FD_N || ctl_decode(msg, &a, &given) < 0 ||
	    !given.share || given.pid < 2 || given.pid > INT32_MAX || given.helper == 1 ||
	    given.helper > INT32_MAX)
		return -EPROTO;
	r = hv_new(cfg, &hv, NULL);
	if (r < 0)
		return r;
	hv->copied = given.copied;
	if (given.refused)
		log_warn("pool of %s: %s; the one that waited was taken itself", cfg->template_dir,
			 given.refused);
	ret->share = str_fmt("%s", given.share);
	r = ret->share ? hv->ops->attach(hv, msg->fds[POOL_FD_CONTROL]) : -ENOMEM;
	if (r < 0) {
		free(take_ptr(&ret->share));
		hv_free(hv);
		return r;
	}
	msg->fds[POOL_FD_CONTROL] = -1; /* the driver's now */
	hv->pid = (pid_t)given.pid;
	hv->pidfd = take_fd(&msg->fds[POOL_FD_PROCESS]);
	hv->agent_fd = take_fd(&msg->fds[POOL_FD_AGENT]);
	hv->console_fd = take_fd(&msg->fds[POOL_FD_CONSOLE]);
	hv->log_fd = take_fd(&msg->fds[POOL_FD_LOG]);
	if (given.helper)
		hv->helper = (pid_t)given.helper;
	ret->mounts = take_fd(&msg->fds[POOL_FD_MOUNTS]);
	ret->hv = hv;
	return 0;
}

void pool_tell_bad(const struct hv *hv)
{
	if (hv->keeper >= 0)
		may_fail(ctl_send(hv->keeper, MSG_P_END, NULL, NULL, NULL, 0)); /* it may have ended */
}

static int take_from(const struct vmcfg *cfg, int dir, const char *name, struct pool_vm *ret)
{
	scoped_fd sock = reach(dir, name);
	struct ctl_msg msg;
	int r;

	if (sock < 0)
		return sock;
	r = ctl_send(sock, MSG_P_TAKE, NULL, NULL, NULL, 0);
	if (r == 0)
		r = io_wait_readable(sock, ANSWER_MS);
	if (r == 0)
		r = ctl_recv(sock, &msg);
	if (r <= 0)
		return r < 0 ? r : -ENOENT; /* another was quicker */
	r = accept_given(cfg, &msg, ret);
	ctl_fini(&msg);
	if (r == 0)
		ret->hv->keeper = take_fd(&sock);
	return r;
}

int pool_take(const struct vmcfg *cfg, struct pool_vm *ret)
{
	scoped_dir d = open_list(cfg->template_dir);
	const char *name;

	*ret = (struct pool_vm){ .mounts = -1 };
	while (d && (name = next(d)) != NULL)
		if (take_from(cfg, dirfd(d), name, ret) == 0)
			return 0;
	return -ENOENT;
}

static int describe(int dir, const char *name, struct pool_entry *to)
{
	scoped_fd sock = reach(dir, name);
	struct ucred peer;
	socklen_t n = sizeof peer;
	struct stat st;

	if (sock < 0 || getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0 ||
	    fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -ENOENT;
	*to = (struct pool_entry){ .keeper = peer.pid, .since = st.st_ctim.tv_sec };
	memcpy(to->name, name, POOL_NAME);
	return 0;
}

int pool_list(const char *template_dir, struct pool_entry **ret, size_t *ret_n)
{
	scoped_dir d = open_list(template_dir);
	scoped_free struct pool_entry *all = NULL;
	const char *name;
	size_t n = 0;

	while (d && (name = next(d)) != NULL) {
		struct pool_entry *more = reallocarray(all, n + 1, sizeof *all);

		if (!more)
			return -ENOMEM;
		all = more;
		n += describe(dirfd(d), name, &all[n]) == 0;
	}
	*ret = take_ptr(&all);
	*ret_n = n;
	return 0;
}

/* The keeper's connection ends when it does. */
static int end_one(int dir, const char *name)
{
	scoped_fd sock = reach(dir, name);
	struct ctl_msg msg;
	int r;

	if (sock < 0)
		return 0;
	r = ctl_send(sock, MSG_P_END, NULL, NULL, NULL, 0);
	if (r == 0)
		r = io_wait_readable(sock, END_MS);
	if (r == 0 && ctl_recv(sock, &msg) > 0)
		ctl_fini(&msg);
	return r == -ETIMEDOUT ? r : 0;
}

int pool_end(const char *template_dir)
{
	scoped_dir d = open_list(template_dir);
	const char *name;
	int r = 0, one;

	while (d && (name = next(d)) != NULL) {
		one = end_one(dirfd(d), name);
		r = r < 0 ? r : one;
	}
	return r;
}
