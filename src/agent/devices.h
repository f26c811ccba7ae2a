/* devices.h - device nodes and links in a container's /dev. Called by rootfs.c. */
#ifndef AGENT_DEVICES_H
#define AGENT_DEVICES_H

#include "base/err.h"
#include "wire/msg.h"

/* The default nodes and links of the OCI spec, and those of ctr->devices. In a user namespace nodes
 * can't be made: the guest's own are bound in. */
int must_check devices_make(int root, const struct msg_ctr *ctr, bool has_userns, struct err *e);

#endif
