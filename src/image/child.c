/* child.c - see child.h. Called by everything in this folder that needs a packaged tool. The tool is
 * trusted as far as its exit code; what it writes is checked by the caller. Never: a shell. */
#include "image/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/str.h"

#define LINE_LEN     4096
#define EXIT_NO_EXEC 127

/* Which package brings a tool, for the error message. */
static const struct {
	const char *tool, *package;
} tool_packages[] = {
	{ "xz", "xz-utils" },
	{ "zstd", "zstd" },
	{ "lz4", "lz4" },
	{ "bzip2", "bzip2" },
	{ "gzip", "gzip" },
	{ "dpkg-deb", "dpkg" },
	{ "apt-get", "apt" },
	{ "apt-cache", "apt" },
	{ "ld", "binutils" },
	{ "tar", "tar" },
	{ "cp", "coreutils" },
	{ "mkfs.erofs", "erofs-utils" },
	{ "/sbin/mke2fs", "e2fsprogs" },
};

static const char *package_of(const char *tool)
{
	for (size_t i = 0; i < ARRAY_LEN(tool_packages); i++) {
		if (str_eq(tool_packages[i].tool, tool))
			return tool_packages[i].package;
	}
	return tool;
}

/* In the child: arranges stdio and limits, then execs. Errors go to `note` as an errno. */
static _Noreturn void child_exec(const struct child *c, int out_fd, int err_fd, int note)
{
	int r = 0;

	if (dup2(c->in_fd, 0) < 0 || dup2(out_fd, 1) < 0 || dup2(err_fd, 2) < 0)
		r = errno;
	if (!r && c->dir && chdir(c->dir) < 0)
		r = errno;
	if (!r && c->max_out) {
		struct rlimit lim = { .rlim_cur = c->max_out, .rlim_max = c->max_out };

		r = setrlimit(RLIMIT_FSIZE, &lim) < 0 ? errno : 0;
	}
	if (!r && setenv("LC_ALL", "C", 1) < 0)
		r = errno;
	if (!r && c->env && setenv(c->env, c->env_value, 1) < 0)
		r = errno;
	for (size_t i = 0; !r && c->unset && c->unset[i]; i++)
		r = unsetenv(c->unset[i]) < 0 ? errno : 0;
	if (!r) {
		/* execvp wants writable strings by its type only. */
		execvp(c->argv[0], (char *const *)(uintptr_t)c->argv);
		r = errno;
	}
	if (write(note, &r, sizeof(r)) < 0)
		_exit(EXIT_NO_EXEC);
	_exit(EXIT_NO_EXEC);
}

/* What child_run() opens. */
struct fds {
	int null, err;
	int note_r, note_w;   /* an errno, if exec failed */
	int lines_r, lines_w; /* its stdout, if the caller wants lines */
};

static void fds_fini(struct fds *f)
{
	scope_close(&f->null);
	scope_close(&f->err);
	scope_close(&f->note_r);
	scope_close(&f->note_w);
	scope_close(&f->lines_r);
	scope_close(&f->lines_w);
}
#define scoped_fds __attribute__((cleanup(fds_fini))) struct fds

static int open_fds(const struct child *c, bool piped, struct fds *f)
{
	int note[2], lines[2];

	f->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	f->err = c->log_fd > 0 ? fcntl(c->log_fd, F_DUPFD_CLOEXEC, 3) : memfd_create("stderr", MFD_CLOEXEC);
	if (f->null < 0 || f->err < 0 || pipe2(note, O_CLOEXEC) < 0)
		return -errno;
	f->note_r = note[0];
	f->note_w = note[1];
	if (!piped)
		return 0;
	if (pipe2(lines, O_CLOEXEC) < 0)
		return -errno;
	f->lines_r = lines[0];
	f->lines_w = lines[1];
	return 0;
}

