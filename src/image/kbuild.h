/* kbuild.h - builds a guest kernel from Debian's source package and the fragments of guest/kernel.
 *
 * What is built lies in CACHE/build/PROFILE.KEY, where KEY is of the source, the merged configuration and the
 * toolchain: equal inputs are built once. Nothing is installed. */
#ifndef IMAGE_KBUILD_H
#define IMAGE_KBUILD_H

#include <stdbool.h>

#include "base/err.h"
#include "image/kernel.h"
#include "image/ui.h"

/* The source, as apt calls it. */
#define KBUILD_PACKAGE "linux-source-6.12"

/* The profile that is meant when none is named. */
#define KBUILD_DEFAULT "clear"

struct kbuild_opts {
	const char *profile;   /* a name of kbuild_profiles */
	const char *source;    /* a .deb or .tar.xz file (it has a '/'), a package's name; or NULL */
	const char *fragments; /* directory of the fragments */
	const char *config;    /* file of a further fragment, which counts last; or NULL */
	const char *cache;
	unsigned jobs; /* compilers at a time; 0 = one per processor */
	bool force;    /* build even if it is there */
	/* Make and check the configuration, compile nothing: *ret has its path and no kernel. */
	bool config_only;
};

struct kbuild_profile {
	const char *name;
	const char *fragments[4]; /* names without ".config", in order; NULL-terminated */
	unsigned files;           /* about how many files its build makes, for the progress */
	const char *what;
};

/* NULL name ends it. */
extern const struct kbuild_profile kbuild_profiles[];

/* The profile of this name; -EINVAL names those that exist. */
int must_check kbuild_profile(const char *name, const struct kbuild_profile **ret, struct err *e);

/* Builds it, or finds it built (*ret_changed = false). *ret names the ELF kernel, a /lib/modules directory
 * without modules and the release. Several minutes; one build at a time in a cache. */
int must_check kbuild_make(const struct kbuild_opts *o, struct ui *ui, struct kernel *ret, bool *ret_changed,
			   struct err *e);

/* The kernel of this profile that was built last in `cache`; -ENOENT if there is none. */
int must_check kbuild_find(const char *cache, const char *profile, struct kernel *ret, struct err *e);

#endif
