/* console.c - virtio console (virtio 1.2, 5.3): port 0 is the guest's hvc0, port 1 a named byte stream.
 *
 * Made by the machine, served on the loop thread. The stream of port 1 is the agent's channel: nothing is
 * lost on it, what the host's end does not take stays in the guest's ring (and the guest's writer waits). The
 * same holds for the console's output: a reader that does not read stalls the guest's console, not the VMM.
 *
 * Distrusts: the driver. Never: allocates after new, blocks, keeps bytes of the guest. */
#include <assert.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/uio.h>

#include "vmm/dev/dev.h"

#define PORTS         2u
#define PORT_NAME_MAX 32u
#define QUEUES        (2 + 2 * PORTS)
#define CTL_RX        2u
#define CTL_TX        3u
#define QUEUE_SIZE    64u

/* Control messages that the guest has yet to get, one bit each, in this order. */
enum { SEND_ADD, SEND_CONSOLE, SEND_NAME, SEND_OPEN, SEND_N };

/* Guest-visible state. */
struct console_port {
	uint8_t to_send;    /* bits SEND_* */
	uint8_t host_open;  /* what SEND_OPEN says */
	uint8_t guest_open; /* the guest's end is open: input makes sense */
	uint8_t pad;
	uint32_t tx_done; /* bytes of the first chain that are out already */
};

struct console_state {
	struct console_port port[PORTS];
};
_Static_assert(sizeof(struct console_state) == 16, "written to snapshots");

struct console {
	struct vdev d;
	struct console_state st;
	struct virtio_console_config config;
	void (*opened)(void *arg);
	void *arg;
	uint32_t n_ports;
	char name[PORT_NAME_MAX];
	int in_fd[PORTS], out_fd[PORTS]; /* owned; -1 = none */
	bool in_eof[PORTS];
	struct vdev_watch in[PORTS], out[PORTS];
};

static struct console *console_of(struct vdev *d)
{
	return container_of(d, struct console, d);
}

/* Queues of port 0 come first, those of port 1 behind the control queues. */
static unsigned rx_of(unsigned port)
{
	return port == 0 ? 0 : 2 + 2 * port;
}

static unsigned tx_of(unsigned port)
{
	return rx_of(port) + 1;
}

static bool has_port(const struct console *c, unsigned port)
{
	return port == 0 || (port < c->n_ports && vdev_has(&c->d, VIRTIO_CONSOLE_F_MULTIPORT));
}

/* ---- control ---- */

/* One message into a buffer of the control queue; false if the guest has to offer one first. */
static bool send_one(struct console *c, unsigned port, unsigned what)
{
	static const uint16_t events[SEND_N] = { VIRTIO_CONSOLE_PORT_ADD, VIRTIO_CONSOLE_CONSOLE_PORT,
						 VIRTIO_CONSOLE_PORT_NAME, VIRTIO_CONSOLE_PORT_OPEN };
	struct virtio_console_control m = { .id = port, .event = events[what], .value = 1 };
	struct vq_chain chain;
	uint64_t n;

	if (what == SEND_OPEN)
		m.value = c->st.port[port].host_open;
	if (!vdev_pop(&c->d, CTL_RX, &chain))
		return false;
	n = vq_chain_write(&chain, 0, &m, sizeof m);
	if (what == SEND_NAME)
		n += vq_chain_write(&chain, n, c->name, strlen(c->name));
	vdev_push(&c->d, CTL_RX, chain.head,
		  (uint32_t)n); /* a buffer too small loses the end: the guest's choice */
	return true;
}

/* False if the guest has to offer more buffers. */
static bool send_port(struct console *c, unsigned port)
{
	for (unsigned what = 0; what < SEND_N; what++) {
		if (!(c->st.port[port].to_send >> what & 1))
			continue;
		if (!send_one(c, port, what))
			return false;
		c->st.port[port].to_send &= (uint8_t) ~(1u << what);
	}
	return true;
}

static void send_control(struct console *c)
{
	for (unsigned p = 0; p < c->n_ports && send_port(c, p); p++)
		;
	vdev_notify(&c->d, CTL_RX);
}

static void port_ready(struct console *c, unsigned port)
{
	if (port == 0)
		c->st.port[0].to_send |= 1u << SEND_CONSOLE;
	else
		c->st.port[port].to_send |= 1u << SEND_NAME | 1u << SEND_OPEN;
}

static void arm_input(struct console *c, unsigned port);

