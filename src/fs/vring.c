/* vring.c - a ring that a VMM has handed over: started, served, stopped.
 *
 * Called by vhost.c. Distrusts: the driver in the guest. A request is copied before it is looked at, and
 * served from the copy; the reply is written when it is complete. What the driver does wrong breaks its
 * ring, never the server. Never: keeps a chain longer than its request. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/vpriv.h"
#include "ring/fuse_chain.h"

#define BUDGET 16u /* requests of a turn: then messages and the other ring have theirs */

static unsigned number(const struct vhs_ring *r)
{
	return (unsigned)(r - r->s->ring);
}

static void ring_bell(int fd)
{
	uint64_t one = 1;
	ssize_t n = fd >= 0 ? write(fd, &one, sizeof one) : 0;

	(void)n; /* full: it rings anyway; no eventfd at all: the VMM's own loss */
}

static void broken(struct vhs_ring *r, const char *why)
{
	struct vhs *s = r->s;
	char text[128];

	r->q.broken = true;
	r->busy = false;
	ring_bell(r->err);
	if (!s->say || s->said == VHS_SAY_MAX)
		return;
	s->said++;
	(void)snprintf(text, sizeof text, "queue %u is broken: %s%s", number(r), why,
		       s->said == VHS_SAY_MAX ? "; no more of these are shown" : "");
	s->say(text);
}

/* ---- requests ---- */

static void request(struct vhs_ring *r)
{
	struct vhs *s = r->s;
	struct fuse_in_header h;
	const char *why = fuse_chain_check(&s->chain, sizeof s->req, &h);
	size_t cap = s->chain.in_len < sizeof s->reply ? s->chain.in_len : sizeof s->reply, n;

	if (why) {
		broken(r, why);
		return;
	}
	memcpy(s->req, &h, sizeof h); /* as it was checked: the guest may have changed it since */
	(void)vq_chain_read(&s->chain, sizeof h, s->req + sizeof h, h.len - sizeof h);
	n = fs_handle(s->fs, s->req, h.len, s->reply, cap);
	vq_push(&r->q, s->chain.head, (uint32_t)vq_chain_write(&s->chain, 0, s->reply, n));
}

void vring_serve(struct vhs_ring *r)
{
	unsigned served = 0;
	int got = 0;

	r->busy = false;
	if (!r->enabled || r->q.broken)
		return; /* a stopped one is empty */
	vq_kicks_off(&r->q);
	do {
		while (served < BUDGET && !r->q.broken && (got = vq_pop(&r->q, &r->s->chain)) > 0) {
			request(r);
			served++;
		}
		if (got < 0)
			broken(r, "its descriptors or indices are wrong");
	} while (served < BUDGET && vq_kicks_on(&r->q));
	r->busy = served == BUDGET && !r->q.broken;
	if (vq_should_notify(&r->q))
		ring_bell(r->call);
}

/* ---- life ---- */

static void on_kick(struct source *src, uint32_t events)
{
	struct vhs_ring *r = container_of(src, struct vhs_ring, kicked);
	uint64_t count;
	ssize_t n = read(r->kick, &count, sizeof count);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != (ssize_t)sizeof count) {
		r->s->result = err_set(r->s->e, -EPROTO, "queue %u: its kick is no eventfd", number(r));
		return;
	}
	vring_serve(r);
}

int vring_attach(struct vhs_ring *r)
{
	const struct vhs *s = r->s;
	struct vq_state *st = &r->q.st;
	const char *why = NULL;
	uint16_t used = 0;

	vq_stop(&r->q);
	st->size = r->size <= VQ_SIZE_MAX ? (uint16_t)r->size : 0; /* 0 is refused */
	if (vmem_gpa(&s->mem, r->addr.desc, &st->desc) < 0 ||
	    vmem_gpa(&s->mem, r->addr.avail, &st->avail) < 0 ||
	    vmem_gpa(&s->mem, r->addr.used, &st->used) < 0 ||
	    gmem_read(&s->mem.gmem, gpa(st->used + 2), &used, sizeof used) < 0)
		why = "its ring is not in the memory that was told";
	st->next_used = used;
	if (!why && vq_start(&r->q, &s->mem.gmem, s->features >> VIRTIO_RING_F_EVENT_IDX & 1,
			     s->features >> VIRTIO_RING_F_INDIRECT_DESC & 1) < 0)
		why = "its ring has a wrong size or place";
	if (!why)
		return 0;
	broken(r, why);
	return -EPROTO;
}

int vring_start(struct vhs_ring *r, int kick, struct err *e)
{
	int k;

	r->kick = kick;
	r->running = true;
	r->q.st.next_avail = r->base;
	/* Without the protocol's features there is no message that enables. */
	if (!(r->s->features >> VHU_F_PROTOCOL & 1))
		r->enabled = true;
	k = loop_add(&r->s->loop, &r->kicked, kick, EPOLLIN, on_kick);
	if (k < 0)
		return err_set(e, k == -EPROTO ? -EIO : k, "queue %u: its kick: %m", number(r));
	return vring_attach(r);
}

void vring_stop(struct vhs_ring *r)
{
	if (!r->running)
		return;
	loop_del(&r->kicked);
	(void)close(take_fd(&r->kick));
	r->base = r->q.st.next_avail;
	vq_stop(&r->q);
	r->running = r->busy = false;
}
