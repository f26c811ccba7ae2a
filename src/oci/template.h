/* template.h - config.json as this program writes it: by `cor spec`, for a VM's rehearsal, and for an image
 * that has none (runtime/image.c). What never differs (mounts, namespaces, masked paths) is runc's, with the
 * namespaces that a VM needs. */
#ifndef OCI_TEMPLATE_H
#define OCI_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/str.h"

/* A mount behind the usual ones. options: separated by commas. */
struct template_mount {
	const char *destination, *type, *source, *options;
};

/* What differs. Everything is borrowed; lists of texts are NULL-terminated, or NULL = empty. */
struct template
{
	bool terminal;
	const char *user; /* process.user.username; NULL = root */
	const char *const *args, *const *env;
	const char *cwd;
	const char *const *caps; /* of all sets but the inheritable one */
	bool no_ambient;         /* caps are not ambient */
	bool no_new_privs;
	uint64_t nofile_soft, nofile_hard;
	const char *root;
	bool root_readonly;
	const char *hostname;
	const struct template_mount *mounts;
	size_t n_mounts;
	const struct strv *annotations; /* key, value, key, value...; or NULL */
	uint64_t memory;                /* bytes; 0 = no limit, and so with the next */
	uint64_t cpu_quota;             /* microseconds of each TEMPLATE_PERIOD */
	bool rootless; /* a user namespace that maps root to uid and gid, and nothing that needs
			  privileges on the host */
	uid_t uid;
	gid_t gid;
};

#define TEMPLATE_PERIOD 100000u

extern const struct template template_spec; /* of `cor spec` */

/* Appends the document, indented by tabs, with a newline behind it. */
void template_write(const struct template *t, struct str *to);

#endif
