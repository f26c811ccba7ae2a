/* user.h - who a container's user is, by its own /etc/passwd and /etc/group. Called by process.c, inside the
 * container. The texts are the container's: whatever they say, it says about itself. */
#ifndef AGENT_USER_H
#define AGENT_USER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define USER_GROUPS_MAX 1024u

struct user {
	uint32_t uid, gid;
	uint32_t gids[USER_GROUPS_MAX]; /* supplementary */
	size_t n_gids;
};

/* Who `who` is: "USER", "USER:GROUP", each a name or a number, as an image's configuration has it (OCI
 * image-spec, config.User). The rules are those of Docker and Podman: a name stands before a number; a number
 * needs no entry, and without one its group is 0; groups that list the user are supplementary unless a group
 * is given; more than USER_GROUPS_MAX are left out. -ENOENT names what is not there. */
int must_check user_find(const char *who, const char *passwd, const char *group, struct user *ret,
			 struct err *e);

/* The home directory of a user in a passwd text, "/" if there is none. free(). */
char *must_check user_home(const char *passwd, uint32_t uid);

#endif
