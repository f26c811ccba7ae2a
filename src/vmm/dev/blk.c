/* blk.c - virtio block device (id 2): a raw file or block device.
 *
 * Made by the machine (dev.h); served on the loop thread, synchronously: execute() is the one place where
 * requests touch the file, and the seam for another engine (it would keep the chain and call finish() later).
 * Trusts: the file is as large as it was. Distrusts: chains and every field in them. Never: touches bytes
 * beyond the capacity, writes a read-only disk, or ends for an error of the file: that is the guest's to
 * handle (VIRTIO_BLK_S_IOERR).
 *
 * The fd must not be O_DIRECT: a guest's buffers have any alignment. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "vmm/dev/dev.h"

#define SECTOR       512u
#define SEG_MAX      (VQ_SEGS_MAX - 2u) /* without header and status */
#define SEGMENT_MAX  (128u << 10)
#define DATA_MAX     (SEG_MAX * (uint64_t)SEGMENT_MAX) /* what a driver can send within the limits told */
#define DISCARD_SEGS 16u
#define DISCARD_MAX  (1u << 22)   /* sectors: 2 GiB */
#define ZEROES_MAX   (1u << 15)   /* sectors: 16 MiB, because they may have to be written */
#define COST_BYTES   (256u << 10) /* so much data costs as much as one more request */
#define QUEUES_MAX   8u
#define FEATURES                                                                                             \
	(1ull << VIRTIO_BLK_F_SIZE_MAX | 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |      \
	 1ull << VIRTIO_BLK_F_TOPOLOGY | 1ull << VIRTIO_BLK_F_FLUSH)
#define WRITE_FEATURES (1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES)

/* What the driver believes about the disk; the content is outside of snapshots. */
struct blk_state {
	uint64_t capacity; /* sectors */
	uint64_t features;
};
_Static_assert(sizeof(struct blk_state) == 16, "written to snapshots");

struct blk {
	struct vdev d;
	struct blk_state st, saved;
	struct virtio_blk_config config;
	int fd;
	bool read_only;
	char id[VIRTIO_BLK_ID_BYTES]; /* padded with zeros */
};

/* A request in host terms: header and status are cut off the chain's ends. */
struct blk_req {
	struct virtio_blk_outhdr hdr;
	struct iovec *out, *in; /* the data */
	int n_out, n_in;
	uint64_t out_len, in_len;
	uint8_t *status;
	uint64_t done; /* bytes written into `in` */
	uint64_t cost; /* bytes that went to or from the file */
};

static struct blk *blk_of(struct vdev *d)
{
	return container_of(d, struct blk, d);
}

/* ---- the file ---- */

static bool in_range(const struct blk *b, uint64_t sector, uint64_t n)
{
	return sector <= b->st.capacity && n <= b->st.capacity - sector;
}

static bool fits(const struct blk *b, const struct blk_req *r, uint64_t len)
{
	return len % SECTOR == 0 && len <= DATA_MAX && in_range(b, r->hdr.sector, len / SECTOR);
}

/* Drops n bytes from the front. */
static void advance(struct iovec **iov, int *n_iov, uint64_t n)
{
	while (*n_iov && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*n_iov)--;
	}
	if (*n_iov) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

