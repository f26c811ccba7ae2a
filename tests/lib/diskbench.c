/* diskbench.c - what ./bench disk measures of a disk: the same requests, by one of three engines.
 *
 *     diskbench FILE sync|uring|aio [direct]
 *
 * sync and uring are the two ways in which a virtual machine monitor can do what its guest asks for: preadv()
 * and pwritev(), one after the other, or io_uring, as many at once as the guest has under way. aio is the
 * guest, whose requests reach its driver as many at once. Each of them up to `depth` at a time; a batch is
 * what is free to be asked. Prints a line "NAME COUNT NANOSECONDS" for each thing that it did. Each has a
 * part of the file of its own, so that nothing is in a cache because another was there. The file has 128 MiB
 * or more. Static. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 16u
#define REGION    (16u << 20)
#define LARGE     (1u << 20)
#define SMALL     4096u
#define HUGE      ((size_t)2 << 20)
#define N_LARGE   16u
#define N_SMALL   256u

struct request {
	struct iovec iov;
	off_t at;
	struct iocb cb;
};

static struct {
	int fd;
	bool write;
	struct request reqs[DEPTH_MAX];
	unsigned ready[DEPTH_MAX], n_ready; /* chosen, not yet asked */
	unsigned idle[DEPTH_MAX], n_idle;   /* free */
	/* aio */
	aio_context_t aio;
	/* io_uring */
	int ring;
	uint8_t *rings;
	struct io_uring_params p;
	struct io_uring_sqe *sqes;
} b;

