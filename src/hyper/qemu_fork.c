/* qemu_fork.c - preloaded into QEMU with qemu_fix.c: a QEMU whose VM waits makes copies of itself.
 *
 * Under software emulation most of a clone's start is QEMU's own start and the translation of guest code that
 * every clone runs. A copy by fork() of a QEMU that has done both has them, and shares their memory.
 *
 * fork() copies the memory and one thread. So here all threads of the original are stopped first, each in the
 * handler of a signal, which lies on its stack; in the copy each gets a new thread with its old stack, its
 * old thread descriptor and TLS, which returns from that same handler. For the C library it is the same
 * thread: locks, conditions and thread-local variables go on. A system call that the signal interrupted is
 * made again or ends with EINTR, in the original as in the copy.
 *
 * What a copy must not share with the original is replaced: eventfds by new ones with the same count; the
 * channels and the shared directory by those that come with the question. What else is open must be harmless
 * to share (files open for reading, /dev/null, a signalfd), or nothing is copied.
 *
 * Who stops all others is QEMU's main thread, in ppoll(), where it waits for events; so it is nowhere else.
 * Between stop and go it may not touch what another thread may hold: no malloc, no streams, only system
 * calls.
 *
 * The driver (qemu.c) asks through a socket, QEMU_FD_FORK, whose other end is the keeper's; without such a
 * socket this file does nothing. The VM is paused then. The original was started with a sandbox that lets it
 * fork; a copy takes that right from itself before guest code runs. No copy makes copies.
 *
 * State: a preloaded object has no caller who could hold it, so it is one struct at file scope, and only the
 * main thread writes it while others are not stopped.
 * x86-64 with the GNU C library; nothing of the library's private layout is assumed: where a thread's id
 * stands is asked of the kernel. */
#include "hyper/qemu_fork.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "hyper/qemu.h"
#include "hyper/qemu_rest.h"

#define PARK_SIGNAL 32  /* SIGCANCEL of the C library: never blocked, and QEMU cancels no thread */
#define PARK_MS     600 /* for all threads to stop; twice that is less than the driver waits */
#define THREADS_MAX 160
#define SPARE       8 /* threads that may begin while others are counted */
#define FDS_MAX     256
#define POLL_MAX    128
#define STACK       4096
#define INFO_MAX    512

/* Kernel's, since the C library's sigaction() does not take its own signals. */
struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};

#define SA_RESTORER_FLAG 0x04000000ul

void qemu_fork_restore(void);
__asm__(".text\n"
	".type qemu_fork_restore,@function\n"
	"qemu_fork_restore:\n"
	"	mov $15,%eax\n" /* rt_sigreturn */
	"	syscall\n"
	".size qemu_fork_restore,.-qemu_fork_restore\n");

/* One stopped thread. `stack` is its first in the copy, until it has jumped to its own. */
struct parked {
	jmp_buf at;
	unsigned long tls;
	int *tid; /* in the C library's descriptor of the thread */
	void *robust;
	size_t robust_len;
	_Alignas(16) char stack[STACK];
};

enum fd_kind { FD_KEEP, FD_EVENT, FD_EPOLL, FD_CHANNEL, FD_SHARE };

struct open_fd {
	int fd;
	enum fd_kind kind;
	int flags;      /* O_CLOEXEC */
	uint64_t count; /* of an eventfd */
	uint64_t id;    /* several numbers may be one eventfd */
	int given;      /* which of the question's */
};

static struct {
	bool asked, active; /* whether this QEMU is one that copies itself */
	atomic_int hold;    /* 1 while threads are to stay stopped */
	atomic_int n_parked, n_gone, n_up;
	int n_threads, room;    /* those stopped, and how many there is room for beside the main one */
	struct parked *threads; /* the last is the main one */
	bool private;           /* no memory is shared with others: asked once */
	struct open_fd fds[FDS_MAX];
	size_t n_fds;
} state;

static bool is_active(void)
{
	int type;
	socklen_t n = sizeof type;

	if (!state.asked)
		state.active = getsockopt(QEMU_FD_FORK, SOL_SOCKET, SO_TYPE, &type, &n) == 0 &&
			       type == SOCK_SEQPACKET;
	state.asked = true;
	return state.active;
}

