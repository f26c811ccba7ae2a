/* jailed.c - see jailed.h. Trusts: cor-jail, which is ours and of the same build. Never: leaves a jailed
 * process that nobody knows of (it dies with us at the latest). */
#include "hyper/jailed.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/num.h"
#include "base/scope.h"

#define ANSWER_MAX 16

void hv_jailed_args(const struct hv_jailed *j, struct strv *to)
{
	strv_add(to, j->jail);
	strv_add(to, "--keep-fds");
	strv_addf(to, "%zu", j->n_fds);
	if (!j->own_net)
		strv_add(to, "--keep-net");
	strv_add(to, "--detach");
	strv_add(to, j->policy);
	for (size_t i = 0; j->argv[i]; i++)
		strv_add(to, j->argv[i]);
}

int hv_jailed_begin(const struct hv_jailed *j, struct hv_jailing *ret, struct err *e)
{
	struct hv_child c = { .path = j->jail,
			      .remedy = "is Cor installed completely? (ninja install)",
			      .small_pages = j->small_pages,
			      .n_fds = j->n_fds + 1 };
	scoped_strv args = { 0 };
	scoped_fd rd = -1, wr = -1;
	int p[2], r;

	*ret = (struct hv_jailing)HV_JAILING_NONE;
	hv_jailed_args(j, &args);
	if (strv_check(&args) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (c.n_fds > HV_CHILD_FDS)
		return err_set(e, -EINVAL, "too many descriptors for %s", j->argv[0]);
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_set(e, -errno, "pipe: %m");
	rd = p[0];
	wr = p[1];
	for (size_t i = 0; i < j->n_fds; i++)
		c.fds[i] = j->fds[i];
	c.fds[j->n_fds] = wr;
	c.argv = args.p;
	r = hv_child_start(&c, &ret->launcher, &ret->launcher_fd, e);
	if (r < 0)
		return r;
	ret->program = j->argv[0];
	ret->answer = take_fd(&rd);
	return 0;
}

static int reap(struct hv_jailing *j)
{
	int status = 0;

	while (waitpid(j->launcher, &status, 0) < 0 && errno == EINTR)
		;
	j->launcher = -1;
	return status;
}

void hv_jailed_drop(struct hv_jailing *j)
{
	if (j->launcher > 0) {
		hv_child_kill(j->launcher_fd);
		(void)reap(j);
	}
	scope_close(&j->launcher_fd);
	scope_close(&j->answer);
	*j = (struct hv_jailing)HV_JAILING_NONE;
}

int hv_jailed_finish(struct hv_jailing *j, pid_t *ret_pid, int *ret_pidfd, struct err *e)
{
	char text[ANSWER_MAX + 1] = { 0 };
	ssize_t n = io_read_full(j->answer, text, ANSWER_MAX); /* up to the end: the launcher's */
	uint64_t pid = 0;
	int status = reap(j), fd;

	if (n > 0 && text[n - 1] == '\n')
		text[n - 1] = '\0';
	if (status != 0 || n <= 0 || num_parse_u64_max(text, INT32_MAX, &pid) < 0 || pid < 2)
		return err_set(e, -EIO, "%s could not be started in its jail", j->program);
	fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0); /* ours and not reaped: it is still that process */
	if (fd < 0)
		return err_set(e, -errno, "pidfd of %s: %m", j->program);
	hv_jailed_drop(j);
	*ret_pid = (pid_t)pid;
	*ret_pidfd = fd;
	return 0;
}
