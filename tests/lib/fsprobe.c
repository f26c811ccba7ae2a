/* fsprobe.c - what programs in containers rely on of a file system, one line for each thing that was seen.
 *
 *     fsprobe DIR [CASE...]
 *
 * Tests run it as root in an empty directory of the host's and in one that a file server serves, and compare
 * what it prints: the host's kernel is the oracle. So it prints nothing that differs from run to run (times,
 * inode numbers, free space), and no judgement of its own. Static: it runs in guests, too. Trusts its
 * directory. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define KIB(n) ((off_t)(n) << 10)
#define MANY   1000

static const char *current; /* case */

/* Prints what a call returned: a number, or the name of its error. */
static long said(const char *what, long r)
{
	int e = errno;

	if (r < 0)
		(void)printf("%s: %s: %s\n", current, what, strerrorname_np(e));
	else
		(void)printf("%s: %s: %ld\n", current, what, r);
	return r;
}

static void text(const char *what, const char *s)
{
	(void)printf("%s: %s: %s\n", current, what, s);
}

/* A descriptor, whose number means nothing. */
static int opened(const char *what, int fd)
{
	(void)said(what, fd < 0 ? -1 : 0);
	return fd;
}

static int make(const char *name, const char *content)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, content, strlen(content)) < 0) {
		(void)fprintf(stderr, "%s: %s: %m\n", current, name);
		exit(1);
	}
	return fd;
}

static void put(const char *name, const char *content)
{
	(void)close(make(name, content));
}

static void show(const char *what, int fd)
{
	char b[256];
	ssize_t n = pread(fd, b, sizeof b - 1, 0);

	b[n > 0 ? n : 0] = 0;
	text(what, n < 0 ? strerrorname_np(errno) : b);
}

static void show_file(const char *name)
{
	int fd = open(name, O_RDONLY);

	if (fd < 0)
		text(name, strerrorname_np(errno));
	else
		show(name, fd);
	(void)close(fd);
}

