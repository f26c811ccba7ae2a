/* ahead.c - see ahead.h. Called by the agent's timer. Trusts: the guest's /sys. */
#include "agent/ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/io.h"
#include "base/scope.h"
#include "base/str.h"

#define USUAL_KIB "128" /* Linux's own, VM_READAHEAD_PAGES */

int ahead_more(const char *share, struct err *e)
{
	scoped_free char *path = NULL;
	struct stat st;
	int r;

	if (stat(share, &st) < 0)
		return err_set(e, -errno, "%s: %m", share);
	path = str_fmt("/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	r = io_write_existing_at(AT_FDCWD, path, USUAL_KIB);
	return r < 0 ? err_set(e, r, "%s: %m", path) : 0;
}
