/* agent.c - the agent's loop and its messages; see agent.h. */
#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <time.h>

#include "agent/ahead.h"
#include "agent/boot.h"
#include "agent/ctr.h"
#include "agent/layers.h"
#include "agent/proc.h"
#include "agent/stats.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

#define NS_PER_S      1000000000
#define REQUEST_USUAL 16384       /* what most requests decode to */
#define REQUEST_MAX   (16u << 20) /* a decoded request: MSG_MAX and room for its tables */
/* mmap: no cached data beyond what is mapped, so that the host's changes are seen. client: owners
 * are those of the process, checked here. */
#define SHARE_OPTIONS_9P "trans=virtio,version=9p2000.L,msize=512000,cache=mmap,access=client"
#define SHARE_TAG        "cor"
#define ENTROPY_MIN      32 /* bytes: a full seed */

void agent_send(struct agent *a, enum msg_type type, uint32_t id, const struct pack_rec *rec, const void *v)
{
	int r = mux_send(&a->mux, type, id, rec, v);

	if (r < 0 && r != -EPIPE)
		log_error("send %s: %s", msg_name(type), strerror(-r));
}

void agent_answer(struct agent *a, uint32_t id, const struct err *e)
{
	struct msg_result m = { 0 };
	struct err copy;

	if (e && e->code) {
		copy = *e;
		m.code = copy.code;
		m.text = copy.msg;
	}
	agent_send(a, MSG_A_RESULT, id, &rec_result, &m);
}

static void mark_at(struct agent *a, const char *name, uint64_t ns)
{
	char text[48];
	struct msg_mark m = { .name = text, .boot_ns = ns };

	if (!a->marks || ns == 0)
		return;
	(void)snprintf(text, sizeof text, "%s", name); /* our own short names */
	agent_send(a, MSG_A_MARK, 0, &rec_mark, &m);
}

void agent_mark(struct agent *a, const char *name)
{
	mark_at(a, name, boot_now_ns());
}

/* The guest's clock and entropy are the host's: it has none of its own worth the name. */
static void set_clock(const struct msg_hello *m)
{
	struct timespec t = { .tv_sec = (time_t)(m->realtime_ns / NS_PER_S),
			      .tv_nsec = (long)(m->realtime_ns % NS_PER_S) };

	if (m->realtime_ns <= 0 || clock_settime(CLOCK_REALTIME, &t) < 0)
		log_warn("the clock was not set");
}

/* A clone has its template's pool: it must be another one before anything draws from it. Bytes that were
 * drawn in advance are dropped by the reseed. */
static int add_entropy(const struct msg_hello *m, struct err *e)
{
	struct {
		int bits, size;
		uint8_t bytes[512];
	} pool = { 0 };
	scoped_fd fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

	if (m->entropy.n < ENTROPY_MIN || m->entropy.n > sizeof pool.bytes)
		return err_set(e, -EINVAL, "entropy from the host: %zu bytes", (size_t)m->entropy.n);
	memcpy(pool.bytes, m->entropy.p, m->entropy.n);
	pool.size = (int)m->entropy.n;
	pool.bits = pool.size * 8;
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		return err_set(e, -errno, "entropy from the host was not taken: %m");
	return 0;
}

static int on_hello(struct agent *a, uint32_t id, const void *v, struct err *e)
{
	const struct msg_hello *m = v;
	uint64_t woken = boot_now_ns();
	struct utsname u = { 0 };
	struct msg_ready ready = { .version = PROTO_VERSION, .nonce = m->nonce, .boot_ns = a->conf.boot_ns };

	/* A wrong version is for the host to judge: it gets ours. */
	if (m->version == PROTO_VERSION) {
		if (!a->conf.is_test) {
			set_clock(m);
			if (add_entropy(m, e) < 0) {
				/* Nothing may run with another's random numbers: the console says why. */
				log_error("%s", e->msg);
				a->stop = true;
				return e->code;
			}
		}
		a->greeted = true;
		a->marks = m->marks;
		a->rehearsal = m->rehearsal;
	}
	(void)uname(&u); /* can't fail */
	ready.release = u.release;
	ready.ready_ns = boot_now_ns();
	agent_send(a, MSG_A_READY, id, &rec_ready, &ready);
	mark_at(a, "hello", woken);
	mark_at(a, "boot-mounts", a->conf.times.mounts);
	mark_at(a, "boot-modules", a->conf.times.modules);
	mark_at(a, "boot-settings", a->conf.times.settings);
	mark_at(a, "boot-parked", a->conf.times.parked);
	mark_at(a, "boot-channel", a->conf.times.channel);
	return 1;
}