/* Libraries' that QEMU uses, without their headers. */
int io_uring_queue_init(unsigned entries, void *ring, unsigned flags);
int gnutls_rnd(int level, void *data, size_t n);
void gcry_randomize(void *data, size_t n, int level);

static void wake(atomic_int *word)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* Waits until the word is `want`; false after PARK_MS. */
static bool wait_for(atomic_int *word, int want)
{
	const struct timespec slice = { .tv_nsec = PARK_MS * 1000000l / 16 };
	int now;

	for (int i = 0; i < 16; i++) {
		now = atomic_load(word);
		if (now == want)
			return true;
		(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, now, &slice, NULL, 0);
	}
	return atomic_load(word) == want;
}

static bool describe_thread(struct parked *t)
{
	return syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &t->tls) == 0 &&
	       prctl(PR_GET_TID_ADDRESS, &t->tid) == 0 && t->tid && *t->tid == (int)syscall(SYS_gettid) &&
	       syscall(SYS_get_robust_list, 0, &t->robust, &t->robust_len) == 0;
}

/* What the kernel knows of a thread and a new one does not have. */
static void tell_kernel(const struct parked *t)
{
	(void)syscall(SYS_set_robust_list, t->robust, t->robust_len);
	if (__rseq_size)
		(void)syscall(SYS_rseq, t->tls + (unsigned long)__rseq_offset, 32, 0, RSEQ_SIG);
}

