/* mux.c - frames, streams and credit over one byte stream; see mux.h for the contract.
 *
 * Called by: the monitor (host end) and the agent (guest end), on their loop's thread.
 * Trusts: its own caller. Distrusts: every byte of the channel; a broken frame ends the channel.
 * Never: blocks, reads a source without credit, or holds more than MUX_WINDOW bytes a stream. */
#include "wire/mux.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/num.h"

static void mux_pump(struct mux *m);

static void mux_break(struct mux *m, int code, const char *what)
{
	struct err why;

	if (m->broken)
		return;
	m->broken = true;
	loop_del(&m->ch);
	(void)err_set(&why, code, "%s", what);
	m->ops->broken(m, &why);
}

static struct mux_stream *find(const struct mux *m, uint32_t id)
{
	for (struct mux_stream *s = m->streams; s; s = s->next)
		if (s->id == id)
			return s;
	return NULL;
}

bool mux_has(const struct mux *m, uint32_t id)
{
	return find(m, id) != NULL;
}

bool mux_idle(const struct mux *m)
{
	return m->out.len == m->out_off;
}

static void put_header(struct mux *m, enum msg_type type, uint32_t id, uint32_t len)
{
	buf_put_u32(&m->out, MUX_MAGIC);
	buf_put_u16(&m->out, (uint16_t)type);
	buf_put_u16(&m->out, 0);
	buf_put_u32(&m->out, id);
	buf_put_u32(&m->out, len);
}

static void put_frame(struct mux *m, enum msg_type type, uint32_t id, const void *p, uint32_t n)
{
	put_header(m, type, id, n);
	str_addn(&m->out, p, n);
}

static void put_credit(struct mux *m, struct mux_stream *s)
{
	uint8_t v[4];

	for (unsigned i = 0; i < 4; i++)
		v[i] = (uint8_t)(s->ungranted >> (8 * i));
	put_frame(m, MSG_CREDIT, s->id, v, sizeof v);
	s->ungranted = 0;
}

/* Forgets a stream and closes its fd; the caller reports its end. */
static void forget(struct mux_stream *s)
{
	struct mux *m = s->mux;

	loop_del(&s->src);
	scope_close(&s->fd);
	for (struct mux_stream **p = &m->streams; *p; p = &(*p)->next) {
		if (*p == s) {
			*p = s->next;
			m->n_streams--;
			break;
		}
	}
	ring_fini(&s->ring);
	free(s);
}

static void end_stream(struct mux_stream *s, enum mux_end how)
{
	struct mux *m = s->mux;
	uint32_t id = s->id;

	forget(s);
	m->ops->stream_end(m, id, how);
}

/* Sources are read only while there is credit and the channel is not behind. */
static bool may_read(const struct mux_stream *s)
{
	return !s->eof && s->credit > 0 && s->mux->out.len - s->mux->out_off < MUX_OUT_MAX;
}

static void source_ready(struct source *src, uint32_t events);
static void sink_ready(struct source *src, uint32_t events);

/* Watches the stream's fd for `want`; one that left the loop (see source_ready) comes back. */
static int watch(struct mux_stream *s, uint32_t want)
{
	if (s->fd < 0)
		return 0; /* a late sink */
	if (s->src.loop)
		return loop_mod(&s->src, want);
	return want ? loop_add(s->mux->loop, &s->src, s->fd, want, s->is_sink ? sink_ready : source_ready)
		    : 0;
}

static void update_interest(struct mux *m)
{
	for (struct mux_stream *s = m->streams; s; s = s->next) {
		if (watch(s, s->is_sink ? (s->ring.len ? EPOLLOUT : 0) : (may_read(s) ? EPOLLIN : 0)) < 0) {
			mux_break(m, -EIO, "cannot watch a stream");
			return;
		}
	}
	if (!m->broken && loop_mod(&m->ch, EPOLLIN | (mux_idle(m) ? 0 : EPOLLOUT)) < 0)
		mux_break(m, -EIO, "cannot watch the channel");
}

