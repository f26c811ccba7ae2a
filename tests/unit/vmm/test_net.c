/* test_net.c - the network device, on a socket that keeps packets, and on a tap in a network namespace of its
 * own where the machine allows that. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "rig.h"
#include "vmm/dev/dev.h"

#define HDR 12u
#define RX  0
#define TX  1

static struct rig rig;
static int peer;

static struct net_cfg cfg(int fd)
{
	return (struct net_cfg){ .fd = fd, .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 1400 };
}

static int setup(void **state)
{
	struct net_cfg c;
	struct vdev *d = NULL;
	int s[2];

	(void)state;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s) < 0)
		return -1;
	peer = s[1];
	c = cfg(s[0]);
	return net_new(&c, &d, NULL) < 0 ? -1 : rig_init(&rig, d);
}

static int teardown(void **state)
{
	(void)state;
	rig_fini(&rig);
	if (peer >= 0)
		(void)close(peer);
	return 0;
}

static uint8_t *at(uint64_t addr)
{
	return vqdrv_at(&rig.q[0], addr);
}

/* A packet of n bytes, header first, each byte another. */
static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = i < HDR ? 0 : (uint8_t)(i * 7 + i / 256);
}

static void send_packet(size_t n)
{
	static uint8_t p[1 << 17];

	fill(p, n);
	assert_int_equal(send(peer, p, n, 0), n);
}

static void offer_rx(uint64_t addr, uint32_t len)
{
	struct vqdrv_seg seg = { addr, len };

	vqdrv_add(&rig.q[RX], &seg, 0, 1);
}

static bool used(unsigned q, uint32_t *len)
{
	uint32_t id;

	return vqdrv_used(&rig.q[q], &id, len);
}

/* The packet of n bytes that send_packet() sent is at addr, in `bufs` buffers. */
static void check_packet(uint64_t addr, size_t n, unsigned bufs)
{
	static uint8_t p[1 << 17];

	fill(p, n);
	p[10] = (uint8_t)bufs;
	assert_memory_equal(at(addr), p, n);
}

static bool watching(void)
{
	struct epoll_event e;

	return epoll_wait(rig.loop.epfd, &e, 1, 0) == 1;
}

static void offer_tx(uint32_t hdr, uint32_t data)
{
	struct vqdrv_seg seg[] = { { rig.data, hdr }, { rig.data + hdr, data } };

	vqdrv_add(&rig.q[TX], seg, data ? 2 : 1, 0);
}

static void test_send(void **state)
{
	uint8_t got[200];
	uint32_t len;

	(void)state;
	rig_up(&rig, 16);
	fill(at(rig.data), 112);
	offer_tx(HDR, 100);
	rig_serve(&rig);
	assert_true(used(TX, &len) && len == 0);
	assert_int_equal(recv(peer, got, sizeof got, 0), 112);
	assert_memory_equal(got, at(rig.data), 112);
	offer_tx(HDR, 13); /* no frame */
	offer_tx(HDR, 0);
	rig_serve(&rig);
	assert_true(used(TX, &len) && used(TX, &len));
	assert_int_equal(recv(peer, got, sizeof got, 0), -1);
	assert_true(vdev_is_active(rig.d));
	offer_tx(HDR - 1, 0);
	rig_serve(&rig);
	assert_false(vdev_is_active(rig.d));
}

static void test_send_too_long(void **state)
{
	static uint8_t got[1 << 17];
	struct vqdrv_seg seg[] = { { rig.data, HDR }, { rig.data, 65553 } };
	uint32_t len;

	(void)state;
	rig_up(&rig, 16);
	seg[0].addr = seg[1].addr = rig.data;
	vqdrv_add(&rig.q[TX], seg, 2, 0);
	seg[1].len++;
	vqdrv_add(&rig.q[TX], seg, 2, 0);
	rig_serve(&rig);
	assert_true(used(TX, &len) && used(TX, &len));
	assert_int_equal(recv(peer, got, sizeof got, 0), 65565);
	assert_int_equal(recv(peer, got, sizeof got, 0), -1);
}

