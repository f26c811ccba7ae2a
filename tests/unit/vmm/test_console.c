/* test_console.c - the console device against a driver: both ports, control messages, back pressure, hostile
 * buffers. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "rig.h"
#include "vmm/dev/dev.h"

enum { RX0, TX0, CTL_RX, CTL_TX, RX1, TX1 };

static struct rig rig;
static int con[2], port[2]; /* [1] is the test's end */

static int make(bool with_port)
{
	struct console_cfg cfg = { .port_in_fd = -1, .port_out_fd = -1 };
	struct vdev *d;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, con) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, port) < 0)
		return -1;
	cfg.in_fd = con[0];
	cfg.out_fd = dup(con[0]);
	if (with_port) {
		cfg.has_port = true;
		cfg.port_name = "cor.agent";
		cfg.port_in_fd = port[0];
		cfg.port_out_fd = dup(port[0]);
	}
	return console_new(&cfg, &d, NULL) < 0 ? -1 : rig_init(&rig, d);
}

static int setup(void **state)
{
	(void)state;
	return make(true);
}

static int teardown(void **state)
{
	(void)state;
	rig_fini(&rig);
	(void)close(con[1]);
	(void)close(port[1]); /* the test may have closed it */
	return 0;
}

static void *at(uint64_t gpa)
{
	return vqdrv_at(&rig.q[0], gpa);
}

/* The driver says something on the control queue. */
static void say(uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control m = { .id = id, .event = event, .value = value };
	struct vqdrv_seg seg = { rig.data + 64, sizeof m };
	uint32_t used, len;

	memcpy(at(seg.addr), &m, sizeof m);
	vqdrv_add(&rig.q[CTL_TX], &seg, 1, 0);
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[CTL_TX], &used, &len));
}

/* The device says this on the control queue, and only this. */
static void expect(uint32_t id, uint16_t event, uint16_t value, const char *text)
{
	struct vqdrv_seg seg = { rig.data + 128, 64 };
	struct virtio_console_control m;
	uint32_t used, len;

	vqdrv_add(&rig.q[CTL_RX], &seg, 0, 1);
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[CTL_RX], &used, &len));
	assert_int_equal(len, sizeof m + strlen(text));
	memcpy(&m, at(seg.addr), sizeof m);
	assert_int_equal(m.id, id);
	assert_int_equal(m.event, event);
	assert_int_equal(m.value, value);
	assert_memory_equal((char *)at(seg.addr) + sizeof m, text, strlen(text));
}

