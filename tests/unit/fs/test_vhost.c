/* test_vhost.c - cor-fsd as a vhost-user back end, with a VMM that is this test: right, cut and wrong
 * messages, memory that is not what was said, rings written by nobody's kernel. */
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/io.h"
#include "fs/cli.h"
#include "fs/vhost.h"
#include "ring/fuse_chain.h"
#include "ring/vhost_user.h"
#include "tmpdir.h"
#include "vqdrv.h"

#define RAM   (1u << 20)
#define BASE  0x100000ull       /* guest-physical */
#define USER  0x7f0000000000ull /* the VMM's address of it */
#define OFF   0x2000u           /* where it begins in its file */
#define REQ   0x8000u           /* requests and replies, from BASE */
#define REPLY 0x40000u
#define N     64u
#define FEAT                                                                                                 \
	(1ull << 32 | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX |                \
	 1ull << VHU_F_PROTOCOL)
#define HIPRIO 0
#define REQS   1

static struct {
	struct tmpdir *dir;
	int before, in;
	struct fs *fs;
	struct vhs *s;
	int sock; /* the VMM's end */
	int ram_fd;
	uint8_t *ram; /* guest address BASE */
	struct vqdrv v[VHS_QUEUES];
	int kick[VHS_QUEUES], call[VHS_QUEUES], err[VHS_QUEUES];
	unsigned said;
	char text[128];
	struct err e;
	uint64_t unique;
} t;

static void say(const char *text)
{
	t.said++;
	(void)snprintf(t.text, sizeof t.text, "%s", text);
}

/* ---- the VMM ---- */

static void send_raw(uint32_t request, uint32_t flags, uint32_t size, const void *p, size_t n, const int *fds,
		     size_t n_fds)
{
	struct vhu_msg m = { .request = request, .flags = flags, .size = size };

	if (n)
		memcpy(&m.p, p, n);
	assert_int_equal(io_send_fds(t.sock, &m, VHU_HEAD + n, fds, n_fds), 0);
}

/* Serves until there is nothing to do; the last turn's result. */
static int turns(void)
{
	int r = 1;

	for (unsigned i = 0; i < 20 && r > 0; i++)
		r = vhs_turn(t.s, 0, &t.e);
	return r;
}

/* A message that wants an acknowledgement; which it was. */
static uint64_t tell(uint32_t request, const void *p, size_t n, const int *fds, size_t n_fds)
{
	struct vhu_msg m;

	send_raw(request, VHU_VERSION | VHU_ACK, (uint32_t)n, p, n, fds, n_fds);
	assert_int_equal(turns(), 1);
	assert_int_equal(recv(t.sock, &m, sizeof m, MSG_DONTWAIT), VHU_HEAD + 8);
	assert_int_equal(m.request, request);
	assert_int_equal(m.flags, VHU_VERSION | VHU_REPLY);
	assert_int_equal(m.size, 8);
	return m.p.u64;
}

static uint64_t ask(uint32_t request)
{
	return tell(request, NULL, 0, NULL, 0);
}

/* A message after which the connection is over, for a reason that holds `why`. */
static void wrong(uint32_t request, const void *p, size_t n, const int *fds, size_t n_fds, const char *why)
{
	send_raw(request, VHU_VERSION, (uint32_t)n, p, n, fds, n_fds);
	assert_true(turns() < 0);
	if (!strstr(t.e.msg, why))
		fail_msg("\"%s\" is not in \"%s\"", why, t.e.msg);
}

static uint64_t state(uint32_t request, uint32_t index, uint32_t num)
{
	return tell(request, &(struct vhu_state){ index, num }, sizeof(struct vhu_state), NULL, 0);
}

static uint64_t give(uint32_t request, uint64_t v, int fd)
{
	return tell(request, &v, sizeof v, &fd, fd >= 0);
}

static struct vhu_mem memory(void)
{
	return (struct vhu_mem){ .n = 1, .r = { { .start = BASE, .len = RAM, .user = USER, .off = OFF } } };
}

static uint64_t tell_memory(int fd)
{
	const struct vhu_mem mem = memory();

	return tell(VHU_SET_MEM_TABLE, &mem, 8 + sizeof mem.r[0], &fd, 1);
}

static struct vhu_addr addresses(unsigned i)
{
	return (struct vhu_addr){ .index = i,
				  .desc = t.v[i].desc - BASE + USER,
				  .used = t.v[i].used - BASE + USER,
				  .avail = t.v[i].avail - BASE + USER };
}

