/* process.c - see process.h. Runs inside the container, in a child that does nothing else.
 * Trusts: the record. Distrusts: the container's /etc/passwd and programs. */
#include "agent/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "agent/user.h"
#include "base/io.h"
#include "base/str.h"
#include "sys/caps.h"

#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define USERS_MAX    (1u << 20) /* of /etc/passwd and /etc/group */

/* The words callers search for are lower case, as Go prints them. */
static const char *exec_text(int code)
{
	static const struct {
		int code;
		const char *text;
	} texts[] = {
		{ -ENOENT, "no such file or directory" }, { -EACCES, "permission denied" },
		{ -EPERM, "operation not permitted" },    { -EISDIR, "is a directory" },
		{ -ENOTDIR, "not a directory" },          { -ENOEXEC, "exec format error" },
		{ -E2BIG, "argument list too long" },     { -ELOOP, "too many levels of symbolic links" },
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (texts[i].code == code)
			return texts[i].text;
	return strerror(-code);
}

/* 0 if this process may execute the file; *ret_fd is then open on it. */
static int check_program(const char *path, int *ret_fd)
{
	scoped_fd fd = open(path, O_PATH | O_CLOEXEC); /* one walk: each is a few messages to the host */
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (syscall(SYS_faccessat2, fd, "", X_OK, AT_EACCESS | AT_EMPTY_PATH) < 0)
		return -errno;
	*ret_fd = take_fd(&fd);
	return 0;
}

static const char *env_value(const struct pack_strs *env, const char *key)
{
	size_t len = strlen(key);

	/* The last one wins, as in Go. */
	for (size_t i = env->n; i > 0; i--)
		if (strncmp(env->p[i - 1], key, len) == 0 && env->p[i - 1][len] == '=')
			return env->p[i - 1] + len + 1;
	return NULL;
}

static int search_path(const char *dirs, const char *name, char **ret, int *ret_fd)
{
	/* Most of PATH is below it. A name that nobody holds is asked of the host anew in each path. */
	scoped_fd usr = open("/usr", O_PATH | O_CLOEXEC);
	size_t len;

	(void)usr; /* only held */
	for (const char *d = dirs;; d += len + 1) {
		scoped_free char *path = NULL;

		len = strcspn(d, ":");
		path = len ? str_fmt("%.*s/%s", (int)len, d, name) : str_fmt("./%s", name);
		if (!path)
			return -ENOMEM;
		if (check_program(path, ret_fd) == 0) {
			*ret = take_ptr(&path);
			return 0;
		}
		if (!d[len])
			return -ENOENT;
	}
}

int process_lookup(const struct msg_process *p, char **ret_path, int *ret_fd, struct err *e)
{
	const char *name = p->args.n ? p->args.p[0] : "";
	const char *dirs = env_value(&p->env, "PATH");
	int r;

	if (!p->args.n)
		return err_set(e, -EINVAL, "process.args is empty: there is nothing to run");
	if (strchr(name, '/')) {
		r = check_program(name, ret_fd);
		if (r == -ENOENT)
			return err_set(e, r, "exec: \"%s\": stat %s: %s", name, name, exec_text(r));
		if (r < 0)
			return err_set(e, r, "exec: \"%s\": %s", name, exec_text(r));
		*ret_path = str_fmt("%s", name);
		return *ret_path ? 0 : err_set(e, -ENOMEM, "exec: %m");
	}
	r = *name ? search_path(dirs ? dirs : PATH_DEFAULT, name, ret_path, ret_fd) : -ENOENT;
	if (r == -ENOMEM)
		return err_set(e, r, "exec: %m");
	if (r < 0)
		return err_set(e, r, "exec: \"%s\": executable file not found in $PATH", name);
	return 0;
}

/* The text of the container's /etc/passwd or /etc/group: a missing or odd one is as good as empty. free();
 * NULL without memory. */
static char *read_users(const char *path)
{
	scoped_fd fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	char *text;
	size_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || io_read_all(fd, USERS_MAX, &text, &n) < 0)
		return str_fmt("%s", "");
	return text;
}

