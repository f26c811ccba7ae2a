/* test_qemu_fork.c - a program with threads, eventfds and a main loop, laid out as QEMU is, that is copied.
 *
 * The test is the driver and the keeper: it asks through QEMU_FD_FORK, and copies are its children. The
 * program ("original") obeys letters on its agent channel; so does each copy, on its own. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/io.h"
#include "hyper/qemu.h"
#include "hyper/qemu_fork.h"
#include "tmpdir.h"

#define EVENT    8  /* the original's other descriptors */
#define SAME     9  /* the same eventfd once more */
#define EPOLL    10 /* without members */
#define SHARE    11
#define ODD      20 /* opened on demand */
#define WAIT_MS  10000
#define LETTERS  "tecdmsn"
#define NAME_LEN 8

struct program {
	pthread_t worker, waiter, spinner;
	pthread_mutex_t lock;
	pthread_cond_t job, done;
	int jobs, answers;
	atomic_bool end;
	atomic_ulong count;
};

int gnutls_rnd(int level, void *data, size_t n);
void gcry_randomize(void *data, size_t n, int level);

static __thread int mark; /* each thread's own */

/* Waits on a condition, as QEMU's vCPU threads do. */
static void *worker(void *arg)
{
	struct program *p = arg;

	mark = 42;
	(void)pthread_mutex_lock(&p->lock);
	for (;;) {
		while (p->jobs == 0)
			(void)pthread_cond_wait(&p->job, &p->lock);
		if (p->jobs < 0)
			break;
		p->jobs--;
		if (mark == 42 && pthread_equal(pthread_self(), p->worker))
			p->answers++;
		(void)pthread_cond_signal(&p->done);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return p;
}

/* Waits in poll(), as QEMU's monitor thread does. */
static void *waiter(void *arg)
{
	struct program *p = arg;
	struct pollfd f = { .fd = SAME, .events = POLLIN };
	uint64_t n;

	while (!atomic_load(&p->end))
		if (poll(&f, 1, -1) == 1 && read(SAME, &n, sizeof n) == sizeof n && n < 1000 &&
		    write(QEMU_FD_AGENT, "e", 1) != 1)
			_exit(3);
	return p;
}

/* Is stopped wherever it is, also in malloc(). */
static void *spinner(void *arg)
{
	struct program *p = arg;
	double x = 1;

	while (!atomic_load(&p->end)) {
		char *volatile m = malloc(100 + atomic_load(&p->count) % 5000);

		x = x * 1.0000001 + 0.1;
		free(m);
		atomic_fetch_add(&p->count, 1);
	}
	return x > 0 ? p : NULL;
}

static void say(char c)
{
	if (write(QEMU_FD_AGENT, &c, 1) != 1)
		_exit(4);
}

static void give_job(struct program *p)
{
	int before;

	(void)pthread_mutex_lock(&p->lock);
	before = p->answers;
	p->jobs++;
	(void)pthread_cond_signal(&p->job);
	while (p->jobs > 0)
		(void)pthread_cond_wait(&p->done, &p->lock);
	/* by the number that the C library has for it */
	say(p->answers == before + 1 && pthread_kill(p->worker, 0) == 0 ? 't' : '!');
	(void)pthread_mutex_unlock(&p->lock);
}

static void *short_thread(void *arg)
{
	return arg;
}

static void finish(struct program *p)
{
	const uint64_t last = 1000;
	void *r[3] = { NULL, NULL, NULL };

	atomic_store(&p->end, true);
	(void)pthread_mutex_lock(&p->lock);
	p->jobs = -1;
	(void)pthread_cond_signal(&p->job);
	(void)pthread_mutex_unlock(&p->lock);
	if (write(EVENT, &last, sizeof last) != sizeof last)
		_exit(5);
	(void)pthread_join(p->worker, &r[0]);
	(void)pthread_join(p->waiter, &r[1]);
	(void)pthread_join(p->spinner, &r[2]);
	_exit(r[0] == p && r[1] == p && r[2] == p ? 0 : 6);
}

static void open_odd(char what)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int p[2], fd = -1;
	void *m;

	if (what == 'P' && pipe(p) == 0)
		fd = p[0];
	if (what == 'W')
		fd = memfd_create("x", 0);
	if (what == 'D')
		fd = open("/", O_RDONLY | O_DIRECTORY);
	if (what == 'E') {
		fd = epoll_create1(0);
		(void)epoll_ctl(fd, EPOLL_CTL_ADD, EVENT, &ev);
	}
	if (what == 'M') {
		m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		fd = m == MAP_FAILED ? -1 : open("/dev/null", O_RDWR);
	}
	if (fd < 0 || dup2(fd, ODD) != ODD)
		_exit(7);
	say(what);
}