/* The result of the kick: 1 = it was refused. */
static uint64_t start_queue(unsigned i, const struct vhu_addr *a, uint32_t size, uint32_t base)
{
	assert_int_equal(state(VHU_SET_VRING_NUM, i, size), 0);
	assert_int_equal(state(VHU_SET_VRING_BASE, i, base), 0);
	assert_int_equal(tell(VHU_SET_VRING_ADDR, a, sizeof *a, NULL, 0), 0);
	assert_int_equal(give(VHU_SET_VRING_CALL, i, t.call[i]), 0);
	assert_int_equal(give(VHU_SET_VRING_ERR, i, t.err[i]), 0);
	return give(VHU_SET_VRING_KICK, i, t.kick[i]);
}

static uint16_t stop_queue(unsigned i)
{
	struct vhu_msg m;

	send_raw(VHU_GET_VRING_BASE, VHU_VERSION, sizeof m.p.state, &(struct vhu_state){ i, 0 },
		 sizeof m.p.state, NULL, 0);
	assert_int_equal(turns(), 1);
	assert_int_equal(recv(t.sock, &m, sizeof m, MSG_DONTWAIT), VHU_HEAD + 8);
	assert_int_equal(m.p.state.index, i);
	return (uint16_t)m.p.state.num;
}

static void agree(void)
{
	uint64_t f = FEAT, p = 1u << VHU_PROTOCOL_ACK | 1u << VHU_PROTOCOL_MQ;

	send_raw(VHU_SET_PROTOCOL_FEATURES, VHU_VERSION, 8, &p, 8, NULL, 0);
	assert_int_equal(tell(VHU_SET_FEATURES, &f, sizeof f, NULL, 0), 0);
	assert_int_equal(tell(VHU_SET_OWNER, NULL, 0, NULL, 0), 0);
}

static void bring_up(void)
{
	agree();
	assert_int_equal(tell_memory(t.ram_fd), 0);
	for (unsigned i = 0; i < VHS_QUEUES; i++) {
		const struct vhu_addr a = addresses(i);

		assert_int_equal(start_queue(i, &a, N, 0), 0);
		assert_int_equal(state(VHU_SET_VRING_ENABLE, i, 1), 0);
	}
}

/* Another connection, nothing known of it. */
static void again(void)
{
	int pair[2];

	vhs_free(t.s);
	(void)close(t.sock);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	t.sock = pair[0];
	assert_int_equal(vhs_new(t.fs, pair[1], say, &t.s, NULL), 0);
}

/* ---- its guest ---- */

static void kick(unsigned i)
{
	assert_int_equal(eventfd_write(t.kick[i], 1), 0);
}

static bool rung(int fd)
{
	eventfd_t v;

	return eventfd_read(fd, &v) == 0;
}

static void put_request(uint32_t opcode, uint64_t node, const void *arg, size_t n)
{
	struct fuse_in_header h = {
		.len = (uint32_t)(sizeof h + n), .opcode = opcode, .unique = ++t.unique, .nodeid = node
	};

	memcpy(t.ram + REQ, &h, sizeof h);
	if (n)
		memcpy(t.ram + REQ + sizeof h, arg, n);
}

/* Offers what put_request() wrote, in two segments, with this much room. */
static void offer(unsigned q, uint32_t len, uint32_t room)
{
	const struct vqdrv_seg seg[] = { { BASE + REQ, 24 },
					 { BASE + REQ + 24, len - 24 },
					 { BASE + REPLY, room } };

	(void)vqdrv_add(&t.v[q], seg, 2, room != 0);
}

static struct fuse_out_header *reply(void)
{
	return (struct fuse_out_header *)(void *)(t.ram + REPLY);
}

/* A request by queue REQS; its error. */
static int fuse(uint32_t opcode, uint64_t node, const void *arg, size_t n)
{
	uint32_t id, len = 0;

	put_request(opcode, node, arg, n);
	memset(t.ram + REPLY, 0xEE, sizeof(struct fuse_out_header));
	offer(REQS, (uint32_t)(sizeof(struct fuse_in_header) + n), 0x1000);
	kick(REQS);
	assert_int_equal(turns(), 1);
	assert_true(vqdrv_used(&t.v[REQS], &id, &len));
	assert_int_equal(len, reply()->len);
	assert_int_equal(reply()->unique, t.unique);
	return reply()->error;
}

static int fuse_init(void)
{
	struct fuse_init_in in = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION };

	return fuse(FUSE_INIT, 0, &in, sizeof in);
}

/* ---- life ---- */

