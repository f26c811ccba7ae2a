/* fuzz_vhost.c - cor-fsd's vhost-user back end against a VMM and a guest made of choices.
 * The input is a list of steps: right messages, a queue started in a right or wrong place, chains that are
 * mostly right, kicks, and messages that are wrong, cut or noise. Promises: what is right never ends the
 * connection, and is answered once; an end has a reason; nothing is written beside the regions that were
 * told; a broken queue's used ring stays as it is until it is started anew; no descriptor and no mapping is
 * left. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "fs/vhost.h"
#include "fuzz.h"
#include "ring/fuse_chain.h"
#include "ring/vhost_user.h"
#include "vqdrv.h"

#define STEPS  48
#define RAM    0x10000u /* of each of two regions, with a hole behind each in the file */
#define HOLE   0x1000u
#define BASE   0x100000ull
#define USER   0x7f0000000000ull
#define FILE_N (2 * (RAM + HOLE) + HOLE)
#define FILL   0x5A
#define N      16u
#define DATA   0x4000u
#define FEAT                                                                                                 \
	(1ull << 32 | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX |                \
	 1ull << VHU_F_PROTOCOL)

struct world {
	struct fuzz_in *in;
	struct fs *fs;
	struct vhs *s;
	int sock, ram_fd, other_fd;
	int kick, bell, err[VHS_QUEUES];
	uint8_t *file;
	struct vqdrv v[VHS_QUEUES];
	uint16_t used[VHS_QUEUES]; /* of a broken queue */
	bool broken[VHS_QUEUES];
	bool told; /* the memory is what tell_memory() says */
	bool over;
	bool shut; /* the VMM has closed its half */
};

static unsigned said; /* of one run */

