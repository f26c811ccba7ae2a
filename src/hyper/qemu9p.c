/* qemu9p.c - preloaded into QEMU: lets a guest make fifos, sockets and device nodes in a shared directory.
 *
 * QEMU's fix for CVE-2023-2861 (9pfs: no opening of special files) also refuses the O_PATH descriptors
 * by which QEMU itself sets owner and mode of a node that it has just made: mknod in the guest fails
 * with ENXIO. QEMU 9.2 repaired that; Debian 12's 7.2 has not. QEMU's check is an fstat() for "regular
 * file or directory"; here an O_PATH descriptor of a special file passes it. Nothing can be read from or
 * written to an O_PATH descriptor, so what the fix protects stays protected.
 *
 * Loaded by the qemu driver through LD_PRELOAD (vmcfg.hypervisor_preload). Plain C library, no state. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int fstat64(int fd, struct stat64 *st)
{
	long r = syscall(SYS_newfstatat, fd, "", st, AT_EMPTY_PATH);
	int flags;

	if (r != 0 || S_ISREG(st->st_mode) || S_ISDIR(st->st_mode) || S_ISLNK(st->st_mode))
		return (int)r;
	flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && (flags & O_PATH))
		st->st_mode = (st->st_mode & ~(mode_t)S_IFMT) | S_IFREG;
	return 0;
}