static void take_control(struct console *c, const struct virtio_console_control *m)
{
	if (m->event == VIRTIO_CONSOLE_DEVICE_READY && m->value == 1) {
		for (unsigned p = 0; p < c->n_ports; p++)
			c->st.port[p].to_send |= 1u << SEND_ADD;
		return;
	}
	if (m->id >= c->n_ports)
		return; /* about a port we never named */
	if (m->event == VIRTIO_CONSOLE_PORT_READY && m->value == 1) {
		port_ready(c, m->id);
	} else if (m->event == VIRTIO_CONSOLE_PORT_OPEN) {
		c->st.port[m->id].guest_open = m->value != 0;
		if (m->id == 1 && m->value != 0 && c->opened)
			c->opened(c->arg);
		arm_input(c, m->id);
	}
}

static void kick_control(struct console *c)
{
	struct virtio_console_control m;
	struct vq_chain chain;

	for (unsigned i = 0; i < VDEV_BUDGET && vdev_pop(&c->d, CTL_TX, &chain); i++) {
		if (vq_chain_read(&chain, 0, &m, sizeof m) == sizeof m)
			take_control(c, &m);
		vdev_push(&c->d, CTL_TX, chain.head, 0);
	}
	vdev_notify(&c->d, CTL_TX);
	send_control(c);
}

/* ---- output: guest to host ---- */

/* Writes what is left of the chain: 1 = all is out, 0 = the host's end takes no more now. */
static int write_chain(struct console *c, unsigned port, const struct vq_chain *chain)
{
	uint32_t *done = &c->st.port[port].tx_done;
	struct iovec iov[16];
	unsigned n;
	ssize_t r;

	if (c->out_fd[port] < 0)
		return 1; /* nobody listens: as a terminal that is switched off */
	while (*done < chain->out_len) {
		n = vq_chain_iov(chain, *done, iov, ARRAY_LEN(iov));
		r = writev(c->out_fd[port], iov, (int)n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno == EAGAIN)
			return 0;
		if (r < 0)
			return 1; /* the host's end is gone */
		*done += (uint32_t)r;
	}
	return 1;
}

static void kick_output(struct console *c, unsigned port)
{
	unsigned q = tx_of(port), i;
	struct vq_chain chain;

	for (i = 0; i < VDEV_BUDGET && vdev_pop(&c->d, q, &chain); i++) {
		if (write_chain(c, port, &chain) == 0) {
			vq_unpop(&c->d.queues[q], 1);
			vdev_watch_set(&c->out[port], EPOLLOUT);
			break;
		}
		c->st.port[port].tx_done = 0;
		vdev_push(&c->d, q, chain.head, 0);
	}
	vdev_notify(&c->d, q);
	if (i == VDEV_BUDGET)
		vdev_kick_self(&c->d);
}

static void out_ready(struct vdev *d, struct vdev_watch *w, uint32_t events)
{
	struct console *c = console_of(d);
	unsigned port = (unsigned)(w - c->out);

	(void)events;
	vdev_watch_set(w, 0);
	if (vdev_is_active(d) && d->queues[tx_of(port)].mem)
		kick_output(c, port);
}

/* ---- input: host to guest ---- */

static void input_ended(struct console *c, unsigned port)
{
	c->in_eof[port] = true;
	vdev_watch_set(&c->in[port], 0);
	if (port == 0)
		return; /* a console is never closed */
	c->st.port[port].host_open = 0;
	c->st.port[port].to_send |= 1u << SEND_OPEN;
	send_control(c);
}

/* Reads into one chain: 1 = go on, 0 = nothing there now. */
static int read_chain(struct console *c, unsigned port)
{
	unsigned q = rx_of(port);
	struct vq_chain chain;
	ssize_t r;

	if (!vdev_pop(&c->d, q, &chain)) {
		vdev_watch_set(&c->in[port], 0); /* the next buffer's kick arms it again */
		return 0;
	}
	if (chain.n_in == 0) {
		vdev_break(&c->d, "receive buffer without room");
		return 0;
	}
	r = readv(c->in_fd[port], chain.iov + chain.n_out, chain.n_in);
	if (r <= 0) {
		vq_unpop(&c->d.queues[q], 1);
		if (r == 0 || (errno != EAGAIN && errno != EINTR))
			input_ended(c, port);
		return 0;
	}
	vdev_push(&c->d, q, chain.head, (uint32_t)r);
	return 1;
}

