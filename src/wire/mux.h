/* mux.h - many streams and messages over one byte stream, with credit-based flow control.
 *
 * Both ends of the agent channel (a virtio-console port: a byte stream without message borders) run
 * this code. A frame is a 16-byte header
 *     magic u32 "COR1" | type u16 | zero u16 | id u32 | length u32        (little-endian)
 * and `length` bytes. Types below are enum msg_type.
 *
 * Streams. A stream carries bytes one way. The sending end binds it to a source fd (mux_source),
 * the receiving end to a sink fd (mux_sink). A sender starts with MUX_WINDOW bytes of credit; the
 * receiver gives back what it has written to its sink. So a blocked reader holds at most MUX_WINDOW
 * bytes here and stalls nobody else; a source is read only while there is credit and the channel's
 * output is below MUX_OUT_MAX. Messages are never held back by streams.
 *
 * Start. Until the first MSG_A_HELLO (agent) or MSG_A_READY with the right nonce (host) everything is
 * stale (a console's noise, a clone's past) and is skipped byte by byte until a whole such frame
 * stands there: mux_expect().
 *
 * Trust. Header, length, stream numbers, credit sums: anything outside the contract ends the
 * channel (on_broken), never memory. Data for an unknown stream is dropped (it may have just closed).
 *
 * Thread: the loop's. Memory: a sink allocates its MUX_WINDOW ring when it is opened. */
#ifndef WIRE_MUX_H
#define WIRE_MUX_H

#include "base/err.h"
#include "base/loop.h"
#include "base/ring.h"
#include "base/str.h"
#include "wire/msg.h"

#define MUX_MAGIC   0x31524f43u
#define MUX_HDR     16u
#define MUX_WINDOW  (128u << 10)
#define MUX_CHUNK   (16u << 10) /* longest MSG_DATA */
#define MUX_OUT_MAX (64u << 10) /* sources pause above it */
#define MUX_STREAMS 512u        /* per end */

struct mux;

enum mux_end {
	MUX_DONE, /* source: EOF read and sent; sink: EOF received and everything written */
	MUX_GONE, /* the other side takes nothing more (source), or our fd failed (sink) */
};

struct mux_ops {
	/* A message of agent or host arrived; payload is borrowed for the call. */
	void (*message)(struct mux *m, enum msg_type type, uint32_t id, const uint8_t *p, size_t n);
	/* A stream ended. The mux has closed its fd and forgotten it. */
	void (*stream_end)(struct mux *m, uint32_t id, enum mux_end how);
	/* Called before bytes are written to a sink fd that is a terminal; may be NULL. */
	void (*tty_write)(struct mux *m, uint32_t id, int fd);
	/* The channel is unusable: end of file, I/O error or a broken frame. Called once. */
	void (*broken)(struct mux *m, const struct err *why);
};

struct mux_stream {
	struct source src;
	int fd; /* owned: where bytes come from or go to */
	struct mux *mux;
	uint32_t id;
	bool is_sink, is_tty;
	bool eof;           /* source: to be sent; sink: received */
	uint32_t credit;    /* source: bytes that may be sent */
	uint32_t ungranted; /* sink: bytes written and not yet given back */
	struct ring ring;   /* sink */
	struct mux_stream *next;
};

struct mux {
	struct loop *loop;
	const struct mux_ops *ops;
	void *arg; /* the owner's */
	struct source ch;
	struct str out; /* bytes to the channel; out_off of them are sent */
	size_t out_off;
	struct str in; /* an incomplete frame */
	struct mux_stream *streams;
	size_t n_streams;
	enum msg_type expect; /* not 0: skip until a frame of this type */
	bool broken;
	bool in_pump; /* mux_pump() is running: its caller serves what comes up meanwhile */
};

/* `fd`: the channel, borrowed, set non-blocking. expect: see "Start", 0 = nothing is stale. */
int must_check mux_init(struct mux *m, struct loop *l, int fd, enum msg_type expect,
			const struct mux_ops *ops, void *arg);
/* From the next frame on as after mux_init(): skips until a frame of this type. No stream may be open. */
void mux_expect(struct mux *m, enum msg_type type);
void mux_fini(struct mux *m); /* closes all stream fds; idempotent */

/* Queues a message. rec may be NULL (no payload). -E2BIG, -ENOMEM, -EPIPE (broken). */
int must_check mux_send(struct mux *m, enum msg_type type, uint32_t id, const struct pack_rec *rec,
			const void *v);

/* Binds stream `id` to an fd it reads from / writes to; takes the fd in every case, also on error.
 * -EEXIST, -EAGAIN (too many), -ENOMEM. */
int must_check mux_source(struct mux *m, uint32_t id, int fd);
int must_check mux_sink(struct mux *m, uint32_t id, int fd);
/* A sink whose fd comes later: until then up to MUX_WINDOW bytes wait for it. Errors as above. */
int must_check mux_sink_late(struct mux *m, uint32_t id);
/* Gives such a sink its fd, which is taken in every case. -ENOENT: the stream has ended (its end of
 * file came) or is no late sink. */
int must_check mux_sink_fd(struct mux *m, uint32_t id, int fd);
/* Ends one early: a source sends EOF after what it has read, a sink reports CLOSED. No stream_end. */
void mux_close(struct mux *m, uint32_t id);
/* Reads whatever the source has right now, as far as credit allows, and queues it: called before
 * MSG_A_EXITED so that output precedes the exit. Returns true when nothing is left to read. */
bool mux_drain_source(struct mux *m, uint32_t id);
/* True while the stream exists. */
bool mux_has(const struct mux *m, uint32_t id);
/* True when nothing waits to be written to the channel. */
bool mux_idle(const struct mux *m);

#endif
