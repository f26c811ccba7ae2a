/* vhost.c - see vhost.h: the table of messages, and the turn.
 *
 * Trusts: fs_handle(). Distrusts: the VMM: each message is received whole, checked against its row, then its
 * numbers by its function. Never: keeps a descriptor that no row asked for, or goes on after a wrong message.
 */
#include "fs/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "fs/vpriv.h"

#define PROTOCOL    (1ull << VHU_PROTOCOL_MQ | 1ull << VHU_PROTOCOL_ACK)
#define REFUSED     1 /* a function's result: not done, but the connection goes on */
#define REGION_SIZE ((uint32_t)sizeof(struct vhu_region))

/* A message in work. */
struct said {
	struct vhu_msg m; /* the answer, too: size says how much of p */
	int fds[VHU_MEM_MAX];
	size_t n_fds;
};

struct row {
	uint32_t request;
	uint32_t size_min, size_max;
	size_t fds_max;
	bool replies;
	/* 0, REFUSED, or the error. Descriptors that it keeps it takes out of `fds`. */
	int (*fn)(struct vhs *s, struct said *m, struct err *e);
	const char *name;
};

static int set_reply(struct said *m, uint64_t v)
{
	m->m.p.u64 = v;
	m->m.size = sizeof v;
	return 0;
}

static int get_features(struct vhs *s unused_arg, struct said *m, struct err *e unused_arg)
{
	return set_reply(m, VHS_FEATURES);
}

static int get_protocol(struct vhs *s unused_arg, struct said *m, struct err *e unused_arg)
{
	return set_reply(m, PROTOCOL);
}

static int get_queue_num(struct vhs *s unused_arg, struct said *m, struct err *e unused_arg)
{
	return set_reply(m, VHS_QUEUES);
}

static int set_owner(struct vhs *s unused_arg, struct said *m unused_arg, struct err *e unused_arg)
{
	return 0; /* there is nobody else */
}

static int set_features(struct vhs *s, struct said *m, struct err *e)
{
	uint64_t f = m->m.p.u64;

	if ((f & ~VHS_FEATURES) != 0 || !(f >> VIRTIO_F_VERSION_1 & 1))
		return err_set(e, -EPROTO, "features 0x%llx: VERSION_1, and of 0x%llx only",
			       (unsigned long long)f, VHS_FEATURES);
	s->features = f;
	return 0;
}

static int set_protocol(struct vhs *s, struct said *m, struct err *e)
{
	uint64_t f = m->m.p.u64;

	if ((f & ~PROTOCOL) != 0)
		return err_set(e, -EPROTO, "0x%llx: of 0x%llx only", (unsigned long long)f, PROTOCOL);
	s->protocol = f;
	return 0;
}

/* Rings that run go on in the new memory, at the VMM's same addresses; broken ones stay so. */
static int set_mem_table(struct vhs *s, struct said *m, struct err *e)
{
	struct vhu_mem told = m->m.p.mem;
	struct vmem mem;
	int r;

	if (told.n > VHU_MEM_MAX || m->m.size != sizeof told - (VHU_MEM_MAX - told.n) * REGION_SIZE)
		return err_set(e, -EPROTO, "%u regions in %u bytes", told.n, m->m.size);
	r = vmem_map(&mem, &told, m->fds, m->n_fds, e);
	if (r < 0)
		return r;
	vmem_unmap(&s->mem);
	s->mem = mem;
	for (unsigned i = 0; i < VHS_QUEUES; i++)
		if (s->ring[i].running && !s->ring[i].q.broken && vring_attach(&s->ring[i]) < 0)
			r = REFUSED;
	return r;
}

/* NULL with the error set: there is no such queue. */
static struct vhs_ring *ring_of(struct vhs *s, uint32_t index, struct err *e)
{
	if (index < VHS_QUEUES)
		return &s->ring[index];
	(void)err_set(e, -EPROTO, "queue %u: there are %u", index, VHS_QUEUES);
	return NULL;
}

