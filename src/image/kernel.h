/* kernel.h - where the guest's kernel comes from: given files, a package, or the newest stock kernel
 * of this machine. Nothing is installed; what is downloaded and unpacked stays in a cache. */
#ifndef IMAGE_KERNEL_H
#define IMAGE_KERNEL_H

#include "base/err.h"
#include "image/modules.h"
#include "image/ui.h"

/* What the metapackage of Debian's generic kernel is called. */
#define KERNEL_PACKAGE "linux-image-amd64"

/* The name of that kernel, beside the profiles of kbuild.h. */
#define KERNEL_STOCK "stock"

struct kernel_opts {
	const char *name;    /* "stock", or the profile of a built kernel; NULL = the default */
	const char *package; /* a .deb file (it has a '/' or ends in .deb) or a package's name; or NULL */
	const char *vmlinuz; /* with modules: given files; or NULL */
	const char *modules;
	const struct module_want *wants; /* what is kept of a package's modules; NULL = module_table */
	const char *cache;               /* directory for downloads; made when needed */
	const char *root;                /* where an installed kernel is looked for: "" = this machine */
};

/* Zero-initialise. */
struct kernel {
	char *vmlinuz; /* owned: path of a bzImage or an ELF kernel */
	char *modules; /* owned: path of its /lib/modules/RELEASE */
	char *release; /* owned: `uname -r` */
	char *origin;  /* owned: in words, one line */
	char *config;  /* owned: path of its configuration, of a built one; or NULL */
};

void kernel_fini(struct kernel *k); /* idempotent */
#define scoped_kernel __attribute__((cleanup(kernel_fini))) struct kernel

/* Finds it, downloads and unpacks it if it must. */
int must_check kernel_find(const struct kernel_opts *o, struct ui *ui, struct kernel *ret, struct err *e);

/* The newest kernel in ROOT/boot that has its modules in ROOT/lib/modules or ROOT/usr/lib/modules; `generic`:
 * only kernel_is_generic() ones. No origin. -ENOENT if there is none. */
int must_check kernel_in_root(const char *root, bool generic, struct kernel *ret, struct err *e);

/* Whether a release is of Debian's generic flavour: "6.1.0-56-amd64", not cloud, rt or a foreign one. */
bool kernel_is_generic(const char *release);

#endif