static void say(const char *text)
{
	FUZZ_ASSERT(strncmp(text, "queue ", 6) == 0);
	said++;
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	FUZZ_ASSERT(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static void check_holes(const struct world *w)
{
	for (size_t at = 0; at < FILE_N; at += RAM + HOLE)
		for (size_t i = 0; i < HOLE; i++)
			FUZZ_ASSERT(w->file[at + i] == FILL);
}

static void check_broken(struct world *w)
{
	for (unsigned q = 0; q < VHS_QUEUES; q++) {
		uint16_t now = w->v[q].size ? *(uint16_t *)vqdrv_at(&w->v[q], w->v[q].used + 2) : 0;
		eventfd_t v;

		FUZZ_ASSERT(!w->broken[q] || w->used[q] == now);
		if (eventfd_read(w->err[q], &v) == 0)
			w->broken[q] = true;
		w->used[q] = now;
	}
}

/* What happens when the server has its turns: whether it lives must be `lives`, -1 = either. */
static void turns(struct world *w, int lives)
{
	struct err e = { 0 };
	int r = 1;

	for (unsigned i = 0; i < 8 && r > 0; i++)
		r = vhs_turn(w->s, 0, &e);
	FUZZ_ASSERT(r >= 0 || e.msg[0]);
	FUZZ_ASSERT(lives < 0 || (r > 0) == (lives > 0));
	FUZZ_ASSERT(r > 0 || r < 0 || w->shut);
	FUZZ_ASSERT(said <= VHS_SAY_MAX);
	check_holes(w);
	check_broken(w);
	w->over = r <= 0;
}

/* ---- messages ---- */

static void put(struct world *w, struct vhu_msg *m, uint32_t size, const int *fds, size_t n_fds)
{
	m->size = size;
	m->flags = VHU_VERSION | VHU_ACK;
	FUZZ_ASSERT(io_send_fds(w->sock, m, VHU_HEAD + size, fds, n_fds) == 0);
}

/* A right one: its answer. */
static uint64_t tell(struct world *w, struct vhu_msg *m, uint32_t size, const int *fds, size_t n_fds)
{
	uint32_t request = m->request;

	put(w, m, size, fds, n_fds);
	turns(w, 1);
	FUZZ_ASSERT(recv(w->sock, m, sizeof *m, MSG_DONTWAIT) == VHU_HEAD + 8);
	FUZZ_ASSERT(m->request == request && m->flags == (VHU_VERSION | VHU_REPLY) && m->size == 8);
	return m->p.u64;
}

static uint64_t tell_u64(struct world *w, uint32_t request, uint64_t v, int fd)
{
	struct vhu_msg m = { .request = request, .p.u64 = v };

	return tell(w, &m, 8, &fd, fd >= 0);
}

static uint64_t tell_state(struct world *w, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhu_msg m = { .request = request, .p.state = { index, num } };

	return tell(w, &m, 8, NULL, 0);
}

static void tell_memory(struct world *w)
{
	struct vhu_msg m = { .request = VHU_SET_MEM_TABLE, .p.mem = { .n = 2 } };

	for (unsigned i = 0; i < 2; i++) {
		m.p.mem.r[i].start = BASE + i * RAM;
		m.p.mem.r[i].len = RAM;
		m.p.mem.r[i].user = USER + i * RAM;
		m.p.mem.r[i].off = HOLE + i * (RAM + HOLE);
	}
	(void)tell(w, &m, 8 + 2 * sizeof m.p.mem.r[0], (int[]){ w->ram_fd, w->ram_fd }, 2);
	w->told = true;
}

static void right(struct world *w)
{
	uint32_t q = (uint32_t)fuzz_below(w->in, VHS_QUEUES - 1);

	switch (fuzz_below(w->in, 7)) {
	case 0:
		tell_memory(w);
		break;
	case 1:
		(void)tell_state(w, VHU_SET_VRING_ENABLE, q, (uint32_t)fuzz_below(w->in, 1));
		break;
	case 2:
		(void)tell_u64(w, VHU_SET_VRING_CALL, q, w->bell);
		break;
	case 3:
		(void)tell_u64(w, VHU_SET_VRING_CALL, q | VHU_RING_NOFD, -1);
		break;
	case 4:
		(void)tell_u64(w, VHU_SET_VRING_ERR, q, w->err[q]);
		break;
	case 5:
		(void)tell_u64(w, VHU_SET_FEATURES, FEAT & ~(fuzz_uint(w->in, 1) << 24), -1);
		break;
	default:
		(void)tell_state(w, VHU_GET_VRING_BASE, q, 0);
	}
}

static uint64_t place(struct fuzz_in *in, uint64_t at)
{
	uint64_t far = fuzz_below(in, 31);

	at = at - BASE + USER;
	if (far == 1)
		at += fuzz_uint(in, 1);
	if (far == 2)
		at = fuzz_uint(in, 8);
	if (far == 3)
		at = USER + RAM - fuzz_below(in, 300);
	return at;
}

static void start(struct world *w)
{
	uint32_t q = (uint32_t)fuzz_below(w->in, VHS_QUEUES - 1), size = N;
	struct vqdrv *v = &w->v[q];
	struct vhu_msg m = { .request = VHU_SET_VRING_ADDR };
	bool good;

	(void)tell_state(w, VHU_GET_VRING_BASE, q, 0);
	w->broken[q] = false;
	w->used[q] = 0;
	(void)vqdrv_init(v, w->file + HOLE, BASE, BASE + q * 0x1000, N);
	if (fuzz_below(w->in, 15) == 15)
		size = (uint32_t)fuzz_uint(w->in, 4);
	(void)tell_state(w, VHU_SET_VRING_NUM, q, size);
	(void)tell_state(w, VHU_SET_VRING_BASE, q, 0);
	m.p.addr.index = q;
	m.p.addr.desc = place(w->in, v->desc);
	m.p.addr.avail = place(w->in, v->avail);
	m.p.addr.used = place(w->in, v->used);
	good = w->told && m.p.addr.desc == v->desc - BASE + USER &&
	       m.p.addr.avail == v->avail - BASE + USER && m.p.addr.used == v->used - BASE + USER &&
	       size == N;
	(void)tell(w, &m, sizeof m.p.addr, NULL, 0);
	(void)tell_u64(w, VHU_SET_VRING_ERR, q, w->err[q]);
	FUZZ_ASSERT(tell_u64(w, VHU_SET_VRING_KICK, q, w->kick) == 0 || !good);
	(void)tell_state(w, VHU_SET_VRING_ENABLE, q, 1);
}

/* ---- the guest ---- */

static void offer(struct world *w)
{
	static const uint32_t opcodes[] = { FUSE_INIT,    FUSE_STATFS,  FUSE_LOOKUP,       FUSE_GETATTR,
					    FUSE_OPENDIR, FUSE_READDIR, FUSE_READDIRPLUS,  FUSE_FORGET,
					    FUSE_DESTROY, FUSE_ACCESS,  FUSE_BATCH_FORGET, 4096 };
	struct vqdrv *v = &w->v[fuzz_below(w->in, VHS_QUEUES - 1)];
	struct fuse_init_in init = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION };
	struct fuse_in_header h = { .len = sizeof h, .nodeid = FUSE_ROOT_ID };
	uint32_t room = (uint32_t)fuzz_below(w->in, 3) * 0x400, more = (uint32_t)fuzz_below(w->in, 100);
	uint8_t *at = w->file + HOLE + DATA;
	struct vqdrv_seg seg[3];

	if (!v->size)
		return;
	h.opcode = opcodes[fuzz_below(w->in, ARRAY_LEN(opcodes) - 1)];
	memset(at, 0, sizeof h + 200);
	if (h.opcode == FUSE_INIT) {
		more = sizeof init;
		memcpy(at + sizeof h, &init, sizeof init);
	} else {
		memset(at + sizeof h, (int)fuzz_uint(w->in, 1), more ? more - 1 : 0);
	}
	h.len += more;
	if (fuzz_below(w->in, 31) == 31)
		h.len = (uint32_t)fuzz_uint(w->in, 4);
	memcpy(at, &h, sizeof h);
	seg[0] = (struct vqdrv_seg){ BASE + DATA, sizeof h };
	seg[1] = (struct vqdrv_seg){ BASE + DATA + sizeof h, more };
	seg[2] = (struct vqdrv_seg){ BASE + 2 * RAM - room, room };
	if (fuzz_below(w->in, 15) == 15)
		seg[fuzz_below(w->in, 2)].addr = BASE + 2 * RAM - fuzz_below(w->in, 200);
	if (fuzz_below(w->in, 31) == 31)
		seg[fuzz_below(w->in, 2)].len = (uint32_t)fuzz_uint(w->in, 4);
	if (!more)
		seg[1] = seg[2];
	(void)vqdrv_add(v, seg, 1 + (more != 0), room != 0);
	if (fuzz_below(w->in, 63) == 63)
		*vqdrv_avail_idx(v) = (uint16_t)fuzz_uint(w->in, 2);
	if (fuzz_below(w->in, 63) == 63)
		vqdrv_desc(v, (uint16_t)fuzz_below(w->in, N - 1), BASE, 16, (uint16_t)fuzz_below(w->in, 7),
			   (uint16_t)fuzz_uint(w->in, 2));
}

/* One eventfd for both queues: one of them has it. */
static void kick(struct world *w)
{
	FUZZ_ASSERT(eventfd_write(w->kick, 1) == 0);
	turns(w, 1);
}

/* ---- what is wrong ---- */

/* A number that is wrong in a message of the right length; or it is right after all. */
static void odd_number(struct world *w)
{
	static const uint32_t requests[] = { VHU_SET_FEATURES,   VHU_SET_VRING_NUM,  VHU_SET_VRING_BASE,
					     VHU_GET_VRING_BASE, VHU_SET_VRING_KICK, VHU_SET_VRING_CALL,
					     VHU_SET_VRING_ERR,  VHU_SET_MEM_TABLE,  VHU_SET_VRING_ENABLE };
	struct vhu_msg m = { .request = requests[fuzz_below(w->in, ARRAY_LEN(requests) - 1)] };
	size_t n_fds = fuzz_below(w->in, 2), size = 8;
	const int bells[] = { w->bell, w->bell }, memory[] = { w->other_fd, w->other_fd };
	const bool mem = m.request == VHU_SET_MEM_TABLE;

	if (mem) {
		m.p.mem.n = (uint32_t)fuzz_below(w->in, 3);
		size = 8 + (m.p.mem.n % 9) * sizeof m.p.mem.r[0];
		for (unsigned i = 0; i < m.p.mem.n && i < VHU_MEM_MAX; i++) {
			m.p.mem.r[i].start = fuzz_uint(w->in, 2) << 12;
			m.p.mem.r[i].len = fuzz_uint(w->in, 1) << 12;
			m.p.mem.r[i].user = fuzz_uint(w->in, 8);
			m.p.mem.r[i].off = fuzz_uint(w->in, 3);
		}
	} else {
		m.p.u64 = fuzz_uint(w->in, 8);
	}
	w->told = w->told && !mem;
	put(w, &m, (uint32_t)size, mem ? memory : bells, n_fds);
	turns(w, -1);
	while (!w->over && recv(w->sock, &m, sizeof m, MSG_DONTWAIT) > 0)
		;
}

/* Noise, or a message that says more than comes: the VMM's last. */
static void last(struct world *w)
{
	uint8_t noise[80];
	size_t n = fuzz_below(w->in, sizeof noise);

	for (size_t i = 0; i < n; i++)
		noise[i] = (uint8_t)fuzz_uint(w->in, 1);
	if (n && fuzz_below(w->in, 1))
		noise[0] = (uint8_t)fuzz_below(w->in, 20);
	FUZZ_ASSERT(send(w->sock, noise, n, MSG_NOSIGNAL) == (ssize_t)n);
	FUZZ_ASSERT(shutdown(w->sock, SHUT_WR) == 0);
	w->shut = true;
	turns(w, -1);
	w->over = true;
}

static void step(struct world *w)
{
	switch (fuzz_below(w->in, 31)) {
	case 0:
		odd_number(w);
		break;
	case 1:
		last(w);
		break;
	case 2:
	case 3:
		start(w);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		right(w);
		break;
	default:
		offer(w);
		kick(w);
	}
}

static void set_up(struct world *w)
{
	struct fs_conf conf = { .max_fds = 64, .idle_fds = 32, .max_inodes = 40 };
	int pair[2];

	conf.root = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC); /* nothing here writes */
	conf.fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	w->ram_fd = memfd_create("ram", MFD_CLOEXEC);
	w->other_fd = memfd_create("other", MFD_CLOEXEC);
	w->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned q = 0; q < VHS_QUEUES; q++)
		w->err[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	FUZZ_ASSERT(fs_open(&conf, &w->fs, NULL) == 0);
	FUZZ_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	FUZZ_ASSERT(ftruncate(w->ram_fd, FILE_N) == 0 && ftruncate(w->other_fd, FILE_N) == 0);
	w->sock = pair[0];
	w->file = mmap(NULL, FILE_N, PROT_READ | PROT_WRITE, MAP_SHARED, w->ram_fd, 0);
	FUZZ_ASSERT(w->file != MAP_FAILED && vhs_new(w->fs, pair[1], say, &w->s, NULL) == 0);
	memset(w->file, FILL, FILE_N);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct world w = { .in = &in };
	unsigned before = open_fds();

	said = 0;
	set_up(&w);
	{
		struct vhu_msg m = { .request = VHU_SET_PROTOCOL_FEATURES, .p.u64 = 9 };

		put(&w, &m, 8, NULL, 0);
		turns(&w, 1);
		(void)recv(w.sock, &m, sizeof m,
			   MSG_DONTWAIT); /* acknowledged at once, as REPLY_ACK is agreed on */
		(void)tell_u64(&w, VHU_SET_FEATURES, FEAT, -1);
		tell_memory(&w);
	}
	for (unsigned i = 0; i < VHS_QUEUES; i++)
		start(&w);
	for (unsigned i = 0; i < STEPS && in.left && !w.over; i++)
		step(&w);
	vhs_free(w.s);
	fs_close(w.fs);
	(void)munmap(w.file, FILE_N);
	(void)close(w.sock);
	(void)close(w.ram_fd);
	(void)close(w.other_fd);
	(void)close(w.kick);
	(void)close(w.bell);
	for (unsigned q = 0; q < VHS_QUEUES; q++)
		(void)close(w.err[q]);
	FUZZ_ASSERT(open_fds() == before);
	return 0;
}
