/* net.c - virtio network device (id 1) on a tap.
 *
 * Made by the machine (dev.h); both queues and the tap are served on the loop thread. A frame goes from the
 * driver's buffers to the tap and back with one system call and no copy of ours; the virtio-net header in
 * front of it is the tap's own (IFF_VNET_HDR), so checksums and segmentation are offloaded from end to end
 * and the host's kernel checks what the guest wrote there.
 *
 * Trusts: the tap. Distrusts: chains, lengths, headers. Never: reads the tap while the driver has no buffer
 * (then the frames wait there, and nobody spins), keeps a guest's buffer over the end of a turn, or drops a
 * frame that fits the driver's ring. */
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "vmm/dev/dev.h"

#define RX         0u
#define TX         1u
#define HDR        12u /* struct virtio_net_hdr_mrg_rxbuf */
#define HDR_BUFS   10u /* offset of num_buffers in it */
#define FRAME_MIN  14u
#define FRAME_MAX  (65535u + 18u) /* the largest segment, with a VLAN tag */
#define PACKET_MAX (HDR + FRAME_MAX)
#define BUFS_MAX   64u  /* receive buffers held in a turn */
#define IOV_LIMIT  512u /* of all of them; + 1 stays below IOV_MAX */
#define OFFLOADS                                                                                             \
	(1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |     \
	 1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN | 1ull << VIRTIO_NET_F_HOST_TSO4 | \
	 1ull << VIRTIO_NET_F_HOST_TSO6 | 1ull << VIRTIO_NET_F_HOST_ECN)

/* Guest-visible beside the queues: the link. Address and MTU are settings; a clone has its own tap. */
struct net_state {
	uint64_t features; /* of the saved device: what its driver may rely on */
	uint8_t link_down; /* said by the machine */
	uint8_t pad[7];
};
_Static_assert(sizeof(struct net_state) == 16, "written to snapshots");

/* Receive buffers that were popped and not filled yet; none is held between turns. */
struct net_window {
	struct vring_used_elem buf[BUFS_MAX]; /* len: its room */
	uint16_t n_iov[BUFS_MAX];             /* its segments */
	unsigned n_bufs, n_segs;
	uint64_t room;
	bool full;                       /* no driver can add more to it */
	struct iovec iov[IOV_LIMIT + 1]; /* one more: the overflow */
};

struct net {
	struct vdev d;
	struct net_state st;
	struct virtio_net_config config;
	int fd; /* owned */
	bool is_tap;
	bool gone; /* the tap was deleted, or the peer has gone */
	struct vdev_watch in, out;
	struct net_window win;
	uint32_t held_len; /* a frame that waits for buffers in `held`; 0 = none */
	uint8_t held[PACKET_MAX];
};

static struct net *net_of(struct vdev *d)
{
	return container_of(d, struct net, d);
}

static bool mergeable(const struct net *n)
{
	return vdev_has(&n->d, VIRTIO_NET_F_MRG_RXBUF);
}

static void set_status(struct net *n)
{
	uint16_t status = n->gone || n->st.link_down ? 0 : VIRTIO_NET_S_LINK_UP;

	if (n->config.status == status)
		return;
	n->config.status = status;
	if (vdev_has(&n->d, VIRTIO_NET_F_STATUS))
		vdev_config_changed(&n->d);
}

/* No more frames: the guest sees a link that is down, and nobody asks the fd again. */
static void tap_gone(struct net *n)
{
	n->gone = true;
	vdev_watch_set(&n->in, 0);
	vdev_watch_set(&n->out, 0);
	set_status(n);
}

/* ---- to the tap ---- */

/* A frame that the tap does not take for what it is (a wrong header, an interface that is down) is lost, as
 * on a wire; only one that it can't take yet stays. */
