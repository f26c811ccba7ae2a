/* test_loop.c - base/loop.h: readiness, deletion in the middle of a turn, files without poll, timers. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/io.h"
#include "base/loop.h"
#include "base/mark.h"

#define N 40

/* A source with a log of its calls and orders what to do when called. */
struct probe {
	struct source src;
	int fd;
	unsigned calls;
	uint32_t events;
	struct source *del[3];   /* deleted by the call */
	struct source *mute;     /* loses its events */
	struct loop *stop_after; /* stopped by the stop_at-th call */
	unsigned stop_at;
};

static void on_probe(struct source *s, uint32_t events)
{
	struct probe *p = container_of(s, struct probe, src);

	p->calls++;
	p->events = events;
	for (size_t i = 0; i < ARRAY_LEN(p->del); i++)
		if (p->del[i])
			loop_del(p->del[i]);
	if (p->mute)
		assert_int_equal(loop_mod(p->mute, 0), 0);
	if (p->stop_after && p->calls >= p->stop_at)
		loop_stop(p->stop_after);
}

/* An eventfd that is readable. */
static void add_ready(struct loop *l, struct probe *p)
{
	*p = (struct probe){ .fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) };
	assert_true(p->fd >= 0);
	assert_int_equal(loop_add(l, &p->src, p->fd, EPOLLIN, on_probe), 0);
}

static void add_file(struct loop *l, struct probe *p, const char *path)
{
	*p = (struct probe){ .fd = open(path, O_RDWR | O_CLOEXEC) };
	assert_true(p->fd >= 0);
	assert_int_equal(loop_add(l, &p->src, p->fd, EPOLLIN, on_probe), 0);
}

static void drop(struct probe *p)
{
	loop_del(&p->src);
	assert_int_equal(close(p->fd), 0);
}

static void test_init_fini(void **state)
{
	struct loop l = { 0 };
	int before = dup(0);

	loop_fini(&l); /* zeroed: must not close fd 0 */
	assert_int_equal(fcntl(0, F_GETFD) < 0, before < 0);
	assert_int_equal(loop_init(&l), 0);
	assert_true(fcntl(l.epfd, F_GETFD) & FD_CLOEXEC);
	loop_fini(&l);
	loop_fini(&l);
	if (before >= 0)
		assert_int_equal(close(before), 0);
}

static void test_events(void **state)
{
	struct loop l;
	struct probe p;
	int pair[2];

	assert_int_equal(loop_init(&l), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	p = (struct probe){ .fd = pair[0] };
	assert_int_equal(loop_add(&l, &p.src, pair[0], EPOLLIN, on_probe), 0);
	assert_int_equal(loop_once(&l, 0), 0);
	assert_int_equal(p.calls, 0);
	assert_int_equal(loop_mod(&p.src, EPOLLIN | EPOLLOUT), 0);
	assert_int_equal(loop_once(&l, -1), 0);
	assert_int_equal(p.events, EPOLLOUT);
	assert_int_equal(loop_mod(&p.src, 0), 0);
	assert_int_equal(write(pair[1], "x", 1), 1);
	assert_int_equal(loop_once(&l, 0), 0);
	assert_int_equal(p.calls, 1);
	/* hang-up comes whatever was asked for */
	assert_int_equal(close(pair[1]), 0);
	assert_int_equal(loop_once(&l, -1), 0);
	assert_int_equal(p.calls, 2);
	assert_true(p.events & EPOLLHUP);
	drop(&p);
	loop_del(&p.src);
	assert_int_equal(loop_mod(&p.src, EPOLLIN), -ENOENT);
	loop_fini(&l);
}

static void test_add_errors(void **state)
{
	struct loop l;
	struct source s = { 0 };

	loop_del(&s);
	assert_int_equal(loop_init(&l), 0);
	assert_int_equal(loop_add(&l, &s, -1, EPOLLIN, on_probe), -EBADF);
	assert_null(s.loop);
	loop_del(&s);
	assert_int_equal(loop_add(&l, &s, l.epfd, EPOLLIN, on_probe), -EINVAL);
	loop_fini(&l);
	assert_int_equal(loop_once(&l, 0), -EBADF);
}

/* All are ready in one turn; the first one called deletes all others, itself included. */
static void test_delete_all_in_turn(void **state)
{
	struct loop l;
	struct probe p[3];
	unsigned calls = 0;

	assert_int_equal(loop_init(&l), 0);
	for (int i = 0; i < 3; i++)
		add_ready(&l, &p[i]);
	for (int i = 0; i < 3; i++)
		for (int k = 0; k < 3; k++)
			p[i].del[k] = &p[k].src;
	assert_int_equal(loop_once(&l, -1), 0);
	for (int i = 0; i < 3; i++) {
		calls += p[i].calls;
		drop(&p[i]);
	}
	assert_int_equal(calls, 1);
	loop_fini(&l);
}

/* A source that was told to wait for nothing is not called with an event of the same turn. */
static void test_mute_in_turn(void **state)
{
	struct loop l;
	struct probe a, b;

	assert_int_equal(loop_init(&l), 0);
	add_ready(&l, &a);
	add_ready(&l, &b);
	a.mute = &b.src;
	b.mute = &a.src;
	assert_int_equal(loop_once(&l, -1), 0);
	assert_int_equal(a.calls + b.calls, 1);
	drop(&a);
	drop(&b);
	loop_fini(&l);
}

/* More ready sources than a batch holds: all get their turn. */
static void test_many(void **state)
{
	struct loop l;
	struct probe p[N];

	assert_int_equal(loop_init(&l), 0);
	for (int i = 0; i < N; i++)
		add_ready(&l, &p[i]);
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_once(&l, -1), 0);
	for (int i = 0; i < N; i++) {
		assert_true(p[i].calls >= 1);
		drop(&p[i]);
	}
	loop_fini(&l);
}

