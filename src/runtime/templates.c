/* templates.c - see templates.h. Never: delays or fails a container because of a template. */
#include "runtime/templates.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/log.h"

#define NS_PER_MS 1000000u
#define LOWEST    19 /* nice */

int templates_store(const struct settings *s, struct arena *a, struct template_store *ret, struct err *e)
{
	if (!str_is_id(s->template_domain) || s->template_domain[0] == '.')
		return err_set(
			e, -EINVAL,
			"template.domain = %s: expected letters, digits and _ + - . (it names a directory)",
			s->template_domain);
	ret->dir = arena_fmt(a, "%s/%s", s->template_dir, s->template_domain);
	ret->max_size = s->template_max_size;
	return ret->dir ? 0 : err_set(e, -ENOMEM, "out of memory");
}

int templates_plan(const struct settings *s, struct arena *a, struct vmcfg *vm, bool *ret_wanted,
		   struct strv *warnings, struct err *e)
{
	scoped_free char *dir = NULL;
	struct template_store store;
	struct err why = { 0 };
	int r;

	*ret_wanted = false;
	if (!s->template)
		return 0;
	r = templates_store(s, a, &store, e);
	if (r < 0)
		return r;
	r = template_find(&store, vm, &dir, &why);
	*ret_wanted = r == -ENOENT || r == -ESTALE;
	if (r < 0 && why.code != 0)
		strv_addf(warnings, "%s", why.msg);
	if (r < 0)
		return 0;
	vm->template_dir = arena_str(a, dir);
	return vm->template_dir ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* Nothing of the caller's: not its session, its directory, its descriptors, or its signals. */
static int detach(void)
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
		(void)signal(sig, SIG_DFL);       /* SIGKILL and SIGSTOP refuse, rightly */
	(void)prctl(PR_SET_NAME, "cor-template"); /* for ps(1) only, and these: */
	(void)setpriority(PRIO_PROCESS, 0, LOWEST);
	return 0;
}

static _Noreturn void run_maker(const struct settings *s, const struct vmcfg *vm)
{
	scoped_arena a = { 0 };
	struct template_store store;
	struct err e = { 0 };
	sigset_t none;
	int r;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	r = detach();
	if (r == 0)
		r = templates_store(s, &a, &store, &e);
	if (r == 0)
		r = template_make(&store, vm, (int)(s->boot_timeout_ns / NS_PER_MS), false, &e);
	_exit(r < 0 ? 1 : 0);
}

void templates_make_beside(const struct settings *s, const struct vmcfg *vm)
{
	pid_t pid = fork(), maker;

	if (pid < 0)
		return; /* the next container tries again */
	if (pid == 0) {
		maker = fork();
		if (maker == 0)
			run_maker(s, vm);
		_exit(0);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