static int setup(void **state_)
{
	struct fs_conf conf = { .max_fds = 64, .idle_fds = 32, .max_inodes = 100 };
	int pair[2];
	uint64_t at = BASE;

	memset(&t, 0, sizeof t);
	if (tmpdir_set_up(state_) < 0)
		return -1;
	t.dir = *state_;
	t.before = open(".", O_PATH | O_CLOEXEC);
	if (mkdirat(t.dir->fd, "in", 0700) < 0 || mkdirat(t.dir->fd, "in/a", 0700) < 0)
		return -1;
	conf.root = openat(t.dir->fd, "in", O_PATH | O_DIRECTORY | O_CLOEXEC);
	conf.fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fs_open(&conf, &t.fs, NULL) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	t.sock = pair[0];
	t.ram_fd = memfd_create("ram", MFD_CLOEXEC);
	if (t.ram_fd < 0 || ftruncate(t.ram_fd, OFF + RAM) < 0)
		return -1;
	t.ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_SHARED, t.ram_fd, OFF);
	for (unsigned i = 0; i < VHS_QUEUES; i++) {
		at = vqdrv_init(&t.v[i], t.ram, BASE, at, N);
		t.kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		t.call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		t.err[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	return vhs_new(t.fs, pair[1], say, &t.s, NULL);
}

static int teardown(void **state_)
{
	vhs_free(t.s);
	fs_close(t.fs);
	if (fchdir(t.before) < 0 || munmap(t.ram, RAM) < 0)
		return -1;
	scope_close(&t.before);
	scope_close(&t.sock);
	scope_close(&t.ram_fd);
	for (unsigned i = 0; i < VHS_QUEUES; i++) {
		scope_close(&t.kick[i]);
		scope_close(&t.call[i]);
		scope_close(&t.err[i]);
	}
	return tmpdir_tear_down(state_);
}

/* ---- tests ---- */

static void test_agreement(void **state_)
{
	(void)state_;
	assert_int_equal(ask(VHU_GET_FEATURES), FEAT);
	assert_int_equal(ask(VHU_GET_PROTOCOL_FEATURES), 1u << VHU_PROTOCOL_ACK | 1u << VHU_PROTOCOL_MQ);
	assert_int_equal(ask(VHU_GET_QUEUE_NUM), VHS_QUEUES);
	/* without REPLY_ACK agreed on nothing but answers is said */
	send_raw(VHU_SET_OWNER, VHU_VERSION | VHU_ACK, 0, NULL, 0, NULL, 0);
	assert_int_equal(turns(), 1);
	assert_true(recv(t.sock, &(char){ 0 }, 1, MSG_DONTWAIT) < 0);
	agree();
	(void)close(take_fd(&t.sock));
	assert_int_equal(turns(), 0);
}

static void test_requests(void **state_)
{
	struct fuse_forget_in forget = { .nlookup = 1 };
	uint32_t id, len;

	(void)state_;
	bring_up();
	assert_int_equal(fuse(FUSE_LOOKUP, FUSE_ROOT_ID, "a", 2), -EIO); /* nobody has mounted it */
	assert_int_equal(fuse_init(), 0);
	assert_true(rung(t.call[REQS]));
	assert_int_equal(fuse(FUSE_LOOKUP, FUSE_ROOT_ID, "b", 2), -ENOENT);
	assert_int_equal(fuse(FUSE_LOOKUP, FUSE_ROOT_ID, "a", 2), 0);
	assert_int_equal(fs_count(t.fs).inodes, 2);
	put_request(FUSE_FORGET, ((struct fuse_entry_out *)(void *)(reply() + 1))->nodeid, &forget,
		    sizeof forget);
	offer(HIPRIO, sizeof(struct fuse_in_header) + sizeof forget, 0);
	kick(HIPRIO);
	assert_int_equal(turns(), 1);
	assert_true(vqdrv_used(&t.v[HIPRIO], &id, &len));
	assert_int_equal(len, 0);
	assert_int_equal(fs_count(t.fs).inodes, 1);
	assert_int_equal(t.said, 0);
}

/* More than one turn serves, with one kick; and what is offered without one waits. */
static void test_many(void **state_)
{
	uint32_t id, len;
	unsigned n = 0;

	(void)state_;
	bring_up();
	assert_int_equal(fuse_init(), 0);
	put_request(FUSE_STATFS, FUSE_ROOT_ID, NULL, 0);
	for (unsigned i = 0; i < 20; i++)
		offer(REQS, sizeof(struct fuse_in_header), 0x100);
	assert_int_equal(turns(), 1);
	assert_false(vqdrv_used(&t.v[REQS], &id, &len));
	kick(REQS);
	assert_int_equal(turns(), 1);
	while (vqdrv_used(&t.v[REQS], &id, &len))
		n++;
	assert_int_equal(n, 20);
}

/* A second machine, or the first one started anew: what the last one had is closed. */
static void test_second_session(void **state_)
{
	struct fuse_open_in in = { 0 };

	(void)state_;
	bring_up();
	assert_int_equal(fuse_init(), 0);
	assert_int_equal(fuse(FUSE_LOOKUP, FUSE_ROOT_ID, "a", 2), 0);
	assert_int_equal(fuse(FUSE_OPENDIR, FUSE_ROOT_ID, &in, sizeof in), 0);
	assert_int_equal(fs_count(t.fs).handles, 1);
	assert_int_equal(fuse_init(), 0);
	assert_int_equal(fs_count(t.fs).handles, 0);
	assert_int_equal(fs_count(t.fs).inodes, 1);
	assert_int_equal(fuse(FUSE_LOOKUP, FUSE_ROOT_ID, "a", 2), 0);
}

static void test_stop_and_start(void **state_)
{
	struct vhu_addr a = addresses(REQS);
	uint32_t id, len;

	(void)state_;
	bring_up();
	assert_int_equal(fuse_init(), 0);
	assert_int_equal(stop_queue(REQS), 1);
	assert_int_equal(stop_queue(REQS), 1); /* again changes nothing */
	put_request(FUSE_STATFS, FUSE_ROOT_ID, NULL, 0);
	offer(REQS, sizeof(struct fuse_in_header), 0x100);
	kick(REQS);
	assert_int_equal(turns(), 1);
	assert_false(vqdrv_used(&t.v[REQS], &id, &len));
	assert_int_equal(state(VHU_SET_VRING_ENABLE, REQS, 0), 0);
	assert_int_equal(start_queue(REQS, &a, N, 1), 0);
	assert_int_equal(turns(), 1);
	assert_false(vqdrv_used(&t.v[REQS], &id, &len));
	assert_int_equal(state(VHU_SET_VRING_ENABLE, REQS, 1), 0); /* the kick was before */
	assert_true(vqdrv_used(&t.v[REQS], &id, &len));
	assert_int_equal(stop_queue(REQS), 2);
	/* who does not know of enabling need not */
	assert_int_equal(tell(VHU_SET_FEATURES, &(uint64_t){ 1ull << 32 }, 8, NULL, 0), 0);
	assert_int_equal(state(VHU_SET_VRING_ENABLE, REQS, 0), 0);
	assert_int_equal(start_queue(REQS, &a, N, 2), 0);
	assert_int_equal(fuse(FUSE_STATFS, FUSE_ROOT_ID, NULL, 0), 0);
}

/* The used ring goes on where the ring says, whatever the next available entry is. */
static void test_used_index(void **state_)
{
	struct vhu_addr a = addresses(REQS);
	uint16_t used = 7;

	(void)state_;
	agree();
	assert_int_equal(tell_memory(t.ram_fd), 0);
	memcpy(vqdrv_at(&t.v[REQS], t.v[REQS].used + 2), &used, sizeof used);
	t.v[REQS].used_seen = used;
	assert_int_equal(start_queue(REQS, &a, N, 0), 0);
	assert_int_equal(state(VHU_SET_VRING_ENABLE, REQS, 1), 0);
	assert_int_equal(fuse_init(), 0);
}

/* Another file behind the same addresses: the old one is touched no more. */
static void test_other_memory(void **state_)
{
	scoped_fd fd = memfd_create("other", MFD_CLOEXEC);
	uint8_t *old = t.ram;
	struct vhu_mem far = memory();
	uint32_t id, len;

	(void)state_;
	bring_up();
	assert_int_equal(fuse_init(), 0);
	assert_int_equal(ftruncate(fd, OFF + RAM), 0);
	assert_int_equal(pwrite(fd, old, RAM, OFF), RAM);
	assert_int_equal(tell_memory(fd), 0);
	t.ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, OFF);
	t.v[REQS].ram = t.ram;
	memset(old, 0xAA, RAM);
	assert_int_equal(fuse(FUSE_STATFS, FUSE_ROOT_ID, NULL, 0), 0);
	for (size_t i = 0; i < RAM; i++)
		assert_int_equal(old[i], 0xAA);
	assert_int_equal(munmap(old, RAM), 0);
	/* the rings are not in it: refused, and both are broken */
	far.r[0].user += 1ull << 32;
	assert_int_equal(tell(VHU_SET_MEM_TABLE, &far, 8 + sizeof far.r[0], (int[]){ fd }, 1), 1);
	assert_int_equal(t.said, 2);
	assert_true(rung(t.err[HIPRIO]) && rung(t.err[REQS]));
	kick(REQS);
	assert_int_equal(turns(), 1);
	/* the right memory again heals none: only a start does */
	assert_int_equal(tell_memory(fd), 0);
	put_request(FUSE_STATFS, FUSE_ROOT_ID, NULL, 0);
	offer(REQS, sizeof(struct fuse_in_header), 0x100);
	kick(REQS);
	assert_int_equal(turns(), 1);
	assert_false(vqdrv_used(&t.v[REQS], &id, &len));
}