static int wait_for(pid_t pid, int *ret_status)
{
	while (waitpid(pid, ret_status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* The last non-empty line of what the tool said, cut to a bearable length. */
static void last_words(int err_fd, struct str *to)
{
	char text[LINE_LEN], *line;
	struct stat st;
	ssize_t len;

	if (fstat(err_fd, &st) < 0)
		return;
	len = (ssize_t)sizeof(text) - 1;
	len = pread(err_fd, text, (size_t)len, st.st_size > len ? st.st_size - len : 0);
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	if (len <= 0)
		return;
	text[len] = '\0';
	line = strrchr(text, '\n');
	line = line ? line + 1 : text;
	if (strlen(line) > 300)
		line[300] = '\0';
	if (*line)
		str_add(to, ": ");
	str_add_escaped(to, line, strlen(line));
}

static int explain(const struct child *c, int status, int err_fd, struct err *e)
{
	const char *tool = c->argv[0];
	scoped_str words = { 0 };

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
		return err_set(e, -EFBIG, "%s: its output is more than the limit of %llu bytes", tool,
			       (unsigned long long)c->max_out);
	last_words(err_fd, &words);
	if (WIFSIGNALED(status))
		return err_set(e, -EIO, "%s was ended by signal %d%s", tool, WTERMSIG(status),
			       words.p ? words.p : "");
	return err_set(e, -EIO, "%s failed with exit code %d%s", tool, WEXITSTATUS(status),
		       words.p ? words.p : "");
}

/* Hands the lines of `fd` on until it ends. */
static int read_lines(int fd, const struct child *c)
{
	char buf[LINE_LEN];
	size_t n = 0;

	for (;;) {
		ssize_t got = read(fd, buf + n, sizeof(buf) - 1 - n);
		char *line = buf, *end;

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : 0;
		n += (size_t)got;
		buf[n] = '\0';
		while ((end = memchr(line, '\n', n - (size_t)(line - buf)))) {
			*end = '\0';
			c->line(c->arg, line);
			line = end + 1;
		}
		n -= (size_t)(line - buf);
		memmove(buf, line, n);
		if (n == sizeof(buf) - 1) {
			c->line(c->arg, buf);
			n = 0;
		}
	}
}

/* Starts it with the fds of `f`. */
static pid_t start(const struct child *c, struct fds *f, struct err *e)
{
	pid_t pid = fork();

	if (pid < 0)
		return err_set(e, -errno, "%s: fork: %m", c->argv[0]);
	if (pid == 0) {
		struct child in = *c;

		in.in_fd = c->in_fd >= 0 ? c->in_fd : f->null;
		child_exec(&in,
			   f->lines_w >= 0  ? f->lines_w
			   : c->out_fd >= 0 ? c->out_fd
					    : f->null,
			   f->err, f->note_w);
	}
	(void)close(take_fd(&f->note_w));
	if (f->lines_w >= 0)
		(void)close(take_fd(&f->lines_w));
	return pid;
}

/* Starts it and waits; *ret_status is of waitpid(). */
static int start_and_wait(const struct child *c, struct fds *f, int *ret_status, struct err *e)
{
	pid_t pid = start(c, f, e);
	int read_error = 0, r;

	if (pid < 0)
		return pid;
	if (f->lines_r >= 0) {
		read_error = read_lines(f->lines_r, c);
		(void)close(take_fd(&f->lines_r)); /* a child that goes on writing gets SIGPIPE */
	}
	r = wait_for(pid, ret_status);
	r = r < 0 ? r : read_error;
	return r < 0 ? err_set(e, r, "%s: wait: %m", c->argv[0]) : 0;
}

/* Has it done what it should? note: an errno, if it was not started at all. */
static int judge(const struct child *c, int note, int err_fd, int status, struct err *e)
{
	int why = 0;

	if (io_read_full(note, &why, sizeof(why)) == (ssize_t)sizeof(why)) {
		if (why == ENOENT)
			return err_set(e, -ENOENT, "%s is not installed (package %s)", c->argv[0],
				       package_of(c->argv[0]));
		return err_set(e, -why, "%s could not be started: %m", c->argv[0]);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return explain(c, status, err_fd, e);
}

int child_run(const struct child *c, struct err *e)
{
	scoped_fds f = { -1, -1, -1, -1, -1, -1 };
	int status, r;

	r = open_fds(c, c->line != NULL, &f);
	if (r < 0)
		return err_set(e, r, "%s: %m", c->argv[0]);
	r = start_and_wait(c, &f, &status, e);
	return r < 0 ? r : judge(c, f.note_r, f.err, status, e);
}

int child_start(struct child_pipe *p, const struct child *c, struct err *e)
{
	scoped_fds f = { -1, -1, -1, -1, -1, -1 };
	int r = open_fds(c, true, &f);

	*p = CHILD_PIPE_NONE;
	if (r < 0)
		return err_set(e, r, "%s: %m", c->argv[0]);
	r = start(c, &f, e);
	if (r < 0)
		return r;
	*p = (struct child_pipe){ *c, r, take_fd(&f.lines_r), take_fd(&f.err), take_fd(&f.note_r) };
	return 0;
}

ssize_t child_read(struct child_pipe *p, void *buf, size_t n, struct err *e)
{
	const char *tool = p->c.argv[0];
	int status = 0, r;
	ssize_t got;

	if (p->pid == 0)
		return 0; /* the end, again */
	do
		got = read(p->out, buf, n);
	while (got < 0 && errno == EINTR);
	if (got != 0)
		return got > 0 ? got : err_set(e, -errno, "%s: %m", tool);
	r = wait_for(p->pid, &status);
	p->pid = 0;
	return r < 0 ? err_set(e, r, "%s: wait: %m", tool) : judge(&p->c, p->note, p->err, status, e);
}

void child_stop(struct child_pipe *p)
{
	int status;

	if (p->pid > 0) {
		(void)kill(p->pid, SIGKILL);         /* it is our child: there until we wait */
		may_fail(wait_for(p->pid, &status)); /* nobody asks why */
	}
	scope_close(&p->out);
	scope_close(&p->err);
	scope_close(&p->note);
	*p = CHILD_PIPE_NONE;
}

int child_output(const char *const *argv, const void *in, size_t n_in, size_t max_out, char **ret,
		 size_t *ret_len, struct err *e)
{
	scoped_fd in_fd = -1, out_fd = memfd_create("stdout", MFD_CLOEXEC);
	struct child c = { .argv = argv, .in_fd = -1, .max_out = max_out };
	int r;

	if (out_fd < 0)
		return err_set(e, -errno, "memory for the output of %s: %m", argv[0]);
	if (in) {
		r = io_memfd("stdin", in, n_in);
		if (r < 0)
			return err_set(e, r, "memory for the input of %s: %m", argv[0]);
		in_fd = r;
	}
	c.in_fd = in_fd;
	c.out_fd = out_fd;
	r = child_run(&c, e);
	if (r < 0)
		return r;
	if (lseek(out_fd, 0, SEEK_SET) < 0)
		return err_set(e, -errno, "output of %s: %m", argv[0]);
	r = io_read_all(out_fd, max_out, ret, ret_len);
	return r < 0 ? err_set(e, r, "output of %s: %m", argv[0]) : 0;
}