/* Each thread but the main one; the only place where a thread of a copy begins. */
static void on_park(int sig unused_arg)
{
	int error = errno;
	struct parked *t;
	int i;

	if (!atomic_load(&state.hold))
		return; /* it comes late: the question was given up */
	i = atomic_fetch_add(&state.n_parked, 1);
	if (i >= state.room)
		return;
	t = &state.threads[i];
	if (!describe_thread(t))
		t->tid = NULL;
	if (_setjmp(t->at) == 0) {
		atomic_fetch_add(&state.n_up, 1);
		wake(&state.n_up);
		while (atomic_load(&state.hold))
			(void)syscall(SYS_futex, &state.hold, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
		atomic_fetch_add(&state.n_gone, 1);
		wake(&state.n_gone);
	} else {
		tell_kernel(t);
		atomic_fetch_add(&state.n_gone, 1);
		wake(&state.n_gone);
	}
	errno = error;
}

struct entry {
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

/* Calls fn with each name of a directory that is a number. */
static int each_number(const char *dir, int (*fn)(int dir, int number, void *arg), void *arg)
{
	_Alignas(8) char buf[8192];
	scoped_fd fd = (int)syscall(SYS_openat, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long n, at;
	int r = 0;

	if (fd < 0)
		return -errno;
	while (r == 0 && (n = syscall(SYS_getdents64, fd, buf, sizeof buf)) > 0)
		for (at = 0; at < n && r == 0;) {
			const struct entry *e = (const void *)(buf + at);
			const char *p = e->name;
			int number = 0;

			for (; *p >= '0' && *p <= '9'; p++)
				number = number * 10 + *p - '0';
			if (p != e->name && *p == 0 && number != fd)
				r = fn(fd, number, arg);
			at += e->len;
		}
	return r;
}

static int signal_one(int dir unused_arg, int tid, void *arg)
{
	int *n = arg;

	if (tid == getpid())
		return 0;
	if (*n >= state.room)
		return -E2BIG;
	if (syscall(SYS_tgkill, getpid(), tid, PARK_SIGNAL) < 0)
		return errno == ESRCH ? 0 : -errno;
	++*n;
	return 0;
}

static int count_one(int dir unused_arg, int tid unused_arg, void *arg)
{
	++*(int *)arg;
	return 0;
}

/* All threads but the caller stand in on_park(). -EAGAIN: one that was to be stopped has ended, perhaps. */
static int park(void)
{
	const struct kernel_sigaction act = { .handler = on_park,
					      .flags = SA_RESTART | SA_RESTORER_FLAG,
					      .restorer = qemu_fork_restore,
					      .mask = ~0ul };
	int n = 0, r;

	if (syscall(SYS_rt_sigaction, PARK_SIGNAL, &act, NULL, 8) < 0)
		return -errno;
	atomic_store(&state.n_parked, 0);
	atomic_store(&state.n_gone, 0);
	atomic_store(&state.n_up, 0);
	atomic_store(&state.hold, 1);
	r = each_number("/proc/self/task", signal_one, &n);
	state.n_threads = n;
	if (r == 0 && !wait_for(&state.n_up, n))
		r = -EAGAIN;
	for (int i = 0; i < n && r == 0; i++)
		if (!state.threads[i].tid)
			r = -EOPNOTSUPP;
	return r;
}

static bool unpark(void)
{
	int n = atomic_load(&state.n_up);

	atomic_store(&state.hold, 0);
	wake(&state.hold);
	return wait_for(&state.n_gone, n);
}

/* The number behind a word in /proc/self/fdinfo. */
static bool find_number(const char *text, const char *word, unsigned base, uint64_t *ret)
{
	const char *p = strstr(text, word);
	uint64_t v = 0;

	if (!p)
		return false;
	for (p += strlen(word); *p == ' ' || *p == '\t'; p++)
		;
	for (; *p && *p != '\n'; p++)
		v = v * base + (uint64_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
	*ret = v;
	return true;
}

static int read_info(int number, char text[INFO_MAX])
{
	char path[48];
	scoped_fd fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", number);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, INFO_MAX - 1);
	if (n <= 0)
		return -EIO;
	text[n] = 0;
	return 0;
}

/* QEMU keeps some that it only uses when it has many descriptors. */
static int survey_epoll(struct open_fd *to)
{
	char text[INFO_MAX];
	int r = read_info(to->fd, text);

	if (r == 0 && strstr(text, "tfd:"))
		r = -EOPNOTSUPP;
	to->kind = FD_EPOLL;
	return r;
}

static int survey_event(struct open_fd *to)
{
	char text[INFO_MAX];
	int r = read_info(to->fd, text);

	if (r < 0)
		return r;
	/* An eventfd has an id since Linux 5.2; a semaphore would need another flag. */
	if (!find_number(text, "eventfd-count:", 16, &to->count) ||
	    !find_number(text, "eventfd-id:", 10, &to->id) || strstr(text, "eventfd-semaphore: 1"))
		return -EOPNOTSUPP;
	to->kind = FD_EVENT;
	return 0;
}

static int survey_anon(int dir, struct open_fd *to)
{
	char path[16], name[64];
	ssize_t n;

	(void)snprintf(path, sizeof path, "%d", to->fd);
	n = readlinkat(dir, path, name, sizeof name - 1);
	if (n < 0)
		return -errno;
	name[n] = 0;
	if (strcmp(name, "anon_inode:[eventfd]") == 0)
		return survey_event(to);
	if (strcmp(name, "anon_inode:[eventpoll]") == 0)
		return survey_epoll(to);
	/* It has a mask and no more: who reads it reads his own signals. */
	return strcmp(name, "anon_inode:[signalfd]") == 0 ? 0 : -EOPNOTSUPP;
}

static int given_of(int fd)
{
	switch (fd) {
	case QEMU_FD_AGENT:
		return QEMU_FORK_AGENT;
	case QEMU_FD_CONSOLE:
		return QEMU_FORK_CONSOLE;
	case QEMU_FD_QMP:
		return QEMU_FORK_QMP;
	case STDOUT_FILENO:
	case STDERR_FILENO:
		return QEMU_FORK_LOG;
	default:
		return -1;
	}
}

/* Memory that is shared and can be written would be the original's. `at` is where in a line of
 * /proc/self/maps the last piece ended: 0 begin of a line, 1 to 4 a letter of "rw-s", 5 behind them. */
static bool is_shared_line(const char *p, ssize_t n, int *at, bool *writable)
{
	for (; n > 0; p++, n--) {
		if (*p == '\n') {
			*at = 0;
		} else if (*at == 0) {
			*at = *p == ' ';
		} else if (*at <= 4) {
			if (*at == 2)
				*writable = *p == 'w';
			if (*at == 4 && *p == 's' && *writable)
				return true;
			++*at;
		}
	}
	return false;
}

static int survey_memory(void)
{
	scoped_fd fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
	bool writable = false;
	char buf[4096];
	int at = 0;
	ssize_t n;

	if (state.private)
		return 0;
	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf, sizeof buf)) > 0)
		if (is_shared_line(buf, n, &at, &writable))
			return -EOPNOTSUPP;
	state.private = n == 0;
	return n < 0 ? -errno : 0;
}

struct survey {
	const int *given;
	bool has_share;
};

static int survey_one(int dir, int fd, void *arg)
{
	struct survey *s = arg;
	struct open_fd *to = &state.fds[state.n_fds];
	struct stat st;
	int mode;

	for (size_t i = 0; i < QEMU_FORK_FD_N; i++)
		if (fd == s->given[i])
			return 0;
	if (fd == QEMU_FD_FORK)
		return 0;
	if (state.n_fds == FDS_MAX)
		return -E2BIG;
	if (syscall(SYS_newfstatat, fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	mode = fcntl(fd, F_GETFL);
	*to = (struct open_fd){ .fd = fd,
				.kind = FD_KEEP,
				.flags = fcntl(fd, F_GETFD) & FD_CLOEXEC ? O_CLOEXEC : 0,
				.given = given_of(fd) };
	state.n_fds++;
	if (to->given >= 0) {
		to->kind = FD_CHANNEL;
		return 0;
	}
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR:
		if (s->has_share)
			return -EOPNOTSUPP; /* the guest has one open */
		s->has_share = true;
		to->kind = FD_SHARE;
		to->given = QEMU_FORK_SHARE;
		return 0;
	case S_IFREG:
		return (mode & O_ACCMODE) == O_RDONLY ? 0 : -EOPNOTSUPP;
	case S_IFCHR:
		return st.st_rdev == makedev(1, 3) ? 0 : -EOPNOTSUPP;
	case 0:
		return survey_anon(dir, to);
	default:
		return -EOPNOTSUPP;
	}
}

static int survey(const int given[QEMU_FORK_FD_N])
{
	struct survey s = { .given = given };
	int r;

	state.n_fds = 0;
	r = each_number("/proc/self/fd", survey_one, &s);
	if (r == 0)
		r = survey_memory();
	return r == 0 && !s.has_share ? -EOPNOTSUPP : r;
}

/* The same eventfd under several numbers stays one. */
static int new_event(size_t i)
{
	const struct open_fd *f = &state.fds[i];
	int flags;

	for (size_t k = 0; k < i; k++)
		if (state.fds[k].kind == FD_EVENT && state.fds[k].id == f->id)
			return dup3(state.fds[k].fd, f->fd, f->flags);
	flags = fcntl(f->fd, F_GETFL);
	{
		scoped_fd fd = eventfd(0, EFD_CLOEXEC | (flags & O_NONBLOCK ? EFD_NONBLOCK : 0));

		if (fd < 0 || (f->count && write(fd, &f->count, sizeof f->count) != sizeof f->count))
			return -1;
		return dup3(fd, f->fd, f->flags);
	}
}

static int replace_fds(const int given[QEMU_FORK_FD_N])
{
	for (size_t i = 0; i < state.n_fds; i++) {
		const struct open_fd *f = &state.fds[i];
		int flags, r = 0;

		if (f->kind == FD_EVENT) {
			r = new_event(i);
		} else if (f->kind == FD_EPOLL) {
			scoped_fd fd = epoll_create1(EPOLL_CLOEXEC);

			r = fd < 0 ? -1 : dup3(fd, f->fd, f->flags);
		} else if (f->given >= 0) {
			flags = fcntl(f->fd, F_GETFL);
			r = dup3(given[f->given], f->fd, f->flags);
			if (r >= 0 && f->kind == FD_CHANNEL)
				r = fcntl(f->fd, F_SETFL, flags & O_NONBLOCK);
		}
		if (r < 0)
			return -errno;
	}
	return 0;
}

/* What QEMU's own sandbox denies with spawn=deny. */
static int deny_spawn(void)
{
#define NR_IS(nr, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), (yes), (no))
#define LOAD(field)        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
	static const struct sock_filter filter[] = {
		LOAD(arch),
		NR_IS(AUDIT_ARCH_X86_64, 0, 10),
		LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 8, 0), /* x32 */
		NR_IS(SYS_fork, 7, 0),
		NR_IS(SYS_vfork, 6, 0),
		NR_IS(SYS_execve, 5, 0),
		NR_IS(SYS_execveat, 4, 0),
		NR_IS(SYS_clone3, 4, 0),
		NR_IS(SYS_clone, 0, 4),
		LOAD(args[0]),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 2, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = { .len = ARRAY_LEN(filter), .filter = (void *)(uintptr_t)filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
		return -errno;
	return 0;
}

/* The first and last that runs on the stack made for it. */
static int go_on(void *arg)
{
	struct parked *t = arg;

	_longjmp(t->at, 1);
}

static int make_threads(void)
{
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
			  CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

	for (int i = 0; i < state.n_threads; i++) {
		struct parked *t = &state.threads[i];

		if (clone(go_on, t->stack + STACK, flags, t, t->tid, (void *)t->tls, t->tid) < 0)
			return -errno;
	}
	return wait_for(&state.n_gone, state.n_threads) ? 0 : -ETIMEDOUT;
}

static bool answer(enum qemu_fork_who who, int code, long pid, int pidfd)
{
	struct qemu_fork_answer a = { .who = who, .code = code, .pid = (uint32_t)pid };
	struct iovec iov = { .iov_base = &a, .iov_len = sizeof a };
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(sizeof(int))];
	} c = { .buf = { 0 } };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (pidfd >= 0) {
		m.msg_control = c.buf;
		m.msg_controllen = sizeof c.buf;
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&c.h), &pidfd, sizeof pidfd);
	}
	return sendmsg(QEMU_FD_FORK, &m, MSG_NOSIGNAL) == (ssize_t)sizeof a;
}

