/* image.h - `cor run --image`: what takes a bundle's place. */
#ifndef RUNTIME_IMAGE_H
#define RUNTIME_IMAGE_H

#include "image/store.h"
#include "oci/image.h"
#include "oci/spec.h"
#include "runtime/cli.h"

/* The files of a container's root. */
struct image_root {
	struct strv layers; /* absolute paths, the bottom one first; empty = the root is a directory */
	struct strv verity; /* of each the fs-verity digest that it must have, "" = none; or empty */
	int lock;           /* of the store, shared: while it is held none of them goes away; -1 */
};

/* Looks --image up in the store and makes config.json from its configuration and the options: fills *spec
 * with the text in it, *ret, and cli->id if it has none. On failure both are as good as empty. */
int must_check image_load(struct cli *cli, struct spec *spec, struct image_root *ret, struct err *e);
/* A bundle's root (absolute, resolved) as images, if image.convert is set and it can be so: else *ret stays
 * empty, the container gets the shared directory, and a warning says why. state_dir: absolute; a file of the
 * container's own may be made there. */
int must_check image_convert(const struct settings *s, const struct spec *spec, const char *root,
			     const char *state_dir, struct image_root *ret, struct strv *warnings,
			     struct err *e);
/* The VM has the files open: they may go. */
void image_settled(struct image_root *r);
void image_root_fini(struct image_root *r); /* idempotent */

/* The document alone. `hostname` is the container's name. Pure but for the paths of --volume, which must
 * exist. */
int must_check image_spec(const struct image_config *image, const struct cli *cli, struct str *to,
			  struct err *e);

#endif
