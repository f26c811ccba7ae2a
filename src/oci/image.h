/* image.h - the configuration of a container image (OCI image-spec 1.1, config.md; Docker's is the same):
 * what matters to who runs it. Called by runtime/image.c. Trusts nothing in the text; unknown members are
 * ignored, those that are read must have their type. */
#ifndef OCI_IMAGE_H
#define OCI_IMAGE_H

#include "oci/spec.h"

struct image_config {
	struct arena mem;                                     /* owns everything below */
	char *author, *created, *os, *architecture, *variant; /* NULL = absent, and so below */
	char *user;                                           /* "USER[:GROUP]", names or numbers */
	char *workdir, *stop_signal;
	struct spec_strs env, entrypoint, cmd;
	SPEC_LIST(struct spec_kv) labels;
	struct spec_strs volumes, ports; /* the names: a path, "80/tcp" */
};

/* doc: names the text in errors. -EINVAL, -ENOMEM. */
int must_check image_config_parse(const char *json, size_t n, const char *doc, struct image_config *ret,
				  struct err *e);
void image_config_fini(struct image_config *c); /* idempotent */
#define scoped_image_config __attribute__((cleanup(image_config_fini))) struct image_config

#endif