/* Each address by its own region. */
static void test_two_regions(void **state_)
{
	struct vhu_mem mem = memory();
	struct vhu_addr a = addresses(REQS);

	(void)state_;
	agree();
	mem.r[1] = mem.r[0];
	mem.r[0] = (struct vhu_region){ .start = 0, .len = OFF, .user = USER - OFF };
	mem.n = 2;
	assert_int_equal(
		tell(VHU_SET_MEM_TABLE, &mem, 8 + 2 * sizeof mem.r[0], (int[]){ t.ram_fd, t.ram_fd }, 2), 0);
	assert_int_equal(start_queue(REQS, &a, N, 0), 0);
	assert_int_equal(state(VHU_SET_VRING_ENABLE, REQS, 1), 0);
	assert_int_equal(fuse_init(), 0);
}

static unsigned mappings_of(const char *name)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof line, f))
		n += strstr(line, name) != NULL;
	(void)fclose(f);
	return n;
}

/* A region that is no whole huge pages of its file: mapped, and unmapped again. */
static void test_huge_pages(void **state_)
{
	scoped_fd fd = memfd_create("hugefile", MFD_CLOEXEC | MFD_HUGETLB);
	struct vhu_mem mem = memory();
	void *p = MAP_FAILED;

	(void)state_;
	if (fd >= 0 && ftruncate(fd, 2 << 20) == 0)
		p = mmap(NULL, 2 << 20, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		print_message(
			"fs/vhost: huge pages are not tested: this host has none free (vm.nr_hugepages)\n");
		skip();
	}
	assert_int_equal(munmap(p, 2 << 20), 0);
	agree();
	mem.r[0].off = 0x10000;
	assert_int_equal(tell(VHU_SET_MEM_TABLE, &mem, 8 + sizeof mem.r[0], &fd, 1), 0);
	assert_int_equal(mappings_of("hugefile"), 1);
	assert_int_equal(tell_memory(t.ram_fd), 0);
	assert_int_equal(mappings_of("hugefile"), 0);
}

