/* test_requests.c - requests that no kernel sends: each must be an error, and touch nothing outside. What a
 * kernel does send is tested behind a real one, tests/cli/test_fs.py. */
#include "unit.h"

#include <errno.h>
#include <linux/fuse.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fs/fs.h"
#include "tmpdir.h"

#define OUTSIDE "secret"

static struct {
	struct tmpdir *dir;
	int before, in;
	uint32_t uid, gid, pid; /* who asks */
	const char *main;
	struct fs *fs;
	_Alignas(8) uint8_t req[FS_REQ_MAX], reply[FS_REPLY_MAX];
	size_t len; /* of the reply */
} t;

/* Sends a request; returns its error, or 0. */
static int ask(uint32_t opcode, uint64_t node, const void *arg, size_t n, size_t cap)
{
	struct fuse_in_header h = { .len = (uint32_t)(sizeof h + n),
				    .opcode = opcode,
				    .unique = 9,
				    .nodeid = node,
				    .uid = t.uid,
				    .gid = t.gid,
				    .pid = t.pid };
	struct fuse_out_header out;

	memcpy(t.req, &h, sizeof h);
	if (n)
		memcpy(t.req + sizeof h, arg, n);
	t.len = fs_handle(t.fs, t.req, sizeof h + n, t.reply, cap);
	if (t.len == 0)
		return 1;
	memcpy(&out, t.reply, sizeof out);
	assert_int_equal(out.unique, 9);
	assert_int_equal(out.len, t.len);
	assert_in_range(t.len, sizeof out, cap);
	return out.error;
}

#define ROOM sizeof t.reply

static const void *answer(void)
{
	return t.reply + sizeof(struct fuse_out_header);
}

/* Fixed part and a text behind it. */
static int ask_named(uint32_t opcode, uint64_t node, const void *fixed, size_t n, const char *text,
		     size_t text_n)
{
	uint8_t arg[1024];

	if (n)
		memcpy(arg, fixed, n);
	memcpy(arg + n, text, text_n);
	return ask(opcode, node, arg, n + text_n, ROOM);
}

static int lookup(uint64_t node, const char *name, uint64_t *ret)
{
	int r = ask(FUSE_LOOKUP, node, name, strlen(name) + 1, ROOM);

	if (r == 0)
		*ret = ((const struct fuse_entry_out *)answer())->nodeid;
	return r;
}

static int begin(void)
{
	struct fuse_init_in in = { .major = FUSE_KERNEL_VERSION,
				   .minor = FUSE_KERNEL_MINOR_VERSION,
				   .flags = UINT32_MAX };

	return ask(FUSE_INIT, 0, &in, sizeof in, ROOM);
}

static int setup(void **state)
{
	struct fs_conf conf = {
		.max_fds = 64, .idle_fds = 32, .max_inodes = 100, .timeout_ms = 7000, .main = t.main
	};

	if (tmpdir_set_up(state) < 0 || prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) < 0)
		return -1;
	t.dir = *state;
	t.before = open(".", O_PATH | O_CLOEXEC);
	if (tmpdir_write(t.dir, OUTSIDE, "x") < 0 || mkdirat(t.dir->fd, "in", 0700) < 0)
		return -1;
	conf.root = openat(t.dir->fd, "in", O_PATH | O_DIRECTORY | O_CLOEXEC);
	t.in = openat(t.dir->fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	conf.fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fs_open(&conf, &t.fs, NULL);
}

static int teardown(void **state)
{
	fs_close(t.fs);
	if (fchdir(t.before) < 0)
		return -1;
	(void)close(t.before);
	(void)close(t.in);
	return tmpdir_tear_down(state);
}

static void test_before_init(void **state)
{
	uint64_t node = 0;

	(void)state;
	assert_int_equal(lookup(FUSE_ROOT_ID, "a", &node), -EIO);
	assert_int_equal(begin(), 0);
	assert_int_equal(lookup(FUSE_ROOT_ID, "a", &node), -ENOENT);
}