/* The other end does not read: frames wait in the guest's ring, nobody spins, and nothing is lost. */
static void test_send_stalled(void **state)
{
	uint8_t got[4096];
	unsigned sent = 0, received = 0;
	int small = 4096;
	uint32_t len;

	(void)state;
	rig_up(&rig, 16);
	assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
	for (unsigned i = 0; i < 300; i++) {
		at(rig.data)[HDR] = (uint8_t)i;
		offer_tx(HDR, 1500);
		rig_serve(&rig);
		if (!used(TX, &len))
			break;
		sent++;
	}
	assert_true(sent > 0 && sent < 300);
	assert_false(watching());
	for (; received < sent + 1; received++) {
		assert_int_equal(recv(peer, got, sizeof got, 0), 1512);
		rig_turn(&rig);
	}
	assert_true(used(TX, &len));
	assert_int_equal(recv(peer, got, sizeof got, 0), -1);
}

static void test_receive(void **state)
{
	int unread = 0;
	uint32_t len;

	(void)state;
	rig_up(&rig, 16);
	send_packet(60);
	rig_serve(&rig); /* no buffers: nobody reads, nobody spins */
	assert_false(watching());
	assert_int_equal(ioctl(peer, SIOCOUTQ, &unread), 0);
	assert_true(unread > 0);
	for (unsigned i = 0; i < 4; i++)
		offer_rx(rig.data + i * 2048, 2048);
	rig_serve(&rig);
	assert_true(used(RX, &len) && len == 60);
	assert_int_equal(rig.irqs[RX], 1);
	check_packet(rig.data, 60, 1);
	send_packet(2048);
	send_packet(100);
	rig_turn(&rig); /* the buffers that are left are used without a kick */
	assert_true(used(RX, &len) && len == 2048);
	check_packet(rig.data + 2048, 2048, 1);
	assert_true(used(RX, &len) && len == 100);
	check_packet(rig.data + 4096, 100, 1);
	assert_false(used(RX, &len));
	send_packet(5); /* no frame */
	send_packet(77);
	rig_turn(&rig);
	assert_true(used(RX, &len) && len == 77);
	assert_false(watching());
}

/* A frame in several buffers: they are the driver's all at once. */
static void test_merge(void **state)
{
	uint32_t len;

	(void)state;
	rig_up(&rig, 16);
	for (unsigned i = 0; i < 5; i++)
		offer_rx(rig.data + i * 100, 100);
	send_packet(250);
	rig_serve(&rig);
	assert_true(used(RX, &len) && len == 100);
	assert_true(used(RX, &len) && len == 100);
	assert_true(used(RX, &len) && len == 50);
	check_packet(rig.data, 250, 3);
	/* More than is offered: it waits for the rest, and nothing of it is lost. */
	send_packet(450);
	rig_turn(&rig);
	assert_false(used(RX, &len));
	assert_false(watching());
	for (unsigned i = 5; i < 8; i++)
		offer_rx(rig.data + i * 100, 100);
	rig_serve(&rig);
	for (unsigned i = 0; i < 4; i++)
		assert_true(used(RX, &len) && len == 100);
	assert_true(used(RX, &len) && len == 50);
	check_packet(rig.data + 300, 450, 5);
	/* More than the ring can ever hold: lost, the next one is not. */
	for (unsigned i = 0; i < 16; i++)
		offer_rx(rig.data + i * 100, 100);
	send_packet(1601);
	send_packet(1600);
	rig_serve(&rig);
	for (unsigned i = 0; i < 16; i++)
		assert_true(used(RX, &len) && len == 100);
	check_packet(rig.data, 1600, 16);
}

/* A driver without mergeable buffers: what is too long for one is lost. */
static void test_single(void **state)
{
	uint32_t len;

	(void)state;
	assert_true(rig_negotiate(&rig, ~(1ull << VIRTIO_NET_F_MRG_RXBUF)));
	rig_start(&rig, 16);
	offer_rx(rig.data, 100);
	offer_rx(rig.data + 100, 100);
	send_packet(101);
	send_packet(100);
	send_packet(90);
	rig_serve(&rig);
	assert_true(used(RX, &len) && len == 100);
	assert_true(used(RX, &len) && len == 90);
	check_packet(rig.data, 100, 1);
	check_packet(rig.data + 100, 90, 1);
}

