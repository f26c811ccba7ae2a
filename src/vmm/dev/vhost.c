/* vhost.c - see vhost.h. Trusts: what the device asks for. Distrusts: every reply. */
#include "vmm/dev/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/io.h"
#include "ring/vhost_user.h"

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

static int send_msg(struct vhost *v, const struct vhu_msg *m, const int *fds, size_t n_fds)
{
	int r = io_send_fds(v->sock, m, VHU_HEAD + m->size, fds, n_fds);

	while (r == -EAGAIN) {
		r = wait_for(v, POLLOUT);
		if (r == 0)
			r = io_send_fds(v->sock, m, VHU_HEAD + m->size, fds, n_fds);
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
static int recv_reply(struct vhost *v, uint32_t request, uint32_t size, struct vhu_msg *ret)
{
	int r = recv_full(v, ret, VHU_HEAD);

	if (r < 0)
		return r;
	if (ret->request != request || ret->size != size || (ret->flags & 3) != VHU_VERSION ||
	    !(ret->flags & VHU_REPLY) || (ret->flags & ~VHU_FLAGS_KNOWN))
		return dead(v);
	return recv_full(v, &ret->p, size);
}

static int ask(struct vhost *v, uint32_t request, uint64_t *ret)
{
	struct vhu_msg m = { .request = request, .flags = VHU_VERSION };
	int r = v->dead ? -EPIPE : send_msg(v, &m, NULL, 0);

	if (r == 0)
		r = recv_reply(v, request, sizeof m.p.u64, &m);
	if (r == 0)
		*ret = m.p.u64;
	return r;
}

/* Sends and waits for the acknowledgement. */
static int tell(struct vhost *v, struct vhu_msg *m, uint32_t request, uint32_t size, const int *fds,
		size_t n_fds)
{
	uint32_t ack = sizeof m->p.u64;
	int r;

	m->request = request;
	m->flags = VHU_VERSION | VHU_ACK;
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
	struct vhu_msg m = { .request = request, .flags = VHU_VERSION, .size = size, .p.u64 = value };

	return v->dead ? -EPIPE : send_msg(v, &m, NULL, 0);
}

static int agree(struct vhost *v, uint64_t need, unsigned n_queues, struct err *e)
{
	uint64_t f = 0, proto = 0, queues = n_queues;
	int r = ask(v, VHU_GET_FEATURES, &f);

	if (r < 0)
		return err_set(e, r, "the back end does not answer");
	if ((f & need) != need || !(f >> VHU_F_PROTOCOL & 1))
		return err_set(e, -ENOTSUP, "the back end lacks virtio features (has 0x%llx)",
			       (unsigned long long)f);
	r = ask(v, VHU_GET_PROTOCOL_FEATURES, &proto);
	if (r < 0)
		return err_set(e, r, "the back end does not tell its protocol's features");
	if (!(proto >> VHU_PROTOCOL_ACK & 1))
		return err_set(e, -ENOTSUP, "the back end does not acknowledge messages (REPLY_ACK)");
	proto &= 1u << VHU_PROTOCOL_ACK | 1u << VHU_PROTOCOL_MQ;
	r = tell_unacked(v, VHU_SET_PROTOCOL_FEATURES, proto, sizeof proto);
	if (r == 0)
		r = tell_unacked(v, VHU_SET_OWNER, 0, 0);
	if (r == 0 && (proto >> VHU_PROTOCOL_MQ & 1))
		r = ask(v, VHU_GET_QUEUE_NUM, &queues);
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
	struct vhu_msg m = { .p.u64 = features | 1ull << VHU_F_PROTOCOL };
	int fds[VHOST_MEM_MAX], r;

	if (n == 0 || n > VHOST_MEM_MAX)
		return -EINVAL;
	begin(v);
	r = tell(v, &m, VHU_SET_FEATURES, sizeof m.p.u64, NULL, 0);
	if (r < 0)
		return r;
	m = (struct vhu_msg){ .p.mem.n = n };
	for (unsigned i = 0; i < n; i++) {
		m.p.mem.r[i].start = m.p.mem.r[i].user = mem[i].start;
		m.p.mem.r[i].len = mem[i].len;
		m.p.mem.r[i].off = mem[i].off;
		fds[i] = mem[i].fd;
	}
	return tell(v, &m, VHU_SET_MEM_TABLE, 8 + n * 32, fds, n);
}

static int tell_state(struct vhost *v, uint32_t request, unsigned i, uint32_t num)
{
	struct vhu_msg m = { .p.state = { .index = i, .num = num } };

	return tell(v, &m, request, sizeof m.p.state, NULL, 0);
}

static int tell_fd(struct vhost *v, uint32_t request, unsigned i, int fd)
{
	struct vhu_msg m = { .p.u64 = i };

	return tell(v, &m, request, sizeof m.p.u64, &fd, 1);
}

int vhost_queue_start(struct vhost *v, unsigned i, const struct vq_state *st, int kick, int call)
{
	struct vhu_msg m = { .p.addr = {
				     .index = i, .desc = st->desc, .used = st->used, .avail = st->avail } };
	int r;

	begin(v);
	r = tell_state(v, VHU_SET_VRING_NUM, i, st->size);
	if (r == 0)
		r = tell_state(v, VHU_SET_VRING_BASE, i, st->next_avail);
	if (r == 0)
		r = tell(v, &m, VHU_SET_VRING_ADDR, sizeof m.p.addr, NULL, 0);
	if (r == 0)
		r = tell_fd(v, VHU_SET_VRING_CALL, i, call);
	if (r == 0)
		r = tell_fd(v, VHU_SET_VRING_KICK, i, kick);
	return r == 0 ? tell_state(v, VHU_SET_VRING_ENABLE, i, 1) : r;
}

int vhost_queue_stop(struct vhost *v, unsigned i, uint16_t *ret_next)
{
	struct vhu_msg m = { .request = VHU_GET_VRING_BASE, .flags = VHU_VERSION, .size = sizeof m.p.state };
	int r;

	begin(v);
	r = tell_state(v, VHU_SET_VRING_ENABLE, i, 0);
	m.p.state.index = i;
	if (r == 0)
		r = send_msg(v, &m, NULL, 0);
	if (r == 0)
		r = recv_reply(v, VHU_GET_VRING_BASE, sizeof m.p.state, &m);
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
