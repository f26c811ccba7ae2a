/* dev.h - how each kind of device is made. One function per file of this folder.
 *
 * A `new` allocates the device, fills its `new` part (vmm/virtio/virtio.h) and takes the fds of its settings:
 * they are the device's from success on, and it closes them in ops->fini. It opens nothing and starts
 * nothing. */
#ifndef VMM_DEV_DEV_H
#define VMM_DEV_DEV_H

#include "vmm/virtio/virtio.h"

/* console.c: port 0 is the guest's console (hvc0), port 1 a named byte stream (the agent's channel). All fds
 * are non-blocking, -1 = none; the two of a pair differ (dup one). */
struct console_cfg {
	int in_fd, out_fd; /* where port 0's input comes from and its output goes */
	bool has_port;     /* there is a port 1 */
	void (*opened)(
		void *arg); /* the guest opens port 1; loop thread, the device's lock is held. Or NULL */
	void *arg;
	int port_in_fd, port_out_fd; /* its host's end; -1: the guest finds it closed */
	const char
		*port_name; /* 1..31 bytes, as in the guest's /sys/class/virtio-ports; borrowed during new */
};
int must_check console_new(const struct console_cfg *cfg, struct vdev **ret, struct err *e);

/* rng.c: random numbers of the host. */
int must_check rng_new(struct vdev **ret, struct err *e);

/* pmem.c: a file as guest memory. */
#define PMEM_ALIGN (2ull << 20)
enum pmem_mode {
	PMEM_READ_ONLY_N, /* the file's pages, shared by all VMs; nobody writes */
	PMEM_PRIVATE_N,   /* what the guest writes is its own and lost with it */
	PMEM_SHARED_N,    /* what the guest writes is in the file, and on disk after a flush */
};
struct pmem_cfg {
	unsigned index; /* pmem0, pmem1...: for messages */
	int fd; /* a file or block device, open for what the mode needs; -1: a placeholder, zeros until
		   pmem_back() */
	uint64_t start; /* guest-physical address: a multiple of PMEM_ALIGN (layout.h says where) */
	uint64_t size;  /* what the guest is told: a multiple of PMEM_ALIGN, or 0 = the file's, rounded up. A
			   template fixes it; a clone's file may be smaller, the rest is zeros */
	enum pmem_mode mode;
};
int must_check pmem_new(const struct pmem_cfg *cfg, struct vdev **ret, struct err *e);
/* The memory slot the machine makes for it, and adds to its gmem, before attach. The mapping is the device's.
 */
struct pmem_memory {
	gpa_t start;
	void *host; /* aligned to PMEM_ALIGN */
	uint64_t len;
	bool writable;
};
void pmem_memory(struct vdev *d, struct pmem_memory *ret);
/* Puts a file behind a placeholder, also under a running guest, which must not have read it before: the same
 * slot, other pages. Takes the fd on success. -EBUSY: it has one; -EFBIG: larger than the device. */
int must_check pmem_back(struct vdev *d, int fd, struct err *e);

/* blk.c: a raw disk image or block device. */
struct blk_cfg {
	unsigned index; /* blk0, blk1...: for messages */
	int fd; /* open for what is asked of it, without O_DIRECT; a rest below 512 bytes is not seen */
	bool read_only;
	unsigned n_queues; /* 1..8; all are served by the loop thread */
	const char
		*serial; /* up to 20 bytes: what the guest finds in /dev/disk/by-id (borrowed during new) */
};
int must_check blk_new(const struct blk_cfg *cfg, struct vdev **ret, struct err *e);

/* net.c: a network interface. */
struct net_cfg {
	unsigned index; /* net0, net1...: for messages */
	int fd; /* non-blocking: a tap (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR), or a socket that keeps the bounds
		   of packets, each with a virtio-net header of 12 bytes and without offloads */
	uint8_t mac[6];
	unsigned mtu; /* told to the guest; 0 = it decides */
};
int must_check net_new(const struct net_cfg *cfg, struct vdev **ret, struct err *e);
/* Plugs the cable in or out: the guest is told, and what it sends meanwhile is lost. Loop thread. */
void net_set_link(struct vdev *d, bool up);

/* balloon.c: memory the guest gives back. */
struct balloon_cfg {
	uint64_t ram_end;   /* the guest-physical end of RAM; what lies above (pmem) is not the balloon's */
	uint32_t ram_pages; /* RAM in pages of 4 KiB: the largest target */
	bool shared;        /* RAM is a shared mapping of a file: dropped pages are punched out of it. Else (a
			       clone's private mapping) only our copies are dropped */
};
#define BALLOON_STATS_N 10 /* VIRTIO_BALLOON_S_*: what the values mean */
struct balloon_stats {
	uint32_t valid; /* bit n: value[n] was told */
	uint32_t count; /* rises with each answer */
	uint64_t value[BALLOON_STATS_N];
};
int must_check balloon_new(const struct balloon_cfg *cfg, struct vdev **ret, struct err *e);
/* Asks the guest to give up so many pages of 4 KiB in all. -ERANGE: more than it has. */
int must_check balloon_set_target(struct vdev *d, uint32_t pages);
/* What the guest says it gave up: a claim. */
uint32_t balloon_actual(struct vdev *d);
/* Asks the guest for new statistics; false if it was asked and has not answered. The answer raises count. */
bool balloon_ask_stats(struct vdev *d);
/* The last answer. */
void balloon_stats(struct vdev *d, struct balloon_stats *ret);

/* fs.c: a shared directory, served by a vhost-user back end. */
#define FS_QUEUES_MAX 9
struct vhost_mem;
struct fs_cfg {
	int sock;        /* stream socket, connected to the back end; -1: a placeholder until fs_back() */
	const char *tag; /* what the guest mounts: 1 to 36 bytes (borrowed during new) */
	unsigned n_requests;
	const struct vhost_mem *mem; /* guest memory, as the back end maps it (vhost.h); borrowed during new,
					the fds as long as the device lives */
	unsigned n_mem;
	unsigned wait_ms; /* how long the back end is waited for in each step; 0 = vhost.h's limits */
};
/* Asks the back end for its features, for which it has VHOST_OPEN_MS. */
int must_check fs_new(const struct fs_cfg *cfg, struct vdev **ret, struct err *e);
/* Gives a placeholder its back end, also under a running guest: what it asked so far is served then. Takes
 * the socket on success. Loop thread. */
int must_check fs_back(struct vdev *d, int sock, struct err *e);
/* Around a snapshot: the back end finishes what it took, and the queues' state is ours; then it goes on. Loop
 * thread, vCPUs stand still. */
int must_check fs_pause(struct vdev *d);
void fs_resume(struct vdev *d);

/* virtiofs.c: a directory of the host, served by another process. */
struct virtiofs_cfg {
	unsigned index; /* fs0, fs1...: for messages */
	int fd; /* SOCK_SEQPACKET to a file server (src/fs/cli.c says what goes over it); -1: none, for a
		   machine that is made to be saved */
	const char *tag; /* 1..36 bytes: what the guest mounts (borrowed during new) */
};
int must_check virtiofs_new(const struct virtiofs_cfg *cfg, struct vdev **ret, struct err *e);

#endif