/* Writes what is queued as far as the channel takes it now. */
static void flush_channel(struct mux *m)
{
	ssize_t n;

	if (m->out.oom) {
		mux_break(m, -ENOMEM, "out of memory for the channel");
		return;
	}
	while (!m->broken && m->out_off < m->out.len) {
		n = write(m->ch.fd, m->out.p + m->out_off, m->out.len - m->out_off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			mux_break(m, -errno, "write to the channel");
			return;
		}
		m->out_off += (size_t)n;
	}
	if (m->out_off == m->out.len) {
		str_reset(&m->out);
		m->out_off = 0;
	} else if (m->out_off > MUX_OUT_MAX) {
		memmove(m->out.p, m->out.p + m->out_off, m->out.len - m->out_off);
		m->out.len -= m->out_off;
		m->out_off = 0;
	}
}

/* Reads one chunk of a source into a frame. 1 = read something, 0 = nothing now, -1 = it ended. */
static int read_chunk(struct mux_stream *s)
{
	uint8_t chunk[MUX_CHUNK];
	size_t want = (size_t)num_min(s->credit, sizeof chunk);
	ssize_t n;

	n = read(s->fd, chunk, want);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) /* end of file; a pty whose other side is gone says EIO, which is the same */
		return -1;
	put_frame(s->mux, MSG_DATA, s->id, chunk, (uint32_t)n);
	s->credit -= (uint32_t)n;
	return 1;
}

static void source_finish(struct mux_stream *s)
{
	put_frame(s->mux, MSG_EOF, s->id, NULL, 0);
	end_stream(s, MUX_DONE);
}

static void source_ready(struct source *src, uint32_t events)
{
	struct mux_stream *s = container_of(src, struct mux_stream, src);
	struct mux *m = s->mux;

	if (!may_read(s)) {
		/* Hang-up is reported even without interest: what is left is read when credit comes. A
		 * level-triggered hang-up would spin until then, so the fd leaves the loop. */
		if (events & (EPOLLHUP | EPOLLERR))
			loop_del(&s->src);
	} else if (read_chunk(s) < 0) {
		source_finish(s);
	}
	mux_pump(m);
}

bool mux_drain_source(struct mux *m, uint32_t id)
{
	struct mux_stream *s = find(m, id);
	int r = 1;

	if (!s || s->is_sink)
		return true;
	while (r > 0 && s->credit > 0)
		r = read_chunk(s);
	if (r < 0)
		source_finish(s);
	mux_pump(m);
	return r <= 0;
}

/* Writes what the ring holds; false when the sink's fd failed. */
static bool sink_write(struct mux_stream *s)
{
	struct iovec iov[2];
	ssize_t n;
	int pieces;

	while (s->fd >= 0 && s->ring.len > 0) {
		if (s->is_tty && s->mux->ops->tty_write)
			s->mux->ops->tty_write(s->mux, s->id, s->fd);
		pieces = ring_peek(&s->ring, iov);
		n = writev(s->fd, iov, pieces);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0)
			return false;
		ring_drop(&s->ring, (size_t)n);
		s->ungranted += (uint32_t)n;
		if (s->ungranted >= MUX_WINDOW / 2)
			put_credit(s->mux, s);
	}
	return true;
}

/* Serves a sink: writes, and ends it when everything is written or its fd failed. */
static void sink_serve(struct mux_stream *s)
{
	if (!sink_write(s)) {
		put_frame(s->mux, MSG_CLOSED, s->id, NULL, 0);
		end_stream(s, MUX_GONE);
	} else if (s->eof && s->ring.len == 0) {
		end_stream(s, MUX_DONE);
	}
}

static void sink_ready(struct source *src, uint32_t events)
{
	struct mux_stream *s = container_of(src, struct mux_stream, src);
	struct mux *m = s->mux;

	if (s->ring.len == 0 && (events & (EPOLLERR | EPOLLHUP))) {
		/* The reader is gone: say so now, the writer may be waiting to be told. */
		put_frame(m, MSG_CLOSED, s->id, NULL, 0);
		end_stream(s, MUX_GONE);
	} else {
		sink_serve(s);
	}
	mux_pump(m);
}

/* Puts the stream's fd into the loop. */
static int stream_attach(struct mux_stream *s, int fd)
{
	int flags = fcntl(fd, F_GETFL), r;

	/* Blocking or not is a property of the open file, which others may share: a source is read only
	 * when it is readable, so it may stay as it is; a sink must not block, whoever shares it. */
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	r = loop_add(s->mux->loop, &s->src, fd, 0, s->is_sink ? sink_ready : source_ready);
	if (r < 0)
		return r;
	s->fd = fd;
	s->is_tty = isatty(fd) != 0;
	return 0;
}