/* The same, and it must not run. */
static struct vhs_ring *stopped_ring_of(struct vhs *s, uint32_t index, struct err *e)
{
	struct vhs_ring *r = ring_of(s, index, e);

	if (!r || !r->running)
		return r;
	(void)err_set(e, -EPROTO, "queue %u runs", index);
	return NULL;
}

static int set_num(struct vhs *s, struct said *m, struct err *e)
{
	struct vhs_ring *r = stopped_ring_of(s, m->m.p.state.index, e);

	if (!r)
		return -EPROTO;
	r->size = m->m.p.state.num;
	return 0;
}

static int set_base(struct vhs *s, struct said *m, struct err *e)
{
	struct vhs_ring *r = stopped_ring_of(s, m->m.p.state.index, e);

	if (!r)
		return -EPROTO;
	if (m->m.p.state.num > UINT16_MAX)
		return err_set(e, -EPROTO, "queue %u: %u is no index", m->m.p.state.index, m->m.p.state.num);
	r->base = (uint16_t)m->m.p.state.num;
	return 0;
}

static int set_addr(struct vhs *s, struct said *m, struct err *e)
{
	struct vhs_ring *r = stopped_ring_of(s, m->m.p.addr.index, e);

	if (!r)
		return -EPROTO;
	if (m->m.p.addr.flags != 0)
		return err_set(e, -EPROTO, "queue %u: flags 0x%x: none were agreed on", m->m.p.addr.index,
			       m->m.p.addr.flags);
	r->addr = m->m.p.addr;
	return 0;
}

static int get_base(struct vhs *s, struct said *m, struct err *e)
{
	struct vhs_ring *r = ring_of(s, m->m.p.state.index, e);

	if (!r)
		return -EPROTO;
	vring_stop(r);
	m->m.p.state.num = r->base;
	return 0;
}

static int set_enable(struct vhs *s, struct said *m, struct err *e)
{
	struct vhs_ring *r = ring_of(s, m->m.p.state.index, e);

	if (!r)
		return -EPROTO;
	if (m->m.p.state.num > 1)
		return err_set(e, -EPROTO, "queue %u: %u is neither 0 nor 1", m->m.p.state.index,
			       m->m.p.state.num);
	r->enabled = m->m.p.state.num != 0;
	r->busy = r->enabled; /* kicks may have come before */
	return 0;
}

/* The ring and the descriptor (-1 = none, which must be said) of a message that brings one. */
static struct vhs_ring *ring_and_fd(struct vhs *s, struct said *m, int *ret_fd, struct err *e)
{
	uint64_t v = m->m.p.u64;
	bool none = v & VHU_RING_NOFD;

	if ((v & ~(uint64_t)(VHU_RING_MASK | VHU_RING_NOFD)) != 0 || none == (m->n_fds != 0)) {
		(void)err_set(e, -EPROTO, "0x%llx with %zu descriptors", (unsigned long long)v, m->n_fds);
		return NULL;
	}
	*ret_fd = none ? -1 : m->fds[0];
	return ring_of(s, v & VHU_RING_MASK, e);
}

static int set_kick(struct vhs *s, struct said *m, struct err *e)
{
	int fd = -1, k;
	struct vhs_ring *r = ring_and_fd(s, m, &fd, e);

	if (!r || !stopped_ring_of(s, (uint32_t)(r - s->ring), e))
		return -EPROTO;
	if (fd < 0)
		return err_set(e, -EPROTO, "without a descriptor: rings are not polled");
	m->n_fds = 0;
	k = vring_start(r, fd, e);
	r->busy = k == 0 && r->enabled;
	return k == -EPROTO ? REFUSED : k;
}

static int set_bell(struct vhs *s, struct said *m, bool is_call, struct err *e)
{
	int fd = -1, *to;
	struct vhs_ring *r = ring_and_fd(s, m, &fd, e);

	if (!r)
		return -EPROTO;
	to = is_call ? &r->call : &r->err;
	scope_close(to);
	*to = fd;
	m->n_fds = 0;
	return 0;
}

