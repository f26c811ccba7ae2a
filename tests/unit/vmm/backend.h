/* backend.h - a scripted vhost-user back end on a thread of its own: serves rings, or lies.
 *
 * For the tests of vhost.c and fs.c. Every request of a ring is answered by "served" in its writable part. */
#ifndef VMM_BACKEND_H
#define VMM_BACKEND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "ring/gmem.h"
#include "ring/vq.h"

#define BACKEND_QUEUES 4
#define BACKEND_SERVED "served"

enum backend_lie {
	HONEST,
	CLOSES,
	SILENT,
	HALF,          /* half of a reply, then the end */
	WRONG_REQUEST, /* the reply's header */
	WRONG_SIZE,
	WRONG_VERSION,
	NOT_A_REPLY,
	ODD_FLAG,
	WRONG_VALUE,  /* the reply's content: an acknowledgement that is none, missing features... */
	NO_VERSION_1, /* of the features */
	WRONG_INDEX,  /* of GET_VRING_BASE */
	LARGE_BASE,
};

struct backend {
	/* Set by the test: */
	enum backend_lie lie;
	uint32_t at; /* message to which it lies; the others it answers */
	/* Read by the test after backend_stop(): */
	unsigned count[64]; /* messages of each number */
	uint16_t base;      /* the last SET_VRING_BASE */
	uint64_t features;  /* the last SET_FEATURES */
	/* Its own: */
	int sock;
	int stop[2]; /* pipe */
	pthread_t thread;
	struct gmem mem;
	uint8_t *map;
	uint64_t map_len;
	struct vq q[BACKEND_QUEUES];
	int kick[BACKEND_QUEUES], call[BACKEND_QUEUES];
	unsigned served;
};

/* Starts it; returns the front end's socket. */
int backend_start(struct backend *b, enum backend_lie lie, uint32_t at);
/* Ends it, however far it is, and waits for it. */
void backend_stop(struct backend *b);

#endif
