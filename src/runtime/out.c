/* out.c - used by every verb that prints. */
#include "runtime/out.h"

#include <errno.h>
#include <stdio.h>

int out_print(const struct str *text, struct err *e)
{
	if (str_check(text) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (fputs(text->p ? text->p : "", stdout) == EOF || fflush(stdout) == EOF)
		return err_set(e, -errno, "write to stdout: %m");
	return 0;
}