/* A starting program's page faults shall bring little; who asks for less gets that. */
static void test_read_ahead(void **state)
{
	struct fuse_init_in in = { .major = FUSE_KERNEL_VERSION,
				   .minor = FUSE_KERNEL_MINOR_VERSION,
				   .max_readahead = 128u << 10 };

	(void)state;
	assert_int_equal(ask(FUSE_INIT, 0, &in, sizeof in, ROOM), 0);
	assert_int_equal(((const struct fuse_init_out *)answer())->max_readahead, 32u << 10);
	in.max_readahead = 4096;
	assert_int_equal(ask(FUSE_INIT, 0, &in, sizeof in, ROOM), 0);
	assert_int_equal(((const struct fuse_init_out *)answer())->max_readahead, 4096);
}

static void test_other_version(void **state)
{
	struct fuse_init_in in = { .major = 8, .minor = 1 };

	(void)state;
	assert_int_equal(ask(FUSE_INIT, 0, &in, sizeof in, ROOM), -EPROTO);
	in = (struct fuse_init_in){ .major = FUSE_KERNEL_VERSION, .minor = 30 };
	assert_int_equal(ask(FUSE_INIT, 0, &in, sizeof in, ROOM), -EPROTO);
	in.minor = FUSE_KERNEL_MINOR_VERSION;
	assert_int_equal(ask(FUSE_INIT, 0, &in, 12, ROOM), -EINVAL);
}

/* Lengths that don't fit: of the header, of the packet, of the arguments, of the reply. */
static void test_lengths(void **state)
{
	struct fuse_in_header h = { .len = sizeof h, .opcode = FUSE_STATFS, .nodeid = FUSE_ROOT_ID };

	(void)state;
	assert_int_equal(begin(), 0);
	memcpy(t.req, &h, sizeof h);
	assert_int_equal(fs_handle(t.fs, t.req, sizeof h - 1, t.reply, ROOM), 0);
	assert_int_equal(fs_handle(t.fs, t.req, sizeof h + 8, t.reply, ROOM), 0);
	assert_int_equal(fs_handle(t.fs, t.req, sizeof h, t.reply, 15), 0);
	for (uint32_t op = 1; op < 60; op++) {
		int r = ask(op, FUSE_ROOT_ID, NULL, 0, ROOM); /* nothing where something is wanted */

		if (op != FUSE_STATFS && op != FUSE_READLINK && op != FUSE_DESTROY && op != FUSE_SYNCFS)
			assert_int_not_equal(r, 0);
		if (op == FUSE_DESTROY)
			assert_int_equal(begin(), 0);
	}
	/* no room for what would be said */
	assert_int_not_equal(ask(FUSE_STATFS, FUSE_ROOT_ID, NULL, 0, 16), 0);
	assert_int_not_equal(ask(FUSE_GETATTR, FUSE_ROOT_ID, &(struct fuse_getattr_in){ 0 }, 16, 24), 0);
}

static void test_names(void **state)
{
	static const char *const bad[] = { "", ".", "..", "/", "a/b", "../secret", "/etc/passwd" };
	struct fuse_mkdir_in mk = { .mode = 0700 };
	struct fuse_rename_in rn = { .newdir = FUSE_ROOT_ID };
	char longer[300];
	uint64_t node = 0;

	(void)state;
	assert_int_equal(begin(), 0);
	memset(longer, 'n', sizeof longer);
	longer[256] = 0;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		size_t n = strlen(bad[i]) + 1;

		assert_int_equal(lookup(FUSE_ROOT_ID, bad[i], &node), -EINVAL);
		assert_int_equal(ask_named(FUSE_MKDIR, FUSE_ROOT_ID, &mk, sizeof mk, bad[i], n), -EINVAL);
		assert_int_equal(ask_named(FUSE_UNLINK, FUSE_ROOT_ID, NULL, 0, bad[i], n), -EINVAL);
		assert_int_equal(ask_named(FUSE_RMDIR, FUSE_ROOT_ID, NULL, 0, bad[i], n), -EINVAL);
	}
	assert_int_equal(lookup(FUSE_ROOT_ID, longer, &node), -ENAMETOOLONG);
	assert_int_equal(ask(FUSE_LOOKUP, FUSE_ROOT_ID, "abc", 3, ROOM), -EINVAL); /* without an end */
	assert_int_equal(ask_named(FUSE_RENAME, FUSE_ROOT_ID, &rn, sizeof rn, "a\0../b", 7), -EINVAL);
	assert_int_equal(ask_named(FUSE_RENAME, FUSE_ROOT_ID, &rn, sizeof rn, "a\0", 2), -EINVAL);
	assert_int_equal(ask_named(FUSE_SYMLINK, FUSE_ROOT_ID, NULL, 0, "a\0text", 6), -EINVAL);
	assert_int_equal(tmpdir_count(t.dir), 2);
}

