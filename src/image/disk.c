/* disk.c - see disk.h. Never: leaves a file that is not a whole file system. */
#include "image/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/str.h"
#include "image/child.h"

/* No journal: nobody mounts it again. No checksums but those that say which groups were never used, so that
 * their bitmaps need not be there. The file is zeros: inode tables are neither written now nor, by a thread
 * of the guest's kernel, later. The host's mke2fs.conf has no say. */
static const char *const mkfs[] = {
	"/sbin/mke2fs",
	"-q",
	"-F",
	"-t",
	"ext4",
	"-b",
	"4096",
	"-I",
	"256",
	"-i",
	"16384",
	"-m",
	"0",
	"-O",
	"none,extent,dir_index,filetype,sparse_super,large_file,huge_file,flex_bg,uninit_bg,dir_nlink,"
	"extra_isize",
	"-E",
	"nodiscard,lazy_itable_init=0,assume_storage_prezeroed=1,root_owner=0:0",
	"/proc/self/fd/0",
	NULL,
};

static int open_dir(const char *dir, int *ret, struct err *e)
{
	scoped_fd fd = -1;
	struct stat st;
	int r = io_mkdirs(dir, 0700);

	if (r < 0)
		return err_set(e, r, "image.disk_dir: make %s: %m", dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, -errno, "image.disk_dir %s: %m", dir);
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return err_set(e, -EPERM,
			       "image.disk_dir %s can be written by others than root, who could change what "
			       "containers find: chown root it, chmod 700 it",
			       dir);
	*ret = take_fd(&fd);
	return 0;
}

static int make(int dirfd, const char *dir, const char *name, uint64_t size, struct err *e)
{
	scoped_fd fd = openat(dirfd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	struct child c = {
		.argv = mkfs, .in_fd = fd, .out_fd = -1, .env = "MKE2FS_CONFIG", .env_value = "/dev/null"
	};
	scoped_free char *self = str_fmt("/proc/self/fd/%d", fd);
	int r;

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		return err_set(e, -EOPNOTSUPP,
			       "image.disk_dir %s: its file system has no files without a name: set it to a "
			       "directory on ext4, xfs, btrfs or tmpfs",
			       dir);
	if (fd < 0 || !self)
		return err_set(e, -errno, "image.disk_dir %s: %m", dir);
	if (ftruncate(fd, (off_t)size) < 0)
		return err_set(e, -errno,
			       "image.disk: no file of %llu MiB can be in %s: %m (ask for less, or set "
			       "image.disk_dir)",
			       (unsigned long long)(size >> 20), dir);
	r = child_run(&c, e);
	if (r < 0)
		return err_wrap(e, "image.disk: an empty file system in %s", dir);
	if (fchmod(fd, 0400) < 0 || fsync(fd) < 0 ||
	    (linkat(AT_FDCWD, self, dirfd, name, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST))
		return err_set(e, -errno, "%s/%s: %m", dir, name);
	return 0;
}

int disk_blank(const char *dir, uint64_t size, char **ret, struct err *e)
{
	scoped_free char *name = str_fmt("ext4.1-%llu", (unsigned long long)size);
	scoped_free char *path = name ? str_fmt("%s/%s", dir, name) : NULL;
	scoped_fd fd = -1;
	int r;

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	if (size < DISK_MIN || size % DISK_ALIGN)
		return err_set(e, -EINVAL,
			       "image.disk (--disk) is %llu bytes: it must be whole MiB, and 16M at least; 0 "
			       "is none",
			       (unsigned long long)size);
	r = open_dir(dir, &fd, e);
	if (r == 0 && faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		r = errno == ENOENT ? make(fd, dir, name, size, e)
				    : err_set(e, -errno, "image.disk_dir %s: %m", path);
	if (r < 0)
		return r;
	*ret = take_ptr(&path);
	return 0;
}