/* More segments than one system call takes, and more buffers than are held: the rest stays in the ring. */
static void test_many_segments(void **state)
{
	struct vqdrv_seg seg[200];
	uint32_t len;

	(void)state;
	rig_up(&rig, 256);
	for (unsigned k = 0; k < 200; k++)
		seg[k] = (struct vqdrv_seg){ rig.data + k, 1 };
	vqdrv_add(&rig.q[RX], seg, 0, 200); /* 200 of 512 */
	offer_rx(rig.data + 300, 30);
	send_packet(230);
	rig_serve(&rig);
	assert_true(used(RX, &len) && len == 200);
	assert_true(used(RX, &len) && len == 30);
	assert_int_equal(at(rig.data)[10], 2);
	for (unsigned k = 0; k < 80; k++)
		offer_rx(rig.data + k * 20, 20);
	send_packet(1281); /* 65 buffers: too many */
	send_packet(1280);
	rig_serve(&rig);
	for (unsigned k = 0; k < 64; k++)
		assert_true(used(RX, &len) && len == 20);
	assert_false(used(RX, &len));
	check_packet(rig.data, 1280, 64);
}

static void test_bad_buffers(void **state)
{
	struct vqdrv_seg out[] = { { rig.data, 20 }, { rig.data + 100, 2000 } };

	(void)state;
	rig_up(&rig, 16);
	offer_rx(rig.data, HDR - 1);
	rig_serve(&rig);
	assert_false(vdev_is_active(rig.d));
	rig_up(&rig, 16);
	out[0].addr = rig.data;
	out[1].addr = rig.data + 100;
	vqdrv_add(&rig.q[RX], out, 1, 1);
	rig_serve(&rig);
	assert_false(vdev_is_active(rig.d));
	send_packet(60);
	rig_turn(&rig); /* a broken device does not read, nor spin */
	assert_false(watching());
}

static uint16_t status(void)
{
	struct virtio_net_config c;

	vdev_config_read(rig.d, 0, &c, sizeof c);
	assert_memory_equal(c.mac, ((uint8_t[]){ 2, 0, 0, 0, 0, 1 }), 6);
	assert_int_equal(c.mtu, 1400);
	return c.status;
}

static void test_link(void **state)
{
	uint8_t got[200];
	uint32_t len;

	(void)state;
	rig_up(&rig, 16);
	assert_int_equal(status(), VIRTIO_NET_S_LINK_UP);
	net_set_link(rig.d, false);
	assert_int_equal(status(), 0);
	assert_int_equal(rig.config_irqs, 1);
	net_set_link(rig.d, false);
	assert_int_equal(rig.config_irqs, 1);
	offer_tx(HDR, 50);
	rig_serve(&rig);
	assert_true(used(TX, &len));
	assert_int_equal(recv(peer, got, sizeof got, 0), -1);
	net_set_link(rig.d, true);
	assert_int_equal(status(), VIRTIO_NET_S_LINK_UP);
}

/* The other end is gone: the link is down, and nobody spins. */
static void test_gone(void **state)
{
	uint32_t len;

	(void)state;
	rig_up(&rig, 16);
	offer_rx(rig.data, 2048);
	rig_serve(&rig);
	(void)close(take_fd(&peer));
	rig_turn(&rig);
	assert_int_equal(status(), 0);
	assert_false(watching());
	net_set_link(rig.d, true);
	assert_int_equal(status(), 0);
	offer_tx(HDR, 50);
	rig_serve(&rig);
	assert_true(used(TX, &len));
}

static void test_snapshot(void **state)
{
	struct vdev_snapshot s, bad;
	uint32_t len;

	(void)state;
	rig_up(&rig, 16);
	offer_rx(rig.data, 100);
	rig_serve(&rig);
	net_set_link(rig.d, false);
	vdev_save(rig.d, &s);
	bad = s;
	bad.state[8] = 2;
	assert_int_equal(vdev_restore(rig.d, &bad, NULL), -EBADMSG);
	bad = s;
	bad.state[0] ^= 1;
	assert_int_equal(vdev_restore(rig.d, &bad, NULL), -EBADMSG);
	net_set_link(rig.d, true);
	assert_int_equal(vdev_restore(rig.d, &s, NULL), 0);
	assert_int_equal(status(), 0);
	net_set_link(rig.d, true);
	send_packet(60);
	rig_turn(&rig);
	assert_true(used(RX, &len) && len == 60); /* into the buffer that was offered before */
}

