/* ahead.h - how far the guest's kernel reads ahead in the share.
 *
 * A program that starts touches its file here and there, by page faults, and each of them brings as much as
 * is read ahead: pages that stay in the guest's memory, in a clone as copies of its own, and that nobody
 * asked for. So cor-fsd lets the kernel begin with little, and the agent asks for more when the program has
 * started. What a file was opened with it keeps: the program and its libraries stay with little. */
#ifndef AGENT_AHEAD_H
#define AGENT_AHEAD_H

#include "base/err.h"

#define AHEAD_AFTER_MS 1000 /* from START on: a program has found its libraries by then */

/* Files of the virtio-fs mounted at `share` that are opened from now on are read as far ahead as those of a
 * disk. */
int must_check ahead_more(const char *share, struct err *e);

#endif