static void greet(void)
{
	rig_up(&rig, 16);
	say(VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect(0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	expect(1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	say(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect(0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "");
	say(1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect(1, VIRTIO_CONSOLE_PORT_NAME, 1, "cor.agent");
	expect(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
}

static void test_greeting(void **state)
{
	(void)state;
	greet();
	say(2, VIRTIO_CONSOLE_PORT_READY, 1); /* there are two */
	say(UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_int_equal(vdev_status(rig.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

static void test_config(void **state)
{
	struct virtio_console_config c;

	(void)state;
	vdev_config_read(rig.d, 0, &c, sizeof c);
	assert_int_equal(c.max_nr_ports, 2);
}

static void test_output(void **state)
{
	struct vqdrv_seg seg[2] = { { rig.data, 0 } };
	uint32_t used, len;
	char text[16];

	(void)state;
	greet();
	seg[0] = (struct vqdrv_seg){ rig.data, 3 };
	seg[1] = (struct vqdrv_seg){ rig.data + 8, 4 };
	memcpy(at(rig.data), "abc", 3);
	memcpy(at(rig.data + 8), "defg", 4);
	vqdrv_add(&rig.q[TX1], seg, 2, 0);
	vqdrv_add(&rig.q[TX0], seg, 1, 0);
	rig_serve(&rig);
	assert_int_equal(read(port[1], text, sizeof text), 7);
	assert_memory_equal(text, "abcdefg", 7);
	assert_int_equal(read(con[1], text, sizeof text), 3);
	assert_true(vqdrv_used(&rig.q[TX1], &used, &len));
	assert_int_equal(len, 0);
	assert_int_equal(rig.irqs[TX1], 1);
}

/* A host end that takes little: nothing is lost, nothing doubled, and nobody spins. */
static void test_back_pressure(void **state)
{
	static uint8_t got[1 << 20];
	struct vqdrv_seg seg = { 0, 60000 };
	size_t n = 0, sent = 0;
	uint32_t used, len;
	ssize_t r;

	(void)state;
	greet();
	seg.addr = rig.data;
	for (unsigned i = 0; i < seg.len; i++)
		((uint8_t *)at(rig.data))[i] = (uint8_t)(i * 7 + i / 251);
	do { /* until one is not taken */
		vqdrv_add(&rig.q[TX1], &seg, 1, 0);
		sent += seg.len;
		rig_serve(&rig);
		assert_true(sent <= sizeof got);
	} while (vqdrv_used(&rig.q[TX1], &used, &len));
	rig_serve(&rig); /* a kick in the meantime does no harm */
	while (n < sent) {
		r = read(port[1], got + n, sizeof got - n);
		if (r > 0)
			n += (size_t)r;
		rig_turn(&rig);
	}
	assert_int_equal(read(port[1], got, 1), -1);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(got[i], ((uint8_t *)at(rig.data))[i % seg.len]);
	assert_true(vqdrv_used(&rig.q[TX1], &used, &len));
}

static void test_input(void **state)
{
	struct vqdrv_seg seg = { 0, 8 };
	uint32_t used, len;

	(void)state;
	greet();
	seg.addr = rig.data;
	assert_int_equal(write(port[1], "0123456789", 10), 10);
	vqdrv_add(&rig.q[RX1], &seg, 0, 1);
	rig_serve(&rig);
	assert_false(vqdrv_used(&rig.q[RX1], &used, &len)); /* the guest has not opened it */
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	rig_turn(&rig);
	assert_true(vqdrv_used(&rig.q[RX1], &used, &len));
	assert_int_equal(len, 8);
	assert_memory_equal(at(rig.data), "01234567", 8);
	assert_int_equal(rig.irqs[RX1], 1);
	vqdrv_add(&rig.q[RX1], &seg, 0, 1);
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[RX1], &used, &len));
	assert_int_equal(len, 2);
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	assert_int_equal(write(port[1], "x", 1), 1);
	vqdrv_add(&rig.q[RX1], &seg, 0, 1);
	rig_serve(&rig);
	assert_false(vqdrv_used(&rig.q[RX1], &used, &len));
	/* the console's input waits for no opening */
	assert_int_equal(write(con[1], "y", 1), 1);
	vqdrv_add(&rig.q[RX0], &seg, 0, 1);
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[RX0], &used, &len));
}

static void test_host_gone(void **state)
{
	struct vqdrv_seg seg = { 0, 8 };
	uint32_t used, len;

	(void)state;
	greet();
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	seg.addr = rig.data;
	(void)close(port[1]);
	vqdrv_add(&rig.q[RX1], &seg, 0, 1);
	rig_serve(&rig);
	assert_false(vqdrv_used(&rig.q[RX1], &used, &len));
	expect(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	vqdrv_add(&rig.q[TX1], &seg, 1, 0); /* output is swallowed */
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[TX1], &used, &len));
	port[1] = con[1]; /* for teardown */
}

/* A closed host end must not spin the loop while the guest does not read. */
static void test_no_spin(void **state)
{
	(void)state;
	greet();
	(void)close(port[1]);
	port[1] = con[1];
	rig_serve(&rig);
	assert_int_equal(loop_once(&rig.loop, 0), 0);
	assert_null(rig.loop.always);
}

static void test_bad_buffers(void **state)
{
	struct vqdrv_seg seg = { 0, 2 };
	uint32_t used, len;

	(void)state;
	greet();
	seg.addr = rig.data;
	memcpy(at(rig.data), "xx", 2);
	vqdrv_add(&rig.q[CTL_TX], &seg, 1, 0); /* half a message is none */
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[CTL_TX], &used, &len));
	say(1, VIRTIO_CONSOLE_PORT_READY, 1);
	vqdrv_add(&rig.q[CTL_RX], &seg, 0, 1); /* room for two bytes */
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[CTL_RX], &used, &len));
	assert_int_equal(len, 2);
	vqdrv_add(&rig.q[RX0], &seg, 1, 0); /* a receive buffer that can't be written */
	assert_int_equal(write(con[1], "y", 1), 1);
	rig_serve(&rig);
	assert_true(vdev_status(rig.d) & VIRTIO_CONFIG_S_NEEDS_RESET);
	rig_up(&rig, 16);
	assert_int_equal(vdev_status(rig.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

static void test_snapshot(void **state)
{
	struct vdev_snapshot s;

	(void)state;
	greet();
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	vdev_save(rig.d, &s);
	vdev_set_status(rig.d, 0);
	assert_int_equal(vdev_restore(rig.d, &s, NULL), 0);
	assert_int_equal(write(port[1], "z", 1), 1);
	struct vqdrv_seg seg = { rig.data, 8 };
	uint32_t used, len;
	vqdrv_add(&rig.q[RX1], &seg, 0, 1);
	rig_serve(&rig);
	assert_true(vqdrv_used(&rig.q[RX1], &used, &len)); /* the port is still open */
	s.state[0] = 0xFF;
	assert_int_equal(vdev_restore(rig.d, &s, NULL), -EBADMSG);
}

static void test_plain(void **state)
{
	struct vqdrv_seg seg = { 0, 2 };
	char text[4];

	(void)state;
	assert_int_equal(make(false), 0);
	assert_int_equal(rig.d->n_queues, 2);
	rig_up(&rig, 16);
	seg.addr = rig.data;
	vqdrv_add(&rig.q[TX0], &seg, 1, 0);
	rig_serve(&rig);
	assert_int_equal(read(con[1], text, sizeof text), 2);
	rig_fini(&rig);
	(void)close(con[1]);
	(void)close(port[0]);
	(void)close(port[1]);
}

static void test_names(void **state)
{
	struct console_cfg cfg = {
		.in_fd = -1, .out_fd = -1, .port_in_fd = -1, .port_out_fd = -1, .has_port = true
	};
	struct err e = { 0 };
	struct vdev *d;

	(void)state;
	assert_int_equal(console_new(&cfg, &d, &e), -EINVAL);
	cfg.port_name = "";
	assert_int_equal(console_new(&cfg, &d, &e), -EINVAL);
	cfg.port_name = "12345678901234567890123456789012";
	assert_int_equal(console_new(&cfg, &d, &e), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_greeting),
		T(test_config),
		T(test_output),
		T(test_back_pressure),
		T(test_input),
		T(test_host_gone),
		T(test_no_spin),
		T(test_bad_buffers),
		T(test_snapshot),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_names),
	};
	(void)signal(SIGPIPE, SIG_IGN); /* as the program does */
	return cmocka_run_group_tests_name("vmm/console", tests, NULL, NULL);
}
