/* test_mux.c - two ends of a channel in one process: messages, streams, credit, hostile frames. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/io.h"
#include "wire/mux.h"

#define BIG (3u << 20)

struct end {
	struct mux mux;
	int fd;
	unsigned messages, ends, broken;
	uint32_t last_id;
	enum mux_end how;
	struct err why;
};

static struct loop loop;
static struct end host, guest;

static void on_message(struct mux *m, enum msg_type type, uint32_t id, const uint8_t *p, size_t n)
{
	struct end *e = m->arg;

	(void)type;
	(void)p;
	(void)n;
	e->messages++;
	e->last_id = id;
}

static void on_end(struct mux *m, uint32_t id, enum mux_end how)
{
	struct end *e = m->arg;

	e->ends++;
	e->last_id = id;
	e->how = how;
}

static void on_broken(struct mux *m, const struct err *why)
{
	struct end *e = m->arg;

	e->broken++;
	e->why = *why;
}

static const struct mux_ops ops = { .message = on_message, .stream_end = on_end, .broken = on_broken };

static int setup(void **state)
{
	int pair[2];

	(void)state;
	memset(&host, 0, sizeof host);
	memset(&guest, 0, sizeof guest);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	host.fd = pair[0];
	guest.fd = pair[1];
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(mux_init(&host.mux, &loop, host.fd, 0, &ops, &host), 0);
	assert_int_equal(mux_init(&guest.mux, &loop, guest.fd, 0, &ops, &guest), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mux_fini(&host.mux);
	mux_fini(&guest.mux);
	mux_fini(&guest.mux); /* idempotent */
	loop_fini(&loop);
	(void)close(host.fd);
	(void)close(guest.fd);
	return 0;
}

/* Serves until nothing is ready any more. */
static void settle(void)
{
	struct epoll_event ev;

	while (epoll_wait(loop.epfd, &ev, 1, 0) > 0)
		assert_int_equal(loop_once(&loop, 0), 0);
}

static void make_pipe(int p[2])
{
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
}

static void a_message_arrives(void **state)
{
	struct msg_signal s = { .proc = 1, .sig = 15 };

	(void)state;
	assert_int_equal(mux_send(&host.mux, MSG_A_SIGNAL, 7, &rec_signal, &s), 0);
	settle();
	assert_int_equal(guest.messages, 1);
	assert_int_equal(guest.last_id, 7);
	assert_true(mux_idle(&host.mux));
}

static void bytes_go_through_and_end(void **state)
{
	int in[2], out[2];
	char buf[16];

	(void)state;
	make_pipe(in);
	make_pipe(out);
	assert_int_equal(mux_sink(&guest.mux, 5, out[1]), 0);
	assert_int_equal(mux_source(&host.mux, 5, in[0]), 0);
	assert_int_equal(write(in[1], "hello", 5), 5);
	(void)close(in[1]);
	settle();
	assert_int_equal(read(out[0], buf, sizeof buf), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(read(out[0], buf, sizeof buf), 0); /* the sink's fd is closed */
	assert_int_equal(host.ends, 1);
	assert_int_equal(guest.ends, 1);
	assert_int_equal(guest.how, MUX_DONE);
	assert_false(mux_has(&host.mux, 5));
	(void)close(out[0]);
}

/* A reader that does not read holds one window of its own stream, and nothing of another. */
static void a_blocked_reader_stalls_only_itself(void **state)
{
	static char zeros[65536];
	int in[2], out[2], in2[2], out2[2];
	size_t taken = 0;
	char buf[8];

	(void)state;
	make_pipe(in);
	make_pipe(out);
	make_pipe(in2);
	make_pipe(out2);
	assert_int_equal(fcntl(out[1], F_SETPIPE_SZ, 4096), 4096);
	assert_true(fcntl(in[1], F_SETFL, O_NONBLOCK) == 0);
	assert_int_equal(mux_sink(&guest.mux, 1, out[1]), 0);
	assert_int_equal(mux_sink(&guest.mux, 2, out2[1]), 0);
	assert_int_equal(mux_source(&host.mux, 1, in[0]), 0);
	assert_int_equal(mux_source(&host.mux, 2, in2[0]), 0);
	for (;;) {
		ssize_t n = write(in[1], zeros, sizeof zeros);

		settle();
		if (n <= 0)
			break;
		taken += (size_t)n;
	}
	/* the source's pipe, one window, the sink's pipe: no more */
	assert_true(taken >= MUX_WINDOW);
	assert_true(taken <= MUX_WINDOW + 4096 + 65536 + 4096);
	assert_int_equal(write(in2[1], "other", 5), 5);
	settle();
	assert_int_equal(read(out2[0], buf, sizeof buf), 5);
	(void)close(in[1]);
	(void)close(in2[1]);
	(void)close(out[0]);
	settle();
	assert_false(mux_has(&guest.mux, 1)); /* the reader is gone: so is the stream, on both ends */
	assert_false(mux_has(&host.mux, 1));
	(void)close(out2[0]);
}

static void a_lot_goes_through_byte_for_byte(void **state)
{
	int in[2], out[2];
	size_t sent = 0, got = 0;
	uint8_t buf[4096];

	(void)state;
	make_pipe(in);
	make_pipe(out);
	assert_true(fcntl(in[1], F_SETFL, O_NONBLOCK) == 0 && fcntl(out[0], F_SETFL, O_NONBLOCK) == 0);
	assert_int_equal(mux_sink(&host.mux, 9, out[1]), 0);
	assert_int_equal(mux_source(&guest.mux, 9, in[0]), 0);
	while (got < BIG) {
		ssize_t n;

		for (size_t i = 0; i < sizeof buf; i++)
			buf[i] = (uint8_t)((sent + i) * 7 >> 3);
		n = sent < BIG ? write(in[1], buf, sizeof buf) : 0;
		sent += n > 0 ? (size_t)n : 0;
		settle();
		n = read(out[0], buf, sizeof buf);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], (uint8_t)((got + (size_t)i) * 7 >> 3));
		got += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(got, sent);
	(void)close(in[1]);
	settle();
	assert_int_equal(host.how, MUX_DONE);
	(void)close(out[0]);
}

