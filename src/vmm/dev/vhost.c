/* vhost.c - see vhost.h. Trusts: what the device asks for. Distrusts: every reply. */
#include "vmm/dev/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/io.h"

#define VERSION      1u
#define FLAG_REPLY   4u
#define FLAG_ACK     8u /* a reply is wanted */
#define FLAGS_KNOWN  (3u | FLAG_REPLY | FLAG_ACK)
#define F_PROTOCOL   30 /* VHOST_USER_F_PROTOCOL_FEATURES */
#define PROTOCOL_MQ  0
#define PROTOCOL_ACK 3
#define HEAD         12u

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
};

struct msg {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr;
		struct {
			uint32_t n, pad;
			struct {
				uint64_t start, len, user, off;
			} r[VHOST_MEM_MAX];
		} mem;
	} p;
} __attribute__((packed));
_Static_assert(sizeof(struct msg) == HEAD + 8 + VHOST_MEM_MAX * 32, "as on the wire");

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int dead(struct vhost *v)
{
	v->dead = true;
	return -EPIPE;
}

/* Each call of vhost.h begins here: the time it has. */
static void begin(struct vhost *v)
{
	v->until_ms = now_ms() + v->wait_ms;
}

/* Waits for the socket until the call's time is over. */
static int wait_for(struct vhost *v, short events)
{
	struct pollfd p = { .fd = v->sock, .events = events };
	int64_t left = v->until_ms - now_ms();
	int r = left > 0 ? poll(&p, 1, (int)left) : 0;

	if (r < 0 && errno == EINTR)
		return 0; /* the loops below try again, and look at the clock */
	return r > 0 ? 0 : dead(v);
}

static int send_msg(struct vhost *v, const struct msg *m, const int *fds, size_t n_fds)
{
	int r = io_send_fds(v->sock, m, HEAD + m->size, fds, n_fds);

	while (r == -EAGAIN) {
		r = wait_for(v, POLLOUT);
		if (r == 0)
			r = io_send_fds(v->sock, m, HEAD + m->size, fds, n_fds);
	}
	return r < 0 ? dead(v) : 0;
}

static int recv_full(struct vhost *v, void *p, size_t n)
{
	uint8_t *at = p;
	ssize_t r;

	while (n) {
		r = recv(v->sock, at, n, MSG_DONTWAIT); /* fds that come along are dropped by the kernel */
		if (r < 0 && (errno == EAGAIN || errno == EINTR)) {
			if (wait_for(v, POLLIN) < 0)
				return -EPIPE;
			continue;
		}
		if (r <= 0)
			return dead(v);
		at += r;
		n -= (size_t)r;
	}
	return 0;
}

/* The reply to `request`, with a payload of exactly `size` bytes. */
static int recv_reply(struct vhost *v, uint32_t request, uint32_t size, struct msg *ret)
{
	int r = recv_full(v, ret, HEAD);

	if (r < 0)
		return r;
	if (ret->request != request || ret->size != size || (ret->flags & 3) != VERSION ||
	    !(ret->flags & FLAG_REPLY) || (ret->flags & ~FLAGS_KNOWN))
		return dead(v);
	return recv_full(v, &ret->p, size);
}

static int ask(struct vhost *v, uint32_t request, uint64_t *ret)
{
	struct msg m = { .request = request, .flags = VERSION };
	int r = v->dead ? -EPIPE : send_msg(v, &m, NULL, 0);

	if (r == 0)
		r = recv_reply(v, request, sizeof m.p.u64, &m);
	if (r == 0)
		*ret = m.p.u64;
	return r;
}

/* Sends and waits for the acknowledgement. */
static int tell(struct vhost *v, struct msg *m, uint32_t request, uint32_t size, const int *fds, size_t n_fds)
{
	uint32_t ack = sizeof m->p.u64;
	int r;

	m->request = request;
	m->flags = VERSION | FLAG_ACK;
	m->size = size;
	r = v->dead ? -EPIPE : send_msg(v, m, fds, n_fds);
	if (r == 0)
		r = recv_reply(v, request, ack, m);
	if (r == 0 && m->p.u64 != 0)
		r = dead(v); /* refused: who can't do the one thing can't do the rest */
	return r;
}

/* Before REPLY_ACK is agreed on: no answer is to be expected. */
static int tell_unacked(struct vhost *v, uint32_t request, uint64_t value, uint32_t size)
{
	struct msg m = { .request = request, .flags = VERSION, .size = size, .p.u64 = value };

	return v->dead ? -EPIPE : send_msg(v, &m, NULL, 0);
}

