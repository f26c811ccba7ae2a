/* kconfig.h - fragments of a kernel's configuration: read, merged, and compared with what the kernel's
 * own build made of them.
 *
 * A fragment has lines "CONFIG_NAME=VALUE # reason", blank ones and ones that start with '#'. VALUE is y, n,
 * a number or a quoted text; never m: what is built has no modules. Every line has its reason. */
#ifndef IMAGE_KCONFIG_H
#define IMAGE_KCONFIG_H

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

struct kconfig_option {
	char *name;  /* owned: "CONFIG_SMP" */
	char *value; /* owned: as written */
	size_t file; /* which call of kconfig_add() said so, from 0 */
};

/* Zero-initialise. */
struct kconfig {
	struct kconfig_option *p; /* in the order in which the names first came */
	size_t n, cap;
	size_t files;
};

void kconfig_fini(struct kconfig *c); /* idempotent */
#define scoped_kconfig __attribute__((cleanup(kconfig_fini))) struct kconfig

/* Adds a fragment; `file` is its name in errors. A later fragment's value counts. -EINVAL: a line of another
 * form, without a reason, or a name twice in one fragment; the error names the line. */
int must_check kconfig_add(struct kconfig *c, const char *text, const char *file, struct err *e);
/* Appends the merged options in the form of the kernel's own files (without reasons). */
int must_check kconfig_format(const struct kconfig *c, struct str *to, struct err *e);
/* Appends to `dropped` every option that the kernel's .config `text` has otherwise than asked for, as
 * "CONFIG_NAME=VALUE" (then it depends on something that is off, or this kernel does not know it) or as
 * "CONFIG_NAME=n" (then another option needs it). */
int must_check kconfig_check(const struct kconfig *c, const char *text, struct strv *dropped, struct err *e);

#endif
