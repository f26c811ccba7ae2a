/* child.c - see child.h. Called by everything in this folder that needs a packaged tool. The tool is
 * trusted as far as its exit code; what it writes is checked by the caller. Never: a shell. */
#include "image/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/str.h"

#define STDERR_MAX   65536
#define EXIT_NO_EXEC 127

/* Which package brings a tool, for the error message. */
static const struct {
	const char *tool, *package;
} tool_packages[] = {
	{ "xz", "xz-utils" }, { "zstd", "zstd" },     { "lz4", "lz4" },     { "bzip2", "bzip2" },
	{ "gzip", "gzip" },   { "dpkg-deb", "dpkg" }, { "apt-get", "apt" }, { "apt-cache", "apt" },
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
static _Noreturn void child_exec(const struct child *c, int null_fd, int err_fd, int note)
{
	int r = 0;

	if (dup2(c->in_fd >= 0 ? c->in_fd : null_fd, 0) < 0 ||
	    dup2(c->out_fd >= 0 ? c->out_fd : null_fd, 1) < 0 || dup2(err_fd, 2) < 0)
		r = errno;
	if (!r && c->dir && chdir(c->dir) < 0)
		r = errno;
	if (!r && c->max_out) {
		struct rlimit lim = { .rlim_cur = c->max_out, .rlim_max = c->max_out };

		r = setrlimit(RLIMIT_FSIZE, &lim) < 0 ? errno : 0;
	}
	if (!r && setenv("LC_ALL", "C", 1) < 0)
		r = errno;
	if (!r) {
		/* execvp wants writable strings by its type only. */
		execvp(c->argv[0], (char *const *)(uintptr_t)c->argv);
		r = errno;
	}
	if (write(note, &r, sizeof(r)) < 0)
		_exit(EXIT_NO_EXEC);
	_exit(EXIT_NO_EXEC);
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
	scoped_free char *text = NULL;
	char *line;
	size_t len;

	if (lseek(err_fd, 0, SEEK_SET) < 0 || io_read_all(err_fd, STDERR_MAX, &text, &len) < 0)
		return;
	while (len && (text[len - 1] == '\n' || text[len - 1] == ' '))
		text[--len] = '\0';
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

int child_run(const struct child *c, struct err *e)
{
	scoped_fd null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	scoped_fd err_fd = memfd_create("stderr", MFD_CLOEXEC);
	scoped_fd note_r = -1, note_w = -1;
	int note[2], status, why = 0, r;
	pid_t pid;

	if (null_fd < 0 || err_fd < 0 || pipe2(note, O_CLOEXEC) < 0)
		return err_set(e, -errno, "%s: %m", c->argv[0]);
	note_r = note[0];
	note_w = note[1];
	pid = fork();
	if (pid < 0)
		return err_set(e, -errno, "%s: fork: %m", c->argv[0]);
	if (pid == 0)
		child_exec(c, null_fd, err_fd, note_w);
	(void)close(take_fd(&note_w));
	r = wait_for(pid, &status);
	if (r < 0)
		return err_set(e, r, "%s: wait: %m", c->argv[0]);
	if (io_read_full(note_r, &why, sizeof(why)) == (ssize_t)sizeof(why)) {
		if (why == ENOENT)
			return err_set(e, -ENOENT, "%s is not installed (package %s)", c->argv[0],
				       package_of(c->argv[0]));
		return err_set(e, -why, "%s could not be started: %m", c->argv[0]);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return explain(c, status, err_fd, e);
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
