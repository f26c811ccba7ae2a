/* balloon.c - virtio memory balloon (id 5): memory that the guest does not need goes back to the host.
 *
 * Made by the machine, which also sets the target and asks for statistics (dev.h); served on the loop thread.
 * Three ways of giving back: the target (inflate and deflate), pages the guest reports as free on its own
 * (VIRTIO_BALLOON_F_REPORTING), and the guest's own deflating when it runs out (DEFLATE_ON_OOM).
 *
 * Distrusts: every page number. Never: drops anything but the guest's RAM (a pmem file is not), or grows with
 * what the guest says.
 *
 * What a dropped page reads as: anonymous memory and a shared memfd zeros, but where the kernel's file was
 * mapped (boot/boot.h) its page; a clone's private mapping the template's page again. All are right. The
 * device may leave any content as long as PAGE_POISON is not agreed on, and it is not offered; the guest's
 * kernel takes the page as uninitialised. And nobody learns anything: a template's memory is from before its
 * first container, and every clone could read that page all along. */
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/dev/dev.h"

#define INFLATE   0u
#define DEFLATE   1u
#define STATS     2u   /* if it was agreed on; the reporting queue follows what is there */
#define PAGES_MAX 512u /* page numbers in one chain: twice what Linux sends */
#define STATS_MAX 32u  /* entries of a statistics buffer that are read */
#define COST      64u  /* pages that cost as much as one more request */
#define PFN_SHIFT VIRTIO_BALLOON_PFN_SHIFT

struct balloon_state {
	uint32_t target, actual; /* pages of 4 KiB: what the host wants, what the guest says */
	struct balloon_stats stats;
	uint16_t stats_head; /* the statistics buffer that waits to be asked for */
	uint8_t stats_held;
	uint8_t pad[5];
};
_Static_assert(sizeof(struct balloon_state) == 104, "written to snapshots");

struct balloon {
	struct vdev d;
	struct balloon_state st;
	struct {
		uint32_t num_pages, actual;
	} config; /* the start of struct virtio_balloon_config */
	uint64_t ram_end;
	uint32_t pages_max;
	int advice; /* MADV_* that gives memory back */
};

static struct balloon *balloon_of(struct vdev *d)
{
	return container_of(d, struct balloon, d);
}

/* ---- pages ---- */

/* Drops n pages from page number `pfn` on. False: not RAM. */
static bool drop(const struct balloon *b, uint64_t pfn, uint64_t n)
{
	uint64_t len = n << PFN_SHIFT;
	void *p = gmem_slice(b->d.mem, gpa(pfn << PFN_SHIFT), len, GMEM_WRITE);

	if (!p || (pfn << PFN_SHIFT) + len > b->ram_end)
		return false;
	/* A failure (locked or huge pages) leaves the page as it was: memory that is not saved. */
	(void)madvise(p, len, b->advice);
	return true;
}

/* Drops the pages of a list, neighbours together. False: a number that is none of the guest's RAM. */
static bool drop_list(const struct balloon *b, const uint32_t *pfn, uint32_t n)
{
	uint32_t first, k;

	for (uint32_t i = 0; i < n; i += k) {
		first = pfn[i];
		for (k = 1; i + k < n && pfn[i + k] == (uint64_t)pfn[i] + k; k++)
			;
		if (k == 1) /* Linux takes pages from the end of a block just as often */
			for (; i + k < n && (uint64_t)pfn[i + k] + k == pfn[i]; k++)
				first = pfn[i + k];
		if (!drop(b, first, k))
			return false;
	}
	return true;
}

static unsigned inflate(struct vdev *d, unsigned q, struct vq_chain *c, uint32_t *ret_len)
{
	uint32_t pfn[PAGES_MAX], n = (uint32_t)(c->out_len / sizeof pfn[0]);

	(void)q;
	(void)ret_len;
	if (c->out_len % sizeof pfn[0] != 0 || c->out_len > sizeof pfn) {
		vdev_break(d, "list of pages has a wrong length");
		return 1;
	}
	if (vq_chain_read(c, 0, pfn, c->out_len) != c->out_len || !drop_list(balloon_of(d), pfn, n))
		vdev_break(d, "page outside of memory");
	return 1 + n / COST;
}

/* A page that comes back is simply used again: its first touch brings it. */
static unsigned deflate(struct vdev *d, unsigned q, struct vq_chain *c, uint32_t *ret_len)
{
	(void)d;
	(void)q;
	(void)c;
	(void)ret_len;
	return 1;
}

/* The chain's segments are the free pages themselves; the ring has checked that they are writable. Whole
 * pages of RAM only: a host address is RAM if the region it lies in is. */
static bool is_ram(const struct balloon *b, const struct iovec *v)
{
	const uint8_t *p = v->iov_base;

	for (unsigned i = 0; i < b->d.mem->n; i++) {
		const struct gmem_region *r = &b->d.mem->r[i];

		if (p >= r->host && p < r->host + r->len)
			return r->start + r->len <= b->ram_end;
	}
	return false;
}

static unsigned report(struct vdev *d, unsigned q, struct vq_chain *c, uint32_t *ret_len)
{
	const struct balloon *b = balloon_of(d);

	(void)q;
	(void)ret_len;
	for (unsigned i = c->n_out; i < (unsigned)c->n_out + c->n_in; i++) {
		if (!is_ram(b, &c->iov[i])) {
			vdev_break(d, "free page outside of memory");
			break;
		}
		if ((uintptr_t)c->iov[i].iov_base % GMEM_PAGE == 0 && c->iov[i].iov_len % GMEM_PAGE == 0)
			(void)madvise(c->iov[i].iov_base, c->iov[i].iov_len, b->advice); /* as above */
	}
	return 1 + c->n_in;
}

