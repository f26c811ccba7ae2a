/* pmem.c - virtio persistent memory (id 27): a file as guest memory, for file systems with DAX.
 *
 * Made by the machine, which gives the mapping (pmem_memory()) to the hypervisor as a memory slot of its own
 * and adds it to the gmem; requests are served on the loop thread. Trusts: the command line. Distrusts: the
 * chains. Never: maps writable what the guest may not write (read-only twice: the mapping and the slot), or
 * shares with the file what is not meant for it.
 *
 * Every byte of the slot is there: what the file does not fill up to the size is zeros of our own. A file
 * that somebody else truncates later takes its pages away; a guest that touches them stops the VM. */
#include <errno.h>
#include <linux/fs.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pmem.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vmm/dev/dev.h"

#define PMEM_SIZE_MAX (1ull << 40)
#define PMEM_FAILED   1u /* virtio_pmem_resp.ret; 0 is success */

/* A snapshot holds what the guest knows of the device; the content is the file's, or the clone's own file. */
struct pmem_state {
	uint64_t start, size;
	uint8_t mode; /* enum pmem_mode */
	uint8_t pad[7];
};
_Static_assert(sizeof(struct pmem_state) == 24, "written to snapshots");

struct pmem {
	struct vdev d;
	struct pmem_state st; /* from the settings; never changes */
	struct pmem_state saved;
	struct virtio_pmem_config config;
	int fd; /* -1 = nothing behind it (yet) */
	uint8_t *host;
	void *reserved; /* the mapping that `host` is the aligned part of */
	size_t reserved_len;
};

static struct pmem *pmem_of(struct vdev *d)
{
	return container_of(d, struct pmem, d);
}

static unsigned pmem_request(struct vdev *d, unsigned q, struct vq_chain *c, uint32_t *ret_len)
{
	struct pmem *p = pmem_of(d);
	struct virtio_pmem_req req;
	struct virtio_pmem_resp resp = { .ret = 0 };

	if (vq_chain_read(c, 0, &req, sizeof req) != sizeof req || c->in_len < sizeof resp) {
		vdev_break(d, "request or answer is too short");
		return 1;
	}
	if (req.type != VIRTIO_PMEM_REQ_TYPE_FLUSH)
		resp.ret = PMEM_FAILED;
	else if (p->st.mode == PMEM_SHARED_N && p->fd >= 0 && fdatasync(p->fd) < 0)
		resp.ret = PMEM_FAILED;
	*ret_len = (uint32_t)vq_chain_write(c, 0, &resp, sizeof resp);
	return 1;
}

static void pmem_kick(struct vdev *d, unsigned q)
{
	vdev_serve(d, q, pmem_request);
}

/* The guest has mapped what the template told it. */
static int pmem_restored(struct vdev *d, struct err *e)
{
	struct pmem *p = pmem_of(d);
	bool same = memcmp(&p->saved, &p->st, sizeof p->st) == 0;

	p->saved = p->st;
	if (!same)
		return err_set(e, -EBADMSG, "the snapshot's start, size or mode is not this device's");
	return 0;
}

static void pmem_fini(struct vdev *d)
{
	struct pmem *p = pmem_of(d);

	if (p->reserved)
		(void)munmap(p->reserved, p->reserved_len);
	scope_close(&p->fd);
	free(p);
}

static const struct vdev_ops pmem_ops = {
	.name = "pmem",
	.id = VIRTIO_ID_PMEM,
	.queue_size = 64,
	.version = 1,
	.state_size = sizeof(struct pmem_state),
	.kick = pmem_kick,
	.restored = pmem_restored,
	.fini = pmem_fini,
};

static int file_size(int fd, uint64_t *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISBLK(st.st_mode))
		return ioctl(fd, BLKGETSIZE64, ret) < 0 ? -errno : 0;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*ret = (uint64_t)st.st_size;
	return 0;
}

static int protection(const struct pmem *p)
{
	return p->st.mode == PMEM_READ_ONLY_N ? PROT_READ : PROT_READ | PROT_WRITE;
}

/* Whole pages of it: the rest of the last one reads as zeros. */
static int map_file(struct pmem *p, int fd, uint64_t file, struct err *e)
{
	int flags = p->st.mode == PMEM_PRIVATE_N ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED;
	size_t len = (size_t)((file + GMEM_PAGE - 1) & ~(uint64_t)(GMEM_PAGE - 1));

	if (mmap(p->host, len, protection(p), flags | MAP_FIXED, fd, 0) == MAP_FAILED)
		return err_set(e, -errno, "mapping the file: %m");
	return 0;
}

