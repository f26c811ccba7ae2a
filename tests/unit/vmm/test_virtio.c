/* test_virtio.c - the core with a device that does next to nothing: status, features, queues, breaking,
 * snapshots. */
#include "unit.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

#define ACK  VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRV  VIRTIO_CONFIG_S_DRIVER
#define OK   VIRTIO_CONFIG_S_DRIVER_OK
#define FOK  VIRTIO_CONFIG_S_FEATURES_OK
#define FAIL VIRTIO_CONFIG_S_FAILED
#define NR   VIRTIO_CONFIG_S_NEEDS_RESET

struct toy_state {
	uint32_t served, pad;
};

struct toy {
	struct vdev d;
	struct toy_state st;
	uint8_t config[8];
	unsigned starts, resets;
	int start_result;
	bool closed;
};

static int toy_start(struct vdev *d)
{
	struct toy *t = container_of(d, struct toy, d);

	t->starts++;
	return t->start_result;
}

static void toy_kick(struct vdev *d, unsigned q)
{
	struct toy *t = container_of(d, struct toy, d);
	struct vq_chain c;

	while (vdev_pop(d, q, &c)) {
		t->st.served++;
		vdev_push(d, q, c.head, 0);
	}
	vdev_notify(d, q);
}

static void toy_reset(struct vdev *d)
{
	struct toy *t = container_of(d, struct toy, d);

	t->resets++;
	t->st.served = 0;
}

static int toy_restored(struct vdev *d, struct err *e)
{
	struct toy *t = container_of(d, struct toy, d);

	return t->st.served > 1000 ? err_set(e, -EBADMSG, "too many") : 0;
}

static void toy_config_write(struct vdev *d, uint32_t off, const void *src, uint32_t n)
{
	struct toy *t = container_of(d, struct toy, d);

	memcpy(t->config + off, src, n);
}

static void toy_fini(struct vdev *d)
{
	container_of(d, struct toy, d)->closed = true;
}

static const struct vdev_ops toy_ops = {
	.name = "toy",
	.id = 42,
	.queue_size = 64,
	.version = 1,
	.state_size = sizeof(struct toy_state),
	.config_write = toy_config_write,
	.start = toy_start,
	.kick = toy_kick,
	.reset = toy_reset,
	.restored = toy_restored,
	.fini = toy_fini,
};

static struct toy toy;
static struct rig rig;

static int setup(void **state)
{
	(void)state;
	toy = (struct toy){
		.d = { .ops = &toy_ops, .features = 1u << 5, .n_queues = 2, .label = "toy0", .config_len = 8 }
	};
	toy.d.config = toy.config;
	toy.d.state = &toy.st;
	return rig_init(&rig, &toy.d);
}

static int teardown(void **state)
{
	(void)state;
	rig_fini(&rig);
	assert_true(toy.closed);
	return 0;
}

static void offer(unsigned q)
{
	struct vqdrv_seg seg = { rig.data, 4 };

	vqdrv_add(&rig.q[q], &seg, 1, 0);
}

static void test_negotiation(void **state)
{
	struct vdev *d = &toy.d;

	(void)state;
	assert_int_equal(vdev_status(d), 0);
	vdev_set_status(d, ACK | DRV);
	vdev_set_features(d, false, 1u << 5);
	vdev_set_status(d, FOK); /* without VERSION_1 */
	assert_int_equal(vdev_status(d), ACK | DRV);
	vdev_set_features(d, true, 1);
	vdev_set_features(d, false, 1u << 6); /* not offered */
	vdev_set_status(d, FOK);
	assert_int_equal(vdev_status(d), ACK | DRV);
	vdev_set_status(d, OK); /* before features are agreed */
	assert_int_equal(vdev_status(d), ACK | DRV);
	assert_int_equal(toy.starts, 0);
	vdev_set_features(d, false, 1u << 5);
	vdev_set_status(d, FOK | 0x20 | NR); /* bits that are no driver's */
	assert_int_equal(vdev_status(d), ACK | DRV | FOK);
	vdev_set_features(d, false, 0); /* too late */
	assert_true(vdev_has(d, 5));
	vdev_set_status(d, OK);
	vdev_set_status(d, OK);
	assert_int_equal(toy.starts, 1);
	vdev_set_status(d, 0);
	assert_int_equal(vdev_status(d), 0);
	assert_int_equal(toy.resets, 1);
	assert_false(vdev_has(d, 5));
}