static void test_wrong_memory(void **state_)
{
	scoped_fd small = memfd_create("small", MFD_CLOEXEC), device = open("/dev/zero", O_RDWR | O_CLOEXEC);
	struct vhu_mem m = memory();
	const uint32_t one = 8 + sizeof m.r[0], two = one + sizeof m.r[0];
	const struct {
		struct vhu_mem mem;
		uint32_t size;
		int fds[9];
		size_t n_fds;
		const char *why;
	} rows[] = {
		{ { .n = 0 }, 8, { 0 }, 0, "0 regions" },
		{ { .n = 9 }, sizeof m, { 0 }, 0, "9 regions" },
		{ { .n = 2 }, one, { 0 }, 0, "2 regions in" },
		{ { .n = 1 }, two, { 0 }, 0, "1 regions in" },
		{ m, one, { 0 }, 0, "with 0 descriptors" },
		{ m, one, { t.ram_fd, t.ram_fd }, 2, "with 2 descriptors" },
		{ m, one, { small }, 1, "its file at 0x0" },
		{ m, one, { device }, 1, "no file of memory" },
		{ m, one, { t.sock }, 1, "no file of memory" },
		{ { 1, 0, { { BASE, RAM + 1, USER, OFF } } }, one, { t.ram_fd }, 1, "it ends at" },
		{ { 1, 0, { { BASE, RAM, USER, OFF + 1 } } }, one, { t.ram_fd }, 1, "it ends at" },
		{ { 1, 0, { { BASE, 0, 0, OFF } } }, one, { t.ram_fd }, 1, "0x0 bytes" },
		{ { 1, 0, { { BASE, RAM, USER, UINT64_MAX - RAM + 1 } } },
		  one,
		  { t.ram_fd },
		  1,
		  "of its file" },
		{ { 1, 0, { { BASE, RAM, UINT64_MAX - RAM + 2, OFF } } },
		  one,
		  { t.ram_fd },
		  1,
		  "of its file" },
		{ { 1, 0, { { BASE, VHS_MEMORY_MAX + 4096, USER, 0 } } },
		  one,
		  { t.ram_fd },
		  1,
		  "GiB in all" },
		{ { 1, 0, { { BASE, RAM - 1, USER, OFF } } }, one, { t.ram_fd }, 1, "whole pages" },
		{ { 1, 0, { { BASE + 1, RAM, USER, OFF } } }, one, { t.ram_fd }, 1, "whole pages" },
		{ { 2, 0, { { BASE, RAM, USER, OFF }, { BASE + 4096, RAM, USER, OFF } } },
		  two,
		  { t.ram_fd, t.ram_fd },
		  2,
		  "overlaps" },
	};

	(void)state_;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		wrong(VHU_SET_MEM_TABLE, &rows[i].mem, rows[i].size, rows[i].fds, rows[i].n_fds, rows[i].why);
		assert_true(strncmp(t.e.msg, "SET_MEM_TABLE: ", 15) == 0);
		again();
	}
}