static int make_env(const struct msg_process *p, struct process_image *image)
{
	scoped_free char *passwd = NULL, *home = NULL;
	size_t n = p->env.n;
	char **env = calloc(n + 2, sizeof *env);

	if (!env)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		env[i] = p->env.p[i];
	image->env = env;
	if (env_value(&p->env, "HOME"))
		return 0;
	passwd = read_users("/etc/passwd");
	home = passwd ? user_home(passwd, p->uid) : NULL;
	if (home)
		env[n] = str_fmt("HOME=%s", home);
	return env[n] ? 0 : -ENOMEM;
}

static int set_rlimits(const struct msg_process *p, struct err *e)
{
	for (size_t i = 0; i < p->rlimits.n; i++) {
		const struct msg_rlimit *l = &p->rlimits.p[i];
		struct rlimit v = { .rlim_cur = l->soft, .rlim_max = l->hard };

		if (l->type >= RLIM_NLIMITS)
			return err_set(e, -EINVAL, "process.rlimits[%zu]: there is no limit number %u", i,
				       l->type);
		if (syscall(SYS_prlimit64, 0, l->type, &v, NULL) < 0)
			return err_set(e, -errno, "process.rlimits[%zu]: set limit %u to %llu:%llu: %m", i,
				       l->type, (unsigned long long)l->soft, (unsigned long long)l->hard);
	}
	return 0;
}

static int set_seccomp(const struct msg_process *p, struct err *e)
{
	struct sock_fprog prog = { .len = (unsigned short)(p->seccomp.n / sizeof(struct sock_filter)) };
	struct sock_filter *copy;

	if (!p->seccomp.n)
		return 0;
	if (p->seccomp.n % sizeof(struct sock_filter) ||
	    p->seccomp.n / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return err_set(e, -EINVAL, "linux.seccomp: the compiled filter has a wrong size");
	copy = malloc(p->seccomp.n); /* aligned, and the kernel's type is not const */
	if (!copy)
		return err_set(e, -ENOMEM, "linux.seccomp: %m");
	memcpy(copy, p->seccomp.p, p->seccomp.n);
	prog.filter = copy;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, p->seccomp_flags, &prog) < 0) {
		int code = -errno;

		free(copy);
		return err_set(e, code, "linux.seccomp: load the filter: %m");
	}
	free(copy);
	return 0;
}

/* setgroups, setgid, setuid: the raw calls, one thread. */
static int set_user(const struct msg_process *p, struct err *e)
{
	if (syscall(SYS_setgroups, p->gids.n, p->gids.p) < 0)
		return err_set(e, -errno, "process.user.additionalGids: setgroups: %m");
	if (syscall(SYS_setresgid, p->gid, p->gid, p->gid) < 0)
		return err_set(e, -errno, "process.user.gid %u: %m", p->gid);
	if (syscall(SYS_setresuid, p->uid, p->uid, p->uid) < 0)
		return err_set(e, -errno, "process.user.uid %u: %m", p->uid);
	if (p->has_umask)
		(void)umask((mode_t)(p->umask & 0777));
	return 0;
}

/* What the program gets as /dev/stdout must be openable by its user. A read-only or foreign file
 * may refuse; then it stays as it is. */
static void own_stdio(const struct msg_process *p)
{
	struct stat st;

	for (int fd = 0; fd < 3; fd++)
		if (fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || isatty(fd)) &&
		    fchown(fd, p->uid, (gid_t)-1) < 0)
			continue;
}

static int set_caps(const struct caps_sets *want, struct err *e)
{
	int r;

	r = caps_keep_on_setuid(false);
	if (r == 0)
		r = caps_set(want);
	return r < 0 ? err_set(e, r, "process.capabilities: %m") : 0;
}