static int set_call(struct vhs *s, struct said *m, struct err *e)
{
	return set_bell(s, m, true, e);
}

static int set_err(struct vhs *s, struct said *m, struct err *e)
{
	return set_bell(s, m, false, e);
}

#define U64   sizeof(uint64_t), sizeof(uint64_t)
#define STATE sizeof(struct vhu_state), sizeof(struct vhu_state)
#define ADDR  sizeof(struct vhu_addr), sizeof(struct vhu_addr)
#define MEM   sizeof(uint64_t), sizeof(struct vhu_mem)
static const struct row rows[] = {
	{ VHU_GET_FEATURES, 0, 0, 0, true, get_features, "GET_FEATURES" },
	{ VHU_SET_FEATURES, U64, 0, false, set_features, "SET_FEATURES" },
	{ VHU_SET_OWNER, 0, 0, 0, false, set_owner, "SET_OWNER" },
	{ VHU_SET_MEM_TABLE, MEM, VHU_MEM_MAX, false, set_mem_table, "SET_MEM_TABLE" },
	{ VHU_SET_VRING_NUM, STATE, 0, false, set_num, "SET_VRING_NUM" },
	{ VHU_SET_VRING_ADDR, ADDR, 0, false, set_addr, "SET_VRING_ADDR" },
	{ VHU_SET_VRING_BASE, STATE, 0, false, set_base, "SET_VRING_BASE" },
	{ VHU_GET_VRING_BASE, STATE, 0, true, get_base, "GET_VRING_BASE" },
	{ VHU_SET_VRING_KICK, U64, 1, false, set_kick, "SET_VRING_KICK" },
	{ VHU_SET_VRING_CALL, U64, 1, false, set_call, "SET_VRING_CALL" },
	{ VHU_SET_VRING_ERR, U64, 1, false, set_err, "SET_VRING_ERR" },
	{ VHU_GET_PROTOCOL_FEATURES, 0, 0, 0, true, get_protocol, "GET_PROTOCOL_FEATURES" },
	{ VHU_SET_PROTOCOL_FEATURES, U64, 0, false, set_protocol, "SET_PROTOCOL_FEATURES" },
	{ VHU_GET_QUEUE_NUM, 0, 0, 0, true, get_queue_num, "GET_QUEUE_NUM" },
	{ VHU_SET_VRING_ENABLE, STATE, 0, false, set_enable, "SET_VRING_ENABLE" },
};

/* ---- one message ---- */

/* The rest of a message of which the first n bytes are there. */
static int receive_rest(struct vhs *s, struct said *m, size_t n, struct err *e)
{
	ssize_t got = 0;

	if (n < VHU_HEAD)
		got = io_read_full(s->sock, (char *)&m->m + n, VHU_HEAD - n);
	if (got < 0 || n + (size_t)got != VHU_HEAD)
		return err_set(e, got < 0 ? (int)got : -EPROTO, "a message ends in its header");
	if ((m->m.flags & 3) != VHU_VERSION || (m->m.flags & ~(3u | VHU_ACK)) != 0)
		return err_set(e, -EPROTO, "message %u: flags 0x%x", m->m.request, m->m.flags);
	if (m->m.size > sizeof m->m.p)
		return err_set(e, -EPROTO, "message %u: %u bytes", m->m.request, m->m.size);
	got = io_read_full(s->sock, &m->m.p, m->m.size);
	if (got != (ssize_t)m->m.size)
		return err_set(e, got < 0 ? (int)got : -EPROTO, "message %u ends before its %u bytes",
			       m->m.request, m->m.size);
	return 0;
}

static const struct row *find_row(const struct said *m, struct err *e)
{
	const struct row *row = NULL;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].request == m->m.request)
			row = &rows[i];
	if (!row)
		(void)err_set(e, -EPROTO, "message %u: unknown, or not agreed on", m->m.request);
	else if (m->m.size < row->size_min || m->m.size > row->size_max || m->n_fds > row->fds_max)
		(void)err_set(e, -EPROTO, "%s: %u bytes with %zu descriptors", row->name, m->m.size,
			      m->n_fds);
	else
		return row;
	return NULL;
}