static void test_unknown_files(void **state)
{
	static const uint64_t ids[] = { 0, 2, 63, 64, 1ull << 32 | 1, UINT32_MAX, UINT64_MAX };
	uint64_t node = 0, old;

	(void)state;
	assert_int_equal(begin(), 0);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		struct fuse_link_in ln = { .oldnodeid = ids[i] };
		struct fuse_rename_in rn = { .newdir = ids[i] };

		assert_int_equal(ask(FUSE_GETATTR, ids[i], &(struct fuse_getattr_in){ 0 }, 16, ROOM),
				 -ESTALE);
		assert_int_equal(lookup(ids[i], "a", &node), -ESTALE);
		assert_int_equal(ask_named(FUSE_LINK, FUSE_ROOT_ID, &ln, sizeof ln, "a", 2), -ESTALE);
		assert_int_equal(ask_named(FUSE_RENAME, FUSE_ROOT_ID, &rn, sizeof rn, "a\0b", 4), -ESTALE);
	}
	/* an id that was forgotten stays without meaning when its place is used again */
	assert_int_equal(ask_named(FUSE_MKDIR, FUSE_ROOT_ID, &(struct fuse_mkdir_in){ .mode = 0700 },
				   sizeof(struct fuse_mkdir_in), "d", 2),
			 0);
	old = ((const struct fuse_entry_out *)answer())->nodeid;
	assert_int_equal(ask(FUSE_FORGET, old, &(struct fuse_forget_in){ .nlookup = 100 }, 8, ROOM), 1);
	assert_int_equal(lookup(FUSE_ROOT_ID, "d", &node), 0);
	assert_int_not_equal(node, old);
	assert_int_equal(lookup(old, "a", &node), -ESTALE);
}

static void test_forget(void **state)
{
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[2];
	} b = { .in.count = 3, .one = { { FUSE_ROOT_ID, 1 }, { 5, 1 } } };
	uint64_t node = 0;

	(void)state;
	assert_int_equal(begin(), 0);
	assert_int_equal(ask(FUSE_BATCH_FORGET, 0, &b, sizeof b, ROOM), 1); /* counts more than it brings */
	b.in.count = UINT32_MAX;
	assert_int_equal(ask(FUSE_BATCH_FORGET, 0, &b, sizeof b, ROOM), 1);
	b.in.count = 2;
	assert_int_equal(ask(FUSE_BATCH_FORGET, 0, &b, sizeof b, ROOM), 1);
	assert_int_equal(ask(FUSE_FORGET, FUSE_ROOT_ID, &(struct fuse_forget_in){ .nlookup = 9 }, 8, ROOM),
			 1);
	assert_int_equal(lookup(FUSE_ROOT_ID, "a", &node), -ENOENT); /* the root is never forgotten */
}

/* Files that act when they are opened are not opened; what a guest could make is a fifo, and a device. */
static void test_special_files(void **state)
{
	static const char *const names[] = { "fifo", "dev", "link" };
	struct fuse_open_in op = { .flags = O_RDWR };
	struct fuse_setattr_in cut = { .valid = FATTR_SIZE };
	struct fuse_create_in cr = { .flags = O_RDWR | O_CREAT | O_TRUNC, .mode = 0600 };
	int in = openat(t.dir->fd, "in", O_RDONLY | O_DIRECTORY);
	uint64_t node = 0;

	(void)state;
	assert_int_equal(begin(), 0);
	assert_int_equal(mkfifoat(in, "fifo", 0600), 0);
	assert_int_equal(mknodat(in, "dev", S_IFCHR | 0600, 0x0103), 0);
	assert_int_equal(symlinkat("../" OUTSIDE, in, "link"), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(lookup(FUSE_ROOT_ID, names[i], &node), 0);
		assert_int_equal(ask(FUSE_OPEN, node, &op, sizeof op, ROOM), -ENXIO);
		assert_int_equal(ask(FUSE_SETATTR, node, &cut, sizeof cut, ROOM), -EINVAL);
		assert_int_equal(ask(FUSE_OPENDIR, node, &op, sizeof op, ROOM), -ENOTDIR);
		assert_int_equal(
			ask_named(FUSE_CREATE, FUSE_ROOT_ID, &cr, sizeof cr, names[i], strlen(names[i]) + 1),
			-ENXIO);
	}
	assert_int_equal(ask(FUSE_OPEN, FUSE_ROOT_ID, &op, sizeof op, ROOM), -EISDIR);
	assert_int_equal(fs_count(t.fs).handles, 0);
	(void)close(in);
}