static int mount_share(struct agent *a, struct err *e)
{
	if (a->share_mounted || a->conf.is_test)
		return 0;
	if (mount(SHARE_TAG, a->conf.share, a->conf.is_virtiofs ? "virtiofs" : "9p", 0,
		  a->conf.is_virtiofs ? NULL : SHARE_OPTIONS_9P) < 0)
		return err_set(e, -errno, "mount the share \"" SHARE_TAG "\" in the guest: %m");
	a->share_mounted = true;
	agent_mark(a, "share-mounted");
	return 0;
}

void agent_flush_share(struct agent *a)
{
	scoped_fd fd = -1;

	if (!a->share_mounted)
		return;
	fd = open(a->conf.share, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd) < 0)
		log_warn("flush the share: %s", strerror(errno));
	agent_mark(a, "share-flushed");
}

/* Over the share's empty root, or one in its place: everything else finds it there as it finds any other. */
static int mount_layers(struct agent *a, const struct msg_ctr *m, struct err *e)
{
	scoped_free char *on = str_fmt("%s/rootfs", a->conf.share);
	int r = on ? 0 : -ENOMEM;

	if (r == 0 && !a->share_mounted)
		r = io_mkdirs(on, 0755);
	r = r < 0 ? err_set(e, r, "the root's place: %m") : layers_mount(&a->conf.layers, m, on, e);
	if (r == 0) {
		a->layers_mounted = true;
		agent_mark(a, "images-mounted");
	}
	return r;
}

/* A container whose root is made of images has nothing in the share but its bind mounts. */
static bool needs_share(const struct msg_ctr *m)
{
	for (size_t i = 0; i < m->mounts.n; i++)
		if (m->mounts.p[i].kind == MOUNT_SHARE)
			return true;
	return m->layers.n == 0;
}

/* Handlers: 1 = answered or to be answered later, 0 = success, -errno with e set. */
static int on_create(struct agent *a, uint32_t id, const void *v, struct err *e)
{
	const struct msg_ctr *m = v;
	int r;

	r = needs_share(m) ? mount_share(a, e) : 0;
	if (r == 0 && m->layers.n > 0)
		r = mount_layers(a, m, e);
	if (r == 0)
		r = ctr_create(a, id, m, e);
	return r < 0 ? r : 1;
}

static int on_start(struct agent *a, uint32_t id, const void *v unused_arg, struct err *e)
{
	struct proc *p = proc_find(a, PROC_INIT);
	int r;

	r = p ? proc_start(p, id, e) : err_set(e, -ESRCH, "container not running");
	if (r == 0 && a->share_mounted && a->conf.is_virtiofs)
		may_fail(loop_timer_set(&a->ahead,
					AHEAD_AFTER_MS)); /* files are only read in smaller pieces */
	return r < 0 ? r : 1;
}

static void on_ahead(struct timer *t)
{
	struct agent *a = container_of(t, struct agent, ahead);
	struct err e = { 0 };

	if (ahead_more(a->conf.share, &e) < 0)
		log_warn("read-ahead: %s", e.msg);
}

static int on_exec(struct agent *a, uint32_t id, const void *v, struct err *e)
{
	int r = ctr_exec(a, id, v, e);

	return r < 0 ? r : 1;
}

static int on_signal(struct agent *a, uint32_t id unused_arg, const void *v, struct err *e)
{
	return ctr_signal(a, v, e);
}

static int on_resize(struct agent *a, uint32_t id unused_arg, const void *v, struct err *e unused_arg)
{
	const struct msg_resize *m = v;
	struct proc *p = proc_find(a, m->proc);

	if (p)
		proc_resize(p, m->rows, m->cols);
	return 1;
}

static int on_update(struct agent *a, uint32_t id unused_arg, const void *v, struct err *e)
{
	return ctr_update(a, v, e);
}

static int on_ps(struct agent *a, uint32_t id, const void *v unused_arg, struct err *e)
{
	int r = stats_send_ps(a, id, e);

	return r < 0 ? r : 1;
}

static int on_stats(struct agent *a, uint32_t id, const void *v unused_arg, struct err *e)
{
	int r = stats_send(a, id, e);

	return r < 0 ? r : 1;
}

static int on_shutdown(struct agent *a, uint32_t id unused_arg, const void *v unused_arg,
		       struct err *e unused_arg)
{
	a->stop = true;
	return 1;
}

struct handler {
	enum msg_type type;
	const struct pack_rec *rec; /* NULL = no record */
	size_t size;
	int (*fn)(struct agent *a, uint32_t id, const void *v, struct err *e);
};