static void obey(struct program *p, char what)
{
	const uint64_t one = 1;
	unsigned long before = atomic_load(&p->count);
	char name[NAME_LEN] = { 0 }, random[2][16];
	pthread_t t;
	void *r = NULL;
	int fd;

	switch (what) {
	case 't':
		give_job(p);
		return;
	case 'e': /* answered by the waiter */
		if (write(EVENT, &one, sizeof one) != sizeof one)
			_exit(8);
		return;
	case 'c':
		while (atomic_load(&p->count) == before)
			(void)sched_yield();
		break;
	case 'd': /* a new thread, with the C library's own locks and lists */
		if (pthread_create(&t, NULL, short_thread, p) != 0 || pthread_join(t, &r) != 0 || r != p)
			_exit(9);
		break;
	case 'm':
		if (mark != 7)
			_exit(10);
		break;
	case 's':
		fd = openat(SHARE, "name", O_RDONLY);
		if (fd < 0 || read(fd, name, 1) != 1)
			_exit(11);
		(void)close(fd);
		what = name[0];
		break;
	case 'n':
		gcry_randomize(random[1], 16, 0);
		if (gnutls_rnd(0, random[0], 16) != 0 || memcmp(random[0], random[1], 16) == 0)
			_exit(12);
		break;
	case 'f':
		if (fork() == 0)
			_exit(0);
		break;
	case 'x':
		(void)execl("/bin/true", "true", NULL);
		break;
	case 'q':
		finish(p);
		break;
	default:
		open_odd(what);
		return;
	}
	say(what);
}

static void begin(struct program *p)
{
	mark = 7;
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->job, NULL);
	(void)pthread_cond_init(&p->done, NULL);
	if (pthread_create(&p->worker, NULL, worker, p) != 0 ||
	    pthread_create(&p->waiter, NULL, waiter, p) != 0 ||
	    pthread_create(&p->spinner, NULL, spinner, p) != 0)
		_exit(13);
}

