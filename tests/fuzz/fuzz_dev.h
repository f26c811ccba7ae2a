/* fuzz_dev.h - a driver made of choices for any virtio device: chains that are mostly as they should be, with
 * rare wrong bits, on the rig of the unit tests.
 *
 * Asserted of every device: it writes nothing but the chains' writable segments and the used rings; gives
 * back only heads that were offered, and not more often; never says it wrote more than there was room; is
 * broken or serves. What a device promises beyond that is its target's. */
#ifndef FUZZ_DEV_H
#define FUZZ_DEV_H

#include "fuzz.h"
#include "rig.h"

#define FUZZ_DEV_RING 16

struct fuzz_dev;

struct fuzz_dev_hooks {
	/* Puts a plausible request into the first readable segment of a chain for queue q. */
	void (*fill)(struct fuzz_dev *f, unsigned q, uint8_t *p, size_t n);
	/* Something happens on the host's side. */
	void (*event)(struct fuzz_dev *f);
	/* After each turn of the device. */
	void (*check)(struct fuzz_dev *f);
	uint32_t len_min, len_max; /* what a chain comes back with; len_max 0 = its room */
	bool holds; /* the device keeps chains: the driver's descriptors may be written over meanwhile */
};

struct fuzz_dev {
	struct rig rig;
	struct fuzz_in *in;
	const struct fuzz_dev_hooks *hooks;
	void *data; /* the target's */
	/* What the driver did since the last reset. */
	unsigned in_flight; /* descriptors of chains that the device has not seen */
	bool spoiled;       /* a wrong bit in the rings, or descriptors written over: what the device saw is
			       anyone's       guess, only that it stays in guest memory can be asserted (the rig's
			       guard       pages) */
	unsigned offered[VDEV_QUEUES_MAX][FUZZ_DEV_RING];
	uint64_t room[VDEV_QUEUES_MAX][FUZZ_DEV_RING];
	uint8_t *before, *writable; /* a copy of the memory; 1 for each byte the device may write */
};

/* Takes the device and the input, and lives until the input is used up. */
void fuzz_dev_run(struct fuzz_in *in, struct vdev *d, const struct fuzz_dev_hooks *hooks, void *data);

#endif