static void test_queue_registers(void **state)
{
	struct vdev *d = &toy.d;

	(void)state;
	assert_int_equal(vdev_queue_get(d, 0, VDEV_Q_SIZE), 64);
	assert_int_equal(vdev_queue_get(d, 2, VDEV_Q_SIZE), 0); /* no such queue */
	vdev_queue_set(d, 2, VDEV_Q_SIZE, 4);
	assert_int_equal(d->queues[2].st.size, 64);
	vdev_queue_set(d, 0, VDEV_Q_SIZE, 3);
	vdev_queue_set(d, 0, VDEV_Q_SIZE, 128);
	vdev_queue_set(d, 0, VDEV_Q_SIZE, 0);
	assert_int_equal(vdev_queue_get(d, 0, VDEV_Q_SIZE), 64);
	vdev_queue_set(d, 0, VDEV_Q_SIZE, 8);
	vdev_queue_set(d, 0, VDEV_Q_DESC, 0x1234567890);
	vdev_queue_set(d, 0, VDEV_Q_ENABLE, 1);
	vdev_queue_set(d, 0, VDEV_Q_SIZE, 16); /* enabled: fixed */
	vdev_queue_set(d, 0, VDEV_Q_DESC, 0);
	assert_int_equal(vdev_queue_get(d, 0, VDEV_Q_SIZE), 8);
	assert_int_equal(vdev_queue_get(d, 0, VDEV_Q_DESC), 0x1234567890);
	assert_int_equal(vdev_queue_get(d, 0, VDEV_Q_ENABLE), 1);
	vdev_set_status(d, ACK);
	vdev_set_status(d, 0);
	assert_int_equal(vdev_queue_get(d, 0, VDEV_Q_SIZE), 64);
	assert_int_equal(vdev_queue_get(d, 0, VDEV_Q_ENABLE), 0);
}

static void test_serve(void **state)
{
	uint32_t id, len;

	(void)state;
	rig_up(&rig, 16);
	offer(0);
	offer(1);
	offer(1);
	rig_serve(&rig);
	assert_int_equal(toy.st.served, 3);
	assert_int_equal(rig.irqs[0], 1);
	assert_int_equal(rig.irqs[1], 1);
	assert_int_equal(*vqdrv_avail_event(&rig.q[1]), 2); /* kick for the third */
	assert_true(vqdrv_used(&rig.q[0], &id, &len));
	vdev_set_status(&toy.d, 0);
	offer(0);
	rig_serve(&rig); /* a reset device serves nothing */
	assert_int_equal(toy.st.served, 0);
}

/* Whoever pops until there is nothing is kicked for the next chain: without a kick the driver would wait. */
static void test_kicks(void **state)
{
	(void)state;
	rig_up(&rig, 16);
	assert_int_equal(*vqdrv_avail_event(&rig.q[0]), 0);
	for (unsigned i = 1; i < 40; i++) {
		offer(0);
		rig_serve(&rig);
		assert_int_equal(*vqdrv_avail_event(&rig.q[0]), i);
	}
}

/* A turn has a budget; what is left is served in the next one, without a kick. */
static unsigned serve_cost;

static unsigned serve_one(struct vdev *d, unsigned q, struct vq_chain *c, uint32_t *ret_len)
{
	toy.st.served++;
	*ret_len = 1;
	return serve_cost;
}

static void test_budget(void **state)
{
	uint32_t id, len;

	(void)state;
	rig_up(&rig, 16);
	for (unsigned i = 0; i < 3; i++)
		offer(0);
	vdev_lock(&toy.d);
	serve_cost = 0; /* not now: stays in the ring */
	vdev_serve(&toy.d, 0, serve_one);
	assert_int_equal(toy.st.served, 1);
	assert_false(vqdrv_used(&rig.q[0], &id, &len));
	serve_cost = VDEV_BUDGET;
	vdev_serve(&toy.d, 0, serve_one);
	vdev_unlock(&toy.d);
	assert_int_equal(toy.st.served, 2);
	assert_true(vqdrv_used(&rig.q[0], &id, &len) && len == 1);
	assert_false(vqdrv_used(&rig.q[0], &id, &len));
	rig_turn(&rig); /* toy's own kick takes the rest */
	assert_int_equal(toy.st.served, 4);
}

