/* fuzz_mux.c - one end of the channel against a peer that writes what it likes.
 * The input is a list of steps: mostly whole frames with plausible numbers, sometimes raw bytes, and
 * openings and closings of streams on our side. Promises: no memory error, no stream beyond the limits,
 * at most one window kept a stream, `broken` is reported at most once and nothing after it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "fuzz.h"
#include "wire/mux.h"

struct seen {
	unsigned broken;
};

static void on_message(struct mux *m, enum msg_type type, uint32_t id, const uint8_t *p, size_t n)
{
	struct seen *s = m->arg;

	(void)id;
	FUZZ_ASSERT(!s->broken && n <= MSG_MAX && type != MSG_DATA && type != MSG_EOF && type != MSG_CREDIT &&
		    type != MSG_CLOSED);
	for (size_t i = 0; i < n; i++)
		*(volatile const uint8_t *)&p[i]; /* every byte is readable */
}

static void on_end(struct mux *m, uint32_t id, enum mux_end how)
{
	FUZZ_ASSERT(!mux_has(m, id) && (how == MUX_DONE || how == MUX_GONE));
}

static void on_broken(struct mux *m, const struct err *why)
{
	struct seen *s = m->arg;

	FUZZ_ASSERT(s->broken++ == 0 && why->code < 0);
}

static const struct mux_ops ops = { .message = on_message, .stream_end = on_end, .broken = on_broken };

static void check(const struct mux *m)
{
	size_t n = 0;

	for (const struct mux_stream *s = m->streams; s; s = s->next, n++)
		FUZZ_ASSERT(s->credit <= MUX_WINDOW && s->ring.len <= MUX_WINDOW &&
			    s->ungranted <= MUX_WINDOW);
	FUZZ_ASSERT(n == m->n_streams && n <= MUX_STREAMS);
	FUZZ_ASSERT(m->in.len <= MUX_HDR + MSG_MAX + 65536);
}

static void put_frame(struct fuzz_in *in, struct str *to)
{
	static const uint16_t types[] = { MSG_DATA,    MSG_EOF,      MSG_CREDIT,   MSG_CLOSED,
					  MSG_A_READY, MSG_A_RESULT, MSG_A_EXITED, 0xffff };
	uint16_t type = types[fuzz_below(in, ARRAY_LEN(types) - 1)];
	uint32_t id = (uint32_t)fuzz_below(in, 5);
	size_t n = type == MSG_CREDIT  ? 4
		   : fuzz_below(in, 3) ? fuzz_below(in, 40)
				       : fuzz_below(in, MUX_CHUNK + 1);
	bool odd = fuzz_below(in, 31) == 31; /* a rare wrong header */

	buf_put_u32(to, odd ? (uint32_t)fuzz_uint(in, 4) : MUX_MAGIC);
	buf_put_u16(to, type);
	buf_put_u16(to, odd ? (uint16_t)fuzz_uint(in, 2) : 0);
	buf_put_u32(to, id);
	buf_put_u32(to, odd ? (uint32_t)fuzz_uint(in, 4) : (uint32_t)n);
	if (type == MSG_CREDIT) {
		buf_put_u32(to, (uint32_t)fuzz_below(in, MUX_WINDOW));
		return;
	}
	for (size_t i = 0; i < n; i++)
		str_addc(to, (char)i);
}

static void open_stream(struct mux *m, uint32_t id, bool sink)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	int r = sink ? mux_sink(m, id, fd) : mux_source(m, id, fd);

	FUZZ_ASSERT(r == 0 || r == -EEXIST || r == -EPIPE || r == -EAGAIN);
}

static void step(struct mux *m, struct loop *l, int peer, struct fuzz_in *in)
{
	struct str out = { 0 };
	uint8_t sink[4096];
	size_t what = fuzz_below(in, 9);

	if (what == 0)
		open_stream(m, (uint32_t)fuzz_below(in, 5), true);
	else if (what == 1)
		open_stream(m, (uint32_t)fuzz_below(in, 5), false);
	else if (what == 2)
		mux_close(m, (uint32_t)fuzz_below(in, 5));
	else if (what == 3)
		(void)mux_drain_source(m, (uint32_t)fuzz_below(in, 5));
	else if (what == 4)
		buf_put_u32(&out, (uint32_t)fuzz_uint(in, 4));
	else
		put_frame(in, &out);
	if (out.len && write(peer, out.p, out.len) < 0)
		FUZZ_ASSERT(errno == EAGAIN || errno == EPIPE);
	str_fini(&out);
	FUZZ_ASSERT(loop_once(l, 0) == 0);
	while (read(peer, sink, sizeof sink) == (ssize_t)sizeof sink)
		;
	check(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct seen seen = { 0 };
	struct loop l;
	struct mux m;
	int pair[2];

	(void)signal(SIGPIPE, SIG_IGN);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0 || loop_init(&l) < 0)
		abort();
	FUZZ_ASSERT(mux_init(&m, &l, pair[0], fuzz_below(&in, 1) ? MSG_A_READY : 0, &ops, &seen) == 0);
	for (unsigned i = 0; i < 200 && in.left; i++)
		step(&m, &l, pair[1], &in);
	mux_fini(&m);
	loop_fini(&l);
	(void)close(pair[0]);
	(void)close(pair[1]);
	return 0;
}
