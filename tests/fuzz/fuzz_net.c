/* fuzz_net.c - the network device with drivers made of choices, and frames that come and go.
 * Promises: fuzz_dev.h; what reaches the other end is a frame with a header, of a length that exists; nobody
 * spins while there is nothing to do (rig_turn() would not end). */
#include "fuzz_dev.h"

#include <sys/socket.h>

#include "vmm/dev/dev.h"

static void event(struct fuzz_dev *f)
{
	static const uint32_t sizes[] = { 60, 11, 12, 25, 26, 1514, 9000, 65563, 65565 };
	int peer = *(const int *)f->data;
	size_t n = sizes[fuzz_below(f->in, ARRAY_LEN(sizes) - 1)];
	uint8_t *p = calloc(1, n);

	if (!p)
		abort();
	p[n - 1] = 1;
	(void)send(peer, p, n, MSG_NOSIGNAL); /* full: lost */
	free(p);
	if (fuzz_uint(f->in, 1) == 0xFF)
		net_set_link(f->rig.d, fuzz_uint(f->in, 1) & 1);
	rig_turn(&f->rig);
	memcpy(f->before, f->rig.ram, RIG_RAM); /* the frame went into a buffer: serve() checks the next */
}

static void check(struct fuzz_dev *f)
{
	int peer = *(const int *)f->data;
	static uint8_t p[1 << 17];
	struct epoll_event e;
	ssize_t n;

	while ((n = recv(peer, p, sizeof p, 0)) > 0)
		FUZZ_ASSERT(n >= 12 + 14 && n <= 12 + 65553);
	rig_turn(&f->rig);
	FUZZ_ASSERT(epoll_wait(f->rig.loop.epfd, &e, 1, 0) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fuzz_dev_hooks hooks = {
		.fill = NULL, .event = event, .check = check, .holds = true
	};
	struct fuzz_in in = { data, size };
	struct net_cfg cfg = { .mac = { 2 } };
	struct vdev *d = NULL;
	int s[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s) < 0)
		abort();
	cfg.fd = s[0];
	if (net_new(&cfg, &d, NULL) < 0)
		abort();
	fuzz_dev_run(&in, d, &hooks, &s[1]);
	(void)close(s[1]);
	return 0;
}