static void check(const char *what, long r)
{
	if (r >= 0)
		return;
	(void)fprintf(stderr, "diskbench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void done(unsigned i, int64_t res)
{
	if (res != (int64_t)b.reqs[i].iov.iov_len) {
		(void)fprintf(stderr, "diskbench: a request ended with %lld\n", (long long)res);
		exit(1);
	}
	b.idle[b.n_idle++] = i;
}

/* ---- engines: ask for what is ready, wait for one at least ---- */

static void sync_turn(void)
{
	for (unsigned k = 0; k < b.n_ready; k++) {
		struct request *r = &b.reqs[b.ready[k]];

		done(b.ready[k],
		     b.write ? pwritev(b.fd, &r->iov, 1, r->at) : preadv(b.fd, &r->iov, 1, r->at));
	}
	b.n_ready = 0;
}

static void aio_turn(void)
{
	struct iocb *list[DEPTH_MAX];
	struct io_event events[DEPTH_MAX];
	long n;

	for (unsigned k = 0; k < b.n_ready; k++) {
		struct request *r = &b.reqs[b.ready[k]];

		r->cb = (struct iocb){ .aio_data = b.ready[k],
				       .aio_lio_opcode = b.write ? IOCB_CMD_PWRITEV : IOCB_CMD_PREADV,
				       .aio_fildes = (uint32_t)b.fd,
				       .aio_buf = (uint64_t)(uintptr_t)&r->iov,
				       .aio_nbytes = 1,
				       .aio_offset = r->at };
		list[k] = &r->cb;
	}
	if (b.n_ready)
		check("io_submit",
		      syscall(SYS_io_submit, b.aio, b.n_ready, list) == (long)b.n_ready ? 0 : -1);
	b.n_ready = 0;
	n = syscall(SYS_io_getevents, b.aio, 1, DEPTH_MAX, events, NULL);
	check("io_getevents", n);
	for (long k = 0; k < n; k++)
		done((unsigned)events[k].data, events[k].res);
}

static uint32_t *word(uint32_t off)
{
	return (uint32_t *)(void *)(b.rings + off);
}

static void uring_turn(void)
{
	uint32_t tail = *word(b.p.sq_off.tail), head = *word(b.p.cq_off.head);
	const struct io_uring_cqe *cqes = (struct io_uring_cqe *)(void *)(b.rings + b.p.cq_off.cqes);

	for (unsigned k = 0; k < b.n_ready; k++, tail++) {
		struct request *r = &b.reqs[b.ready[k]];

		b.sqes[tail % b.p.sq_entries] = (struct io_uring_sqe){
			.opcode = b.write ? IORING_OP_WRITEV : IORING_OP_READV,
			.flags = IOSQE_FIXED_FILE,
			.off = (uint64_t)r->at,
			.addr = (uint64_t)(uintptr_t)&r->iov,
			.len = 1,
			.user_data = b.ready[k],
		};
		word(b.p.sq_off.array)[tail % b.p.sq_entries] = tail % b.p.sq_entries;
	}
	__atomic_store_n(word(b.p.sq_off.tail), tail, __ATOMIC_RELEASE);
	check("io_uring_enter",
	      syscall(SYS_io_uring_enter, b.ring, b.n_ready, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	b.n_ready = 0;
	for (; head != __atomic_load_n(word(b.p.cq_off.tail), __ATOMIC_ACQUIRE); head++)
		done((unsigned)cqes[head % b.p.cq_entries].user_data, cqes[head % b.p.cq_entries].res);
	__atomic_store_n(word(b.p.cq_off.head), head, __ATOMIC_RELEASE);
}

static void uring_init(void)
{
	size_t len;

	/* The cheapest that Linux 6.1 has: completions are worked off when this thread asks for them. */
	b.p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	b.ring = (int)syscall(SYS_io_uring_setup, DEPTH_MAX, &b.p);
	check("io_uring_setup", b.ring);
	len = b.p.cq_off.cqes + b.p.cq_entries * sizeof(struct io_uring_cqe);
	if (len < b.p.sq_off.array + b.p.sq_entries * sizeof(uint32_t))
		len = b.p.sq_off.array + b.p.sq_entries * sizeof(uint32_t);
	b.rings = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, b.ring,
		       IORING_OFF_SQ_RING);
	b.sqes = mmap(NULL, b.p.sq_entries * sizeof *b.sqes, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_POPULATE, b.ring, IORING_OFF_SQES);
	check("mmap", b.rings == MAP_FAILED || b.sqes == MAP_FAILED ? -1 : 0);
	check("io_uring_register", syscall(SYS_io_uring_register, b.ring, IORING_REGISTER_FILES, &b.fd, 1));
}

static const struct {
	const char *name;
	void (*turn)(void);
} engines[] = { { "sync", sync_turn }, { "aio", aio_turn }, { "uring", uring_turn } };

/* ---- what is measured ---- */

static int64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void measure(void (*turn)(void), unsigned region, const char *name, bool write, bool large,
		    unsigned depth)
{
	unsigned n = large ? N_LARGE : N_SMALL, size = large ? LARGE : SMALL, started = 0;
	uint32_t at = 1;
	int64_t since;

	b.write = write;
	for (b.n_idle = 0; b.n_idle < depth; b.n_idle++) {
		b.idle[b.n_idle] = b.n_idle;
		b.reqs[b.n_idle].iov.iov_len = size;
	}
	since = now_ns();
	while (started < n || b.n_idle < depth) {
		while (b.n_idle && started < n) {
			unsigned i = b.idle[--b.n_idle];

			at = large ? started
				   : (at * 1664525u + 1013904223u) % (REGION / SMALL); /* each once */
			b.reqs[i].at = (off_t)region * REGION + (off_t)at * size;
			b.ready[b.n_ready++] = i;
			started++;
		}
		turn();
	}
	(void)printf("%s %u %lld\n", name, n, (long long)(now_ns() - since));
}

static void measure_all(void (*turn)(void))
{
	static const struct {
		const char *name;
		bool write, large;
		unsigned depth;
	} all[] = {
		{ "read-1M-1", false, true, 1 },  { "read-1M-16", false, true, 16 },
		{ "read-4K-1", false, false, 1 }, { "read-4K-16", false, false, 16 },
		{ "write-1M-1", true, true, 1 },  { "write-1M-16", true, true, 16 },
		{ "write-4K-1", true, false, 1 }, { "write-4K-16", true, false, 16 },
	};

	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		measure(turn, i, all[i].name, all[i].write, all[i].large, all[i].depth);
}

/* In huge pages, as a guest's memory: how a buffer lies in memory shall not make a difference. */
static void buffers(void)
{
	const size_t len = (size_t)DEPTH_MAX * LARGE;
	uint8_t *p = mmap(NULL, len + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check("mmap", p == MAP_FAILED ? -1 : 0);
	p += -(uintptr_t)p & (HUGE - 1);
	check("madvise", madvise(p, len, MADV_HUGEPAGE));
	memset(p, 'x', len); /* its pages are there before the clock runs */
	for (unsigned i = 0; i < DEPTH_MAX; i++)
		b.reqs[i].iov.iov_base = p + (size_t)i * LARGE;
}

int main(int argc, char **argv)
{
	void (*turn)(void) = NULL;

	if (argc != 3 && (argc != 4 || strcmp(argv[3], "direct") != 0))
		return 2;
	for (unsigned i = 0; i < sizeof engines / sizeof *engines; i++)
		if (strcmp(engines[i].name, argv[2]) == 0)
			turn = engines[i].turn;
	if (!turn)
		return 2;
	b.fd = open(argv[1], O_RDWR | O_CLOEXEC | (argc == 4 ? O_DIRECT : 0));
	check(argv[1], b.fd);
	buffers();
	if (turn == aio_turn)
		check("io_setup", syscall(SYS_io_setup, DEPTH_MAX, &b.aio));
	if (turn == uring_turn)
		uring_init();
	measure_all(turn);
	(void)puts("complete");
	return 0;
}
