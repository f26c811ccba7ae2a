/* backend.c - see backend.h. Called by tests; trusts the front end. */
#include "backend.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/io.h"

#define NEED_REPLY 8u
#define MINE                                                                                                 \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC |                                  \
	 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << 30)

struct message {
	uint32_t request, flags, size;
	uint8_t p[512];
};

static void reply(struct backend *b, const struct message *to, const void *p, uint32_t size)
{
	bool lies = b->lie != HONEST && to->request == b->at;
	struct message m = { .request = to->request, .flags = 1 | 4, .size = size };

	memcpy(m.p, p, size);
	if (lies && b->lie == WRONG_REQUEST)
		m.request++;
	if (lies && b->lie == WRONG_SIZE)
		m.size += 4;
	if (lies && b->lie == WRONG_VERSION)
		m.flags ^= 3;
	if (lies && b->lie == NOT_A_REPLY)
		m.flags = 1;
	if (lies && b->lie == ODD_FLAG)
		m.flags |= 16;
	if (lies && b->lie == WRONG_VALUE)
		for (uint32_t i = 0; i < size; i++)
			m.p[i] = (uint8_t)~m.p[i];
	if (lies && b->lie == NO_VERSION_1)
		m.p[4] &= 0xFE;
	if (lies && b->lie == WRONG_INDEX)
		m.p[0] ^= 1;
	if (lies && b->lie == LARGE_BASE)
		m.p[6] = 1;
	may_fail(io_write_full(b->sock, &m, lies && b->lie == HALF ? 12 + size / 2 : 12 + size));
}

static void reply_u64(struct backend *b, const struct message *m, uint64_t v)
{
	reply(b, m, &v, sizeof v);
}

static void set_memory(struct backend *b, const struct message *m, int fd)
{
	uint64_t r[4];

	memcpy(r, m->p + 8, sizeof r); /* one region is enough here: start, length, user address, offset */
	if (b->map)
		(void)munmap(b->map, b->map_len);
	b->map_len = r[1];
	b->map = mmap(NULL, r[1], PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)r[3]);
	b->mem = (struct gmem){ 0 };
	if (b->map == MAP_FAILED || gmem_add(&b->mem, gpa(r[2]), b->map, r[1], true) < 0)
		abort();
}

static void set_ring(struct backend *b, const struct message *m, int fd)
{
	uint32_t v[2];
	uint64_t a[3];
	struct vq *q;

	memcpy(v, m->p, sizeof v);
	q = &b->q[v[0] % BACKEND_QUEUES];
	if (m->request == 8)
		q->st.size = (uint16_t)v[1];
	else if (m->request == 10)
		b->base = q->st.next_avail = q->st.next_used = (uint16_t)v[1];
	else if (m->request == 12)
		b->kick[v[0]] = dup(fd);
	else if (m->request == 13)
		b->call[v[0]] = dup(fd);
	if (m->request == 9) {
		memcpy(a, m->p + 8, sizeof a);
		q->st.desc = a[0];
		q->st.used = a[1];
		q->st.avail = a[2];
	}
	if (m->request == 18 && v[1] && vq_start(q, &b->mem, true, true) < 0)
		abort();
	if (m->request == 18 && !v[1])
		vq_stop(q);
}

static void answer(struct backend *b, const struct message *m, int fd)
{
	uint32_t v[2];

	memcpy(v, m->p, sizeof v);
	if (m->request == 1) {
		reply_u64(b, m, MINE);
	} else if (m->request == 15) {
		reply_u64(b, m, 1u << 0 | 1u << 3);
	} else if (m->request == 17) {
		reply_u64(b, m, b->lie == WRONG_VALUE && b->at == 17 ? UINT64_MAX : BACKEND_QUEUES);
	} else if (m->request == 11) {
		v[1] = b->q[v[0] % BACKEND_QUEUES].st.next_avail;
		(void)close(take_fd(&b->kick[v[0]]));
		(void)close(take_fd(&b->call[v[0]]));
		reply(b, m, v, sizeof v);
	} else if (m->request == 2) {
		memcpy(&b->features, m->p, sizeof b->features);
	} else if (m->request == 5) {
		set_memory(b, m, fd);
	} else if (m->request >= 8) {
		set_ring(b, m, fd);
	}
	if (m->flags & NEED_REPLY)
		reply_u64(b, m, 0);
}

/* False: the end. */
static bool message(struct backend *b)
{
	struct message m = { 0 };
	int fds[IO_FDS_MAX];
	size_t n = 0;

	if (io_recv_fds(b->sock, &m, 12, fds, ARRAY_LEN(fds), &n) != 12)
		return false;
	if (m.size > sizeof m.p || io_read_full(b->sock, m.p, m.size) != (ssize_t)m.size)
		return false;
	b->count[m.request % ARRAY_LEN(b->count)]++;
	if (b->lie == CLOSES && m.request == b->at)
		return false;
	if (b->lie != SILENT || m.request != b->at)
		answer(b, &m, n ? fds[0] : -1);
	for (size_t i = 0; i < n; i++)
		(void)close(fds[i]);
	return b->lie != HALF || m.request != b->at;
}

static void serve(struct backend *b, unsigned i)
{
	struct vq_chain c;
	uint64_t one;

	if (read(b->kick[i], &one, sizeof one) != (ssize_t)sizeof one)
		return;
	while (vq_pop(&b->q[i], &c) > 0) {
		b->served++;
		vq_push(&b->q[i], c.head,
			(uint32_t)vq_chain_write(&c, 0, BACKEND_SERVED, sizeof BACKEND_SERVED));
	}
	one = 1;
	if (vq_should_notify(&b->q[i]) && write(b->call[i], &one, sizeof one) < 0)
		abort();
}

static void *run(void *arg)
{
	struct backend *b = arg;
	struct pollfd p[2 + BACKEND_QUEUES];

	for (;;) {
		p[0] = (struct pollfd){ .fd = b->stop[0], .events = POLLIN };
		p[1] = (struct pollfd){ .fd = b->sock, .events = POLLIN };
		for (unsigned i = 0; i < BACKEND_QUEUES; i++)
			p[2 + i] = (struct pollfd){ .fd = b->q[i].mem ? b->kick[i] : -1, .events = POLLIN };
		if (poll(p, ARRAY_LEN(p), -1) < 0 || p[0].revents)
			break;
		if (p[1].revents && !message(b))
			break;
		for (unsigned i = 0; i < BACKEND_QUEUES; i++)
			if (p[2 + i].revents && b->kick[i] >= 0)
				serve(b, i);
	}
	(void)shutdown(b->sock, SHUT_RDWR);
	return NULL;
}

int backend_start(struct backend *b, enum backend_lie lie, uint32_t at)
{
	int s[2];

	*b = (struct backend){ .lie = lie, .at = at };
	for (unsigned i = 0; i < BACKEND_QUEUES; i++)
		b->kick[i] = b->call[i] = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0 || pipe(b->stop) < 0)
		abort();
	b->sock = s[1];
	if (pthread_create(&b->thread, NULL, run, b) != 0)
		abort();
	return s[0];
}

void backend_stop(struct backend *b)
{
	if (write(b->stop[1], "x", 1) != 1 || pthread_join(b->thread, NULL) != 0)
		abort();
	for (unsigned i = 0; i < BACKEND_QUEUES; i++) {
		scope_close(&b->kick[i]);
		scope_close(&b->call[i]);
	}
	if (b->map)
		(void)munmap(b->map, b->map_len);
	(void)close(b->sock);
	(void)close(b->stop[0]);
	(void)close(b->stop[1]);
}