/* An own mapping of the size, at an address that huge pages can be mapped to. */
static int reserve(struct pmem *p, struct err *e)
{
	size_t len = (size_t)p->st.size, want = len + PMEM_ALIGN;
	uintptr_t at;
	void *m = mmap(NULL, want, protection(p), MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED)
		return err_set(e, -errno, "%llu bytes of address space: %m", (unsigned long long)p->st.size);
	p->reserved = m;
	p->reserved_len = want;
	at = ((uintptr_t)m + PMEM_ALIGN - 1) & ~((uintptr_t)PMEM_ALIGN - 1);
	p->host = (uint8_t *)m + (at - (uintptr_t)m);
	return 0;
}

static int check_file(const struct pmem *p, int fd, uint64_t *ret, struct err *e)
{
	int r = file_size(fd, ret);

	if (r < 0)
		return err_set(e, r, "neither a file nor a block device, or unreadable: %m");
	if (*ret == 0)
		return err_set(e, -EINVAL, "the file is empty");
	if (*ret > PMEM_SIZE_MAX || (p->st.size && *ret > p->st.size))
		return err_set(e, -EFBIG, "the file has %llu bytes, more than the device",
			       (unsigned long long)*ret);
	if (p->st.mode == PMEM_SHARED_N && *ret % PMEM_ALIGN != 0)
		return err_set(e, -EINVAL,
			       "a file that the guest writes must have a multiple of 2 MiB, not %llu "
			       "bytes: extend it (truncate --size=%%2M)",
			       (unsigned long long)*ret);
	return 0;
}

/* Sizes and mappings; on failure the caller's pmem_fini() takes back what there is. */
static int set_up(struct pmem *p, const struct pmem_cfg *cfg, struct err *e)
{
	uint64_t file = 0;
	int r;

	if (cfg->start % PMEM_ALIGN != 0 || cfg->size % PMEM_ALIGN != 0 || cfg->size > PMEM_SIZE_MAX)
		return err_set(e, -EINVAL,
			       "start and size must be multiples of 2 MiB, the size at most 1 TiB");
	p->st = (struct pmem_state){ .start = cfg->start, .size = cfg->size, .mode = (uint8_t)cfg->mode };
	r = cfg->fd >= 0 ? check_file(p, cfg->fd, &file, e) : 0;
	if (r < 0)
		return r;
	if (p->st.size == 0)
		p->st.size = (file + PMEM_ALIGN - 1) & ~(PMEM_ALIGN - 1);
	if (p->st.size == 0)
		return err_set(e, -EINVAL, "a device without a file needs a size");
	p->saved = p->st;
	p->config = (struct virtio_pmem_config){ .start = p->st.start, .size = p->st.size };
	r = reserve(p, e);
	if (r == 0 && file)
		r = map_file(p, cfg->fd, file, e);
	return r;
}

int pmem_new(const struct pmem_cfg *cfg, struct vdev **ret, struct err *e)
{
	struct pmem *p = calloc(1, sizeof *p);
	int r;

	if (!p)
		return err_set(e, -ENOMEM, "pmem: %m");
	p->fd = -1;
	p->d = (struct vdev){ .ops = &pmem_ops,
			      .n_queues = 1,
			      .config = (uint8_t *)&p->config,
			      .config_len = sizeof p->config,
			      .state = &p->saved };
	(void)snprintf(p->d.label, sizeof p->d.label, "pmem%u", cfg->index);
	r = set_up(p, cfg, e);
	if (r < 0) {
		(void)err_wrap(e, "%s", p->d.label);
		pmem_fini(&p->d);
		return r;
	}
	p->fd = cfg->fd;
	*ret = &p->d;
	return 0;
}

void pmem_memory(struct vdev *d, struct pmem_memory *ret)
{
	struct pmem *p = pmem_of(d);

	*ret = (struct pmem_memory){ .start = gpa(p->st.start),
				     .host = p->host,
				     .len = p->st.size,
				     .writable = p->st.mode != PMEM_READ_ONLY_N };
}

int pmem_back(struct vdev *d, int fd, struct err *e)
{
	struct pmem *p = pmem_of(d);
	uint64_t file = 0;
	int r;

	vdev_lock(d);
	r = p->fd >= 0 ? err_set(e, -EBUSY, "it has a file already") : check_file(p, fd, &file, e);
	if (r == 0)
		r = map_file(p, fd, file, e);
	if (r == 0)
		p->fd = fd;
	vdev_unlock(d);
	if (r < 0)
		(void)err_wrap(e, "%s", d->label);
	return r;
}