/* All of it, or an error; a file that ends early is one. */
static int transfer(const struct blk *b, struct iovec *iov, int n_iov, uint64_t len, uint64_t off, bool write)
{
	ssize_t n;

	while (len) {
		n = write ? pwritev(b->fd, iov, n_iov, (off_t)off) : preadv(b->fd, iov, n_iov, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		advance(&iov, &n_iov, (uint64_t)n);
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int write_zeros(const struct blk *b, uint64_t off, uint64_t len)
{
	static const uint8_t zeros[4096];
	struct iovec iov[64];
	uint64_t part;
	int r = 0;

	while (len && r == 0) {
		part = len < sizeof zeros * ARRAY_LEN(iov) ? len : sizeof zeros * ARRAY_LEN(iov);
		for (size_t i = 0; i < ARRAY_LEN(iov); i++) {
			uint64_t at = i * sizeof zeros, left = part > at ? part - at : 0;
			const void *p = zeros; /* pwritev() only reads */

			memcpy(&iov[i].iov_base, &p, sizeof p);
			iov[i].iov_len = left < sizeof zeros ? left : sizeof zeros;
		}
		r = transfer(b, iov, (int)ARRAY_LEN(iov), part, off, true);
		off += part;
		len -= part;
	}
	return r;
}

static int punch(const struct blk *b, uint64_t off, uint64_t len)
{
	return fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) < 0
		       ? -errno
		       : 0;
}

static int zero(const struct blk *b, uint64_t off, uint64_t len, bool unmap)
{
	int r;

	r = unmap ? punch(b, off, len) : -EOPNOTSUPP;
	if (r == -EOPNOTSUPP)
		r = fallocate(b->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) < 0
			    ? -errno
			    : 0;
	return r == -EOPNOTSUPP ? write_zeros(b, off, len) : r;
}

/* ---- requests: each gives a status ---- */

static uint8_t status_of(int r)
{
	if (r == -EOPNOTSUPP)
		return VIRTIO_BLK_S_UNSUPP;
	if (r < 0)
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}

static uint8_t do_read(const struct blk *b, struct blk_req *r)
{
	int e;

	if (!fits(b, r, r->in_len))
		return VIRTIO_BLK_S_IOERR;
	e = transfer(b, r->in, r->n_in, r->in_len, r->hdr.sector * SECTOR, false);
	r->done = e < 0 ? 0 : r->in_len;
	r->cost = r->in_len;
	return status_of(e);
}

static uint8_t do_write(const struct blk *b, struct blk_req *r)
{
	int e;

	if (b->read_only || !fits(b, r, r->out_len))
		return VIRTIO_BLK_S_IOERR;
	e = transfer(b, r->out, r->n_out, r->out_len, r->hdr.sector * SECTOR, true);
	/* A driver that can't flush expects what it wrote to be on disk. */
	if (e == 0 && !vdev_has(&b->d, VIRTIO_BLK_F_FLUSH) && fdatasync(b->fd) < 0)
		e = -errno;
	r->cost = r->out_len;
	return status_of(e);
}

static uint8_t do_flush(const struct blk *b, struct blk_req *r)
{
	(void)r;
	return status_of(!b->read_only && fdatasync(b->fd) < 0 ? -errno : 0);
}

static uint8_t do_get_id(const struct blk *b, struct blk_req *r)
{
	uint64_t n = r->in_len < sizeof b->id ? r->in_len : sizeof b->id, at = 0, part;

	for (int i = 0; i < r->n_in && at < n; i++) {
		part = r->in[i].iov_len < n - at ? r->in[i].iov_len : n - at;
		memcpy(r->in[i].iov_base, b->id + at, part);
		at += part;
	}
	r->done = n;
	return VIRTIO_BLK_S_OK;
}

/* Copies the ranges of a discard or write-zeroes request; how many, or -errno. */
static int copy_ranges(const struct blk_req *r, struct virtio_blk_discard_write_zeroes *ret)
{
	uint8_t *p = (uint8_t *)ret;
	uint64_t at = 0;

	if (r->out_len == 0 || r->out_len % sizeof *ret != 0 || r->out_len > DISCARD_SEGS * sizeof *ret)
		return -EINVAL;
	for (int i = 0; i < r->n_out; i++) {
		memcpy(p + at, r->out[i].iov_base, r->out[i].iov_len);
		at += r->out[i].iov_len;
	}
	return (int)(at / sizeof *ret);
}

static uint8_t do_ranges(const struct blk *b, struct blk_req *r)
{
	struct virtio_blk_discard_write_zeroes range[DISCARD_SEGS];
	bool discard = r->hdr.type == VIRTIO_BLK_T_DISCARD;
	uint32_t flags = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
		 max = discard ? DISCARD_MAX : ZEROES_MAX;
	int n = b->read_only ? -EROFS : copy_ranges(r, range), e = 0;

	if (n < 0 || (!discard && n > 1))
		return VIRTIO_BLK_S_IOERR;
	for (int i = 0; i < n; i++) {
		if (range[i].flags & ~flags)
			return VIRTIO_BLK_S_UNSUPP;
		if (range[i].num_sectors > max || !in_range(b, range[i].sector, range[i].num_sectors))
			return VIRTIO_BLK_S_IOERR;
	}
	for (int i = 0; i < n && e == 0; i++) {
		uint64_t off = range[i].sector * SECTOR, len = range[i].num_sectors * (uint64_t)SECTOR;

		if (len)
			e = discard ? punch(b, off, len) : zero(b, off, len, range[i].flags != 0);
		r->cost += discard ? COST_BYTES : len;
	}
	return status_of(e);
}

static const struct {
	uint32_t type;
	uint8_t (*fn)(const struct blk *b, struct blk_req *r);
} requests[] = {
	{ VIRTIO_BLK_T_IN, do_read },        { VIRTIO_BLK_T_OUT, do_write },
	{ VIRTIO_BLK_T_FLUSH, do_flush },    { VIRTIO_BLK_T_GET_ID, do_get_id },
	{ VIRTIO_BLK_T_DISCARD, do_ranges }, { VIRTIO_BLK_T_WRITE_ZEROES, do_ranges },
};

static uint8_t execute(const struct blk *b, struct blk_req *r)
{
	for (size_t i = 0; i < ARRAY_LEN(requests); i++)
		if (requests[i].type == r->hdr.type)
			return requests[i].fn(b, r);
	return VIRTIO_BLK_S_UNSUPP;
}

/* ---- the queue ---- */

/* Cuts the header off the readable part and the status off the writable one. False: there is none. */
static bool parse(struct vq_chain *c, struct blk_req *r)
{
	struct iovec *last = c->iov + c->n_out + c->n_in - 1;

	if (vq_chain_read(c, 0, &r->hdr, sizeof r->hdr) != sizeof r->hdr || c->n_in == 0)
		return false;
	r->out = c->iov;
	r->n_out = c->n_out;
	r->out_len = c->out_len - sizeof r->hdr;
	advance(&r->out, &r->n_out, sizeof r->hdr);
	r->in = c->iov + c->n_out;
	r->n_in = c->n_in;
	r->in_len = c->in_len - 1;
	last->iov_len--;
	r->status = (uint8_t *)last->iov_base + last->iov_len;
	if (last->iov_len == 0)
		r->n_in--;
	return true;
}

static uint32_t finish(struct blk_req *r, uint8_t status)
{
	*r->status = status;
	return (uint32_t)r->done + 1;
}

static unsigned blk_request(struct vdev *d, unsigned q, struct vq_chain *c, uint32_t *ret_len)
{
	struct blk_req r = { .done = 0 };

	if (!parse(c, &r)) {
		vdev_break(d, "request without header or status");
		return 1;
	}
	*ret_len = finish(&r, execute(blk_of(d), &r));
	return 1 + (unsigned)(r.cost / COST_BYTES);
}

static void blk_kick(struct vdev *d, unsigned q)
{
	vdev_serve(d, q, blk_request);
}

static int blk_restored(struct vdev *d, struct err *e)
{
	struct blk *b = blk_of(d);
	bool same = b->saved.capacity == b->st.capacity && b->saved.features == b->st.features;

	b->saved = b->st;
	return same ? 0 : err_set(e, -EBADMSG, "the snapshot's disk has another size or other features");
}

static void blk_fini(struct vdev *d)
{
	struct blk *b = blk_of(d);

	scope_close(&b->fd);
	free(b);
}

static const struct vdev_ops blk_ops = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.queue_size = VQ_SIZE_MAX,
	.version = 1,
	.state_size = sizeof(struct blk_state),
	.kick = blk_kick,
	.restored = blk_restored,
	.fini = blk_fini,
};

/* ---- being made ---- */

static int disk_size(int fd, uint64_t *ret, uint32_t *ret_block, struct err *e)
{
	struct stat st;
	int sector = 0;

	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "reading the file's size: %m");
	*ret_block = 4096;
	*ret = (uint64_t)st.st_size;
	if (S_ISREG(st.st_mode))
		return 0;
	if (!S_ISBLK(st.st_mode))
		return err_set(e, -EINVAL, "neither a file nor a block device");
	if (ioctl(fd, BLKGETSIZE64, ret) < 0 || ioctl(fd, BLKPBSZGET, &sector) < 0)
		return err_set(e, -errno, "reading the block device's size: %m");
	*ret_block = (uint32_t)sector;
	return 0;
}

