/* fuzz_fs.c - the vhost-user front end with a back end whose answers are made of choices.
 * Promises: the device works exactly as long as every answer was right; the first wrong one breaks it, for
 * good, and costs no time. */
#include "fuzz.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <sys/socket.h>

#include "rig.h"
#include "vmm/dev/dev.h"
#include "vmm/dev/vhost.h"

#define QUEUES 2
#define NEED                                                                                                 \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC |                                  \
	 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << 30)

struct script {
	struct fuzz_in *in;
	int peer;
	bool wrong; /* some answer was */
};

/* One answer; most are as they should be. */
static void answer(struct script *s, uint32_t request, uint64_t value)
{
	uint64_t lie = fuzz_uint(s->in, 1) % 32;
	struct {
		uint32_t request, flags, size;
		uint8_t value[8];
	} m = { request, 1 | 4, 8, { 0 } };
	size_t n = sizeof m;

	memcpy(m.value, &value, sizeof value);
	if (lie == 1)
		m.request = (uint32_t)fuzz_uint(s->in, 4);
	if (lie == 2)
		m.flags = (uint32_t)fuzz_uint(s->in, 4);
	if (lie == 3)
		m.size = (uint32_t)fuzz_uint(s->in, 4);
	if (lie == 4)
		n = fuzz_below(s->in, sizeof m - 1);
	/* FLAG_ACK, which a reply does not need, does no harm. */
	s->wrong = s->wrong || m.request != request || (m.flags | 8) != (1 | 4 | 8) || m.size != 8 ||
		   n < sizeof m;
	if (send(s->peer, &m, n, MSG_NOSIGNAL) != (ssize_t)n)
		abort();
	if (n < sizeof m)
		(void)shutdown(s->peer, SHUT_WR);
}

/* A number that is right or not; wrong if none of the needed bits may be missing. */
static uint64_t bits(struct script *s, uint64_t need)
{
	uint64_t v = need | (uint64_t)fuzz_uint(s->in, 1);

	if (fuzz_uint(s->in, 1) == 0xFF)
		v &= fuzz_uint(s->in, 8);
	s->wrong = s->wrong || (v & need) != need;
	return v;
}

static void acknowledge(struct script *s, uint32_t request)
{
	uint64_t v = fuzz_uint(s->in, 1) == 0xFF ? fuzz_uint(s->in, 8) : 0;

	s->wrong = s->wrong || v != 0;
	if (!s->wrong || v)
		answer(s, request, v);
}

static void script_open(struct script *s)
{
	uint64_t v, n;

	v = bits(s, NEED);
	answer(s, 1, v);
	if (s->wrong)
		return;
	v = bits(s, 1u << 3);
	answer(s, 15, v);
	if (s->wrong || !(v & 1))
		return;
	n = fuzz_uint(s->in, 1);
	s->wrong = n < QUEUES;
	answer(s, 17, n);
}

static void script_start(struct script *s)
{
	static const uint32_t queue[] = { 8, 10, 9, 13, 12, 18 };

	acknowledge(s, 2);
	if (!s->wrong)
		acknowledge(s, 5);
	for (unsigned i = 0; i < QUEUES * ARRAY_LEN(queue) && !s->wrong; i++)
		acknowledge(s, queue[i % ARRAY_LEN(queue)]);
}

/* The device is made; now its driver, a pause, and again. */
static void drive(struct rig *r, struct script *s)
{
	script_start(s);
	if (s->wrong)
		(void)shutdown(s->peer, SHUT_WR);
	rig_up(r, 16);
	FUZZ_ASSERT(vdev_is_active(r->d) == !s->wrong);
	for (uint64_t i = 0; i < QUEUES && !s->wrong; i++) {
		uint64_t base =
			i | fuzz_uint(s->in, 1) << 32 | (fuzz_uint(s->in, 1) == 0xFF ? 1ull << 50 : 0);

		acknowledge(s, 18);
		if (s->wrong)
			break;
		s->wrong = base >> 48 != 0;
		answer(s, 11, base);
	}
	(void)shutdown(s->peer, SHUT_WR);
	if (vdev_is_active(r->d))
		FUZZ_ASSERT((fs_pause(r->d) == 0) == !s->wrong);
	fs_resume(r->d); /* nobody answers any more */
	FUZZ_ASSERT(!vdev_is_active(r->d));
	rig_up(r, 16);
	FUZZ_ASSERT(!vdev_is_active(r->d));
	FUZZ_ASSERT(r->d->n_logged <= VDEV_LOG_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct script s = { .in = &in };
	struct vhost_mem mem = { .start = RIG_BASE, .len = RIG_RAM };
	struct fs_cfg cfg = { .tag = "fuzz", .n_requests = QUEUES - 1, .mem = &mem, .n_mem = 1 };
	struct vdev *d = NULL;
	struct rig r;
	int sock[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0 || rig_memory(&r) < 0)
		abort();
	s.peer = sock[1];
	cfg.sock = sock[0];
	mem.fd = r.ram_fd;
	script_open(&s);
	if (s.wrong)
		(void)shutdown(s.peer, SHUT_WR);
	FUZZ_ASSERT((fs_new(&cfg, &d, NULL) == 0) == !s.wrong);
	if (d && rig_attach(&r, d) < 0)
		abort();
	if (d) {
		drive(&r, &s);
		rig_fini(&r);
	} else {
		(void)close(sock[0]);
		rig_forget(&r);
	}
	(void)close(sock[1]);
	return 0;
}