/* ---- statistics ---- */

static void take_stats(struct balloon *b, const struct vq_chain *c)
{
	struct virtio_balloon_stat s;

	b->st.stats.valid = 0;
	for (uint32_t i = 0; i < STATS_MAX; i++) {
		if (vq_chain_read(c, i * sizeof s, &s, sizeof s) != sizeof s)
			return;
		if (s.tag >= BALLOON_STATS_N)
			continue; /* newer than we are */
		b->st.stats.value[s.tag] = s.val;
		b->st.stats.valid |= 1u << s.tag;
	}
}

/* The driver's buffer stays here until somebody asks: giving it back is the question. */
static void kick_stats(struct balloon *b)
{
	struct vq_chain c;

	if (!vdev_pop(&b->d, STATS, &c))
		return;
	if (b->st.stats_held) {
		vdev_break(&b->d, "second statistics buffer");
		return;
	}
	take_stats(b, &c);
	b->st.stats_head = c.head;
	b->st.stats_held = 1;
	b->st.stats.count++;
}

/* ---- the device ---- */

static void balloon_kick(struct vdev *d, unsigned q)
{
	bool stats = vdev_has(d, VIRTIO_BALLOON_F_STATS_VQ);

	if (q == INFLATE)
		vdev_serve(d, q, inflate);
	else if (q == DEFLATE)
		vdev_serve(d, q, deflate);
	else if (q == STATS && stats)
		kick_stats(balloon_of(d));
	else if (q == STATS + stats && vdev_has(d, VIRTIO_BALLOON_F_REPORTING))
		vdev_serve(d, q, report);
}

/* Only `actual` is the driver's. */
static void balloon_config_write(struct vdev *d, uint32_t off, const void *src, uint32_t n)
{
	struct balloon *b = balloon_of(d);

	if (off != sizeof b->config.num_pages || n != sizeof b->config.actual)
		return;
	memcpy(&b->config.actual, src, n);
	b->st.actual = b->config.actual;
}

static void balloon_reset(struct vdev *d)
{
	struct balloon *b = balloon_of(d);

	b->st.actual = b->config.actual = 0;
	b->st.stats = (struct balloon_stats){ 0 };
	b->st.stats_held = 0;
}

static int balloon_restored(struct vdev *d, struct err *e)
{
	struct balloon *b = balloon_of(d);

	if (b->st.target > b->pages_max || b->st.stats_held > 1 ||
	    (b->st.stats_held && b->st.stats_head >= d->queues[STATS].st.size))
		return err_set(e, -EBADMSG, "the snapshot's balloon is not this VM's");
	b->config.num_pages = b->st.target;
	b->config.actual = b->st.actual;
	return 0;
}

static void balloon_fini(struct vdev *d)
{
	free(balloon_of(d));
}

static const struct vdev_ops balloon_ops = {
	.name = "balloon",
	.id = VIRTIO_ID_BALLOON,
	.queue_size = 128,
	.version = 1,
	.state_size = sizeof(struct balloon_state),
	.config_write = balloon_config_write,
	.kick = balloon_kick,
	.reset = balloon_reset,
	.restored = balloon_restored,
	.fini = balloon_fini,
};

int balloon_new(const struct balloon_cfg *cfg, struct vdev **ret, struct err *e)
{
	struct balloon *b = calloc(1, sizeof *b);

	if (!b)
		return err_set(e, -ENOMEM, "balloon: %m");
	b->d = (struct vdev){ .ops = &balloon_ops,
			      .features = 1ull << VIRTIO_BALLOON_F_STATS_VQ |
					  1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
					  1ull << VIRTIO_BALLOON_F_REPORTING,
			      .n_queues = 4,
			      .config = (uint8_t *)&b->config,
			      .config_len = sizeof b->config,
			      .state = &b->st,
			      .label = "balloon" };
	b->ram_end = cfg->ram_end;
	b->pages_max = cfg->ram_pages;
	b->advice = cfg->shared ? MADV_REMOVE : MADV_DONTNEED;
	*ret = &b->d;
	return 0;
}

/* ---- for the machine ---- */

int balloon_set_target(struct vdev *d, uint32_t pages)
{
	struct balloon *b = balloon_of(d);

	if (pages > b->pages_max)
		return -ERANGE;
	vdev_lock(d);
	b->st.target = b->config.num_pages = pages;
	vdev_config_changed(d);
	vdev_unlock(d);
	return 0;
}

uint32_t balloon_actual(struct vdev *d)
{
	uint32_t n;

	vdev_lock(d);
	n = balloon_of(d)->st.actual;
	vdev_unlock(d);
	return n;
}

bool balloon_ask_stats(struct vdev *d)
{
	struct balloon *b = balloon_of(d);
	bool held;

	vdev_lock(d);
	held = b->st.stats_held && vdev_is_active(d);
	if (held) {
		b->st.stats_held = 0;
		vdev_push(d, STATS, b->st.stats_head, 0);
		vdev_notify(d, STATS);
	}
	vdev_unlock(d);
	return held;
}

void balloon_stats(struct vdev *d, struct balloon_stats *ret)
{
	vdev_lock(d);
	*ret = balloon_of(d)->st.stats;
	vdev_unlock(d);
}