/* fds[i] becomes i, all others are closed. */
static _Noreturn void original(const int *fds, size_t n)
{
	struct pollfd f = { .fd = QEMU_FD_AGENT, .events = POLLIN };
	static struct program p;
	int keep[SHARE + 1];
	char c;

	for (size_t i = 0; i < n; i++)
		if (dup2(fds[i], 100 + (int)i) < 0)
			_exit(14);
	for (int i = 0; i < (int)n; i++) {
		if (dup2(100 + i, i) != i)
			_exit(15);
		keep[i] = i;
	}
	if (io_close_from(keep, n) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		_exit(16);
	begin(&p);
	for (;;)
		if (ppoll(&f, 1, NULL, NULL) == 1 && read(QEMU_FD_AGENT, &c, 1) == 1)
			obey(&p, c);
}

struct machine {
	pid_t pid;
	int agent; /* our ends */
	int ask;   /* the original's */
	char name; /* what is in its share */
};

static int channel(int *theirs)
{
	int p[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
	*theirs = p[1];
	return p[0];
}

static int make_share(struct tmpdir *t, char name)
{
	char dir[] = { name, 0 }, path[] = { name, '/', 'n', 'a', 'm', 'e', 0 };
	scoped_fd at = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
	int share;

	assert_true(mkdirat(at, dir, 0700) == 0 || errno == EEXIST);
	fd = openat(at, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, &name, 1), 1);
	share = openat(at, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(share >= 0);
	return share;
}

static struct machine start(struct tmpdir *t)
{
	struct machine m = { .name = 'O' };
	int fds[SHARE + 1], p[2];

	fds[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	fds[1] = fds[2] = p[1];
	m.agent = channel(&fds[QEMU_FD_AGENT]);
	(void)close(channel(&fds[QEMU_FD_CONSOLE]));
	(void)close(channel(&fds[QEMU_FD_QMP]));
	fds[QEMU_FD_MEMORY] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	fds[EVENT] = fds[SAME] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fds[EPOLL] = epoll_create1(EPOLL_CLOEXEC);
	fds[SHARE] = make_share(t, m.name);
	(void)close(p[0]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p), 0);
	m.ask = p[0];
	fds[QEMU_FD_FORK] = p[1];
	m.pid = fork();
	if (m.pid == 0)
		original(fds, ARRAY_LEN(fds));
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (i != 2 && i != SAME)
			(void)close(fds[i]);
	return m;
}

static char answer_of(const struct machine *m)
{
	char c = 0;

	assert_int_equal(io_wait_readable(m->agent, WAIT_MS), 0);
	assert_int_equal(read(m->agent, &c, 1), 1);
	return c;
}

static void tell(const struct machine *m, char c)
{
	assert_int_equal(write(m->agent, &c, 1), 1);
}

static void check_alive(const struct machine *m)
{
	for (const char *c = LETTERS; *c; c++) {
		tell(m, *c);
		assert_int_equal(answer_of(m), *c == 's' ? m->name : *c);
	}
}

static int end_of(const struct machine *m)
{
	int status = -1;

	assert_int_equal(waitpid(m->pid, &status, 0), m->pid);
	(void)close(m->agent);
	if (m->ask >= 0)
		(void)close(m->ask);
	return status;
}

static void check_end(const struct machine *m)
{
	tell(m, 'q');
	assert_int_equal(end_of(m), 0);
}

static void ask(const struct machine *m, uint32_t word, const int *fds, size_t n)
{
	const struct qemu_fork_ask a = { .word = word };

	assert_true(io_send_fds(m->ask, &a, sizeof a, fds, n) >= 0);
}

static int next_answer(const struct machine *m, struct qemu_fork_answer *a)
{
	size_t n = 0;
	int fd = -1;

	assert_int_equal(io_wait_readable(m->ask, WAIT_MS), 0);
	assert_int_equal(io_recv_fds(m->ask, a, sizeof *a, &fd, 1, &n), sizeof *a);
	return n ? fd : -1;
}

static void open_copy(struct tmpdir *t, char name, struct machine *c, int fds[QEMU_FORK_FD_N])
{
	int p[2];

	*c = (struct machine){ .ask = -1, .name = name };
	c->agent = channel(&fds[QEMU_FORK_AGENT]);
	(void)close(channel(&fds[QEMU_FORK_CONSOLE]));
	(void)close(channel(&fds[QEMU_FORK_QMP]));
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	(void)close(p[0]);
	fds[QEMU_FORK_LOG] = p[1];
	fds[QEMU_FORK_SHARE] = make_share(t, name);
}

static struct machine copy(struct tmpdir *t, const struct machine *m, char name)
{
	struct qemu_fork_answer a;
	int fds[QEMU_FORK_FD_N];
	unsigned seen = 0;
	struct machine c;

	open_copy(t, name, &c, fds);
	ask(m, QEMU_FORK_WORD, fds, QEMU_FORK_FD_N);
	for (size_t i = 0; i < QEMU_FORK_FD_N; i++)
		(void)close(fds[i]);
	for (int i = 0; i < 2; i++) {
		int pidfd = next_answer(m, &a);

		assert_int_equal(a.code, 0);
		assert_int_equal(pidfd >= 0, a.who == QEMU_FORK_ORIGINAL);
		seen |= 1u << a.who;
		if (pidfd >= 0) {
			c.pid = (pid_t)a.pid;
			(void)close(pidfd);
		}
	}
	assert_int_equal(seen, 3);
	return c;
}

/* Everything goes on in a copy, apart from the original and other copies. */
static void test_copies(void **state)
{
	struct machine m = start(*state), c[4];

	check_alive(&m);
	for (int i = 0; i < 4; i++) {
		c[i] = copy(*state, &m, (char)('0' + i));
		check_alive(&c[i]);
		check_alive(&m);
	}
	for (int i = 0; i < 4; i++)
		check_alive(&c[i]);
	/* nobody was answered twice: an event of one is none of another */
	for (int i = 0; i < 4; i++)
		assert_int_equal(io_wait_readable(c[i].agent, 0), -ETIMEDOUT);
	assert_int_equal(io_wait_readable(m.agent, 0), -ETIMEDOUT);
	check_end(&c[0]);
	check_end(&m);
	for (int i = 1; i < 4; i++) {
		check_alive(&c[i]);
		check_end(&c[i]);
	}
}

static void test_many(void **state)
{
	struct machine m = start(*state);

	for (int i = 0; i < 40; i++) {
		struct machine c = copy(*state, &m, (char)('0' + i));

		check_alive(&c);
		check_end(&c);
	}
	check_alive(&m);
	check_end(&m);
}

/* What QEMU's sandbox denies with spawn=deny, and nothing that the original may do. */
static void test_no_spawn(void **state)
{
	struct machine m = start(*state), c;

	for (const char *p = "fx"; *p; p++) {
		c = copy(*state, &m, *p);
		tell(&c, *p);
		assert_int_equal(WTERMSIG(end_of(&c)), SIGSYS);
	}
	check_alive(&m);
	tell(&m, 'f');
	assert_int_equal(answer_of(&m), 'f');
	check_end(&m);
}

static void check_refused(const struct machine *m, uint32_t word, const int *fds, size_t n, int want)
{
	struct qemu_fork_answer a;

	ask(m, word, fds, n);
	assert_int_equal(next_answer(m, &a), -1);
	assert_int_equal(a.who, QEMU_FORK_ORIGINAL);
	assert_int_equal(a.code, want);
	check_alive(m);
	/* nothing of the question stays open */
	assert_int_equal(io_wait_readable(m->ask, 0), -ETIMEDOUT);
}

static void test_questions(void **state)
{
	struct machine m = start(*state), c;
	int fds[QEMU_FORK_FD_N + 1];

	open_copy(*state, 'a', &c, fds);
	fds[QEMU_FORK_FD_N] = fds[0];
	check_refused(&m, QEMU_FORK_WORD + 1, fds, QEMU_FORK_FD_N, -EPROTO);
	check_refused(&m, QEMU_FORK_WORD, fds, QEMU_FORK_FD_N - 1, -EPROTO);
	check_refused(&m, QEMU_FORK_WORD, fds, QEMU_FORK_FD_N + 1, -EPROTO);
	check_refused(&m, QEMU_FORK_WORD, NULL, 0, -EPROTO);
	for (size_t i = 0; i < QEMU_FORK_FD_N; i++)
		(void)close(fds[i]);
	assert_int_equal(io_wait_readable(c.agent, WAIT_MS), 0); /* its end: nobody else holds it */
	(void)close(c.agent);
	c = copy(*state, &m, 'b');
	check_alive(&c);
	check_end(&c);
	check_end(&m);
}

/* What a copy would share with the original. */
static void test_refused(void **state)
{
	int fds[QEMU_FORK_FD_N];
	struct machine c;

	for (const char *p = "PWDEM"; *p; p++) {
		struct machine m = start(*state);

		tell(&m, *p);
		assert_int_equal(answer_of(&m), *p);
		open_copy(*state, 'c', &c, fds);
		check_refused(&m, QEMU_FORK_WORD, fds, QEMU_FORK_FD_N, -EOPNOTSUPP);
		for (size_t i = 0; i < QEMU_FORK_FD_N; i++)
			(void)close(fds[i]);
		(void)close(c.agent);
		check_end(&m);
	}
}

/* The keeper gave the VM itself away: its main loop goes on without the socket. */
static void test_closed(void **state)
{
	struct machine m = start(*state);

	(void)close(m.ask);
	m.ask = -1;
	check_alive(&m);
	check_end(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_copies, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_many, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_no_spawn, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_questions, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_refused, tmpdir_set_up, tmpdir_tear_down),
		cmocka_unit_test_setup_teardown(test_closed, tmpdir_set_up, tmpdir_tear_down),
	};

	return cmocka_run_group_tests_name("hyper/qemu_fork", tests, NULL, NULL);
}