/* A directory that only root or only the user may enter: both are tried, the user's try decides. */
static int enter_cwd(const char *cwd, bool last_try, struct err *e)
{
	char here[PATH_MAX];

	if (chdir(cwd) < 0) {
		if (!last_try)
			return 0;
		return err_set(e, -errno, "chdir to cwd (\"%s\") set in config.json failed: %s", cwd,
			       exec_text(-errno));
	}
	/* A directory outside of the root has no path in it. */
	if (last_try && (!getcwd(here, sizeof here) || here[0] != '/'))
		return err_set(e, -ENOENT, "process.cwd \"%s\" is not inside the container", cwd);
	return 0;
}

static int become_user(const struct msg_process *p, struct err *e)
{
	struct caps_sets want = { 0 };
	int r;

	if (p->has_caps)
		want = (struct caps_sets){ .bounding = p->caps.bounding,
					   .effective = p->caps.effective,
					   .inheritable = p->caps.inheritable,
					   .permitted = p->caps.permitted,
					   .ambient = p->caps.ambient };
	r = caps_set_bounding(want.bounding);
	if (r == 0)
		r = caps_keep_on_setuid(true);
	if (r < 0)
		return err_set(e, r, "process.capabilities.bounding: %m");
	r = enter_cwd(p->cwd, false, e);
	if (r < 0)
		return r;
	r = set_user(p, e);
	if (r < 0)
		return r;
	r = enter_cwd(p->cwd, true, e);
	if (r < 0)
		return r;
	return set_caps(&want, e);
}

/* A user that is given by name: as if the numbers had come with the request. Others than root may have the
 * bounding set and have the ambient one, as engines do it, which know the number in time. */
static int find_user(struct msg_process *p, struct err *e)
{
	scoped_free char *passwd = read_users("/etc/passwd"), *group = read_users("/etc/group");
	struct user *u;
	int r;

	u = malloc(sizeof *u); /* lives until exec */
	if (!passwd || !group || !u) {
		free(u);
		return err_set(e, -ENOMEM, "process.user.username: %m");
	}
	r = user_find(p->user, passwd, group, u, e);
	if (r < 0) {
		free(u);
		return r;
	}
	p->uid = u->uid;
	p->gid = u->gid;
	p->gids.p = u->gids;
	p->gids.n = u->n_gids;
	if (p->uid != 0)
		p->caps.effective = p->caps.permitted = p->caps.inheritable = p->caps.ambient;
	return 0;
}

int process_prepare(const struct msg_process *given, struct process_image *ret, struct err *e)
{
	struct msg_process found = *given, *p = &found;
	int r;

	if (p->user) {
		r = find_user(p, e);
		if (r < 0)
			return r;
	}
	own_stdio(p);
	r = make_env(p, ret);
	if (r < 0)
		return err_set(e, r, "process.env: %m");
	r = set_rlimits(p, e);
	if (r < 0)
		return r;
	if (p->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(e, -errno, "process.noNewPrivileges: %m");
	/* Without no_new_privs a filter needs CAP_SYS_ADMIN, which is about to go. */
	r = p->no_new_privs ? 0 : set_seccomp(p, e);
	if (r < 0)
		return r;
	r = become_user(p, e);
	if (r < 0)
		return r;
	return process_lookup(p, &ret->path, &ret->program, e);
}

int process_exec(const struct msg_process *p, struct process_image *image, struct err *e)
{
	int r;

	if (p->has_personality && syscall(SYS_personality, (unsigned long)p->personality) < 0)
		return err_set(e, -errno, "linux.personality: %m");
	r = p->no_new_privs ? set_seccomp(p, e) : 0;
	if (r < 0)
		return r;
	(void)execve(image->path, p->args.p, image->env);
	r = -errno;
	return err_set(e, r, "exec %s: %s", image->path, exec_text(r));
}
