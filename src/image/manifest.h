/* manifest.h - the text file beside kernel and initrd that says what they are: one "key value ..."
 * line each, first "cor-os 2" (the number counts changes of what a build writes). Written by a build,
 * read by the next one, by `verify` and by people. */
#ifndef IMAGE_MANIFEST_H
#define IMAGE_MANIFEST_H

#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "base/str.h"

#define MANIFEST_NAME "manifest"
#define MANIFEST_MAX  (256u << 10)

struct manifest_file {
	char sha256[SHA256_HEX]; /* "" = unknown */
	uint64_t size;
};

/* Zero-initialise. */
struct manifest {
	char *release;            /* owned: `uname -r` in the guest */
	char *origin;             /* owned: where the kernel is from, in words */
	char inputs[SHA256_HEX];  /* all that went in: equal inputs give equal files */
	char vmlinuz[SHA256_HEX]; /* the kernel as it was packed */
	struct manifest_file vmlinux, initrd, agent;
	struct strv modules; /* "NAME boot|demand SHA256", in load order */
	struct strv bundles; /* "NAME SHA256", in the order given */
};

void manifest_fini(struct manifest *m); /* idempotent */
#define scoped_manifest __attribute__((cleanup(manifest_fini))) struct manifest

/* Appends the text. */
int must_check manifest_format(const struct manifest *m, struct str *to, struct err *e);
/* Reads text of any origin; the error names the line. */
int must_check manifest_parse(const char *text, struct manifest *ret, struct err *e);
/* The same from DIR/manifest; -ENOENT if there is none. */
int must_check manifest_read(const char *dir, struct manifest *ret, struct err *e);

#endif
