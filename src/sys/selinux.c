/* selinux.c - the label that the VM's process runs with. Called by the monitor and the runtime.
 * Trusts: selinuxfs and procfs. Never: changes the caller's own label. */
#include "sys/selinux.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"

bool selinux_is_enabled(void)
{
	return access("/sys/fs/selinux/enforce", F_OK) == 0;
}

int selinux_set_exec_label(const char *label, struct err *e)
{
	scoped_fd fd = -1;
	size_t n = label ? strlen(label) : 0;
	ssize_t r;

	if (!selinux_is_enabled())
		return err_set(e, -EOPNOTSUPP,
			       "process.selinuxLabel: SELinux is not enabled on this host; remove the label");
	/* Of this thread, and not by io_write_existing_at(): clearing is a write of no bytes. */
	fd = open("/proc/thread-self/attr/exec", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, -errno, "process.selinuxLabel: %m");
	r = write(fd, label ? label : "", n);
	if (r != (ssize_t)n)
		return err_set(e, r < 0 ? -errno : -EIO, "process.selinuxLabel \"%s\": %m",
			       label ? label : "");
	return 0;
}
