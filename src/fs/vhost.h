/* vhost.h - vhost-user, back end: a virtio-fs device's rings served here, in memory that a VMM shares with
 * us.
 *
 * For QEMU and any other VMM that speaks vhost-user (docs/vmm.md); cor-vmm's containers use the packet socket
 * (cli.c), since a clone's memory can't be shared. The protocol is in ring/vhost_user.h, what is served of it
 * in the table of vhost.c: two queues (requests of high priority, and requests), REPLY_ACK, MQ.
 *
 * The VMM may be anyone, and its guest, too. A message that is not as the table says ends the connection
 * with an error that names it; a ring that is wrong is broken (ring/vq.h): it is served no more until the VMM
 * stops and starts it. Memory is mapped from regular files only, at most VHS_MEMORY_MAX bytes in VHU_MEM_MAX
 * regions, each inside its file; one that is cut later raises SIGBUS, which is the program's to catch.
 * A VMM that sends half of a message, or reads no replies, stops its own file system, nobody else's.
 *
 * One thread. */
#ifndef FS_VHOST_H
#define FS_VHOST_H

#include "fs/fs.h"

#define VHS_QUEUES     2u
#define VHS_MEMORY_MAX (1ull << 40)
#define VHS_SAY_MAX    8 /* messages about rings, in the connection's life: a guest can cause them */

struct vhs;

/* `fs` and what `say` is given are borrowed; `sock`, a connected stream socket, is taken over on success.
 * `say` gets a line, without its end, for each queue that breaks; NULL = nobody wants it. */
int must_check vhs_new(struct fs *fs, int sock, void (*say)(const char *text), struct vhs **ret,
		       struct err *e);
void vhs_free(struct vhs *s); /* NULL is fine */

/* Waits up to timeout_ms (-1 = for ever) for messages and kicks and serves what there is, within bounds: 1 =
 * there may be more, 0 = the VMM has closed the connection, else the error. After 0 or an error: vhs_free()
 * only. */
int must_check vhs_turn(struct vhs *s, int timeout_ms, struct err *e);

#endif
