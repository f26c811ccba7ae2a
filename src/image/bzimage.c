/* bzimage.c - see bzimage.h; the layout is Documentation/arch/x86/boot.rst of the kernel. Called by
 * os.c for a kernel of a package or of the user. No offset of the header is used before it was
 * checked against the file's length. */
#include "image/bzimage.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"

#define OFF_SETUP_SECTS    0x1f1
#define OFF_BOOT_FLAG      0x1fe
#define OFF_MAGIC          0x202
#define OFF_PROTOCOL       0x206
#define OFF_KERNEL_VERSION 0x20e
#define OFF_PAYLOAD        0x248
#define OFF_PAYLOAD_LEN    0x24c
#define HEADER_END         0x250
#define PROTOCOL_PAYLOAD   0x208 /* the first one with a payload field */
#define SECTOR             512u

static const struct bzimage_packer packers[] = {
	{ "xz", { 0xfd, '7', 'z', 'X', 'Z', 0 }, 6, 4, { "xz", "-dc", "--single-stream" } },
	{ "zstd", { 0x28, 0xb5, 0x2f, 0xfd }, 4, 4, { "zstd", "-dcq", "--no-progress" } },
	{ "gzip", { 0x1f, 0x8b }, 2, 0, { "gzip", "-dc" } }, /* the stream itself ends with the size */
	{ "lz4", { 0x02, 0x21, 0x4c, 0x18 }, 4, 4, { "lz4", "-dcq" } },
	{ "bzip2", { 'B', 'Z', 'h' }, 3, 4, { "bzip2", "-dc" } },
	{ "lzma", { 0x5d, 0x00, 0x00 }, 3, 4, { "xz", "--format=lzma", "-dc" } },
};

/* "6.1.0-56-amd64 (builder@host) #1 ...": the first word, if it is one a file name can hold. */
static void get_release(const uint8_t *p, size_t n, struct bzimage *ret)
{
	size_t off = (size_t)buf_ld16(p + OFF_KERNEL_VERSION), i;

	ret->release[0] = '\0';
	if (!off || off + SECTOR >= n)
		return;
	p += off + SECTOR;
	n -= off + SECTOR;
	for (i = 0; i < n && i < BZIMAGE_RELEASE_MAX - 1; i++) {
		if (!isalnum(p[i]) && !strchr("+-._~", p[i] ? p[i] : ' '))
			break;
		ret->release[i] = (char)p[i];
	}
	ret->release[i < n && p[i] == ' ' && p[0] != '.' ? i : 0] = '\0';
}

static const struct bzimage_packer *find_packer(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < sizeof(packers) / sizeof(packers[0]); i++) {
		if (n >= packers[i].magic_len && memcmp(p, packers[i].magic, packers[i].magic_len) == 0)
			return &packers[i];
	}
	return NULL;
}

int bzimage_parse(const void *image, size_t n, struct bzimage *ret, struct err *e)
{
	const uint8_t *p = (const uint8_t *)image;
	struct bzimage b = { 0 };
	uint64_t start, len, sectors;

	if (n < HEADER_END || buf_ld16(p + OFF_BOOT_FLAG) != 0xaa55 || memcmp(p + OFF_MAGIC, "HdrS", 4) != 0)
		return err_set(e, -ENOEXEC, "not a Linux bzImage (no boot header)");
	if (buf_ld16(p + OFF_PROTOCOL) < PROTOCOL_PAYLOAD)
		return err_set(e, -ENOEXEC, "boot protocol %#x is too old (2.08, Linux 2.6.26, is needed)",
			       buf_ld16(p + OFF_PROTOCOL));
	sectors = p[OFF_SETUP_SECTS] ? p[OFF_SETUP_SECTS] : 4;
	start = (sectors + 1) * SECTOR + buf_ld32(p + OFF_PAYLOAD);
	len = buf_ld32(p + OFF_PAYLOAD_LEN);
	if (len < 16 || start < HEADER_END || start > n || len > n - start)
		return err_set(e, -ENOEXEC,
			       "bzImage header: the kernel at %llu, %llu bytes, is not inside the file",
			       (unsigned long long)start, (unsigned long long)len);
	b.payload = p + start;
	b.packer = find_packer(b.payload, (size_t)len);
	if (!b.packer)
		return err_set(e, -ENOTSUP,
			       "kernel is compressed in an unknown way (first bytes %02x %02x %02x %02x)",
			       b.payload[0], b.payload[1], b.payload[2], b.payload[3]);
	b.unpacked = buf_ld32(b.payload + len - 4);
	if (!b.unpacked || b.unpacked > BZIMAGE_UNPACKED_MAX)
		return err_set(e, -ENOEXEC, "bzImage says its kernel has %u bytes: not between 1 and %u",
			       b.unpacked, BZIMAGE_UNPACKED_MAX);
	b.len = (size_t)len - b.packer->trailer;
	get_release(p, n, &b);
	*ret = b;
	return 0;
}
