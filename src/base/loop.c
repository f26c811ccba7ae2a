/* loop.c - the epoll loop and its timers (loop.h).
 *
 * Called by whoever waits for more than one thing. Sources may delete themselves and each other at
 * any moment of a turn. Never: allocates, or calls a source that was deleted. */
#include "base/loop.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>

#define LOOP_BATCH 32

int loop_init(struct loop *l)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	*l = (struct loop){ .epfd = -1 };
	if (fd < 0)
		return -errno;
	l->epfd = fd;
	l->open = true;
	return 0;
}

void loop_fini(struct loop *l)
{
	if (l->open)
		scope_close(&l->epfd);
	*l = (struct loop){ .epfd = -1 };
}

int loop_add(struct loop *l, struct source *s, int fd, uint32_t events, source_fn *fn)
{
	struct epoll_event ev = { .events = events, .data = { .ptr = s } };

	*s = (struct source){ .fd = fd, .events = events, .fn = fn };
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		if (errno != EPERM)
			return -errno;
		s->always = true; /* the kernel says: this file has no poll */
		s->next = l->always;
		l->always = s;
	}
	s->loop = l;
	return 0;
}

int loop_mod(struct source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data = { .ptr = s } };

	if (!s->loop)
		return -ENOENT;
	if (s->events == events)
		return 0;
	if (!s->always && epoll_ctl(s->loop->epfd, EPOLL_CTL_MOD, s->fd, &ev) < 0)
		return -errno;
	s->events = events;
	return 0;
}

static void always_del(struct loop *l, struct source *s)
{
	struct source **p = &l->always;

	while (*p && *p != s)
		p = &(*p)->next;
	if (*p)
		*p = s->next;
	if (l->always_next == s)
		l->always_next = s->next;
	s->next = NULL;
	s->always = false;
}

void loop_del(struct source *s)
{
	struct loop *l = s->loop;

	if (!l)
		return;
	s->loop = NULL;
	if (s->always) {
		always_del(l, s);
		return;
	}
	/* Fails only if the owner closed the fd too early, and then it is gone from the set anyway. */
	(void)epoll_ctl(l->epfd, EPOLL_CTL_DEL, s->fd, NULL);
	for (int i = 0; i < l->n_batch; i++)
		if (l->batch[i].data.ptr == s)
			l->batch[i].data.ptr = NULL;
}

static void serve_batch(struct loop *l, struct epoll_event *batch, int n)
{
	l->batch = batch;
	l->n_batch = n;
	for (int i = 0; i < n; i++) {
		struct source *s = batch[i].data.ptr;
		/* an earlier source of this turn may have changed what this one waits for */
		uint32_t ready = s ? batch[i].events & (s->events | EPOLLERR | EPOLLHUP) : 0;

		if (ready)
			s->fn(s, ready);
	}
	l->batch = NULL;
	l->n_batch = 0;
}

static void serve_always(struct loop *l)
{
	struct source *s;

	for (l->always_next = l->always; (s = l->always_next);) {
		l->always_next = s->next;
		if (s->events)
			s->fn(s, s->events & (EPOLLIN | EPOLLOUT));
	}
}

int loop_once(struct loop *l, int timeout_ms)
{
	struct epoll_event batch[LOOP_BATCH];
	int n;

	if (l->busy)
		return -EBUSY;
	for (struct source *s = l->always; s; s = s->next)
		if (s->events)
			timeout_ms = 0;
	n = epoll_wait(l->epfd, batch, LOOP_BATCH, timeout_ms);
	if (n < 0 && errno != EINTR)
		return -errno;
	l->busy = true;
	serve_batch(l, batch, n > 0 ? n : 0);
	serve_always(l);
	l->busy = false;
	return 0;
}

int loop_run(struct loop *l)
{
	int r = 0;

	l->stop = false;
	while (!l->stop && r == 0)
		r = loop_once(l, -1);
	return r;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}

static void timer_ready(struct source *s, uint32_t events)
{
	struct timer *t = container_of(s, struct timer, src);
	uint64_t n;

	/* EAGAIN: set anew since it expired */
	if (read(s->fd, &n, sizeof(n)) == (ssize_t)sizeof(n))
		t->fn(t);
}

int loop_timer_add(struct loop *l, struct timer *t, void (*fn)(struct timer *t))
{
	scoped_fd fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int r;

	*t = (struct timer){ .fn = fn };
	if (fd < 0)
		return -errno;
	r = loop_add(l, &t->src, fd, EPOLLIN, timer_ready);
	if (r < 0)
		return r;
	(void)take_fd(&fd); /* owned by t->src from here on */
	return 0;
}

int loop_timer_set(struct timer *t, uint64_t ms)
{
	struct itimerspec when = {
		.it_value = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 },
	};

	if (!t->src.loop)
		return -ENOENT;
	return timerfd_settime(t->src.fd, 0, &when, NULL) < 0 ? -errno : 0;
}

void loop_timer_del(struct timer *t)
{
	if (!t->src.loop)
		return;
	loop_del(&t->src);
	scope_close(&t->src.fd);
	t->src.fd = -1;
}
