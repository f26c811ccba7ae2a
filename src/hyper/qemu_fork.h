/* qemu_fork.h - what the qemu driver and its preloaded object say to each other about a QEMU that is copied.
 *
 * One packet socket, QEMU_FD_FORK in QEMU. The driver sends struct qemu_fork_ask with the copy's descriptors;
 * two answers come, in any order: the original's with a pidfd of the copy, and the copy's when it is whole.
 * An answer with a code is a refusal: then there is no copy, or the driver is to kill it. One at a time. */
#ifndef HYPER_QEMU_FORK_H
#define HYPER_QEMU_FORK_H

#include <stdint.h>

/* What goes with the question, in this order. They take the places of the original's. */
enum qemu_fork_fd {
	QEMU_FORK_AGENT,
	QEMU_FORK_CONSOLE,
	QEMU_FORK_QMP,
	QEMU_FORK_LOG,
	QEMU_FORK_SHARE, /* the directory that 9p serves */
	QEMU_FORK_FD_N
};

#define QEMU_FORK_WORD 0x6b726f46u

struct qemu_fork_ask {
	uint32_t word; /* QEMU_FORK_WORD */
};

enum qemu_fork_who { QEMU_FORK_ORIGINAL, QEMU_FORK_COPY };

struct qemu_fork_answer {
	uint32_t who; /* enum qemu_fork_who */
	int32_t code; /* 0, or -errno */
	uint32_t pid; /* of the copy, from the original with code 0; its pidfd goes with it */
};

#endif