static void test_break(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 2 * VDEV_LOG_MAX; i++) {
		rig_up(&rig, 16);
		vqdrv_offer(&rig.q[0], 99);
		rig_serve(&rig);
		assert_int_equal(vdev_status(&toy.d), ACK | DRV | FOK | OK | NR);
		assert_int_equal(rig.config_irqs, i);
		offer(1); /* the other queue is not served either */
		rig_serve(&rig);
		assert_int_equal(toy.st.served, 0);
	}
	assert_int_equal(toy.d.n_logged, VDEV_LOG_MAX); /* however often */
	rig_up(&rig, 16);
	offer(1);
	rig_serve(&rig);
	assert_int_equal(toy.st.served, 1); /* a reset heals */
}

static void test_bad_start(void **state)
{
	(void)state;
	assert_true(rig_negotiate(&rig, 0));
	vdev_queue_set(&toy.d, 0, VDEV_Q_DESC, 0x10); /* outside of memory */
	vdev_queue_set(&toy.d, 0, VDEV_Q_ENABLE, 1);
	vdev_set_status(&toy.d, OK);
	assert_true(vdev_status(&toy.d) & NR);
	assert_int_equal(toy.starts, 0);
	toy.start_result = -EIO;
	rig_up(&rig, 16);
	assert_true(vdev_status(&toy.d) & NR);
	assert_false(vdev_is_active(&toy.d));
}

static void test_config(void **state)
{
	uint64_t v = 0x1122334455667788, got = 0;

	(void)state;
	vdev_config_write(&toy.d, 0, &v, 8);
	vdev_config_read(&toy.d, 0, &got, 8);
	assert_true(got == v);
	vdev_config_write(&toy.d, 1, "xxxxxxxx", 8); /* past the end: nothing of it */
	vdev_config_write(&toy.d, 8, "x", 1);
	vdev_config_write(&toy.d, UINT32_MAX, "xx", 2);
	assert_memory_equal(toy.config, &v, 8);
	vdev_config_read(&toy.d, 1, &got, 8);
	assert_true(got == 0);
	got = 1;
	vdev_config_read(&toy.d, UINT32_MAX - 1, &got, 8);
	assert_true(got == 0);
}

static void test_snapshot(void **state)
{
	struct vdev_snapshot s, bad;
	uint32_t id, len;

	(void)state;
	rig_up(&rig, 16);
	offer(0);
	rig_serve(&rig);
	offer(0);
	vdev_save(&toy.d, &s);
	vdev_set_status(&toy.d, 0);
	assert_int_equal(vdev_restore(&toy.d, &s, NULL), 0);
	rig_turn(&rig); /* what was offered before the snapshot is served without a kick */
	assert_int_equal(toy.st.served, 2);
	assert_true(vqdrv_used(&rig.q[0], &id, &len) && vqdrv_used(&rig.q[0], &id, &len));
	assert_true(vdev_has(&toy.d, 5));
#define BAD(change)                                                                                          \
	do {                                                                                                 \
		bad = s;                                                                                     \
		change;                                                                                      \
		assert_int_equal(vdev_restore(&toy.d, &bad, NULL), -EBADMSG);                                \
		assert_int_equal(vdev_status(&toy.d), 0);                                                    \
	} while (0)
	BAD(bad.name[0] = 'x');
	BAD(memset(bad.name, 't', sizeof bad.name));
	BAD(bad.version = 2);
	BAD(bad.state_size = 4);
	BAD(bad.core_size = 4);
	BAD(bad.core.n_queues = 3);
	BAD(bad.core.status = 0x20);
	BAD(bad.core.status = OK);
	BAD(bad.core.driver_features |= 1ull << 40);
	BAD(bad.core.queues[0].size = 128);
	BAD(bad.core.queues[1].size = 0);
	BAD(bad.core.queues[0].enabled = 2);
	BAD(bad.core.queues[0].used = RIG_ROM);
	BAD(memset(bad.state, 0xFF, 4));
}

static void test_config_changed(void **state)
{
	(void)state;
	vdev_config_changed(&toy.d);
	assert_int_equal(rig.config_irqs, 0); /* nobody listens yet */
	rig_up(&rig, 16);
	vdev_config_changed(&toy.d);
	assert_int_equal(rig.config_irqs, 1);
	assert_int_equal(toy.d.core.config_generation, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_negotiation), T(test_queue_registers), T(test_serve),    T(test_break),
		T(test_bad_start),   T(test_config),          T(test_snapshot), T(test_config_changed),
		T(test_kicks),       T(test_budget),
	};
	return cmocka_run_group_tests_name("vmm/virtio", tests, NULL, NULL);
}