/* /dev/null has no poll: it counts as always ready, and pollable ones are still served. */
static void test_always(void **state)
{
	struct loop l;
	struct probe file, ready;

	assert_int_equal(loop_init(&l), 0);
	add_file(&l, &file, "/dev/null");
	assert_true(file.src.always);
	add_ready(&l, &ready);
	assert_int_equal(loop_once(&l, -1), 0);
	assert_int_equal(loop_once(&l, -1), 0);
	assert_int_equal(file.calls, 2);
	assert_int_equal(file.events, EPOLLIN);
	assert_int_equal(ready.calls, 2);
	assert_int_equal(loop_mod(&file.src, 0), 0);
	drop(&ready);
	assert_int_equal(loop_once(&l, 1), 0);
	assert_int_equal(file.calls, 2);
	assert_int_equal(loop_mod(&file.src, EPOLLOUT), 0);
	assert_int_equal(loop_once(&l, -1), 0);
	assert_int_equal(file.events, EPOLLOUT);
	drop(&file);
	assert_null(l.always);
	loop_fini(&l);
}

/* Every choice of who deletes whom, in a list of three. */
static void test_always_delete(void **state)
{
	for (unsigned mask = 0; mask < 8; mask++) {
		for (unsigned who = 0; who < 3; who++) {
			struct loop l;
			struct probe p[3];

			assert_int_equal(loop_init(&l), 0);
			for (int i = 0; i < 3; i++)
				add_file(&l, &p[i], "/dev/null");
			for (unsigned i = 0; i < 3; i++)
				p[who].del[i] = mask >> i & 1 ? &p[i].src : NULL;
			assert_int_equal(loop_once(&l, -1), 0);
			assert_int_equal(loop_once(&l, 0), 0);
			/* the deleting one runs once if it deletes itself; who is left runs in both turns */
			for (unsigned i = 0; i < 3; i++) {
				bool gone = mask >> i & 1;

				assert_true(gone ? p[i].calls <= 1 : p[i].calls == 2);
				drop(&p[i]);
			}
			assert_int_equal(p[who].calls, mask >> who & 1 ? 1 : 2);
			assert_null(l.always);
			loop_fini(&l);
		}
	}
}

static void test_run_stop(void **state)
{
	struct loop l;
	struct probe p;

	assert_int_equal(loop_init(&l), 0);
	add_ready(&l, &p);
	p.stop_after = &l;
	p.stop_at = 3;
	assert_int_equal(loop_run(&l), 0);
	assert_int_equal(p.calls, 3);
	assert_int_equal(loop_run(&l), 0);
	assert_int_equal(p.calls, 4);
	drop(&p);
	loop_fini(&l);
}

static void on_nested(struct source *s, uint32_t events)
{
	assert_int_equal(loop_once(s->loop, 0), -EBUSY);
	loop_stop(s->loop);
}

