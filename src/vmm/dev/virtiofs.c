/* virtiofs.c - virtio file system device (virtio 1.2, 5.11): carries FUSE requests to a file server and its
 * replies back.
 *
 * Made by the machine (dev.h); served on the loop thread. The server (cor-fsd) is another process at the
 * other end of a packet socket: it answers in the order of the requests, and never sees guest memory. In a
 * clone that memory is a private mapping, which no other process could see: this is why the device is not
 * vhost-user. The bytes go from the guest's pages to the socket and back without a copy of ours.
 *
 * Distrusts: the driver; and the server, which faces the same guest: a reply is checked before the guest's
 * request is ended with it. Never: waits for the server. */
#include <errno.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ring/fuse_chain.h"
#include "vmm/dev/dev.h"

#define QUEUE_HIPRIO 0u
#define QUEUES       2u /* hiprio and one for requests: the server does one thing at a time */
#define QUEUE_SIZE   128u
#define SLOTS        16u /* as many as the server lets the guest send unasked (its max_background) */
#define REQUEST_MAX  (136u << 10)

/* Guest-visible state. */
struct fs_state {
	uint8_t session; /* the guest has mounted it: the server knows files by number. No clone can go on
			    with it */
	uint8_t pad[3];
};
_Static_assert(sizeof(struct fs_state) == 4, "written to snapshots");

/* A request that the server has. */
struct fs_slot {
	uint64_t unique;
	unsigned q;
	struct vq_chain chain;
};

struct fs_dev {
	struct vdev d;
	struct fs_state st;
	struct virtio_fs_config config;
	int sock; /* owned; -1: there is no server */
	struct vdev_watch watch;
	bool blocked;      /* the socket is full: wait until it takes more */
	bool destroy;      /* the session is over: the server has to be told */
	unsigned discard;  /* replies to come that nobody waits for any more */
	unsigned first, n; /* slots in use, a ring: the oldest is answered first */
	struct fs_slot slot[SLOTS];
};

static struct fs_dev *fs_of(struct vdev *d)
{
	return container_of(d, struct fs_dev, d);
}

static void arm(struct fs_dev *f)
{
	uint32_t events = (f->n + f->discard > 0 ? EPOLLIN : 0u) | (f->blocked ? EPOLLOUT : 0u);

	vdev_watch_set(&f->watch, events);
}

/* ---- requests ---- */

/* The server's answer in place of one that it did not give. */
static void fail(struct fs_dev *f, const struct vq_chain *c, unsigned q, uint64_t unique, int error)
{
	const struct fuse_out_header out = { .len = sizeof out, .error = error, .unique = unique };

	vdev_push(&f->d, q, c->head, (uint32_t)vq_chain_write(c, 0, &out, sizeof out));
}