/* Numbers that no message may have. */
static void test_wrong_messages(void **state_)
{
	const struct vhu_addr logged = { .index = 0, .flags = 1 };
	const struct {
		uint32_t request, size;
		uint64_t v; /* state: index in the low half */
		bool fd;
		const char *why;
	} rows[] = {
		{ 0, 0, 0, false, "message 0: unknown" },
		{ 4, 0, 0, false, "message 4: unknown" },
		{ 63, 0, 0, false, "message 63: unknown" },
		{ VHU_GET_FEATURES, 8, 0, false, "GET_FEATURES: 8 bytes" },
		{ VHU_SET_FEATURES, 0, 0, false, "SET_FEATURES: 0 bytes" },
		{ VHU_SET_FEATURES, 8, FEAT | 1, false, "SET_FEATURES: features" },
		{ VHU_SET_FEATURES, 8, FEAT & ~(1ull << 32), false, "SET_FEATURES: features" },
		{ VHU_SET_PROTOCOL_FEATURES, 8, 2, false, "SET_PROTOCOL_FEATURES: 0x2" },
		{ VHU_SET_OWNER, 0, 0, true, "with 1 descriptors" },
		{ VHU_SET_VRING_NUM, 8, 2, false, "queue 2: there are 2" },
		{ VHU_SET_VRING_BASE, 8, 2, false, "queue 2: there are 2" },
		{ VHU_SET_VRING_BASE, 8, 1ull << 48, false, "is no index" },
		{ VHU_SET_VRING_ADDR, 8, 0, false, "SET_VRING_ADDR: 8 bytes" },
		{ VHU_GET_VRING_BASE, 8, 2, false, "queue 2: there are 2" },
		{ VHU_SET_VRING_ENABLE, 8, 2, false, "queue 2: there are 2" },
		{ VHU_SET_VRING_ENABLE, 8, 2ull << 32, false, "neither 0 nor 1" },
		{ VHU_SET_VRING_CALL, 8, 2, true, "queue 2: there are 2" },
		{ VHU_SET_VRING_KICK, 8, 2, true, "queue 2: there are 2" },
		{ VHU_SET_VRING_ERR, 8, 2, true, "queue 2: there are 2" },
		{ VHU_SET_VRING_CALL, 8, 0x200, true, "0x200 with 1" },
		{ VHU_SET_VRING_CALL, 8, 0, false, "0x0 with 0 descriptors" },
		{ VHU_SET_VRING_CALL, 8, 0x100, true, "0x100 with 1 descriptors" },
		{ VHU_SET_VRING_KICK, 8, 0x100, false, "rings are not polled" },
	};

	(void)state_;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		wrong(rows[i].request, &rows[i].v, rows[i].size, &t.kick[0], rows[i].fd, rows[i].why);
		again();
	}
	wrong(VHU_SET_VRING_ADDR, &logged, sizeof logged, NULL, 0, "flags 0x1");
}

/* What may not be told of a ring that runs. */
static void test_running(void **state_)
{
	const struct vhu_addr a = addresses(REQS);
	const struct {
		uint32_t request;
		const void *p;
		size_t n;
		bool fd;
	} rows[] = {
		{ VHU_SET_VRING_NUM, &(struct vhu_state){ REQS, N }, 8, false },
		{ VHU_SET_VRING_BASE, &(struct vhu_state){ REQS, 0 }, 8, false },
		{ VHU_SET_VRING_ADDR, &a, sizeof a, false },
		{ VHU_SET_VRING_KICK, &(uint64_t){ REQS }, 8, true },
	};

	(void)state_;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bring_up();
		wrong(rows[i].request, rows[i].p, rows[i].n, &t.kick[0], rows[i].fd, "queue 1 runs");
		again();
	}
}

/* Messages that end too soon, and headers that are none. */
static void test_cut(void **state_)
{
	const struct vhu_msg whole = {
		.request = VHU_SET_FEATURES, .flags = VHU_VERSION, .size = 8, .p.u64 = FEAT
	};
	const struct {
		uint32_t flags, size;
		const char *why;
	} heads[] = {
		{ 0, 0, "flags" },
		{ 2, 0, "flags" },
		{ 1 | VHU_REPLY, 0, "flags" },
		{ 17, 0, "flags" },
		{ 1, sizeof whole.p + 1, "bytes" },
		{ 1, UINT32_MAX, "bytes" },
	};

	(void)state_;
	for (size_t n = 1; n < VHU_HEAD + 8; n++) {
		assert_int_equal(send(t.sock, &whole, n, 0), n);
		assert_int_equal(shutdown(t.sock, SHUT_WR), 0);
		assert_true(turns() < 0);
		assert_non_null(
			strstr(t.e.msg, n < VHU_HEAD ? "ends in its header" : "ends before its 8 bytes"));
		again();
	}
	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		send_raw(VHU_SET_OWNER, heads[i].flags, heads[i].size, NULL, 0, NULL, 0);
		assert_true(turns() < 0);
		assert_non_null(strstr(t.e.msg, heads[i].why));
		again();
	}
	/* in two pieces it is as good as in one */
	assert_int_equal(send(t.sock, &whole, 5, 0), 5);
	assert_int_equal(send(t.sock, (const char *)&whole + 5, VHU_HEAD + 3, 0), VHU_HEAD + 3);
	assert_int_equal(turns(), 1);
}