/* fd -1: a late sink. */
static int stream_add(struct mux *m, uint32_t id, int fd, bool is_sink)
{
	scoped_fd owned = fd;
	struct mux_stream *s;
	int r;

	if (m->broken)
		return -EPIPE;
	if (find(m, id))
		return -EEXIST;
	if (m->n_streams >= MUX_STREAMS)
		return -EAGAIN;
	s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	*s = (struct mux_stream){ .mux = m, .id = id, .fd = -1, .is_sink = is_sink, .credit = MUX_WINDOW };
	r = is_sink ? ring_init(&s->ring, MUX_WINDOW) : 0;
	if (r == 0 && fd >= 0)
		r = stream_attach(s, fd);
	if (r < 0) {
		ring_fini(&s->ring);
		free(s);
		return r;
	}
	(void)take_fd(&owned);
	s->next = m->streams;
	m->streams = s;
	m->n_streams++;
	update_interest(m);
	return 0;
}

int mux_source(struct mux *m, uint32_t id, int fd)
{
	return fd < 0 ? -EBADF : stream_add(m, id, fd, false);
}

int mux_sink(struct mux *m, uint32_t id, int fd)
{
	return fd < 0 ? -EBADF : stream_add(m, id, fd, true);
}

int mux_sink_late(struct mux *m, uint32_t id)
{
	return stream_add(m, id, -1, true);
}

int mux_sink_fd(struct mux *m, uint32_t id, int fd)
{
	scoped_fd owned = fd;
	struct mux_stream *s = find(m, id);
	int r;

	if (!s || !s->is_sink || s->fd >= 0)
		return -ENOENT;
	r = stream_attach(s, fd);
	if (r < 0)
		return r;
	(void)take_fd(&owned);
	sink_serve(s);
	mux_pump(m);
	return 0;
}

void mux_close(struct mux *m, uint32_t id)
{
	struct mux_stream *s = find(m, id);

	if (!s)
		return;
	put_frame(m, s->is_sink ? MSG_CLOSED : MSG_EOF, id, NULL, 0);
	forget(s);
	mux_pump(m);
}

int mux_send(struct mux *m, enum msg_type type, uint32_t id, const struct pack_rec *rec, const void *v)
{
	scoped_str body = { 0 };
	int r = 0;

	if (m->broken)
		return -EPIPE;
	if (rec)
		r = pack_encode(rec, v, &body);
	if (r < 0)
		return r;
	if (body.len > MSG_MAX)
		return -E2BIG;
	put_frame(m, type, id, body.p, (uint32_t)body.len);
	mux_pump(m);
	return m->broken ? -EPIPE : 0;
}

/* Data for a stream: kept in its ring, of which the sender knows the size. */
static void on_data(struct mux *m, uint32_t id, const uint8_t *p, size_t n)
{
	struct mux_stream *s = find(m, id);

	if (!s)
		return; /* closed here while it was on its way */
	if (!s->is_sink || s->eof || n > MUX_CHUNK || n > ring_room(&s->ring)) {
		mux_break(m, -EPROTO, "the other side sent data beyond its credit");
		return;
	}
	(void)ring_put(&s->ring, p, n);
	sink_serve(s);
}

static void on_credit(struct mux *m, uint32_t id, const uint8_t *p, size_t n)
{
	struct mux_stream *s = find(m, id);
	uint32_t more;

	if (n != 4) {
		mux_break(m, -EPROTO, "malformed credit");
		return;
	}
	if (!s)
		return;
	more = buf_ld32(p);
	if (s->is_sink || more > MUX_WINDOW - (uint32_t)num_min(s->credit, MUX_WINDOW)) {
		mux_break(m, -EPROTO, "the other side gave more credit than was used");
		return;
	}
	s->credit += more;
}

static void on_eof(struct mux *m, uint32_t id)
{
	struct mux_stream *s = find(m, id);

	if (!s)
		return;
	if (!s->is_sink) {
		mux_break(m, -EPROTO, "end of file for a stream that goes the other way");
		return;
	}
	s->eof = true;
	sink_serve(s);
}