static void a_regular_file_is_a_source(void **state)
{
	scoped_fd f = io_memfd("f", "content", 7);
	int out[2];
	char buf[16];

	(void)state;
	make_pipe(out);
	assert_int_equal(mux_sink(&guest.mux, 4, out[1]), 0);
	assert_int_equal(mux_source(&host.mux, 4, take_fd(&f)), 0);
	for (int i = 0; i < 20 && host.ends == 0; i++)
		assert_int_equal(loop_once(&loop, 0), 0);
	settle();
	assert_int_equal(read(out[0], buf, sizeof buf), 7);
	(void)close(out[0]);
}

static void drain_takes_what_is_there(void **state)
{
	int in[2];

	(void)state;
	make_pipe(in);
	assert_int_equal(write(in[1], "late", 4), 4);
	assert_int_equal(mux_source(&guest.mux, 8, in[0]), 0);
	assert_true(mux_drain_source(&guest.mux, 8));
	assert_true(mux_has(&guest.mux, 8)); /* no end of file yet */
	(void)close(in[1]);
	assert_true(mux_drain_source(&guest.mux, 8));
	assert_false(mux_has(&guest.mux, 8));
	assert_true(mux_drain_source(&guest.mux, 8));
}

static void a_stream_number_is_taken_once(void **state)
{
	int p[2], q[2];

	(void)state;
	make_pipe(p);
	make_pipe(q);
	assert_int_equal(mux_source(&host.mux, 1, p[0]), 0);
	assert_int_equal(mux_source(&host.mux, 1, q[0]), -EEXIST);
	assert_int_equal(write(q[1], "x", 1), -1); /* its fd was taken and closed all the same */
	(void)close(p[1]);
	(void)close(q[1]);
}

static void put(struct str *s, uint32_t magic, uint16_t type, uint32_t id, uint32_t len)
{
	buf_put_u32(s, magic);
	buf_put_u16(s, type);
	buf_put_u16(s, 0);
	buf_put_u32(s, id);
	buf_put_u32(s, len);
}

/* What a hostile peer writes instead of its mux. */
static void inject(const struct str *s)
{
	assert_int_equal(io_write_full(guest.fd, s->p, s->len), 0);
	settle();
}

static void expect_broken(const struct str *s)
{
	inject(s);
	assert_int_equal(host.broken, 1);
	assert_int_equal(host.why.code, -EPROTO);
	assert_int_equal(mux_send(&host.mux, MSG_A_SHUTDOWN, 0, NULL, NULL), -EPIPE);
}

static void wrong_magic_breaks(void **state)
{
	scoped_str s = { 0 };

	(void)state;
	put(&s, MUX_MAGIC + 1, MSG_A_RESULT, 1, 0);
	expect_broken(&s);
}

static void too_long_a_frame_breaks(void **state)
{
	scoped_str s = { 0 };

	(void)state;
	put(&s, MUX_MAGIC, MSG_A_RESULT, 1, MSG_MAX + 1);
	expect_broken(&s);
}

