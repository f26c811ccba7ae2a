/* implied.h - what an image's layer says of directories that its archive has no entry for: `var/lib/x` alone
 * says nothing of var and var/lib, which are as a layer below has them. In a layer's file system they need an
 * owner and a mode all the same, and overlayfs shows those of the top. So cor-image lists them in the layer
 * (image/unpack.c) and the agent mends the root made of layers (agent/implied.c). */
#ifndef SYS_IMPLIED_H
#define SYS_IMPLIED_H

#include "base/scope.h"

/* In the layer's root, if there are any: paths below it, each with a NUL behind, what is above before what is
 * below. No archive can bring a file of such a name: it would be a whiteout, or a note of aufs. */
#define IMPLIED_FILE ".wh..wh.cor-implied"
#define IMPLIED_MAX  (4u << 20) /* bytes of it */

/* The list of the layer `dir` (O_PATH will do), with a NUL behind (free()). -ENOENT = it has none; -EBADMSG =
 * what is called so is no regular file: a layer that an engine unpacked can have anything. Follows no symlink
 * and waits for no writer of a pipe. Any thread. */
int must_check implied_read_list(int dir, char **ret, size_t *ret_len);

#endif
