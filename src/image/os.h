/* os.h - one build of the mini-OS, and the check of one that is there. */
#ifndef IMAGE_OS_H
#define IMAGE_OS_H

#include "base/err.h"
#include "image/bundle.h"
#include "image/kernel.h"
#include "image/manifest.h"
#include "image/modules.h"
#include "image/ui.h"

#define OS_VMLINUX "vmlinux" /* uncompressed ELF kernel with a PVH entry */
#define OS_INITRD  "initrd"  /* uncompressed newc cpio, or EROFS; /init is the agent */

/* Where the guest finds its modules, as the agent reads it. */
#define OS_LOAD     "lib/modules/load"     /* a path per line: load these at boot, in this order */
#define OS_ONDEMAND "lib/modules/ondemand" /* "NAME PATH PATH ...": what to load for NAME, in this order */

struct os_opts {
	struct kernel_opts kernel;
	const char *agent;          /* static x86-64 program that becomes /init */
	const char *out;            /* directory: missing, empty or an earlier build */
	const struct strv *bundles; /* directories, in order; or NULL */
	bool force;                 /* build even if nothing changed */
	bool dax;                   /* an EROFS file system that the kernel mounts by DAX, not an initramfs */
};

/* Builds into a directory beside `out` and swaps it in as a whole: `out` holds the old files or the new
 * ones, never a mixture. Equal inputs leave it alone (*ret_changed = false). Fills *ret. */
int must_check os_build(const struct os_opts *o, struct ui *ui, struct manifest *ret, bool *ret_changed,
			struct err *e);

/* Reads every file of a build again: sizes and digests of the manifest, kernel's form. */
int must_check os_verify(const char *dir, struct manifest *ret, struct err *e);

/* What a mini-OS is made of; all borrowed. */
struct os_parts {
	const struct modset *modules;
	const void *agent;
	size_t agent_len;
	const struct bundles *bundles;
};

/* As an initramfs, in bytes. */
int must_check os_initrd(const struct os_parts *p, struct str *to, struct err *e);
/* As an EROFS file system for a pmem device, in `file`, which is new. Its UUID comes from `digest` (hex) of
 * all that went in. */
int must_check os_root(const struct os_parts *p, const char *digest, const char *file, struct err *e);

#endif