static void test_refused(void **state)
{
	struct net_cfg c = cfg(peer);
	struct vdev *d = NULL;

	(void)state;
	c.mac[0] |= 1;
	assert_int_equal(net_new(&c, &d, NULL), -EINVAL);
	c = cfg(peer);
	c.mtu = 67;
	assert_int_equal(net_new(&c, &d, NULL), -EINVAL);
	c.mtu = 65536;
	assert_int_equal(net_new(&c, &d, NULL), -EINVAL);
}

/* A tap in a network namespace of our own, up; the reason if there is none. */
static const char *open_tap(short flags, int *ret)
{
	struct ifreq ifr = { .ifr_flags = flags };
	int fd, s, up;

	*ret = -1;
	if (unshare(CLONE_NEWNET) < 0)
		return "no network namespaces here";
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return "no /dev/net/tun here";
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(s, SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags |= IFF_UP;
	up = ioctl(s, SIOCSIFFLAGS, &ifr);
	(void)close(s);
	assert_int_equal(up, 0);
	*ret = fd;
	return NULL;
}

static void test_tap(void **state)
{
	struct vdev *d = NULL;
	struct net_cfg c;
	struct vqdrv_seg seg;
	const char *why;
	uint32_t len, offload = 1u << VIRTIO_NET_F_GUEST_TSO4;
	int fd;

	(void)state;
	why = open_tap(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, &fd);
	if (why) {
		print_message("skipped: %s\n", why);
		skip();
	}
	c = cfg(fd);
	assert_int_equal(net_new(&c, &d, NULL), 0);
	assert_int_equal(rig_init(&rig, d), 0);
	/* Segments without checksums: refused. */
	assert_true(rig_negotiate(&rig, offload));
	rig_start(&rig, 16);
	assert_false(vdev_is_active(d));
	rig_up(&rig, 16);
	assert_true(vdev_is_active(d));
	/* The kernel greets a link that came up with IPv6 packets of its own. */
	for (unsigned i = 0; i < 8; i++)
		offer_rx(rig.data + i * 2048, 2048);
	rig_serve(&rig);
	for (unsigned i = 0; i < 100 && !used(RX, &len); i++) {
		struct epoll_event e;

		assert_int_equal(epoll_wait(rig.loop.epfd, &e, 1, 10000), 1);
		rig_turn(&rig);
	}
	assert_true(len >= HDR + 14);
	assert_int_equal(at(rig.data)[10], 1);
	/* A header that is nonsense costs the frame only. */
	memset(at(rig.data + 20000), 0xFF, 100);
	seg = (struct vqdrv_seg){ rig.data + 20000, 100 };
	vqdrv_add(&rig.q[TX], &seg, 1, 0);
	memset(at(rig.data + 21000), 0, 100);
	seg.addr = rig.data + 21000;
	vqdrv_add(&rig.q[TX], &seg, 1, 0);
	rig_serve(&rig);
	assert_true(used(TX, &len) && used(TX, &len));
	assert_true(vdev_is_active(d));
	rig_fini(&rig);
}

static void test_tap_refused(void **state)
{
	struct vdev *d = NULL;
	struct net_cfg c;
	const char *why;
	int fd;

	(void)state;
	why = open_tap(IFF_TAP | IFF_NO_PI, &fd);
	if (why) {
		print_message("skipped: %s\n", why);
		skip();
	}
	c = cfg(fd);
	assert_int_equal(net_new(&c, &d, NULL), -EINVAL);
	(void)close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_send),
		T(test_send_too_long),
		T(test_send_stalled),
		T(test_receive),
		T(test_merge),
		T(test_single),
		T(test_many_segments),
		T(test_bad_buffers),
		T(test_link),
		T(test_gone),
		T(test_snapshot),
		T(test_refused),
		cmocka_unit_test(test_tap),
		cmocka_unit_test(test_tap_refused),
	};
	return cmocka_run_group_tests_name("vmm/net", tests, NULL, NULL);
}
