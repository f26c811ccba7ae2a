/* note.h - the VMM's messages: one line on stderr each, from any thread, without allocation.
 *
 * base/log.h allocates; after start nobody here may. What a guest can provoke is bounded by the caller
 * (vdev_break(), machine.c) and holds no guest bytes. */
#ifndef VMM_NOTE_H
#define VMM_NOTE_H

#include "base/scope.h"

/* "cor-vmm: " text, line break. Longer text is cut. A failure is ignored: a lost line must not cost a VM. */
void note(const char *fmt, ...) printf_like(1, 2);

#endif
