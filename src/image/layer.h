/* layer.h - one layer: a tar archive, packed or not, becomes an EROFS file in an import's staging. */
#ifndef IMAGE_LAYER_H
#define IMAGE_LAYER_H

#include "image/range.h"
#include "image/store.h"
#include "image/ui.h"
#include "image/unpack.h"

/* Makes "D.erofs" and "D.sum" in staging, where D is the digest of the unpacked archive, which goes to `ret`.
 * If `want` is not NULL D must be that. 0; 1 if the layer was there already, and is not made again. */
int must_check layer_make(const struct store_staging *g, const struct range *tar, const char *want,
			  const struct unpack_limits *lim, struct ui *ui, char ret[SHA256_HEX],
			  struct err *e);

/* Unpacks it to the directory "root" in staging, and nothing more; D must be `want`. */
int must_check layer_unpack(const struct store_staging *g, const struct range *tar, const char *want,
			    const struct unpack_limits *lim, struct ui *ui, struct unpack_stats *ret,
			    struct err *e);

/* The same as layer_make() from a directory (in staging, or an absolute path) that is as overlayfs wants it
 * already, whiteouts and all; `layer` names it, and `entries` is for the sum. */
int must_check layer_make_dir(const struct store_staging *g, const char *dir, const char *layer,
			      uint64_t entries, struct err *e);
/* The same into a file of its own (absolute path), without a sum. */
int must_check layer_make_file(const char *dir, const char *file, const char *layer, struct err *e);

#endif