static const struct handler handlers[] = {
	{ MSG_A_HELLO, &rec_hello, sizeof(struct msg_hello), on_hello },
	{ MSG_A_CREATE, &rec_ctr, sizeof(struct msg_ctr), on_create },
	{ MSG_A_START, &rec_ref, sizeof(struct msg_ref), on_start },
	{ MSG_A_EXEC, &rec_exec, sizeof(struct msg_exec), on_exec },
	{ MSG_A_SIGNAL, &rec_signal, sizeof(struct msg_signal), on_signal },
	{ MSG_A_RESIZE, &rec_resize, sizeof(struct msg_resize), on_resize },
	{ MSG_A_UPDATE, &rec_update, sizeof(struct msg_update), on_update },
	{ MSG_A_PS, &rec_ref, sizeof(struct msg_ref), on_ps },
	{ MSG_A_STATS, &rec_ref, sizeof(struct msg_ref), on_stats },
	{ MSG_A_SHUTDOWN, NULL, 0, on_shutdown },
};

static const struct handler *find_handler(enum msg_type type)
{
	for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
		if (handlers[i].type == type)
			return &handlers[i];
	return NULL;
}

static int handle(struct agent *a, const struct handler *h, uint32_t id, const uint8_t *p, size_t n,
		  struct err *e)
{
	void *v = NULL;
	int r = 0;

	if (h->rec) {
		v = arena_alloc(&a->mem, h->size);
		r = v ? pack_decode(h->rec, p, n, &a->mem, v) : -ENOMEM;
		if (r < 0)
			return err_set(e, r, "%s: the request can't be read: %m", msg_name(h->type));
	}
	a->request = p;
	a->request_len = n;
	r = h->fn(a, id, v, e);
	a->request = NULL;
	return r;
}

static void on_message(struct mux *m, enum msg_type type, uint32_t id, const uint8_t *p, size_t n)
{
	struct agent *a = m->arg;
	const struct handler *h = find_handler(type);
	struct err e = { 0 };
	int r;

	if (!h)
		r = err_set(&e, -ENOSYS, "the agent doesn't know message %u", (unsigned)type);
	else if (!a->greeted && type != MSG_A_HELLO)
		r = err_set(&e, -EPROTO, "%s before HELLO", msg_name(type));
	else
		r = handle(a, h, id, p, n, &e);
	if (r <= 0)
		agent_answer(a, id, r < 0 ? &e : NULL);
	may_fail(arena_reset(&a->mem, REQUEST_USUAL)); /* without a block in hand it asks for one */
}

/* Exits are reported when output has ended: procs_settle() looks after each turn. */
static void on_stream_end(struct mux *m unused_arg, uint32_t id unused_arg, enum mux_end how unused_arg)
{
}

static void on_broken(struct mux *m, const struct err *why)
{
	struct agent *a = m->arg;

	log_error("agent channel: %s", why->msg);
	a->stop = true;
}

static const struct mux_ops mux_ops = {
	.message = on_message,
	.stream_end = on_stream_end,
	.broken = on_broken,
};

static void on_signals(struct source *src, uint32_t events unused_arg)
{
	struct agent *a = container_of(src, struct agent, signals);
	struct signalfd_siginfo info;

	/* One SIGCHLD may stand for many children: what ended is asked of waitpid. */
	while (read(a->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
		;
	procs_reap(a);
}

static int init_signals(struct agent *a)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	/* A reader that went away is an error of write(), not our end. */
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0 || sigaction(SIGPIPE, &ignore, NULL) < 0)
		return -errno;
	a->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (a->signal_fd < 0)
		return -errno;
	return loop_add(&a->loop, &a->signals, a->signal_fd, EPOLLIN, on_signals);
}

static int init(struct agent *a)
{
	int r;

	r = loop_init(&a->loop);
	if (r < 0)
		return r;
	r = init_signals(a);
	if (r < 0)
		return r;
	r = loop_timer_add(&a->loop, &a->ahead, on_ahead);
	if (r < 0)
		return r;
	a->own_pidns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (a->own_pidns < 0)
		return -errno;
	return mux_init(&a->mux, &a->loop, a->conf.channel, MSG_A_HELLO, &mux_ops, a);
}

int agent_run(const struct agent_conf *conf)
{
	struct agent *a = calloc(1, sizeof *a); /* too large for a stack; the only one */
	int r;

	if (!a)
		return -ENOMEM;
	*a = (struct agent){ .conf = *conf,
			     .signal_fd = -1,
			     .own_pidns = -1,
			     .ctr = { .cg = -1, .device_prog = -1, .oom_fd = -1 } };
	a->mem.max = REQUEST_MAX;
	may_fail(arena_reset(&a->mem, REQUEST_USUAL)); /* before the template is saved */
	procs_init(a);
	r = init(a);
	while (r == 0 && !a->stop) {
		r = loop_once(&a->loop, -1);
		procs_settle(a);
	}
	ctr_kill_rest(a);
	mux_fini(&a->mux);
	arena_fini(&a->mem);
	loop_timer_del(&a->ahead);
	loop_del(&a->signals);
	loop_fini(&a->loop);
	scope_close(&a->signal_fd);
	scope_close(&a->own_pidns);
	free(a);
	return r;
}