/* A handle is good for its file, its kind and its life. */
static void test_handles(void **state)
{
	struct fuse_create_in cr = { .flags = O_RDWR | O_CREAT, .mode = 0600 };
	struct fuse_read_in rd = { .size = 10 };
	struct fuse_write_in wr = { .size = 10 };
	const struct fuse_entry_out *entry = answer();
	uint64_t node, fh;

	(void)state;
	assert_int_equal(begin(), 0);
	assert_int_equal(ask_named(FUSE_CREATE, FUSE_ROOT_ID, &cr, sizeof cr, "f", 2), 0);
	node = entry->nodeid;
	fh = ((const struct fuse_open_out *)(entry + 1))->fh;
	rd.fh = wr.fh = fh;
	assert_int_equal(ask(FUSE_READ, node, &rd, sizeof rd, ROOM), 0);
	assert_int_equal(ask(FUSE_READ, FUSE_ROOT_ID, &rd, sizeof rd, ROOM), -EBADF);
	assert_int_equal(ask(FUSE_READDIR, node, &rd, sizeof rd, ROOM), -EBADF);
	assert_int_equal(ask(FUSE_WRITE, node, &wr, sizeof wr, ROOM), -EINVAL); /* says ten, brings none */
	rd.size = UINT32_MAX;
	assert_int_equal(ask(FUSE_READ, node, &rd, sizeof rd, ROOM), -EINVAL);
	rd.size = 10;
	rd.offset = UINT64_MAX;
	assert_int_equal(ask(FUSE_READ, node, &rd, sizeof rd, ROOM), -EINVAL);
	rd.offset = 0;
	for (uint64_t wrong = fh + 1; wrong < fh + 40; wrong++) {
		rd.fh = wrong;
		assert_int_equal(ask(FUSE_READ, node, &rd, sizeof rd, ROOM), -EBADF);
	}
	assert_int_equal(ask(FUSE_RELEASE, node, &(struct fuse_release_in){ .fh = fh },
			     sizeof(struct fuse_release_in), ROOM),
			 0);
	rd.fh = fh;
	assert_int_equal(ask(FUSE_READ, node, &rd, sizeof rd, ROOM), -EBADF);
	assert_int_equal(ask(FUSE_OPEN, node, &(struct fuse_open_in){ 0 }, sizeof(struct fuse_open_in), ROOM),
			 0);
	assert_int_equal(ask(FUSE_READ, node, &rd, sizeof rd, ROOM), -EBADF); /* its place is used again */
}

static uint32_t open_flags(uint64_t node, uint32_t flags)
{
	struct fuse_open_in in = { .flags = flags };

	assert_int_equal(ask(FUSE_OPEN, node, &in, sizeof in, ROOM), 0);
	return ((const struct fuse_open_out *)answer())->open_flags;
}

/* Only who may have written is asked at a close whether that went well. */
static void test_flush(void **state)
{
	struct fuse_create_in cr = { .flags = O_RDONLY | O_CREAT, .mode = 0600 };
	const struct fuse_entry_out *entry = answer();
	uint64_t node;

	(void)state;
	assert_int_equal(begin(), 0);
	assert_int_equal(ask_named(FUSE_CREATE, FUSE_ROOT_ID, &cr, sizeof cr, "f", 2), 0);
	assert_int_equal(((const struct fuse_open_out *)(entry + 1))->open_flags, 0);
	node = entry->nodeid;
	assert_int_equal(open_flags(node, O_RDONLY), FOPEN_NOFLUSH);
	assert_int_equal(open_flags(node, O_RDONLY | O_NOATIME), FOPEN_NOFLUSH);
	assert_int_equal(open_flags(node, O_WRONLY), 0);
	assert_int_equal(open_flags(node, O_RDWR | O_APPEND), 0);
}

