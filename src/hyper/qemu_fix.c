/* qemu_fix.c - preloaded into the distribution's QEMU: what that can't do for us and newer ones can in part.
 *
 * 1. A guest can make fifos, sockets and device nodes in a shared directory. QEMU's fix for CVE-2023-2861
 *    (9pfs: no opening of special files) also refuses the O_PATH descriptors by which QEMU itself sets owner
 *    and mode of a node that it has just made: mknod in the guest fails with ENXIO. QEMU 9.2 repaired that;
 *    Debian 12's 7.2 has not. QEMU's check is an fstat() for "regular file or directory"; here an O_PATH
 *    descriptor of a special file passes it. Nothing can be read from or written to an O_PATH descriptor, so
 *    what the fix protects stays protected.
 * 2. A clone's memory is a private mapping of a template's file, which all clones share. QEMU opens the file
 *    of such a mapping for writing, and punches a hole into it where the guest gives a page back: in all
 *    clones' memory. Here the memory's name stands for descriptor QEMU_FD_MEMORY, which a clone gets
 *    read-only; punching a hole into that does nothing, and QEMU goes on to madvise(MADV_DONTNEED), which
 *    is what gives private pages back. Without this object the name names nothing and QEMU ends: it can't
 *    happen that a clone runs without the protection.
 * 3. QEMU is linked with a disassembler, capstone, for its debugging output, and the loader relocates 77,000
 * of its pointers in each QEMU: 1.3 MB of memory of its own, and time of its start. This object has
 * capstone's name (src/cmd/meson.build), so the loader takes it instead, and says what a capstone says that
 * was built without the processor: QEMU then prints bytes. A QEMU that wants another version of capstone gets
 * that, loaded and unused.
 *
 * Loaded by the qemu driver through LD_PRELOAD (vmcfg.hypervisor_preload). Plain C library, no state. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/scope.h"
#include "hyper/qemu.h"

/* With fortified headers QEMU calls this one when the flags are no constant. */
int __open64_2(const char *path, int flags);

/* Capstone's interface, as far as QEMU uses it: the first fails, so nobody gets a handle for the others. */
#define CS_ERR_ARCH 2 /* CS_ERR_*: this processor is not supported */

int cs_open(int arch, int mode, size_t *handle);
int cs_option(size_t handle, int type, size_t value);
int cs_close(size_t *handle);
void *cs_malloc(size_t handle);
void cs_free(void *insn, size_t count);
bool cs_disasm_iter(size_t handle, const uint8_t **code, size_t *size, uint64_t *address, void *insn);

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

static int open_path(const char *path, int flags, mode_t mode)
{
	if (strcmp(path, QEMU_MEMORY_NAME) == 0)
		return fcntl(QEMU_FD_MEMORY, F_DUPFD_CLOEXEC, 0);
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return open_path(path, flags, mode);
}

int __open64_2(const char *path, int flags)
{
	return open_path(path, flags, 0);
}

/* Is this the memory of a template that others use, too? */
static bool is_shared_memory(int fd)
{
	struct stat st, memory;
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) == O_RDONLY && fstat(fd, &st) == 0 &&
	       fstat(QEMU_FD_MEMORY, &memory) == 0 && st.st_dev == memory.st_dev &&
	       st.st_ino == memory.st_ino;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
	if ((mode & FALLOC_FL_PUNCH_HOLE) && is_shared_memory(fd))
		return 0;
	return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

int cs_open(int arch unused_arg, int mode unused_arg, size_t *handle)
{
	*handle = 0;
	return CS_ERR_ARCH;
}

int cs_option(size_t handle unused_arg, int type unused_arg, size_t value unused_arg)
{
	return CS_ERR_ARCH;
}

int cs_close(size_t *handle unused_arg)
{
	return CS_ERR_ARCH;
}

void *cs_malloc(size_t handle unused_arg)
{
	return NULL;
}

void cs_free(void *insn unused_arg, size_t count unused_arg)
{
}

bool cs_disasm_iter(size_t handle unused_arg, const uint8_t **code unused_arg, size_t *size unused_arg,
		    uint64_t *address unused_arg, void *insn unused_arg)
{
	return false;
}
