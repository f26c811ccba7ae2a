/* verity.c - see verity.h. SHA-256, blocks of 4 KiB and no salt: the digest depends on the content alone. */
#include "sys/verity.h"

#include <errno.h>
#include <linux/fsverity.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define BLOCK  4096u
#define DIGEST 32u

int verity_enable(int fd, struct err *e)
{
	const struct fsverity_enable_arg arg = { .version = 1,
						 .hash_algorithm = FS_VERITY_HASH_ALG_SHA256,
						 .block_size = BLOCK };

	if (ioctl(fd, FS_IOC_ENABLE_VERITY, &arg) == 0 || errno == EEXIST)
		return 0;
	if (errno == EOPNOTSUPP || errno == ENOTTY)
		return err_set(
			e, -errno,
			"no fs-verity here: it takes ext4 made so (tune2fs -O verity DEVICE), btrfs or f2fs, "
			"and a kernel with CONFIG_FS_VERITY");
	return err_set(e, -errno, "fs-verity: %m");
}

int verity_measure(int fd, char ret[VERITY_HEX])
{
	union {
		struct fsverity_digest d;
		uint8_t room[sizeof(struct fsverity_digest) + DIGEST];
	} x = { .d.digest_size = DIGEST };
	uint8_t digest[DIGEST];

	if (ioctl(fd, FS_IOC_MEASURE_VERITY, &x.d) < 0)
		return errno == EOPNOTSUPP || errno == ENOTTY ? -ENODATA : -errno;
	if (x.d.digest_algorithm != FS_VERITY_HASH_ALG_SHA256 || x.d.digest_size != DIGEST)
		return -ENODATA;
	memcpy(digest, x.room + sizeof x.d, sizeof digest);
	for (size_t i = 0; i < sizeof digest; i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", digest[i]); /* fits */
	return 0;
}