static int agree(struct vhost *v, uint64_t need, unsigned n_queues, struct err *e)
{
	uint64_t f = 0, proto = 0, queues = n_queues;
	int r = ask(v, GET_FEATURES, &f);

	if (r < 0)
		return err_set(e, r, "the back end does not answer");
	if ((f & need) != need || !(f >> F_PROTOCOL & 1))
		return err_set(e, -ENOTSUP, "the back end lacks virtio features (has 0x%llx)",
			       (unsigned long long)f);
	r = ask(v, GET_PROTOCOL_FEATURES, &proto);
	if (r < 0)
		return err_set(e, r, "the back end does not tell its protocol's features");
	if (!(proto >> PROTOCOL_ACK & 1))
		return err_set(e, -ENOTSUP, "the back end does not acknowledge messages (REPLY_ACK)");
	proto &= 1u << PROTOCOL_ACK | 1u << PROTOCOL_MQ;
	r = tell_unacked(v, SET_PROTOCOL_FEATURES, proto, sizeof proto);
	if (r == 0)
		r = tell_unacked(v, SET_OWNER, 0, 0);
	if (r == 0 && (proto >> PROTOCOL_MQ & 1))
		r = ask(v, GET_QUEUE_NUM, &queues);
	if (r < 0)
		return err_set(e, r, "the back end ended or does not answer");
	if (queues < n_queues)
		return err_set(e, -ENOTSUP, "the back end has %llu queues, not %u",
			       (unsigned long long)queues, n_queues);
	v->features = f;
	return 0;
}

int vhost_open(struct vhost *v, int sock, uint64_t need, unsigned n_queues, unsigned wait_ms, struct err *e)
{
	int flags = fcntl(sock, F_GETFL), r;

	if (flags < 0 || fcntl(sock, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_set(e, -errno, "the back end's socket: %m");
	*v = (struct vhost){ .sock = sock, .wait_ms = wait_ms ? wait_ms : VHOST_OPEN_MS };
	begin(v);
	r = agree(v, need, n_queues, e);
	if (r < 0)
		v->sock = -1;
	v->wait_ms = wait_ms ? wait_ms : VHOST_WAIT_MS;
	return r;
}

void vhost_close(struct vhost *v)
{
	if (v->sock >= 0)
		(void)close(take_fd(&v->sock));
}

int vhost_set_up(struct vhost *v, uint64_t features, const struct vhost_mem *mem, unsigned n)
{
	struct msg m = { .p.u64 = features | 1ull << F_PROTOCOL };
	int fds[VHOST_MEM_MAX], r;

	if (n == 0 || n > VHOST_MEM_MAX)
		return -EINVAL;
	begin(v);
	r = tell(v, &m, SET_FEATURES, sizeof m.p.u64, NULL, 0);
	if (r < 0)
		return r;
	m = (struct msg){ .p.mem.n = n };
	for (unsigned i = 0; i < n; i++) {
		m.p.mem.r[i].start = m.p.mem.r[i].user = mem[i].start;
		m.p.mem.r[i].len = mem[i].len;
		m.p.mem.r[i].off = mem[i].off;
		fds[i] = mem[i].fd;
	}
	return tell(v, &m, SET_MEM_TABLE, 8 + n * 32, fds, n);
}

static int tell_state(struct vhost *v, uint32_t request, unsigned i, uint32_t num)
{
	struct msg m = { .p.state = { .index = i, .num = num } };

	return tell(v, &m, request, sizeof m.p.state, NULL, 0);
}

static int tell_fd(struct vhost *v, uint32_t request, unsigned i, int fd)
{
	struct msg m = { .p.u64 = i };

	return tell(v, &m, request, sizeof m.p.u64, &fd, 1);
}

int vhost_queue_start(struct vhost *v, unsigned i, const struct vq_state *st, int kick, int call)
{
	struct msg m = { .p.addr = { .index = i, .desc = st->desc, .used = st->used, .avail = st->avail } };
	int r;

	begin(v);
	r = tell_state(v, SET_VRING_NUM, i, st->size);
	if (r == 0)
		r = tell_state(v, SET_VRING_BASE, i, st->next_avail);
	if (r == 0)
		r = tell(v, &m, SET_VRING_ADDR, sizeof m.p.addr, NULL, 0);
	if (r == 0)
		r = tell_fd(v, SET_VRING_CALL, i, call);
	if (r == 0)
		r = tell_fd(v, SET_VRING_KICK, i, kick);
	return r == 0 ? tell_state(v, SET_VRING_ENABLE, i, 1) : r;
}

int vhost_queue_stop(struct vhost *v, unsigned i, uint16_t *ret_next)
{
	struct msg m = { .request = GET_VRING_BASE, .flags = VERSION, .size = sizeof m.p.state };
	int r;

	begin(v);
	r = tell_state(v, SET_VRING_ENABLE, i, 0);
	m.p.state.index = i;
	if (r == 0)
		r = send_msg(v, &m, NULL, 0);
	if (r == 0)
		r = recv_reply(v, GET_VRING_BASE, sizeof m.p.state, &m);
	if (r == 0 && (m.p.state.index != i || m.p.state.num > UINT16_MAX))
		r = dead(v);
	if (r == 0)
		*ret_next = (uint16_t)m.p.state.num;
	return r;
}

int vhost_check(struct vhost *v)
{
	uint8_t byte;
	ssize_t n = recv(v->sock, &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return dead(v); /* gone, or says what nobody asked */
}