static void in_ready(struct vdev *d, struct vdev_watch *w, uint32_t events)
{
	struct console *c = console_of(d);
	unsigned port = (unsigned)(w - c->in), q = rx_of(port);

	(void)events;
	if (!vdev_is_active(d) || !d->queues[q].mem || (port != 0 && !c->st.port[port].guest_open)) {
		vdev_watch_set(w, 0);
		return;
	}
	for (unsigned i = 0; i < VDEV_BUDGET && read_chain(c, port); i++)
		;
	vdev_notify(d, q);
}

/* The guest can take input: wait for some. */
static void arm_input(struct console *c, unsigned port)
{
	if (c->in_fd[port] >= 0 && !c->in_eof[port] && c->d.queues[rx_of(port)].mem &&
	    (port == 0 || c->st.port[port].guest_open))
		vdev_watch_set(&c->in[port], EPOLLIN);
}

/* ---- the device ---- */

static void console_kick(struct vdev *d, unsigned q)
{
	struct console *c = console_of(d);

	if (q == CTL_TX) {
		kick_control(c);
		return;
	}
	if (q == CTL_RX) {
		send_control(c);
		return;
	}
	for (unsigned p = 0; p < PORTS; p++) {
		if (!has_port(c, p))
			continue;
		if (q == rx_of(p))
			arm_input(c, p);
		else if (q == tx_of(p) && c->out[p].events == 0)
			kick_output(c, p);
	}
}

static void console_reset(struct vdev *d)
{
	struct console *c = console_of(d);

	for (unsigned p = 0; p < PORTS; p++)
		c->st.port[p] = (struct console_port){ .host_open = c->in_fd[p] >= 0 && !c->in_eof[p] };
}

/* The host's end of a restored VM is another than the saved one's: tell the guest if that changed. */
static int console_restored(struct vdev *d, struct err *e)
{
	struct console *c = console_of(d);

	for (unsigned p = 0; p < PORTS; p++) {
		struct console_port *port = &c->st.port[p];
		uint8_t open = c->in_fd[p] >= 0;

		if (port->to_send >> SEND_N || port->host_open > 1 || port->guest_open > 1)
			return err_set(e, -EBADMSG, "state of port %u", p);
		if (p > 0 && open != port->host_open)
			port->to_send |= 1u << SEND_OPEN;
		port->host_open = open;
	}
	return 0;
}

static int console_attach(struct vdev *d, struct err *e)
{
	struct console *c = console_of(d);

	(void)e;
	for (unsigned p = 0; p < PORTS; p++) {
		vdev_watch_init(d, &c->in[p], c->in_fd[p], in_ready);
		vdev_watch_init(d, &c->out[p], c->out_fd[p], out_ready);
	}
	return 0;
}

static void console_fini(struct vdev *d)
{
	struct console *c = console_of(d);

	for (unsigned p = 0; p < PORTS; p++) {
		loop_del(&c->in[p].src);
		loop_del(&c->out[p].src);
		scope_close(&c->in_fd[p]);
		scope_close(&c->out_fd[p]);
	}
	free(c);
}

static const struct vdev_ops console_ops = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.queue_size = QUEUE_SIZE,
	.version = 1,
	.state_size = sizeof(struct console_state),
	.attach = console_attach,
	.kick = console_kick,
	.reset = console_reset,
	.restored = console_restored,
	.fini = console_fini,
};

int console_new(const struct console_cfg *cfg, struct vdev **ret, struct err *e)
{
	size_t len = cfg->port_name ? strlen(cfg->port_name) : 0;
	struct console *c;

	if (cfg->has_port && (len == 0 || len >= PORT_NAME_MAX))
		return err_set(e, -EINVAL, "console: the port's name must have 1 to %u bytes",
			       PORT_NAME_MAX - 1);
	c = calloc(1, sizeof *c);
	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	c->d = (struct vdev){ .ops = &console_ops,
			      .features = cfg->has_port ? 1ull << VIRTIO_CONSOLE_F_MULTIPORT : 0,
			      .n_queues = cfg->has_port ? QUEUES : 2,
			      .config = (uint8_t *)&c->config,
			      .config_len = sizeof c->config,
			      .state = &c->st,
			      .label = "console" };
	c->opened = cfg->opened;
	c->arg = cfg->arg;
	c->n_ports = cfg->has_port ? PORTS : 1;
	c->config.max_nr_ports = c->n_ports;
	memcpy(c->name, cfg->port_name ? cfg->port_name : "", len);
	c->in_fd[0] = cfg->in_fd;
	c->out_fd[0] = cfg->out_fd;
	c->in_fd[1] = cfg->port_in_fd;
	c->out_fd[1] = cfg->port_out_fd;
	c->st.port[1].host_open = c->in_fd[1] >= 0;
	*ret = &c->d;
	return 0;
}
