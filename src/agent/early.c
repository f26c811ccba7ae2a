/* early.c - see early.h. Trusts the list and the programs: they are part of the mini-OS, as the agent is.
 * Never: goes on after a failure, since a guest that is not as its owner wants it must not run containers. */
#include "agent/early.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/str.h"
#include "sys/proc.h"

#define LIST_MAX   (1u << 20)
#define ARGS_MAX   16
#define TIMEOUT_MS 30000
#define OUT_MAX    4096

static int set_sysctl(const char *dir, char *line, struct err *e)
{
	char *value = strchr(line, ' ');
	scoped_free char *path = NULL;
	int r;

	if (!value)
		return err_set(e, -EBADMSG, "sysctl '%s' has no value", line);
	*value++ = '\0';
	path = str_fmt("%s/%s", dir, line);
	r = path ? io_write_existing_at(AT_FDCWD, path, value) : -ENOMEM;
	return r < 0 ? err_set(e, r, "sysctl %s = %s: %m", line, value) : 0;
}

/* The last line of what it said, for the error. */
static const char *last_line(struct str *out)
{
	char *line;

	while (out->len && out->p[out->len - 1] == '\n')
		out->p[--out->len] = '\0';
	line = out->len ? strrchr(out->p, '\n') : NULL;
	return line ? line + 1 : out->len ? out->p : "it said nothing";
}

static int run_program(char *line, struct err *e)
{
	const char *argv[ARGS_MAX + 1] = { NULL };
	struct proc_run p = { .argv = argv, .timeout_ms = TIMEOUT_MS, .out_max = OUT_MAX };
	scoped_str said = { 0 };
	size_t n = 0;
	int r;

	for (char *word; (word = strsep(&line, " ")) != NULL;) {
		if (n == ARGS_MAX)
			return err_set(e, -E2BIG, "hook %s: more than %d words", argv[0], ARGS_MAX);
		argv[n++] = word;
	}
	r = proc_run(&p, e);
	said = p.out;
	if (r < 0)
		return err_wrap(e, "hook %s", argv[0]);
	if (WIFSIGNALED(p.status))
		return err_set(e, -EIO, "hook %s was ended by signal %d", argv[0], WTERMSIG(p.status));
	if (WEXITSTATUS(p.status) != 0)
		return err_set(e, -EIO, "hook %s: exit code %d: %s", argv[0], WEXITSTATUS(p.status),
			       last_line(&said));
	return 0;
}

static int do_line(char *line, const char *sysctl_dir, struct err *e)
{
	char *rest = strchr(line, ' ');

	if (!rest)
		return err_set(e, -EBADMSG, "'%s' is no step", line);
	*rest++ = '\0';
	if (str_eq(line, "sysctl"))
		return set_sysctl(sysctl_dir, rest, e);
	return str_eq(line, "run") ? run_program(rest, e) : err_set(e, -EBADMSG, "'%s' is no step", line);
}

int early_run(const char *list, const char *sysctl_dir, struct err *e)
{
	scoped_free char *text = NULL;
	char *rest, *line;
	size_t n;
	int r;

	r = io_read_file_at(AT_FDCWD, list, LIST_MAX, &text, &n);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_set(e, r, "%s: %m", list);
	rest = text;
	while (r == 0 && (line = strsep(&rest, "\n")) != NULL)
		r = *line ? do_line(line, sysctl_dir, e) : 0;
	return r < 0 ? err_wrap(e, "%s", list) : 0;
}
