/* store.h - the image store: container images as one EROFS file per layer.
 *
 *     ROOT/lock             flock(2): held shared by readers for a moment, exclusively by changes
 *     ROOT/names            "ID NAME" per line: what names stand for
 *     ROOT/images/ID        an image's configuration, the very bytes; ID is their sha256
 *     ROOT/layers/D.erofs   a layer; D is the sha256 of its uncompressed tar archive (OCI's diff_id). Or
 *                           several put together (store_run()); D is of their diff_ids then
 *     ROOT/layers/D.sum     "SHA256 SIZE ENTRIES" of that file; behind them its fs-verity digest, if it has
 * one ROOT/staging/XXXXXX/  what an import works on; flocked while it lives
 *
 * The configuration says which layers an image has: there is no second list that could differ. Files are
 * written in staging, made durable and moved; a crash leaves staging directories and layers that no image
 * has, and store_gc() removes both. A layer's file never changes, so a VM may keep it mapped while names come
 * and go.
 *
 * A layer's file: EROFS, not compressed, data in whole 4 KiB blocks, its size a multiple of 2 MiB: what a
 * DAX device needs. It is filled up by a hole to one of few sizes, so that VMs of different images are alike.
 * UUID = the first half of D. Whiteouts and hidden directories are as overlayfs reads them.
 *
 * The first part is for whoever runs images; the second for cor-image alone. Trusts ROOT (root's, 0700). */
#ifndef IMAGE_STORE_H
#define IMAGE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "base/str.h"

#define STORE_DEFAULT    "/var/lib/cor/images"
#define STORE_ALIGN      (2u << 20) /* of a layer's size */
#define STORE_CONFIG_MAX (4u << 20)
#define STORE_LAYERS_MAX 127u /* of an image: what Docker and containerd allow */
#define STORE_DEVICES    23u  /* files of a root: a VM has room for so many devices beside its mini-OS */
#define STORE_NAME_MAX   255u

struct store {
	char *path; /* owned */
	int fd;     /* of the directory; -1 = none */
};

void store_fini(struct store *s);
#define scoped_store __attribute__((cleanup(store_fini))) struct store

struct store_image {
	char id[SHA256_HEX];
	char *config; /* owned: the OCI image configuration, NUL-terminated */
	size_t config_len;
	struct strv layers; /* diff_ids as hex, lowest first */
	struct strv files;  /* what stands for them in ROOT/layers, lowest first: the same, but for a run */
};

/* The layers of an image from `from` to before `to` that are put together to one file, since a VM has no
 * device for each; none if both are the same. */
struct store_run {
	size_t from, to;
};

/* Of n layers, so that they and what is put together take no more than `room` devices, 10 or more. The lowest
 * stay by themselves, since other images have them, too; so do the topmost, since the next build changes
 * them; and a layer more on top mostly leaves the run as it is. */
struct store_run store_run(size_t n, size_t room);
/* What the file of a run is called: it depends on the names of its layers and their order alone. */
void store_run_name(const struct strv *layers, struct store_run run, char ret[SHA256_HEX]);

void store_image_fini(struct store_image *i);
#define scoped_store_image __attribute__((cleanup(store_image_fini))) struct store_image

/* Opens a store; makes it if `create` and it is missing. -ENOENT with a hint without. */
int must_check store_open(struct store *s, const char *path, bool create, struct err *e);
/* An fd whose lock lasts until it is closed. Waits. While it is held shared nothing is removed: hold it from
 * store_find() until every layer is open, no longer. */
int must_check store_lock(const struct store *s, bool exclusive, struct err *e);
/* What a user calls an image: its name, its id ("sha256:" before it is allowed), or 6 or more first digits of
 * the id that fit no other. -ENOENT, -EEXIST (fits several). */
