/* features.h - the OCI features document (`cor features`): what this build honours, no more.
 * Static; derived from the same tables that the parser uses. */
#ifndef OCI_FEATURES_H
#define OCI_FEATURES_H

#include <stdbool.h>

#include "base/str.h"

/* Annotations of ours begin so; every one of them changes what the runtime does. */
#define OCI_ANNOTATION_PREFIX "dev.cor."

/* Appends the document, indented by tabs, with a newline behind it. idmap: bind mounts can be ID-mapped,
 * which depends on who serves the files. */
void features_write(struct str *to, bool idmap);

#endif