static void test_kick_is_no_eventfd(void **state_)
{
	struct vhu_addr a = addresses(REQS);
	int p[2];

	(void)state_;
	agree();
	assert_int_equal(tell_memory(t.ram_fd), 0);
	assert_int_equal(pipe(p), 0);
	scope_close(&t.kick[REQS]);
	t.kick[REQS] = p[0];
	assert_int_equal(start_queue(REQS, &a, N, 0), 0);
	(void)close(p[1]);
	assert_true(turns() < 0);
	assert_non_null(strstr(t.e.msg, "queue 1: its kick is no eventfd"));
}

/* Rings that the guest placed where none can be: refused, and nothing else happens. */
static void test_wrong_rings(void **state_)
{
	const struct vhu_addr a = addresses(REQS);
	const struct {
		struct vhu_addr addr;
		uint32_t size;
	} rows[] = {
		{ a, 0 },
		{ a, 3 },
		{ a, 512 },
		{ a, 0x10010 },
		{ { REQS, 0, USER + RAM, a.used, a.avail, 0 }, N },
		{ { REQS, 0, USER + RAM - 16, a.used, a.avail, 0 }, N },
		{ { REQS, 0, a.desc + 8, a.used, a.avail, 0 }, N },
		{ { REQS, 0, a.desc, USER - 4, a.avail, 0 }, N },
		{ { REQS, 0, a.desc, USER + RAM - 2, a.avail, 0 }, N },
		{ { REQS, 0, a.desc, a.used, USER + RAM, 0 }, N },
		{ { REQS, 0, a.desc, a.used, USER + RAM - 16, 0 }, N },
		{ { REQS, 0, 0, 0, 0, 0 }, N },
	};

	(void)state_;
	bring_up();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		(void)stop_queue(REQS);
		assert_int_equal(start_queue(REQS, &rows[i].addr, rows[i].size, 0), 1);
		assert_true(rung(t.err[REQS]));
		kick(REQS);
		assert_int_equal(turns(), 1);
	}
	assert_int_equal(t.said, VHS_SAY_MAX);
	assert_non_null(strstr(t.text, "no more of these are shown"));
	(void)stop_queue(REQS);
	assert_int_equal(start_queue(REQS, &a, N, 0), 0);
	assert_int_equal(fuse_init(), 0);
}

static void offer_wild_index(void)
{
	*vqdrv_avail_idx(&t.v[REQS]) = (uint16_t)(t.v[REQS].avail_idx + N + 1);
}

static void offer_outside(void)
{
	(void)vqdrv_add(&t.v[REQS], (struct vqdrv_seg[]){ { BASE + RAM - 8, 40 } }, 1, 0);
}

static void offer_short(void)
{
	struct fuse_in_header h = { .len = sizeof h - 1, .opcode = FUSE_STATFS };

	memcpy(t.ram + REQ, &h, sizeof h);
	(void)vqdrv_add(&t.v[REQS], (struct vqdrv_seg[]){ { BASE + REQ, h.len }, { BASE + REPLY, 100 } }, 1,
			1);
}

static void offer_other_length(void)
{
	offer(REQS, sizeof(struct fuse_in_header) + 1, 100);
}

static void offer_no_room(void)
{
	offer(REQS, sizeof(struct fuse_in_header), sizeof(struct fuse_out_header) - 1);
}

static void offer_too_long(void)
{
	struct fuse_in_header h = { .len = FS_REQ_MAX + 1, .opcode = FUSE_STATFS };

	memcpy(t.ram + REQ, &h, sizeof h);
	offer(REQS, h.len, 100);
}