static int handle(struct vhs *s, struct said *m, struct err *e)
{
	const struct row *row = find_row(m, e);
	bool ack = (m->m.flags & VHU_ACK) && (s->protocol >> VHU_PROTOCOL_ACK & 1);
	int r;

	if (!row)
		return -EPROTO;
	r = row->fn(s, m, e);
	if (r < 0)
		return err_wrap(e, "%s", row->name);
	if (!row->replies && !ack)
		return 0;
	if (!row->replies)
		(void)set_reply(m, r == REFUSED);
	m->m.flags = VHU_VERSION | VHU_REPLY;
	r = io_send_fds(s->sock, &m->m, VHU_HEAD + m->m.size, NULL, 0);
	return r == -EPIPE || r == -ECONNRESET ? 0
	       : r < 0                         ? err_set(e, r, "%s: its answer: %m", row->name)
					       : 0;
}

static void on_message(struct source *src, uint32_t events unused_arg)
{
	struct vhs *s = container_of(src, struct vhs, heard);
	struct said m = { 0 };
	ssize_t n;

	if (s->result <= 0)
		return; /* it is over */
	n = io_recv_fds(s->sock, &m.m, VHU_HEAD, m.fds, ARRAY_LEN(m.fds), &m.n_fds);
	if (n == 0 || n == -ECONNRESET) {
		s->result = 0;
		return;
	}
	if (n < 0)
		s->result = err_set(s->e, (int)n, "the VMM's socket: %m");
	if (n > 0)
		n = receive_rest(s, &m, (size_t)n, s->e);
	if (n == 0)
		n = handle(s, &m, s->e);
	if (n < 0)
		s->result = (int)n;
	for (size_t i = 0; i < m.n_fds; i++)
		scope_close(&m.fds[i]);
}

/* ---- life ---- */

int vhs_new(struct fs *fs, int sock, void (*say)(const char *text), struct vhs **ret, struct err *e)
{
	int flags = fcntl(sock, F_GETFL), r;
	struct vhs *s;

	if (flags < 0 || fcntl(sock, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return err_set(e, -errno, "the VMM's socket: %m");
	s = calloc(1, sizeof *s);
	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->fs = fs;
	s->say = say;
	s->sock = -1;
	for (unsigned i = 0; i < VHS_QUEUES; i++) {
		s->ring[i].s = s;
		s->ring[i].kick = s->ring[i].call = s->ring[i].err = -1;
	}
	r = loop_init(&s->loop);
	if (r == 0)
		r = loop_add(&s->loop, &s->heard, sock, EPOLLIN, on_message);
	if (r < 0) {
		vhs_free(s);
		return err_set(e, r, "the VMM's socket: %m");
	}
	s->sock = sock;
	*ret = s;
	return 0;
}

void vhs_free(struct vhs *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < VHS_QUEUES; i++) {
		vring_stop(&s->ring[i]);
		scope_close(&s->ring[i].kick);
		scope_close(&s->ring[i].call);
		scope_close(&s->ring[i].err);
	}
	vmem_unmap(&s->mem);
	loop_del(&s->heard);
	loop_fini(&s->loop);
	scope_close(&s->sock);
	free(s);
}

int vhs_turn(struct vhs *s, int timeout_ms, struct err *e)
{
	bool busy = false;
	int r;

	s->e = e;
	s->result = 1;
	for (unsigned i = 0; i < VHS_QUEUES; i++)
		busy = busy || s->ring[i].busy;
	r = loop_once(&s->loop, busy ? 0 : timeout_ms);
	if (r < 0)
		s->result = err_set(e, r, "waiting for the VMM: %m");
	for (unsigned i = 0; i < VHS_QUEUES && s->result > 0; i++)
		if (s->ring[i].busy)
			vring_serve(&s->ring[i]);
	s->e = NULL;
	return s->result;
}