static void refuse(int code)
{
	(void)answer(QEMU_FORK_ORIGINAL, code, 0, -1); /* nobody may listen */
}

static bool keeper_is_gone(void)
{
	struct pollfd p = { .fd = QEMU_FD_FORK, .events = POLLRDHUP };

	return poll(&p, 1, 0) < 0 || p.revents != 0;
}

/* In the copy, its only thread. A copy that the driver does not hear of ends. */
static void become_copy(const int given[QEMU_FORK_FD_N])
{
	int r;

	/* From here on it ends with the keeper, which may have ended before. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || keeper_is_gone())
		_exit(1);
	tell_kernel(&state.threads[state.room]);
	r = replace_fds(given);
	if (r == 0)
		r = deny_spawn();
	if (r == 0)
		r = make_threads();
	if (!answer(QEMU_FORK_COPY, r, 0, -1) || r < 0)
		_exit(1);
	state.active = false;
	/* The number stays taken: what QEMU opens later gets another. */
	if (dup3(STDIN_FILENO, QEMU_FD_FORK, O_CLOEXEC) < 0)
		_exit(1);
}

static void copy(const int given[QEMU_FORK_FD_N])
{
	const int flags = CLONE_PARENT | CLONE_PIDFD | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;
	struct parked *me = &state.threads[state.room];
	int pidfd = -1;
	long pid;

	if (!describe_thread(me)) {
		refuse(-EOPNOTSUPP);
		return;
	}
	pid = syscall(SYS_clone, flags, NULL, &pidfd, me->tid,
		      0); /* not fork(): that one cleans up threads */
	if (pid == 0) {
		become_copy(given);
	} else if (pid < 0) {
		refuse(-errno);
	} else {
		(void)answer(QEMU_FORK_ORIGINAL, 0, pid, pidfd); /* then the copy ends, too */
		(void)close(pidfd);
	}
}

