/* fuzz_fuse.c - the file server against a guest that writes its own requests.
 * The input is a list of requests: an operation, a file among those that it was told of (or any number),
 * names that are mostly proper, and fields that are mostly small. Promises: no memory error; every reply is
 * as long as it says and fits; the directory beside the served one is as it was; descriptors and files stay
 * within their limits; after DESTROY nothing is open. */
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "fs/fs.h"
#include "fuzz.h"

#define STEPS   64
#define NODES   8
#define MAX_FDS 64u

struct world {
	struct fs *fs;
	uint64_t node[NODES], fh[NODES];
	char top[32];
};

static void make(struct world *w)
{
	struct fs_conf conf = { .max_fds = MAX_FDS, .idle_fds = MAX_FDS / 2, .max_inodes = 40 };
	char path[64];

	(void)snprintf(w->top, sizeof w->top, "/tmp/cor-fuzz-XXXXXX");
	FUZZ_ASSERT(mkdtemp(w->top));
	(void)snprintf(path, sizeof path, "%s/in", w->top);
	FUZZ_ASSERT(mkdir(path, 0700) == 0);
	conf.root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	conf.fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	FUZZ_ASSERT(fs_open(&conf, &w->fs, NULL) == 0);
	for (size_t i = 0; i < NODES; i++)
		w->node[i] = FUSE_ROOT_ID;
}

/* Nothing but "in" may ever be beside it. */
static void unmake(struct world *w)
{
	char *const argv[] = { (char[]){ "rm" }, (char[]){ "-rf" }, (char[]){ "in" }, NULL };
	pid_t pid;

	fs_close(w->fs);
	FUZZ_ASSERT(chdir(w->top) == 0);
	pid = fork();
	if (pid == 0) {
		(void)execv("/bin/rm", argv);
		_exit(1);
	}
	FUZZ_ASSERT(pid > 0 && waitpid(pid, NULL, 0) == pid);
	FUZZ_ASSERT(chdir("/") == 0);
	FUZZ_ASSERT(rmdir(w->top) == 0); /* empty: whatever was made outside would keep it */
}

static void put_name(struct fuzz_in *in, struct str *to)
{
	static const char *const names[] = { "a", "b", "c", "..", ".", "a/b", "../x", "" };
	size_t which = fuzz_below(in, 15);

	str_add(to, names[which < ARRAY_LEN(names) ? which : which % 3]);
	if (fuzz_below(in, 31) != 0) /* rarely without its end */
		str_addn(to, "", 1);
}

static void put_number(struct fuzz_in *in, struct str *to)
{
	static const uint32_t odd[] = { UINT32_MAX, 0x80000000u, 0x7fffffff, O_CREAT | O_RDWR,
					S_IFIFO | 0600 };
	size_t which = fuzz_below(in, 15);

	buf_put_u32(to, which < ARRAY_LEN(odd) ? odd[which] : (uint32_t)fuzz_below(in, 8));
}

/* What was told: files and handles for the requests to come. */
static void learn(struct world *w, uint32_t opcode, const uint8_t *reply, size_t n, size_t slot)
{
	struct fuse_entry_out entry;
	struct fuse_open_out open_out;
	const uint8_t *at = reply + sizeof(struct fuse_out_header);

	n -= sizeof(struct fuse_out_header);
	if (n == sizeof entry || n == sizeof entry + sizeof open_out) {
		memcpy(&entry, at, sizeof entry);
		w->node[slot] = entry.nodeid;
		at += sizeof entry;
		n -= sizeof entry;
	}
	if (n == sizeof open_out &&
	    (opcode == FUSE_OPEN || opcode == FUSE_OPENDIR || opcode == FUSE_CREATE)) {
		memcpy(&open_out, at, sizeof open_out);
		w->fh[slot] = open_out.fh;
	}
}

static void step(struct world *w, struct fuzz_in *in)
{
	static _Alignas(8) uint8_t req[FS_REQ_MAX], reply[FS_REPLY_MAX];
	size_t slot = fuzz_below(in, NODES - 1), cap = fuzz_below(in, 7) ? sizeof reply : fuzz_below(in, 400);
	struct fuse_in_header h = {
		.opcode = (uint32_t)fuzz_below(in, 53), .nodeid = w->node[slot], .uid = 1, .pid = 1
	};
	struct fuse_out_header out;
	scoped_str arg = { 0 };
	size_t words = fuzz_below(in, 24), n;

	if (h.opcode == FUSE_SYNCFS || h.opcode == FUSE_FSYNC || h.opcode == FUSE_FSYNCDIR)
		return; /* slow, and says nothing */
	if (fuzz_below(in, 15) == 0)
		h.nodeid = fuzz_uint(in, 8);
	if (fuzz_below(in, 3)) { /* what begins with a handle */
		buf_put_u32(&arg, (uint32_t)w->fh[slot]);
		buf_put_u32(&arg, (uint32_t)(w->fh[slot] >> 32));
	}
	for (size_t i = 0; i < words; i++)
		put_number(in, &arg);
	for (size_t i = fuzz_below(in, 2); i > 0; i--)
		put_name(in, &arg);
	h.len = (uint32_t)(sizeof h + arg.len);
	memcpy(req, &h, sizeof h);
	if (arg.len)
		memcpy(req + sizeof h, arg.p, arg.len);
	n = fs_handle(w->fs, req, h.len, reply, cap);
	FUZZ_ASSERT(n <= cap && (n == 0 || n >= sizeof out));
	FUZZ_ASSERT(fs_count(w->fs).fds <= MAX_FDS && fs_count(w->fs).inodes <= 40);
	if (n == 0)
		return;
	memcpy(&out, reply, sizeof out);
	FUZZ_ASSERT(out.len == n && out.error <= 0 && out.error > -4096);
	FUZZ_ASSERT(out.error == 0 || n == sizeof out);
	if (out.error == 0)
		learn(w, h.opcode, reply, n, slot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuse_init_in init = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION };
	struct fuzz_in in = { data, size };
	_Alignas(8) uint8_t req[256] = { 0 }, reply[256];
	struct fuse_in_header h = { .len = sizeof h + sizeof init, .opcode = FUSE_INIT };
	struct world w = { 0 };

	make(&w);
	memcpy(req, &h, sizeof h);
	memcpy(req + sizeof h, &init, sizeof init);
	FUZZ_ASSERT(fs_handle(w.fs, req, h.len, reply, sizeof reply) > 0);
	for (unsigned i = 0; i < STEPS && in.left; i++)
		step(&w, &in);
	h = (struct fuse_in_header){ .len = sizeof h, .opcode = FUSE_DESTROY };
	memcpy(req, &h, sizeof h);
	(void)fs_handle(w.fs, req, h.len, reply, sizeof reply);
	FUZZ_ASSERT(fs_count(w.fs).handles == 0 && fs_count(w.fs).inodes == 1 && fs_count(w.fs).fds == 1);
	unmake(&w);
	return 0;
}