static int set_xattr(size_t fixed, const char *name, uint32_t size, size_t given)
{
	struct fuse_setxattr_in in = { .size = size };
	uint8_t arg[128] = { 0 };
	size_t n = strlen(name) + 1;

	memcpy(arg, &in, fixed);
	memcpy(arg + fixed, name, n);
	return ask(FUSE_SETXATTR, FUSE_ROOT_ID, arg, fixed + n + given, ROOM);
}

/* The host's labels are neither seen nor set; sizes that lie are refused. */
static void test_xattrs(void **state)
{
	const size_t fixed = sizeof(struct fuse_setxattr_in), old = FUSE_COMPAT_SETXATTR_IN_SIZE;
	struct fuse_getxattr_in get = { .size = 100 };

	(void)state;
	assert_int_equal(begin(), 0);
	assert_int_equal(set_xattr(fixed, "security.selinux", 1, 1), -EOPNOTSUPP);
	assert_int_equal(set_xattr(fixed, "user.x", 1, 0), -EINVAL);
	assert_int_equal(ask_named(FUSE_GETXATTR, FUSE_ROOT_ID, &get, sizeof get, "security.selinux", 17),
			 -ENODATA);
	assert_int_equal(ask_named(FUSE_REMOVEXATTR, FUSE_ROOT_ID, NULL, 0, "security.x", 11), -EOPNOTSUPP);
	assert_int_equal(set_xattr(fixed, "user.x", 1, 1), 0);
	/* a kernel that knows the short form only */
	assert_int_equal(ask(FUSE_DESTROY, 0, NULL, 0, ROOM), 0);
	assert_int_equal(ask(FUSE_INIT, 0,
			     &(struct fuse_init_in){ .major = FUSE_KERNEL_VERSION, .minor = 31 },
			     sizeof(struct fuse_init_in), ROOM),
			 0);
	assert_int_equal(set_xattr(old, "user.y", 1, 1), 0);
	assert_int_equal(fgetxattr(t.in, "user.y", NULL, 0), 1);
}

