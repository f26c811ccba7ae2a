/* beside.c - see beside.h. */
#include "runtime/beside.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/io.h"

#define LOWEST 19 /* nice */

static int detach(const char *name)
{
	int fd, r;

	if (setsid() < 0 || chdir("/") < 0)
		return -errno;
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (int i = 0; i < 3; i++)
		if (dup2(fd, i) < 0)
			return -errno;
	r = io_close_from(NULL, 0);
	if (r < 0)
		return r;
	for (int sig = 1; sig < 32; sig++)
		(void)signal(sig, SIG_DFL); /* SIGKILL and SIGSTOP refuse, rightly */
	(void)prctl(PR_SET_NAME, name);     /* for ps(1) only, and this: */
	(void)setpriority(PRIO_PROCESS, 0, LOWEST);
	return 0;
}

static _Noreturn void run(const char *name, void (*fn)(void *arg), void *arg)
{
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (detach(name) == 0)
		fn(arg);
	_exit(0);
}

void beside_run(const char *name, void (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();

	if (pid < 0)
		return;
	if (pid == 0) {
		if (fork() == 0)
			run(name, fn, arg);
		_exit(0);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