static void data_beyond_credit_breaks(void **state)
{
	static uint8_t zeros[MUX_CHUNK];
	scoped_str s = { 0 };
	int out[2];

	(void)state;
	make_pipe(out);
	assert_int_equal(fcntl(out[1], F_SETPIPE_SZ, 4096), 4096);
	assert_int_equal(mux_sink(&host.mux, 3, out[1]), 0);
	for (uint32_t sent = 0; sent <= MUX_WINDOW + 65536; sent += MUX_CHUNK) {
		put(&s, MUX_MAGIC, MSG_DATA, 3, MUX_CHUNK);
		str_addn(&s, zeros, MUX_CHUNK);
	}
	assert_true(fcntl(guest.fd, F_SETFL, O_NONBLOCK) == 0);
	for (size_t off = 0; off < s.len && !host.broken;) {
		ssize_t n = write(guest.fd, s.p + off, s.len - off);

		off += n > 0 ? (size_t)n : 0;
		settle();
	}
	assert_int_equal(host.broken, 1);
	(void)close(out[0]);
}

static void data_for_a_source_breaks(void **state)
{
	scoped_str s = { 0 };
	int p[2];

	(void)state;
	make_pipe(p);
	assert_int_equal(mux_source(&host.mux, 3, p[0]), 0);
	put(&s, MUX_MAGIC, MSG_DATA, 3, 1);
	str_addc(&s, 'x');
	expect_broken(&s);
	(void)close(p[1]);
}

static void too_much_credit_breaks(void **state)
{
	scoped_str s = { 0 };
	int p[2];

	(void)state;
	make_pipe(p);
	assert_int_equal(mux_source(&host.mux, 3, p[0]), 0);
	put(&s, MUX_MAGIC, MSG_CREDIT, 3, 4);
	buf_put_u32(&s, 1);
	expect_broken(&s);
	(void)close(p[1]);
}

static void unknown_streams_are_dropped(void **state)
{
	scoped_str s = { 0 };

	(void)state;
	put(&s, MUX_MAGIC, MSG_DATA, 99, 1);
	str_addc(&s, 'x');
	put(&s, MUX_MAGIC, MSG_EOF, 99, 0);
	put(&s, MUX_MAGIC, MSG_CLOSED, 99, 0);
	put(&s, MUX_MAGIC, MSG_CREDIT, 99, 4);
	buf_put_u32(&s, 1);
	inject(&s);
	assert_int_equal(host.broken, 0);
}

static void frames_in_single_bytes(void **state)
{
	scoped_str s = { 0 };

	(void)state;
	put(&s, MUX_MAGIC, MSG_A_OOM, 42, 4);
	buf_put_u32(&s, 0);
	for (size_t i = 0; i < s.len; i++) {
		assert_int_equal(host.messages, 0);
		assert_int_equal(io_write_full(guest.fd, s.p + i, 1), 0);
		settle();
	}
	assert_int_equal(host.messages, 1);
	assert_int_equal(host.last_id, 42);
}

/* Before the first expected frame anything may come: noise, other frames, half of one. */
static void stale_bytes_are_skipped(void **state)
{
	scoped_str s = { 0 };

	(void)state;
	host.mux.expect = MSG_A_READY;
	str_add(&s, "login: COR1 COR");
	put(&s, MUX_MAGIC, MSG_A_RESULT, 1, 0);
	put(&s, MUX_MAGIC, MSG_DATA, 1, 5); /* half a frame of the past */
	str_add(&s, "ab");
	put(&s, MUX_MAGIC, MSG_A_READY, 77, 2);
	str_add(&s, "ok");
	put(&s, MUX_MAGIC, MSG_A_OOM, 78, 0);
	inject(&s);
	assert_int_equal(host.broken, 0);
	assert_int_equal(host.messages, 2);
	assert_int_equal(host.last_id, 78);
}

static void the_other_side_goes_away(void **state)
{
	(void)state;
	assert_int_equal(shutdown(guest.fd, SHUT_WR), 0);
	settle();
	assert_int_equal(host.broken, 1);
	assert_int_equal(host.why.code, -EPIPE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_message_arrives, setup, teardown),
		cmocka_unit_test_setup_teardown(bytes_go_through_and_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_blocked_reader_stalls_only_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(a_lot_goes_through_byte_for_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(a_regular_file_is_a_source, setup, teardown),
		cmocka_unit_test_setup_teardown(drain_takes_what_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stream_number_is_taken_once, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_magic_breaks, setup, teardown),
		cmocka_unit_test_setup_teardown(too_long_a_frame_breaks, setup, teardown),
		cmocka_unit_test_setup_teardown(data_beyond_credit_breaks, setup, teardown),
		cmocka_unit_test_setup_teardown(data_for_a_source_breaks, setup, teardown),
		cmocka_unit_test_setup_teardown(too_much_credit_breaks, setup, teardown),
		cmocka_unit_test_setup_teardown(unknown_streams_are_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(frames_in_single_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(stale_bytes_are_skipped, setup, teardown),
		cmocka_unit_test_setup_teardown(the_other_side_goes_away, setup, teardown),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