/* False: a thread may still come and write where it was to be described. */
static bool serve_once(const int given[QEMU_FORK_FD_N], int *ret)
{
	int r = park();

	if (r == 0)
		r = survey(given);
	if (r == 0)
		copy(given);
	*ret = r;
	return !state.active || (unpark() && r != -EAGAIN);
}

/* Both the original and the copy return from here. */
static int serve(const int given[QEMU_FORK_FD_N])
{
	size_t size;
	int n = 0, r;
	void *p;

	r = each_number("/proc/self/task", count_one, &n);
	if (r < 0 || n > THREADS_MAX)
		return r < 0 ? r : -E2BIG;
	state.room = n + SPARE;
	size = ((size_t)state.room + 1) * sizeof(struct parked);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	state.threads = p;
	if (serve_once(given, &r))
		(void)munmap(p, size);
	return r;
}

static void on_question(void)
{
	struct qemu_fork_ask ask;
	struct iovec iov = { .iov_base = &ask, .iov_len = sizeof ask };
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(QEMU_FORK_FD_N * sizeof(int))];
	} c;
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof c.buf
	};
	int given[sizeof c.buf / sizeof(int)]; /* there may be one too many */
	ssize_t n = recvmsg(QEMU_FD_FORK, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	int r = -EPROTO;

	if (n == 0)
		state.active = false; /* it was given away itself: nobody will ask */
	if (n <= 0)
		return;
	memset(given, -1, sizeof given);
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
		memcpy(given, CMSG_DATA(h), h->cmsg_len - CMSG_LEN(0));
	if (n == sizeof ask && ask.word == QEMU_FORK_WORD && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && h &&
	    h->cmsg_len == CMSG_LEN(QEMU_FORK_FD_N * sizeof(int)))
		r = serve(given);
	if (r == -EAGAIN)
		r = serve(given);
	if (r < 0)
		refuse(r);
	for (size_t i = 0; i < ARRAY_LEN(given); i++)
		scope_close(&given[i]);
}

