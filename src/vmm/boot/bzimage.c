/* bzimage.c - a compressed stock kernel by the 64-bit boot protocol: it unpacks itself in the guest.
 *
 * Called by boot.c. Distrusts: the file. The protocol is the kernel's Documentation/x86/boot.rst. */
#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/boot/boot.h"
#include "vmm/layout.h"

#define SETUP_OFFSET  0x1F1u /* of struct setup_header in file and zero page */
#define SECTOR        512u
#define ENTRY_64      0x200u
#define MIN_PROTOCOL  0x020Cu /* 2.12: xloadflags */
#define SETUP_SECTORS 4u      /* what 0 stands for */

static int check(const struct setup_header *h, const struct stat *st, uint64_t *ret_off, struct err *e)
{
	uint64_t off = ((uint64_t)(h->setup_sects ? h->setup_sects : SETUP_SECTORS) + 1) * SECTOR;

	if (h->version < MIN_PROTOCOL || !(h->xloadflags & XLF_KERNEL_64))
		return err_set(e, -ENOTSUP, "kernel: a bzImage without a 64-bit entry (boot protocol 2.12)");
	if (st->st_size < 0 || off >= (uint64_t)st->st_size)
		return err_set(e, -EINVAL, "kernel: the bzImage is cut off");
	*ret_off = off;
	return 0;
}

int bzimage_load(const struct gmem *mem, int fd, struct boot_image *ret, struct err *e)
{
	struct setup_header h;
	struct stat st;
	uint64_t off = 0, len, at;
	uint8_t *to;
	int r;

	_Static_assert(sizeof h <= sizeof ret->setup_header, "copied whole");
	if (pread(fd, &h, sizeof h, SETUP_OFFSET) != (ssize_t)sizeof h || h.boot_flag != 0xAA55 ||
	    h.header != 0x53726448)
		return err_set(e, -ENOEXEC, "kernel: not a bzImage");
	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "kernel: %m");
	r = check(&h, &st, &off, e);
	if (r < 0)
		return r;
	len = (uint64_t)st.st_size - off;
	at = h.pref_address >= LAYOUT_HIGH ? h.pref_address : LAYOUT_HIGH;
	/* It unpacks inside [at, at + init_size): all of that must be memory. */
	to = gmem_slice(mem, gpa(at), len > h.init_size ? len : h.init_size, GMEM_WRITE);
	if (!to || at > UINT32_MAX)
		return err_set(e, -ENOMEM,
			       "kernel: needs %u bytes of memory from 0x%llx on: give the machine more",
			       h.init_size, (unsigned long long)at);
	*ret = (struct boot_image){ .entry = { .long_mode = true, .ip = at + ENTRY_64 },
				    .end = at + h.init_size };
	memcpy(ret->setup_header, &h, sizeof h);
	return boot_pread(fd, off, to, len, "kernel", e);
}