/* A ring that its driver broke: told once, served no more, until it is started anew. The other one lives. */
static void test_broken_rings(void **state_)
{
	static void (*const offers[])(void) = { offer_wild_index,   offer_outside, offer_short,
						offer_other_length, offer_no_room, offer_too_long };

	(void)state_;
	for (size_t i = 0; i < ARRAY_LEN(offers); i++) {
		struct fuse_forget_in forget = { .nlookup = 0 };
		uint32_t id, len;

		bring_up();
		assert_int_equal(fuse_init(), 0);
		(void)rung(t.err[REQS]);
		t.said = 0;
		put_request(FUSE_STATFS, FUSE_ROOT_ID, NULL, 0);
		memset(t.ram + REPLY, 0xEE, 200);
		offers[i]();
		kick(REQS);
		assert_int_equal(turns(), 1);
		assert_int_equal(t.said, 1);
		assert_true(rung(t.err[REQS]));
		assert_false(vqdrv_used(&t.v[REQS], &id, &len));
		kick(REQS);
		assert_int_equal(turns(), 1);
		assert_int_equal(t.said, 1);
		for (size_t k = 0; k < 200; k++)
			assert_int_equal(t.ram[REPLY + k], 0xEE);
		put_request(FUSE_FORGET, FUSE_ROOT_ID, &forget, sizeof forget);
		offer(HIPRIO, sizeof(struct fuse_in_header) + sizeof forget, 0);
		kick(HIPRIO);
		assert_int_equal(turns(), 1);
		assert_true(vqdrv_used(&t.v[HIPRIO], &id, &len));
		again();
		(void)vqdrv_init(&t.v[REQS], t.ram, BASE, vqdrv_init(&t.v[HIPRIO], t.ram, BASE, BASE, N), N);
	}
}

/* A call that there is not is not rung. */
static void test_no_call(void **state_)
{
	(void)state_;
	bring_up();
	assert_int_equal(fuse_init(), 0);
	assert_true(rung(t.call[REQS]));
	assert_int_equal(give(VHU_SET_VRING_CALL, REQS | VHU_RING_NOFD, -1), 0);
	*vqdrv_used_event(&t.v[REQS]) = 1;
	assert_int_equal(fuse(FUSE_STATFS, FUSE_ROOT_ID, NULL, 0), 0);
	assert_false(rung(t.call[REQS]));
}

/* The program, its memory cut by the VMM: it ends, with a reason. */
static void test_memory_cut(void **state_)
{
	char sock[16], fds[16], text[200] = "";
	int words[2], pair[2], status = 0, dir = open("/proc/self/fd", O_PATH | O_DIRECTORY);
	pid_t pid;

	(void)state_;
	again();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(pipe(words), 0);
	(void)snprintf(sock, sizeof sock, "%d", pair[1]);
	(void)snprintf(fds, sizeof fds, "%d", dir);
	pid = fork();
	if (pid == 0) {
		char *argv[] = { (char[]){ "cor-fsd" },
				 (char[]){ "--vhost-user" },
				 sock,
				 (char[]){ "--fds" },
				 fds,
				 NULL };

		(void)close(pair[0]);
		(void)dup2(words[1], STDERR_FILENO);
		_exit(fsd_main(5, argv));
	}
	(void)close(pair[1]);
	(void)close(words[1]);
	(void)close(dir);
	(void)close(t.sock);
	t.sock = pair[0];
	{
		uint64_t f = FEAT;
		struct vhu_mem mem = memory();
		struct vhu_addr a = addresses(REQS);

		send_raw(VHU_SET_FEATURES, VHU_VERSION, 8, &f, 8, NULL, 0);
		send_raw(VHU_SET_MEM_TABLE, VHU_VERSION, 8 + sizeof mem.r[0], &mem, 8 + sizeof mem.r[0],
			 &t.ram_fd, 1);
		send_raw(VHU_SET_VRING_NUM, VHU_VERSION, 8, &(struct vhu_state){ REQS, N }, 8, NULL, 0);
		send_raw(VHU_SET_VRING_ADDR, VHU_VERSION, sizeof a, &a, sizeof a, NULL, 0);
		send_raw(VHU_SET_VRING_KICK, VHU_VERSION, 8, &(uint64_t){ REQS }, 8, &t.kick[REQS], 1);
		send_raw(VHU_SET_VRING_ENABLE, VHU_VERSION, 8, &(struct vhu_state){ REQS, 1 }, 8, NULL, 0);
		/* the answer to this says that it has come so far */
		send_raw(VHU_GET_QUEUE_NUM, VHU_VERSION, 0, NULL, 0, NULL, 0);
	}
	assert_int_equal(recv(t.sock, &(struct vhu_msg){ 0 }, sizeof(struct vhu_msg), 0), VHU_HEAD + 8);
	assert_int_equal(ftruncate(t.ram_fd, OFF), 0);
	kick(REQS);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(read(words[0], text, sizeof text - 1) > 0);
	(void)close(words[0]);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_string_equal(text, "cor-fsd: the guest's memory ends before the VMM said: its file was cut\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_agreement, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_second_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop_and_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_used_index, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_regions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_huge_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_messages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_running, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kick_is_no_eventfd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_call, setup, teardown),
		cmocka_unit_test_setup_teardown(test_memory_cut, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
