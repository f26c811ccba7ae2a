/* disk.c - see disk.h. Distrusts the file as far as its superblock goes: what else is in it is for the guest.
 * Never: writes to the empty disk itself, or gives a copy a name. */
#include "hyper/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/str.h"

/* Documentation/filesystems/ext4/super.rst: the superblock lies 1024 bytes behind the start. */
#define SUPER_AT 1024
#define MAGIC_AT 56
#define UUID_AT  104
#define UUID_LEN 16
#define PART     (64u << 10)

size_t hv_disk_fds(const struct vmcfg *cfg)
{
	return cfg->disk.path ? 1 : 0;
}

static int look(const char *path, uint64_t size, int *ret, char uuid[2 * UUID_LEN + 1], struct err *e)
{
	scoped_fd fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	uint8_t super[UUID_AT + UUID_LEN];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, -errno, "disk %s: %m", path);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) ||
	    (uint64_t)st.st_size != size || pread(fd, super, sizeof super, SUPER_AT) != sizeof super ||
	    super[MAGIC_AT] != 0x53 || super[MAGIC_AT + 1] != 0xef)
		return err_set(e, -EINVAL,
			       "disk %s: no empty ext4 of %llu bytes that only root can write: remove it, it "
			       "is made anew",
			       path, (unsigned long long)size);
	for (size_t i = 0; i < UUID_LEN; i++)
		(void)snprintf(uuid + 2 * i, 3, "%02x", super[UUID_AT + i]); /* fits */
	*ret = take_fd(&fd);
	return 0;
}

int hv_disk_describe(const char *path, uint64_t size, struct arena *a, struct vmcfg *vm, struct err *e)
{
	char uuid[2 * UUID_LEN + 1];
	scoped_fd fd = -1;
	int r = look(path, size, &fd, uuid, e);

	if (r < 0)
		return r;
	vm->disk = (struct vm_layer){ .path = arena_str(a, path), .uuid = arena_str(a, uuid), .size = size };
	return vm->disk.path && vm->disk.uuid ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* One piece of data; what lies between is zeros and stays a hole. */
static int copy_piece(int from, int to, off_t at, off_t end)
{
	char part[PART];

	while (at < end) {
		size_t want = end - at < PART ? (size_t)(end - at) : PART;
		ssize_t n = pread(from, part, want, at);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		if (pwrite(to, part, (size_t)n, at) != n)
			return errno ? -errno : -EIO;
		at += n;
	}
	return 0;
}

static int copy(int from, int to, uint64_t size)
{
	off_t at = 0, end = 0;
	int r = 0;

	if (ioctl(to, FICLONE, from) == 0)
		return 0; /* shared blocks, on xfs and btrfs */
	while (r == 0 && (at = lseek(from, end, SEEK_DATA)) >= 0) {
		end = lseek(from, at, SEEK_HOLE);
		errno = 0;
		r = end < 0 ? -errno : copy_piece(from, to, at, end);
	}
	if (r == 0 && errno != ENXIO)
		r = -errno; /* of SEEK_DATA: ENXIO is the end */
	return r == 0 && ftruncate(to, (off_t)size) < 0 ? -errno : r;
}

static int open_copy(const struct vm_layer *d, int from, int *ret, struct err *e)
{
	scoped_free char *dir = strndup(d->path, (size_t)(strrchr(d->path, '/') - d->path));
	scoped_fd fd = dir ? open(dir, O_RDWR | O_TMPFILE | O_EXCL | O_CLOEXEC, 0600) : -1;
	int r = fd < 0 ? -errno : copy(from, fd, d->size);

	if (r < 0)
		return err_set(e, r, "a disk in %s: %m", dir ? dir : "");
	*ret = take_fd(&fd);
	return 0;
}

static int open_empty(uint64_t size, int *ret, struct err *e)
{
	scoped_fd fd = memfd_create("disk", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return err_set(e, -errno, "memory in place of a disk: %m");
	*ret = take_fd(&fd);
	return 0;
}

int hv_disk_open(const struct vmcfg *cfg, int *ret, struct err *e)
{
	const struct vm_layer *d = &cfg->disk;
	char uuid[2 * UUID_LEN + 1];
	scoped_fd from = -1;
	int r;

	if (!d->path)
		return 0;
	if (cfg->template_make)
		return open_empty(d->size, ret, e);
	if (d->path[0] != '/' || !d->uuid)
		return err_set(e, -EINVAL, "machine: a path is missing in the plan");
	r = look(d->path, d->size, &from, uuid, e);
	if (r == 0 && !str_eq(uuid, d->uuid))
		r = err_set(e, -ESTALE, "disk %s is another file than a moment ago", d->path);
	return r == 0 ? open_copy(d, from, ret, e) : r;
}