/* QEMU's main loop waits here. */
int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct pollfd more[POLL_MAX + 1];
	struct timespec left;
	long r;

	qemu_rest_look();
	if (timeout)
		left = *timeout; /* the kernel writes to it */
	if (!is_active() || n > POLL_MAX || getpid() != (int)syscall(SYS_gettid))
		return (int)syscall(SYS_ppoll, fds, n, timeout ? &left : NULL, mask, 8);
	if (n)
		memcpy(more, fds, n * sizeof *fds);
	more[n] = (struct pollfd){ .fd = QEMU_FD_FORK, .events = POLLIN };
	r = syscall(SYS_ppoll, more, n + 1, timeout ? &left : NULL, mask, 8);
	if (n)
		memcpy(fds, more, n * sizeof *fds);
	if (r <= 0 || !more[n].revents)
		return (int)r;
	if (r > 1)
		return (int)r - 1; /* the others first: then nothing is under way */
	on_question();
	return 0;
}

/* A copy is to have the guest's memory, too. */
int madvise(void *p, size_t n, int advice)
{
	if (advice == MADV_DONTFORK && is_active())
		return 0;
	return (int)syscall(SYS_madvise, p, n, advice);
}

/* A ring can't be copied. Without one QEMU waits as on kernels that have none. */
int io_uring_queue_init(unsigned entries, void *ring, unsigned flags)
{
	int (*real)(unsigned, void *, unsigned);

	if (is_active())
		return -ENOSYS;
	*(void **)&real = dlsym(RTLD_NEXT, "io_uring_queue_init");
	return real ? real(entries, ring, flags) : -ENOSYS;
}

/* The guest's RDRAND, and whatever else QEMU draws. A library's generator has a state of its own, which
 * copies would share: all of them would hear the same. The kernel's has none in a process. */
int gnutls_rnd(int level unused_arg, void *data, size_t n)
{
	char *p = data;

	while (n > 0) {
		ssize_t r = getrandom(p, n, 0);

		if (r < 0 && errno != EINTR)
			return -1;
		if (r > 0) {
			p += r;
			n -= (size_t)r;
		}
	}
	return 0;
}

/* The same in a QEMU that was built with the other library; it can't fail. */
void gcry_randomize(void *data, size_t n, int level)
{
	if (gnutls_rnd(level, data, n) != 0)
		abort();
}
