/* modules.h - which kernel modules a VM gets, and in which order they load.
 *
 * Dependencies come from the modules themselves (the `depends=` of .modinfo, where the kernel's build
 * writes what modules.dep is made from): a kernel package that was unpacked, not installed, has no
 * modules.dep. Names and places come from modules.order and modules.builtin. */
#ifndef IMAGE_MODULES_H
#define IMAGE_MODULES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/sha256.h"
#include "base/str.h"

/* What the builder asks for. */
struct module_want {
	const char *name; /* with '_', never '-' */
	bool boot;        /* loaded by the agent before it says hello; else when it is needed */
	bool optional;    /* some kernels have it not, and nothing stops working */
	const char *why;
};

/* NULL name ends it. */
extern const struct module_want module_table[];

struct module {
	char *name; /* owned */
	char *file; /* owned: path below the modules directory, as found ("kernel/fs/9p/9p.ko.xz") */
	char *data; /* owned: the ELF file, decompressed, without its signature */
	size_t len;
	bool boot; /* wanted at boot, or needed by one that is */
	struct strv deps;
	char digest[SHA256_HEX];
};

/* Zero-initialise. */
struct modset {
	struct module *p; /* each one after those it needs */
	size_t n, cap;
	struct strv builtin; /* wanted ones that are part of the kernel */
	struct strv missing; /* optional ones that this kernel has not */
};

void modset_fini(struct modset *s); /* idempotent */
#define scoped_modset __attribute__((cleanup(modset_fini))) struct modset

/* Loads the wanted modules of `dirfd` (a /lib/modules/RELEASE) and all that they need. `release`:
 * each module must be built for it (vermagic). -ENOENT names a missing module and who needs it,
 * -ELOOP a circle. */
int must_check modset_load(struct modset *s, int dirfd, const char *release, const struct module_want *want,
			   struct err *e);
const struct module *modset_find(const struct modset *s, const char *name);

/* A digest of the wants: a kernel that was unpacked for other wants is unpacked again. */
int must_check module_wants_digest(const struct module_want *want, char ret[SHA256_HEX], struct err *e);

#endif
