/* err.h - one error value: a negative errno and a text, on the caller's stack.
 *
 * No allocation, fork-safe, sendable over a socket as it is. Leaf helpers (base, sys) return
 * -errno alone; operations that a user can name take `struct err *` as the last parameter.
 * A NULL `e` is allowed everywhere and means "code only". Any thread. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

#include "base/scope.h"

#define ERR_MSG_MAX 1024

struct err {
	int code;              /* negative errno, 0 = no error */
	char msg[ERR_MSG_MAX]; /* NUL-terminated, no trailing newline */
};

/* Sets code (a negative errno) and text; `%m` stands for that code's text. Returns code. A text
 * that does not fit is cut at the end. */
int err_set(struct err *e, int code, const char *fmt, ...) printf_like(3, 4);

/* Puts "context: " before the text and returns the code, unchanged. On an error without a text
 * (set by nobody) the code's own text is taken. Never returns success: without a code (a NULL `e`, or
 * one that nobody set) it is -EIO. */
int err_wrap(struct err *e, const char *fmt, ...) printf_like(2, 3);

/* Copies text that another process or the guest sent: `n` bytes, not NUL-terminated, control
 * characters and invalid UTF-8 are replaced by '?'; a NUL ends it. A line break is kept only
 * if two blanks follow, so that no line can pose as another's message. A code that is not a negative errno
 * becomes -EIO. */
int err_import(struct err *e, int code, const char *text, size_t n);

#endif