/* Mode, owner, links and size of a file; of a directory without the last two, which are its file system's. */
static void show_stat(const char *name)
{
	struct stat st;

	if (fstatat(AT_FDCWD, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		text(name, strerrorname_np(errno));
	else if (S_ISDIR(st.st_mode))
		(void)printf("%s: %s: %o %u:%u\n", current, name, st.st_mode, st.st_uid, st.st_gid);
	else
		(void)printf("%s: %s: %o %u:%u links %lu size %lld rdev %u:%u\n", current, name, st.st_mode,
			     st.st_uid, st.st_gid, (unsigned long)st.st_nlink, (long long)st.st_size,
			     major(st.st_rdev), minor(st.st_rdev));
}

static ino_t ino_of(const char *name)
{
	struct stat st;

	return lstat(name, &st) < 0 ? 0 : st.st_ino;
}

/* Runs func as another user, with one more group; what it returns is the exit code, which is shown. */
static void as_user(const char *what, uid_t uid, gid_t gid, gid_t extra, int (*func)(void))
{
	int status = 0;
	pid_t child;

	(void)fflush(stdout);
	child = fork();
	if (child == 0) {
		int r = 99;

		if (setgroups(1, &extra) == 0 && setresgid(gid, gid, gid) == 0 &&
		    setresuid(uid, uid, uid) == 0)
			r = func();
		(void)fflush(stdout);
		_exit(r);
	}
	(void)waitpid(child, &status, 0);
	(void)said(what, WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status);
}

/* ---- cases ---- */

static void open_files(void)
{
	int a = make("a", "one"), b = make("b", "two"), again;
	char number[32];
	struct stat st;

	(void)said("rename over an open file", rename("b", "a"));
	show("the old one", a);
	show("the new one", b);
	show_file("a");
	(void)said("unlink", unlink("a"));
	show_stat("a");
	(void)said("write", pwrite(b, "2222", 4, 3));
	show("unlinked", b);
	(void)said("fstat", fstat(b, &st));
	(void)said("links", (long)st.st_nlink);
	(void)said("size", (long)st.st_size);
	(void)said("fchmod", fchmod(b, 0600));
	(void)said("fchown", fchown(b, 7, 8));
	(void)said("ftruncate", ftruncate(b, 2));
	(void)snprintf(number, sizeof number, "/proc/self/fd/%d", b);
	again = opened("open once more", open(number, O_RDWR));
	show("what is there", again);
	(void)said("link it back", linkat(AT_FDCWD, number, AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
	(void)close(again);
	(void)close(a);
	(void)close(b);
	(void)said("mkdir", mkdir("d", 0755));
	a = open("d", O_RDONLY | O_DIRECTORY);
	(void)said("rmdir an open one", rmdir("d"));
	(void)said("make in it", openat(a, "x", O_CREAT | O_RDWR, 0600));
	(void)said("stat it", fstat(a, &st));
	(void)close(a);
}

static void open_flags(void)
{
	int fd = make("f", "0123456789"), a;

	(void)symlink("f", "l");
	(void)mkdir("d", 0755);
	(void)said("exclusive", open("f", O_CREAT | O_EXCL | O_RDWR, 0600));
	(void)said("no follow", open("l", O_NOFOLLOW | O_RDONLY));
	(void)said("directory", open("f", O_DIRECTORY | O_RDONLY));
	(void)said("a directory for writing", open("d", O_WRONLY));
	(void)said("through a file", open("f/x", O_RDONLY));
	(void)said("trailing slash", open("f/", O_RDONLY));
	a = opened("append", open("f", O_RDWR | O_APPEND));
	(void)said("pwrite at 0 of an appended one", pwrite(a, "a", 1, 0));
	(void)said("F_SETFL none", fcntl(a, F_SETFL, 0));
	(void)said("pwrite at 0", pwrite(a, "b", 1, 0));
	(void)said("F_SETFL append", fcntl(fd, F_SETFL, O_APPEND));
	(void)said("pwrite at 1", pwrite(fd, "c", 1, 1));
	(void)said("where", lseek(fd, 0, SEEK_CUR));
	show_file("f");
	(void)close(a);
	(void)close(open("f", O_RDONLY | O_TRUNC));
	(void)close(fd);
	show_stat("f");
	a = opened("synchronous", open("f", O_WRONLY | O_SYNC));
	(void)said("write", write(a, "sync", 4));
	(void)said("fsync", fsync(a));
	(void)said("fdatasync", fdatasync(a));
	(void)said("read of a written one", read(a, &fd, 1));
	(void)close(a);
	a = open(".", O_RDONLY | O_DIRECTORY);
	(void)said("fsync of a directory", fsync(a));
	(void)said("syncfs", syncfs(a));
	(void)close(a);
}

static void direct(void)
{
	static _Alignas(4096) char block[8192];
	int fd = opened("direct", open("direct", O_RDWR | O_CREAT | O_DIRECT, 0600)), other;

	memset(block, 'd', sizeof block);
	(void)said("write", write(fd, block, sizeof block));
	other = open("direct", O_RDONLY);
	memset(block, 0, sizeof block);
	(void)said("read by others", read(other, block, sizeof block));
	(void)said("last byte", block[8191]);
	(void)said("direct read", pread(fd, block, 4096, 4096));
	(void)said("direct read at the end", pread(fd, block, 4096, 8192));
	(void)close(fd);
	(void)close(other);
}

static void links(void)
{
	struct stat st;
	int fd;

	put("a", "content");
	(void)said("link", link("a", "b"));
	(void)said("again", link("a", "b"));
	(void)said("of nothing", link("none", "c"));
	(void)mkdir("d", 0755);
	(void)said("of a directory", link("d", "e"));
	(void)said("into a directory", link("b", "d/c"));
	(void)said("same file", ino_of("a") == ino_of("d/c") && ino_of("a") != 0);
	show_stat("a");
	fd = open("b", O_RDWR);
	(void)said("unlink a", unlink("a"));
	(void)said("rename to itself", rename("b", "d/c"));
	(void)said("unlink b", unlink("b"));
	(void)said("write by the third", pwrite(fd, "C", 1, 0));
	show_file("d/c");
	(void)fstat(fd, &st);
	(void)said("links left", (long)st.st_nlink);
	(void)close(fd);
	(void)symlink("somewhere/else", "s");
	(void)said("of a symbolic link", link("s", "t"));
	(void)said("a kind of link", linkat(AT_FDCWD, "s", AT_FDCWD, "u", AT_SYMLINK_FOLLOW));
	show_stat("t");
}

static void nameless(void)
{
	int fd = opened("nameless", open(".", O_TMPFILE | O_RDWR, 0640)), other;
	char number[32];
	struct stat st;

	(void)said("write", write(fd, "nameless", 8));
	(void)fstat(fd, &st);
	(void)printf("%s: %o links %lu size %lld\n", current, st.st_mode, (unsigned long)st.st_nlink,
		     (long long)st.st_size);
	(void)said("user attribute", fsetxattr(fd, "user.a", "1", 1, 0));
	(void)snprintf(number, sizeof number, "/proc/self/fd/%d", fd);
	(void)said("link", linkat(AT_FDCWD, number, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	show_stat("named");
	show_file("named");
	(void)close(fd);
	other = opened("exclusive", open(".", O_TMPFILE | O_WRONLY | O_EXCL, 0600));
	(void)snprintf(number, sizeof number, "/proc/self/fd/%d", other);
	(void)said("link", linkat(AT_FDCWD, number, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
	(void)close(other);
	(void)said("for reading", open(".", O_TMPFILE | O_RDONLY, 0600));
}

static void renames(void)
{
	put("a", "a");
	put("b", "b");
	(void)mkdir("d", 0755);
	(void)mkdir("d/full", 0755);
	(void)mkdir("e", 0755);
	(void)said("no-replace", renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
	(void)said("exchange", renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE));
	show_file("a");
	(void)said("exchange with a directory", renameat2(AT_FDCWD, "a", AT_FDCWD, "e", RENAME_EXCHANGE));
	show_file("e");
	(void)said("exchange with nothing", renameat2(AT_FDCWD, "a", AT_FDCWD, "none", RENAME_EXCHANGE));
	(void)said("whiteout", renameat2(AT_FDCWD, "b", AT_FDCWD, "w", RENAME_WHITEOUT));
	show_stat("b");
	(void)said("unlink the whiteout", unlink("b"));
	(void)said("over a full directory", rename("a", "d"));
	(void)said("into itself", rename("d", "d/full/below"));
	(void)said("over a directory", rename("w", "a"));
	(void)said("directory over a file", rename("a", "w"));
	(void)said("directory over an empty one", rename("a", "d/full"));
	(void)said("of nothing", rename("none", "x"));
	(void)chdir("d/full");
	(void)said("a directory that is somebody's", rename("../../d", "../../moved"));
	put("here", "x");
	(void)chdir("../..");
	show_file("moved/full/here");
}

/* In a child, so that the lock is another's. */
static long tried(const char *name, short type, bool whole_file)
{
	int fd = open(name, O_RDWR), status = 0;
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = 2, .l_len = 2 };
	pid_t child = fork();

	if (child == 0)
		_exit((whole_file ? flock(fd, (type == F_WRLCK ? LOCK_EX : LOCK_SH) | LOCK_NB)
				  : fcntl(fd, F_SETLK, &l)) < 0
			      ? errno
			      : 0);
	(void)waitpid(child, &status, 0);
	(void)close(fd);
	return WEXITSTATUS(status);
}

static void locks(void)
{
	int a = make("f", "0123456789"), b = open("f", O_RDWR), status = 0;
	struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 4 };
	struct flock o = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 6, .l_len = 2 };
	pid_t child;

	(void)said("flock", flock(a, LOCK_EX));
	(void)said("flock by another", tried("f", F_RDLCK, true));
	(void)said("flock down", flock(a, LOCK_SH));
	(void)said("shared by another", tried("f", F_RDLCK, true));
	(void)said("flock off", flock(a, LOCK_UN));
	(void)said("record", fcntl(a, F_SETLK, &l));
	(void)said("shared record", tried("f", F_RDLCK, false));
	(void)said("exclusive record", tried("f", F_WRLCK, false));
	(void)said("open file description", fcntl(a, F_OFD_SETLK, &o));
	o.l_pid = 0;
	(void)said("its conflict", fcntl(b, F_OFD_SETLK, &o));
	(void)said("get", fcntl(b, F_OFD_GETLK, &o));
	(void)said("type", o.l_type);
	(void)close(b);
	(void)said("a close ends records", tried("f", F_WRLCK, false));
	l.l_type = F_WRLCK;
	(void)said("record again", fcntl(a, F_SETLK, &l));
	child = fork(); /* waits until it is free */
	if (child == 0)
		_exit(fcntl(open("f", O_RDWR), F_SETLKW, &l) < 0);
	l.l_type = F_UNLCK;
	(void)said("unlock", fcntl(a, F_SETLK, &l));
	(void)waitpid(child, &status, 0);
	(void)said("who waited", WEXITSTATUS(status));
	(void)close(a);
}

static void maps(void)
{
	int fd = make("f", ""), ro, append;
	char *shared, *again, *own, b[4] = "";
	int status = 0;

	(void)ftruncate(fd, KIB(16));
	shared = mmap(NULL, (size_t)KIB(16), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)said("shared", shared == MAP_FAILED ? -1 : 0);
	if (shared == MAP_FAILED)
		return;
	own = mmap(NULL, (size_t)KIB(16), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ro = open("f", O_RDONLY);
	again = mmap(NULL, (size_t)KIB(16), PROT_READ, MAP_SHARED, ro, 0);
	memcpy(shared + 4096, "map", 3);
	(void)said("seen by read", pread(ro, b, 3, 4096));
	text("it", b);
	(void)said("seen by another map", memcmp(again + 4096, "map", 3));
	own[8192] = 'p';
	(void)said("private stays private", again[8192]);
	(void)pwrite(fd, "wri", 3, 12288);
	(void)said("a write is seen", memcmp(shared + 12288, "wri", 3));
	if (fork() == 0) {
		shared[0] = 'c';
		_exit(0);
	}
	(void)wait(&status);
	(void)said("a child's too", again[0]);
	(void)said("msync", msync(shared, (size_t)KIB(16), MS_SYNC));
	(void)said("read-only for writing",
		   mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, ro, 0) == MAP_FAILED ? -1 : 0);
	/* What a map writes goes to its place, though the file is open for appending. */
	append = open("f", O_RDWR | O_APPEND);
	(void)close(fd);
	(void)munmap(shared, (size_t)KIB(16));
	shared = mmap(NULL, (size_t)KIB(16), PROT_READ | PROT_WRITE, MAP_SHARED, append, 0);
	shared[1] = 'a';
	(void)said("msync of an appended one", msync(shared, (size_t)KIB(16), MS_SYNC));
	(void)munmap(shared, (size_t)KIB(16));
	(void)close(append);
	(void)close(ro);
	show_stat("f");
	show_file("f");
}

static void sparse(void)
{
	static const char block[4096] = "data";
	int fd = make("f", ""), to;
	struct stat st;

	(void)said("far", pwrite(fd, "end", 3, (off_t)1 << 40));
	(void)said("hole at 0", lseek(fd, 0, SEEK_HOLE));
	(void)said("data", lseek(fd, 0, SEEK_DATA));
	(void)said("behind the end", lseek(fd, (off_t)1 << 41, SEEK_DATA));
	(void)fstat(fd, &st);
	(void)said("few blocks", st.st_blocks < 100);
	(void)said("cut", ftruncate(fd, KIB(1024)));
	(void)said("allocate", fallocate(fd, 0, 0, KIB(256)));
	(void)said("keep size", fallocate(fd, FALLOC_FL_KEEP_SIZE, KIB(1024), KIB(256)));
	(void)fstat(fd, &st);
	(void)said("size", (long)st.st_size);
	(void)said("blocks", st.st_blocks >= 1024);
	/* whole blocks: what is only allocated may be a hole or not, until it is written back */
	for (off_t at = 0; at < KIB(256); at += (off_t)sizeof block)
		(void)pwrite(fd, block, sizeof block, at);
	(void)said("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, KIB(64), KIB(64)));
	(void)said("fsync", fsync(fd));
	(void)said("hole", lseek(fd, 0, SEEK_HOLE));
	(void)said("data behind it", lseek(fd, KIB(64), SEEK_DATA));
	(void)said("current", lseek(fd, 0, SEEK_CUR));
	(void)said("negative", lseek(fd, -1, SEEK_SET));
	to = open("copy", O_RDWR | O_CREAT | O_TRUNC, 0600);
	(void)lseek(fd, 0, SEEK_SET);
	(void)said("copy_file_range", copy_file_range(fd, NULL, to, NULL, (size_t)KIB(32), 0));
	(void)said("sendfile", sendfile(to, fd, NULL, 1000));
	show_stat("copy");
	(void)said("too long", ftruncate(fd, -1));
	(void)close(fd);
	(void)close(to);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names that are listed, in order; those of the host's security modules not. */
static void list(const char *file)
{
	char names[4096], *at[64];
	ssize_t n = llistxattr(file, names, sizeof names);
	size_t k = 0;

	for (char *s = names; n > 0 && s < names + n && k < 64; s += strlen(s) + 1)
		if (strncmp(s, "security.", 9) != 0 || strcmp(s, "security.capability") == 0)
			at[k++] = s;
	qsort(at, k, sizeof *at, compare);
	for (size_t i = 0; i < k; i++)
		text(file, at[i]);
}

static const uint8_t cap_net[20] = { 0, 0, 0, 2, 0, 4 }; /* VFS_CAP_REVISION_2, CAP_NET_BIND_SERVICE */

static int write_f(void)
{
	int fd = open("f", O_WRONLY | O_APPEND);

	return fd < 0 ? errno : (int)said("write by a user", write(fd, "x", 1)) < 0;
}

static int attributes_of_user(void)
{
	char b[16];

	(void)said("user: trusted", setxattr("f", "trusted.u", "1", 1, 0));
	(void)said("user: get trusted", getxattr("f", "trusted.a", b, sizeof b));
	(void)said("user: user.", setxattr("f", "user.u", "1", 1, 0));
	(void)said("user: capability", setxattr("f", "security.capability", cap_net, sizeof cap_net, 0));
	list("f");
	return 0;
}

static void attributes(void)
{
	static char big[60000], b[64];

	put("f", "x");
	(void)mkdir("d", 0755);
	(void)symlink("f", "l");
	(void)mkfifo("p", 0600);
	(void)chmod("f", 0666);
	(void)said("set", setxattr("f", "user.a", "12345", 5, 0));
	(void)said("create", setxattr("f", "user.a", "1", 1, XATTR_CREATE));
	(void)said("replace none", setxattr("f", "user.b", "1", 1, XATTR_REPLACE));
	(void)said("empty", setxattr("f", "user.e", "", 0, 0));
	(void)said("get empty", getxattr("f", "user.e", b, sizeof b));
	(void)said("length", getxattr("f", "user.a", NULL, 0));
	(void)said("too little room", getxattr("f", "user.a", b, 3));
	(void)said("none", getxattr("f", "user.none", b, sizeof b));
	(void)said("remove", removexattr("f", "user.e"));
	(void)said("remove again", removexattr("f", "user.e"));
	(void)said("too large", setxattr("f", "user.big", big, sizeof big, 0) == 0 ? 0 : -1);
	(void)said("of a directory", setxattr("d", "user.a", "1", 1, 0));
	(void)said("of a link", lsetxattr("l", "user.a", "1", 1, 0));
	(void)said("of a pipe", setxattr("p", "user.a", "1", 1, 0));
	(void)said("trusted", setxattr("f", "trusted.a", "trust", 5, 0));
	(void)said("trusted, create", setxattr("f", "trusted.a", "1", 1, XATTR_CREATE));
	(void)said("overlay's", setxattr("d", "trusted.overlay.opaque", "y", 1, 0));
	(void)said("get trusted", getxattr("f", "trusted.a", b, sizeof b));
	(void)said("capability", setxattr("f", "security.capability", cap_net, sizeof cap_net, 0));
	(void)said("get capability", getxattr("f", "security.capability", b, sizeof b));
	(void)said("bad capability", setxattr("f", "security.capability", "x", 1, 0));
	(void)said("no name space", setxattr("f", "name", "x", 1, 0));
	list("f");
	list("d");
	list("l");
	as_user("by a user", 1000, 1000, 1000, attributes_of_user);
	as_user("a write", 1000, 1000, 1000, write_f);
	(void)said("capability after a write", getxattr("f", "security.capability", b, sizeof b));
	(void)said("remove trusted", removexattr("f", "trusted.a"));
	(void)setxattr("f", "security.capability", cap_net, sizeof cap_net, 0);
	(void)said("chown", chown("f", 5, 5));
	(void)said("capability after it", getxattr("f", "security.capability", b, sizeof b));
	list("f");
}

struct acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} e[5];
};

static struct acl acl_of(unsigned owner, unsigned uid, unsigned perm, unsigned mask)
{
	return (struct acl){ .version = 2,
			     .e = { { 0x01, (uint16_t)owner, UINT32_MAX },
				    { 0x02, (uint16_t)perm, uid },
				    { 0x04, 0, UINT32_MAX },
				    { 0x10, (uint16_t)mask, UINT32_MAX },
				    { 0x20, 0, UINT32_MAX } } };
}

static void show_acl(const char *file, const char *which)
{
	char name[64], what[128];
	struct acl a = { 0 };

	(void)snprintf(name, sizeof name, "system.posix_acl_%s", which);
	(void)snprintf(what, sizeof what, "%s of %s", which, file);
	if (said(what, getxattr(file, name, &a, sizeof a)) > 0)
		for (size_t i = 0; i < 5; i++)
			(void)printf("%s: %s: %x %o %u\n", current, what, a.e[i].tag, a.e[i].perm, a.e[i].id);
}

static int try_acl(void)
{
	(void)said("for reading", open("f", O_RDONLY) < 0 ? -1 : 0);
	(void)said("for writing", open("f", O_WRONLY) < 0 ? -1 : 0);
	return 0;
}

static int acl_by_owner(void)
{
	struct acl a = acl_of(6, 1001, 4, 7);

	return setxattr("g", "system.posix_acl_access", &a, sizeof a, 0) < 0 ? errno : 0;
}

static void acls(void)
{
	struct acl a = acl_of(6, 1001, 6, 4), d = acl_of(7, 1001, 7, 5);

	put("f", "x");
	(void)said("set", setxattr("f", "system.posix_acl_access", &a, sizeof a, 0));
	show_stat("f");
	as_user("whom it names", 1001, 50, 50, try_acl);
	as_user("another", 1002, 50, 50, try_acl);
	(void)said("chmod", chmod("f", 0660));
	show_acl("f", "access");
	as_user("now", 1001, 50, 50, try_acl);
	(void)mkdir("d", 0755);
	(void)said("default", setxattr("d", "system.posix_acl_default", &d, sizeof d, 0));
	(void)umask(077);
	put("d/file", "x");
	(void)mkdir("d/sub", 0777);
	(void)mkfifo("d/pipe", 0666);
	(void)close(openat(AT_FDCWD, "d", O_TMPFILE | O_RDWR, 0666));
	(void)umask(022);
	show_stat("d/file");
	show_stat("d/sub");
	show_stat("d/pipe");
	show_acl("d/file", "access");
	show_acl("d/sub", "default");
	(void)said("default of a file", setxattr("f", "system.posix_acl_default", &d, sizeof d, 0));
	(void)said("not one", setxattr("f", "system.posix_acl_access", "xyz", 3, 0));
	(void)said("remove", removexattr("f", "system.posix_acl_access"));
	show_stat("f");
	list("d");
	/* one who is not in the file's group can't keep its set-group-id */
	put("g", "x");
	(void)chown("g", 1000, 2000);
	(void)chmod("g", 02755);
	as_user("by its owner, not in its group", 1000, 1000, 1000, acl_by_owner);
	show_stat("g");
	(void)chmod("g", 02755);
	as_user("by its owner, in its group", 1000, 1000, 2000, acl_by_owner);
	show_stat("g");
}

static void nodes(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "socket" };
	int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0), r, w;
	char b[8] = "";

	(void)said("null", mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	(void)said("whiteout", mknod("white", S_IFCHR, makedev(0, 0)));
	(void)said("large", mknod("large", S_IFBLK | 0600, makedev(0xabc, 0xfedcb)));
	(void)said("regular", mknod("file", S_IFREG | 0640, 0));
	(void)said("there", mknod("file", S_IFIFO | 0640, 0));
	(void)said("socket", mknod("sock", S_IFSOCK | 0600, 0));
	(void)said("pipe", mkfifo("pipe", 0622));
	(void)said("bind", bind(s, (struct sockaddr *)&a, sizeof a));
	(void)said("again", bind(c, (struct sockaddr *)&a, sizeof a));
	(void)said("listen", listen(s, 1));
	(void)said("connect", connect(c, (struct sockaddr *)&a, sizeof a));
	(void)said("rename", rename("socket", "renamed"));
	(void)close(c);
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	(void)said("gone", connect(c, (struct sockaddr *)&a, sizeof a));
	for (const char *const *n = (const char *const[]){ "null", "white", "large", "file", "sock", "pipe",
							   "renamed", NULL };
	     *n; n++)
		show_stat(*n);
	r = open("pipe", O_RDONLY | O_NONBLOCK);
	w = opened("write to a pipe", open("pipe", O_WRONLY));
	(void)said("write", write(w, "pipe", 4));
	(void)said("read", read(r, b, 4));
	text("it", b);
	(void)said("open a socket", open("renamed", O_RDONLY));
	(void)close(r);
	(void)close(w);
	(void)close(s);
	(void)close(c);
}

static int as_owner(void)
{
	struct stat st;

	(void)umask(022);
	(void)said("make", open("t/mine", O_CREAT | O_RDWR, 06755) < 0 ? -1 : 0);
	(void)said("mkdir", mkdir("t/dir", 0777));
	(void)said("in a group's directory", open("g/file", O_CREAT | O_RDWR, 02755) < 0 ? -1 : 0);
	(void)said("mkdir there", mkdir("g/dir", 0777));
	(void)said("device", mknod("t/dev", S_IFCHR, makedev(1, 3)));
	(void)said("to his other group", chown("t/mine", (uid_t)-1, 2000));
	(void)said("to a strange group", chown("t/mine", (uid_t)-1, 3000));
	(void)said("away", chown("t/mine", 0, (gid_t)-1));
	(void)said("remove another's from a sticky directory", unlink("t/roots"));
	(void)said("rename it", rename("t/roots", "t/x"));
	(void)said("its mode", chmod("t/roots", 0777));
	(void)said("its times",
		   utimensat(AT_FDCWD, "t/roots", (struct timespec[2]){ { 1, 0 }, { 1, 0 } }, 0));
	(void)said("touch it", utimensat(AT_FDCWD, "t/roots", NULL, 0));
	(void)said("cut it", truncate("t/roots", 0));
	(void)said("look into a closed directory", stat("closed/x", &st));
	(void)said("write to a suid file", (long)write(open("suid", O_WRONLY), "x", 1));
	return 0;
}

static void owners(void)
{
	(void)mkdir("t", 01777);
	(void)chmod("t", 01777);
	(void)mkdir("closed", 0700);
	put("closed/x", "x");
	put("t/roots", "x");
	(void)mkdir("g", 0777);
	(void)chown("g", 0, 3000);
	(void)chmod("g", 02777);
	put("suid", "");
	(void)chmod("suid", 06777);
	as_user("a user", 1000, 1000, 2000, as_owner);
	for (const char *const *n =
		     (const char *const[]){ "t/mine", "t/dir", "g/file", "g/dir", "suid", "t/roots", NULL };
	     *n; n++)
		show_stat(*n);
	put("ids", "");
	(void)said("large ids", chown("ids", 4000000000u, 3999999999u));
	show_stat("ids");
	(void)chmod("ids", 06755);
	(void)said("root writes", truncate("ids", 5));
	show_stat("ids");
	(void)said("chown", chown("ids", 1, 1));
	show_stat("ids");
	(void)symlink("nowhere", "link");
	(void)said("lchown", lchown("link", 9, 9));
	show_stat("link");
}

static void show_times(const char *name)
{
	struct stat st = { 0 };

	(void)lstat(name, &st);
	(void)printf("%s: %s: %lld.%09ld %lld.%09ld\n", current, name, (long long)st.st_atim.tv_sec,
		     st.st_atim.tv_nsec, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void times(void)
{
	struct timespec t[2] = { { 1000, 123456789 }, { 5000000000, 987654321 } };
	struct stat before, after;

	put("f", "x");
	(void)said("set", utimensat(AT_FDCWD, "f", t, 0));
	show_times("f");
	t[0].tv_nsec = UTIME_OMIT;
	t[1] = (struct timespec){ -1000, 5 };
	(void)said("before 1970", utimensat(AT_FDCWD, "f", t, 0));
	show_times("f");
	(void)symlink("f", "l");
	t[0] = (struct timespec){ 77, 0 };
	(void)said("of a link", utimensat(AT_FDCWD, "l", t, AT_SYMLINK_NOFOLLOW));
	show_times("l");
	(void)stat("f", &before);
	do { /* a clock tick may have to pass */
		(void)chmod("f", 0600);
		(void)stat("f", &after);
	} while (after.st_ctim.tv_sec < before.st_ctim.tv_sec + 10 &&
		 memcmp(&after.st_ctim, &before.st_ctim, sizeof after.st_ctim) == 0);
	(void)said("chmod changes ctime", memcmp(&after.st_ctim, &before.st_ctim, sizeof after.st_ctim) != 0);
	put("f", "new");
	(void)stat("f", &after);
	(void)said("a write changes mtime", after.st_mtim.tv_sec > 5000);
}

static void names(void)
{
	char longest[257], path[4096];
	struct statfs s;
	int fd;

	memset(longest, 'n', sizeof longest);
	longest[255] = 0;
	(void)said("255 bytes", mkdir(longest, 0755));
	longest[255] = 'n';
	longest[256] = 0;
	(void)said("256 bytes", mkdir(longest, 0755));
	(void)said("bytes", mkdir("\xff\xfe\n\t\\", 0755));
	(void)said("dots", mkdir("...", 0755));
	(void)said("hidden", mkdir("..x", 0755));
	memset(path, 'p', sizeof path);
	path[4095] = 0;
	(void)said("symbolic link of 4095 bytes", symlink(path, "l"));
	(void)said("read it", readlink("l", path, sizeof path));
	(void)said("empty link", symlink("", "m"));
	(void)symlink("loop", "loop");
	(void)said("a loop", open("loop", O_RDONLY));
	fd = open(".", O_RDONLY | O_DIRECTORY);
	(void)said("statfs", fstatfs(fd, &s));
	(void)said("longest", (long)s.f_namelen);
	(void)said("blocks", s.f_blocks > 0 && s.f_bsize >= 512);
	(void)close(fd);
}

static void directories(void)
{
	bool *found = calloc(MANY, sizeof *found);
	long twice = 0, missing = 0, wrong = 0, dots = 0, half = 0;
	struct dirent *e;
	char name[32];
	DIR *d;

	(void)mkdir("d", 0755);
	(void)chdir("d");
	for (unsigned k = 0; k < MANY; k++) {
		(void)snprintf(name, sizeof name, "file with a number %u", k);
		put(name, "");
	}
	d = opendir(".");
	for (unsigned k = 0; (e = readdir(d)); k++) {
		unsigned n = MANY;

		dots += e->d_name[0] == '.';
		if (e->d_name[0] == '.')
			continue;
		wrong += e->d_type != DT_REG || e->d_ino != ino_of(e->d_name);
		(void)sscanf(e->d_name, "file with a number %u", &n);
		if (n >= MANY)
			continue;
		twice += found[n];
		found[n] = true;
		if (k == MANY / 2)
			half = telldir(d);
	}
	for (unsigned k = 0; k < MANY; k++)
		missing += !found[k];
	(void)said("twice", twice);
	(void)said("missing", missing);
	(void)said("type or number wrong", wrong);
	(void)said("dots", dots);
	seekdir(d, half);
	for (twice = 0; readdir(d);)
		twice++;
	(void)said("from a place", twice > MANY / 3 && twice < MANY * 2 / 3);
	rewinddir(d);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			(void)unlink(e->d_name);
	(void)closedir(d);
	(void)said("removed while it was read", rmdir("../d"));
	free(found);
	(void)chdir("..");
}

static int ran(const char *path)
{
	int status = 0;

	(void)fflush(stdout);
	if (fork() == 0) {
		(void)execl(path, path, "--run", (char *)NULL);
		_exit(errno);
	}
	(void)wait(&status);
	return WEXITSTATUS(status);
}

static void programs(void)
{
	int self = open("/proc/self/exe", O_RDONLY), fd = open("prog", O_CREAT | O_WRONLY, 0755);

	while (sendfile(fd, self, NULL, 1 << 20) > 0)
		;
	(void)said("while it is written", ran("./prog") == ETXTBSY);
	(void)close(fd);
	(void)close(self);
	(void)said("run", ran("./prog"));
	(void)said("unlink and run", (fd = open("prog", O_PATH), unlink("prog")));
	put("script", "#!/nowhere\n");
	(void)chmod("script", 0755);
	(void)said("no interpreter", ran("./script"));
	(void)chmod("script", 0644);
	(void)said("not executable", ran("./script"));
	(void)close(fd);
}

static const struct {
	const char *name;
	void (*func)(void);
} cases[] = {
	{ "open files", open_files },
	{ "open flags", open_flags },
	{ "direct", direct },
	{ "links", links },
	{ "nameless", nameless },
	{ "renames", renames },
	{ "locks", locks },
	{ "maps", maps },
	{ "sparse", sparse },
	{ "attributes", attributes },
	{ "acls", acls },
	{ "nodes", nodes },
	{ "owners", owners },
	{ "times", times },
	{ "names", names },
	{ "directories", directories },
	{ "programs", programs },
};

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--run") == 0)
		return 42;
	if (argc < 2 || chdir(argv[1]) < 0) {
		perror(argc < 2 ? "usage: fsprobe DIR [CASE...]" : argv[1]);
		return 2;
	}
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)umask(022);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		bool wanted = argc == 2;

		for (int k = 2; k < argc; k++)
			wanted |= strcmp(argv[k], cases[i].name) == 0;
		current = cases[i].name;
		if (wanted && (mkdir(current, 0755) < 0 || chmod(current, 0777) < 0 || chdir(current) < 0)) {
			perror(current);
			return 1;
		}
		if (wanted) {
			cases[i].func();
			(void)chdir("..");
		}
	}
	(void)puts("end");
	return 0;
}
