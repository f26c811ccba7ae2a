/* fusehost.c - mounts a directory through src/fs and the host's own FUSE client, for tests: a kernel that is
 * known to be a real client, and no virtual machine.
 *
 *     fusehost DIR MOUNTPOINT [MAX_FDS [IDLE_FDS]]
 *
 * Serves until it is unmounted. Prints "up" when it serves, and at the end the counts of fs_count(): the most
 * there were, and what is left. */
#include <errno.h>
#include <fcntl.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/num.h"
#include "base/str.h"
#include "fs/fs.h"

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	static _Alignas(8) char req[FS_REQ_MAX], reply[FS_REPLY_MAX];
	struct fs_conf conf = {
		.max_fds = 1000, .idle_fds = 500, .max_inodes = 1u << 20, .timeout_ms = 1000
	};
	scoped_free char *data = NULL;
	struct fs_counts counts, most = { 0 };
	struct err e = { 0 };
	struct fs *fs;
	uint64_t v = 0;
	int dev;

	if (argc < 3)
		return 2;
	for (int i = 3; i < argc && i < 5; i++) {
		if (num_parse_u64_max(argv[i], 1u << 30, &v) < 0)
			return 2;
		*(i == 3 ? &conf.max_fds : &conf.idle_fds) = (unsigned)v;
	}
	conf.root = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	conf.fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (conf.root < 0 || conf.fds < 0 || dev < 0)
		return fail(argv[1]);
	/* as the jail does */
	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0)
		return fail("securebits");
	data = str_fmt("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", dev);
	if (mount("fusehost", argv[2], "fuse", 0, data) < 0)
		return fail(argv[2]);
	if (fs_open(&conf, &fs, &e) < 0) {
		(void)fprintf(stderr, "%s\n", e.msg);
		return 1;
	}
	(void)puts("up");
	(void)fflush(stdout);
	for (;;) {
		ssize_t n = read(dev, req, sizeof req);
		size_t len;

		if (n < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (n < 0)
			break; /* ENODEV: unmounted */
		len = fs_handle(fs, req, (size_t)n, reply, sizeof reply);
		counts = fs_count(fs);
		most.inodes = counts.inodes > most.inodes ? counts.inodes : most.inodes;
		most.fds = counts.fds > most.fds ? counts.fds : most.fds;
		if (len > 0 && write(dev, reply, len) < 0 && errno != ENOENT)
			return fail("reply");
	}
	(void)printf("most inodes %u fds %u\n", most.inodes, most.fds);
	counts = fs_count(fs);
	(void)printf("inodes %u handles %u fds %u\n", counts.inodes, counts.handles, counts.fds);
	fs_close(fs);
	return 0;
}