static void fill_config(struct blk *b, unsigned n_queues, uint32_t physical)
{
	uint8_t exp = 0;

	while (exp < 8 && (SECTOR << exp) < physical)
		exp++;
	b->config = (struct virtio_blk_config){
		.capacity = b->st.capacity,
		.size_max = SEGMENT_MAX,
		.seg_max = SEG_MAX,
		.blk_size = SECTOR,
		.physical_block_exp = exp,
		.min_io_size = (uint16_t)(1u << exp),
		.num_queues = (uint16_t)n_queues,
		.max_discard_sectors = DISCARD_MAX,
		.max_discard_seg = DISCARD_SEGS,
		.discard_sector_alignment = 1u << exp,
		.max_write_zeroes_sectors = ZEROES_MAX,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
}

static int set_up(struct blk *b, const struct blk_cfg *cfg, struct err *e)
{
	uint64_t size = 0;
	uint32_t physical = 0;
	int r;

	if (cfg->n_queues < 1 || cfg->n_queues > QUEUES_MAX)
		return err_set(e, -EINVAL, "1 to %u queues", QUEUES_MAX);
	r = disk_size(cfg->fd, &size, &physical, e);
	if (r < 0)
		return r;
	if (size < SECTOR)
		return err_set(e, -EINVAL, "the disk is smaller than a sector");
	b->read_only = cfg->read_only;
	b->d.features = FEATURES | (cfg->read_only ? 1ull << VIRTIO_BLK_F_RO : WRITE_FEATURES) |
			(cfg->n_queues > 1 ? 1ull << VIRTIO_BLK_F_MQ : 0);
	b->d.n_queues = cfg->n_queues;
	b->saved = b->st = (struct blk_state){ .capacity = size / SECTOR, .features = b->d.features };
	fill_config(b, cfg->n_queues, physical);
	memcpy(b->id, cfg->serial, strnlen(cfg->serial, sizeof b->id));
	return 0;
}

int blk_new(const struct blk_cfg *cfg, struct vdev **ret, struct err *e)
{
	struct blk *b = calloc(1, sizeof *b);
	int r;

	if (!b)
		return err_set(e, -ENOMEM, "blk: %m");
	b->fd = -1;
	b->d = (struct vdev){ .ops = &blk_ops,
			      .config = (uint8_t *)&b->config,
			      .config_len = sizeof b->config,
			      .state = &b->saved };
	(void)snprintf(b->d.label, sizeof b->d.label, "blk%u", cfg->index);
	r = set_up(b, cfg, e);
	if (r < 0) {
		(void)err_wrap(e, "%s", b->d.label);
		blk_fini(&b->d);
		return r;
	}
	b->fd = cfg->fd;
	*ret = &b->d;
	return 0;
}