/* One packet: the header as it was checked, and behind it the guest's bytes as they are now. 0 or -errno. */
static int send_request(const struct fs_dev *f, const struct fuse_in_header *h, const struct vq_chain *c)
{
	struct iovec iov[VQ_SEGS_MAX + 1] = { { .iov_base = (void *)(uintptr_t)h, .iov_len = sizeof *h } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 1 };
	size_t skip = sizeof *h;

	for (unsigned i = 0; c && i < c->n_out; i++) {
		size_t off = skip < c->iov[i].iov_len ? skip : c->iov[i].iov_len;

		skip -= off;
		if (off < c->iov[i].iov_len)
			iov[m.msg_iovlen++] = (struct iovec){ .iov_base = (uint8_t *)c->iov[i].iov_base + off,
							      .iov_len = c->iov[i].iov_len - off };
	}
	return sendmsg(f->sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* The driver was reset with files open: the server forgets them before the next request. False if that has to
 * wait. */
static bool end_session(struct fs_dev *f)
{
	const struct fuse_in_header h = { .len = sizeof h, .opcode = FUSE_DESTROY };
	int r;

	if (!f->destroy)
		return true;
	r = send_request(f, &h, NULL);
	if (r == -EAGAIN) {
		f->blocked = true;
		return false;
	}
	f->destroy = false;
	if (r == 0)
		f->discard++;
	return true;
}

/* What the session's state is after this request. */
static void follow_session(struct fs_dev *f, uint32_t opcode)
{
	if (opcode == FUSE_INIT)
		f->st.session = 1;
	if (opcode == FUSE_DESTROY)
		f->st.session = 0;
}

/* False if there is to be no further one now. */
static bool serve(struct fs_dev *f, unsigned q, struct vq_chain *c)
{
	struct fuse_in_header h;
	const char *why = fuse_chain_check(c, REQUEST_MAX, &h);
	int r;

	if (why) {
		vdev_break(&f->d, why);
		return false;
	}
	r = f->sock < 0 ? -ENOTCONN : send_request(f, &h, c);
	if (r == -EAGAIN) {
		vdev_unpop(&f->d, q, 1);
		f->blocked = true;
		return false;
	}
	if (r ==
	    -EMSGSIZE) /* more than the socket takes in one packet: larger than the server ever asked for */
		r = -EIO;
	if (r < 0 && r != -EIO) {
		vdev_break(&f->d, "the file server is gone");
		return false;
	}
	follow_session(f, h.opcode);
	if (r < 0 && fuse_has_reply(h.opcode)) {
		fail(f, c, q, h.unique, r);
	} else if (fuse_has_reply(h.opcode)) {
		struct fs_slot *s = &f->slot[(f->first + f->n++) % SLOTS];

		s->unique = h.unique;
		s->q = q;
		s->chain = *c;
	} else {
		vdev_push(&f->d, q, c->head, 0);
	}
	return true;
}

static void fs_kick(struct vdev *d, unsigned q)
{
	struct fs_dev *f = fs_of(d);
	struct vq_chain c;
	unsigned served = 0;

	if (f->blocked || !end_session(f)) {
		arm(f);
		return;
	}
	while (f->n < SLOTS && served < VDEV_BUDGET && vdev_pop(d, q, &c)) {
		if (!serve(f, q, &c))
			break;
		served++;
	}
	if (!vdev_is_active(d))
		return;
	if (served == VDEV_BUDGET)
		vdev_kick_self(d); /* with every slot in use, the next reply asks */
	vdev_notify(d, q);
	arm(f);
}

/* ---- replies ---- */

/* Reads the next packet: its header apart, the rest into the chain's writable part behind its own header's
 * place; c NULL: the rest is dropped. Its length, 0 = the end, or -errno. */
static ssize_t receive(struct fs_dev *f, struct fuse_out_header *h, const struct vq_chain *c)
{
	struct iovec iov[VQ_SEGS_MAX + 1] = { { .iov_base = h, .iov_len = sizeof *h } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 1 };
	size_t skip = sizeof *h;
	ssize_t n;

	for (unsigned i = 0; c && i < c->n_in; i++) {
		const struct iovec *v = &c->iov[c->n_out + i];
		size_t off = skip < v->iov_len ? skip : v->iov_len;

		skip -= off;
		if (off < v->iov_len)
			iov[m.msg_iovlen++] = (struct iovec){ .iov_base = (uint8_t *)v->iov_base + off,
							      .iov_len = v->iov_len - off };
	}
	n = recvmsg(f->sock, &m, MSG_DONTWAIT | MSG_TRUNC);
	return n < 0 ? -errno : n;
}

/* The reply to the oldest request. False: no further one now. */
static bool answer(struct fs_dev *f)
{
	struct fs_slot *s = &f->slot[f->first];
	struct fuse_out_header h = { 0 };
	ssize_t n = receive(f, &h, f->discard ? NULL : &s->chain);

	if (n == -EAGAIN || n == -EINTR)
		return false;
	if (n < (ssize_t)sizeof h) {
		vdev_break(&f->d, "the file server is gone");
		return false;
	}
	if (f->discard) {
		f->discard--;
		return true;
	}
	if (h.len != n || h.unique != s->unique) {
		(void)shutdown(f->sock, SHUT_RDWR); /* it is not trusted again, after a reset either */
		vdev_break(&f->d, "the file server's reply belongs to no request");
		return false;
	}
	f->n--;
	/* With nothing on its way it begins anew: a slot has two pages, and most are then never touched. */
	f->first = f->n > 0 ? (f->first + 1) % SLOTS : 0;
	if ((uint64_t)n > s->chain.in_len) { /* the guest left less room than it asked for */
		fail(f, &s->chain, s->q, s->unique, -EIO);
		return true;
	}
	(void)vq_chain_write(&s->chain, 0, &h, sizeof h);
	vdev_push(&f->d, s->q, s->chain.head, (uint32_t)n);
	return true;
}

static void on_socket(struct vdev *d, struct vdev_watch *w, uint32_t events)
{
	struct fs_dev *f = fs_of(d);
	bool was_full = f->n == SLOTS || f->blocked;

	(void)w;
	if (events & EPOLLOUT)
		f->blocked = false;
	for (unsigned i = 0; i < VDEV_BUDGET && f->n + f->discard > 0 && answer(f); i++)
		;
	if (vdev_is_active(d)) {
		for (unsigned q = 0; q < QUEUES; q++)
			vdev_notify(d, q);
		if (was_full)
			vdev_kick_self(d);
	}
	arm(f);
}

/* ---- life ---- */

static int fs_attach(struct vdev *d, struct err *e)
{
	struct fs_dev *f = fs_of(d);

	(void)e;
	vdev_watch_init(d, &f->watch, f->sock, on_socket);
	return 0;
}

/* Requests in flight are forgotten; their replies still come. */
static void fs_reset(struct vdev *d)
{
	struct fs_dev *f = fs_of(d);

	f->discard += f->n;
	f->first = f->n = 0;
	if (f->st.session && f->sock >= 0)
		f->destroy = true;
	f->st.session = 0;
}

static int fs_restored(struct vdev *d, struct err *e)
{
	const struct fs_dev *f = fs_of(d);

	if (f->st.session != 0)
		return err_set(e, -EBUSY, "%s: a shared directory was mounted when this machine was saved",
			       d->label);
	return 0;
}

static void fs_fini(struct vdev *d)
{
	struct fs_dev *f = fs_of(d);

	loop_del(&f->watch.src);
	scope_close(&f->sock);
	free(f);
}

static const struct vdev_ops fs_ops = {
	.name = "fs",
	.id = VIRTIO_ID_FS,
	.queue_size = QUEUE_SIZE,
	.version = 1,
	.state_size = sizeof(struct fs_state),
	.attach = fs_attach,
	.kick = fs_kick,
	.reset = fs_reset,
	.restored = fs_restored,
	.fini = fs_fini,
};

int virtiofs_new(const struct virtiofs_cfg *cfg, struct vdev **ret, struct err *e)
{
	size_t n = strlen(cfg->tag);
	struct fs_dev *f;

	if (n == 0 || n > sizeof f->config.tag)
		return err_set(e, -EINVAL, "fs: tag \"%s\" has not 1 to %zu bytes", cfg->tag,
			       sizeof f->config.tag);
	f = calloc(1, sizeof *f);
	if (!f)
		return err_set(e, -ENOMEM, "fs: %m");
	f->sock = cfg->fd;
	memcpy(f->config.tag, cfg->tag, n);
	f->config.num_request_queues = QUEUES - 1;
	f->d = (struct vdev){ .ops = &fs_ops,
			      .n_queues = QUEUES,
			      .config = (uint8_t *)&f->config,
			      .config_len = sizeof f->config,
			      .state = &f->st };
	(void)snprintf(f->d.label, sizeof f->d.label, "fs%u", cfg->index);
	*ret = &f->d;
	return 0;
}