static unsigned net_send(struct vdev *d, unsigned q, struct vq_chain *c, uint32_t *ret_len)
{
	struct net *n = net_of(d);

	(void)q;
	(void)ret_len;
	if (c->out_len < HDR) {
		vdev_break(d, "frame without header");
		return 1;
	}
	if (c->out_len < HDR + FRAME_MIN || c->out_len > PACKET_MAX || n->config.status == 0)
		return 1;
	if (writev(n->fd, c->iov, c->n_out) >= 0 || errno != EAGAIN)
		return 1;
	vdev_watch_set(&n->out, EPOLLOUT);
	return 0;
}

static void out_ready(struct vdev *d, struct vdev_watch *w, uint32_t events)
{
	(void)events;
	vdev_watch_set(w, 0);
	if (vdev_is_active(d) && d->queues[TX].mem)
		vdev_serve(d, TX, net_send);
}

/* ---- from the tap ---- */

/* Adds the next buffer of the driver. 1 = added, 0 = there is none (or no room for it), or broken. */
static int window_add(struct net *n)
{
	struct net_window *w = &n->win;
	struct vq_chain c;

	w->full = w->n_bufs == BUFS_MAX || w->n_bufs == n->d.queues[RX].st.size;
	if (w->full || !vdev_pop(&n->d, RX, &c))
		return 0;
	if (c.n_out || c.in_len < HDR) {
		vdev_break(&n->d, "receive buffer without room for a header");
		return 0;
	}
	if (c.n_in > IOV_LIMIT - w->n_segs) {
		vdev_unpop(&n->d, RX, 1);
		w->full = true;
		return 0;
	}
	memcpy(w->iov + w->n_segs, c.iov, c.n_in * sizeof c.iov[0]);
	w->buf[w->n_bufs] =
		(struct vring_used_elem){ .id = c.head,
					  .len = c.in_len > UINT32_MAX ? UINT32_MAX : (uint32_t)c.in_len };
	w->n_iov[w->n_bufs++] = c.n_in;
	w->n_segs += c.n_in;
	w->room += w->buf[w->n_bufs - 1].len;
	return 1;
}

/* Buffers for a frame of `want` bytes, as far as there are any: one if they are not mergeable. */
static void window_fill(struct net *n, uint64_t want)
{
	while (n->win.room < want && (mergeable(n) || n->win.n_bufs == 0) && window_add(n))
		;
}

/* Gives the first k buffers, filled with `len` bytes, to the driver, all at once. */
static void window_use(struct net *n, unsigned k, uint64_t len)
{
	struct net_window *w = &n->win;
	struct vring_used_elem used[BUFS_MAX];
	unsigned segs = 0;

	for (unsigned i = 0; i < k; i++) {
		used[i] = w->buf[i];
		used[i].len = len < w->buf[i].len ? (uint32_t)len : w->buf[i].len;
		len -= used[i].len;
		segs += w->n_iov[i];
		w->room -= w->buf[i].len;
	}
	vdev_push_n(&n->d, RX, used, (uint16_t)k);
	w->n_bufs -= k;
	w->n_segs -= segs;
	memmove(w->buf, w->buf + k, w->n_bufs * sizeof w->buf[0]);
	memmove(w->n_iov, w->n_iov + k, w->n_bufs * sizeof w->n_iov[0]);
	memmove(w->iov, w->iov + segs, w->n_segs * sizeof w->iov[0]);
}

/* The rest goes back into the ring. */
static void window_empty(struct net *n)
{
	vdev_unpop(&n->d, RX, (uint16_t)n->win.n_bufs);
	n->win.n_bufs = n->win.n_segs = 0;
	n->win.room = 0;
}

/* Copies between the window's segments, from byte `off` on, and a buffer of ours. */
static void window_copy(const struct net_window *w, uint64_t off, uint8_t *p, uint64_t len, bool to_guest)
{
	uint64_t part;

	for (unsigned i = 0; i < w->n_segs && len; i++) {
		if (off >= w->iov[i].iov_len) {
			off -= w->iov[i].iov_len;
			continue;
		}
		part = w->iov[i].iov_len - off < len ? w->iov[i].iov_len - off : len;
		if (to_guest)
			memcpy((uint8_t *)w->iov[i].iov_base + off, p, part);
		else
			memcpy(p, (uint8_t *)w->iov[i].iov_base + off, part);
		p += part;
		len -= part;
		off = 0;
	}
}

