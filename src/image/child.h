/* child.h - runs a packaged tool (xz, zstd, dpkg-deb, apt-get ...) and waits for it. Bytes go in and
 * out through files, or are read as they come: never through a pipe that could fill up. */
#ifndef IMAGE_CHILD_H
#define IMAGE_CHILD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct child {
	const char *const *argv; /* argv[0] is looked for in PATH; NULL-terminated */
	const char *dir;         /* working directory, NULL = the caller's */
	int in_fd;               /* its stdin; -1 = /dev/null. Read from offset 0 on if it is a file */
	int out_fd;              /* its stdout; -1 = /dev/null */
	uint64_t max_out;        /* no file it writes gets bigger than this; 0 = no limit */
	/* Called with each line of its stdout as it comes, without the line break; long ones in parts.
	 * Instead of out_fd. */
	void (*line)(void *arg, const char *text);
	void *arg;
	int log_fd; /* what it says on stderr goes to the end of this file, open for reading too; 0 = nowhere
		     */
	const char *env, *env_value; /* one variable set in its environment; NULL = none */
	const char *const *unset;    /* names taken out of its environment; NULL-terminated; or NULL */
};

/* Runs it to its end with LC_ALL=C. 0 only if it exited with 0; else the error holds the tool's own
 * last words, and the package that has it if it is not installed (-ENOENT). */
int must_check child_run(const struct child *c, struct err *e);

/* A tool whose output is read as it comes. */
struct child_pipe {
	struct child c;     /* what was started; what it points to must last as long */
	pid_t pid;          /* 0 = it has ended */
	int out, err, note; /* -1 = closed */
};
#define CHILD_PIPE_NONE ((struct child_pipe){ .out = -1, .err = -1, .note = -1 })

/* Starts it; out_fd, line and arg of c are not looked at. */
int must_check child_start(struct child_pipe *p, const struct child *c, struct err *e);
/* As read(2). The end is 0 only if it exited with 0; else as child_run(). */
ssize_t must_check child_read(struct child_pipe *p, void *buf, size_t n, struct err *e);
/* Kills it if it still runs. */
void child_stop(struct child_pipe *p);

/* The same as child_run() with bytes in (may be NULL, 0) and its output in fresh memory with a NUL behind
 * (free()). */
int must_check child_output(const char *const *argv, const void *in, size_t n_in, size_t max_out, char **ret,
			    size_t *ret_len, struct err *e);

#endif
