/* source.h - where an image comes from: OCI layout (directory or archive), the archives of `docker save` and
 * `podman save`, a plain tar archive, a directory. Called by import.c. */
#ifndef IMAGE_SOURCE_H
#define IMAGE_SOURCE_H

#include "image/layer.h"

#define SOURCE_JSON_MAX (4u << 20)

enum source_kind { SOURCE_AUTO, SOURCE_OCI, SOURCE_DOCKER, SOURCE_TAR, SOURCE_DIR, SOURCE_KIND_N };

/* "oci", "docker", "tar", "dir"; "auto" for SOURCE_AUTO. NULL-terminated. */
extern const char *const source_kind_names[];

/* A file inside an archive. */
struct member {
	char *name, *link; /* owned, cleaned; link: what it stands for, or NULL */
	uint64_t off, len;
};

struct source {
	enum source_kind kind;
	const char *path; /* borrowed, for errors */
	int fd;           /* the directory, or the archive, unpacked if it had to be looked through */
	uint64_t len;     /* of the archive */
	bool is_dir;
	struct member *members; /* sorted by name */
	size_t n_members;
};

void source_fini(struct source *s);
#define scoped_source __attribute__((cleanup(source_fini))) struct source

/* Opens `path` and finds out what it is, unless `kind` says so. A packed archive of an image is unpacked into
 * staging, to at most `max` bytes; one that is a layer stays packed, or is unpacked if it is small. */
int must_check source_open(struct source *s, const char *path, enum source_kind kind, int staging,
			   uint64_t max, struct err *e);
/* A file of an OCI layout or docker archive by its path; the caller closes *ret_fd. */
int must_check source_file(const struct source *s, const char *path, struct range *ret, int *ret_fd,
			   struct err *e);

/* What import.c needs to know of an image. */
struct source_image {
	char *config; /* owned */
	size_t config_len;
	char *name;          /* owned: what the source calls it, or NULL */
	struct strv layers;  /* paths for source_file() */
	struct strv digests; /* "" or the sha256 of such a file, as hex */
};

void source_image_fini(struct source_image *i);
#define scoped_source_image __attribute__((cleanup(source_image_fini))) struct source_image

/* Reads the manifest of an OCI layout or docker archive: the only image in it, or the one called `ref`. The
 * digest of the manifest and of the configuration are checked. */
int must_check source_image(const struct source *s, const char *ref, struct source_image *ret, struct err *e);

/* Parsers of its parts, for the tests. *ret as above, without config; `config` gets the configuration's path.
 */
int must_check source_parse_docker(const char *text, size_t n, const char *doc, const char *ref,
				   struct source_image *ret, char **config, struct err *e);
struct source_desc {
	char digest[SHA256_HEX];
	uint64_t size;
	bool index; /* it is a list of manifests itself */
};
/* Of an OCI index the manifest for this machine (linux/amd64) called `ref`, or the only one. */
int must_check source_parse_index(const char *text, size_t n, const char *doc, const char *ref,
				  struct source_desc *ret, char **ret_name, struct err *e);
int must_check source_parse_manifest(const char *text, size_t n, const char *doc, struct source_desc *config,
				     struct source_image *ret, struct err *e);

#endif