/* A frame of `len` bytes lies in the window, which is large enough. */
static void deliver(struct net *n, uint64_t len)
{
	uint64_t room = 0;
	unsigned k = 0;
	uint8_t bufs[2];

	while (room < len)
		room += n->win.buf[k++].len;
	bufs[0] = (uint8_t)k; /* little-endian; at most BUFS_MAX */
	bufs[1] = 0;
	window_copy(&n->win, HDR_BUFS, bufs, sizeof bufs, true);
	window_use(n, k, len);
}

/* The held frame goes to the driver if it has the room. False: it must offer more first. */
static bool deliver_held(struct net *n)
{
	uint32_t len = n->held_len;

	window_fill(n, len);
	if (n->win.room >= len) {
		window_copy(&n->win, 0, n->held, len, true);
		deliver(n, len);
	} else if (mergeable(n) ? !n->win.full : n->win.n_bufs == 0) {
		return false;
	}
	n->held_len = 0; /* delivered, or larger than whatever this driver can offer: lost */
	return true;
}

/* One frame from the tap: 1 = go on, 0 = nothing there now, or no buffers. */
static int receive(struct net *n)
{
	struct net_window *w = &n->win;
	ssize_t r;

	if (n->held_len)
		return deliver_held(n);
	window_fill(n, PACKET_MAX);
	if (w->n_bufs == 0)
		return 0;
	/* What does not fit goes to the overflow, so that nothing is cut. */
	w->iov[w->n_segs] = (struct iovec){ .iov_base = n->held, .iov_len = sizeof n->held };
	r = readv(n->fd, w->iov, (int)w->n_segs + 1);
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (r <= 0) {
		tap_gone(n);
		return 0;
	}
	if (r < (ssize_t)(HDR + FRAME_MIN))
		return 1; /* no frame */
	if ((uint64_t)r <= w->room) {
		deliver(n, (uint64_t)r);
	} else if ((uint64_t)r <= PACKET_MAX) {
		memmove(n->held + w->room, n->held, (size_t)r - w->room);
		window_copy(w, 0, n->held, w->room, false);
		n->held_len = (uint32_t)r;
	}
	return 1;
}

static void receive_turn(struct net *n)
{
	unsigned i;

	for (i = 0; i < VDEV_BUDGET && vdev_is_active(&n->d) && receive(n); i++)
		;
	/* No buffers: wait for the driver's kick, not for the tap. */
	vdev_watch_set(&n->in,
		       n->gone || (i < VDEV_BUDGET && (n->win.n_bufs == 0 || n->held_len)) ? 0 : EPOLLIN);
	window_empty(n);
	vdev_notify(&n->d, RX);
}

static void in_ready(struct vdev *d, struct vdev_watch *w, uint32_t events)
{
	struct net *n = net_of(d);

	if (!vdev_is_active(d) || !d->queues[RX].mem)
		vdev_watch_set(w, 0);
	else if ((events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLIN))
		tap_gone(n);
	else
		receive_turn(n);
}

/* ---- the device ---- */

static void net_kick(struct vdev *d, unsigned q)
{
	struct net *n = net_of(d);

	if (q == TX && n->out.events == 0)
		vdev_serve(d, TX, net_send);
	else if (q == RX && !n->gone)
		receive_turn(n);
}

/* What the tap may hand to this driver. */
static int set_offload(struct net *n)
{
	static const struct {
		unsigned feature, flag;
	} table[] = {
		{ VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM },
		{ VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4 },
		{ VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6 },
		{ VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN },
	};
	unsigned flags = 0;

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (vdev_has(&n->d, table[i].feature))
			flags |= table[i].flag;
	/* A segment without a checksum to be filled in does not exist (virtio 1.2, 5.1.3.1). */
	if (flags && !(flags & TUN_F_CSUM))
		return -EINVAL;
	if (n->is_tap && ioctl(n->fd, TUNSETOFFLOAD, flags) < 0)
		return -errno;
	return 0;
}

