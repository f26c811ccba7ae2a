/* statx.c - what the kernel says of a file, as FUSE wants it. Alone in its file because the kernel's struct
 * statx, which knows mounts, and the C library's can't be included together. */
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/priv.h"

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x00001000U
#endif

uint32_t rdev_encode(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~UINT32_C(0xff)) << 12;
}

dev_t rdev_decode(uint32_t rdev)
{
	return makedev((rdev & 0xfff00) >> 8, (rdev & 0xff) | (rdev >> 12 & 0xfff00));
}

int file_stat(int fd, struct file_stat *ret)
{
	struct statx x;

	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
		    STATX_BASIC_STATS | STATX_MNT_ID, &x) < 0)
		return -errno;
	*ret = (struct file_stat){
		.key = { .dev = (uint64_t)x.stx_dev_major << 32 | x.stx_dev_minor,
			 .ino = x.stx_ino,
			 .mnt = x.stx_mask & STATX_MNT_ID ? x.stx_mnt_id : 0,
			 .type = x.stx_mode & S_IFMT },
		.attr = {
			.ino = x.stx_ino,
			.size = x.stx_size,
			.blocks = x.stx_blocks,
			.atime = (uint64_t)x.stx_atime.tv_sec,
			.mtime = (uint64_t)x.stx_mtime.tv_sec,
			.ctime = (uint64_t)x.stx_ctime.tv_sec,
			.atimensec = x.stx_atime.tv_nsec,
			.mtimensec = x.stx_mtime.tv_nsec,
			.ctimensec = x.stx_ctime.tv_nsec,
			.mode = x.stx_mode,
			.nlink = x.stx_nlink,
			.uid = x.stx_uid,
			.gid = x.stx_gid,
			.rdev = rdev_encode(x.stx_rdev_major, x.stx_rdev_minor),
			.blksize = x.stx_blksize,
		},
	};
	return 0;
}