static void assert_made(const char *name, uid_t uid, gid_t gid)
{
	struct stat st;

	assert_int_equal(fstatat(t.in, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_gid, gid);
}

/* Whoever asks is the maker of what he makes; no change of ids is left behind. */
static void test_maker(void **state)
{
	static const struct fuse_mknod_in node_in = { .mode = S_IFIFO | 0600 };
	static const struct fuse_mkdir_in dir_in = { .mode = 0700 };
	struct fuse_create_in cr = { .flags = O_RDWR | O_CREAT, .mode = 06755 };
	struct stat st;
	int signal_now = 0;

	(void)state;
	/* as the jail does: the directory is root's alone */
	assert_int_equal(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0), 0);
	assert_int_equal(begin(), 0);
	t.uid = 1000;
	t.gid = 2000;
	assert_int_equal(ask_named(FUSE_MKDIR, FUSE_ROOT_ID, &dir_in, sizeof dir_in, "d", 2), 0);
	assert_int_equal(ask_named(FUSE_MKNOD, FUSE_ROOT_ID, &node_in, sizeof node_in, "n", 2), 0);
	assert_int_equal(ask_named(FUSE_SYMLINK, FUSE_ROOT_ID, NULL, 0, "l\0d", 4), 0);
	assert_int_equal(ask_named(FUSE_CREATE, FUSE_ROOT_ID, &cr, sizeof cr, "f", 2), 0);
	t.uid = t.gid = 0;
	assert_int_equal(ask_named(FUSE_MKDIR, FUSE_ROOT_ID, &dir_in, sizeof dir_in, "r", 2), 0);
	t.uid = UINT32_MAX;
	t.gid = 2000;
	assert_int_equal(ask_named(FUSE_MKDIR, FUSE_ROOT_ID, &dir_in, sizeof dir_in, "x", 2), -EINVAL);
	t.uid = 0;
	assert_int_equal(ask_named(FUSE_MKNOD, FUSE_ROOT_ID, &node_in, sizeof node_in, "g", 2), 0);
	t.gid = UINT32_MAX;
	assert_int_equal(ask_named(FUSE_SYMLINK, FUSE_ROOT_ID, NULL, 0, "x\0d", 4), -EINVAL);
	t.gid = 0;
	assert_made("d", 1000, 2000);
	assert_made("n", 1000, 2000);
	assert_made("l", 1000, 2000);
	assert_made("f", 1000, 2000);
	assert_made("g", 0, 2000);
	assert_made("r", 0, 0);
	assert_int_equal(fstatat(t.in, "f", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFREG | 06755);
	assert_int_equal(faccessat(t.in, "x", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	assert_int_equal(prctl(PR_GET_PDEATHSIG, &signal_now, 0, 0, 0), 0);
	assert_int_equal(signal_now, SIGTERM);
}

/* What the guest calls trusted is the guest's: the host's stays unseen, and the name that it is kept by is no
 * name there. */
static void test_trusted_xattrs(void **state)
{
	const size_t fixed = sizeof(struct fuse_setxattr_in);
	struct fuse_getxattr_in get = { .size = 100 };
	char name[300] = "trusted.";

	(void)state;
	assert_int_equal(begin(), 0);
	assert_int_equal(fsetxattr(t.in, "trusted.host", "1", 1, 0), 0);
	assert_int_equal(ask_named(FUSE_GETXATTR, FUSE_ROOT_ID, &get, sizeof get, "trusted.host", 13),
			 -ENODATA);
	assert_int_equal(set_xattr(fixed, "trusted.x", 1, 1), 0);
	assert_int_equal(fgetxattr(t.in, "user.cor.trusted.x", NULL, 0), 1);
	assert_int_equal(fgetxattr(t.in, "trusted.x", NULL, 0), -1);
	assert_int_equal(set_xattr(fixed, "user.cor.trusted.x", 1, 1), -EOPNOTSUPP);
	assert_int_equal(ask_named(FUSE_GETXATTR, FUSE_ROOT_ID, &get, sizeof get, "user.cor.trusted.x", 19),
			 -ENODATA);
	assert_int_equal(ask_named(FUSE_REMOVEXATTR, FUSE_ROOT_ID, NULL, 0, "user.cor.trusted.x", 19),
			 -EOPNOTSUPP);
	assert_int_equal(ask(FUSE_LISTXATTR, FUSE_ROOT_ID, &get, sizeof get, ROOM), 0);
	assert_int_equal(t.len, sizeof(struct fuse_out_header) + sizeof "trusted.x");
	assert_string_equal(answer(), "trusted.x");
	t.uid = 1000;
	assert_int_equal(ask(FUSE_LISTXATTR, FUSE_ROOT_ID, &get, sizeof get, ROOM), 0);
	assert_int_equal(t.len, sizeof(struct fuse_out_header));
	t.uid = 0;
	memset(name + 8, 'n', 247); /* 255 bytes, but not with what is put before it */
	assert_int_equal(ask_named(FUSE_REMOVEXATTR, FUSE_ROOT_ID, NULL, 0, name, sizeof name), -ERANGE);
	assert_int_equal(ask_named(FUSE_REMOVEXATTR, FUSE_ROOT_ID, NULL, 0, "trusted.x", 10), 0);
	assert_int_equal(fgetxattr(t.in, "trusted.host", NULL, 0), 1);
}

/* Names in the root are asked for again each time: the host puts other things there. */
static void test_validity(void **state)
{
	const struct fuse_entry_out *o = answer();
	uint64_t top = 0, sub = 0;

	(void)state;
	assert_int_equal(begin(), 0);
	assert_int_equal(mkdirat(t.dir->fd, "in/a", 0700), 0);
	assert_int_equal(mkdirat(t.dir->fd, "in/a/b", 0700), 0);
	assert_int_equal(lookup(FUSE_ROOT_ID, "a", &top), 0);
	assert_int_equal(o->entry_valid, 0);
	assert_int_equal(o->attr_valid, 7);
	assert_int_equal(lookup(top, "b", &sub), 0);
	assert_int_equal(o->entry_valid, 7);
}

static int open_it(uint64_t node)
{
	return ask(FUSE_OPEN, node, &(struct fuse_open_in){ .flags = O_RDONLY }, sizeof(struct fuse_open_in),
		   ROOM);
}

/* What the host has changed since the guest was told is ESTALE, once for each who asks. */
static void test_changed_by_the_host(void **state)
{
	struct fuse_open_in open_dir = { 0 };
	uint64_t dir = 0, f = 0;

	(void)state;
	assert_int_equal(begin(), 0);
	assert_int_equal(mkdirat(t.dir->fd, "in/d", 0700), 0);
	assert_int_equal(tmpdir_write(t.dir, "in/d/f", "x"), 0);
	t.pid = 7;
	assert_int_equal(lookup(FUSE_ROOT_ID, "d", &dir), 0);
	assert_int_equal(lookup(dir, "f", &f), 0);
	assert_int_equal(open_it(f), 0);
	/* longer: each is sent back once, and who has asked again is served */
	assert_int_equal(tmpdir_write(t.dir, "in/d/f", "xy"), 0);
	assert_int_equal(open_it(f), -ESTALE);
	t.pid = 8;
	assert_int_equal(open_it(f), -ESTALE);
	t.pid = 0; /* nobody that could come back */
	assert_int_equal(open_it(f), 0);
	t.pid = 7;
	assert_int_equal(open_it(f), 0);
	assert_int_equal(open_it(f), -ESTALE);
	assert_int_equal(lookup(dir, "f", &f), 0);
	assert_int_equal(open_it(f), 0);
	assert_int_equal(open_it(f), 0);
	/* another one of its name, or none; who finds none is not served the next thing unseen */
	assert_int_equal(tmpdir_write(t.dir, "in/d/g", "xy"), 0);
	assert_int_equal(renameat(t.dir->fd, "in/d/g", t.dir->fd, "in/d/f"), 0);
	assert_int_equal(open_it(f), -ESTALE);
	assert_int_equal(lookup(dir, "f", &f), 0);
	assert_int_equal(unlinkat(t.dir->fd, "in/d/f", 0), 0);
	assert_int_equal(open_it(f), 0);
	assert_int_equal(open_it(f), -ESTALE);
	assert_int_equal(lookup(dir, "f", &f), -ENOENT);
	assert_int_equal(open_it(f), -ESTALE);
	/* directories, also above it */
	assert_int_equal(ask(FUSE_OPENDIR, dir, &open_dir, sizeof open_dir, ROOM), 0);
	assert_int_equal(tmpdir_write(t.dir, "in/d/f", ""), 0);
	assert_int_equal(lookup(dir, "f", &f), 0);
	assert_int_equal(renameat(t.dir->fd, "in/d", t.dir->fd, "in/e"), 0);
	assert_int_equal(ask(FUSE_OPENDIR, dir, &open_dir, sizeof open_dir, ROOM), -ESTALE);
	t.pid = 8;
	assert_int_equal(open_it(f), 0); /* from above */
	assert_int_equal(open_it(f), -ESTALE);
	assert_int_equal(symlinkat("e", t.dir->fd, "in/d"), 0);
	assert_int_equal(open_it(f), 0);
	assert_int_equal(open_it(f), -ESTALE);
	t.pid = 0;
}

/* What the guest itself does to a file it knows. */
static void test_changed_by_the_guest(void **state)
{
	static const uint8_t data[100];
	struct {
		struct fuse_write_in in;
		uint8_t data[100];
	} w = { .in.size = sizeof data };
	struct fuse_fallocate_in fa = { .length = 5000 };
	struct fuse_setattr_in set = { .valid = FATTR_SIZE, .size = 300 };
	struct fuse_open_in cut = { .flags = O_WRONLY | O_TRUNC };
	uint64_t f = 0;

	(void)state;
	assert_int_equal(begin(), 0);
	assert_int_equal(tmpdir_write(t.dir, "in/f", "x"), 0);
	t.pid = 7;
	assert_int_equal(lookup(FUSE_ROOT_ID, "f", &f), 0);
	assert_int_equal(ask(FUSE_OPEN, f, &(struct fuse_open_in){ .flags = O_RDWR }, sizeof cut, ROOM), 0);
	w.in.fh = fa.fh = ((const struct fuse_open_out *)answer())->fh;
	assert_int_equal(ask(FUSE_WRITE, f, &w, sizeof w, ROOM), 0);
	assert_int_equal(open_it(f), 0);
	assert_int_equal(ask(FUSE_FALLOCATE, f, &fa, sizeof fa, ROOM), 0);
	assert_int_equal(open_it(f), 0);
	assert_int_equal(ask(FUSE_SETATTR, f, &set, sizeof set, ROOM), 0);
	assert_int_equal(open_it(f), 0);
	assert_int_equal(ask(FUSE_OPEN, f, &cut, sizeof cut, ROOM), 0);
	assert_int_equal(open_it(f), 0);
	t.pid = 0;
}

/* More files than allowed: an error that goes away when the guest forgets some. */
static void test_many_files(void **state)
{
	struct fuse_mknod_in mk = { .mode = S_IFREG | 0600 };
	uint64_t ids[120];
	unsigned n = 0;
	int r = 0;

	(void)state;
	assert_int_equal(begin(), 0);
	while (n < ARRAY_LEN(ids) && r == 0) {
		char name[16];

		(void)snprintf(name, sizeof name, "f%u", n);
		r = ask_named(FUSE_MKNOD, FUSE_ROOT_ID, &mk, sizeof mk, name, strlen(name) + 1);
		assert_in_range(fs_count(t.fs).fds, 1, 1 + 32); /* idle_fds and the root */
		if (r == 0)
			ids[n++] = ((const struct fuse_entry_out *)answer())->nodeid;
	}
	assert_int_equal(r, -ENFILE);
	assert_int_equal(fs_count(t.fs).inodes, 100);
	assert_in_range(fs_count(t.fs).fds, 1, 64);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(ask(FUSE_FORGET, ids[i], &(struct fuse_forget_in){ .nlookup = 1 }, 8, ROOM),
				 1);
	assert_int_equal(fs_count(t.fs).inodes, 1);
	assert_int_equal(lookup(FUSE_ROOT_ID, "f1", &ids[0]), 0);
	assert_int_equal(ask(FUSE_DESTROY, 0, NULL, 0, ROOM), 0);
	assert_int_equal(fs_count(t.fs).inodes, 1);
	assert_int_equal(fs_count(t.fs).fds, 1);
}

/* A mount namespace of our own: the directory is opened in it. */
static int setup_mounts(void **state)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		t.main = NULL;
	else
		t.main = "rootfs";
	return setup(state);
}

static bool is_announced(const char *name)
{
	const struct fuse_entry_out *o = answer();
	uint64_t node = 0;

	assert_int_equal(lookup(FUSE_ROOT_ID, name, &node), 0);
	return o->attr.flags & FUSE_ATTR_SUBMOUNT;
}

/* Which directories have a device number of their own in the guest. */
static void test_file_systems(void **state)
{
	static const char *const names[] = { "rootfs", "m0", "m1", "m2", "m3" };

	(void)state;
	if (!t.main) {
		print_message("skipped: mounts need root\n");
		skip();
	}
	assert_int_equal(begin(), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_int_equal(mkdirat(t.in, names[i], 0755), 0);
	assert_int_equal(fchdir(t.in), 0);
	assert_int_equal(mount("none", "m0", "tmpfs", 0, NULL), 0);
	assert_int_equal(mount("none", "m1", "tmpfs", 0, NULL), 0);
	assert_int_equal(mkdir("m1/below", 0755), 0);
	assert_int_equal(mount("m1/below", "m2", NULL, MS_BIND, NULL), 0);
	/* no root there: the first that is met is at home */
	assert_false(is_announced("rootfs"));
	assert_false(is_announced("m1"));
	assert_true(is_announced("m0"));
	assert_false(is_announced("m2"));
	assert_false(is_announced("m3"));
	/* a root: it is */
	assert_int_equal(mount("m0", "rootfs", NULL, MS_BIND, NULL), 0);
	assert_true(is_announced("m1"));
	assert_false(is_announced("m0"));
	assert_false(is_announced("rootfs"));
	assert_true(is_announced("m2"));
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)umount2(names[i], MNT_DETACH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_before_init, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_ahead, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_version, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_special_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_handles, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flush, setup, teardown),
		cmocka_unit_test_setup_teardown(test_xattrs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_validity, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed_by_the_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed_by_the_guest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_maker, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trusted_xattrs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_systems, setup_mounts, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