static void test_nested(void **state)
{
	struct loop l;
	struct source s;
	int fd = eventfd(1, EFD_CLOEXEC);

	assert_int_equal(loop_init(&l), 0);
	assert_int_equal(loop_add(&l, &s, fd, EPOLLIN, on_nested), 0);
	assert_int_equal(loop_run(&l), 0);
	loop_del(&s);
	assert_int_equal(close(fd), 0);
	loop_fini(&l);
}

struct clock {
	struct timer t;
	unsigned fired;
	bool delete;
};

static void on_timer(struct timer *t)
{
	struct clock *c = container_of(t, struct clock, t);

	c->fired++;
	if (c->t.src.loop)
		loop_stop(c->t.src.loop);
	if (c->delete)
		loop_timer_del(t);
}

static void test_timer(void **state)
{
	struct loop l;
	struct clock c = { .fired = 0 };
	uint64_t begin;

	loop_timer_del(&c.t); /* zeroed: nothing to do, fd 0 stays */
	assert_int_equal(loop_timer_set(&c.t, 1), -ENOENT);
	assert_int_equal(loop_init(&l), 0);
	assert_int_equal(loop_timer_add(&l, &c.t, on_timer), 0);
	assert_int_equal(loop_once(&l, 1), 0);
	assert_int_equal(c.fired, 0);
	begin = mark_now_ns();
	assert_int_equal(loop_timer_set(&c.t, 20), 0);
	assert_int_equal(loop_run(&l), 0);
	assert_int_equal(c.fired, 1);
	assert_true(mark_now_ns() - begin >= 20000000);
	/* once only */
	assert_int_equal(loop_once(&l, 1), 0);
	assert_int_equal(c.fired, 1);
	/* disarmed */
	assert_int_equal(loop_timer_set(&c.t, 1), 0);
	assert_int_equal(loop_timer_set(&c.t, 0), 0);
	assert_int_equal(loop_once(&l, 5), 0);
	assert_int_equal(c.fired, 1);
	/* far away is not an error, and not now */
	assert_int_equal(loop_timer_set(&c.t, UINT64_MAX), 0);
	assert_int_equal(loop_once(&l, 1), 0);
	assert_int_equal(c.fired, 1);
	c.delete = true;
	assert_int_equal(loop_timer_set(&c.t, 1), 0);
	assert_int_equal(loop_run(&l), 0);
	assert_int_equal(c.fired, 2);
	assert_null(c.t.src.loop);
	loop_timer_del(&c.t);
	loop_fini(&l);
}

/* Set anew by an earlier source of the same turn: its old expiry must not fire. */
static struct timer *rearmed;

static void on_rearm(struct source *s, uint32_t events)
{
	assert_int_equal(loop_timer_set(rearmed, 60000), 0);
	loop_del(s);
}

static void test_timer_rearmed_in_turn(void **state)
{
	struct loop l;
	struct clock c = { .fired = 0 };
	struct source s = { 0 };
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(loop_init(&l), 0);
	assert_int_equal(loop_add(&l, &s, fd, EPOLLIN, on_rearm), 0);
	assert_int_equal(loop_timer_add(&l, &c.t, on_timer), 0);
	rearmed = &c.t;
	assert_int_equal(eventfd_write(fd, 1), 0); /* ready first, so served first */
	assert_int_equal(loop_timer_set(&c.t, 1), 0);
	/* both are ready now; epoll_wait() to find out would change their order */
	assert_int_equal(io_wait_readable(c.t.src.fd, -1), 0);
	assert_int_equal(loop_once(&l, -1), 0);
	assert_int_equal(c.fired, 0);
	loop_timer_del(&c.t);
	assert_int_equal(close(fd), 0);
	loop_fini(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_init_fini),    cmocka_unit_test(test_events),
		cmocka_unit_test(test_add_errors),   cmocka_unit_test(test_delete_all_in_turn),
		cmocka_unit_test(test_mute_in_turn), cmocka_unit_test(test_many),
		cmocka_unit_test(test_always),       cmocka_unit_test(test_always_delete),
		cmocka_unit_test(test_run_stop),     cmocka_unit_test(test_nested),
		cmocka_unit_test(test_timer),        cmocka_unit_test(test_timer_rearmed_in_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