static void on_frame(struct mux *m, enum msg_type type, uint32_t id, const uint8_t *p, size_t n)
{
	struct mux_stream *s;

	/* The mux's own types; all others are the owner's. */
	if (type == MSG_DATA) {
		on_data(m, id, p, n);
	} else if (type == MSG_CREDIT) {
		on_credit(m, id, p, n);
	} else if (type == MSG_EOF) {
		on_eof(m, id);
	} else if (type == MSG_CLOSED) {
		s = find(m, id);
		if (s && !s->is_sink)
			end_stream(s, MUX_GONE);
	} else {
		m->ops->message(m, type, id, p, n);
	}
}

/* Looks at the front of the input. Returns the length of a whole frame there, 0 when more bytes are
 * needed, or -1 when no frame can stand there. */
static ssize_t frame_length(const struct mux *m, const uint8_t *p, size_t n)
{
	uint32_t len;
	uint16_t type;

	for (size_t i = 0; i < n && i < 4; i++)
		if (p[i] != (uint8_t)(MUX_MAGIC >> (8 * i)))
			return -1;
	if (n < MUX_HDR)
		return 0;
	type = buf_ld16(p + 4);
	len = buf_ld32(p + 12);
	if (len > MSG_MAX || buf_ld16(p + 6) != 0)
		return -1;
	if (m->expect && (type != m->expect || len > 4096))
		return -1;
	return n - MUX_HDR < len ? 0 : (ssize_t)(MUX_HDR + len);
}

/* Serves every whole frame of the input; keeps the rest. */
static void parse_input(struct mux *m)
{
	const uint8_t *p;
	size_t off = 0;
	ssize_t n;

	while (!m->broken && off < m->in.len) {
		p = (const uint8_t *)m->in.p + off;
		n = frame_length(m, p, m->in.len - off);
		if (n == 0)
			break;
		if (n < 0 && m->expect) {
			off++; /* stale bytes before the first frame */
			continue;
		}
		if (n < 0) {
			mux_break(m, -EPROTO, "broken frame");
			return;
		}
		m->expect = 0;
		on_frame(m, (enum msg_type)buf_ld16(p + 4), buf_ld32(p + 8), p + MUX_HDR,
			 (size_t)n - MUX_HDR);
		off += (size_t)n;
	}
	if (m->broken)
		return;
	if (off > 0 && off < m->in.len)
		memmove(m->in.p, m->in.p + off, m->in.len - off);
	m->in.len -= off;
}

static void channel_read(struct mux *m)
{
	not_cleared uint8_t chunk[65536];
	ssize_t n;

	n = read(m->ch.fd, chunk, sizeof chunk);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		mux_break(m, n == 0 ? -EPIPE : -errno, "the channel was closed");
		return;
	}
	str_addn(&m->in, chunk, (size_t)n);
	if (m->in.oom)
		mux_break(m, -ENOMEM, "out of memory for the channel");
	else
		parse_input(m);
}

static void channel_ready(struct source *src, uint32_t events)
{
	struct mux *m = container_of(src, struct mux, ch);

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		channel_read(m);
	if (!m->broken)
		mux_pump(m);
}

/* After anything changed: send what is queued and set what is watched. Not re-entrant: callbacks
 * that send more are served by the outer call. */
static void mux_pump(struct mux *m)
{
	if (m->broken || m->in_pump)
		return;
	m->in_pump = true;
	flush_channel(m);
	if (!m->broken)
		update_interest(m);
	m->in_pump = false;
}

int mux_init(struct mux *m, struct loop *l, int fd, enum msg_type expect, const struct mux_ops *ops,
	     void *arg)
{
	int flags = fcntl(fd, F_GETFL);

	*m = (struct mux){ .loop = l, .ops = ops, .arg = arg, .expect = expect };
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return loop_add(l, &m->ch, fd, EPOLLIN, channel_ready);
}

void mux_expect(struct mux *m, enum msg_type type)
{
	m->expect = type;
}

void mux_fini(struct mux *m)
{
	if (!m->ops)
		return;
	while (m->streams)
		forget(m->streams);
	loop_del(&m->ch);
	str_fini(&m->out);
	str_fini(&m->in);
	m->ops = NULL;
	m->broken = true; /* what is sent from now on goes nowhere */
}
