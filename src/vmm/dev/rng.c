/* rng.c - virtio entropy device (id 4): the host's random numbers.
 *
 * Made by the machine (dev.h); served on the loop thread. Trusts: getrandom(). Distrusts: the chains, which
 * vq.c has checked. Never: waits for entropy (rng_new() does, once), gives more than RNG_CHAIN_MAX bytes for
 * one request. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/random.h>

#include "vmm/dev/dev.h"

#define RNG_CHAIN_MAX 4096u
#define RNG_UNIT      256u /* getrandom() gives so much without being interrupted */

struct rng {
	struct vdev d;
};

/* A driver asks again for what it did not get, so a large request gets a part. */
static unsigned rng_request(struct vdev *d, unsigned q, struct vq_chain *c, uint32_t *ret_len)
{
	uint8_t buf[RNG_UNIT];
	uint32_t done = 0;
	uint64_t want = c->in_len < RNG_CHAIN_MAX ? c->in_len : RNG_CHAIN_MAX, part;

	while (done < want) {
		part = want - done < sizeof buf ? want - done : sizeof buf;
		if (getrandom(buf, part, 0) != (ssize_t)part)
			break;
		done += (uint32_t)vq_chain_write(c, done, buf, part);
	}
	explicit_bzero(buf, sizeof buf);
	*ret_len = done;
	return 1;
}

static void rng_kick(struct vdev *d, unsigned q)
{
	vdev_serve(d, q, rng_request);
}

static void rng_fini(struct vdev *d)
{
	free(container_of(d, struct rng, d));
}

static const struct vdev_ops rng_ops = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.queue_size = 16,
	.version = 1,
	.kick = rng_kick,
	.fini = rng_fini,
};

int rng_new(struct vdev **ret, struct err *e)
{
	struct rng *r;
	uint8_t byte;

	if (getrandom(&byte, sizeof byte, 0) !=
	    (ssize_t)sizeof byte) /* waits for a host that has just started */
		return err_set(e, -EIO, "rng: the host gives no random numbers");
	r = calloc(1, sizeof *r);
	if (!r)
		return err_set(e, -ENOMEM, "rng: %m");
	r->d = (struct vdev){ .ops = &rng_ops, .n_queues = 1, .label = "rng" };
	*ret = &r->d;
	return 0;
}
