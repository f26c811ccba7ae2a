/* err.c - the error value (err.h).
 *
 * Called by everybody. Trusts its format strings; distrusts what err_import() is given.
 * Never: allocates, logs, or changes errno. */
#include "base/err.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

/* A code is a negative errno; the kernel keeps those within a page. */
#define ERR_CODE_MIN (-4095)

int err_set(struct err *e, int code, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (!e)
		return code;
	e->code = code;
	errno = code < 0 && code >= ERR_CODE_MIN ? -code : 0; /* what %m prints */
	va_start(ap, fmt);
	if (vsnprintf(e->msg, sizeof(e->msg), fmt, ap) < 0)
		e->msg[0] = '\0';
	va_end(ap);
	errno = saved;
	return code;
}

/* Cuts at the end if need be: the context is worth more than the tail. */
static void append(struct err *e, const char *text)
{
	size_t used = strlen(e->msg), n = strlen(text);

	if (n > sizeof(e->msg) - 1 - used)
		n = sizeof(e->msg) - 1 - used;
	memcpy(e->msg + used, text, n);
	e->msg[used + n] = '\0';
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char old[ERR_MSG_MAX];
	int saved = errno;
	va_list ap;

	if (!e)
		return -EIO;
	if (e->code >= 0)
		e->code = -EIO;
	e->msg[sizeof(e->msg) - 1] = '\0';
	if (e->msg[0]) {
		memcpy(old, e->msg, sizeof(old));
	} else {
		errno = -e->code;
		(void)snprintf(old, sizeof(old), "%m");
	}
	errno = -e->code;
	va_start(ap, fmt);
	if (vsnprintf(e->msg, sizeof(e->msg), fmt, ap) < 0)
		e->msg[0] = '\0';
	va_end(ap);
	append(e, ": ");
	append(e, old);
	errno = saved;
	return e->code;
}

int err_import(struct err *e, int code, const char *text, size_t n)
{
	size_t in = 0, out = 0;

	if (code >= 0 || code < ERR_CODE_MIN)
		code = -EIO;
	if (!e)
		return code;
	e->code = code;
	while (in < n && text[in]) {
		size_t len = str_utf8_len(text + in, n - in);

		if (text[in] == '\n' && n - in > 2 && text[in + 1] == ' ' && text[in + 2] == ' ')
			len = 1;

		if (out + (len ? len : 1) > sizeof(e->msg) - 1)
			break;
		if (len)
			memcpy(e->msg + out, text + in, len);
		else
			e->msg[out] = '?';
		in += len ? len : 1;
		out += len ? len : 1;
	}
	e->msg[out] = '\0';
	return code;
}