static int net_start(struct vdev *d)
{
	return set_offload(net_of(d));
}

static void net_reset(struct vdev *d)
{
	net_of(d)->held_len = 0;
}

static int net_restored(struct vdev *d, struct err *e)
{
	struct net *n = net_of(d);
	struct net_state saved = n->st;

	n->st.features = d->features;
	n->st.link_down = saved.link_down == 1;
	if (saved.link_down > 1 || saved.features != d->features)
		return err_set(e, -EBADMSG, "the snapshot's network device has other features");
	set_status(n);
	if ((d->core.status & VIRTIO_CONFIG_S_DRIVER_OK) && set_offload(n) < 0)
		return err_set(e, -EBADMSG, "the tap can't do what the snapshot's driver expects");
	return 0;
}

static int net_attach(struct vdev *d, struct err *e)
{
	struct net *n = net_of(d);

	(void)e;
	vdev_watch_init(d, &n->in, n->fd, in_ready);
	vdev_watch_init(d, &n->out, n->fd, out_ready);
	return 0;
}

static void net_fini(struct vdev *d)
{
	struct net *n = net_of(d);

	loop_del(&n->in.src);
	loop_del(&n->out.src);
	scope_close(&n->fd);
	free(n);
}

static const struct vdev_ops net_ops = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.queue_size = VQ_SIZE_MAX,
	.version = 1,
	.state_size = sizeof(struct net_state),
	.attach = net_attach,
	.start = net_start,
	.kick = net_kick,
	.reset = net_reset,
	.restored = net_restored,
	.fini = net_fini,
};

/* A tap must speak with headers; any other fd is a socket that keeps the bounds of packets. */
static int check_fd(struct net *n, int fd, struct err *e)
{
	struct ifreq ifr = { 0 };
	int hdr = HDR;

	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return errno == ENOTTY || errno == EINVAL ? 0 : err_set(e, -errno, "the tap: %m");
	if (!(ifr.ifr_flags & IFF_TAP) || !(ifr.ifr_flags & IFF_VNET_HDR))
		return err_set(e, -EINVAL, "the interface must be a tap with IFF_VNET_HDR");
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr) < 0 || ioctl(fd, TUNSETOFFLOAD, 0) < 0)
		return err_set(e, -errno, "setting up the tap: %m");
	n->is_tap = true;
	return 0;
}

int net_new(const struct net_cfg *cfg, struct vdev **ret, struct err *e)
{
	struct net *n;
	int r;

	if (cfg->mac[0] & 1)
		return err_set(e, -EINVAL, "net%u: a multicast address is nobody's", cfg->index);
	if (cfg->mtu && (cfg->mtu < 68 || cfg->mtu > 65535))
		return err_set(e, -EINVAL, "net%u: an MTU is 68 to 65535", cfg->index);
	n = calloc(1, sizeof *n);
	if (!n)
		return err_set(e, -ENOMEM, "net: %m");
	n->d = (struct vdev){ .ops = &net_ops,
			      .n_queues = 2,
			      .config = (uint8_t *)&n->config,
			      .config_len = sizeof n->config,
			      .state = &n->st };
	(void)snprintf(n->d.label, sizeof n->d.label, "net%u", cfg->index);
	r = check_fd(n, cfg->fd, e);
	if (r < 0) {
		free(n);
		return r;
	}
	n->fd = cfg->fd;
	n->d.features = (n->is_tap ? OFFLOADS : 0) | 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS |
			1ull << VIRTIO_NET_F_MRG_RXBUF | (cfg->mtu ? 1ull << VIRTIO_NET_F_MTU : 0);
	n->st.features = n->d.features;
	memcpy(n->config.mac, cfg->mac, sizeof n->config.mac);
	n->config.status = VIRTIO_NET_S_LINK_UP;
	n->config.mtu = (uint16_t)cfg->mtu;
	*ret = &n->d;
	return 0;
}

void net_set_link(struct vdev *d, bool up)
{
	struct net *n = net_of(d);

	vdev_lock(d);
	n->st.link_down = !up;
	set_status(n);
	vdev_unlock(d);
}
