/* clipriv.h - what the files of cor-image's command line share. */
#ifndef IMAGE_CLIPRIV_H
#define IMAGE_CLIPRIV_H

#include "image/image.h"
#include "image/import.h"
#include "image/kbuild.h"
#include "image/os.h"

struct args {
	struct strv bundles;
	struct os_opts os;
	struct kbuild_opts kernel;
	struct import_opts import;
	/* of import, as given; cli_import_opts() reads them */
	const char *type, *devices, *max_entries, *max_size, *verity;
	const char *store;
	bool json, quiet;
	const char *arg; /* what follows the command, or NULL */
};

/* Reads the options of import that are not plain text: NULL, or what is wrong with one. */
const char *cli_import_opts(struct args *a);

int cmd_import(const struct args *a, const struct image_env *env, struct err *e);
int cmd_rm(const struct args *a, const struct image_env *env, struct err *e);
int cmd_gc(const struct args *a, const struct image_env *env, struct err *e);
int cmd_inspect(const struct args *a, const struct image_env *env, struct err *e);
/* ls and verify of images; those of a mini-OS are in cli.c. */
int cmd_images(const struct args *a, const struct image_env *env, struct err *e);
int cmd_images_verify(const struct args *a, const struct image_env *env, struct err *e);

#endif