int must_check store_find(const struct store *s, const char *what, char ret_id[SHA256_HEX], struct err *e);
/* Reads an image by its id and checks that the configuration is what the id says. Zero-initialise *ret. */
int must_check store_read(const struct store *s, const char *id, struct store_image *ret, struct err *e);
/* Opens a layer's EROFS file for reading; *ret_size is a multiple of STORE_ALIGN. The fd stays good when the
 * layer is removed from the store. */
int must_check store_open_layer(const struct store *s, const char *layer, int *ret_fd, uint64_t *ret_size,
				struct err *e);

/* What ROOT/layers/D.sum says. */
struct store_sum {
	char sha256[SHA256_HEX];
	uint64_t size, entries;
	char verity[SHA256_HEX]; /* its fs-verity digest (sys/verity.h); "" = it has none */
};

int must_check store_read_sum(const struct store *s, const char *layer, struct store_sum *ret, struct err *e);

/* ---- cor-image alone ---- */

/* One name, or an image that has none (name = ""). */
struct store_row {
	char id[SHA256_HEX];
	char name[STORE_NAME_MAX + 1];
};

/* All names in order, then images without one; *ret is freed by the caller. */
int must_check store_list(const struct store *s, struct store_row **ret, size_t *ret_n, struct err *e);

/* Letters, digits and . _ - / : @, beginning with a letter or digit, and not all hex digits like an id. */
bool store_name_ok(const char *name);
/* diff_ids of an image configuration (config.json of an image, rootfs.diff_ids), checked. `doc` names it. */
int must_check store_config_layers(const char *config, size_t n, const char *doc, struct strv *ret,
				   struct err *e);
/* Fills i->files by i->layers. */
int must_check store_find_files(struct store_image *i, struct err *e);

struct store_staging {
	char name[16]; /* below ROOT/staging */
	int fd, lock;  /* the directory; it again, flocked */
	const struct store *store;
};

/* A fresh directory for one import; removes those of imports that died. */
int must_check store_stage(const struct store *s, struct store_staging *ret, struct err *e);
void store_staging_fini(struct store_staging *g); /* removes it */
#define scoped_staging __attribute__((cleanup(store_staging_fini))) struct store_staging

/* Takes a layer that the store has by link into staging, so that no gc can take it away: 1, or 0 = not there.
 */
int must_check store_stage_known(const struct store_staging *g, const char *layer, struct err *e);
/* Writes "D.sum" in staging. */
int must_check store_stage_sum(const struct store_staging *g, const char *layer, const struct store_sum *sum,
			       struct err *e);
/* Lets the kernel check what is read of a layer from now on (fs-verity) and notes its digest in the sum. In
 * staging, but a layer that the store has already is the same file. -EOPNOTSUPP, -ENOTTY: not here. */
int must_check store_stage_seal(const struct store_staging *g, const char *layer, struct err *e);
/* Puts the layers (image->files) and the configuration that are in staging ("D.erofs", "D.sum") into the
 * store and lets the name stand for it. Durable on return; the name is the last. */
int must_check store_commit(const struct store_staging *g, const struct store_image *image, const char *name,
			    struct err *e);

/* Puts one layer that is in staging into the store, for no image (convert.h). */
int must_check store_commit_layer(const struct store_staging *g, const char *layer, struct err *e);

/* Removes a name; its image goes when no other name has it. `what` as for store_find(): an id removes the
 * image and all its names. Layers stay until store_gc(). */
int must_check store_remove(const struct store *s, const char *what, struct err *e);

struct store_gc {
	uint64_t layers, staging, bytes;
};

/* Removes layers that no image has, half files and staging directories of imports that died. */
int must_check store_gc(const struct store *s, struct store_gc *ret, struct err *e);

/* Reads an image and its layers again and compares them with their sums. Takes the lock (shared) to open
 * them, not to read them. *ret_gone: there is no such image any more, and nothing to say about it. */
int must_check store_verify(const struct store *s, const char *id, bool *ret_gone, struct err *e);

#endif
