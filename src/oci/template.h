/* template.h - the default config.json that `cor spec` writes: runc's, with the namespaces a VM needs. */
#ifndef OCI_TEMPLATE_H
#define OCI_TEMPLATE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/str.h"

/* Appends the document, indented by tabs, with a newline behind it. rootless: a user namespace
 * that maps the container's root to uid and gid, and nothing that needs privileges on the host. */
void template_write(bool rootless, uid_t uid, gid_t gid, struct str *to);

#endif
