/* bundle.h - bundles: directories by which a user adds to the mini-OS. The file "bundle" in one says what, a
 * line each, words separated by blanks:
 *
 *     cor-bundle 1                       the first line
 *     file SOURCE PATH [MODE]            a file of the bundle becomes PATH in the guest, 0644 or MODE
 *     program SOURCE PATH                the same for a static program: 0755, without its symbols
 *     module NAME [boot] [optional]      a kernel module: loaded at boot, or when something asks for it
 *     sysctl KEY VALUE...                written at boot
 *     hook SOURCE [ARGUMENT...]          a static program that is run at boot, before the agent is ready;
 *                                        with a '/' in front: a "program" above, by its PATH
 *
 * Empty lines and ones that begin with '#' are skipped. docs/bundles.md explains them. */
#ifndef IMAGE_BUNDLE_H
#define IMAGE_BUNDLE_H

#include <sys/types.h>

#include "base/err.h"
#include "base/sha256.h"
#include "base/str.h"
#include "image/cpio.h"
#include "image/modules.h"

#define BUNDLE_FILE "bundle"
/* Where the guest finds what to do at boot, as the agent reads it: "sysctl PATH VALUE" or "run PATH ARGUMENT
 * ..." */
#define BUNDLE_EARLY "lib/cor/early"

struct bundle_file {
	char *path; /* owned: in the guest, without the first '/' */
	mode_t mode;
	char *data; /* owned */
	size_t len;
};

/* All bundles of a build together. Zero-initialise. */
struct bundles {
	struct bundle_file *files;
	size_t n_files, cap_files;
	struct module_want *wants; /* module_table and what the bundles want, NULL name ends it; or NULL */
	size_t n_wants;
	struct strv names; /* owned: of modules, for `wants` */
	struct strv steps; /* lines of BUNDLE_EARLY */
	struct strv ids;   /* "NAME SHA256": NAME of the directory, digest of all that it adds */
	uint64_t size;
};

void bundles_fini(struct bundles *b); /* idempotent */
#define scoped_bundles __attribute__((cleanup(bundles_fini))) struct bundles

/* Reads one more bundle. Its files are taken from below its directory only. The error names the file and
 * line. */
int must_check bundles_add(struct bundles *b, const char *dir, struct err *e);
/* What the kernel's modules are chosen by; valid until the next bundles_add(). */
const struct module_want *bundles_wants(const struct bundles *b);
/* Adds the files, the directories above them that `c` has not yet, and BUNDLE_EARLY. The data is borrowed. */
int must_check bundles_put(const struct bundles *b, struct str *early, struct cpio *c, struct err *e);

#endif
